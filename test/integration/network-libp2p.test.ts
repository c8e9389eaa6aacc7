/**
 * The libp2p transport on loopback: several transports in one process, each with its own sockets.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import { createLibp2pTransport } from '../../src/network/libp2p-transport.js'
import type { Libp2pTransportOptions } from '../../src/network/libp2p-transport.js'
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
  server.onPeer(() => {})
  assert.equal(asker.prefixOf(server.self), '127.0.0.0/24')
})
