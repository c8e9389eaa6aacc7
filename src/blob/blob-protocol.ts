/**
 * What travels on a blob stream. The asker sends the 32-byte digest, then requests of 4 bytes, as
 * many ahead as it likes: the number of a piece, or `MANIFEST_REQUEST`. Each answer, in the same
 * order, is a status byte, a uint32 BE length and that many bytes. All numbers are big-endian.
 */
import type { ByteStream } from '../network/transport.js'

export const MANIFEST_REQUEST = 0xffff_ffff
export const DIGEST_BYTES = 32
export const REQUEST_BYTES = 4
export const ANSWER_HEADER_BYTES = 5

/** First byte of an answer; anything but `OK` has length 0 and ends the stream. */
export const ANSWER = { OK: 0, UNKNOWN_BLOB: 1, BAD_REQUEST: 2, BUSY: 3 } as const

export interface AnswerHeader {
  readonly status: number
  readonly sizeBytes: number
}

export function encodeRequest(request: number): Uint8Array {
  const bytes = new Uint8Array(REQUEST_BYTES)
  new DataView(bytes.buffer).setUint32(0, request)
  return bytes
}

export function decodeRequest(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
}

export function encodeAnswerHeader({ status, sizeBytes }: AnswerHeader): Uint8Array {
  const bytes = new Uint8Array(ANSWER_HEADER_BYTES)
  bytes[0] = status
  new DataView(bytes.buffer).setUint32(1, sizeBytes)
  return bytes
}

export function decodeAnswerHeader(bytes: Uint8Array): AnswerHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return { status: view.getUint8(0), sizeBytes: view.getUint32(1) }
}

/** Runs one step on a stream; when `ms` pass first, the stream is dropped and the step fails. */
export async function withDeadline<T>(
  stream: ByteStream,
  ms: number,
  step: Promise<T>,
): Promise<T> {
  const timer = setTimeout(() => stream.abort(new Error('the peer stalled')), ms)
  try {
    return await step
  } finally {
    clearTimeout(timer)
  }
}
