/**
 * Elastic rounds: shards sized by the speed of those who are to train them, and rounds that close
 * without the last stragglers. All of it follows from signed messages: the elections, the durations
 * that executors revealed, and which shards were averaged. Each call carries the sizes of its round
 * (the round manifest), so whoever holds a transcript can derive them again.
 *
 * Every shard has a cursor: the steps of its stream that were averaged so far. A shard that a round
 * goes on without keeps its cursor, so its rows come first in its next round; the last round takes
 * whatever is left and waits for everybody, so that no row is lost.
 *
 * What executors can lie about is their own duration. It moves their shards alone, and between a
 * quarter and four times an equal share.
 */
import type { ShardSize, TrainingPlan } from '../training/plan.js'
import { decodeRound } from '../training/round-manifest.js'
import type { RoundManifest } from '../training/round-manifest.js'
import type { PeerId } from '../wire/ids.js'
import { PPM } from './integer.js'
import type { Plan, PlannedSlot } from './plan.js'

export const ELASTIC_RULES = {
  /** Of an equal share: least and most that a peer's speed can make of it. */
  shareMinPpm: 250_000,
  shareMaxPpm: 4_000_000,
  /** Shards that a round but the last may close with, rounded up. */
  quorumPercent: 75,
  /** Grace after the quorum, as a part of the median time of a shard. */
  graceParts: 4,
  /** A week: longer claims count as that, so that products stay exact. */
  durationMaxMs: 604_800_000,
} as const

/** A shard of a round that was averaged. */
export interface ClosedShard {
  readonly steps: number
  /** Executors whose result was accepted, with the time they revealed. */
  readonly agreed: ReadonlyArray<{ readonly peer: PeerId; readonly durationMs: number }>
}

/** What became of a shard of an earlier round; undefined where the round closed without it. */
export type ClosedShardOf = (round: number, shard: number) => ClosedShard | undefined

/** What sizes need to know of a plan. */
export type RoundedPlan = Pick<TrainingPlan, 'shards' | 'totalSteps' | 'rounds'>

/** How many shards a round may close without. */
export function missableShards({ shards, rounds }: RoundedPlan, round: number): number {
  if (round === rounds.length - 1) return 0
  return shards - Math.ceil((shards * ELASTIC_RULES.quorumPercent) / 100)
}

/**
 * The sizes of a round's shards.
 *
 * A shard's backlog is how far it is behind the plan of equal shares; it gets as much of that as
 * the slowest of its executors has a share, a quarter to four times an equal one, and leaves a step
 * for every later round.
 *
 * @param executorsOf - of each shard, as the round's election seated them
 */
export function roundManifest(
  plan: RoundedPlan,
  round: number,
  executorsOf: (shard: number) => readonly PeerId[],
  closed: ClosedShardOf,
): RoundManifest {
  const { shards, totalSteps, rounds } = plan
  const shares = sharesOf(plan, round, closed)
  const equal = rounds[round]?.learningRates.length ?? 1
  const plannedEnd = (rounds[round]?.startStep ?? 0) + equal
  const later = rounds.length - 1 - round
  const sizes = Array.from({ length: shards }, (_, shard): ShardSize => {
    const start = cursorOf(round, shard, closed)
    const room = totalSteps - start - later
    if (later === 0) return { start, steps: room }
    const known = executorsOf(shard).map((peer) => shares.get(peer) ?? PPM)
    const share = known.length === 0 ? PPM : Math.min(...known)
    const backlog = Math.max(1, plannedEnd - start)
    const wanted = Math.floor((backlog * share) / PPM)
    const most = Math.min(Math.floor((equal * ELASTIC_RULES.shareMaxPpm) / PPM), room)
    const least = Math.max(1, Math.floor((equal * ELASTIC_RULES.shareMinPpm) / PPM))
    return { start, steps: Math.max(1, Math.min(most, Math.max(least, wanted))) }
  })
  const missed = round === 0 ? [] : indices(shards).filter((shard) => !closed(round - 1, shard))
  return { version: 1, round, missed, shards: sizes }
}

function indices(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

/** Steps of a shard's stream that earlier rounds averaged. */
function cursorOf(round: number, shard: number, closed: ClosedShardOf): number {
  return indices(round).reduce((sum, before) => sum + (closed(before, shard)?.steps ?? 0), 0)
}

/**
 * How much of an equal share each peer gets done in the time that half of them take: 10^6 for an
 * equal share, and for whoever is not known. Who was done early with its size can do at least as
 * much more, who was late at most as much as it did: a container's start is no reason to give less
 * and less to whoever once had little.
 */
function sharesOf(
  plan: RoundedPlan,
  rounds: number,
  closed: ClosedShardOf,
): ReadonlyMap<PeerId, number> {
  const shares = new Map<PeerId, number>()
  for (const round of indices(rounds)) {
    const equal = plan.rounds[round]?.learningRates.length ?? 1
    const found = indices(plan.shards).flatMap((shard) => closed(round, shard) ?? [])
    const typicalMs = medianOf(
      found.flatMap(({ agreed }) => agreed.map(({ durationMs }) => clampMs(durationMs))),
    )
    for (const { steps, agreed } of found) {
      const size = Math.floor((steps * PPM) / equal)
      for (const { peer, durationMs } of agreed) {
        const tookMs = clampMs(durationMs)
        const share = clampShare(Math.floor((size * typicalMs) / tookMs))
        const before = shares.get(peer) ?? PPM
        const isEarly = tookMs <= typicalMs
        shares.set(peer, isEarly ? Math.max(before, share) : Math.min(before, share))
      }
    }
  }
  return shares
}

function clampMs(ms: number): number {
  return Math.max(1, Math.min(ELASTIC_RULES.durationMaxMs, ms))
}

function clampShare(ppm: number): number {
  const { shareMinPpm, shareMaxPpm } = ELASTIC_RULES
  return Math.max(shareMinPpm, Math.min(shareMaxPpm, ppm))
}

/** Of an even number the lower middle. */
function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[(values.length - 1) >> 1] ?? 1
}

/** A shard that was averaged, from the round manifest that it was made under. */
export function closedShard(
  plan: TrainingPlan,
  { round, index }: Pick<PlannedSlot, 'round' | 'index'>,
  bytes: Uint8Array,
  agreed: ClosedShard['agreed'],
): ClosedShard {
  return { steps: decodeRound(plan, round, bytes).shards[index]?.steps ?? 0, agreed }
}

/** How long a round waits for stragglers after its quorum. */
export function graceMs(tookMs: readonly number[], floorMs: number): number {
  return Math.max(floorMs, Math.floor(medianOf(tookMs) / ELASTIC_RULES.graceParts))
}

/** Whether the sizes of a slot are in its call. */
export function isSized(plan: Pick<Plan, 'training'>, { stage }: PlannedSlot): boolean {
  return plan.training?.elastic === true && stage === 'train'
}

/** The slot of a shard in a round. */
export function trainSlotAt(plan: Plan, round: number, shard: number): PlannedSlot | undefined {
  const slot = plan.batches[round - (plan.training?.startRound ?? 0) + 1]?.[shard]
  return slot?.stage === 'train' ? slot : undefined
}

/** The slots of a batch that train, in the order of their shards. */
export function trainSlotsOf({ batches }: Plan, batch: number): readonly PlannedSlot[] {
  return (batches[batch] ?? []).filter(({ stage }) => stage === 'train')
}

/**
 * The slots of a batch that its round closed without: those whose update its aggregation was not
 * given.
 *
 * @param inputs - of the aggregation's task
 */
export function missedSlots(
  plan: Plan,
  batch: number,
  inputs: ReadonlyArray<{ readonly name: string }>,
): readonly PlannedSlot[] {
  if (plan.training?.elastic !== true) return []
  const names = new Set(inputs.map(({ name }) => name))
  const aggregate = (plan.batches[batch] ?? []).find(({ stage }) => stage === 'aggregate')
  return trainSlotsOf(plan, batch).filter((slot) => {
    const update = aggregate?.inputs.find(
      ({ source }) => source.kind === 'slot' && source.batch === batch && source.slot === slot.slot,
    )
    return update !== undefined && !names.has(update.name)
  })
}
