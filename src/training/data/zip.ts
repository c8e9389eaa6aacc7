/**
 * The part of ZIP that numpy writes (PKWARE APPNOTE 6.3): stored or deflated entries of one file,
 * below 4 GiB, without encryption. Everything is read from the central directory; what it claims
 * bounds what is unpacked, and no two entries may share bytes.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { createInflateRaw, crc32 } from 'node:zlib'
import { CtdError } from '../../errors.js'
import { DATA_LIMITS } from './limits.js'
import { bytesOf, truncated, unpackError } from './source.js'

export interface ZipEntry {
  readonly name: string
  /** Unpacked. */
  readonly sizeBytes: number
  readonly packedBytes: number
  readonly crc: number
  readonly isDeflated: boolean
  /** Of the local header. */
  readonly offset: number
}

const END_SIGNATURE = 0x06054b50
const ENTRY_SIGNATURE = 0x02014b50
const LOCAL_SIGNATURE = 0x04034b50
const END_BYTES = 22
const ENTRY_BYTES = 46
const LOCAL_BYTES = 30
const COMMENT_BYTES = 65_535
const READ_BYTES = 1024 * 1024

/** A ZIP file opened for reading. */
export class ZipFile {
  private constructor(
    private readonly file: FileHandle,
    private readonly name: string,
    readonly entries: readonly ZipEntry[],
  ) {}

  /** @throws CtdError DATA_ZIP, DATA_TRUNCATED, DATA_TOO_LARGE */
  static async open(path: string, name: string): Promise<ZipFile> {
    const file = await open(path, 'r')
    try {
      return new ZipFile(file, name, await readDirectory(file, name))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** An entry's bytes; a checksum that does not hold is told at the end. */
  async *read(entry: ZipEntry): AsyncGenerator<Uint8Array, void> {
    const place = `${entry.name} of ${this.name}`
    const local = await readAt(this.file, this.name, entry.offset, LOCAL_BYTES)
    if (local.readUInt32LE(0) !== LOCAL_SIGNATURE) throw malformed(place, 'is not where it is said')
    const start = entry.offset + LOCAL_BYTES + local.readUInt16LE(26) + local.readUInt16LE(28)
    const packed = this.readPacked(start, entry.packedBytes)
    let crc = 0
    let total = 0
    try {
      for await (const bytes of entry.isDeflated ? inflate(packed) : packed) {
        total += bytes.length
        if (total > entry.sizeBytes) throw malformed(place, 'unpacks to more than it claims')
        crc = crc32(bytes, crc)
        yield bytes
      }
    } catch (error) {
      throw unpackError(place, error)
    }
    if (total !== entry.sizeBytes) throw truncated(place)
    if (crc !== entry.crc) throw malformed(place, 'is damaged: its checksum does not hold')
  }

  async close(): Promise<void> {
    await this.file.close()
  }

  private async *readPacked(start: number, count: number): AsyncGenerator<Buffer, void> {
    for (let done = 0; done < count; done += READ_BYTES) {
      const size = Math.min(READ_BYTES, count - done)
      yield await readAt(this.file, this.name, start + done, size)
    }
  }
}

async function* inflate(packed: AsyncGenerator<Buffer, void>): AsyncGenerator<Uint8Array, void> {
  const inflater = createInflateRaw({ chunkSize: READ_BYTES })
  const raw = Readable.from(packed)
  raw.on('error', (error) => inflater.destroy(error))
  try {
    for await (const chunk of raw.pipe(inflater)) yield bytesOf(chunk)
  } finally {
    raw.destroy()
    inflater.destroy()
  }
}

async function readDirectory(file: FileHandle, name: string): Promise<readonly ZipEntry[]> {
  const { size } = await file.stat()
  if (size < END_BYTES) throw truncated(name)
  const tailBytes = Math.min(size, END_BYTES + COMMENT_BYTES)
  const tail = await readAt(file, name, size - tailBytes, tailBytes)
  const end = lastSignature(tail)
  if (end === undefined) throw truncated(name)
  const count = tail.readUInt16LE(end + 10)
  const bytes = tail.readUInt32LE(end + 12)
  const start = tail.readUInt32LE(end + 16)
  const isWhole = tail.readUInt16LE(end + 4) === 0 && tail.readUInt16LE(end + 8) === count
  if (!isWhole || count === 0xffff || start === 0xffffffff)
    throw malformed(name, 'is a ZIP64 or split archive')
  if (count > DATA_LIMITS.zipEntries || bytes > DATA_LIMITS.zipDirectoryBytes) {
    throw new CtdError('DATA_TOO_LARGE', `${name} lists ${count} entries in ${bytes} bytes`)
  }
  const endAt = size - tailBytes + end
  if (start + bytes > endAt) throw malformed(name, 'has its directory outside itself')
  const entries = parseDirectory(await readAt(file, name, start, bytes), name, count)
  assertApart(entries, name, start)
  return entries
}

function lastSignature(tail: Buffer): number | undefined {
  for (let at = tail.length - END_BYTES; at >= 0; at--) {
    const isEnd = tail.readUInt32LE(at) === END_SIGNATURE
    if (isEnd && at + END_BYTES + tail.readUInt16LE(at + 20) === tail.length) return at
  }
  return undefined
}

function parseDirectory(bytes: Buffer, name: string, count: number): readonly ZipEntry[] {
  const entries: ZipEntry[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > bytes.length || bytes.readUInt32LE(at) !== ENTRY_SIGNATURE) {
      throw malformed(name, 'has a broken directory')
    }
    const method = bytes.readUInt16LE(at + 10)
    const nameBytes = bytes.readUInt16LE(at + 28)
    const next =
      at + ENTRY_BYTES + nameBytes + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32)
    const entry = {
      name: bytes.toString('utf8', at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes),
      sizeBytes: bytes.readUInt32LE(at + 24),
      packedBytes: bytes.readUInt32LE(at + 20),
      crc: bytes.readUInt32LE(at + 16),
      isDeflated: method === 8,
      offset: bytes.readUInt32LE(at + 42),
    }
    if ((bytes.readUInt16LE(at + 8) & 1) !== 0) throw malformed(name, 'is encrypted')
    if (method !== 0 && method !== 8) throw malformed(name, `is packed by method ${method}`)
    if (method === 0 && entry.sizeBytes !== entry.packedBytes) {
      throw malformed(name, 'disagrees with itself about sizes')
    }
    entries.push(entry)
    at = next
  }
  return entries
}

/** No byte may serve two entries, and all together must unpack to a bearable size. */
function assertApart(entries: readonly ZipEntry[], name: string, directory: number): void {
  const total = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  if (total > DATA_LIMITS.expandedBytes) {
    throw new CtdError('DATA_TOO_LARGE', `${name} claims to unpack to ${total} bytes`, {
      hint: `at most ${DATA_LIMITS.expandedBytes} bytes`,
    })
  }
  let end = 0
  for (const entry of [...entries].sort((a, b) => a.offset - b.offset)) {
    if (entry.offset < end) throw malformed(name, 'has entries that overlap')
    end = entry.offset + LOCAL_BYTES + entry.packedBytes
  }
  if (end > directory) throw truncated(name)
}

function malformed(name: string, reason: string): CtdError {
  return new CtdError('DATA_ZIP', `${name} ${reason}`, {
    hint: 'write it again with numpy.savez or numpy.savez_compressed',
  })
}

async function readAt(
  file: FileHandle,
  name: string,
  start: number,
  size: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(size)
  let done = 0
  while (done < size) {
    const { bytesRead } = await file.read(bytes, done, size - done, start + done)
    if (bytesRead === 0) throw truncated(name)
    done += bytesRead
  }
  return bytes
}
