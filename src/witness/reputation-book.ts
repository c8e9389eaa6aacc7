/**
 * The receipts this peer believes, and the scores folded from them. A receipt counts only once
 * the whole chain it rests on has been verified.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { electionOf } from '../protocol/ballot.js'
import type { Ballot } from '../protocol/ballot.js'
import type { Election } from '../protocol/election.js'
import { evidenceRoot } from '../protocol/evidence-root.js'
import { checkOpenings } from '../protocol/proofs.js'
import { explainScore, scoreFrom } from '../protocol/reputation-fold.js'
import { excludedForEver, REPUTATION_RULES } from '../protocol/reputation.js'
import type { EvidenceEffect, ReputationReceipt, Score } from '../protocol/reputation.js'
import { reputationReceipt } from '../protocol/reputation-receipt.js'
import type { Plan } from '../protocol/plan.js'
import { ballotBehind, verifySlot } from '../protocol/slot-chain.js'
import type { VerifiedSlot } from '../protocol/slot-chain.js'
import type { Store } from '../store/store.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { FaultBook } from './fault-book.js'
import type { JobRecord } from './job-record.js'

const SPACE = 'receipt'
const QUOTES = 'evidence-quote'
const RECEIPTS_MAX = 20_000
const QUOTES_MAX = 4096
/** Scores decay over days; folding them once a minute is often enough to show them. */
const FRESH_MS = 60_000

interface Components {
  readonly network: string
  readonly store: Pick<Store, 'put' | 'list' | 'delete'>
  readonly clock: Clock
  readonly log: Log
  /** Peers that are proven faulty are excluded for ever. */
  readonly faults?: Pick<FaultBook, 'has' | 'accused' | 'size'>
  /** Lets other work run between two proofs. */
  readonly pause?: () => Promise<void>
  /** A receipt that is too old to count is not told to others either. */
  readonly onForgotten?: (receiptId: string) => Promise<void>
}

/** The messages a receipt rests on, and the elections among them that were computed already. */
interface Chain {
  readonly manifest: Opened<'manifest'>
  /** The job's, where it is at hand. */
  readonly plan?: Plan
  get(id: string): AnyOpened | undefined
  readonly elections: Map<Digest, Promise<Election>>
}

/** A receipt and when it came, counted from the first one: what was known at a time is a prefix. */
interface Entry {
  readonly receipt: ReputationReceipt
  readonly arrival: number
}

/** How much of the evidence was known when its root was quoted. */
export interface Quote {
  readonly root: string
  readonly receipts: readonly string[]
  readonly faults: number
}

export class ReputationBook {
  readonly #components: Components
  /** In the order of arrival. */
  readonly #receipts = new Map<string, Entry>()
  readonly #ofPeer = new Map<PeerId, ReputationReceipt[]>()
  readonly #elections = new WeakMap<JobRecord, Map<Digest, Promise<Election>>>()
  readonly #scores = new Map<PeerId, { readonly score: Score; readonly atMs: number }>()
  /** By root: how many receipts had come, and how many faults were known. */
  readonly #quotes = new Map<string, { readonly arrivals: number; readonly faults: number }>()
  #arrivals = 0

  constructor(components: Components) {
    this.#components = components
  }

  async load(): Promise<void> {
    const { store, log } = this.#components
    const loaded: Entry[] = []
    for (const [key, text] of await store.list(SPACE, 2 * RECEIPTS_MAX)) {
      const entry = parseEntry(text)
      if (entry !== undefined) loaded.push(entry)
      else log.warn({ key }, 'a receipt is damaged')
    }
    loaded.sort((a, b) => a.arrival - b.arrival)
    for (const entry of loaded) this.#remember(entry)
    for (const [root, text] of await store.list(QUOTES, QUOTES_MAX)) {
      const [arrivals = 0, faults = 0] = text.split(' ').map(Number)
      this.#quotes.set(root, { arrivals, faults })
    }
    await this.#prune()
  }

  #remember(entry: Entry): void {
    const { receipt, arrival } = entry
    this.#receipts.set(receipt.receiptId, entry)
    this.#arrivals = Math.max(this.#arrivals, arrival + 1)
    for (const peer of namedIn(receipt)) {
      const receipts = this.#ofPeer.get(peer) ?? []
      receipts.push(receipt)
      this.#ofPeer.set(peer, receipts)
      this.#scores.delete(peer)
    }
  }

  /** Forgets what is too old to count, and the oldest where there are too many. */
  async #prune(): Promise<void> {
    const { clock, store, log } = this.#components
    const beforeMs = clock.now() - REPUTATION_RULES.horizonMs
    const oldest = [...this.#receipts].sort(([, a], [, b]) => a.receipt.atMs - b.receipt.atMs)
    try {
      for (const [key, { receipt }] of oldest) {
        if (this.#receipts.size < RECEIPTS_MAX && receipt.atMs >= beforeMs) continue
        this.#receipts.delete(key)
        for (const peer of namedIn(receipt)) this.#forgetOf(peer, receipt)
        await store.delete(SPACE, key)
        await this.#components.onForgotten?.(key)
      }
    } catch (error) {
      log.warn({ code: errorCode(error), detail: errorMessage(error) }, 'old receipts stay')
    }
  }

  #forgetOf(peer: PeerId, receipt: ReputationReceipt): void {
    const left = (this.#ofPeer.get(peer) ?? []).filter((other) => other !== receipt)
    if (left.length > 0) this.#ofPeer.set(peer, left)
    else this.#ofPeer.delete(peer)
    this.#scores.delete(peer)
  }

  /**
   * Verifies a receipt's chain, as a witness saw it, and lets it count.
   *
   * @returns what was verified, or undefined when it does not hold
   */
  async take(record: JobRecord, receipt: Opened<'receipt'>): Promise<VerifiedSlot | undefined> {
    const { manifest, plan } = record
    const elections = this.#electionsOf(record)
    return this.admit({ manifest, plan, get: (id) => record.get(id), elections }, receipt)
  }

  /** The same for a chain from elsewhere; the manifest must hold already. */
  async admit(chain: Chain, receipt: Opened<'receipt'>): Promise<VerifiedSlot | undefined> {
    let verified: VerifiedSlot
    try {
      verified = await this.#verify(chain, receipt)
    } catch (error) {
      const jobId = chain.manifest.id
      const fields = { jobId, code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'receipt not believed')
      return undefined
    }
    if (this.#receipts.has(receipt.id)) return verified
    if (this.#receipts.size >= RECEIPTS_MAX) await this.#prune()
    const entry = {
      receipt: reputationReceipt(chain.manifest.author, receipt, verified),
      arrival: this.#arrivals,
    }
    this.#remember(entry)
    try {
      await this.#components.store.put(SPACE, receipt.id, JSON.stringify(entry))
    } catch (error) {
      // It counts until the next start, and can be had from others after it.
      const fields = { code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'a receipt could not be stored')
    }
    return verified
  }

  async #verify(chain: Chain, receipt: Opened<'receipt'>): Promise<VerifiedSlot> {
    const { network } = this.#components
    const elections = new Map<Digest, Election>()
    const source = { ...chain, network, elections, proofs: 'verify' as const }
    const ballot = ballotBehind(source, receipt)
    const { id } = ballot.frozenOpenings
    const election = chain.elections.get(id) ?? this.#proveElection(ballot, chain.manifest.author)
    chain.elections.set(id, election)
    elections.set(id, await election)
    return verifySlot(source, receipt)
  }

  /** All receipts of a batch rest on one election, and its proofs take milliseconds each. */
  async #proveElection(ballot: Ballot, requester: PeerId): Promise<Election> {
    const { network } = this.#components
    for (const _ of checkOpenings(network, ballot)) await this.#components.pause?.()
    return electionOf(network, ballot, requester, 'trust')
  }

  #electionsOf(record: JobRecord): Map<Digest, Promise<Election>> {
    const elections = this.#elections.get(record) ?? new Map<Digest, Promise<Election>>()
    this.#elections.set(record, elections)
    return elections
  }

  /** About now, for those who look. */
  score(peer: PeerId): Score {
    const nowMs = this.#components.clock.now()
    const known = this.#scores.get(peer)
    if (known !== undefined && nowMs - known.atMs <= FRESH_MS) {
      return this.#withFaults(peer, known.score)
    }
    const score = scoreFrom(this.#ofPeer.get(peer) ?? [], peer, nowMs)
    if (this.#ofPeer.has(peer)) this.#scores.set(peer, { score, atMs: nowMs })
    return this.#withFaults(peer, score)
  }

  /** At exactly this time, for what is signed: others fold it again. */
  scoreAt(peer: PeerId, atMs: number): Score {
    return this.#withFaults(peer, scoreFrom(this.#ofPeer.get(peer) ?? [], peer, atMs))
  }

  /** The score of a peer at a time, and what each receipt adds to it then. */
  explain(
    peer: PeerId,
    atMs = this.#components.clock.now(),
  ): { score: Score; evidence: readonly EvidenceEffect[] } {
    const { score, evidence } = explainScore(this.#ofPeer.get(peer) ?? [], peer, atMs)
    return { score: this.#withFaults(peer, score), evidence }
  }

  /** Everybody that a receipt names, sorted. */
  peers(): PeerId[] {
    return [...this.#ofPeer.keys()].sort()
  }

  get size(): number {
    return this.#receipts.size
  }

  /** Which evidence the scores are folded from: the receipts, and the faults if there are any. */
  root(): Uint8Array {
    return evidenceRoot(this.#receipts.keys(), this.#components.faults?.accused() ?? [])
  }

  /** The root, to be quoted beside standings; what it stands for can be told later. */
  quote(): Uint8Array {
    const { store, faults, log } = this.#components
    const root = this.root()
    const key = toHex(root)
    if (this.#quotes.has(key)) return root
    this.#quotes.set(key, { arrivals: this.#arrivals, faults: faults?.size ?? 0 })
    store.put(QUOTES, key, `${this.#arrivals} ${faults?.size ?? 0}`).catch((error: unknown) => {
      log.warn({ detail: errorMessage(error) }, 'a quoted root could not be stored')
    })
    for (const oldest of this.#quotes.keys()) {
      if (this.#quotes.size <= QUOTES_MAX) break
      this.#quotes.delete(oldest)
      store.delete(QUOTES, oldest).catch(() => undefined) // The next start reads one too many.
    }
    return root
  }

  /** The receipts behind a quoted root, in the order they came; undefined where that is forgotten. */
  quoted(root: string): Quote | undefined {
    const quote = this.#quotes.get(root)
    if (quote === undefined) return undefined
    const { arrivals, faults } = quote
    const receipts = [...this.#receipts].flatMap(([id, entry]) =>
      entry.arrival < arrivals ? [id] : [],
    )
    return { root, receipts, faults }
  }

  #withFaults(peer: PeerId, score: Score): Score {
    return this.#components.faults?.has(peer) === true ? excludedForEver(score) : score
  }
}

function namedIn({ executors, unopened }: ReputationReceipt): Set<PeerId> {
  return new Set([...executors.map(({ peer }) => peer), ...(unopened?.peers ?? [])])
}

function parseEntry(text: string): Entry | undefined {
  try {
    const { receipt, arrival } = JSON.parse(text) as Partial<Entry>
    return receipt !== undefined && typeof arrival === 'number' ? { receipt, arrival } : undefined
  } catch {
    return undefined // Damaged: the caller says so.
  }
}
