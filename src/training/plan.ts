/**
 * The plan of a training job: how many rounds of how many steps at which learning rates, and what
 * it will cost. A pure function of the job, so every peer derives the same tasks.
 */
import { CtdError } from '../errors.js'
import type { Algorithm } from './algorithm.js'
import { deltaBytes } from './codec.js'
import type { Compression } from './codec.js'
import type { DataShape } from './families/family.js'
import { adapterParameters, loraOf, type Lora } from './lora.js'
import { modelOf, type ModelConfig } from './model.js'
import type { AdamStep, InnerOptimiser, OuterOptimiser } from './outer.js'
import { modelConfig, presetTraining } from './presets.js'
import { elementCount, type TensorSpec } from './safetensors.js'
import { evalRowCount } from './split.js'

/** Rounds: by default 4, more when a round would have more than 500 steps. */
export interface TrainingSpec extends DataShape, Algorithm {
  /** Where another job's rounds are gone on with. */
  readonly start?: { readonly round: number; readonly feedback: number } | undefined
  readonly model: string
  /** Rows of the dataset, those for evaluation included. */
  readonly rows: number
  readonly epochs: number
  readonly seed: string
  /** Shards, that is tasks side by side; default 2, fewer when the rows are few. */
  readonly shards?: number | undefined
  /** Rows of a shard in one step; default by preset. */
  readonly batchSize?: number | undefined
  /** Peak of the schedule; default by preset. */
  readonly learningRate?: number | undefined
}

export interface RoundPlan {
  /** Batches of the shard's stream that earlier rounds used. */
  readonly startStep: number
  /** One per step. */
  readonly learningRates: readonly number[]
}

/** The part of a shard's stream that a task takes, in steps. */
export interface ShardSize {
  readonly start: number
  readonly steps: number
}

export interface TrainingPlan {
  readonly model: ModelConfig
  readonly seed: string
  readonly shards: number
  readonly evalShards: number
  readonly trainRows: number
  readonly evalRows: number
  readonly batchSize: number
  readonly epochs: number
  readonly totalSteps: number
  readonly rounds: readonly RoundPlan[]
  /** Peak of the schedule. */
  readonly learningRate: number
  readonly inner: InnerOptimiser
  readonly outer: OuterOptimiser
  readonly compression: Compression
  readonly broadcast: 'full' | 'update'
  readonly sync: boolean
  /** Whether the sizes of shards follow from what was measured (`protocol/elastic.ts`). */
  readonly elastic?: true
  /** The first round that runs. */
  readonly startRound: number
  /** Where adapters are trained instead of the model. */
  readonly lora?: Lora
  /** Rounds after which the weights are evaluated, ascending; none where only the end is. */
  readonly evaluated: readonly number[]
}

export const PLAN_LIMITS = {
  epochs: 1000,
  rows: 5_000_000,
  shards: 256,
  batchSize: 1024,
  maxLength: 512,
  rounds: 1000,
} as const

const DEFAULT_SHARDS = 2
/** Rounds of a job, unless its steps are too many or too few for that. */
const ROUNDS = 4
/** Steps of a round at most; more local steps than this let shards drift apart (DiLoCo: 500). */
const MAX_STEPS_PER_ROUND = 500
/** Steps of the longest round by those of the first, where rounds grow. */
const GROWTH_MAX = 16
/**
 * From so many rounds on with momentum, as DiLoCo's 128; with fewer it is too late (FedAvg then).
 * `gpt-tiny` ended worse with it after 6 rounds (1.95 and 1.87 nats) and no better after 10 (1.99).
 */
const ROUNDS_FOR_MOMENTUM = 20
const EVAL_BATCH_SIZE = 64
const EVAL_ACTIVATION_BYTES = 512 * 1024 ** 2
/** Share of all steps over which the learning rate rises. */
const WARM_UP_SHARE = 0.1
/** The optimiser starts every round from zero; its first steps of a round are smaller. */
const ROUND_WARM_UP_STEPS = 3
/** The schedule ends at this share of its peak. */
const FLOOR = 0.02

/**
 * Plans a job.
 *
 * @throws CtdError UNKNOWN_MODEL, BAD_TRAINING_SPEC
 */
export function planTraining(spec: TrainingSpec): TrainingPlan {
  const preset = presetTraining(spec.model)
  const evalRows = evalRowCount(spec.rows)
  const trainRows = spec.rows - evalRows
  const batchSize = spec.batchSize ?? preset.batchSize
  const shards =
    spec.shards ?? Math.max(1, Math.min(DEFAULT_SHARDS, Math.floor(trainRows / batchSize)))
  assertSpec({ ...spec, shards, batchSize }, trainRows)
  const model = modelConfig(spec.model, spec)
  const totalSteps = Math.ceil((trainRows * spec.epochs) / (shards * batchSize))
  const sync = spec.sync ?? false
  if (sync && spec.rounds !== undefined) {
    throw badSpec('rounds of synchronous training are its steps', 'give sync or rounds, not both')
  }
  const compression = spec.compression ?? (sync ? 'none' : 'int8')
  const growth = spec.growth ?? 1
  const enough = Math.max(ROUNDS, roundsWithin(MAX_STEPS_PER_ROUND, totalSteps, growth))
  const roundCount = sync ? totalSteps : Math.min(totalSteps, spec.rounds ?? enough)
  if (roundCount > PLAN_LIMITS.rounds) {
    throw badSpec(`the job would take ${roundCount} rounds`, 'use more shards or fewer epochs')
  }
  const peak = spec.learningRate ?? preset.learningRate
  return {
    model,
    seed: spec.seed,
    shards,
    evalShards: 1,
    trainRows,
    evalRows,
    batchSize,
    epochs: spec.epochs,
    totalSteps,
    rounds: planRounds(roundEnds(totalSteps, roundCount, growth), peak),
    learningRate: peak,
    inner: preset.inner,
    outer: outerOptimiser(roundCount, compression),
    compression,
    broadcast: spec.broadcast ?? 'full',
    sync,
    ...(spec.elastic === true ? { elastic: assertElastic(spec, compression) } : {}),
    startRound: startRound(spec, { roundCount, shards, compression }),
    ...(spec.lora === undefined ? {} : { lora: loraOf(spec.lora, model) }),
    evaluated: evaluatedRounds(spec, roundCount),
  }
}

/** What is fixed by the plan alone cannot follow what was measured. */
function assertElastic(spec: TrainingSpec, compression: Compression): true {
  const hint = 'leave out one of the two'
  if (spec.sync === true) throw badSpec('synchronous training has shards of one step', hint)
  if (compression === 'topk') throw badSpec('feedback of top-k updates wants every shard', hint)
  if ((spec.start?.round ?? 0) > 0) {
    throw badSpec('an elastic job does not go on from the middle of its plan', 'submit it again')
  }
  return true
}

function startRound(
  { start, lora }: TrainingSpec,
  plan: { roundCount: number; shards: number; compression: Compression },
): number {
  const round = start?.round ?? 0
  if (round > 0 && lora !== undefined) {
    throw badSpec('adapters are no state to resume from', 'submit the job again')
  }
  const needed = plan.compression === 'topk' && round > 0 ? plan.shards : 0
  if (round >= plan.roundCount || (start?.feedback ?? 0) !== needed) {
    throw badSpec(`the plan has no state before round ${round}`, 'resume the job it belongs to')
  }
  return round
}

/** Every so many rounds and the last; all where a choice depends on it. */
function evaluatedRounds(
  { evalEvery, patience, keep }: Algorithm,
  rounds: number,
): readonly number[] {
  const isChosen = patience !== undefined || keep === 'best'
  if (evalEvery === undefined && !isChosen) return []
  const distance = evalEvery ?? 1
  return Array.from({ length: rounds }, (_, round) => round).filter(
    (round) => (round + 1) % distance === 0 || round === rounds - 1,
  )
}

/** Error feedback stands in for momentum (SparseLoCo, Sarfi et al. 2025). */
function outerOptimiser(rounds: number, compression: Compression): OuterOptimiser {
  return rounds >= ROUNDS_FOR_MOMENTUM && compression !== 'topk'
    ? { learningRate: 0.7, momentum: 0.9 }
    : { learningRate: 1, momentum: 0 }
}

/** The outer step of a round of synchronous training; undefined where rounds have many steps. */
export function adamStep(plan: TrainingPlan, round: number): AdamStep | undefined {
  if (!plan.sync) return undefined
  const learningRate = plan.rounds[round]?.learningRates[0] ?? 0
  return { ...plan.inner, step: round + 1, learningRate }
}

function assertSpec(
  spec: TrainingSpec & { readonly shards: number; readonly batchSize: number },
  trainRows: number,
): void {
  const bounds: readonly (readonly [string, number, number, number])[] = [
    ['rows', spec.rows, 10, PLAN_LIMITS.rows],
    ['classes', spec.classes ?? 2, 2, 1000],
    ['epochs', spec.epochs, 1, PLAN_LIMITS.epochs],
    ['shards', spec.shards, 1, Math.min(PLAN_LIMITS.shards, trainRows)],
    ['batchSize', spec.batchSize, 1, PLAN_LIMITS.batchSize],
    ['rounds', spec.rounds ?? 1, 1, PLAN_LIMITS.rounds],
    ['maxLength', spec.maxLength ?? 8, 8, PLAN_LIMITS.maxLength],
  ]
  for (const [name, value, least, most] of bounds) {
    if (!Number.isInteger(value) || value < least || value > most) {
      throw badSpec(
        `${name} is ${value}`,
        `${name} must be a whole number from ${least} to ${most}`,
      )
    }
  }
  const rate = spec.learningRate ?? 1e-3
  if (!(rate > 0 && rate <= 1)) throw badSpec(`learningRate is ${rate}`, 'use a rate of at most 1')
}

function badSpec(message: string, hint: string): CtdError {
  return new CtdError('BAD_TRAINING_SPEC', message, { hint })
}

/**
 * How many rounds it takes that none has more steps than that.
 *
 * @param growth - as of the plan; its longest rounds decide
 */
export function roundsWithin(maxSteps: number, totalSteps: number, growth = 1): number {
  let rounds = Math.ceil(totalSteps / maxSteps)
  while (rounds < totalSteps && longestRound(roundEnds(totalSteps, rounds, growth)) > maxSteps) {
    rounds += 1
  }
  return rounds
}

function longestRound(ends: readonly number[]): number {
  return ends.reduce((most, end, round) => Math.max(most, end - (ends[round - 1] ?? 0)), 0)
}

/**
 * Steps before the end of each round, every round of at least one. With a growth the first rounds
 * are short: shards that begin from nothing learn unlike things, and their mean then knows neither
 * (post-local SGD, Lin et al. 2020); where the learning rate is low they stay near each other.
 */
function roundEnds(totalSteps: number, count: number, growth: number): readonly number[] {
  const lengths: number[] = []
  let length = 1
  for (let round = 0; round < count; round++) {
    lengths.push(Math.min(length, GROWTH_MAX))
    length = Math.min(length * growth, GROWTH_MAX)
  }
  const whole = lengths.reduce((sum, steps) => sum + steps, 0)
  let [before, end] = [0, 0]
  return lengths.map((steps, round) => {
    before += steps
    const left = count - round - 1
    const wanted = Math.floor((totalSteps * before) / whole)
    end = left === 0 ? totalSteps : Math.min(Math.max(wanted, end + 1), totalSteps - left)
    return end
  })
}

function planRounds(ends: readonly number[], peak: number): readonly RoundPlan[] {
  const schedule = learningRateSchedule(ends.at(-1) ?? 0, peak)
  return ends.map((endStep, round) => {
    const startStep = ends[round - 1] ?? 0
    const learningRates = schedule
      .slice(startStep, endStep)
      .map((rate, step) => rewarm(rate, step, endStep - startStep))
    return { startStep, learningRates }
  })
}

function rewarm(rate: number, step: number, steps: number): number {
  if (steps < 10 * ROUND_WARM_UP_STEPS || step >= ROUND_WARM_UP_STEPS) return rate
  return roundRate((rate * (step + 1)) / (ROUND_WARM_UP_STEPS + 1))
}

/**
 * The learning rate of every step: a linear rise over a tenth of the steps, then half a cosine
 * down to 2 % of the peak. Rounded to nine decimals, so that it is short in JSON.
 */
export function learningRateSchedule(totalSteps: number, peak: number): readonly number[] {
  const rising = Math.max(1, Math.floor(totalSteps * WARM_UP_SHARE))
  return Array.from({ length: totalSteps }, (_, step) => {
    if (step < rising) return roundRate((peak * (step + 1)) / rising)
    const done = (step - rising) / Math.max(1, totalSteps - rising)
    return roundRate(peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + cosineOfPi(done))))
  })
}

function roundRate(rate: number): number {
  return Math.round(rate * 1e9) / 1e9
}

/**
 * cos(pi t) for t in [0, 1] by its Taylor series, to 1e-13: engines may differ in the last bit of
 * `Math.cos`, but not in sums and products.
 */
export function cosineOfPi(t: number): number {
  if (t > 0.5) return -cosineOfPi(1 - t)
  const squared = (Math.PI * t) ** 2
  let term = 1
  let sum = 1
  for (let k = 1; k <= 9; k++) {
    term *= -squared / ((2 * k - 1) * (2 * k))
    sum += term
  }
  return sum
}

/** `task.json` of a local training task. */
export function trainTask(
  plan: TrainingPlan,
  slot: { readonly round: number; readonly shard: number },
  size?: ShardSize,
) {
  const planned = plan.rounds[slot.round]
  const round = size === undefined ? planned : planned && resized(planned, size)
  if (round === undefined || slot.shard >= plan.shards) {
    throw new CtdError('BAD_SLOT', `the plan has no round ${slot.round}, shard ${slot.shard}`)
  }
  return {
    kind: 'train',
    version: 1,
    model: plan.model,
    steps: round.learningRates.length,
    startStep: round.startStep,
    batchSize: plan.batchSize,
    learningRates: round.learningRates,
    seed: `${plan.seed}/${slot.shard}`,
    optimizer: plan.inner,
    ...(plan.compression === 'int8' ? {} : { compression: plan.compression }),
    ...(plan.sync ? { gradient: true } : {}),
    ...(plan.lora === undefined ? {} : { lora: plan.lora }),
  } as const
}

/** As many steps as told, along the round's part of the schedule. */
function resized({ learningRates }: RoundPlan, { start, steps }: ShardSize): RoundPlan {
  const rates = Array.from({ length: steps }, (_, step) => {
    return learningRates[Math.floor((step * learningRates.length) / steps)] ?? 0
  })
  return { startStep: start, learningRates: rates }
}

/** `task.json` of an evaluation task. */
export function evalTask(plan: TrainingPlan) {
  const lora = plan.lora === undefined ? {} : { lora: plan.lora }
  const batchSize = evalBatchSize(plan)
  return { kind: 'eval', version: 1, model: plan.model, batchSize, ...lora } as const
}

/** Rows evaluated at a time: 64, fewer where they are large. */
function evalBatchSize({ model, batchSize }: TrainingPlan): number {
  const fitting = Math.floor(EVAL_ACTIVATION_BYTES / modelOf(model).activationBytesPerRow)
  return Math.max(batchSize, Math.min(EVAL_BATCH_SIZE, fitting))
}

/** `task.json` of the plain loop that the rounds are measured against. */
export function referenceTask(plan: TrainingPlan) {
  return {
    kind: 'reference',
    version: 1,
    model: plan.model,
    steps: plan.totalSteps,
    batchSize: plan.batchSize * plan.shards,
    learningRates: learningRateSchedule(plan.totalSteps, plan.learningRate),
    seed: `${plan.seed}/reference`,
    optimizer: plan.inner,
  } as const
}

/**
 * `task.json` of what synchronous data-parallel workers compute, in one process: every step takes
 * the mean gradient of all shards' next batches, which are those of the rounds.
 */
export function synchronousTask(plan: TrainingPlan) {
  const { batchSize, seed } = plan
  return { ...referenceTask(plan), batchSize, seed, synchronous: true } as const
}

export interface TrainingCost {
  readonly parameters: number
  /** Those that are trained: adapters, or all. */
  readonly trained: number
  /** Rows that pass forward and backward, all shards and epochs, one replica. */
  readonly samples: number
  /** Floating point operations of one replica of all training tasks. */
  readonly flops: number
  /** Seconds of one core for one replica of the longest training task, its start not included. */
  readonly taskSeconds: number
  /** Core-seconds of all training tasks and all their replicas. */
  readonly coreSeconds: number
  /** Bytes that the rows of a batch take while a task works on them, weights not included. */
  readonly activationBytes: number
  /** Bytes of one replica of one update. */
  readonly updateBytes: number
}

/**
 * What a plan costs, before anything ran.
 *
 * @param rowTokens - of the longest row, to which a batch is padded; the model's longest when unknown
 * @param gflops - what one core sustains in this model's matrix products, in 1e9 operations a second
 */
export function estimateCost(
  plan: TrainingPlan,
  { gflops, replicas, rowTokens }: { gflops: number; replicas: number; rowTokens?: number },
): TrainingCost {
  const model = modelOf(plan.model)
  const parameters = countOf(model.parameters)
  const trained =
    plan.lora === undefined ? parameters : countOf(adapterParameters(plan.model, plan.lora))
  const samples = plan.totalSteps * plan.batchSize * plan.shards
  const flops = samples * model.flopsPerRow(rowTokens)
  const seconds = flops / (gflops * 1e9)
  return {
    parameters,
    trained,
    samples,
    flops,
    taskSeconds: (seconds * longestShare(plan)) / plan.shards,
    coreSeconds: seconds * replicas,
    // An evaluation keeps one layer at a time: at most half as much of a row as a backward pass.
    activationBytes:
      Math.max(plan.batchSize, evalBatchSize(plan) / 2) * model.activationBytesPerRow,
    updateBytes: deltaBytes(trained, plan.compression),
  }
}

/** Of all steps, those of the longest round. */
function longestShare({ rounds, totalSteps }: TrainingPlan): number {
  return (
    rounds.reduce((most, { learningRates }) => Math.max(most, learningRates.length), 0) / totalSteps
  )
}

function countOf(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, spec) => sum + elementCount(spec.shape), 0)
}
