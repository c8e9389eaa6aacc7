/**
 * One running fetch: whom to ask, when to ask them again, whom to leave, and when to give up.
 * Whom it knows is `fetch-sources.ts`, what each peer does on its stream `peer-fetch.ts`, which piece
 * comes next `piece-schedule.ts`.
 */
import { randomInt } from 'node:crypto'
import { diskError, errorMessage } from '../errors.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { BlobStore } from './blob-store.js'
import { assertNotAborted, tooLarge, unavailable } from './fetch-failure.js'
import { RateMeter, Throttle } from './fetch-progress.js'
import type { FetchProgress } from './fetch-progress.js'
import { Sources } from './fetch-sources.js'
import type { PeerShare, Source } from './fetch-sources.js'
import { BLOB_LIMITS } from './limits.js'
import { pieceBytesOf } from './manifest.js'
import type { Manifest } from './manifest.js'
import type { PartialBlob } from './partial-blob.js'
import { PeerFaultError } from './peer-fault.js'
import type { BlobFault } from './peer-fault.js'
import { PeerFetch } from './peer-fetch.js'
import type { FetchHost, FetchTarget } from './peer-fetch.js'
import { PieceSchedule } from './piece-schedule.js'
import type { ProviderStandings } from './provider-standing.js'

/** Peers said to have a blob; those of an asynchronous source join while the fetch runs. */
export type Providers = Iterable<PeerId> | AsyncIterable<PeerId>

export interface FetchOptions {
  readonly signal: AbortSignal
  /** At most four times a second, and at the end. */
  readonly onProgress?: (progress: FetchProgress) => void
  /** Refuse a larger blob. */
  readonly maxBytes?: number
  /** Holds the blob from now on (`BlobStore.hold`); holders share the download rate equally. */
  readonly holder?: string
  /**
   * Looks for more providers, say on the DHT: called when none of use is left, and every half
   * minute. With it a fetch does not end for want of providers before `giveUpMs` or its signal.
   */
  readonly findMore?: (signal: AbortSignal) => Promise<Iterable<PeerId>>
  /** After how long without a new piece a fetch with `findMore` fails, milliseconds. */
  readonly giveUpMs?: number
}

export interface FetchResult {
  readonly digest: Digest
  readonly sizeBytes: number
  /** Bytes fetched now; the rest was here before. */
  readonly fetchedBytes: number
  readonly peers: readonly PeerShare[]
}

/** What a fetch needs of the rest of the room. */
export interface SwarmComponents {
  readonly store: BlobStore
  readonly standings: ProviderStandings
  /** Runs a peer's stream when there is room for one more. */
  readonly runPeer: (source: PeerFetch, signal: AbortSignal) => Promise<void>
  readonly mayAsk: (bytes: number, signal: AbortSignal) => Promise<void>
  readonly onFault: (fault: BlobFault) => void
  readonly onPiece: (piece: CamePiece) => void
}

/** A piece that came and was right. */
export interface CamePiece {
  readonly digest: Digest
  readonly index: number
  readonly peer: PeerId
  readonly sizeBytes: number
  /** False for one that another peer had brought first: both were asked at the end. */
  readonly isNew: boolean
}

export interface SwarmOptions extends FetchOptions {
  readonly stallMs: number
  readonly slowMs: number
  readonly retryMs: number
}

export class SwarmFetch implements FetchHost {
  readonly digest: Digest
  readonly maxBytes: number
  readonly stallMs: number
  readonly #components: SwarmComponents
  readonly #options: SwarmOptions
  readonly #sources: Sources
  readonly #running = new Set<Promise<void>>()
  readonly #ending = new AbortController()
  readonly #listeners = new Set<(progress: FetchProgress) => void>()
  readonly #progress = new Throttle(() => this.#tell())
  #rate = new RateMeter(0, performance.now())
  #target: (FetchTarget & { readonly partial: PartialBlob }) | undefined
  #opening: Promise<FetchTarget> | undefined
  /** Asynchronous sources of providers that have not ended. */
  #feeds = 0
  #finding = false
  #findAtMs: number
  #findings = 0
  /** When a peer was last started, or found not to be needed, and what had come by then. */
  #lastStart = { atMs: -Infinity, bytes: 0 }
  #lastPieceMs = performance.now()
  /** A failure of our own side (disk, quota, size) that ends the fetch. */
  #failure: unknown
  #doneBytes = 0
  #fetchedBytes = 0
  /** Why the last search for providers failed. */
  #failedSearch: string | undefined
  #wake = (): void => {}

  constructor(digest: Digest, components: SwarmComponents, options: SwarmOptions) {
    this.digest = digest
    this.maxBytes = Math.min(options.maxBytes ?? Infinity, BLOB_LIMITS.blobBytes)
    this.stallMs = options.stallMs
    this.#components = components
    this.#options = options
    this.#sources = new Sources(components.standings, {
      retryMs: options.retryMs,
      isPatient: options.findMore !== undefined,
    })
    this.#findAtMs = performance.now() + BLOB_LIMITS.findMoreMs
  }

  get target(): FetchTarget | undefined {
    return this.#target
  }

  /** Adds peers that may have the blob, also while the fetch runs; known ones change nothing. */
  addProviders(providers: Providers): void {
    if (Symbol.asyncIterator in providers) void this.#follow(providers)
    else for (const peer of providers) this.#addProvider(peer)
  }

  /** Tells somebody else of the progress too. @returns to be called when they want no more */
  listen(onProgress: ((progress: FetchProgress) => void) | undefined): () => void {
    if (onProgress === undefined) return () => {}
    this.#listeners.add(onProgress)
    return () => this.#listeners.delete(onProgress)
  }

  /** Runs to the end. @throws CtdError as `BlobTransfer.fetch` says */
  async run(): Promise<FetchResult> {
    const { signal } = this.#options
    const unlisten = this.listen(this.#options.onProgress)
    const onAbort = (): void => this.#end()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      if (signal.aborted) this.#end()
      const known = await this.#components.store.partialManifest(this.digest)
      if (known !== undefined && known.sizeBytes <= this.maxBytes) await this.onManifest(known)
      await this.#conduct()
      this.#end()
      await Promise.all(this.#running)
      return await this.#conclude()
    } catch (error) {
      throw diskError(error)
    } finally {
      this.#end()
      signal.removeEventListener('abort', onAbort)
      await Promise.all(this.#running)
      await this.#target?.partial.close()
      this.#progress.stop()
      unlisten()
    }
  }

  /** Opens the partial blob once, whoever brings the manifest first. */
  async onManifest(manifest: Manifest): Promise<FetchTarget> {
    if (manifest.sizeBytes > this.maxBytes) throw tooLarge(this.digest, [])
    this.#opening ??= this.#open(manifest)
    return this.#opening
  }

  async onPiece(from: PeerFetch, index: number, piece: Uint8Array): Promise<void> {
    const target = this.#target
    const source = this.#sources.get(from.peer)
    if (target === undefined || source === undefined) return
    const { digest } = this
    const bytes = pieceBytesOf(target.manifest, index)
    const came = { digest, index, peer: from.peer, sizeBytes: bytes }
    if (target.partial.has(index)) {
      this.#components.onPiece({ ...came, isNew: false })
      return
    }
    await target.partial.write(index, piece)
    if (!target.schedule.done(index)) {
      this.#components.onPiece({ ...came, isNew: false })
      return
    }
    this.#components.onPiece({ ...came, isNew: true })
    this.#sources.onPiece(source, bytes)
    this.#fetchedBytes += bytes
    this.#doneBytes += bytes
    this.#lastPieceMs = performance.now()
    this.#findings = 0
    this.#progress.trigger()
    if (target.schedule.finished) this.#end()
  }

  mayAsk(bytes: number, signal: AbortSignal): Promise<void> {
    return this.#components.mayAsk(bytes, signal)
  }

  async #open(manifest: Manifest): Promise<FetchTarget> {
    const partial = await this.#components.store.openPartial(manifest)
    const { pieceCount } = manifest
    const missing = Array.from({ length: pieceCount }, (_, i) => i).filter((i) => !partial.has(i))
    const schedule = new PieceSchedule<PeerFetch>(missing, { pieceCount, seed: randomInt(2 ** 32) })
    this.#doneBytes = partial.verifiedBytes
    this.#rate = new RateMeter(this.#doneBytes, performance.now())
    this.#target = { manifest, partial, schedule }
    // Reading again what an earlier run left may take minutes; that was no waiting for peers.
    this.#lastPieceMs = performance.now()
    this.#progress.trigger()
    return this.#target
  }

  /** Starts peers, leaves slow ones and looks for more until the blob is whole or hope is gone. */
  async #conduct(): Promise<void> {
    while (!this.#ending.signal.aborted && this.#target?.schedule.finished !== true) {
      this.#startSources()
      this.#findMore()
      if (this.#isHopeless()) return
      await this.#nextEvent()
      this.#leaveSlow()
      // By now what others owe may be worth asking for twice.
      for (const fetch of this.#sources.active()) fetch.kick()
    }
  }

  /**
   * The first peer at once, then one more after the other for as long as those at work are slower
   * than a gigabit line: faster ones gain nothing from company but work for everybody.
   */
  #startSources(): void {
    for (const source of this.#sources.ready(performance.now())) {
      const active = this.#sources.active().length
      if (active >= BLOB_LIMITS.peersAtOnce || (active > 0 && !this.#needsMore())) return
      this.#lastStart = { atMs: performance.now(), bytes: this.#fetchedBytes }
      this.#start(source)
    }
  }

  #needsMore(): boolean {
    const nowMs = performance.now()
    const { atMs, bytes } = this.#lastStart
    if (nowMs < atMs + BLOB_LIMITS.nextPeerMs) return false
    const rate = ((this.#fetchedBytes - bytes) * 1000) / (nowMs - atMs)
    if (rate < BLOB_LIMITS.fastBytesPerSecond) return true
    this.#lastStart = { atMs: nowMs, bytes: this.#fetchedBytes }
    return false
  }

  #start(source: Source): void {
    const fetch = new PeerFetch(source.peer, this)
    source.fetch = fetch
    delete source.fault
    delete source.reason
    const run = this.#components
      .runPeer(fetch, this.#ending.signal)
      .catch((error: unknown) => this.#onSourceFailed(source, error))
      .finally(() => {
        delete source.fetch
        this.#running.delete(run)
        // What it had been asked for is free again.
        for (const other of this.#sources.active()) other.kick()
        this.#wake()
      })
    this.#running.add(run)
  }

  #onSourceFailed(source: Source, error: unknown): void {
    if (this.#ending.signal.aborted) return
    if (!(error instanceof PeerFaultError)) {
      this.#failure ??= error
      this.#end()
      return
    }
    const { fault, message: reason, proof } = error
    this.#sources.onFault(source, error)
    const { digest } = this
    this.#components.onFault({ digest, peer: source.peer, fault, reason, ...(proof && { proof }) })
    this.#progress.trigger()
  }

  #isHopeless(): boolean {
    const { findMore, giveUpMs } = this.#options
    const waitedMs = performance.now() - this.#lastPieceMs
    if (findMore !== undefined) return waitedMs >= (giveUpMs ?? Infinity)
    return this.#feeds === 0 && this.#sources.isExhausted
  }

  /** Leaves the peers whose rate is far below that of the others, who can do their part better. */
  #leaveSlow(): void {
    const rates = this.#sources.active().flatMap((fetch) => {
      const rate = fetch.rateOver(this.#options.slowMs)
      return rate === undefined ? [] : { fetch, rate }
    })
    for (const { fetch, rate } of rates) {
      const others = rates.filter((each) => each.fetch !== fetch).map((each) => each.rate)
      const median = others.sort((a, b) => a - b)[others.length >> 1]
      if (median === undefined || rate >= median * BLOB_LIMITS.slowPart) continue
      fetch.end('slow', `it gave ${Math.round(rate)} B/s, others ${Math.round(median)} B/s`)
    }
  }

  /** Looks for more providers where it is time; a search that fails found none. */
  #findMore(): void {
    const { findMore } = this.#options
    if (findMore === undefined || this.#finding) return
    const nowMs = performance.now()
    const isStarved = this.#sources.active().every(({ state }) => state !== 'fetching')
    if (isStarved) {
      const waitMs = Math.min(BLOB_LIMITS.retryMaxMs, BLOB_LIMITS.retryMs * 2 ** this.#findings)
      this.#findAtMs = Math.min(this.#findAtMs, this.#findings === 0 ? nowMs : nowMs + waitMs)
    }
    if (nowMs < this.#findAtMs) return
    this.#finding = true
    this.#findings += 1
    this.#findAtMs = nowMs + BLOB_LIMITS.findMoreMs
    void this.#search(findMore)
  }

  async #search(findMore: NonNullable<FetchOptions['findMore']>): Promise<void> {
    try {
      this.addProviders(await findMore(this.#ending.signal))
    } catch (error) {
      // The next search may do better; its failure is no reason to stop what runs.
      this.#failedSearch = errorMessage(error)
    } finally {
      this.#finding = false
      this.#wake()
    }
  }

  async #follow(providers: AsyncIterable<PeerId>): Promise<void> {
    this.#feeds += 1
    const feed = providers[Symbol.asyncIterator]()
    const onEnd = (): void => void feed.return?.().catch(() => {})
    this.#ending.signal.addEventListener('abort', onEnd, { once: true })
    try {
      while (!this.#ending.signal.aborted) {
        const { done, value } = await feed.next()
        if (done === true) return
        this.#addProvider(value)
      }
    } catch (error) {
      this.#failedSearch = errorMessage(error)
    } finally {
      this.#ending.signal.removeEventListener('abort', onEnd)
      this.#feeds -= 1
      this.#wake()
    }
  }

  #addProvider(peer: PeerId): void {
    if (this.#sources.add(peer)) this.#wake()
  }

  /** Waits until a peer ends, one may be asked or tried again, or a second has passed. */
  async #nextEvent(): Promise<void> {
    const nowMs = performance.now()
    const moreMs = this.#lastStart.atMs + BLOB_LIMITS.nextPeerMs - nowMs
    const waitMs = Math.min(
      BLOB_LIMITS.tickMs,
      moreMs > 0 ? moreMs : Infinity,
      this.#sources.nextReadyMs(nowMs),
    )
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      if (this.#ending.signal.aborted) resolve()
      timer = setTimeout(() => {
        this.#progress.trigger()
        resolve()
      }, waitMs)
    })
    clearTimeout(timer)
  }

  #end(): void {
    this.#ending.abort()
    this.#wake()
  }

  async #conclude(): Promise<FetchResult> {
    const target = this.#target
    if (this.#failure !== undefined) throw this.#failure
    if (target?.schedule.finished !== true) {
      assertNotAborted(this.#options.signal)
      throw unavailable(this.digest, this.#sources.shares(), this.#failedSearch)
    }
    const { sizeBytes } = await this.#components.store.completePartial(target.partial)
    const { digest } = this
    return { digest, sizeBytes, fetchedBytes: this.#fetchedBytes, peers: this.#sources.shares() }
  }

  #tell(): void {
    const doneBytes = this.#doneBytes
    const totalBytes = this.#target?.manifest.sizeBytes ?? 0
    const ratePerSecond = this.#rate.update(doneBytes, performance.now())
    const left = totalBytes - doneBytes
    const etaMs = left === 0 ? 0 : Math.ceil((left / ratePerSecond) * 1000)
    const progress: FetchProgress = {
      doneBytes,
      totalBytes,
      ratePerSecond,
      ...(totalBytes > 0 && Number.isFinite(etaMs) && { etaMs }),
      sources: this.#sources.views(),
    }
    try {
      for (const listener of this.#listeners) listener(progress)
    } catch (error) {
      this.#failure ??= error
      this.#end()
    }
  }
}
