/**
 * Finds rot: reads blobs again, slowly and while the machine has nothing else to do, and compares
 * every piece with its hash. A rotten blob is set aside at once, so that nobody is served its
 * bytes, and fetched anew where another peer has it. One that nobody has is dropped, unless
 * somebody holds it: then what is left of it stays aside, and peers are asked again next time.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { Digest } from '../wire/ids.js'
import type { BlobStore } from './blob-store.js'

export type RotOutcome = 'refetched' | 'dropped' | 'set-aside'

export interface Rot {
  readonly digest: Digest
  readonly sizeBytes: number
  /** How many pieces were not what they were. */
  readonly pieces: number
  readonly outcome: RotOutcome
}

export interface ScrubReport {
  readonly blobs: number
  readonly bytes: number
  readonly rotten: readonly Rot[]
  readonly endedMs: number
}

export interface ScrubberComponents {
  readonly store: BlobStore
  readonly clock: Clock
  readonly log: Log
  /** Whether nothing else wants the disk or the processor. */
  readonly isIdle: () => boolean
  /** Brings a blob from other peers; throws where nobody has it. */
  readonly refetch: (digest: Digest, signal: AbortSignal) => Promise<unknown>
  readonly onRot: (rot: Rot) => void
}

export interface ScrubberOptions {
  /** What scrubbing in the background reads at most. Default 8 MiB/s. */
  readonly bytesPerSecond?: number
  /** How often each blob is read. Default a week. */
  readonly roundMs?: number
  /** Before the first blob, and between looks for one that is due. Default ten minutes. */
  readonly restMs?: number
}

const REFETCH_MS = 30 * 60_000
const BUSY_MS = 5_000

export class Scrubber {
  readonly #components: ScrubberComponents
  readonly #options: Required<ScrubberOptions>
  readonly #checkedMs = new Map<Digest, number>()
  readonly #suspects = new Set<Digest>()
  readonly #stopping = new AbortController()
  #last: ScrubReport | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #cancelTimer: (() => void) | undefined

  constructor(components: ScrubberComponents, options: ScrubberOptions = {}) {
    this.#components = components
    this.#options = {
      bytesPerSecond: options.bytesPerSecond ?? 8 * 1024 ** 2,
      roundMs: options.roundMs ?? 7 * 24 * 3600_000,
      restMs: options.restMs ?? 10 * 60_000,
    }
  }

  /** What the last whole round found, of those of this process. */
  get last(): ScrubReport | undefined {
    return this.#last
  }

  start(): void {
    this.#cancelTimer = this.#components.clock.after(this.#options.restMs, () => {
      void this.#round().finally(() => {
        if (!this.#stopping.signal.aborted) this.start()
      })
    })
  }

  stop(): void {
    this.#stopping.abort()
    this.#cancelTimer?.()
  }

  /** Reads everything now, as fast as the disk gives it. */
  async scrub(
    signal: AbortSignal,
    onProgress: (done: { readonly doneBytes: number; readonly totalBytes: number }) => void,
  ): Promise<ScrubReport> {
    const { store } = this.#components
    return this.#inTurn(async () => {
      const entries = store.list()
      const totalBytes = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
      let doneBytes = 0
      const pace = async (bytes: number): Promise<void> => {
        signal.throwIfAborted()
        this.#stopping.signal.throwIfAborted()
        doneBytes += bytes
        onProgress({ doneBytes, totalBytes })
      }
      const rotten = [...(await this.#askAgain(signal))]
      for (const { digest } of entries) rotten.push(...(await this.#check(digest, pace, signal)))
      return this.#report(entries.length, doneBytes, rotten)
    })
  }

  /** Reads one blob now: somebody has seen the disk give back wrong bytes of it. */
  async suspect(digest: Digest): Promise<void> {
    const { signal } = this.#stopping
    if (this.#suspects.has(digest)) return
    this.#suspects.add(digest)
    const pace = async (): Promise<void> => signal.throwIfAborted()
    try {
      await this.#inTurn(() => this.#check(digest, pace, signal))
    } catch (error) {
      if (signal.aborted) return
      this.#components.log.warn({ digest, detail: errorMessage(error) }, 'scrubbing failed')
    } finally {
      this.#suspects.delete(digest)
    }
  }

  /** Checks what is due, without haste. */
  async #round(): Promise<void> {
    const { store, clock, log } = this.#components
    const { signal } = this.#stopping
    const due = (digest: Digest): boolean =>
      clock.now() - (this.#checkedMs.get(digest) ?? -Infinity) >= this.#options.roundMs
    const entries = store.list().filter(({ digest }) => due(digest))
    for (const digest of this.#checkedMs.keys()) {
      if (!store.has(digest)) this.#checkedMs.delete(digest)
    }
    if (entries.length === 0) return
    try {
      await this.#inTurn(async () => {
        let bytes = 0
        const pace = async (length: number): Promise<void> => {
          bytes += length
          await this.#sleep((length / this.#options.bytesPerSecond) * 1000)
          while (!this.#components.isIdle()) await this.#sleep(BUSY_MS)
        }
        const rotten = [...(await this.#askAgain(signal))]
        for (const { digest } of entries) rotten.push(...(await this.#check(digest, pace, signal)))
        this.#report(entries.length, bytes, rotten)
      })
    } catch (error) {
      if (!signal.aborted) log.warn({ detail: errorMessage(error) }, 'scrubbing stopped half way')
    }
  }

  /** One at a time: two would read the same bytes. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  #report(blobs: number, bytes: number, rotten: readonly Rot[]): ScrubReport {
    this.#last = { blobs, bytes, rotten, endedMs: this.#components.clock.now() }
    return this.#last
  }

  async #check(
    digest: Digest,
    pace: (bytes: number) => Promise<void>,
    signal: AbortSignal,
  ): Promise<readonly Rot[]> {
    const { store, clock } = this.#components
    if (!store.has(digest)) return []
    const bad = await store.rottenPieces(digest, pace)
    this.#checkedMs.set(digest, clock.now())
    if (bad.length === 0 || !store.has(digest)) return []
    const sizeBytes = store.size(digest)
    await store.setAside(digest)
    const outcome = await this.#mend(digest, signal)
    return [this.#told({ digest, sizeBytes, pieces: bad.length, outcome })]
  }

  /** Peers may have come that have what was set aside earlier. */
  async #askAgain(signal: AbortSignal): Promise<readonly Rot[]> {
    const mended: Rot[] = []
    for (const { digest, sizeBytes } of this.#components.store.rotten()) {
      const outcome = await this.#mend(digest, signal)
      if (outcome === 'set-aside') continue
      mended.push(this.#told({ digest, sizeBytes, pieces: 0, outcome }))
    }
    return mended
  }

  async #mend(digest: Digest, signal: AbortSignal): Promise<RotOutcome> {
    const { store, refetch, log } = this.#components
    const isWanted = store.isHeld(digest)
    try {
      const patience = AbortSignal.any([
        signal,
        this.#stopping.signal,
        AbortSignal.timeout(REFETCH_MS),
      ])
      if (!store.has(digest)) await refetch(digest, patience)
    } catch (error) {
      log.debug({ digest, code: errorCode(error) }, 'nobody has the blob that has rotted')
      if (isWanted) return 'set-aside'
      await store.dropRotten(digest)
      return 'dropped'
    }
    await store.dropRotten(digest)
    return 'refetched'
  }

  #told(rot: Rot): Rot {
    this.#components.onRot(rot)
    return rot
  }

  #sleep(ms: number): Promise<void> {
    const { signal } = this.#stopping
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        cancel()
        reject(signal.reason)
      }
      const cancel = this.#components.clock.after(ms, () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      })
      signal.addEventListener('abort', onAbort, { once: true })
      if (signal.aborted) onAbort()
    })
  }
}
