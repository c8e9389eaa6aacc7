import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { jobView } from '../../src/api/job-view.js'
import { auditTranscript } from '../../src/protocol/audit.js'
import type { AuditReport } from '../../src/protocol/audit.js'
import type { TrainSpec } from '../../src/protocol/job-spec.js'
import { encodeSpec } from '../../src/protocol/job-spec.js'
import { planJob } from '../../src/protocol/plan.js'
import type { PlannedSlot } from '../../src/protocol/plan.js'
import { batchFate, chosenEvaluation } from '../../src/protocol/selection.js'
import type { MetricsOf } from '../../src/protocol/selection.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { smallBlobDigest } from '../../src/wire/folder.js'
import { honest, NETWORK, Rig, TRAIN_SPEC } from './rig.js'

/** Eight steps of one round each, evaluated after every second. */
const SPEC: TrainSpec = { ...TRAIN_SPEC, epochs: 8, rounds: 8, evalEvery: 2 }

/** The evaluation's loss by round. */
const losing = (losses: Readonly<Record<number, number>>) => (slot: PlannedSlot) =>
  slot.stage === 'eval' ? { nllFixed: losses[slot.round] ?? 0, n: 4, correct: slot.round } : {}

function runJob(spec: TrainSpec, losses: Readonly<Record<number, number>>): Rig {
  return new Rig({ behaviours: honest(4), spec, numbers: losing(losses) }).run()
}

function auditOf(rig: Rig): AuditReport {
  const artifacts = new Map(
    [...rig.artifacts()].map(([path, bytes]) => [
      path,
      { digest: smallBlobDigest(bytes), sizeBytes: bytes.length },
    ]),
  )
  return auditTranscript({
    bytes: buildTranscript(NETWORK, rig.record),
    listings: rig.listings(),
    artifacts,
    trusted: new Set(rig.executors.map(({ peerId }) => peerId)),
  })
}

const weightsAfter = (rig: Rig, batch: number) =>
  rig.state.batches[batch]?.outputs.get(2)?.files?.get('weights.safetensors')?.digest

describe('a train job that is evaluated on its way', () => {
  it('evaluates after every so many rounds and after the last, beside its shards', () => {
    const plan = planJob({ spec: encodeSpec({ ...SPEC, rounds: 5 }), inputs: [] })
    const evaluated = plan.batches.map((slots) => slots.map(({ name }) => name).slice(3))
    assert.deepEqual(evaluated, [[], [], ['eval r1 0'], [], ['eval r3 0'], ['eval r4 0']])
    const [, , second] = plan.batches
    assert.deepEqual(second?.[3]?.inputs[0]?.source, {
      kind: 'slot',
      batch: 2,
      slot: 2,
      path: 'weights.safetensors',
    })
  })

  it('takes the weights of the last round where nothing else is said', () => {
    const rig = runJob(SPEC, { 1: 40, 3: 20, 5: 30, 7: 35 })
    assert.equal(rig.state.status, 'succeeded')
    assert.equal(rig.state.result?.hash, weightsAfter(rig, 8))
    assert.equal(rig.state.result?.['round'], 7)
    assert.equal(rig.state.result?.['rounds'], 8)
    assert.deepEqual(auditOf(rig).problems, [])
  })

  it('takes the weights of the best round, and the audit agrees', () => {
    const rig = runJob({ ...SPEC, keep: 'best' }, { 1: 40, 3: 20, 5: 30, 7: 35 })
    const { result } = rig.state
    assert.equal(result?.hash, weightsAfter(rig, 4))
    assert.equal(result?.['round'], 3)
    assert.equal(result?.['loss'], 20 / 2 ** 20 / 4)
    const report = auditOf(rig)
    assert.deepEqual(report.problems, [])
    assert.equal(report.ok, true)
    assert.equal(report.artifacts, 5)
    assert.deepEqual(report.result, result)
  })

  it('stops when nothing better comes, skips the rest, and the audit agrees', () => {
    const spec: TrainSpec = { ...SPEC, keep: 'best', patience: 1 }
    const rig = runJob(spec, { 1: 40, 3: 20, 5: 30, 7: 10 })
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(
      rig.state.batches.map(({ status }) => status),
      ['done', 'done', 'done', 'done', 'done', 'done', 'done', 'skipped', 'skipped'],
    )
    assert.equal(rig.state.result?.['rounds'], 6)
    assert.equal(rig.state.result?.hash, weightsAfter(rig, 4))
    const report = auditOf(rig)
    assert.deepEqual(report.problems, [])
    assert.deepEqual(report.result, rig.state.result)
    const view = jobView({ ...rig, state: rig.state, beats: new Map() })
    assert.equal(view.progress, 1)
    assert.equal(view.curve.length, 6)
    assert.equal(view.curve[3]?.['evalLoss'], 20 / 2 ** 20 / 4)
    assert.equal(view.curve[2]?.['evalLoss'], undefined)
  })

  it('is the same after a restart in the middle, and after a replay', () => {
    const spec: TrainSpec = { ...SPEC, keep: 'best', patience: 2 }
    const losses = { 1: 40, 3: 20, 5: 30, 7: 35 }
    const whole = runJob(spec, losses)
    const rig = new Rig({ behaviours: honest(4), spec, numbers: losing(losses) })
    rig.run(() => rig.state.batches[5]?.outputs.size === 1)
    rig.state = rig.replay().state
    rig.push({ type: 'restarted', nowMs: rig.nowMs })
    rig.run()
    assert.deepEqual(rig.state.result, whole.state.result)
    assert.deepEqual(whole.replay().state, whole.state)
  })

  it('fetches the chosen weights before it ends, also when it was killed meanwhile', () => {
    const spec: TrainSpec = { ...SPEC, keep: 'best' }
    const rig = new Rig({
      behaviours: honest(4),
      spec,
      numbers: losing({ 1: 40, 3: 20, 5: 30, 7: 35 }),
    })
    const isChosenAsked = () => rig.state.batches[4]?.outputs.get(2)?.fetched === 'asked'
    rig.run(isChosenAsked)
    assert.equal(rig.state.status, 'running')
    rig.state = rig.replay().state
    rig.push({ type: 'restarted', nowMs: rig.nowMs })
    rig.run()
    assert.equal(rig.state.status, 'succeeded')
    assert.equal(rig.state.batches[4]?.outputs.get(2)?.fetched, 'yes')
    assert.equal(rig.state.batches[4]?.attempt, 1)
  })

  it('says nothing of a batch while an evaluation before it is unknown', () => {
    const plan = planJob({ spec: encodeSpec({ ...SPEC, patience: 1 }), inputs: [] })
    const known = new Map([[2, 40]])
    const metricsOf: MetricsOf = (batch) => {
      const nllFixed = known.get(batch)
      return nllFixed === undefined ? undefined : { nllFixed }
    }
    const fates = (batches: readonly number[]) =>
      batches.map((batch) => batchFate(plan, batch, metricsOf))
    assert.deepEqual(fates([2, 3, 4, 5]), ['runs', 'runs', 'runs', 'unknown'])
    assert.equal(chosenEvaluation(plan, metricsOf), undefined)
    known.set(4, 41)
    assert.deepEqual(fates([4, 5, 6, 8]), ['runs', 'skipped', 'skipped', 'skipped'])
    assert.equal(chosenEvaluation(plan, metricsOf)?.round, 3)
  })

  it('keeps the first of equals', () => {
    const rig = runJob({ ...SPEC, keep: 'best' }, { 1: 20, 3: 20, 5: 20, 7: 20 })
    assert.equal(rig.state.result?.['round'], 1)
  })

  it('is refused by the audit when a batch is missing that had to run: TRANSCRIPT_INCOMPLETE', () => {
    const spec: TrainSpec = { ...SPEC, patience: 1 }
    const rig = runJob(spec, { 1: 40, 3: 30, 5: 20, 7: 10 })
    const { record } = rig
    const messages = [...record.messages()].filter(
      (opened) => !(opened.kind === 'receipt' && opened.message.batch === 8),
    )
    const cut = { ...record, manifest: rig.manifest, plan: rig.plan, end: record.end }
    assert.throws(
      () =>
        buildTranscript(NETWORK, {
          ...cut,
          get: (id) => record.get(id),
          messages: () => messages,
        }),
      { code: 'TRANSCRIPT_INCOMPLETE' },
    )
  })
})

describe('a train job that goes on from another', () => {
  const of = 'a'.repeat(64)

  it('runs the rounds that are left, with their own seeds, steps and rates', () => {
    const whole = planJob({ spec: encodeSpec({ ...SPEC, rounds: 4 }), inputs: [] })
    const start = { of, round: 2, momentum: true, residual: false, feedback: 0 }
    const spec: TrainSpec = { ...SPEC, rounds: 4, start }
    const inputs = ['start-weights', 'start-momentum']
    const rig = new Rig({ behaviours: honest(4), spec, inputs }).run()
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(auditOf(rig).problems, [])
    assert.deepEqual(
      rig.plan.batches.map((slots) => slots.map(({ name }) => name)),
      [
        ['split', 'continue r2'],
        ['train r2 s0', 'train r2 s1', 'aggregate r2'],
        ['train r3 s0', 'train r3 s1', 'aggregate r3', 'eval r3 0'],
      ],
    )
    for (const [batch, shard] of [
      [1, 0],
      [2, 1],
    ] as const) {
      assert.equal(
        rig.plan.batches[batch]?.[shard]?.taskJson(),
        whole.batches[batch + 2]?.[shard]?.taskJson(),
      )
    }
  })

  it('hands the feedback of every shard on', () => {
    const start = { of, round: 1, momentum: true, residual: false, feedback: 2 }
    const spec: TrainSpec = { ...SPEC, compression: 'topk', start }
    const plan = planJob({ spec: encodeSpec(spec), inputs: [] })
    const inputs = plan.batches[1]?.[1]?.inputs.find(({ name }) => name === 'feedback.safetensors')
    assert.deepEqual(inputs?.source, { kind: 'job', input: 'start-feedback-001' })
    const later = plan.batches[2]?.[1]?.inputs.find(({ name }) => name === 'feedback.safetensors')
    assert.deepEqual(later?.source, {
      kind: 'slot',
      batch: 1,
      slot: 1,
      path: 'feedback.safetensors',
    })
  })

  it('is refused when its inputs are not those of its description: MANIFEST_INVALID', () => {
    const start = { of, round: 1, momentum: true, residual: false, feedback: 0 }
    const options = { behaviours: honest(2), spec: { ...SPEC, start } }
    assert.throws(() => new Rig(options), { code: 'MANIFEST_INVALID' })
    assert.throws(() => new Rig({ ...options, inputs: ['start-weights'] }), {
      code: 'MANIFEST_INVALID',
    })
  })

  it('is refused when the plan has no such round: BAD_TRAINING_SPEC', () => {
    const start = { of, round: 8, momentum: true, residual: false, feedback: 0 }
    const bytes = encodeSpec({ ...SPEC, start })
    assert.throws(() => planJob({ spec: bytes, inputs: [] }), { code: 'BAD_TRAINING_SPEC' })
  })
})

describe('a broadcast of updates', () => {
  it('names what the weights can be made of, and that the program does not see it', () => {
    const plan = planJob({ spec: encodeSpec({ ...TRAIN_SPEC, broadcast: 'update' }), inputs: [] })
    const [, first, second, evaluation] = plan.batches
    assert.deepEqual(
      first?.[0]?.inputs.map(({ name }) => name),
      ['weights.safetensors', 'data.safetensors'],
    )
    const [weights, base, update] = second?.[0]?.inputs ?? []
    assert.deepEqual(weights?.rebuild, { base: 'base.safetensors', update: 'update.safetensors' })
    assert.deepEqual(base?.source, {
      kind: 'slot',
      batch: 0,
      slot: 1,
      path: 'weights.safetensors',
    })
    assert.equal(base?.isAid, true)
    assert.deepEqual(update?.source, {
      kind: 'slot',
      batch: 1,
      slot: 2,
      path: 'update.safetensors',
    })
    assert.equal(evaluation?.[0]?.inputs[0]?.rebuild?.base, 'base.safetensors')
    const names = (slot: PlannedSlot | undefined) => slot?.inputs.map(({ name }) => name)
    assert.ok(!names(first?.[2])?.includes('residual.safetensors'))
    assert.ok(names(second?.[2])?.includes('residual.safetensors'))
  })
})
