/** Own images: from an archive to a name that jobs may use, and away again. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, test } from 'node:test'
import { ImageDesk } from '../../src/api/image-desk.js'
import { ImageShelf } from '../../src/api/image-shelf.js'
import { BlobStore } from '../../src/blob/blob-store.js'
import { systemClock } from '../../src/clock.js'
import { EngineImages } from '../../src/container/engine-images.js'
import { hashLayer, writeImageArchive } from '../../src/container/image-archive.js'
import type { WrittenImage } from '../../src/container/image-archive.js'
import { inspectImageArchive } from '../../src/container/image-inspect.js'
import { silentLog } from '../../src/log.js'
import { toHex } from '../../src/wire/ids.js'
import type { Digest } from '../../src/wire/ids.js'

const MIB = 1024 * 1024
const NEVER = new AbortController().signal
const root = await mkdtemp(join(tmpdir(), 'ctd-images-'))
after(() => rm(root, { recursive: true, force: true }))

interface Desk {
  readonly desk: ImageDesk
  readonly shelf: ImageShelf
  readonly blobs: BlobStore
  readonly leased: Set<string>
  readonly steps: string[]
  upload(path: string): Promise<Digest>
  add(path: string, name?: string): ReturnType<ImageDesk['add']>
}

async function newDesk(home?: string): Promise<Desk & { readonly home: string }> {
  const dir = home ?? (await mkdtemp(join(root, 'home-')))
  const blobs = await BlobStore.open(join(dir, 'blobs'), { quotaBytes: 64 * MIB })
  const shelf = new ImageShelf(
    {
      adopt: () => Promise.reject(new Error('nothing is built here')),
      hold: (holder, digest) => blobs.hold(holder, digest),
      release: (holder) => blobs.release(holder),
    },
    { cpuReference: join(dir, 'none', 'image.json'), dir: join(dir, 'images') },
  )
  await shelf.load()
  const leased = new Set<string>()
  const steps: string[] = []
  const engineImages = new EngineImages(
    {
      clock: systemClock,
      log: silentLog,
      isLeased: (digest) => leased.has(digest),
      ledger: { put: async () => undefined, delete: async () => undefined, list: async () => [] },
    },
    { budgetBytes: 64 * MIB },
  )
  const desk = new ImageDesk({
    blobs,
    shelf,
    engineImages,
    runtime: { hasImage: () => Promise.reject(new Error('no engine')) },
    clock: systemClock,
    inspect: inspectImageArchive,
    // Stands for a compressor: fewer bytes, and other ones.
    compress: async () => Readable.from([randomBytes(1000)]),
  })
  const upload = async (path: string): Promise<Digest> =>
    (await blobs.addStream(createReadStream(path), { holder: 'upload/1' })).digest
  return {
    home: dir,
    desk,
    shelf,
    blobs,
    leased,
    steps,
    upload,
    add: async (path, name) =>
      desk.add(await upload(path), name, ({ step }) => steps.push(step), NEVER),
  }
}

let archives = 0
async function newArchive(): Promise<{ readonly image: WrittenImage; readonly path: string }> {
  archives += 1
  const layer = join(root, `layer-${archives}`)
  await writeFile(layer, randomBytes(2 * MIB))
  const path = join(root, `archive-${archives}.tar`)
  const settings = {
    name: `computetorrent/tool-${archives}:1`,
    createdEpochSeconds: 0,
    command: ['sh'],
    env: {},
    labels: {},
  }
  const image = await writeImageArchive(settings, [await hashLayer(layer, NEVER)], path, NEVER)
  return { image, path }
}

test('an added image has the name of its tag, travels compressed, and jobs may name it', async () => {
  const { add, shelf, blobs, steps } = await newDesk()
  const { image, path } = await newArchive()
  const view = await add(path)
  assert.deepEqual([view.name, view.configDigest], [`tool-${archives}`, image.configDigest])
  assert.deepEqual([view.inEngine, view.inStore, view.archiveBytes], [false, true, 1000])
  assert.deepEqual(steps, ['verify', 'compress'])
  // What was uploaded is of no more use.
  assert.equal(blobs.usedBytes, 1000)
  const wire = await shelf.image(view.name, 'requester/1')
  assert.equal(toHex(wire.configDigest), image.configDigest)
  assert.equal(wire.sizeBytes, image.sizeBytes)
  const [archive] = blobs.list()
  assert.equal(toHex(wire.archive), archive?.digest)
})

test('an added image and its archive survive a restart', async () => {
  const first = await newDesk()
  const { image, path } = await newArchive()
  await first.add(path, 'mine')
  const { shelf, blobs, desk } = await newDesk(first.home)
  assert.equal((await shelf.reference('mine')).manifestDigest, image.manifestDigest)
  const [archive] = blobs.list()
  assert.ok(archive)
  assert.deepEqual(blobs.holdersOf(archive.digest), ['image/mine'])
  assert.deepEqual(
    (await desk.list(NEVER)).map(({ name }) => name),
    ['mine'],
  )
})

test('IMAGE_NAME_TAKEN: a name stays with its image, and cpu is the built one', async () => {
  const { add, steps } = await newDesk()
  const one = await newArchive()
  const two = await newArchive()
  await add(one.path, 'mine')
  await add(one.path, 'mine')
  steps.length = 0
  await assert.rejects(add(two.path, 'mine'), { code: 'IMAGE_NAME_TAKEN' })
  await assert.rejects(add(two.path, 'cpu'), { code: 'IMAGE_NAME_TAKEN' })
  await assert.rejects(add(two.path, '../cpu'), { code: 'BAD_IMAGE_NAME' })
  assert.equal(steps.includes('compress'), false, 'told before minutes are spent')
})

test('IMAGE_ARCHIVE_REFUSED: what is no image, or not the bytes it names, is not shelved', async () => {
  const { add, desk } = await newDesk()
  const garbage = join(root, 'garbage')
  await writeFile(garbage, randomBytes(5000))
  await assert.rejects(add(garbage), { code: 'IMAGE_ARCHIVE_REFUSED' })
  const { path } = await newArchive()
  const bytes = await readFile(path)
  const at = bytes.length - MIB
  bytes[at] = (bytes[at] ?? 0) ^ 1
  const changed = join(root, 'changed.tar')
  await writeFile(changed, bytes)
  await assert.rejects(add(changed), { code: 'IMAGE_ARCHIVE_REFUSED' })
  assert.deepEqual(await desk.list(NEVER), [])
})

test('IMAGE_LEASED: an image that a job needs is not removed, afterwards it frees its room', async () => {
  const { add, desk, leased, blobs } = await newDesk()
  const { image, path } = await newArchive()
  await add(path, 'mine')
  leased.add(image.configDigest)
  await assert.rejects(desk.remove('mine', NEVER), { code: 'IMAGE_LEASED' })
  leased.clear()
  assert.deepEqual(await desk.remove('mine', NEVER), { freedBytes: 1000 })
  assert.equal(blobs.usedBytes, 0)
  await assert.rejects(desk.remove('mine', NEVER), { code: 'IMAGE_UNKNOWN' })
})
