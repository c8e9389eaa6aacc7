/**
 * A libp2p stream as a `ByteStream`: exact reads with back-pressure, writes that wait for room.
 * The stream's own async iterator queues without bound, so reading is done by its `message`
 * event with `pause` and `resume`.
 */
import type { Stream } from '@libp2p/interface'
import { CtdError, InvariantError } from '../errors.js'
import { NETWORK_LIMITS } from './limits.js'
import type { ByteStream } from './transport.js'

/** From here on zeroing costs more than it is worth. */
const UNZEROED_BYTES = 16 * 1024

/**
 * Wraps a fresh stream; nothing else may read from it.
 *
 * @param onBytes - told how many came or went, as they do
 */
export function createByteStream(
  stream: Stream,
  onBytes: (count: number) => void = () => {},
): ByteStream {
  const queue: Uint8Array[] = []
  let queuedBytes = 0
  let ended = false
  let failure: Error | undefined
  let reading = false
  let wake: (() => void) | undefined

  const kick = (): void => {
    wake?.()
    wake = undefined
  }
  const end = (error?: Error): void => {
    ended = true
    failure ??= error
    kick()
  }

  stream.maxReadBufferLength = 4 * NETWORK_LIMITS.streamQueueHighBytes
  stream.addEventListener('message', ({ data }) => {
    if (data instanceof Uint8Array) queue.push(data)
    else queue.push(...data)
    queuedBytes += data.byteLength
    onBytes(data.byteLength)
    if (queuedBytes > NETWORK_LIMITS.streamQueueHighBytes && stream.readStatus === 'readable') {
      stream.pause()
    }
    kick()
  })
  stream.addEventListener('remoteCloseWrite', () => end())
  stream.addEventListener('close', (event) => end(event.error))
  if (stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0) end()

  const takeInto = (into: Uint8Array, at: number): number => {
    const head = queue[0]
    if (head === undefined) return 0
    const count = Math.min(head.length, into.length - at)
    into.set(count === head.length ? head : head.subarray(0, count), at)
    if (count === head.length) queue.shift()
    else queue[0] = head.subarray(count)
    queuedBytes -= count
    if (queuedBytes < NETWORK_LIMITS.streamQueueLowBytes && stream.readStatus === 'paused') {
      stream.resume()
    }
    return count
  }

  return {
    async read(n) {
      if (n < 0 || n > NETWORK_LIMITS.streamReadBytes) {
        throw new InvariantError(`a read of ${n} bytes is out of range`)
      }
      if (reading) throw new InvariantError('one read at a time')
      reading = true
      try {
        const into = allocate(n)
        let at = 0
        while (at < n) {
          const count = takeInto(into, at)
          at += count
          if (count > 0) continue
          if (ended && stream.readBufferLength === 0) throw streamEnded(failure)
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        return into
      } finally {
        reading = false
      }
    },

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
      end(error)
    },
  }
}

/** Memory that is filled before anybody sees it: zeros in it would be written for nothing. */
function allocate(n: number): Uint8Array {
  return n < UNZEROED_BYTES ? new Uint8Array(n) : new Uint8Array(Buffer.allocUnsafeSlow(n).buffer)
}

function streamEnded(cause: unknown): CtdError {
  return new CtdError('STREAM_ENDED', 'the peer ended the stream', { cause })
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
