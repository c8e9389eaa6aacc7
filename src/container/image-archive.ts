/**
 * Writes task images: one file that is at once a `docker save` archive and an OCI image layout
 * (OCI image-spec 1.1), the same bytes on every machine for the same layers and configuration.
 * No engine is needed, and layers are streamed, never held in memory.
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { rename, rm, stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CtdError } from '../errors.js'
import type { ImageRef } from './container-runtime.js'

/** A finished layer: an uncompressed tar on disk. */
export interface LayerFile {
  readonly path: string
  readonly sizeBytes: number
  /** SHA-256 of the uncompressed tar, hexadecimal; the OCI diff id. */
  readonly diffId: string
}

/** What a container of the image starts with, unless the run says otherwise. */
export interface ImageSettings {
  /** `repository:tag`, lower case. */
  readonly name: string
  /** Seconds since the epoch, written as the image's creation time. */
  readonly createdEpochSeconds: number
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}

export interface WrittenImage extends ImageRef {
  /** SHA-256 of the whole archive file. */
  readonly archiveSha256: string
}

export type TarEntry =
  | { readonly type: 'folder'; readonly path: string; readonly mode: number }
  | {
      readonly type: 'file'
      readonly path: string
      readonly mode: number
      readonly content: Uint8Array
    }
  | { readonly type: 'link'; readonly path: string; readonly target: string }

export const TAR_BLOCK_BYTES = 512
/** The ustar size field holds 11 octal digits. */
const TAR_FILE_BYTES_MAX = 8 * 1024 ** 3 - 1
const OCI = 'application/vnd.oci.image.'

/**
 * Writes a layer of few small files, in the given order, owned by root.
 *
 * @param epochSeconds - modification time of every entry
 */
export async function writeLayer(
  entries: readonly TarEntry[],
  options: { readonly path: string; readonly epochSeconds: number },
  signal: AbortSignal,
): Promise<LayerFile> {
  function* blocks(): Generator<Uint8Array> {
    for (const entry of entries) yield* tarEntry(entry, options.epochSeconds)
    yield new Uint8Array(2 * TAR_BLOCK_BYTES)
  }
  const diffId = await writeHashed(Readable.from(blocks()), options.path, signal)
  return { path: options.path, sizeBytes: (await stat(options.path)).size, diffId }
}

/** Describes a tar that already lies on disk, by reading it once. */
export async function hashLayer(path: string, signal: AbortSignal): Promise<LayerFile> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { signal, highWaterMark: 1 << 20 }))
    hash.update(chunk)
  return { path, sizeBytes: (await stat(path)).size, diffId: hash.digest('hex') }
}

/**
 * Writes the archive of an image with the given layers, lowest first.
 *
 * @throws CtdError IMAGE_LAYER_CHANGED when a layer's bytes are not those its diff id names
 * @throws CtdError IMAGE_LAYER_TOO_LARGE for a layer of 8 GiB or more
 */
export async function writeImageArchive(
  settings: ImageSettings,
  layers: readonly LayerFile[],
  path: string,
  signal: AbortSignal,
): Promise<WrittenImage> {
  for (const layer of layers) {
    if (layer.sizeBytes > TAR_FILE_BYTES_MAX) {
      throw new CtdError('IMAGE_LAYER_TOO_LARGE', `layer ${layer.path} has 8 GiB or more`)
    }
  }
  const config = Buffer.from(JSON.stringify(configOf(settings, layers)))
  const configDigest = sha256Hex(config)
  const manifest = Buffer.from(JSON.stringify(manifestOf(config, configDigest, layers)))
  const manifestDigest = sha256Hex(manifest)
  const small: readonly (readonly [string, Uint8Array])[] = [
    ['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')],
    ['index.json', Buffer.from(JSON.stringify(indexOf(settings.name, manifest, manifestDigest)))],
    [
      'manifest.json',
      Buffer.from(JSON.stringify(dockerManifestOf(settings.name, configDigest, layers))),
    ],
    [blobPath(configDigest), config],
    [blobPath(manifestDigest), manifest],
  ]

  async function* blocks(): AsyncGenerator<Uint8Array> {
    yield tarHeader({ path: 'blobs/', typeFlag: '5', mode: 0o755, sizeBytes: 0, epochSeconds: 0 })
    yield tarHeader({
      path: 'blobs/sha256/',
      typeFlag: '5',
      mode: 0o755,
      sizeBytes: 0,
      epochSeconds: 0,
    })
    for (const [name, content] of small) {
      yield* tarEntry({ type: 'file', path: name, mode: 0o644, content }, 0)
    }
    for (const layer of layers) yield* layerBlocks(layer, signal)
    yield new Uint8Array(2 * TAR_BLOCK_BYTES)
  }
  const archiveSha256 = await writeHashed(Readable.from(blocks()), path, signal)
  return {
    name: settings.name,
    configDigest,
    manifestDigest,
    diffIds: layers.map((layer) => layer.diffId),
    sizeBytes: (await stat(path)).size,
    archiveSha256,
  }
}

async function* layerBlocks(layer: LayerFile, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { sizeBytes } = layer
  yield tarHeader({
    path: blobPath(layer.diffId),
    typeFlag: '0',
    mode: 0o644,
    sizeBytes,
    epochSeconds: 0,
  })
  const hash = createHash('sha256')
  let readBytes = 0
  for await (const chunk of createReadStream(layer.path, { signal, highWaterMark: 1 << 20 })) {
    hash.update(chunk)
    readBytes += chunk.length
    yield chunk
  }
  if (readBytes !== sizeBytes || hash.digest('hex') !== layer.diffId) {
    throw new CtdError('IMAGE_LAYER_CHANGED', `layer ${layer.path} is not what its digest names`, {
      hint: 'build the image again with --force',
    })
  }
  yield tarPadding(sizeBytes)
}

/** Writes beside the target and renames, so that a broken run leaves no half file under the name. */
async function writeHashed(source: Readable, path: string, signal: AbortSignal): Promise<string> {
  const partial = `${path}.partial`
  const hash = createHash('sha256')
  try {
    await pipeline(
      source,
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          hash.update(chunk)
          yield chunk
        }
      },
      createWriteStream(partial),
      { signal },
    )
    await rename(partial, path)
  } finally {
    await rm(partial, { force: true })
  }
  return hash.digest('hex')
}

function configOf(settings: ImageSettings, layers: readonly LayerFile[]): object {
  const created = new Date(settings.createdEpochSeconds * 1000).toISOString().replace('.000Z', 'Z')
  return {
    architecture: 'amd64',
    os: 'linux',
    created,
    config: {
      User: '65534:65534',
      Env: Object.entries(settings.env).map(([name, value]) => `${name}=${value}`),
      Cmd: settings.command,
      WorkingDir: '/tmp',
      Labels: settings.labels,
    },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${layer.diffId}`) },
    history: layers.map(() => ({ created, created_by: 'ctd build-image' })),
  }
}

function manifestOf(
  config: Uint8Array,
  configDigest: string,
  layers: readonly LayerFile[],
): object {
  return {
    schemaVersion: 2,
    mediaType: `${OCI}manifest.v1+json`,
    config: {
      mediaType: `${OCI}config.v1+json`,
      digest: `sha256:${configDigest}`,
      size: config.length,
    },
    layers: layers.map((layer) => ({
      mediaType: `${OCI}layer.v1.tar`,
      digest: `sha256:${layer.diffId}`,
      size: layer.sizeBytes,
    })),
  }
}

function indexOf(name: string, manifest: Uint8Array, manifestDigest: string): object {
  return {
    schemaVersion: 2,
    mediaType: `${OCI}index.v1+json`,
    manifests: [
      {
        mediaType: `${OCI}manifest.v1+json`,
        digest: `sha256:${manifestDigest}`,
        size: manifest.length,
        annotations: { 'org.opencontainers.image.ref.name': name },
      },
    ],
  }
}

function dockerManifestOf(
  name: string,
  configDigest: string,
  layers: readonly LayerFile[],
): object {
  const Layers = layers.map((layer) => blobPath(layer.diffId))
  return [{ Config: blobPath(configDigest), RepoTags: [name], Layers }]
}

function blobPath(digest: string): string {
  return `blobs/sha256/${digest}`
}

/** Header, content and padding of one entry, owned by root. */
export function* tarEntry(entry: TarEntry, epochSeconds: number): Generator<Uint8Array> {
  switch (entry.type) {
    case 'folder':
      yield tarHeader({
        path: `${entry.path}/`,
        typeFlag: '5',
        mode: entry.mode,
        sizeBytes: 0,
        epochSeconds,
      })
      return
    case 'link':
      yield tarHeader({
        path: entry.path,
        typeFlag: '2',
        mode: 0o777,
        sizeBytes: 0,
        epochSeconds,
        linkTarget: entry.target,
      })
      return
    case 'file':
      yield tarHeader({
        path: entry.path,
        typeFlag: '0',
        mode: entry.mode,
        sizeBytes: entry.content.length,
        epochSeconds,
      })
      yield entry.content
      yield tarPadding(entry.content.length)
  }
}

export interface TarHeader {
  readonly path: string
  readonly typeFlag: '0' | '2' | '5'
  readonly mode: number
  readonly sizeBytes: number
  readonly epochSeconds: number
  readonly linkTarget?: string
}

/** One ustar header block (POSIX.1-1988), owner and group 0. */
export function tarHeader(header: TarHeader): Uint8Array {
  const { path, linkTarget = '' } = header
  if (Buffer.byteLength(path) > 100 || Buffer.byteLength(linkTarget) > 100) {
    throw new CtdError('IMAGE_PATH_TOO_LONG', `more than 100 bytes in an image path: ${path}`)
  }
  const block = Buffer.alloc(TAR_BLOCK_BYTES)
  const octal = (value: number, digits: number): string =>
    `${value.toString(8).padStart(digits, '0')}\0`
  block.write(path, 0)
  block.write(octal(header.mode, 7), 100)
  block.write(octal(0, 7), 108)
  block.write(octal(0, 7), 116)
  block.write(octal(header.sizeBytes, 11), 124)
  block.write(octal(header.epochSeconds, 11), 136)
  block.write(' '.repeat(8), 148)
  block.write(header.typeFlag, 156)
  block.write(linkTarget, 157)
  block.write('ustar\x0000', 257)
  const checksum = block.reduce((sum, byte) => sum + byte, 0)
  block.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

/** What fills a file's last block. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array((TAR_BLOCK_BYTES - (sizeBytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES)
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
