/** Virtual time: what is to happen, in order. Between two happenings all promises settle. */
import type { Clock } from '../../src/clock.js'

interface Happening {
  readonly atMs: number
  readonly order: number
  run: (() => void) | undefined
}

const HAPPENINGS_MAX = 200_000
const SETTLED = Promise.resolve()

export class Timeline {
  readonly #heap: Happening[] = []
  #order = 0
  readonly startMs: number
  nowMs: number

  constructor(startMs: number) {
    this.startMs = startMs
    this.nowMs = startMs
  }

  /** @returns a function that cancels */
  after(ms: number, run: () => void): () => void {
    if (this.#heap.length > HAPPENINGS_MAX) throw new Error('the timeline overflows')
    this.#order += 1
    const happening: Happening = { atMs: this.nowMs + Math.max(0, ms), order: this.#order, run }
    this.#push(happening)
    return () => {
      happening.run = undefined
    }
  }

  /**
   * Lets one thing happen after the other, and every promise settle after each.
   *
   * @param goOn - asked before each: until when there may be one more, undefined to stop
   */
  play(goOn: () => number | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          const untilMs = goOn()
          if (untilMs === undefined || !this.#step(untilMs)) resolve()
          else process.nextTick(settled)
        } catch (error) {
          reject(error as Error)
        }
      }
      // No real timer or socket is open, and Node turns to its ticks only when no promise is left
      // to settle (nodejs.org, "the event loop, timers and process.nextTick"). What happens must
      // not happen in a tick itself: the next tick would come before the promises.
      const settled = (): void => {
        void SETTLED.then(turn)
      }
      process.nextTick(settled)
    })
  }

  /** The next happening; false when there is none until then. */
  #step(untilMs: number): boolean {
    for (let next = this.#heap[0]; next !== undefined; next = this.#heap[0]) {
      if (next.atMs > untilMs) break
      this.#pop()
      if (next.run === undefined) continue
      this.nowMs = next.atMs
      next.run()
      return true
    }
    this.nowMs = Math.max(this.nowMs, untilMs)
    return false
  }

  #push(happening: Happening): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(happening)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent]
      if (above === undefined || !isBefore(happening, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = happening
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      const left = heap[2 * at + 1]
      const right = heap[2 * at + 2]
      const isRight = left !== undefined && right !== undefined && isBefore(right, left)
      const child = isRight ? right : left
      if (child === undefined || !isBefore(child, last)) break
      heap[at] = child
      at = 2 * at + (isRight ? 2 : 1)
    }
    heap[at] = last
  }
}

function isBefore(a: Happening, b: Happening): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

/** How a machine's clock differs from the true one. */
export interface Skew {
  readonly offsetMs: number
  /** Milliseconds that it gains in a million. */
  readonly driftPpm: number
}

const NO_SKEW: Skew = { offsetMs: 0, driftPpm: 0 }

/**
 * One process of a peer, from its start to its death. What a dead process left behind (timers,
 * pending answers) never reaches anybody.
 */
export class Life {
  isAlive = true
  /** Set by whatever reaches the process; whoever checks its state clears it. */
  isTouched = true
  /** Timers that are armed now. */
  timers = 0
  readonly #timeline: Timeline
  readonly #skew: Skew

  constructor(timeline: Timeline, skew: Skew = NO_SKEW) {
    this.#timeline = timeline
    this.#skew = skew
  }

  /** As this machine has it. */
  get clock(): Clock {
    const { startMs } = this.#timeline
    const { offsetMs, driftPpm } = this.#skew
    if (offsetMs === 0 && driftPpm === 0) {
      return { now: () => this.#timeline.nowMs, after: (ms, call) => this.after(ms, call) }
    }
    const pace = 1 + driftPpm / 1e6
    return {
      now: () => startMs + Math.floor((this.#timeline.nowMs - startMs) * pace) + offsetMs,
      after: (ms, call) => this.after(Math.ceil(ms / pace), call),
    }
  }

  after(ms: number, call: () => void): () => void {
    if (!this.isAlive) return () => undefined
    let isOpen = true
    this.timers += 1
    const close = (): boolean => {
      if (!isOpen) return false
      isOpen = false
      this.timers -= 1
      return true
    }
    const cancel = this.#timeline.after(ms, () => {
      if (!close() || !this.isAlive) return
      this.isTouched = true
      call()
    })
    return () => {
      if (close()) cancel()
    }
  }

  /** The value once the time has passed; never, for a dead process. */
  wait<T>(ms: number, make: () => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#timeline.after(ms, () => {
        if (!this.isAlive) return
        this.isTouched = true
        try {
          resolve(make())
        } catch (error) {
          reject(error as Error)
        }
      })
    })
  }
}
