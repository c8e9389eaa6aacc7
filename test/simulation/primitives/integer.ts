/** Stands in for the integer arithmetic: the real one, with logarithms and decays kept. */
import * as real from '../../../src/protocol/integer.js'

export * from '../../../src/protocol/integer.js'

/** These follow from small integers, not from messages: they last for the process. */
const KEPT_MAX = 65_536
const UNIT_BITS = 64n
const logits = new Map<number, number>()
const decays = new Map<number, Map<number, bigint>>()

export function logitMicro(pPpm: number): number {
  const known = logits.get(pPpm)
  if (known !== undefined) return known
  const value = real.logitMicro(pPpm)
  if (logits.size < KEPT_MAX) logits.set(pPpm, value)
  return value
}

export function decayFixed(age: number, halfLife: number): bigint {
  const ofHalfLife = decays.get(halfLife) ?? new Map<number, bigint>()
  const known = ofHalfLife.get(age)
  if (known !== undefined) return known
  const value = real.decayFixed(age, halfLife)
  decays.set(halfLife, ofHalfLife)
  if (ofHalfLife.size < KEPT_MAX) ofHalfLife.set(age, value)
  return value
}

export function decayed(amount: bigint, age: number, halfLife: number): bigint {
  return amount === 0n || age === 0 ? amount : (amount * decayFixed(age, halfLife)) >> UNIT_BITS
}
