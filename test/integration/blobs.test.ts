/** Bytes between real daemons, as their owners move them: add, get, kill, resume, pin, remove. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { open, readdir, readFile, writeFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type {
  AddedView,
  BlobView,
  FetchedView,
  FetchProgressView,
  StorageView,
} from '../../src/api/blob-port.js'
import { errorCode } from '../../src/errors.js'
import { CTD, until } from '../../scripts/local-network.js'
import type { LocalPeer } from '../../scripts/local-network.js'
import { PATIENCE_MS, Stage } from './stage.js'

const MIB = 1024 ** 2
const BIG_BYTES = 512 * MIB
const NEVER = new AbortController().signal

/** A file of bytes that cannot be compressed, written without holding them. */
async function writeRandom(path: string, bytes: number): Promise<string> {
  const hash = createHash('sha256')
  const file = await open(path, 'wx')
  for (let at = 0; at < bytes; at += MIB) {
    const piece = randomBytes(Math.min(MIB, bytes - at))
    hash.update(piece)
    await file.write(piece)
  }
  await file.close()
  return hash.digest('hex')
}

async function fileHash(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** Runs the command line of a peer's owner. */
async function ctd(peer: LocalPeer, ...args: string[]): Promise<{ stdout: string; code: number }> {
  return promisify(execFile)(process.execPath, [CTD, '--home', peer.home, '--json', ...args]).then(
    ({ stdout }) => ({ stdout, code: 0 }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      stdout: error.stderr,
      code: error.code,
    }),
  )
}

describe('blobs between daemons', { timeout: 300_000 }, async () => {
  const stage = await Stage.open()
  let alice: LocalPeer
  let bob: LocalPeer
  before(async () => {
    alice = await stage.start('alice', { execute: false })
    const bootstrap = alice.node?.addresses.slice(0, 1) ?? []
    bob = await stage.start('bob', { execute: false, bootstrap })
    await until('bob to meet alice', PATIENCE_MS, async () => {
      const node = await bob.client.get<{ connectedPeers: number }>('/v1/node')
      return node.connectedPeers > 0 ? true : undefined
    })
  })

  test('what one owner adds another gets by its CID, folders with every file', async () => {
    const folder = join(stage.dir, 'data')
    await mkdir(join(folder, 'deep'), { recursive: true })
    await writeFile(join(folder, 'deep', 'words.txt'), 'some words')
    await writeFile(join(folder, 'numbers.bin'), randomBytes(3 * MIB + 1))
    const added = await ctd(alice, 'add', folder)
    assert.equal(added.code, 0, added.stdout)
    const { cid, digest } = JSON.parse(added.stdout) as AddedView
    await until('the DHT to know the folder', PATIENCE_MS, async () => {
      const view = await alice.client.get<BlobView>(`/v1/blobs/${digest}`)
      return view.isProvided ? true : undefined
    })
    const out = join(stage.dir, 'copy')
    const got = await ctd(bob, 'get', cid, '--out', out)
    assert.equal(got.code, 0, got.stdout)
    for (const path of ['deep/words.txt', 'numbers.bin']) {
      assert.deepEqual(await readFile(join(out, path)), await readFile(join(folder, path)))
    }
    const again = await ctd(bob, 'get', digest, '--out', `${out}-again`)
    assert.equal((JSON.parse(again.stdout) as FetchedView).fetchedBytes, 0)
  })

  test('a fetch that was killed goes on where it was: no verified piece comes twice', async () => {
    const path = join(stage.dir, 'big.bin')
    const hash = await writeRandom(path, BIG_BYTES)
    const added = await ctd(alice, 'add', path, '--no-copy')
    assert.equal(added.code, 0, added.stdout)
    const { digest } = JSON.parse(added.stdout) as AddedView
    const seen: FetchProgressView[] = []
    const killed = bob.client.work<FetchProgressView, FetchedView>(
      `/v1/blobs/${digest}/fetch`,
      {},
      (progress) => {
        seen.push(progress)
        if (progress.doneBytes > BIG_BYTES / 10) bob.process.kill('SIGKILL')
      },
      NEVER,
    )
    await assert.rejects(killed)
    await bob.kill()
    const doneBytes = seen.at(-1)?.doneBytes ?? 0
    assert.ok(doneBytes > 0 && doneBytes < BIG_BYTES, `killed at ${doneBytes}`)

    const bootstrap = alice.node?.addresses.slice(0, 1) ?? []
    bob = await stage.start('bob', { execute: false, bootstrap })
    const out = join(stage.dir, 'big-copy.bin')
    const got = await ctd(bob, 'get', digest, '--out', out, '--from', alice.peerId)
    assert.equal(got.code, 0, got.stdout)
    const { fetchedBytes, totalBytes } = JSON.parse(got.stdout) as FetchedView
    assert.equal(totalBytes, BIG_BYTES)
    assert.ok(
      fetchedBytes <= BIG_BYTES - doneBytes,
      `${fetchedBytes} came again though ${doneBytes} were verified`,
    )
    assert.equal(await fileHash(out), hash)
    assert.deepEqual(
      (await readdir(stage.dir)).filter((name) => name.endsWith('.ctd-part')),
      [],
    )
  })

  test('DISK_QUOTA: what does not fit is refused, pins survive a restart, and rm makes room', async () => {
    const bootstrap = alice.node?.addresses.slice(0, 1) ?? []
    const config = { diskMiB: 256 }
    let carol = await stage.start('carol', { execute: false, bootstrap, config })
    const bytes = randomBytes(200 * MIB)
    const { digest } = await carol.client.upload(Readable.from([bytes]))
    await carol.client.put(`/v1/blobs/${digest}/pin`, { name: 'mine' })
    await carol.stop()
    carol = await stage.start('carol', { execute: false, bootstrap, config })
    await assert.rejects(carol.client.upload(Readable.from([randomBytes(100 * MIB)])), (error) => {
      assert.equal(errorCode(error), 'DISK_QUOTA')
      return true
    })
    const [pinned] = await carol.client.get<readonly BlobView[]>('/v1/blobs')
    assert.deepEqual([pinned?.digest, pinned?.name], [digest, 'mine'])
    const storage = await carol.client.get<StorageView>('/v1/storage')
    assert.deepEqual([storage.usedBytes, storage.pinnedBytes], [200 * MIB, 200 * MIB])

    await carol.client.delete(`/v1/blobs/${digest}`)
    await carol.client.upload(Readable.from([randomBytes(100 * MIB)]))
    const gone = bob.client.work(`/v1/blobs/${digest}/fetch`, {}, () => undefined, NEVER)
    await assert.rejects(gone, { code: 'BLOB_UNAVAILABLE' })
  })
})
