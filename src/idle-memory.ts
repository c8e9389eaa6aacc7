/**
 * Collects garbage when V8's own times are bad ones.
 *
 * After work. V8 keeps its old generation as large as its busiest moment until
 * something allocates again; a daemon that waits for hours would hold 20 to 60 MB for nothing. The
 * young generation is bounded by a flag in the first line of `cli/ctd.ts`.
 *
 * While bytes move: their buffers lie outside the heap and die young, but V8 sees only that 64 MB
 * came, and collects the whole heap. Ours is large, so a moved GB cost 30 CPU seconds; with a
 * collection of the young generation every 4 MiB it costs 17.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Clock } from './clock.js'

/** Work comes in bursts; one collection serves them all. */
const QUIET_MS = 5_000
/** Measured: 2 and 4 MiB are alike, 1 costs a third more, with 16 nothing is won. */
const MOVED_BYTES = 4 * 1024 * 1024

type Collect = (options?: { readonly type: 'minor' }) => void

export class IdleMemory {
  readonly #clock: Clock
  readonly #collect: Collect
  #movedBytes = 0
  #cancel: (() => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    setFlagsFromString('--expose-gc')
    this.#collect = runInNewContext('gc') as Collect
  }

  /** Something ended: collects once nothing more has for five seconds. */
  afterWork(): void {
    this.#cancel?.()
    this.#cancel = this.#clock.after(QUIET_MS, () => {
      this.#cancel = undefined
      this.#collect()
    })
  }

  /** Bytes came from a peer or went to one. */
  moved(bytes: number): void {
    this.#movedBytes += bytes
    if (this.#movedBytes < MOVED_BYTES) return
    this.#movedBytes = 0
    this.#collect({ type: 'minor' })
  }

  stop(): void {
    this.#cancel?.()
  }
}
