/**
 * Months in the life of a network of real daemons: peers earn a name, one begins to lie and is
 * excluded, comes back as a probationer; a late joiner learns the past from others; a two-faced
 * peer is excluded for ever; and what the requesters logged gives the same messages again.
 */
import assert from 'node:assert/strict'
import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, test } from 'node:test'
import type { JobView, ReputationView, RunRequest } from '../../src/api/daemon-port.js'
import { until } from '../../scripts/local-network.js'
import type { LocalPeer } from '../../scripts/local-network.js'
import { replayHomes } from '../simulation/replay.js'
import { PATIENCE_MS, SKIP, Stage, build, knows, shellJob, succeed } from './stage.js'

const stage = await Stage.open()
const DAY_MS = 24 * 3600_000
/** Beyond the window in which repeated credit counts less. */
const STEP_MS = 8 * DAY_MS
const STEPS = 6
/** Everybody's jobs run at the same time: nobody is ever too busy for one. */
const SEATS = { seats: 8 }
const NAMES = ['ann', 'bob', 'cem', 'dan', 'eva', 'fay', 'liar'] as const

let peers: LocalPeer[] = []
let aheadMs = 0

const peerNamed = (name: string): LocalPeer => {
  const peer = peers.find((one) => one.name === name)
  assert.ok(peer, name)
  return peer
}
const now = (): number => Date.now() + aheadMs

async function passTime(ms: number): Promise<void> {
  aheadMs += ms
  // Whole or not at all: half a number would be another time.
  await writeFile(join(stage.dir, 'clock.new'), String(aheadMs))
  await rename(join(stage.dir, 'clock.new'), join(stage.dir, 'clock'))
}

async function reputation(at: LocalPeer, of: LocalPeer, atMs = now()): Promise<ReputationView> {
  return at.client.get(`/v1/peers/${of.peerId}/reputation?at=${atMs}`)
}

/** Everybody else executes, so whoever lies is among them. */
function job(changes: Partial<RunRequest> = {}): RunRequest {
  return shellJob('echo 42 > /out/answer', { replicas: NAMES.length - 1, ...changes })
}

function executorsOf(view: JobView): Array<readonly [string, string]> {
  return view.tasks.flatMap(({ replicas }) =>
    replicas.map(({ peer, phase }) => [peer, phase] as const),
  )
}

before(async () => {
  if (SKIP !== false) return
  await passTime(0)
  await stage.start('boot', { role: 'bootstrap' })
  peers = await Promise.all(
    NAMES.map((name) => stage.start(name, { build: build('years'), config: SEATS })),
  )
  await Promise.all(
    peers.map((peer) =>
      knows(
        peer,
        peers.filter((other) => other !== peer),
      ),
    ),
  )
})

test('peers that work for each other for weeks become credible', { skip: SKIP }, async () => {
  for (let step = 0; step < STEPS; step++) {
    await Promise.all(
      peers.map((peer) => succeed(peer.client, job({ command: ['history'], tasks: 2 }))),
    )
    await passTime(STEP_MS)
  }
  for (const peer of peers) {
    const view = await reputation(peerNamed('ann'), peer)
    assert.equal(view.standing, 'established', peer.name)
    assert.ok(view.reliability >= 0.8, `${peer.name} ${view.reliability}`)
    // Each change has its evidence, and together they are the score.
    const sum = view.evidence.reduce((total, { credit }) => total + credit, 0)
    assert.ok(Math.abs(sum - view.credit) < 0.001, `${sum} against ${view.credit}`)
  }
})

test(
  'a liar is excluded, is never elected meanwhile, and comes back as a probationer',
  { skip: SKIP },
  async () => {
    const liar = peerNamed('liar')
    const ann = peerNamed('ann')
    await writeFile(join(liar.home, 'lies'), '')
    const excluded = await until('the liar to be excluded', 2 * PATIENCE_MS, async () => {
      const view = await succeed(ann.client, job())
      assert.ok(
        executorsOf(view).every(([peer, phase]) => phase !== 'agreed' || peer !== liar.peerId),
      )
      const score = await reputation(ann, liar)
      return score.standing === 'excluded' ? score : undefined
    })
    assert.ok(excluded.wrongs >= 2 && excluded.exclusions === 1)
    assert.ok(excluded.excludedUntilMs !== null && excluded.excludedUntilMs > now() + 6 * DAY_MS)
    assert.ok(excluded.evidence.filter(({ kind }) => kind === 'wrong').length >= 2)
    // One replica fewer than before: the liar would be called if it could be.
    for (const requester of ['ann', 'bob', 'cem']) {
      const asked = peerNamed(requester)
      await until(`${requester} to know of the exclusion`, PATIENCE_MS, async () =>
        (await reputation(asked, liar)).standing === 'excluded' ? true : undefined,
      )
      const view = await succeed(asked.client, job({ replicas: NAMES.length - 2 }))
      assert.ok(executorsOf(view).every(([peer]) => peer !== liar.peerId))
    }
    await rm(join(liar.home, 'lies'))
    await passTime(STEP_MS)
    const back = await reputation(ann, liar)
    assert.deepEqual([back.standing, back.wrongs, back.exclusions], ['probationer', 0, 1])
    const view = await succeed(ann.client, job())
    assert.deepEqual(
      executorsOf(view).filter(([peer]) => peer === liar.peerId),
      [[liar.peerId, 'agreed']],
    )
  },
)

test(
  'a late joiner computes the same scores from receipts it fetched',
  { skip: SKIP },
  async () => {
    const ann = peerNamed('ann')
    const late = await stage.start('late', { build: build('years'), execute: false })
    const root = async (peer: LocalPeer): Promise<string> => (await reputation(peer, ann)).root
    await until('the late joiner to know the past', PATIENCE_MS, async () =>
      (await root(late)) === (await root(ann)) ? true : undefined,
    )
    const atMs = now()
    for (const peer of peers) {
      const [old, fetched] = await Promise.all([
        reputation(ann, peer, atMs),
        reputation(late, peer, atMs),
      ])
      assert.ok(old.evidence.length > 10)
      // How the peer has served blobs is each one's own experience, and no part of the score.
      const { serving } = old
      assert.deepEqual({ ...fetched, serving }, old)
    }
    peers.push(late)
  },
)

test(
  'a two-faced peer is excluded for ever by everybody, the late joiner too',
  { skip: SKIP },
  async () => {
    const ann = peerNamed('ann')
    const twoFaced = peerNamed('fay')
    await writeFile(join(twoFaced.home, 'two-faced'), '')
    await succeed(ann.client, job())
    const others = peers.filter((peer) => peer !== twoFaced)
    for (const peer of others) {
      const view = await until(`${peer.name} to hold the proof`, PATIENCE_MS, async () => {
        const score = await reputation(peer, twoFaced)
        return score.fault === null ? undefined : score
      })
      assert.equal(view.standing, 'excluded')
      assert.equal(view.excludedUntilMs, null)
      assert.equal(view.fault?.kind, 'equivocation')
    }
    await passTime(STEP_MS)
    const view = await succeed(ann.client, job({ replicas: 2, tasks: 4 }))
    assert.ok(executorsOf(view).every(([peer]) => peer !== twoFaced.peerId))
  },
)

test(
  'the logs of this network, replayed, give the same messages and scores',
  { skip: SKIP },
  async () => {
    const homes = peers.map(({ home }) => home)
    await Promise.all(peers.map((peer) => peer.stop()))
    const outcome = await replayHomes(homes, stage.name, now())
    assert.ok(outcome.jobs >= NAMES.length, `${outcome.jobs} jobs`)
    assert.ok(outcome.events > 200, `${outcome.events} events`)
    assert.ok(outcome.messages > 300, `${outcome.messages} messages`)
    assert.ok(outcome.scores > 50, `${outcome.scores} scores`)
    assert.deepEqual(outcome.differences, [])
  },
)
