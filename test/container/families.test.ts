/**
 * Every family of models in the real task image: the parameters that TypeScript and Python name,
 * same inputs, same bytes; a few steps that beat the baseline; files that plain PyTorch loads.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { ImageRef } from '../../src/container/container-runtime.js'
import { runBuiltin } from '../../src/training/builtin.js'
import { dataShapeOf } from '../../src/training/data-shape.js'
import { FAMILY_LAWS, parameterSpecs } from '../../src/training/model.js'
import { evalTask, planTraining, trainTask, type TrainingPlan } from '../../src/training/plan.js'
import { MODEL_NAMES, modelConfig } from '../../src/training/presets.js'
import { summariseDataset } from '../../src/training/split.js'
import { FAMILY_JOBS, type FamilyJob } from '../unit/family-data.js'
import { Bench, ROOT, SKIP } from './harness.js'

const SHAPE = { classes: 10, vocabulary: 300, features: 4, height: 28, width: 30, channels: 3 }

describe('families in the task image', { skip: SKIP, timeout: 1_800_000 }, () => {
  let bench: Bench

  before(async () => {
    const args = ['--import', 'tsx', 'scripts/build-image.ts', '--json']
    const options = { cwd: ROOT, maxBuffer: 64 * 1024 * 1024 }
    const { stdout } = await promisify(execFile)(process.execPath, args, options)
    const built: { image: ImageRef; loaded: string } = JSON.parse(
      stdout.trim().split('\n').at(-1) ?? '',
    )
    assert.notEqual(built.loaded, 'no engine answers', 'this test needs a container engine')
    bench = await Bench.open(built.image)
  })
  after(async () => bench.close())

  /** Runs a program of the image with files in `/in`; returns the folder of its outputs. */
  async function run(
    argv: readonly string[],
    files: Readonly<Record<string, string>>,
  ): Promise<string> {
    const inputs = Object.entries(files).map(([name, path]) => ({ name, path }))
    const { outcome } = await bench.run(
      bench.spec('', { argv: [...argv], inputs, memoryMiB: 1024, pids: 256 }),
    )
    assert.equal(outcome.status, 'succeeded', outcome.logTail)
    return outcome.outDir
  }

  async function runTask(
    job: Job,
    task: unknown,
    files: Readonly<Record<string, string>>,
  ): Promise<string> {
    const taskFile = join(job.folder, `task-${job.tasks++}.json`)
    await writeFile(taskFile, JSON.stringify(task))
    const inputs = Object.entries(files).map(([name, path]) => [name, join(job.folder, path)])
    return await run(['python3', '/opt/ctd/trainer.py'], {
      'task.json': taskFile,
      ...Object.fromEntries(inputs),
    })
  }

  interface Job {
    readonly folder: string
    readonly plan: TrainingPlan
    tasks: number
  }

  /** Splits and initialises; one shard and one round, so that few containers run. */
  async function prepare({ dataset, format, ...asked }: FamilyJob): Promise<Job> {
    const { model, maxLength } = asked
    const folder = join(bench.folder, `job-${model}`)
    await mkdir(folder)
    await writeFile(join(folder, 'dataset'), dataset)
    const source = { files: join(folder, 'dataset'), spoolPath: join(folder, 'spool') }
    const summary = await summariseDataset(source, { model, format, maxLength })
    const plan = planTraining({ ...summary, ...asked, seed: 's', shards: 1, rounds: 1 })
    const split = { shards: 1, maxLength, seed: 's', model, format }
    const inputs = [{ name: 'dataset', path: join(folder, 'dataset') }]
    await runBuiltin('split@1', split, inputs, join(folder, 'data'))
    const init = { model, ...dataShapeOf(summary), maxLength, seed: 's' }
    await runBuiltin('init@1', init, [], join(folder, 'round-0'))
    return { folder, plan, tasks: 0 }
  }

  async function digests(folder: string): Promise<readonly string[]> {
    const names = ['delta.safetensors', 'metrics.json']
    const files = names.map(async (name) => readFile(join(folder, name)))
    return (await Promise.all(files)).map((bytes) =>
      createHash('sha256').update(bytes).digest('hex'),
    )
  }

  test('names the parameters of every model alike in both languages', async () => {
    const configs = MODEL_NAMES.map((model) => modelConfig(model, SHAPE))
    const path = join(bench.folder, 'configs.json')
    await writeFile(path, JSON.stringify(configs))
    const program = `
import json, sys
sys.path.insert(0, "/opt/ctd")
import trainer_tasks
configs = json.load(open("/in/configs.json"))
shapes = [list(trainer_tasks.family_of(c).parameter_shapes(c).items()) for c in configs]
json.dump(shapes, open("/out/shapes.json", "w"))
`
    const out = await run(['python3', '-c', program], { 'configs.json': path })
    const shapes: unknown = JSON.parse(await readFile(join(out, 'shapes.json'), 'utf8'))
    const specs = configs.map((config) =>
      parameterSpecs(config).map(({ name, shape }) => [name, shape]),
    )
    assert.deepEqual(shapes, specs)
  })

  for (const wanted of FAMILY_JOBS) {
    test(`trains ${wanted.model} twice to the same bytes, past its baseline`, async () => {
      const job = await prepare(wanted)
      const { folder, plan } = job
      const train = async () =>
        runTask(job, trainTask(plan, { round: 0, shard: 0 }), {
          'weights.safetensors': 'round-0/weights.safetensors',
          'data.safetensors': 'data/train-000.safetensors',
        })
      const [first, second] = [await train(), await train()]
      assert.deepEqual(await digests(first), await digests(second))

      const inputs = [
        ...['weights', 'momentum'].map((name) => ({
          name: `${name}.safetensors`,
          path: join(folder, 'round-0', `${name}.safetensors`),
        })),
        { name: 'delta-000.safetensors', path: join(first, 'delta.safetensors') },
        { name: 'metrics-000.json', path: join(first, 'metrics.json') },
      ]
      const params = { shards: 1, ...plan.outer }
      await runBuiltin('aggregate@2', params, inputs, join(folder, 'round-1'))
      const evaluated = await runTask(job, evalTask(plan), {
        'weights.safetensors': 'round-1/weights.safetensors',
        'data.safetensors': 'data/eval-000.safetensors',
      })
      const figure = async (path: string): Promise<number> => {
        const counts: Record<string, number> = JSON.parse(await readFile(path, 'utf8'))
        const { results } = FAMILY_LAWS[plan.model.family]
        const value = results((name) => counts[name] ?? 0)[wanted.figure]
        assert.ok(typeof value === 'number')
        return value
      }
      const baseline = await figure(join(folder, 'data', 'metrics.json'))
      const reached = await figure(join(evaluated, 'metrics.json'))
      const said = `${wanted.figure} ${reached}, baseline ${baseline}`
      if (wanted.figure === 'loss') assert.ok(reached < 0.8 * baseline, said)
      else assert.ok(reached > 1.3 * baseline, said)
    })
  }

  test('computes what modules of plain PyTorch compute that load its files', async () => {
    const folder = join(bench.folder, 'modules')
    const files: Record<string, string> = {}
    for (const model of ['gpt-tiny', 'embed-tiny', 'cnn-small', 'mlp']) {
      const params = { model, ...SHAPE, maxLength: 16, seed: 's' }
      await runBuiltin('init@1', params, [], join(folder, model))
      const path = join(folder, `${model}.json`)
      await writeFile(path, JSON.stringify(modelConfig(model, { ...SHAPE, maxLength: 16 })))
      files[`${model}.json`] = path
      files[`${model}.safetensors`] = join(folder, model, 'weights.safetensors')
    }
    files['modules.py'] = join(ROOT, 'test/container/modules.py')
    const out = await run(['python3', '/in/modules.py'], files)
    assert.equal(await readFile(join(out, 'checked'), 'utf8'), '4')
  })
})
