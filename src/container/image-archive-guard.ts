/**
 * Stands between an archive from a stranger and the engine, which unpacks archives as root. Only
 * the plain layout of `docker save` and OCI passes: known names, plain files, each blob the bytes
 * its name promises, nothing beyond the pinned size. The two lists that name images are written
 * anew, so that an archive can neither bring other images nor take the name of one of the host's.
 */
import { createHash } from 'node:crypto'
import { CtdError } from '../errors.js'
import type { ImageRef } from './container-runtime.js'
import { tarEntry, tarHeader, tarPadding, TAR_BLOCK_BYTES } from './image-archive.js'

const SMALL_FILE_BYTES_MAX = 1024 ** 2
const ENTRIES_MAX = 1024
const BLOB = /^blobs\/sha256\/([0-9a-f]{64})$/
/** Written by some engines for older ones; holds nothing that the other lists do not. */
const DROPPED = new Set(['repositories'])
/** What an image list may point to: one image for one platform. */
const MANIFEST_TYPES: readonly unknown[] = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
const OUR_NAME = /^computetorrent\/[a-z0-9]+(?:[._-][a-z0-9]+)*:[a-zA-Z0-9_.-]{1,100}$/

/**
 * Passes on what the engine may see.
 *
 * @throws CtdError IMAGE_ARCHIVE_REFUSED, before the engine has the end of the archive
 */
export async function* guardImageArchive(
  archive: AsyncIterable<Uint8Array>,
  image: ImageRef,
): AsyncGenerator<Uint8Array> {
  const reader = new ByteReader(archive, image.sizeBytes)
  /** Every entry and its size; what the lists promise must be among them at the end. */
  const seen = new Map<string, number>()
  const promised: Promised[] = [
    { path: 'manifest.json' },
    { path: `blobs/sha256/${image.configDigest}` },
  ]
  for (;;) {
    const header = await reader.take(TAR_BLOCK_BYTES)
    if (header.every((byte) => byte === 0)) break
    const { path, isFolder, sizeBytes } = readHeader(header)
    if (seen.has(path) || seen.size >= ENTRIES_MAX)
      throw refusal(`${path} comes twice, or too many files`)
    seen.set(path, sizeBytes)
    if (isFolder) {
      yield tarHeader({ path, typeFlag: '5', mode: 0o755, sizeBytes: 0, epochSeconds: 0 })
      continue
    }
    const digest = BLOB.exec(path)?.[1]
    if (digest === undefined) {
      const content = await reader.takeSmall(path, sizeBytes)
      if (!DROPPED.has(path)) {
        yield* file(path, Buffer.from(rewritten(path, content, image, promised)))
      }
    } else {
      yield tarHeader({ path, typeFlag: '0', mode: 0o644, sizeBytes, epochSeconds: 0 })
      yield* verified(reader, sizeBytes, digest)
      yield tarPadding(sizeBytes)
    }
    await reader.take(tarPadding(sizeBytes).length)
  }
  for (const { path, sizeBytes } of promised) {
    const found = seen.get(path)
    if (found === undefined) throw refusal(`${path} is not in it`)
    if (sizeBytes !== undefined && sizeBytes !== found) throw refusal(`${path} has another size`)
  }
  yield new Uint8Array(2 * TAR_BLOCK_BYTES)
}

/** An entry that a list of the archive names. */
interface Promised {
  readonly path: string
  readonly sizeBytes?: number
}

/** The name an image gets in this engine: its own only inside our name space. */
export function localImageName(image: ImageRef): string {
  return OUR_NAME.test(image.name)
    ? image.name
    : `computetorrent/image:${image.configDigest.slice(0, 16)}`
}

/** Hands out the archive in exact pieces, and no more of it than was pinned. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #bytesMax: number
  #rest: Buffer = Buffer.alloc(0)
  #totalBytes = 0

  constructor(archive: AsyncIterable<Uint8Array>, bytesMax: number) {
    this.#source = archive[Symbol.asyncIterator]()
    this.#bytesMax = bytesMax
  }

  /** The next bytes, at least one and at most `count`. */
  async some(count: number): Promise<Buffer> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next()
      if (next.done === true) throw refusal('it ends early')
      this.#totalBytes += next.value.length
      if (this.#totalBytes > this.#bytesMax)
        throw refusal(`it is larger than its ${this.#bytesMax} bytes`)
      this.#rest = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.length)
    }
    const taken = this.#rest.subarray(0, count)
    this.#rest = this.#rest.subarray(taken.length)
    return taken
  }

  async take(count: number): Promise<Buffer> {
    const parts: Buffer[] = []
    for (let missing = count; missing > 0;) {
      const part = await this.some(missing)
      parts.push(part)
      missing -= part.length
    }
    return Buffer.concat(parts)
  }

  async takeSmall(path: string, sizeBytes: number): Promise<Buffer> {
    if (sizeBytes > SMALL_FILE_BYTES_MAX) throw refusal(`${path} is too large`)
    return this.take(sizeBytes)
  }
}

async function* verified(
  reader: ByteReader,
  sizeBytes: number,
  digest: string,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  for (let missing = sizeBytes; missing > 0;) {
    const part = await reader.some(missing)
    hash.update(part)
    missing -= part.length
    yield part
  }
  if (hash.digest('hex') !== digest) throw refusal(`blob ${digest} holds other bytes`)
}

function* file(path: string, content: Uint8Array): Generator<Uint8Array> {
  yield* tarEntry({ type: 'file', path, mode: 0o644, content }, 0)
}

/** The lists of images, reduced to the one wanted, under a name of ours. */
function rewritten(path: string, content: Buffer, image: ImageRef, promised: Promised[]): string {
  switch (path) {
    case 'oci-layout':
      return '{"imageLayoutVersion":"1.0.0"}'
    case 'manifest.json': {
      const Config = `blobs/sha256/${image.configDigest}`
      const found = listIn(path, content).find((one) => field(one, 'Config') === Config)
      const Layers = field(found, 'Layers')
      if (!Array.isArray(Layers) || !Layers.every((layer) => BLOB.test(String(layer)))) {
        throw refusal('it lists another image, or was saved by an engine older than Docker 25')
      }
      promised.push(...Layers.map((layer) => ({ path: String(layer) })))
      return JSON.stringify([{ Config, RepoTags: [localImageName(image)], Layers }])
    }
    case 'index.json': {
      const digest = `sha256:${image.manifestDigest}`
      const list = field(parse(path, content), 'manifests')
      const found = Array.isArray(list)
        ? list.find((one) => field(one, 'digest') === digest)
        : undefined
      const size = field(found, 'size')
      const mediaType = field(found, 'mediaType')
      if (typeof size !== 'number' || !MANIFEST_TYPES.includes(mediaType)) {
        throw refusal('it lists another image')
      }
      promised.push({ path: `blobs/sha256/${image.manifestDigest}`, sizeBytes: size })
      const annotations = { 'org.opencontainers.image.ref.name': localImageName(image) }
      return JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.index.v1+json',
        manifests: [{ mediaType, digest, size, annotations }],
      })
    }
    default:
      if (DROPPED.has(path)) return ''
      throw refusal(`it holds ${JSON.stringify(path).slice(0, 120)}`)
  }
}

/** One ustar header, of a plain file or of the two folders there are. */
export function readHeader(block: Buffer): { path: string; isFolder: boolean; sizeBytes: number } {
  const text = (start: number, length: number): string =>
    block
      .subarray(start, start + length)
      .toString('latin1')
      .split('\0', 1)[0] ?? ''
  const sum = block.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0)
  if (Number.parseInt(text(148, 8), 8) !== sum) throw refusal('it is no tar archive')
  const path = text(0, 100)
  const type = text(156, 1)
  const size = text(124, 12).trim()
  const isFolder = type === '5'
  if (
    text(345, 155) !== '' ||
    !/^[0-7]{1,12}$/.test(size) ||
    (type !== '0' && type !== '' && !isFolder)
  ) {
    throw refusal(`it holds something that is no plain file: ${JSON.stringify(path)}`)
  }
  if (isFolder && path !== 'blobs/' && path !== 'blobs/sha256/') {
    throw refusal(`it holds the folder ${JSON.stringify(path)}`)
  }
  return { path, isFolder, sizeBytes: isFolder ? 0 : Number.parseInt(size, 8) }
}

function listIn(path: string, content: Buffer): readonly unknown[] {
  const value = parse(path, content)
  if (!Array.isArray(value)) throw refusal(`${path} is no list`)
  return value
}

function parse(path: string, content: Buffer): unknown {
  try {
    return JSON.parse(content.toString('utf8'))
  } catch (error) {
    throw refusal(`${path} is no JSON`, error)
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

function refusal(why: string, cause?: unknown): CtdError {
  return new CtdError('IMAGE_ARCHIVE_REFUSED', `refused the image archive: ${why}`, {
    hint: 'an image is one file in the layout of docker save (Docker 25 or later) or of scripts/build-image.ts',
    cause,
  })
}
