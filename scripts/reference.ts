/** The plain PyTorch loop that the demo's result is measured against, in the same image. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { CtdError } from '../src/errors.js'
import { runBuiltin } from '../src/training/builtin.js'
import { canonicalJson } from '../src/training/canonical-json.js'
import type { Json } from '../src/training/canonical-json.js'
import { dataShapeOf } from '../src/training/data-shape.js'
import { planTraining, referenceTask } from '../src/training/plan.js'
import { DEFAULT_MAX_LENGTH } from '../src/training/presets.js'
import { shardFileName, summariseDataset } from '../src/training/split.js'

export interface ReferenceOptions {
  readonly dataset: string
  readonly dir: string
  readonly model: string
  readonly epochs: number
  readonly seed: string
  readonly signal: AbortSignal
}

const IMAGE = join(import.meta.dirname, '../.cache/images/image.json')

/** Accuracy of one process on the same split and the same number of optimiser steps. */
export async function referenceAccuracy(options: ReferenceOptions): Promise<number> {
  const { dataset, dir, model, epochs, seed, signal } = options
  const summary = await summariseDataset(
    { files: dataset, spoolPath: `${dir}.spool` },
    { format: 'csv' },
  )
  const maxLength = DEFAULT_MAX_LENGTH
  const plan = planTraining({ ...summary, model, epochs, seed, maxLength })
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { recursive: true })
  const split = join(dir, 'split')
  const { shards, evalShards } = plan
  const params = { shards, evalShards, maxLength, seed, format: 'csv' }
  await runBuiltin('split@1', params, [{ name: 'dataset', path: dataset }], split)
  const init = join(dir, 'init')
  await runBuiltin('init@1', { model, ...dataShapeOf(summary), maxLength, seed }, [], init)
  const task = referenceTask(plan)
  await writeFile(join(dir, 'task.json'), canonicalJson(task as unknown as Json))
  const runtime = new DockerRuntime()
  const spec = {
    taskKey: `reference-${process.pid}`,
    owner: 'reference',
    image: JSON.parse(await readFile(process.env['CTD_IMAGE'] ?? IMAGE, 'utf8')) as Parameters<
      DockerRuntime['hasImage']
    >[0],
    argv: ['python3', '/opt/ctd/trainer.py'],
    env: {},
    inputs: [
      { name: 'task.json', path: join(dir, 'task.json') },
      { name: 'weights.safetensors', path: join(init, 'weights.safetensors') },
      ...Array.from({ length: shards }, (_, shard) => ({
        name: shardFileName('train', shard),
        path: join(split, shardFileName('train', shard)),
      })),
      ...Array.from({ length: evalShards }, (_, shard) => ({
        name: shardFileName('eval', shard),
        path: join(split, shardFileName('eval', shard)),
      })),
    ],
    workDir: join(dir, 'work'),
    memoryMiB: 2048,
    cpus: 1,
    pids: 256,
    outMiB: 64,
    timeoutMs: 600_000,
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
      throw new CtdError(outcome.code, `${outcome.reason}: ${outcome.logTail.slice(-400)}`)
    }
    const metrics = JSON.parse(await readFile(join(outcome.outDir, 'metrics.json'), 'utf8')) as {
      readonly n: number
      readonly correct: number
    }
    return metrics.correct / metrics.n
  } finally {
    await runtime.release(spec)
  }
}
