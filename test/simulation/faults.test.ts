/** What crashes, partitions and a bad network change in the outcome of a job: its duration. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { calmSchedule, runSchedule } from './simulator.js'
import type { Outcome, Schedule } from './simulator.js'

const SEED = 'faults'
const JOB = { atMs: 3000, peer: 0, kind: 'run', tasks: 3, replicas: 2, auditPpm: 250_000 } as const
const TRAIN = { ...JOB, kind: 'train', auditPpm: 0 } as const
const SLOW = { workMinMs: 1000, workMaxMs: 5000 } as const

async function play(changes: Partial<Schedule>, seed = SEED): Promise<Outcome> {
  const outcome = await runSchedule(calmSchedule(seed, { jobs: [JOB], ...changes }))
  assert.deepEqual(outcome.violations, [], JSON.stringify(changes.faults))
  assert.deepEqual(
    outcome.jobs.map(({ status, code }) => `${status} ${code}`),
    ['succeeded '],
  )
  return outcome
}

function outputsOf({ jobs }: Outcome): (string | undefined)[] {
  return jobs.map(({ outputs }) => outputs)
}

describe('a job under faults', () => {
  it('ends with the same outputs when its requester is killed at any moment', async () => {
    const expected = outputsOf(await play(SLOW))
    for (let atMs = 3000; atMs <= 9000; atMs += 300) {
      const crash = { kind: 'crash', atMs, peer: 0, downMs: 700, losesUnsynced: true } as const
      assert.deepEqual(outputsOf(await play({ ...SLOW, faults: [crash] })), expected, `${atMs}`)
    }
  })

  it('ends with the same outputs when a training requester is killed again and again', async () => {
    const expected = outputsOf(await play({ jobs: [TRAIN] }))
    const faults = [3500, 6000, 9000, 13_000, 18_000, 24_000].map((atMs, i) => ({
      ...({ kind: 'crash', peer: 0, losesUnsynced: true } as const),
      atMs,
      downMs: 200 * (i + 1),
    }))
    const outcome = await play({ ...SLOW, jobs: [TRAIN], faults })
    assert.deepEqual(outputsOf(outcome), expected)
    assert.equal(outcome.coverage.get('fault:crash-requester'), faults.length)
  })

  it('goes to standbys when executors are killed while they compute', async () => {
    const faults = [1, 2, 3].map((peer) => ({
      ...({ kind: 'crash', downMs: 60_000, losesUnsynced: true } as const),
      peer,
      atMs: 3600 + 100 * peer,
    }))
    const outcome = await play({ ...SLOW, faults })
    assert.ok((outcome.coverage.get('executor:lost') ?? 0) > 0)
  })

  it('ends after a partition has healed, whoever was cut off', async () => {
    for (const side of [[0], [0, 1], [0, 1, 2, 3], [4, 5, 6]]) {
      for (const isOneWay of [false, true]) {
        const partition = { kind: 'partition', atMs: 3400, side, ms: 12_000, isOneWay } as const
        await play({ ...SLOW, faults: [partition] })
      }
    }
  })

  it('has the same outputs however messages are delayed, doubled and reordered', async () => {
    const calm = await play({})
    const network = { delayMinMs: 1, delayMaxMs: 90, slow: 0.1, loss: 0, gossipLoss: 0 }
    for (const duplication of [0, 0.5]) {
      const outcome = await play({ network: { ...network, duplication } }, `${SEED} ${duplication}`)
      assert.deepEqual(outputsOf(outcome), outputsOf(calm))
      assert.notEqual(outcome.traceHash, calm.traceHash)
    }
  })

  it('needs no gossip: whoever has a part in it is told directly', async () => {
    const behaviours = [...calmSchedule('').behaviours, 'liar'] as const
    for (const seed of ['a', 'b', 'c', 'd']) {
      const network = { ...calmSchedule('').network, gossipLoss: 1 }
      const outcome = await play({ network, behaviours, jobs: [JOB] }, seed)
      assert.equal(outcome.wrong, 0)
    }
  })

  it('outlasts a full disk at its requester, whenever it fills', async () => {
    for (let atMs = 2900; atMs <= 8000; atMs += 500) {
      await play({ ...SLOW, faults: [{ kind: 'full-disk', atMs, peer: 0, ms: 4000 }] })
    }
  })

  it('outlasts full disks at its executors', async () => {
    const faults = [1, 2, 3, 4, 5, 6].map((peer) => ({
      ...({ kind: 'full-disk', atMs: 3300, ms: 5000 } as const),
      peer,
    }))
    await play({ ...SLOW, faults })
  })

  it('waits for peers that are not there yet', async () => {
    const faults = [1, 2, 3, 4, 5, 6].map((peer) => ({
      ...({ kind: 'late-join', atMs: 20_000 } as const),
      peer,
    }))
    const outcome = await play({ faults })
    assert.ok((outcome.coverage.get('job:waiting:NO_ELIGIBLE_BIDS') ?? 0) > 0)
  })
})
