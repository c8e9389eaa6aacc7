/**
 * Trains real models on a network of daemons, beside what one process reaches alone, and says
 * whether the promises about it hold: loss, bytes, busy share, memory.
 *
 *   npm run bench -- training [--only lm,classifier,busy,bert-base] [--seeds 3] [--tokens N]
 *     [--epochs 8] [--executors 4] [--json]
 *
 * At equal tokens, from the same first weights, on the same rows, for every seed:
 *
 * - first, for the language model: a quarter of the tokens, other rows, one shard on the network
 *   and so no gradients to exchange; all ways go on from there, as DiLoCo did
 * - alone: a plain loop of one process, with the batch and learning rate that suit it best
 * - synchronous: the same batches as ours, the mean of their gradients every step; one process
 *   computes it, its bytes are 4 a parameter, worker and step
 * - ours: rounds on daemons in containers, two replicas of every task; its bytes are what the
 *   kernel counts on the loopback interface of a network namespace that holds the daemons alone:
 *   every packet of every socket once, with TCP and IP headers, from the submission until the
 *   result is in a folder
 *
 * `busy`: as many executors as cores, half as many shards (each executor trains once a round),
 * rounds of about a minute; seconds in training steps, as the trainers tell them, by peers and wall
 * time. `bert-base`: 110 million parameters, a few steps; the peak resident memory of a daemon.
 *
 * Ends with 1 where a promise is missed. `--tokens` shrinks or grows what the language model sees,
 * `--epochs` what the classifier does.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CtdError } from '../src/errors.js'
import { SECTIONS } from './bench-training-bounds.js'
import type { Section, TrainingBench, TrainingOptions } from './bench-training-bounds.js'
import { classifier, compareWays, languageModel } from './bench-training-compare.js'
import { runBertBase, runBusy } from './bench-training-load.js'
import { setUp } from './setup.js'

const LM_TOKENS = 2_621_440
const BUSY_TOKENS = 2_000_000
/** Two shards, two replicas: fewer train several tasks each, and their updates need not travel. */
const EXECUTORS_MIN = 4

const RUNS: Readonly<Record<Section, (bench: TrainingBench) => Promise<unknown>>> = {
  lm: async (bench) => compareWays(bench, await languageModel(bench)),
  classifier: async (bench) => compareWays(bench, await classifier(bench)),
  busy: runBusy,
  'bert-base': runBertBase,
}

/** @throws CtdError OPTION_INVALID, NO_CONTAINER_ENGINE, NO_NETWORK_NAMESPACE, and what jobs throw */
export async function main(args: string[]): Promise<void> {
  const options = parseOptions(args)
  const say = (text: string): void => {
    console.error(text)
  }
  const startedMs = Date.now()
  const setup = await setUp({ image: true, engine: true, quiet: options.json })
  if (setup.engine !== 'ready') throw new CtdError('NO_CONTAINER_ENGINE', setup.engine.missing)
  const dir = await mkdtemp(join(tmpdir(), 'ctd-train-'))
  setup.onTearDown(() => rm(dir, { recursive: true, force: true }))
  const bench: TrainingBench = { options, dir, setup, say, bounds: [] }
  try {
    const figures: Record<string, unknown> = {}
    for (const section of options.sections) figures[section] = await RUNS[section](bench)
    await setup.tearDown()
    report(bench, figures, (Date.now() - startedMs) / 1000)
  } finally {
    await setup.tearDown()
  }
}

function parseOptions(args: string[]): TrainingOptions {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', default: SECTIONS.join(',') },
      seeds: { type: 'string', default: '3' },
      tokens: { type: 'string', default: String(LM_TOKENS) },
      'busy-tokens': { type: 'string', default: String(BUSY_TOKENS) },
      epochs: { type: 'string', default: '8' },
      executors: { type: 'string', default: '4' },
      json: { type: 'boolean', default: false },
    },
  })
  type Count = 'seeds' | 'tokens' | 'busy-tokens' | 'epochs' | 'executors'
  const count = (name: Count, most: number, least = 1): number => {
    const value = Number(values[name])
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value
    throw new CtdError('OPTION_INVALID', `--${name} is a whole number from ${least} to ${most}`)
  }
  return {
    sections: values.only.split(',').map((wanted) => {
      const section = SECTIONS.find((name) => name === wanted)
      if (section !== undefined) return section
      throw new CtdError('OPTION_INVALID', `--only names no "${wanted}": ${SECTIONS.join(', ')}`)
    }),
    seeds: Array.from({ length: count('seeds', 20) }, (_, i) => `seed-${i + 1}`),
    tokens: count('tokens', 100_000_000),
    busyTokens: count('busy-tokens', 100_000_000),
    epochs: count('epochs', 100),
    executors: count('executors', 16, EXECUTORS_MIN),
    json: values.json,
  }
}

interface Told {
  readonly tokens: number
  readonly loss: Readonly<Record<'unigram' | 'alone' | 'synchronous' | 'ours', number>>
  readonly accuracy: Readonly<Record<'alone' | 'synchronous' | 'ours', number>>
  readonly bytesPerToken: Readonly<Record<'synchronous' | 'ours', number>>
  readonly overheadSecondsPerRound: number
}

function showTable(figures: Readonly<Record<string, unknown>>): void {
  for (const name of ['lm', 'classifier'] as const) {
    const told = figures[name] as Told | undefined
    if (told === undefined) continue
    console.log(`\n${name}, ${told.tokens} tokens, means of all seeds`)
    console.log(`${''.padEnd(14)}${'loss'.padStart(10)}${'accuracy'.padStart(10)}  bytes a token`)
    for (const way of ['unigram', 'alone', 'synchronous', 'ours'] as const) {
      const accuracy = way === 'unigram' ? '' : told.accuracy[way].toFixed(4)
      const bytes = way === 'synchronous' || way === 'ours' ? told.bytesPerToken[way] : 0
      console.log(
        `${way.padEnd(14)}${told.loss[way].toFixed(4).padStart(10)}${accuracy.padStart(10)}  ` +
          bytes.toFixed(2),
      )
    }
    console.log(`overhead of a round: ${told.overheadSecondsPerRound.toFixed(1)} s`)
  }
  const busy = figures['busy'] as Record<string, number> | undefined
  if (busy === undefined) return
  const percent = (key: string): string => `${(100 * (busy[key] ?? 0)).toFixed(1)} %`
  console.log(
    `\nbusy ${percent('busyShare')}, useful ${percent('usefulShare')}, a round ` +
      `${busy['roundSeconds']?.toFixed(1)} s of which ${busy['overheadSecondsPerRound']?.toFixed(1)} s overhead`,
  )
}

function report(
  bench: TrainingBench,
  figures: Readonly<Record<string, unknown>>,
  seconds: number,
): void {
  const { bounds, options } = bench
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? '', load: loadavg()[0] }
  if (options.json) {
    const { seeds, executors } = options
    console.log(JSON.stringify({ machine, seconds, seeds, executors, bounds, ...figures }))
  } else {
    showTable(figures)
    console.log('')
    for (const { name, value, bound, isReached } of bounds) {
      const told = `${name.padEnd(52)} ${value.toFixed(3).padStart(10)}  ${bound.padEnd(8)}`
      console.log(`${told} ${isReached ? 'reached' : 'MISSED'}`)
    }
    console.log(`\n${seconds.toFixed(0)} s on ${machine.cores} cores, load ${machine.load}`)
  }
  if (bounds.some(({ isReached }) => !isReached)) process.exitCode = 1
}
