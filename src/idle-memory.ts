/**
 * Gives memory back after work. V8 keeps its old generation as large as its busiest moment until
 * something allocates again; a daemon that waits for hours would hold 20 to 60 MB for nothing. The
 * young generation is bounded by a flag in the first line of `cli/ctd.ts`.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Clock } from './clock.js'

/** Work comes in bursts; one collection serves them all. */
const QUIET_MS = 5_000

export class IdleMemory {
  readonly #clock: Clock
  readonly #collect: () => void
  #cancel: (() => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    setFlagsFromString('--expose-gc')
    this.#collect = runInNewContext('gc') as () => void
  }

  /** Something ended: collects once nothing more has for five seconds. */
  afterWork(): void {
    this.#cancel?.()
    this.#cancel = this.#clock.after(QUIET_MS, () => {
      this.#cancel = undefined
      this.#collect()
    })
  }

  stop(): void {
    this.#cancel?.()
  }
}
