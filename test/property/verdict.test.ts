import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { elect, type Candidate } from '../../src/protocol/election.js'
import { uint32Bytes } from '../../src/protocol/integer.js'
import { foldReputation } from '../../src/protocol/reputation-fold.js'
import {
  scoreOf,
  type ReceiptExecutor,
  type ReputationReceipt,
  type Score,
} from '../../src/protocol/reputation.js'
import { judge, type ExecutorOutcome } from '../../src/protocol/verdict.js'
import { digestOf, peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'

const SEED = 20261123
const RUNS = { seed: SEED, numRuns: 2000 }

function peer(i: number): PeerId {
  return peerIdFromPublicKey(sha256(utf8(`peer ${i}`)))
}

const outcomesArbitrary = fc
  .array(
    fc.record({
      operator: fc.integer({ min: 0, max: 8 }),
      established: fc.boolean(),
      // High and low reliabilities, so that verdicts of every kind occur.
      reliabilityPpm: fc.oneof(
        fc.integer({ min: 0, max: 1_000_000 }),
        fc.integer({ min: 900_000, max: 999_999 }),
      ),
      letter: fc.constantFrom('a', 'a', 'a', 'b', 'c', '-'),
    }),
    { minLength: 0, maxLength: 7 },
  )
  .map((parts) =>
    parts.map(({ operator, letter, ...rest }, i): ExecutorOutcome => ({
      peer: peer(i),
      operator: `operator ${operator}`,
      root: letter === '-' ? undefined : digestOf(utf8(letter)),
      ...rest,
    })),
  )

function verdictOf(outcomes: readonly ExecutorOutcome[], young: boolean) {
  return judge({ outcomes, policy: { kind: 'exact' }, young, executed: outcomes.length })
}

function operatorsOf(outcomes: readonly ExecutorOutcome[], peers: readonly PeerId[]): Set<string> {
  return new Set(outcomes.flatMap((each) => (peers.includes(each.peer) ? [each.operator] : [])))
}

describe(`the verdict, for all outcomes (seed ${SEED})`, () => {
  it('accepts only what two operators agree on, one of them established when mature', () => {
    let accepted = 0
    fc.assert(
      fc.property(outcomesArbitrary, fc.boolean(), (outcomes, young) => {
        const verdict = verdictOf(outcomes, young)
        if (verdict.kind !== 'accept') return
        accepted++
        const agreed = outcomes.filter((each) => verdict.agreed.includes(each.peer))
        assert.ok(agreed.every(({ root }) => root === verdict.root))
        assert.ok(operatorsOf(outcomes, verdict.agreed).size >= 2)
        assert.ok(young || agreed.filter(({ established }) => established).length >= 2)
      }),
      RUNS,
    )
    assert.ok(accepted > 100, `only ${accepted} verdicts accepted`)
  })

  it('names everybody that revealed exactly once', () => {
    fc.assert(
      fc.property(outcomesArbitrary, fc.boolean(), (outcomes, young) => {
        const verdict = verdictOf(outcomes, young)
        if (verdict.kind !== 'accept') return
        const revealed = outcomes.flatMap((each) => (each.root === undefined ? [] : [each.peer]))
        assert.deepEqual([...verdict.agreed, ...verdict.dissented].sort(), revealed.sort())
      }),
      RUNS,
    )
  })

  it('never strikes a majority, nor anybody that agreed or was silent', () => {
    let struck = 0
    fc.assert(
      fc.property(outcomesArbitrary, fc.boolean(), (outcomes, young) => {
        const verdict = verdictOf(outcomes, young)
        if (verdict.kind !== 'accept' || verdict.strikes.length === 0) return
        struck++
        const losers = verdict.strikes.map((strike) => strike.peer)
        assert.ok(losers.every((loser) => verdict.dissented.includes(loser)))
        const winners = operatorsOf(outcomes, verdict.agreed).size
        const losing = operatorsOf(outcomes, losers).size
        assert.ok(winners > losing && (!young || winners >= 3))
      }),
      RUNS,
    )
    assert.ok(struck > 30, `only ${struck} verdicts struck`)
  })

  it('does not depend on the order of the outcomes', () => {
    fc.assert(
      fc.property(outcomesArbitrary, fc.boolean(), (outcomes, young) => {
        assert.deepEqual(verdictOf(outcomes.toReversed(), young), verdictOf(outcomes, young))
      }),
      RUNS,
    )
  })

  it('is not undone by one more established peer that agrees', () => {
    fc.assert(
      fc.property(outcomesArbitrary, fc.boolean(), (outcomes, young) => {
        const verdict = verdictOf(outcomes, young)
        if (verdict.kind !== 'accept' || outcomes.length >= 7) return
        const more: ExecutorOutcome = {
          peer: peer(99),
          operator: 'one more',
          established: true,
          reliabilityPpm: 900_000,
          root: verdict.root,
        }
        const next = verdictOf([...outcomes, more], young)
        assert.equal(next.kind === 'accept' && next.root, verdict.root)
      }),
      RUNS,
    )
  })

  it('asks for another replica exactly while there is one', () => {
    fc.assert(
      fc.property(outcomesArbitrary, fc.boolean(), (outcomes, young) => {
        const { kind } = verdictOf(outcomes, young)
        assert.ok(kind === 'accept' || kind === (outcomes.length < 7 ? 'escalate' : 'reject'))
      }),
      RUNS,
    )
  })
})

interface World {
  readonly peers: number
  readonly tasks: number
  readonly requesters: number
  readonly liars: number
}

interface Outcome {
  readonly accepted: number
  readonly wrong: number
  readonly rejected: number
  readonly executions: number
  readonly matureTasks: number
  readonly honestStrikes: number
  readonly scores: ReadonlyMap<PeerId, Score>
}

/** Runs tasks through the election, the verdict and the fold, with no network in between. */
function simulate(world: World): Outcome {
  const HOUR_MS = 3_600_000
  const receipts: ReputationReceipt[] = []
  const count = { accepted: 0, wrong: 0, rejected: 0, executions: 0, matureTasks: 0 }
  const isLiar = (each: PeerId) => (places.get(each) ?? Infinity) < world.liars
  const places = new Map(Array.from({ length: world.peers }, (_, i) => [peer(i), i]))
  let honestStrikes = 0
  let scores: ReadonlyMap<PeerId, Score> = new Map()
  for (let task = 0; task < world.tasks; task++) {
    const atMs = 1_800_000_000_000 + task * HOUR_MS
    scores = foldReputation(receipts, atMs)
    const candidates = [...places.keys()].map((each): Candidate => {
      const score = scoreOf(scores, each)
      const ppm = {
        availabilityPpm: BigInt(score.availabilityPpm),
        reliabilityPpm: BigInt(score.reliabilityPpm),
        speedPpm: BigInt(score.speedPpm),
      }
      const { established, excluded } = score
      const named = { peer: each, operator: each, addressPrefix: '', vrfKey: new Uint8Array(32) }
      return { ...named, ...ppm, capacity: 1, established, excluded, meetsRequirement: true }
    })
    const requester = peer(1000 + (task % world.requesters))
    const offerHash = sha256(uint32Bytes(SEED), uint32Bytes(task))
    const openings = candidates.map((each) => {
      const half = sha256(offerHash, utf8(each.peer))
      return { peer: each.peer, output: Uint8Array.of(...half, ...sha256(half)) }
    })
    const batch = { attempt: 0, frozenBidsHash: offerHash, slots: 1, replicas: 2, requester }
    const election = elect({ offerHash, ...batch, candidates, openings, diversity: 'operator' })
    const { young } = election
    if (!young) count.matureTasks++
    const ranking = election.slots[0]?.ranking ?? []
    const outcomes: ExecutorOutcome[] = []
    const execute = (each: PeerId) => {
      const { established, reliabilityPpm } = scoreOf(scores, each)
      const root = digestOf(utf8(isLiar(each) ? `lie ${each}` : `truth ${task}`))
      outcomes.push({ peer: each, operator: each, established, reliabilityPpm, root })
    }
    ranking.slice(0, 2).forEach(execute)
    let verdict = verdictOf(outcomes, young)
    while (verdict.kind === 'escalate' && outcomes.length < ranking.length) {
      const next = ranking[outcomes.length]
      if (next !== undefined) execute(next)
      verdict = verdictOf(outcomes, young)
    }
    count.executions += outcomes.length
    if (verdict.kind !== 'accept') {
      count.rejected++
      continue
    }
    count.accepted++
    const { agreed, root: accepted } = verdict
    if (accepted !== digestOf(utf8(`truth ${task}`))) count.wrong++
    const struck = verdict.strikes.map((strike) => strike.peer)
    honestStrikes += struck.filter((each) => !isLiar(each)).length
    const executors = outcomes.map(({ peer: each, operator, root }): ReceiptExecutor => {
      const outcome = agreed.includes(each)
        ? 'agreed'
        : struck.includes(each)
          ? 'dissented'
          : 'spared'
      return { peer: each, operator, outcome, wrongRoot: root ?? '', durationMs: 1000 }
    })
    const id = String(task).padStart(6, '0')
    receipts.push({ receiptId: id, taskId: id, requester, atMs, young, stewards: 1, executors })
  }
  return { ...count, honestStrikes, scores }
}

describe(`law and fold together (seed ${SEED})`, () => {
  it('lets five honest peers serve one requester without a single refusal', () => {
    const result = simulate({ peers: 6, tasks: 150, requesters: 1, liars: 0 })
    assert.equal(result.accepted, 150)
    assert.equal(result.executions, 300)
  })

  it('grows mature with many requesters and still refuses nothing', () => {
    const result = simulate({ peers: 12, tasks: 220, requesters: 40, liars: 0 })
    assert.equal(result.rejected, 0)
    assert.ok(result.matureTasks > 20, `${result.matureTasks} mature tasks`)
    assert.ok(result.executions < 220 * 3.5, `${result.executions} executions`)
  })

  it('accepts no wrong result from lone liars, strikes no honest peer and lowers every liar', () => {
    const result = simulate({ peers: 16, tasks: 160, requesters: 20, liars: 4 })
    assert.equal(result.wrong, 0)
    assert.equal(result.honestStrikes, 0)
    for (let liar = 0; liar < 4; liar++) {
      assert.ok(scoreOf(result.scores, peer(liar)).reliabilityPpm <= 100_000)
    }
    assert.ok(result.accepted >= 155, `${result.accepted} accepted, ${result.rejected} rejected`)
  })
})
