/**
 * Image archives travel compressed (zstd, RFC 8878). Everybody can read them: the decompressor is
 * plain JavaScript. Who writes one needs a compressor of the system, else it travels as it is.
 */
import { spawn } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { pipeline, Readable } from 'node:stream'
import type { Duplex } from 'node:stream'
import * as zlib from 'node:zlib'
import { Decompress } from 'fzstd'
import { CtdError, errorMessage } from '../errors.js'

const MAGIC = Buffer.of(0x28, 0xb5, 0x2f, 0xfd)
/** What RFC 8878, 3.1.1.1.2, asks every decoder to support; level 3 writes windows of 2 MiB. */
const WINDOW_BYTES_MAX = 8 * 1024 ** 2
/** Largest content of a block, RFC 8878, 3.1.1.2.4. */
const BLOCK_BYTES_MAX = 128 * 1024
const BLOCK_HEADER_BYTES = 3
const CHECKSUM_BYTES = 4
/** Measured on the CPU image: 745 MB become 214 MB in 7 s; level 9 takes four times as long for 12 % less. */
const LEVEL = 3

/** Whether bytes begin like a zstd frame. */
export function isZstd(head: Uint8Array): boolean {
  return MAGIC.every((byte, i) => head[i] === byte)
}

/**
 * Decompresses one frame, block by block, so that neither memory nor output can outgrow the limits
 * whatever the frame claims: its window, each block and the whole are bounded. The frame's own
 * checksum is not looked at; images are checked by their digests.
 *
 * @throws CtdError IMAGE_ARCHIVE_REFUSED for what is broken, larger, or followed by more
 */
export async function* decompressZstd(
  source: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  const input = new Input(source)
  let output: Uint8Array[] = []
  let totalBytes = 0
  const decompress = new Decompress((bytes) => {
    totalBytes += bytes.length
    if (bytes.length > BLOCK_BYTES_MAX || totalBytes > maxBytes) {
      throw refusal(`it decompresses to more than its ${maxBytes} bytes`)
    }
    // The decompressor uses its buffers again.
    if (bytes.length > 0) output.push(bytes.slice())
  })
  const push = (bytes: Uint8Array, isLast: boolean): void => {
    try {
      decompress.push(bytes, isLast)
    } catch (error) {
      throw error instanceof CtdError ? error : refusal(`zstd: ${errorMessage(error)}`, error)
    }
  }
  const { header, hasChecksum } = await readFrameHeader(input)
  push(header, false)
  for (let isLast = false; !isLast;) {
    const head = await input.take(BLOCK_HEADER_BYTES)
    const bits = head.readUIntLE(0, BLOCK_HEADER_BYTES)
    isLast = (bits & 1) === 1
    const kind = (bits >> 1) & 3
    const size = bits >> 3
    if (kind === 3 || size > BLOCK_BYTES_MAX) throw refusal('zstd: a block is not valid')
    const content = await input.take(kind === 1 ? 1 : size)
    push(Buffer.concat([head, content]), false)
    const ready = output
    output = []
    yield* ready
  }
  if (hasChecksum) push(await input.take(CHECKSUM_BYTES), false)
  push(new Uint8Array(0), true)
  yield* output
  if (!(await input.isAtEnd())) throw refusal('zstd: more follows after the first frame')
}

/** RFC 8878, 3.1.1.1. */
async function readFrameHeader(
  input: Input,
): Promise<{ readonly header: Uint8Array; readonly hasChecksum: boolean }> {
  const start = await input.take(MAGIC.length + 1)
  if (!isZstd(start)) throw refusal('zstd: it does not begin with a frame')
  const descriptor = start[MAGIC.length] ?? 0
  const isSingleSegment = ((descriptor >> 5) & 1) === 1
  if ((descriptor & 3) !== 0) throw refusal('zstd: it wants a dictionary')
  const sizeFlag = descriptor >> 6
  const sizeLength = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeFlag
  const rest = await input.take((isSingleSegment ? 0 : 1) + sizeLength)
  let windowBytes: number
  if (isSingleSegment) {
    const stated =
      rest.length === 8 ? Number(rest.readBigUInt64LE()) : rest.readUIntLE(0, sizeLength)
    windowBytes = sizeLength === 2 ? stated + 256 : stated
  } else {
    const window = rest[0] ?? 0
    const base = 2 ** (10 + (window >> 3))
    windowBytes = base + (base / 8) * (window & 7)
  }
  if (windowBytes > WINDOW_BYTES_MAX) {
    throw refusal(`zstd: its window has ${windowBytes} bytes, more than ${WINDOW_BYTES_MAX}`)
  }
  return { header: Buffer.concat([start, rest]), hasChecksum: ((descriptor >> 2) & 1) === 1 }
}

/**
 * The compressed bytes of a file, by Node (from 22.15) or by the program `zstd`; undefined where
 * there is neither.
 */
export async function compressZstd(
  path: string,
  signal: AbortSignal,
): Promise<Readable | undefined> {
  const create: unknown = Reflect.get(zlib, 'createZstdCompress')
  if (typeof create === 'function') {
    const level: unknown = Reflect.get(zlib.constants, 'ZSTD_c_compressionLevel')
    const compressor = create({ params: { [String(level)]: LEVEL } }) as Duplex
    // The reader of the compressor meets every error.
    pipeline(
      createReadStream(path, { signal, highWaterMark: 1 << 20 }),
      compressor,
      () => undefined,
    )
    return compressor
  }
  const child = spawn('zstd', ['-q', '-c', `-${LEVEL}`, '-T2', '--', path], {
    stdio: ['ignore', 'pipe', 'ignore'],
    signal,
  })
  const isThere = await new Promise<boolean>((resolve) => {
    child.once('spawn', () => resolve(true))
    child.once('error', () => resolve(false))
  })
  if (!isThere) return undefined
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  child.on('error', () => child.stdout.destroy())
  async function* bytes(): AsyncGenerator<Uint8Array> {
    yield* child.stdout as AsyncIterable<Uint8Array>
    const code = await ended
    if (code !== 0)
      throw new CtdError('IMAGE_COMPRESS_FAILED', `zstd ended with ${code ?? 'a signal'}`)
  }
  return Readable.from(bytes(), { objectMode: false })
}

/** Hands out a source in exact pieces. */
class Input {
  readonly #source: AsyncIterator<Uint8Array>
  #rest: Buffer = Buffer.alloc(0)

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** @param count - at most a block; never more is held than that and one chunk of the source */
  async take(count: number): Promise<Buffer> {
    const parts: Buffer[] = []
    for (let missing = count; missing > 0;) {
      if (!(await this.#fill())) throw refusal('zstd: it ends early')
      const part = this.#rest.subarray(0, missing)
      this.#rest = this.#rest.subarray(part.length)
      parts.push(part)
      missing -= part.length
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
  }

  async isAtEnd(): Promise<boolean> {
    return !(await this.#fill())
  }

  async #fill(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next()
      if (next.done === true) return false
      this.#rest = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.length)
    }
    return true
  }
}

function refusal(why: string, cause?: unknown): CtdError {
  return new CtdError('IMAGE_ARCHIVE_REFUSED', `refused the image archive: ${why}`, { cause })
}
