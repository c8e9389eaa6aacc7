import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { auditTranscript } from '../../src/protocol/audit.js'
import { encodeEvent, decodeEvent } from '../../src/requester/event-codec.js'
import { addSample, SLOW_RULES, slowAfterMs } from '../../src/protocol/slow-replica.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'
import type { Behaviour, RigOptions } from './rig.js'

const TASKS = 8
const USUAL: Behaviour = { takesMs: 3000 }

/** Eight tasks of which the last is odd, with the first keys whose lottery calls executor 0 to it. */
function rigWith(
  odd: Behaviour,
  options: Partial<RigOptions> = {},
  others: Behaviour = USUAL,
): Rig {
  for (let i = 0; i < 64; i++) {
    const rig = new Rig({
      spec: { ...RUN_SPEC, tasks: TASKS },
      behaviours: [odd, ...honest(6).map(() => others)],
      keys: `slow-${i}`,
      deviates: (slot) => slot.slot === TASKS - 1 || others !== 'honest',
      ...options,
    })
    rig.run(() => rig.told('task:elected').length > 0)
    const ranking = rig.state.batches[0]?.assignment?.election?.slots[TASKS - 1]?.ranking
    const isLate = ranking?.slice(0, 2).includes(rig.executor(0).peerId)
    const once = rig.state.batches[0]?.assignment?.election?.slots
      .slice(0, TASKS - 1)
      .every((slot) => !slot.ranking.slice(0, 2).includes(rig.executor(0).peerId))
    if (isLate === true && once === true) return rig
  }
  throw new Error('the lottery never draws the first executor for the last task alone')
}

describe('what is slow', () => {
  it('is nobody while fewer than six like it have finished', () => {
    assert.equal(slowAfterMs([1, 2, 3, 4, 5], 0), undefined)
    assert.equal(slowAfterMs([1, 2, 3, 4, 5, 6], 0), 6)
  })

  it('is what takes longer than nine in ten took, by nearest rank, and never less than the floor', () => {
    const tens = Array.from({ length: 20 }, (_, i) => 10 * (i + 1))
    assert.equal(slowAfterMs(tens, 0), 180)
    assert.equal(slowAfterMs(tens.toReversed(), 0), 180)
    assert.equal(slowAfterMs(tens, 500), 500)
  })

  it('is moved by one liar in ten not at all, and by whom it may only within the samples', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 10_000 }), { minLength: 10, maxLength: 300 }),
        fc.integer({ min: 0, max: 1_000_000_000 }),
        (times, lie) => {
          const tookMs: number[] = []
          for (const ms of times) addSample(tookMs, ms)
          assert.ok(tookMs.length <= SLOW_RULES.samplesKept)
          const before = slowAfterMs(tookMs, 0) ?? 0
          assert.ok(tookMs.filter((ms) => ms <= before).length * 10 >= tookMs.length * 9)
          const told = tookMs.toSpliced(0, 1, lie)
          const after = slowAfterMs(told, 0) ?? 0
          assert.ok(after <= Math.max(...tookMs))
        },
      ),
      { numRuns: 200, seed: 20261123, verbose: true },
    )
  })
})

describe('an executor that is slow', () => {
  const rig = rigWith({ takesMs: 60_000 }).run()
  const slow = rig.executor(0).peerId
  const slot = rig.verified('verify').find(({ slot: index }) => index === TASKS - 1)

  it('gets a standby beside it when nine in ten took less, and the first to commit count', () => {
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(rig.told('task:slow'), [{ batch: 0, slot: TASKS - 1 }])
    assert.equal(slot?.accepted, true)
    assert.equal(slot.agreed.length, 2)
    assert.ok(!slot.agreed.includes(slow))
    const seats = rig.record
      .ofKind('task')
      .filter(({ message }) => message.slot === TASKS - 1)
      .map(({ message }) => message.seats)
    assert.deepEqual(seats, [2, 3])
    const [called] = rig.record.ofKind('task').slice(-1)
    const [first] = rig.record.ofKind('task').filter(({ message }) => message.slot === TASKS - 1)
    assert.equal((called?.message.calledMs ?? 0) - (first?.message.calledMs ?? 0), 3000)
  })

  it('is outrun, which is told in the receipt and held against nobody', () => {
    assert.deepEqual(rig.outcomesOf(slow), ['outrun'])
    assert.deepEqual(
      rig.told('executor:outrun').map(({ peer }) => peer),
      [slow],
    )
  })

  it('leaves a transcript that an auditor accepts', () => {
    const trusted = new Set<string>(rig.executors.map(({ peerId }) => peerId))
    const bytes = buildTranscript(NETWORK, rig.record)
    assert.equal(auditTranscript({ bytes, trusted, artifacts: rig.folders() }).code, 'ok')
  })

  it('is found again by a replay of the written events', () => {
    for (const event of rig.events) {
      assert.deepEqual(decodeEvent(NETWORK, encodeEvent(event)), event)
    }
    const { state, published } = rig.replay()
    assert.deepEqual(state, rig.state)
    assert.deepEqual(
      published.map(({ id }) => id),
      rig.published.map(({ id }) => id),
    )
  })

  it('counts when it commits before the standby does, which is outrun then', () => {
    const close = rigWith({ takesMs: 4000 }).run()
    assert.equal(close.state.status, 'succeeded')
    assert.equal(close.told('task:slow').length, 1)
    assert.deepEqual(close.outcomesOf(close.executor(0).peerId), ['agreed'])
    assert.equal(close.told('executor:outrun').length, 1)
  })

  it('is waited for where no standby is left', () => {
    const two = new Rig({
      spec: { ...RUN_SPEC, tasks: TASKS },
      behaviours: [{ takesMs: 60_000 }, 'honest'],
      deviates: (planned) => planned.slot === TASKS - 1,
    }).run()
    assert.equal(two.state.status, 'succeeded')
    assert.equal(two.told('task:slow').length, 0)
    assert.deepEqual([...new Set(two.outcomesOf(two.executor(0).peerId))], ['agreed'])
  })

  it('gets one standby, however slow that is itself', () => {
    const dozing = rigWith({ takesMs: 60_000 }, { deviates: () => true }, { takesMs: 3000 })
    // Everybody but the partner of the slow one dozes in the last task.
    dozing.run(() => dozing.told('task:slow').length === 1)
    dozing.run()
    const last = dozing.record.ofKind('task').filter(({ message }) => message.slot === TASKS - 1)
    assert.deepEqual(
      last.map(({ message }) => message.seats),
      [2, 3],
    )
  })

  it('may not commit any more once others revealed', () => {
    // The hidden replica is called after the freeze that the slow one missed.
    const late = rigWith({ takesMs: 6500 }, { auditPpm: 1_000_000 }).run()
    assert.equal(late.state.status, 'succeeded')
    const [hidden] = late.verified('verify').filter(({ slot: index }) => index === TASKS - 1)
    assert.equal(hidden?.agreed.length, 3)
    assert.ok(!hidden.agreed.includes(late.executor(0).peerId))
    assert.deepEqual(late.outcomesOf(late.executor(0).peerId), ['outrun'])
  })
})
