import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { auditTranscript } from '../../src/protocol/audit.js'
import { stepJob } from '../../src/protocol/job-step.js'
import type { JobEvent } from '../../src/protocol/job.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { toHex } from '../../src/wire/ids.js'
import { seal } from '../../src/wire/envelope.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'
import type { Behaviour, RigOptions } from './rig.js'

/** A job of one task that calls `odd` first, with the first keys for which the lottery does so. */
function rigWith(odd: Behaviour, options: Partial<RigOptions> = {}, others = 5): Rig {
  for (let i = 0; i < 32; i++) {
    const rig = new Rig({
      spec: RUN_SPEC,
      behaviours: [odd, ...honest(others)],
      keys: `odd-${i}`,
      ...options,
    })
    rig.run(() => rig.told('task:called').length > 0)
    const called = rig.told('task:called').map(({ peer }) => peer)
    if (called.includes(rig.executor(0).peerId)) return rig
  }
  throw new Error('the lottery never draws the first executor')
}

function runWith(odd: Behaviour): Rig {
  return rigWith(odd).run()
}

describe('the executors of a slot', () => {
  it('are two, and a standby is called only for one that is lost', () => {
    const rig = runWith('honest')
    assert.deepEqual(
      rig.record.ofKind('task').map(({ message }) => message.seats),
      [2],
    )
    const lost = runWith('silent')
    assert.equal(lost.state.status, 'succeeded')
    assert.deepEqual(
      lost.record.ofKind('task').map(({ message }) => message.seats),
      [2, 3],
    )
    assert.deepEqual(lost.outcomesOf(lost.executor(0).peerId), ['timed-out'])
    assert.equal(lost.verified('verify')[0]?.agreed.length, 2)
  })

  it('escalate to three against one in a young network, and the liar is struck', () => {
    const rig = runWith('liar')
    const liar = rig.executor(0).peerId
    assert.equal(rig.state.status, 'succeeded')
    const [slot] = rig.verified('verify')
    assert.equal(slot?.young, true)
    assert.equal(slot.agreed.length, 3)
    assert.deepEqual(slot.dissented, [liar])
    assert.ok(!slot.agreed.includes(liar))
    assert.deepEqual(rig.outcomesOf(liar), ['dissented'])
    assert.deepEqual(
      rig.record.ofKind('task').map(({ message }) => message.seats),
      [2, 3, 4],
    )
  })

  it('count for nothing when they reveal another result than they committed to', () => {
    const rig = runWith('mismatch')
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(rig.outcomesOf(rig.executor(0).peerId), ['withheld'])
    assert.equal(rig.verified('verify')[0]?.agreed.length, 2)
  })

  it('are waited for until the reveal window closes when they withhold', () => {
    const rig = runWith('withholds')
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(rig.outcomesOf(rig.executor(0).peerId), ['withheld'])
    assert.ok(rig.nowMs >= 1_800_000_000_000 + rig.context.revealWindowMs)
  })

  it("gain nothing by copying another's commitment and reveal", () => {
    const rig = runWith('copier')
    const copier = rig.executor(0).peerId
    const copies = rig.record.ofKind('commitment').filter(({ author }) => author === copier)
    const others = rig.record.ofKind('commitment').filter(({ author }) => author !== copier)
    assert.equal(copies.length, 1)
    assert.ok(
      others.some(
        ({ message }) => toHex(message.commitment) === toHex(copies[0]!.message.commitment),
      ),
    )
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(rig.outcomesOf(copier), ['withheld'])
    assert.ok(!rig.verified('verify')[0]?.agreed.includes(copier))
  })

  it('are replaced when one fails, whatever its code', () => {
    for (const fails of ['CONTAINER_FAILED', 'BLOB_UNAVAILABLE']) {
      const rig = runWith({ fails })
      assert.equal(rig.state.status, 'succeeded')
      assert.deepEqual(rig.outcomesOf(rig.executor(0).peerId), ['failed'])
    }
  })

  it('end the job with the code of the program when two fail alike', () => {
    const behaviours: Behaviour[] = Array.from({ length: 4 }, () => ({ fails: 'CONTAINER_OOM' }))
    const rig = new Rig({ spec: RUN_SPEC, behaviours }).run()
    assert.equal(rig.state.status, 'failed')
    assert.equal(rig.state.code, 'CONTAINER_OOM')
    assert.equal(rig.told('task:rejected').length, 1)
    assert.equal(rig.verified('verify')[0]?.accepted, false)
  })

  it('leave the job to other executors when two machines fail alike', () => {
    const fails: Behaviour = { fails: 'IMAGE_UNAVAILABLE' }
    const rig = new Rig({ spec: RUN_SPEC, behaviours: [fails, fails, 'honest', 'honest'] }).run()
    assert.equal(rig.state.status, 'succeeded')
  })

  it('that all differ end the job as NONDETERMINISTIC and blame nobody', () => {
    const behaviours: Behaviour[] = Array.from({ length: 6 }, () => 'random')
    const rig = new Rig({ spec: RUN_SPEC, behaviours }).run()
    assert.equal(rig.state.status, 'failed')
    assert.equal(rig.state.code, 'NONDETERMINISTIC')
    const [slot] = rig.verified('verify')
    assert.equal(slot?.accepted, false)
    const outcomes = rig.executors.flatMap(({ peerId }) => rig.outcomesOf(peerId))
    assert.deepEqual([...new Set(outcomes)], ['spared'])
    assert.equal(outcomes.length, 4)
  })

  it('get a hidden companion before any reveal when the draw says so', () => {
    const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(4), auditPpm: 1_000_000 }).run()
    assert.equal(rig.state.status, 'succeeded')
    const [slot] = rig.verified('verify')
    assert.equal(slot?.agreed.length, 3)
    const kinds = slot.messages.map(({ kind }) => kind)
    assert.deepEqual(kinds.slice(4), [
      'task',
      'freezeCommitments',
      'task',
      'freezeCommitments',
      'freezeReveals',
      'receipt',
    ])
  })

  it('go on without a hidden companion when every standby is lost', () => {
    const rig = new Rig({
      spec: RUN_SPEC,
      behaviours: ['honest', 'honest', 'silent'],
      auditPpm: 1_000_000,
      standing: (index) => ({ availabilityPpm: index === 2 ? 1_000 : 1_000_000 }),
    }).run()
    assert.equal(rig.state.status, 'succeeded')
    assert.equal(rig.verified('verify')[0]?.agreed.length, 2)
    assert.deepEqual(rig.outcomesOf(rig.executor(2).peerId), ['timed-out'])
  })

  it('are at most seven, also when they withhold and the draw asks for one more', () => {
    const behaviours: Behaviour[] = Array.from({ length: 10 }, () => 'withholds')
    const rig = new Rig({ spec: RUN_SPEC, behaviours, auditPpm: 1_000_000 })
    rig.run(() => rig.told('task:rejected').length === 1)
    const committed = rig.record
      .ofKind('freezeCommitments')
      .map(({ message }) => message.commitments.length)
    assert.deepEqual(committed, [2, 3, 4, 5, 6, 7])
    const full = new Rig({
      spec: RUN_SPEC,
      behaviours: honest(9),
      replicas: 7,
      auditPpm: 1_000_000,
    }).run()
    assert.equal(full.state.status, 'succeeded')
    assert.equal(full.verified('verify')[0]?.agreed.length, 7)
  })

  it('need a mature margin where established peers bid', () => {
    const standing = { reliabilityPpm: 930_000, established: true }
    const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(6), standing: () => standing }).run()
    const [slot] = rig.verified('verify')
    assert.equal(slot?.young, false)
    assert.equal(slot.agreed.length, 2)
  })
})

describe('a slot', () => {
  /** A rig whose one task is called and whose first executor has not answered yet. */
  function called(): {
    rig: Rig
    silent: Rig['executors'][number]
    step: (event: JobEvent) => unknown[]
  } {
    const rig = rigWith('silent')
    rig.run(() => rig.state.batches[0]?.assignment?.slots[0]?.commitments.size === 1)
    return { rig, silent: rig.executor(0), step: (event) => stepJob(rig.context, rig.state, event) }
  }

  it('ignores the loss of a peer that was not called', () => {
    const { rig, step } = called()
    const slot = rig.state.batches[0]?.assignment?.slots[0]
    const standby = rig.state.batches[0]?.assignment?.election?.slots[0]?.ranking[3]
    assert.ok(slot && standby)
    const { nowMs } = rig
    const lost = {
      type: 'executorLost',
      slot: 0,
      peer: standby,
      code: 'LEASE_EXPIRED',
      reason: '',
      nowMs,
    } as const
    assert.deepEqual(step({ type: 'assignment', batch: 0, event: lost, nowMs }), [])
    assert.equal(slot.lost.size, 0)
  })

  it('ignores a failure told after the commitment', () => {
    const { rig, step } = called()
    const slot = rig.state.batches[0]?.assignment?.slots[0]
    const [author] = slot?.commitments.keys() ?? []
    const executor = rig.executors.find(({ peerId }) => peerId === author)
    assert.ok(slot?.taskId && executor)
    const message = {
      taskId: Buffer.from(slot.taskId, 'hex'),
      code: 'X',
      reason: 'changed my mind',
    }
    const opened = seal(NETWORK, 'failure', message, executor.signer)
    const { nowMs } = rig
    const event = { type: 'message', opened, nowMs } as const
    assert.deepEqual(step({ type: 'assignment', batch: 0, event, nowMs }), [])
    assert.equal(slot.lost.size, 0)
  })

  it('ignores a commitment for another attempt and one of a stranger', () => {
    const { rig, silent, step } = called()
    const slot = rig.state.batches[0]?.assignment?.slots[0]
    const standby = rig.state.batches[0]?.assignment?.election?.slots[0]?.ranking[3]
    const stranger = rig.executors.find(({ peerId }) => peerId === standby)
    assert.ok(slot?.taskId && stranger)
    const { nowMs } = rig
    const taskId = Buffer.from(slot.taskId, 'hex')
    const commitment = new Uint8Array(32)
    const messages = [
      seal(NETWORK, 'commitment', { taskId, attempt: 9, commitment }, silent.signer),
      seal(NETWORK, 'commitment', { taskId, attempt: 1, commitment }, stranger.signer),
    ]
    for (const opened of messages) {
      const event = { type: 'message', opened, nowMs } as const
      assert.deepEqual(step({ type: 'assignment', batch: 0, event, nowMs }), [])
    }
    assert.equal(slot.commitments.size, 1)
  })

  it('does not take a late reveal of an earlier attempt for a false one', () => {
    const rig = new Rig({ spec: RUN_SPEC, behaviours: ['withholds', 'withholds', 'withholds'] })
    rig.run(() => rig.state.batches[0]?.assignment?.slots[0]?.phase === 'revealing')
    const slot = rig.state.batches[0]?.assignment?.slots[0]
    const [author] = slot?.commitments.keys() ?? []
    const executor = rig.executors.find(({ peerId }) => peerId === author)
    assert.ok(slot?.taskId && executor)
    const empty = new Uint8Array(0)
    const message = {
      taskId: Buffer.from(slot.taskId, 'hex'),
      attempt: 0,
      outputRoot: new Uint8Array(32),
      metrics: empty,
      salt: new Uint8Array(32),
      durationMs: 1,
      listing: empty,
      updateRoot: empty,
    }
    const opened = seal(NETWORK, 'reveal', message, executor.signer)
    const { nowMs } = rig
    const event = { type: 'message', opened, nowMs } as const
    assert.deepEqual(
      stepJob(rig.context, rig.state, { type: 'assignment', batch: 0, event, nowMs }),
      [],
    )
    assert.equal(slot.lost.size, 0)
  })
})

describe('a job among executors of any kind', () => {
  const behaviour: fc.Arbitrary<Behaviour> = fc.oneof(
    { weight: 4, arbitrary: fc.constant<Behaviour>('honest') },
    fc.constantFrom<Behaviour>(
      'liar',
      'random',
      'silent',
      'mismatch',
      'withholds',
      'copier',
      'offline',
      { fails: 'CONTAINER_FAILED' },
      { fails: 'BLOB_UNAVAILABLE' },
      { declines: 'busy' },
    ),
  )
  const options = fc.record({
    behaviours: fc.array(behaviour, { minLength: 2, maxLength: 8 }),
    replicas: fc.integer({ min: 2, max: 4 }),
    auditPpm: fc.constantFrom(0, 500_000, 1_000_000),
    capacity: fc.integer({ min: 1, max: 3 }),
    spec: fc.integer({ min: 1, max: 3 }).map((tasks) => ({ ...RUN_SPEC, tasks })),
    keys: fc.string({ minLength: 1, maxLength: 4 }),
  })

  it('ends, every receipt verifies, no lone deviator is accepted, and a replay is identical', () => {
    let succeeded = 0
    fc.assert(
      fc.property(options, (drawn) => {
        const rig = new Rig({ ...drawn, queueTimeoutMs: 120_000 }).run()
        assert.ok(['succeeded', 'failed'].includes(rig.state.status))
        if (rig.state.status === 'succeeded') {
          succeeded += 1
          const trusted = new Set<string>(rig.executors.map(({ peerId }) => peerId))
          const bytes = buildTranscript(NETWORK, rig.record)
          assert.equal(auditTranscript({ bytes, trusted, artifacts: rig.folders() }).code, 'ok')
        }
        const liars = drawn.behaviours.filter((kind) => kind === 'liar').length
        for (const slot of rig.verified('verify')) {
          if (!slot.accepted) continue
          assert.ok(slot.agreed.length >= 2)
          if (liars > 1) continue
          const kinds = slot.agreed.map(
            (peer) => rig.executors.find(({ peerId }) => peerId === peer)?.behaviour,
          )
          assert.deepEqual([...new Set(kinds)], ['honest'])
        }
        const { state, published } = rig.replay()
        assert.deepEqual(state, rig.state)
        assert.deepEqual(
          published.map(({ id }) => id),
          rig.published.map(({ id }) => id),
        )
      }),
      { numRuns: 20, seed: 20261122, verbose: true },
    )
    assert.ok(succeeded > 0)
  })
})
