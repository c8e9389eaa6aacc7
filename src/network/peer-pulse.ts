/**
 * Finds peers that are gone without a goodbye (power cut, cable pulled): each is pinged once a
 * minute, and hung up on after two rounds without an answer. libp2p's own monitor is off, because
 * one late answer of a busy peer makes it cut a running transfer.
 */
import { NETWORK_LIMITS } from './limits.js'

export interface PeerPulseComponents {
  peers(): readonly string[]
  ping(peer: string, signal: AbortSignal): Promise<unknown>
  hangUp(peer: string): Promise<unknown>
}

export class PeerPulse {
  readonly #components: PeerPulseComponents
  readonly #misses = new Map<string, number>()
  #abort: AbortController | undefined
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined

  constructor(components: PeerPulseComponents) {
    this.#components = components
  }

  start(): void {
    if (this.#abort !== undefined) return
    this.#abort = new AbortController()
    this.#schedule()
  }

  async stop(): Promise<void> {
    this.#abort?.abort()
    this.#abort = undefined
    clearTimeout(this.#timer)
    await this.#round
    this.#misses.clear()
  }

  #schedule(): void {
    if (this.#abort === undefined) return
    this.#timer = setTimeout(() => {
      this.#round = this.#runRound().finally(() => {
        this.#round = undefined
        this.#schedule()
      })
    }, NETWORK_LIMITS.pulseMs)
    this.#timer.unref()
  }

  async #runRound(): Promise<void> {
    const signal = this.#abort?.signal
    if (signal === undefined) return
    const peers = [...this.#components.peers()]
    for (const peer of this.#misses.keys()) if (!peers.includes(peer)) this.#misses.delete(peer)
    const worker = async (): Promise<void> => {
      for (let peer = peers.shift(); peer !== undefined; peer = peers.shift()) {
        if (signal.aborted) return
        await this.#check(peer, signal)
      }
    }
    await Promise.all(Array.from({ length: NETWORK_LIMITS.pulsesAtOnce }, worker))
  }

  async #check(peer: string, signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(NETWORK_LIMITS.pulseAnswerMs)])
    try {
      await this.#components.ping(peer, limit)
      this.#misses.delete(peer)
    } catch {
      if (signal.aborted) return
      const misses = (this.#misses.get(peer) ?? 0) + 1
      this.#misses.set(peer, misses)
      if (misses < NETWORK_LIMITS.pulseMisses) return
      this.#misses.delete(peer)
      // A connection that cannot be closed cleanly is gone all the same.
      await this.#components.hangUp(peer).catch(() => {})
    }
  }
}
