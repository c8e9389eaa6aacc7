/** Reading and writing files piece by piece. */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { CtdError } from '../errors.js'
import { sha256 } from '../wire/ids.js'
import { BLOB_LIMITS } from './limits.js'
import { createManifest, isPiece, pieceBytesOf } from './manifest.js'
import type { Manifest } from './manifest.js'

/** The bytes of a file, each part in the memory of the one before. */
export async function* piecesOf(file: FileHandle): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(BLOB_LIMITS.pieceBytes)
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null)
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
  }
}

/** Cuts a source into pieces of 1 MiB and a shorter last one, each in the memory of the one before. */
export async function* repiece(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const piece = Buffer.allocUnsafeSlow(BLOB_LIMITS.pieceBytes)
  let length = 0
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      const count = Math.min(chunk.length - at, piece.length - length)
      piece.set(chunk.subarray(at, at + count), length)
      at += count
      length += count
      if (length < piece.length) continue
      yield piece
      length = 0
    }
  }
  if (length > 0) yield piece.subarray(0, length)
}

export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at)
    at += bytesWritten
  }
}

/** @throws CtdError BLOB_CHANGED where the file grows or shrinks meanwhile */
export async function manifestOfFile(
  path: string,
  sizeBytes: number,
  signal: AbortSignal | undefined,
): Promise<Manifest> {
  const hashes: Uint8Array[] = []
  let readBytes = 0
  const file = await open(path, constants.O_RDONLY)
  try {
    for await (const piece of repiece(piecesOf(file))) {
      signal?.throwIfAborted()
      readBytes += piece.length
      if (readBytes > sizeBytes) break
      hashes.push(sha256(piece))
    }
  } finally {
    await file.close()
  }
  if (readBytes === sizeBytes) return createManifest(sizeBytes, hashes)
  throw new CtdError('BLOB_CHANGED', 'the file was written to while it was read', {
    hint: 'add it again once nobody writes to it',
  })
}

/**
 * Reads a file again from the disk and compares every piece with the manifest.
 *
 * @param pace - awaited before each piece with its size; false ends the reading
 * @returns the pieces that are not what they were, all of them where the file is gone
 */
export async function rottenPiecesOf(
  path: string,
  manifest: Manifest,
  pace: (bytes: number) => Promise<boolean>,
): Promise<readonly number[]> {
  const bad: number[] = []
  const file = await open(path, constants.O_RDONLY).catch(() => undefined)
  if (file === undefined) return Array.from({ length: manifest.pieceCount }, (_, i) => i)
  try {
    const buffer = Buffer.alloc(BLOB_LIMITS.pieceBytes)
    for (let i = 0; i < manifest.pieceCount; i += 1) {
      const length = pieceBytesOf(manifest, i)
      if (!(await pace(length))) break
      // A disk may also refuse to read: that is rot like any other.
      const { bytesRead } = await file
        .read(buffer, 0, length, i * BLOB_LIMITS.pieceBytes)
        .catch(() => ({ bytesRead: 0 }))
      if (!isPiece(manifest, i, buffer.subarray(0, bytesRead))) bad.push(i)
    }
  } finally {
    await file.close()
  }
  return bad
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
