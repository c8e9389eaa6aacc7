/**
 * The end of a round: many shards' updates become the next weights.
 *
 * `D = sum over shards of (tokens_s / tokens) * update_s`, shards in the order of their number,
 * those that the guards leave out apart; then the outer step (`outer.ts`). Accumulation in double
 * precision, one rounding to fp32 on store; only + - * / and sqrt, so the result has the same bits
 * on every machine. Memory holds one chunk of one tensor, not the model.
 *
 * With `broadcast: 'update'` the next weights are by definition the old ones plus an int8 update,
 * which is written too, and what its rounding lost is kept for the next round.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError, errorCode } from '../errors.js'
import { stepBroadcast } from './broadcast.js'
import { canonicalJson } from './canonical-json.js'
import { deltaTensors, readDelta } from './codec.js'
import type { Chunk, Compression } from './codec.js'
import { describeLeftOut, leftOut } from './guards.js'
import type { LeftOut } from './guards.js'
import { applyAdamStep, applyOuterStep } from './outer.js'
import type { AdamStep, OuterOptimiser } from './outer.js'
import { QUANTISATION_BLOCK } from './quantise.js'
import { elementCount, SafetensorsReader, SafetensorsWriter } from './safetensors.js'
import type { TensorSpec } from './safetensors.js'

/** What one shard brings to a round. */
export interface ShardUpdate {
  /** Its number, where that is another than its place. */
  readonly shard?: number
  /** Where shards differ in them: a longer way makes a longer update. */
  readonly steps?: number
  /** `delta.safetensors` of the shard's task. */
  readonly deltaPath: string
  /** Weighs the update; a positive integer. */
  readonly tokens: number
  readonly lossStart: number
  readonly lossEnd: number
}

export interface AggregateInput {
  readonly weightsPath: string
  readonly momentumPath: string
  /** What earlier broadcasts lost by rounding; undefined for nothing. */
  readonly residualPath?: string | undefined
  /** In the order of the shards' numbers. */
  readonly updates: readonly ShardUpdate[]
  /** Shards that an elastic round closed without. */
  readonly missed?: readonly number[]
  readonly outer: OuterOptimiser
  /** In place of `outer`: the updates are gradients. */
  readonly adam?: AdamStep | undefined
  readonly compression: Compression
  readonly broadcast: 'full' | 'update'
}

/** Elements worked on at a time; whole quantisation blocks. */
export const CHUNK = 1024 * QUANTISATION_BLOCK
/** The second moment of AdamW stands beside the first. */
const SECOND_SUFFIX = '::second'

/**
 * Writes the next `weights.safetensors` and `momentum.safetensors`, where asked for
 * `update.safetensors` and `residual.safetensors`, and `round.json` for people.
 *
 * @throws CtdError TRAINING_DIVERGED when no shard counts; TENSOR_MISSING, TENSOR_UNEXPECTED,
 *   TENSORS_MALFORMED, UPDATE_MALFORMED
 */
export async function aggregate(input: AggregateInput, outDir: string): Promise<void> {
  const opened: SafetensorsReader[] = []
  const openTensors = async (path: string): Promise<SafetensorsReader> => {
    const reader = await SafetensorsReader.open(path)
    opened.push(reader)
    return reader
  }
  let left: readonly LeftOut[]
  try {
    const weights = await openTensors(input.weightsPath)
    const momentum = await openTensors(input.momentumPath)
    const { residualPath } = input
    const residual = residualPath === undefined ? undefined : await openTensors(residualPath)
    const deltas: SafetensorsReader[] = []
    for (const update of input.updates) deltas.push(await openTensors(update.deltaPath))
    const specs = [...weights.tensors.values()].map(({ name, dtype, shape }) => ({
      name,
      dtype,
      shape,
    }))
    for (const delta of deltas) assertDelta(delta, specs, input.compression)
    left = await judge(deltas, specs, input)
    const counted = weigh(deltas, input.updates, left)
    await writeNext({ specs, weights, momentum, residual, counted }, input, outDir)
  } finally {
    for (const reader of opened) await reader.close()
  }
  const described = canonicalJson(describeRound(input, left))
  await writeFile(join(outDir, 'round.json'), described, { flag: 'wx' })
}

function assertDelta(
  delta: SafetensorsReader,
  specs: readonly TensorSpec[],
  compression: Compression,
): void {
  const expected = specs.reduce((sum, spec) => sum + deltaTensors(spec, compression).length, 0)
  if (delta.tensors.size === expected) return
  throw new CtdError('TENSOR_UNEXPECTED', `${delta.path} holds tensors that the model lacks`)
}

/** Every part of every tensor, in the order of the file. */
function* chunksOf(specs: readonly TensorSpec[]): Generator<Chunk & { readonly spec: TensorSpec }> {
  for (const spec of specs) {
    const elements = elementCount(spec.shape)
    for (let start = 0; start < elements; start += CHUNK) {
      yield { spec, name: spec.name, elements, start, count: Math.min(CHUNK, elements - start) }
    }
  }
}

/** @throws CtdError TRAINING_DIVERGED */
async function judge(
  deltas: readonly SafetensorsReader[],
  specs: readonly TensorSpec[],
  { updates, compression }: AggregateInput,
): Promise<readonly LeftOut[]> {
  const reports = []
  for (const [shard, { lossStart, lossEnd, steps = 1 }] of updates.entries()) {
    const delta = deltas[shard]
    const length = delta && (await normOf(delta, specs, compression))
    // Between a straight way and a random walk.
    const norm = length === undefined ? undefined : length / Math.sqrt(steps)
    reports.push({ lossStart, lossEnd, norm })
  }
  const left = leftOut(reports)
  if (left.length < updates.length) return left
  throw new CtdError('TRAINING_DIVERGED', `no update can be used: ${describeLeftOut(left)}`, {
    hint: 'lower the learning rate, or look at the data',
  })
}

/** The L2 norm of an update; undefined when it holds numbers that are not finite. */
async function normOf(
  delta: SafetensorsReader,
  specs: readonly TensorSpec[],
  compression: Compression,
): Promise<number | undefined> {
  let squares = 0
  for (const chunk of chunksOf(specs)) {
    try {
      squares += sumOfSquares(await readDelta(delta, chunk, compression))
    } catch (error) {
      if (errorCode(error) === 'UPDATE_NOT_FINITE') return undefined
      throw error
    }
  }
  return Number.isFinite(squares) ? Math.sqrt(squares) : undefined
}

function sumOfSquares(values: Float64Array): number {
  let sum = 0
  for (const value of values) sum += value * value
  return sum
}

/** An update that counts, and how much. */
interface Counted {
  readonly delta: SafetensorsReader
  readonly weight: number
}

function weigh(
  deltas: readonly SafetensorsReader[],
  updates: readonly ShardUpdate[],
  left: readonly LeftOut[],
): readonly Counted[] {
  const out = new Set(left.map(({ shard }) => shard))
  const tokens = updates.reduce((sum, update, i) => sum + (out.has(i) ? 0 : update.tokens), 0)
  return deltas.flatMap((delta, shard) =>
    out.has(shard) ? [] : [{ delta, weight: (updates[shard]?.tokens ?? 0) / tokens }],
  )
}

interface Sources {
  readonly specs: readonly TensorSpec[]
  readonly weights: SafetensorsReader
  readonly momentum: SafetensorsReader
  readonly residual: SafetensorsReader | undefined
  readonly counted: readonly Counted[]
}

async function writeNext(sources: Sources, input: AggregateInput, outDir: string): Promise<void> {
  const writers: SafetensorsWriter[] = []
  const create = async (
    name: string,
    specs: readonly TensorSpec[],
    kind: 'tensors' | 'model' = 'tensors',
  ): Promise<SafetensorsWriter> => {
    const path = join(outDir, `${name}.safetensors`)
    const writer = await SafetensorsWriter.create(path, specs, kind)
    writers.push(writer)
    return writer
  }
  try {
    const { specs } = sources
    const weights = await create('weights', specs, 'model')
    const momentum = await create('momentum', momentumSpecs(specs, input))
    const isUpdated = input.broadcast === 'update'
    const int8 = isUpdated ? specs.flatMap((spec) => deltaTensors(spec, 'int8')) : []
    const update = isUpdated ? await create('update', int8) : undefined
    const residual = isUpdated ? await create('residual', int8) : undefined
    const clip = await clipOf(sources, input)
    for (const chunk of chunksOf(specs)) {
      const next = await stepChunk(sources, input, chunk, clip)
      const { name, start } = chunk
      for (const [moment, values] of next.moments) await momentum.write(moment, start, values)
      if (update === undefined || residual === undefined) {
        await weights.write(name, start, next.weights)
      } else {
        const out = { weights, update, residual }
        await stepBroadcast({ ...chunk, old: next.old, master: next.weights }, out)
      }
    }
  } catch (error) {
    for (const writer of writers) await writer.abandon()
    throw error
  }
  for (const writer of writers) await writer.close()
}

function momentumSpecs(specs: readonly TensorSpec[], input: AggregateInput): readonly TensorSpec[] {
  if (input.adam !== undefined) {
    return specs.flatMap((spec) => [spec, { ...spec, name: spec.name + SECOND_SUFFIX }])
  }
  return input.outer.momentum === 0 ? [] : specs
}

/** What gradients are multiplied with, so that their mean is no longer than allowed. */
async function clipOf({ specs, counted }: Sources, input: AggregateInput): Promise<number> {
  if (input.adam === undefined) return 1
  let squares = 0
  for (const chunk of chunksOf(specs)) {
    squares += sumOfSquares(await meanOf(counted, chunk, input.compression))
  }
  const norm = Math.sqrt(squares)
  return norm > input.adam.clipNorm ? input.adam.clipNorm / norm : 1
}

async function meanOf(
  counted: readonly Counted[],
  chunk: Chunk,
  compression: Compression,
): Promise<Float64Array> {
  const mean = new Float64Array(chunk.count)
  for (const { delta, weight } of counted) {
    const values = await readDelta(delta, chunk, compression)
    for (let i = 0; i < mean.length; i++) mean[i] = (mean[i] ?? 0) + weight * (values[i] ?? 0)
  }
  return mean
}

interface Stepped {
  /** Before the step, without the residual. */
  readonly old: Float32Array
  readonly weights: Float32Array
  readonly moments: ReadonlyArray<readonly [string, Float32Array]>
}

async function stepChunk(
  sources: Sources,
  { outer, adam, compression }: AggregateInput,
  chunk: Chunk & { readonly spec: TensorSpec },
  clip: number,
): Promise<Stepped> {
  const { name, elements, start, count } = chunk
  const mean = await meanOf(sources.counted, chunk, compression)
  const tensor = sources.weights.tensor(name, 'F32', elements)
  const old = await sources.weights.readFloat32(tensor, start, count)
  const weights = await withResidual(old, sources.residual, chunk)
  const isKept = adam !== undefined || outer.momentum !== 0
  const first = await readMoment(sources.momentum, chunk, name, isKept)
  if (adam === undefined) {
    applyOuterStep({ weights, momentum: first, mean, outer })
    return { old, weights, moments: isKept ? [[name, first]] : [] }
  }
  const second = await readMoment(sources.momentum, chunk, name + SECOND_SUFFIX, true)
  const isDecayed = chunk.spec.shape.length > 1
  applyAdamStep({ weights, first, second, mean, adam, clip, isDecayed })
  return {
    old,
    weights,
    moments: [
      [name, first],
      [name + SECOND_SUFFIX, second],
    ],
  }
}

/** The weights as the outer optimiser has them: with what the broadcasts have not told yet. */
async function withResidual(
  old: Float32Array,
  residual: SafetensorsReader | undefined,
  chunk: Chunk,
): Promise<Float32Array> {
  if (residual === undefined) return old.slice()
  const rest = await readDelta(residual, chunk, 'int8')
  return old.map((weight, i) => weight + (rest[i] ?? 0))
}

/** A tensor that the momentum file lacks is zero. */
async function readMoment(
  momentum: SafetensorsReader,
  { elements, start, count }: Chunk,
  name: string,
  isKept: boolean,
): Promise<Float32Array> {
  if (!isKept || !momentum.tensors.has(name)) return new Float32Array(count)
  return momentum.readFloat32(momentum.tensor(name, 'F32', elements), start, count)
}

/**
 * The round in numbers: losses weighted by tokens, summed in the order of the shards; and who was
 * left out and why, where somebody was.
 */
function describeRound({ updates, missed = [] }: AggregateInput, left: readonly LeftOut[]) {
  const out = new Set(left.map(({ shard }) => shard))
  const counted = updates.filter((_, shard) => !out.has(shard))
  const tokens = counted.reduce((sum, update) => sum + update.tokens, 0)
  let lossStart = 0
  let lossEnd = 0
  for (const update of counted) {
    lossStart += (update.tokens / tokens) * update.lossStart
    lossEnd += (update.tokens / tokens) * update.lossEnd
  }
  const told = left.map(({ shard, why }) => ({ shard: updates[shard]?.shard ?? shard, why }))
  return {
    lossEnd,
    lossStart,
    shards: counted.length,
    tokens,
    ...(missed.length === 0 ? {} : { missed }),
    ...(told.length === 0 ? {} : { leftOut: told }),
  }
}
