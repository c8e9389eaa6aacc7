/**
 * What a blob folder holds, who needs it, and what it takes of the owner's quota. Where room is
 * needed, what is set aside goes first, then abandoned fetches, then the blobs not used for
 * longest; never what somebody holds. Pure book-keeping: `blob-store.ts` touches the files.
 */
import { CtdError } from '../errors.js'
import type { Digest } from '../wire/ids.js'
import { Holdings } from './holdings.js'
import type { PartialBlob } from './partial-blob.js'

export interface BlobEntry {
  readonly digest: Digest
  readonly sizeBytes: number
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

/** An unfinished fetch, and whether somebody writes to it or is about to. */
export interface Unfinished {
  readonly sizeBytes: number
  opening: number
  partial: PartialBlob | undefined
}

/** Removes files at once, so that a writer of the same blob cannot come between. */
export interface Remover {
  readonly blob: (digest: Digest) => void
  readonly partial: (digest: Digest) => void
  readonly rotten: (digest: Digest) => void
}

export class BlobIndex {
  readonly quotaBytes: number
  /** In order of use: the first is the first to go. */
  readonly sizes = new Map<Digest, number>()
  readonly partials = new Map<Digest, Unfinished>()
  readonly rotten = new Map<Digest, number>()
  readonly holdings = new Holdings()
  /** Taken by all of these, and by what is being written. */
  usedBytes = 0
  readonly #remove: Remover

  constructor(quotaBytes: number, remove: Remover) {
    this.quotaBytes = quotaBytes
    this.#remove = remove
  }

  /** Size in bytes. @throws CtdError BLOB_UNKNOWN */
  size(digest: Digest): number {
    const sizeBytes = this.sizes.get(digest)
    if (sizeBytes !== undefined) return sizeBytes
    throw new CtdError('BLOB_UNKNOWN', `this machine does not hold blob ${digest}`, {
      fields: { digest },
    })
  }

  /** Used now: the last to go. @throws CtdError BLOB_UNKNOWN */
  touch(digest: Digest): void {
    const sizeBytes = this.size(digest)
    this.sizes.delete(digest)
    this.sizes.set(digest, sizeBytes)
  }

  /** Makes a blob of bytes that were taken before. */
  admit({ digest, sizeBytes }: BlobEntry): void {
    // Two writers of equal bytes took the space twice.
    if (this.sizes.has(digest)) this.usedBytes -= sizeBytes
    this.sizes.set(digest, sizeBytes)
  }

  /** Takes room for bytes to be written. @throws CtdError DISK_QUOTA */
  take(sizeBytes: number): void {
    this.makeRoom(sizeBytes)
    this.usedBytes += sizeBytes
  }

  usage(): BlobUsage {
    const held = [...this.sizes].filter(([digest]) => this.holdings.isHeld(digest))
    return {
      quotaBytes: this.quotaBytes,
      usedBytes: this.usedBytes,
      heldBytes: sum(held.map(([, sizeBytes]) => sizeBytes)),
      blobs: this.sizes.size,
      partialBytes: sum([...this.partials.values()].map(({ sizeBytes }) => sizeBytes)),
      partials: this.partials.size,
      rottenBytes: sum(this.rotten.values()),
      rotten: this.rotten.size,
    }
  }

  /** Removes what nobody holds until there is room; nothing where that would not be enough. */
  makeRoom(sizeBytes: number): void {
    const missingBytes = this.usedBytes + sizeBytes - this.quotaBytes
    if (missingBytes <= 0) return
    const going: Array<() => void> = []
    let freedBytes = 0
    for (const { bytes, go } of this.#removable()) {
      if (freedBytes >= missingBytes) break
      going.push(go)
      freedBytes += bytes
    }
    if (freedBytes < missingBytes) this.#refuseRoom(sizeBytes)
    for (const go of going) go()
  }

  /** What may go, the first to go first. */
  *#removable(): Generator<{ readonly bytes: number; readonly go: () => void }> {
    for (const [digest, bytes] of this.rotten) {
      yield { bytes, go: () => this.#drop(this.rotten, digest, bytes, this.#remove.rotten) }
    }
    for (const [digest, { sizeBytes: bytes, opening, partial }] of this.partials) {
      if (opening > 0 || partial?.isOpen === true || this.holdings.isHeld(digest)) continue
      yield { bytes, go: () => this.#drop(this.partials, digest, bytes, this.#remove.partial) }
    }
    for (const [digest, bytes] of this.sizes) {
      if (this.holdings.isHeld(digest)) continue
      yield { bytes, go: () => this.#drop(this.sizes, digest, bytes, this.#remove.blob) }
    }
  }

  #drop(
    from: Map<Digest, unknown>,
    digest: Digest,
    bytes: number,
    remove: (digest: Digest) => void,
  ): void {
    this.usedBytes -= bytes
    from.delete(digest)
    remove(digest)
  }

  /** @throws CtdError DISK_QUOTA */
  #refuseRoom(sizeBytes: number): never {
    const { usedBytes, quotaBytes } = this
    throw new CtdError(
      'DISK_QUOTA',
      `${sizeBytes} more bytes would exceed the storage quota of ${quotaBytes} bytes`,
      {
        hint: 'see what takes the quota: ctd du    free some: ctd rm, ctd unpin    or raise diskMiB',
        fields: { sizeBytes, usedBytes, quotaBytes },
      },
    )
  }
}

function sum(sizes: Iterable<number>): number {
  let total = 0
  for (const size of sizes) total += size
  return total
}
