/** What a run of the table is played with: the adversary, the network and the rules. */
import type { Score } from '../../src/protocol/reputation.js'
import { judge } from '../../src/protocol/verdict.js'
import type { ExecutorOutcome, Verdict } from '../../src/protocol/verdict.js'
import type { PeerId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'

export type Strategy =
  | 'none'
  /** All return one wrong value, always. */
  | 'always'
  /** All return one wrong value, but only where they hold every visible seat. */
  | 'sleepers'
  /** Each returns a wrong value of its own. */
  | 'liars'
  /** One wrong value, but only where they are called after the first results were committed. */
  | 'latecomers'
  /** One wrong value wherever they outnumber the honest among the visible seats. */
  | 'framers'
  /** Compute nothing, commit blindly and try to reveal what somebody else revealed. */
  | 'copycats'
  /** Take seats and fall silent. */
  | 'silent'
  /** Always wrong, and back under a new key as soon as the old one is excluded. */
  | 'whitewashers'
  /** Sleepers of whom the last three to open hold back whichever openings suit them. */
  | 'withholders'
  /** Always wrong, with no history but a thousand tasks that groups of four gave themselves. */
  | 'farmers'
  /** Always wrong, newcomers who declare twice the speed of everybody else. */
  | 'boasters'
  /** Honest, except where enough stewards are theirs to freeze nobody's bids but their own. */
  | 'stewards'
  /** Ten times the honest peers, all newcomers, all returning one wrong value. */
  | 'sybils'

/** The rules a run is played by. Production's, unless a weakened one is put in its place. */
export interface TableRules {
  readonly judge: (outcomes: readonly ExecutorOutcome[], young: boolean, isLast: boolean) => Verdict
  /** Whether an executor can reveal what it had not committed to. */
  readonly canCopy: boolean
  /** What a candidate looks like to the election and the verdict. */
  readonly weigh: (score: Score) => Score
  /** Stewards that sign: a lone one's word about timeouts counts nothing. */
  readonly stewards: number
  /** Bids a steward takes before it chooses among them; where only as many as fit, the first. */
  readonly bidsTaken: number
  /** Whether receipts teach nothing. */
  readonly forgets: boolean
}

export interface TableSetting {
  readonly strategy: Strategy
  /** Share of the peers with history that the adversary owns, in per cent. */
  readonly share: number
  readonly replicas: number
  readonly auditPpm: number
  /** `young`: nobody has any history; a network that matures gives way to another young one. */
  readonly phase: 'mature' | 'young'
  /** Share of honest runs that go wrong by themselves, in per cent. */
  readonly honestErrors: number
  readonly peers: number
  readonly tasks: number
}

export const PRODUCTION_RULES: TableRules = {
  judge: (outcomes, young, isLast) =>
    judge({
      outcomes,
      policy: { kind: 'exact' },
      young,
      executed: isLast ? LIMITS.replicasPerTask : outcomes.length,
    }),
  canCopy: false,
  weigh: (score) => score,
  stewards: 3,
  bidsTaken: LIMITS.answersPerOffer,
  forgets: false,
}

export interface Player {
  readonly peer: PeerId
  readonly isAdversary: boolean
}

/** One bidder of a batch with what was frozen about it. */
export interface Bidder extends Player {
  readonly score: Score
}
