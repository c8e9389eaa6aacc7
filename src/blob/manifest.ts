/**
 * The manifest of a blob: its size as uint64 BE, then the SHA-256 of each 1 MiB piece. The digest
 * that names a blob is the SHA-256 of its manifest, so one name fixes the size and every byte, and
 * each piece can be checked alone.
 */
import { CtdError } from '../errors.js'
import { digestOf, sha256 } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { BLOB_LIMITS } from './limits.js'

const SIZE_BYTES = 8
const HASH_BYTES = 32

export interface Manifest {
  readonly digest: Digest
  readonly sizeBytes: number
  readonly pieceCount: number
  readonly bytes: Uint8Array
}

/** Pieces of a blob of that size: all of 1 MiB but the last, none for an empty blob. */
export function pieceCountOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOB_LIMITS.pieceBytes)
}

/** Length of the manifest of a blob of that size. */
export function manifestBytesOf(sizeBytes: number): number {
  return SIZE_BYTES + HASH_BYTES * pieceCountOf(sizeBytes)
}

/** Builds a manifest from the SHA-256 of each piece in order. */
export function createManifest(sizeBytes: number, pieceHashes: readonly Uint8Array[]): Manifest {
  const bytes = new Uint8Array(SIZE_BYTES + HASH_BYTES * pieceHashes.length)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(sizeBytes))
  pieceHashes.forEach((hash, i) => bytes.set(hash, SIZE_BYTES + HASH_BYTES * i))
  return parseManifest(bytes)
}

/**
 * Checks a manifest: whole hashes, as many as the size asks for, a size within limits. Whether it
 * is the manifest asked for is told by its digest.
 *
 * @throws CtdError BAD_MANIFEST, BLOB_TOO_LARGE
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  if (bytes.length < SIZE_BYTES || (bytes.length - SIZE_BYTES) % HASH_BYTES !== 0) {
    throw new CtdError('BAD_MANIFEST', `a manifest cannot have ${bytes.length} bytes`)
  }
  const size = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0)
  if (size > BigInt(BLOB_LIMITS.blobBytes)) {
    throw new CtdError('BLOB_TOO_LARGE', `a blob has at most ${BLOB_LIMITS.blobBytes} bytes`)
  }
  const sizeBytes = Number(size)
  const pieceCount = (bytes.length - SIZE_BYTES) / HASH_BYTES
  if (pieceCount !== pieceCountOf(sizeBytes)) {
    throw new CtdError('BAD_MANIFEST', `${pieceCount} pieces do not make ${sizeBytes} bytes`)
  }
  return { digest: digestOf(bytes), sizeBytes, pieceCount, bytes }
}

/** Length of piece `index`, which must be below `pieceCount`. */
export function pieceBytesOf(manifest: Manifest, index: number): number {
  const { pieceBytes } = BLOB_LIMITS
  return Math.min(pieceBytes, manifest.sizeBytes - index * pieceBytes)
}

/** The SHA-256 that piece `index` must have. */
export function pieceHashOf(manifest: Manifest, index: number): Uint8Array {
  const at = SIZE_BYTES + HASH_BYTES * index
  return manifest.bytes.subarray(at, at + HASH_BYTES)
}

/** True where the bytes are exactly piece `index`. */
export function isPiece(manifest: Manifest, index: number, bytes: Uint8Array): boolean {
  if (bytes.length !== pieceBytesOf(manifest, index)) return false
  return Buffer.compare(sha256(bytes), pieceHashOf(manifest, index)) === 0
}
