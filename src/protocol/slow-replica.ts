/**
 * When a replica counts as slow: once it runs for longer than nine in ten of those like it took.
 * Then a standby is called beside it, and whoever commits first counts. All times are those of the
 * steward's own clock, so that nobody can lie about them; what an executor can do is to be slow,
 * and that only moves the limit for this one job.
 */
import type { SlotState } from './assignment.js'
import type { PeerId } from '../wire/ids.js'

export const SLOW_RULES = {
  /** Finished replicas of the same stage before one can be slow. */
  samplesMin: 6,
  /** The latest so many are looked at. */
  samplesKept: 128,
  /** Nearest rank. */
  percentile: 90,
} as const

/**
 * How long a replica may take before it is slow: the 90th percentile, at least `floorMs`;
 * undefined while too few like it have finished.
 */
export function slowAfterMs(tookMs: readonly number[], floorMs: number): number | undefined {
  const { samplesMin, percentile } = SLOW_RULES
  if (tookMs.length < samplesMin) return undefined
  const sorted = tookMs.toSorted((a, b) => a - b)
  const rank = Math.ceil((sorted.length * percentile) / 100)
  return Math.max(floorMs, sorted[rank - 1] ?? 0)
}

/** Remembers how long a replica took, the oldest forgotten first. */
export function addSample(tookMs: number[], ms: number): void {
  tookMs.push(Math.max(0, ms))
  if (tookMs.length > SLOW_RULES.samplesKept) tookMs.shift()
}

/** When the first of those began that still run; undefined while none does. */
export function earliestStartMs(slot: SlotState): number | undefined {
  const isRunning = (peer: PeerId): boolean => !slot.commitments.has(peer) && !slot.lost.has(peer)
  const starts = [...slot.startedMs].flatMap(([peer, ms]) => (isRunning(peer) ? [ms] : []))
  return starts.length === 0 ? undefined : Math.min(...starts)
}
