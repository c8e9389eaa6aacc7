import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { auditTranscript } from '../../src/protocol/audit.js'
import { ELASTIC_RULES, missableShards, roundManifest } from '../../src/protocol/elastic.js'
import type { ClosedShard } from '../../src/protocol/elastic.js'
import type { TrainSpec } from '../../src/protocol/job-spec.js'
import { planJob } from '../../src/protocol/plan.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { planTraining, trainTask } from '../../src/training/plan.js'
import type { TrainingPlan } from '../../src/training/plan.js'
import { decodeRound, encodeRound } from '../../src/training/round-manifest.js'
import type { RoundManifest } from '../../src/training/round-manifest.js'
import type { PeerId } from '../../src/wire/ids.js'
import { honest, NETWORK, Rig, TRAIN_SPEC } from './rig.js'
import type { Behaviour } from './rig.js'

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && Reflect.get(error, 'code') === code

/** Four shards, four rounds of twenty steps. */
const SPEC: TrainSpec = {
  ...TRAIN_SPEC,
  rows: 400,
  shards: 4,
  batchSize: 3,
  epochs: 3,
  rounds: 4,
  elastic: true,
}

function planOf(changes: Partial<TrainSpec> = {}): TrainingPlan {
  return planTraining({ ...SPEC, ...changes })
}

const peer = (name: string): PeerId => name as PeerId

/** Plays rounds: who trains which shard, how long that takes, and which shards are missed. */
class Play {
  readonly plan: TrainingPlan
  readonly manifests: RoundManifest[] = []
  readonly #closed = new Map<string, ClosedShard>()

  constructor(plan: TrainingPlan) {
    this.plan = plan
  }

  round(
    executorsOf: (shard: number) => readonly PeerId[],
    durationMs: (peer: PeerId, steps: number) => number,
    missed: readonly number[] = [],
  ): RoundManifest {
    const round = this.manifests.length
    const closed = (at: number, shard: number) => this.#closed.get(`${at}/${shard}`)
    const manifest = roundManifest(this.plan, round, executorsOf, closed)
    this.manifests.push(manifest)
    for (const [shard, { steps }] of manifest.shards.entries()) {
      if (missed.includes(shard)) continue
      const agreed = executorsOf(shard).map((each) => ({
        peer: each,
        durationMs: durationMs(each, steps),
      }))
      this.#closed.set(`${round}/${shard}`, { steps, agreed })
    }
    return manifest
  }
}

/** Two peers for each shard, always the same. */
const pairs = (shard: number): readonly PeerId[] => [peer(`a${shard}`), peer(`b${shard}`)]

describe('the shards of an elastic round', () => {
  it('are equal, and those of a plain job, as long as all are equally fast', () => {
    const play = new Play(planOf())
    const { elastic: _, ...plain } = SPEC
    const fixed = planTraining(plain)
    for (const [round] of play.plan.rounds.entries()) {
      const { shards } = play.round(pairs, (_peer, steps) => 1000 * steps)
      for (const [shard, size] of shards.entries()) {
        assert.deepEqual(
          trainTask(play.plan, { round, shard }, size),
          trainTask(fixed, { round, shard }),
        )
      }
    }
  })

  it('are smaller for a peer that is four times slower, and its partner shares them', () => {
    const play = new Play(planOf())
    const slow = (each: PeerId, steps: number): number => steps * (each === 'b1' ? 4000 : 1000)
    const [first] = [play.round(pairs, slow), play.round(pairs, slow)]
    assert.deepEqual(
      first?.shards.map(({ steps }) => steps),
      [22, 22, 22, 22],
    )
    const [, second] = play.manifests
    // The backlog of a shard is what its last size left over.
    assert.deepEqual(
      second?.shards.map(({ steps }) => steps),
      [23, 5, 23, 23],
    )
  })

  it('do not shrink for ever because a container takes its time to start', () => {
    const play = new Play(planOf({ rounds: 10 }))
    const swap = (shard: number): readonly PeerId[] =>
      play.manifests.length === 1 && shard === 0 ? [peer('a0'), peer('b1')] : pairs(shard)
    const overhead = (each: PeerId, steps: number): number =>
      20_000 + steps * (each === 'b1' ? 4000 : 1000)
    for (let round = 0; round < 8; round++) play.round(swap, overhead)
    const last = play.manifests.at(-1)
    // Its partner of one round was kept from more, and is what it was.
    assert.ok((last?.shards[0]?.steps ?? 0) >= 9)
  })

  it('begin where the last averaged one of the shard ended: what was lost comes first', () => {
    const play = new Play(planOf())
    const even = (_: PeerId, steps: number): number => 1000 * steps
    play.round(pairs, even, [2])
    const next = play.round(pairs, even)
    assert.deepEqual(next.missed, [2])
    assert.deepEqual(next.shards[2], { start: 0, steps: 45 })
    assert.deepEqual(next.shards[1], { start: 22, steps: 23 })
  })

  it('bound what a liar can gain or shirk to a quarter and four times an equal share', () => {
    const plan = planOf()
    for (const [told, bound] of [
      [1, 4],
      [Number.MAX_SAFE_INTEGER, 1 / 4],
    ] as const) {
      const play = new Play(plan)
      const lie = (each: PeerId, steps: number): number =>
        each === 'a0' || each === 'b0' ? told : 1000 * steps
      play.round(pairs, lie)
      const { shards } = play.round(pairs, lie)
      // No more than the plan has left for it, a step for every later round kept.
      const most = plan.totalSteps - 22 - 2
      assert.equal(shards[0]?.steps, Math.min(most, Math.floor(23 * bound)))
      assert.deepEqual(
        shards.slice(1).map(({ steps }) => steps),
        [23, 23, 23],
      )
    }
  })

  it('train every row in the end, whoever is slow, lies or is lost', () => {
    const times = fc.array(fc.nat({ max: 2 ** 40 }), { minLength: 8, maxLength: 8 })
    const rounds = fc.array(fc.record({ times, missed: fc.nat({ max: 7 }), turn: fc.nat(7) }), {
      minLength: 12,
      maxLength: 12,
    })
    fc.assert(
      fc.property(rounds, fc.integer({ min: 1, max: 12 }), (drawn, count) => {
        const plan = planOf({ rounds: count })
        const play = new Play(plan)
        const done = [0, 0, 0, 0]
        for (const [round, planned] of plan.rounds.entries()) {
          const { times: took, missed, turn } = drawn[round] ?? { times: [], missed: 0, turn: 0 }
          const seats = (shard: number): readonly PeerId[] =>
            [0, 1].map((seat) => peer(`p${(2 * shard + seat + turn) % 8}`))
          const durationMs = (each: PeerId): number => took[Number(each.slice(1))] ?? 0
          const lost = missableShards(plan, round) > 0 && missed < 4 ? [missed] : []
          const manifest = play.round(seats, durationMs, lost)
          assert.deepEqual(decodeRound(plan, round, encodeRound(manifest)), manifest)
          const equal = planned.learningRates.length
          for (const [shard, { start, steps }] of manifest.shards.entries()) {
            assert.equal(start, done[shard])
            assert.ok(steps >= 1)
            if (round === plan.rounds.length - 1) assert.equal(start + steps, plan.totalSteps)
            else assert.ok(steps <= 4 * equal && start + steps < plan.totalSteps)
            const task = trainTask(plan, { round, shard }, { start, steps })
            assert.equal(task.learningRates.length, steps)
            assert.ok(task.learningRates.every((rate) => rate > 0))
            if (!lost.includes(shard)) done[shard] = start + steps
          }
        }
        assert.deepEqual(
          done,
          done.map(() => plan.totalSteps),
        )
      }),
      { numRuns: 200, seed: 20261123, verbose: true },
    )
  })

  it('are missed a quarter at most, and in the last round none', () => {
    const most = (shards: number): number => missableShards(planOf({ shards }), 0)
    assert.deepEqual([1, 2, 3, 4, 7, 8, 16].map(most), [0, 0, 0, 1, 1, 2, 4])
    assert.equal(missableShards(planOf({ shards: 16 }), 3), 0)
    assert.equal(ELASTIC_RULES.quorumPercent, 75)
  })
})

describe('ROUND_MALFORMED', () => {
  const plan = planOf()
  const good = new Play(plan).round(pairs, () => 1)
  const refused = (bytes: Uint8Array, round = 0): void => {
    assert.throws(() => decodeRound(plan, round, bytes), hasCode('ROUND_MALFORMED'))
  }

  it('is told of calls whose sizes are missing, of another round, or beyond the data', () => {
    refused(new Uint8Array(0))
    refused(Buffer.from('{}'))
    refused(Buffer.from([0xff]))
    refused(encodeRound(good), 1)
    refused(encodeRound({ ...good, shards: good.shards.slice(1) }))
    const far = { start: plan.totalSteps, steps: 1 }
    refused(encodeRound({ ...good, shards: [far, ...good.shards.slice(1)] }))
    refused(Buffer.from(` ${Buffer.from(encodeRound(good)).toString()}`))
  })
})

describe('an elastic job', () => {
  const peers = 8
  /** Executors of the last shard of the first round never come to an end. */
  const stuck = (): Rig =>
    new Rig({
      spec: SPEC,
      behaviours: honest(peers).map((): Behaviour => ({ takesMs: 3_600_000 })),
      deviates: ({ stage, round, index }) => stage === 'train' && round === 0 && index === 3,
    })
  const rig = stuck().run()
  const trusted = new Set<string>(rig.executors.map(({ peerId }) => peerId))
  const audit = (of: Rig) =>
    auditTranscript({
      bytes: buildTranscript(NETWORK, of.record),
      trusted,
      listings: of.listings(),
    })
  const roundsOf = (of: Rig, round: number): RoundManifest[] =>
    of.record
      .ofKind('task')
      .filter(({ message }) => message.batch === round + 1 && message.slot < 4)
      .map(({ message }) => decodeRound(planOf(), round, message.round))

  it('closes a round without the shard that is not done, after its grace', () => {
    assert.equal(rig.state.status, 'succeeded')
    assert.deepEqual(
      rig.told('task:missed').map(({ name }) => name),
      ['train r0 s3'],
    )
    const aggregated = rig.record
      .ofKind('task')
      .find(({ message }) => message.batch === 1 && message.slot === 4)
    const names = aggregated?.message.inputs.map(({ name }) => name)
    assert.ok(names?.includes('delta-002.safetensors'))
    assert.ok(names?.includes('delta-003.safetensors') === false)
  })

  it('trains what was lost first in the next round, and tells so in its calls', () => {
    const [manifest] = roundsOf(rig, 1)
    assert.deepEqual(manifest?.missed, [3])
    assert.equal(manifest.shards[3]?.start, 0)
    assert.equal(manifest.shards[0]?.start, 22)
    assert.ok((manifest.shards[3]?.steps ?? 0) > (manifest.shards[0]?.steps ?? 0))
  })

  it('leaves a transcript that is audited without what was missed', () => {
    const report = audit(rig)
    assert.deepEqual(report.problems, [])
    assert.equal(report.code, 'ok')
    assert.equal(report.tasks, rig.plan.batches.flat().length - 1)
  })

  it('is replayed with the same messages', () => {
    const { state, published } = rig.replay()
    assert.deepEqual(state, rig.state)
    assert.deepEqual(
      published.map(({ id }) => id),
      rig.published.map(({ id }) => id),
    )
  })

  it('goes on in the middle of a round with the shard it missed left out', () => {
    const broken = stuck()
    broken.run(() => broken.told('task:missed').length === 1)
    broken.push({ type: 'restarted', nowMs: broken.nowMs })
    broken.run()
    assert.equal(broken.state.status, 'succeeded')
    assert.equal(broken.told('task:missed').length, 1)
    assert.equal(audit(broken).code, 'ok')
  })

  it('waits for every shard of the last round', () => {
    const last = new Rig({
      spec: SPEC,
      behaviours: honest(peers).map((): Behaviour => ({ takesMs: 500_000 })),
      deviates: ({ stage, round, index }) => stage === 'train' && round === 3 && index === 3,
    }).run()
    assert.equal(last.state.status, 'succeeded')
    assert.equal(last.told('task:missed').length, 0)
    assert.ok(last.nowMs - 1_800_000_000_000 >= 500_000)
  })

  it('is refused with ROUND_MISMATCH when a size does not follow from what was measured', () => {
    const lying = stuck()
    lying.run(() => lying.state.batches[1]?.outputs.has(0) === true)
    const { outputs } = lying.state.batches[1] ?? { outputs: new Map() }
    for (const [slot, output] of outputs) {
      if (output.closed === undefined || slot !== 0) continue
      const agreed = output.closed.agreed.map((each: object) => ({ ...each, durationMs: 1e6 }))
      outputs.set(slot, { ...output, closed: { ...output.closed, agreed } })
    }
    lying.run()
    assert.equal(lying.state.status, 'succeeded')
    assert.equal(audit(lying).code, 'ROUND_MISMATCH')
  })

  it('is refused with ROUND_MISMATCH when more shards are left out than may be', () => {
    const lying = new Rig({ spec: SPEC, behaviours: honest(peers) })
    lying.run(() => (lying.state.batches[1]?.outputs.size ?? 0) > 0)
    const [, batch] = lying.state.batches
    for (const slot of [1, 2]) {
      batch?.outputs.delete(slot)
      batch?.missed.add(slot)
    }
    lying.run()
    assert.equal(lying.state.status, 'succeeded')
    assert.ok(audit(lying).problems.some(({ code }) => code === 'ROUND_MISMATCH'))
  })

  it('is refused where something else fixes or bounds the sizes of shards', () => {
    for (const changes of [{ sync: true as const }, { compression: 'topk' as const }]) {
      const { rounds: _, ...spec } = { ...SPEC, ...changes }
      assert.throws(() => planTraining(spec), hasCode('BAD_TRAINING_SPEC'))
    }
    const { spec, inputs } = rig.manifest.message
    const tolerant = { spec, inputs, compare: 'tensors:fp32' }
    assert.throws(() => planJob(tolerant), hasCode('BAD_TRAINING_SPEC'))
  })
})
