/** Intervals and critical values of the figures that simulations give. */

/** An estimate with its 95 % interval. */
export interface Interval {
  readonly value: number
  readonly low: number
  readonly high: number
}

/** The 0.975 quantile of the normal distribution. */
const Z = 1.959964

/** A share in per cent with Wilson's score interval (E. B. Wilson 1927); 0 to 100 of nothing. */
export function wilson(hits: number, trials: number): Interval {
  if (trials === 0) return { value: 0, low: 0, high: 100 }
  const p = hits / trials
  const scale = 1 + Z ** 2 / trials
  const middle = (p + Z ** 2 / (2 * trials)) / scale
  const half = (Z * Math.sqrt((p * (1 - p)) / trials + Z ** 2 / (4 * trials ** 2))) / scale
  return {
    value: 100 * p,
    low: hits === 0 ? 0 : 100 * Math.max(0, middle - half),
    high: hits === trials ? 100 : 100 * Math.min(1, middle + half),
  }
}

/** A mean with its normal interval, from the sums of values and squares. */
export function meanInterval(count: number, sum: number, squares: number): Interval {
  if (count === 0) return { value: 0, low: 0, high: 0 }
  const value = sum / count
  const half = Z * Math.sqrt(Math.max(0, squares / count - value ** 2) / count)
  return { value, low: value - half, high: value + half }
}

/** χ² of counts against expected shares, which sum to one. */
export function chiSquare(counts: readonly number[], shares: readonly number[]): number {
  const total = counts.reduce((sum, count) => sum + count, 0)
  return counts.reduce((sum, count, i) => {
    const expected = total * (shares[i] ?? 0)
    return sum + (count - expected) ** 2 / expected
  }, 0)
}

/**
 * The 0.999 quantile of χ² (α = 0.001), by Wilson and Hilferty 1931: d · (1 − 2/9d + z√(2/9d))³
 * with z = 3.0902. From 3 degrees on within 0.3 % of the tables; with 2 degrees −2 ln α is exact.
 */
export function chiSquareCritical(degrees: number): number {
  if (degrees === 2) return -2 * Math.log(0.001)
  const part = 2 / (9 * degrees)
  return degrees * (1 - part + 3.090232 * Math.sqrt(part)) ** 3
}
