/** The first state of a job that goes on from another: checked against the model, written anew. */
import { copyFile, constants } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError } from '../errors.js'
import { QUANTISATION_BLOCK } from './quantise.js'
import { elementCount, SafetensorsReader, SafetensorsWriter } from './safetensors.js'
import type { TensorSpec } from './safetensors.js'

/** Elements copied at a time. */
const CHUNK = 1024 * QUANTISATION_BLOCK

export interface StartState {
  readonly weightsPath: string
  /** Undefined for none: a tensor that the file lacks is zero. */
  readonly momentumPath: string | undefined
  readonly residualPath: string | undefined
}

/**
 * Writes `weights.safetensors`, `momentum.safetensors` and, where given, `residual.safetensors`.
 *
 * @param specs - every parameter of the model
 * @throws CtdError STATE_UNFIT when the weights are not those of the model, or not finite;
 *   TENSORS_MALFORMED
 */
export async function continueFrom(
  specs: readonly TensorSpec[],
  state: StartState,
  outDir: string,
): Promise<void> {
  const weights = await SafetensorsReader.open(state.weightsPath)
  try {
    assertFits(weights, specs)
    await copyWeights(weights, specs, join(outDir, 'weights.safetensors'))
  } finally {
    await weights.close()
  }
  const momentum = join(outDir, 'momentum.safetensors')
  if (state.momentumPath === undefined) await (await SafetensorsWriter.create(momentum, [])).close()
  else await copyTensors(state.momentumPath, momentum)
  if (state.residualPath === undefined) return
  await copyTensors(state.residualPath, join(outDir, 'residual.safetensors'))
}

function assertFits(weights: SafetensorsReader, specs: readonly TensorSpec[]): void {
  const unfit = specs.find(({ name, shape }) => {
    const found = weights.tensors.get(name)
    return found?.dtype !== 'F32' || found.shape.join() !== shape.join()
  })
  if (unfit === undefined && weights.tensors.size === specs.length) return
  const what =
    unfit === undefined
      ? `they have ${weights.tensors.size} tensors, the model ${specs.length}`
      : `${unfit.name} must be F32 [${unfit.shape.join(', ')}]`
  throw new CtdError('STATE_UNFIT', `the weights are not those of the model: ${what}`, {
    hint: 'continue with the same model and the same labels',
  })
}

async function copyWeights(
  weights: SafetensorsReader,
  specs: readonly TensorSpec[],
  path: string,
): Promise<void> {
  const writer = await SafetensorsWriter.create(path, specs, 'model')
  try {
    for (const { name, shape } of specs) {
      const elements = elementCount(shape)
      const tensor = weights.tensor(name, 'F32', elements)
      for (let start = 0; start < elements; start += CHUNK) {
        const count = Math.min(CHUNK, elements - start)
        const values = await weights.readFloat32(tensor, start, count)
        if (!values.every(Number.isFinite)) {
          throw new CtdError('STATE_UNFIT', `the weights of ${name} are not finite`)
        }
        await writer.write(name, start, values)
      }
    }
  } catch (error) {
    await writer.abandon()
    throw error
  }
  await writer.close()
}

/** What its tensors must be, whoever uses them checks. */
async function copyTensors(from: string, to: string): Promise<void> {
  await (await SafetensorsReader.open(from)).close()
  await copyFile(from, to, constants.COPYFILE_EXCL)
}
