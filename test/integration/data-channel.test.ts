/** Connections at the data port: who may open one, what travels on it, and what happens without. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTlsServer, connect as connectTls } from 'node:tls'
import { after, test } from 'node:test'
import { DataChannelServer, openDataChannel } from '../../src/network/data-channel.js'
import type { Invitation } from '../../src/network/data-channel.js'
import { createLibp2pTransport } from '../../src/network/libp2p-transport.js'
import { NETWORK_LIMITS } from '../../src/network/limits.js'
import type { ByteStream, StreamHandler, Transport } from '../../src/network/transport.js'
import type { PeerId } from '../../src/wire/ids.js'
import { peerOf } from '../unit/stream-pair.js'

const HOST = '127.0.0.1'
const MIB = 1024 * 1024
const ASKER = peerOf('asker')
const closing: (() => unknown)[] = []
after(async () => {
  await Promise.all(closing.map((close) => close()))
})

const soon = (): AbortSignal => AbortSignal.timeout(30_000)

async function startServer(onChannel: StreamHandler): Promise<DataChannelServer> {
  const server = new DataChannelServer(onChannel)
  await server.listen(HOST, 0)
  closing.push(() => server.close())
  return server
}

function invited(server: DataChannelServer, peer: PeerId = ASKER): Invitation {
  const invitation = server.invite(peer)
  assert.ok(invitation !== undefined)
  return invitation
}

/** Sends back what it gets, a KiB at a time, to the end. */
const echo: StreamHandler = async (stream) => {
  for (;;) {
    const bytes = await stream.read(1024).catch(() => undefined)
    if (bytes === undefined) return stream.close()
    await stream.write(bytes)
  }
}

async function assertRefused(invitation: Invitation): Promise<void> {
  await assert.rejects(openDataChannel(HOST, invitation, soon()), { code: 'PEER_UNREACHABLE' })
}

/** Passes bytes on to a port and keeps what the way there and back saw. */
async function startRelay(to: number): Promise<{ port: number; seen: Buffer[] }> {
  const seen: Buffer[] = []
  const server: Server = createServer((near) => {
    const far = connect(to, HOST)
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (bytes: Buffer) => seen.push(bytes))
      from.pipe(into)
      from.on('error', () => into.destroy())
    }
  })
  server.listen(0, HOST)
  await once(server, 'listening')
  closing.push(() => server.close())
  return { port: (server.address() as AddressInfo).port, seen }
}

test('bytes come as they were sent, both ways, and nothing of them can be read on the way', async () => {
  const peers: PeerId[] = []
  const server = await startServer((stream, peer) => {
    peers.push(peer)
    return echo(stream, peer)
  })
  const relay = await startRelay(server.port)
  const stream = await openDataChannel(HOST, { ...invited(server), port: relay.port }, soon())
  const sent = Buffer.concat([Buffer.from('a marker that nobody may read'), randomBytes(3 * MIB)])
  const whole = sent.subarray(0, sent.length - (sent.length % 1024))
  const writing = stream.write(whole)
  const back = new Uint8Array(whole.length)
  for (let at = 0; at < back.length; at += 70_000) {
    await stream.readInto(back.subarray(at, at + 70_000))
  }
  await writing
  assert.ok(whole.equals(back))
  assert.deepEqual(peers, [ASKER])
  stream.abort(new Error('done'))
  const wire = Buffer.concat(relay.seen)
  assert.ok(wire.length > 2 * whole.length, 'the relay saw it all')
  assert.ok(!wire.includes('a marker that nobody may read'))
})

test('the end of the other side is told, after all that it wrote', async () => {
  const server = await startServer(async (stream) => {
    await stream.write(Buffer.alloc(300_000, 5))
    await stream.close()
  })
  const stream = await openDataChannel(HOST, invited(server), soon())
  assert.ok(Buffer.from(await stream.read(300_000)).equals(Buffer.alloc(300_000, 5)))
  await assert.rejects(stream.read(1), { code: 'STREAM_ENDED' })
  await assert.rejects(
    (async () => {
      for (;;) await stream.write(new Uint8Array(MIB))
    })(),
    { code: 'STREAM_ENDED' },
  )
})

test('who does not read holds up who writes, and loses nothing', async () => {
  let written = 0
  const total = 64 * MIB
  const server = await startServer(async (stream) => {
    for (; written < total; written += MIB) await stream.write(new Uint8Array(MIB).fill(3))
    await stream.close()
  })
  const stream = await openDataChannel(HOST, invited(server), soon())
  await stream.read(1)
  let before = -1
  // Until the writer stands still: what the sockets and queues hold, and no more.
  while (before !== written) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  assert.ok(written < total, `${written} bytes were written to nobody`)
  for (let left = total - 1; left > 0;) {
    const part = await stream.read(Math.min(left, MIB))
    assert.ok(part.every((byte) => byte === 3))
    left -= part.length
  }
})

test('an invitation opens one connection, and only for who has its key', async () => {
  const server = await startServer(echo)
  const invitation = invited(server)
  await assertRefused({ ...invitation, name: randomBytes(16).toString('hex') })
  await openDataChannel(HOST, invitation, soon())
  await assertRefused(invitation)
  await assertRefused({ ...invited(server), key: randomBytes(32) })
  const stranger = connectTls({ host: HOST, port: server.port, rejectUnauthorized: false })
  const [error] = await once(stranger, 'error')
  assert.match(String(error), /handshake failure|alert|ECONNRESET|socket hang up/i)
})

test('a server with a certificate instead of the key is refused', async () => {
  const impostor = createTlsServer({ key: IMPOSTOR_KEY, cert: IMPOSTOR_CERT }, (socket) => {
    socket.on('error', () => {})
  })
  impostor.on('tlsClientError', () => {})
  impostor.listen(0, HOST)
  await once(impostor, 'listening')
  closing.push(() => impostor.close())
  const { port } = impostor.address() as AddressInfo
  await assertRefused({ port, name: '00'.repeat(16), key: randomBytes(32) })
})

test('invitations and connections are counted, of a peer and of all', async () => {
  const server = await startServer(echo)
  const { dataConnectionsPerPeer, dataConnections } = NETWORK_LIMITS
  for (let i = 0; i < dataConnectionsPerPeer; i += 1) {
    await openDataChannel(HOST, invited(server), soon())
  }
  assert.equal(server.invite(ASKER), undefined)
  for (let i = dataConnectionsPerPeer; i < dataConnections; i += 1) {
    invited(server, peerOf(`asker ${i}`))
  }
  assert.equal(server.invite(peerOf('one more')), undefined)
})

async function startTransport(listen: readonly string[]): Promise<Transport> {
  const transport = await createLibp2pTransport({
    seed: randomBytes(32),
    topics: [],
    preset: 'local',
    listen,
    records: { validate: () => {}, select: () => 0 },
  })
  closing.push(() => transport.stop())
  await transport.start()
  return transport
}

/** Which streams a peer's handler was given: only data channels leave written bytes to the writer. */
function heard(transport: Transport): boolean[] {
  const kinds: boolean[] = []
  transport.onStream(async (stream: ByteStream) => {
    kinds.push(stream.isCopying)
    await stream.write(await stream.read(4))
  })
  return kinds
}

test('a stream for many bytes is a data channel, and a libp2p stream where there is no way', async () => {
  const [server, asker, hidden] = await Promise.all([
    startTransport(['/ip4/127.0.0.1/tcp/0']),
    startTransport(['/ip4/127.0.0.1/tcp/0']),
    startTransport([]),
  ])
  const kinds = heard(server)
  const hiddenKinds = heard(hidden)
  await asker.dial(server.addresses()[0] ?? '', soon())
  await hidden.dial(asker.addresses()[0] ?? '', soon())
  const ask = async (peer: PeerId, isBulk: boolean): Promise<void> => {
    const stream = await asker.openStream(peer, soon(), { isBulk })
    await stream.write(Buffer.from('ping'))
    assert.equal(Buffer.from(await stream.read(4)).toString(), 'ping')
    stream.abort(new Error('done'))
  }
  await ask(server.self, false)
  await ask(server.self, true)
  assert.deepEqual(kinds, [false, true])
  await ask(hidden.self, true)
  assert.deepEqual(hiddenKinds, [false])
})

// Of nobody; valid to the year 2126, so that its date is not why it is refused.
const IMPOSTOR_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQjQuUpieg1fZHH3r
Nr0hfpMhhfkiL86AjD3YRHQBMz6hRANCAASxn61aj5cWZu4y+FfAiYLz8L85TFCq
OSrrtOdtDCbQajYiv4DlKXtZmhvHWf1dIkczoHhNLp+7+2NfBmm7fH1F
-----END PRIVATE KEY-----
`
const IMPOSTOR_CERT = `-----BEGIN CERTIFICATE-----
MIIBjzCCATagAwIBAgIUIE9JNXgBC7YuU9H+NKkEx8fjzQIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyMzAxMTI0N1oYDzIxMjYxMDMw
MDExMjQ3WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASxn61aj5cWZu4y+FfAiYLz8L85TFCqOSrrtOdtDCbQajYiv4DlKXtZ
mhvHWf1dIkczoHhNLp+7+2NfBmm7fH1Fo2QwYjAdBgNVHQ4EFgQUdHzDPVpnDHWq
P+72stbwnvXmVqkwHwYDVR0jBBgwFoAUdHzDPVpnDHWqP+72stbwnvXmVqkwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0cAMEQC
IQDquvNrH5VCYOGAKck+v0ZjODKxDT6CE49+ObsLnhcwCAIfciztseYc1QuG344p
tlMVxSYval7Pb3oKAgSxpjRIqQ==
-----END CERTIFICATE-----
`
