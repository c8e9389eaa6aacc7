/** Names bytes that come in chunks, as the blob store would. */
import { createHash } from 'node:crypto'
import { blobDigestOf, PIECE_BYTES } from '../wire/folder.js'

/** The digest of bytes that come in chunks of any size. */
export class BlobHasher {
  readonly #hashes: Uint8Array[] = []
  #piece = createHash('sha256')
  #pieceBytes = 0
  #sizeBytes = 0

  update(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + PIECE_BYTES - this.#pieceBytes)
      this.#piece.update(part)
      this.#pieceBytes += part.length
      at += part.length
      if (this.#pieceBytes === PIECE_BYTES) this.#endPiece()
    }
    this.#sizeBytes += chunk.length
  }

  digest(): string {
    if (this.#pieceBytes > 0) this.#endPiece()
    return blobDigestOf(this.#sizeBytes, this.#hashes)
  }

  #endPiece(): void {
    this.#hashes.push(this.#piece.digest())
    this.#piece = createHash('sha256')
    this.#pieceBytes = 0
  }
}
