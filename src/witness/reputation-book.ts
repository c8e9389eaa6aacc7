/**
 * The receipts this peer believes, and the scores folded from them. A receipt counts only once
 * the whole chain it rests on has been verified.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { Election } from '../protocol/election.js'
import { explainScore, foldReputation, REPUTATION_RULES, scoreOf } from '../protocol/reputation.js'
import type { EvidenceEffect, ReputationReceipt, Score } from '../protocol/reputation.js'
import { verifySlot } from '../protocol/slot-chain.js'
import type { VerifiedSlot } from '../protocol/slot-chain.js'
import type { Store } from '../store/store.js'
import type { Opened } from '../wire/envelope.js'
import { peerIdFromPublicKey, sha256, toHex, utf8 } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
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
}

export class ReputationBook {
  readonly #components: Components
  readonly #receipts = new Map<string, ReputationReceipt>()
  readonly #elections = new WeakMap<JobRecord, Map<Digest, Election>>()
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
      }
    } catch (error) {
      log.warn({ code: errorCode(error), detail: errorMessage(error) }, 'old receipts stay')
    }
  }

  /**
   * Verifies a receipt's chain and lets it count.
   *
   * @returns what was verified, or undefined when it does not hold
   */
  async take(record: JobRecord, receipt: Opened<'receipt'>): Promise<VerifiedSlot | undefined> {
    let verified: VerifiedSlot
    try {
      verified = verifySlot(
        {
          network: this.#components.network,
          manifest: record.manifest,
          get: (id) => record.get(id),
          elections: this.#electionsOf(record),
          proofs: 'trust',
        },
        receipt,
      )
    } catch (error) {
      const fields = { jobId: record.jobId, code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'receipt not believed')
      return undefined
    }
    if (this.#receipts.has(receipt.id)) return verified
    if (this.#receipts.size >= RECEIPTS_MAX) await this.#prune()
    const entry = reputationReceipt(record.manifest.author, receipt)
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

  /** All receipts of a batch rest on one election. */
  #electionsOf(record: JobRecord): Map<Digest, Election> {
    const elections = this.#elections.get(record) ?? new Map<Digest, Election>()
    this.#elections.set(record, elections)
    return elections
  }

  score(peer: PeerId): Score {
    return scoreOf(this.#fold(), peer)
  }

  scores(): ReadonlyMap<PeerId, Score> {
    return this.#fold()
  }

  explain(peer: PeerId): readonly EvidenceEffect[] {
    const now = this.#components.clock.now()
    return explainScore([...this.#receipts.values()], peer, now).evidence
  }

  /** SHA-256 over the sorted receipt ids: which evidence the scores were folded from. */
  root(): Uint8Array {
    return sha256(utf8('ctd-receipts-v1\0'), ...[...this.#receipts.keys()].sort().map(utf8))
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
