/**
 * What this peer has seen of others as providers of blobs: who served well, who sent wrong bytes,
 * who stalled. It decides whom to ask first and whom not at all. It is a local judgement and no
 * evidence for anybody else: pieces are not signed, and a signature would not change that, since a
 * liar would sign the right digest and send other bytes.
 */
import type { Clock } from '../clock.js'
import type { PeerId } from '../wire/ids.js'
import { BLOB_LIMITS } from './limits.js'
import type { PeerFault } from './peer-fault.js'

/** For people. */
export interface ProviderStanding {
  /** 1 for a peer against which nothing is known, falling towards 0. */
  readonly standing: number
  /** Verified bytes that came from it. */
  readonly servedBytes: number
  readonly faults: number
  readonly lastFault: PeerFault | ''
  readonly lastFaultMs: number | null
  /** Until when it is asked for nothing. */
  readonly avoidedUntilMs: number | null
}

/** Where standings are written down, by peer; a space of the daemon's database. */
export interface StandingLedger {
  put(peer: PeerId, text: string): Promise<void>
  delete(peer: PeerId): Promise<void>
  list(limit: number): Promise<ReadonlyArray<readonly [string, string]>>
}

export interface ProviderStandingsComponents {
  readonly clock: Pick<Clock, 'now'>
  /** Without one the past is forgotten with the process. */
  readonly ledger?: StandingLedger
  /** A standing that could not be written down. */
  readonly onUnwritten?: (error: unknown) => void
}

/** A peer's record. Weights are as of `atMs` and halve in `standingHalfMs`. */
interface Entry {
  atMs: number
  /** What was provably wrong, to us: bytes and frames. */
  wrong: number
  /** What may have been bad luck; served bytes make up for it. */
  trouble: number
  servedBytes: number
  faults: number
  lastFault: PeerFault | ''
  lastFaultMs: number | null
  avoidedUntilMs: number | null
}

const WRONG: Readonly<Partial<Record<PeerFault, number>>> = { corrupt: 8, malformed: 4 }
const TROUBLE: Readonly<Partial<Record<PeerFault, number>>> = {
  'too-large': 1,
  stalled: 1,
  slow: 0.5,
}
/** So many served bytes make up for one stall. */
const FORGIVEN_BYTES = 16 * 1024 ** 2
const WEIGHT_MAX = 64
/** Weights below this are as good as none. */
const WEIGHT_MIN = 0.01
/** How often an hour without questions may double. */
const DOUBLINGS_MAX = 5

export class ProviderStandings {
  readonly #components: ProviderStandingsComponents
  /** The one that was heard of longest ago first. */
  readonly #entries = new Map<PeerId, Entry>()
  #writing: Promise<void> = Promise.resolve()

  constructor(components: ProviderStandingsComponents) {
    this.#components = components
  }

  /** Remembers what earlier processes saw. */
  async load(): Promise<void> {
    for (const [peer, text] of (await this.#components.ledger?.list(BLOB_LIMITS.faultyPeers)) ??
      []) {
      const entry = parseEntry(text)
      if (entry !== undefined) this.#entries.set(peer as PeerId, entry)
    }
  }

  onFault(peer: PeerId, fault: PeerFault): void {
    const wrong = WRONG[fault] ?? 0
    const trouble = TROUBLE[fault] ?? 0
    if (wrong + trouble === 0) return
    const entry = this.#entryOf(peer)
    const nowMs = this.#components.clock.now()
    entry.wrong = Math.min(WEIGHT_MAX, entry.wrong + wrong)
    entry.trouble = Math.min(WEIGHT_MAX, entry.trouble + trouble)
    entry.faults += 1
    entry.lastFault = fault
    entry.lastFaultMs = nowMs
    if (fault === 'corrupt') {
      // An hour for the first, two for the second, as long as the first is remembered.
      const times = Math.round(entry.wrong / (WRONG.corrupt ?? 1))
      const doublings = Math.min(DOUBLINGS_MAX, Math.max(0, times - 1))
      entry.avoidedUntilMs = nowMs + BLOB_LIMITS.corruptMs * 2 ** doublings
    }
    this.#write(peer, entry)
  }

  /** A peer delivered something right. */
  onPiece(peer: PeerId, sizeBytes: number): void {
    const entry = this.#entryOf(peer)
    entry.servedBytes += sizeBytes
    entry.trouble = Math.max(0, entry.trouble - sizeBytes / FORGIVEN_BYTES)
  }

  /** Whether it sent wrong bytes so lately that it is asked for nothing. */
  isAvoided(peer: PeerId): boolean {
    const untilMs = this.#entries.get(peer)?.avoidedUntilMs
    return untilMs !== undefined && untilMs !== null && this.#components.clock.now() < untilMs
  }

  /** What speaks against asking a peer: 0 for nothing, 1 for about one stall of late. */
  burdenOf(peer: PeerId): number {
    const entry = this.#entries.get(peer)
    if (entry === undefined) return 0
    this.#fade(entry)
    return entry.wrong + entry.trouble
  }

  get(peer: PeerId): ProviderStanding {
    const entry = this.#entries.get(peer)
    const standing = 1 / (1 + this.burdenOf(peer))
    if (entry === undefined) {
      return {
        ...{ standing, servedBytes: 0, faults: 0 },
        ...{ lastFault: '', lastFaultMs: null, avoidedUntilMs: null },
      }
    }
    const { servedBytes, faults, lastFault, lastFaultMs, avoidedUntilMs } = entry
    const isOver = avoidedUntilMs !== null && avoidedUntilMs <= this.#components.clock.now()
    return {
      ...{ standing, servedBytes, faults, lastFault, lastFaultMs },
      avoidedUntilMs: isOver ? null : avoidedUntilMs,
    }
  }

  /** Resolves when all that was seen is written down. */
  async stop(): Promise<void> {
    await this.#writing
  }

  /** Moved to the end; the one heard of longest ago goes where there are too many. */
  #entryOf(peer: PeerId): Entry {
    const entry = this.#entries.get(peer) ?? {
      ...{ atMs: this.#components.clock.now(), wrong: 0, trouble: 0, servedBytes: 0, faults: 0 },
      ...{ lastFault: '' as const, lastFaultMs: null, avoidedUntilMs: null },
    }
    this.#fade(entry)
    this.#entries.delete(peer)
    this.#entries.set(peer, entry)
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined && this.#entries.size > BLOB_LIMITS.faultyPeers) {
      this.#entries.delete(oldest)
      this.#queue(async (ledger) => ledger.delete(oldest))
    }
    return entry
  }

  #fade(entry: Entry): void {
    const nowMs = this.#components.clock.now()
    const left = 0.5 ** (Math.max(0, nowMs - entry.atMs) / BLOB_LIMITS.standingHalfMs)
    entry.wrong = faded(entry.wrong * left)
    entry.trouble = faded(entry.trouble * left)
    entry.atMs = nowMs
  }

  #write(peer: PeerId, entry: Entry): void {
    const text = JSON.stringify(entry)
    this.#queue(async (ledger) => ledger.put(peer, text))
  }

  #queue(step: (ledger: StandingLedger) => Promise<void>): void {
    const { ledger, onUnwritten } = this.#components
    if (ledger === undefined) return
    this.#writing = this.#writing
      .then(() => step(ledger))
      .catch((error: unknown) => {
        onUnwritten?.(error)
      })
  }
}

function faded(weight: number): number {
  return weight < WEIGHT_MIN ? 0 : weight
}

/** Our own record; one that is damaged says nothing. */
function parseEntry(text: string): Entry | undefined {
  try {
    const entry = Object(JSON.parse(text)) as Entry
    const numbers = [entry.atMs, entry.wrong, entry.trouble, entry.servedBytes, entry.faults]
    return numbers.every((value) => Number.isFinite(value)) ? entry : undefined
  } catch {
    return undefined
  }
}
