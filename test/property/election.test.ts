import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { CtdError } from '../../src/errors.js'
import {
  elect,
  type Candidate,
  type Election,
  type ElectionInput,
} from '../../src/protocol/election.js'
import { uint32Bytes } from '../../src/protocol/integer.js'
import { rank } from '../../src/protocol/lottery.js'
import { peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'

const SEED = 20261122
const RUNS = { seed: SEED, numRuns: 150 }

function peer(i: number): PeerId {
  return peerIdFromPublicKey(sha256(utf8(`peer ${i}`)))
}

const candidateArbitrary = fc.record({
  operator: fc.integer({ min: 0, max: 11 }),
  prefix: fc.integer({ min: 0, max: 5 }),
  capacity: fc.integer({ min: 0, max: 6 }),
  availabilityPpm: fc.bigInt(0n, 1_000_000n),
  reliabilityPpm: fc.bigInt(0n, 1_000_000n),
  speedPpm: fc.bigInt(500_000n, 2_000_000n),
  established: fc.boolean(),
  excluded: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  meetsRequirement: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
  opened: fc.integer({ min: 0, max: 9 }).map((n) => n > 0),
})

const inputArbitrary = fc
  .record({
    parts: fc.array(candidateArbitrary, { minLength: 2, maxLength: 20 }),
    slots: fc.integer({ min: 1, max: 12 }),
    replicas: fc.integer({ min: 2, max: 4 }),
    nonce: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    diversity: fc.constantFrom('operator' as const, 'operator-and-address' as const),
  })
  .map(({ parts, slots, replicas, nonce, diversity }): ElectionInput => {
    const candidates = parts.map(({ operator, prefix, ...rest }, i): Candidate => {
      const addressPrefix = prefix === 0 ? '' : `10.0.${prefix}.0/24`
      const named = { peer: peer(i), operator: `operator ${operator}`, addressPrefix }
      return { ...named, vrfKey: sha256(uint32Bytes(i)), ...rest }
    })
    const openings = parts.flatMap(({ opened }, i) => {
      const half = sha256(nonce, uint32Bytes(i))
      return opened ? [{ peer: peer(i), output: Uint8Array.of(...half, ...sha256(half)) }] : []
    })
    const hashes = { offerHash: nonce, frozenBidsHash: sha256(nonce) }
    const rest = { attempt: 0, slots, replicas, requester: peer(0), diversity }
    return { ...hashes, ...rest, candidates, openings }
  })

/** The election, or undefined where there are too few peers. */
function tryElect(input: ElectionInput): Election | undefined {
  try {
    return elect(input)
  } catch (error) {
    if (error instanceof CtdError && error.code === 'NO_ELIGIBLE_BIDS') return undefined
    throw error
  }
}

function eligible(input: ElectionInput): Candidate[] {
  const opened = new Set(input.openings.map((opening) => opening.peer))
  return input.candidates.filter(
    (each) =>
      each.peer !== input.requester &&
      !each.excluded &&
      each.meetsRequirement &&
      opened.has(each.peer) &&
      (each.availabilityPpm * each.reliabilityPpm * each.speedPpm) / 10n ** 12n > 0n,
  )
}

/** χ² of counts against expected shares. */
function chiSquare(counts: readonly number[], shares: readonly number[]): number {
  const total = counts.reduce((sum, count) => sum + count, 0)
  return counts.reduce((sum, count, i) => {
    const expected = total * (shares[i] ?? 0)
    return sum + (count - expected) ** 2 / expected
  }, 0)
}

describe(`the election, for all inputs (seed ${SEED})`, () => {
  it('does not depend on the order of bids and openings', () => {
    fc.assert(
      fc.property(inputArbitrary, fc.integer(), (input, turn) => {
        const by = (salt: number) => (a: { peer: PeerId }, b: { peer: PeerId }) =>
          Buffer.compare(
            sha256(utf8(`${turn} ${salt} ${a.peer}`)),
            sha256(utf8(`${turn} ${salt} ${b.peer}`)),
          )
        const shuffled = {
          ...input,
          candidates: input.candidates.toSorted(by(1)),
          openings: input.openings.toSorted(by(2)),
        }
        const [first, second] = [tryElect(input), tryElect(shuffled)]
        assert.deepEqual(second?.slots, first?.slots)
        assert.deepEqual(second?.seed, first?.seed)
        assert.deepEqual(new Map(second?.weights), new Map(first?.weights))
      }),
      RUNS,
    )
  })

  it('ranks eligible peers only, each once, and every eligible operator under plain diversity', () => {
    fc.assert(
      fc.property(inputArbitrary, (input) => {
        const usable = eligible(input)
        const operatorOf = new Map(usable.map((each) => [each.peer, each.operator]))
        for (const { ranking } of tryElect(input)?.slots ?? []) {
          const operators = ranking.map((each) => operatorOf.get(each))
          assert.ok(operators.every((operator) => operator !== undefined))
          assert.equal(new Set(operators).size, ranking.length)
          if (input.diversity === 'operator') {
            assert.deepEqual(new Set(operators), new Set(operatorOf.values()))
          }
        }
      }),
      RUNS,
    )
  })

  it('ranks exactly the eligible where everybody is its own operator', () => {
    fc.assert(
      fc.property(inputArbitrary, (input) => {
        const candidates = input.candidates.map((each) => ({ ...each, operator: each.peer }))
        const alone = { ...input, candidates, diversity: 'operator' as const }
        const expected = eligible(alone).map((each) => each.peer)
        for (const { ranking } of tryElect(alone)?.slots ?? []) {
          assert.deepEqual(ranking.toSorted(), expected.toSorted())
        }
      }),
      RUNS,
    )
  })

  it('never exceeds a capacity, seats whole slots and at most one probationer when mature', () => {
    let elections = 0
    fc.assert(
      fc.property(inputArbitrary, fc.boolean(), (input, reliable) => {
        const candidates = reliable
          ? input.candidates.map((each) => ({ ...each, reliabilityPpm: 900_000n }))
          : input.candidates
        const election = tryElect({ ...input, candidates })
        if (election === undefined) return
        elections++
        const byPeer = new Map(candidates.map((each) => [each.peer, each]))
        const seats = new Map<PeerId, number>()
        for (const { executors, ranking, index } of election.slots) {
          assert.ok(executors.length === input.replicas || executors.length === 0)
          assert.equal(executors.length === 0, election.unseated.includes(index))
          assert.deepEqual(ranking.slice(0, executors.length), executors)
          for (const each of executors) seats.set(each, (seats.get(each) ?? 0) + 1)
          const onProbation = executors.filter((each) => byPeer.get(each)?.established === false)
          assert.ok(election.young || onProbation.length <= 1)
        }
        for (const [each, count] of seats) assert.ok(count <= (byPeer.get(each)?.capacity ?? 0))
      }),
      { ...RUNS, numRuns: 300 },
    )
    assert.ok(elections > 100, `only ${elections} elections took place`)
  })

  it('caps every weight at four times the median', () => {
    fc.assert(
      fc.property(inputArbitrary, (input) => {
        const weights = [...(tryElect(input)?.weights.values() ?? [])]
        const sorted = weights.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
        const median = sorted[(sorted.length - 1) >> 1] ?? 0n
        assert.ok(weights.every((weight) => weight <= 4n * median))
      }),
      RUNS,
    )
  })
})

describe(`the lottery over many draws (seed ${SEED})`, () => {
  it('lets each peer come first in proportion to its weight', () => {
    const weights = [1n, 2n, 3n, 4n]
    const entries = weights.map((weight, i) => ({
      peer: peer(i),
      output: Uint8Array.of(...sha256(uint32Bytes(i)), ...sha256(uint32Bytes(i + 100))),
      weightPpm: weight * 100_000n,
    }))
    const counts = [0, 0, 0, 0]
    for (let draw = 0; draw < 4000; draw++) {
      const [first] = rank(sha256(uint32Bytes(SEED), uint32Bytes(draw)), entries)
      const place = entries.findIndex((entry) => entry.peer === first)
      counts[place] = (counts[place] ?? 0) + 1
    }
    // 16.27: the 0.999 quantile of χ² with 3 degrees of freedom.
    const statistic = chiSquare(counts, [0.1, 0.2, 0.3, 0.4])
    assert.ok(statistic < 16.27, `χ² = ${statistic}, counts ${counts}`)
  })

  it('gives first seats by weight to executors elected with many offers', () => {
    const candidates = [2n, 3n, 3n, 4n, 8n].map((weight, i): Candidate => ({
      peer: peer(i + 1),
      operator: `operator ${i}`,
      addressPrefix: '',
      vrfKey: sha256(uint32Bytes(i)),
      capacity: 256,
      availabilityPpm: weight * 100_000n,
      reliabilityPpm: 900_000n,
      speedPpm: 1_000_000n,
      established: true,
      excluded: false,
      meetsRequirement: true,
    }))
    const counts = [0, 0, 0, 0, 0]
    for (let offer = 0; offer < 20; offer++) {
      const offerHash = sha256(uint32Bytes(SEED), uint32Bytes(offer))
      const openings = candidates.map((each) => {
        const half = sha256(offerHash, utf8(each.peer))
        return { peer: each.peer, output: Uint8Array.of(...half, ...sha256(half)) }
      })
      const hashes = { offerHash, frozenBidsHash: sha256(offerHash) }
      const rest = { attempt: 0, slots: 200, replicas: 2, requester: peer(0), openings }
      const election = elect({ ...hashes, ...rest, candidates, diversity: 'operator' })
      for (const { executors } of election.slots) {
        const place = candidates.findIndex((each) => each.peer === executors[0])
        counts[place] = (counts[place] ?? 0) + 1
      }
    }
    // 18.47: the 0.999 quantile of χ² with 4 degrees of freedom.
    const statistic = chiSquare(counts, [0.1, 0.15, 0.15, 0.2, 0.4])
    assert.ok(statistic < 18.47, `χ² = ${statistic}, counts ${counts}`)
  })
})
