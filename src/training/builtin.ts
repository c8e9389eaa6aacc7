/**
 * Tasks that a daemon runs itself, in a worker: `split@1`, `init@1`, `import@1`, `continue@1`, `aggregate@2`,
 * `apply-update@1` and `reduce-eval@1`. Each reads named files and writes files; same inputs, same bytes.
 */
import { copyFile, mkdir, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { CtdError } from '../errors.js'
import { aggregate } from './aggregate.js'
import { applyUpdate } from './broadcast.js'
import { canonicalJson } from './canonical-json.js'
import { COMPRESSIONS } from './codec.js'
import { continueFrom } from './continue.js'
import { DATA_FORMATS } from './data/source.js'
import { DATA_SHAPE_FIELDS } from './data-shape.js'
import { GivenModelSchema } from './given-model.js'
import { importWeights, namedFiles, WEIGHTS_FILES } from './import.js'
import { initialise } from './initialise.js'
import { parameterSpecs } from './model.js'
import { initialiseAdapters, LoraSchema, loraOf, mergeAdapters } from './lora.js'
import { joinRows, MAP_LIMITS, MAP_OUTPUTS, splitRows } from './map.js'
import { PLAN_LIMITS } from './plan.js'
import { modelConfig } from './presets.js'
import { splitDataset } from './split.js'
import { readTokenizer, TOKENIZER_FILES } from './tokenizers/files.js'
import type { Tokenizer } from './tokenizers/tokenizer.js'

export interface BuiltinInput {
  /** As the task's manifest names it, for example `weights.safetensors`. */
  readonly name: string
  readonly path: string
}

export const BUILTIN_NAMES = [
  'split@1',
  'init@1',
  'import@1',
  'continue@1',
  'adapters@1',
  'merge@1',
  'split-rows@1',
  'join@1',
  'aggregate@2',
  'apply-update@1',
  'reduce-eval@1',
] as const

const METRICS_LIMIT_BYTES = 16 * 1024 * 1024

const count = (most: number) => z.int().min(1).max(most)
const seed = z.string().min(1).max(200)
const maxLength = z.int().min(8).max(PLAN_LIMITS.maxLength)

/** Inputs: the folder `tokenizer` or none, and the dataset, whatever its name. */
export const SplitParamsSchema = z.strictObject({
  shards: count(PLAN_LIMITS.shards),
  evalShards: count(PLAN_LIMITS.shards).default(1),
  maxLength,
  seed,
  format: z.enum(DATA_FORMATS).optional(),
  textColumn: z.string().max(1000).optional(),
  labelColumn: z.string().max(1000).optional(),
  featureColumns: z.array(z.string().max(1000)).min(1).max(1000).optional(),
  /** With it the output holds the `config.json` that Hugging Face's loaders ask for. */
  model: z.string().max(100).optional(),
})

/** No inputs. */
export const InitParamsSchema = z.strictObject({
  model: z.string().max(100),
  ...DATA_SHAPE_FIELDS,
  maxLength,
  seed,
})

/**
 * The first adapters of a model, and the model with adapters worked in. Inputs:
 * `frozen.safetensors`, for `merge@1` also `adapters.safetensors`.
 */
export const AdapterParamsSchema = z.strictObject({ ...InitParamsSchema.shape, lora: LoraSchema })

/**
 * Inputs: `weights.safetensors`, `momentum.safetensors`, with `broadcast: 'update'` also
 * `residual.safetensors` but in the first round; per shard `delta-NNN.safetensors`,
 * `metrics-NNN.json`.
 */
export const AggregateParamsSchema = z.strictObject({
  shards: count(PLAN_LIMITS.shards),
  learningRate: z.number().positive().max(10),
  momentum: z.number().min(0).max(0.999),
  compression: z.enum(COMPRESSIONS).default('int8'),
  broadcast: z.enum(['full', 'update']).default('full'),
  /** Shards whose files are no inputs are left out. */
  elastic: z.literal(true).optional(),
  /** In place of the learning rate and momentum: the updates are gradients. */
  adam: z
    .strictObject({
      step: count(PLAN_LIMITS.rounds),
      learningRate: z.number().min(0).max(1),
      beta1: z.number().min(0).max(0.9999),
      beta2: z.number().min(0).max(0.99999),
      epsilon: z.number().positive().max(1),
      weightDecay: z.number().min(0).max(1),
      clipNorm: z.number().positive(),
    })
    .optional(),
})

const MAP_PARAMS = {
  verb: z.enum(['embed', 'generate']),
  rows: count(MAP_LIMITS.rows),
  shards: count(MAP_LIMITS.shards),
}

/** Inputs: `dataset`, and files of a tokenizer where rows are no bytes. */
export const SplitRowsParamsSchema = z.strictObject({
  ...MAP_PARAMS,
  model: GivenModelSchema,
  format: z.enum(DATA_FORMATS),
  textColumn: z.string().max(1000).optional(),
  maxTokens: z.int().min(0).max(8192),
})

/** Inputs: `out-NNN.safetensors` of every shard, and the files of the tokenizer. */
export const JoinParamsSchema = z.strictObject({
  ...MAP_PARAMS,
  output: z.enum(MAP_OUTPUTS),
  width: count(16_384),
})

/** Inputs: `base.safetensors` and `update.safetensors`. */
export const ApplyUpdateParamsSchema = z.strictObject({})

/** Inputs: `metrics-NNN.json` of every evaluation shard. */
export const ReduceEvalParamsSchema = z.strictObject({ shards: count(PLAN_LIMITS.shards) })

const TrainMetricsSchema = z.object({
  tokens: z.int().positive(),
  steps: z.int().positive().optional(),
  lossStart: z.number(),
  lossEnd: z.number(),
})

const EvalMetricsSchema = z.object({
  n: z.int().positive(),
  correct: z.int().min(0),
  nllFixed: z.int().min(0),
  confusion: z.array(z.array(z.int().min(0))).max(1000),
})

/**
 * Runs a built-in task.
 *
 * @param name - `split@1` and so on, without the prefix `builtin:`
 * @param params - checked against the task's schema; unknown keys are refused
 * @param outDir - created when missing; must be empty
 * @throws CtdError UNKNOWN_BUILTIN, BAD_PARAMS, INPUT_MISSING, and what the task itself throws
 */
export async function runBuiltin(
  name: string,
  params: unknown,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  await mkdir(outDir, { recursive: true })
  switch (name) {
    case 'split@1':
      return runSplit(parse(SplitParamsSchema, params, name), inputs, outDir)
    case 'init@1':
      return runInit(parse(InitParamsSchema, params, name), outDir)
    case 'import@1':
      return runImport(parse(InitParamsSchema, params, name), inputs, outDir)
    case 'continue@1':
      return runContinue(parse(InitParamsSchema, params, name), inputs, outDir)
    case 'adapters@1':
      return runAdapters(parse(AdapterParamsSchema, params, name), inputs, outDir)
    case 'merge@1':
      return runMerge(parse(AdapterParamsSchema, params, name), inputs, outDir)
    case 'split-rows@1':
      return runSplitRows(parse(SplitRowsParamsSchema, params, name), inputs, outDir)
    case 'join@1':
      return runJoin(parse(JoinParamsSchema, params, name), inputs, outDir)
    case 'aggregate@2':
      return runAggregate(parse(AggregateParamsSchema, params, name), inputs, outDir)
    case 'apply-update@1':
      parse(ApplyUpdateParamsSchema, params, name)
      return applyUpdate(
        {
          basePath: inputPath(inputs, 'base.safetensors'),
          updatePath: inputPath(inputs, 'update.safetensors'),
        },
        outDir,
      )
    case 'reduce-eval@1':
      return runReduceEval(parse(ReduceEvalParamsSchema, params, name), inputs, outDir)
    default:
      throw new CtdError('UNKNOWN_BUILTIN', `there is no built-in task "${name.slice(0, 60)}"`, {
        hint: `known: ${BUILTIN_NAMES.join(', ')}`,
      })
  }
}

async function runSplit(
  params: z.infer<typeof SplitParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  const [dataset, second] = inputs.filter(({ name }) => name !== 'tokenizer')
  if (dataset === undefined || second !== undefined) {
    throw new CtdError('INPUT_MISSING', 'split@1 takes a dataset, and a tokenizer or none')
  }
  const tokenizerDir = inputs.find(({ name }) => name === 'tokenizer')?.path
  const paths =
    tokenizerDir === undefined ? undefined : await namedFiles(tokenizerDir, TOKENIZER_FILES)
  const tokenizer = paths === undefined ? undefined : await readTokenizer(paths)
  const source = { files: dataset.path, spoolPath: `${outDir}.spool`, tokenizer }
  await splitDataset(source, params, outDir)
  // The result is a folder that loads as it is.
  for (const [name, path] of paths ?? []) await copyFile(path, join(outDir, name))
}

/** Input: the folder `weights`. */
async function runImport(
  params: z.infer<typeof InitParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  const files = await namedFiles(inputPath(inputs, 'weights'), WEIGHTS_FILES)
  await importWeights(modelConfig(params.model, params), files, { seed: params.seed, outDir })
}

async function runInit(params: z.infer<typeof InitParamsSchema>, outDir: string): Promise<void> {
  await initialise(modelConfig(params.model, params), params.seed, outDir)
}

/** Takes the parameters of `init@1`; inputs: `weights`, where there are any `momentum`, `residual`. */
async function runContinue(
  params: z.infer<typeof InitParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  const specs = parameterSpecs(modelConfig(params.model, params))
  const optional = (name: string): string | undefined =>
    inputs.find((input) => input.name === name)?.path
  const state = {
    weightsPath: inputPath(inputs, 'weights.safetensors'),
    momentumPath: optional('momentum.safetensors'),
    residualPath: optional('residual.safetensors'),
  }
  await continueFrom(specs, state, outDir)
}

async function runAdapters(
  params: z.infer<typeof AdapterParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  const config = modelConfig(params.model, params)
  const adapters = { config, lora: loraOf(params.lora, config), seed: params.seed }
  await initialiseAdapters(adapters, inputPath(inputs, 'frozen.safetensors'), outDir)
}

async function runMerge(
  params: z.infer<typeof AdapterParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  const config = modelConfig(params.model, params)
  const paths = {
    frozen: inputPath(inputs, 'frozen.safetensors'),
    adapters: inputPath(inputs, 'adapters.safetensors'),
  }
  await mergeAdapters({ config, lora: loraOf(params.lora, config) }, paths, outDir)
}

async function runSplitRows(
  params: z.infer<typeof SplitRowsParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  const source = { files: inputPath(inputs, 'dataset'), spoolPath: `${outDir}.spool` }
  await splitRows(source, params, await readGivenTokenizer(inputs), outDir)
}

async function runJoin(
  params: z.infer<typeof JoinParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  const paths = Array.from({ length: params.shards }, (_, shard) =>
    inputPath(inputs, numbered('out', shard, 'safetensors')),
  )
  await joinRows(params, paths, await readGivenTokenizer(inputs), outDir)
}

/** Undefined where the inputs hold none: bytes are the tokens then. */
async function readGivenTokenizer(inputs: readonly BuiltinInput[]): Promise<Tokenizer | undefined> {
  const given = inputs.filter(({ name }) => TOKENIZER_FILES.some((file) => file === name))
  if (given.length === 0) return undefined
  return await readTokenizer(new Map(given.map(({ name, path }) => [name, path])))
}

async function runAggregate(
  params: z.infer<typeof AggregateParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  const { shards, learningRate, momentum, elastic, ...rest } = params
  const updates = []
  const missed: number[] = []
  for (let shard = 0; shard < shards; shard++) {
    const name = numbered('delta', shard, 'safetensors')
    if (elastic === true && !inputs.some((input) => input.name === name)) {
      missed.push(shard)
      continue
    }
    const deltaPath = inputPath(inputs, name)
    const { steps, ...metrics } = await readMetrics(inputs, shard, TrainMetricsSchema)
    const walked = elastic === true && steps !== undefined ? { steps } : {}
    updates.push({ shard, deltaPath, ...metrics, ...walked })
  }
  const weightsPath = inputPath(inputs, 'weights.safetensors')
  const momentumPath = inputPath(inputs, 'momentum.safetensors')
  const residualPath = inputs.find(({ name }) => name === 'residual.safetensors')?.path
  const outer = { learningRate, momentum }
  const state = { weightsPath, momentumPath, residualPath }
  await aggregate({ ...state, updates, missed, outer, ...rest }, outDir)
}

/** Adds up the counts of all evaluation shards; writes `metrics.json`. */
async function runReduceEval(
  { shards }: z.infer<typeof ReduceEvalParamsSchema>,
  inputs: readonly BuiltinInput[],
  outDir: string,
): Promise<void> {
  let [n, correct, nllFixed] = [0, 0, 0]
  const confusion: number[][] = []
  for (let shard = 0; shard < shards; shard++) {
    const metrics = await readMetrics(inputs, shard, EvalMetricsSchema)
    n += metrics.n
    correct += metrics.correct
    nllFixed += metrics.nllFixed
    for (const [i, row] of metrics.confusion.entries()) {
      confusion[i] = row.map((value, j) => value + (confusion[i]?.[j] ?? 0))
    }
  }
  const summary = {
    accuracy: correct / n,
    confusion,
    correct,
    loss: nllFixed / 2 ** 20 / n,
    n,
    nllFixed,
  }
  await writeFile(join(outDir, 'metrics.json'), canonicalJson(summary), { flag: 'wx' })
}

function parse<T>(schema: z.ZodType<T>, params: unknown, name: string): T {
  const result = schema.safeParse(params)
  if (result.success) return result.data
  throw new CtdError('BAD_PARAMS', `${name}: ${z.prettifyError(result.error)}`)
}

function numbered(prefix: string, index: number, extension: string): string {
  return `${prefix}-${String(index).padStart(3, '0')}.${extension}`
}

function inputPath(inputs: readonly BuiltinInput[], name: string): string {
  const input = inputs.find((candidate) => candidate.name === name)
  if (input === undefined) throw new CtdError('INPUT_MISSING', `the task lacks its input ${name}`)
  return input.path
}

async function readMetrics<T>(
  inputs: readonly BuiltinInput[],
  shard: number,
  schema: z.ZodType<T>,
): Promise<T> {
  const name = numbered('metrics', shard, 'json')
  const bytes = await readBounded(inputPath(inputs, name), METRICS_LIMIT_BYTES)
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    throw new CtdError('METRICS_MALFORMED', `${name} is no JSON`, { cause })
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new CtdError('METRICS_MALFORMED', `${name}: ${z.prettifyError(result.error)}`)
}

async function readBounded(path: string, limitBytes: number): Promise<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    if (size > limitBytes) {
      throw new CtdError(
        'INPUT_TOO_LARGE',
        `an input has ${size} bytes, at most ${limitBytes} are read`,
      )
    }
    return await readFile(file)
  } finally {
    await file.close()
  }
}
