/**
 * Compares the results of replicas and sorts them into groups that agree. Groups have complete
 * linkage: every pair inside one matches, so that a chain of near results cannot join far ends.
 */
import { CtdError, InvariantError } from '../errors.js'
import { LIMITS } from '../wire/limits.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { compareText, PPM } from './integer.js'
import { TAU_MAX_PPM, TENSOR_PROFILES, updateDistance } from './tensors.js'
import type { TensorProfileName, UpdateEvidence } from './tensors.js'

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
  /** Equal root, or sketches of the update within a tolerance and metrics near each other. */
  | {
      readonly kind: 'tensors'
      readonly profile: TensorProfileName
      /** Relative distance of updates, parts per million. */
      readonly tauPpm: bigint
    }

/** Tolerances of a policy: up to a million units absolutely, one half relatively. */
export const TOLERANCE_MAX = { atolMicro: 1_000_000_000_000n, rtolPpm: 500_000n } as const

const TENSORS_POLICY = /^tensors:(fp32|tf32|bf16)(?::([1-9][0-9]{0,5}))?$/
const METRICS_POLICY = /^metrics:(0|[1-9][0-9]{0,12}):(0|[1-9][0-9]{0,5})$/

/**
 * The policy that a manifest names: `exact`; `metrics:A:R` with the absolute tolerance A in
 * millionths and the relative one R in parts per million; or `tensors:PROFILE`, with `:T` another
 * τ than the profile's, in parts per million. Numbers are decimal without leading zeros.
 *
 * @throws CtdError POLICY_INVALID
 */
export function parsePolicy(text: string): ComparePolicy {
  if (text === 'exact') return { kind: 'exact' }
  const tensors = parseTensors(text)
  if (tensors !== undefined) return tensors
  const [, atol, rtol] = METRICS_POLICY.exec(text) ?? []
  if (atol !== undefined && rtol !== undefined) {
    const policy = { kind: 'metrics', atolMicro: BigInt(atol), rtolPpm: BigInt(rtol) } as const
    const { atolMicro, rtolPpm } = TOLERANCE_MAX
    if (policy.atolMicro <= atolMicro && policy.rtolPpm <= rtolPpm) return policy
  }
  throw new CtdError('POLICY_INVALID', `not a compare policy: ${text.slice(0, 60)}`, {
    hint: 'exact, metrics with an absolute and a relative tolerance, or tensors with a profile',
  })
}

/** A τ that is the profile's own is not spelt out: every policy has one text. */
function parseTensors(text: string): ComparePolicy | undefined {
  const [, name, tau] = TENSORS_POLICY.exec(text) ?? []
  if (name !== 'fp32' && name !== 'tf32' && name !== 'bf16') return undefined
  const own: bigint = TENSOR_PROFILES[name].tauPpm
  if (tau === undefined) return { kind: 'tensors', profile: name, tauPpm: own }
  const tauPpm = BigInt(tau)
  return tauPpm === own || tauPpm > TAU_MAX_PPM
    ? undefined
    : { kind: 'tensors', profile: name, tauPpm }
}

/** The form that `parsePolicy` reads. */
export function policyText(policy: ComparePolicy): string {
  switch (policy.kind) {
    case 'exact':
      return 'exact'
    case 'metrics':
      return `metrics:${policy.atolMicro.toString()}:${policy.rtolPpm.toString()}`
    case 'tensors': {
      const { profile, tauPpm } = policy
      const isOwn = TENSOR_PROFILES[profile].tauPpm === tauPpm
      return isOwn ? `tensors:${profile}` : `tensors:${profile}:${tauPpm.toString()}`
    }
  }
}

/** What one executor revealed. */
export interface ReplicaResult {
  readonly peer: PeerId
  readonly root: Digest
  /** Numbers of the result in millionths; absent counts as none. */
  readonly metricsMicro?: Readonly<Record<string, bigint>>
  /** What its sketch says of the update, where tensors are compared. */
  readonly update?: UpdateEvidence
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
 * @throws CtdError TOO_MANY_RESULTS
 */
export function groupResults(
  results: readonly ReplicaResult[],
  policy: ComparePolicy,
): ResultGroup[] {
  if (results.length > LIMITS.replicasPerTask) {
    throw new CtdError('TOO_MANY_RESULTS', `a task has at most ${LIMITS.replicasPerTask} replicas`)
  }
  const sorted = results.toSorted((a, b) => compareText(a.peer, b.peer))
  const distances = distancesOf(sorted, policy)
  let groups = sorted.map((result) => [result])
  for (;;) {
    const joined = joinNearest(groups, distances)
    if (joined === undefined) break
    groups = joined
  }
  return groups
    .map((members) => ({ root: rootOf(members), members: members.map(({ peer }) => peer).sort() }))
    .sort((a, b) => b.members.length - a.members.length || compareText(a.root, b.root))
}

/**
 * Distance of two results in parts per million of the tolerance, rounded up: 0 for equal roots,
 * at most 1 000 000 for a match. Symmetric, also where a profile's metrics are compared.
 */
export function resultDistance(a: ReplicaResult, b: ReplicaResult, policy: ComparePolicy): bigint {
  if (a.root === b.root) return 0n
  switch (policy.kind) {
    case 'exact':
      return APART
    case 'metrics':
      return metricsDistance(a, b, policy)
    case 'tensors':
      return tensorsDistance(a, b, policy)
  }
}

/** The farther of the updates and of the metrics; both must have a sketch. */
function tensorsDistance(
  a: ReplicaResult,
  b: ReplicaResult,
  { profile, tauPpm }: Extract<ComparePolicy, { kind: 'tensors' }>,
): bigint {
  if (a.update === undefined || b.update === undefined) return APART
  const update = updateDistance(a.update, b.update, tauPpm)
  if (update === undefined) return APART
  const { lossPpm } = TENSOR_PROFILES[profile]
  const isEmpty = [a, b].every(({ metricsMicro = {} }) => Object.keys(metricsMicro).length === 0)
  const tolerance = { atolMicro: lossPpm, rtolPpm: lossPpm, wholeExactly: true }
  const metrics = isEmpty ? 0n : metricsDistance(a, b, tolerance)
  return metrics > update ? metrics : update
}

interface MetricsTolerance {
  readonly atolMicro: bigint
  readonly rtolPpm: bigint
  /** Counts, such as steps and tokens, are no measurements. */
  readonly wholeExactly?: boolean
}

function metricsDistance(a: ReplicaResult, b: ReplicaResult, tolerance: MetricsTolerance): bigint {
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
    const distance = metricDistance(x, y, tolerance)
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
  { atolMicro, rtolPpm, wholeExactly }: MetricsTolerance,
): bigint {
  const difference = magnitude(x - y)
  if (difference === 0n) return 0n
  if (wholeExactly === true && x % MATCH === 0n && y % MATCH === 0n) return APART
  const largest = magnitude(x) > magnitude(y) ? magnitude(x) : magnitude(y)
  // Scaled by a million, so that a relative tolerance loses nothing to rounding.
  const tolerance = atolMicro * MATCH + rtolPpm * largest
  if (tolerance <= 0n) return APART
  return (difference * MATCH * MATCH + tolerance - 1n) / tolerance
}

function magnitude(value: bigint): bigint {
  return value < 0n ? -value : value
}

/** Distances of every pair, both ways round. */
type Distances = ReadonlyMap<ReplicaResult, ReadonlyMap<ReplicaResult, bigint>>

function distancesOf(results: readonly ReplicaResult[], policy: ComparePolicy): Distances {
  const distances = new Map(results.map((result) => [result, new Map<ReplicaResult, bigint>()]))
  results.forEach((a, i) => {
    for (const b of results.slice(i + 1)) {
      const distance = resultDistance(a, b, policy)
      distances.get(a)?.set(b, distance)
      distances.get(b)?.set(a, distance)
    }
  })
  return distances
}

/** Joins the two nearest groups that match in every pair; undefined when there are none. */
function joinNearest(
  groups: readonly ReplicaResult[][],
  distances: Distances,
): ReplicaResult[][] | undefined {
  let nearest: { first: number; second: number; distance: bigint } | undefined
  groups.forEach((left, first) => {
    groups.slice(first + 1).forEach((right, offset) => {
      const distance = linkage(left, right, distances)
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
  distances: Distances,
): bigint {
  let farthest = 0n
  for (const a of left) {
    for (const b of right) {
      const distance = distances.get(a)?.get(b) ?? APART
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
