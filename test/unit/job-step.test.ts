import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { stepJob } from '../../src/protocol/job-step.js'
import { encodeResult, resultOf } from '../../src/protocol/job-result.js'
import { assertManifest, codeBytes } from '../../src/protocol/manifest.js'
import { encodeMetrics, parseMetrics } from '../../src/protocol/metrics.js'
import { planJob } from '../../src/protocol/plan.js'
import { encodeSpec } from '../../src/protocol/job-spec.js'
import { seal } from '../../src/wire/envelope.js'
import { LIMITS } from '../../src/wire/limits.js'
import { utf8 } from '../../src/wire/ids.js'
import type { Digest } from '../../src/wire/ids.js'
import { honest, NETWORK, Rig, RUN_SPEC, sealManifest, TRAIN_SPEC } from './rig.js'
import type { Behaviour } from './rig.js'

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && Reflect.get(error, 'code') === code

describe('a job', () => {
  it('trains two shards over two rounds with two replicas of every task', () => {
    const rig = new Rig({ behaviours: honest(5) }).run()
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(
      rig.plan.batches.map((slots) => slots.map(({ name }) => name)),
      [
        ['split', 'init'],
        ['train r0 s0', 'train r0 s1', 'aggregate r0'],
        ['train r1 s0', 'train r1 s1', 'aggregate r1'],
        ['eval 0'],
      ],
    )
    const slots = rig.verified('verify')
    assert.equal(slots.length, 9)
    assert.ok(
      slots.every(({ accepted, agreed, young }) => accepted && agreed.length === 2 && young),
    )
    const { result } = rig.state
    assert.equal(result?.accuracy, 0.75)
    assert.equal(
      result?.hash,
      rig.state.batches[2]?.outputs.get(2)?.files?.get('weights.safetensors')?.digest,
    )
  })

  it('gives the same result for the same plan, whoever computed it', () => {
    const results = ['a', 'b'].map(
      (keys) => new Rig({ behaviours: honest(4), keys }).run().state.result,
    )
    assert.deepEqual(results[0], results[1])
  })

  it('is rebuilt from its events with an identical state and the same messages', () => {
    const behaviours: Behaviour[] = ['liar', 'honest', 'silent', 'honest', 'honest', 'honest']
    const rig = new Rig({ behaviours, auditPpm: 500_000 }).run()
    assert.equal(rig.state.status, 'succeeded')
    const { state, published } = rig.replay()
    assert.deepEqual(state, rig.state)
    assert.deepEqual(
      published.map(({ bytes }) => Buffer.from(bytes).toString('hex')),
      rig.published.map(({ bytes }) => Buffer.from(bytes).toString('hex')),
    )
  })

  it('goes on after a restart with what was accepted', () => {
    const rig = new Rig({ behaviours: honest(4) })
    rig.run(() => rig.state.batches[1]?.outputs.size === 1)
    const before = new Map(rig.state.batches[0]?.outputs)
    rig.state = rig.replay().state
    rig.push({ type: 'restarted', nowMs: rig.nowMs })
    rig.run()
    assert.equal(rig.state.status, 'succeeded')
    assert.equal(rig.state.batches[1]?.attempt, 2)
    assert.deepEqual(
      [...(rig.state.batches[0]?.outputs ?? [])].map(([slot, { receipt }]) => [slot, receipt.id]),
      [...before].map(([slot, { receipt }]) => [slot, receipt.id]),
    )
  })

  it('waits and counts the reasons while too few bid, then goes on', () => {
    const behaviours: Behaviour[] = [
      'honest',
      { declines: 'busy' },
      { declines: 'busy' },
      { declines: 'have no container engine' },
      'offline',
      'honest',
    ]
    const rig = new Rig({ behaviours })
    const late = rig.executor(5).peerId
    rig.connected = rig.connected.filter((peer) => peer !== late)
    rig.run(() => rig.state.code !== '')
    assert.equal(rig.state.status, 'pending')
    assert.equal(rig.state.code, 'NO_ELIGIBLE_BIDS')
    assert.match(rig.state.reason, /1 of 5 peers bid, 2 are needed/)
    assert.match(rig.state.reason, /2 busy/)
    assert.match(rig.state.reason, /1 have no container engine/)
    assert.match(rig.state.reason, /1 no answer/)
    rig.connected.push(late)
    rig.run()
    assert.equal(rig.state.status, 'succeeded')
    assert.equal(rig.state.reason, '')
    assert.ok((rig.state.batches[0]?.attempt ?? 0) >= 2)
  })

  it('waits while nobody is connected at all', () => {
    const rig = new Rig({ behaviours: honest(2) })
    rig.connected = []
    rig.run(() => rig.state.code !== '')
    assert.equal(rig.state.code, 'NO_ELIGIBLE_BIDS')
    assert.match(rig.state.reason, /0 of 0 peers bid/)
  })

  it('fails when too few bid for longer than its queue timeout', () => {
    const rig = new Rig({
      behaviours: ['honest', { declines: 'busy' }],
      queueTimeoutMs: 60_000,
    }).run()
    assert.equal(rig.state.status, 'failed')
    assert.equal(rig.state.code, 'NO_ELIGIBLE_BIDS')
    assert.ok(rig.nowMs - 1_800_000_000_000 > 60_000)
  })

  it('does not count the time of a long computation as waiting for peers', () => {
    // Four who are never heard of again: their leases take longer than the queue timeout.
    const behaviours: Behaviour[] = ['silent', 'silent', 'silent', 'silent']
    const rig = new Rig({ behaviours, queueTimeoutMs: 10_000, spec: RUN_SPEC })
    const startMs = rig.nowMs
    rig.run(() => rig.told('task:rejected').length === 1)
    assert.ok(rig.nowMs - startMs > 10_000)
    assert.equal(rig.state.status, 'pending')
    assert.equal(rig.state.code, 'NO_EXECUTORS_LEFT')
  })

  it('keeps what is under way when another task of the batch is rejected', () => {
    const behaviours = Array.from({ length: 4 }, (): Behaviour => ({ fails: 'IMAGE_UNAVAILABLE' }))
    const spec = { ...RUN_SPEC, tasks: 2 }
    const rig = new Rig({ spec, behaviours, deviates: ({ slot }) => slot === 0 })
    rig.run(() => rig.told('task:rejected').length === 1)
    assert.equal(rig.state.batches[0]?.assignment?.slots[1]?.phase, 'revealing')
    assert.equal(rig.state.batches[0]?.status, 'assigned')
    rig.run(() => rig.told('job:waiting').length === 1)
    assert.equal(rig.told('task:accepted').length, 1)
    // The executors recover before the second attempt.
    rig.executors.forEach((executor) => Reflect.set(executor, 'behaviour', 'honest'))
    rig.run()
    assert.equal(rig.state.status, 'succeeded')
    const computed = rig.record.ofKind('task').filter(({ message }) => message.slot === 1)
    assert.equal(computed.length, 1)
  })

  it('is given up after four rejected tasks in one batch', () => {
    const rig = new Rig({ behaviours: ['silent', 'silent', 'silent'], spec: RUN_SPEC }).run()
    assert.equal(rig.state.status, 'failed')
    assert.equal(rig.state.code, 'NO_EXECUTORS_LEFT')
    assert.equal(rig.told('task:rejected').length, 4)
  })

  it('ends when it is cancelled, and no event moves it afterwards', () => {
    const rig = new Rig({ behaviours: honest(3) })
    rig.run(() => rig.state.batches[0]?.assignment?.phase === 'opening')
    rig.push({ type: 'cancelled', reason: 'changed my mind', nowMs: rig.nowMs })
    rig.run()
    assert.equal(rig.state.status, 'cancelled')
    assert.equal(rig.record.end?.message.status, 'cancelled')
    assert.equal(rig.record.end?.message.reason, 'changed my mind')
    assert.deepEqual(stepJob(rig.context, rig.state, { type: 'retryDue', batch: 0, nowMs: 1 }), [])
  })

  it('runs a task again when nobody serves its accepted output any more', () => {
    const rig = new Rig({ behaviours: honest(4), spec: RUN_SPEC })
    rig.run(() => rig.state.batches[0]?.outputs.size === 1)
    const event = { type: 'outputLost', batch: 0, slot: 0, nowMs: rig.nowMs } as const
    const effects = stepJob(rig.context, rig.state, event)
    assert.ok(effects.some((effect) => effect.type === 'timer' && effect.name === 'retry:0'))
    assert.equal(rig.state.batches[0]?.outputs.size, 0)
    assert.equal(rig.state.status, 'pending')
  })

  it('tells the end in one small message, however many numbers its tasks report', () => {
    const plan = planJob({
      spec: encodeSpec({ ...RUN_SPEC, tasks: 256 }),
      inputs: [],
      compare: 'exact',
    })
    const metrics = Object.fromEntries(
      Array.from({ length: 30 }, (_, i) => [`number-${i}`, Math.PI * i]),
    )
    const root = '0'.repeat(64) as Digest
    const result = resultOf(plan, () => ({ root, metrics, files: undefined }))
    assert.equal(result['metrics'], undefined)
    assert.ok(encodeResult(result).length < 1024)
    const few = resultOf(plan, () => ({ root, metrics: { a: 1 }, files: undefined }))
    assert.ok(Array.isArray(few['metrics']))
  })
})

describe('a manifest', () => {
  const rig = new Rig({ behaviours: honest(2) })

  it('gives a plan when it is sound', () => {
    assert.equal(
      assertManifest(NETWORK, sealManifest(rig.requester, rig.options)).batches.length,
      4,
    )
  })

  const changed = (
    change: (message: typeof rig.manifest.message) => Partial<typeof rig.manifest.message>,
  ) => {
    const { message } = rig.manifest
    const next = { ...message, ...change(message) }
    const publisherSignature = rig.requester.sign(codeBytes(NETWORK, next))
    return seal(NETWORK, 'manifest', { ...next, publisherSignature }, rig.requester)
  }

  it('is refused with CODE_SIGNATURE_INVALID when its input was changed after signing', () => {
    const { message } = rig.manifest
    const inputs = message.inputs.map((input) => ({ ...input, digest: new Uint8Array(32) }))
    const opened = seal(NETWORK, 'manifest', { ...message, inputs }, rig.requester)
    assert.throws(() => assertManifest(NETWORK, opened), hasCode('CODE_SIGNATURE_INVALID'))
  })

  it('is refused with MANIFEST_INVALID for another compare policy, kind or input', () => {
    const [dataset] = rig.manifest.message.inputs
    assert.ok(dataset)
    const bad = [
      changed(() => ({ compare: 'roughly' })),
      changed(() => ({ jobKind: 'run' })),
      changed(() => ({ inputs: [] })),
      changed(() => ({ inputs: [dataset, dataset] })),
      changed(() => ({ inputs: [{ ...dataset, name: '../secret' }] })),
      changed(() => ({ inputs: [{ ...dataset, name: 'task.json' }] })),
      changed(({ image }) => ({
        ...(image && { image: { ...image, configDigest: new Uint8Array(0) } }),
      })),
    ]
    for (const opened of bad) {
      assert.throws(() => assertManifest(NETWORK, opened), hasCode('MANIFEST_INVALID'))
    }
  })

  it('is refused with PLAN_TOO_LARGE when no message could carry its tasks', () => {
    const spec = encodeSpec({ ...TRAIN_SPEC, rows: 40_000, shards: 200 })
    assert.throws(() => planJob({ spec, inputs: [] }), hasCode('PLAN_TOO_LARGE'))
  })

  it('is refused with PLAN_TOO_LARGE when its tasks would fill the memory of every witness', () => {
    // 450 rounds of 140 shards: each number alone is within its limit.
    const large = { rows: 5_000_000, shards: 140, batchSize: 16, epochs: 100 }
    const spec = encodeSpec({ ...TRAIN_SPEC, ...large })
    assert.throws(() => planJob({ spec, inputs: [] }), hasCode('PLAN_TOO_LARGE'))
  })

  it('BAD_TRAINING_SPEC: no tolerance compares updates that are packed bit for bit', () => {
    for (const compression of ['int4', 'topk'] as const) {
      const spec = encodeSpec({ ...TRAIN_SPEC, compression })
      assert.ok(planJob({ spec, inputs: [], compare: 'exact' }).batches.length > 0)
      const within = { spec, inputs: [], compare: 'tensors:fp32' }
      assert.throws(() => planJob(within), hasCode('BAD_TRAINING_SPEC'))
    }
  })
})

describe('the numbers of a task', () => {
  it('are the finite ones at the top level, sorted', () => {
    const bytes = encodeMetrics(utf8('{"b":2,"a":1.5,"list":[1],"text":"x","none":null}'))
    assert.equal(Buffer.from(bytes).toString(), '{"a":1.5,"b":2}\n')
    assert.deepEqual(parseMetrics(bytes), { a: 1.5, b: 2 })
    assert.deepEqual(parseMetrics(utf8('not json')), {})
  })

  it('are refused with METRICS_INVALID when the file is no JSON object or too long', () => {
    const long = Object.fromEntries(
      Array.from({ length: 64 }, (_, i) => [`${'n'.repeat(60)}${i}`, i]),
    )
    for (const text of ['[1]', 'x', '"text"', JSON.stringify(long)]) {
      assert.throws(() => encodeMetrics(utf8(text)), hasCode('METRICS_INVALID'))
    }
    assert.ok(JSON.stringify(long).length > LIMITS.metricsBytes)
  })
})
