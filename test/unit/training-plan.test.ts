import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { CtdError } from '../../src/errors.js'
import {
  cosineOfPi,
  estimateCost,
  planTraining,
  roundsWithin,
  trainTask,
} from '../../src/training/plan.js'
import { parameterSpecs } from '../../src/training/model.js'
import { nearest } from '../../src/training/nearest.js'
import { modelConfig } from '../../src/training/presets.js'
import { elementCount } from '../../src/training/safetensors.js'

const demo = { model: 'bert-tiny', rows: 2400, classes: 20, epochs: 5, seed: 's' }

describe('training plan', () => {
  it('gives every step of every epoch to exactly one round, and one rate to every step', () => {
    const specs = fc.record({
      rows: fc.integer({ min: 10, max: 20_000 }),
      epochs: fc.integer({ min: 1, max: 8 }),
      shards: fc.integer({ min: 1, max: 4 }),
      batchSize: fc.integer({ min: 1, max: 64 }),
    })
    fc.assert(
      fc.property(specs, (spec) => {
        const plan = planTraining({ ...demo, ...spec, rounds: 7 })
        let next = 0
        for (const round of plan.rounds) {
          assert.equal(round.startStep, next)
          assert.ok(round.learningRates.length > 0)
          assert.ok(round.learningRates.every((rate) => rate >= 0 && rate <= 1e-3))
          next += round.learningRates.length
        }
        assert.equal(next, plan.totalSteps)
        const seen = plan.totalSteps * plan.shards * plan.batchSize
        const wanted = plan.trainRows * spec.epochs
        assert.ok(seen >= wanted && seen < wanted + plan.shards * plan.batchSize)
      }),
    )
  })

  it('lets rounds grow from short ones, and still gives every step to exactly one', () => {
    const specs = fc.record({
      rows: fc.integer({ min: 10, max: 20_000 }),
      rounds: fc.integer({ min: 1, max: 40 }),
      growth: fc.double({ min: 1, max: 8, noNaN: true }),
    })
    fc.assert(
      fc.property(specs, (spec) => {
        const plan = planTraining({ ...demo, ...spec })
        const lengths = plan.rounds.map((round) => round.learningRates.length)
        let next = 0
        for (const [round, { startStep }] of plan.rounds.entries()) {
          assert.equal(startStep, next)
          assert.ok((lengths[round] ?? 0) > 0)
          next += lengths[round] ?? 0
        }
        assert.equal(next, plan.totalSteps)
      }),
    )
    const { rounds } = planTraining({ ...demo, rows: 20_000, rounds: 8, growth: 2 })
    // 1 + 2 + 4 + 8 + 4 times 16 parts of 2813 steps.
    const lengths = rounds.map((round) => round.learningRates.length)
    assert.deepEqual(lengths, [35, 71, 143, 285, 569, 570, 570, 570])
  })

  it('counts the rounds that keep the longest one short enough', () => {
    for (const growth of [1, 1.4, 16]) {
      const rounds = roundsWithin(100, 2813, growth)
      const longest = (count: number) =>
        Math.max(
          ...planTraining({ ...demo, rows: 20_000, rounds: count, growth }).rounds.map(
            (round) => round.learningRates.length,
          ),
        )
      assert.ok(longest(rounds) <= 100)
      assert.ok(longest(rounds - 1) > 100)
    }
  })

  it('averages few rounds plainly and many with momentum', () => {
    assert.deepEqual(planTraining(demo).outer, { learningRate: 1, momentum: 0 })
    assert.deepEqual(planTraining({ ...demo, rounds: 19 }).outer.momentum, 0)
    assert.deepEqual(planTraining({ ...demo, rounds: 20 }).outer, {
      learningRate: 0.7,
      momentum: 0.9,
    })
  })

  it('adds rounds when a round would have more than 500 steps', () => {
    const plan = planTraining({ ...demo, rows: 100_000 })
    assert.ok(plan.rounds.every((round) => round.learningRates.length <= 500))
  })

  it('raises the rate, lowers it along a cosine, and warms up after every averaging', () => {
    const plan = planTraining(demo)
    const [first, second] = plan.rounds
    assert.ok(first !== undefined && second !== undefined)
    assert.equal(Math.max(...plan.rounds.flatMap((round) => round.learningRates)), 1e-3)
    const [a = 0, b = 0, c = 0, d = 0, e = 0] = second.learningRates
    assert.ok(a < b && b < c && c < d && d > e)
  })

  it('computes the cosine without the engine to thirteen digits', () => {
    for (let i = 0; i <= 1000; i++) {
      assert.ok(Math.abs(cosineOfPi(i / 1000) - Math.cos((Math.PI * i) / 1000)) < 1e-13)
    }
  })

  it('gives a shard the same order of rows in all rounds, and other shards another', () => {
    const plan = planTraining(demo)
    const seedOf = (round: number, shard: number) => trainTask(plan, { round, shard }).seed
    assert.equal(seedOf(0, 1), seedOf(3, 1))
    assert.notEqual(seedOf(0, 0), seedOf(0, 1))
    assert.throws(() => trainTask(plan, { round: 4, shard: 0 }), { code: 'BAD_SLOT' })
  })

  it('refuses numbers without sense: BAD_TRAINING_SPEC', () => {
    for (const wrong of [
      { rows: 9 },
      { epochs: 0 },
      { epochs: 1.5 },
      { shards: 0 },
      { shards: 257 },
      { batchSize: 0 },
      { learningRate: Number.NaN },
      { classes: 1 },
    ]) {
      assert.throws(() => planTraining({ ...demo, ...wrong }), { code: 'BAD_TRAINING_SPEC' })
    }
  })

  it('suggests the model that was meant: UNKNOWN_MODEL', () => {
    assert.throws(
      () => planTraining({ ...demo, model: 'bert-tinny' }),
      (error) =>
        error instanceof CtdError &&
        error.code === 'UNKNOWN_MODEL' &&
        /did you mean bert-tiny\?/.test(error.hint ?? ''),
    )
    assert.equal(nearest('xyzzy', ['bert-tiny']), undefined)
  })

  it('knows the size of BERT base over bytes', () => {
    const specs = parameterSpecs(modelConfig('bert-base', { classes: 2 }))
    const parameters = specs.reduce((sum, spec) => sum + elementCount(spec.shape), 0)
    // 12 layers of 7 087 872, (259 + 128 + 2) * 768 embeddings, norm, pooler, classifier.
    assert.equal(parameters, 12 * 7_087_872 + 389 * 768 + 1536 + 590_592 + 1538)
    assert.equal(specs.length, 12 * 16 + 5 + 4)
  })

  it('prices a plan in proportion to its epochs and replicas', () => {
    const price = (epochs: number, replicas: number) =>
      estimateCost(planTraining({ ...demo, rows: 3200, epochs }), { gflops: 20, replicas })
        .coreSeconds
    assert.ok(Math.abs(price(10, 2) / price(5, 2) - 2) < 0.01)
    assert.equal(price(5, 4), 2 * price(5, 2))
  })
})
