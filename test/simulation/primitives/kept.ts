/**
 * What one simulated peer has computed and others need not compute again: results of pure
 * functions by what they follow from. Bounded, and emptied between schedules, so that no run of a
 * seed depends on the one before.
 */
import { mode } from './mode.js'

const KEPT_MAX = 8192
const all: Array<{ clear(): void }> = []

export class Kept<T> {
  readonly #values = new Map<string, T>()

  constructor() {
    all.push(this.#values)
  }

  /** The known value, or the computed one; errors are not kept. Always computed in real schedules. */
  of(name: string, compute: () => T): T {
    if (mode.isReal) return compute()
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
