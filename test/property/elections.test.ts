/**
 * Elections against their exact probabilities: 50,000 for each factor of the weight, varied alone.
 * First seats come by weight / sum, second seats as in sampling without replacement.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { elect, type Candidate } from '../../src/protocol/election.js'
import { uint32Bytes } from '../../src/protocol/integer.js'
import { peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'
import { Random } from '../simulation/random.js'
import { chiSquare, chiSquareCritical } from '../simulation/table-statistics.js'

const SEED = 'elections 20261122'
const ELECTIONS = 50_000
/** Slots of one batch: each is an election of its own, with a ranking of its own. */
const SLOTS = 250

function peer(i: number): PeerId {
  return peerIdFromPublicKey(sha256(utf8(`peer ${i}`)))
}

function bidder(i: number, changes: Partial<Candidate> = {}): Candidate {
  return {
    peer: peer(i),
    operator: peer(i),
    addressPrefix: '',
    vrfKey: sha256(uint32Bytes(i)),
    capacity: SLOTS,
    availabilityPpm: 1_000_000n,
    reliabilityPpm: 1_000_000n,
    speedPpm: 1_000_000n,
    established: true,
    excluded: false,
    meetsRequirement: true,
    ...changes,
  }
}

interface Seats {
  /** How often each candidate took the first and the second seat. */
  readonly first: number[]
  readonly second: number[]
}

/** Fifty thousand elections with fresh outputs for every batch. */
function seatsOf(name: string, candidates: readonly Candidate[]): Seats {
  const random = new Random(`${SEED}/${name}`)
  const places = new Map(candidates.map((each, i) => [each.peer, i]))
  const seats: Seats = { first: candidates.map(() => 0), second: candidates.map(() => 0) }
  for (let batch = 0; batch < ELECTIONS / SLOTS; batch++) {
    const { slots } = elect({
      offerHash: random.bytes(32),
      attempt: 1,
      frozenBidsHash: random.bytes(32),
      slots: SLOTS,
      replicas: 2,
      requester: peer(1000),
      candidates,
      openings: candidates.map((each) => ({ peer: each.peer, output: random.bytes(64) })),
      diversity: 'operator',
    })
    for (const { executors } of slots) {
      const [one, two] = executors.map((each) => places.get(each))
      assert.ok(one !== undefined && two !== undefined)
      seats.first[one] = (seats.first[one] ?? 0) + 1
      seats.second[two] = (seats.second[two] ?? 0) + 1
    }
  }
  return seats
}

/** P(second = j) = Σ over i ≠ j of w_i / W · w_j / (W − w_i). */
function secondShares(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((own, j) =>
    weights.reduce(
      (sum, other, i) => (i === j ? sum : sum + ((other / total) * own) / (total - other)),
      0,
    ),
  )
}

/** Both seats against the exact probabilities of these weights, at α = 0.001. */
function assertExact(name: string, candidates: readonly Candidate[], weights: readonly number[]) {
  const { first, second } = seatsOf(name, candidates)
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const seats = [
    { counts: first, shares: weights.map((weight) => weight / total) },
    { counts: second, shares: secondShares(weights) },
  ]
  for (const [seat, { counts, shares }] of seats.entries()) {
    // Who has no weight has no seat, and no cell in the statistic.
    counts.forEach((count, i) => assert.ok((shares[i] ?? 0) > 0 || count === 0, `${name} ${i}`))
    const cells = shares.flatMap((share, i) => (share > 0 ? [i] : []))
    const statistic = chiSquare(
      cells.map((i) => counts[i] ?? 0),
      cells.map((i) => shares[i] ?? 0),
    )
    const critical = chiSquareCritical(cells.length - 1)
    assert.ok(
      statistic < critical,
      `${name}, seat ${seat + 1}: χ² = ${statistic} ≥ ${critical}; ${counts}`,
    )
  }
}

const STEPS = [1, 2, 3, 4, 5, 6, 7, 8]

describe(`fifty thousand elections and the exact probabilities (seed "${SEED}")`, () => {
  for (const factor of ['availabilityPpm', 'reliabilityPpm'] as const) {
    it(`seat by ${factor.slice(0, -3)} where nothing else differs`, () => {
      const candidates = STEPS.map((n, i) => bidder(i, { [factor]: BigInt(n) * 120_000n }))
      assertExact(factor, candidates, STEPS)
    })
  }

  it('seat by speed where nothing else differs', () => {
    const candidates = STEPS.map((n, i) => bidder(i, { speedPpm: 250_000n + BigInt(n) * 200_000n }))
    assertExact(
      'speed',
      candidates,
      STEPS.map((n) => 250 + n * 200),
    )
  })

  it('seat by the product of all three', () => {
    const candidates = STEPS.map((n, i) =>
      bidder(i, {
        availabilityPpm: 1_000_000n - BigInt(n) * 50_000n,
        reliabilityPpm: 500_000n + BigInt(n) * 40_000n,
        speedPpm: 2_000_000n - BigInt(n) * 100_000n,
      }),
    )
    assertExact(
      'product',
      candidates,
      STEPS.map((n) => (1 - n * 0.05) * (0.5 + n * 0.04) * (2 - n * 0.1)),
    )
  })

  it('seat nobody by more than four times the median', () => {
    // Ten, twenty and a hundred times the others: the lower median is one, so each counts as four.
    const factors = [1, 1, 1, 1, 1, 10, 20, 100]
    const candidates = factors.map((n, i) => bidder(i, { speedPpm: BigInt(n) * 100_000n }))
    assertExact(
      'cap',
      candidates,
      factors.map((n) => Math.min(n, 4)),
    )
  })

  it('never seat a peer below the requirement, excluded, without weight or asking itself', () => {
    const out: Partial<Candidate>[] = [
      { meetsRequirement: false },
      { excluded: true },
      { reliabilityPpm: 0n },
      { availabilityPpm: 0n },
      { operator: peer(1000) },
    ]
    const candidates = [
      ...STEPS.slice(0, 5).map((_, i) => bidder(i)),
      ...out.map((changes, i) => bidder(100 + i, { speedPpm: 2_000_000n, ...changes })),
    ]
    assertExact('below', candidates, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
  })

  it('give every seat that is offered and none beyond', () => {
    const capacities = [1, 10, 40, SLOTS, SLOTS, SLOTS]
    const candidates = capacities.map((capacity, i) => bidder(i, { capacity }))
    const { first, second } = seatsOf('capacity', candidates)
    const batches = ELECTIONS / SLOTS
    // With equal weights a peer is drawn for a third of 250 slots or more: all small ones fill up.
    capacities.slice(0, 3).forEach((capacity, i) => {
      assert.equal((first[i] ?? 0) + (second[i] ?? 0), capacity * batches)
    })
    const rest = first.map((count, i) => count + (second[i] ?? 0)).slice(3)
    const seats = 2 * ELECTIONS - (1 + 10 + 40) * batches
    assert.equal(
      rest.reduce((sum, count) => sum + count, 0),
      seats,
    )
    // Two seats of one slot exclude each other, so the spread is smaller than the statistic's.
    const statistic = chiSquare(rest, [1 / 3, 1 / 3, 1 / 3])
    assert.ok(statistic < chiSquareCritical(2), `χ² = ${statistic}; ${rest}`)
  })

  it('would show weights that were off by a fifth', () => {
    const { first } = seatsOf(
      'power',
      STEPS.map((n, i) => bidder(i, { availabilityPpm: BigInt(n) * 120_000n })),
    )
    const wrong = STEPS.map((n) => (n === 4 ? n * 1.2 : n))
    const total = wrong.reduce((sum, weight) => sum + weight, 0)
    const shares = wrong.map((weight) => weight / total)
    assert.ok(chiSquare(first, shares) > chiSquareCritical(7))
  })
})

describe('the critical values of χ²', () => {
  it('are exceeded with a probability of 0.001', () => {
    // For 2k degrees of freedom the tail is e^(−x/2) · Σ (x/2)^i / i!, i below k.
    for (const degrees of [2, 4, 6, 8, 10]) {
      const half = chiSquareCritical(degrees) / 2
      let term = 1
      let sum = 0
      for (let i = 0; i < degrees / 2; i++) {
        sum += term
        term *= half / (i + 1)
      }
      assert.ok(Math.abs(sum * Math.exp(-half) - 0.001) < 1e-6, `${degrees} degrees`)
    }
    for (const degrees of [1, 3, 5, 7, 9]) {
      assert.ok(chiSquareCritical(degrees) < chiSquareCritical(degrees + 1))
    }
  })
})
