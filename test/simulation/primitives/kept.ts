/**
 * What one simulated peer has computed and others need not compute again: results of pure
 * functions by what they follow from. Bounded, and emptied between schedules, so that no run of a
 * seed depends on the one before.
 */
import { mode } from './mode.js'

const KEPT_MAX = 8192
const all: Array<{ clear(): void }> = []

export interface KeptOptions {
  /** Kept in real schedules too: for signatures and VRFs, which would be all of their time. */
  readonly isAlways: boolean
}

export class Kept<T> {
  readonly #isAlways: boolean
  readonly #values = new Map<string, T>()

  constructor({ isAlways }: KeptOptions = { isAlways: false }) {
    this.#isAlways = isAlways
    all.push(this.#values)
  }

  /** The known value, or the computed one; errors are not kept. */
  of(name: string, compute: () => T): T {
    if (mode.isReal && !this.#isAlways) return compute()
    const known = this.#values.get(name)
    if (known !== undefined) return known
    const value = compute()
    if (this.#values.size >= KEPT_MAX) this.#values.clear()
    this.#values.set(name, value)
    return value
  }
}

export function forgetKept(): void {
  for (const values of all) values.clear()
}
