/**
 * Which pieces were compared with their hashes a short while ago, so that a seed of many hashes
 * each piece once and not for every asker.
 */
import type { Digest } from '../wire/ids.js'
import { BLOB_LIMITS } from './limits.js'
import type { Manifest } from './manifest.js'
import { PieceSet } from './piece-set.js'

interface Verified {
  readonly pieces: PieceSet
  /** The first of them is forgotten with all others. */
  readonly untilMs: number
}

export class VerifiedLately {
  /** The oldest first. */
  readonly #blobs = new Map<Digest, Verified>()

  has({ digest }: Manifest, index: number): boolean {
    const verified = this.#blobs.get(digest)
    return verified !== undefined && this.#isFresh(verified) && verified.pieces.has(index)
  }

  add({ digest, pieceCount }: Manifest, index: number): void {
    let verified = this.#blobs.get(digest)
    if (verified === undefined || !this.#isFresh(verified)) {
      const untilMs = performance.now() + BLOB_LIMITS.serveVerifiedMs
      verified = { pieces: PieceSet.empty(pieceCount), untilMs }
      this.#blobs.delete(digest)
      this.#blobs.set(digest, verified)
      const [oldest] = this.#blobs.keys()
      const isFull = this.#blobs.size > BLOB_LIMITS.serveVerifiedBlobs
      if (isFull && oldest !== undefined) this.#blobs.delete(oldest)
    }
    verified.pieces.add(index)
  }

  #isFresh({ untilMs }: Verified): boolean {
    return performance.now() < untilMs
  }
}
