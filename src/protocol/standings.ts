/**
 * What a steward knows of the bidders when it freezes their bids; the weights follow from it. All of
 * it but the address follows from the evidence that the freeze quotes.
 */
import type { Opened } from '../wire/envelope.js'
import type { Standing } from '../wire/generated/election.js'
import type { PeerId } from '../wire/ids.js'
import type { Score, WorkKind } from './reputation.js'

const PPM = 1_000_000
const SPEED_MIN_PPM = 500_000
const SPEED_MAX_PPM = 2_000_000

export interface StandingSources {
  score(peer: PeerId): Score
  prefixOf(peer: PeerId): string
  /** What the offer asks for. */
  readonly work: WorkKind
}

/** The kind of work that needs so many GPUs. */
export function workOn(gpus: number | undefined): WorkKind {
  return (gpus ?? 0) > 0 ? 'gpu' : 'cpu'
}

/**
 * The standing of every bidder. A peer that has not done this kind of work starts at its benchmark
 * over the median bidder's, within 0.5 and 2; afterwards its speed is what was seen of it.
 */
export function standingsOf(
  bids: ReadonlyArray<Opened<'bid'>>,
  sources: StandingSources,
): Map<PeerId, Standing> {
  const speeds = bids.map((bid) => bid.message.flopsMega).sort((a, b) => a - b)
  const median = speeds[Math.floor((speeds.length - 1) / 2)] ?? 0
  return new Map(
    bids.map((bid) => {
      const score = sources.score(bid.author)
      const seen = score.work[sources.work]
      const hasHistory = seen !== undefined && seen.accepted > 0
      return [
        bid.author,
        {
          reliabilityPpm: score.reliabilityPpm,
          availabilityPpm: score.availabilityPpm,
          speedPpm: hasHistory ? seen.speedPpm : relativeSpeedPpm(bid.message.flopsMega, median),
          established: score.established,
          excluded: score.excluded,
          addressPrefix: sources.prefixOf(bid.author),
        },
      ]
    }),
  )
}

function relativeSpeedPpm(flopsMega: number, median: number): number {
  if (median <= 0) return PPM
  const ppm = Math.floor((flopsMega * PPM) / median)
  return Math.min(SPEED_MAX_PPM, Math.max(SPEED_MIN_PPM, ppm))
}
