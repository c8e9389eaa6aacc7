/** A disk that is really full: a small file system of its own under the blob store. Needs root. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { BlobStore } from '../../src/blob/blob-store.js'
import { createManifest } from '../../src/blob/manifest.js'
import { sha256 } from '../../src/wire/ids.js'
import { SKIP } from './harness.js'

const MIB = 1024 * 1024
const run = promisify(execFile)

describe('a full disk', { skip: SKIP, timeout: 60_000 }, () => {
  let root: string
  let disk: string
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'ctd-disk-'))
    disk = join(root, 'disk')
    await mkdir(disk)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk])
  })
  after(async () => {
    await run('umount', [disk])
    await rm(root, { recursive: true, force: true })
  })

  test('DISK_FULL: a blob that does not fit leaves nothing, and the others are whole', async () => {
    const dir = join(disk, 'blobs')
    // The quota promises more than the disk has.
    const store = await BlobStore.open(dir, { quotaBytes: 64 * MIB })
    const bytes = randomBytes(3 * MIB)
    const kept = await store.addBytes(bytes, { holder: 'pin' })
    await assert.rejects(store.addBytes(randomBytes(6 * MIB)), { code: 'DISK_FULL' })
    assert.equal(store.usedBytes, 3 * MIB)
    assert.deepEqual(await readdir(join(dir, 'tmp')), [])

    const pieces = Array.from({ length: 6 }, () => randomBytes(MIB))
    const manifest = createManifest(
      6 * MIB,
      pieces.map((piece) => sha256(piece)),
    )
    const fetched = async (): Promise<void> => {
      const partial = await store.openPartial(manifest)
      try {
        for (const [i, piece] of pieces.entries()) await partial.write(i, piece)
        await partial.sync()
      } finally {
        await partial.close()
      }
    }
    await assert.rejects(fetched(), (error) => {
      assert.match(String(error), /ENOSPC|disk is full/)
      return true
    })
    await store.dropPartial(manifest.digest)

    // Afterwards all goes on: what was here is whole, what fits now is taken.
    assert.deepEqual(await readFile(store.path(kept.digest)), bytes)
    await store.addBytes(randomBytes(2 * MIB))
    const again = await BlobStore.open(dir, { quotaBytes: 64 * MIB })
    assert.equal(again.usedBytes, 5 * MIB)
    assert.deepEqual(await again.rottenPieces(kept.digest, async () => undefined), [])
  })
})
