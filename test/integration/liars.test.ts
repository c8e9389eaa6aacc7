/** Liars among real daemons: what they hand in is never accepted, and everybody remembers it. */
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { JobView } from '../../src/api/daemon-port.js'
import { until } from '../../scripts/local-network.js'
import type { LocalPeer } from '../../scripts/local-network.js'
import {
  PATIENCE_MS,
  SKIP,
  Stage,
  build,
  bytes,
  fileText,
  knows,
  outcomes,
  shellJob,
  succeed,
  viewOf,
} from './stage.js'

const stage = await Stage.open()
let requester: LocalPeer
/** Executes nothing, submits nothing, can neither ask nor be told: it has gossip alone. */
let witness: LocalPeer
let honest: LocalPeer[]

before(async () => {
  if (SKIP !== false) return
  await stage.start('boot', { role: 'bootstrap' })
  const [ann, bob, cem, submitter, listener] = await Promise.all([
    stage.start('ann'),
    stage.start('bob'),
    stage.start('cem'),
    stage.start('requester', { execute: false }),
    stage.start('witness', { build: build('listener'), execute: false }),
  ])
  honest = [ann, bob, cem]
  requester = submitter
  witness = listener
  await knows(requester, honest)
})

/** A liar joins, and every executor is called: three honest ones and the liar. */
async function withLiar(name: string, act: (liar: LocalPeer) => Promise<void>): Promise<void> {
  const liar = await stage.start(name, { build: build(name) })
  try {
    await knows(requester, [liar])
    await act(liar)
  } finally {
    await liar.stop()
  }
}

const calledAll = { replicas: 4 } as const

/** A fault costs more than that; what fades with time is far less. */
const FALL = 0.95

/** Waits until a peer has heard of a loss of reputation; it hears by gossip. */
async function fell(peer: LocalPeer, liar: LocalPeer, before: number): Promise<void> {
  await until(`the liar's reputation to fall at ${peer.name}`, PATIENCE_MS, async () => {
    const { reliability } = await viewOf(peer, liar)
    return reliability < before * FALL ? reliability : undefined
  })
}

function assertHonestWon(view: JobView, liar: LocalPeer, fate: string): void {
  assert.deepEqual(outcomes(view, [...honest, liar]), {
    ann: 'agreed',
    bob: 'agreed',
    cem: 'agreed',
    [liar.name]: fate,
  })
}

test('a liar that flips one bit is struck, here and at a witness', { skip: SKIP }, async () => {
  await withLiar('liar', async (liar) => {
    const { reliability } = await viewOf(requester, liar)
    const job = await succeed(requester.client, shellJob('echo 42 > /out/answer', calledAll))
    assertHonestWon(job, liar, 'dissented')
    assert.equal(await fileText(requester.client, job.id, 'output/answer'), '42\n')
    await fell(requester, liar, reliability)
    await fell(witness, liar, reliability)
    assert.equal((await viewOf(requester, liar)).dissents, 1)
    assert.ok((await viewOf(requester, honest[0] as LocalPeer)).reliability > reliability)
  })
})

test("a liar that hands in an earlier task's output is struck", { skip: SKIP }, async () => {
  await withLiar('stale', async (liar) => {
    const first = await succeed(requester.client, shellJob('echo first > /out/word', calledAll))
    assertHonestWon(first, liar, 'agreed')
    const { reliability } = await viewOf(requester, liar)
    const second = await succeed(requester.client, shellJob('echo second > /out/word', calledAll))
    assertHonestWon(second, liar, 'dissented')
    assert.equal(await fileText(requester.client, second.id, 'output/word'), 'second\n')
    await fell(requester, liar, reliability)
    await fell(witness, liar, reliability)
  })
})

test("a liar that copies another's commitment cannot open it", { skip: SKIP }, async () => {
  await withLiar('copier', async (liar) => {
    const { reliability } = await viewOf(requester, liar)
    const job = await succeed(requester.client, shellJob('echo mine > /out/word', calledAll))
    assertHonestWon(job, liar, 'withheld')
    const replica = job.tasks[0]?.replicas.find(({ peer }) => peer === liar.peerId)
    assert.match(replica?.note ?? '', /^REVEAL_MISMATCH: /)
    assert.equal(await fileText(requester.client, job.id, 'output/word'), 'mine\n')
    await fell(requester, liar, reliability)
    await fell(witness, liar, reliability)
  })
})

test('a witness rebuilds the transcript from gossip alone', { skip: SKIP }, async () => {
  const job = await succeed(requester.client, shellJob('date +%Y > /dev/null; echo x > /out/x'))
  const path = `/v1/jobs/${job.id}/transcript`
  const own = await bytes(requester.client, path)
  const rebuilt = await until('the witness to have heard it all', PATIENCE_MS, () =>
    bytes(witness.client, path).catch(() => undefined),
  )
  assert.ok(own.length > 0)
  assert.deepEqual(rebuilt, own)
})
