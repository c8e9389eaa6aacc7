/**
 * The outer step of a round (DiLoCo, Douillard et al. 2023): many shards' updates become the next
 * weights.
 *
 * `D = sum over shards of (tokens_s / tokens) * scale * value`, then Nesterov's momentum in
 * torch's form: `m' = mu m + D`, `W' = W - lr (D + mu m')`. Shards in the order of their number,
 * accumulation in double precision, one rounding to fp32 on store; only + - * / and sqrt, so the
 * result has the same bits on every machine. Memory holds one chunk of one tensor, not the model.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError } from '../errors.js'
import { canonicalJson } from './canonical-json.js'
import { blockCount, QUANTISATION_BLOCK, SCALE_SUFFIX } from './quantise.js'
import {
  elementCount,
  SafetensorsReader,
  SafetensorsWriter,
  type PlacedTensor,
} from './safetensors.js'

export interface OuterOptimiser {
  readonly learningRate: number
  /** 0 is plain averaging (FedAvg); the momentum files are empty then. */
  readonly momentum: number
}

/** What one shard brings to a round. */
export interface ShardUpdate {
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
  /** In the order of the shards' numbers. */
  readonly updates: readonly ShardUpdate[]
  readonly outer: OuterOptimiser
}

/** Elements worked on at a time; whole quantisation blocks. */
const CHUNK = 1024 * QUANTISATION_BLOCK

/**
 * Writes the next `weights.safetensors` and `momentum.safetensors`, and `round.json` for people.
 *
 * @throws CtdError UPDATE_NOT_FINITE, TENSOR_MISSING, TENSOR_UNEXPECTED, TENSORS_MALFORMED
 */
export async function aggregate(input: AggregateInput, outDir: string): Promise<void> {
  const opened: SafetensorsReader[] = []
  const openTensors = async (path: string): Promise<SafetensorsReader> => {
    const reader = await SafetensorsReader.open(path)
    opened.push(reader)
    return reader
  }
  try {
    const weights = await openTensors(input.weightsPath)
    const momentum = await openTensors(input.momentumPath)
    const deltas: SafetensorsReader[] = []
    for (const update of input.updates) deltas.push(await openTensors(update.deltaPath))
    await writeNext({ weights, momentum, deltas }, input, outDir)
  } finally {
    for (const reader of opened) await reader.close()
  }
  await writeFile(join(outDir, 'round.json'), canonicalJson(describeRound(input)), { flag: 'wx' })
}

interface Sources {
  readonly weights: SafetensorsReader
  readonly momentum: SafetensorsReader
  readonly deltas: readonly SafetensorsReader[]
}

async function writeNext(sources: Sources, input: AggregateInput, outDir: string): Promise<void> {
  const specs = [...sources.weights.tensors.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
  }))
  for (const delta of sources.deltas) {
    if (delta.tensors.size !== 2 * specs.length) {
      throw new CtdError('TENSOR_UNEXPECTED', `${delta.path} holds tensors that the model lacks`)
    }
  }
  const keepsMomentum = input.outer.momentum !== 0
  const weightsOut = await SafetensorsWriter.create(
    join(outDir, 'weights.safetensors'),
    specs,
    'model',
  )
  const momentumOut = await SafetensorsWriter.create(
    join(outDir, 'momentum.safetensors'),
    keepsMomentum ? specs : [],
  )
  try {
    for (const spec of specs) {
      const elements = elementCount(spec.shape)
      for (let start = 0; start < elements; start += CHUNK) {
        const count = Math.min(CHUNK, elements - start)
        const next = await stepChunk(sources, input, { name: spec.name, elements, start, count })
        await weightsOut.write(spec.name, start, next.weights)
        if (keepsMomentum) await momentumOut.write(spec.name, start, next.momentum)
      }
    }
  } catch (error) {
    await weightsOut.abandon()
    await momentumOut.abandon()
    throw error
  }
  await weightsOut.close()
  await momentumOut.close()
}

interface Chunk {
  readonly name: string
  /** Of the whole tensor. */
  readonly elements: number
  readonly start: number
  readonly count: number
}

async function stepChunk(
  { weights, momentum, deltas }: Sources,
  { updates, outer }: AggregateInput,
  chunk: Chunk,
): Promise<{ weights: Float32Array; momentum: Float32Array }> {
  const tokens = updates.reduce((sum, update) => sum + update.tokens, 0)
  const mean = new Float64Array(chunk.count)
  for (const [shard, delta] of deltas.entries()) {
    await addUpdate(mean, delta, chunk, (updates[shard]?.tokens ?? 0) / tokens)
  }
  const old = weights.tensor(chunk.name, 'F32', chunk.elements)
  const current = await weights.readFloat32(old, chunk.start, chunk.count)
  const velocity = await readMomentum(momentum, chunk, outer.momentum !== 0)
  applyOuterStep({ weights: current, momentum: velocity, mean, outer })
  return { weights: current, momentum: velocity }
}

/** Adds a shard's dequantised update, times its weight, to the mean. */
async function addUpdate(
  mean: Float64Array,
  delta: SafetensorsReader,
  { name, elements, start, count }: Chunk,
  weight: number,
): Promise<void> {
  const values = await delta.readInt8(delta.tensor(name, 'I8', elements), start, count)
  const scaleTensor = delta.tensor(name + SCALE_SUFFIX, 'F32', blockCount(elements))
  const scales = await delta.readFloat32(scaleTensor, start / QUANTISATION_BLOCK, blockCount(count))
  for (const [block, scale] of scales.entries()) {
    if (!Number.isFinite(scale) || scale < 0) {
      throw new CtdError('UPDATE_NOT_FINITE', `${delta.path}: the update of ${name} is not finite`)
    }
    const end = Math.min((block + 1) * QUANTISATION_BLOCK, count)
    for (let i = block * QUANTISATION_BLOCK; i < end; i++) {
      mean[i] = (mean[i] ?? 0) + weight * (scale * (values[i] ?? 0))
    }
  }
}

/** A tensor that the momentum file lacks is zero. */
async function readMomentum(
  momentum: SafetensorsReader,
  { name, elements, start, count }: Chunk,
  isKept: boolean,
): Promise<Float32Array> {
  if (!isKept || !momentum.tensors.has(name)) return new Float32Array(count)
  const tensor: PlacedTensor = momentum.tensor(name, 'F32', elements)
  return momentum.readFloat32(tensor, start, count)
}

/** One Nesterov step in place. `mean` is the weighted mean of the updates, start minus end. */
export function applyOuterStep(step: {
  readonly weights: Float32Array
  readonly momentum: Float32Array
  readonly mean: Float64Array
  readonly outer: OuterOptimiser
}): void {
  const { weights, momentum, mean } = step
  const { learningRate, momentum: mu } = step.outer
  for (let i = 0; i < weights.length; i++) {
    const update = mean[i] ?? 0
    const velocity = Math.fround(mu * (momentum[i] ?? 0) + update)
    momentum[i] = velocity
    weights[i] = (weights[i] ?? 0) - learningRate * (update + mu * velocity)
  }
}

/** The round in numbers: losses weighted by tokens, summed in the order of the shards. */
function describeRound({ updates }: AggregateInput) {
  const tokens = updates.reduce((sum, update) => sum + update.tokens, 0)
  let lossStart = 0
  let lossEnd = 0
  for (const update of updates) {
    lossStart += (update.tokens / tokens) * update.lossStart
    lossEnd += (update.tokens / tokens) * update.lossEnd
  }
  return { lossEnd, lossStart, shards: updates.length, tokens }
}
