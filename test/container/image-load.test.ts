/** Images that come as archives: the right one loads, a wrong or broken one is refused. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import Docker from 'dockerode'
import {
  hashLayer,
  writeImageArchive,
  type WrittenImage,
} from '../../src/container/image-archive.js'
import { Bench, NEVER, SKIP, testImage, ROOT } from './harness.js'

describe('loading an image', { skip: SKIP, timeout: 120_000 }, () => {
  let bench: Bench
  let image: WrittenImage
  let archive: string
  before(async () => {
    bench = await Bench.open((await testImage()).image)
    archive = join(bench.folder, 'image.tar')
    const layer = await hashLayer(
      join(process.env['CTD_IMAGE_CACHE'] ?? join(ROOT, '.cache/images'), 'test-layer.tar'),
      NEVER,
    )
    const mark = randomBytes(6).toString('hex')
    const settings = {
      name: `computetorrent/test:${mark}`,
      createdEpochSeconds: 0,
      command: ['sh'],
      env: { PATH: '/bin' },
      labels: { mark },
    }
    image = await writeImageArchive(settings, [layer], archive, NEVER)
  })
  after(async () => {
    const docker = new Docker({ socketPath: '/var/run/docker.sock' })
    await docker
      .getImage(image.name)
      .remove()
      .catch((error: { statusCode?: number }) => {
        assert.equal(error.statusCode, 404)
      })
    await bench.close()
  })

  test('IMAGE_ARCHIVE_REFUSED: bytes that are no archive are refused', async () => {
    const garbage = Readable.from([Buffer.alloc(2048, 7)])
    await assert.rejects(bench.runtime.loadImage(image, garbage, NEVER), {
      code: 'IMAGE_ARCHIVE_REFUSED',
    })
    assert.equal(await bench.runtime.hasImage(image, NEVER), false)
  })

  test('IMAGE_ARCHIVE_REFUSED: an archive of another image is refused before it is loaded', async () => {
    const wanted = { ...image, configDigest: 'd'.repeat(64), manifestDigest: 'e'.repeat(64) }
    await assert.rejects(bench.runtime.loadImage(wanted, createReadStream(archive), NEVER), {
      code: 'IMAGE_ARCHIVE_REFUSED',
    })
    assert.equal(await bench.runtime.hasImage(image, NEVER), false)
  })

  test('an abort ends the loading', async () => {
    const reason = new Error('enough')
    const signal = AbortSignal.abort(reason)
    await assert.rejects(bench.runtime.loadImage(image, createReadStream(archive), signal), reason)
    assert.equal(await bench.runtime.hasImage(image, NEVER), false)
  })

  test('IMAGE_DIGEST_MISMATCH: an image with other layers than pinned is refused', async () => {
    const wanted = { ...image, diffIds: ['d'.repeat(64)] }
    await assert.rejects(bench.runtime.loadImage(wanted, createReadStream(archive), NEVER), {
      code: 'IMAGE_DIGEST_MISMATCH',
    })
  })

  test('an image loaded from its archive is there and runs', async () => {
    await bench.runtime.loadImage(image, createReadStream(archive), NEVER)
    assert.equal(await bench.runtime.hasImage(image, NEVER), true)
    const { outcome } = await bench.run(bench.spec('echo ran > /out/a', { image }))
    assert.equal(outcome.status, 'succeeded', outcome.reason)
  })
})
