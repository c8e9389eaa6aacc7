/**
 * A blob while it is being fetched: its file and its manifest. What an earlier run left in the file
 * is hashed again on opening, so nothing else is kept of which pieces are there: a crash or a torn
 * write costs time and never a wrong byte, and no piece that was written is fetched again.
 */
import { rmSync } from 'node:fs'
import { open, readFile, rename, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { InvariantError } from '../errors.js'
import { sha256 } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { BLOB_LIMITS } from './limits.js'
import { isPiece, parseManifest, pieceBytesOf, pieceHashOf } from './manifest.js'
import type { Manifest } from './manifest.js'
import { PieceSet } from './piece-set.js'

const MANIFEST_SUFFIX = '.manifest'
/** The manifest goes last: without it the rest is taken for nothing. */
const SUFFIXES = ['', `${MANIFEST_SUFFIX}.new`, MANIFEST_SUFFIX]

export class PartialBlob {
  readonly manifest: Manifest
  readonly path: string
  readonly #file: FileHandle
  readonly #verified: PieceSet
  readonly #gained: number[] = []
  /** Written since the disk was last told to keep up. */
  #unsyncedBytes = 0
  #syncing: Promise<void> | undefined
  #open = true

  private constructor(
    path: string,
    manifest: Manifest,
    files: { file: FileHandle; verified: PieceSet },
  ) {
    this.path = path
    this.manifest = manifest
    this.#file = files.file
    this.#verified = files.verified
  }

  /** Opens or creates the partial at `path`, keeping the pieces that are there and right. */
  static async open(path: string, manifest: Manifest): Promise<PartialBlob> {
    const old = await PartialBlob.readManifest(path, manifest.digest)
    if (old === undefined) {
      await PartialBlob.remove(path)
      const temporary = `${path}${MANIFEST_SUFFIX}.new`
      const handle = await open(temporary, 'w', 0o644)
      try {
        await handle.writeFile(manifest.bytes)
      } finally {
        await handle.close()
      }
      await rename(temporary, path + MANIFEST_SUFFIX)
    }
    const file = await openKept(path)
    try {
      return new PartialBlob(path, manifest, {
        file,
        verified: await verifiedPieces(file, manifest),
      })
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** The manifest stored beside a partial, if it is the right one. */
  static async readManifest(path: string, digest: Digest): Promise<Manifest | undefined> {
    try {
      const manifest = parseManifest(new Uint8Array(await readFile(path + MANIFEST_SUFFIX)))
      return manifest.digest === digest ? manifest : undefined
    } catch {
      // Absent or torn: the fetch starts afresh.
      return undefined
    }
  }

  static async remove(path: string): Promise<void> {
    for (const suffix of SUFFIXES) await rm(path + suffix, { force: true })
  }

  static removeSync(path: string): void {
    for (const suffix of SUFFIXES) rmSync(path + suffix, { force: true })
  }

  /** False once it is closed: nobody writes to it any more. */
  get isOpen(): boolean {
    return this.#open
  }

  get complete(): boolean {
    return this.#verified.isFull
  }

  has(index: number): boolean {
    return this.#verified.has(index)
  }

  /** Bytes of the pieces that are verified. */
  get verifiedBytes(): number {
    const { manifest } = this
    const last = manifest.pieceCount - 1
    const whole = this.#verified.size * BLOB_LIMITS.pieceBytes
    if (!this.has(last)) return whole
    return whole - BLOB_LIMITS.pieceBytes + pieceBytesOf(manifest, last)
  }

  /** The verified pieces as a bitmap; see `PieceSet`. */
  get bitmap(): Uint8Array {
    return this.#verified.toBitmap()
  }

  /** Pieces that were verified since the partial was opened, in that order; it only grows. */
  get gained(): readonly number[] {
    return this.#gained
  }

  /** Stores a piece; the caller has checked it by the manifest. */
  async write(index: number, piece: Uint8Array): Promise<void> {
    if (!this.#open) throw new InvariantError('the partial blob is closed')
    const start = index * BLOB_LIMITS.pieceBytes
    this.#unsyncedBytes += piece.length
    for (let done = 0; done < piece.length;) {
      const { bytesWritten } = await this.#file.write(
        piece,
        done,
        piece.length - done,
        start + done,
      )
      done += bytesWritten
    }
    if (this.#verified.add(index)) this.#gained.push(index)
    this.#syncBehind()
  }

  /** Lets the disk write while more is fetched, so that little is left to wait for at the end. */
  #syncBehind(): void {
    if (this.#syncing !== undefined || this.#unsyncedBytes < BLOB_LIMITS.syncBytes) return
    this.#unsyncedBytes = 0
    // What fails here fails again in `sync`, which is waited for.
    this.#syncing = this.#file
      .datasync()
      .catch(() => {})
      .finally(() => {
        this.#syncing = undefined
      })
  }

  /** Brings the file to the disk and takes away the right to write it. */
  async sync(): Promise<void> {
    await this.#file.chmod(0o444)
    await this.#file.sync()
  }

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    await this.#syncing
    await this.#file.close()
  }
}

async function openKept(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+')
  } catch {
    return open(path, 'wx+', 0o644)
  }
}

/** The pieces of the file that are right. Holes read as zeros, which need no hashing each. */
async function verifiedPieces(file: FileHandle, manifest: Manifest): Promise<PieceSet> {
  const verified = PieceSet.empty(manifest.pieceCount)
  const { size } = await file.stat()
  const buffer = new Uint8Array(BLOB_LIMITS.pieceBytes)
  const zeros = new Uint8Array(BLOB_LIMITS.pieceBytes)
  const zerosHash = sha256(zeros)
  for (let i = 0; i < manifest.pieceCount && i * buffer.length < size; i += 1) {
    const sizeBytes = pieceBytesOf(manifest, i)
    const { bytesRead } = await file.read(buffer, 0, sizeBytes, i * buffer.length)
    const bytes = buffer.subarray(0, bytesRead)
    const isHole = bytesRead === zeros.length && Buffer.compare(bytes, zeros) === 0
    const isRight = isHole
      ? Buffer.compare(zerosHash, pieceHashOf(manifest, i)) === 0
      : isPiece(manifest, i, bytes)
    if (isRight) verified.add(i)
  }
  return verified
}
