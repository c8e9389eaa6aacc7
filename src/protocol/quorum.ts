/**
 * How many stewards speak for all, and who they are in each view.
 */
import { InvariantError } from '../errors.js'
import { LIMITS } from '../wire/limits.js'

/** ⌈2k / 3⌉: how many of k stewards must sign. Two such quorums share more than k / 3 of them. */
export function quorumOf(k: number): number {
  if (!Number.isInteger(k) || k < 1) throw new InvariantError('a set of stewards is not empty')
  return Math.ceil((2 * k) / 3)
}

/** Whether so many of k stewards are a quorum. */
export function isQuorum(signed: number, k: number): boolean {
  return signed >= quorumOf(k)
}

/**
 * How many of k stewards may be faulty while no two quorums of one view can differ: fewer than a
 * third, ⌊(k − 1) / 3⌋.
 */
export function faultsBorne(k: number): number {
  return Math.floor((k - 1) / 3)
}

/**
 * The members of one view, its leader first: the `k = min(7, n)` candidates from place `view` of
 * the ranking on, past its end again from the beginning. Each view so replaces one of the view
 * before by the next in the ranking, and every candidate comes to lead.
 */
export function membersAt<T>(ranked: readonly T[], view: number): readonly T[] {
  const n = ranked.length
  const start = n === 0 ? 0 : view % n
  return [...ranked.slice(start), ...ranked.slice(0, start)].slice(0, LIMITS.stewardsPerOffer)
}
