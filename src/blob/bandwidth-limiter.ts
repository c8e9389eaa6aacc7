/**
 * The owner's bandwidth quota: a bucket of bytes that refills steadily. Whoever takes more than is
 * there waits for its turn, so that the average holds over any second.
 */
import { setTimeout as delay } from 'node:timers/promises'

export class BandwidthLimiter {
  readonly #bytesPerSecond: number
  /** When all that was taken so far will have been paid for. */
  #paidUntilMs = 0

  /** @param bytesPerSecond - `Infinity` for no limit */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond
  }

  /** How long the next taker would wait, milliseconds. */
  get backlogMs(): number {
    return Math.max(0, this.#paidUntilMs - performance.now())
  }

  /** Resolves when `bytes` may pass; rejects when the signal aborts first. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#bytesPerSecond === Infinity) return
    const nowMs = performance.now()
    const startMs = Math.max(nowMs, this.#paidUntilMs)
    this.#paidUntilMs = startMs + (bytes / this.#bytesPerSecond) * 1000
    if (startMs > nowMs) await delay(startMs - nowMs, undefined, { signal })
  }
}
