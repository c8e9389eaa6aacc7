/**
 * The first weights of a job, from a seed alone.
 *
 * Biases are 0, layer norms 1, matrices normal. Embeddings, queries and keys have the deviation
 * 0.02 of BERT's `initializer_range`, so that attention starts nearly uniform; all other matrices
 * have 1 / sqrt(inputs) (LeCun et al. 1998). With 0.02 everywhere a narrow model hardly hears its
 * own layers: after five epochs of the demo bert-tiny stood at 0.79 instead of 0.93.
 *
 * A normal draw is the sum of twelve uniform 16-bit integers (Irwin and Hall; variance 1 after
 * scaling), so that it takes integers, one product and one rounding: the same bits on every
 * machine. Bits come from xoshiro128** (Blackman and Vigna 2018), one generator per tensor, keyed
 * by `SHA-256('ctd/init/1' LF seed LF name)`.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { parameterSpecs, type ModelConfig } from './presets.js'
import { elementCount, SafetensorsWriter, type TensorSpec } from './safetensors.js'

/** BERT's `initializer_range` (Devlin et al. 2018). */
const NARROW = 0.02
/** Elements drawn and written at a time. */
const CHUNK = 262_144

/** The initial values of one parameter, in chunks of at most 1 MiB. */
export function* drawParameter(
  { name, shape }: TensorSpec,
  seed: string,
): Generator<Float32Array, void> {
  const elements = elementCount(shape)
  const constant = constantOf(name)
  const deviation = deviationOf(name, shape[1] ?? 1)
  const normal = constant === undefined ? createNormal(name, seed, deviation) : undefined
  for (let start = 0; start < elements; start += CHUNK) {
    const chunk = new Float32Array(Math.min(CHUNK, elements - start))
    if (normal === undefined) chunk.fill(constant ?? 0)
    else for (let i = 0; i < chunk.length; i++) chunk[i] = normal()
    yield chunk
  }
}

/**
 * Writes `weights.safetensors` and `momentum.safetensors`.
 *
 * The momentum file is empty: a tensor that it lacks is zero.
 */
export async function initialise(config: ModelConfig, seed: string, outDir: string): Promise<void> {
  const specs = parameterSpecs(config)
  const weights = await SafetensorsWriter.create(
    join(outDir, 'weights.safetensors'),
    specs,
    'model',
  )
  try {
    for (const spec of specs) {
      let start = 0
      for (const chunk of drawParameter(spec, seed)) {
        await weights.write(spec.name, start, chunk)
        start += chunk.length
      }
    }
  } catch (error) {
    await weights.abandon()
    throw error
  }
  await weights.close()
  const momentum = await SafetensorsWriter.create(join(outDir, 'momentum.safetensors'), [])
  await momentum.close()
}

function constantOf(name: string): number | undefined {
  if (name.endsWith('.bias')) return 0
  return name.endsWith('LayerNorm.weight') ? 1 : undefined
}

function deviationOf(name: string, inputs: number): number {
  return /embeddings|query|key/.test(name) ? NARROW : 1 / Math.sqrt(inputs)
}

function createNormal(name: string, seed: string, deviation: number): () => number {
  const next = createXoshiro(createHash('sha256').update(`ctd/init/1\n${seed}\n${name}`).digest())
  return () => {
    let sum = 0
    for (let i = 0; i < 6; i++) {
      const bits = next()
      sum += (bits >>> 16) + (bits & 0xffff)
    }
    // Twelve integers of mean 32767.5 and variance (65536^2 - 1) / 12.
    return Math.fround(((sum - 393_210) / 65_536) * deviation)
  }
}

/** xoshiro128** over a 16-byte state; yields 32-bit integers, signed as JavaScript's are. */
function createXoshiro(key: Buffer): () => number {
  let a = key.readInt32LE(0)
  let b = key.readInt32LE(4)
  let c = key.readInt32LE(8)
  let d = key.readInt32LE(12)
  return () => {
    const product = Math.imul(b, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9)
    const shifted = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = (d << 11) | (d >>> 21)
    return result
  }
}
