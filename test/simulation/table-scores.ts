/** Scores while a run of the table goes on, by the production fold. */
import { OrderedFold } from '../../src/protocol/reputation-fold.js'
import type { ReputationReceipt, Score } from '../../src/protocol/reputation.js'
import type { PeerId } from '../../src/wire/ids.js'

type Place = Pick<Score, 'established' | 'excluded' | 'excludedUntilMs' | 'exclusions'>

export class RunningScores {
  readonly #fold = new OrderedFold()
  /** Only receipts and the end of an exclusion change a place: it need not be asked each time. */
  readonly #places = new Map<PeerId, Place>()

  /** Takes a receipt; they come in the order of their closing, ties by id. */
  add(receipt: ReputationReceipt): void {
    this.#fold.add(receipt)
    for (const { peer } of receipt.executors) this.#places.delete(peer)
  }

  scoreAt(peer: PeerId, nowMs: number): Score {
    return this.#fold.scoreAt(peer, nowMs)
  }

  /** What decides about a place among the bids. */
  placeAt(peer: PeerId, nowMs: number): Place {
    const known = this.#places.get(peer)
    if (known !== undefined && nowMs < (known.excludedUntilMs ?? Infinity)) return known
    const place = this.#fold.scoreAt(peer, nowMs)
    this.#places.set(peer, place)
    return place
  }
}
