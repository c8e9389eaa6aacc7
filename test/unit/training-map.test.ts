/** Work over rows: what is asked for, how it is planned, cut and put together, what is refused. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { mapJob, type MapComponents } from '../../src/api/map-submission.js'
import type { MapRequest } from '../../src/api/daemon-port.js'
import { jobRequestSchema } from '../../src/api/schemas.js'
import { mapRequest } from '../../src/cli/map.js'
import { decodeSpec, encodeSpec, type MapSpec } from '../../src/protocol/job-spec.js'
import { resultOf } from '../../src/protocol/job-result.js'
import { planJob } from '../../src/protocol/plan.js'
import { runBuiltin } from '../../src/training/builtin.js'
import { readGivenModel, type GivenModel } from '../../src/training/given-model.js'
import { firstRow, mapTask, VECTOR_SCALE } from '../../src/training/map.js'
import { modelOf } from '../../src/training/model.js'
import { modelConfig } from '../../src/training/presets.js'
import { SafetensorsReader, SafetensorsWriter } from '../../src/training/safetensors.js'
import { digestOf, sha256, utf8 } from '../../src/wire/ids.js'

const GPT: GivenModel = {
  family: 'causal-lm',
  ...{ layers: 1, hidden: 8, heads: 2, intermediate: 16, vocabulary: 259, maxLength: 32 },
}
const BERT: GivenModel = { ...GPT, family: 'sentence-embedding' }

const SPEC: MapSpec = {
  kind: 'map',
  verb: 'embed',
  model: BERT,
  rows: 10,
  shards: 3,
  seed: 's',
  format: 'txt',
  textColumn: '',
  output: 'npy',
  maxTokens: 0,
  temperature: 0,
  endToken: 0,
  resources: {
    ...{ memoryMiB: 1024, cpus: 1, pids: 64, outMiB: 64, gpus: 0, vramMiB: 0 },
    isolation: 'runc',
    timeoutMs: 60_000,
  },
}
const GENERATE: MapSpec = {
  ...SPEC,
  ...{ verb: 'generate', model: GPT, output: 'jsonl', maxTokens: 8, endToken: 2 },
}

function input(name: string) {
  return { name, digest: sha256(utf8(name)), sizeBytes: 1, folder: false }
}

function planOf(spec: MapSpec, inputs = ['dataset', 'weights']) {
  return planJob({ spec: encodeSpec(spec), inputs: inputs.map(input) })
}

describe('the plan of work over rows', () => {
  it('cuts the rows, works on every shard, and joins what the shards made', () => {
    const plan = planOf(SPEC, ['dataset', 'weights', 'vocab.txt'])
    assert.deepEqual(
      plan.batches.map((slots) => slots.map(({ name }) => name)),
      [['split'], ['embed 0', 'embed 1', 'embed 2', 'join']],
    )
    const [shard] = plan.batches[1] ?? []
    assert.deepEqual(shard?.inputs, [
      { name: 'weights.safetensors', source: { kind: 'job', input: 'weights' } },
      {
        name: 'rows.safetensors',
        source: { kind: 'slot', batch: 0, slot: 0, path: 'rows-000.safetensors' },
      },
    ])
    const names = plan.batches[1]?.at(-1)?.inputs.map(({ name }) => name)
    assert.deepEqual(names, [
      ...['out-000.safetensors', 'out-001.safetensors', 'out-002.safetensors'],
      'vocab.txt',
    ])
    assert.deepEqual(plan.artifacts[0], {
      ...{ path: 'vectors.npy', batch: 1, slot: 3, file: 'vectors.npy' },
    })
  })

  it('gives every row to one shard, whatever the numbers', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 1, max: 255 }),
        (n, most) => {
          const shards = Math.min(n, most)
          const starts = Array.from({ length: shards + 1 }, (_, i) => firstRow(n, shards, i))
          assert.equal(starts[0], 0)
          assert.equal(starts.at(-1), n)
          const sizes = starts.slice(1).map((start, i) => start - (starts[i] ?? 0))
          assert.ok(Math.min(...sizes) >= 1 && Math.max(...sizes) - Math.min(...sizes) <= 1)
        },
      ),
    )
  })

  it('says in the task which row is the first, so that draws are keyed by the row', () => {
    const [, second] = planOf(GENERATE).batches[1] ?? []
    const task: unknown = JSON.parse(second?.taskJson() ?? '')
    assert.deepEqual(task, mapTask(GENERATE, 1))
    assert.equal(Reflect.get(Object(task), 'firstRow'), 3)
  })

  it('is the same after a trip over the wire, and refuses what does not fit together', () => {
    assert.deepEqual(decodeSpec(encodeSpec(SPEC)), SPEC)
    for (const wrong of [
      { ...SPEC, verb: 'generate' as const },
      { ...SPEC, shards: 11 },
      { ...SPEC, maxTokens: 4 },
      { ...SPEC, model: { ...BERT, heads: 3 } },
      { ...GENERATE, output: 'npy' as const },
      { ...GENERATE, maxTokens: 0 },
      { ...GENERATE, maxTokens: 32 },
    ]) {
      assert.throws(() => planOf(wrong), { code: 'SPEC_INVALID' })
    }
    assert.throws(() => planOf(SPEC, ['dataset']), { code: 'MANIFEST_INVALID' })
    assert.throws(() => planOf(SPEC, ['dataset', 'weights', 'more']), { code: 'MANIFEST_INVALID' })
  })

  it('has for a result the hash of the joined file, the rows, and no accuracy', () => {
    const plan = planOf(SPEC)
    const digest = digestOf(utf8('vectors'))
    const files = new Map([['vectors.npy', { path: 'vectors.npy', digest, sizeBytes: 1 }]])
    const result = resultOf(plan, () => ({ root: digestOf(utf8('root')), metrics: {}, files }))
    assert.deepEqual(result, { accuracy: null, hash: digest, rows: 10 })
  })
})

describe('flags and requests of work over rows', () => {
  it('become a request that the API takes', () => {
    const common = { model: 'm', out: 'texts.jsonl' }
    const request = mapRequest('generate', {
      ...common,
      ...{ prompts: 'p.jsonl', maxTokens: '16', temperature: '0.7', seed: '7' },
    })
    assert.deepEqual(request, {
      ...{ kind: 'map', verb: 'generate', model: 'm', dataset: 'p.jsonl', output: 'jsonl' },
      ...{ seed: '7', format: 'jsonl', maxTokens: 16, temperature: 0.7 },
    })
    const digest = '0'.repeat(64)
    const sent = { ...request, model: digest, dataset: digest }
    assert.deepEqual(jobRequestSchema.parse(sent), sent)
  })

  it('are refused where they cannot be meant: USAGE', () => {
    const embed = { model: 'm', dataset: 'd.txt', out: 'v.npy' }
    assert.throws(() => mapRequest('embed', { ...embed, out: 'v.txt' }), { code: 'USAGE' })
    assert.throws(() => mapRequest('embed', { ...embed, shards: '0' }), { code: 'USAGE' })
    const generate = { model: 'm', prompts: 'p.txt', out: 't.jsonl' }
    assert.throws(() => mapRequest('generate', { ...generate, out: 't.npy' }), { code: 'USAGE' })
    assert.throws(() => mapRequest('generate', { ...generate, temperature: 'hot' }), {
      code: 'USAGE',
    })
  })
})

describe('rows in files', () => {
  let dir: string
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'ctd-map-'))
  })
  after(async () => rm(dir, { recursive: true, force: true }))

  async function split(name: string, text: string, params: object) {
    const path = join(dir, `${name}.in`)
    await writeFile(path, text)
    const out = join(dir, name)
    const rows = { ...{ format: 'txt', maxTokens: 0, shards: 1 }, ...params }
    await runBuiltin('split-rows@1', rows, [{ name: 'dataset', path }], out)
    return out
  }

  async function tokensOf(path: string) {
    const reader = await SafetensorsReader.open(path)
    const tensor = reader.tensors.get('tokens')
    assert.ok(tensor !== undefined)
    const count = tensor.shape.reduce((product, extent) => product * extent, 1)
    const tokens =
      tensor.dtype === 'I16'
        ? await reader.readInt16(tensor, 0, count)
        : await reader.readInt32(tensor, 0, count)
    await reader.close()
    return { shape: tensor.shape, tokens: [...tokens] }
  }

  it('keeps the order of the rows, an empty line among them, and pads to the longest', async () => {
    const out = await split('lines', 'abc\n\nd\n', {
      ...{ verb: 'embed', model: BERT, rows: 3, shards: 2 },
    })
    assert.deepEqual(await tokensOf(join(out, 'rows-000.safetensors')), {
      ...{ shape: [1, 5], tokens: [1, 100, 101, 102, 2] },
    })
    assert.deepEqual(await tokensOf(join(out, 'rows-001.safetensors')), {
      ...{ shape: [2, 5], tokens: [1, 2, 0, 0, 0, 1, 103, 2, 0, 0] },
    })
  })

  it('gives prompts bare, filled up with -1', async () => {
    const text = '{"prompt":"ab"}\n{"prompt":"c"}\n'
    const params = { verb: 'generate', model: GPT, rows: 2, format: 'jsonl', maxTokens: 4 }
    const out = await split('prompts', text, params)
    assert.deepEqual(await tokensOf(join(out, 'rows-000.safetensors')), {
      ...{ shape: [2, 2], tokens: [100, 101, 102, -1] },
    })
  })

  it('refuses prompts that are too long or empty: PROMPT_TOO_LONG, PROMPT_EMPTY', async () => {
    const params = { verb: 'generate', model: GPT, rows: 2, maxTokens: 8 }
    const long = `short\n${'x'.repeat(25)}\n`
    await assert.rejects(split('long', long, params), (error: Error) => {
      assert.match(error.message, /row 2 has 25 tokens, and with 8 to write .* room for 24/)
      return Reflect.get(error, 'code') === 'PROMPT_TOO_LONG'
    })
    await assert.rejects(split('empty', 'a\n\n', params), { code: 'PROMPT_EMPTY' })
    const other = { ...params, verb: 'embed', model: BERT, maxTokens: 0 }
    await assert.rejects(split('other', 'a\n', other), { code: 'DATA_ROWS_DIFFER' })
  })

  it('joins vectors to an array that NumPy reads, and to lines', async () => {
    const paths = [
      [1, -2],
      [3, 4, VECTOR_SCALE, 0],
    ].map((values, shard) => ({ values, path: join(dir, `v${shard}`) }))
    for (const { values, path } of paths) {
      const spec = { name: 'vectors', dtype: 'I16', shape: [values.length / 2, 2] } as const
      const writer = await SafetensorsWriter.create(path, [spec])
      await writer.write('vectors', 0, Int16Array.from(values))
      await writer.close()
    }
    const inputs = paths.map(({ path }, shard) => ({ name: `out-00${shard}.safetensors`, path }))
    const made = async (output: string, rows = 3) => {
      const out = join(dir, `joined-${output}-${rows}`)
      const params = { verb: 'embed', output, rows, shards: 2, width: 2 }
      await runBuiltin('join@1', params, inputs, out)
      return readFile(join(out, `vectors.${output}`))
    }
    const npy = await made('npy')
    assert.equal(npy.subarray(0, 8).toString('latin1'), '\u0093NUMPY\u0001\u0000')
    const data = 10 + npy.readUInt16LE(8)
    assert.equal(data % 64, 0)
    assert.match(npy.subarray(10, data).toString(), /'shape': \(3, 2\), } *\n$/)
    const numbers = Array.from({ length: 6 }, (_, i) => npy.readFloatLE(data + 4 * i))
    const scaled = [1, -2, 3, 4, VECTOR_SCALE, 0].map((value) => value / VECTOR_SCALE)
    assert.deepEqual(numbers, scaled)
    assert.equal(npy.length, data + 24)
    const lines = (await made('jsonl')).toString().trimEnd().split('\n')
    assert.deepEqual(JSON.parse(lines[2] ?? ''), { row: 2, vector: [1, 0] })
    const csv = (await made('csv')).toString().split('\n')
    assert.deepEqual([csv[0], csv[3], csv.length], ['v0,v1', '1,0', 5])
    await assert.rejects(made('npy', 4), { code: 'TENSOR_UNEXPECTED' })
  })

  it('joins texts, whatever bytes a model writes', async () => {
    const path = join(dir, 'texts')
    const spec = { name: 'tokens', dtype: 'I32', shape: [2, 4] } as const
    const writer = await SafetensorsWriter.create(path, [spec])
    const bytes = [...Buffer.from('"é')].map((byte) => byte + 3)
    await writer.write('tokens', 0, Int32Array.from([...bytes, -1, 3 + 0xff, 3 + 10, -1, -1]))
    await writer.close()
    const inputs = [{ name: 'out-000.safetensors', path }]
    const params = { verb: 'generate', rows: 2, shards: 1, width: 8 }
    await runBuiltin('join@1', { ...params, output: 'jsonl' }, inputs, join(dir, 'jsonl'))
    const lines = await readFile(join(dir, 'jsonl/generated.jsonl'), 'utf8')
    assert.deepEqual(
      lines
        .trimEnd()
        .split('\n')
        .map((line): unknown => JSON.parse(line)),
      [
        { row: 0, text: '"é', tokens: 3 },
        { row: 1, text: '\ufffd\n', tokens: 2 },
      ],
    )
    await runBuiltin('join@1', { ...params, output: 'csv' }, inputs, join(dir, 'csv'))
    const csv = await readFile(join(dir, 'csv/generated.csv'), 'utf8')
    assert.equal(csv, 'row,text\n0,"""é"\n1,"\ufffd\n"\n')
  })
})

describe('a model that is given', () => {
  it('has the shape that its own config.json says, for each family', () => {
    for (const [verb, preset] of [
      ['embed', 'embed-tiny'],
      ['generate', 'gpt-tiny'],
    ] as const) {
      const config = modelConfig(preset, { maxLength: 40 })
      const described = modelOf(config).describe({ labels: [] })
      assert.deepEqual(readGivenModel(utf8(JSON.stringify(described)), verb), config)
    }
  })

  it('is refused for another verb, and where it computes otherwise', () => {
    const gpt = modelOf(modelConfig('gpt-tiny', {})).describe({ labels: [] })
    const bert = modelOf(modelConfig('bert-tiny', { classes: 2 })).describe({ labels: ['a', 'b'] })
    const read = (config: object, verb: 'embed' | 'generate') => () =>
      readGivenModel(utf8(JSON.stringify(config)), verb)
    assert.throws(read(gpt, 'embed'), { code: 'MODEL_WRONG_FAMILY' })
    assert.throws(read(bert, 'generate'), { code: 'MODEL_WRONG_FAMILY' })
    assert.throws(read(bert, 'embed'), { code: 'MODEL_WRONG_FAMILY' })
    assert.throws(read({ ...gpt, activation_function: 'relu' }, 'generate'), {
      code: 'MODEL_CONFIG_INVALID',
    })
    assert.throws(read({ ...gpt, n_head: 5 }, 'generate'), { code: 'MODEL_CONFIG_INVALID' })
    assert.throws(() => readGivenModel(utf8('{'), 'embed'), { code: 'MODEL_CONFIG_INVALID' })
  })
})

describe('a request for work over rows', () => {
  let dir: string
  let components: MapComponents
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'ctd-map-request-'))
    const added = (path: string) => ({ digest: digestOf(utf8(path)), sizeBytes: 1 })
    const blobs = { addFile: (path: string) => Promise.resolve(added(path)) }
    components = {
      blobs: blobs as unknown as MapComponents['blobs'],
      folderFiles: () => Promise.resolve(undefined),
      image: () => Promise.reject(new Error('no image is asked for what is refused')),
      ...{ scratchDir: dir, holder: 'submission/1' },
      findDataset: (files) => Promise.resolve({ files }),
      addDataset: () => Promise.resolve(input('dataset')),
    }
    await runBuiltin('init@1', { model: 'gpt-tiny', maxLength: 16, seed: 's' }, [], join(dir, 'w'))
    const config = modelOf(modelConfig('gpt-tiny', { maxLength: 16 })).describe({ labels: [] })
    await mkdir(join(dir, 'model'))
    await writeFile(join(dir, 'model/config.json'), JSON.stringify(config))
    const weights = await readFile(join(dir, 'w/weights.safetensors'))
    await writeFile(join(dir, 'model/model.safetensors'), weights)
    await writeFile(join(dir, 'prompts.txt'), 'one\ntwo\n')
  })
  after(async () => rm(dir, { recursive: true, force: true }))

  const request = (changes: Partial<MapRequest> = {}): MapRequest => ({
    ...{ kind: 'map', verb: 'generate', output: 'jsonl', maxTokens: 8 },
    ...{ model: join(dir, 'model'), dataset: join(dir, 'prompts.txt'), format: 'txt' },
    ...changes,
  })

  it('fixes rows, shards and the end of a text, and names what tasks need', async () => {
    const image = { name: 'cpu' } as unknown as Awaited<ReturnType<MapComponents['image']>>
    const job = await mapJob({ ...components, image: () => Promise.resolve(image) }, request())
    assert.ok(job.spec.kind === 'map')
    const { rows, shards, endToken, maxTokens, temperature } = job.spec
    assert.deepEqual(
      { rows, shards, endToken, maxTokens, temperature },
      {
        ...{ rows: 2, shards: 1, endToken: 2, maxTokens: 8, temperature: 0 },
      },
    )
    assert.deepEqual(
      job.inputs.map(({ name }) => name),
      ['dataset', 'weights'],
    )
    planJob({ spec: encodeSpec(job.spec), inputs: [...job.inputs] })
  })

  const cases: ReadonlyArray<readonly [string, string, () => Promise<MapRequest>]> = [
    [
      'MODEL_NOT_FOUND',
      'a folder that is not there',
      async () => request({ model: join(dir, 'x') }),
    ],
    ['MODEL_NOT_FOUND', 'an unknown digest', async () => request({ model: '0'.repeat(64) })],
    [
      'MODEL_FILE_MISSING',
      'a folder without weights',
      async () => {
        await mkdir(join(dir, 'bare'))
        await writeFile(join(dir, 'bare/config.json'), '{}')
        return request({ model: join(dir, 'bare') })
      },
    ],
    [
      'MODEL_WRONG_FAMILY',
      'a language model that shall embed',
      async () => {
        const { maxTokens: _, ...rest } = request({ verb: 'embed' })
        return rest
      },
    ],
    [
      'MODEL_UNFIT',
      'weights of another shape',
      async () => {
        await mkdir(join(dir, 'unfit'))
        const config = modelOf(modelConfig('gpt-tiny', { maxLength: 20 })).describe({ labels: [] })
        await writeFile(join(dir, 'unfit/config.json'), JSON.stringify(config))
        const weights = await readFile(join(dir, 'model/model.safetensors'))
        await writeFile(join(dir, 'unfit/model.safetensors'), weights)
        return request({ model: join(dir, 'unfit') })
      },
    ],
    [
      'DATA_EMPTY',
      'a dataset without a byte',
      async () => {
        await writeFile(join(dir, 'nothing.txt'), '')
        return request({ dataset: join(dir, 'nothing.txt') })
      },
    ],
    ['PROMPT_TOO_LONG', 'too many tokens to write', async () => request({ maxTokens: 14 })],
    ['BAD_MAP_REQUEST', 'texts as an array', async () => request({ output: 'npy' })],
    ['BAD_MAP_REQUEST', 'more shards than rows', async () => request({ shards: 3 })],
  ]
  for (const [code, what, make] of cases) {
    it(`is refused with a hint for ${what}: ${code}`, async () => {
      const asked = await make()
      await assert.rejects(mapJob(components, asked), (error: Error) => {
        assert.equal(Reflect.get(error, 'code'), code, error.message)
        assert.ok(String(Reflect.get(error, 'hint')).length > 10)
        return true
      })
    })
  }
})
