/**
 * Fixed-point arithmetic of the law. Floating-point logarithms and powers may differ between
 * JavaScript engines (ECMA-262 calls them implementation-approximated), so election, verdict and
 * reputation use these integer forms: the same input gives the same bits everywhere.
 */
import { InvariantError } from '../errors.js'

/** One, in parts per million. */
export const PPM = 1_000_000

const LOG_FRACTION_BITS = 32n
const MANTISSA_BITS = 63n
const UNIT_BITS = 64n
const UNIT = 1n << UNIT_BITS
/** floor(ln 2 · 2^64). */
const LN2 = 12786308645202655659n
/** 2^(−2^−i) · 2^64 for i = 1 … 32, each the integer square root of the one before. */
const HALVING_ROOTS = halvingRoots(32)

/**
 * floor(log2(x) · 2^32) for x ≥ 1.
 *
 * Bit by bit: the mantissa is squared, and each time it passes 2 the next bit of the logarithm is
 * one. Truncation of the 63-bit mantissa adds less than 2^−60 to the 2^−32 of the last bit.
 */
export function log2Fixed(x: bigint): bigint {
  if (x < 1n) throw new InvariantError('the logarithm needs a positive integer')
  const exponent = BigInt(x.toString(2).length - 1)
  const shift = MANTISSA_BITS - exponent
  let mantissa = shift >= 0n ? x << shift : x >> -shift
  let fraction = 0n
  for (let bit = 0n; bit < LOG_FRACTION_BITS; bit++) {
    mantissa = (mantissa * mantissa) >> MANTISSA_BITS
    fraction <<= 1n
    if (mantissa >> (MANTISSA_BITS + 1n) !== 0n) {
      mantissa >>= 1n
      fraction |= 1n
    }
  }
  return (exponent << LOG_FRACTION_BITS) | fraction
}

/**
 * −log2(u / 2^256) in 32.32 fixed point, for a 256-bit integer u; 0 counts as 1.
 *
 * The result lies in [1, 256 · 2^32] and is at most 2^−32 + 2^−60 above the true value.
 */
export function negLog2Fixed(u: bigint): bigint {
  if (u < 0n || u >> 256n !== 0n) throw new InvariantError('not a 256-bit integer')
  return (256n << LOG_FRACTION_BITS) - log2Fixed(u === 0n ? 1n : u)
}

/**
 * ln(p / (1 − p)) in millionths of a nat, for p in parts per million; p is first taken into
 * [1, 999 999]. Within one millionth of the true value, and exactly odd around p = 500 000.
 */
export function logitMicro(pPpm: number): number {
  if (!Number.isSafeInteger(pPpm)) throw new InvariantError('a probability in ppm is an integer')
  const p = Math.min(Math.max(pPpm, 1), PPM - 1)
  const odds = log2Fixed(BigInt(Math.max(p, PPM - p))) - log2Fixed(BigInt(Math.min(p, PPM - p)))
  const shift = LOG_FRACTION_BITS + UNIT_BITS
  const micro = Number((odds * LN2 * 1_000_000n + (1n << (shift - 1n))) >> shift)
  return p * 2 >= PPM ? micro : -micro
}

/**
 * 2^(−age / halfLife) scaled by 2^64, for an age ≥ 0 and a half-life > 0 in the same unit.
 *
 * Never rises with age. Relative error below 2^−31 (the fraction of a half-life keeps 32 bits);
 * 0 after 64 half-lives.
 */
export function decayFixed(age: number, halfLife: number): bigint {
  if (!Number.isSafeInteger(age) || age < 0) throw new InvariantError('an age is an integer ≥ 0')
  if (!Number.isSafeInteger(halfLife) || halfLife <= 0) {
    throw new InvariantError('a half-life is an integer > 0')
  }
  const rest = age % halfLife
  const whole = BigInt((age - rest) / halfLife)
  if (whole >= UNIT_BITS) return 0n
  // Below 2^32, so that its bits are read from a number.
  const fraction = Number((BigInt(rest) << 32n) / BigInt(halfLife))
  let product = UNIT
  HALVING_ROOTS.forEach((root, i) => {
    if ((fraction >>> (31 - i)) & 1) product = (product * root) >> UNIT_BITS
  })
  return product >> whole
}

/** 2^(−age / halfLife) in parts per million, rounded down. */
export function decayPpm(age: number, halfLife: number): number {
  return Number((decayFixed(age, halfLife) * BigInt(PPM)) >> UNIT_BITS)
}

/** floor(amount · 2^(−age / halfLife)) for an amount ≥ 0 in any fixed-point unit. */
export function decayed(amount: bigint, age: number, halfLife: number): bigint {
  return amount === 0n || age === 0 ? amount : (amount * decayFixed(age, halfLife)) >> UNIT_BITS
}

/** The big-endian integer of a byte string. */
export function bytesToInteger(bytes: Uint8Array): bigint {
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return value
}

/** Four bytes, big-endian. @throws InvariantError outside [0, 2^32) */
export function uint32Bytes(value: number): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw new InvariantError(`${value} is no 32-bit unsigned integer`)
  }
  return Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255)
}

/** Order of two byte strings as unsigned bytes, the shorter of two equal beginnings first. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}

/** Order of two texts by UTF-16 code units, the same in every locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function halvingRoots(count: number): bigint[] {
  const roots: bigint[] = []
  let square = UNIT >> 1n
  for (let i = 0; i < count; i++) {
    square = integerSquareRoot(square << UNIT_BITS)
    roots.push(square)
  }
  return roots
}

function integerSquareRoot(n: bigint): bigint {
  let root = 1n << BigInt((n.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (root + n / root) >> 1n
    if (next >= root) return root
    root = next
  }
}
