/**
 * `/ctd/1/control`: one request, one answer, then the stream is done. Both are one frame, an
 * unsigned varint length and the bytes.
 */
import type { Stream } from '@libp2p/interface'
import { decode, encode } from 'it-length-prefixed'
import { pipe } from 'it-pipe'
import { CtdError } from '../errors.js'
import { NETWORK_LIMITS } from './limits.js'

export const CONTROL_PROTOCOL = '/ctd/1/control'

/** Sends the request and awaits the answer. Throws whatever the stream or the framing throws. */
export async function askOver(
  stream: Stream,
  request: Uint8Array,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const abort = (): void => stream.abort(new Error('the request was given up'))
  signal.addEventListener('abort', abort, { once: true })
  try {
    signal.throwIfAborted()
    return await pipe(
      [request],
      (source) => encode(source, { maxDataLength: NETWORK_LIMITS.requestBytes }),
      duplexOf(stream, signal),
      (source) => decode(source, { maxDataLength: NETWORK_LIMITS.responseBytes }),
      onlyFrame,
    )
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** Reads the request, answers with what `handle` returns, and closes the own side. */
export async function answerOver(
  stream: Stream,
  handle: (request: Uint8Array) => Promise<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const abort = (): void => stream.abort(new Error('the request took too long'))
  signal.addEventListener('abort', abort, { once: true })
  try {
    signal.throwIfAborted()
    const { source, sink } = duplexOf(stream, signal)
    const request = await pipe(
      source,
      (bytes) => decode(bytes, { maxDataLength: NETWORK_LIMITS.requestBytes }),
      onlyFrame,
    )
    const response = await handle(request)
    await pipe(
      [response],
      (frames) => encode(frames, { maxDataLength: NETWORK_LIMITS.responseBytes }),
      sink,
    )
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

type Chunk = Parameters<Stream['send']>[0]

/** A v3 libp2p stream in the shape that `pipe` connects: a source to read, a sink to write. */
function duplexOf(
  stream: Stream,
  signal: AbortSignal,
): {
  source: AsyncIterable<Chunk>
  sink: (source: AsyncIterable<Chunk> | Iterable<Chunk>) => Promise<void>
} {
  return {
    source: stream,
    async sink(source) {
      try {
        for await (const chunk of source) {
          if (!stream.send(chunk)) await stream.onDrain({ signal })
        }
        await stream.close({ signal })
      } catch (error) {
        stream.abort(error instanceof Error ? error : new Error(String(error)))
        throw error
      }
    },
  }
}

/** The first frame of a source; later ones are never read. */
async function onlyFrame(source: AsyncIterable<{ slice(): Uint8Array }>): Promise<Uint8Array> {
  for await (const frame of source) return frame.slice()
  throw new CtdError('STREAM_ENDED', 'the peer ended the stream without a message')
}
