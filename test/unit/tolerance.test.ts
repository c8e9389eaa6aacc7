/** Whole jobs whose replicas are compared by their numbers, within tolerances. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { auditTranscript } from '../../src/protocol/audit.js'
import { parsePolicy, policyText } from '../../src/protocol/compare.js'
import { metricsMicro } from '../../src/protocol/metrics.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'
import type { Behaviour, RigOptions } from './rig.js'

/** A hundredth. */
const compare = 'metrics:10000:0'

function run(behaviours: readonly Behaviour[], options: Partial<RigOptions> = {}): Rig {
  return new Rig({ spec: RUN_SPEC, behaviours, compare, ...options }).run()
}

describe('a job compared within tolerances', () => {
  it('is accepted when the numbers are near, whatever the files are', () => {
    const rig = run([{ drifts: 0.004 }, { drifts: -0.004 }])
    assert.equal(rig.state.status, 'succeeded')
    const [slot] = rig.verified()
    assert.equal(slot?.agreed.length, 2)
    // The accepted output is that of one of them, and only it is asked for the files.
    const output = rig.state.batches[0]?.outputs.get(0)
    assert.equal(output?.providers.length, 1)
    const { estimate } = output?.metrics ?? {}
    assert.ok(estimate === 3.144 || estimate === 3.136, String(estimate))
  })

  it('strikes a result that is far beyond, and follows those that agree', () => {
    // Everybody is called, so the far one is among them.
    const rig = run([{ drifts: 0.5 }, ...honest(5)], { replicas: 6 })
    assert.equal(rig.state.status, 'succeeded')
    const far = rig.executor(0).peerId
    assert.deepEqual(rig.outcomesOf(far), ['dissented'])
    assert.ok(!rig.verified()[0]?.agreed.includes(far))
  })

  it('blames nobody for a near miss', () => {
    // A tolerance is 0.01: 0.02 is beyond it, and within three of it.
    const rig = run([{ drifts: 0.02 }, ...honest(3)], { replicas: 4 })
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(rig.outcomesOf(rig.executor(0).peerId), ['spared'])
  })

  it('is rejected with its reason when no two agree', () => {
    const drifts = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7].map((by) => ({ drifts: by }))
    const rig = run(drifts, { queueTimeoutMs: 1000 })
    assert.equal(rig.state.status, 'failed')
    assert.match(rig.state.code, /NONDETERMINISTIC|UNDECIDED/)
    assert.match(rig.state.reason, /different results|same result/)
  })

  it('compares bit for bit where the manifest names no tolerance', () => {
    const rig = new Rig({
      spec: RUN_SPEC,
      behaviours: [{ drifts: 0.001 }, ...honest(4)],
      replicas: 4,
    })
    rig.run()
    assert.equal(rig.state.status, 'succeeded')
    assert.ok(!rig.verified()[0]?.agreed.includes(rig.executor(0).peerId))
  })

  it('is verified again by witnesses and auditors', () => {
    const rig = run([{ drifts: 0.004 }, { drifts: -0.004 }, { drifts: 0.003 }], { replicas: 3 })
    const bytes = buildTranscript(NETWORK, rig.record)
    const trusted = new Set(rig.executors.map(({ peerId }) => peerId))
    const report = auditTranscript({ bytes, trusted })
    assert.deepEqual(report.problems, [])
    assert.deepEqual(report.result, rig.state.result)
  })
})

describe('a compare policy', () => {
  it('has one text', () => {
    const tensors = ['tensors:fp32', 'tensors:tf32', 'tensors:bf16', 'tensors:fp32:200000']
    const metrics = ['metrics:0:0', 'metrics:1000000000000:500000', compare]
    for (const text of ['exact', ...metrics, ...tensors]) {
      assert.equal(policyText(parsePolicy(text)), text)
    }
  })

  it('POLICY_INVALID: anything else is refused', () => {
    const bad = [
      '',
      'Exact',
      'metrics',
      'metrics:1',
      'metrics:01:0',
      'metrics:-1:0',
      'metrics:1:0 ',
      'tensors',
      'tensors:fp16',
      'tensors:fp32:0',
      'tensors:fp32:1000',
      'tensors:fp32:200001',
    ]
    for (const text of [...bad, 'metrics:1000000000001:0', 'metrics:0:500001']) {
      assert.throws(() => parsePolicy(text), { code: 'POLICY_INVALID' }, text)
    }
  })

  it('counts numbers in millionths, however large', () => {
    const numbers = { a: 0.1, b: -2.5e-7, c: 5e-7, d: 2 ** 53, e: -1e300 }
    assert.deepEqual(metricsMicro(numbers), {
      a: 100_000n,
      b: 0n,
      c: 1n,
      d: 9_007_199_254_740_992_000_000n,
      e: BigInt(-1e300) * 1_000_000n,
    })
  })
})
