/**
 * Blobs over real libp2p transports on loopback, with honest, lying and silent providers.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { FRAME, encodeFrame } from '../../src/blob/blob-protocol.js'
import { BlobServer } from '../../src/blob/blob-server.js'
import { BlobStore } from '../../src/blob/blob-store.js'
import { BlobTransfer } from '../../src/blob/blob-transfer.js'
import type { BlobTransferOptions } from '../../src/blob/blob-transfer.js'
import { addFolder, writeFolder } from '../../src/blob/folder.js'
import { CtdError } from '../../src/errors.js'
import { createLibp2pTransport } from '../../src/network/libp2p-transport.js'
import type { ByteStream, StreamHandler, Transport } from '../../src/network/transport.js'
import type { Digest, PeerId } from '../../src/wire/ids.js'

const MIB = 1024 * 1024
const root = await mkdtemp(join(tmpdir(), 'ctd-blob-'))
const transports: Transport[] = []
after(async () => {
  await Promise.all(transports.map((transport) => transport.stop()))
  await rm(root, { recursive: true, force: true })
})
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

interface Peer {
  readonly transport: Transport
  readonly store: BlobStore
  readonly transfer: BlobTransfer
}

interface PeerOptions extends BlobTransferOptions {
  readonly quotaBytes?: number
  readonly maxUploadBytesPerSecond?: number
}

async function startPeer(options: PeerOptions = {}): Promise<Peer> {
  const transport = await createLibp2pTransport({
    seed: randomBytes(32),
    topics: [],
    preset: 'local',
    listen: ['/ip4/127.0.0.1/tcp/0'],
    records: { validate: () => {}, select: () => 0 },
  })
  transports.push(transport)
  const store = await BlobStore.open(await mkdtemp(join(root, 'store-')), {
    quotaBytes: options.quotaBytes ?? 1024 * MIB,
  })
  transport.onStream(new BlobServer({ store }, options).serve)
  await transport.start()
  return { transport, store, transfer: new BlobTransfer({ store, transport }, options) }
}

/** A fresh memory of who has been at fault, over the same store and transport. */
function afresh({ store, transport }: Peer, options: PeerOptions = {}): BlobTransfer {
  return new BlobTransfer({ store, transport }, options)
}

async function meet(peer: Peer, others: readonly Peer[]): Promise<PeerId[]> {
  return Promise.all(
    others.map(({ transport }) => peer.transport.dial(transport.addresses()[0] ?? '', soon())),
  )
}

async function assertRejectsNaming(
  fetching: Promise<unknown>,
  code: string,
  peer: PeerId,
): Promise<void> {
  await assert.rejects(fetching, (error) => {
    assert.ok(error instanceof CtdError)
    assert.equal(error.code, code)
    assert.match(JSON.stringify(error.fields), new RegExp(peer))
    return true
  })
}

/** Wraps a server so that the bytes of every piece it sends are damaged. */
function lying(serve: StreamHandler): StreamHandler {
  return (stream, from) =>
    serve(
      {
        ...stream,
        write: async (bytes) => {
          const damaged = bytes.slice()
          if (damaged.length > 1000) damaged.fill(7, 500, 600)
          await stream.write(damaged)
        },
      },
      from,
    )
}

test('a blob is fetched from two providers at once and is the same bytes', async () => {
  // Slow enough that neither can be done before the other has begun.
  const slow = { maxUploadBytesPerSecond: 8 * MIB }
  const [left, right, asker] = await Promise.all([startPeer(slow), startPeer(slow), startPeer()])
  const bytes = randomBytes(12 * MIB + 12_345)
  const { digest } = await left.store.addBytes(bytes)
  await right.store.addBytes(bytes)
  const providers = await meet(asker, [left, right])
  const progress: number[] = []
  const result = await asker.transfer.fetch(digest, providers, {
    signal: soon(),
    onProgress: ({ doneBytes }) => progress.push(doneBytes),
  })
  assert.deepEqual(await readFile(asker.store.path(digest)), bytes)
  assert.equal(result.fetchedBytes, bytes.length)
  assert.equal(progress.at(-1), bytes.length)
  assert.deepEqual(
    progress,
    progress.toSorted((a, b) => a - b),
  )
  assert.ok(result.peers.every((share) => share.bytes > 0 && share.fault === undefined))
  const again = await asker.transfer.fetch(digest, [], { signal: soon() })
  assert.equal(again.fetchedBytes, 0, 'a held blob needs no peer')
})

test('a corrupt and a stalled provider are named and the honest one fills in', async () => {
  const [honest, liar, silent, asker] = await Promise.all([
    // Takes 7 s, in which both attempts at the silent peer end.
    startPeer({ maxUploadBytesPerSecond: 2 * MIB }),
    startPeer(),
    startPeer(),
    startPeer({ stallMs: 800 }),
  ])
  const bytes = randomBytes(15 * MIB)
  const { digest } = await honest.store.addBytes(bytes)
  await liar.store.addBytes(bytes)
  liar.transport.onStream(lying(new BlobServer({ store: liar.store }).serve))
  let heard = 0
  silent.transport.onStream(async (stream) => {
    heard += 1
    await stream.read(32)
    await stream.read(1_000_000)
  })
  const providers = await meet(asker, [liar, silent, honest])
  const result = await asker.transfer.fetch(digest, providers, { signal: soon() })
  assert.deepEqual(await readFile(asker.store.path(digest)), bytes)
  const share = (peer: Peer) => result.peers.find(({ peer: id }) => id === peer.transport.self)
  assert.equal(share(liar)?.fault, 'corrupt')
  assert.equal(share(liar)?.bytes, 0)
  assert.equal(share(honest)?.bytes, bytes.length)
  assert.equal(share(silent)?.fault, 'stalled')
  assert.equal(heard, 2)
})

test('BLOB_CORRUPT, BLOB_UNAVAILABLE and a stall name the peers', async () => {
  const [liar, silent, empty, asker] = await Promise.all([
    startPeer(),
    startPeer(),
    startPeer(),
    startPeer({ stallMs: 2000 }),
  ])
  const { digest } = await liar.store.addBytes(randomBytes(3 * MIB))
  liar.transport.onStream(lying(new BlobServer({ store: liar.store }).serve))
  silent.transport.onStream(async (stream) => {
    await stream.read(1_000_000)
  })
  await meet(asker, [liar, silent, empty])
  const fetchFrom = (peer: Peer) =>
    asker.transfer.fetch(digest, [peer.transport.self], { signal: soon() })
  await assertRejectsNaming(fetchFrom(liar), 'BLOB_CORRUPT', liar.transport.self)
  await assertRejectsNaming(fetchFrom(silent), 'BLOB_UNAVAILABLE', silent.transport.self)
  await assertRejectsNaming(fetchFrom(empty), 'BLOB_UNAVAILABLE', empty.transport.self)
  await assert.rejects(asker.transfer.fetch(digest, [], { signal: soon() }), {
    code: 'BLOB_UNAVAILABLE',
  })
  await assert.rejects(
    asker.transfer.fetch(digest, [silent.transport.self], { signal: AbortSignal.timeout(100) }),
    { code: 'ABORTED' },
  )
})

/** Says it has all pieces and answers the first request with the given header and bytes. */
function answering(header: readonly number[], body: Uint8Array): StreamHandler {
  return async (stream: ByteStream) => {
    await stream.read(36)
    await stream.write(encodeFrame(FRAME.ALL))
    await stream.write(Uint8Array.from(header))
    await stream.write(body)
    await stream.read(4)
  }
}

test('a manifest that is too long, malformed or of another blob is not accepted', async () => {
  const [peer, asker] = await Promise.all([startPeer(), startPeer({ stallMs: 2000 })])
  const { digest } = await peer.store.addBytes(randomBytes(2 * MIB))
  const [provider] = await meet(asker, [peer])
  assert.ok(provider)
  const fetch = (maxBytes?: number): Promise<unknown> =>
    afresh(asker, { stallMs: 2000 }).fetch(digest, [provider], {
      signal: soon(),
      ...(maxBytes === undefined ? {} : { maxBytes }),
    })
  await assert.rejects(fetch(MIB), { code: 'BLOB_TOO_LARGE' })
  const cases: [readonly number[], Uint8Array, string][] = [
    [[0, 0xff, 0xff, 0xff, 0xff], new Uint8Array(), 'BLOB_TOO_LARGE'],
    [[0, 0, 0, 0, 7], new Uint8Array(7), 'BLOB_CORRUPT'],
    [[0, 0, 0, 0, 40], new Uint8Array(40), 'BLOB_CORRUPT'],
    [[0, 0, 0, 0, 8], new Uint8Array(8), 'BLOB_CORRUPT'],
    [[0, 0, 0, 0, 8], new Uint8Array(8).fill(255), 'BLOB_CORRUPT'],
    [[1, 0, 0, 0, 0], new Uint8Array(), 'BLOB_UNAVAILABLE'],
    [[9, 0, 0, 0, 1], new Uint8Array(1), 'BLOB_UNAVAILABLE'],
  ]
  for (const [header, body, code] of cases) {
    peer.transport.onStream(answering(header, body))
    await assertRejectsNaming(fetch(), code, provider)
  }
  assert.equal(asker.store.usedBytes, 0)
})

test('verified pieces survive a restart and are not fetched again', async () => {
  // Slow enough that progress is told in the middle.
  const slow = { maxUploadBytesPerSecond: 6 * MIB }
  const [peer, asker] = await Promise.all([startPeer(slow), startPeer()])
  const bytes = randomBytes(9 * MIB)
  const { digest } = await peer.store.addBytes(bytes)
  const [provider] = await meet(asker, [peer])
  assert.ok(provider)
  const dir = await mkdtemp(join(root, 'resumed-'))
  const before = await BlobStore.open(dir, { quotaBytes: 64 * MIB })
  const stop = new AbortController()
  const first = new BlobTransfer({ store: before, transport: asker.transport })
  await assert.rejects(
    first.fetch(digest, [provider], {
      signal: stop.signal,
      onProgress: ({ doneBytes }) => {
        if (doneBytes >= 3 * MIB) stop.abort()
      },
    }),
    { code: 'ABORTED' },
  )
  // A torn write of a piece that was verified.
  const partial = join(dir, 'partial', digest)
  const torn = await readFile(partial)
  const pieceCount = bytes.length / MIB
  const isThere = (i: number): boolean =>
    Buffer.compare(
      torn.subarray(i * MIB, (i + 1) * MIB),
      bytes.subarray(i * MIB, (i + 1) * MIB),
    ) === 0
  const there = Array.from({ length: pieceCount }, (_, i) => i).filter(isThere)
  const [damaged = -1] = there
  assert.ok(damaged >= 0)
  torn.fill(0, damaged * MIB + 100, damaged * MIB + 200)
  await writeFile(partial, torn)
  const kept = there.length - 1

  const store = await BlobStore.open(dir, { quotaBytes: 64 * MIB })
  assert.equal(store.usedBytes, bytes.length)
  const second = new BlobTransfer({ store, transport: asker.transport })
  const result = await second.fetch(digest, [provider], { signal: soon() })
  assert.deepEqual(await readFile(store.path(digest)), bytes)
  assert.ok(kept >= 2)
  assert.equal(result.fetchedBytes, bytes.length - kept * MIB)
  assert.equal(store.usedBytes, bytes.length)
})

test('DISK_QUOTA stops a fetch before any piece is written', async () => {
  const [peer, asker] = await Promise.all([startPeer(), startPeer({ quotaBytes: 2 * MIB })])
  const { digest } = await peer.store.addBytes(randomBytes(3 * MIB))
  const [provider] = await meet(asker, [peer])
  assert.ok(provider)
  await assert.rejects(asker.transfer.fetch(digest, [provider], { signal: soon() }), {
    code: 'DISK_QUOTA',
  })
  assert.equal(asker.store.usedBytes, 0)
})

test('a folder is fetched with all its files and laid out as it was', async () => {
  const [peer, asker] = await Promise.all([startPeer(), startPeer()])
  const source = await mkdtemp(join(root, 'folder-'))
  await mkdir(join(source, 'deep', 'er'), { recursive: true })
  await writeFile(join(source, 'a.csv'), 'x,y\n1,2\n')
  await writeFile(join(source, 'deep', 'er', 'model.bin'), randomBytes(MIB + 3))
  await writeFile(join(source, 'deep', 'empty'), '')
  const { digest } = await addFolder(peer.store, source)
  const providers = await meet(asker, [peer])
  const files = await asker.transfer.fetchFolder(digest, providers, { signal: soon() })
  assert.deepEqual(
    files.map(({ path }) => path),
    ['a.csv', 'deep/empty', 'deep/er/model.bin'],
  )
  const target = join(root, 'laid-out')
  await writeFolder(asker.store, digest, target)
  for (const { path } of files) {
    assert.deepEqual(await readFile(join(target, path)), await readFile(join(source, path)))
  }
  await assert.rejects(
    asker.transfer.fetchFolder(digest as Digest, providers, { signal: soon(), maxBytes: 1000 }),
    { code: 'BLOB_TOO_LARGE' },
  )
})

test('many fetches at once, also of one blob, wait for their turn and all succeed', async () => {
  const [peer, asker] = await Promise.all([startPeer(), startPeer()])
  const entries = await Promise.all(
    Array.from({ length: 40 }, (_, i) => peer.store.addBytes(randomBytes(1000 + i))),
  )
  const providers = await meet(asker, [peer])
  const twice = [...entries, ...entries]
  const results = await Promise.all(
    twice.map(({ digest }) => asker.transfer.fetch(digest, providers, { signal: soon() })),
  )
  assert.equal(asker.store.list().length, 40)
  assert.equal(results.filter(({ fetchedBytes }) => fetchedBytes > 0).length, 40)
})
