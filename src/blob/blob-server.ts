/**
 * Serves blobs to peers: the handler of inbound blob streams. A blob that is still being fetched is
 * served too, as far as it is verified, and askers are told of what comes to it. Bounded in
 * streams, in idle time, in requests per stream and in bytes per second.
 */
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { parseDigest, toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { ByteStream } from '../network/transport.js'
import { BandwidthLimiter } from './bandwidth-limiter.js'
import {
  DIGEST_BYTES,
  FRAME,
  FRAME_HEADER_BYTES,
  MANIFEST_REQUEST,
  REQUEST_BYTES,
  decodeRequest,
  encodeFrame,
  encodeHave,
  setFrameHeader,
  withDeadline,
} from './blob-protocol.js'
import type { BlobStore } from './blob-store.js'
import { BLOB_LIMITS } from './limits.js'
import { isPiece, pieceBytesOf } from './manifest.js'
import type { Manifest } from './manifest.js'
import type { PartialBlob } from './partial-blob.js'
import { VerifiedLately } from './verified-lately.js'

export interface BlobServerOptions {
  readonly maxUploadBytesPerSecond?: number
  /** Whether a peer may have a blob; everybody may have everything where absent. */
  readonly mayServe?: (digest: Digest, peer: PeerId) => boolean
  /**
   * Whose upload it is: flows share the upload rate equally. Each peer is one where absent; the
   * job for whose sake the blob is held is another choice.
   */
  readonly flowOf?: (digest: Digest, peer: PeerId) => string
  /** Told of a blob of which the disk gave back other bytes; nobody was sent them. */
  readonly onRot?: (digest: Digest) => void
}

/** What one stream serves from. */
interface Served {
  readonly manifest: Manifest
  readonly file: FileHandle
  /** Absent for a whole blob. */
  readonly partial: PartialBlob | undefined
  readonly flow: string
}

export class BlobServer {
  readonly #store: BlobStore
  readonly #mayServe: (digest: Digest, peer: PeerId) => boolean
  readonly #flowOf: (digest: Digest, peer: PeerId) => string
  readonly #upload: BandwidthLimiter
  readonly #onRot: (digest: Digest) => void
  readonly #verified = new VerifiedLately()
  readonly #stopping = new AbortController()
  #streams = 0
  #servedBytes = 0

  constructor(components: { readonly store: BlobStore }, options: BlobServerOptions = {}) {
    this.#store = components.store
    this.#mayServe = options.mayServe ?? (() => true)
    this.#flowOf = options.flowOf ?? ((_, peer) => peer)
    this.#onRot = options.onRot ?? (() => {})
    this.#upload = new BandwidthLimiter(options.maxUploadBytesPerSecond ?? Infinity)
  }

  /** Bytes of manifests and pieces sent since the start. */
  get servedBytes(): number {
    return this.#servedBytes
  }

  /** Ends waits for bandwidth; streams end with their transport. */
  stop(): void {
    this.#stopping.abort()
  }

  /** To be given to `Transport.onStream`. */
  readonly serve = async (stream: ByteStream, from: PeerId): Promise<void> => {
    if (this.#streams >= BLOB_LIMITS.serveStreams) return refuse(stream, FRAME.BUSY)
    if (this.#upload.backlogMs > BLOB_LIMITS.serveBacklogMs) return refuse(stream, FRAME.BUSY)
    this.#streams += 1
    try {
      const head = stream.read(DIGEST_BYTES)
      const digest = parseDigest(toHex(await withDeadline(stream, BLOB_LIMITS.serveIdleMs, head)))
      const served = this.#mayServe(digest, from) ? await this.#open(digest, from) : undefined
      if (served === undefined) return await refuse(stream, FRAME.UNKNOWN_BLOB)
      try {
        await this.#answerAll(stream, served)
      } finally {
        await served.file.close()
      }
    } finally {
      this.#streams -= 1
    }
  }

  /** Opens the blob, whole or as far as it is; it may be removed while it is served. */
  async #open(digest: Digest, from: PeerId): Promise<Served | undefined> {
    const flow = this.#flowOf(digest, from)
    if (this.#store.has(digest)) {
      const file = await openUnlessGone(this.#store.path(digest))
      if (file === undefined) return undefined
      try {
        return { manifest: await this.#store.readManifest(digest), file, partial: undefined, flow }
      } catch (error) {
        await file.close()
        throw error
      }
    }
    const partial = this.#store.openedPartial(digest)
    if (partial === undefined) return undefined
    const file = await openUnlessGone(partial.path)
    return file === undefined ? undefined : { manifest: partial.manifest, file, partial, flow }
  }

  async #answerAll(stream: ByteStream, served: Served): Promise<void> {
    const { manifest, partial } = served
    const send = inTurn((frame) => stream.write(frame))
    const frames = new Frames(stream.isCopying)
    let told = partial?.gained.length ?? 0
    await send(
      partial === undefined || partial.complete
        ? encodeFrame(FRAME.ALL)
        : encodeFrame(FRAME.SOME, partial.bitmap),
    )
    let telling = false
    const tell = async (gained: readonly number[]): Promise<void> => {
      if (telling || told >= gained.length) return
      telling = true
      const news = gained.slice(told, told + BLOB_LIMITS.piecesPerHave)
      told += news.length
      await send(encodeHave(news))
      telling = false
    }
    let teller: NodeJS.Timeout | undefined
    // While one answer is sent the next one is read from the disk, and no more.
    let sending: Promise<void> = Promise.resolve()
    try {
      const mostRequests = BLOB_LIMITS.serveRequestsPerPiece * (manifest.pieceCount + 4)
      for (let count = 0; count < mostRequests; count += 1) {
        const request = await nextRequest(stream, sending)
        if (request === undefined) return await sending
        const answer = await this.#answerTo(request, served, frames)
        await sending
        sending = send(answer)
        if (answer[0] !== FRAME.ANSWER) return await sending
        // It is met by the next wait for it.
        sending.catch(() => {})
        this.#servedBytes += answer.length - FRAME_HEADER_BYTES
        if (partial === undefined || teller !== undefined) continue
        // A stream that fails while it is told of news fails at its next request as well.
        teller = setInterval(() => void tell(partial.gained).catch(() => {}), BLOB_LIMITS.haveMs)
      }
      await send(encodeFrame(FRAME.BUSY))
    } finally {
      clearInterval(teller)
    }
  }

  /** The frame that answers a request; whatever cannot be answered is refused. */
  async #answerTo(request: number, served: Served, frames: Frames): Promise<Uint8Array> {
    const { manifest, partial, flow } = served
    const { signal } = this.#stopping
    if (request === MANIFEST_REQUEST) {
      await this.#upload.take(manifest.bytes.length, flow, signal)
      return encodeFrame(FRAME.ANSWER, manifest.bytes)
    }
    const hasPiece = request < manifest.pieceCount && partial?.has(request) !== false
    if (!hasPiece) return encodeFrame(FRAME.BAD_REQUEST)
    await this.#upload.take(pieceBytesOf(manifest, request), flow, signal)
    return this.#readPiece(served, request, frames.next(pieceBytesOf(manifest, request)))
  }

  /**
   * A piece as it was when it was stored, or a refusal. Who sends bytes that a disk has changed is
   * taken for a liar, so they are compared with their hash before they leave.
   */
  async #readPiece(
    { manifest, file, partial }: Served,
    index: number,
    frame: Uint8Array,
  ): Promise<Uint8Array> {
    const sizeBytes = frame.length - FRAME_HEADER_BYTES
    const at = index * BLOB_LIMITS.pieceBytes
    // A disk may also refuse to read: that is rot like any other.
    const { bytesRead } = await file
      .read(frame, FRAME_HEADER_BYTES, sizeBytes, at)
      .catch(() => ({ bytesRead: 0 }))
    const piece = frame.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + bytesRead)
    const isKnown = bytesRead === sizeBytes && this.#verified.has(manifest, index)
    if (!isKnown && !isPiece(manifest, index, piece)) {
      if (partial === undefined) this.#onRot(manifest.digest)
      return encodeFrame(FRAME.UNKNOWN_BLOB)
    }
    this.#verified.add(manifest, index)
    setFrameHeader(frame, FRAME.ANSWER)
    return frame
  }
}

/** Memory for the frames of one stream, of which one is sent while the next is read. */
class Frames {
  readonly #isReused: boolean
  /** The one for the next frame first. */
  #buffers: readonly [Uint8Array, Uint8Array] = [new Uint8Array(), new Uint8Array()]

  constructor(isReused: boolean) {
    this.#isReused = isReused
  }

  /** Every byte of it is to be written before it is sent. */
  next(pieceBytes: number): Uint8Array {
    const sizeBytes = FRAME_HEADER_BYTES + pieceBytes
    const [next, other] = this.#buffers
    const isFit = this.#isReused && next.length >= sizeBytes
    const buffer = isFit ? next : new Uint8Array(Buffer.allocUnsafeSlow(sizeBytes).buffer)
    this.#buffers = [other, buffer]
    return buffer.subarray(0, sizeBytes)
  }
}

async function refuse(stream: ByteStream, kind: number): Promise<void> {
  await stream.write(encodeFrame(kind))
}

/** Runs one write after the other, so that frames do not mix. */
function inTurn(write: (frame: Uint8Array) => Promise<void>): typeof write {
  let last: Promise<void> = Promise.resolve()
  return (frame) => {
    last = last.then(() => write(frame))
    return last
  }
}

async function openUnlessGone(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path)
  } catch (error) {
    if (error instanceof Error && Reflect.get(error, 'code') === 'ENOENT') return undefined
    throw error
  }
}

/**
 * The next request, or nothing at the end of the stream, which is how every asker leaves. One that
 * is still being sent an answer is not idle.
 */
async function nextRequest(
  stream: ByteStream,
  sending: Promise<void>,
): Promise<number | undefined> {
  try {
    const bytes = stream.read(REQUEST_BYTES)
    bytes.catch(() => {})
    await Promise.race([bytes, sending])
    return decodeRequest(await withDeadline(stream, BLOB_LIMITS.serveIdleMs, bytes))
  } catch {
    return undefined
  }
}
