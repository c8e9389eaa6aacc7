/** What test builds read of a train task before or after its container runs. */
import { readFile } from 'node:fs/promises'
import type { TaskSpec } from '../../src/container/container-runtime.js'

export interface TrainTask {
  readonly round: number
  readonly shard: number
}

interface TaskFile {
  readonly kind: string
  readonly startStep: number
  readonly steps: number
  /** Ends with the shard. */
  readonly seed: string
}

/** Undefined where a container does something else. Rounds must have equally many steps. */
export async function trainTaskOf({ inputs }: TaskSpec): Promise<TrainTask | undefined> {
  const file = inputs.find(({ name }) => name === 'task.json')
  if (file === undefined) return undefined
  const { kind, startStep, steps, seed } = JSON.parse(await readFile(file.path, 'utf8')) as TaskFile
  if (kind !== 'train') return undefined
  return { round: Math.round(startStep / steps), shard: Number(seed.split('/').at(-1)) }
}
