/**
 * Reputation: a fold over signed receipts, the same for everybody who holds the same set, in
 * whatever order it arrived. Formulas and constants: trust.md 2.6; young networks: DESIGN.md 4.
 */
import type { PeerId } from '../wire/ids.js'
import { compareText, decayed, PPM } from './integer.js'

export type ReceiptOutcome =
  | 'agreed'
  /** Wrong at a full margin: a strike. */
  | 'dissented'
  /** Another result without a strike. */
  | 'spared'
  /** Committed or elected, then silent on purpose: no reveal, no opening. */
  | 'withheld'
  | 'timed-out'
  /** Said itself that the container failed. */
  | 'failed'

export interface ReceiptExecutor {
  readonly peer: PeerId
  readonly operator: string
  readonly outcome: ReceiptOutcome
  /** The root of a dissent; equal roots of two losers count as collusion. */
  readonly wrongRoot?: string
  /** Time from seat to commitment; 0 where unknown. */
  readonly durationMs: number
}

/** Bidders of an election that did not open: each may have done so to turn the draw its way. */
export interface Unopened {
  /** Names the election; all receipts of a batch speak of the same one. */
  readonly election: string
  /** Stewards that signed the openings. */
  readonly stewards: number
  readonly peers: readonly PeerId[]
}

/** What reputation needs of a receipt. */
export interface ReputationReceipt {
  readonly receiptId: string
  readonly taskId: string
  readonly requester: PeerId
  /** When the task closed, Unix time in ms. */
  readonly atMs: number
  readonly young: boolean
  /** Stewards that signed. */
  readonly stewards: number
  readonly executors: readonly ReceiptExecutor[]
  /** Absent where everybody opened. */
  readonly unopened?: Unopened
}

export interface Score {
  /** R = (S + 0.4) / (S + F + 4), parts per million. */
  readonly reliabilityPpm: number
  /** A = (D + 1) / (D + U + 2), parts per million. */
  readonly availabilityPpm: number
  /** V, moving average of the co-executors' median time over the own, 0.5 to 2, in ppm. */
  readonly speedPpm: number
  /** Accepted replicas that count towards being established. */
  readonly accepted: number
  /** Different operators among the co-executors of those. */
  readonly coOperators: number
  readonly established: boolean
  readonly excluded: boolean
  readonly excludedUntilMs: number | undefined
  /**
   * S: decayed credit in millionths. At most 100 at any time, so that a wrong result halves what
   * counts and not a surplus beyond it.
   */
  readonly creditMicro: number
  /** F: decayed failures in millionths. */
  readonly failureMicro: number
  /** Confirmed wrong results of mature networks since the last return. */
  readonly wrongs: number
  readonly exclusions: number
}

export type EvidenceKind =
  | 'credited'
  | 'uncredited'
  | 'wrong'
  | 'wrong-alike'
  | 'spared'
  | 'withheld'
  | 'unopened'
  | 'timed-out'
  | 'failed'

/** One receipt's part in a score, for `ctd rep`. */
export interface EvidenceEffect {
  readonly receiptId: string
  readonly taskId: string
  readonly atMs: number
  readonly young: boolean
  readonly kind: EvidenceKind
  /** What it adds to S now, in millionths, after decay and later wrongs. */
  readonly creditMicro: number
  /** What it adds to F now, in millionths, after decay. */
  readonly failureMicro: number
  /** One plain sentence. */
  readonly words: string
}

const SECOND_MS = 1000
const DAY_MS = 24 * 3600 * SECOND_MS
/** Amounts inside the fold are millionths of millionths, so that rounding stays invisible. */
const ONE = 1_000_000_000_000n
const MICRO = 1_000_000n
const CREDIT_OF_25 = 25n * ONE

/** Constants of reputation (trust.md 2.6, the gentle ones of section 3). */
export const REPUTATION_RULES = {
  /** Receipts older than this count for nobody, so that everybody may forget them. */
  horizonMs: 120 * DAY_MS,
  creditHalfLifeMs: 30 * DAY_MS,
  failureHalfLifeMs: 14 * DAY_MS,
  availabilityHalfLifeMs: 3 * DAY_MS,
  /** Window of the diminishing credit. */
  pairWindowMs: 7 * DAY_MS,
  creditMax: 100n * ONE,
  failureWrong: 4n * ONE,
  /** For the same wrong value as another loser. */
  failureWrongAlike: 8n * ONE,
  failureWithheld: ONE / 2n,
  failureTimedOut: ONE / 5n,
  /** W of the prior: R starts at a · W / W = 0.1. */
  priorWeight: 4n * ONE,
  priorCredit: (4n * ONE) / 10n,
  exclusionReliabilityPpm: 300_000,
  exclusionWrongs: 2,
  exclusionMs: 7 * DAY_MS,
  exclusionMaxMs: 112 * DAY_MS,
  /** F after an exclusion is at most this, S is nothing. */
  returnFailure: 2n * ONE,
  establishedAccepted: 10,
  establishedOperators: 3,
  speedMinPpm: 500_000,
  speedMaxPpm: 2_000_000,
  /** The moving average of speed takes one part in five of each new value. */
  speedParts: 5,
} as const

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
  const scores = new Map<PeerId, Score>()
  for (const [peer, evidence] of gatherEvidence(receipts, nowMs)) {
    scores.set(peer, replay(evidence, nowMs).score)
  }
  return scores
}

/** The same for one peer alone; receipts that do not name it make no difference. */
export function scoreFrom(
  receipts: readonly ReputationReceipt[],
  peer: PeerId,
  nowMs: number,
): Score {
  const evidence = gatherEvidence(receipts, nowMs, peer).get(peer)
  return evidence === undefined ? NEWCOMER : replay(evidence, nowMs).score
}

/** The score of a peer that no receipt names: R = 0.10, A = 1/2, V = 1. */
export const NEWCOMER: Score = {
  reliabilityPpm: 100_000,
  availabilityPpm: 500_000,
  speedPpm: PPM,
  accepted: 0,
  coOperators: 0,
  established: false,
  excluded: false,
  excludedUntilMs: undefined,
  creditMicro: 0,
  failureMicro: 0,
  wrongs: 0,
  exclusions: 0,
}

/** The score of a peer that is proven faulty: there is no way back. */
export function excludedForEver(score: Score): Score {
  return {
    ...score,
    reliabilityPpm: 0,
    established: false,
    excluded: true,
    excludedUntilMs: undefined,
  }
}

/** A peer's score, that of a newcomer where the fold does not know it. */
export function scoreOf(scores: ReadonlyMap<PeerId, Score>, peer: PeerId): Score {
  return scores.get(peer) ?? NEWCOMER
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
  const evidence = gatherEvidence(receipts, nowMs, peer).get(peer) ?? []
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

/** One receipt seen from one executor. Amounts in `ONE`s. */
interface Evidence {
  readonly receiptId: string
  readonly taskId: string
  readonly atMs: number
  readonly young: boolean
  readonly kind: EvidenceKind
  readonly words: string
  readonly credit: bigint
  readonly failure: bigint
  /** How often the credit before is halved. */
  readonly halvings: bigint
  readonly delivered: boolean
  readonly undelivered: boolean
  readonly accepted: boolean
  readonly coOperators: readonly string[]
  readonly speedPpm: number | undefined
}

type Effect = Omit<Evidence, 'receiptId' | 'taskId' | 'atMs' | 'young'>

const NO_EFFECT: Omit<Effect, 'kind' | 'words'> = {
  credit: 0n,
  failure: 0n,
  halvings: 0n,
  delivered: false,
  undelivered: false,
  accepted: false,
  coOperators: [],
  speedPpm: undefined,
}

/** Evidence per peer, oldest first; of one peer `only` where that is given. */
function gatherEvidence(
  receipts: readonly ReputationReceipt[],
  nowMs: number,
  only?: PeerId,
): Map<PeerId, Evidence[]> {
  const unique = new Map(receipts.map((receipt) => [receipt.receiptId, receipt]))
  const sorted = [...unique.values()]
    .filter(({ atMs }) => atMs <= nowMs && atMs > nowMs - REPUTATION_RULES.horizonMs)
    .sort((a, b) => a.atMs - b.atMs || compareText(a.receiptId, b.receiptId))
  const windows = new PairWindows()
  const counted = new Set<string>()
  const evidence = new Map<PeerId, Evidence[]>()
  for (const receipt of sorted) {
    const { receiptId, taskId, atMs, young } = receipt
    for (const executor of receipt.executors) {
      if (only !== undefined && executor.peer !== only) continue
      const key = `${taskId} ${executor.peer} ${executor.outcome}`
      if (counted.has(key)) continue
      counted.add(key)
      const effect = effectOf(receipt, executor, windows)
      const list = evidence.get(executor.peer) ?? []
      list.push({ receiptId, taskId, atMs, young, ...effect })
      evidence.set(executor.peer, list)
    }
    for (const peer of receipt.unopened?.peers ?? []) {
      if (only !== undefined && peer !== only) continue
      const key = `${receipt.unopened?.election ?? ''} ${peer} unopened`
      if (counted.has(key)) continue
      counted.add(key)
      const list = evidence.get(peer) ?? []
      list.push({ receiptId, taskId, atMs, young, ...unopenedEffect(receipt.unopened?.stewards) })
      evidence.set(peer, list)
    }
  }
  return evidence
}

/** A lone steward could leave out the opening of whomever it likes: its word weighs nothing. */
function unopenedEffect(stewards = 0): Effect {
  const { failureWithheld } = REPUTATION_RULES
  return stewards < 2
    ? {
        ...NO_EFFECT,
        kind: 'unopened',
        words: 'bid and did not open, but only one steward says so',
      }
    : { ...NO_EFFECT, kind: 'unopened', failure: failureWithheld, words: 'bid and did not open' }
}

function effectOf(
  receipt: ReputationReceipt,
  executor: ReceiptExecutor,
  windows: PairWindows,
): Effect {
  const { failureTimedOut, failureWithheld } = REPUTATION_RULES
  switch (executor.outcome) {
    case 'agreed':
      return agreedEffect(receipt, executor, windows)
    case 'dissented':
      return wrongEffect(receipt, executor)
    case 'spared':
      return { ...NO_EFFECT, kind: 'spared', delivered: true, words: 'differed, without a strike' }
    case 'withheld': {
      const words = 'committed to a result and did not reveal it'
      return { ...NO_EFFECT, kind: 'withheld', failure: failureWithheld, undelivered: true, words }
    }
    case 'timed-out': {
      if (receipt.stewards < 2) {
        const words = 'ran out of time, but only one steward says so'
        return { ...NO_EFFECT, kind: 'timed-out', words }
      }
      const words = 'ran out of time'
      return { ...NO_EFFECT, kind: 'timed-out', failure: failureTimedOut, undelivered: true, words }
    }
    case 'failed': {
      // Where nobody succeeded the job itself may be at fault.
      const undelivered = receipt.executors.some(({ outcome }) => outcome === 'agreed')
      const words = undelivered ? 'failed where others succeeded' : 'failed, as did everybody'
      return { ...NO_EFFECT, kind: 'failed', undelivered, words }
    }
  }
}

/**
 * Credit of an accepted replica: c = 1 / (1 + n/5) · 1 / (1 + m/5), n the credits from this
 * requester and m those together with the co-executing operator met most, both within 7 days.
 * Nothing for a task of one's own, nothing without a replica of another operator.
 */
function agreedEffect(
  receipt: ReputationReceipt,
  executor: ReceiptExecutor,
  windows: PairWindows,
): Effect {
  const { peer, operator, durationMs } = executor
  const partners = receipt.executors.filter(
    (other) => other.outcome === 'agreed' && other.peer !== peer && other.operator !== operator,
  )
  const isOwn = receipt.requester === peer || receipt.requester === operator
  if (partners.length === 0 || isOwn) {
    const words = isOwn ? 'ran a task of its own operator' : 'no other operator ran it too'
    return { ...NO_EFFECT, kind: 'uncredited', delivered: true, words }
  }
  const coOperators = [...new Set(partners.map((partner) => partner.operator))]
  const { submitted, paired } = windows.count(peer, receipt.requester, coOperators, receipt.atMs)
  const medianMs = medianOf(partners.map((partner) => partner.durationMs).filter((ms) => ms > 0))
  return {
    ...NO_EFFECT,
    kind: 'credited',
    credit: CREDIT_OF_25 / BigInt((5 + submitted) * (5 + paired)),
    delivered: true,
    accepted: true,
    coOperators,
    speedPpm: medianMs === undefined || durationMs <= 0 ? undefined : speedOf(medianMs, durationMs),
    words: 'agreed with the accepted result',
  }
}

function wrongEffect(receipt: ReputationReceipt, executor: ReceiptExecutor): Effect {
  const { failureWrong, failureWrongAlike } = REPUTATION_RULES
  const isAlike =
    !receipt.young &&
    executor.wrongRoot !== undefined &&
    receipt.executors.some(
      ({ peer, outcome, wrongRoot }) =>
        peer !== executor.peer && outcome === 'dissented' && wrongRoot === executor.wrongRoot,
    )
  return isAlike
    ? {
        ...NO_EFFECT,
        kind: 'wrong-alike',
        failure: failureWrongAlike,
        halvings: 2n,
        words: 'gave the same wrong result as another executor',
      }
    : {
        ...NO_EFFECT,
        kind: 'wrong',
        failure: failureWrong,
        halvings: 1n,
        words: receipt.young ? 'gave a wrong result in a young network' : 'gave a wrong result',
      }
}

function speedOf(medianMs: number, durationMs: number): number {
  const ratio = (BigInt(medianMs) * BigInt(PPM)) / BigInt(durationMs)
  const { speedMinPpm, speedMaxPpm } = REPUTATION_RULES
  return ratio > BigInt(speedMaxPpm) ? speedMaxPpm : Math.max(Number(ratio), speedMinPpm)
}

/** Of an even number the lower middle: a partner's slowness should not make anybody fast. */
function medianOf(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[(values.length - 1) >> 1]
}

/** Counts earlier credits of a pair within the window; to be asked in the order of time. */
class PairWindows {
  readonly #windows = new Map<string, { readonly times: number[]; start: number }>()

  /** Counts, then records this credit. */
  count(
    peer: PeerId,
    requester: PeerId,
    coOperators: readonly string[],
    atMs: number,
  ): { submitted: number; paired: number } {
    const submitted = this.#pass(`requester ${peer} ${requester}`, atMs)
    const paired = coOperators.map((operator) => this.#pass(`operator ${peer} ${operator}`, atMs))
    return { submitted, paired: Math.max(0, ...paired) }
  }

  #pass(key: string, atMs: number): number {
    const window = this.#windows.get(key) ?? { times: [], start: 0 }
    this.#windows.set(key, window)
    const firstMs = atMs - REPUTATION_RULES.pairWindowMs
    while ((window.times[window.start] ?? atMs) < firstMs) window.start++
    return window.times.push(atMs) - 1 - window.start
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
  #untilMs: number | undefined
  #returnedAtMs: number | undefined
  #lastMs: number | undefined

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
    }
    return { score, returnedAtMs: this.#returnedAtMs }
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
