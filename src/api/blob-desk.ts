/** `BlobPort` over the blob store, the transfer and the pins of this daemon. */
import { createReadStream } from 'node:fs'
import { stat, statfs } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import type { AddedBlob, BlobStore } from '../blob/blob-store.js'
import type { BlobTransfer } from '../blob/blob-transfer.js'
import type { FetchProgress } from '../blob/fetch-progress.js'
import type { FetchOptions, FetchResult } from '../blob/fetch.js'
import type { FolderEntry } from '../blob/folder.js'
import type { Pins } from '../blob/pins.js'
import type { ProviderRecords } from '../blob/provider-records.js'
import type { Scrubber, ScrubReport } from '../blob/scrubber.js'
import type { Clock } from '../clock.js'
import { assertAbsolute } from '../config.js'
import { CtdError, errorCode } from '../errors.js'
import { cidOf, parseBlobName } from '../wire/cid.js'
import { encodeFolder, PIECE_BYTES } from '../wire/folder.js'
import type { FolderFile } from '../wire/folder.js'
import { parseDigest } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type {
  AddedFolderView,
  AddedView,
  BlobDetailView,
  BlobPort,
  BlobView,
  FetchedView,
  FetchProgressView,
  StorageView,
} from './blob-port.js'

export interface BlobDeskComponents {
  readonly blobs: BlobStore
  readonly transfer: BlobTransfer
  readonly pins: Pins
  readonly records: ProviderRecords
  readonly scrubber: Scrubber
  readonly clock: Clock
  readonly home: string
  readonly folderFiles: (digest: Digest) => Promise<readonly FolderFile[] | undefined>
  readonly linkFolder: (dir: string, holder: string, signal: AbortSignal) => Promise<FolderEntry>
  /** Peers that may have a blob, the likeliest first. */
  readonly providersOf: (digest: Digest, signal: AbortSignal) => Promise<readonly PeerId[]>
}

/** Uploads and what was fetched for its owner are kept for one to two hours. */
const UPLOAD_MS = 3600 * 1000
/** How long new peers are looked for when those of a fetch have left. */
const GIVE_UP_MS = 60_000
const PREFIX = /^[0-9a-f]{4,63}$/
const PASSING = /^(?:upload|get)\//

export class BlobDesk implements BlobPort {
  readonly #parts: BlobDeskComponents
  readonly #passingHolders = new Set<string>()

  constructor(parts: BlobDeskComponents) {
    this.#parts = parts
  }

  async add(bytes: Readable): Promise<AddedView> {
    return addedView(await this.#parts.blobs.addStream(bytes, { holder: this.#passing('upload') }))
  }

  async addFolder(
    entries: ReadonlyArray<{ readonly path: string; readonly digest: string }>,
  ): Promise<Pick<AddedView, 'digest' | 'cid'>> {
    const { blobs } = this.#parts
    const holder = this.#passing('upload')
    const files = entries.map(({ path, digest }) => {
      const parsed = parseDigest(digest)
      blobs.hold(holder, parsed)
      return { path, digest: parsed, sizeBytes: blobs.size(parsed) }
    })
    const { digest } = await blobs.addBytes(encodeFolder(files), { holder })
    return { digest, cid: cidOf(digest) }
  }

  async link(path: string, signal: AbortSignal): Promise<AddedFolderView> {
    const { blobs, linkFolder } = this.#parts
    assertAbsolute(path)
    const holder = this.#passing('upload')
    const status = await stat(path).catch((cause: unknown) => {
      throw new CtdError('FILE_NOT_FOUND', `the daemon cannot see ${path}`, {
        cause,
        hint: 'does it run elsewhere? leave out --no-copy',
      })
    })
    if (status.isDirectory()) {
      const before = new Set(blobs.list().map(({ digest }) => digest))
      const folder = await linkFolder(path, holder, signal)
      const pieces = (files: readonly FolderFile[]): number =>
        files.reduce((sum, { sizeBytes }) => sum + piecesOf(sizeBytes), 0)
      return {
        ...addedView(folder),
        files: folder.files.length,
        totalBytes: totalOf(folder.sizeBytes, folder.files),
        totalPieces: pieces(folder.files),
        knownPieces: pieces(folder.files.filter(({ digest }) => before.has(digest))),
      }
    }
    const added = addedView(await blobs.linkFile(path, { holder, signal }))
    const { sizeBytes, pieces, isNew } = added
    const knownPieces = isNew ? 0 : pieces
    return { ...added, files: 1, totalBytes: sizeBytes, totalPieces: pieces, knownPieces }
  }

  async list(all: boolean): Promise<readonly BlobView[]> {
    const { blobs, pins } = this.#parts
    const digests = pins.list().map(({ digest }) => digest)
    if (all) digests.push(...blobs.list().map(({ digest }) => digest))
    const views: BlobView[] = []
    for (const digest of new Set(digests)) views.push(await this.#view(digest))
    return views
  }

  async view(name: string): Promise<BlobDetailView> {
    const digest = this.#find(name)
    const files = (await this.#parts.folderFiles(digest)) ?? []
    const entries = files.map(({ path, sizeBytes, digest: file }) => {
      return { path, sizeBytes, digest: file }
    })
    return { ...(await this.#view(digest)), entries }
  }

  async fetch(
    name: string,
    from: PeerId | undefined,
    onProgress: (progress: FetchProgressView) => void,
    signal: AbortSignal,
  ): Promise<FetchedView> {
    const { folderFiles, blobs, providersOf } = this.#parts
    const digest = PREFIX.test(name) ? this.#find(name) : parseBlobName(name)
    const holder = this.#passing('get')
    const found = await providersOf(digest, signal)
    const providers = [...new Set([...(from === undefined ? [] : [from]), ...found])]
    const fetchOne = (blob: Digest, options: Partial<FetchOptions>): Promise<FetchResult> =>
      this.#fetchOne(blob, providers, { signal, holder, ...options })
    const root = await fetchOne(digest, {
      onProgress: (progress) => onProgress(progressView(progress)),
    })
    const files = await folderFiles(digest)
    const results = [root]
    if (files === undefined) return fetchedView(digest, 'file', root.sizeBytes, results)
    const totalBytes = totalOf(root.sizeBytes, files)
    let doneBytes = root.sizeBytes
    // The largest first: what remains at the end is short.
    for (const file of files.toSorted((a, b) => b.sizeBytes - a.sizeBytes)) {
      const before = doneBytes
      const result = await fetchOne(file.digest, {
        maxBytes: file.sizeBytes,
        onProgress: (progress) => {
          const view = progressView(progress)
          onProgress({ ...view, doneBytes: before + view.doneBytes, totalBytes })
        },
      })
      results.push(result)
      doneBytes += blobs.size(file.digest)
    }
    return fetchedView(digest, 'folder', totalBytes, results)
  }

  /** What was begun is not given up at once when its peers leave: others are looked for. */
  async #fetchOne(
    digest: Digest,
    providers: readonly PeerId[],
    options: FetchOptions,
  ): Promise<FetchResult> {
    const { transfer, blobs, providersOf } = this.#parts
    try {
      return await transfer.fetch(digest, providers, options)
    } catch (error) {
      const isBegun = blobs.partials().some((partial) => partial.digest === digest)
      if (errorCode(error) !== 'BLOB_UNAVAILABLE' || !isBegun) throw error
      return await transfer.fetch(digest, providers, {
        ...options,
        findMore: (signal) => providersOf(digest, signal),
        giveUpMs: GIVE_UP_MS,
      })
    }
  }

  async read(name: string): Promise<Readable> {
    return createReadStream(this.#parts.blobs.path(this.#find(name)), {
      highWaterMark: PIECE_BYTES,
    })
  }

  async pin(name: string, label: string): Promise<BlobView> {
    const { pins, records } = this.#parts
    const digest = this.#find(name)
    await pins.add(digest, label)
    records.provide(digest)
    return this.#view(digest)
  }

  async unpin(name: string): Promise<BlobView> {
    const { pins, records } = this.#parts
    const digest = this.#find(name)
    if (!(await pins.remove(digest))) {
      throw new CtdError('NOT_PINNED', `blob ${digest.slice(0, 12)} is not pinned`, {
        hint: 'what is pinned: ctd ls',
      })
    }
    await records.withdraw(digest)
    return this.#view(digest)
  }

  async remove(name: string): Promise<{ readonly digest: string; readonly freedBytes: number }> {
    const { blobs, pins, records, folderFiles } = this.#parts
    const digest = this.#find(name)
    const others = blobs
      .holdersOf(digest)
      .filter((holder) => holder !== `pin/${digest}` && !PASSING.test(holder))
    if (others.length > 0) {
      const words = others.map(holderWords)
      throw new CtdError(
        'BLOB_HELD',
        `blob ${digest.slice(0, 12)} is held by ${words.join(', ')}`,
        {
          hint: 'it can go once they let go; jobs do when they have ended: ctd ps',
          fields: { digest, heldBy: words },
        },
      )
    }
    const usedBefore = blobs.usedBytes
    const files = blobs.has(digest) ? ((await folderFiles(digest)) ?? []) : []
    await pins.remove(digest)
    await records.withdraw(digest)
    for (const blob of [digest, ...files.map((file) => file.digest)]) {
      for (const holder of blobs.holdersOf(blob)) {
        if (PASSING.test(holder)) blobs.release(holder, blob)
      }
      if (blobs.isHeld(blob)) continue
      await blobs.remove(blob)
      await blobs.dropPartial(blob)
      await blobs.dropRotten(blob)
    }
    return { digest, freedBytes: usedBefore - blobs.usedBytes }
  }

  async storage(): Promise<StorageView> {
    const { blobs, pins, scrubber, home } = this.#parts
    const usage = blobs.usage()
    const disk = await statfs(home)
    const pinnedBytes = blobs
      .list()
      .filter(({ digest }) => blobs.holdersOf(digest).some((holder) => holder.startsWith('pin/')))
      .reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    const { heldBytes, partialBytes, rottenBytes, usedBytes } = usage
    return {
      ...usage,
      pins: pins.list().length,
      pinnedBytes,
      heldBytes: heldBytes - pinnedBytes,
      cacheBytes: usedBytes - heldBytes - partialBytes - rottenBytes,
      freeDiskBytes: disk.bavail * disk.bsize,
      scrubbed: scrubber.last ?? null,
    }
  }

  scrub(
    onProgress: (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void,
    signal: AbortSignal,
  ): Promise<ScrubReport> {
    return this.#parts.scrubber.scrub(signal, onProgress)
  }

  async #view(digest: Digest): Promise<BlobView> {
    const { blobs, pins, records, folderFiles } = this.#parts
    const pin = pins.get(digest)
    const isHere = blobs.has(digest)
    const sizeBytes = isHere ? blobs.size(digest) : 0
    const files = isHere ? await folderFiles(digest) : undefined
    return {
      digest,
      cid: cidOf(digest),
      kind: files === undefined ? 'file' : 'folder',
      sizeBytes,
      totalBytes: totalOf(sizeBytes, files ?? []),
      files: files?.length ?? 1,
      name: pin?.name ?? '',
      isPinned: pin !== undefined,
      addedMs: pin?.addedMs ?? null,
      isProvided: records.isTold(digest),
      heldBy: blobs.holdersOf(digest).map(holderWords),
    }
  }

  /**
   * A blob that is here, pinned, half fetched or set aside, by digest, CID or the digest's begin.
   *
   * @throws CtdError BLOB_UNKNOWN, BAD_DIGEST, ID_AMBIGUOUS
   */
  #find(name: string): Digest {
    const { blobs, pins } = this.#parts
    const known = (): Digest[] => [
      ...blobs.list().map(({ digest }) => digest),
      ...blobs.rotten().map(({ digest }) => digest),
      ...blobs.partials().map(({ digest }) => digest),
      ...pins.list().map(({ digest }) => digest),
    ]
    if (!PREFIX.test(name)) {
      const digest = parseBlobName(name)
      if (blobs.has(digest) || known().includes(digest)) return digest
      throw unknownBlob(name)
    }
    const found = [...new Set(known().filter((digest) => digest.startsWith(name)))]
    if (found.length > 1) {
      throw new CtdError('ID_AMBIGUOUS', `${found.length} blobs begin with ${name}`, {
        hint: 'give more characters of the digest',
      })
    }
    const [digest] = found
    if (digest === undefined) throw unknownBlob(name)
    return digest
  }

  /** The holder of what comes in this hour; those of hours before the last let go. */
  #passing(kind: 'upload' | 'get'): string {
    const hour = Math.floor(this.#parts.clock.now() / UPLOAD_MS)
    for (const holder of this.#passingHolders) {
      if (Number(holder.slice(holder.indexOf('/') + 1)) >= hour - 1) continue
      this.#parts.blobs.release(holder)
      this.#passingHolders.delete(holder)
    }
    const current = `${kind}/${hour}`
    this.#passingHolders.add(current)
    return current
  }
}

/** Who a holder is, for people. */
function holderWords(holder: string): string {
  const [kind = '', id = ''] = holder.split('/', 2)
  switch (kind) {
    case 'pin':
      return `the pin of ${id.slice(0, 12)}`
    case 'requester':
      return `your job ${id.slice(0, 12)}`
    case 'executor':
      return `a task of job ${id.slice(0, 12)}`
    case 'result':
      return `the result of job ${id.slice(0, 12)}`
    case 'image':
      return `the image ${id}`
    case 'submission':
      return 'a job that is being submitted'
    case 'upload':
      return 'an upload of the last hours'
    case 'get':
      return 'a ctd get of the last hours'
    default:
      return kind
  }
}

function unknownBlob(name: string): CtdError {
  return new CtdError('BLOB_UNKNOWN', `this machine does not hold blob ${name.slice(0, 80)}`, {
    hint: 'what it holds: ctd ls --all    fetch it from peers: ctd get DIGEST',
  })
}

function piecesOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / PIECE_BYTES)
}

function totalOf(sizeBytes: number, files: readonly FolderFile[]): number {
  return files.reduce((sum, file) => sum + file.sizeBytes, sizeBytes)
}

function addedView({ digest, sizeBytes, isNew }: AddedBlob): AddedView {
  return { digest, cid: cidOf(digest), sizeBytes, pieces: piecesOf(sizeBytes), isNew }
}

function progressView({ doneBytes, totalBytes, sources }: FetchProgress): FetchProgressView {
  const giving = sources.filter(({ state }) => state === 'fetching')
  return { doneBytes, totalBytes, sources: giving.length }
}

function fetchedView(
  digest: Digest,
  kind: 'file' | 'folder',
  totalBytes: number,
  results: readonly FetchResult[],
): FetchedView {
  const peers = new Map<PeerId, { peer: string; bytes: number; fault?: string; reason?: string }>()
  for (const share of results.flatMap((result) => result.peers)) {
    const bytes = (peers.get(share.peer)?.bytes ?? 0) + share.bytes
    peers.set(share.peer, { ...share, bytes })
  }
  const fetchedBytes = results.reduce((sum, result) => sum + result.fetchedBytes, 0)
  return { digest, kind, totalBytes, fetchedBytes, peers: [...peers.values()] }
}
