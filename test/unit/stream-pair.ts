/** Blob streams in memory: both ends of one, and a network of peers that serve over them. */
import { CtdError } from '../../src/errors.js'
import type { ByteStream, StreamHandler } from '../../src/network/transport.js'
import { peerIdFromPublicKey, sha256, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'

const HIGH_BYTES = 4 * 1024 * 1024

/** One direction of a stream. */
class Pipe {
  #chunks: Uint8Array[] = []
  #bytes = 0
  #ended = false
  #failure: Error | undefined
  #wake: (() => void)[] = []

  async read(n: number): Promise<Uint8Array> {
    while (this.#bytes < n) {
      if (this.#failure !== undefined || this.#ended) throw ended(this.#failure)
      await this.#changed()
    }
    const all = this.#chunks.length === 1 ? (this.#chunks[0] ?? new Uint8Array()) : this.#joined()
    this.#chunks = n < all.length ? [all.subarray(n)] : []
    this.#bytes -= n
    this.#kick()
    return all.subarray(0, n)
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined || this.#ended) throw ended(this.#failure)
    if (bytes.length > 0) this.#chunks.push(bytes)
    this.#bytes += bytes.length
    this.#kick()
    while (this.#bytes > HIGH_BYTES && this.#failure === undefined) await this.#changed()
  }

  end(error?: Error): void {
    this.#ended = true
    this.#failure ??= error
    this.#kick()
  }

  #joined(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#chunks))
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve))
  }

  #kick(): void {
    const wake = this.#wake
    this.#wake = []
    for (const resolve of wake) resolve()
  }
}

function ended(cause: unknown): CtdError {
  return new CtdError('STREAM_ENDED', 'the peer ended the stream', { cause })
}

/** Two ends of one stream. */
export function createStreamPair(): [ByteStream, ByteStream] {
  const [there, back] = [new Pipe(), new Pipe()]
  const endOf = (out: Pipe, into: Pipe): ByteStream => ({
    isCopying: false,
    read: (n) => into.read(n),
    readInto: async (bytes) => bytes.set(await into.read(bytes.length)),
    write: (bytes) => out.write(bytes),
    close: async () => out.end(),
    abort: (error) => {
      out.end(error)
      into.end(error)
    },
  })
  return [endOf(there, back), endOf(back, there)]
}

export function peerOf(name: string): PeerId {
  return peerIdFromPublicKey(sha256(utf8(name)))
}

/** A network in which every peer is a handler; counts the streams opened to each. */
export class MemoryNetwork {
  readonly opened = new Map<PeerId, number>()
  readonly #handlers = new Map<PeerId, StreamHandler>()

  serve(name: string, handler: StreamHandler): PeerId {
    const peer = peerOf(name)
    this.#handlers.set(peer, handler)
    return peer
  }

  forget(name: string): void {
    const peer = peerOf(name)
    this.#handlers.delete(peer)
    this.opened.delete(peer)
  }

  /** The port of one peer. */
  transportOf(name: string): { openStream: (peer: PeerId) => Promise<ByteStream> } {
    return {
      openStream: async (peer) => {
        const handler = this.#handlers.get(peer)
        if (handler === undefined) throw new CtdError('PEER_UNREACHABLE', `no such peer: ${peer}`)
        this.opened.set(peer, (this.opened.get(peer) ?? 0) + 1)
        const [near, far] = createStreamPair()
        handler(far, peerOf(name)).then(
          () => far.close(),
          (error: unknown) => far.abort(error instanceof Error ? error : new Error(String(error))),
        )
        return near
      },
    }
  }
}
