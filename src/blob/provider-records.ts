/**
 * Tells the network which blobs are to be had here, so that peers find them in the DHT by their
 * digest alone. A record holds once another peer took it; until then it is told again, at growing
 * intervals and when a peer connects. The DHT renews records of a running daemon by itself.
 */
import type { Clock } from '../clock.js'
import { errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { Transport } from '../network/transport.js'
import type { Digest } from '../wire/ids.js'

export interface ProviderRecordsComponents {
  readonly transport: Pick<Transport, 'provide' | 'withdraw' | 'connectedPeers'>
  readonly clock: Clock
  readonly log: Log
}

const PROVIDE_MS = 60_000
const RETRY_MS = 2_000
const RETRY_MAX_MS = 10 * 60_000
/** A new peer knows others a moment later. */
const AFTER_CONNECT_MS = 1_000
const RECORDS_MAX = 65_536

export class ProviderRecords {
  readonly #components: ProviderRecordsComponents
  readonly #waiting = new Set<Digest>()
  readonly #told = new Set<Digest>()
  readonly #stopping = new AbortController()
  #isTelling = false
  #retryMs = RETRY_MS
  #cancelTimer: (() => void) | undefined

  constructor(components: ProviderRecordsComponents) {
    this.#components = components
  }

  /** Whether another peer knows that the blob is here. */
  isTold(digest: Digest): boolean {
    return this.#told.has(digest)
  }

  /** From now on; comes back at once. */
  provide(digest: Digest): void {
    if (this.#told.has(digest) || this.#waiting.size >= RECORDS_MAX) return
    this.#waiting.add(digest)
    this.#retryMs = RETRY_MS
    this.#tellIn(0)
  }

  /** No longer renewed; what others were told runs out within two days. */
  async withdraw(digest: Digest): Promise<void> {
    this.#waiting.delete(digest)
    this.#told.delete(digest)
    await this.#components.transport.withdraw(digest)
  }

  onConnected(): void {
    if (this.#waiting.size === 0) return
    this.#retryMs = RETRY_MS
    this.#tellIn(AFTER_CONNECT_MS)
  }

  stop(): void {
    this.#stopping.abort()
    this.#cancelTimer?.()
  }

  #tellIn(ms: number): void {
    if (this.#isTelling || this.#stopping.signal.aborted) return
    this.#cancelTimer?.()
    this.#cancelTimer = this.#components.clock.after(ms, () => {
      void this.#tellAll()
    })
  }

  async #tellAll(): Promise<void> {
    if (this.#isTelling) return
    this.#isTelling = true
    // One walk of the DHT at a time; while nobody is there, none is worth it.
    for (const digest of [...this.#waiting]) {
      if (this.#stopping.signal.aborted || this.#components.transport.connectedPeers().length === 0)
        break
      if (!(await this.#tell(digest)) || !this.#waiting.delete(digest)) continue
      this.#told.add(digest)
    }
    this.#isTelling = false
    if (this.#waiting.size === 0) return
    this.#tellIn(this.#retryMs)
    this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2)
  }

  async #tell(digest: Digest): Promise<boolean> {
    const { transport, log } = this.#components
    try {
      const patience = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(PROVIDE_MS)])
      return (await transport.provide(digest, patience)) > 0
    } catch (error) {
      log.debug({ digest, detail: errorMessage(error) }, 'could not tell of a blob')
      return false
    }
  }
}
