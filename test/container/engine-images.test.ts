/** Images of strangers in the real engine: loaded compressed, kept within a budget, never the owner's. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import Docker from 'dockerode'
import { systemClock } from '../../src/clock.js'
import { DockerRuntime } from '../../src/container/docker-runtime.js'
import { EngineImages } from '../../src/container/engine-images.js'
import { inspectImageArchive } from '../../src/container/image-inspect.js'
import {
  hashLayer,
  writeImageArchive,
  type WrittenImage,
} from '../../src/container/image-archive.js'
import { compressZstd } from '../../src/container/zstd.js'
import { silentLog } from '../../src/log.js'
import { Bench, NEVER, ROOT, SKIP, testImage } from './harness.js'

interface Made {
  readonly image: WrittenImage
  readonly archive: string
}

describe('images in the engine', { skip: SKIP, timeout: 180_000 }, () => {
  let bench: Bench
  let runtime: DockerRuntime
  let images: EngineImages
  const ledger = new Map<string, string>()
  const leased = new Set<string>()
  const made: Made[] = []
  const engineImages = (budgetBytes: number): EngineImages =>
    new EngineImages(
      {
        clock: systemClock,
        log: silentLog,
        isLeased: (digest) => leased.has(digest),
        ledger: {
          put: async (key, text) => void ledger.set(key, text),
          delete: async (key) => void ledger.delete(key),
          list: async () => [...ledger],
        },
      },
      { budgetBytes },
    )
  const one = (index: number): Made => {
    const found = made[index]
    assert.ok(found)
    return found
  }
  const load = ({ image, archive }: Made): Promise<void> =>
    runtime.loadImage(image, createReadStream(archive), NEVER)

  before(async () => {
    const test = await testImage()
    bench = await Bench.open(test.image)
    const cache = process.env['CTD_IMAGE_CACHE'] ?? join(ROOT, '.cache/images')
    const layer = await hashLayer(join(cache, 'test-layer.tar'), NEVER)
    for (let i = 0; i < 4; i += 1) {
      const mark = randomBytes(6).toString('hex')
      const settings = {
        name: `computetorrent/budget:${mark}`,
        createdEpochSeconds: 0,
        command: ['sh'],
        env: { PATH: '/bin' },
        labels: { mark },
      }
      const archive = join(bench.folder, `${i}.tar`)
      made.push({ image: await writeImageArchive(settings, [layer], archive, NEVER), archive })
    }
    // Room for two of the four.
    images = engineImages(one(0).image.sizeBytes * 2.5)
    runtime = new DockerRuntime({ images })
  })
  after(async () => {
    const docker = new Docker({ socketPath: '/var/run/docker.sock' })
    for (const { image } of made) {
      await docker
        .getImage(image.name)
        .remove()
        .catch((error: { statusCode?: number }) => assert.equal(error.statusCode, 404))
    }
    await bench.close()
  })

  test('an archive says who its image is, plain and compressed', async () => {
    const { image, archive } = one(0)
    const { archiveSha256: _, ...ref } = image
    assert.deepEqual(await inspectImageArchive(archive, NEVER), { ...ref, isCompressed: false })
    const compressed = `${archive}.zst`
    await promisify(execFile)('zstd', ['-q', '-3', archive, '-o', compressed])
    assert.deepEqual(await inspectImageArchive(compressed, NEVER), { ...ref, isCompressed: true })
  })

  test('a compressed archive loads, and runs like any other', async () => {
    const { image, archive } = one(0)
    const compressed = await compressZstd(archive, NEVER)
    assert.ok(compressed)
    await runtime.loadImage(image, compressed, NEVER)
    assert.equal(await runtime.hasImage(image, NEVER), true)
    const { outcome } = await bench.run(bench.spec('echo ran > /out/a', { image }))
    assert.equal(outcome.status, 'succeeded', outcome.reason)
    assert.deepEqual(
      images.list().map(({ name }) => name),
      [image.name],
    )
  })

  test('IMAGE_ARCHIVE_REFUSED: an archive that unpacks to more than was pinned is refused', async () => {
    const { image, archive } = one(1)
    const compressed = await compressZstd(archive, NEVER)
    assert.ok(compressed)
    const pinned = { ...image, sizeBytes: image.sizeBytes - 4096 }
    await assert.rejects(runtime.loadImage(pinned, compressed, NEVER), {
      code: 'IMAGE_ARCHIVE_REFUSED',
    })
    assert.equal(await runtime.hasImage(image, NEVER), false)
  })

  test('the longest unused image makes room for the next', async () => {
    await load(one(1))
    await load(one(2))
    assert.deepEqual(
      await Promise.all([0, 1, 2].map((i) => runtime.hasImage(one(i).image, NEVER))),
      [false, true, true],
    )
    assert.ok(images.usedBytes <= images.budgetBytes)
  })

  test('IMAGE_BUDGET: what jobs need is not removed for another', async () => {
    leased.add(one(1).image.configDigest).add(one(2).image.configDigest)
    await assert.rejects(load(one(0)), { code: 'IMAGE_BUDGET' })
    assert.equal(await runtime.hasImage(one(1).image, NEVER), true)
    await assert.rejects(images.remove(one(1).image.configDigest, NEVER), { code: 'IMAGE_LEASED' })
    leased.clear()
  })

  test('IMAGE_LEASED: what a container runs stays, though nobody leases it', async () => {
    const { image } = one(1)
    const end = new AbortController()
    let onStarted = (): void => undefined
    const started = new Promise<void>((resolve) => {
      onStarted = resolve
    })
    const running = bench.run(bench.spec('sleep 60', { image }), end.signal, () => onStarted())
    await started
    await assert.rejects(images.remove(image.configDigest, NEVER), { code: 'IMAGE_LEASED' })
    end.abort()
    await running
    assert.equal(await images.remove(image.configDigest, NEVER), true)
    assert.equal(await runtime.hasImage(image, NEVER), false)
  })

  test('what the owner loaded is not recorded and never removed', async () => {
    await new DockerRuntime().loadImage(one(3).image, createReadStream(one(3).archive), NEVER)
    await load(one(3))
    assert.equal(await images.remove(one(3).image.configDigest, NEVER), false)
    await load(one(0))
    await load(one(1))
    assert.equal(await runtime.hasImage(one(3).image, NEVER), true)
  })

  test('what was loaded is known after a restart', async () => {
    const again = engineImages(images.budgetBytes)
    await again.load()
    assert.deepEqual(again.list(), images.list())
  })
})
