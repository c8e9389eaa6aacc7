/**
 * The libp2p transport on loopback: several transports in one process, each with its own sockets.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import { peerIdFromString } from '@libp2p/peer-id'
import { MemoryDatastore } from 'datastore-core'
import { createLibp2pTransport } from '../../src/network/libp2p-transport.js'
import type { Libp2pTransportOptions } from '../../src/network/libp2p-node.js'
import type { Transport } from '../../src/network/transport.js'
import { digestOf, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'

const TOPICS = ['ctd/test/a', 'ctd/test/b'] as const
const running: Transport[] = []
after(async () => {
  await Promise.all(running.map((transport) => transport.stop()))
})

const soon = (): AbortSignal => AbortSignal.timeout(30_000)

async function startTransport(options: Partial<Libp2pTransportOptions> = {}): Promise<Transport> {
  const transport = await createLibp2pTransport({
    seed: randomBytes(32),
    topics: TOPICS,
    preset: 'local',
    listen: ['/ip4/127.0.0.1/tcp/0'],
    records: { validate: validateTestRecord, select: newestRecord },
    ...options,
  })
  running.push(transport)
  await transport.start()
  return transport
}

/** A test record is `<number>:<text>`; anything else is refused. */
function validateTestRecord(_key: string, value: Uint8Array): void {
  if (!/^\d+:/.test(Buffer.from(value).toString())) throw new Error('not a test record')
}

function sequenceOf(value: Uint8Array): number {
  return Number.parseInt(Buffer.from(value).toString(), 10)
}

function newestRecord(_key: string, values: readonly Uint8Array[]): number {
  return values.reduce(
    (best, value, i) => (sequenceOf(value) > sequenceOf(values[best] ?? value) ? i : best),
    0,
  )
}

function addressOf(transport: Transport): string {
  const [address] = transport.addresses()
  assert.ok(address)
  return address
}

/** Resolves at the first peer event of that kind; the awaited event instead of a sleep. */
function peerEvent(transport: Transport, kind: 'connected' | 'disconnected'): Promise<PeerId> {
  return new Promise((resolve) => {
    transport.onPeer((event) => {
      if (event.kind === kind) resolve(event.peer)
    })
  })
}

/**
 * Publishes numbered messages until one arrives: a mesh forms some heartbeats after connecting,
 * and gossip promises no delivery before.
 */
async function publishUntil(
  publish: (n: number) => Promise<void>,
  arrived: Promise<unknown>,
): Promise<void> {
  let done = false
  const finished = arrived.then(() => {
    done = true
  })
  for (let n = 0; n < 100 && !done; n += 1) {
    await publish(n)
    await Promise.race([finished, new Promise((resolve) => setTimeout(resolve, 200))])
  }
  assert.ok(done, 'the message arrived')
}

/** Waits until a condition holds, asking again at each peer event and at least every 100 ms. */
async function eventually(condition: () => Promise<boolean>, transport: Transport): Promise<void> {
  const deadline = soon()
  while (!(await condition())) {
    deadline.throwIfAborted()
    const pause = new Promise((resolve) => setTimeout(resolve, 100))
    await Promise.race([pause, peerEvent(transport, 'connected')])
  }
}

/** True once the peer store has written an address of that peer to the datastore. */
async function remembered(datastore: MemoryDatastore, peer: PeerId): Promise<boolean> {
  const id = peerIdFromString(peer).toCID().toString()
  for await (const { key, value } of datastore.query({ prefix: '/peers/' })) {
    if (key.toString() === `/peers/${id}` && value.length > 60) return true
  }
  return false
}

test('a request is answered once, with the asker known', async () => {
  const [asker, server] = await Promise.all([startTransport(), startTransport()])
  server.onRequest(async (bytes, from) => utf8(`${from} said ${Buffer.from(bytes).toString()}`))
  await asker.dial(addressOf(server), soon())
  const answer = await asker.request(server.self, utf8('hello'), soon())
  assert.equal(Buffer.from(answer).toString(), `${asker.self} said hello`)
  const large = await Promise.all(
    [1, 2, 3, 4, 5].map(() => asker.request(server.self, new Uint8Array(65_536), soon())),
  )
  assert.equal(large.length, 5)
  await assert.rejects(asker.request(server.self, new Uint8Array(65_537), soon()), {
    code: 'MESSAGE_TOO_LARGE',
  })
  assert.equal(asker.prefixOf(server.self), '127.0.0.0/24')
})

test('a handler that throws, a silent peer and an absent peer are PEER_UNREACHABLE', async () => {
  const [asker, server] = await Promise.all([startTransport(), startTransport()])
  server.onRequest(async (bytes) => {
    if (bytes.length === 1) throw new Error('no')
    return new Promise(() => {})
  })
  await asker.dial(addressOf(server), soon())
  await assert.rejects(asker.request(server.self, new Uint8Array(1), soon()), {
    code: 'PEER_UNREACHABLE',
  })
  await assert.rejects(asker.request(server.self, new Uint8Array(2), AbortSignal.timeout(200)), {
    code: 'PEER_UNREACHABLE',
  })
  const address = addressOf(server)
  await server.stop()
  await assert.rejects(asker.dial(address, soon()), { code: 'PEER_UNREACHABLE' })
  await assert.rejects(asker.dial('/ip4/nonsense', soon()), { code: 'BAD_ADDRESS' })
})

test('gossip reaches peers that were never introduced, and only what validators accept', async () => {
  const middle = await startTransport()
  const [left, right] = await Promise.all([
    startTransport({ bootstrap: [addressOf(middle)] }),
    startTransport({ bootstrap: [addressOf(middle)] }),
  ])
  const seenViaMiddle: string[] = []
  const seenByLeft: string[] = []
  let resolveGood = (): void => {}
  const good = new Promise<void>((resolve) => {
    resolveGood = resolve
  })
  middle.subscribe(TOPICS[0], async (bytes) =>
    Buffer.from(bytes).toString().startsWith('good') ? 'accept' : 'ignore',
  )
  right.subscribe(TOPICS[0], async (bytes, from) => {
    const text = Buffer.from(bytes).toString()
    if (from === middle.self) seenViaMiddle.push(text)
    if (text.startsWith('good')) resolveGood()
    return 'accept'
  })
  left.subscribe(TOPICS[0], async (bytes) => {
    seenByLeft.push(Buffer.from(bytes).toString())
    return 'accept'
  })
  await publishUntil(async (n) => {
    await left.publish(TOPICS[0], utf8(`bad ${n}`))
    await left.publish(TOPICS[0], utf8(`good ${n}`))
  }, good)
  assert.ok(seenViaMiddle.every((text) => text.startsWith('good')))
  assert.deepEqual(seenByLeft, [], 'the own message does not come back')
  await assert.rejects(left.publish(TOPICS[0], new Uint8Array(65_537)), {
    code: 'MESSAGE_TOO_LARGE',
  })
  await assert.rejects(left.publish('ctd/test/unknown', utf8('x')), { code: 'UNKNOWN_TOPIC' })
})

test('peers that know only a bootstrap peer find each other, records and blobs', async () => {
  const hub = await startTransport()
  const peers = await Promise.all(
    Array.from({ length: 5 }, () => startTransport({ bootstrap: [addressOf(hub)] })),
  )
  const all = [hub, ...peers]
  await eventually(async () => hub.connectedPeers().length === peers.length, hub)
  const [first, second, third] = peers
  assert.ok(first && second && third)
  await eventually(async () => (await first.dhtPeers(soon())).length === all.length - 1, first)
  assert.deepEqual(
    [...(await first.dhtPeers(soon()))].sort(),
    all
      .map(({ self }) => self)
      .filter((peer) => peer !== first.self)
      .sort(),
  )

  const key = `/ctd/test/${first.self}`
  assert.ok((await first.dhtPut(key, utf8('7:new'), soon())) >= 1)
  await second.dhtPut(key, utf8('5:old'), soon())
  await first.dhtPut(key, utf8('7:new'), soon())
  const best = (values: readonly Uint8Array[]): Uint8Array | undefined =>
    values.toSorted((a, b) => sequenceOf(b) - sequenceOf(a))[0]
  const value = await third.dhtGet(key, best, soon())
  assert.equal(Buffer.from(value ?? []).toString(), '7:new')
  assert.equal(await third.dhtGet('/ctd/test/absent', best, soon()), undefined)
  await assert.rejects(first.dhtPut(key, utf8('not a record'), soon()), { code: 'RECORD_INVALID' })
  await assert.rejects(first.dhtPut('/other/x', utf8('1:'), soon()), { code: 'RECORD_INVALID' })
  await assert.rejects(first.dhtPut(key, new Uint8Array(4097), soon()), {
    code: 'RECORD_TOO_LARGE',
  })

  const digest = digestOf(utf8('some blob'))
  await second.provide(digest, soon())
  assert.deepEqual(await third.findProviders(digest, soon()), [second.self])
  third.onRequest(async () => utf8('reached'))
  const answer = await first.request(third.self, utf8('by id alone'), soon())
  assert.equal(Buffer.from(answer).toString(), 'reached')

  await hub.stop()
  assert.equal(
    Buffer.from(await first.request(third.self, utf8('x'), soon())).toString(),
    'reached',
  )
})

test('a restarted peer dials the peers it remembers when every bootstrap peer is dead', async () => {
  const hub = await startTransport()
  const friend = await startTransport({ bootstrap: [addressOf(hub)] })
  const datastore = new MemoryDatastore()
  const seed = randomBytes(32)
  const options = { seed, datastore, bootstrap: [addressOf(hub)] }
  const before = await startTransport(options)
  await before.dial(addressOf(friend), soon())
  friend.onRequest(async () => utf8('still here'))
  await before.request(friend.self, utf8('x'), soon())
  await eventually(async () => remembered(datastore, friend.self), before)
  await before.stop()
  await hub.stop()

  const again = await createLibp2pTransport({
    topics: TOPICS,
    preset: 'local',
    listen: ['/ip4/127.0.0.1/tcp/0'],
    records: { validate: validateTestRecord, select: newestRecord },
    ...options,
  })
  running.push(again)
  const met = peerEvent(again, 'connected')
  await again.start()
  assert.equal(await met, friend.self)
})

test('a client that speaks no Noise is refused before it learns anything', async () => {
  const server = await startTransport()
  const port = Number(/\/tcp\/(\d+)/.exec(addressOf(server))?.[1])
  const heard = await new Promise<Buffer>((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => {
      for (const line of ['/multistream/1.0.0', '/plaintext/2.0.0', '/tls/1.0.0', '/yamux/1.0.0']) {
        socket.write(Buffer.concat([Buffer.of(line.length + 1), utf8(`${line}\n`)]))
      }
      socket.end()
    })
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(Buffer.concat(chunks)))
  })
  const refusals = heard.toString().match(/na\n/g) ?? []
  assert.equal(refusals.length, 3, 'plaintext, TLS and a bare muxer are all refused')
  assert.doesNotMatch(heard.toString(), new RegExp(server.self))
  assert.deepEqual(server.connectedPeers(), [])
})

test('LISTEN_FAILED is thrown where a port is taken, and BAD_ADDRESS for a bad bootstrap', async () => {
  const first = await startTransport()
  const port = /\/tcp\/\d+/.exec(addressOf(first))?.[0]
  const options = {
    seed: randomBytes(32),
    topics: TOPICS,
    preset: 'local' as const,
    listen: [`/ip4/127.0.0.1${port}`],
    records: { validate: validateTestRecord, select: newestRecord },
  }
  const second = await createLibp2pTransport(options)
  await assert.rejects(second.start(), { code: 'LISTEN_FAILED' })
  await assert.rejects(second.publish(TOPICS[0], utf8('x')), { code: 'NETWORK_STOPPED' })
  for (const bootstrap of ['nonsense', '/ip4/127.0.0.1/tcp/1']) {
    await assert.rejects(createLibp2pTransport({ ...options, bootstrap: [bootstrap] }), {
      code: 'BAD_ADDRESS',
    })
  }
})

test('a peer whose messages are rejected is no longer listened to', async () => {
  const [honest, spammer] = await Promise.all([startTransport(), startTransport()])
  let judged = 0
  const first = new Promise<void>((resolve) => {
    honest.subscribe(TOPICS[0], async () => {
      judged += 1
      resolve()
      return 'reject'
    })
  })
  spammer.subscribe(TOPICS[0], async () => 'accept')
  await spammer.dial(addressOf(honest), soon())
  await publishUntil((n) => spammer.publish(TOPICS[0], utf8(`bad ${n}`)), first)
  // gossipsub looks at a score it computed up to a second ago, so this takes some messages.
  let quietRounds = 0
  for (let n = 0; n < 200 && quietRounds < 5; n += 1) {
    const before = judged
    await spammer.publish(TOPICS[0], utf8(`more ${n}`))
    await new Promise((resolve) => setTimeout(resolve, 100))
    quietRounds = judged === before ? quietRounds + 1 : 0
  }
  assert.equal(quietRounds, 5, `${judged} messages were judged`)
  assert.ok(judged >= 3)
})
