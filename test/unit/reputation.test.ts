import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { explainScore, foldReputation } from '../../src/protocol/reputation-fold.js'
import {
  NEWCOMER,
  scoreOf,
  type ReceiptExecutor,
  type ReceiptOutcome,
  type ReputationReceipt,
} from '../../src/protocol/reputation.js'
import { peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'

const DAY_MS = 86_400_000
const NOW = 1_800_000_000_000

function peer(name: string): PeerId {
  return peerIdFromPublicKey(sha256(utf8(name)))
}

function executor(name: string, changes: Partial<ReceiptExecutor> = {}): ReceiptExecutor {
  return { peer: peer(name), operator: name, outcome: 'agreed', durationMs: 1000, ...changes }
}

let serial = 0
function receipt(
  executors: ReceiptExecutor[],
  changes: Partial<ReputationReceipt> = {},
): ReputationReceipt {
  const id = String(serial++).padStart(6, '0')
  const requester = peer(`requester-${id}`)
  const base = { receiptId: id, taskId: `task-${id}`, requester, atMs: NOW, young: false }
  return { ...base, stewards: 3, executors, ...changes }
}

/** Receipts of tasks that `name` ran well, each with another requester and co-executor. */
function valid(name: string, count: number, atMs = NOW): ReputationReceipt[] {
  return Array.from({ length: count }, (_, i) =>
    receipt([executor(name), executor(`partner-${i}`)], { atMs }),
  )
}

function wrong(name: string, changes: Partial<ReputationReceipt> = {}): ReputationReceipt {
  return receipt(
    [executor('w1'), executor('w2'), executor(name, { outcome: 'dissented', wrongRoot: 'x' })],
    changes,
  )
}

function other(name: string, outcome: ReceiptOutcome, stewards: number): ReputationReceipt {
  return receipt([executor('w1'), executor('w2'), executor(name, { outcome })], { stewards })
}

function scored(receipts: ReputationReceipt[], nowMs = NOW, name = 'a') {
  return scoreOf(foldReputation(receipts, nowMs), peer(name))
}

describe('reputation', () => {
  it('starts a newcomer at 0.10, one half and one', () => {
    const score = scored([])
    assert.equal(score, NEWCOMER)
    assert.equal(score.reliabilityPpm, 100_000)
    assert.equal(score.availabilityPpm, 500_000)
    assert.equal(score.speedPpm, 1_000_000)
    // The constant must be what the formulas give for a peer of whom nothing counts yet.
    const nothing = receipt([executor('a', { outcome: 'failed' })])
    assert.deepEqual(scored([nothing]), NEWCOMER)
  })

  it('gives the reliabilities of the reference after 10, 20 and 50 valid results', () => {
    assert.equal(scored(valid('a', 10)).reliabilityPpm, 742_857)
    assert.equal(scored(valid('a', 20)).reliabilityPpm, 850_000)
    assert.equal(scored(valid('a', 50)).reliabilityPpm, 933_333)
  })

  it('counts a bid that was not opened once for each election, if two stewards say so', () => {
    const bidder = peer('a')
    const of = (election: string, stewards: number): ReputationReceipt =>
      receipt([executor('w1'), executor('w2')], {
        unopened: { election, stewards, peers: [bidder] },
      })
    const twoSlots = [of('one', 2), of('one', 2)]
    assert.equal(scored(twoSlots).failureMicro, 500_000)
    assert.equal(scored([...twoSlots, of('other', 2)]).failureMicro, 1_000_000)
    assert.equal(scored([of('one', 1)]).failureMicro, 0)
    const { evidence } = explainScore([of('one', 1)], bidder, NOW)
    assert.deepEqual(
      evidence.map(({ kind, words }) => [kind, words]),
      [['unopened', 'bid and did not open, but only one steward says so']],
    )
  })

  it('keeps apart what a peer has shown at each kind of work, and trusts it alike for all', () => {
    const raced = (work: 'cpu' | 'gpu', count: number, durationMs: number): ReputationReceipt[] =>
      Array.from({ length: count }, (_, i) =>
        receipt([executor('a', { durationMs }), executor(`${work} partner ${i}`)], { work }),
      )
    const score = scored([...raced('cpu', 3, 500), ...raced('gpu', 2, 2000), wrong('a')])
    assert.deepEqual([score.work.cpu?.accepted, score.work.gpu?.accepted], [3, 2])
    assert.deepEqual([score.work.cpu?.wrongs, score.work.gpu?.wrongs], [1, 0])
    assert.ok((score.work.cpu?.speedPpm ?? 0) > 1_000_000)
    assert.ok((score.work.gpu?.speedPpm ?? 0) < 1_000_000)
    assert.equal(score.accepted, 5)
    const apart = scored([...raced('cpu', 5, 1000), wrong('a')])
    assert.equal(apart.reliabilityPpm, score.reliabilityPpm)
  })

  it('halves the credit and adds four failures for a wrong result', () => {
    const score = scored([...valid('a', 50, NOW - 1), wrong('a')])
    assert.equal(score.creditMicro, 24_999_999)
    assert.equal(score.failureMicro, 4_000_000)
    assert.equal(score.reliabilityPpm, 769_696)
    assert.equal(score.wrongs, 1)
    assert.equal(score.excluded, false)
  })

  it('adds eight for the same wrong value as another loser, but only in a mature network', () => {
    const both = (young: boolean) =>
      receipt(
        ['a', 'b'].map((name) => executor(name, { outcome: 'dissented', wrongRoot: 'x' })),
        { young },
      )
    assert.equal(scored([both(false)]).failureMicro, 8_000_000)
    assert.equal(scored([both(true)]).failureMicro, 4_000_000)
    const unlike = receipt([
      executor('a', { outcome: 'dissented', wrongRoot: 'x' }),
      executor('b', { outcome: 'dissented', wrongRoot: 'y' }),
    ])
    assert.equal(scored([unlike]).failureMicro, 4_000_000)
  })

  it('decays credit by half in 30 days and failures by half in 14', () => {
    const receipts = [...valid('a', 20), other('a', 'withheld', 3)]
    assert.equal(scored(receipts, NOW).failureMicro, 500_000)
    assert.equal(scored(receipts, NOW + 14 * DAY_MS).failureMicro, 250_000)
    assert.equal(scored(receipts, NOW + 30 * DAY_MS).creditMicro, 10_000_000)
    const late = scored(receipts, NOW + 120 * DAY_MS)
    assert.equal(late, NEWCOMER)
  })

  it('diminishes credit for the same requester and the same partner', () => {
    const same = Array.from({ length: 100 }, () =>
      receipt([executor('a'), executor('friend')], { requester: peer('one') }),
    )
    // Σ 25 / (5 + n)² over 100 is below 25 · (1/4.5).
    assert.ok(scored(same).creditMicro < 5_600_000)
    assert.ok(scored(same).creditMicro > 5_000_000)
    const spread = same.map((each, i) => ({ ...each, atMs: NOW - i * 8 * DAY_MS }))
    assert.ok(scored(spread).creditMicro > 3_000_000)
  })

  it('gives no credit for a task of its own operator or without another operator', () => {
    const own = receipt([executor('a'), executor('b')], { requester: peer('a') })
    const owned = receipt([executor('a', { operator: peer('owner') }), executor('b')], {
      requester: peer('owner'),
    })
    const alone = receipt([executor('a'), executor('b', { operator: 'a' })])
    for (const each of [own, owned, alone]) {
      assert.equal(scored([each]).creditMicro, 0)
      assert.equal(scored([each]).accepted, 0)
    }
  })

  it('counts a repeated receipt and a second receipt of one task once', () => {
    const [first] = valid('a', 1)
    assert.ok(first !== undefined)
    const again = { ...first, receiptId: 'another' }
    assert.equal(scored([first, first, again]).creditMicro, 1_000_000)
  })

  it('counts nothing that lies in the future', () => {
    assert.equal(scored(valid('a', 5, NOW + 1)), NEWCOMER)
  })

  it('weighs a timeout only when more than one steward saw it', () => {
    assert.deepEqual(scored([other('a', 'timed-out', 1)]), NEWCOMER)
    const score = scored([other('a', 'timed-out', 2)])
    assert.equal(score.failureMicro, 200_000)
    assert.equal(score.availabilityPpm, 333_333)
  })

  it('tells availability from delivered and undelivered seats', () => {
    const receipts = [...valid('a', 2), other('a', 'withheld', 1)]
    assert.equal(scored(receipts).availabilityPpm, 600_000)
    assert.equal(scored([other('a', 'spared', 1)]).availabilityPpm, 666_666)
    assert.equal(scored([other('a', 'spared', 1)]).reliabilityPpm, 100_000)
    assert.equal(scored([other('a', 'failed', 1)]).availabilityPpm, 333_333)
  })

  it('follows speed relative to the co-executors within its bounds', () => {
    const raced = (ownMs: number) =>
      Array.from({ length: 60 }, () =>
        receipt([executor('a', { durationMs: ownMs }), executor('b')]),
      )
    assert.ok(Math.abs(scored(raced(1)).speedPpm - 2_000_000) < 10)
    assert.ok(Math.abs(scored(raced(1_000_000)).speedPpm - 500_000) < 10)
    assert.equal(scored(raced(1000)).speedPpm, 1_000_000)
    assert.equal(scored(raced(0)).speedPpm, 1_000_000)
    assert.equal(scored(raced(500).slice(0, 1)).speedPpm, 1_200_000)
  })

  it('establishes a peer by ten accepted replicas with three operators', () => {
    assert.equal(scored(valid('a', 9)).established, false)
    assert.equal(scored(valid('a', 10)).established, true)
    const pair = Array.from({ length: 20 }, (_, i) =>
      receipt([executor('a'), executor(i % 2 === 0 ? 'b' : 'c')]),
    )
    assert.equal(scored(pair).established, false)
    assert.equal(scored(pair).coOperators, 2)
  })

  it('excludes below 0.30 with two wrong results, for seven days, then returns', () => {
    const two = [wrong('a', { atMs: NOW - 1 }), wrong('a')]
    assert.equal(scored(two.slice(0, 1)).excluded, false)
    const score = scored(two)
    assert.equal(score.excluded, true)
    assert.equal(score.excludedUntilMs, NOW + 7 * DAY_MS)
    assert.equal(scored(two, NOW + 7 * DAY_MS - 1).excluded, true)
    const back = scored(two, NOW + 7 * DAY_MS)
    assert.equal(back.excluded, false)
    assert.equal(back.excludedUntilMs, undefined)
    assert.equal(back.failureMicro, 2_000_000)
    assert.equal(back.established, false)
    assert.ok(back.reliabilityPpm < NEWCOMER.reliabilityPpm)
  })

  it('doubles the time of the second exclusion', () => {
    const later = NOW + 20 * DAY_MS
    const four = [NOW - 1, NOW, later, later + 1].map((atMs) => wrong('a', { atMs }))
    const score = scored(four, later + 1)
    assert.equal(score.exclusions, 2)
    assert.equal(score.excludedUntilMs, later + 1 + 14 * DAY_MS)
  })

  it('does not exclude a good peer for two wrong results among many', () => {
    const score = scored([...valid('a', 80, NOW - 1), wrong('a'), wrong('a')])
    assert.equal(score.excluded, false)
    assert.equal(score.wrongs, 2)
  })

  it('lowers a score by young strikes and never excludes for them', () => {
    const strikes = Array.from({ length: 20 }, () => wrong('a', { young: true }))
    const score = scored([...valid('a', 10, NOW - 1), ...strikes])
    assert.ok(score.reliabilityPpm < 10_000)
    assert.equal(score.excluded, false)
    assert.equal(scored([...strikes, wrong('a')]).excluded, false)
    const matureToo = [...strikes, wrong('a'), wrong('a')]
    assert.equal(scored(matureToo).excluded, true)
  })

  it('weighs an exclusion without the strikes of young networks', () => {
    const young = Array.from({ length: 5 }, () => wrong('a', { young: true }))
    const receipts = [...valid('a', 40, NOW - 1), ...young, wrong('a'), wrong('a')]
    const score = scored(receipts)
    assert.ok(score.reliabilityPpm < 300_000)
    assert.equal(score.wrongs, 2)
    assert.equal(score.excluded, false)
  })

  it('lets an established peer return as a probationer', () => {
    const receipts = [...valid('a', 10, NOW - 1), wrong('a'), wrong('a')]
    assert.equal(scored(receipts).excluded, true)
    assert.equal(scored(receipts).established, true)
    const back = scored(receipts, NOW + 7 * DAY_MS)
    assert.equal(back.excluded, false)
    assert.equal(back.established, false)
    assert.equal(back.accepted, 0)
    assert.equal(back.creditMicro, 0)
  })

  it('caps credit at one hundred before a wrong result halves it', () => {
    assert.equal(scored(valid('a', 150)).creditMicro, 100_000_000)
    const halved = scored([...valid('a', 150, NOW), wrong('a')])
    assert.equal(halved.creditMicro, 50_000_000)
  })

  it('explains a score by parts that sum to it', () => {
    const receipts = [
      ...valid('a', 12, NOW - 9 * DAY_MS),
      wrong('a', { atMs: NOW - 4 * DAY_MS }),
      ...valid('a', 3, NOW - DAY_MS),
      other('a', 'timed-out', 1),
      other('a', 'withheld', 2),
    ]
    const { score, evidence } = explainScore(receipts, peer('a'), NOW)
    assert.deepEqual(score, scored(receipts))
    assert.equal(evidence.length, 18)
    const credit = evidence.reduce((sum, { creditMicro }) => sum + creditMicro, 0)
    const failure = evidence.reduce((sum, { failureMicro }) => sum + failureMicro, 0)
    assert.ok(Math.abs(credit - score.creditMicro) <= 18, `${credit} ${score.creditMicro}`)
    assert.ok(Math.abs(failure - score.failureMicro) <= 18)
    assert.ok(evidence.every(({ words }) => words.length > 0))
    assert.deepEqual(explainScore(receipts, peer('nobody'), NOW), { score: NEWCOMER, evidence: [] })
  })

  it('says that an exclusion settled what lies before it', () => {
    const two = [wrong('a', { atMs: NOW - 1 }), wrong('a')]
    const { evidence } = explainScore(two, peer('a'), NOW + 8 * DAY_MS)
    assert.deepEqual(
      evidence.map(({ failureMicro }) => failureMicro),
      [0, 0],
    )
    assert.match(evidence[0]?.words ?? '', /exclusion/)
  })
})
