import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { auditTranscript } from '../../src/protocol/audit.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import type { AnyOpened } from '../../src/wire/envelope.js'
import { NETWORK, Rig, RUN_SPEC, TRAIN_SPEC } from './rig.js'
import type { Behaviour, RigOptions } from './rig.js'

const WITHIN = { scales: 300 }
const NEAR = { scales: 2000 }
const BEYOND = { scales: 10_000 }

function rigOf(behaviours: readonly Behaviour[], options: Partial<RigOptions> = {}): Rig {
  return new Rig({ spec: RUN_SPEC, compare: 'tensors:fp32', behaviours, ...options })
}

function run(behaviours: readonly Behaviour[], options: Partial<RigOptions> = {}): Rig {
  return rigOf(behaviours, options).run()
}

function countOf(rig: Rig, kind: AnyOpened['kind']): number {
  return rig.record.ofKind(kind).length
}

function outcomes(rig: Rig, index: number): string[] {
  return rig.outcomesOf(rig.executor(index).peerId)
}

function audited(rig: Rig): void {
  const bytes = buildTranscript(NETWORK, rig.record)
  const trusted = new Set(rig.executors.map(({ peerId }) => peerId))
  const report = auditTranscript({ bytes, trusted, listings: rig.listings() })
  assert.deepEqual(report.problems, [])
  assert.deepEqual(report.result, rig.state.result)
}

describe('a task whose tensors are compared', () => {
  it('is accepted when updates agree within the tolerance, though no byte does', () => {
    const rig = run(['honest', WITHIN, 'honest'], { replicas: 3 })
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(
      [0, 1, 2].map((i) => outcomes(rig, i)),
      [['agreed'], ['agreed'], ['agreed']],
    )
    assert.equal(countOf(rig, 'freezeSketches'), 1)
    assert.equal(countOf(rig, 'sketch'), 3)
    audited(rig)
  })

  it('asks for another where an update is beyond the tolerance, and strikes three to one', () => {
    const rig = run(['honest', 'honest', 'honest', BEYOND], { replicas: 4 })
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(outcomes(rig, 3), ['dissented'])
    audited(rig)
  })

  it('spares a near miss', () => {
    const rig = run(['honest', 'honest', 'honest', NEAR], { replicas: 4 })
    assert.deepEqual(outcomes(rig, 3), ['spared'])
  })

  it('makes everybody sketch anew, under another seed, when one more is called', () => {
    const rig = run(['honest', BEYOND, 'honest', 'honest', 'honest'], { replicas: 2 })
    assert.equal(rig.state.status, 'succeeded')
    const freezes = countOf(rig, 'freezeSketches')
    const rounds = countOf(rig, 'freezeReveals')
    assert.equal(freezes, rounds)
    const sketches = rig.record.ofKind('sketch')
    assert.ok(sketches.length >= 2)
    const told = new Set(
      sketches.map(({ message }) => Buffer.from(message.buckets).toString('hex')),
    )
    assert.equal(told.size > 1 || rounds === 1, true)
    audited(rig)
  })

  for (const [behaviour, code] of [
    ['sketch-withheld', 'SKETCH_WITHHELD'],
    ['sketch-other', 'SKETCH_MISMATCH'],
    ['sketch-foreign', 'SKETCH_MISMATCH'],
    ['withholds', 'REVEAL_WITHHELD'],
  ] as const) {
    it(`counts ${behaviour} as withheld with ${code}, and goes on without`, () => {
      const rig = run([behaviour, 'honest', 'honest', 'honest'], { replicas: 4 })
      assert.equal(rig.state.status, 'succeeded')
      assert.deepEqual(outcomes(rig, 0), ['withheld'])
      const [slot] = rig.state.batches[0]?.assignment?.slots ?? []
      assert.equal(slot?.lost.get(rig.executor(0).peerId)?.code, code)
      audited(rig)
    })
  }

  it('of a train job compares its built-in tasks bit for bit and sketches only training', () => {
    const rig = run(['honest', WITHIN, 'honest'], {
      spec: TRAIN_SPEC,
      deviates: ({ stage }) => stage === 'train',
    })
    assert.equal(rig.state.status, 'succeeded')
    const trains = rig.plan.batches.flat().filter(({ stage }) => stage === 'train').length
    assert.ok(countOf(rig, 'freezeSketches') >= trains)
    const kinds = rig.plan.batches
      .flat()
      .map(({ batch, slot, stage }) => [stage, rig.context.policyOf(batch, slot).kind].join(' '))
    assert.deepEqual([...new Set(kinds)].sort(), [
      'aggregate exact',
      'eval metrics',
      'init exact',
      'split exact',
      'train tensors',
    ])
    audited(rig)
  })

  it('has no round longer than honest replicas stay together', () => {
    const long = { ...TRAIN_SPEC, rows: 4000, epochs: 10, batchSize: 4, shards: 1 }
    const longest = (compare: string): number => {
      const { training } = new Rig({ spec: long, compare, behaviours: [] }).plan
      return Math.max(...(training?.rounds ?? []).map(({ learningRates }) => learningRates.length))
    }
    assert.ok(longest('exact') > 100)
    assert.ok(longest('tensors:fp32') <= 100)
    const short = { ...long, rows: 400 }
    const rig = new Rig({ spec: short, compare: 'tensors:tf32', behaviours: [] })
    assert.ok(rig.plan.training?.rounds.every(({ learningRates }) => learningRates.length <= 10))
  })

  it('sends nothing of sketches where results are compared bit for bit', () => {
    const rig = run(['honest', 'honest', 'honest'], { compare: 'exact' })
    for (const kind of ['sketchCommitment', 'freezeSketches', 'sketch'] as const) {
      assert.equal(countOf(rig, kind), 0)
    }
    const [freeze] = rig.record.ofKind('freezeReveals')
    assert.deepEqual(freeze?.message.sketches, [])
  })
})
