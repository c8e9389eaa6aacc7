/**
 * Orders drawn from a seed: a permutation that needs no generator, only SHA-256.
 *
 * Index i stands at the rank of `SHA-256(domain LF seed LF i)`; all parts UTF-8, i in decimal.
 * Any language recomputes it in a line, and no state has to be carried.
 */
import { createHash } from 'node:crypto'

/** Orders of the rows of a whole dataset, before it is cut into shards. */
export const SPLIT_ORDER_DOMAIN = 'ctd/split-order/1'

/** The permutation of 0 … count - 1 that belongs to a domain and a seed. */
export function seededOrder(domain: string, seed: string, count: number): Uint32Array {
  const prefix = createHash('sha256').update(`${domain}\n${seed}\n`)
  const keys = Array.from({ length: count }, (_, index) =>
    prefix.copy().update(String(index)).digest(),
  )
  return Uint32Array.from(keys.keys()).sort((a, b) => {
    const left = keys[a]
    const right = keys[b]
    return left === undefined || right === undefined ? 0 : Buffer.compare(left, right)
  })
}
