/** One process that trains alone, in the same image: what the network's results are measured against. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { CtdError } from '../src/errors.js'
import { runBuiltin } from '../src/training/builtin.js'
import { canonicalJson } from '../src/training/canonical-json.js'
import type { Json } from '../src/training/canonical-json.js'
import { dataShapeOf } from '../src/training/data-shape.js'
import { planTraining, referenceTask, synchronousTask } from '../src/training/plan.js'
import type { TrainingPlan } from '../src/training/plan.js'
import { defaultMaxLength } from '../src/training/presets.js'
import { shardFileName, summariseDataset } from '../src/training/split.js'

export interface ReferenceOptions {
  readonly dataset: string
  readonly dir: string
  readonly model: string
  readonly epochs: number
  readonly seed: string
  readonly shards?: number
  readonly batchSize?: number
  readonly learningRate?: number
  /** A file of first weights; drawn from the seed where it is absent. */
  readonly weights?: string | undefined
  /**
   * `plain`: one order of all rows, `batchSize` times `shards` of them a step. `synchronous`: what
   * data-parallel workers compute, the mean of the gradients of each shard's next batch.
   */
  readonly loop?: 'plain' | 'synchronous'
  readonly signal: AbortSignal
}

/** What the evaluation counted, and what the training saw. */
export interface ReferenceCounts {
  readonly n: number
  readonly correct: number
  /** Loss of the evaluation set times 2^20. */
  readonly nllFixed: number
  readonly tokens: number
  readonly steps: number
}

const IMAGE = join(import.meta.dirname, '../.cache/images/image.json')
const TRAIN_MS = 3600_000

/** Trains alone on the same split, from the same first weights. @throws CtdError of the container */
export async function trainAlone(options: ReferenceOptions): Promise<ReferenceCounts> {
  const { dataset, dir, signal } = options
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { recursive: true })
  const { plan, split, weights } = await prepare(options, dir)
  const task = options.loop === 'synchronous' ? synchronousTask(plan) : referenceTask(plan)
  await writeFile(join(dir, 'task.json'), canonicalJson(task as unknown as Json))
  const shards = (prefix: 'train' | 'eval', count: number) =>
    Array.from({ length: count }, (_, shard) => ({
      name: shardFileName(prefix, shard),
      path: join(split, shardFileName(prefix, shard)),
    }))
  const runtime = new DockerRuntime()
  const spec = {
    taskKey: `reference-${process.pid}-${options.loop ?? 'plain'}`,
    owner: 'reference',
    image: JSON.parse(await readFile(process.env['CTD_IMAGE'] ?? IMAGE, 'utf8')) as Parameters<
      DockerRuntime['hasImage']
    >[0],
    argv: ['python3', '/opt/ctd/trainer.py'],
    env: {},
    inputs: [
      { name: 'task.json', path: join(dir, 'task.json') },
      { name: 'weights.safetensors', path: weights },
      ...shards('train', plan.shards),
      ...shards('eval', plan.evalShards),
    ],
    workDir: join(dir, 'work'),
    memoryMiB: 2048,
    cpus: 1,
    pids: 256,
    outMiB: 64,
    timeoutMs: TRAIN_MS,
    gpuUuids: [],
    isolation: 'runc' as const,
  }
  try {
    const outcome = await runtime.run(
      spec,
      { progress: () => undefined, log: () => undefined },
      signal,
    )
    if (outcome.status !== 'succeeded') {
      const words = `${outcome.reason}: ${outcome.logTail.slice(-400)}`
      throw new CtdError(outcome.code, `training alone on ${dataset}: ${words}`)
    }
    return JSON.parse(
      await readFile(join(outcome.outDir, 'metrics.json'), 'utf8'),
    ) as ReferenceCounts
  } finally {
    await runtime.release(spec)
  }
}

/** The split and the first weights, by the very programs that the network runs. */
async function prepare(
  options: ReferenceOptions,
  dir: string,
): Promise<{ readonly plan: TrainingPlan; readonly split: string; readonly weights: string }> {
  const { dataset, model, epochs, seed } = options
  const { shards, batchSize, learningRate } = options
  const maxLength = defaultMaxLength(model)
  const source = { files: dataset, spoolPath: join(dir, 'summary') }
  const summary = await summariseDataset(source, { model, maxLength })
  const chosen = { shards, batchSize, learningRate }
  const plan = planTraining({ ...summary, model, epochs, seed, maxLength, ...chosen })
  const split = join(dir, 'split')
  const counts = { shards: plan.shards, evalShards: plan.evalShards }
  const params = { ...counts, maxLength, seed, format: summary.format, model }
  await runBuiltin('split@1', params, [{ name: 'dataset', path: dataset }], split)
  if (options.weights !== undefined) return { plan, split, weights: options.weights }
  const init = join(dir, 'init')
  await runBuiltin('init@1', { model, ...dataShapeOf(summary), maxLength, seed }, [], init)
  return { plan, split, weights: join(init, 'weights.safetensors') }
}
