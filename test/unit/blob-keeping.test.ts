/** What keeps blobs: names, pins, provider records, links, and the search for rot. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  link,
  mkdir,
  mkdtemp,
  open,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { CID } from 'multiformats/cid'
import { create } from 'multiformats/hashes/digest'
import { BlobStore } from '../../src/blob/blob-store.js'
import { addFolder, folderFiles } from '../../src/blob/folder.js'
import { Pins } from '../../src/blob/pins.js'
import type { PinLedger } from '../../src/blob/pins.js'
import { ProviderRecords } from '../../src/blob/provider-records.js'
import { Scrubber } from '../../src/blob/scrubber.js'
import type { Rot } from '../../src/blob/scrubber.js'
import type { Clock } from '../../src/clock.js'
import { CtdError } from '../../src/errors.js'
import { silentLog } from '../../src/log.js'
import { cidOf, parseBlobName } from '../../src/wire/cid.js'
import { fromHex, parseDigest } from '../../src/wire/ids.js'
import type { Digest } from '../../src/wire/ids.js'

const MIB = 1024 * 1024
const NEVER = new AbortController().signal
const root = await mkdtemp(join(tmpdir(), 'ctd-keep-'))
after(() => rm(root, { recursive: true, force: true }))

async function newStore(quotaBytes = 64 * MIB): Promise<{ store: BlobStore; dir: string }> {
  const dir = await mkdtemp(join(root, 'store-'))
  return { store: await BlobStore.open(dir, { quotaBytes }), dir }
}

/** Time that passes when the test says so. */
class HandClock implements Clock {
  ms = 1_000_000
  readonly timers = new Map<() => void, number>()

  now(): number {
    return this.ms
  }
  after(ms: number, call: () => void): () => void {
    this.timers.set(call, this.ms + ms)
    return () => void this.timers.delete(call)
  }
  /** Calls what is due, earliest first, with room for what it starts. */
  async pass(ms: number): Promise<void> {
    const endMs = this.ms + ms
    for (;;) {
      for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve))
      const [next] = [...this.timers].sort((a, b) => a[1] - b[1])
      if (next === undefined || next[1] > endMs) break
      this.timers.delete(next[0])
      this.ms = Math.max(this.ms, next[1])
      next[0]()
    }
    this.ms = endMs
  }
}

function newLedger(): PinLedger & { readonly records: Map<string, string> } {
  const records = new Map<string, string>()
  return {
    records,
    put: async (digest, text) => void records.set(digest, text),
    delete: async (digest) => void records.delete(digest),
    list: async () => [...records],
  }
}

function newPins(store: BlobStore, ledger: PinLedger): Pins {
  const files = (digest: Digest): ReturnType<typeof folderFiles> => folderFiles(store, digest)
  return new Pins({ store, ledger, clock: new HandClock(), folderFiles: files })
}

/** Changes one byte of a blob on the disk. */
async function spoil(store: BlobStore, digest: Digest, at: number): Promise<void> {
  const path = store.path(digest)
  const file = await open(path, 'r+')
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at)
  await file.write(Buffer.of((buffer[0] ?? 0) ^ 1), 0, 1, at)
  await file.close()
}

test('a digest and its CID name the same blob, as the world writes it', () => {
  for (let i = 0; i < 50; i += 1) {
    const digest = parseDigest(randomBytes(32).toString('hex'))
    const cid = CID.createV1(0x55, create(0x12, fromHex(digest))).toString()
    assert.equal(cidOf(digest), cid)
    assert.equal(parseBlobName(cid), digest)
    assert.equal(parseBlobName(digest), digest)
  }
})

test('BAD_DIGEST: other hashes, codecs, bases and spare bits name no blob', () => {
  const digest = parseDigest('a'.repeat(64))
  const cid = cidOf(digest)
  const names = [
    '',
    'abc',
    digest.toUpperCase(),
    `${digest}0`,
    cid.toUpperCase(),
    `${cid.slice(0, -1)}${cid.endsWith('b') ? 'c' : 'b'}`,
    CID.createV1(0x70, create(0x12, fromHex(digest))).toString(),
    CID.createV1(0x55, create(0x1b, fromHex(digest))).toString(),
    'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG',
  ]
  for (const name of names) {
    assert.throws(() => parseBlobName(name), { code: 'BAD_DIGEST' }, name)
  }
})

test('a pin keeps a folder with all its files, also after a restart', async () => {
  const { store, dir } = await newStore(4 * MIB)
  const source = await mkdtemp(join(root, 'source-'))
  await writeFile(join(source, 'a'), randomBytes(MIB))
  await writeFile(join(source, 'b'), randomBytes(MIB))
  const { digest, files } = await addFolder(store, source)
  const ledger = newLedger()
  await newPins(store, ledger).add(digest, 'two files')
  const again = await BlobStore.open(dir, { quotaBytes: 4 * MIB })
  const pins = newPins(again, ledger)
  await pins.load()
  assert.deepEqual(
    pins.list().map(({ name }) => name),
    ['two files'],
  )
  await assert.rejects(again.addBytes(randomBytes(3 * MIB)), { code: 'DISK_QUOTA' })
  for (const file of files) assert.ok(again.has(file.digest))
  assert.equal(await pins.remove(digest), true)
  await again.addBytes(randomBytes(3 * MIB))
  assert.equal(ledger.records.size, 0)
})

test('BLOB_UNKNOWN: a folder of which a file is missing cannot be pinned', async () => {
  const { store } = await newStore()
  const source = await mkdtemp(join(root, 'source-'))
  await writeFile(join(source, 'a'), 'text')
  const { digest, files } = await addFolder(store, source)
  await store.remove(files[0]?.digest ?? digest)
  const pins = newPins(store, newLedger())
  await assert.rejects(pins.add(digest, ''), { code: 'BLOB_UNKNOWN' })
  assert.equal(store.isHeld(digest), false)
})

test('a linked file is not copied, and its name is that of its bytes', async () => {
  const { store } = await newStore()
  const bytes = randomBytes(2 * MIB + 5)
  const path = join(root, 'linked.bin')
  await writeFile(path, bytes)
  await symlink(path, join(root, 'way'))
  const added = await store.linkFile(join(root, 'way'))
  assert.equal(added.digest, (await (await newStore()).store.addBytes(bytes)).digest)
  assert.equal((await stat(store.path(added.digest))).ino, (await stat(path)).ino)
  assert.deepEqual(await readFile(store.path(added.digest)), bytes)
  assert.equal((await store.linkFile(path)).isNew, false)
  assert.equal(store.usedBytes, bytes.length)
})

test('CANNOT_LINK: a file of another file system is refused and takes no room', async () => {
  const { store } = await newStore()
  // The file system of processes gives sizes of 0 and cannot be linked into any other.
  await assert.rejects(store.linkFile('/proc/self/status'), { code: 'CANNOT_LINK' })
  assert.equal(store.usedBytes, 0)
})

test('provider records are told again until a peer has taken them', async () => {
  const clock = new HandClock()
  let peers = 0
  let takers = 0
  const told: Digest[] = []
  const withdrawn: Digest[] = []
  const records = new ProviderRecords({
    clock,
    log: silentLog,
    transport: {
      connectedPeers: () => Array.from({ length: peers }, () => 'peer' as never),
      provide: async (digest) => {
        told.push(digest)
        return takers
      },
      withdraw: async (digest) => void withdrawn.push(digest),
    },
  })
  const digest = parseDigest('a'.repeat(64))
  records.provide(digest)
  await clock.pass(60_000)
  assert.deepEqual(told, [], 'nobody was there to be told')
  peers = 1
  records.onConnected()
  await clock.pass(10_000)
  assert.ok(told.length >= 2, 'told again while nobody takes it')
  assert.equal(records.isTold(digest), false)
  takers = 1
  await clock.pass(600_000)
  assert.equal(records.isTold(digest), true)
  const before = told.length
  await clock.pass(3_600_000)
  assert.equal(told.length, before, 'told no more once it holds')
  await records.withdraw(digest)
  assert.deepEqual([withdrawn, records.isTold(digest)], [[digest], false])
  records.stop()
})

interface Scrubbed {
  readonly store: BlobStore
  readonly scrubber: Scrubber
  readonly told: Rot[]
  /** Blobs that other peers have. */
  readonly others: Map<Digest, Buffer>
  readonly clock: HandClock
  isIdle: boolean
}

async function newScrubber(): Promise<Scrubbed> {
  const { store } = await newStore()
  const others = new Map<Digest, Buffer>()
  const told: Rot[] = []
  const clock = new HandClock()
  const setting: Scrubbed = {
    store,
    others,
    told,
    clock,
    isIdle: true,
    scrubber: new Scrubber(
      {
        store,
        clock,
        log: silentLog,
        isIdle: () => setting.isIdle,
        refetch: async (digest) => {
          const bytes = others.get(digest)
          if (bytes === undefined) throw new CtdError('BLOB_UNAVAILABLE', 'nobody has it')
          await store.addBytes(bytes)
        },
        onRot: (rot) => told.push(rot),
      },
      { bytesPerSecond: MIB, restMs: 1_000, roundMs: 100_000 },
    ),
  }
  return setting
}

test('scrubbing finds one changed byte among sound blobs, and mends it from a peer', async () => {
  const { store, scrubber, others, told } = await newScrubber()
  const bytes = randomBytes(3 * MIB)
  const { digest } = await store.addBytes(bytes)
  await store.addBytes(randomBytes(MIB))
  others.set(digest, bytes)
  await spoil(store, digest, 2 * MIB + 7)
  const report = await scrubber.scrub(NEVER, () => undefined)
  const rot = { digest, sizeBytes: 3 * MIB, pieces: 1, outcome: 'refetched' }
  assert.deepEqual([report.blobs, report.rotten, told], [2, [rot], [rot]])
  assert.deepEqual(await readFile(store.path(digest)), bytes)
  assert.equal(store.usedBytes, 4 * MIB)
  assert.deepEqual((await scrubber.scrub(NEVER, () => undefined)).rotten, [])
})

test('a blob that is suspected is read at once and no other', async () => {
  const { store, scrubber, others, told } = await newScrubber()
  const bytes = randomBytes(2 * MIB)
  const [bad, also] = [await store.addBytes(bytes), await store.addBytes(randomBytes(MIB))]
  others.set(bad.digest, bytes)
  await spoil(store, bad.digest, MIB + 7)
  await spoil(store, also.digest, 7)
  await scrubber.suspect(bad.digest)
  const rot = { digest: bad.digest, sizeBytes: 2 * MIB, pieces: 1, outcome: 'refetched' }
  assert.deepEqual(told, [rot])
  assert.deepEqual(await readFile(store.path(bad.digest)), bytes)
})

test('a rotten blob that nobody has is dropped, one that is held stays aside until a peer has it', async () => {
  const { store, scrubber, others } = await newScrubber()
  const free = await store.addBytes(randomBytes(MIB))
  const bytes = randomBytes(MIB)
  const held = await store.addBytes(bytes, { holder: 'pin' })
  await spoil(store, free.digest, 3)
  await spoil(store, held.digest, 3)
  const first = await scrubber.scrub(NEVER, () => undefined)
  assert.deepEqual(
    first.rotten.map(({ outcome }) => outcome),
    ['dropped', 'set-aside'],
  )
  assert.deepEqual([store.has(free.digest), store.has(held.digest)], [false, false])
  assert.equal(store.usage().rotten, 1)
  assert.equal(store.usedBytes, MIB)
  others.set(held.digest, bytes)
  await scrubber.scrub(NEVER, () => undefined)
  assert.ok(store.has(held.digest))
  assert.equal(store.usage().rotten, 0)
  assert.equal(store.usedBytes, MIB)
})

test('a file that has gone or shrunk is rot like any other', async () => {
  const { store, scrubber } = await newScrubber()
  const gone = await store.addBytes(randomBytes(MIB))
  const short = await store.addBytes(randomBytes(2 * MIB))
  await rm(store.path(gone.digest))
  await link(store.path(short.digest), join(root, 'short'))
  const file = await open(join(root, 'short'), 'r+')
  await file.truncate(MIB)
  await file.close()
  const { rotten } = await scrubber.scrub(NEVER, () => undefined)
  assert.deepEqual(
    new Set(rotten.map(({ digest }) => digest)),
    new Set([gone.digest, short.digest]),
  )
  assert.deepEqual([store.list(), store.usedBytes], [[], 0])
})

test('in the background a blob is read slowly, only while the machine is idle, and once a round', async () => {
  const setting = await newScrubber()
  const { store, scrubber, clock, told } = setting
  const { digest } = await store.addBytes(randomBytes(4 * MIB))
  await spoil(store, digest, 0)
  setting.isIdle = false
  scrubber.start()
  await clock.pass(60_000)
  assert.equal(told.length, 0, 'busy: nothing is judged')
  setting.isIdle = true
  await until(async () => {
    await clock.pass(5_000)
    return told.length > 0
  })
  assert.deepEqual(
    told.map(({ outcome }) => outcome),
    ['dropped'],
  )
  scrubber.stop()
})

test('blobs set aside are the first to go when room is needed', async () => {
  const { store } = await newStore(3 * MIB)
  const held = await store.addBytes(randomBytes(2 * MIB), { holder: 'pin' })
  await store.setAside(held.digest)
  assert.equal(store.usedBytes, 2 * MIB)
  await store.addBytes(randomBytes(2 * MIB))
  assert.deepEqual([store.usage().rotten, store.usedBytes], [0, 2 * MIB])
})

/** Asks again a bounded number of times; the disk takes its own time. */
async function until(isDone: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 2_000; i += 1) if (await isDone()) return
  assert.fail('it never came to be')
}

test('what is set aside is known after a restart', async () => {
  const { store, dir } = await newStore()
  const { digest } = await store.addBytes(randomBytes(MIB))
  await store.setAside(digest)
  await mkdir(join(dir, 'rotten', 'not-ours'), { recursive: true })
  const again = await BlobStore.open(dir, { quotaBytes: 64 * MIB })
  assert.deepEqual(again.rotten(), [{ digest, sizeBytes: MIB }])
  await again.dropRotten(digest)
  assert.equal(again.usedBytes, 0)
})
