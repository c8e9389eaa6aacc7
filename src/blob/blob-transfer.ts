/**
 * Fetches blobs from several peers at once. Each piece is checked before it touches the file; a
 * peer that lies, stalls or leaves is named in the result and its pieces are asked of others; what
 * was verified survives a crash and is not fetched again.
 */
import { CtdError, diskError, errorMessage } from '../errors.js'
import { FOLDER_LIMITS } from '../wire/folder.js'
import type { FolderFile } from '../wire/folder.js'
import { fromHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { ByteStream, Transport } from '../network/transport.js'
import { BandwidthLimiter } from './bandwidth-limiter.js'
import {
  ANSWER,
  ANSWER_HEADER_BYTES,
  MANIFEST_REQUEST,
  decodeAnswerHeader,
  encodeRequest,
  withDeadline,
} from './blob-protocol.js'
import type { BlobStore } from './blob-store.js'
import { readFolder } from './folder.js'
import { BLOB_LIMITS } from './limits.js'
import { isPiece, manifestBytesOf, parseManifest, pieceBytesOf } from './manifest.js'
import type { Manifest } from './manifest.js'
import type { PartialBlob } from './partial-blob.js'
import { PieceSchedule } from './piece-schedule.js'
import { Turns } from './turns.js'

export interface BlobTransferComponents {
  readonly store: BlobStore
  readonly transport: Pick<Transport, 'openStream'>
}

export interface BlobTransferOptions {
  readonly maxDownloadBytesPerSecond?: number
  /** After how long without a whole answer a peer counts as stalled, milliseconds. */
  readonly stallMs?: number
}

export interface FetchProgress {
  /** Verified bytes so far, those of earlier runs included. */
  readonly doneBytes: number
  readonly totalBytes: number
}

export interface FetchOptions {
  readonly signal: AbortSignal
  readonly onProgress?: (progress: FetchProgress) => void
  /** Refuse a larger blob. */
  readonly maxBytes?: number
  /** Holds the blob from now on; see `BlobStore.hold`. */
  readonly holder?: string
}

/**
 * Why a peer was of no use. `corrupt` bytes are provably its fault; the others may be bad luck.
 * `too-large` peers claimed a manifest longer than the blob may be.
 */
export type PeerFault =
  'corrupt' | 'stalled' | 'unknown-blob' | 'too-large' | 'busy' | 'unreachable'

export interface PeerShare {
  readonly peer: PeerId
  readonly bytes: number
  readonly fault?: PeerFault
  readonly reason?: string
}

export interface FetchResult {
  readonly digest: Digest
  readonly sizeBytes: number
  /** Bytes fetched now; the rest was here before. */
  readonly fetchedBytes: number
  readonly peers: readonly PeerShare[]
}

interface Share {
  bytes: number
  attempts: number
  fault?: PeerFault
  reason?: string
}

/** One running fetch. */
interface Fetch {
  readonly digest: Digest
  readonly maxBytes: number
  readonly shares: Map<PeerId, Share>
  readonly queue: PeerId[]
  readonly done: AbortController
  readonly onProgress: (progress: FetchProgress) => void
  target?: Target
  /** A failure of our own side (disk, quota) that ends the fetch. */
  failure?: unknown
  opening?: Promise<Target>
  doneBytes: number
  fetchedBytes: number
}

interface Target {
  readonly manifest: Manifest
  readonly partial: PartialBlob
  readonly schedule: PieceSchedule<object>
}

/** A peer's fault as an error; never leaves this file. */
class PeerFaultError extends Error {
  readonly fault: PeerFault

  constructor(fault: PeerFault, message: string) {
    super(message)
    this.fault = fault
  }
}

export class BlobTransfer {
  readonly #store: BlobStore
  readonly #transport: Pick<Transport, 'openStream'>
  readonly #download: BandwidthLimiter
  readonly #stallMs: number
  readonly #running = new Map<Digest, Promise<unknown>>()
  /** Keeps below the streams that one connection may have open. */
  readonly #turns = new Turns(BLOB_LIMITS.fetchesAtOnce)

  constructor(components: BlobTransferComponents, options: BlobTransferOptions = {}) {
    this.#store = components.store
    this.#transport = components.transport
    this.#download = new BandwidthLimiter(options.maxDownloadBytesPerSecond ?? Infinity)
    this.#stallMs = options.stallMs ?? BLOB_LIMITS.stallMs
  }

  /**
   * Brings a blob into the store, unless it is there.
   *
   * @param providers - peers said to have it; the first 64 are tried, 8 at once
   * @throws CtdError BLOB_UNAVAILABLE, BLOB_CORRUPT, BLOB_TOO_LARGE (all with `fields.peers`),
   *   DISK_QUOTA, DISK_FULL, ABORTED
   */
  async fetch(
    digest: Digest,
    providers: readonly PeerId[],
    options: FetchOptions,
  ): Promise<FetchResult> {
    if (options.holder !== undefined) this.#store.hold(options.holder, digest)
    for (;;) {
      assertNotAborted(options.signal)
      const running = this.#running.get(digest)
      if (running === undefined) break
      await settledOrAborted(running, options.signal)
    }
    if (this.#store.has(digest)) return this.#present(digest, options)
    const fetch = this.#turns.run(() => this.#fetch(digest, providers, options), options.signal)
    this.#running.set(digest, fetch)
    try {
      return await fetch
    } catch (error) {
      if (!(error instanceof CtdError)) assertNotAborted(options.signal)
      throw error
    } finally {
      this.#running.delete(digest)
    }
  }

  /** Brings a folder and all its files into the store. @throws like `fetch`, and BAD_FOLDER */
  async fetchFolder(
    digest: Digest,
    providers: readonly PeerId[],
    options: FetchOptions,
  ): Promise<readonly FolderFile[]> {
    const { signal, onProgress } = options
    const held = options.holder === undefined ? {} : { holder: options.holder }
    const listBytes = Math.min(options.maxBytes ?? Infinity, FOLDER_LIMITS.bytes)
    await this.fetch(digest, providers, { signal, maxBytes: listBytes, ...held })
    const files = await readFolder(this.#store, digest)
    const totalBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
    if (totalBytes > (options.maxBytes ?? Infinity)) {
      throw new CtdError('BLOB_TOO_LARGE', `the folder has ${totalBytes} bytes`, {
        fields: { digest, totalBytes, maxBytes: options.maxBytes },
      })
    }
    let doneBytes = 0
    const queue = [...files]
    const worker = async (): Promise<void> => {
      for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
        const maxBytes = file.sizeBytes
        await this.fetch(file.digest, providers, { signal, maxBytes, ...held })
        doneBytes += file.sizeBytes
        onProgress?.({ doneBytes, totalBytes })
      }
    }
    await Promise.all(Array.from({ length: BLOB_LIMITS.filesAtOnce }, worker))
    return files
  }

  #present(digest: Digest, { maxBytes, onProgress }: FetchOptions): FetchResult {
    const sizeBytes = this.#store.size(digest)
    if (sizeBytes > (maxBytes ?? Infinity)) throw tooLarge(digest, [])
    onProgress?.({ doneBytes: sizeBytes, totalBytes: sizeBytes })
    return { digest, sizeBytes, fetchedBytes: 0, peers: [] }
  }

  async #fetch(
    digest: Digest,
    providers: readonly PeerId[],
    options: FetchOptions,
  ): Promise<FetchResult> {
    const peers = [...new Set(providers)].slice(0, BLOB_LIMITS.providersPerFetch)
    const fetch: Fetch = {
      digest,
      maxBytes: Math.min(options.maxBytes ?? Infinity, BLOB_LIMITS.blobBytes),
      shares: new Map(peers.map((peer) => [peer, { bytes: 0, attempts: 0 }])),
      queue: peers,
      done: new AbortController(),
      onProgress: options.onProgress ?? (() => {}),
      doneBytes: 0,
      fetchedBytes: 0,
    }
    const onAbort = (): void => fetch.done.abort()
    options.signal.addEventListener('abort', onAbort, { once: true })
    try {
      const known = await this.#store.partialManifest(digest)
      if (known !== undefined && known.sizeBytes <= fetch.maxBytes) await this.#open(fetch, known)
      await Promise.all(Array.from({ length: BLOB_LIMITS.peersAtOnce }, () => this.#work(fetch)))
      return await this.#conclude(fetch, options.signal)
    } finally {
      options.signal.removeEventListener('abort', onAbort)
      await fetch.target?.partial.close()
    }
  }

  async #conclude(fetch: Fetch, signal: AbortSignal): Promise<FetchResult> {
    const { digest, target } = fetch
    if (fetch.failure !== undefined) throw diskError(fetch.failure)
    if (target?.schedule.finished !== true) {
      assertNotAborted(signal)
      throw failed(fetch)
    }
    const { sizeBytes } = await this.#store.completePartial(target.partial)
    return { digest, sizeBytes, fetchedBytes: fetch.fetchedBytes, peers: sharesOf(fetch) }
  }

  /** Takes peers from the queue until the blob is whole or nobody is left. */
  async #work(fetch: Fetch): Promise<void> {
    for (;;) {
      if (fetch.done.signal.aborted || fetch.target?.schedule.finished === true) return
      const peer = fetch.queue.shift()
      const share = peer === undefined ? undefined : fetch.shares.get(peer)
      if (peer === undefined || share === undefined) return
      share.attempts += 1
      delete share.fault
      delete share.reason
      try {
        await this.#fetchFrom(fetch, peer, share)
      } catch (error) {
        if (fetch.done.signal.aborted) return
        if (!(error instanceof PeerFaultError)) {
          fetch.failure ??= error
          fetch.done.abort()
          fetch.target?.schedule.wake()
          return
        }
        share.fault = error.fault
        share.reason = error.message
        const again = error.fault === 'unreachable' || error.fault === 'stalled'
        if (again && share.attempts < BLOB_LIMITS.attemptsPerPeer) fetch.queue.push(peer)
      }
    }
  }

  /** Works through one stream to one peer; throws `PeerFaultError` where the peer fails. */
  async #fetchFrom(fetch: Fetch, peer: PeerId, share: Share): Promise<void> {
    const { signal } = fetch.done
    const stream = await this.#openStream(peer, signal)
    const onDone = (): void => {
      stream.abort(new Error('the fetch has ended'))
      fetch.target?.schedule.wake()
    }
    signal.addEventListener('abort', onDone, { once: true })
    const worker = {}
    try {
      await peerStep(() => stream.write(fromHex(fetch.digest)))
      const target =
        fetch.target ?? (await this.#open(fetch, await this.#askManifest(fetch, stream)))
      await this.#fetchPieces(fetch, target, { stream, share, worker })
      // Not awaited: a peer that never closes its side must not hold up the fetch.
      void stream.close().catch(() => {})
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
      throw error
    } finally {
      signal.removeEventListener('abort', onDone)
      fetch.target?.schedule.release(worker)
    }
  }

  async #openStream(peer: PeerId, signal: AbortSignal): Promise<ByteStream> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(BLOB_LIMITS.openMs)])
    return peerStep(() => this.#transport.openStream(peer, limit))
  }

  async #askManifest(fetch: Fetch, stream: ByteStream): Promise<Manifest> {
    await peerStep(() => stream.write(encodeRequest(MANIFEST_REQUEST)))
    const bytes = await this.#readAnswer(stream, (sizeBytes) => {
      if (sizeBytes <= manifestBytesOf(fetch.maxBytes)) return
      throw new PeerFaultError('too-large', `its manifest has ${sizeBytes} bytes`)
    })
    const manifest = manifestOf(bytes, fetch.digest)
    if (manifest.sizeBytes > fetch.maxBytes) throw tooLarge(fetch.digest, [])
    return manifest
  }

  /** Opens the partial blob once, whoever brings the manifest first. */
  async #open(fetch: Fetch, manifest: Manifest): Promise<Target> {
    fetch.opening ??= this.#store.openPartial(manifest).then((partial) => {
      const missing = Array.from({ length: manifest.pieceCount }, (_, i) => i).filter(
        (i) => !partial.has(i),
      )
      fetch.doneBytes = partial.verifiedBytes
      fetch.target = { manifest, partial, schedule: new PieceSchedule(missing) }
      return fetch.target
    })
    return fetch.opening
  }

  async #fetchPieces(
    fetch: Fetch,
    { manifest, partial, schedule }: Target,
    { stream, share, worker }: { stream: ByteStream; share: Share; worker: object },
  ): Promise<void> {
    const asked: number[] = []
    while (!schedule.finished && !fetch.done.signal.aborted) {
      while (asked.length < BLOB_LIMITS.requestsInFlightPerPeer) {
        const index =
          schedule.take(worker) ?? (asked.length === 0 ? schedule.second(worker) : undefined)
        if (index === undefined) break
        asked.push(index)
        await this.#download.take(pieceBytesOf(manifest, index), fetch.done.signal)
        await peerStep(() => stream.write(encodeRequest(index)))
      }
      const index = asked.shift()
      if (index === undefined) {
        await schedule.changed()
        continue
      }
      const expected = pieceBytesOf(manifest, index)
      const piece = await this.#readAnswer(stream, (sizeBytes) => {
        if (sizeBytes === expected) return
        throw new PeerFaultError('corrupt', `piece ${index} has ${sizeBytes} bytes`)
      })
      if (!isPiece(manifest, index, piece)) {
        throw new PeerFaultError('corrupt', `piece ${index} has other bytes than its hash`)
      }
      if (fetch.done.signal.aborted || partial.has(index)) continue
      await partial.write(index, piece)
      if (!schedule.done(index)) continue
      share.bytes += piece.length
      fetch.fetchedBytes += piece.length
      fetch.doneBytes += piece.length
      fetch.onProgress({ doneBytes: fetch.doneBytes, totalBytes: manifest.sizeBytes })
      if (schedule.finished) fetch.done.abort()
    }
  }

  /** One answer; `assertSize` judges the announced length before anything is read. */
  async #readAnswer(
    stream: ByteStream,
    assertSize: (sizeBytes: number) => void,
  ): Promise<Uint8Array> {
    const header = decodeAnswerHeader(await this.#readInTime(stream, ANSWER_HEADER_BYTES))
    if (header.status === ANSWER.UNKNOWN_BLOB) {
      throw new PeerFaultError('unknown-blob', 'it does not have the blob')
    }
    if (header.status !== ANSWER.OK) throw new PeerFaultError('busy', 'it refused to serve')
    assertSize(header.sizeBytes)
    return this.#readInTime(stream, header.sizeBytes)
  }

  async #readInTime(stream: ByteStream, sizeBytes: number): Promise<Uint8Array> {
    const startMs = performance.now()
    try {
      return await withDeadline(stream, this.#stallMs, stream.read(sizeBytes))
    } catch (error) {
      const stalled = performance.now() - startMs >= this.#stallMs
      throw new PeerFaultError(stalled ? 'stalled' : 'unreachable', errorMessage(error))
    }
  }
}

/** Runs a step whose failure is the peer's. */
async function peerStep<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    throw new PeerFaultError('unreachable', errorMessage(error))
  }
}

function manifestOf(bytes: Uint8Array, digest: Digest): Manifest {
  try {
    const manifest = parseManifest(bytes)
    if (manifest.digest === digest) return manifest
  } catch (error) {
    if (!(error instanceof CtdError)) throw error
  }
  throw new PeerFaultError('corrupt', 'its manifest is not that of the blob')
}

function sharesOf(fetch: Fetch): readonly PeerShare[] {
  return [...fetch.shares].flatMap(([peer, { bytes, attempts, fault, reason }]) =>
    attempts === 0
      ? []
      : { peer, bytes, ...(fault && { fault }), ...(reason !== undefined && { reason }) },
  )
}

/** The error of a fetch that no peer could complete. */
function failed(fetch: Fetch): CtdError {
  const peers = sharesOf(fetch)
  const fields = { digest: fetch.digest, peers }
  const names = peers.map(({ peer, reason }) => `${peer}: ${reason ?? 'gave up'}`).join('; ')
  if (peers.length > 0 && peers.every(({ fault }) => fault === 'too-large')) {
    return tooLarge(fetch.digest, peers)
  }
  if (peers.some(({ fault }) => fault === 'corrupt')) {
    return new CtdError('BLOB_CORRUPT', `no peer served the right bytes (${names})`, {
      hint: 'find other peers that have it; the named ones serve wrong bytes',
      fields,
    })
  }
  return new CtdError(
    'BLOB_UNAVAILABLE',
    names === '' ? 'no peer is known to have the blob' : `no peer could serve the blob (${names})`,
    { hint: 'try again when a peer that has it is online; verified pieces are kept', fields },
  )
}

function tooLarge(digest: Digest, peers: readonly PeerShare[]): CtdError {
  return new CtdError('BLOB_TOO_LARGE', 'the blob is larger than allowed here', {
    hint: 'raise the size limit if the blob is wanted',
    fields: { digest, peers },
  })
}

function assertNotAborted(signal: AbortSignal): void {
  if (!signal.aborted) return
  throw new CtdError('ABORTED', 'the fetch was stopped', { cause: signal.reason })
}

/** Resolves when the promise settles, either way, or the signal aborts. */
async function settledOrAborted(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  let stop = (): void => {}
  const aborted = new Promise<void>((resolve) => {
    stop = resolve
    signal.addEventListener('abort', stop, { once: true })
  })
  const settled = promise.then(
    () => {},
    () => {},
  )
  await Promise.race([settled, aborted])
  signal.removeEventListener('abort', stop)
}
