/** Reads who an image is from its archive, for an owner who wants to offer it to peers. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { CtdError } from '../errors.js'
import type { ImageRef } from './container-runtime.js'
import { ByteReader, guardImageArchive, readHeader } from './image-archive-guard.js'
import { TAR_BLOCK_BYTES, tarPadding } from './image-archive.js'
import { decompressZstd, isZstd } from './zstd.js'

/** Larger archives are refused; eight layers of the size that tar allows. */
const ARCHIVE_BYTES_MAX = 64 * 1024 ** 3
/** Lists, manifests and configurations; all other files are layers, which are not kept. */
const SMALL_FILE_BYTES_MAX = 1024 ** 2
const SMALL_FILES_MAX = 64
const CHUNK_BYTES = 1024 ** 2

export interface InspectedImage extends ImageRef {
  readonly isCompressed: boolean
}

/**
 * Reads an archive twice: once to learn which image it is, once through the guard that peers put
 * before their engines, so that what is refused there is refused here.
 *
 * @throws CtdError IMAGE_ARCHIVE_REFUSED
 */
export async function inspectImageArchive(
  path: string,
  signal: AbortSignal,
): Promise<InspectedImage> {
  const first = await unpacked(fileChunks(path, signal), ARCHIVE_BYTES_MAX)
  const image = await identify(first.bytes)
  const again = await unpacked(fileChunks(path, signal), image.sizeBytes)
  for await (const _ of guardImageArchive(again.bytes, image)) signal.throwIfAborted()
  return { ...image, isCompressed: first.isCompressed }
}

/**
 * The plain bytes of an archive that may be compressed.
 *
 * @param maxBytes - bound of the decompressed bytes
 */
export async function unpacked(
  archive: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<{ readonly bytes: AsyncIterable<Uint8Array>; readonly isCompressed: boolean }> {
  const source = archive[Symbol.asyncIterator]()
  const head: Uint8Array[] = []
  let headBytes = 0
  while (headBytes < 4) {
    const next = await source.next()
    if (next.done === true) break
    head.push(next.value)
    headBytes += next.value.length
  }
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield* head
    for (let next = await source.next(); next.done !== true; next = await source.next()) {
      yield next.value
    }
  }
  const isCompressed = isZstd(Buffer.concat(head))
  return { bytes: isCompressed ? decompressZstd(whole(), maxBytes) : whole(), isCompressed }
}

async function* fileChunks(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const file = createReadStream(path, { signal, highWaterMark: CHUNK_BYTES })
  for await (const chunk of file) yield chunk as Buffer
}

async function identify(archive: AsyncIterable<Uint8Array>): Promise<ImageRef> {
  let sizeBytes = 0
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of archive) {
      sizeBytes += chunk.length
      yield chunk
    }
  }
  const source = counted()
  const files = await smallFiles(new ByteReader(source, ARCHIVE_BYTES_MAX))
  // What fills the last blocks belongs to the archive's size.
  for await (const _ of source) continue
  const list = json(files, 'manifest.json')
  if (!Array.isArray(list) || list.length !== 1) {
    throw refusal(`it holds ${Array.isArray(list) ? list.length : 'no list of'} images, not one`)
  }
  const configPath = text(field(list[0], 'Config'))
  const configDigest = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(configPath)?.[1]
  if (configDigest === undefined) throw refusal('it was saved by an engine older than Docker 25')
  const layers = field(field(json(files, configPath), 'rootfs'), 'diff_ids')
  if (!Array.isArray(layers) || layers.length === 0) throw refusal('its image has no layers')
  const names = field(list[0], 'RepoTags')
  return {
    name: Array.isArray(names) ? text(names[0]) : '',
    configDigest,
    manifestDigest: manifestOf(files, configDigest),
    diffIds: layers.map(digestIn),
    sizeBytes,
  }
}

/** The manifest that names the configuration; the lists may name others, for other platforms. */
function manifestOf(files: ReadonlyMap<string, Buffer>, configDigest: string): string {
  const named = field(json(files, 'index.json'), 'manifests')
  for (const one of Array.isArray(named) ? named : []) {
    const digest = digestIn(field(one, 'digest'))
    const manifest = files.get(`blobs/sha256/${digest}`)
    if (manifest === undefined || sha256(manifest) !== digest) continue
    const config = field(json(files, `blobs/sha256/${digest}`), 'config')
    if (field(config, 'digest') === `sha256:${configDigest}`) return digest
  }
  throw refusal('its index does not name the image')
}

async function smallFiles(reader: ByteReader): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for (;;) {
    const header = await reader.take(TAR_BLOCK_BYTES)
    if (header.every((byte) => byte === 0)) return files
    const { path, sizeBytes } = readHeader(header)
    if (sizeBytes <= SMALL_FILE_BYTES_MAX && files.size < SMALL_FILES_MAX) {
      files.set(path, await reader.take(sizeBytes))
    } else {
      for (let missing = sizeBytes; missing > 0;) missing -= (await reader.some(missing)).length
    }
    await reader.take(tarPadding(sizeBytes).length)
  }
}

function json(files: ReadonlyMap<string, Buffer>, path: string): unknown {
  const content = files.get(path)
  if (content === undefined) throw refusal(`${path} is not in it`)
  try {
    return JSON.parse(content.toString('utf8'))
  } catch (error) {
    throw refusal(`${path} is no JSON`, error)
  }
}

function digestIn(value: unknown): string {
  const digest = /^sha256:([0-9a-f]{64})$/.exec(text(value))?.[1]
  if (digest === undefined) throw refusal('a digest in it is malformed')
  return digest
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function refusal(why: string, cause?: unknown): CtdError {
  return new CtdError('IMAGE_ARCHIVE_REFUSED', `refused the image archive: ${why}`, {
    hint: 'an image is one file in the layout of docker save (Docker 25 or later) or of ctd image build',
    cause,
  })
}
