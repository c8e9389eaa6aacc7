import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { missableShards, roundManifest } from '../../src/protocol/elastic.js'
import type { ClosedShard, RoundedPlan } from '../../src/protocol/elastic.js'
import { encodeRound } from '../../src/training/round-manifest.js'
import type { PeerId } from '../../src/wire/ids.js'

interface Case {
  readonly name: string
  readonly steps: readonly number[]
  readonly shards: number
  readonly rounds: ReadonlyArray<{
    readonly executors: ReadonlyArray<readonly PeerId[]>
    readonly missable: number
    readonly manifest: string
    readonly durationsMs: ReadonlyArray<Readonly<Record<PeerId, number>> | null>
  }>
}

const { cases }: { readonly cases: readonly Case[] } = JSON.parse(
  readFileSync(new URL('elastic.json', import.meta.url), 'utf8'),
)

/** Stands here so that no rewrite of the file passes. */
const SLOW =
  '{"missed":[],"round":1,"shards":[{"start":22,"steps":23},{"start":22,"steps":5},{"start":22,"steps":23},{"start":22,"steps":23}],"version":1}\n'

function planOf({ shards, steps }: Case): RoundedPlan {
  const startOf = (round: number): number =>
    steps.slice(0, round).reduce((sum, count) => sum + count, 0)
  const rounds = steps.map((count, round) => ({
    startStep: startOf(round),
    learningRates: Array.from({ length: count }, () => 0),
  }))
  return { shards, totalSteps: startOf(steps.length), rounds }
}

/** What earlier rounds of the vector averaged. */
function closedIn({ rounds }: Case): (round: number, shard: number) => ClosedShard | undefined {
  return (round, shard) => {
    const { manifest = '{}', durationsMs = [] } = rounds[round] ?? {}
    const told = durationsMs[shard]
    if (told === undefined || told === null) return undefined
    const { steps } = JSON.parse(manifest).shards[shard]
    const agreed = Object.entries(told).map(([peer, durationMs]) => ({
      peer: peer as PeerId,
      durationMs,
    }))
    return { steps, agreed }
  }
}

describe('vectors of elastic rounds', () => {
  it('give a peer that is four times slower less, as ever', () => {
    const slow = cases.find(({ name }) => name === 'one is four times slower')
    assert.equal(slow?.rounds[1]?.manifest, SLOW)
  })

  for (const each of cases) {
    it(`size the shards where ${each.name}`, () => {
      const plan = planOf(each)
      for (const [round, { executors, missable, manifest }] of each.rounds.entries()) {
        const sizes = roundManifest(plan, round, (shard) => executors[shard] ?? [], closedIn(each))
        assert.equal(Buffer.from(encodeRound(sizes)).toString(), manifest)
        assert.equal(missableShards(plan, round), missable)
      }
    })
  }
})
