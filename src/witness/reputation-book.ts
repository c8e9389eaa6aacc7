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
import {
  excludedForEver,
  explainScore,
  foldReputation,
  REPUTATION_RULES,
  scoreOf,
} from '../protocol/reputation.js'
import type { EvidenceEffect, ReputationReceipt, Score } from '../protocol/reputation.js'
import { ballotBehind, verifySlot } from '../protocol/slot-chain.js'
import type { VerifiedSlot } from '../protocol/slot-chain.js'
import type { Store } from '../store/store.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { FaultBook } from './fault-book.js'
import type { JobRecord } from './job-record.js'

const SPACE = 'receipt'
const RECEIPTS_MAX = 20_000
/** Scores decay over days; folding them once a minute is often enough. */
const FRESH_MS = 60_000

interface Components {
  readonly network: string
  readonly store: Pick<Store, 'put' | 'list' | 'delete'>
  readonly clock: Clock
  readonly log: Log
  /** Peers that are proven faulty are excluded for ever. */
  readonly faults?: Pick<FaultBook, 'has' | 'accused'>
  /** Lets other work run between two proofs. */
  readonly pause?: () => Promise<void>
  /** A receipt that is too old to count is not told to others either. */
  readonly onForgotten?: (receiptId: string) => Promise<void>
}

/** The messages a receipt rests on, and the elections among them that were computed already. */
interface Chain {
  readonly manifest: Opened<'manifest'>
  get(id: string): AnyOpened | undefined
  readonly elections: Map<Digest, Promise<Election>>
}

export class ReputationBook {
  readonly #components: Components
  readonly #receipts = new Map<string, ReputationReceipt>()
  readonly #elections = new WeakMap<JobRecord, Map<Digest, Promise<Election>>>()
  #scores: ReadonlyMap<PeerId, Score> = new Map()
  #foldedMs = 0

  constructor(components: Components) {
    this.#components = components
  }

  async load(): Promise<void> {
    const loaded: Array<[string, ReputationReceipt]> = []
    for (const [key, text] of await this.#components.store.list(SPACE, 2 * RECEIPTS_MAX)) {
      try {
        loaded.push([key, JSON.parse(text) as ReputationReceipt])
      } catch (error) {
        this.#components.log.warn({ key, detail: errorMessage(error) }, 'a receipt is damaged')
      }
    }
    loaded.sort(([, a], [, b]) => a.atMs - b.atMs)
    for (const [key, receipt] of loaded) this.#receipts.set(key, receipt)
    await this.#prune()
  }

  /** Forgets what is too old to count, and the oldest where there are too many. */
  async #prune(): Promise<void> {
    const { clock, store, log } = this.#components
    const beforeMs = clock.now() - REPUTATION_RULES.horizonMs
    try {
      for (const [key, { atMs }] of this.#receipts) {
        if (this.#receipts.size < RECEIPTS_MAX && atMs >= beforeMs) continue
        this.#receipts.delete(key)
        await store.delete(SPACE, key)
        await this.#components.onForgotten?.(key)
      }
    } catch (error) {
      log.warn({ code: errorCode(error), detail: errorMessage(error) }, 'old receipts stay')
    }
  }

  /**
   * Verifies a receipt's chain, as a witness saw it, and lets it count.
   *
   * @returns what was verified, or undefined when it does not hold
   */
  async take(record: JobRecord, receipt: Opened<'receipt'>): Promise<VerifiedSlot | undefined> {
    const { manifest } = record
    const elections = this.#electionsOf(record)
    return this.admit({ manifest, get: (id) => record.get(id), elections }, receipt)
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
    const entry = reputationReceipt(chain.manifest.author, receipt)
    this.#receipts.set(receipt.id, entry)
    this.#foldedMs = 0
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

  score(peer: PeerId): Score {
    return this.#withFaults(peer, scoreOf(this.#fold(), peer))
  }

  /** The score of a peer at a time, and what each receipt adds to it then. */
  explain(
    peer: PeerId,
    atMs = this.#components.clock.now(),
  ): { score: Score; evidence: readonly EvidenceEffect[] } {
    const { score, evidence } = explainScore([...this.#receipts.values()], peer, atMs)
    return { score: this.#withFaults(peer, score), evidence }
  }

  /** Everybody that a receipt names, sorted. */
  peers(): PeerId[] {
    return [...this.#fold().keys()].sort()
  }

  get size(): number {
    return this.#receipts.size
  }

  /** Which evidence the scores are folded from: the receipts, and the faults if there are any. */
  root(): Uint8Array {
    return evidenceRoot(this.#receipts.keys(), this.#components.faults?.accused() ?? [])
  }

  #withFaults(peer: PeerId, score: Score): Score {
    return this.#components.faults?.has(peer) === true ? excludedForEver(score) : score
  }

  #fold(): ReadonlyMap<PeerId, Score> {
    const now = this.#components.clock.now()
    if (now - this.#foldedMs > FRESH_MS) {
      this.#scores = foldReputation([...this.#receipts.values()], now)
      this.#foldedMs = now
    }
    return this.#scores
  }
}

function reputationReceipt(requester: PeerId, receipt: Opened<'receipt'>): ReputationReceipt {
  const { message } = receipt
  return {
    receiptId: receipt.id,
    taskId: toHex(message.taskId),
    requester,
    atMs: message.closedMs,
    young: message.young,
    stewards: receipt.authors.length,
    executors: message.executors.map(({ peer, operator, outcome, durationMs, root }) => ({
      peer: peerIdFromPublicKey(peer),
      operator: peerIdFromPublicKey(operator),
      outcome: outcome as ReputationReceipt['executors'][number]['outcome'],
      durationMs,
      ...(outcome === 'dissented' ? { wrongRoot: toHex(root) } : {}),
    })),
  }
}
