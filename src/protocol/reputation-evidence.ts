/** What a receipt says of each peer it names; to be read in the order of closing. */
import type { PeerId } from '../wire/ids.js'
import { PPM } from './integer.js'
import { ONE, REPUTATION_RULES } from './reputation.js'
import type { EvidenceKind, ReceiptExecutor, ReputationReceipt, WorkKind } from './reputation.js'

const CREDIT_OF_25 = 25n * ONE

/** One receipt seen from one executor. Amounts in `ONE`s. */
export interface Evidence {
  readonly receiptId: string
  readonly taskId: string
  readonly atMs: number
  readonly young: boolean
  readonly work: WorkKind
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

type Effect = Omit<Evidence, 'receiptId' | 'taskId' | 'atMs' | 'young' | 'work'>

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

/**
 * Reads receipts one after the other: what a credit is worth depends on those before. Of several
 * receipts of one task each kind of evidence about a peer counts once.
 */
export class EvidenceReader {
  readonly #windows = new PairWindows()
  readonly #counted = new Set<string>()
  readonly #only: PeerId | undefined

  /** @param only - whose evidence is wanted; everybody's where absent */
  constructor(only?: PeerId) {
    this.#only = only
  }

  /** @param receipt - no earlier than any before, and with a later id where it closed with one */
  *read(receipt: ReputationReceipt): Generator<readonly [PeerId, Evidence]> {
    const { receiptId, taskId, atMs, young, unopened, work = 'cpu' } = receipt
    const place = { receiptId, taskId, atMs, young, work }
    for (const executor of receipt.executors) {
      const { peer, outcome } = executor
      if (!this.#isWanted(peer, `${taskId} ${peer} ${outcome}`)) continue
      yield [peer, { ...place, ...effectOf(receipt, executor, this.#windows) }]
    }
    for (const peer of unopened?.peers ?? []) {
      if (!this.#isWanted(peer, `${unopened?.election ?? ''} ${peer} unopened`)) continue
      yield [peer, { ...place, ...unopenedEffect(unopened?.stewards) }]
    }
  }

  #isWanted(peer: PeerId, key: string): boolean {
    if ((this.#only !== undefined && peer !== this.#only) || this.#counted.has(key)) return false
    this.#counted.add(key)
    return true
  }
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
    case 'outrun':
      // Slow is not wrong, and how slow it was nobody can prove.
      return { ...NO_EFFECT, kind: 'outrun', words: 'was slow; a standby was done before it' }
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
