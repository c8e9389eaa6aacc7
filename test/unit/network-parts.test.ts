import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { multiaddr } from '@multiformats/multiaddr'
import { MemoryDatastore } from 'datastore-core'
import { Key } from 'interface-datastore'
import { ipOf, isPrivateIp, prefixOfIp } from '../../src/network/address.js'
import { createBoundedDatastore } from '../../src/network/bounded-datastore.js'
import { decayOf, gossipMessageId, gossipOptions } from '../../src/network/gossip-options.js'
import { exceedsQuota } from '../../src/network/libp2p-node.js'
import { NETWORK_LIMITS } from '../../src/network/limits.js'
import { PeerKeeper } from '../../src/network/peer-keeper.js'
import { PeerPulse } from '../../src/network/peer-pulse.js'
import { NETWORK_PRESETS } from '../../src/network/presets.js'
import { TokenBuckets } from '../../src/network/token-buckets.js'
import { sha256, utf8 } from '../../src/wire/ids.js'

/** Lets promises that are ready run, under mocked timers. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i += 1) await Promise.resolve()
}

test('the prefix of an address is its /24 or /48', () => {
  assert.equal(prefixOfIp('203.0.113.77'), '203.0.113.0/24')
  assert.equal(prefixOfIp('::ffff:203.0.113.77'), '203.0.113.0/24')
  assert.equal(prefixOfIp('2001:db8:1:2::5'), '2001:db8:1::/48')
  assert.equal(prefixOfIp('2001:0DB8::5'), '2001:db8:0::/48')
  assert.equal(prefixOfIp('::1'), '0:0:0::/48')
  assert.equal(prefixOfIp('example.org'), '')
  assert.equal(ipOf(multiaddr('/ip4/198.51.100.3/tcp/4701')), '198.51.100.3')
  assert.equal(ipOf(multiaddr('/dns4/example.org/tcp/1')), '')
})

test('private addresses are known as such', () => {
  const privateIps = [
    '127.0.0.1',
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '::1',
    '::',
    'fe80::1',
    'fd00::1',
    '::ffff:10.0.0.1',
  ]
  for (const ip of privateIps) assert.ok(isPrivateIp(ip), ip)
  for (const ip of ['203.0.113.1', '172.32.0.1', '100.128.0.1', '2001:4860::1', '']) {
    assert.ok(!isPrivateIp(ip), ip)
  }
})

test('the id of a gossip message is the first 20 bytes of SHA-256 of topic and bytes', () => {
  const id = gossipMessageId('topic', utf8('bytes'))
  assert.deepEqual(id, sha256(utf8('topicbytes')).subarray(0, 20))
  assert.notDeepEqual(id, gossipMessageId('other', utf8('bytes')))
})

test('gossip is unsigned, bounded, without floodsub, and scored on every topic', () => {
  const options = gossipOptions(['a', 'b'], NETWORK_PRESETS.public)
  assert.equal(options.globalSignaturePolicy, 'StrictNoSign')
  assert.equal(options.fallbackToFloodsub, false)
  assert.equal(options.doPX, false)
  assert.deepEqual(options.allowedTopics, ['a', 'b'])
  assert.ok((options.maxInboundDataLength ?? Infinity) <= 256 * 1024)
  assert.equal(options.scoreParams?.IPColocationFactorWeight, -5)
  assert.equal(options.scoreParams?.topics?.['b']?.invalidMessageDeliveriesWeight, -10)
  const local = gossipOptions(['a'], NETWORK_PRESETS.local)
  assert.equal(local.scoreParams?.IPColocationFactorWeight, 0)
  assert.ok(Math.abs(decayOf(600_000) - 0.99885) < 0.00001)
})

test('a bucket lets a burst pass and then the rate', () => {
  let nowMs = 0
  const buckets = new TokenBuckets({ perSecond: 2, burst: 3, nowMs: () => nowMs })
  const takes = (name: string, n: number): number =>
    Array.from({ length: n }, () => buckets.take(name)).filter(Boolean).length
  assert.equal(takes('a', 10), 3)
  assert.equal(takes('b', 10), 3)
  nowMs = 1000
  assert.equal(takes('a', 10), 2)
  nowMs = 100_000
  assert.equal(takes('a', 10), 3)
})

test('the keeper backs off while nobody answers and rests when enough are connected', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  let connected = 0
  let up = false
  const dials: string[] = []
  const keeper = new PeerKeeper(
    {
      connectedCount: () => connected,
      candidates: async () => ['p'],
      dial: async (target) => {
        dials.push(target)
        if (!up) throw new Error('away')
        connected += 1
      },
    },
    { minConnections: 1, backoffFirstMs: 1000, backoffAloneMs: 8000, backoffMs: 60_000 },
  )
  const advance = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 250) {
      mock.timers.tick(250)
      await settle()
    }
  }
  keeper.start()
  await advance(120_000)
  assert.ok(dials.length >= 12 && dials.length <= 30, `${dials.length} dials in two minutes`)
  up = true
  await advance(12_000)
  assert.equal(connected, 1)
  const count = dials.length
  await advance(600_000)
  assert.equal(dials.length, count, 'no dial while enough are connected')
  connected = 0
  keeper.onDisconnected()
  await advance(2000)
  assert.equal(connected, 1)
  connected = 0
  await keeper.stop()
  keeper.onDisconnected()
  await advance(60_000)
  assert.equal(connected, 0, 'a stopped keeper stays stopped')
})

test('a peer that answers no ping in two rounds is hung up on, a late one is not', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const silent = new Set(['gone', 'late'])
  const hungUp: string[] = []
  const pulse = new PeerPulse({
    peers: () => ['here', 'gone', 'late'].filter((peer) => !hungUp.includes(peer)),
    ping: async (peer) => {
      if (silent.has(peer)) throw new Error('no answer')
    },
    hangUp: async (peer) => {
      hungUp.push(peer)
    },
  })
  const round = async (): Promise<void> => {
    mock.timers.tick(NETWORK_LIMITS.pulseMs)
    await settle()
  }
  pulse.start()
  await round()
  assert.deepEqual(hungUp, [])
  silent.delete('late')
  await round()
  assert.deepEqual(hungUp, ['gone'])
  silent.add('late')
  await round()
  assert.deepEqual(hungUp, ['gone'], 'misses count in a row only')
  await pulse.stop()
  await round()
  assert.deepEqual(hungUp, ['gone'])
})

test('strangers cannot fill the datastore: the entry written longest ago goes', async () => {
  const inner = new MemoryDatastore()
  await inner.put(new Key('/dht/record/old'), Uint8Array.of(0))
  const store = await createBoundedDatastore(inner, { records: 3, peers: 2 })
  for (const name of ['a', 'b', 'old', 'c']) {
    await store.put(new Key(`/dht/record/${name}`), Uint8Array.of(1))
  }
  for (const name of ['x', 'y', 'z']) await store.put(new Key(`/peers/${name}`), Uint8Array.of(1))
  for (let i = 0; i < 9; i += 1) await store.put(new Key(`/other/${i}`), Uint8Array.of(1))
  const names: string[] = []
  for await (const key of store.queryKeys({})) names.push(key.toString())
  assert.deepEqual(names.filter((name) => !name.startsWith('/other/')).sort(), [
    '/dht/record/b',
    '/dht/record/c',
    '/dht/record/old',
    '/peers/y',
    '/peers/z',
  ])
  assert.equal(names.length, 14)
  await store.delete(new Key('/peers/y'))
  await store.put(new Key('/peers/w'), Uint8Array.of(1))
  assert.ok(await store.has(new Key('/peers/z')))
})

test('one address or prefix holds only its share of the connections', () => {
  const quota = { maxConnectionsPerIp: 2, maxConnectionsPerPrefix: 3 }
  const others = ['203.0.113.1', '203.0.113.1', '203.0.113.2', '198.51.100.1']
  assert.ok(exceedsQuota('203.0.113.1', others, quota))
  assert.ok(exceedsQuota('203.0.113.9', others, quota), 'the prefix is full')
  assert.ok(!exceedsQuota('198.51.100.1', others, quota))
  assert.ok(!exceedsQuota('192.0.2.1', others, quota))
})
