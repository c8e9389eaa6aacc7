/** Image archives: the same bytes everywhere, and readable by other programs. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import {
  writeImageArchive,
  writeLayer,
  type LayerFile,
  type TarEntry,
  type WrittenImage,
} from '../../src/container/image-archive.js'

const NEVER = new AbortController().signal
const ENTRIES: readonly TarEntry[] = [
  { type: 'folder', path: 'opt', mode: 0o755 },
  { type: 'file', path: 'opt/a.py', mode: 0o644, content: Buffer.from('print(1)\n') },
  { type: 'link', path: 'opt/b.py', target: 'a.py' },
]
const SETTINGS = {
  name: 'computetorrent/x:1',
  createdEpochSeconds: 1795305600,
  command: ['python3'],
  env: { PATH: '/bin' },
  labels: {},
}

const VECTOR = {
  diffId: '0160d1ef7684fb2d517010de9503b0cc29e4b7b747961a347bc604402a3f0194',
  config: '9add63ae08ceb5e6319dcc79fdd75e4e8f3b252d12cae46f751d57157614a8e0',
  manifest: 'b9d1ed1167ded534479c6d1dbf798325be1ce5c31afc147202b8481d7e8d858e',
  archive: '982deed1364ad1be5d5ebad85fdeeb4d9ff372bcdbb8bdb57c8e458a85b4f5ca',
}

describe('an image archive', () => {
  let folder: string
  let layer: LayerFile
  let image: WrittenImage
  const archive = (): string => join(folder, 'image.tar')
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ctd-archive-'))
    layer = await writeLayer(
      ENTRIES,
      { path: join(folder, 'layer.tar'), epochSeconds: 1795305600 },
      NEVER,
    )
    image = await writeImageArchive(SETTINGS, [layer], archive(), NEVER)
  })
  after(async () => rm(folder, { recursive: true }))

  test('has the digests it had when this was written: a change here changes every pinned image', () => {
    assert.deepEqual(
      {
        diffId: layer.diffId,
        config: image.configDigest,
        manifest: image.manifestDigest,
        archive: image.archiveSha256,
      },
      VECTOR,
    )
  })

  test('is named by the digest of its own bytes', async () => {
    const bytes = await readFile(archive())
    assert.equal(createHash('sha256').update(bytes).digest('hex'), image.archiveSha256)
    assert.equal(bytes.length, image.sizeBytes)
  })

  test('is understood by tar, and each blob is what its name says', () => {
    const read = (name: string): Buffer => execFileSync('tar', ['-xOf', archive(), name])
    const blobs = [image.configDigest, image.manifestDigest, layer.diffId]
    for (const digest of blobs) {
      assert.equal(
        createHash('sha256')
          .update(read(`blobs/sha256/${digest}`))
          .digest('hex'),
        digest,
      )
    }
    const config = JSON.parse(read(`blobs/sha256/${image.configDigest}`).toString())
    assert.deepEqual(config.rootfs.diff_ids, [`sha256:${layer.diffId}`])
    assert.equal(config.created, '2026-11-22T00:00:00Z')
    assert.equal(config.config.User, '65534:65534')
    const listed = execFileSync('tar', ['--numeric-owner', '--utc', '-tvf', layer.path]).toString()
    assert.match(
      listed,
      /^drwxr-xr-x 0\/0 +0 2026-11-22 00:00 opt\/\n-rw-r--r-- 0\/0 +9 2026-11-22 00:00 opt\/a\.py\nlrwxrwxrwx 0\/0 +0 .* opt\/b\.py -> a\.py\n$/,
    )
  })

  test('IMAGE_LAYER_CHANGED: a layer that is not what its digest names is refused, and no file is left', async () => {
    const path = join(folder, 'changed.tar')
    const changed = await writeLayer(ENTRIES, { path, epochSeconds: 0 }, NEVER)
    await appendFile(path, 'x')
    const out = join(folder, 'never.tar')
    await assert.rejects(writeImageArchive(SETTINGS, [changed], out, NEVER), {
      code: 'IMAGE_LAYER_CHANGED',
    })
    await assert.rejects(readFile(out), { code: 'ENOENT' })
    await assert.rejects(readFile(`${out}.partial`), { code: 'ENOENT' })
  })

  test('IMAGE_LAYER_TOO_LARGE: a layer beyond the tar format is refused', async () => {
    const huge = { ...layer, sizeBytes: 8 * 1024 ** 3 }
    await assert.rejects(writeImageArchive(SETTINGS, [huge], archive(), NEVER), {
      code: 'IMAGE_LAYER_TOO_LARGE',
    })
  })
})
