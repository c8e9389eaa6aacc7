/** The peers that may have a blob while it is fetched: whom to ask next, whom later, whom never. */
import type { PeerId } from '../wire/ids.js'
import type { FetchSource } from './fetch-progress.js'
import { BLOB_LIMITS } from './limits.js'
import type { PeerFault, PeerFaultError } from './peer-fault.js'
import type { ProviderStandings } from './provider-standing.js'
import type { PeerFetch } from './peer-fetch.js'

export interface PeerShare {
  readonly peer: PeerId
  readonly bytes: number
  readonly fault?: PeerFault
  readonly reason?: string
}

/** A peer that may have the blob. */
export interface Source {
  readonly peer: PeerId
  bytes: number
  /** Since it last gave something. */
  failures: number
  readyAtMs: number
  fault?: PeerFault
  reason?: string
  fetch?: PeerFetch
}

export interface SourcesOptions {
  /** How long a peer that failed once is left alone, milliseconds; twice as long each time. */
  readonly retryMs: number
  /** Whether the fetch waits for peers rather than end without them. */
  readonly isPatient: boolean
}

export class Sources {
  readonly #standings: ProviderStandings
  readonly #options: SourcesOptions
  readonly #sources = new Map<PeerId, Source>()

  constructor(standings: ProviderStandings, options: SourcesOptions) {
    this.#standings = standings
    this.#options = options
  }

  get(peer: PeerId): Source | undefined {
    return this.#sources.get(peer)
  }

  /** Remembers a peer. @returns false for one that is known, or for which there is no room */
  add(peer: PeerId): boolean {
    if (this.#sources.has(peer)) return false
    if (this.#sources.size >= BLOB_LIMITS.providersPerFetch && !this.#forgetWorst()) return false
    const source: Source = { peer, bytes: 0, failures: 0, readyAtMs: 0 }
    if (this.#standings.isAvoided(peer)) {
      source.fault = 'corrupt'
      source.reason = 'it sent wrong bytes of late'
    }
    this.#sources.set(peer, source)
    return true
  }

  /** Those that are being asked. */
  active(): readonly PeerFetch[] {
    return [...this.#sources.values()].flatMap(({ fetch }) => fetch ?? [])
  }

  /** Those that may be asked now: fresh ones first, then those that failed least. */
  ready(nowMs: number): readonly Source[] {
    const isAlone = this.active().length === 0
    return (
      [...this.#sources.values()]
        .filter((source) => source.fetch === undefined && this.#mayRetry(source, isAlone))
        .filter(({ readyAtMs, fault }) => readyAtMs <= nowMs || (isAlone && fault === 'slow'))
        // Here and in other fetches.
        .sort((a, b) => this.#failuresOf(a) - this.#failuresOf(b))
    )
  }

  /** How long until one that failed may be asked again, milliseconds. */
  nextReadyMs(nowMs: number): number {
    const waits = [...this.#sources.values()]
      .filter(({ fetch, fault, readyAtMs }) => !fetch && fault !== undefined && readyAtMs > nowMs)
      .map(({ readyAtMs }) => readyAtMs - nowMs)
    return Math.min(Infinity, ...waits)
  }

  onPiece(source: Source, bytes: number): void {
    source.bytes += bytes
    source.failures = 0
    this.#standings.onPiece(source.peer, bytes)
  }

  onFault(source: Source, { fault, message: reason }: PeerFaultError): void {
    source.fault = fault
    source.reason = reason
    source.failures += 1
    const firstMs = fault === 'slow' ? BLOB_LIMITS.slowRetryMs : this.#options.retryMs
    const waitMs = Math.min(BLOB_LIMITS.retryMaxMs, firstMs * 2 ** (source.failures - 1))
    source.readyAtMs = performance.now() + waitMs
    this.#standings.onFault(source.peer, fault)
  }

  /** True where nobody is asked or worth asking again. */
  get isExhausted(): boolean {
    if (this.active().length > 0) return false
    return [...this.#sources.values()].every((source) => !this.#mayRetry(source, true))
  }

  /** What each gave, and why it was left. */
  shares(): readonly PeerShare[] {
    return [...this.#sources.values()].flatMap(({ peer, bytes, failures, fault, reason }) =>
      bytes === 0 && failures === 0 && fault === undefined
        ? []
        : { peer, bytes, ...(fault && { fault }), ...(reason !== undefined && { reason }) },
    )
  }

  /** What each does now. */
  views(): readonly FetchSource[] {
    return [...this.#sources.values()].flatMap(({ peer, bytes, fetch, fault }) => {
      const state = fetch?.state ?? fault
      return state === undefined ? [] : { peer, bytes, state }
    })
  }

  #failuresOf({ peer, failures }: Source): number {
    return failures + this.#standings.burdenOf(peer)
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
    if (this.#options.isPatient) return true
    return source.fault !== 'unknown-blob' && source.failures < BLOB_LIMITS.attemptsPerPeer
  }

  /** Makes room for a new provider by forgetting one that gave nothing. */
  #forgetWorst(): boolean {
    const worst = [...this.#sources.values()]
      .filter(({ fetch, bytes, failures }) => fetch === undefined && bytes === 0 && failures > 0)
      .sort((a, b) => b.failures - a.failures)[0]
    return worst !== undefined && this.#sources.delete(worst.peer)
  }
}
