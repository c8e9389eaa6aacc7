/**
 * Reputation: a fold over signed receipts, the same for everybody who holds the same set, in
 * whatever order it arrived.
 */
import { InvariantError } from '../errors.js'
import type { PeerId } from '../wire/ids.js'
import { compareText, decayed, PPM } from './integer.js'
import { EvidenceReader } from './reputation-evidence.js'
import type { Evidence } from './reputation-evidence.js'
import { NEWCOMER, ONE, REPUTATION_RULES } from './reputation.js'
import type { EvidenceEffect, ReputationReceipt, Score, WorkScore } from './reputation.js'

const MICRO = 1_000_000n

/**
 * Folds receipts into the score of every peer they name.
 *
 * Receipts are put in the order of their closing (ties by id) first, so the result depends on the
 * set alone. Repeated receipts, receipts later than `nowMs` and receipts older than 120 days count
 * nothing; of several receipts of one task each kind of evidence about a peer counts once.
 *
 * @param nowMs - the end of the epoch that is being folded, Unix time in ms
 */
export function foldReputation(
  receipts: readonly ReputationReceipt[],
  nowMs: number,
): Map<PeerId, Score> {
  const fold = new OrderedFold()
  for (const receipt of inOrder(receipts, nowMs)) fold.add(receipt)
  return new Map(fold.peers().map((peer) => [peer, fold.scoreAt(peer, nowMs)]))
}

/** The same for one peer alone; receipts that do not name it make no difference. */
export function scoreFrom(
  receipts: readonly ReputationReceipt[],
  peer: PeerId,
  nowMs: number,
): Score {
  const fold = new OrderedFold(peer)
  for (const receipt of inOrder(receipts, nowMs)) fold.add(receipt)
  return fold.scoreAt(peer, nowMs)
}

/**
 * The score of one peer and what each receipt adds to it now, oldest first. The parts sum to the
 * score except for credit beyond the maximum and the failure kept after an exclusion.
 */
export function explainScore(
  receipts: readonly ReputationReceipt[],
  peer: PeerId,
  nowMs: number,
): { score: Score; evidence: EvidenceEffect[] } {
  const reader = new EvidenceReader(peer)
  const evidence = inOrder(receipts, nowMs).flatMap((receipt) =>
    [...reader.read(receipt)].map(([, item]) => item),
  )
  const { score, returnedAtMs } = replay(evidence, nowMs)
  let halvings = 0n
  const effects = evidence.toReversed().map((item): EvidenceEffect => {
    const isBefore = returnedAtMs !== undefined && item.atMs < returnedAtMs
    const age = nowMs - item.atMs
    const credit = isBefore ? 0n : decayed(item.credit, age, REPUTATION_RULES.creditHalfLifeMs)
    const failure = isBefore ? 0n : decayed(item.failure, age, REPUTATION_RULES.failureHalfLifeMs)
    const { receiptId, taskId, atMs, young, kind } = item
    const creditMicro = Number((credit >> halvings) / MICRO)
    const failureMicro = Number(failure / MICRO)
    halvings += item.halvings
    const words = isBefore ? `${item.words}; settled by an exclusion` : item.words
    return { receiptId, taskId, atMs, young, kind, creditMicro, failureMicro, words }
  })
  return { score, evidence: effects.reverse() }
}

/** Those that count, each once, in the order of their closing (ties by id). */
function inOrder(receipts: readonly ReputationReceipt[], nowMs: number): ReputationReceipt[] {
  const unique = new Map(receipts.map((receipt) => [receipt.receiptId, receipt]))
  return [...unique.values()]
    .filter(({ atMs }) => atMs <= nowMs && atMs > nowMs - REPUTATION_RULES.horizonMs)
    .sort(compareReceipts)
}

function compareReceipts(a: ReputationReceipt, b: ReputationReceipt): number {
  return a.atMs - b.atMs || compareText(a.receiptId, b.receiptId)
}

/** The fold for receipts that come in order, to be asked in between. */
export class OrderedFold {
  readonly #reader: EvidenceReader
  readonly #ledgers = new Map<PeerId, Ledger>()
  #last: ReputationReceipt | undefined

  /** @param only - who will be asked for; everybody where absent */
  constructor(only?: PeerId) {
    this.#reader = new EvidenceReader(only)
  }

  /**
   * Takes a receipt that closed no earlier than those before (ties by id), within the horizon of
   * every time that is asked for.
   *
   * @throws InvariantError when it is out of order
   */
  add(receipt: ReputationReceipt): void {
    if (this.#last !== undefined && compareReceipts(this.#last, receipt) >= 0) {
      throw new InvariantError('receipts are folded in the order of their closing')
    }
    this.#last = receipt
    for (const [peer, evidence] of this.#reader.read(receipt)) {
      const ledger = this.#ledgers.get(peer) ?? new Ledger()
      this.#ledgers.set(peer, ledger)
      ledger.apply(evidence)
    }
  }

  /** Everybody that a receipt named. */
  peers(): PeerId[] {
    return [...this.#ledgers.keys()]
  }

  /** @param nowMs - no earlier than the last receipt */
  scoreAt(peer: PeerId, nowMs: number): Score {
    const ledger = this.#ledgers.get(peer)?.copy()
    ledger?.advance(nowMs)
    return ledger?.result().score ?? NEWCOMER
  }
}

/** Credit and failure that decay between events. */
interface Balance {
  credit: bigint
  failure: bigint
}

/** The state of one peer while its evidence is replayed. Amounts in `ONE`s. */
class Ledger {
  readonly #all: Balance = { credit: 0n, failure: 0n }
  /** Without the wrong results of young networks: they never exclude. */
  readonly #mature: Balance = { credit: 0n, failure: 0n }
  #delivered = 0n
  #undelivered = 0n
  #speedPpm = PPM
  #accepted = 0
  #coOperators = new Set<string>()
  #wrongs = 0
  #exclusions = 0
  /** Never changed in place: copies share it. */
  #work: Score['work'] = {}
  #untilMs: number | undefined
  #returnedAtMs: number | undefined
  #lastMs: number | undefined

  /** To let time pass in, not to apply anything to: the sets are shared. */
  copy(): Ledger {
    const copy = new Ledger()
    Object.assign(copy.#all, this.#all)
    Object.assign(copy.#mature, this.#mature)
    copy.#delivered = this.#delivered
    copy.#undelivered = this.#undelivered
    copy.#speedPpm = this.#speedPpm
    copy.#accepted = this.#accepted
    copy.#coOperators = this.#coOperators
    copy.#wrongs = this.#wrongs
    copy.#exclusions = this.#exclusions
    copy.#work = this.#work
    copy.#untilMs = this.#untilMs
    copy.#returnedAtMs = this.#returnedAtMs
    copy.#lastMs = this.#lastMs
    return copy
  }

  /** Lets time pass, through the end of an exclusion if one falls in between. */
  advance(toMs: number): void {
    if (this.#untilMs !== undefined && this.#untilMs <= toMs) {
      const untilMs = this.#untilMs
      this.#decay(untilMs)
      this.#returnAsProbationer(untilMs)
    }
    this.#decay(toMs)
  }

  apply(item: Evidence): void {
    this.advance(item.atMs)
    const isYoungWrong = item.young && item.halvings > 0n
    this.#settle(this.#all, item)
    if (!isYoungWrong) this.#settle(this.#mature, item)
    if (item.delivered) this.#delivered += ONE
    if (item.undelivered) this.#undelivered += ONE
    if (item.accepted) this.#accepted++
    for (const operator of item.coOperators) this.#coOperators.add(operator)
    if (item.speedPpm !== undefined) {
      this.#speedPpm += Math.trunc((item.speedPpm - this.#speedPpm) / REPUTATION_RULES.speedParts)
    }
    if (item.halvings > 0n && !item.young) this.#wrongs++
    this.#countWork(item)
    if (item.failure > 0n) this.#excludeIfDue(item.atMs)
  }

  result(): { score: Score; returnedAtMs: number | undefined } {
    const { establishedAccepted, establishedOperators } = REPUTATION_RULES
    const score: Score = {
      reliabilityPpm: reliabilityOf(this.#all),
      availabilityPpm: Number(
        ((this.#delivered + ONE) * BigInt(PPM)) / (this.#delivered + this.#undelivered + 2n * ONE),
      ),
      speedPpm: this.#speedPpm,
      accepted: this.#accepted,
      coOperators: this.#coOperators.size,
      established:
        this.#accepted >= establishedAccepted && this.#coOperators.size >= establishedOperators,
      excluded: this.#untilMs !== undefined,
      excludedUntilMs: this.#untilMs,
      creditMicro: Number(this.#all.credit / MICRO),
      failureMicro: Number(this.#all.failure / MICRO),
      wrongs: this.#wrongs,
      exclusions: this.#exclusions,
      work: this.#work,
    }
    return { score, returnedAtMs: this.#returnedAtMs }
  }

  #countWork(item: Evidence): void {
    const isWrong = item.halvings > 0n && !item.young
    if (!item.accepted && !isWrong) return
    const before = this.#work[item.work] ?? { accepted: 0, wrongs: 0, speedPpm: PPM }
    const { speedParts } = REPUTATION_RULES
    const gainedPpm = (item.speedPpm ?? before.speedPpm) - before.speedPpm
    const after: WorkScore = {
      accepted: before.accepted + (item.accepted ? 1 : 0),
      wrongs: before.wrongs + (isWrong ? 1 : 0),
      speedPpm: before.speedPpm + Math.trunc(gainedPpm / speedParts),
    }
    this.#work = { ...this.#work, [item.work]: after }
  }

  #settle(balance: Balance, item: Evidence): void {
    const credit = (balance.credit >> item.halvings) + item.credit
    const { creditMax } = REPUTATION_RULES
    balance.credit = credit < creditMax ? credit : creditMax
    balance.failure += item.failure
  }

  #decay(toMs: number): void {
    const age = toMs - (this.#lastMs ?? toMs)
    this.#lastMs = toMs
    const { creditHalfLifeMs, failureHalfLifeMs, availabilityHalfLifeMs } = REPUTATION_RULES
    for (const balance of [this.#all, this.#mature]) {
      balance.credit = decayed(balance.credit, age, creditHalfLifeMs)
      balance.failure = decayed(balance.failure, age, failureHalfLifeMs)
    }
    this.#delivered = decayed(this.#delivered, age, availabilityHalfLifeMs)
    this.#undelivered = decayed(this.#undelivered, age, availabilityHalfLifeMs)
  }

  #excludeIfDue(atMs: number): void {
    const { exclusionReliabilityPpm, exclusionWrongs, exclusionMs, exclusionMaxMs } =
      REPUTATION_RULES
    if (this.#untilMs !== undefined || this.#wrongs < exclusionWrongs) return
    if (reliabilityOf(this.#mature) >= exclusionReliabilityPpm) return
    // Beyond four doublings the maximum rules, so the power stays small.
    const doublings = Math.min(this.#exclusions, 4)
    this.#untilMs = atMs + Math.min(exclusionMs * 2 ** doublings, exclusionMaxMs)
    this.#exclusions++
  }

  #returnAsProbationer(atMs: number): void {
    const { returnFailure } = REPUTATION_RULES
    for (const balance of [this.#all, this.#mature]) {
      balance.credit = 0n
      if (balance.failure > returnFailure) balance.failure = returnFailure
    }
    this.#accepted = 0
    this.#coOperators = new Set()
    this.#wrongs = 0
    this.#work = {}
    this.#untilMs = undefined
    this.#returnedAtMs = atMs
  }
}

function replay(
  evidence: readonly Evidence[],
  nowMs: number,
): { score: Score; returnedAtMs: number | undefined } {
  const ledger = new Ledger()
  for (const item of evidence) ledger.apply(item)
  ledger.advance(nowMs)
  return ledger.result()
}

/** R = (S + 0.1 · 4) / (S + F + 4), parts per million. */
function reliabilityOf({ credit, failure }: Balance): number {
  const { priorCredit, priorWeight } = REPUTATION_RULES
  return Number(((credit + priorCredit) * BigInt(PPM)) / (credit + failure + priorWeight))
}
