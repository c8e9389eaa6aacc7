/**
 * Who fetches which piece: a shared list of missing pieces, from which every peer's worker takes.
 * What a failed worker had asked for goes back; when nothing is left to take, a piece that another
 * worker still waits for may be asked of a second peer, so that the slowest peer does not set the
 * end. Pure book-keeping.
 */
import { BLOB_LIMITS } from './limits.js'

export class PieceSchedule<Worker> {
  readonly #todo: number[]
  readonly #asked = new Map<number, Set<Worker>>()
  #waiting: (() => void)[] = []
  #left: number

  /** @param missing - indices of the pieces to fetch */
  constructor(missing: readonly number[]) {
    this.#todo = missing.toReversed()
    this.#left = missing.length
  }

  /** True when every piece has been reported by `done`. */
  get finished(): boolean {
    return this.#left === 0
  }

  /** A piece that nobody has been asked for, if there is one. */
  take(worker: Worker): number | undefined {
    const index = this.#todo.pop()
    if (index !== undefined) this.#asked.set(index, new Set([worker]))
    return index
  }

  /** A piece that another worker still waits for; for a worker with nothing else to do. */
  second(worker: Worker): number | undefined {
    for (const [index, workers] of this.#asked) {
      if (workers.size >= BLOB_LIMITS.requestersPerPiece || workers.has(worker)) continue
      workers.add(worker)
      return index
    }
    return undefined
  }

  /** Reports a stored piece. @returns false where another worker was faster */
  done(index: number): boolean {
    if (!this.#asked.delete(index)) return false
    this.#left -= 1
    if (this.finished) this.#wakeAll()
    return true
  }

  /** Gives back everything that this worker has not delivered. */
  release(worker: Worker): void {
    for (const [index, workers] of this.#asked) {
      if (!workers.delete(worker) || workers.size > 0) continue
      this.#asked.delete(index)
      this.#todo.push(index)
    }
    this.#wakeAll()
  }

  /** Resolves at the next release or at the end. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Wakes all that wait, as at the end; for giving up. */
  wake(): void {
    this.#wakeAll()
  }

  #wakeAll(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}
