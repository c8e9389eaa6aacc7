/** Flags of `ctd train` that choose the algorithm. */
import type { Command } from 'commander'
import type { Algorithm } from '../training/algorithm.js'
import { parseWhole, usage } from './units.js'

export interface AlgorithmFlags {
  readonly rounds?: string
  readonly growth?: string
  readonly compression?: string
  readonly broadcast?: string
  readonly sync?: boolean
  readonly elastic?: boolean
  readonly evalEvery?: string
  readonly patience?: string
  readonly keep?: string
  readonly loraRank?: string
  readonly loraAlpha?: string
  readonly loraTargets?: string
  readonly loraMerge?: boolean
}

const ROUNDS_MAX = 1000

export function addAlgorithmOptions(command: Command): Command {
  return command
    .option('--rounds <n>', 'how often the shards are averaged')
    .option(
      '--growth <x>',
      'a round has x times the steps of the one before, at most 16 times the first',
    )
    .option('--compression <how>', 'of the updates: int8, int4, topk or none')
    .option('--broadcast <what>', 'full weights after a round, or an int8 update')
    .option('--sync', 'average after every step, as one large batch')
    .option('--elastic', 'size shards by measured speed, close rounds without the last stragglers')
    .option('--eval-every <n>', 'evaluate after every n rounds')
    .option('--patience <n>', 'stop after n evaluations that brought nothing better')
    .option('--keep <which>', 'weights of the best or the last evaluated round')
    .option('--lora-rank <n>', 'train adapters of this rank; the given weights stay as they are')
    .option('--lora-alpha <x>', 'the adapters count alpha / rank times (default: twice the rank)')
    .option('--lora-targets <which>', 'matrices of the attention, or all of a layer')
    .option('--lora-merge', 'the result also holds the weights with the adapters worked in')
}

/** @throws CtdError USAGE */
export function algorithmRequest(flags: AlgorithmFlags): Algorithm {
  const { rounds, growth, compression, broadcast, evalEvery, patience, keep } = flags
  return {
    ...(rounds === undefined ? {} : { rounds: parseWhole(rounds, 1, ROUNDS_MAX) }),
    ...(growth === undefined ? {} : { growth: parseGrowth(growth) }),
    ...(compression === undefined
      ? {}
      : { compression: oneOf('--compression', compression, ['none', 'int8', 'int4', 'topk']) }),
    ...(broadcast === undefined
      ? {}
      : { broadcast: oneOf('--broadcast', broadcast, ['full', 'update']) }),
    ...(flags.sync === true ? { sync: true } : {}),
    ...(flags.elastic === true ? { elastic: true } : {}),
    ...(evalEvery === undefined ? {} : { evalEvery: parseWhole(evalEvery, 1, ROUNDS_MAX) }),
    ...(patience === undefined ? {} : { patience: parseWhole(patience, 1, ROUNDS_MAX) }),
    ...(keep === undefined ? {} : { keep: oneOf('--keep', keep, ['best', 'last']) }),
    ...loraRequest(flags),
  }
}

function loraRequest(flags: AlgorithmFlags): Pick<Algorithm, 'lora'> {
  const { loraRank, loraAlpha, loraTargets, loraMerge } = flags
  if (loraRank === undefined) {
    const isLost = loraAlpha !== undefined || loraTargets !== undefined || loraMerge === true
    if (!isLost) return {}
    throw usage('there are no adapters without a rank', 'add --lora-rank 8')
  }
  const targets =
    loraTargets === undefined
      ? {}
      : { targets: oneOf('--lora-targets', loraTargets, ['attention', 'all']) }
  return {
    lora: {
      rank: parseWhole(loraRank, 1, 256),
      ...(loraAlpha === undefined ? {} : { alpha: parseAlpha(loraAlpha) }),
      ...targets,
      ...(loraMerge === true ? { merge: true } : {}),
    },
  }
}

function parseGrowth(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN
  if (value >= 1 && value <= 16) return value
  throw usage(`--growth ${text} is no number from 1 to 16`)
}

function parseAlpha(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN
  if (value > 0 && value <= 4096) return value
  throw usage(`--lora-alpha ${text} is no number above 0 and at most 4096`)
}

function oneOf<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text)
  if (found !== undefined) return found
  throw usage(`${flag} ${text} is not known`, `one of ${choices.join(', ')}`)
}
