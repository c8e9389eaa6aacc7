/**
 * A small training job laid out in files, for measuring: its shards, its first weights, and those
 * of every round whose updates are handed in. The same files that the network's tasks get.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { BuiltinInput } from './builtin.js'
import { runBuiltin } from './builtin.js'
import type { BuiltinRequest } from './builtin-worker.js'
import type { Compression } from './codec.js'
import { dataShapeOf } from './data-shape.js'
import type { DataFormat } from './data/source.js'
import { planTraining, trainTask } from './plan.js'
import type { TrainingPlan } from './plan.js'
import { shardFileName, summariseDataset } from './split.js'

export interface CourseOptions {
  readonly model: string
  /** A file. */
  readonly dataset: string
  readonly format: DataFormat
  readonly maxLength: number
  readonly epochs: number
  readonly rounds: number
  readonly seed: string
  readonly compression: Compression
  readonly batchSize?: number | undefined
  readonly learningRate?: number | undefined
  /** Folder of this course alone; made. */
  readonly dir: string
  /** Runs a built-in task; in this thread where absent. */
  readonly builtin?: (request: BuiltinRequest) => Promise<void>
}

function here({ name, params, inputs, outDir }: BuiltinRequest): Promise<void> {
  return runBuiltin(name, params, inputs, outDir).then(() => undefined)
}

/** Shards: one to learn from, and one that is other data. */
const SHARDS = 2

export class Course {
  readonly plan: TrainingPlan
  readonly #dir: string
  readonly #builtin: (request: BuiltinRequest) => Promise<void>

  private constructor(
    plan: TrainingPlan,
    { dir, builtin = here }: Pick<CourseOptions, 'dir' | 'builtin'>,
  ) {
    this.plan = plan
    this.#dir = dir
    this.#builtin = builtin
  }

  /** Splits and initialises. @throws CtdError BAD_TRAINING_SPEC, UNKNOWN_MODEL, DATA_* */
  static async lay(options: CourseOptions): Promise<Course> {
    const { dir, dataset, format, model, maxLength, seed } = options
    await mkdir(dir, { recursive: true })
    const source = { files: dataset, spoolPath: join(dir, 'spool') }
    const summary = await summariseDataset(source, { model, format, maxLength })
    const plan = planTraining({ ...summary, ...options, shards: SHARDS })
    const course = new Course(plan, options)
    const split = { shards: SHARDS, evalShards: plan.evalShards, maxLength, seed, format, model }
    const inputs = [{ name: 'dataset', path: dataset }]
    await course.#run('split@1', split, inputs, 'data')
    const init = { model, ...dataShapeOf(summary), maxLength, seed }
    await course.#run('init@1', init, [], 'round-0')
    return course
  }

  weights(round: number): string {
    return join(this.#dir, `round-${round}`, 'weights.safetensors')
  }

  data(shard: number): string {
    return join(this.#dir, 'data', shardFileName('train', shard))
  }

  task(round: number, shard: number): ReturnType<typeof trainTask> {
    return trainTask(this.plan, { round, shard })
  }

  /** Makes the weights that a round leads to of the outputs of its shards, given as folders. */
  async close(round: number, outputs: readonly string[]): Promise<void> {
    const state = join(this.#dir, `round-${round}`)
    const inputs: BuiltinInput[] = ['weights', 'momentum'].map((name) => ({
      name: `${name}.safetensors`,
      path: join(state, `${name}.safetensors`),
    }))
    outputs.forEach((folder, shard) => {
      const number = String(shard).padStart(3, '0')
      const update = join(folder, 'delta.safetensors')
      inputs.push({ name: `delta-${number}.safetensors`, path: update })
      inputs.push({ name: `metrics-${number}.json`, path: join(folder, 'metrics.json') })
    })
    const { outer, compression } = this.plan
    const params = { shards: outputs.length, ...outer, compression }
    await this.#run('aggregate@2', params, inputs, `round-${round + 1}`)
  }

  #run(
    name: string,
    params: unknown,
    inputs: readonly BuiltinInput[],
    folder: string,
  ): Promise<void> {
    return this.#builtin({ name, params, inputs, outDir: join(this.#dir, folder) })
  }
}
