/**
 * Scores that grow receipt by receipt, for runs too long to be folded anew each time. It must say
 * what `foldReputation` says of the same receipts, bit for bit; `assertSame` compares them, and
 * every run of the table does so as it goes.
 */
import assert from 'node:assert/strict'
import { decayed, PPM } from '../../src/protocol/integer.js'
import { foldReputation, NEWCOMER, REPUTATION_RULES } from '../../src/protocol/reputation.js'
import type { ReceiptExecutor, ReputationReceipt, Score } from '../../src/protocol/reputation.js'
import type { PeerId } from '../../src/wire/ids.js'

/** The unit of amounts inside the fold, and how many of them make a millionth. */
const ONE = REPUTATION_RULES.failureWithheld * 2n
const MICRO = ONE / 1_000_000n

export interface ScoreOptions {
  /** Leaves out the diminishing credit of repeated pairs: a weakened rule. */
  readonly isCreditFlat?: boolean
}

interface Balance {
  credit: bigint
  failure: bigint
}

/** What one receipt does to one executor. */
interface Effect {
  readonly credit: bigint
  readonly failure: bigint
  readonly halvings: bigint
  readonly delivered: boolean
  readonly undelivered: boolean
  readonly coOperators: readonly string[]
  readonly speedPpm: number | undefined
}

const NOTHING: Effect = {
  credit: 0n,
  failure: 0n,
  halvings: 0n,
  delivered: false,
  undelivered: false,
  coOperators: [],
  speedPpm: undefined,
}

export class RunningScores {
  readonly #options: ScoreOptions
  readonly #accounts = new Map<PeerId, Account>()
  readonly #windows = new Map<string, number[]>()

  constructor(options: ScoreOptions = {}) {
    this.#options = options
  }

  /** Takes a receipt; they come in the order of their closing, ties by id, each task once. */
  add(receipt: ReputationReceipt): void {
    for (const executor of receipt.executors) {
      const account = this.#accounts.get(executor.peer) ?? new Account()
      this.#accounts.set(executor.peer, account)
      account.apply(this.#effectOf(receipt, executor), receipt)
    }
  }

  scoreAt(peer: PeerId, nowMs: number): Score {
    return this.#accounts.get(peer)?.scoreAt(nowMs) ?? NEWCOMER
  }

  /** What decides about a place among the bids, without the decay of the rest. */
  placeAt(peer: PeerId, nowMs: number): Pick<Score, 'established' | 'excluded' | 'exclusions'> {
    return this.#accounts.get(peer)?.placeAt(nowMs) ?? NEWCOMER
  }

  #effectOf(receipt: ReputationReceipt, executor: ReceiptExecutor): Effect {
    switch (executor.outcome) {
      case 'agreed':
        return this.#agreed(receipt, executor)
      case 'dissented':
        return wrong(receipt, executor)
      case 'spared':
        return { ...NOTHING, delivered: true }
      case 'withheld':
        return { ...NOTHING, failure: REPUTATION_RULES.failureWithheld, undelivered: true }
      case 'timed-out':
        if (receipt.stewards < 2) return NOTHING
        return { ...NOTHING, failure: REPUTATION_RULES.failureTimedOut, undelivered: true }
      case 'failed':
        return {
          ...NOTHING,
          undelivered: receipt.executors.some(({ outcome }) => outcome === 'agreed'),
        }
    }
  }

  #agreed(receipt: ReputationReceipt, executor: ReceiptExecutor): Effect {
    const { peer, operator, durationMs } = executor
    const partners = receipt.executors.filter(
      (other) => other.outcome === 'agreed' && other.peer !== peer && other.operator !== operator,
    )
    const isOwn = receipt.requester === peer || receipt.requester === operator
    if (partners.length === 0 || isOwn) return { ...NOTHING, delivered: true }
    const coOperators = [...new Set(partners.map((partner) => partner.operator))]
    const n = this.#count(`${peer} by ${receipt.requester}`, receipt.atMs)
    const m = Math.max(
      ...coOperators.map((other) => this.#count(`${peer} with ${other}`, receipt.atMs)),
    )
    const times = partners.map((partner) => partner.durationMs).filter((ms) => ms > 0)
    const medianMs = times.sort((a, b) => a - b)[(times.length - 1) >> 1]
    const { speedMinPpm, speedMaxPpm } = REPUTATION_RULES
    const speedPpm =
      medianMs === undefined || durationMs <= 0
        ? undefined
        : Math.min(speedMaxPpm, Math.max(speedMinPpm, Math.floor((medianMs * PPM) / durationMs)))
    const credit = this.#options.isCreditFlat ? ONE : (25n * ONE) / BigInt((5 + n) * (5 + m))
    return { ...NOTHING, credit, delivered: true, coOperators, speedPpm }
  }

  /** Earlier credits of the pair within the window; then records this one. */
  #count(key: string, atMs: number): number {
    const times = this.#windows.get(key) ?? []
    this.#windows.set(key, times)
    while ((times[0] ?? atMs) < atMs - REPUTATION_RULES.pairWindowMs) times.shift()
    return times.push(atMs) - 1
  }
}

function wrong(receipt: ReputationReceipt, executor: ReceiptExecutor): Effect {
  const { failureWrong, failureWrongAlike } = REPUTATION_RULES
  const isAlike =
    !receipt.young &&
    receipt.executors.some(
      ({ peer, outcome, wrongRoot }) =>
        peer !== executor.peer && outcome === 'dissented' && wrongRoot === executor.wrongRoot,
    )
  return isAlike
    ? { ...NOTHING, failure: failureWrongAlike, halvings: 2n }
    : { ...NOTHING, failure: failureWrong, halvings: 1n }
}

class Account {
  #all: Balance = { credit: 0n, failure: 0n }
  #mature: Balance = { credit: 0n, failure: 0n }
  #delivered = 0n
  #undelivered = 0n
  #speedPpm = PPM
  #accepted = 0
  #coOperators = new Set<string>()
  #wrongs = 0
  #exclusions = 0
  #untilMs: number | undefined
  #lastMs: number | undefined

  apply(effect: Effect, { atMs, young }: ReputationReceipt): void {
    this.#advance(atMs)
    const isYoungWrong = young && effect.halvings > 0n
    settle(this.#all, effect)
    if (!isYoungWrong) settle(this.#mature, effect)
    if (effect.delivered) this.#delivered += ONE
    if (effect.undelivered) this.#undelivered += ONE
    if (effect.coOperators.length > 0) this.#accepted++
    for (const operator of effect.coOperators) this.#coOperators.add(operator)
    if (effect.speedPpm !== undefined) {
      this.#speedPpm += Math.trunc((effect.speedPpm - this.#speedPpm) / REPUTATION_RULES.speedParts)
    }
    if (effect.halvings > 0n && !young) this.#wrongs++
    if (effect.failure > 0n) this.#excludeIfDue(atMs)
  }

  scoreAt(nowMs: number): Score {
    const then = this.#copy()
    then.#advance(nowMs)
    return then.#score()
  }

  placeAt(nowMs: number): Pick<Score, 'established' | 'excluded' | 'exclusions'> {
    const isOut = this.#untilMs !== undefined
    const excluded = isOut && nowMs < (this.#untilMs ?? 0)
    return { established: !isOut && this.#isEstablished, excluded, exclusions: this.#exclusions }
  }

  get #isEstablished(): boolean {
    const { establishedAccepted, establishedOperators } = REPUTATION_RULES
    return this.#accepted >= establishedAccepted && this.#coOperators.size >= establishedOperators
  }

  #copy(): Account {
    const copy = new Account()
    copy.#all = { ...this.#all }
    copy.#mature = { ...this.#mature }
    copy.#delivered = this.#delivered
    copy.#undelivered = this.#undelivered
    copy.#speedPpm = this.#speedPpm
    copy.#accepted = this.#accepted
    copy.#coOperators = this.#coOperators
    copy.#wrongs = this.#wrongs
    copy.#exclusions = this.#exclusions
    copy.#untilMs = this.#untilMs
    copy.#lastMs = this.#lastMs
    return copy
  }

  #score(): Score {
    const delivered = (this.#delivered + ONE) * BigInt(PPM)
    return {
      reliabilityPpm: reliabilityOf(this.#all),
      availabilityPpm: Number(delivered / (this.#delivered + this.#undelivered + 2n * ONE)),
      speedPpm: this.#speedPpm,
      accepted: this.#accepted,
      coOperators: this.#coOperators.size,
      established: this.#isEstablished,
      excluded: this.#untilMs !== undefined,
      excludedUntilMs: this.#untilMs,
      creditMicro: Number(this.#all.credit / MICRO),
      failureMicro: Number(this.#all.failure / MICRO),
      wrongs: this.#wrongs,
      exclusions: this.#exclusions,
    }
  }

  #advance(toMs: number): void {
    const untilMs = this.#untilMs
    if (untilMs !== undefined && untilMs <= toMs) {
      this.#decay(untilMs)
      this.#return()
    }
    this.#decay(toMs)
  }

  #return(): void {
    for (const balance of [this.#all, this.#mature]) {
      balance.credit = 0n
      const { returnFailure } = REPUTATION_RULES
      if (balance.failure > returnFailure) balance.failure = returnFailure
    }
    this.#accepted = 0
    this.#coOperators = new Set()
    this.#wrongs = 0
    this.#untilMs = undefined
  }

  #decay(toMs: number): void {
    const age = toMs - (this.#lastMs ?? toMs)
    this.#lastMs = toMs
    if (age === 0) return
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
    this.#untilMs =
      atMs + Math.min(exclusionMs * 2 ** Math.min(this.#exclusions, 4), exclusionMaxMs)
    this.#exclusions++
  }
}

function settle(balance: Balance, { credit, failure, halvings }: Effect): void {
  const sum = (balance.credit >> halvings) + credit
  balance.credit = sum < REPUTATION_RULES.creditMax ? sum : REPUTATION_RULES.creditMax
  balance.failure += failure
}

function reliabilityOf({ credit, failure }: Balance): number {
  const { priorCredit, priorWeight } = REPUTATION_RULES
  return Number(((credit + priorCredit) * BigInt(PPM)) / (credit + failure + priorWeight))
}

/**
 * Compares with the production fold for the peers named. A peer's score depends on the receipts
 * that name it and on nothing else, so only those are folded.
 *
 * @throws AssertionError where they differ
 */
export function assertSame(
  scores: RunningScores,
  receipts: readonly ReputationReceipt[],
  peers: readonly PeerId[],
  nowMs: number,
): void {
  for (const each of peers) {
    const own = receipts.filter(({ executors }) => executors.some(({ peer }) => peer === each))
    const folded = foldReputation(own, nowMs).get(each) ?? NEWCOMER
    assert.deepEqual(scores.scoreAt(each, nowMs), folded)
  }
}
