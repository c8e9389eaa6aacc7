/**
 * The trainer in the real task image: same inputs, same bytes; a job of rounds that learns; and the
 * ways a task can fail. Builds the image first if it is not there: minutes.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { ImageRef, TaskInput } from '../../src/container/container-runtime.js'
import { runBuiltin } from '../../src/training/builtin.js'
import {
  evalTask,
  planTraining,
  referenceTask,
  synchronousTask,
  trainTask,
  type TrainingPlan,
} from '../../src/training/plan.js'
import { parameterSpecs } from '../../src/training/model.js'
import { quantise, SCALE_SUFFIX } from '../../src/training/quantise.js'
import { SafetensorsReader } from '../../src/training/safetensors.js'
import { Bench, ROOT, SKIP, type RunRecord } from './harness.js'

/** Three made-up languages of four words each: learnt in seconds. */
const WORDS = [
  ['lo', 'mi', 'tara', 'sen'],
  ['grok', 'vash', 'zu', 'krim'],
  ['aeo', 'iou', 'eia', 'oae'],
]
const CSV = ['text,label']
for (let i = 0; i < 300; i++) {
  const words = WORDS[i % 3] ?? []
  const text = [i, i * 7 + 1, i * 3 + 2].map((n) => words[Math.floor(n / 3) % 4])
  CSV.push(`${text.join(' ')} ${i},${'abc'[i % 3] ?? ''}`)
}

describe('the trainer in its image', { skip: SKIP, timeout: 900_000 }, () => {
  let image: ImageRef
  let bench: Bench
  let plan: TrainingPlan
  let job: string

  before(async () => {
    const args = ['--import', 'tsx', 'scripts/build-image.ts', '--json']
    const options = { cwd: ROOT, maxBuffer: 64 * 1024 * 1024 }
    const { stdout } = await promisify(execFile)(process.execPath, args, options)
    const built: { image: ImageRef; loaded: string } = JSON.parse(
      stdout.trim().split('\n').at(-1) ?? '',
    )
    assert.notEqual(built.loaded, 'no engine answers', 'this test needs a container engine')
    image = built.image
    bench = await Bench.open(image)
    job = join(bench.folder, 'job')
    await mkdir(job)
    await writeFile(join(job, 'data.csv'), CSV.join('\n'))
    plan = planTraining({
      model: 'bert-tiny',
      rows: 300,
      classes: 3,
      epochs: 3,
      seed: 'test',
      maxLength: 24,
      rounds: 2,
    })
    const dataset = [{ name: 'data.csv', path: join(job, 'data.csv') }]
    const { seed, shards } = plan
    await runBuiltin('split@1', { shards, maxLength: 24, seed }, dataset, join(job, 'data'))
    const init = { model: 'bert-tiny', classes: 3, maxLength: 24, seed }
    await runBuiltin('init@1', init, [], join(job, 'round-0'))
  })
  after(async () => bench.close())

  async function run(task: unknown, files: Readonly<Record<string, string>>): Promise<RunRecord> {
    return bench.run(await prepare(task, files))
  }

  async function prepare(task: unknown, files: Readonly<Record<string, string>>) {
    const spec = bench.spec('', {
      argv: ['python3', '/opt/ctd/trainer.py'],
      memoryMiB: 1024,
      pids: 256,
    })
    const taskFile = join(bench.folder, `${spec.taskKey}.json`)
    await writeFile(taskFile, JSON.stringify(task))
    const inputs: TaskInput[] = [{ name: 'task.json', path: taskFile }]
    for (const [name, path] of Object.entries(files)) inputs.push({ name, path: join(job, path) })
    return { ...spec, inputs }
  }

  const inputsOf = (round: number, shard: number) => ({
    'weights.safetensors': `round-${round}/weights.safetensors`,
    'data.safetensors': `data/train-00${shard}.safetensors`,
  })

  async function succeeded(record: RunRecord): Promise<string> {
    assert.equal(record.outcome.status, 'succeeded', record.outcome.logTail)
    return record.outcome.outDir
  }

  async function digests(record: RunRecord): Promise<readonly string[]> {
    const outDir = await succeeded(record)
    const lines = record.outcome.files.map(async ({ path }) => {
      const hash = createHash('sha256').update(await readFile(join(outDir, path)))
      return `${path} ${hash.digest('hex')}`
    })
    return Promise.all(lines)
  }

  test('gives the same bytes for the same task, other bytes for another shard', async () => {
    const [a, b, c] = [
      await run(trainTask(plan, { round: 1, shard: 0 }), inputsOf(0, 0)),
      await run(trainTask(plan, { round: 1, shard: 0 }), inputsOf(0, 0)),
      await run(trainTask(plan, { round: 1, shard: 1 }), inputsOf(0, 1)),
    ]
    const first = await digests(a)
    assert.deepEqual(
      first.map((line) => line.split(' ')[0]),
      ['delta.safetensors', 'metrics.json'],
    )
    assert.deepEqual(first, await digests(b))
    assert.notDeepEqual(first, await digests(c))
    assert.equal(a.progress.at(-1)?.step, plan.rounds[1]?.learningRates.length)
    assert.ok(Number.isFinite(a.progress.at(-1)?.metrics['loss']))
  })

  test('learns in rounds what one plain loop learns', async () => {
    for (let round = 0; round < plan.rounds.length; round++) {
      const inputs = ['weights', 'momentum'].map((name) => ({
        name: `${name}.safetensors`,
        path: join(job, `round-${round}`, `${name}.safetensors`),
      }))
      for (let shard = 0; shard < plan.shards; shard++) {
        const out = await succeeded(
          await run(trainTask(plan, { round, shard }), inputsOf(round, shard)),
        )
        inputs.push({ name: `delta-00${shard}.safetensors`, path: join(out, 'delta.safetensors') })
        inputs.push({ name: `metrics-00${shard}.json`, path: join(out, 'metrics.json') })
      }
      const params = { shards: plan.shards, ...plan.outer }
      await runBuiltin('aggregate@2', params, inputs, join(job, `round-${round + 1}`))
    }
    const evaluated = await run(evalTask(plan), {
      'weights.safetensors': `round-${plan.rounds.length}/weights.safetensors`,
      'data.safetensors': 'data/eval-000.safetensors',
    })
    const read = async (record: RunRecord) =>
      JSON.parse(await readFile(join(await succeeded(record), 'metrics.json'), 'utf8'))
    const rounds = await read(evaluated)
    assert.deepEqual(Object.keys(rounds), ['confusion', 'correct', 'f1Fixed', 'n', 'nllFixed'])
    assert.equal(rounds.n, plan.evalRows)
    assert.ok(rounds.correct >= 0.9 * rounds.n, JSON.stringify(rounds))
    assert.equal(
      rounds.confusion.flat().reduce((sum: number, count: number) => sum + count),
      rounds.n,
    )

    const reference = await read(
      await run(referenceTask(plan), {
        'weights.safetensors': 'round-0/weights.safetensors',
        'train-000.safetensors': 'data/train-000.safetensors',
        'train-001.safetensors': 'data/train-001.safetensors',
        'eval-000.safetensors': 'data/eval-000.safetensors',
      }),
    )
    assert.ok(reference.correct >= 0.9 * reference.n, JSON.stringify(reference))
  })

  test('takes in the synchronous loop the batches that the shards take', async () => {
    const steps = 3
    type Loop = Omit<ReturnType<typeof referenceTask>, 'seed'> & { readonly seed: string }
    const counted = async (task: Loop, shards: readonly number[]) => {
      const files = shards.map((shard) => `train-00${shard}.safetensors`)
      const learningRates = task.learningRates.slice(0, steps)
      const record = await run(
        { ...task, steps, learningRates },
        {
          'weights.safetensors': 'round-0/weights.safetensors',
          'eval-000.safetensors': 'data/eval-000.safetensors',
          ...Object.fromEntries(files.map((file) => [file, `data/${file}`])),
        },
      )
      return JSON.parse(await readFile(join(await succeeded(record), 'metrics.json'), 'utf8'))
    }
    const one = { ...plan, shards: 1 }
    const alone = { ...referenceTask(one), seed: `${plan.seed}/0` }
    assert.deepEqual(await counted(synchronousTask(one), [0]), await counted(alone, [0]))
    const both = await counted(synchronousTask(plan), [0, 1])
    assert.equal(both.steps, steps)
    assert.notEqual(both.nllFixed, (await counted(synchronousTask(one), [1])).nllFixed)
  })

  test('writes an update of every parameter, with its scales', async () => {
    const out = await succeeded(await run(trainTask(plan, { round: 0, shard: 0 }), inputsOf(0, 0)))
    const reader = await SafetensorsReader.open(join(out, 'delta.safetensors'))
    const names = parameterSpecs(plan.model).flatMap(({ name }) => [name, name + SCALE_SUFFIX])
    assert.deepEqual([...reader.tensors.keys()].sort(), names.sort())
    await reader.close()
    assert.equal(quantise(new Float32Array(1)).scales[0], 0)
  })

  test('moves no bias of keys, whose gradient is rounding alone', async () => {
    const task = { ...trainTask(plan, { round: 0, shard: 0 }), compression: 'none' }
    const out = await succeeded(await run(task, inputsOf(0, 0)))
    const reader = await SafetensorsReader.open(join(out, 'delta.safetensors'))
    const largest = async (part: string): Promise<number> => {
      const name = `bert.encoder.layer.0.attention.self.${part}.bias`
      const tensor = reader.tensors.get(name)
      assert.ok(tensor)
      const values = await reader.readFloat32(tensor, 0, tensor.sizeBytes / 4)
      return Math.max(...values.map(Math.abs))
    }
    assert.equal(await largest('key'), 0)
    assert.ok((await largest('query')) > 0)
    await reader.close()
  })

  test('hands what topk leaves out to the next round of the shard', async () => {
    const sparse = { ...plan, compression: 'topk' as const }
    const first = await succeeded(
      await run(trainTask(sparse, { round: 0, shard: 0 }), inputsOf(0, 0)),
    )
    const [delta, feedback] = ['delta', 'feedback'].map((name) =>
      join(first, `${name}.safetensors`),
    )
    assert.ok(delta !== undefined && feedback !== undefined)
    const [small, whole] = [await readFile(delta), await readFile(feedback)]
    assert.ok(small.length < whole.length / 10)
    const task = trainTask(sparse, { round: 1, shard: 0 })
    const cold = await succeeded(await run(task, inputsOf(0, 0)))
    const spec = await prepare(task, inputsOf(0, 0))
    const inputs = [...spec.inputs, { name: 'feedback.safetensors', path: feedback }]
    const warm = await succeeded(await bench.run({ ...spec, inputs }))
    assert.notDeepEqual(
      await readFile(join(warm, 'delta.safetensors')),
      await readFile(join(cold, 'delta.safetensors')),
    )
  })

  test('takes with one gradient a round the steps that one task of many steps takes', async () => {
    const steps = 4
    const all = trainTask(plan, { round: 0, shard: 0 })
    const learningRates = all.learningRates.slice(0, steps)
    const many = { ...all, steps, learningRates, compression: 'none' }
    const out = await succeeded(await run(many, inputsOf(0, 0)))
    let state = 'round-0'
    for (const [step, learningRate] of learningRates.entries()) {
      const task = {
        ...all,
        steps: 1,
        startStep: step,
        learningRates: [learningRate],
        compression: 'none',
        gradient: true,
      }
      const files = { ...inputsOf(0, 0), 'weights.safetensors': `${state}/weights.safetensors` }
      const taken = await succeeded(await run(task, files))
      const inputs = ['weights', 'momentum'].map((name) => ({
        name: `${name}.safetensors`,
        path: join(job, state, `${name}.safetensors`),
      }))
      inputs.push({ name: 'delta-000.safetensors', path: join(taken, 'delta.safetensors') })
      inputs.push({ name: 'metrics-000.json', path: join(taken, 'metrics.json') })
      const adam = { ...plan.inner, step: step + 1, learningRate }
      const params = { shards: 1, learningRate: 1, momentum: 0, compression: 'none', adam }
      state = `step-${step + 1}`
      await runBuiltin('aggregate@2', params, inputs, join(job, state))
    }
    const [start, end, delta] = [
      await readAll(join(job, 'round-0/weights.safetensors')),
      await readAll(join(job, state, 'weights.safetensors')),
      await readAll(join(out, 'delta.safetensors')),
    ]
    let [difference, size] = [0, 0]
    for (const [i, weight] of start.entries()) {
      const moved = weight - (end[i] ?? 0)
      difference += (moved - (delta[i] ?? 0)) ** 2
      size += moved ** 2
    }
    assert.ok(size > 0)
    assert.ok(Math.sqrt(difference / size) < 1e-3, `${Math.sqrt(difference / size)}`)
  })

  /** All fp32 tensors of a file, one after the other. */
  async function readAll(path: string): Promise<readonly number[]> {
    const reader = await SafetensorsReader.open(path)
    const values: number[] = []
    for (const tensor of reader.tensors.values()) {
      const count = tensor.sizeBytes / 4
      for (const value of await reader.readFloat32(tensor, 0, count)) values.push(value)
    }
    await reader.close()
    return values
  }

  test('quantises and orders rows as the vectors say', async () => {
    const program = `
import json, sys
sys.path.insert(0, "/opt/ctd")
import torch, trainer_codecs, trainer_tasks, trainer_tensors
vectors = json.load(open("/in/training.json"))
for vector in vectors["quantise"]:
    source = torch.frombuffer(bytearray.fromhex(vector["float32"]) or bytearray(4), dtype=torch.float32)
    source = source[: len(vector["float32"]) // 8]
    values, scales = trainer_tensors.quantise(source)
    assert values.numpy().tobytes().hex() == vector["int8"], vector["about"]
    assert scales.numpy().tobytes().hex() == vector["scales"], vector["about"]
def same(tensor, hex, about):
    assert tensor.numpy().tobytes().hex() == hex, about
def floats(hex):
    return torch.frombuffer(bytearray.fromhex(hex), dtype=torch.float32)
for vector in vectors["int4"]:
    packed, scales = trainer_codecs.quantise_int4(floats(vector["float32"]))
    same(packed, vector["int4"], vector["about"])
    same(scales, vector["scales"], vector["about"])
for vector in vectors["topk"]:
    update, feedback = floats(vector["float32"]), floats(vector["feedback"])
    kept, left = trainer_codecs.encode_topk("w", update, feedback)
    for name, key in (("w::topk", "values"), ("w::index", "places"), ("w::scale", "scales")):
        same(kept[name], vector[key], vector["about"])
    values, scales = trainer_tensors.quantise(left)
    same(values, vector["leftInt8"], vector["about"])
    same(scales, vector["leftScales"], vector["about"])
for vector in vectors["batchOrder"]:
    order = trainer_tasks.row_order(vector["seed"], vector["epoch"], vector["rows"])
    assert order == vector["order"], vector
open("/out/checked", "w").write(str(sum(len(vectors[key]) for key in ("quantise", "int4", "topk", "batchOrder"))))
`
    const path = join(ROOT, 'test/vectors/training.json')
    const inputs = [{ name: 'training.json', path }]
    const spec = bench.spec('', {
      argv: ['python3', '-c', program],
      inputs,
      memoryMiB: 1024,
      pids: 256,
    })
    const record = await bench.run(spec)
    assert.equal(await readFile(join(await succeeded(record), 'checked'), 'utf8'), '19')
  })

  test('ends with code 10 and no output when the weights are of another model', async () => {
    const task = trainTask(plan, { round: 0, shard: 0 })
    const model = { ...task.model, classes: 4 }
    const { outcome } = await run({ ...task, model }, inputsOf(0, 0))
    assert.equal(outcome.exitCode, 10, outcome.logTail)
    assert.match(outcome.logTail, /the weights are not those of the model/)
    assert.deepEqual(outcome.files, [])
  })

  test('ends with code 10 when the task is of a kind it does not know', async () => {
    const { outcome } = await run({ kind: 'dance', version: 1 }, {})
    assert.equal(outcome.exitCode, 10, outcome.logTail)
  })

  test('ends with code 11 when the loss is no number', async () => {
    const task = trainTask(plan, { round: 0, shard: 0 })
    const learningRates = task.learningRates.map(() => 1e30)
    const { outcome } = await run({ ...task, learningRates }, inputsOf(0, 0))
    assert.equal(outcome.exitCode, 11, outcome.logTail)
    assert.deepEqual(outcome.files, [])
  })

  test('stops within five seconds when told to', async () => {
    const task = trainTask(plan, { round: 0, shard: 0 })
    const steps = 100_000
    const endless = { ...task, steps, learningRates: Array.from({ length: steps }, () => 1e-4) }
    const stop = new AbortController()
    let askedAt = Number.NaN
    const spec = await prepare(endless, inputsOf(0, 0))
    const onProgress = () => {
      if (!stop.signal.aborted) askedAt = performance.now()
      stop.abort()
    }
    const events = { progress: onProgress, log: () => undefined }
    const outcome = await bench.runtime.run(spec, events, stop.signal)
    assert.equal(outcome.status, 'cancelled', outcome.reason)
    assert.ok(performance.now() - askedAt < 5000)
  })
})
