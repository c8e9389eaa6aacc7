/**
 * The verdict on a task: which result counts, who agreed, who is struck. A pure function of the
 * frozen reveals and of what the frozen bids say about the executors; nobody sends it.
 */
import { CtdError } from '../errors.js'
import { LIMITS } from '../wire/limits.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { groupResults, isNearMiss } from './compare.js'
import type { ComparePolicy, ReplicaResult, ResultGroup } from './compare.js'
import { compareText, logitMicro } from './integer.js'
import type { UpdateEvidence } from './tensors.js'

/** One executor at the freeze of the reveals. */
export interface ExecutorOutcome {
  readonly peer: PeerId
  readonly operator: string
  readonly established: boolean
  /** Reliability quoted by the frozen bids, parts per million. */
  readonly reliabilityPpm: number
  /** What it revealed in time; undefined when it revealed nothing. */
  readonly root: Digest | undefined
  readonly metricsMicro?: Readonly<Record<string, bigint>>
  /** What its sketch says, where tensors are compared. */
  readonly update?: UpdateEvidence
  /** Whether it committed before the first freeze, when who else had a seat could be foreseen. */
  readonly foreseen?: boolean
}

export interface VerdictInput {
  /** One per executor so far, in any order, at most `LIMITS.replicasPerTask`. */
  readonly outcomes: readonly ExecutorOutcome[]
  readonly policy: ComparePolicy
  /** As the election derived it. */
  readonly young: boolean
  /** Replicas used up so far, those that revealed nothing included. */
  readonly executed: number
  /** Replicas the task may use up, `LIMITS.replicasPerTask` unless the job allows fewer. */
  readonly maxReplicas?: number
}

export interface VerdictReason {
  readonly code: VerdictCode
  /** One plain sentence. */
  readonly words: string
}

export type VerdictCode =
  | 'TOO_FEW_REVEALS'
  | 'ONE_OPERATOR'
  | 'NO_ESTABLISHED'
  | 'MARGIN'
  | 'NONDETERMINISTIC'
  | 'UNDECIDED'

/** A wrong result that is proven by a full margin. */
export interface Strike {
  readonly peer: PeerId
  readonly root: Digest
}

export type Verdict =
  | {
      readonly kind: 'accept'
      readonly root: Digest
      /** Sorted. */
      readonly agreed: readonly PeerId[]
      /** Everybody who revealed another result, sorted; blamed only where also in `strikes`. */
      readonly dissented: readonly PeerId[]
      readonly strikes: readonly Strike[]
    }
  | { readonly kind: 'escalate'; readonly reason: VerdictReason }
  | { readonly kind: 'reject'; readonly reason: VerdictReason }

/** Constants of the verdict: trust.md 2.4 (mature), DESIGN.md 4 (young). */
export const VERDICT_RULES = {
  /** Log-odds margin of acceptance, millionths of a nat: about 1 % posterior error. */
  quorumMicro: 4_600_000,
  /** Bounds of one operator's log-odds, millionths of a nat. */
  oddsMinMicro: 100_000,
  oddsMaxMicro: 3_000_000,
  operatorsMin: 2,
  /** Most foreseen executors that count as one in a dispute: room for three others is left. */
  foreseenMax: 4,
  /** Lead over all other operators together in a young network. */
  youngLead: 2,
  /** A young network strikes at three operators to one. */
  youngStrikeRatio: 3,
  /** Executors that all differ before a job is called nondeterministic. */
  nondeterministicMin: 3,
} as const

/**
 * Judges a task.
 *
 * Every operator counts once in a group, with its best executor. Mature network: a group weighs
 * the sum of its operators' log-odds ln(R / (1 − R)), each within [0.1, 3.0]; it is accepted with
 * at least two operators, at least one of them established, and a margin of 4.6 over all other
 * groups together, where probationers add nothing to the margin of the winners: they can delay a
 * verdict, never decide it. In a dispute, that is with more than one group, the foreseen executors
 * (at most four) count in each group as one, the best of them: colluders can arrange to lie only
 * where they hold all the seats they foresee, or most of them, but nobody arranges who is drawn
 * afterwards. So it is the hidden replica and the standbys that decide. Young network: every operator weighs 1, and a group is accepted with a
 * lead of two over all other groups together, so 2:0, 3:1, 4:2 accept and 2:1 asks for another.
 *
 * A loser is struck only by an accepted verdict, only when the winners outnumber all others
 * together by operators that count (nobody frames a majority), only with two operators outside its own group,
 * not for a near miss under tolerances, and in a young network only at three to one. Without
 * acceptance the task asks for another replica, and is rejected when none are left; a rejection
 * strikes nobody.
 *
 * @throws CtdError BAD_VERDICT when an executor stands in the outcomes twice
 */
export function judge(input: VerdictInput): Verdict {
  const { outcomes, policy } = input
  if (new Set(outcomes.map(({ peer }) => peer)).size !== outcomes.length) {
    throw new CtdError('BAD_VERDICT', 'an executor stands in the outcomes of a task twice')
  }
  const revealed = outcomes.flatMap(({ root, ...rest }) =>
    root === undefined ? [] : [{ ...rest, root }],
  )
  const foreseen = revealed.filter((member) => member.foreseen === true).length
  const groups = groupResults(revealed, policy).map((group, _, { length }) => {
    const isDisputed = length > 1 && foreseen <= VERDICT_RULES.foreseenMax
    return weigh(group, revealed, isDisputed && !input.young)
  })
  const winner = groups.find((group) => isAccepted(group, groups, input.young))
  if (winner === undefined) return undecided(input, groups)
  const losers = groups.filter((group) => group !== winner)
  const struck = losers.filter((loser) => isStruck(loser, winner, losers, input.young))
  const strikes = struck
    .flatMap((group) => group.members)
    .filter((loser) => !winner.members.some((other) => isNearMiss(loser, other, policy)))
  return {
    kind: 'accept',
    root: winner.root,
    agreed: peersOf(winner.members),
    dissented: peersOf(losers.flatMap((group) => group.members)),
    strikes: strikes
      .map(({ peer, root }) => ({ peer, root }))
      .sort((a, b) => compareText(a.peer, b.peer)),
  }
}

type Revealed = ReplicaResult & Omit<ExecutorOutcome, 'root'>

interface WeighedGroup {
  readonly root: Digest
  readonly members: readonly Revealed[]
  readonly operators: ReadonlySet<string>
  /** Its operators, the foreseen ones of a dispute as one. */
  readonly voices: number
  /** Log-odds of all that count, millionths of a nat. */
  readonly oddsMicro: number
  /** The same without those that have only probationers in the group. */
  readonly establishedOddsMicro: number
  readonly established: boolean
}

function weigh(
  { root, members }: ResultGroup,
  revealed: readonly Revealed[],
  isDisputed: boolean,
): WeighedGroup {
  const own = revealed.filter(({ peer }) => members.includes(peer))
  const established = own.filter((member) => member.established)
  return {
    root,
    members: own,
    operators: operatorsOf(own),
    voices: operatorsOf(voicesOf(own, isDisputed)).size,
    oddsMicro: oddsOf(voicesOf(own, isDisputed)),
    establishedOddsMicro: oddsOf(voicesOf(established, isDisputed)),
    established: established.length > 0,
  }
}

/** Those that count: in a dispute only the most reliable of the foreseen, and all others. */
function voicesOf(members: readonly Revealed[], isDisputed: boolean): readonly Revealed[] {
  if (!isDisputed) return members
  const isForeseen = (member: Revealed): boolean => member.foreseen === true
  const best = members
    .filter(isForeseen)
    .sort((a, b) => b.reliabilityPpm - a.reliabilityPpm || compareText(a.peer, b.peer))
  return [...best.slice(0, 1), ...members.filter((member) => !isForeseen(member))]
}

/** Sum over operators of the best clamped log-odds among their executors. */
function oddsOf(members: readonly Revealed[]): number {
  const best = new Map<string, number>()
  const { oddsMinMicro, oddsMaxMicro } = VERDICT_RULES
  for (const { operator, reliabilityPpm } of members) {
    const odds = Math.min(Math.max(logitMicro(reliabilityPpm), oddsMinMicro), oddsMaxMicro)
    best.set(operator, Math.max(best.get(operator) ?? 0, odds))
  }
  return [...best.values()].reduce((sum, odds) => sum + odds, 0)
}

function isAccepted(group: WeighedGroup, groups: readonly WeighedGroup[], young: boolean): boolean {
  const others = groups.filter((other) => other !== group)
  if (group.operators.size < VERDICT_RULES.operatorsMin) return false
  if (young) return group.operators.size - sizeOf(others) >= VERDICT_RULES.youngLead
  const against = others.reduce((sum, other) => sum + other.oddsMicro, 0)
  return group.established && group.establishedOddsMicro - against >= VERDICT_RULES.quorumMicro
}

function isStruck(
  loser: WeighedGroup,
  winner: WeighedGroup,
  losers: readonly WeighedGroup[],
  young: boolean,
): boolean {
  const outside = [...winner.operators].filter((operator) => !loser.operators.has(operator)).length
  if (outside < VERDICT_RULES.operatorsMin) return false
  if (winner.voices <= losers.reduce((sum, { voices }) => sum + voices, 0)) return false
  return !young || winner.operators.size >= VERDICT_RULES.youngStrikeRatio * loser.operators.size
}

function undecided(input: VerdictInput, groups: readonly WeighedGroup[]): Verdict {
  const { young, executed, maxReplicas = LIMITS.replicasPerTask } = input
  if (executed < maxReplicas) return { kind: 'escalate', reason: escalation(groups, young) }
  // In a young network nobody is established, so everybody looks as honest as the other.
  const honest = groups.flatMap((group) => {
    const members = group.members.filter((member) => young || member.established)
    return members.length === 0 ? [] : [operatorsOf(members).size]
  })
  const differ = honest.length >= VERDICT_RULES.nondeterministicMin && honest.every((n) => n === 1)
  const revealed = groups.reduce((sum, group) => sum + group.members.length, 0)
  const words = differ
    ? `all ${honest.length} executors got different results, so the job itself seems nondeterministic`
    : `no more replicas are left after ${revealed} results: ${escalation(groups, young).words}`
  return { kind: 'reject', reason: { code: differ ? 'NONDETERMINISTIC' : 'UNDECIDED', words } }
}

/** Why the best group is not accepted yet. */
function escalation(groups: readonly WeighedGroup[], young: boolean): VerdictReason {
  const revealed = groups.reduce((sum, group) => sum + group.members.length, 0)
  if (revealed < LIMITS.replicasMin) {
    return { code: 'TOO_FEW_REVEALS', words: 'fewer than two executors revealed a result' }
  }
  const agreeing = groups.filter(({ operators }) => operators.size >= VERDICT_RULES.operatorsMin)
  if (agreeing.length === 0) {
    return { code: 'ONE_OPERATOR', words: 'no two operators got the same result' }
  }
  if (!young && !agreeing.some(({ established }) => established)) {
    const words = 'no established peer is among those that agree'
    return { code: 'NO_ESTABLISHED', words }
  }
  const words = 'those that agree do not outweigh the others and their own newness yet'
  return { code: 'MARGIN', words }
}

function operatorsOf(members: readonly Revealed[]): Set<string> {
  return new Set(members.map(({ operator }) => operator))
}

function sizeOf(groups: readonly WeighedGroup[]): number {
  return groups.reduce((sum, { operators }) => sum + operators.size, 0)
}

function peersOf(members: readonly Revealed[]): PeerId[] {
  return members.map(({ peer }) => peer).sort()
}
