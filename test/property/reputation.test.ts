import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { explainScore, foldReputation } from '../../src/protocol/reputation-fold.js'
import {
  scoreOf,
  type ReceiptExecutor,
  type ReceiptOutcome,
  type ReputationReceipt,
} from '../../src/protocol/reputation.js'
import { peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'

const SEED = 20261124
const RUNS = { seed: SEED, numRuns: 300 }
const DAY_MS = 86_400_000
const START = 1_800_000_000_000
const NOW = START + 60 * DAY_MS

const PEERS = Array.from({ length: 8 }, (_, i) => peerIdFromPublicKey(sha256(utf8(`peer ${i}`))))

function peer(i: number): PeerId {
  const found = PEERS[i]
  assert.ok(found !== undefined)
  return found
}

const executorArbitrary = fc
  .record({
    place: fc.integer({ min: 0, max: 7 }),
    outcome: fc.constantFrom<ReceiptOutcome>(
      'agreed',
      'agreed',
      'agreed',
      'agreed',
      'dissented',
      'spared',
      'withheld',
      'timed-out',
      'failed',
    ),
    wrongRoot: fc.constantFrom('x', 'y'),
    durationMs: fc.integer({ min: 0, max: 100_000 }),
  })
  .map(({ place, ...rest }): ReceiptExecutor => ({
    peer: peer(place),
    operator: `operator ${place >> 1}`,
    ...rest,
  }))

const receiptsArbitrary = fc
  .array(
    fc.record({
      requester: fc.integer({ min: 0, max: 7 }).map(peer),
      // Whole days, so that many receipts close at the same time.
      atMs: fc.integer({ min: 0, max: 60 }).map((day) => START + day * DAY_MS),
      young: fc.boolean(),
      stewards: fc.integer({ min: 1, max: 3 }),
      executors: fc.uniqueArray(executorArbitrary, {
        minLength: 1,
        maxLength: 5,
        selector: (each) => each.peer,
      }),
    }),
    { maxLength: 60 },
  )
  .map((parts) =>
    parts.map((part, i): ReputationReceipt => ({
      receiptId: `receipt ${i}`,
      taskId: `task ${i}`,
      ...part,
    })),
  )

/** A last receipt in which peer 0 stands beside two that agree. */
function lastReceipt(outcome: ReceiptOutcome, young = false): ReputationReceipt {
  const executor = (i: number, each: ReceiptOutcome): ReceiptExecutor => ({
    peer: peer(i),
    operator: `operator ${i >> 1}`,
    outcome: each,
    wrongRoot: 'x',
    durationMs: 1000,
  })
  const executors = [executor(0, outcome), executor(2, 'agreed'), executor(4, 'agreed')]
  const named = { receiptId: 'zz', taskId: 'last', requester: peer(7) }
  return { ...named, atMs: NOW, young, stewards: 3, executors }
}

function reliability(receipts: readonly ReputationReceipt[]): number {
  return scoreOf(foldReputation(receipts, NOW), peer(0)).reliabilityPpm
}

describe(`reputation, for all receipts (seed ${SEED})`, () => {
  it('depends on the set of receipts, not on their order or repetition', () => {
    fc.assert(
      fc.property(receiptsArbitrary, fc.integer(), (receipts, turn) => {
        const place = ({ receiptId }: ReputationReceipt) => sha256(utf8(`${turn} ${receiptId}`))
        const shuffled = receipts.toSorted((a, b) => Buffer.compare(place(a), place(b)))
        const expected = foldReputation(receipts, NOW)
        const doubled = [...shuffled, ...receipts.slice(0, 5)]
        for (const each of PEERS) {
          assert.deepEqual(scoreOf(foldReputation(doubled, NOW), each), scoreOf(expected, each))
        }
      }),
      RUNS,
    )
  })

  it('keeps every number within its range', () => {
    let excluded = 0
    fc.assert(
      fc.property(receiptsArbitrary, (receipts) => {
        for (const score of foldReputation(receipts, NOW).values()) {
          assert.ok(score.reliabilityPpm >= 0 && score.reliabilityPpm < 1_000_000)
          assert.ok(score.availabilityPpm > 0 && score.availabilityPpm < 1_000_000)
          assert.ok(score.speedPpm >= 500_000 && score.speedPpm <= 2_000_000)
          assert.ok(score.creditMicro >= 0 && score.creditMicro <= 100_000_000)
          assert.ok(Number.isSafeInteger(score.failureMicro) && score.failureMicro >= 0)
          assert.equal(score.excluded, score.excludedUntilMs !== undefined)
          assert.ok(score.excludedUntilMs === undefined || score.excludedUntilMs > NOW)
          if (score.exclusions > 0) excluded++
        }
      }),
      RUNS,
    )
    assert.ok(excluded > 10, `only ${excluded} scores saw an exclusion`)
  })

  it('never falls by a newer success and never rises by a newer failure', () => {
    fc.assert(
      fc.property(receiptsArbitrary, fc.boolean(), (receipts, young) => {
        const before = reliability(receipts)
        assert.ok(reliability([...receipts, lastReceipt('agreed')]) >= before)
        for (const outcome of ['dissented', 'withheld', 'timed-out', 'failed', 'spared'] as const) {
          assert.ok(reliability([...receipts, lastReceipt(outcome, young)]) <= before, outcome)
        }
      }),
      RUNS,
    )
  })

  it('excludes nobody on the word of young networks alone', () => {
    fc.assert(
      fc.property(receiptsArbitrary, (receipts) => {
        const young = receipts.map((receipt) => ({ ...receipt, young: true }))
        for (const score of foldReputation(young, NOW).values()) {
          assert.equal(score.excluded, false)
          assert.equal(score.exclusions, 0)
        }
      }),
      RUNS,
    )
  })

  it('gives the same to all whether or not lone stewards report timeouts', () => {
    fc.assert(
      fc.property(receiptsArbitrary, (receipts) => {
        const alone = receipts.map((receipt) => ({ ...receipt, stewards: 1 }))
        const silent = alone.map((receipt) => ({
          ...receipt,
          executors: receipt.executors.filter(({ outcome }) => outcome !== 'timed-out'),
        }))
        const [all, some] = [foldReputation(alone, NOW), foldReputation(silent, NOW)]
        for (const each of PEERS) {
          assert.equal(scoreOf(all, each).reliabilityPpm, scoreOf(some, each).reliabilityPpm)
          assert.equal(scoreOf(all, each).availabilityPpm, scoreOf(some, each).availabilityPpm)
        }
      }),
      RUNS,
    )
  })

  it('explains every score by parts that sum to it, unless an exclusion settled some', () => {
    fc.assert(
      fc.property(receiptsArbitrary, fc.integer({ min: 0, max: 7 }), (receipts, place) => {
        const { score, evidence } = explainScore(receipts, peer(place), NOW)
        assert.deepEqual(score, scoreOf(foldReputation(receipts, NOW), peer(place)))
        const credit = evidence.reduce((sum, { creditMicro }) => sum + creditMicro, 0)
        const failure = evidence.reduce((sum, { failureMicro }) => sum + failureMicro, 0)
        assert.ok(Math.abs(credit - score.creditMicro) <= 61)
        assert.ok(score.exclusions > 0 || Math.abs(failure - score.failureMicro) <= 61)
      }),
      RUNS,
    )
  })

  it('bounds what a requester and two friends can farm in a week', () => {
    const receipts = Array.from({ length: 1000 }, (_, i): ReputationReceipt => {
      const executors = [1, 2].map((place): ReceiptExecutor => ({
        peer: peer(place * 2),
        operator: `operator ${place}`,
        outcome: 'agreed',
        durationMs: 1000,
      }))
      const named = { receiptId: `farm ${i}`, taskId: `task ${i}`, requester: peer(0) }
      const atMs = NOW - Math.floor((i * 7 * DAY_MS) / 1000)
      return { ...named, atMs, young: false, stewards: 1, executors }
    })
    const score = scoreOf(foldReputation(receipts, NOW), peer(2))
    // Σ 25 / (5 + n)² stays below 5.6 for any number of tasks; 10 would be needed for R = 0.74.
    assert.ok(score.creditMicro < 5_600_000, `${score.creditMicro}`)
    assert.equal(score.established, false)
  })
})
