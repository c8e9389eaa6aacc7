/**
 * Writes `test/vectors/elastic.json`: round manifests of elastic jobs, each from the rounds before.
 *
 *   node --import tsx scripts/vectors-elastic.ts
 */
import { writeFileSync } from 'node:fs'
import { missableShards, roundManifest } from '../src/protocol/elastic.js'
import type { ClosedShard, RoundedPlan } from '../src/protocol/elastic.js'
import { encodeRound } from '../src/training/round-manifest.js'
import type { PeerId } from '../src/wire/ids.js'

/** What one round was given, and what came of it. */
interface Round {
  /** By shard, as the election seated them. */
  readonly executors: readonly (readonly string[])[]
  readonly missable: number
  readonly manifest: string
  /** By shard what its agreeing executors revealed; null where the round closed without it. */
  readonly durationsMs: readonly (Readonly<Record<string, number>> | null)[]
}

interface Case {
  readonly name: string
  /** Steps of each round in the plan of equal shares. */
  readonly steps: readonly number[]
  readonly shards: number
  readonly rounds: readonly Round[]
}

function planOf(shards: number, steps: readonly number[]): RoundedPlan {
  let startStep = 0
  const rounds = steps.map((count) => {
    const round = { startStep, learningRates: Array.from({ length: count }, () => 0) }
    startStep += count
    return round
  })
  return { shards, totalSteps: startStep, rounds }
}

function play(
  name: string,
  { shards, steps }: Pick<Case, 'shards' | 'steps'>,
  peersOf: (round: number, shard: number) => readonly string[],
  durationMs: (peer: string, steps: number) => number,
  isMissed: (round: number, shard: number) => boolean = () => false,
): Case {
  const plan = planOf(shards, steps)
  const closed = new Map<string, ClosedShard>()
  const rounds = steps.map((_, round): Round => {
    const executors = Array.from({ length: shards }, (__, shard) => peersOf(round, shard))
    const manifest = roundManifest(
      plan,
      round,
      (shard) => (executors[shard] ?? []) as readonly PeerId[],
      (at, shard) => closed.get(`${at}/${shard}`),
    )
    const durationsMs = manifest.shards.map((size, shard) => {
      if (isMissed(round, shard)) return null
      const told = (executors[shard] ?? []).map(
        (peer) => [peer, durationMs(peer, size.steps)] as const,
      )
      const agreed = told.map(([peer, ms]) => ({ peer: peer as PeerId, durationMs: ms }))
      closed.set(`${round}/${shard}`, { steps: size.steps, agreed })
      return Object.fromEntries(told)
    })
    const text = new TextDecoder().decode(encodeRound(manifest))
    return { executors, missable: missableShards(plan, round), manifest: text, durationsMs }
  })
  return { name, shards, steps, rounds }
}

const FOUR = { shards: 4, steps: [22, 23, 22, 23] }
const pair = (_: number, shard: number): readonly string[] => [`a${shard}`, `b${shard}`]
const turning = (round: number, shard: number): readonly string[] =>
  [0, 1].map((seat) => `p${(2 * shard + seat + 3 * round) % 8}`)

const cases: readonly Case[] = [
  play('all are equally fast', FOUR, pair, (_, steps) => 1000 * steps),
  play(
    'one is four times slower',
    FOUR,
    pair,
    (peer, steps) => (peer === 'b1' ? 4000 : 1000) * steps,
  ),
  play(
    'a shard is missed',
    FOUR,
    pair,
    (_, steps) => 1000 * steps,
    (round, shard) => round === 1 && shard === 2,
  ),
  play('durations of 0 and beyond a week', FOUR, turning, (peer) =>
    peer === 'p0' ? 0 : peer === 'p1' ? Number.MAX_SAFE_INTEGER : 1_000_000,
  ),
  play(
    'rounds of unlike length, peers that change their shards, containers that take their time',
    { shards: 5, steps: [7, 19, 3, 31, 11, 1] },
    turning,
    (peer, steps) => 5000 + steps * 100 * (1 + Number(peer.slice(1))),
    (round, shard) => (round + shard) % 5 === 2,
  ),
  play(
    'a slot without executors',
    FOUR,
    (_, shard) => (shard === 3 ? [] : pair(0, shard)),
    () => 1000,
  ),
]

const path = new URL('../test/vectors/elastic.json', import.meta.url)
writeFileSync(path, `${JSON.stringify({ cases }, undefined, 1)}\n`)
