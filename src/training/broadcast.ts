/**
 * The way of a round's weights back to the shards: `W' = W + dequantised update` by definition, so
 * that whoever holds `W` needs one byte per parameter and not four. What the rounding of an update
 * loses is carried into the next one (error feedback at the server, as in DoubleSqueeze, Tang et
 * al. 2019), itself in int8.
 */
import { join } from 'node:path'
import { CtdError } from '../errors.js'
import { deltaTensors, readDelta } from './codec.js'
import type { Chunk } from './codec.js'
import { QUANTISATION_BLOCK, quantise, SCALE_SUFFIX } from './quantise.js'
import { elementCount, SafetensorsReader, SafetensorsWriter } from './safetensors.js'

/** Elements worked on at a time; whole quantisation blocks. */
const CHUNK = 1024 * QUANTISATION_BLOCK

export interface BroadcastStep extends Chunk {
  /** What everybody holds. */
  readonly old: Float32Array
  /** What the outer step made of it and of the residual. */
  readonly master: Float32Array
}

export interface BroadcastOut {
  readonly weights: SafetensorsWriter
  readonly update: SafetensorsWriter
  readonly residual: SafetensorsWriter
}

/** Writes a chunk of the update, of the weights that it leads to, and of what it leaves. */
export async function stepBroadcast(step: BroadcastStep, out: BroadcastOut): Promise<void> {
  const { name, start, old, master } = step
  const update = quantise(master.map((value, i) => value - (old[i] ?? 0)))
  const weights = old.slice()
  addBlocks(weights, update)
  const rest = quantise(master.map((value, i) => value - (weights[i] ?? 0)))
  await out.weights.write(name, start, weights)
  for (const [writer, { values, scales }] of [
    [out.update, update],
    [out.residual, rest],
  ] as const) {
    await writer.write(name, start, values)
    await writer.write(name + SCALE_SUFFIX, start / QUANTISATION_BLOCK, scales)
  }
}

function addBlocks(
  weights: Float32Array,
  { values, scales }: { readonly values: Int8Array; readonly scales: Float32Array },
): void {
  for (let i = 0; i < weights.length; i++) {
    const scale = scales[Math.floor(i / QUANTISATION_BLOCK)] ?? 0
    weights[i] = (weights[i] ?? 0) + scale * (values[i] ?? 0)
  }
}

/**
 * Writes the `weights.safetensors` that an update leads to.
 *
 * @throws CtdError TENSOR_MISSING, TENSOR_UNEXPECTED, TENSORS_MALFORMED, UPDATE_NOT_FINITE
 */
export async function applyUpdate(
  { basePath, updatePath }: { readonly basePath: string; readonly updatePath: string },
  outDir: string,
): Promise<void> {
  const base = await SafetensorsReader.open(basePath)
  try {
    const update = await SafetensorsReader.open(updatePath)
    try {
      await writeSum(base, update, join(outDir, 'weights.safetensors'))
    } finally {
      await update.close()
    }
  } finally {
    await base.close()
  }
}

async function writeSum(
  base: SafetensorsReader,
  update: SafetensorsReader,
  path: string,
): Promise<void> {
  const specs = [...base.tensors.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }))
  const expected = specs.reduce((sum, spec) => sum + deltaTensors(spec, 'int8').length, 0)
  if (update.tensors.size !== expected) {
    throw new CtdError('TENSOR_UNEXPECTED', `${update.path} is no update of ${base.path}`)
  }
  const writer = await SafetensorsWriter.create(path, specs, 'model')
  try {
    for (const { name, shape } of specs) {
      const elements = elementCount(shape)
      for (let start = 0; start < elements; start += CHUNK) {
        const count = Math.min(CHUNK, elements - start)
        const weights = await base.readFloat32(base.tensor(name, 'F32', elements), start, count)
        const added = await readDelta(update, { name, elements, start, count }, 'int8')
        await writer.write(
          name,
          start,
          weights.map((weight, i) => weight + (added[i] ?? 0)),
        )
      }
    }
  } catch (error) {
    await writer.abandon()
    throw error
  }
  await writer.close()
}
