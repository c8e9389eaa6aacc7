/**
 * Blobs on disk, each named by its digest: `<dir>/<2 hex>/<digest>` and `<digest>.manifest` beside
 * it. A blob appears whole or not at all (written aside, synced, renamed), and the owner's quota is
 * checked before bytes are written. Where room is needed, what was not used for longest goes, but
 * never what somebody holds.
 */
import { constants, rmSync } from 'node:fs'
import {
  copyFile,
  link,
  mkdir,
  open,
  readFile,
  readdir,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError, InvariantError, diskError } from '../errors.js'
import { digestOf, parseDigest, sha256 } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { BLOB_LIMITS } from './limits.js'
import { createManifest, isPiece, pieceBytesOf, parseManifest } from './manifest.js'
import type { Manifest } from './manifest.js'
import { PartialBlob } from './partial-blob.js'

const MANIFEST_SUFFIX = '.manifest'
const TEMPORARY = 'tmp'
const PARTIAL = 'partial'
const ROTTEN = 'rotten'

export interface BlobStoreOptions {
  /** The most that all blobs together may take, in bytes; manifests (0.003 %) do not count. */
  readonly quotaBytes: number
}

export interface BlobEntry {
  readonly digest: Digest
  readonly sizeBytes: number
}

export interface AddedBlob extends BlobEntry {
  /** False where the store had these bytes already and nothing was written. */
  readonly isNew: boolean
}

/** What the folder is filled with, in bytes. */
export interface BlobUsage {
  readonly quotaBytes: number
  readonly usedBytes: number
  /** Of blobs that somebody holds; the rest of the blobs goes when room is needed. */
  readonly heldBytes: number
  readonly blobs: number
  /** Taken by fetches that have not ended. */
  readonly partialBytes: number
  readonly partials: number
  /** Set aside because the disk gave back other bytes than were written. */
  readonly rottenBytes: number
  readonly rotten: number
}

export interface AddOptions {
  /** Refuse a longer source. @throws CtdError BLOB_TOO_LARGE */
  readonly maxBytes?: number
  readonly signal?: AbortSignal
  /** Held for this holder from the first moment on; see `hold`. */
  readonly holder?: string
}

/** An unfinished fetch, and whether somebody writes to it or is about to. */
interface Unfinished {
  readonly sizeBytes: number
  opening: number
  partial: PartialBlob | undefined
}

export class BlobStore {
  readonly #dir: string
  readonly #quotaBytes: number
  /** In order of use: the first is the first to go. */
  readonly #sizes = new Map<Digest, number>()
  readonly #partials = new Map<Digest, Unfinished>()
  readonly #holdings = new Map<string, Set<Digest>>()
  readonly #holderCounts = new Map<Digest, number>()
  readonly #rotten = new Map<Digest, number>()
  #usedBytes = 0
  #nextTemporary = 0

  private constructor(dir: string, options: BlobStoreOptions) {
    this.#dir = dir
    this.#quotaBytes = options.quotaBytes
  }

  /**
   * Opens a folder, creating it where needed; what a crash left half-written is removed, except
   * verified pieces of unfinished fetches. One process per folder.
   */
  static async open(dir: string, options: BlobStoreOptions): Promise<BlobStore> {
    const store = new BlobStore(dir, options)
    await mkdir(dir, { recursive: true, mode: 0o700 })
    await rm(join(dir, TEMPORARY), { recursive: true, force: true })
    await mkdir(join(dir, TEMPORARY), { recursive: true })
    await mkdir(join(dir, PARTIAL), { recursive: true })
    await mkdir(join(dir, ROTTEN), { recursive: true })
    await store.#scan()
    return store
  }

  /** Bytes taken by blobs and by unfinished fetches and writes. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  get quotaBytes(): number {
    return this.#quotaBytes
  }

  has(digest: Digest): boolean {
    return this.#sizes.has(digest)
  }

  /** Size in bytes. @throws CtdError BLOB_UNKNOWN */
  size(digest: Digest): number {
    const sizeBytes = this.#sizes.get(digest)
    if (sizeBytes !== undefined) return sizeBytes
    throw new CtdError('BLOB_UNKNOWN', `this machine does not hold blob ${digest}`, {
      fields: { digest },
    })
  }

  /** The file that holds the blob; read it, never write it. @throws CtdError BLOB_UNKNOWN */
  path(digest: Digest): string {
    this.#touch(digest)
    return this.#pathOf(digest)
  }

  /**
   * Keeps a blob from being removed for want of room, also one that is still to come. A holder is
   * any name, such as a job's; it holds until it releases all it holds.
   */
  hold(holder: string, digest: Digest): void {
    const holding = this.#holdings.get(holder) ?? new Set<Digest>()
    this.#holdings.set(holder, holding)
    if (holding.has(digest)) return
    holding.add(digest)
    this.#holderCounts.set(digest, (this.#holderCounts.get(digest) ?? 0) + 1)
  }

  /**
   * Lets go of all that a holder holds, or of one blob; the blobs stay until their room is needed.
   */
  release(holder: string, only?: Digest): void {
    const holding = this.#holdings.get(holder)
    if (holding === undefined) return
    for (const digest of only === undefined ? [...holding] : [only]) {
      if (!holding.delete(digest)) continue
      const count = (this.#holderCounts.get(digest) ?? 1) - 1
      if (count === 0) this.#holderCounts.delete(digest)
      else this.#holderCounts.set(digest, count)
    }
    if (holding.size === 0) this.#holdings.delete(holder)
  }

  /** Who holds a blob, by the names given to `hold`. */
  holdersOf(digest: Digest): readonly string[] {
    if (!this.isHeld(digest)) return []
    return [...this.#holdings].flatMap(([holder, held]) => (held.has(digest) ? [holder] : []))
  }

  usage(): BlobUsage {
    const sum = (sizes: Iterable<number>): number => [...sizes].reduce((a, b) => a + b, 0)
    const held = [...this.#sizes].filter(([digest]) => this.isHeld(digest))
    return {
      quotaBytes: this.#quotaBytes,
      usedBytes: this.#usedBytes,
      heldBytes: sum(held.map(([, sizeBytes]) => sizeBytes)),
      blobs: this.#sizes.size,
      partialBytes: sum([...this.#partials.values()].map(({ sizeBytes }) => sizeBytes)),
      partials: this.#partials.size,
      rottenBytes: sum(this.#rotten.values()),
      rotten: this.#rotten.size,
    }
  }

  isHeld(digest: Digest): boolean {
    return this.#holderCounts.has(digest)
  }

  /** Used now: the last to go. @throws CtdError BLOB_UNKNOWN */
  #touch(digest: Digest): void {
    const sizeBytes = this.size(digest)
    this.#sizes.delete(digest)
    this.#sizes.set(digest, sizeBytes)
  }

  list(): readonly BlobEntry[] {
    return [...this.#sizes].map(([digest, sizeBytes]) => ({ digest, sizeBytes }))
  }

  /** Fetches that have not ended, in this process or an earlier one. */
  partials(): readonly BlobEntry[] {
    return [...this.#partials].map(([digest, { sizeBytes }]) => ({ digest, sizeBytes }))
  }

  /** Adds a copy of a file. @throws CtdError DISK_QUOTA, DISK_FULL, BLOB_TOO_LARGE */
  async addFile(path: string, options: AddOptions = {}): Promise<AddedBlob> {
    const source = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const status = await source.stat()
      if (!status.isFile()) throw new CtdError('NOT_A_FILE', `not a regular file: ${path}`)
      this.#makeRoom(status.size)
      return await this.addStream(piecesOf(source), options)
    } finally {
      await source.close()
    }
  }

  async addBytes(bytes: Uint8Array, options: AddOptions = {}): Promise<AddedBlob> {
    this.#makeRoom(bytes.length)
    return this.addStream([bytes], options)
  }

  /** Adds what a source yields. @throws CtdError DISK_QUOTA, DISK_FULL, BLOB_TOO_LARGE */
  async addStream(
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options: AddOptions = {},
  ): Promise<AddedBlob> {
    const maxBytes = Math.min(options.maxBytes ?? Infinity, BLOB_LIMITS.blobBytes)
    const temporary = this.#temporaryPath()
    const hashes: Uint8Array[] = []
    let sizeBytes = 0
    try {
      const file = await open(temporary, 'wx', 0o444)
      try {
        for await (const piece of repiece(source)) {
          options.signal?.throwIfAborted()
          if (sizeBytes + piece.length > maxBytes) throw tooLarge(maxBytes)
          this.#take(piece.length)
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
    const temporary = this.#temporaryPath()
    this.#take(sizeBytes)
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
    const temporary = this.#temporaryPath()
    this.#take(status.size)
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
    const bad: number[] = []
    const bytes = await readFile(this.#pathOf(digest) + MANIFEST_SUFFIX).catch(() => undefined)
    if (bytes === undefined || digestOf(bytes) !== digest) return [0]
    const manifest = parseManifest(new Uint8Array(bytes))
    const file = await open(this.#pathOf(digest), constants.O_RDONLY).catch(() => undefined)
    if (file === undefined) return Array.from({ length: manifest.pieceCount }, (_, i) => i)
    try {
      const buffer = Buffer.alloc(BLOB_LIMITS.pieceBytes)
      for (let i = 0; i < manifest.pieceCount && this.has(digest); i++) {
        const length = pieceBytesOf(manifest, i)
        await pace(length)
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

  /** Puts a rotten blob where nobody reads it; it counts until it is dropped or its room needed. */
  async setAside(digest: Digest): Promise<void> {
    const sizeBytes = this.#sizes.get(digest)
    if (sizeBytes === undefined) return
    const path = this.#pathOf(digest)
    this.#sizes.delete(digest)
    this.#usedBytes -= sizeBytes
    try {
      await rename(path, join(this.#dir, ROTTEN, digest))
      if (!this.#rotten.has(digest)) this.#usedBytes += sizeBytes
      this.#rotten.set(digest, sizeBytes)
    } catch {
      // Its file is gone: there is nothing to set aside.
    }
    await rm(path + MANIFEST_SUFFIX, { force: true })
  }

  /** Blobs that were set aside. */
  rotten(): readonly BlobEntry[] {
    return [...this.#rotten].map(([digest, sizeBytes]) => ({ digest, sizeBytes }))
  }

  async dropRotten(digest: Digest): Promise<void> {
    const sizeBytes = this.#rotten.get(digest)
    if (sizeBytes === undefined) return
    this.#rotten.delete(digest)
    this.#usedBytes -= sizeBytes
    await rm(join(this.#dir, ROTTEN, digest), { force: true })
  }

  /** All bytes of a small blob. @throws CtdError BLOB_UNKNOWN, BLOB_TOO_LARGE */
  async readBytes(digest: Digest, maxBytes: number): Promise<Uint8Array> {
    if (this.size(digest) > maxBytes) throw tooLarge(maxBytes)
    this.#touch(digest)
    return new Uint8Array(await readFile(this.#pathOf(digest)))
  }

  /** The manifest of a held blob. @throws CtdError BLOB_UNKNOWN */
  async readManifest(digest: Digest): Promise<Manifest> {
    this.#touch(digest)
    return parseManifest(new Uint8Array(await readFile(this.#pathOf(digest) + MANIFEST_SUFFIX)))
  }

  /** Forgets a blob; does nothing for one that is not held. */
  async remove(digest: Digest): Promise<void> {
    const sizeBytes = this.#sizes.get(digest)
    if (sizeBytes === undefined) return
    this.#sizes.delete(digest)
    this.#usedBytes -= sizeBytes
    await rm(this.#pathOf(digest) + MANIFEST_SUFFIX, { force: true })
    await rm(this.#pathOf(digest), { force: true })
  }

  /**
   * Starts or resumes the fetch of a blob whose manifest is known. The space is taken at once.
   * @throws CtdError DISK_QUOTA, DISK_FULL
   */
  async openPartial(manifest: Manifest): Promise<PartialBlob> {
    const { digest, sizeBytes } = manifest
    const known = this.#partials.get(digest)
    if (known === undefined) this.#take(sizeBytes)
    const unfinished = known ?? { sizeBytes, opening: 0, partial: undefined }
    this.#partials.set(digest, unfinished)
    unfinished.opening += 1
    try {
      unfinished.partial = await PartialBlob.open(this.#partialPath(digest), manifest)
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
    if (!this.#partials.has(digest)) return undefined
    return PartialBlob.readManifest(this.#partialPath(digest), digest)
  }

  /** A blob that is being fetched now, to be served as far as it is verified. */
  openedPartial(digest: Digest): PartialBlob | undefined {
    const partial = this.#partials.get(digest)?.partial
    return partial?.isOpen === true ? partial : undefined
  }

  /** Makes a blob of a partial that has all pieces. */
  async completePartial(partial: PartialBlob): Promise<BlobEntry> {
    const { manifest } = partial
    if (!partial.complete) throw new InvariantError('a partial blob still misses pieces')
    const unfinished = this.#partials.get(manifest.digest)
    if (unfinished !== undefined) unfinished.opening += 1
    try {
      await partial.sync()
      await partial.close()
      if (this.has(manifest.digest)) this.#usedBytes -= manifest.sizeBytes
      else await this.#admit(partial.path, manifest)
      this.#partials.delete(manifest.digest)
      await PartialBlob.remove(this.#partialPath(manifest.digest))
      return { digest: manifest.digest, sizeBytes: manifest.sizeBytes }
    } catch (error) {
      throw diskError(error)
    } finally {
      if (unfinished !== undefined) unfinished.opening -= 1
    }
  }

  /** Gives up an unfinished fetch and its space. */
  async dropPartial(digest: Digest): Promise<void> {
    const unfinished = this.#partials.get(digest)
    if (unfinished === undefined) return
    this.#partials.delete(digest)
    this.#usedBytes -= unfinished.sizeBytes
    await PartialBlob.remove(this.#partialPath(digest))
  }

  /** Moves a synced file to its place; the manifest comes last and makes the blob exist. */
  async #admit(file: string, manifest: Manifest): Promise<void> {
    const path = this.#pathOf(manifest.digest)
    await mkdir(join(path, '..'), { recursive: true })
    const temporary = this.#temporaryPath()
    const handle = await open(temporary, 'wx', 0o444)
    try {
      await writeAll(handle, manifest.bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(file, path)
    await rename(temporary, path + MANIFEST_SUFFIX)
    await syncFolder(join(path, '..'))
    // Two writers of equal bytes took the space twice.
    if (this.has(manifest.digest)) this.#usedBytes -= manifest.sizeBytes
    this.#sizes.set(manifest.digest, manifest.sizeBytes)
  }

  async #discard(temporary: string, sizeBytes: number): Promise<void> {
    this.#usedBytes -= sizeBytes
    await rm(temporary, { force: true })
  }

  /** Finds the blobs on disk: those whose file has the size its manifest says. */
  async #scan(): Promise<void> {
    const found: Array<BlobEntry & { readonly usedMs: number }> = []
    for (const shard of await readdir(this.#dir)) {
      if (!/^[0-9a-f]{2}$/.test(shard)) continue
      for (const name of await readdir(join(this.#dir, shard))) {
        if (/^[0-9a-f]{64}$/.test(name)) found.push(...(await this.#scanBlob(parseDigest(name))))
        else if (!(await this.#hasBlobOf(shard, name))) {
          await rm(join(this.#dir, shard, name), { force: true })
        }
      }
    }
    // What was used in the earlier process is not known; what came first goes first.
    for (const { digest, sizeBytes } of found.sort((a, b) => a.usedMs - b.usedMs)) {
      this.#sizes.set(digest, sizeBytes)
      this.#usedBytes += sizeBytes
    }
    for (const name of await readdir(join(this.#dir, ROTTEN))) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue
      const { size } = await stat(join(this.#dir, ROTTEN, name))
      this.#rotten.set(parseDigest(name), size)
      this.#usedBytes += size
    }
    for (const name of await readdir(join(this.#dir, PARTIAL))) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue
      const digest = parseDigest(name)
      const manifest = await PartialBlob.readManifest(this.#partialPath(digest), digest)
      if (manifest === undefined) {
        await PartialBlob.remove(this.#partialPath(digest))
        continue
      }
      const { sizeBytes } = manifest
      this.#partials.set(digest, { sizeBytes, opening: 0, partial: undefined })
      this.#usedBytes += manifest.sizeBytes
    }
  }

  /** Whether a manifest has its blob beside it: a crash while removing may have left it alone. */
  async #hasBlobOf(shard: string, name: string): Promise<boolean> {
    if (!name.endsWith(MANIFEST_SUFFIX)) return true // Not ours to judge.
    const blob = join(this.#dir, shard, name.slice(0, -MANIFEST_SUFFIX.length))
    return (await stat(blob).catch(() => undefined)) !== undefined
  }

  async #scanBlob(digest: Digest): Promise<ReadonlyArray<BlobEntry & { readonly usedMs: number }>> {
    const path = this.#pathOf(digest)
    const { size, ctimeMs } = await stat(path)
    const bytes = await readFile(path + MANIFEST_SUFFIX).catch(() => undefined)
    const whole = bytes !== undefined && isManifestOf(new Uint8Array(bytes), digest, size)
    if (whole) return [{ digest, sizeBytes: size, usedMs: ctimeMs }]
    await rm(path, { force: true })
    await rm(path + MANIFEST_SUFFIX, { force: true })
    return []
  }

  /**
   * Removes what nobody holds, first abandoned fetches, then the blobs not used for longest, until
   * there is room. Nothing is removed where that would not be enough.
   */
  #makeRoom(sizeBytes: number): void {
    const missingBytes = this.#usedBytes + sizeBytes - this.#quotaBytes
    if (missingBytes <= 0) return
    const partials: Digest[] = []
    const blobs: Digest[] = []
    const rotten: Digest[] = []
    let freedBytes = 0
    for (const [digest, size] of this.#rotten) {
      if (freedBytes >= missingBytes) break
      rotten.push(digest)
      freedBytes += size
    }
    for (const [digest, { sizeBytes: size, opening, partial }] of this.#partials) {
      if (freedBytes >= missingBytes) break
      if (opening > 0 || partial?.isOpen === true || this.isHeld(digest)) continue
      partials.push(digest)
      freedBytes += size
    }
    for (const [digest, size] of this.#sizes) {
      if (freedBytes >= missingBytes) break
      if (this.isHeld(digest)) continue
      blobs.push(digest)
      freedBytes += size
    }
    if (freedBytes < missingBytes) this.#refuseRoom(sizeBytes)
    for (const digest of rotten) this.#evictRotten(digest)
    for (const digest of partials) this.#evictPartial(digest)
    for (const digest of blobs) this.#evict(digest)
  }

  /** At once, so that a writer of the same blob cannot come between. */
  #evict(digest: Digest): void {
    this.#usedBytes -= this.#sizes.get(digest) ?? 0
    this.#sizes.delete(digest)
    rmSync(this.#pathOf(digest) + MANIFEST_SUFFIX, { force: true })
    rmSync(this.#pathOf(digest), { force: true })
  }

  #evictRotten(digest: Digest): void {
    this.#usedBytes -= this.#rotten.get(digest) ?? 0
    this.#rotten.delete(digest)
    rmSync(join(this.#dir, ROTTEN, digest), { force: true })
  }

  #evictPartial(digest: Digest): void {
    this.#usedBytes -= this.#partials.get(digest)?.sizeBytes ?? 0
    this.#partials.delete(digest)
    PartialBlob.removeSync(this.#partialPath(digest))
  }

  /** @throws CtdError DISK_QUOTA */
  #refuseRoom(sizeBytes: number): never {
    throw new CtdError(
      'DISK_QUOTA',
      `${sizeBytes} more bytes would exceed the storage quota of ${this.#quotaBytes} bytes`,
      {
        hint: 'see what takes the quota: ctd du    free some: ctd rm, ctd unpin    or raise diskMiB',
        fields: { sizeBytes, usedBytes: this.#usedBytes, quotaBytes: this.#quotaBytes },
      },
    )
  }

  #take(sizeBytes: number): void {
    this.#makeRoom(sizeBytes)
    this.#usedBytes += sizeBytes
  }

  #pathOf(digest: Digest): string {
    return join(this.#dir, digest.slice(0, 2), digest)
  }

  #partialPath(digest: Digest): string {
    return join(this.#dir, PARTIAL, digest)
  }

  #temporaryPath(): string {
    this.#nextTemporary += 1
    return join(this.#dir, TEMPORARY, String(this.#nextTemporary))
  }
}

function tooLarge(maxBytes: number): CtdError {
  return new CtdError('BLOB_TOO_LARGE', `the blob is larger than ${maxBytes} bytes`, {
    fields: { maxBytes },
  })
}

/** @throws CtdError BLOB_CHANGED where the file grows or shrinks meanwhile */
async function manifestOfFile(
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

function isManifestOf(bytes: Uint8Array, digest: Digest, sizeBytes: number): boolean {
  try {
    const manifest = parseManifest(bytes)
    return manifest.digest === digest && manifest.sizeBytes === sizeBytes
  } catch {
    // A torn manifest is removed like a missing one.
    return false
  }
}

async function* piecesOf(file: FileHandle): AsyncGenerator<Uint8Array> {
  for (;;) {
    const buffer = new Uint8Array(BLOB_LIMITS.pieceBytes)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null)
    if (bytesRead === 0) return
    yield buffer.subarray(0, bytesRead)
  }
}

/** Cuts a source into pieces of 1 MiB and a shorter last one. */
async function* repiece(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let piece = new Uint8Array(BLOB_LIMITS.pieceBytes)
  let length = 0
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      const count = Math.min(chunk.length - at, piece.length - length)
      piece.set(chunk.subarray(at, at + count), length)
      at += count
      length += count
      if (length < piece.length) continue
      yield piece
      piece = new Uint8Array(BLOB_LIMITS.pieceBytes)
      length = 0
    }
  }
  if (length > 0) yield piece.subarray(0, length)
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at)
    at += bytesWritten
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
