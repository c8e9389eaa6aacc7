import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import {
  choosePlaces,
  elect,
  hiddenReplicaDrawn,
  secondSeed,
  type Diversity,
  type ElectionInput,
} from '../../src/protocol/election.js'
import { fromHex, parsePeerId, toHex } from '../../src/wire/ids.js'

interface Input {
  readonly offerHash: string
  readonly attempt: number
  readonly frozenBidsHash: string
  readonly slots: number
  readonly replicas: number
  readonly requester: string
  readonly candidates: readonly {
    readonly peer: string
    readonly operator: string
    readonly addressPrefix: string
    readonly vrfKey: string
    readonly capacity: number
    readonly availabilityPpm: string
    readonly reliabilityPpm: string
    readonly speedPpm: string
    readonly established: boolean
    readonly excluded: boolean
    readonly meetsRequirement: boolean
  }[]
  readonly openings: readonly { readonly peer: string; readonly output: string }[]
  readonly diversity: Diversity
}

interface Vectors {
  readonly valid: readonly {
    readonly name: string
    readonly input: Input
    readonly expected: {
      readonly seed: string
      readonly weights: Readonly<Record<string, string>>
      readonly slots: unknown
      readonly unseated: readonly number[]
      readonly young: boolean
    }
  }[]
  readonly invalid: readonly { readonly name: string; input: Input; readonly code: string }[]
  readonly secondSeed: {
    readonly frozenCommitmentsHash: string
    readonly stewardOutputs: readonly string[]
    readonly value: string
    readonly drawnAtHalf: readonly boolean[]
  }
  readonly places: readonly {
    readonly offerHash: string
    readonly applicants: readonly {
      readonly peer: string
      readonly established: boolean
      readonly excluded: boolean
    }[]
    readonly placed: readonly string[]
  }[]
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('election.json', import.meta.url), 'utf8'))

function inputOf(input: Input): ElectionInput {
  return {
    ...input,
    offerHash: fromHex(input.offerHash),
    frozenBidsHash: fromHex(input.frozenBidsHash),
    requester: parsePeerId(input.requester),
    candidates: input.candidates.map((each) => ({
      ...each,
      peer: parsePeerId(each.peer),
      vrfKey: fromHex(each.vrfKey),
      availabilityPpm: BigInt(each.availabilityPpm),
      reliabilityPpm: BigInt(each.reliabilityPpm),
      speedPpm: BigInt(each.speedPpm),
    })),
    openings: input.openings.map((each) => ({
      peer: parsePeerId(each.peer),
      output: fromHex(each.output),
    })),
  }
}

describe('vectors of the election', () => {
  for (const { name, input, expected } of vectors.valid) {
    it(`elects as every other machine does: ${name}`, () => {
      const { seed, weights, slots, unseated, young } = elect(inputOf(input))
      const texts = Object.fromEntries([...weights].map(([peer, weight]) => [peer, `${weight}`]))
      assert.deepEqual({ seed: toHex(seed), weights: texts, slots, unseated, young }, expected)
    })
  }

  for (const { name, input, code } of vectors.invalid) {
    it(`throws ${code}: ${name}`, () => {
      assert.throws(() => elect(inputOf(input)), { code })
    })
  }

  it('draws the same hidden replicas', () => {
    const { frozenCommitmentsHash, stewardOutputs, value, drawnAtHalf } = vectors.secondSeed
    const seed2 = secondSeed(fromHex(frozenCommitmentsHash), stewardOutputs.map(fromHex))
    assert.equal(toHex(seed2), value)
    assert.deepEqual(
      drawnAtHalf.map((_, slot) => hiddenReplicaDrawn(seed2, slot, 500_000)),
      drawnAtHalf,
    )
    assert.ok(drawnAtHalf.includes(true) && drawnAtHalf.includes(false))
  })

  it('choose the same bids where more came than fit', () => {
    assert.ok(vectors.places.length > 0)
    for (const { offerHash, applicants, placed } of vectors.places) {
      const parsed = applicants.map((each) => ({ ...each, peer: parsePeerId(each.peer) }))
      assert.deepEqual(choosePlaces(parsed, fromHex(offerHash)), placed)
      assert.deepEqual(choosePlaces(parsed.toReversed(), fromHex(offerHash)), placed)
    }
  })
})
