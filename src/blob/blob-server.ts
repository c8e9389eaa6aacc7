/**
 * Serves held blobs to peers: the handler of inbound blob streams. Bounded in streams, in idle
 * time, in requests per stream and in bytes per second.
 */
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { parseDigest, toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { ByteStream } from '../network/transport.js'
import { BandwidthLimiter } from './bandwidth-limiter.js'
import {
  ANSWER,
  DIGEST_BYTES,
  MANIFEST_REQUEST,
  REQUEST_BYTES,
  decodeRequest,
  encodeAnswerHeader,
  withDeadline,
} from './blob-protocol.js'
import type { BlobStore } from './blob-store.js'
import { BLOB_LIMITS } from './limits.js'
import { pieceBytesOf } from './manifest.js'
import type { Manifest } from './manifest.js'

export interface BlobServerOptions {
  readonly maxUploadBytesPerSecond?: number
  /** Whether a peer may have a blob; everybody may have everything where absent. */
  readonly mayServe?: (digest: Digest, peer: PeerId) => boolean
}

export class BlobServer {
  readonly #store: BlobStore
  readonly #mayServe: (digest: Digest, peer: PeerId) => boolean
  readonly #upload: BandwidthLimiter
  readonly #stopping = new AbortController()
  #streams = 0
  #servedBytes = 0

  constructor(components: { readonly store: BlobStore }, options: BlobServerOptions = {}) {
    this.#store = components.store
    this.#mayServe = options.mayServe ?? (() => true)
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
    if (this.#streams >= BLOB_LIMITS.serveStreams) return refuse(stream, ANSWER.BUSY)
    this.#streams += 1
    try {
      const head = stream.read(DIGEST_BYTES)
      const digest = parseDigest(toHex(await withDeadline(stream, BLOB_LIMITS.serveIdleMs, head)))
      if (!this.#store.has(digest) || !this.#mayServe(digest, from)) {
        return await refuse(stream, ANSWER.UNKNOWN_BLOB)
      }
      const manifest = await this.#store.readManifest(digest)
      const file = await open(this.#store.path(digest))
      try {
        await this.#answerAll(stream, manifest, file)
      } finally {
        await file.close()
      }
    } finally {
      this.#streams -= 1
    }
  }

  async #answerAll(stream: ByteStream, manifest: Manifest, file: FileHandle): Promise<void> {
    const mostRequests = BLOB_LIMITS.serveRequestsPerPiece * (manifest.pieceCount + 4)
    for (let count = 0; count < mostRequests; count += 1) {
      const request = await nextRequest(stream)
      if (request === undefined) return
      if (this.#upload.backlogMs > BLOB_LIMITS.serveBacklogMs) return refuse(stream, ANSWER.BUSY)
      if (request !== MANIFEST_REQUEST && request >= manifest.pieceCount) {
        return refuse(stream, ANSWER.BAD_REQUEST)
      }
      const bytes =
        request === MANIFEST_REQUEST ? manifest.bytes : await readPiece(file, manifest, request)
      await this.#upload.take(bytes.length, this.#stopping.signal)
      await stream.write(encodeAnswerHeader({ status: ANSWER.OK, sizeBytes: bytes.length }))
      await stream.write(bytes)
      this.#servedBytes += bytes.length
    }
    await refuse(stream, ANSWER.BUSY)
  }
}

async function refuse(stream: ByteStream, status: number): Promise<void> {
  await stream.write(encodeAnswerHeader({ status, sizeBytes: 0 }))
}

/** The next request, or nothing at the end of the stream, which is how every asker leaves. */
async function nextRequest(stream: ByteStream): Promise<number | undefined> {
  try {
    const bytes = stream.read(REQUEST_BYTES)
    return decodeRequest(await withDeadline(stream, BLOB_LIMITS.serveIdleMs, bytes))
  } catch {
    return undefined
  }
}

/** A piece as it is on disk; a shorter file gives fewer bytes, which the asker will refuse. */
async function readPiece(file: FileHandle, manifest: Manifest, index: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(pieceBytesOf(manifest, index))
  const { bytesRead } = await file.read(bytes, 0, bytes.length, index * BLOB_LIMITS.pieceBytes)
  return bytes.subarray(0, bytesRead)
}
