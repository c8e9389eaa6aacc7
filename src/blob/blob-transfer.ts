/**
 * Fetches blobs from several peers at once. Each piece is checked before it touches the file; a
 * peer that lies, stalls or leaves is named in the result and its pieces are asked of others; what
 * was verified survives a crash, is not fetched again, and is served to others meanwhile.
 */
import { systemClock } from '../clock.js'
import { CtdError } from '../errors.js'
import { FOLDER_LIMITS } from '../wire/folder.js'
import type { FolderFile } from '../wire/folder.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { Transport } from '../network/transport.js'
import { BandwidthLimiter } from './bandwidth-limiter.js'
import type { BlobStore } from './blob-store.js'
import { SwarmFetch } from './fetch.js'
import type { CamePiece, FetchOptions, FetchResult, Providers } from './fetch.js'
import { assertNotAborted, tooLarge } from './fetch-failure.js'
import { RateMeter } from './fetch-progress.js'
import type { FetchSource } from './fetch-progress.js'
import { readFolder } from './folder.js'
import { BLOB_LIMITS } from './limits.js'
import type { BlobFault } from './peer-fault.js'
import type { PeerFetch } from './peer-fetch.js'
import { ProviderStandings } from './provider-standing.js'
import { Turns } from './turns.js'

export type { FetchOptions, FetchResult, Providers } from './fetch.js'
export type { FetchProgress } from './fetch-progress.js'
export type { BlobFault } from './peer-fault.js'

export interface BlobTransferComponents {
  readonly store: BlobStore
  readonly transport: Pick<Transport, 'openStream'>
  /** What is remembered of providers; of this process alone where absent. */
  readonly standings?: ProviderStandings
}

export interface BlobTransferOptions {
  /** Shared equally by the holders for whom blobs are fetched; no limit where absent. */
  readonly maxDownloadBytesPerSecond?: number
  /** After how long without bytes a peer that owes some counts as stalled, milliseconds. */
  readonly stallMs?: number
  /** Over how long a peer must be far slower than the others to be left, milliseconds. */
  readonly slowMs?: number
  /** How long a peer that failed once is left alone, milliseconds; twice as long each time. */
  readonly retryMs?: number
  /** Told of every failure of a peer; of wrong bytes with what shows it. */
  readonly onFault?: (fault: BlobFault) => void
  /** Told of every piece that came and was right. */
  readonly onPiece?: (piece: CamePiece) => void
}

export class BlobTransfer {
  readonly #store: BlobStore
  readonly #transport: Pick<Transport, 'openStream'>
  readonly #options: BlobTransferOptions
  readonly #download: BandwidthLimiter
  readonly #standings: ProviderStandings
  readonly #running = new Map<Digest, { swarm: SwarmFetch; ended: Promise<unknown> }>()
  readonly #fetches = new Turns(BLOB_LIMITS.fetchesAtOnce)
  /** Keep below the streams that one connection may have open, and what all may fill. */
  readonly #streams = new Turns(BLOB_LIMITS.streamsAtOnce)
  readonly #streamsOfPeer = new Map<PeerId, Turns>()

  constructor(components: BlobTransferComponents, options: BlobTransferOptions = {}) {
    this.#store = components.store
    this.#transport = components.transport
    this.#standings = components.standings ?? new ProviderStandings({ clock: systemClock })
    this.#options = options
    this.#download = new BandwidthLimiter(options.maxDownloadBytesPerSecond ?? Infinity)
  }

  /**
   * Brings a blob into the store, unless it is there. Of several calls for one blob the first
   * fetches, from the providers of all.
   *
   * @param providers - peers said to have it; 8 are asked at once
   * @throws CtdError BLOB_UNAVAILABLE, BLOB_CORRUPT, BLOB_TOO_LARGE (all with `fields.peers`),
   *   DISK_QUOTA, DISK_FULL, ABORTED
   */
  async fetch(digest: Digest, providers: Providers, options: FetchOptions): Promise<FetchResult> {
    if (options.holder !== undefined) this.#store.hold(options.holder, digest)
    for (;;) {
      assertNotAborted(options.signal)
      const running = this.#running.get(digest)
      if (running === undefined) break
      running.swarm.addProviders(providers)
      const unlisten = running.swarm.listen(options.onProgress)
      await settledOrAborted(running.ended, options.signal)
      unlisten()
    }
    if (this.#store.has(digest)) return this.#present(digest, options)
    const flow = options.holder ?? digest
    const swarm = new SwarmFetch(
      digest,
      {
        store: this.#store,
        standings: this.#standings,
        runPeer: (source, signal) => this.#runPeer(source, signal),
        mayAsk: (bytes, signal) => this.#download.take(bytes, flow, signal),
        onFault: this.#options.onFault ?? (() => {}),
        onPiece: this.#options.onPiece ?? (() => {}),
      },
      {
        ...options,
        stallMs: this.#options.stallMs ?? BLOB_LIMITS.stallMs,
        slowMs: this.#options.slowMs ?? BLOB_LIMITS.slowMs,
        retryMs: this.#options.retryMs ?? BLOB_LIMITS.retryMs,
      },
    )
    swarm.addProviders(providers)
    const ended = this.#fetches.run(() => swarm.run(), options.signal)
    this.#running.set(digest, { swarm, ended })
    try {
      return await ended
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
    providers: Iterable<PeerId>,
    options: FetchOptions,
  ): Promise<readonly FolderFile[]> {
    const { onProgress, ...rest } = options
    const listBytes = Math.min(options.maxBytes ?? Infinity, FOLDER_LIMITS.bytes)
    await this.fetch(digest, providers, { ...rest, maxBytes: listBytes })
    const files = await readFolder(this.#store, digest)
    const totalBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
    if (totalBytes > (options.maxBytes ?? Infinity)) {
      throw new CtdError('BLOB_TOO_LARGE', `the folder has ${totalBytes} bytes`, {
        fields: { digest, totalBytes, maxBytes: options.maxBytes },
      })
    }
    const progress = new FolderProgress(totalBytes, onProgress)
    const queue = files.values()
    const failing = new AbortController()
    const signal = AbortSignal.any([options.signal, failing.signal])
    const worker = async (): Promise<void> => {
      for (const file of queue) {
        const { sizeBytes: maxBytes } = file
        await this.fetch(file.digest, providers, {
          ...rest,
          signal,
          maxBytes,
          onProgress: ({ doneBytes, sources }) => progress.onFile(file, doneBytes, sources),
        })
        progress.onFileDone(file)
      }
    }
    const workers = Array.from({ length: BLOB_LIMITS.filesAtOnce }, () =>
      worker().catch((error: unknown) => {
        failing.abort()
        throw error
      }),
    )
    const failed = (await Promise.allSettled(workers)).filter((each) => each.status === 'rejected')
    // The first to fail stopped the others.
    const cause = failed.find(
      ({ reason }) => !(reason instanceof CtdError && reason.code === 'ABORTED'),
    )
    const [first = cause] = cause === undefined ? failed : [cause]
    if (first !== undefined) throw first.reason
    return files
  }

  #present(digest: Digest, { maxBytes, onProgress }: FetchOptions): FetchResult {
    const sizeBytes = this.#store.size(digest)
    if (sizeBytes > (maxBytes ?? Infinity)) throw tooLarge(digest, [])
    onProgress?.({
      doneBytes: sizeBytes,
      totalBytes: sizeBytes,
      ratePerSecond: 0,
      etaMs: 0,
      sources: [],
    })
    return { digest, sizeBytes, fetchedBytes: 0, peers: [] }
  }

  /** First the turn at the peer, then that among all: who waits for a busy peer holds up nobody. */
  async #runPeer(source: PeerFetch, signal: AbortSignal): Promise<void> {
    const turns = this.#streamsOfPeer.get(source.peer) ?? new Turns(BLOB_LIMITS.streamsPerPeer)
    this.#streamsOfPeer.set(source.peer, turns)
    try {
      const run = (): Promise<void> => source.run(this.#transport, signal)
      await turns.run(() => this.#streams.run(run, signal), signal)
    } finally {
      if (turns.isIdle) this.#streamsOfPeer.delete(source.peer)
    }
  }
}

/** Adds up the progress of the files of a folder. */
class FolderProgress {
  readonly #totalBytes: number
  readonly #onProgress: FetchOptions['onProgress']
  readonly #rate = new RateMeter(0, performance.now())
  readonly #doneOf = new Map<FolderFile, number>()
  #wholeBytes = 0
  #toldMs = -Infinity

  constructor(totalBytes: number, onProgress: FetchOptions['onProgress']) {
    this.#totalBytes = totalBytes
    this.#onProgress = onProgress
  }

  onFile(file: FolderFile, doneBytes: number, sources: readonly FetchSource[]): void {
    this.#doneOf.set(file, doneBytes)
    this.#tell(sources)
  }

  onFileDone(file: FolderFile): void {
    this.#doneOf.delete(file)
    this.#wholeBytes += file.sizeBytes
    this.#tell([])
  }

  #tell(sources: readonly FetchSource[]): void {
    const nowMs = performance.now()
    const isDone = this.#wholeBytes === this.#totalBytes
    if (!isDone && nowMs - this.#toldMs < BLOB_LIMITS.progressMs) return
    this.#toldMs = nowMs
    let doneBytes = this.#wholeBytes
    for (const bytes of this.#doneOf.values()) doneBytes += bytes
    const ratePerSecond = this.#rate.update(doneBytes, nowMs)
    const etaMs = ((this.#totalBytes - doneBytes) / ratePerSecond) * 1000
    this.#onProgress?.({
      doneBytes,
      totalBytes: this.#totalBytes,
      ratePerSecond,
      ...(Number.isFinite(etaMs) && { etaMs: Math.ceil(etaMs) }),
      sources,
    })
  }
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
