/**
 * Reputation: what it is made of. The fold over receipts is in `reputation-fold.ts`, what each
 * receipt says of whom in `reputation-evidence.ts`. Formulas and constants: trust.md 2.6; young
 * networks: DESIGN.md 4.
 */
import type { PeerId } from '../wire/ids.js'
import { PPM } from './integer.js'

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
  /** Was slow, and a standby was done before it. */
  | 'outrun'

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
  /** What the task ran on; a CPU where absent. */
  readonly work?: WorkKind
}

/** Whoever is fast on the one need not be on the other. */
export type WorkKind = 'cpu' | 'gpu'

/** What a peer has shown at one kind of work since its last return. */
export interface WorkScore {
  readonly accepted: number
  /** Confirmed wrong results of mature networks. */
  readonly wrongs: number
  /** V at this kind of work, in ppm. */
  readonly speedPpm: number
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
  /** By kind of work, those that it has done. Trust is one and the same for all. */
  readonly work: Readonly<Partial<Record<WorkKind, WorkScore>>>
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
  | 'outrun'

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
export const ONE = 1_000_000_000_000n

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
  work: {},
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
