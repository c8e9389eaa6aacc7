/**
 * Which shards of a round count: a pure function of what their tasks wrote. Replication shows that
 * an update was computed as asked; the guards show that it helps, also where all replicas collude
 * or the data of a shard is poisoned.
 */

/** What one shard brought. */
export interface ShardReport {
  readonly lossStart: number
  readonly lossEnd: number
  /** Of the update (L2); undefined when it holds numbers that are not finite. */
  readonly norm: number | undefined
}

export type LeftOutWhy = 'not-finite' | 'norm' | 'loss'

export interface LeftOut {
  readonly shard: number
  readonly why: LeftOutWhy
}

/** An update longer than so many times the round's median is left out. */
export const NORM_MEDIANS_MAX = 4
/** And one of a shard whose loss rose to more than so many times what it began with. */
export const LOSS_RISE_MAX = 2
/** In nats: below this a doubled loss is the noise of single batches. */
export const LOSS_FLOOR = 0.1

/** The shards that do not count, in their order; the first reason of each. */
export function leftOut(reports: readonly ShardReport[]): readonly LeftOut[] {
  const norms = reports.flatMap(({ norm }) => (norm === undefined ? [] : [norm]))
  const longest = NORM_MEDIANS_MAX * median(norms)
  return reports.flatMap((report, shard): LeftOut[] => {
    const { norm, lossStart, lossEnd } = report
    if (norm === undefined || !Number.isFinite(lossStart) || !Number.isFinite(lossEnd)) {
      return [{ shard, why: 'not-finite' }]
    }
    if (norm > longest) return [{ shard, why: 'norm' }]
    const isRisen = lossEnd > LOSS_RISE_MAX * Math.max(lossStart, LOSS_FLOOR)
    return isRisen ? [{ shard, why: 'loss' }] : []
  })
}

/** The middle, or the mean of the two in the middle; 0 of none. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  const upper = sorted[half] ?? 0
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? 0) + upper) / 2
}

/** For people: `shard 3 (norm)`. */
export function describeLeftOut(left: readonly LeftOut[]): string {
  return left.map(({ shard, why }) => `shard ${shard} (${why})`).join(', ')
}
