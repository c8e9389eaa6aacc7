/**
 * The network in memory: gossip to everyone connected, requests to one, with seeded delay, loss,
 * duplication, reordering and partitions. It implements the part of `Transport` that people use.
 */
import { CtdError } from '../../src/errors.js'
import type {
  GossipHandler,
  GossipVerdict,
  PeerEvent,
  RequestHandler,
  Transport,
} from '../../src/network/transport.js'
import type { PeerId } from '../../src/wire/ids.js'
import type { Random } from './random.js'
import type { Life, Timeline } from './timeline.js'

export interface NetworkFaults {
  readonly delayMinMs: number
  readonly delayMaxMs: number
  /** Share of messages that take ten times as long, so that later ones overtake them. */
  readonly slow: number
  /** Share of requests and answers that are lost with their connection. */
  readonly loss: number
  /** Share of gossip messages that never arrive. */
  readonly gossipLoss: number
  readonly duplication: number
}

export interface NetworkObserver {
  /** Something happened; the trace hashes all of it in order. */
  trace(what: string, from: string, to: string, bytes: Uint8Array | undefined): void
  onVerdict(to: PeerId, from: PeerId, bytes: Uint8Array, verdict: GossipVerdict): void
  count(what: string): void
}

type UsedTransport = Pick<
  Transport,
  | 'self'
  | 'subscribe'
  | 'publish'
  | 'request'
  | 'onRequest'
  | 'connectedPeers'
  | 'onPeer'
  | 'prefixOf'
>

/** Requests under way on a connection. */
type Resets = Set<() => void>

interface Station {
  readonly life: Life
  readonly self: PeerId
  /** Whom this process believes to be connected to, in order. */
  peers: readonly PeerId[]
  readonly topics: Map<string, GossipHandler>
  /** Gossip publishes no message twice. */
  readonly published: WeakSet<Uint8Array>
  onRequest: RequestHandler
  onPeer: (event: PeerEvent) => void
}

/** How long a broken connection goes unnoticed; a killed process resets its connections at once. */
const NOTICE_MIN_MS = 500
const NOTICE_MAX_MS = 4000
const RESET_MS = 20
const RECONNECT_MIN_MS = 100
const RECONNECT_MAX_MS = 2000
/** A duplicate may come much later. */
const DUPLICATE_MAX_MS = 5000

export class SimulatedNetwork {
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #observer: NetworkObserver
  readonly #stations = new Map<PeerId, Station>()
  /** Connections as both ends believe: each end's peers, and what a reset of the pair ends. */
  readonly #connected = new Map<PeerId, Map<PeerId, Resets>>()
  /** Directions that let nothing through. */
  readonly #blocked = new Set<string>()
  readonly #prefixes: ReadonlyMap<PeerId, string>
  faults: NetworkFaults

  constructor(
    timeline: Timeline,
    random: Random,
    observer: NetworkObserver,
    options: { readonly faults: NetworkFaults; readonly prefixes: ReadonlyMap<PeerId, string> },
  ) {
    this.#timeline = timeline
    this.#random = random
    this.#observer = observer
    this.#prefixes = options.prefixes
    this.faults = options.faults
  }

  join(self: PeerId, life: Life): UsedTransport {
    const station: Station = {
      life,
      self,
      peers: [],
      topics: new Map(),
      published: new WeakSet(),
      onRequest: () => Promise.reject(new Error('no handler')),
      onPeer: () => undefined,
    }
    this.#stations.set(self, station)
    station.peers = this.#peersOf(self)
    for (const other of this.#stations.keys()) this.#connectSoon(self, other)
    return {
      self,
      subscribe: (topic, handler) => void station.topics.set(topic, handler),
      publish: (topic, bytes) => {
        if (life.isAlive) this.#publish(station, topic, bytes)
        return Promise.resolve()
      },
      request: (peer, bytes, signal) => this.#request(station, peer, bytes, signal),
      onRequest: (handler) => {
        station.onRequest = handler
      },
      connectedPeers: () => station.peers,
      onPeer: (handler) => {
        station.onPeer = handler
      },
      prefixOf: (peer) => this.#prefixes.get(peer) ?? '',
    }
  }

  /** The process is dead; its connections are reset. */
  leave(self: PeerId): void {
    this.#stations.delete(self)
    for (const other of this.#connected.get(self)?.keys() ?? []) {
      this.#disconnectAfter(self, other, RESET_MS)
    }
  }

  /** Nothing passes from one to the other any more. */
  block(from: PeerId, to: PeerId): void {
    this.#blocked.add(`${from}>${to}`)
    const ms = this.#random.between(NOTICE_MIN_MS, NOTICE_MAX_MS)
    if (this.#resetsOf(from, to) !== undefined) this.#disconnectAfter(from, to, ms)
  }

  heal(): void {
    const directions = [...this.#blocked]
    this.#blocked.clear()
    for (const direction of directions) {
      const [from, to] = direction.split('>') as [PeerId, PeerId]
      this.#connectSoon(from, to)
    }
  }

  isReachable(from: PeerId, to: PeerId): boolean {
    return this.#stations.has(to) && this.#stations.has(from) && this.#isOpen(from, to)
  }

  #isOpen(from: PeerId, to: PeerId): boolean {
    if (this.#blocked.size === 0) return true
    return !this.#blocked.has(`${from}>${to}`) && !this.#blocked.has(`${to}>${from}`)
  }

  #peersOf(self: PeerId): PeerId[] {
    return [...(this.#connected.get(self)?.keys() ?? [])].sort()
  }

  #resetsOf(a: PeerId, b: PeerId): Resets | undefined {
    return this.#connected.get(a)?.get(b)
  }

  #connect(a: PeerId, b: PeerId, resets: Resets): void {
    const peers = this.#connected.get(a) ?? new Map<PeerId, Resets>()
    this.#connected.set(a, peers.set(b, resets))
  }

  #connectSoon(a: PeerId, b: PeerId): void {
    if (a === b) return
    const ms = this.#random.between(RECONNECT_MIN_MS, RECONNECT_MAX_MS)
    this.#timeline.after(ms, () => {
      if (this.#resetsOf(a, b) !== undefined || !this.isReachable(a, b)) return
      const resets: Resets = new Set()
      this.#connect(a, b, resets)
      this.#connect(b, a, resets)
      this.#tell(a, b, 'connected')
    })
  }

  #disconnectAfter(a: PeerId, b: PeerId, ms: number): void {
    const before = this.#resetsOf(a, b)
    this.#timeline.after(ms, () => {
      if (before === undefined || this.#resetsOf(a, b) !== before) return
      if (
        this.isReachable(a, b) &&
        this.#stations.get(a)?.life.isAlive === true &&
        ms !== RESET_MS
      ) {
        return // Healed before anybody noticed.
      }
      this.#connected.get(a)?.delete(b)
      this.#connected.get(b)?.delete(a)
      this.#tell(a, b, 'disconnected')
      for (const reset of before) reset()
      if (this.isReachable(a, b)) this.#connectSoon(a, b)
    })
  }

  #tell(a: PeerId, b: PeerId, kind: PeerEvent['kind']): void {
    this.#observer.trace(kind, a, b, undefined)
    for (const [self, peer] of [
      [a, b],
      [b, a],
    ] as const) {
      const station = this.#stations.get(self)
      if (station === undefined) continue
      station.peers = this.#peersOf(self)
      station.life.isTouched = true
      station.onPeer({ peer, kind })
    }
  }

  #delay(): number {
    const { delayMinMs, delayMaxMs, slow } = this.faults
    const ms = this.#random.between(delayMinMs, delayMaxMs)
    if (!this.#random.chance(slow)) return ms
    this.#observer.count('fault:overtaken')
    return ms * 10
  }

  #publish(from: Station, topic: string, bytes: Uint8Array): void {
    if (from.published.has(bytes)) return
    from.published.add(bytes)
    for (const peer of from.peers) this.#gossip(from.self, peer, topic, bytes)
  }

  /** Sends one gossip message to one peer; adversaries use it to tell different things. */
  gossipTo(from: PeerId, to: PeerId, topic: string, bytes: Uint8Array): void {
    this.#gossip(from, to, topic, bytes)
  }

  #gossip(from: PeerId, to: PeerId, topic: string, bytes: Uint8Array): void {
    const { gossipLoss, duplication } = this.faults
    if (this.#random.chance(gossipLoss)) return this.#observer.count('fault:gossip-lost')
    this.#gossipAfter(this.#delay(), from, to, topic, bytes)
    if (!this.#random.chance(duplication)) return
    this.#observer.count('fault:gossip-duplicated')
    this.#gossipAfter(this.#random.between(0, DUPLICATE_MAX_MS), from, to, topic, bytes)
  }

  #gossipAfter(ms: number, from: PeerId, to: PeerId, topic: string, bytes: Uint8Array): void {
    this.#timeline.after(ms, () => {
      const station = this.#stations.get(to)
      const handler = station?.topics.get(topic)
      if (station === undefined || handler === undefined || !this.#isOpen(from, to)) {
        return this.#observer.count('fault:gossip-unreachable')
      }
      station.life.isTouched = true
      this.#observer.trace('gossip', from, to, bytes)
      void handler(bytes, from).then((verdict) => {
        this.#observer.onVerdict(to, from, bytes, verdict)
      })
    })
  }

  /** Over a stream of the connection: no duplicates, but a lost one looks like a reset. */
  #request(from: Station, to: PeerId, bytes: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const resets = this.#resetsOf(from.self, to)
      let isOpen = true
      const end = (finish: () => void): void => {
        if (!isOpen || !from.life.isAlive) return
        isOpen = false
        from.life.isTouched = true
        resets?.delete(reset)
        finish()
      }
      const reset = (): void => {
        end(() => reject(new CtdError('PEER_UNREACHABLE', 'the connection was reset')))
      }
      signal.addEventListener('abort', reset, { once: true })
      if (resets === undefined) {
        // No connection: the dial fails, or makes one that the next request may use.
        this.#timeline.after(this.#delay(), reset)
        this.#connectSoon(from.self, to)
        return
      }
      resets.add(reset)
      const { loss } = this.faults
      if (this.#random.chance(loss)) {
        this.#observer.count('fault:request-lost')
        this.#timeline.after(this.#delay(), reset)
        return
      }
      this.#timeline.after(this.#delay(), () => {
        const station = this.#stations.get(to)
        // Into the void: the asker waits for the reset, or its patience ends.
        if (station === undefined || !this.#isOpen(from.self, to)) return
        station.life.isTouched = true
        this.#observer.trace('request', from.self, to, bytes)
        void station.onRequest(bytes, from.self).then((answer) => {
          if (this.#random.chance(loss)) {
            this.#observer.count('fault:answer-lost')
            this.#timeline.after(this.#delay(), reset)
            return
          }
          this.#timeline.after(this.#delay(), () => {
            if (!station.life.isAlive || !this.#isOpen(from.self, to)) return
            this.#observer.trace('answer', to, from.self, answer)
            end(() => resolve(answer))
          })
        }, reset)
      })
    })
  }
}
