/**
 * One token bucket per peer: how often a peer may ask. The map itself is bounded; when it is full
 * the peer that was quiet the longest is forgotten.
 */
import { NETWORK_LIMITS } from './limits.js'

interface Bucket {
  tokens: number
  filledAtMs: number
}

export class TokenBuckets {
  readonly #buckets = new Map<string, Bucket>()
  readonly #perSecond: number
  readonly #burst: number
  readonly #nowMs: () => number

  /** @param options - tokens per second and the most that gather; `nowMs` is monotonic */
  constructor(options: { perSecond: number; burst: number; nowMs?: () => number }) {
    this.#perSecond = options.perSecond
    this.#burst = options.burst
    this.#nowMs = options.nowMs ?? (() => performance.now())
  }

  /** Takes one token; false where the bucket is empty. */
  take(name: string): boolean {
    const nowMs = this.#nowMs()
    const old = this.#buckets.get(name) ?? { tokens: this.#burst, filledAtMs: nowMs }
    const gained = ((nowMs - old.filledAtMs) / 1000) * this.#perSecond
    const tokens = Math.min(this.#burst, old.tokens + gained)
    this.#buckets.delete(name)
    this.#buckets.set(name, { tokens: tokens >= 1 ? tokens - 1 : tokens, filledAtMs: nowMs })
    if (this.#buckets.size > NETWORK_LIMITS.knownPeers) {
      const [oldest] = this.#buckets.keys()
      if (oldest !== undefined) this.#buckets.delete(oldest)
    }
    return tokens >= 1
  }
}
