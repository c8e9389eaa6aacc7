/** A TLS connection as a `ByteStream`. */
import type { TLSSocket } from 'node:tls'
import { NETWORK_LIMITS } from './limits.js'
import { ReadQueue, allocate, streamEnded } from './read-queue.js'
import type { ByteStream } from './transport.js'

const READ_BUFFER_BYTES = 64 * 1024

export interface SocketReads {
  /**
   * node:net's option of that name, for a socket that is still to be made: it then reads into the
   * same memory again and again.
   */
  readonly onread: {
    readonly buffer: Uint8Array
    readonly callback: (count: number, buffer: Uint8Array) => boolean
  }
  /** To be called with the socket before it can have read anything. */
  attach(socket: TLSSocket): ByteStream
}

/** The reading side of a socket, made before the socket is. */
export function prepareReads(): SocketReads {
  let socket: TLSSocket | undefined
  const queue = new ReadQueue({
    pause: () => socket?.pause(),
    resume: () => socket?.resume(),
    hasMore: () => false,
    // The system holds what comes beyond it, at no cost to us: here each byte would be copied.
    highBytes: NETWORK_LIMITS.socketQueueBytes,
    lowBytes: NETWORK_LIMITS.socketQueueBytes,
  })
  return {
    onread: {
      buffer: new Uint8Array(READ_BUFFER_BYTES),
      callback: (count, buffer) => {
        queue.pushBorrowed(buffer.subarray(0, count))
        return true
      },
    },
    attach(made) {
      socket = made
      return createSocketStream(made, queue)
    },
  }
}

function createSocketStream(socket: TLSSocket, queue: ReadQueue): ByteStream {
  socket.on('data', (bytes: Uint8Array) => queue.push(bytes))
  socket.on('end', () => queue.end())
  socket.on('error', (error) => queue.end(error))
  socket.on('close', () => queue.end())

  const abort = (error: Error): void => {
    queue.end(error)
    socket.destroy()
  }
  /** Resolves when the system has taken the bytes; a peer that takes none for long is dropped. */
  const send = async (bytes: Uint8Array): Promise<void> => {
    if (socket.destroyed) throw streamEnded(undefined)
    const tooLong = new Error('the peer takes no bytes')
    const timer = setTimeout(() => abort(tooLong), NETWORK_LIMITS.streamDrainMs)
    try {
      await new Promise<void>((resolve, reject) => {
        const onClose = (): void => reject(streamEnded(undefined))
        socket.once('close', onClose)
        socket.write(bytes, (error) => {
          socket.off('close', onClose)
          if (error) reject(streamEnded(error))
          else resolve()
        })
      })
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    isCopying: true,

    async read(n) {
      const into = allocate(n)
      await queue.readInto(into)
      return into
    },

    readInto: (into) => queue.readInto(into),

    async write(bytes) {
      for (let at = 0; at < bytes.length; at += NETWORK_LIMITS.streamWriteBytes) {
        await send(bytes.subarray(at, at + NETWORK_LIMITS.streamWriteBytes))
      }
    },

    async close() {
      if (socket.destroyed) return
      socket.setTimeout(NETWORK_LIMITS.streamDrainMs, () => socket.destroy())
      await new Promise<void>((resolve) => {
        socket.once('close', () => resolve())
        socket.end(resolve)
      })
    },

    abort,
  }
}
