/**
 * Blobs on disk, each named by its digest. A blob appears whole or not at all (written aside,
 * synced, renamed), and the owner's quota is checked before bytes are written. What is there and
 * what may go is `blob-index.ts`, where the files are `blob-files.ts`.
 */
import { constants, rmSync } from 'node:fs'
import { copyFile, link, mkdir, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { CtdError, InvariantError, diskError } from '../errors.js'
import { digestOf, sha256 } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { BlobFiles } from './blob-files.js'
import { BlobIndex } from './blob-index.js'
import type { BlobEntry, BlobUsage } from './blob-index.js'
import { BLOB_LIMITS } from './limits.js'
import { createManifest, parseManifest } from './manifest.js'
import type { Manifest } from './manifest.js'
import { PartialBlob } from './partial-blob.js'
import {
  manifestOfFile,
  piecesOf,
  repiece,
  rottenPiecesOf,
  syncFolder,
  writeAll,
} from './piece-files.js'

export type { BlobEntry, BlobUsage } from './blob-index.js'

export interface BlobStoreOptions {
  /** The most that all blobs together may take, in bytes; manifests (0.003 %) do not count. */
  readonly quotaBytes: number
}

export interface AddedBlob extends BlobEntry {
  /** False where the store had these bytes already and nothing was written. */
  readonly isNew: boolean
}

export interface AddOptions {
  /** Refuse a longer source. @throws CtdError BLOB_TOO_LARGE */
  readonly maxBytes?: number
  readonly signal?: AbortSignal
  /** Held for this holder from the first moment on; see `hold`. */
  readonly holder?: string
}

export class BlobStore {
  readonly #files: BlobFiles
  readonly #index: BlobIndex

  private constructor(dir: string, options: BlobStoreOptions) {
    const files = new BlobFiles(dir)
    this.#files = files
    this.#index = new BlobIndex(options.quotaBytes, {
      blob: (digest) => files.removeSync(digest),
      partial: (digest) => PartialBlob.removeSync(files.partial(digest)),
      rotten: (digest) => rmSync(files.rotten(digest), { force: true }),
    })
  }

  /**
   * Opens a folder, creating it where needed; what a crash left half-written is removed, except
   * verified pieces of unfinished fetches. One process per folder.
   */
  static async open(dir: string, options: BlobStoreOptions): Promise<BlobStore> {
    const store = new BlobStore(dir, options)
    await store.#files.prepare()
    const { blobs, partials, rotten } = await store.#files.scan()
    const index = store.#index
    for (const { digest, sizeBytes } of blobs) index.sizes.set(digest, sizeBytes)
    for (const { digest, sizeBytes } of rotten) index.rotten.set(digest, sizeBytes)
    for (const { digest, sizeBytes } of partials) {
      index.partials.set(digest, { sizeBytes, opening: 0, partial: undefined })
    }
    for (const { sizeBytes } of [...blobs, ...rotten, ...partials]) index.usedBytes += sizeBytes
    return store
  }

  /** Bytes taken by blobs and by unfinished fetches and writes. */
  get usedBytes(): number {
    return this.#index.usedBytes
  }

  get quotaBytes(): number {
    return this.#index.quotaBytes
  }

  has(digest: Digest): boolean {
    return this.#index.sizes.has(digest)
  }

  /** Size in bytes. @throws CtdError BLOB_UNKNOWN */
  size(digest: Digest): number {
    return this.#index.size(digest)
  }

  /** The file that holds the blob; read it, never write it. @throws CtdError BLOB_UNKNOWN */
  path(digest: Digest): string {
    this.#index.touch(digest)
    return this.#files.blob(digest)
  }

  /**
   * Keeps a blob from being removed for want of room, also one that is still to come. A holder is
   * any name, such as a job's; it holds until it releases all it holds.
   */
  hold(holder: string, digest: Digest): void {
    this.#index.holdings.hold(holder, digest)
  }

  /**
   * Lets go of all that a holder holds, or of one blob; the blobs stay until their room is needed.
   */
  release(holder: string, only?: Digest): void {
    this.#index.holdings.release(holder, only)
  }

  /** Who holds a blob, by the names given to `hold`. */
  holdersOf(digest: Digest): readonly string[] {
    return this.#index.holdings.holdersOf(digest)
  }

  isHeld(digest: Digest): boolean {
    return this.#index.holdings.isHeld(digest)
  }

  usage(): BlobUsage {
    return this.#index.usage()
  }

  list(): readonly BlobEntry[] {
    return [...this.#index.sizes].map(([digest, sizeBytes]) => ({ digest, sizeBytes }))
  }

  /** Fetches that have not ended, in this process or an earlier one. */
  partials(): readonly BlobEntry[] {
    return [...this.#index.partials].map(([digest, { sizeBytes }]) => ({ digest, sizeBytes }))
  }

  /** Adds a copy of a file. @throws CtdError DISK_QUOTA, DISK_FULL, BLOB_TOO_LARGE */
  async addFile(path: string, options: AddOptions = {}): Promise<AddedBlob> {
    const source = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const status = await source.stat()
      if (!status.isFile()) throw new CtdError('NOT_A_FILE', `not a regular file: ${path}`)
      this.#index.makeRoom(status.size)
      return await this.addStream(piecesOf(source), options)
    } finally {
      await source.close()
    }
  }

  async addBytes(bytes: Uint8Array, options: AddOptions = {}): Promise<AddedBlob> {
    this.#index.makeRoom(bytes.length)
    return this.addStream([bytes], options)
  }

  /** Adds what a source yields. @throws CtdError DISK_QUOTA, DISK_FULL, BLOB_TOO_LARGE */
  async addStream(
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options: AddOptions = {},
  ): Promise<AddedBlob> {
    const maxBytes = Math.min(options.maxBytes ?? Infinity, BLOB_LIMITS.blobBytes)
    const temporary = this.#files.temporary()
    const hashes: Uint8Array[] = []
    let sizeBytes = 0
    try {
      const file = await open(temporary, 'wx', 0o444)
      try {
        for await (const piece of repiece(source)) {
          options.signal?.throwIfAborted()
          if (sizeBytes + piece.length > maxBytes) throw tooLarge(maxBytes)
          this.#index.take(piece.length)
          sizeBytes += piece.length
          await writeAll(file, piece)
          hashes.push(sha256(piece))
        }
        await file.sync()
      } finally {
        await file.close()
      }
      const manifest = createManifest(sizeBytes, hashes)
      if (options.holder !== undefined) this.hold(options.holder, manifest.digest)
      const isNew = !this.has(manifest.digest)
      if (isNew) await this.#admit(temporary, manifest)
      else await this.#discard(temporary, sizeBytes)
      return { digest: manifest.digest, sizeBytes, isNew }
    } catch (error) {
      await this.#discard(temporary, sizeBytes)
      throw diskError(error)
    }
  }

  /**
   * Takes in a file whose manifest is known, by a hard link where the file system allows. The
   * bytes are not read: whoever fetches them checks them.
   *
   * @throws CtdError BAD_MANIFEST, DISK_QUOTA, DISK_FULL, BLOB_TOO_LARGE
   */
  async adoptFile(
    path: string,
    manifest: Manifest,
    options: Pick<AddOptions, 'holder'> = {},
  ): Promise<BlobEntry> {
    const { digest, sizeBytes } = manifest
    if (options.holder !== undefined) this.hold(options.holder, digest)
    if (this.has(digest)) return { digest, sizeBytes }
    const temporary = this.#files.temporary()
    this.#index.take(sizeBytes)
    try {
      await link(path, temporary).catch(() => copyFile(path, temporary))
      if ((await stat(temporary)).size !== sizeBytes) {
        throw new CtdError('BAD_MANIFEST', `${path} has another size than its manifest says`)
      }
      await this.#admit(temporary, manifest)
      return { digest, sizeBytes }
    } catch (error) {
      await this.#discard(temporary, sizeBytes)
      throw diskError(error)
    }
  }

  /**
   * Takes in a file by a hard link: no byte is copied, and the file and the blob are one. Whoever
   * writes into that file later spoils the blob, which scrubbing finds.
   *
   * @throws CtdError NOT_A_FILE, CANNOT_LINK, DISK_QUOTA, BLOB_TOO_LARGE, BLOB_CHANGED
   */
  async linkFile(path: string, options: AddOptions = {}): Promise<AddedBlob> {
    const source = await realpath(path)
    const status = await stat(source)
    if (!status.isFile()) throw new CtdError('NOT_A_FILE', `not a regular file: ${path}`)
    const maxBytes = Math.min(options.maxBytes ?? Infinity, BLOB_LIMITS.blobBytes)
    if (status.size > maxBytes) throw tooLarge(maxBytes)
    const temporary = this.#files.temporary()
    this.#index.take(status.size)
    try {
      await link(source, temporary).catch((cause: unknown) => {
        throw new CtdError('CANNOT_LINK', `${path} cannot be linked into the blob store`, {
          cause,
          hint: 'it lies on another file system, or is not yours: leave out --no-copy',
        })
      })
      const manifest = await manifestOfFile(temporary, status.size, options.signal)
      if (options.holder !== undefined) this.hold(options.holder, manifest.digest)
      const isNew = !this.has(manifest.digest)
      if (isNew) await this.#admit(temporary, manifest)
      else await this.#discard(temporary, status.size)
      return { digest: manifest.digest, sizeBytes: status.size, isNew }
    } catch (error) {
      await this.#discard(temporary, status.size)
      throw diskError(error)
    }
  }

  /**
   * Reads a blob again from the disk and compares every piece with the manifest.
   *
   * @param pace - awaited before each piece with its size; keeps the disk free for others
   * @returns the pieces that are not what they were, all of them where the file is gone
   * @throws CtdError BLOB_UNKNOWN
   */
  async rottenPieces(
    digest: Digest,
    pace: (bytes: number) => Promise<void>,
  ): Promise<readonly number[]> {
    this.size(digest)
    const bytes = await readFile(this.#files.manifest(digest)).catch(() => undefined)
    if (bytes === undefined || digestOf(bytes) !== digest) return [0]
    const manifest = parseManifest(new Uint8Array(bytes))
    return rottenPiecesOf(this.#files.blob(digest), manifest, async (length) => {
      if (!this.has(digest)) return false
      await pace(length)
      return true
    })
  }

  /** Puts a rotten blob where nobody reads it; it counts until it is dropped or its room needed. */
  async setAside(digest: Digest): Promise<void> {
    const sizeBytes = this.#index.sizes.get(digest)
    if (sizeBytes === undefined) return
    const path = this.#files.blob(digest)
    this.#index.sizes.delete(digest)
    this.#index.usedBytes -= sizeBytes
    try {
      await rename(path, this.#files.rotten(digest))
      if (!this.#index.rotten.has(digest)) this.#index.usedBytes += sizeBytes
      this.#index.rotten.set(digest, sizeBytes)
    } catch {
      // Its file is gone: there is nothing to set aside.
    }
    await rm(this.#files.manifest(digest), { force: true })
  }

  /** Blobs that were set aside. */
  rotten(): readonly BlobEntry[] {
    return [...this.#index.rotten].map(([digest, sizeBytes]) => ({ digest, sizeBytes }))
  }

  async dropRotten(digest: Digest): Promise<void> {
    const sizeBytes = this.#index.rotten.get(digest)
    if (sizeBytes === undefined) return
    this.#index.rotten.delete(digest)
    this.#index.usedBytes -= sizeBytes
    await rm(this.#files.rotten(digest), { force: true })
  }

  /** All bytes of a small blob. @throws CtdError BLOB_UNKNOWN, BLOB_TOO_LARGE */
  async readBytes(digest: Digest, maxBytes: number): Promise<Uint8Array> {
    if (this.size(digest) > maxBytes) throw tooLarge(maxBytes)
    this.#index.touch(digest)
    return new Uint8Array(await readFile(this.#files.blob(digest)))
  }

  /** The manifest of a held blob. @throws CtdError BLOB_UNKNOWN */
  async readManifest(digest: Digest): Promise<Manifest> {
    this.#index.touch(digest)
    return parseManifest(new Uint8Array(await readFile(this.#files.manifest(digest))))
  }

  /** Forgets a blob; does nothing for one that is not held. */
  async remove(digest: Digest): Promise<void> {
    const sizeBytes = this.#index.sizes.get(digest)
    if (sizeBytes === undefined) return
    this.#index.sizes.delete(digest)
    this.#index.usedBytes -= sizeBytes
    await this.#files.remove(digest)
  }

  /**
   * Starts or resumes the fetch of a blob whose manifest is known. The space is taken at once.
   * @throws CtdError DISK_QUOTA, DISK_FULL
   */
  async openPartial(manifest: Manifest): Promise<PartialBlob> {
    const { digest, sizeBytes } = manifest
    const known = this.#index.partials.get(digest)
    if (known === undefined) this.#index.take(sizeBytes)
    const unfinished = known ?? { sizeBytes, opening: 0, partial: undefined }
    this.#index.partials.set(digest, unfinished)
    unfinished.opening += 1
    try {
      unfinished.partial = await PartialBlob.open(this.#files.partial(digest), manifest)
      return unfinished.partial
    } catch (error) {
      if (known === undefined) await this.dropPartial(digest)
      throw diskError(error)
    } finally {
      unfinished.opening -= 1
    }
  }

  /** The manifest of an unfinished fetch, if there is one. */
  async partialManifest(digest: Digest): Promise<Manifest | undefined> {
    if (!this.#index.partials.has(digest)) return undefined
    return PartialBlob.readManifest(this.#files.partial(digest), digest)
  }

  /** A blob that is being fetched now, to be served as far as it is verified. */
  openedPartial(digest: Digest): PartialBlob | undefined {
    const partial = this.#index.partials.get(digest)?.partial
    return partial?.isOpen === true ? partial : undefined
  }

  /** Makes a blob of a partial that has all pieces. */
  async completePartial(partial: PartialBlob): Promise<BlobEntry> {
    const { manifest } = partial
    if (!partial.complete) throw new InvariantError('a partial blob still misses pieces')
    const unfinished = this.#index.partials.get(manifest.digest)
    if (unfinished !== undefined) unfinished.opening += 1
    try {
      await partial.sync()
      await partial.close()
      if (this.has(manifest.digest)) this.#index.usedBytes -= manifest.sizeBytes
      else await this.#admit(partial.path, manifest)
      this.#index.partials.delete(manifest.digest)
      await PartialBlob.remove(this.#files.partial(manifest.digest))
      return { digest: manifest.digest, sizeBytes: manifest.sizeBytes }
    } catch (error) {
      throw diskError(error)
    } finally {
      if (unfinished !== undefined) unfinished.opening -= 1
    }
  }

  /** Gives up an unfinished fetch and its space. */
  async dropPartial(digest: Digest): Promise<void> {
    const unfinished = this.#index.partials.get(digest)
    if (unfinished === undefined) return
    this.#index.partials.delete(digest)
    this.#index.usedBytes -= unfinished.sizeBytes
    await PartialBlob.remove(this.#files.partial(digest))
  }

  /** Moves a synced file to its place; the manifest comes last and makes the blob exist. */
  async #admit(file: string, manifest: Manifest): Promise<void> {
    const path = this.#files.blob(manifest.digest)
    await mkdir(dirname(path), { recursive: true })
    const temporary = this.#files.temporary()
    const handle = await open(temporary, 'wx', 0o444)
    try {
      await writeAll(handle, manifest.bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(file, path)
    await rename(temporary, this.#files.manifest(manifest.digest))
    await syncFolder(dirname(path))
    this.#index.admit(manifest)
  }

  async #discard(temporary: string, sizeBytes: number): Promise<void> {
    this.#index.usedBytes -= sizeBytes
    await rm(temporary, { force: true })
  }
}

function tooLarge(maxBytes: number): CtdError {
  return new CtdError('BLOB_TOO_LARGE', `the blob is larger than ${maxBytes} bytes`, {
    fields: { maxBytes },
  })
}
