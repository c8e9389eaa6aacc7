import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { captureBoundPpm, simulateCapture } from './stewards-capture.js'
import { simulateStewards } from './stewards.js'
import type { StewardCounts } from './stewards.js'

const SEED = 'stewards'
const SCHEDULES = 2_500
const CAPTURED = 250

describe(`stewards in ${SCHEDULES} schedules of ${SEED}`, () => {
  let counts: StewardCounts
  before(() => {
    counts = simulateStewards({ schedules: SCHEDULES, seed: SEED })
  })

  it('keep the law at every event', () => {
    assert.deepEqual(counts.failures, [])
    assert.equal(counts.schedules, SCHEDULES)
  })

  it('all come to one certificate, soon after the last disturbance', () => {
    assert.equal(counts.certified, SCHEDULES)
    assert.ok(counts.slowestMs < 3_000, `${counts.slowestMs} ms`)
  })

  it('met crashes, partitions, later views, forks and every kind of fault', () => {
    const { crashes, partitions, viewChanged, forked, equivocationsProven, roles } = counts
    for (const met of [crashes, partitions, viewChanged, equivocationsProven]) assert.ok(met > 100)
    assert.ok(forked > 0)
    for (const role of ['silent', 'censor', 'equivocator', 'careless'] as const) {
      assert.ok(roles[role] > 100, role)
    }
  })

  it('do the same again with the same seed', () => {
    const once = simulateStewards({ schedules: 50, seed: SEED })
    assert.deepEqual(simulateStewards({ schedules: 50, seed: SEED }), once)
  })
})

describe('a set of which five of seven are captured', () => {
  it('can leave out a message, which is proven against all five, and nothing else', () => {
    const counts = simulateStewards({ schedules: CAPTURED, seed: SEED, captured: true })
    assert.deepEqual(counts.failures, [])
    assert.equal(counts.captured, CAPTURED)
    assert.ok(counts.omissions > CAPTURED / 2)
    assert.equal(counts.omissionsProven, counts.omissions)
  })
})

describe('a requester with a fifth of the peers', () => {
  const share = 0.2
  const figures = simulateCapture({
    seed: SEED,
    peers: 100,
    share,
    draws: 600,
    grinders: 5,
    tries: 100,
  })

  it('gets a captured set by luck alone where the beacon is drawn after its job', () => {
    const bound = captureBoundPpm(share) / 1_000_000
    assert.equal(captureBoundPpm(share), 4672)
    const expected = bound * figures.draws
    assert.ok(figures.withBeacon <= expected + 4 * Math.sqrt(expected), `${figures.withBeacon}`)
  })

  it('gets one far more often where keys can be chosen for a beacon that never changes', () => {
    assert.ok(figures.withoutBeacon > figures.draws * 0.03, `${figures.withoutBeacon}`)
    assert.ok(figures.withoutBeacon > 4 * figures.withBeacon)
  })

  it('does not surely get one by trying jobs within an epoch: the sets of an epoch are few', () => {
    assert.ok(figures.grindersCaptured < figures.grinders)
  })
})
