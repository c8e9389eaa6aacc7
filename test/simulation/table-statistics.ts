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

/** Quantiles by degrees of freedom from 1 on: NIST/SEMATECH e-Handbook of Statistics, 1.3.6.7.4. */
const CHI_SQUARE_999 = [
  10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.124, 27.877, 29.588,
]

/** The 0.999 quantile of χ² (α = 0.001), for 1 to 10 degrees of freedom. */
export function chiSquareCritical(degrees: number): number {
  const value = CHI_SQUARE_999[degrees - 1]
  if (value === undefined) throw new RangeError(`no quantile for ${degrees} degrees of freedom`)
  return value
}
