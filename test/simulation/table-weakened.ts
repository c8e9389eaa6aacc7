/** Rules that are weaker than ours, to show that the attacks on them are real. */
import type { Score } from '../../src/protocol/reputation.js'
import type { ExecutorOutcome, Verdict } from '../../src/protocol/verdict.js'
import type { Digest } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { PRODUCTION_RULES } from './table-setting.js'
import type { TableRules } from './table-setting.js'

/** The most frequent result wins as soon as more than half return it; all others are struck. */
function plainMajority(
  outcomes: readonly ExecutorOutcome[],
  _young: boolean,
  isLast: boolean,
): Verdict {
  const counts = new Map<Digest, number>()
  for (const { root } of outcomes) {
    if (root !== undefined) counts.set(root, (counts.get(root) ?? 0) + 1)
  }
  const [best] = [...counts].sort(([, a], [, b]) => b - a)
  if (best === undefined || best[1] < 2 || 2 * best[1] <= outcomes.length) {
    return {
      kind: isLast ? 'reject' : 'escalate',
      reason: { code: 'MARGIN', words: 'no majority' },
    }
  }
  const [root] = best
  const agreed = outcomes.filter((each) => each.root === root).map(({ peer }) => peer)
  const strikes = outcomes.flatMap(({ peer, root: other }) =>
    other === undefined || other === root ? [] : [{ peer, root: other }],
  )
  return { kind: 'accept', root, agreed, dissented: strikes.map(({ peer }) => peer), strikes }
}

/** A newcomer looks like everybody else: no dues, no probation. */
function trustNewcomers(score: Score): Score {
  return score.accepted > 0
    ? score
    : { ...score, established: true, reliabilityPpm: 930_000, availabilityPpm: 900_000 }
}

export const PLAIN_MAJORITY: TableRules = { ...PRODUCTION_RULES, judge: plainMajority }
export const NO_COMMITMENTS: TableRules = { ...PRODUCTION_RULES, canCopy: true }
export const NO_DUES: TableRules = { ...PRODUCTION_RULES, weigh: trustNewcomers }
export const FIRST_COME: TableRules = { ...PRODUCTION_RULES, bidsTaken: LIMITS.bidsPerOffer }
export const FREE_TIMEOUTS: TableRules = { ...PRODUCTION_RULES, stewards: 1 }
export const NO_MEMORY: TableRules = { ...PLAIN_MAJORITY, forgets: true }
