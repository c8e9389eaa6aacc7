/**
 * Whether a tolerance tells honest replicas from cheats on a machine, from measured distances
 * (trust.md 2.5).
 */
import { NEAR_MISS_FACTOR } from './compare.js'
import { PPM } from './integer.js'
import { TAU_MAX_PPM } from './tensors.js'
import type { UpdateDistances } from './tensors.js'

/** Replicas that drift this many times farther than those measured must not yet be struck. */
export const HONEST_MARGIN = 10n
/** A replica that leaves out a twentieth of its steps must be this many times farther than τ. */
export const LAZY_MARGIN = 5n

const MATCH = BigInt(PPM)

/** Of unlike results, in millionths of the tolerance. */
export interface Distances {
  /** Between honest ones; none where all were alike byte for byte. */
  readonly honest: readonly UpdateDistances[]
  /** Between the cheats of a kind and honest ones; of `skips` where a twentieth was left out. */
  readonly cheats: Readonly<Record<string, readonly UpdateDistances[]>>
}

export interface Separation {
  readonly ok: boolean
  /** Farthest honest pair, 0 without any, in millionths of the tolerance. */
  readonly honest: bigint
  /** Nearest of each kind. */
  readonly cheats: Readonly<Record<string, bigint>>
  /** Least τ that honest replicas ask for, and the largest that leaves no cheat unseen. */
  readonly tauLeastPpm: bigint
  readonly tauMostPpm: bigint
}

export function separationOf({ honest, cheats }: Distances, tauPpm: bigint): Separation {
  const farthest = most(honest.map(whole))
  const relative = most(honest.map((one) => one.relative))
  const blamed = NEAR_MISS_FACTOR * MATCH
  const tauLeastPpm = (relative * HONEST_MARGIN * tauPpm + blamed - 1n) / blamed
  const bounds = Object.entries(cheats).flatMap(([kind, distances]) => {
    const margin = kind === 'skips' ? LAZY_MARGIN : 1n
    // A bucket that stands out is found whatever τ is; otherwise the largest τ is just below.
    const bounded = distances.filter(({ outlier }) => kind === 'skips' || outlier <= MATCH)
    return bounded.map((one) => (one.relative * tauPpm) / (MATCH * margin))
  })
  const tauMostPpm = least([...bounds, TAU_MAX_PPM])
  const nearest = Object.fromEntries(
    Object.entries(cheats).map(([kind, distances]) => [kind, least(distances.map(whole))]),
  )
  const isFitting = tauLeastPpm <= tauPpm && tauPpm <= tauMostPpm
  return {
    ok: isFitting && farthest <= MATCH,
    honest: farthest,
    cheats: nearest,
    tauLeastPpm,
    tauMostPpm,
  }
}

function whole({ relative, outlier, opened }: UpdateDistances): bigint {
  return most([relative, outlier, opened])
}

function most(values: readonly bigint[]): bigint {
  return values.reduce((found, one) => (one > found ? one : found), 0n)
}

function least(values: readonly bigint[]): bigint {
  return values.reduce((found, one) => (one < found ? one : found))
}
