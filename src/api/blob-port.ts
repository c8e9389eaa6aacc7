/** What the doors need of the blob store: what is kept, how it comes and goes. Sizes in bytes. */
import type { Readable } from 'node:stream'
import type { ScrubReport } from '../blob/scrubber.js'
import type { PeerId } from '../wire/ids.js'

/** What was added. */
export interface AddedView {
  readonly digest: string
  /** The same as a CIDv1 (`wire/cid.ts`). */
  readonly cid: string
  readonly sizeBytes: number
  /** Pieces of 1 MiB. */
  readonly pieces: number
  /** False where the store had these bytes already. */
  readonly isNew: boolean
}

export interface AddedFolderView extends AddedView {
  readonly files: number
  /** Of the files and their list. */
  readonly totalBytes: number
  /** Pieces of all files, and how many of them were here before. */
  readonly totalPieces: number
  readonly knownPieces: number
}

export interface BlobView {
  readonly digest: string
  readonly cid: string
  readonly kind: 'file' | 'folder'
  readonly sizeBytes: number
  /** With all files of a folder. */
  readonly totalBytes: number
  readonly files: number
  /** What its owner calls it; empty for a blob that nobody pinned. */
  readonly name: string
  readonly isPinned: boolean
  readonly addedMs: number | null
  /** Whether another peer was told that it is to be had here. */
  readonly isProvided: boolean
  /** Who keeps it from being removed, in words. */
  readonly heldBy: readonly string[]
}

export interface BlobDetailView extends BlobView {
  /** Files of a folder; empty for a file. */
  readonly entries: ReadonlyArray<{
    readonly path: string
    readonly sizeBytes: number
    readonly digest: string
  }>
}

export interface FetchProgressView {
  readonly doneBytes: number
  readonly totalBytes: number
  /** Peers that send now. */
  readonly sources: number
}

export interface FetchedView {
  readonly digest: string
  readonly kind: 'file' | 'folder'
  readonly totalBytes: number
  /** Bytes that came now; the rest was here before. */
  readonly fetchedBytes: number
  /** Who gave how much, and who was of no use and why. */
  readonly peers: ReadonlyArray<{
    readonly peer: string
    readonly bytes: number
    readonly fault?: string
    readonly reason?: string
  }>
}

export interface StorageView {
  readonly quotaBytes: number
  readonly usedBytes: number
  readonly blobs: number
  readonly pins: number
  readonly pinnedBytes: number
  /** Held by jobs, images and uploads, and not pinned. */
  readonly heldBytes: number
  /** Held by nobody: goes first when room is needed. */
  readonly cacheBytes: number
  readonly partials: number
  readonly partialBytes: number
  readonly rotten: number
  readonly rottenBytes: number
  /** Free on the disk, whatever the quota. */
  readonly freeDiskBytes: number
  /** Of the last scrubbing in this process. */
  readonly scrubbed: Pick<ScrubReport, 'endedMs' | 'blobs'> | null
}

export interface BlobPort {
  add(bytes: Readable): Promise<AddedView>
  /** A folder of blobs already added. */
  addFolder(
    entries: ReadonlyArray<{ readonly path: string; readonly digest: string }>,
  ): Promise<Pick<AddedView, 'digest' | 'cid'>>
  /** Takes in a file or folder of this machine by hard links. */
  link(path: string, signal: AbortSignal): Promise<AddedFolderView>
  /** What is pinned, or every blob. */
  list(all: boolean): Promise<readonly BlobView[]>
  /** `name`: a digest, a CID, or how the digest of a held blob begins. */
  view(name: string): Promise<BlobDetailView>
  fetch(
    name: string,
    from: PeerId | undefined,
    onProgress: (progress: FetchProgressView) => void,
    signal: AbortSignal,
  ): Promise<FetchedView>
  read(name: string): Promise<Readable>
  pin(name: string, label: string): Promise<BlobView>
  unpin(name: string): Promise<BlobView>
  /** @throws CtdError BLOB_HELD */
  remove(name: string): Promise<{ readonly digest: string; readonly freedBytes: number }>
  storage(): Promise<StorageView>
  scrub(
    onProgress: (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void,
    signal: AbortSignal,
  ): Promise<ScrubReport>
}
