/**
 * Collects garbage when V8's own times are bad ones.
 *
 * After work. V8 keeps its old generation as large as its busiest moment until
 * something allocates again; a daemon that waits for hours would hold 20 to 60 MB for nothing. The
 * young generation is bounded by a flag in the first line of `cli/ctd.ts`.
 *
 * While bytes move: their buffers lie outside the heap and die young, but V8 counts them against
 * what the heap may grow by, 12 MB with a heap like ours, and collects all of it for every dozen
 * MB. Until it is quiet again the heap may therefore grow to twice its size, which it does
 * not come near, because the young are collected every 4 MiB: 256 MiB between two daemons then
 * cost each 5 whole collections instead of 50, and less than half of the CPU time.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Clock } from './clock.js'

/** Work comes in bursts; one collection serves them all. */
const QUIET_MS = 5_000
const MOVED_BYTES = 4 * 1024 * 1024
/** Percent that the old generation may grow between collections; 0 is V8's own choice. */
const GROWTH_MOVING = 100
const GROWTH_USUAL = 0

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
      setHeapGrowth(GROWTH_USUAL)
      this.#collect()
    })
  }

  /** Bytes came from a peer or went to one. */
  moved(bytes: number): void {
    this.#movedBytes += bytes
    if (this.#movedBytes < MOVED_BYTES) return
    this.#movedBytes = 0
    setHeapGrowth(GROWTH_MOVING)
    this.#collect({ type: 'minor' })
    this.afterWork()
  }

  stop(): void {
    this.#cancel?.()
  }
}

function setHeapGrowth(percent: number): void {
  setFlagsFromString(`--heap-growing-percent=${percent}`)
}
