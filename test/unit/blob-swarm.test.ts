/** Fetches over streams in memory: peers that join, help each other, lie, trickle and vanish. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { chmod, mkdtemp, open, readFile, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import {
  FRAME,
  MANIFEST_REQUEST,
  decodeRequest,
  encodeFrame,
  encodeHave,
} from '../../src/blob/blob-protocol.js'
import { BlobServer } from '../../src/blob/blob-server.js'
import type { BlobServerOptions } from '../../src/blob/blob-server.js'
import { BlobStore } from '../../src/blob/blob-store.js'
import { BlobTransfer } from '../../src/blob/blob-transfer.js'
import type { BlobFault, BlobTransferOptions, FetchProgress } from '../../src/blob/blob-transfer.js'
import type { StreamHandler } from '../../src/network/transport.js'
import type { PeerId } from '../../src/wire/ids.js'
import { MemoryNetwork } from './stream-pair.js'

const MIB = 1024 * 1024
const root = await mkdtemp(join(tmpdir(), 'ctd-swarm-'))
after(() => rm(root, { recursive: true, force: true }))

const network = new MemoryNetwork()
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

async function newStore(): Promise<BlobStore> {
  return BlobStore.open(await mkdtemp(join(root, 'store-')), { quotaBytes: 256 * MIB })
}

interface Member {
  readonly name: string
  readonly peer: PeerId
  readonly store: BlobStore
  readonly faults: BlobFault[]
  readonly transfer: BlobTransfer
}

let count = 0

/** A peer that serves what it has and can fetch. */
async function member(options: BlobTransferOptions & BlobServerOptions = {}): Promise<Member> {
  count += 1
  const name = `peer ${count}`
  const store = await newStore()
  const peer = network.serve(name, new BlobServer({ store }, options).serve)
  const faults: BlobFault[] = []
  const transfer = new BlobTransfer(
    { store, transport: network.transportOf(name) },
    { onFault: (fault) => faults.push(fault), ...options },
  )
  return { name, peer, store, faults, transfer }
}

/** A peer that does what the handler says. */
function hostile(handler: StreamHandler): PeerId {
  count += 1
  return network.serve(`hostile ${count}`, handler)
}

/** Serves rightly but for what `change` makes of each frame. */
function changing(store: BlobStore, change: (frame: Uint8Array) => Uint8Array[]): StreamHandler {
  const { serve } = new BlobServer({ store })
  return (stream, from) =>
    serve(
      {
        ...stream,
        write: async (frame) => {
          for (const each of change(frame)) await stream.write(each)
        },
      },
      from,
    )
}

test('a peer that is still fetching serves what it has verified, and tells of what comes', async () => {
  const seed = await member({ maxUploadBytesPerSecond: 8 * MIB })
  const [middle, last] = [await member(), await member()]
  const bytes = randomBytes(8 * MIB + 5)
  const { digest } = await seed.store.addBytes(bytes)
  let begun = (): void => {}
  const hasSome = new Promise<void>((resolve) => {
    begun = resolve
  })
  const first = middle.transfer.fetch(digest, [seed.peer], {
    signal: soon(),
    onProgress: ({ doneBytes }) => {
      if (doneBytes > 0) begun()
    },
  })
  await hasSome
  assert.ok(!middle.store.has(digest))
  const result = await last.transfer.fetch(digest, [middle.peer], { signal: soon() })
  assert.deepEqual(result.peers, [{ peer: middle.peer, bytes: bytes.length }])
  assert.deepEqual(await readFile(last.store.path(digest)), bytes)
  await first
})

test('wrong bytes are proven, and who sent them is asked for nothing more', async () => {
  const [honest, asker] = [await member(), await member()]
  const { digest } = await honest.store.addBytes(randomBytes(3 * MIB))
  const other = await honest.store.addBytes(randomBytes(2 * MIB))
  const liar = hostile(
    changing(honest.store, (frame) => {
      const damaged = frame.slice()
      if (damaged.length > 1000) damaged.fill(7, 500, 600)
      return [damaged]
    }),
  )
  await assert.rejects(asker.transfer.fetch(digest, [liar], { signal: soon() }), {
    code: 'BLOB_CORRUPT',
  })
  const [fault] = asker.faults
  assert.equal(asker.faults.length, 1)
  assert.equal(fault?.peer, liar)
  assert.equal(fault?.fault, 'corrupt')
  assert.equal(fault?.proof?.sizeBytes, MIB)
  assert.ok(fault?.proof?.piece !== undefined)
  assert.notEqual(fault?.proof?.got, fault?.proof?.expected)
  await assert.rejects(asker.transfer.fetch(other.digest, [liar], { signal: soon() }), {
    code: 'BLOB_CORRUPT',
  })
  assert.equal(network.opened.get(liar), 1)
  await asker.transfer.fetch(other.digest, [liar, honest.peer], { signal: soon() })
  assert.equal(network.opened.get(liar), 1)
})

const FAULTS: readonly (readonly [string, string, (frame: Uint8Array) => Uint8Array[]])[] = [
  ['an oversized piece', 'corrupt', (frame) => [grown(frame)]],
  ['a frame of no known kind', 'malformed', (frame) => [encodeFrame(9), frame]],
  ['news of a piece it had', 'malformed', (frame) => [encodeHave([0]), frame]],
  ['news of no piece', 'malformed', (frame) => [encodeFrame(FRAME.HAVE), frame]],
  ['a second list of pieces', 'malformed', (frame) => [encodeFrame(FRAME.ALL), frame]],
]

function grown(frame: Uint8Array): Uint8Array {
  return encodeFrame(FRAME.ANSWER, new Uint8Array(frame.length))
}

for (const [what, fault, change] of FAULTS) {
  test(`${what} ends a stream as ${fault} and another peer fills in`, async () => {
    const [honest, asker] = [await member(), await member()]
    const bytes = randomBytes(2 * MIB)
    const { digest } = await honest.store.addBytes(bytes)
    const bad = hostile(
      changing(honest.store, (frame) => (frame.length > 1000 ? change(frame) : [frame])),
    )
    await assert.rejects(asker.transfer.fetch(digest, [bad], { signal: soon() }), (error) => {
      assert.match(JSON.stringify(error), new RegExp(fault))
      return true
    })
    assert.equal(asker.faults[0]?.fault, fault)
    await asker.transfer.fetch(digest, [bad, honest.peer], { signal: soon() })
    assert.deepEqual(await readFile(asker.store.path(digest)), bytes)
  })
}

test('a provider that sends a byte at a time has stalled, and one that breaks off is left', async () => {
  const [honest, asker] = [await member(), await member({ stallMs: 300 })]
  const bytes = randomBytes(2 * MIB)
  const { digest } = await honest.store.addBytes(bytes)
  const trickle: NodeJS.Timeout[] = []
  const slow = hostile(async (stream) => {
    await stream.read(36)
    await stream.write(encodeFrame(FRAME.ALL))
    await stream.write(Uint8Array.of(FRAME.ANSWER, 0, 0, 0, 72))
    trickle.push(setInterval(() => void stream.write(Uint8Array.of(1)).catch(() => {}), 20))
    await stream.read(1000)
  })
  const broken = hostile(async (stream) => {
    await stream.read(36)
    await stream.write(encodeFrame(FRAME.ALL))
    await stream.write(Uint8Array.of(FRAME.ANSWER, 0, 0, 0, 72, 1, 2, 3))
    throw new Error('gone')
  })
  const faultsOf = (peer: PeerId) =>
    asker.faults.flatMap((each) => (each.peer === peer ? each.fault : []))
  await assert.rejects(asker.transfer.fetch(digest, [slow, broken], { signal: soon() }), {
    code: 'BLOB_UNAVAILABLE',
  })
  assert.deepEqual(faultsOf(slow), ['stalled', 'stalled'])
  assert.deepEqual(faultsOf(broken), ['unreachable', 'unreachable'])
  await asker.transfer.fetch(digest, [slow, broken, honest.peer], { signal: soon() })
  for (const timer of trickle) clearInterval(timer)
})

test('a peer far slower than the others is left', async () => {
  const fast = await member({ maxUploadBytesPerSecond: 16 * MIB })
  const asker = await member({ slowMs: 500 })
  const bytes = randomBytes(48 * MIB)
  const { digest } = await fast.store.addBytes(bytes)
  const slow = hostile(
    new BlobServer({ store: fast.store }, { maxUploadBytesPerSecond: MIB / 4 }).serve,
  )
  const { peers } = await asker.transfer.fetch(digest, [slow, fast.peer], { signal: soon() })
  assert.equal(peers.find(({ peer }) => peer === slow)?.fault, 'slow')
  assert.deepEqual(await readFile(asker.store.path(digest)), bytes)
})

test('a blob that vanishes mid-way is asked of others, and what came is kept', async () => {
  const [cut, whole, asker] = [await member(), await member(), await member()]
  const bytes = randomBytes(4 * MIB)
  const { digest } = await cut.store.addBytes(bytes)
  await whole.store.addBytes(bytes)
  await truncate(cut.store.path(digest), MIB + 1)
  await assert.rejects(asker.transfer.fetch(digest, [cut.peer], { signal: soon() }), {
    code: 'BLOB_UNAVAILABLE',
  })
  assert.deepEqual(asker.faults[0]?.fault, 'unknown-blob')
  await cut.store.remove(digest)
  await asker.transfer.fetch(digest, [cut.peer, whole.peer], { signal: soon() })
  assert.deepEqual(await readFile(asker.store.path(digest)), bytes)
})

test('a piece that the disk has changed is sent to nobody, and told of', async () => {
  const told: string[] = []
  const rotten = await member({ onRot: (digest) => told.push(digest) })
  const [whole, asker] = [await member(), await member()]
  const bytes = randomBytes(3 * MIB)
  const { digest } = await rotten.store.addBytes(bytes)
  await whole.store.addBytes(bytes)
  const path = rotten.store.path(digest)
  await chmod(path, 0o600)
  const file = await open(path, 'r+')
  await file.write(Uint8Array.of((bytes[MIB + 5] ?? 0) ^ 1), 0, 1, MIB + 5)
  await file.close()
  await assert.rejects(asker.transfer.fetch(digest, [rotten.peer], { signal: soon() }), {
    code: 'BLOB_UNAVAILABLE',
  })
  assert.deepEqual(new Set(told), new Set([digest]))
  assert.deepEqual(new Set(asker.faults.map(({ fault }) => fault)), new Set(['unknown-blob']))
  const other = await rotten.store.addBytes(randomBytes(MIB))
  await asker.transfer.fetch(other.digest, [rotten.peer], { signal: soon() })
  await asker.transfer.fetch(digest, [rotten.peer, whole.peer], { signal: soon() })
  assert.deepEqual(await readFile(asker.store.path(digest)), bytes)
})

test('a peer without anything that is wanted is asked for the manifest, and tells of what comes', async () => {
  const [seed, asker] = [await member(), await member()]
  const bytes = randomBytes(2 * MIB)
  const { digest } = await seed.store.addBytes(bytes)
  const manifest = await seed.store.readManifest(digest)
  let onManifest = (): void => {}
  const hasManifest = new Promise<void>((resolve) => {
    onManifest = resolve
  })
  const silent = hostile(async (stream) => {
    await stream.read(36)
    await stream.write(encodeFrame(FRAME.SOME, Uint8Array.of(0)))
    await stream.write(encodeFrame(FRAME.ANSWER, manifest.bytes))
    onManifest()
    await stream.read(1)
  })
  const requests: number[] = []
  const late = hostile(async (stream) => {
    await stream.read(32)
    await stream.write(encodeFrame(FRAME.SOME, Uint8Array.of(0)))
    requests.push(decodeRequest(await stream.read(4)))
    await stream.write(encodeFrame(FRAME.ANSWER, manifest.bytes))
    await stream.write(encodeHave([0, 1]))
    for (let i = 0; i < 2; i += 1) {
      const index = decodeRequest(await stream.read(4))
      requests.push(index)
      await stream.write(encodeFrame(FRAME.ANSWER, bytes.subarray(index * MIB, (index + 1) * MIB)))
    }
    await stream.read(1)
  })
  async function* providers(): AsyncGenerator<PeerId> {
    yield silent
    await hasManifest
    yield late
  }
  const { peers } = await asker.transfer.fetch(digest, providers(), { signal: soon() })
  assert.deepEqual(
    [requests[0], requests.slice(1).sort((a, b) => a - b)],
    [MANIFEST_REQUEST, [0, 1]],
  )
  assert.equal(peers.find(({ peer }) => peer === late)?.bytes, 2 * MIB)
})

test('DISK_FULL ends a fetch, blames nobody, and leaves no blob', async () => {
  const [seed, asker] = [await member(), await member()]
  const { digest } = await seed.store.addBytes(randomBytes(3 * MIB))
  const openPartial = asker.store.openPartial.bind(asker.store)
  asker.store.openPartial = async (manifest) => {
    const partial = await openPartial(manifest)
    partial.write = async () => {
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    }
    return partial
  }
  await assert.rejects(asker.transfer.fetch(digest, [seed.peer], { signal: soon() }), {
    code: 'DISK_FULL',
  })
  assert.deepEqual(asker.faults, [])
  assert.ok(!asker.store.has(digest))
  asker.store.openPartial = openPartial
  await asker.transfer.fetch(digest, [seed.peer], { signal: soon() })
})

test('providers may come while a fetch runs, from a feed, a search and a second caller', async () => {
  const seed = await member()
  const bytes = randomBytes(2 * MIB)
  const { digest } = await seed.store.addBytes(bytes)
  async function* feed(): AsyncGenerator<PeerId> {
    yield hostile(async () => {})
    yield seed.peer
  }
  const fed = await member()
  await fed.transfer.fetch(digest, feed(), { signal: soon() })

  const searching = await member()
  let searches = 0
  await searching.transfer.fetch(digest, [], {
    signal: soon(),
    findMore: async () => {
      searches += 1
      if (searches === 1) throw new Error('the first search fails')
      return searches === 2 ? [] : [seed.peer]
    },
  })
  assert.equal(searches, 3)

  const shared = await member()
  const waiting = shared.transfer.fetch(digest, [], { signal: soon(), findMore: async () => [] })
  const second = await shared.transfer.fetch(digest, [seed.peer], { signal: soon() })
  assert.equal(second.fetchedBytes, 0)
  assert.equal((await waiting).fetchedBytes, bytes.length)
  await assert.rejects(
    (await member()).transfer.fetch(digest, [], {
      signal: soon(),
      findMore: async () => [],
      giveUpMs: 100,
    }),
    { code: 'BLOB_UNAVAILABLE' },
  )
})

test('a fetch that reads for long what an earlier run left does not take that for silence', async () => {
  const [seed, asker] = [await member(), await member()]
  const { digest } = await seed.store.addBytes(randomBytes(3 * MIB))
  const manifest = await seed.store.readManifest(digest)
  await (await asker.store.openPartial(manifest)).close()
  const giveUpMs = 100
  const store: BlobStore = new Proxy(asker.store, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target)
      if (typeof value !== 'function') return value
      if (key !== 'openPartial') return value.bind(target) as unknown
      return async (...args: unknown[]): Promise<unknown> => {
        const endMs = performance.now() + 2 * giveUpMs
        while (performance.now() < endMs) createHash('sha256').update('hard work').digest()
        return (await Reflect.apply(value, target, args)) as unknown
      }
    },
  })
  const transfer = new BlobTransfer({ store, transport: network.transportOf(asker.name) })
  const findMore = (): Promise<PeerId[]> => Promise.resolve([])
  const options = { signal: soon(), findMore, giveUpMs: 100 }
  const { fetchedBytes } = await transfer.fetch(digest, [seed.peer], options)
  assert.equal(fetchedBytes, 3 * MIB)
})

test('progress tells rate, time left and sources, four times a second at most', async () => {
  const seed = await member({ maxUploadBytesPerSecond: 12 * MIB })
  const asker = await member()
  const { digest } = await seed.store.addBytes(randomBytes(12 * MIB))
  const told: FetchProgress[] = []
  const startMs = performance.now()
  await asker.transfer.fetch(digest, [seed.peer], {
    signal: soon(),
    onProgress: (progress) => told.push(progress),
  })
  const elapsedMs = performance.now() - startMs
  assert.ok(told.length <= 3 + elapsedMs / 250, `${told.length} in ${elapsedMs} ms`)
  const middle = told.find(({ doneBytes }) => doneBytes > 2 * MIB)
  assert.ok(middle !== undefined)
  assert.ok(middle.ratePerSecond > MIB && middle.ratePerSecond < 200 * MIB)
  assert.ok((middle.etaMs ?? 0) > 0)
  assert.deepEqual(middle.sources, [
    { peer: seed.peer, bytes: middle.doneBytes, state: 'fetching' },
  ])
  assert.equal(told.at(-1)?.doneBytes, 12 * MIB)
  assert.equal(told.at(-1)?.etaMs, 0)
})
