/** How far a fetch is, how fast, from whom; told a few times a second at most. */
import type { PeerId } from '../wire/ids.js'
import { BLOB_LIMITS } from './limits.js'
import type { PeerFault } from './peer-fault.js'
import type { SourceState } from './peer-fetch.js'

export interface FetchSource {
  readonly peer: PeerId
  /** Verified bytes that came from it in this fetch. */
  readonly bytes: number
  /** What it does now, or why it was left. */
  readonly state: SourceState | PeerFault
}

export interface FetchProgress {
  /** Verified bytes so far, those of earlier runs included. */
  readonly doneBytes: number
  /** 0 until the manifest is known. */
  readonly totalBytes: number
  /** Averaged over some seconds, the last ones weighing most. */
  readonly ratePerSecond: number
  /** Milliseconds to the end at that rate; absent while nothing comes. */
  readonly etaMs?: number
  readonly sources: readonly FetchSource[]
}

const AVERAGE_MS = 3000

/**
 * An exponentially weighted moving average of bytes per second, over the time that there was: a
 * first short interval weighs as little as it is long.
 */
export class RateMeter {
  #atMs: number
  #bytes: number
  #sum = 0
  #weight = 0

  constructor(bytes: number, nowMs: number) {
    this.#bytes = bytes
    this.#atMs = nowMs
  }

  /** @param bytes - all bytes so far */
  update(bytes: number, nowMs: number): number {
    const elapsedMs = nowMs - this.#atMs
    if (elapsedMs > 0) {
      const kept = Math.exp(-elapsedMs / AVERAGE_MS)
      const rate = ((bytes - this.#bytes) * 1000) / elapsedMs
      this.#sum = this.#sum * kept + rate * (1 - kept)
      this.#weight = this.#weight * kept + (1 - kept)
      this.#bytes = bytes
      this.#atMs = nowMs
    }
    return this.#weight === 0 ? 0 : this.#sum / this.#weight
  }
}

/** Lets a call through at once where none came lately, else the last of many a little later. */
export class Throttle {
  readonly #call: () => void
  #timer: NodeJS.Timeout | undefined
  #isDue = false

  constructor(call: () => void) {
    this.#call = call
  }

  trigger(): void {
    this.#isDue = true
    if (this.#timer === undefined) this.#fire()
  }

  /** Calls now if a call is due, and never again. */
  stop(): void {
    clearTimeout(this.#timer)
    if (this.#isDue) this.#call()
    this.#isDue = false
  }

  #fire(): void {
    this.#timer = undefined
    if (!this.#isDue) return
    this.#isDue = false
    this.#timer = setTimeout(() => this.#fire(), BLOB_LIMITS.progressMs)
    this.#call()
  }
}
