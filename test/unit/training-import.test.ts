import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { runBuiltin } from '../../src/training/builtin.js'
import { halfOf } from '../../src/training/import.js'
import { modelOf } from '../../src/training/model.js'
import { modelConfig } from '../../src/training/presets.js'
import {
  elementCount,
  SafetensorsReader,
  SafetensorsWriter,
  type Dtype,
} from '../../src/training/safetensors.js'

const folder = mkdtempSync(join(tmpdir(), 'ctd-import-'))
after(() => rmSync(folder, { recursive: true }))

const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'row', 'even', 'odd', '##s', '1', '2']
const HF_CONFIG = {
  model_type: 'bert',
  num_hidden_layers: 2,
  hidden_size: 128,
  num_attention_heads: 2,
  intermediate_size: 512,
  hidden_act: 'gelu',
}

interface Change {
  readonly config?: object
  readonly rename?: (name: string) => string
  readonly drop?: RegExp
  readonly more?: readonly string[]
  readonly dtype?: Dtype
  readonly value?: number
}

/** Weights as somebody else left them: 12 words, 32 places, everything the given number. */
async function pretrained(change: Change = {}): Promise<string> {
  const dir = mkdtempSync(join(folder, 'weights-'))
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...HF_CONFIG, ...change.config }))
  const config = modelConfig('bert-tiny', { classes: 3, vocabulary: 12, maxLength: 32 })
  const { dtype = 'F32', rename = (name: string) => name, value = 0.5 } = change
  const specs = modelOf(config)
    .parameters.filter(({ name }) => change.drop?.test(name) !== true)
    .map((spec) => ({ ...spec, name: rename(spec.name), dtype }))
  specs.push(...(change.more ?? []).map((name) => ({ name, dtype, shape: [1] })))
  const writer = await SafetensorsWriter.create(join(dir, 'model.safetensors'), specs)
  for (const { name, shape } of specs) {
    const count = elementCount(shape)
    // 0x3800 is a half in binary16.
    const values = dtype === 'F16' ? new Int16Array(count).fill(0x3800) : new Float32Array(count)
    if (values instanceof Float32Array) values.fill(value)
    await writer.write(name, 0, values)
  }
  await writer.close()
  return dir
}

async function importAs(dir: string, shape: object = {}) {
  const outDir = join(mkdtempSync(join(folder, 'out-')), 'out')
  const params = { model: 'bert-tiny', classes: 2, vocabulary: 10, maxLength: 16, seed: 's' }
  await runBuiltin('import@1', { ...params, ...shape }, [{ name: 'weights', path: dir }], outDir)
  return await SafetensorsReader.open(join(outDir, 'weights.safetensors'))
}

describe('given weights', () => {
  const valuesOf = async (reader: SafetensorsReader, name: string) => {
    const tensor = reader.tensors.get(name)
    assert.ok(tensor, name)
    return await reader.readFloat32(tensor, 0, elementCount(tensor.shape))
  }

  const forms: readonly (readonly [string, Change])[] = [
    ['as they are', {}],
    ['without the name of the trunk', { rename: (name) => name.replace(/^bert\./, '') }],
    [
      'with the old names of layer norms',
      {
        rename: (name) =>
          name
            .replace('LayerNorm.weight', 'LayerNorm.gamma')
            .replace('LayerNorm.bias', 'LayerNorm.beta'),
      },
    ],
    ['of 16 bits', { dtype: 'F16' }],
    [
      'beside what is no part of the model',
      { more: ['cls.predictions.bias', 'bert.embeddings.position_ids'] },
    ],
  ]
  for (const [what, change] of forms) {
    it(`become the first weights, ${what}`, async () => {
      const reader = await importAs(await pretrained(change))
      const words = await valuesOf(reader, 'bert.embeddings.word_embeddings.weight')
      assert.equal(words.length, 10 * 128)
      assert.ok(words.every((value) => value === 0.5))
      const places = await valuesOf(reader, 'bert.embeddings.position_embeddings.weight')
      assert.equal(places.length, 16 * 128)
      assert.ok(
        (await valuesOf(reader, 'bert.pooler.dense.weight')).every((value) => value === 0.5),
      )
      // Two labels of ours against three of theirs: a new head, drawn from the seed.
      const head = await valuesOf(reader, 'classifier.weight')
      assert.equal(head.length, 2 * 128)
      assert.ok(new Set(head).size > 100)
      await reader.close()
    })
  }

  it('lack no more than a head', async () => {
    const reader = await importAs(await pretrained({ drop: /pooler|classifier/ }))
    assert.ok(new Set(await valuesOf(reader, 'bert.pooler.dense.weight')).size > 100)
    await reader.close()
  })

  it('give the same bytes from the same seed, and another head from another', async () => {
    const dir = await pretrained()
    const bytes = async (seed: string) => {
      const reader = await importAs(dir, { seed })
      await reader.close()
      return readFileSync(reader.path)
    }
    const [first, again, other] = [await bytes('s'), await bytes('s'), await bytes('t')]
    assert.ok(first.equals(again))
    assert.ok(!first.equals(other))
  })

  const refused: readonly (readonly [string, string, RegExp, Change, object?])[] = [
    [
      'of other layers',
      'WEIGHTS_UNFIT',
      /num_hidden_layers is 4/,
      { config: { num_hidden_layers: 4 } },
    ],
    ['of another width', 'WEIGHTS_UNFIT', /hidden_size is 256/, { config: { hidden_size: 256 } }],
    [
      'of another kind',
      'WEIGHTS_UNFIT',
      /model_type is "roberta"/,
      { config: { model_type: 'roberta' } },
    ],
    [
      'with another activation',
      'WEIGHTS_UNFIT',
      /hidden_act is "relu"/,
      { config: { hidden_act: 'relu' } },
    ],
    ['that lack a layer', 'WEIGHTS_UNFIT', /lack bert\.encoder\.layer\.1/, { drop: /layer\.1\./ }],
    [
      'with a layer more',
      'WEIGHTS_UNFIT',
      /has no bert\.encoder\.layer\.2/,
      { more: ['bert.encoder.layer.2.output.dense.bias'] },
    ],
    [
      'with fewer words than the tokenizer',
      'WEIGHTS_UNFIT',
      /word_embeddings/,
      {},
      { vocabulary: 13 },
    ],
    [
      'with fewer places than the rows',
      'WEIGHTS_UNFIT',
      /position_embeddings/,
      {},
      { maxLength: 33 },
    ],
    ['without their tokenizer', 'WEIGHTS_UNFIT', /a tokenizer is missing/, {}, { vocabulary: 259 }],
    ['that are not finite', 'WEIGHTS_UNFIT', /not finite/, { value: Number.NaN }],
    ['of integers', 'WEIGHTS_UNFIT', /is I32/, { dtype: 'I32' }],
  ]
  for (const [what, code, message, change, shape] of refused) {
    it(`are refused ${what}: ${code}`, async () => {
      const dir = await pretrained(change)
      await assert.rejects(importAs(dir, shape), { code, message })
    })
  }

  it('are refused for a model that takes none: WEIGHTS_UNSUPPORTED', async () => {
    const dir = await pretrained()
    await assert.rejects(importAs(dir, { model: 'mlp', features: 3 }), {
      code: 'WEIGHTS_UNSUPPORTED',
    })
  })

  it('are refused without their file: WEIGHTS_MISSING', async () => {
    const dir = await pretrained()
    rmSync(join(dir, 'model.safetensors'))
    await assert.rejects(importAs(dir), { code: 'WEIGHTS_MISSING' })
  })

  it('of 16 bits are read exactly', () => {
    const known = [0x0000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x3555]
    const values = [0, 1, -2, 65_504, 2 ** -24, 1023 * 2 ** -24, 1365 * 2 ** -12]
    assert.deepEqual(known.map(halfOf), values)
    assert.ok(Object.is(halfOf(-0x8000), -0))
    assert.equal(halfOf(0x7c00), Infinity)
  })
})

describe('a split with a tokenizer', () => {
  it('writes its ids, and the files of the tokenizer into the result', async () => {
    const dir = mkdtempSync(join(folder, 'split-'))
    const tokenizer = join(dir, 'tokenizer')
    mkdirSync(tokenizer)
    writeFileSync(join(tokenizer, 'vocab.txt'), WORDS.join('\n'))
    writeFileSync(join(tokenizer, 'README.md'), 'not of the tokenizer')
    const lines = Array.from({ length: 20 }, (_, i) => `rows ${i % 2},${i % 2}`)
    writeFileSync(join(dir, 'd.csv'), ['text,label', ...lines].join('\n'))
    const out = join(dir, 'out')
    const params = { shards: 1, maxLength: 8, seed: 's', model: 'bert-tiny' }
    const inputs = [
      { name: 'dataset', path: join(dir, 'd.csv') },
      { name: 'tokenizer', path: tokenizer },
    ]
    await runBuiltin('split@1', params, inputs, out)
    const reader = await SafetensorsReader.open(join(out, 'train-000.safetensors'))
    const tokens = await reader.readInt16(reader.tensor('tokens', 'I16', 18 * 8), 0, 8)
    await reader.close()
    assert.ok([1, 8].includes(tokens[3] ?? 0))
    // [CLS] row ##s 1 or [UNK] [SEP] and padding.
    assert.deepEqual([...tokens.subarray(0, 3)], [2, 4, 7])
    assert.deepEqual([...tokens.subarray(4)], [3, 0, 0, 0])
    assert.equal(readFileSync(join(out, 'vocab.txt'), 'utf8'), WORDS.join('\n'))
    assert.equal(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).vocab_size, 10)
    assert.throws(() => readFileSync(join(out, 'README.md')), { code: 'ENOENT' })
  })
})
