/** The image that `faults-image.ts` sends around, and what of it is on a disk. */
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, open, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  hashLayer,
  tarHeader,
  tarPadding,
  writeImageArchive,
} from '../src/container/image-archive.js'
import type { LayerFile, WrittenImage } from '../src/container/image-archive.js'
import { CtdError } from '../src/errors.js'
import { seededBytes } from './faults-show.js'
import { ENGINE_SOCKET } from './setup.js'

const CACHE = process.env['CTD_IMAGE_CACHE'] ?? join(import.meta.dirname, '..', '.cache', 'images')
const LAYERS = {
  cpu: ['rootfs.tar', 'cpu-programs.tar'],
  test: ['test-layer.tar'],
} as const
const MIB = 1024 ** 2
/** Of the padding, which a task copies to its output. */
export const HEAD_BYTES = 4096

export interface ShippedOptions {
  readonly dir: string
  readonly mib: number
  readonly seed: string
  /** What the image is made of beside its padding. */
  readonly base: 'cpu' | 'test'
  readonly signal: AbortSignal
}

export interface Shipped {
  readonly ref: WrittenImage
  readonly reference: string
  /** The first bytes of the padding, which the task copies to its output. */
  readonly head: Buffer
}

/** The task image with a layer of incompressible bytes on top, the same for the same seed. */
export async function writeImage({
  dir,
  mib,
  seed,
  base,
  signal,
}: ShippedOptions): Promise<Shipped> {
  const folder = join(dir, 'image')
  await mkdir(folder)
  const below: LayerFile[] = []
  for (const name of LAYERS[base]) below.push(await hashLayer(join(CACHE, name), signal))
  const belowBytes = below.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const paddingBytes = mib * MIB - belowBytes
  if (paddingBytes < MIB) {
    throw new CtdError('USAGE', `an image of ${mib} MiB has no room for its base`, {
      hint: 'ask for more with --mib, or take --base test',
    })
  }
  const layerPath = join(folder, 'padding.tar')
  function* layer(): Generator<Uint8Array> {
    const fixed = { mode: 0o755, epochSeconds: 0 } as const
    yield tarHeader({ ...fixed, path: 'opt/', typeFlag: '5', sizeBytes: 0 })
    const file = { ...fixed, mode: 0o644, typeFlag: '0' } as const
    yield tarHeader({ ...file, path: 'opt/padding.bin', sizeBytes: paddingBytes })
    yield* seededBytes(seed, paddingBytes)
    yield tarPadding(paddingBytes)
    yield new Uint8Array(1024)
  }
  await pipeline(Readable.from(layer()), createWriteStream(layerPath), { signal })
  const [head = new Uint8Array()] = seededBytes(seed, HEAD_BYTES)
  const settings = {
    name: `computetorrent/faults-${createHash('sha256').update(`${seed}/${mib}`).digest('hex').slice(0, 12)}:dev`,
    createdEpochSeconds: 0,
    command: ['sh'],
    env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
    labels: { 'io.computetorrent.image': 'faults' },
  }
  const layers = [...below, await hashLayer(layerPath, signal)]
  const ref = await writeImageArchive(settings, layers, join(folder, 'image.tar'), signal)
  await rm(layerPath)
  const reference = join(folder, 'ref.json')
  await writeFile(reference, JSON.stringify(ref))
  return { ref, reference, head: Buffer.from(head) }
}

/** The pieces in a dead daemon's unfinished fetch whose hash is the manifest's; by no code of ours. */
export async function piecesOnDisk(home: string, sizeBytes: number): Promise<ReadonlySet<number>> {
  const folder = join(home, 'blobs', 'partial')
  const right = new Set<number>()
  for (const name of await readdir(folder)) {
    if (!/^[0-9a-f]{64}$/.test(name)) continue
    const manifest = await readFile(join(folder, `${name}.manifest`))
    if (manifest.readBigUInt64BE(0) !== BigInt(sizeBytes)) continue
    const file = await open(join(folder, name))
    const { size } = await file.stat()
    const buffer = Buffer.alloc(MIB)
    for (let index = 0; index * MIB < Math.min(size, sizeBytes); index += 1) {
      const length = Math.min(MIB, sizeBytes - index * MIB)
      const { bytesRead } = await file.read(buffer, 0, length, index * MIB)
      const hash = createHash('sha256').update(buffer.subarray(0, bytesRead)).digest()
      if (hash.equals(manifest.subarray(8 + 32 * index, 40 + 32 * index))) right.add(index)
    }
    await file.close()
  }
  return right
}

/** Takes the image of this show out of the engine, where it was loaded. */
export async function removeImage({ configDigest }: WrittenImage): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const path = `/images/sha256:${configDigest}?force=1`
    const asked = request({ socketPath: ENGINE_SOCKET, method: 'DELETE', path }, (response) => {
      response.resume()
      response.once('end', resolve)
    })
    asked.once('error', reject)
    asked.end()
  })
}
