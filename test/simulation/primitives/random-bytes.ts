/** Stands in for `node:crypto` where people draw salts and seeds: the schedule's own randomness. */
import { randomBytes as realRandomBytes } from 'node:crypto'
import { mode } from './mode.js'

export function randomBytes(size: number): Uint8Array {
  return mode.random?.bytes(size) ?? realRandomBytes(size)
}
