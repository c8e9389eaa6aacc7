import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import fc from 'fast-check'
import { runBuiltin } from '../../src/training/builtin.js'
import { dataShapeOf } from '../../src/training/data-shape.js'
import { readExamples, type ExampleSet } from '../../src/training/data/examples.js'
import { openSource, type DataFormat } from '../../src/training/data/source.js'
import type { FamilyName } from '../../src/training/families/family.js'
import { FAMILY_LAWS, modelOf, parameterSpecs } from '../../src/training/model.js'
import { planTraining } from '../../src/training/plan.js'
import { exponential, naturalLog } from '../../src/training/portable-math.js'
import { familyOf, MODEL_NAMES, modelConfig } from '../../src/training/presets.js'
import { elementCount, SafetensorsReader } from '../../src/training/safetensors.js'
import { summariseDataset, type DatasetParams } from '../../src/training/split.js'
import { FAMILY_JOBS, type FamilyJob } from './family-data.js'

const root = mkdtempSync(join(tmpdir(), 'ctd-families-'))
after(() => rmSync(root, { recursive: true }))

const SHAPE = { classes: 10, vocabulary: 300, features: 4, height: 28, width: 28, channels: 1 }

function sizeOf(model: string, shape = {}): number {
  const specs = parameterSpecs(modelConfig(model, { ...SHAPE, vocabulary: undefined, ...shape }))
  return specs.reduce((sum, spec) => sum + elementCount(spec.shape), 0)
}

let folders = 0
async function split(job: FamilyJob, shards = 2): Promise<string> {
  const folder = join(root, String(folders++))
  mkdirSync(folder)
  writeFileSync(join(folder, 'dataset'), job.dataset)
  const { model, format, maxLength } = job
  const params = { shards, maxLength, seed: 's', model, format }
  const inputs = [{ name: 'dataset', path: join(folder, 'dataset') }]
  await runBuiltin('split@1', params, inputs, join(folder, 'split'))
  return join(folder, 'split')
}

function readJson(folder: string, name: string): Record<string, number> {
  return JSON.parse(readFileSync(join(folder, name), 'utf8'))
}

function write(content: string | Uint8Array): string {
  const path = join(root, `dataset-${folders++}`)
  writeFileSync(path, content)
  return path
}

function summarise(content: string | Uint8Array, params: DatasetParams) {
  const files = write(content)
  return summariseDataset({ files, spoolPath: `${files}.spool` }, params)
}

function summaryOf({ dataset, model, format, maxLength }: FamilyJob) {
  return summarise(dataset, { model, format, maxLength })
}

/** The dataset as its family sees it, to be closed at the end. */
async function read(
  family: FamilyName,
  content: string | Uint8Array,
  { format, maxLength }: { readonly format: DataFormat; readonly maxLength: number },
) {
  const path = write(content)
  const law = FAMILY_LAWS[family]
  const source = await openSource(path, { format })
  const examples = await readExamples(law.examples(format), source, {}, `${path}.spool`)
  opened.push(examples)
  return law.read(examples, { maxLength })
}
const opened: ExampleSet[] = []
after(() => {
  for (const examples of opened) examples.close()
})

async function shardOf(folder: string, name: string): Promise<Map<string, readonly number[]>> {
  const reader = await SafetensorsReader.open(join(folder, name))
  const shapes = new Map([...reader.tensors].map(([tensor, { shape }]) => [tensor, shape]))
  await reader.close()
  return shapes
}

describe('families of models', () => {
  it('knows the sizes of its models', () => {
    // Embeddings, norms, and per layer 12 d^2 + 13 d.
    assert.equal(sizeOf('gpt-tiny'), (259 + 64) * 96 + 2 * 96 + 3 * (12 * 96 * 96 + 13 * 96))
    // GPT-2 of 124 M parameters, with its own vocabulary and length.
    assert.equal(sizeOf('gpt2', { vocabulary: 50_257, maxLength: 1024 }), 124_439_808)
    assert.equal(sizeOf('embed-tiny'), sizeOf('bert-tiny') - 128 * 128 - 128 - 10 * 128 - 10)
    assert.equal(sizeOf('word2vec-small', { vocabulary: 1000 }), 2 * 1000 * 64)
    const convolutions = 16 * 9 + 16 + 32 * 16 * 9 + 32
    assert.equal(sizeOf('cnn-small'), convolutions + 7 * 7 * 32 * 128 + 128 + 1290)
    assert.equal(sizeOf('image-mlp'), 784 * 128 + 128 + 1290)
    assert.equal(sizeOf('mlp'), 4 * 64 + 64 + 64 * 64 + 64 + 650)
  })

  for (const model of MODEL_NAMES) {
    it(`gives every parameter of ${model} a name of its own and a first value`, () => {
      const { parameters, initial, flopsPerRow } = modelOf(modelConfig(model, SHAPE))
      const names = parameters.map(({ name }) => name)
      assert.deepEqual([...new Set(names)].sort(), names)
      for (const parameter of parameters) {
        const value = initial(parameter)
        const first = 'constant' in value ? value.constant : value.deviation
        assert.ok(first >= 0 && first <= 1.5, parameter.name)
      }
      assert.ok(flopsPerRow() > 0)
    })
  }

  it('refuses a model whose data says too little: BAD_TRAINING_SPEC', () => {
    assert.throws(() => modelConfig('mlp', { classes: 2 }), { code: 'BAD_TRAINING_SPEC' })
    assert.throws(() => modelConfig('word2vec-small', {}), { code: 'BAD_TRAINING_SPEC' })
  })

  for (const job of FAMILY_JOBS) {
    it(`splits the rows of ${job.model} among its shards, the same every time`, async () => {
      const summary = await summaryOf(job)
      const [folder, again] = [await split(job), await split(job)]
      const names = ['train-000', 'train-001', 'eval-000'].map((name) => `${name}.safetensors`)
      const counts: number[] = []
      for (const name of names) {
        const shapes = [...(await shardOf(folder, name)).values()]
        const rows = new Set(shapes.map((shape) => shape[0] ?? 0))
        assert.equal(rows.size, 1)
        counts.push(...rows)
      }
      assert.deepEqual(
        [counts.reduce((a, b) => a + b), counts[2]],
        [summary.rows, summary.evalRows],
      )
      for (const name of [...names, 'split.json', 'metrics.json', 'config.json']) {
        assert.deepEqual(readFileSync(join(again, name)), readFileSync(join(folder, name)), name)
      }
    })

    it(`tells what a baseline of ${job.model} reaches, in whole numbers`, async () => {
      const counts = readJson(await split(job), 'metrics.json')
      assert.ok((counts['n'] ?? 0) >= (await summaryOf(job)).evalRows)
      assert.ok(Object.values(counts).every(Number.isSafeInteger), JSON.stringify(counts))
      const fields = FAMILY_LAWS[familyOf(job.model)].results((name) => counts[name] ?? 0)
      const figure = fields[job.figure]
      assert.ok(typeof figure === 'number' && figure > 0 && (job.figure === 'loss' || figure < 1))
    })

    it(`plans a job of ${job.model} and draws its first weights`, async () => {
      const { model, epochs, maxLength } = job
      const summary = await summaryOf(job)
      const plan = planTraining({ ...summary, model, epochs, maxLength, seed: 's' })
      assert.ok(plan.totalSteps > 0)
      const out = join(root, String(folders++))
      const params = { model, ...dataShapeOf(summary), maxLength, seed: 's' }
      await runBuiltin('init@1', params, [], out)
      const shapes = await shardOf(out, 'weights.safetensors')
      assert.deepEqual(
        [...shapes].sort(([a], [b]) => (a < b ? -1 : 1)),
        parameterSpecs(plan.model).map(({ name, shape }) => [name, shape]),
      )
    })
  }

  it('cuts a text into windows that share one byte with the next', async () => {
    const dataset = Buffer.from(Array.from({ length: 8 * 20 + 1 }, (_, i) => 32 + (i % 89)))
    const options = { format: 'txt', maxLength: 8 } as const
    const { rows, split: splitRows } = await read('causal-lm', dataset, options)
    assert.equal(rows, 20)
    const path = join(root, 'windows.safetensors')
    const order = Uint32Array.from({ length: rows }, (_, i) => i)
    await splitRows(order, order).writeShard(path, order)
    const bytes = readFileSync(path)
    const numbers = new Int16Array(Uint8Array.from(bytes.subarray(-20 * 9 * 2)).buffer)
    for (const [i, token] of numbers.entries()) {
      assert.equal(token, 3 + 32 + ((Math.floor(i / 9) * 8 + (i % 9)) % 89))
    }
  })

  it("counts the entropy of a text's letters as the baseline", async () => {
    const dataset = Buffer.from('abab'.repeat(2000))
    const options = { format: 'txt', maxLength: 16 } as const
    const { rows, split: splitRows } = await read('causal-lm', dataset, options)
    const order = Uint32Array.from({ length: rows }, (_, i) => i)
    const { baseline } = splitRows(order.subarray(0, 50), order.subarray(50))
    const fields = FAMILY_LAWS['causal-lm'].results((name) => baseline[name] ?? 0)
    // Two letters, and 257 tokens that got one count each.
    assert.ok(Math.abs((fields['loss'] ?? 0) - Math.LN2) < 0.05, JSON.stringify(fields))
    assert.equal(fields['nextTokenAccuracy'], 0.5)
  })

  it('scales features by the rows that are learnt from alone', async () => {
    const rows = Array.from({ length: 20 }, (_, i) => `${i < 10 ? 1000 : i},,${i % 2}`)
    const dataset = Buffer.from(['x,empty,label', ...rows].join('\n'))
    const options = { format: 'csv', maxLength: 8 } as const
    const { split: splitRows } = await read('tabular', dataset, options)
    const order = Uint32Array.from({ length: 20 }, (_, i) => i)
    const { describes, writeShard } = splitRows(order.subarray(0, 10), order.subarray(10))
    assert.deepEqual(describes?.['features'], [
      { name: 'x', mean: 14.5, deviation: Math.sqrt(8.25) },
      { name: 'empty', mean: 0, deviation: 1 },
    ])
    const path = join(root, 'scaled.safetensors')
    await writeShard(path, order.subarray(10))
    const reader = await SafetensorsReader.open(path)
    const values = await reader.readFloat32(reader.tensor('features', 'F32', 20), 0, 20)
    await reader.close()
    assert.equal(values[0], Math.fround(-4.5 / Math.sqrt(8.25)))
    assert.equal(values[1], 0)
  })

  it('ranks by frequency as the evaluation ranks by products', async () => {
    const job = FAMILY_JOBS.find(({ model }) => model === 'word2vec-small')
    assert.ok(job)
    const options = { format: 'txt', maxLength: 12 } as const
    const { rows, split: splitRows } = await read('word-embedding', job.dataset, options)
    const order = Uint32Array.from({ length: rows }, (_, i) => i)
    const { baseline } = splitRows(order.subarray(0, 40), order.subarray(40))
    // Each of 12 places has 4 neighbours on either side, less those beyond the ends.
    assert.equal(baseline['n'], 40 * 2 * (11 + 10 + 9 + 8))
    assert.ok((baseline['recall1'] ?? 0) <= (baseline['recall5'] ?? 0))
  })

  for (const [why, model, format, dataset, code] of [
    ['a text for a table', 'bert-tiny', 'txt', 'one\ntwo', 'DATA_FORMAT'],
    ['a text for numbers', 'mlp', 'txt', 'one\ntwo', 'DATA_FORMAT'],
    ['a word among numbers', 'mlp', 'csv', 'x,label\none,a', 'DATA_NOT_NUMERIC'],
    ['a row that is too short', 'mlp', 'csv', 'x,y,label\n1,a', 'DATA_RAGGED'],
    ['a row without label', 'mlp', 'csv', 'x,label\n1,', 'DATA_BLANK'],
    ['a table without rows', 'mlp', 'csv', 'x,label', 'DATA_EMPTY'],
    [
      'images that are no squares',
      'cnn-small',
      'csv',
      `a,b,label${'\n1,2,x\n1,2,y'.repeat(5)}`,
      'DATA_SHAPE',
    ],
    ['pixels beyond 255', 'cnn-small', 'csv', `a,label${'\n256,x\n1,y'.repeat(5)}`, 'DATA_NUMBER'],
    ['a text of a few bytes', 'gpt-tiny', 'txt', 'short', 'DATA_TOO_FEW_ROWS'],
    ['a handful of pairs', 'embed-tiny', 'txt', 'a\nb', 'DATA_TOO_FEW_ROWS'],
    ['bytes that are no text', 'embed-tiny', 'txt', '\xff', 'DATA_ENCODING'],
    ['a table without pairs', 'embed-tiny', 'csv', 'x,y\n1,2', 'DATA_COLUMN_MISSING'],
    ['a handful of words', 'word2vec-small', 'txt', 'a b c', 'DATA_TOO_FEW_ROWS'],
  ] as const) {
    it(`refuses ${why}: ${code}`, async () => {
      const bytes = Buffer.from(dataset, 'latin1')
      await assert.rejects(summarise(bytes, { model, format }), { code })
    })
  }

  it('asks for the column that was meant: DATA_COLUMN_MISSING', async () => {
    const options = { model: 'mlp', format: 'csv', labelColumn: 'kinds' } as const
    await assert.rejects(summarise('x,kind\n1,a', options), { code: 'DATA_COLUMN_MISSING' })
  })
})

describe('portable arithmetic', () => {
  it('computes logarithms to fourteen digits', () => {
    const positive = fc.double({ min: 1e-300, max: 1e300, noNaN: true })
    fc.assert(
      fc.property(positive, (x) => {
        const wanted = Math.log(x)
        assert.ok(Math.abs(naturalLog(x) - wanted) <= 1e-14 * Math.max(1, Math.abs(wanted)) * 4)
      }),
    )
    assert.throws(() => naturalLog(0))
  })

  it('computes exponentials to twelve digits', () => {
    fc.assert(
      fc.property(fc.double({ min: -50, max: 50, noNaN: true }), (x) => {
        assert.ok(Math.abs(exponential(x) / Math.exp(x) - 1) < 1e-12)
      }),
    )
    assert.throws(() => exponential(701))
  })
})
