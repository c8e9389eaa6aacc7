import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { createJobOf } from '../../src/api/submission.js'
import type { TrainRequest } from '../../src/api/daemon-port.js'
import { BlobStore } from '../../src/blob/blob-store.js'
import { addFolder, folderFiles } from '../../src/blob/folder.js'
import { encodeSpec } from '../../src/protocol/job-spec.js'
import { planJob, trainInputs } from '../../src/protocol/plan.js'
import { modelOf } from '../../src/training/model.js'
import { modelConfig } from '../../src/training/presets.js'
import { elementCount, SafetensorsWriter } from '../../src/training/safetensors.js'
import { toHex } from '../../src/wire/ids.js'

const LINES = Array.from({ length: 40 }, (_, i) => `row ${i},${i % 2 === 0 ? 'even' : 'odd'}`)
const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'row']
const HF = { model_type: 'bert', num_hidden_layers: 2, hidden_size: 128, num_attention_heads: 2 }

describe('a submitted train job', () => {
  let dir: string
  let blobs: BlobStore

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'ctd-submission-'))
    blobs = await BlobStore.open(join(dir, 'blobs'), { quotaBytes: 1 << 28 })
    await mkdir(join(dir, 'scratch'))
    await mkdir(join(dir, 'data'))
    await writeFile(join(dir, 'data/b.csv'), ['text,label', ...LINES.slice(20)].join('\n'))
    await writeFile(join(dir, 'data/a.csv'), ['text,label', ...LINES.slice(0, 20)].join('\n'))
    await writeFile(join(dir, 'whole.csv'), ['text,label', ...LINES].join('\n'))
    await mkdir(join(dir, 'bert'))
    await writeFile(join(dir, 'bert/vocab.txt'), WORDS.join('\n'))
    await writeFile(
      join(dir, 'bert/config.json'),
      JSON.stringify({ ...HF, intermediate_size: 512 }),
    )
    const config = modelConfig('bert-tiny', { classes: 2, vocabulary: 5, maxLength: 128 })
    const specs = modelOf(config).parameters
    const writer = await SafetensorsWriter.create(join(dir, 'bert/model.safetensors'), specs)
    for (const { name, shape } of specs) {
      await writer.write(name, 0, new Float32Array(elementCount(shape)))
    }
    await writer.close()
  })
  after(async () => await rm(dir, { recursive: true }))

  async function submit(request: Partial<TrainRequest>) {
    const job = await createJobOf(
      {
        blobs,
        addFolder: (path, holder) => addFolder(blobs, path, { holder }),
        folderFiles: (digest) => folderFiles(blobs, digest),
        image: () => Promise.resolve(IMAGE),
        bring: () => Promise.reject(new Error('all blobs are here')),
        scratchDir: join(dir, 'scratch'),
        holder: 'submission/1',
      },
      { kind: 'train', model: 'bert-tiny', dataset: '', epochs: 2, seed: 's', ...request },
    )
    assert.ok(job.spec.kind === 'train')
    const names = job.inputs.map(({ name }) => name)
    assert.deepEqual(names, trainInputs(job.spec))
    planJob({ spec: encodeSpec(job.spec), inputs: [...job.inputs] })
    assert.deepEqual(await readdir(join(dir, 'scratch')), [])
    return { ...job, spec: job.spec, names }
  }

  const IMAGE = {
    name: 'cpu',
    manifestDigest: new Uint8Array(32),
    configDigest: new Uint8Array(32),
    diffIds: [],
    sizeBytes: 1,
    archive: new Uint8Array(32),
  }

  it('takes a folder as one dataset, whose rows are those of its files together', async () => {
    const whole = await submit({ dataset: join(dir, 'whole.csv') })
    const parts = await submit({ dataset: join(dir, 'data') })
    assert.equal(parts.inputs[0]?.folder, true)
    assert.deepEqual(parts.spec, whole.spec)
    const digest = toHex(parts.inputs[0]?.digest ?? new Uint8Array())
    const again = await submit({ dataset: digest })
    assert.deepEqual([again.spec, again.inputs], [parts.spec, parts.inputs])
  })

  it('takes weights and the tokenizer beside them, and nothing else of their folder', async () => {
    await writeFile(join(dir, 'bert/README.md'), 'not for others')
    const { spec, names, inputs } = await submit({
      dataset: join(dir, 'whole.csv'),
      weights: join(dir, 'bert'),
    })
    assert.deepEqual(names, ['dataset', 'tokenizer', 'weights'])
    assert.deepEqual([spec.pretrained, spec.tokenizer], [true, ['vocab.txt']])
    assert.equal(spec.vocabulary, 5)
    const sizes = inputs.slice(1).map(({ digest }) => folderFiles(blobs, toHex(digest) as never))
    const listed = (await Promise.all(sizes)).map((files) => files?.map(({ path }) => path))
    assert.deepEqual(listed, [['vocab.txt'], ['config.json', 'model.safetensors']])
    const plan = planJob({ spec: encodeSpec(spec), inputs: [...inputs] })
    const [first = []] = plan.batches
    assert.deepEqual(
      first.map(({ name }) => name),
      ['split', 'import'],
    )
    assert.ok(plan.artifacts.some(({ path }) => path === 'vocab.txt'))
  })

  it('lets the rounds of a language model grow that begins from nothing, and of no other', async () => {
    const dataset = join(dir, 'words.txt')
    await writeFile(dataset, 'all things begin small\n'.repeat(400))
    const lengths = async (request: Partial<TrainRequest>) => {
      const { spec, inputs } = await submit({ dataset, model: 'gpt-tiny', ...request })
      const { training } = planJob({ spec: encodeSpec(spec), inputs: [...inputs] })
      const steps = training?.rounds.map((round) => round.learningRates.length)
      return [spec.growth, steps]
    }
    // 17 steps in parts of 1, 1.7, 2.89 and 4.913.
    assert.deepEqual(await lengths({}), [1.7, [1, 3, 5, 8]])
    assert.deepEqual(await lengths({ growth: 1 }), [1, [4, 4, 4, 5]])
    assert.deepEqual((await lengths({ sync: true }))[0], undefined)
    assert.equal((await submit({ dataset: join(dir, 'whole.csv') })).spec.growth, undefined)
  })

  const refused: readonly (readonly [string, string, Partial<TrainRequest>])[] = [
    ['a dataset that is not there', 'DATASET_NOT_FOUND', { dataset: '/nowhere/x.csv' }],
    ['weights that are not there', 'WEIGHTS_NOT_FOUND', { weights: '/nowhere/bert' }],
    ['a tokenizer that is none', 'TOKENIZER_MISSING', { tokenizer: '/tmp' }],
    ['weights of another model', 'WEIGHTS_UNFIT', { weights: 'bert', model: 'bert-mini' }],
    [
      'rows longer than the weights have places',
      'WEIGHTS_UNFIT',
      { weights: 'bert', maxLength: 200 },
    ],
  ]
  for (const [what, code, change] of refused) {
    it(`is refused for ${what}, and nothing is stored: ${code}`, async () => {
      const before = blobs.list().length
      const weights = change.weights === 'bert' ? { weights: join(dir, 'bert') } : {}
      const dataset = join(dir, 'fresh.csv')
      await writeFile(dataset, ['text,label', ...LINES, `${code} ${what},odd`].join('\n'))
      await assert.rejects(submit({ dataset, ...change, ...weights }), { code })
      assert.equal(blobs.list().length, before)
    })
  }
})
