import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { BlobStore } from '../../src/blob/blob-store.js'
import { createManifest, isPiece, parseManifest, pieceBytesOf } from '../../src/blob/manifest.js'
import { Turns } from '../../src/blob/turns.js'
import { diskError } from '../../src/errors.js'
import { digestOf, sha256, utf8 } from '../../src/wire/ids.js'

const MIB = 1024 * 1024
const root = await mkdtemp(join(tmpdir(), 'ctd-store-'))
after(() => rm(root, { recursive: true, force: true }))

const newStore = async (quotaBytes = 64 * MIB): Promise<{ dir: string; store: BlobStore }> => {
  const dir = await mkdtemp(join(root, 's-'))
  return { dir, store: await BlobStore.open(dir, { quotaBytes }) }
}

/** The digest by the definition, written down a second time. */
function expectedDigest(bytes: Buffer): string {
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(BigInt(bytes.length))
  const manifest = createHash('sha256').update(size)
  for (let at = 0; at < bytes.length; at += MIB) {
    manifest.update(
      createHash('sha256')
        .update(bytes.subarray(at, at + MIB))
        .digest(),
    )
  }
  return manifest.digest('hex')
}

test('a blob is named by the digest of its size and piece hashes', async () => {
  const { store, dir } = await newStore()
  for (const size of [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB]) {
    const bytes = randomBytes(size)
    const { digest, sizeBytes } = await store.addBytes(bytes)
    assert.equal(digest, expectedDigest(bytes))
    assert.equal(sizeBytes, size)
    assert.equal(store.size(digest), size)
    assert.deepEqual(await readFile(store.path(digest)), bytes)
    assert.deepEqual(Buffer.from(await store.readBytes(digest, size)), bytes)
    assert.equal((await store.readManifest(digest)).digest, digest)
    const path = join(dir, 'source')
    await writeFile(path, bytes)
    assert.equal((await store.addFile(path)).digest, digest)
  }
  assert.equal(store.list().length, 6)
  assert.equal(store.usedBytes, 3 * MIB + MIB + 1 + MIB + MIB - 1 + 1)
})

test('a stream is cut into the same pieces however it is chunked', async () => {
  const { store } = await newStore()
  const bytes = randomBytes(2 * MIB + 77)
  const { digest } = await store.addBytes(bytes)
  const chunks = Array.from({ length: 41 }, (_, i) =>
    bytes.subarray(Math.floor((i * bytes.length) / 41), Math.floor(((i + 1) * bytes.length) / 41)),
  )
  assert.equal((await store.addStream(chunks)).digest, digest)
  assert.equal(store.usedBytes, bytes.length, 'the second copy takes no space')
})

test('blobs survive reopening and half-written ones do not', async () => {
  const { store, dir } = await newStore()
  const whole = await store.addBytes(randomBytes(MIB))
  const torn = await store.addBytes(randomBytes(2 * MIB))
  const orphan = await store.addBytes(randomBytes(10))
  await truncate(store.path(torn.digest), MIB)
  await rm(`${store.path(orphan.digest)}.manifest`)
  await writeFile(join(dir, 'tmp', '1'), 'half')
  const again = await BlobStore.open(dir, { quotaBytes: 64 * MIB })
  assert.deepEqual(again.list(), [{ digest: whole.digest, sizeBytes: MIB }])
  assert.equal(again.usedBytes, MIB)
  assert.deepEqual(await readdir(join(dir, 'tmp')), [])
  await assert.rejects(stat(store.path(torn.digest)), { code: 'ENOENT' })
})

test('DISK_QUOTA is thrown before bytes are written and leaves nothing behind', async () => {
  const { store, dir } = await newStore(3 * MIB)
  await store.addBytes(randomBytes(2 * MIB), { holder: 'job' })
  await assert.rejects(store.addBytes(randomBytes(2 * MIB)), (error) => {
    assert.ok(error instanceof Error && 'code' in error && 'hint' in error)
    assert.equal(error.code, 'DISK_QUOTA')
    assert.match(String(error.hint), /quota/)
    return true
  })
  assert.equal(store.usedBytes, 2 * MIB)
  assert.deepEqual(await readdir(join(dir, 'tmp')), [])
  await store.addBytes(randomBytes(MIB))
})

test('a removed blob frees its space and is BLOB_UNKNOWN', async () => {
  const { store } = await newStore()
  const { digest } = await store.addBytes(utf8('gone'))
  await store.remove(digest)
  await store.remove(digest)
  assert.equal(store.usedBytes, 0)
  assert.equal(store.has(digest), false)
  assert.throws(() => store.path(digest), { code: 'BLOB_UNKNOWN' })
  await assert.rejects(store.readBytes(digest, 10), { code: 'BLOB_UNKNOWN' })
})

test('BLOB_TOO_LARGE stops a source that does not end and a read that is too long', async () => {
  const { store, dir } = await newStore()
  let yielded = 0
  function* endless(): Generator<Uint8Array> {
    for (;;) {
      yielded += 1
      yield new Uint8Array(MIB)
    }
  }
  await assert.rejects(store.addStream(endless(), { maxBytes: 3 * MIB }), {
    code: 'BLOB_TOO_LARGE',
  })
  assert.ok(yielded <= 5)
  assert.equal(store.usedBytes, 0)
  assert.deepEqual(await readdir(join(dir, 'tmp')), [])
  const { digest } = await store.addBytes(new Uint8Array(11))
  await assert.rejects(store.readBytes(digest, 10), { code: 'BLOB_TOO_LARGE' })
})

test('equal bytes written at the same time are one blob and take its space once', async () => {
  const { store } = await newStore()
  const bytes = randomBytes(MIB + 5)
  const added = await Promise.all([1, 2, 3].map(() => store.addBytes(bytes)))
  assert.equal(new Set(added.map(({ digest }) => digest)).size, 1)
  assert.equal(store.usedBytes, bytes.length)
})

test('a full disk is DISK_FULL with a hint', () => {
  const error = diskError(Object.assign(new Error('no space'), { code: 'ENOSPC' }))
  assert.ok(error instanceof Error && 'code' in error)
  assert.equal(error.code, 'DISK_FULL')
  const other = new Error('other')
  assert.equal(diskError(other), other)
})

test('BAD_MANIFEST is any length or size that does not fit the hashes', () => {
  const good = createManifest(MIB + 1, [sha256(utf8('a')), sha256(utf8('b'))])
  assert.equal(good.digest, digestOf(good.bytes))
  assert.equal(pieceBytesOf(good, 1), 1)
  const sized = (size: bigint, hashes: number): Uint8Array => {
    const bytes = Buffer.alloc(8 + 32 * hashes)
    bytes.writeBigUInt64BE(size)
    return new Uint8Array(bytes)
  }
  for (const bytes of [
    new Uint8Array(),
    new Uint8Array(7),
    good.bytes.subarray(0, -1),
    sized(0n, 1),
    sized(1n, 0),
    sized(BigInt(MIB), 2),
    sized(BigInt(MIB) + 1n, 1),
    sized(1n, 100),
  ]) {
    assert.throws(() => parseManifest(bytes), { code: 'BAD_MANIFEST' })
  }
  assert.throws(() => parseManifest(sized(2n ** 64n - 1n, 1)), { code: 'BLOB_TOO_LARGE' })
  assert.equal(parseManifest(sized(0n, 0)).pieceCount, 0)
})

test('a piece is right only with exactly its bytes', () => {
  const last = utf8('!')
  const first = new Uint8Array(MIB).fill(3)
  const manifest = createManifest(MIB + 1, [sha256(first), sha256(last)])
  assert.ok(isPiece(manifest, 0, first))
  assert.ok(isPiece(manifest, 1, last))
  assert.ok(!isPiece(manifest, 1, utf8('?')))
  assert.ok(!isPiece(manifest, 0, first.subarray(1)))
  assert.ok(!isPiece(manifest, 1, new Uint8Array()))
})

test('turns run a bounded number at once, in order, and one that gave up is skipped', async () => {
  const turns = new Turns(2)
  const signal = new AbortController().signal
  const impatient = new AbortController()
  const started: number[] = []
  const ends: (() => void)[] = []
  const work = (n: number) => () =>
    new Promise<number>((resolve) => {
      started.push(n)
      ends.push(() => resolve(n))
    })
  const runs = [0, 1, 2, 3].map((n) => turns.run(work(n), n === 2 ? impatient.signal : signal))
  const gaveUp = assert.rejects(runs[2] ?? Promise.resolve(), { name: 'AbortError' })
  assert.deepEqual(started, [0, 1])
  impatient.abort()
  await gaveUp
  ends[0]?.()
  assert.equal(await runs[0], 0)
  assert.deepEqual(started, [0, 1, 3])
  ends[1]?.()
  ends[2]?.()
  assert.deepEqual(await Promise.all([runs[1], runs[3]]), [1, 3])
  assert.equal(await turns.run(async () => 9, signal), 9)
})

test('the blob not used for longest goes when room is needed, and one in use does not', async () => {
  const { store, dir } = await newStore(3 * MIB)
  const first = await store.addBytes(randomBytes(MIB))
  const second = await store.addBytes(randomBytes(MIB))
  const third = await store.addBytes(randomBytes(MIB))
  store.path(first.digest)
  const fourth = await store.addBytes(randomBytes(MIB))
  assert.deepEqual(
    store.list().map(({ digest }) => digest),
    [third.digest, first.digest, fourth.digest],
  )
  assert.equal(store.usedBytes, 3 * MIB)
  await assert.rejects(stat(join(dir, second.digest.slice(0, 2), second.digest)), {
    code: 'ENOENT',
  })
})

test('DISK_QUOTA is thrown rather than a held blob removed, until its holder lets go', async () => {
  const { store } = await newStore(2 * MIB)
  const held = await store.addStream([randomBytes(MIB)], { holder: 'job 1' })
  store.hold('job 2', held.digest)
  const free = await store.addBytes(randomBytes(MIB))
  await assert.rejects(store.addBytes(randomBytes(2 * MIB)), { code: 'DISK_QUOTA' })
  assert.ok(store.has(held.digest))
  store.release('job 1')
  await assert.rejects(store.addBytes(randomBytes(2 * MIB)), { code: 'DISK_QUOTA' })
  store.release('job 2')
  const next = await store.addBytes(randomBytes(2 * MIB))
  assert.deepEqual(store.list(), [{ digest: next.digest, sizeBytes: 2 * MIB }])
  assert.equal(store.has(free.digest), false)
})

test('nothing is removed where that would not make enough room', async () => {
  const { store } = await newStore(3 * MIB)
  await store.addStream([randomBytes(2 * MIB)], { holder: 'job' })
  const path = join(root, 'large')
  await writeFile(path, randomBytes(2 * MIB))
  const free = await store.addBytes(randomBytes(MIB))
  await assert.rejects(store.addFile(path), { code: 'DISK_QUOTA' })
  assert.ok(store.has(free.digest))
})

test('an abandoned fetch makes room before any blob does, one under way never', async () => {
  const { store, dir } = await newStore(3 * MIB)
  const blob = await store.addBytes(randomBytes(MIB))
  const manifest = createManifest(MIB, [sha256(randomBytes(MIB))])
  const partial = await store.openPartial(manifest)
  await assert.rejects(store.addBytes(randomBytes(3 * MIB)), { code: 'DISK_QUOTA' })
  assert.notEqual(await store.partialManifest(manifest.digest), undefined)
  await partial.close()
  await store.addBytes(randomBytes(2 * MIB))
  assert.ok(store.has(blob.digest))
  assert.equal(await store.partialManifest(manifest.digest), undefined)
  assert.deepEqual(await readdir(join(dir, 'partial')), [])
})
