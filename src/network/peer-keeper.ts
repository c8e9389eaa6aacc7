/**
 * Keeps the daemon in the network: dials the bootstrap list and every peer met before, at start
 * and whenever fewer than the wanted number of peers are connected. Driven by disconnections and
 * one timer that backs off while nothing new is reached; it never polls when all is well.
 */
import { NETWORK_LIMITS } from './limits.js'

export interface PeerKeeperOptions {
  readonly minConnections: number
  /** First and longest pause between rounds; the longest while still connected to somebody. */
  readonly backoffFirstMs?: number
  readonly backoffAloneMs?: number
  readonly backoffMs?: number
}

export interface PeerKeeperComponents {
  connectedCount(): number
  /** Addresses or peer ids worth dialling that are not connected, the best first. */
  candidates(): Promise<readonly string[]>
  dial(target: string, signal: AbortSignal): Promise<unknown>
}

export class PeerKeeper {
  readonly #components: PeerKeeperComponents
  readonly #minConnections: number
  readonly #backoffFirstMs: number
  readonly #backoffAloneMs: number
  readonly #backoffMs: number
  #abort: AbortController | undefined
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined
  #delayMs: number

  constructor(components: PeerKeeperComponents, options: PeerKeeperOptions) {
    this.#components = components
    this.#minConnections = options.minConnections
    this.#backoffFirstMs = options.backoffFirstMs ?? 1000
    this.#backoffAloneMs = options.backoffAloneMs ?? 30_000
    this.#backoffMs = options.backoffMs ?? 300_000
    this.#delayMs = this.#backoffFirstMs
  }

  start(): void {
    if (this.#abort !== undefined) return
    this.#abort = new AbortController()
    this.#schedule(0)
  }

  async stop(): Promise<void> {
    this.#abort?.abort()
    this.#abort = undefined
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#round
  }

  /** To be called for every lost peer. */
  onDisconnected(): void {
    if (this.#abort === undefined || this.#satisfied()) return
    this.#delayMs = this.#backoffFirstMs
    this.#schedule(this.#jittered(this.#delayMs))
  }

  #satisfied(): boolean {
    return this.#components.connectedCount() >= this.#minConnections
  }

  /** Plans the next round; a round already planned for sooner stays. */
  #schedule(delayMs: number): void {
    if (this.#abort === undefined || this.#round !== undefined) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#round = this.#runRound().finally(() => {
        this.#round = undefined
        if (!this.#satisfied()) this.#schedule(this.#jittered(this.#delayMs))
      })
    }, delayMs)
    this.#timer.unref()
  }

  async #runRound(): Promise<void> {
    const signal = this.#abort?.signal
    if (signal === undefined || this.#satisfied()) return
    const before = this.#components.connectedCount()
    const queue = [...(await this.#components.candidates().catch(() => []))]
    const worker = async (): Promise<void> => {
      while (!signal.aborted && !this.#satisfied()) {
        const target = queue.shift()
        if (target === undefined) return
        const limit = AbortSignal.any([signal, AbortSignal.timeout(NETWORK_LIMITS.dialMs)])
        // A peer that is away is the expected case here; the next round tries again.
        await this.#components.dial(target, limit).catch(() => {})
      }
    }
    await Promise.all(Array.from({ length: NETWORK_LIMITS.dialsAtOnce }, worker))
    const now = this.#components.connectedCount()
    const longest = now === 0 ? this.#backoffAloneMs : this.#backoffMs
    this.#delayMs = now > before ? this.#backoffFirstMs : Math.min(this.#delayMs * 2, longest)
  }

  /** Spreads the dials of daemons that lost the same peer at the same time. */
  #jittered(delayMs: number): number {
    return delayMs * (0.75 + Math.random() / 2)
  }
}
