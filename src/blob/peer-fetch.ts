/**
 * The part of a fetch that one stream to one peer does: learn which pieces the peer has, ask for
 * pieces ahead, check what comes. Requests and answers run beside each other; the peer is dropped
 * when it lies, stalls, or has nothing that is wanted.
 */
import { createHash } from 'node:crypto'
import { CtdError } from '../errors.js'
import { fromHex, toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { ByteStream, Transport } from '../network/transport.js'
import {
  FRAME,
  FRAME_HEADER_BYTES,
  MANIFEST_REQUEST,
  decodeFrameHeader,
  decodeHave,
  encodeRequest,
  isHaveSize,
} from './blob-protocol.js'
import { BLOB_LIMITS } from './limits.js'
import {
  manifestBytesOf,
  parseManifest,
  pieceBytesOf,
  pieceCountOf,
  pieceHashOf,
} from './manifest.js'
import type { Manifest } from './manifest.js'
import { PeerFaultError, peerStep } from './peer-fault.js'
import type { PeerFault } from './peer-fault.js'
import type { PieceSchedule } from './piece-schedule.js'
import { PieceSet, bitmapBytesOf } from './piece-set.js'

/** What the fetch is to its peers. */
export interface FetchHost {
  readonly digest: Digest
  readonly maxBytes: number
  readonly stallMs: number
  readonly target: FetchTarget | undefined
  /** Takes a manifest that is the blob's. @throws CtdError BLOB_TOO_LARGE, DISK_QUOTA */
  onManifest(manifest: Manifest): Promise<FetchTarget>
  /** Stores a piece that is right. */
  onPiece(source: PeerFetch, index: number, piece: Uint8Array): Promise<void>
  /** Waits for the right to ask for so many bytes. */
  mayAsk(bytes: number, signal: AbortSignal): Promise<void>
}

export interface FetchTarget {
  readonly manifest: Manifest
  readonly schedule: PieceSchedule<PeerFetch>
}

/** `waiting` sources have nothing at the moment that is wanted. */
export type SourceState = 'connecting' | 'fetching' | 'waiting'

export class PeerFetch {
  readonly peer: PeerId
  readonly #host: FetchHost
  readonly #ending = new AbortController()
  /** Pieces, and `MANIFEST_REQUEST`; answers come in this order. */
  readonly #asked: number[] = []
  #stream: ByteStream | undefined
  #isReady = false
  /** Claimed from the schedule, waiting for bandwidth. */
  #isClaiming = false
  #receivedBytes = 0
  /** Since when it has owed us something without a pause; when its last bytes came. */
  #owesSinceMs = performance.now()
  #lastBytesMs = performance.now()
  #idleSinceMs = performance.now()
  /** Bytes received at earlier ticks, for the rate. */
  #samples: { readonly atMs: number; readonly bytes: number }[] = []
  /** Ended from outside, not by a failure of its own. */
  #isEnded = false
  #fault: PeerFaultError | undefined
  /** A piece that could not be stored; weighs more than what the peer did meanwhile. */
  #ownFailure: { readonly error: unknown } | undefined
  /** The one for the next piece first. */
  #buffers: readonly [Uint8Array, Uint8Array] = [new Uint8Array(), new Uint8Array()]
  #wake = (): void => {}

  constructor(peer: PeerId, host: FetchHost) {
    this.peer = peer
    this.#host = host
  }

  get state(): SourceState {
    if (!this.#isReady) return 'connecting'
    return this.#asked.length > 0 || this.#isClaiming ? 'fetching' : 'waiting'
  }

  /** Looks for work again, after the schedule has changed. */
  kick(): void {
    this.#wake()
  }

  /** Ends the stream; with a fault where the peer failed. */
  end(fault?: PeerFault, reason = ''): void {
    if (this.#ending.signal.aborted) return
    this.#isEnded = true
    if (fault !== undefined) this.#fault = new PeerFaultError(fault, reason)
    this.#close()
  }

  #close(): void {
    this.#ending.abort()
    this.#stream?.abort(new Error('the fetch needs no more of this stream'))
    this.#wake()
  }

  /**
   * Works until `end`; the caller makes a stream possible and ends all peers of a finished fetch.
   * @throws PeerFaultError where the peer fails, anything else where this side does
   */
  async run(transport: Pick<Transport, 'openStream'>, signal: AbortSignal): Promise<void> {
    const onAbort = (): void => this.end()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      signal.throwIfAborted()
      const watch = setInterval(() => this.#watch(), Math.min(1000, this.#host.stallMs / 4))
      try {
        await this.#work(transport)
        if (this.#ownFailure !== undefined) throw this.#ownFailure.error
      } finally {
        clearInterval(watch)
      }
    } catch (error) {
      if (this.#ownFailure !== undefined) throw this.#ownFailure.error
      if (this.#fault !== undefined) throw this.#fault
      // What fails after the end fails because of it.
      if (!this.#isEnded || !(error instanceof PeerFaultError)) throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#host.target?.schedule.leave(this)
      this.#close()
    }
  }

  /**
   * Bytes per second over the last `windowMs`, of a peer that has owed us bytes all that time and
   * so could have sent more; nothing for others. To be called every second or so.
   */
  rateOver(windowMs: number): number | undefined {
    const nowMs = performance.now()
    this.#samples.push({ atMs: nowMs, bytes: this.#receivedBytes })
    while (this.#samples.length > 2 && (this.#samples[1]?.atMs ?? nowMs) <= nowMs - windowMs) {
      this.#samples.shift()
    }
    const [first] = this.#samples
    if (first === undefined || first.atMs > nowMs - windowMs) return undefined
    if (this.state !== 'fetching' || this.#owesSinceMs > nowMs - windowMs) return undefined
    return ((this.#receivedBytes - first.bytes) * 1000) / (nowMs - first.atMs)
  }

  async #work(transport: Pick<Transport, 'openStream'>): Promise<void> {
    let stream = await this.#open(transport)
    const mustAsk = this.#host.target === undefined
    if (mustAsk) await peerStep(() => stream.write(encodeRequest(MANIFEST_REQUEST)))
    let pieces = await this.#readPieces(stream)
    const manifest = mustAsk ? await this.#readManifest(stream) : undefined
    const target =
      this.#host.target ??
      (manifest === undefined ? undefined : await this.#host.onManifest(manifest))
    if (target === undefined || this.#ending.signal.aborted) return
    const isAgain = mustAsk && isBulky(target.manifest)
    if (isAgain) {
      stream.abort(new Error('the rest comes on another stream'))
      stream = await this.#open(transport)
      pieces = await this.#readPieces(stream)
    }
    const { pieceCount } = target.manifest
    // A server tells of its news only to those it has answered.
    const mustGreet = (!mustAsk || isAgain) && pieces !== 'all'
    const set =
      pieces === 'all' ? PieceSet.full(pieceCount) : PieceSet.fromBitmap(pieces, pieceCount)
    if (set === undefined)
      throw new PeerFaultError('malformed', 'its pieces are not those of the blob')
    target.schedule.join(this, set)
    this.#isReady = true
    const asking = this.#askAll(stream, target, mustGreet)
    // Its failure is met by the reads, which end with the stream.
    asking.catch(() => this.#close())
    try {
      await this.#receiveAll(stream, target)
    } finally {
      this.#close()
    }
    await asking
  }

  /** Opens a stream and asks for the blob; for much of it where that is known. */
  async #open(transport: Pick<Transport, 'openStream'>): Promise<ByteStream> {
    const limit = AbortSignal.any([this.#ending.signal, AbortSignal.timeout(BLOB_LIMITS.openMs)])
    const { target } = this.#host
    const isBulk = target !== undefined && isBulky(target.manifest)
    const stream = await peerStep(() => transport.openStream(this.peer, limit, { isBulk }))
    this.#stream = stream
    if (this.#ending.signal.aborted) this.#close()
    this.#owesSinceMs = this.#lastBytesMs = this.#idleSinceMs = performance.now()
    await peerStep(() => stream.write(fromHex(this.#host.digest)))
    return stream
  }

  /** The first frame: all pieces, or the bitmap of some. */
  async #readPieces(stream: ByteStream): Promise<'all' | Uint8Array> {
    const { kind, sizeBytes } = await this.#readHeader(stream)
    if (kind === FRAME.ALL && sizeBytes === 0) return 'all'
    if (kind !== FRAME.SOME) throw new PeerFaultError('malformed', `its first frame is a ${kind}`)
    const pieceCount = this.#host.target?.manifest.pieceCount ?? pieceCountOf(this.#host.maxBytes)
    if (sizeBytes > bitmapBytesOf(pieceCount)) {
      throw new PeerFaultError('too-large', `it says it has ${sizeBytes * 8} pieces`)
    }
    return this.#read(stream, sizeBytes)
  }

  async #readManifest(stream: ByteStream): Promise<Manifest> {
    const { kind, sizeBytes } = await this.#readHeader(stream)
    if (kind !== FRAME.ANSWER) throw new PeerFaultError('malformed', 'it sent no manifest')
    if (sizeBytes > manifestBytesOf(this.#host.maxBytes)) {
      throw new PeerFaultError('too-large', `its manifest has ${sizeBytes} bytes`)
    }
    return manifestOf(await this.#read(stream, sizeBytes), this.#host.digest)
  }

  async #askAll(
    stream: ByteStream,
    { manifest, schedule }: FetchTarget,
    mustGreet: boolean,
  ): Promise<void> {
    const { signal } = this.#ending
    let isGreeted = !mustGreet
    while (!signal.aborted) {
      const index = this.#nextPiece(schedule)
      if (index === undefined && !isGreeted && this.#asked.length === 0) {
        // It has nothing that is wanted yet: the manifest is the cheapest thing to be answered.
        isGreeted = true
        this.#owesSinceMs = performance.now()
        this.#asked.push(MANIFEST_REQUEST)
        await peerStep(() => stream.write(encodeRequest(MANIFEST_REQUEST)))
        continue
      }
      if (index === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        continue
      }
      this.#isClaiming = true
      await this.#host.mayAsk(pieceBytesOf(manifest, index), signal).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
      this.#isClaiming = false
      if (signal.aborted) return
      if (this.#asked.length === 0) this.#owesSinceMs = performance.now()
      this.#asked.push(index)
      isGreeted = true
      await peerStep(() => stream.write(encodeRequest(index)))
    }
  }

  #nextPiece(schedule: PieceSchedule<PeerFetch>): number | undefined {
    if (this.#asked.length >= this.#requestsAhead()) return undefined
    const nowMs = performance.now()
    const index = schedule.take(this, nowMs)
    if (index !== undefined || this.#asked.length > 0) return index
    return schedule.second(this, nowMs - BLOB_LIMITS.secondAskMs)
  }

  /** Half a second ahead at the rate measured, so that neither side waits for the other. */
  #requestsAhead(): number {
    const { requestsAheadMin, requestsAheadFirst, requestsAheadMax, pieceBytes } = BLOB_LIMITS
    const [first] = this.#samples
    if (first === undefined || this.#receivedBytes === first.bytes) return requestsAheadFirst
    const seconds = (performance.now() - first.atMs) / 1000
    const ahead = ((this.#receivedBytes - first.bytes) / seconds) * 0.5
    return Math.min(requestsAheadMax, Math.max(requestsAheadMin, Math.ceil(ahead / pieceBytes)))
  }

  async #receiveAll(stream: ByteStream, { manifest, schedule }: FetchTarget): Promise<void> {
    let storing: Promise<void> = Promise.resolve()
    try {
      while (!this.#ending.signal.aborted) {
        const { kind, sizeBytes } = await this.#readHeader(stream)
        if (kind === FRAME.HAVE) {
          await this.#receiveHave(stream, sizeBytes, schedule)
          continue
        }
        const index = this.#asked[0]
        if (kind !== FRAME.ANSWER || index === undefined) {
          throw new PeerFaultError('malformed', `it sent a frame of kind ${kind} unasked`)
        }
        if (index === MANIFEST_REQUEST) {
          if (sizeBytes !== manifest.bytes.length) {
            throw new PeerFaultError('malformed', `its manifest has ${sizeBytes} bytes`)
          }
          manifestOf(await this.#read(stream, sizeBytes), this.#host.digest)
          this.#onAnswered()
          continue
        }
        const piece = await this.#receivePiece(stream, { manifest, index, sizeBytes })
        // One piece is being written while the next one comes, and no more.
        await storing
        storing = this.#host.onPiece(this, index, piece).catch((error: unknown) => {
          this.#ownFailure = { error }
          this.#close()
        })
        this.#onAnswered()
      }
    } finally {
      await storing
    }
  }

  #onAnswered(): void {
    this.#asked.shift()
    if (this.#asked.length === 0) this.#idleSinceMs = performance.now()
    this.#wake()
  }

  async #receiveHave(
    stream: ByteStream,
    sizeBytes: number,
    schedule: PieceSchedule<PeerFetch>,
  ): Promise<void> {
    if (!isHaveSize(sizeBytes)) {
      throw new PeerFaultError('malformed', `it told of pieces in ${sizeBytes} bytes`)
    }
    for (const index of decodeHave(await this.#read(stream, sizeBytes))) {
      // Each piece can be told once, so what a peer can tell is bounded by the manifest.
      if (!schedule.gained(this, index)) {
        throw new PeerFaultError('malformed', `it told of piece ${index} again or of none`)
      }
    }
    this.#wake()
  }

  async #receivePiece(
    stream: ByteStream,
    { manifest, index, sizeBytes }: { manifest: Manifest; index: number; sizeBytes: number },
  ): Promise<Uint8Array> {
    const expected = toHex(pieceHashOf(manifest, index))
    if (sizeBytes !== pieceBytesOf(manifest, index)) {
      const reason = `piece ${index} has ${sizeBytes} bytes`
      throw new PeerFaultError('corrupt', reason, { piece: index, expected, sizeBytes })
    }
    const piece = this.#pieceBuffer(sizeBytes)
    await this.#readInto(stream, piece)
    const got = createHash('sha256').update(piece).digest('hex')
    if (got === expected) return piece
    const reason = `piece ${index} has other bytes than its hash`
    throw new PeerFaultError('corrupt', reason, { piece: index, expected, got, sizeBytes })
  }

  async #readHeader(stream: ByteStream): Promise<{ kind: number; sizeBytes: number }> {
    const header = decodeFrameHeader(await this.#read(stream, FRAME_HEADER_BYTES))
    if (header.kind === FRAME.UNKNOWN_BLOB) {
      throw new PeerFaultError('unknown-blob', 'it does not have the blob')
    }
    if (header.kind === FRAME.BUSY) throw new PeerFaultError('busy', 'it is busy')
    if (header.kind === FRAME.BAD_REQUEST) {
      throw new PeerFaultError('malformed', 'it refused a request as malformed')
    }
    return header
  }

  /** Memory for a piece: one of two by turns, of which the other may still be being written. */
  #pieceBuffer(sizeBytes: number): Uint8Array {
    const [next, other] = this.#buffers
    const buffer = next.length >= sizeBytes ? next : Buffer.allocUnsafeSlow(sizeBytes)
    this.#buffers = [other, buffer]
    return buffer.subarray(0, sizeBytes)
  }

  async #read(stream: ByteStream, sizeBytes: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(sizeBytes)
    await this.#readInto(stream, bytes)
    return bytes
  }

  /** Reads in parts, so that it shows when they stop coming. */
  async #readInto(stream: ByteStream, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += BLOB_LIMITS.readBytes) {
      const part = bytes.subarray(at, at + BLOB_LIMITS.readBytes)
      await peerStep(() => stream.readInto(part))
      this.#receivedBytes += part.length
      this.#lastBytesMs = performance.now()
    }
  }

  #watch(): void {
    const nowMs = performance.now()
    if (!this.#isReady || this.#asked.length > 0) {
      const sinceMs = Math.max(this.#owesSinceMs, this.#lastBytesMs)
      if (nowMs - sinceMs >= this.#host.stallMs) this.end('stalled', 'it sent nothing for long')
    } else if (!this.#isClaiming && nowMs - this.#idleSinceMs >= BLOB_LIMITS.idleMs) {
      this.end('idle', 'it has nothing that is still wanted')
    }
  }
}

/** Whether it is worth a connection of its own. */
function isBulky({ sizeBytes }: Manifest): boolean {
  return sizeBytes >= BLOB_LIMITS.bulkBytes
}

/** @throws PeerFaultError for bytes that are not the manifest of the blob */
function manifestOf(bytes: Uint8Array, digest: Digest): Manifest {
  try {
    const manifest = parseManifest(bytes)
    if (manifest.digest === digest) return manifest
  } catch (error) {
    if (!(error instanceof CtdError)) throw error
  }
  throw new PeerFaultError('corrupt', 'its manifest is not that of the blob', {
    expected: digest,
    got: createHash('sha256').update(bytes).digest('hex'),
    sizeBytes: bytes.length,
  })
}
