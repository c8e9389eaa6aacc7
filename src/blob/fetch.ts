/**
 * One running fetch: whom to ask, when to ask them again, whom to leave, and when to give up.
 * What each peer does on its stream is `peer-fetch.ts`; which piece comes next `piece-schedule.ts`.
 */
import { randomInt } from 'node:crypto'
import { CtdError, diskError, errorMessage } from '../errors.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { BlobStore } from './blob-store.js'
import { RateMeter, Throttle } from './fetch-progress.js'
import type { FetchProgress } from './fetch-progress.js'
import { BLOB_LIMITS } from './limits.js'
import { pieceBytesOf } from './manifest.js'
import type { Manifest } from './manifest.js'
import type { PartialBlob } from './partial-blob.js'
import { PeerFaultError } from './peer-fault.js'
import type { BlobFault, FaultyPeers, PeerFault } from './peer-fault.js'
import { PeerFetch } from './peer-fetch.js'
import type { FetchHost, FetchTarget } from './peer-fetch.js'
import { PieceSchedule } from './piece-schedule.js'

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

/** What a fetch needs of the rest of the room. */
export interface SwarmComponents {
  readonly store: BlobStore
  readonly faulty: FaultyPeers
  /** Runs a peer's stream when there is room for one more. */
  readonly runPeer: (source: PeerFetch, signal: AbortSignal) => Promise<void>
  readonly mayAsk: (bytes: number, signal: AbortSignal) => Promise<void>
  readonly onFault: (fault: BlobFault) => void
}

export interface SwarmOptions extends FetchOptions {
  readonly stallMs: number
  readonly slowMs: number
  readonly retryMs: number
}

/** A peer that may have the blob. */
interface Source {
  readonly peer: PeerId
  bytes: number
  /** Since it last gave something. */
  failures: number
  readyAtMs: number
  fault?: PeerFault
  reason?: string
  fetch?: PeerFetch
}

export class SwarmFetch implements FetchHost {
  readonly digest: Digest
  readonly maxBytes: number
  readonly stallMs: number
  readonly #components: SwarmComponents
  readonly #options: SwarmOptions
  readonly #sources = new Map<PeerId, Source>()
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

  async onPiece(from: PeerFetch, index: number, parts: readonly Uint8Array[]): Promise<void> {
    const target = this.#target
    const source = this.#sources.get(from.peer)
    if (target === undefined || source === undefined || target.partial.has(index)) return
    await target.partial.write(index, parts)
    if (!target.schedule.done(index)) return
    const bytes = pieceBytesOf(target.manifest, index)
    source.bytes += bytes
    source.failures = 0
    this.#components.faulty.onPiece(from.peer)
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
    }
  }

  #startSources(): void {
    const nowMs = performance.now()
    const isAlone = this.#active().length === 0
    const ready = [...this.#sources.values()]
      .filter((source) => source.fetch === undefined && this.#mayRetry(source, isAlone))
      .filter(({ readyAtMs, fault }) => readyAtMs <= nowMs || (isAlone && fault === 'slow'))
      // Fresh ones first, then those that failed least, here and in other fetches.
      .sort((a, b) => this.#failuresOf(a) - this.#failuresOf(b))
    for (const source of ready) {
      if (this.#active().length >= BLOB_LIMITS.peersAtOnce) return
      this.#start(source)
    }
  }

  #failuresOf({ peer, failures }: Source): number {
    return failures + this.#components.faulty.stallsOf(peer)
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
        for (const { fetch: other } of this.#sources.values()) other?.kick()
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
    source.fault = fault
    source.reason = reason
    source.failures += 1
    const firstMs = fault === 'slow' ? BLOB_LIMITS.slowRetryMs : this.#options.retryMs
    const waitMs = Math.min(BLOB_LIMITS.retryMaxMs, firstMs * 2 ** (source.failures - 1))
    source.readyAtMs = performance.now() + waitMs
    this.#components.faulty.onFault(source.peer, fault)
    const { digest } = this
    this.#components.onFault({ digest, peer: source.peer, fault, reason, ...(proof && { proof }) })
    this.#progress.trigger()
  }

  /**
   * Whether a peer that failed may be asked again. One that lacked the blob may be fetching it too;
   * that is worth a look as long as others keep the fetch going.
   */
  #mayRetry(source: Source, isAlone: boolean): boolean {
    switch (source.fault) {
      case 'corrupt':
      case 'malformed':
      case 'too-large':
        return false
      case 'slow':
        return true
      case 'unknown-blob':
      case 'idle':
        if (!isAlone) return true
        break
      default:
    }
    if (this.#options.findMore !== undefined) return true
    return source.fault !== 'unknown-blob' && source.failures < BLOB_LIMITS.attemptsPerPeer
  }

  #isHopeless(): boolean {
    const { findMore, giveUpMs } = this.#options
    const waitedMs = performance.now() - this.#lastPieceMs
    if (findMore !== undefined) return waitedMs >= (giveUpMs ?? Infinity)
    if (this.#feeds > 0 || this.#active().length > 0) return false
    return [...this.#sources.values()].every((source) => !this.#mayRetry(source, true))
  }

  #active(): readonly PeerFetch[] {
    return [...this.#sources.values()].flatMap(({ fetch }) => fetch ?? [])
  }

  /** Leaves the peers whose rate is far below that of the others, who can do their part better. */
  #leaveSlow(): void {
    const rates = this.#active().flatMap((fetch) => {
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
    const isStarved = this.#active().every(({ state }) => state !== 'fetching')
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
    if (this.#sources.has(peer)) return
    if (this.#sources.size >= BLOB_LIMITS.providersPerFetch && !this.#forgetWorst()) return
    const source: Source = { peer, bytes: 0, failures: 0, readyAtMs: 0 }
    if (this.#components.faulty.isCorrupt(peer)) {
      source.fault = 'corrupt'
      source.reason = 'it sent wrong bytes within the last hour'
    }
    this.#sources.set(peer, source)
    this.#wake()
  }

  /** Makes room for a new provider by forgetting one that gave nothing. */
  #forgetWorst(): boolean {
    const worst = [...this.#sources.values()]
      .filter(({ fetch, bytes, failures }) => fetch === undefined && bytes === 0 && failures > 0)
      .sort((a, b) => b.failures - a.failures)[0]
    return worst !== undefined && this.#sources.delete(worst.peer)
  }

  /** Waits until a peer ends, one may be tried again, or a second has passed. */
  async #nextEvent(): Promise<void> {
    const nowMs = performance.now()
    const readyMs = [...this.#sources.values()]
      .filter(({ fetch, fault, readyAtMs }) => !fetch && fault !== undefined && readyAtMs > nowMs)
      .map(({ readyAtMs }) => readyAtMs - nowMs)
    const waitMs = Math.min(BLOB_LIMITS.tickMs, ...readyMs)
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
      throw this.#unavailable()
    }
    const { sizeBytes } = await this.#components.store.completePartial(target.partial)
    const { digest } = this
    return { digest, sizeBytes, fetchedBytes: this.#fetchedBytes, peers: this.#shares() }
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
      sources: [...this.#sources.values()].flatMap(({ peer, bytes, fetch, fault }) => {
        const state = fetch?.state ?? fault
        return state === undefined ? [] : { peer, bytes, state }
      }),
    }
    try {
      for (const listener of this.#listeners) listener(progress)
    } catch (error) {
      this.#failure ??= error
      this.#end()
    }
  }

  #shares(): readonly PeerShare[] {
    return [...this.#sources.values()].flatMap(({ peer, bytes, failures, fault, reason }) =>
      bytes === 0 && failures === 0 && fault === undefined
        ? []
        : { peer, bytes, ...(fault && { fault }), ...(reason !== undefined && { reason }) },
    )
  }

  /** The error of a fetch that no peer could complete. */
  #unavailable(): CtdError {
    const peers = this.#shares()
    const fields = { digest: this.digest, peers }
    const names = peers.map(({ peer, reason }) => `${peer}: ${reason ?? 'gave up'}`).join('; ')
    if (peers.length > 0 && peers.every(({ fault }) => fault === 'too-large')) {
      return tooLarge(this.digest, peers)
    }
    if (peers.some(({ fault }) => fault === 'corrupt')) {
      return new CtdError('BLOB_CORRUPT', `no peer served the right bytes (${names})`, {
        hint: 'find other peers that have it; the named ones serve wrong bytes',
        fields,
      })
    }
    const search = this.#failedSearch === undefined ? '' : `; the search: ${this.#failedSearch}`
    return new CtdError(
      'BLOB_UNAVAILABLE',
      names === ''
        ? `no peer is known to have the blob${search}`
        : `no peer could serve the blob (${names}${search})`,
      { hint: 'try again when a peer that has it is online; verified pieces are kept', fields },
    )
  }
}

export function tooLarge(digest: Digest, peers: readonly PeerShare[]): CtdError {
  return new CtdError('BLOB_TOO_LARGE', 'the blob is larger than allowed here', {
    hint: 'raise the size limit if the blob is wanted',
    fields: { digest, peers },
  })
}

export function assertNotAborted(signal: AbortSignal): void {
  if (!signal.aborted) return
  throw new CtdError('ABORTED', 'the fetch was stopped', { cause: signal.reason })
}
