/**
 * Logarithm and exponential by + - * and / alone: engines may differ in the last bit of `Math.log`
 * and `Math.exp`, and these numbers enter results that every peer must find alike.
 */
import { InvariantError } from '../errors.js'

/** ln x of a positive number, to 1e-14: x = m 2^k, then 2 artanh((m - 1) / (m + 1)). */
export function naturalLog(x: number): number {
  if (!(x > 0 && x < Infinity)) throw new InvariantError(`no logarithm of ${x}`)
  let exponent = 0
  let mantissa = x
  for (; mantissa > 1.5; mantissa /= 2) exponent += 1
  for (; mantissa < 0.75; mantissa *= 2) exponent -= 1
  const ratio = (mantissa - 1) / (mantissa + 1)
  const squared = ratio * ratio
  let power = ratio
  let sum = 0
  for (let k = 1; k <= 41; k += 2) {
    sum += power / k
    power *= squared
  }
  return 2 * sum + exponent * Math.LN2
}

/** e^x for x in [-700, 700], to 1e-13 of it: the Taylor series of x / 2^10, squared ten times. */
export function exponential(x: number): number {
  if (!(x >= -700 && x <= 700)) throw new InvariantError(`no exponential of ${x}`)
  if (x < 0) return 1 / exponential(-x)
  const small = x / 1024
  let term = 1
  let sum = 0
  // e^x - 1, so that no digits are lost to the 1 while it is small.
  for (let k = 1; k <= 14; k++) {
    term *= small / k
    sum += term
  }
  for (let i = 0; i < 10; i++) sum = sum * (sum + 2)
  return sum + 1
}
