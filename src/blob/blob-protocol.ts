/**
 * What travels on a blob stream. The asker sends the 32-byte digest, then requests of 4 bytes, as
 * many ahead as it likes: the number of a piece, or `MANIFEST_REQUEST`. The server sends frames: a
 * kind, a uint32 BE length and that many bytes. Its first frame says which pieces it has; answers
 * follow in the order of the requests, and between them it tells of pieces it has got since. All
 * numbers are big-endian.
 */
import type { ByteStream } from '../network/transport.js'
import { BLOB_LIMITS } from './limits.js'

export const MANIFEST_REQUEST = 0xffff_ffff
export const DIGEST_BYTES = 32
export const REQUEST_BYTES = 4
export const FRAME_HEADER_BYTES = 5
const INDEX_BYTES = 4

/** First byte of a frame. The three refusals have length 0 and end the stream. */
export const FRAME = {
  /** A manifest or a piece. */
  ANSWER: 0,
  UNKNOWN_BLOB: 1,
  BAD_REQUEST: 2,
  BUSY: 3,
  /** The server has the whole blob; length 0. First frame only. */
  ALL: 4,
  /** A bitmap of the pieces that the server has; see `PieceSet`. First frame only. */
  SOME: 5,
  /** Numbers of pieces, 4 bytes each, that the server has got since; never before an answer. */
  HAVE: 6,
} as const

export interface FrameHeader {
  readonly kind: number
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

/** Writes the header of a frame into the first 5 bytes of it. */
export function setFrameHeader(frame: Uint8Array, kind: number): void {
  frame[0] = kind
  new DataView(frame.buffer, frame.byteOffset).setUint32(1, frame.length - FRAME_HEADER_BYTES)
}

export function encodeFrame(kind: number, body: Uint8Array = new Uint8Array()): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + body.length)
  frame.set(body, FRAME_HEADER_BYTES)
  setFrameHeader(frame, kind)
  return frame
}

export function decodeFrameHeader(bytes: Uint8Array): FrameHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return { kind: view.getUint8(0), sizeBytes: view.getUint32(1) }
}

/** The frame that tells of new pieces, at most `piecesPerHave` of them. */
export function encodeHave(indices: readonly number[]): Uint8Array {
  const body = new Uint8Array(INDEX_BYTES * indices.length)
  const view = new DataView(body.buffer)
  indices.forEach((index, i) => view.setUint32(INDEX_BYTES * i, index))
  return encodeFrame(FRAME.HAVE, body)
}

/** Whether a HAVE may have that length. */
export function isHaveSize(sizeBytes: number): boolean {
  if (sizeBytes === 0 || sizeBytes % INDEX_BYTES !== 0) return false
  return sizeBytes <= INDEX_BYTES * BLOB_LIMITS.piecesPerHave
}

/** Numbers of pieces in the body of a HAVE of an allowed length. */
export function decodeHave(body: Uint8Array): readonly number[] {
  const view = new DataView(body.buffer, body.byteOffset, body.length)
  return Array.from({ length: body.length / INDEX_BYTES }, (_, i) =>
    view.getUint32(INDEX_BYTES * i),
  )
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
