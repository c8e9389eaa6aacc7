/** Peers that are proven faulty, for ever, and the proofs. */
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { faultRoot } from '../protocol/evidence-root.js'
import { openFault } from '../protocol/fault.js'
import type { ProvenFault } from '../protocol/fault.js'
import type { Store } from '../store/store.js'
import { Fault } from '../wire/generated/evidence.js'
import type { Faults } from '../wire/generated/evidence.js'
import { publicKeyFromPeerId } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'

const SPACE = 'fault'

/** What is told of a fault; the proof itself stays on disk. */
export interface FaultSummary {
  readonly kind: ProvenFault['kind']
  readonly words: string
  /** Ids of the two messages. */
  readonly first: string
  readonly second: string
}

interface Components {
  readonly network: string
  readonly store: Pick<Store, 'put' | 'get' | 'list' | 'delete'>
  readonly log: Log
  /** Whether a peer matters here: anybody may make keys and accuse them. */
  readonly isKnown: (peer: PeerId) => boolean
  /** Told of every peer that is newly proven faulty. */
  readonly onFaulty: (peer: PeerId, fault: ProvenFault) => void
}

export class FaultBook {
  readonly #components: Components
  /** In the order of arrival. */
  readonly #faults = new Map<PeerId, FaultSummary>()
  #arrivals = 0

  constructor(components: Components) {
    this.#components = components
  }

  async load(): Promise<void> {
    const { store, network, log } = this.#components
    const stored = await store.list(SPACE, LIMITS.faultyPeers)
    const arrivalOf = (text: string): number => Number(text.split(' ')[0])
    for (const [peer, text] of stored.toSorted(([, a], [, b]) => arrivalOf(a) - arrivalOf(b))) {
      try {
        const proven = openFault(network, parseStored(text))
        if (proven.accused.includes(peer as PeerId)) {
          this.#faults.set(peer as PeerId, summaryOf(proven))
          this.#arrivals = arrivalOf(text)
        }
      } catch (error) {
        log.warn({ peer, detail: errorMessage(error) }, 'a stored fault is damaged')
      }
    }
  }

  has(peer: PeerId): boolean {
    return this.#faults.has(peer)
  }

  get(peer: PeerId): FaultSummary | undefined {
    return this.#faults.get(peer)
  }

  get size(): number {
    return this.#faults.size
  }

  /** The accused, sorted. */
  accused(): PeerId[] {
    return [...this.#faults.keys()].sort()
  }

  root(): Uint8Array {
    return faultRoot(this.accused())
  }

  /**
   * Checks a proof and remembers whom it accuses. One proof for each peer is enough.
   *
   * @returns whether it told of anybody new
   * @throws CtdError FAULT_UNPROVEN and what `open` throws
   */
  async take(fault: Fault): Promise<boolean> {
    const proven = openFault(this.#components.network, fault)
    const news = proven.accused.filter((peer) => !this.#faults.has(peer))
    let isNew = false
    for (const peer of news) {
      if (!(await this.#makeRoom(peer))) continue
      isNew = true
      this.#faults.set(peer, summaryOf(proven))
      this.#components.onFaulty(peer, proven)
      await this.#store(peer, fault)
    }
    return isNew
  }

  /** The first proofs that came, with whom each accuses. */
  async first(count: number): Promise<ReadonlyArray<readonly [PeerId, Fault]>> {
    const found: Array<readonly [PeerId, Fault]> = []
    for (const peer of [...this.#faults.keys()].slice(0, count)) {
      const text = await this.#components.store.get(SPACE, peer)
      if (text !== undefined) found.push([peer, parseStored(text)])
    }
    return found
  }

  /** The proofs against the peers that follow `after` in the order of their ids. */
  async list(after: PeerId | undefined, maxBytes: number): Promise<Faults> {
    const faults: Fault[] = []
    let sizeBytes = 0
    let last: PeerId | undefined
    for (const peer of this.accused()) {
      if (after !== undefined && peer <= after) continue
      const text = await this.#components.store.get(SPACE, peer)
      if (text === undefined) continue
      const fault = parseStored(text)
      sizeBytes += fault.first.length + fault.second.length + 16
      if (faults.length > 0 && sizeBytes > maxBytes) {
        return { faults, last: publicKeyFromPeerId(last ?? peer) }
      }
      faults.push(fault)
      last = peer
    }
    return { faults, last: new Uint8Array(0) }
  }

  /** Where there is no room, a peer that nobody knows makes way for one that matters. */
  async #makeRoom(peer: PeerId): Promise<boolean> {
    const { isKnown, store } = this.#components
    if (this.#faults.size < LIMITS.faultyPeers) return true
    if (!isKnown(peer)) return false
    const victim = [...this.#faults.keys()].find((other) => !isKnown(other))
    if (victim === undefined) return false
    this.#faults.delete(victim)
    await store.delete(SPACE, victim)
    return true
  }

  async #store(peer: PeerId, fault: Fault): Promise<void> {
    try {
      this.#arrivals += 1
      const text = `${this.#arrivals} ${Buffer.from(Fault.encode(fault)).toString('base64')}`
      await this.#components.store.put(SPACE, peer, text, true)
    } catch (error) {
      // It counts until the next start, and can be had from others after it.
      const fields = { peer, code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'a fault could not be stored')
    }
  }
}

function summaryOf({ kind, words, first, second }: ProvenFault): FaultSummary {
  return { kind, words, first: first.id, second: second.id }
}

function parseStored(text: string): Fault {
  return Fault.decode(new Uint8Array(Buffer.from(text.split(' ')[1] ?? '', 'base64')))
}
