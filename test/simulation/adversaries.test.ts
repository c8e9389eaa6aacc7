/** What each kind of adversary gains against the production people: nothing, and how it is seen. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { calmSchedule, runSchedule } from './simulator.js'
import type { Outcome, Schedule } from './simulator.js'

const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8] as const
type Behaviour = Schedule['behaviours'][number]

const JOB = { atMs: 3000, peer: 0, kind: 'run', tasks: 3, replicas: 2, auditPpm: 250_000 } as const

function among(adversaries: readonly Behaviour[], honest = 6): Behaviour[] {
  return [...Array.from({ length: honest + 1 }, (): Behaviour => 'honest'), ...adversaries]
}

/** Runs a job per seed with the adversaries last, and expects it to succeed with what is right. */
async function play(
  behaviours: readonly Behaviour[],
  changes: Partial<Schedule> = {},
): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (const seed of SEEDS) {
    const schedule = calmSchedule(`adversary ${seed}`, { behaviours, jobs: [JOB], ...changes })
    const outcome = await runSchedule(schedule)
    assert.deepEqual(outcome.violations, [], `seed ${schedule.seed}`)
    outcomes.push(outcome)
  }
  return outcomes
}

function told(outcomes: readonly Outcome[], key: string): number {
  return outcomes.reduce((sum, { outcomes: told }) => sum + (told.get(key) ?? 0), 0)
}

function counted(outcomes: readonly Outcome[], what: string): number {
  return outcomes.reduce((sum, { coverage }) => sum + (coverage.get(what) ?? 0), 0)
}

function assertRight(outcomes: readonly Outcome[]): void {
  for (const { jobs, wrong, seed } of outcomes) {
    assert.equal(wrong, 0, seed)
    assert.deepEqual(
      jobs.map(({ status }) => status),
      ['succeeded'],
      seed,
    )
  }
}

describe('an adversary among honest executors', () => {
  it('never has a wrong result accepted, and is outvoted where it was elected', async () => {
    const outcomes = await play(among(['liar']))
    assertRight(outcomes)
    assert.equal(told(outcomes, '7 agreed'), 0)
    assert.ok(told(outcomes, '7 dissented') + told(outcomes, '7 spared') > 0)
  })

  it('wins with one other while the network is young, and not once it is mature', async () => {
    const established = [1, 2, 3, 4, 5, 6]
    const colluders = among(['colluder', 'colluder'])
    // Where no hidden replica is drawn: it would outvote them.
    const jobs = [{ ...JOB, tasks: 4, auditPpm: 0 }]
    const young = await play(among(['colluder', 'colluder'], 4), { jobs })
    assert.ok(
      young.some(({ wrong }) => wrong > 0),
      'the attack is real',
    )
    assertRight(await play(colluders, { established }))
  })

  it('gains nothing by copying commitments and reveals', async () => {
    const outcomes = await play(among(['copier']))
    assertRight(outcomes)
    assert.equal(told(outcomes, '7 agreed'), 0)
    assert.ok(told(outcomes, '7 withheld') + told(outcomes, '7 timed-out') > 0)
  })

  it('loses its seat to a standby when it falls silent', async () => {
    const outcomes = await play(among(['silent']))
    assertRight(outcomes)
    assert.ok(told(outcomes, '7 timed-out') > 0)
    assert.ok(counted(outcomes, 'branch:called-again') > 0)
  })

  it('is noted when it commits and does not reveal', async () => {
    const outcomes = await play(among(['withholder']))
    assertRight(outcomes)
    assert.ok(told(outcomes, '7 withheld') > 0)
  })

  it('is noted when it reveals something else than it committed to', async () => {
    const outcomes = await play(among(['mismatcher']))
    assertRight(outcomes)
    assert.ok(told(outcomes, '7 withheld') > 0)
    assert.equal(told(outcomes, '7 agreed'), 0)
  })

  it('is noted when it opens another sketch than it committed to', async () => {
    const jobs = [{ ...JOB, compare: 'tensors:fp32' as const }]
    const outcomes = await play(among(['forger']), { jobs })
    assertRight(outcomes)
    assert.ok(told(outcomes, '7 withheld') > 0)
    assert.equal(told(outcomes, '7 agreed'), 0)
  })

  it('is outvoted within a tolerance too, where no two honest results are equal', async () => {
    const jobs = [{ ...JOB, compare: 'tensors:fp32' as const }]
    const outcomes = await play(among(['liar']), { jobs })
    assertRight(outcomes)
    assert.equal(told(outcomes, '7 agreed'), 0)
    assert.ok(told(outcomes, '7 dissented') + told(outcomes, '7 spared') > 0)
    assert.ok(counted(outcomes, 'verdict:accepted-tensors') > 0)
  })

  it('is never called when it does not open its bid', async () => {
    const outcomes = await play(among(['non-opener']))
    assertRight(outcomes)
    const keys = outcomes.flatMap(({ outcomes: told }) => [...told.keys()])
    assert.deepEqual(
      keys.filter((key) => key.startsWith('7 ')),
      [],
    )
  })

  it('hands out a proof against itself when it commits to two things', async () => {
    const outcomes = await play(among(['equivocator']))
    assertRight(outcomes)
    assert.ok(counted(outcomes, 'branch:equivocation-proved') > 0)
  })

  it('cannot hold a job up by living for ever without a result', async () => {
    // A copier that sees no commitment computes nothing, yet answers as if it did.
    const outcomes = await play(among(['copier'], 3), {
      network: { ...calmSchedule('').network, gossipLoss: 0.3 },
    })
    assertRight(outcomes)
    assert.ok(told(outcomes, '4 timed-out') > 0)
  })
})
