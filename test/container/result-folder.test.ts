/**
 * A result folder is what others can load: plain PyTorch with Hugging Face's names reads it, and
 * gets the same evaluation. Builds the image first if it is not there: minutes.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { ImageRef } from '../../src/container/container-runtime.js'
import { runBuiltin } from '../../src/training/builtin.js'
import { modelConfig } from '../../src/training/presets.js'
import { Bench, ROOT, SKIP } from './harness.js'

const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'the', 'cat', 'dog', 'bird', 'sat', '##s', 'on']
const ANIMALS = ['cat', 'dog', 'bird']

describe('a result folder', { skip: SKIP, timeout: 900_000 }, () => {
  let bench: Bench

  before(async () => {
    const args = ['--import', 'tsx', 'scripts/build-image.ts', '--json']
    const options = { cwd: ROOT, maxBuffer: 64 * 1024 * 1024 }
    const { stdout } = await promisify(execFile)(process.execPath, args, options)
    const built: { image: ImageRef } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
    bench = await Bench.open(built.image)
  })
  after(async () => bench.close())

  async function run(argv: string[], files: Readonly<Record<string, string>>) {
    const spec = bench.spec('', { argv, memoryMiB: 1024, pids: 256 })
    const inputs = Object.entries(files).map(([name, path]) => ({ name, path }))
    const { outcome } = await bench.run({ ...spec, inputs })
    assert.equal(outcome.status, 'succeeded', outcome.logTail)
    return JSON.parse(await readFile(join(outcome.outDir, 'metrics.json'), 'utf8'))
  }

  test('loads strictly in plain PyTorch and gives the same evaluation', async () => {
    const dir = join(bench.folder, 'result')
    await mkdir(join(dir, 'tokenizer'), { recursive: true })
    await writeFile(join(dir, 'tokenizer/vocab.txt'), WORDS.join('\n'))
    const lines = Array.from({ length: 300 }, (_, i) => {
      const animal = ANIMALS[i % 3] ?? ''
      return `The ${animal}${i % 2 === 0 ? 's' : ''} sat on ${ANIMALS[(i >> 2) % 3]} ${i},${animal}`
    })
    await writeFile(join(dir, 'data.csv'), ['text,label', ...lines].join('\n'))
    const shape = { classes: 3, vocabulary: WORDS.length, maxLength: 16 }
    const split = { shards: 1, maxLength: 16, seed: 'r', model: 'bert-tiny' }
    const inputs = [
      { name: 'dataset', path: join(dir, 'data.csv') },
      { name: 'tokenizer', path: join(dir, 'tokenizer') },
    ]
    await runBuiltin('split@1', split, inputs, join(dir, 'split'))
    await runBuiltin('init@1', { model: 'bert-tiny', ...shape, seed: 'r' }, [], join(dir, 'init'))
    const weights = join(dir, 'init/weights.safetensors')
    const data = join(dir, 'split/eval-000.safetensors')
    const model = modelConfig('bert-tiny', shape)
    const task = { kind: 'eval', version: 1, model, batchSize: 8 }
    await writeFile(join(dir, 'task.json'), JSON.stringify(task))
    const ours = await run(['python3', '/opt/ctd/trainer.py'], {
      'task.json': join(dir, 'task.json'),
      'weights.safetensors': weights,
      'data.safetensors': data,
    })
    await copyFile(join(import.meta.dirname, 'plain_bert.py'), join(dir, 'plain.py'))
    const plain = await run(['python3', '/in/plain.py'], {
      'plain.py': join(dir, 'plain.py'),
      'config.json': join(dir, 'split/config.json'),
      'model.safetensors': weights,
      'data.safetensors': data,
    })
    assert.equal(ours.n, 30)
    assert.equal(plain.correct, ours.correct)
    const loss = ours.nllFixed / 2 ** 20
    assert.ok(Math.abs(plain.loss - loss) < 1e-4 * loss, `${plain.loss} against ${loss}`)
  })
})
