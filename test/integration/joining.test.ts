/**
 * Finding each other without a centre: benchmarks by DHT, a lost bootstrap node, a restart. Every
 * connection of this network passes a proxy that records it.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { until } from '../../scripts/local-network.js'
import type { LocalPeer, PeerOptions } from '../../scripts/local-network.js'
import { RecordingProxy } from './recording-proxy.js'
import {
  PATIENCE_MS,
  SKIP,
  Stage,
  fileText,
  outcomes,
  peersOf,
  shellJob,
  succeed,
  viewOf,
} from './stage.js'

const stage = await Stage.open()
const proxies = new Map<string, RecordingProxy>()
let boot: LocalPeer
let executors: LocalPeer[]
let eve: LocalPeer

after(() => {
  for (const proxy of proxies.values()) proxy.close()
})

before(async () => {
  if (SKIP !== false) return
  boot = await startBehindProxy('boot', { role: 'bootstrap' })
  executors = await Promise.all(['ann', 'bob', 'cem'].map((name) => startBehindProxy(name)))
  await Promise.all(executors.map((peer) => peer.benchmarked()))
})

/** Others are told the address of the proxy alone. */
async function startBehindProxy(
  name: string,
  options: Omit<PeerOptions, 'name'> = {},
): Promise<LocalPeer> {
  const proxy = proxies.get(name) ?? (await RecordingProxy.open())
  proxies.set(name, proxy)
  return stage.start(name, {
    ...options,
    listen: `/ip4/127.0.0.1/tcp/${proxy.targetPort}`,
    config: { capabilityGossip: false, announce: [`/ip4/127.0.0.1/tcp/${proxy.port}`] },
  })
}

async function connected(peer: LocalPeer, others: readonly LocalPeer[]): Promise<void> {
  await until(`${peer.name} to be connected to the others`, PATIENCE_MS, async () => {
    const views = (await peersOf(peer)).filter((view) => view.connected).map((view) => view.peer)
    return others.every((other) => views.includes(other.peerId)) ? true : undefined
  })
}

test(
  'a peer that knows only the bootstrap address reads every benchmark from the DHT',
  { skip: SKIP },
  async () => {
    eve = await startBehindProxy('eve', { execute: false })
    for (const other of executors) {
      const own = await viewOf(other, other)
      const read = await until(`eve to read the record of ${other.name}`, PATIENCE_MS, async () =>
        (await peersOf(eve)).find((view) => view.peer === other.peerId && view.cpuGflops > 0),
      )
      assert.equal(read.cpuGflops, own.cpuGflops)
      assert.equal(read.benchmarkedMs, own.benchmarkedMs)
      assert.equal(read.hardwareClass, own.hardwareClass)
      assert.equal(read.role, 'peer')
    }
  },
)

test('captured traffic does not show what is in the data', { skip: SKIP }, async () => {
  const marker = `secret-${randomBytes(16).toString('hex')}`
  const data = `${marker}\n`.repeat(20_000)
  const path = join(stage.dir, 'data.txt')
  await writeFile(path, data)
  await connected(eve, executors)
  const before = [...proxies.values()].reduce((sum, { totalBytes }) => sum + totalBytes, 0)
  const inputs = [{ name: 'data', source: path }]
  const script = 'head -n 3 /in/data; { echo copy; cat /in/data; } > /out/copy'
  const job = await succeed(eve.client, shellJob(script, { inputs }))
  assert.equal(await fileText(eve.client, job.id, 'output/copy'), `copy\n${data}`)

  const streams = [...proxies.values()].flatMap((proxy) => proxy.streams())
  const total = streams.reduce((sum, stream) => sum + stream.length, 0)
  // The data went to two executors, and the output came back: all of it was recorded.
  assert.ok(total - before > 3 * data.length, `${total - before} bytes were recorded`)
  assert.ok(
    streams.some((stream) => stream.includes('/noise')),
    'what is not encrypted is seen',
  )
  for (const word of [marker, 'secret-', '/in/data']) {
    assert.ok(!streams.some((stream) => stream.includes(word)), `${word} was seen on the wire`)
  }
})

test('without the bootstrap node a job from any socket succeeds', { skip: SKIP }, async () => {
  await boot.kill()
  await until('eve to notice the loss', PATIENCE_MS, async () => {
    const views = await peersOf(eve)
    return views.some((view) => view.peer === boot.peerId && view.connected) ? undefined : true
  })
  const job = await succeed(eve.client, shellJob('echo alone > /out/word'))
  assert.equal(await fileText(eve.client, job.id, 'output/word'), 'alone\n')
})

test('a restarted peer finds the network without the bootstrap node', { skip: SKIP }, async () => {
  const [ann, bob, cem] = executors
  assert.ok(ann && bob && cem)
  await bob.stop()
  assert.equal(bob.process.exitCode, 0)
  const again = await startBehindProxy('bob')
  assert.equal(again.peerId, bob.peerId)
  await connected(again, [ann, cem])
  await again.benchmarked()
  await connected(eve, [again])
  const job = await succeed(eve.client, shellJob('echo back > /out/word', { replicas: 3 }))
  const all = { ann: 'agreed', bob: 'agreed', cem: 'agreed' }
  assert.deepEqual(outcomes(job, [ann, again, cem]), all)
})
