import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { encodeText } from '../../src/training/bytes.js'
import { runBuiltin } from '../../src/training/builtin.js'
import { bertInitial } from '../../src/training/families/bert.js'
import { drawParameter } from '../../src/training/initialise.js'
import { seededOrder } from '../../src/training/order.js'
import { learningRateSchedule } from '../../src/training/plan.js'
import { dequantise, quantise } from '../../src/training/quantise.js'
import { SafetensorsReader, SafetensorsWriter } from '../../src/training/safetensors.js'

interface Vectors {
  readonly quantise: readonly { about: string; float32: string; int8: string; scales: string }[]
  readonly splitOrder: readonly { domain: string; seed: string; count: number; order: number[] }[]
  readonly outerStep: readonly {
    learningRate: number
    momentum: number
    shards: readonly { tokens: number; int8: string; scales: string }[]
    weights: string
    momentumBefore: string
    nextWeights: string
    nextMomentum: string
  }[]
  readonly initialise: readonly { name: string; shape: number[]; seed: string; float32: string }[]
  readonly schedule: readonly { steps: number; peak: number; learningRates: number[] }[]
}

const vectors: Vectors = JSON.parse(
  readFileSync(new URL('../vectors/training.json', import.meta.url), 'utf8'),
)
const root = mkdtempSync(join(tmpdir(), 'ctd-training-'))
after(() => rmSync(root, { recursive: true }))

let folders = 0
function folder(): string {
  const path = join(root, String(folders++))
  mkdirSync(path)
  return path
}

const floats = (hex: string) => new Float32Array(new Uint8Array(Buffer.from(hex, 'hex')).buffer)
const small = (hex: string) => new Int8Array(new Uint8Array(Buffer.from(hex, 'hex')).buffer)
const hexOf = (array: Float32Array | Int8Array) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('hex')

describe('training arithmetic', () => {
  for (const vector of vectors.quantise) {
    it(`quantises as the vector says: ${vector.about}`, () => {
      const { values, scales } = quantise(floats(vector.float32))
      assert.equal(hexOf(values), vector.int8)
      assert.equal(hexOf(scales), vector.scales)
    })
  }

  it('loses at most half a scale by quantising', () => {
    const numbers = fc.array(fc.float({ noNaN: true, min: -1000, max: 1000 }), { maxLength: 600 })
    fc.assert(
      fc.property(numbers, (values) => {
        const source = Float32Array.from(values)
        const quantised = quantise(source)
        for (const [i, value] of dequantise(quantised).entries()) {
          const scale = quantised.scales[Math.floor(i / 256)] ?? 0
          const bound = scale === 0 ? 1e-43 : scale * 0.5001
          assert.ok(Math.abs(value - (source[i] ?? 0)) <= bound)
        }
      }),
    )
  })

  it('orders rows as the vectors say', () => {
    for (const { domain, seed, count, order } of vectors.splitOrder) {
      assert.deepEqual([...seededOrder(domain, seed, count)], order)
    }
  })

  it('draws first weights as the vectors say', () => {
    for (const { name, shape, seed, float32 } of vectors.initialise) {
      const spec = { name, dtype: 'F32', shape } as const
      const [chunk = new Float32Array()] = drawParameter(spec, bertInitial(spec), seed)
      assert.equal(hexOf(chunk), float32, name)
    }
  })

  it('draws matrices with the deviation they should have', () => {
    const spec = { name: 'bert.pooler.dense.weight', dtype: 'F32', shape: [256, 256] } as const
    const [drawn = new Float32Array()] = drawParameter(spec, bertInitial(spec), 'deviation')
    const mean = drawn.reduce((sum, x) => sum + x, 0) / drawn.length
    const variance = drawn.reduce((sum, x) => sum + (x - mean) ** 2, 0) / drawn.length
    assert.ok(Math.abs(mean) < 0.001)
    assert.ok(Math.abs(Math.sqrt(variance) * 16 - 1) < 0.02)
  })

  it('computes the learning rates of the vectors', () => {
    for (const { steps, peak, learningRates } of vectors.schedule) {
      assert.deepEqual(learningRateSchedule(steps, peak), learningRates)
    }
  })

  it('cuts a text at the length of the model and ends it with the end token', () => {
    assert.deepEqual([...encodeText('aé', 8)], [1, 100, 198, 172, 2, 0, 0, 0])
    assert.deepEqual([...encodeText('abcdefghij', 6)], [1, 100, 101, 102, 103, 2])
  })
})

const model = { model: 'bert-tiny', classes: 3, maxLength: 16 }

async function writeTensors(
  path: string,
  tensors: Readonly<Record<string, Float32Array | Int8Array>>,
): Promise<string> {
  const specs = Object.entries(tensors).map(([name, values]) => ({
    name,
    dtype: values instanceof Int8Array ? ('I8' as const) : ('F32' as const),
    shape: [values.length],
  }))
  const writer = await SafetensorsWriter.create(path, specs)
  for (const [name, values] of Object.entries(tensors)) await writer.write(name, 0, values)
  await writer.close()
  return path
}

async function readFloats(path: string, name: string, count: number): Promise<string> {
  const reader = await SafetensorsReader.open(path)
  const values = await reader.readFloat32(reader.tensor(name, 'F32', count), 0, count)
  await reader.close()
  return hexOf(values)
}

/** The inputs of an aggregation, on disk. */
async function aggregation(vector: Vectors['outerStep'][number], momentum?: Float32Array) {
  const dir = folder()
  const files = {
    'weights.safetensors': await writeTensors(join(dir, 'w'), { x: floats(vector.weights) }),
    'momentum.safetensors': await writeTensors(
      join(dir, 'm'),
      momentum === undefined ? {} : { x: momentum },
    ),
  }
  const inputs = Object.entries(files).map(([name, path]) => ({ name, path }))
  for (const [s, shard] of vector.shards.entries()) {
    const delta = { 'x::scale': floats(shard.scales), x: small(shard.int8) }
    const path = await writeTensors(join(dir, `d${s}`), delta)
    inputs.push({ name: `delta-00${s}.safetensors`, path })
    const metrics = join(dir, `metrics${s}`)
    writeFileSync(
      metrics,
      JSON.stringify({ tokens: shard.tokens, lossStart: 2, lossEnd: 1, steps: 3 }),
    )
    inputs.push({ name: `metrics-00${s}.json`, path: metrics })
  }
  const { learningRate, momentum: mu } = vector
  return { dir, inputs, params: { shards: vector.shards.length, learningRate, momentum: mu } }
}

describe('built-in tasks', () => {
  const [plain, nesterov] = vectors.outerStep
  assert.ok(plain !== undefined && nesterov !== undefined)
  const oldMomentum = floats(nesterov.momentumBefore)

  it('aggregates as the vectors say, and keeps no momentum where there is none', async () => {
    const { inputs, params, dir } = await aggregation(plain)
    const out = join(dir, 'out')
    await runBuiltin('aggregate@2', params, inputs, out)
    assert.equal(await readFloats(join(out, 'weights.safetensors'), 'x', 300), plain.nextWeights)
    assert.equal(readFileSync(join(out, 'momentum.safetensors')).length, 16)
    assert.deepEqual(JSON.parse(readFileSync(join(out, 'round.json'), 'utf8')), {
      lossEnd: 1,
      lossStart: 2,
      shards: 3,
      tokens: 24,
    })
  })

  it('aggregates with momentum as the vectors say', async () => {
    const { inputs, params, dir } = await aggregation(nesterov, oldMomentum)
    const out = join(dir, 'out')
    await runBuiltin('aggregate@2', params, inputs.reverse(), out)
    assert.equal(await readFloats(join(out, 'weights.safetensors'), 'x', 300), nesterov.nextWeights)
    assert.equal(
      await readFloats(join(out, 'momentum.safetensors'), 'x', 300),
      nesterov.nextMomentum,
    )
  })

  it('takes a missing momentum for zero', async () => {
    const explicit = await aggregation(nesterov, new Float32Array(300))
    const absent = await aggregation(nesterov)
    await runBuiltin('aggregate@2', explicit.params, explicit.inputs, join(explicit.dir, 'out'))
    await runBuiltin('aggregate@2', absent.params, absent.inputs, join(absent.dir, 'out'))
    const read = (dir: string) => readFileSync(join(dir, 'out', 'weights.safetensors'))
    assert.deepEqual(read(explicit.dir), read(absent.dir))
  })

  it('refuses a round whose only update is no number: TRAINING_DIVERGED', async () => {
    const [shard] = plain.shards
    assert.ok(shard !== undefined)
    const scales = hexOf(Float32Array.of(Number.NaN, 1))
    const { inputs, params, dir } = await aggregation({ ...plain, shards: [{ ...shard, scales }] })
    const run = runBuiltin('aggregate@2', params, inputs, join(dir, 'out'))
    await assert.rejects(run, { code: 'TRAINING_DIVERGED', message: /shard 0 \(not-finite\)/ })
  })

  it('refuses an update of another model and a missing shard', async () => {
    const { inputs, params, dir } = await aggregation(plain)
    const other = await writeTensors(join(dir, 'other'), {
      y: new Int8Array(3),
      'y::scale': new Float32Array(1),
    })
    const swapped = inputs.map((input) =>
      input.name === 'delta-001.safetensors' ? { ...input, path: other } : input,
    )
    await assert.rejects(runBuiltin('aggregate@2', params, swapped, join(dir, 'a')), {
      code: 'TENSOR_MISSING',
    })
    const fewer = inputs.filter((input) => input.name !== 'delta-002.safetensors')
    await assert.rejects(runBuiltin('aggregate@2', params, fewer, join(dir, 'b')), {
      code: 'INPUT_MISSING',
    })
  })

  const csv = `text,label\n${Array.from({ length: 101 }, (_, i) => `text ${i},${'abc'[i % 3] ?? ''}`).join('\n')}\n`

  async function split(seed: string) {
    const dir = folder()
    const path = join(dir, 'data.csv')
    writeFileSync(path, csv)
    const out = join(dir, 'out')
    await runBuiltin(
      'split@1',
      { shards: 2, maxLength: 16, seed },
      [{ name: 'data.csv', path }],
      out,
    )
    return out
  }

  it('puts every row into exactly one shard, and the same bytes for the same seed', async () => {
    const out = await split('s')
    const texts = new Set<string>()
    for (const [file, rows] of [
      ['eval-000', 10],
      ['train-000', 45],
      ['train-001', 46],
    ] as const) {
      const reader = await SafetensorsReader.open(join(out, `${file}.safetensors`))
      const tokens = await reader.readInt16(reader.tensor('tokens', 'I16', rows * 16), 0, rows * 16)
      for (let row = 0; row < rows; row++)
        texts.add(tokens.subarray(row * 16, row * 16 + 16).join())
      await reader.close()
    }
    assert.equal(texts.size, 101)
    const names = ['train-000.safetensors', 'eval-000.safetensors', 'split.json', 'labels.json']
    const again = await split('s')
    for (const name of names)
      assert.deepEqual(readFileSync(join(out, name)), readFileSync(join(again, name)))
    const other = await split('t')
    assert.notDeepEqual(
      readFileSync(join(out, 'train-000.safetensors')),
      readFileSync(join(other, 'train-000.safetensors')),
    )
    assert.equal(readFileSync(join(out, 'labels.json'), 'utf8'), '["a","b","c"]\n')
    const summary = JSON.parse(readFileSync(join(out, 'split.json'), 'utf8'))
    assert.equal(summary.evalRows + summary.trainRows, 101)
  })

  it('draws the same first weights for the same seed only', async () => {
    const [a, b, c] = [folder(), folder(), folder()]
    await runBuiltin('init@1', { ...model, seed: 's' }, [], a)
    await runBuiltin('init@1', { ...model, seed: 's' }, [], b)
    await runBuiltin('init@1', { ...model, seed: 't' }, [], c)
    const read = (dir: string) => readFileSync(join(dir, 'weights.safetensors'))
    assert.deepEqual(read(a), read(b))
    assert.notDeepEqual(read(a), read(c))
  })

  it('adds up the counts of evaluation shards', async () => {
    const dir = folder()
    const inputs = [
      {
        n: 4,
        correct: 3,
        nllFixed: 2 ** 20,
        confusion: [
          [2, 1],
          [0, 1],
        ],
      },
      {
        n: 4,
        correct: 1,
        nllFixed: 3 * 2 ** 20,
        confusion: [
          [1, 3],
          [0, 0],
        ],
      },
    ].map((metrics, i) => {
      const path = join(dir, `m${i}`)
      writeFileSync(path, JSON.stringify(metrics))
      return { name: `metrics-00${i}.json`, path }
    })
    await runBuiltin('reduce-eval@1', { shards: 2 }, inputs, join(dir, 'out'))
    assert.deepEqual(JSON.parse(readFileSync(join(dir, 'out', 'metrics.json'), 'utf8')), {
      accuracy: 0.5,
      confusion: [
        [3, 4],
        [0, 1],
      ],
      correct: 4,
      loss: 0.5,
      n: 8,
      nllFixed: 4 * 2 ** 20,
    })
  })

  it('refuses what it does not know: UNKNOWN_BUILTIN, BAD_PARAMS', async () => {
    await assert.rejects(runBuiltin('split@2', {}, [], folder()), { code: 'UNKNOWN_BUILTIN' })
    const params = { ...model, seed: 's', extra: 1 }
    await assert.rejects(runBuiltin('init@1', params, [], folder()), { code: 'BAD_PARAMS' })
  })

  it('answers from a worker thread, also with an error', async () => {
    // Node does not hand tsx on to workers, so the worker registers it before the real entry.
    const entry = new URL('../../src/training/builtin-worker.ts', import.meta.url)
    const start = `import('tsx/esm/api').then((tsx) => { tsx.register(); return import('${entry.href}') })`
    const ask = (name: string, params: unknown) =>
      new Promise((resolve, reject) => {
        const workerData = { name, params, inputs: [], outDir: folder() }
        const worker = new Worker(start, { workerData, eval: true })
        worker.once('message', resolve).once('error', reject)
      })
    assert.deepEqual(await ask('init@1', { ...model, seed: 's' }), { ok: true })
    const refused = await ask('init@1', { ...model, seed: 's', model: 'bert-tny' })
    assert.equal(Reflect.get(Object(refused), 'code'), 'UNKNOWN_MODEL')
  })
})
