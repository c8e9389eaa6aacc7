/**
 * A libp2p stream as a `ByteStream`: exact reads with back-pressure, writes that wait for room.
 * The stream's own async iterator queues without bound, so reading is done by its `message`
 * event with `pause` and `resume`.
 */
import type { Stream } from '@libp2p/interface'
import { NETWORK_LIMITS } from './limits.js'
import { ReadQueue, allocate, streamEnded } from './read-queue.js'
import type { ByteStream } from './transport.js'

/**
 * Wraps a fresh stream; nothing else may read from it.
 *
 * @param onBytes - told how many came or went, as they do
 */
export function createByteStream(
  stream: Stream,
  onBytes: (count: number) => void = () => {},
): ByteStream {
  const queue = new ReadQueue({
    pause: () => {
      if (stream.readStatus === 'readable') stream.pause()
    },
    resume: () => {
      if (stream.readStatus === 'paused') stream.resume()
    },
    hasMore: () => stream.readBufferLength > 0,
    highBytes: NETWORK_LIMITS.streamQueueHighBytes,
    lowBytes: NETWORK_LIMITS.streamQueueLowBytes,
  })
  stream.maxReadBufferLength = 4 * NETWORK_LIMITS.streamQueueHighBytes
  stream.addEventListener('message', ({ data }) => {
    onBytes(data.byteLength)
    if (data instanceof Uint8Array) queue.push(data)
    else for (const part of data) queue.push(part)
  })
  stream.addEventListener('remoteCloseWrite', () => queue.end())
  stream.addEventListener('close', (event) => queue.end(event.error))
  if (stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0) queue.end()

  return {
    isCopying: false,

    async read(n) {
      const into = allocate(n)
      await queue.readInto(into)
      return into
    },

    readInto: (into) => queue.readInto(into),

    async write(bytes) {
      try {
        for (let at = 0; at < bytes.length; at += NETWORK_LIMITS.streamWriteBytes) {
          const part = bytes.subarray(at, at + NETWORK_LIMITS.streamWriteBytes)
          onBytes(part.length)
          if (stream.send(part)) continue
          await stream.onDrain({ signal: AbortSignal.timeout(NETWORK_LIMITS.streamDrainMs) })
        }
      } catch (error) {
        throw streamEnded(error)
      }
    },

    async close() {
      if (stream.status !== 'open') return
      await stream
        .close({ signal: AbortSignal.timeout(NETWORK_LIMITS.streamDrainMs) })
        .catch((error: unknown) => stream.abort(asError(error)))
    },

    abort(error) {
      stream.abort(error)
      queue.end(error)
    },
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
