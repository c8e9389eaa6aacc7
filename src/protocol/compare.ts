/**
 * Compares the results of replicas and sorts them into groups that agree. Groups have complete
 * linkage: every pair inside one matches, so that a chain of near results cannot join far ends.
 */
import { CtdError, InvariantError } from '../errors.js'
import { LIMITS } from '../wire/limits.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { compareText, PPM } from './integer.js'

/** How the offer says results are compared. */
export type ComparePolicy =
  /** Equal outcome root, bit for bit. */
  | { readonly kind: 'exact' }
  /** Equal root, or every metric within |a − b| ≤ atol + rtol · max(|a|, |b|). */
  | {
      readonly kind: 'metrics'
      /** Absolute tolerance in millionths of the metric's unit. */
      readonly atolMicro: bigint
      /** Relative tolerance, parts per million. */
      readonly rtolPpm: bigint
    }
  /** Count-sketches of the update (trust.md 2.5); named, not supported yet. */
  | { readonly kind: 'tensors' }

/** Tolerances of a policy: up to a million units absolutely, one half relatively. */
export const TOLERANCE_MAX = { atolMicro: 1_000_000_000_000n, rtolPpm: 500_000n } as const

const METRICS_POLICY = /^metrics:(0|[1-9][0-9]{0,12}):(0|[1-9][0-9]{0,5})$/

/**
 * The policy that a manifest names: `exact`, or `metrics:A:R` with the absolute tolerance A in
 * millionths and the relative one R in parts per million, in decimal without leading zeros.
 *
 * @throws CtdError POLICY_UNSUPPORTED for `tensors`, POLICY_INVALID
 */
export function parsePolicy(text: string): ComparePolicy {
  if (text === 'exact') return { kind: 'exact' }
  if (text === 'tensors') assertSupported({ kind: 'tensors' })
  const [, atol, rtol] = METRICS_POLICY.exec(text) ?? []
  if (atol !== undefined && rtol !== undefined) {
    const policy = { kind: 'metrics', atolMicro: BigInt(atol), rtolPpm: BigInt(rtol) } as const
    const { atolMicro, rtolPpm } = TOLERANCE_MAX
    if (policy.atolMicro <= atolMicro && policy.rtolPpm <= rtolPpm) return policy
  }
  throw new CtdError('POLICY_INVALID', `not a compare policy: ${text.slice(0, 60)}`, {
    hint: 'exact, or metrics with an absolute and a relative tolerance',
  })
}

/** The form that `parsePolicy` reads. */
export function policyText(policy: Exclude<ComparePolicy, { kind: 'tensors' }>): string {
  return policy.kind === 'exact'
    ? 'exact'
    : `metrics:${policy.atolMicro.toString()}:${policy.rtolPpm.toString()}`
}

/** What one executor revealed. */
export interface ReplicaResult {
  readonly peer: PeerId
  readonly root: Digest
  /** Numbers of the result in millionths; absent counts as none. */
  readonly metricsMicro?: Readonly<Record<string, bigint>>
}

/** Executors whose results agree. */
export interface ResultGroup {
  /** The root most members share; of equally shared ones the first in hexadecimal order. */
  readonly root: Digest
  /** Sorted. */
  readonly members: readonly PeerId[]
}

/** A mismatch below this many tolerances is no proof of fault (trust.md 2.4). */
export const NEAR_MISS_FACTOR = 3n

const MATCH = BigInt(PPM)
/** Farther than any tolerance reaches: different names, or a difference where none is allowed. */
const APART = 1n << 200n

/**
 * Sorts results into groups that agree, independent of their order.
 *
 * Starts from equal roots and joins, nearest pair first, the groups all of whose members match.
 *
 * @param results - one per peer, at most `LIMITS.replicasPerTask`
 * @returns the groups, larger ones first, then by root
 * @throws CtdError POLICY_UNSUPPORTED for `tensors`; TOO_MANY_RESULTS
 */
export function groupResults(
  results: readonly ReplicaResult[],
  policy: ComparePolicy,
): ResultGroup[] {
  if (results.length > LIMITS.replicasPerTask) {
    throw new CtdError('TOO_MANY_RESULTS', `a task has at most ${LIMITS.replicasPerTask} replicas`)
  }
  assertSupported(policy)
  const sorted = results.toSorted((a, b) => compareText(a.peer, b.peer))
  let groups = sorted.map((result) => [result])
  for (;;) {
    const joined = joinNearest(groups, policy)
    if (joined === undefined) break
    groups = joined
  }
  return groups
    .map((members) => ({ root: rootOf(members), members: members.map(({ peer }) => peer).sort() }))
    .sort((a, b) => b.members.length - a.members.length || compareText(a.root, b.root))
}

/**
 * Distance of two results in parts per million of the tolerance, rounded up: 0 for equal roots,
 * at most 1 000 000 for a match.
 *
 * @throws CtdError POLICY_UNSUPPORTED for `tensors`
 */
export function resultDistance(a: ReplicaResult, b: ReplicaResult, policy: ComparePolicy): bigint {
  assertSupported(policy)
  if (a.root === b.root) return 0n
  if (policy.kind !== 'metrics') return APART
  const left = a.metricsMicro ?? {}
  const right = b.metricsMicro ?? {}
  const names = Object.keys(left)
  // Results without numbers have only their roots to agree on.
  if (names.length === 0 || names.length !== Object.keys(right).length) return APART
  let farthest = 0n
  for (const name of names) {
    const x = left[name]
    const y = Object.hasOwn(right, name) ? right[name] : undefined
    if (x === undefined || y === undefined) return APART
    const distance = metricDistance(x, y, policy)
    if (distance > farthest) farthest = distance
  }
  return farthest
}

/** Whether two results differ so little that nobody can be blamed for it. */
export function isNearMiss(a: ReplicaResult, b: ReplicaResult, policy: ComparePolicy): boolean {
  const distance = resultDistance(a, b, policy)
  return distance > MATCH && distance < NEAR_MISS_FACTOR * MATCH
}

function metricDistance(
  x: bigint,
  y: bigint,
  { atolMicro, rtolPpm }: { readonly atolMicro: bigint; readonly rtolPpm: bigint },
): bigint {
  const difference = magnitude(x - y)
  if (difference === 0n) return 0n
  const largest = magnitude(x) > magnitude(y) ? magnitude(x) : magnitude(y)
  // Scaled by a million, so that a relative tolerance loses nothing to rounding.
  const tolerance = atolMicro * MATCH + rtolPpm * largest
  if (tolerance <= 0n) return APART
  return (difference * MATCH * MATCH + tolerance - 1n) / tolerance
}

function magnitude(value: bigint): bigint {
  return value < 0n ? -value : value
}

/** Joins the two nearest groups that match in every pair; undefined when there are none. */
function joinNearest(
  groups: readonly ReplicaResult[][],
  policy: ComparePolicy,
): ReplicaResult[][] | undefined {
  let nearest: { first: number; second: number; distance: bigint } | undefined
  groups.forEach((left, first) => {
    groups.slice(first + 1).forEach((right, offset) => {
      const distance = linkage(left, right, policy)
      if (distance > MATCH || (nearest !== undefined && distance >= nearest.distance)) return
      nearest = { first, second: first + 1 + offset, distance }
    })
  })
  if (nearest === undefined) return undefined
  const { first, second } = nearest
  const joined = [...(groups[first] ?? []), ...(groups[second] ?? [])]
  return groups.flatMap((group, i) => (i === first ? [joined] : i === second ? [] : [group]))
}

/** Complete linkage: the largest distance between members of two groups. */
function linkage(
  left: readonly ReplicaResult[],
  right: readonly ReplicaResult[],
  policy: ComparePolicy,
): bigint {
  let farthest = 0n
  for (const a of left) {
    for (const b of right) {
      const distance = resultDistance(a, b, policy)
      if (distance > farthest) farthest = distance
    }
  }
  return farthest
}

function rootOf(members: readonly ReplicaResult[]): Digest {
  const counts = new Map<Digest, number>()
  for (const { root } of members) counts.set(root, (counts.get(root) ?? 0) + 1)
  const [most] = [...counts].sort(([a, m], [b, n]) => n - m || compareText(a, b))
  if (most === undefined) throw new InvariantError('a group has members')
  return most[0]
}

function assertSupported(policy: ComparePolicy): void {
  if (policy.kind !== 'tensors') return
  throw new CtdError('POLICY_UNSUPPORTED', 'comparing tensors by sketches is not supported yet', {
    hint: 'use the policy `exact`, or `metrics` with tolerances',
    fields: { policy: policy.kind },
  })
}
