/**
 * What peers open towards us: requests and blob streams, each within bounds on how many run at
 * once and, for requests, on how often one peer may ask.
 */
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { toPeerId } from './address.js'
import { createByteStream } from './byte-stream.js'
import { CONTROL_PROTOCOL, answerOver } from './control-protocol.js'
import { NETWORK_LIMITS } from './limits.js'
import { TokenBuckets } from './token-buckets.js'
import type { PeerId } from '../wire/ids.js'
import type { ByteStream, RequestHandler, StreamHandler } from './transport.js'

export const BLOB_PROTOCOL = '/ctd/2/blob'

export interface InboundStreamsOptions {
  readonly requestsPerSecondPerPeer: number
  readonly onWarning: (code: string, error: unknown) => void
  /** Told how many bytes come or go over streams of blobs, as they do. */
  readonly onBytes: ((count: number) => void) | undefined
}

export class InboundStreams {
  requestHandler: RequestHandler | undefined
  streamHandler: StreamHandler | undefined
  readonly #buckets: TokenBuckets
  readonly #onWarning: (code: string, error: unknown) => void
  readonly #onBytes: ((count: number) => void) | undefined
  #requestsInFlight = 0
  #streamsInFlight = 0

  constructor(options: InboundStreamsOptions) {
    const perSecond = options.requestsPerSecondPerPeer
    this.#buckets = new TokenBuckets({ perSecond, burst: 4 * perSecond })
    this.#onWarning = options.onWarning
    this.#onBytes = options.onBytes
  }

  /** Registers both protocols on a node; `stopping` ends what is being answered. */
  async register(node: Pick<Libp2p, 'handle'>, stopping: AbortSignal): Promise<void> {
    await node.handle(
      CONTROL_PROTOCOL,
      (stream, connection) => this.#onControlStream(stream, connection, stopping),
      { maxInboundStreams: 16, maxOutboundStreams: 32 },
    )
    await node.handle(
      BLOB_PROTOCOL,
      (stream, connection) => this.#onBlobStream(stream, connection),
      { maxInboundStreams: 16, maxOutboundStreams: 16 },
    )
  }

  async #onControlStream(
    stream: Stream,
    connection: Connection,
    stopping: AbortSignal,
  ): Promise<void> {
    const handler = this.requestHandler
    const peer = toPeerId(connection.remotePeer)
    const busy = this.#requestsInFlight >= NETWORK_LIMITS.requestsInFlight
    if (handler === undefined || peer === undefined || busy || !this.#buckets.take(peer)) {
      return stream.abort(new Error('not serving this request'))
    }
    this.#requestsInFlight += 1
    try {
      const limit = AbortSignal.any([stopping, AbortSignal.timeout(NETWORK_LIMITS.requestMs)])
      await answerOver(stream, (bytes) => handler(bytes, peer), limit)
    } catch (error) {
      stream.abort(asError(error))
      this.#onWarning('REQUEST_FAILED', error)
    } finally {
      this.#requestsInFlight -= 1
    }
  }

  async #onBlobStream(stream: Stream, connection: Connection): Promise<void> {
    const peer = toPeerId(connection.remotePeer)
    if (peer === undefined) return stream.abort(new Error('not serving this stream'))
    await this.serve(createByteStream(stream, this.#onBytes), peer)
  }

  /** Serves a stream of blobs, wherever it came from. */
  readonly serve = async (bytes: ByteStream, peer: PeerId): Promise<void> => {
    const handler = this.streamHandler
    const busy = this.#streamsInFlight >= NETWORK_LIMITS.streamsInFlight
    if (handler === undefined || busy) return bytes.abort(new Error('not serving this stream'))
    this.#streamsInFlight += 1
    try {
      await handler(bytes, peer)
      await bytes.close()
    } catch (error) {
      bytes.abort(asError(error))
    } finally {
      this.#streamsInFlight -= 1
    }
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
