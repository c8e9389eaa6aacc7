/**
 * How far apart two updates are, from what their executors revealed of them (trust.md 2.5). All of
 * it in whole numbers: the verdict must be the same on every machine.
 */
import type { Digest } from '../wire/ids.js'
import { PPM } from './integer.js'
import { SKETCH } from './sketch.js'

/** A kind of arithmetic, and how far honest replicas may drift apart in it. */
export interface TensorProfile {
  /** Relative distance of updates, parts per million. */
  readonly tauPpm: bigint
  /** Of fractional metrics: relative in parts per million, absolute in millionths. */
  readonly lossPpm: bigint
  /** Longest run between two comparisons: drift jumps after more steps. */
  readonly segmentSteps: number
}

/** Starting values of trust.md 2.5; `ctd calibrate` measures whether they fit a machine. */
export const TENSOR_PROFILES = {
  /** Single precision without tensor cores, between any two CPUs or GPUs. */
  fp32: { tauPpm: 1000n, lossPpm: 100n, segmentSteps: 100 },
  tf32: { tauPpm: 50_000n, lossPpm: 10_000n, segmentSteps: 10 },
  bf16: { tauPpm: 50_000n, lossPpm: 10_000n, segmentSteps: 10 },
} as const satisfies Readonly<Record<string, TensorProfile>>

export type TensorProfileName = keyof typeof TENSOR_PROFILES

/** A tolerance says nothing any more where cheats lie within it. */
export const TAU_MAX_PPM = 200_000n

/** An update as its executor revealed it; `sketch-message.ts` has checked that it fits together. */
export interface UpdateEvidence {
  readonly rest: Digest
  readonly elements: number
  /** An element is its whole number times 2^(exponent − 30). */
  readonly exponent: number
  /** Quantisation step, in whole numbers. */
  readonly step: number
  readonly normSquared: bigint
  /** A bucket is its entry times 2^shift. */
  readonly shift: number
  /** `SKETCH.rows` times `SKETCH.buckets` entries. */
  readonly buckets: Int16Array
  /** The chunks that the seed asked for. */
  readonly opened: ReadonlyArray<Int32Array>
}

/** Buckets that differ by more than this many of their usual differences: single weights edited. */
const OUTLIER_MAX = 8n
/** Opened chunks are few, so they may lie so many times farther apart than the whole, … */
const OPENED_FACTOR = 64n
/** … but never by more than half of what they hold. */
const OPENED_MAX_PPM = 500_000n
/**
 * Powers of two between the units of two sketches beyond which they have nothing in common: the
 * largest bucket of one is then 16 times that of the other, which no outlier may be. Up to here
 * the sums below are whole in a double.
 */
const EXPONENTS_APART = 5
/** Binary digits behind the point in square roots. */
const ROOT_BITS = 40n

const ONE = BigInt(PPM)

/**
 * Distance of two updates in parts per million of the tolerance, rounded up; undefined where they
 * cannot be compared, because something that must be equal is not. The largest of four:
 *
 * - the relative distance of the sketches, median of the rows, to τ
 * - their norms, as the claims tell them, to τ
 * - the largest difference of a bucket to 8 times the usual one, or times one quantisation step
 *   where that is larger: the least of the rows, so that one unlucky row blames nobody
 * - the opened chunks, to 64 τ and at most one half
 */
export function updateDistance(
  a: UpdateEvidence,
  b: UpdateEvidence,
  tauPpm: bigint,
): bigint | undefined {
  const parts = updateDistances(a, b, tauPpm)
  if (parts === undefined) return undefined
  const { relative, outlier, opened } = parts
  return largest(largest(relative, outlier), opened)
}

/** The distance of two updates in its parts; undefined where they cannot be compared. */
export interface UpdateDistances {
  /** Of sketches and of norms: twice as far where τ is half as large. */
  readonly relative: bigint
  /** Of single buckets: the same whatever τ is. */
  readonly outlier: bigint
  readonly opened: bigint
}

export function updateDistances(
  a: UpdateEvidence,
  b: UpdateEvidence,
  tauPpm: bigint,
): UpdateDistances | undefined {
  if (a.rest !== b.rest || a.elements !== b.elements) return undefined
  if (a.opened.length !== b.opened.length) return undefined
  const rows = rowsOf(a, b)
  const spread = spreadOf(a, b)
  // So far apart in size that the smaller one is nothing beside the larger.
  const sketched = rows === undefined ? ratio(ONE, tauPpm) : sketchDistance(rows, tauPpm)
  return {
    relative: largest(sketched, normDistance(spread, tauPpm)),
    outlier: rows === undefined ? 0n : outlierDistance(rows),
    opened: openedDistance(a, b, tauPpm),
  }
}

function largest(x: bigint, y: bigint): bigint {
  return x > y ? x : y
}

/** What is compared of one row, in the smaller of the two units. */
interface Row {
  readonly difference: bigint
  readonly left: bigint
  readonly right: bigint
  readonly largest: bigint
  /** Least difference that means anything: a step of the updates or of the sketches. */
  readonly step: bigint
}

/** The rows of both sketches in one unit; undefined where their units are worlds apart. */
function rowsOf(a: UpdateEvidence, b: UpdateEvidence): Row[] | undefined {
  const [unitA, unitB] = [a.exponent + a.shift, b.exponent + b.shift]
  const unit = Math.min(unitA, unitB)
  const [shiftA, shiftB] = [unitA - unit, unitB - unit]
  if (shiftA > EXPONENTS_APART || shiftB > EXPONENTS_APART) return undefined
  const step = stepIn(unit, a, b)
  const bucketStep = 1n << BigInt(Math.max(shiftA, shiftB))
  return Array.from({ length: SKETCH.rows }, (_, row) => {
    let [difference, left, right, largest] = [0, 0, 0, 0]
    for (let i = row * SKETCH.buckets; i < (row + 1) * SKETCH.buckets; i++) {
      // At most 21 bits: 1024 squares are whole in a double.
      const x = (a.buckets[i] ?? 0) * (1 << shiftA)
      const y = (b.buckets[i] ?? 0) * (1 << shiftB)
      difference += (x - y) * (x - y)
      left += x * x
      right += y * y
      largest = Math.max(largest, Math.abs(x - y))
    }
    return {
      difference: BigInt(difference),
      left: BigInt(left),
      right: BigInt(right),
      largest: BigInt(largest),
      step: step > bucketStep ? step : bucketStep,
    }
  })
}

/** The smaller of the two claimed quantisation steps, in units of 2^unit, rounded up. */
function stepIn(unit: number, a: UpdateEvidence, b: UpdateEvidence): bigint {
  const base = Math.min(a.exponent, b.exponent)
  const [stepA, stepB] = [a, b].map(({ step, exponent }) => BigInt(step) << BigInt(exponent - base))
  const least = (stepA ?? 0n) < (stepB ?? 0n) ? (stepA ?? 0n) : (stepB ?? 0n)
  const up = BigInt(unit - base)
  return (least + (1n << up) - 1n) >> up
}

function sketchDistance(rows: readonly Row[], tauPpm: bigint): bigint {
  const difference = middleOf(rows.map((row) => row.difference))
  if (difference === 0n) return 0n
  const left = middleOf(rows.map((row) => row.left))
  const right = middleOf(rows.map((row) => row.right))
  const size = left > right ? left : right
  if (size === 0n) return ratio(ONE, tauPpm)
  const scaled = (difference * ONE ** 4n + size * tauPpm ** 2n - 1n) / (size * tauPpm ** 2n)
  return rootUp(scaled)
}

/** Twice the median of an even number: a ratio of two medians needs no half. */
function middleOf(values: readonly bigint[]): bigint {
  const sorted = values.toSorted((x, y) => (x < y ? -1 : x > y ? 1 : 0))
  const half = sorted.length / 2
  return (sorted[half - 1] ?? 0n) + (sorted[half] ?? 0n)
}

function outlierDistance(rows: readonly Row[]): bigint {
  const distances = rows.map(({ difference, largest, step }) => {
    // rms² · buckets = difference; compared as squares, the step enlarged likewise.
    const buckets = BigInt(SKETCH.buckets)
    const usual = difference > step * step * buckets ? difference : step * step * buckets
    const limit = OUTLIER_MAX ** 2n * usual
    const square = largest * largest * buckets * ONE ** 2n
    return rootUp((square + limit - 1n) / limit)
  })
  return distances.reduce((least, one) => (one < least ? one : least))
}

/** Both squared norms in one unit. */
function spreadOf(a: UpdateEvidence, b: UpdateEvidence): { left: bigint; right: bigint } {
  const base = Math.min(a.exponent, b.exponent)
  const [left, right] = [a, b].map(
    ({ normSquared, exponent }) => normSquared << BigInt(2 * (exponent - base)),
  )
  return { left: left ?? 0n, right: right ?? 0n }
}

function normDistance({ left, right }: { left: bigint; right: bigint }, tauPpm: bigint): bigint {
  const [small, large] = left < right ? [left, right] : [right, left]
  if (small === large) return 0n
  const root = rootDown(large << (2n * ROOT_BITS))
  const apart = root - rootDown(small << (2n * ROOT_BITS))
  return ratio(apart * ONE, root * tauPpm)
}

/**
 * The opened chunks of both, to what they hold together, or to what as many elements hold on the
 * average where that is more: chunks that hardly move are mostly rounding.
 */
function openedDistance(a: UpdateEvidence, b: UpdateEvidence, tauPpm: bigint): bigint {
  const base = Math.min(a.exponent, b.exponent)
  const [upA, upB] = [BigInt(a.exponent - base), BigInt(b.exponent - base)]
  let [difference, left, right, count] = [0n, 0n, 0n, 0n]
  a.opened.forEach((chunk, i) => {
    chunk.forEach((value, j) => {
      const x = BigInt(value) << upA
      const y = BigInt(b.opened[i]?.[j] ?? 0) << upB
      difference += (x - y) * (x - y)
      left += x * x
      right += y * y
      count += 1n
    })
  })
  if (difference === 0n) return 0n
  const norms = spreadOf(a, b)
  const norm = norms.left > norms.right ? norms.left : norms.right
  const average = a.elements === 0 ? 0n : (norm * count) / BigInt(a.elements)
  const size = [left, right, average].reduce((most, one) => (one > most ? one : most))
  const wide = OPENED_FACTOR * tauPpm
  const limit = wide < OPENED_MAX_PPM ? wide : OPENED_MAX_PPM
  const scaled = (difference * ONE ** 4n + size * limit ** 2n - 1n) / (size * limit ** 2n)
  return rootUp(scaled)
}

/** x / y in parts per million, rounded up. */
function ratio(x: bigint, y: bigint): bigint {
  return (x * ONE + y - 1n) / y
}

/** floor(√value), by Newton's method from above. */
function rootDown(value: bigint): bigint {
  if (value < 2n) return value
  let guess = 1n << BigInt((value.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (guess + value / guess) >> 1n
    if (next >= guess) return guess
    guess = next
  }
}

function rootUp(value: bigint): bigint {
  const root = rootDown(value)
  return root * root === value ? root : root + 1n
}
