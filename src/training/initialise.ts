/**
 * The first weights of a job, from a seed alone; which deviation a parameter has, its family says.
 *
 * A normal draw is the sum of twelve uniform 16-bit integers (Irwin and Hall; variance 1 after
 * scaling), so that it takes integers, one product and one rounding: the same bits on every
 * machine. Bits come from xoshiro128** (Blackman and Vigna 2018), one generator per tensor, keyed
 * by `SHA-256('ctd/init/1' LF seed LF name)`.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Initial } from './families/family.js'
import { modelOf, type ModelConfig } from './model.js'
import { elementCount, SafetensorsWriter, type TensorSpec } from './safetensors.js'

/** Elements drawn and written at a time. */
const CHUNK = 262_144

/** The initial values of one parameter, in chunks of at most 1 MiB. */
export function* drawParameter(
  { name, shape }: TensorSpec,
  initial: Initial,
  seed: string,
): Generator<Float32Array, void> {
  const elements = elementCount(shape)
  const normal = 'deviation' in initial ? createNormal(name, seed, initial.deviation) : undefined
  for (let start = 0; start < elements; start += CHUNK) {
    const chunk = new Float32Array(Math.min(CHUNK, elements - start))
    if ('constant' in initial) chunk.fill(initial.constant)
    if (normal !== undefined) for (let i = 0; i < chunk.length; i++) chunk[i] = normal()
    yield chunk
  }
}

/**
 * Writes `weights.safetensors` and `momentum.safetensors`.
 *
 * The momentum file is empty: a tensor that it lacks is zero.
 */
export async function initialise(config: ModelConfig, seed: string, outDir: string): Promise<void> {
  const model = modelOf(config)
  const specs = model.parameters
  const weights = await SafetensorsWriter.create(
    join(outDir, 'weights.safetensors'),
    specs,
    'model',
  )
  try {
    for (const spec of specs) {
      let start = 0
      for (const chunk of drawParameter(spec, model.initial(spec), seed)) {
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
