/**
 * Who fetches which piece. Every source of a fetch joins with the pieces it has and takes from the
 * shared list of missing ones: the rarest first, so that no piece is left that only a leaving peer
 * has, and at random among equally rare ones, so that several fetchers of one seed get different
 * pieces to give each other. What a failed source had been asked for goes back; at the end, when
 * nothing is left to take, a piece may be asked of a second source, so that the slowest one does
 * not set the time. Pure book-keeping.
 */
import { BLOB_LIMITS } from './limits.js'
import type { PieceSet } from './piece-set.js'

export interface PieceScheduleOptions {
  readonly pieceCount: number
  /** Of the order among equally rare pieces; equal seeds give equal orders. */
  readonly seed: number
}

export class PieceSchedule<Source> {
  /** In random order; the last is taken first. */
  readonly #todo: number[]
  /** Who owes each piece, and since when it is owed. */
  readonly #asked = new Map<number, { readonly sources: Set<Source>; readonly atMs: number }>()
  readonly #sources = new Map<Source, PieceSet>()
  /** How many of the sources that lack some pieces have each piece. */
  readonly #counts: Uint16Array
  #left: number

  /** @param missing - indices of the pieces to fetch */
  constructor(missing: readonly number[], { pieceCount, seed }: PieceScheduleOptions) {
    this.#todo = shuffled(missing, seed)
    this.#left = missing.length
    this.#counts = new Uint16Array(pieceCount)
  }

  /** True when every piece has been reported by `done`. */
  get finished(): boolean {
    return this.#left === 0
  }

  /** A source that is connected now, and the pieces it has; `pieces` stays the schedule's. */
  join(source: Source, pieces: PieceSet): void {
    this.#sources.set(source, pieces)
    if (!pieces.isFull) this.#count(pieces, 1)
  }

  /** A source got a piece. @returns false where it had said so before, or there is no such piece */
  gained(source: Source, index: number): boolean {
    const pieces = this.#sources.get(source)
    if (pieces === undefined || index >= pieces.pieceCount || !pieces.add(index)) return false
    this.#counts[index] = (this.#counts[index] ?? 0) + 1
    // It is like every complete source from now on, and these are not counted.
    if (pieces.isFull) this.#count(pieces, -1)
    return true
  }

  /**
   * The rarest piece that nobody has been asked for and this source has, if there is one.
   *
   * @param nowMs - remembered for `second`
   */
  take(source: Source, nowMs = 0): number | undefined {
    const pieces = this.#sources.get(source)
    if (pieces === undefined) return undefined
    let best: number | undefined
    let bestCount = Infinity
    let seen = 0
    for (let at = this.#todo.length - 1; at >= 0; at -= 1) {
      const index = this.#todo[at]
      if (index === undefined || !pieces.has(index)) continue
      // The own copy does not make a piece less rare.
      const count = (this.#counts[index] ?? 0) - (pieces.isFull ? 0 : 1)
      if (count < bestCount) {
        best = at
        bestCount = count
      }
      seen += 1
      if (bestCount <= 0 || seen >= BLOB_LIMITS.piecesCompared) break
    }
    return best === undefined ? undefined : this.#takeAt(best, source, nowMs)
  }

  /**
   * At the end: a piece that another source has owed since `untilMs` or longer; for a source with
   * nothing else to do. What was asked for a moment ago is on its way.
   */
  second(source: Source, untilMs = Infinity): number | undefined {
    const pieces = this.#sources.get(source)
    if (pieces === undefined || this.#todo.length > 0) return undefined
    for (const [index, { sources, atMs }] of this.#asked) {
      if (atMs > untilMs) continue
      if (sources.size >= BLOB_LIMITS.requestersPerPiece || sources.has(source)) continue
      if (!pieces.has(index)) continue
      sources.add(source)
      return index
    }
    return undefined
  }

  /** Reports a stored piece. @returns false where another source was faster */
  done(index: number): boolean {
    if (!this.#asked.delete(index)) return false
    this.#left -= 1
    return true
  }

  /** A source is gone: gives back everything that it has not delivered. */
  leave(source: Source): void {
    const pieces = this.#sources.get(source)
    if (pieces !== undefined && !pieces.isFull) this.#count(pieces, -1)
    this.#sources.delete(source)
    for (const [index, { sources }] of this.#asked) {
      if (!sources.delete(source) || sources.size > 0) continue
      this.#asked.delete(index)
      this.#todo.push(index)
    }
  }

  #takeAt(at: number, source: Source, atMs: number): number | undefined {
    const index = this.#todo[at]
    const last = this.#todo.pop()
    if (index === undefined || last === undefined) return undefined
    if (at < this.#todo.length) this.#todo[at] = last
    this.#asked.set(index, { sources: new Set([source]), atMs })
    return index
  }

  #count(pieces: PieceSet, change: 1 | -1): void {
    for (let index = 0; index < pieces.pieceCount; index += 1) {
      if (pieces.has(index)) this.#counts[index] = (this.#counts[index] ?? 0) + change
    }
  }
}

/** Fisher and Yates, drawn by mulberry32: enough for an order that nobody bets on. */
function shuffled(items: readonly number[], seed: number): number[] {
  const order = [...items]
  let state = seed >>> 0
  for (let at = order.length - 1; at > 0; at -= 1) {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    const other = ((mixed ^ (mixed >>> 14)) >>> 0) % (at + 1)
    const [one, two] = [order[at], order[other]]
    if (one === undefined || two === undefined) continue
    order[at] = two
    order[other] = one
  }
  return order
}
