/** Adapters are trained, and a model goes over rows, by real daemons and in the real task image. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, test } from 'node:test'
import type { FileView, JobView } from '../../src/api/daemon-port.js'
import { CTD } from '../../scripts/local-network.js'
import type { LocalPeer } from '../../scripts/local-network.js'
import { SKIP, Stage, PATIENCE_MS, knows } from './stage.js'

const stage = await Stage.open()
let requester: LocalPeer

before(async () => {
  if (SKIP !== false) return
  await stage.start('boot', { role: 'bootstrap' })
  const peers = await stage.startAll(['ann', 'bob'], ['requester'])
  const [ann, bob, own] = peers
  assert.ok(ann && bob && own)
  requester = own
  await knows(requester, [ann, bob])
})

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function ctd(...args: readonly string[]): Promise<Ran> {
  const all = [CTD, '--home', requester.home, '--json', ...args]
  return new Promise((resolve) => {
    execFile(process.execPath, all, { timeout: 4 * PATIENCE_MS }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr })
    })
  })
}

async function succeeded(...args: readonly string[]): Promise<JobView> {
  const { code, stdout, stderr } = await ctd(...args, '--audit-ppm', '0', '--seed', 'pi')
  assert.equal(code, 0, stderr)
  const view: JobView = JSON.parse(stdout)
  assert.equal(view.status, 'succeeded')
  return view
}

async function sha256Of(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}

test(
  'rounds send adapters alone, and the merged result goes on from prompts',
  { skip: SKIP, timeout: 8 * PATIENCE_MS },
  async () => {
    const corpus = join(stage.dir, 'corpus.txt')
    const words = ['the sun is warm', 'the rain is cold', 'a dog runs far', 'a cat sleeps long']
    const lines = Array.from({ length: 60 }, (_, i) => words[(i * i) % 4])
    await writeFile(corpus, `${lines.join('\n')}\n`)
    const shape = ['--model', 'gpt-tiny', '--max-length', '16', '--shards', '1', '--rounds', '2']
    const lora = ['--lora-rank', '4', '--lora-merge']
    const job = await succeeded('train', ...shape, '--dataset', corpus, '--epochs', '1', ...lora)
    assert.equal(job.result?.['accuracy'], null)
    const files = await requester.client.get<FileView[]>(`/v1/jobs/${job.id}/files`)
    const size = (path: string): number => files.find((file) => file.path === path)?.sizeBytes ?? 0
    assert.equal(
      files.find(({ path }) => path === 'adapter_model.safetensors')?.digest,
      job.result?.['hash'],
    )
    assert.ok(size('model.safetensors') > 15 * size('adapter_model.safetensors'))

    const model = join(stage.dir, 'model')
    const { code, stderr } = await ctd('results', job.id, '--out', model)
    assert.equal(code, 0, stderr)
    assert.equal((await stat(join(model, 'adapter_config.json'))).isFile(), true)
    const audit = await ctd('audit', model)
    assert.equal(JSON.parse(audit.stdout).ok, true, audit.stdout)

    const prompts = join(stage.dir, 'prompts.jsonl')
    const asked = ['the sun', 'a dog', 'the'].map((prompt) => JSON.stringify({ prompt }))
    await writeFile(prompts, `${asked.join('\n')}\n`)
    const out = join(stage.dir, 'texts.jsonl')
    const options = ['--max-tokens', '6', '--temperature', '0.8', '--shards', '2', '--out', out]
    const written = await succeeded('generate', '--model', model, '--prompts', prompts, ...options)
    assert.deepEqual(
      { accuracy: written.result?.['accuracy'], rows: written.result?.['rows'] },
      { accuracy: null, rows: 3 },
    )
    const texts = (await readFile(out, 'utf8')).trimEnd().split('\n')
    assert.deepEqual(
      texts.map((line) => JSON.parse(line).row),
      [0, 1, 2],
    )
    const [joined] = await requester.client.get<FileView[]>(`/v1/jobs/${written.id}/files`)
    assert.equal(joined?.digest, written.result?.['hash'])
    assert.equal(joined?.sizeBytes, (await stat(out)).size)
    const first = await sha256Of(out)

    const again = await ctd('generate', '--model', model, '--prompts', prompts, ...options)
    assert.equal(again.code, 1, again.stderr)
    assert.match(again.stderr, /FILE_EXISTS/)
    const others = [...options.slice(0, 4), '--shards', '1', '--out', out, '--force']
    await succeeded('generate', '--model', model, '--prompts', prompts, ...others)
    assert.equal(await sha256Of(out), first, 'draws are keyed by the row, whatever the shards')

    const wrong = ['embed', '--model', model, '--dataset', corpus]
    const refused = await ctd(...wrong, '--out', join(stage.dir, 'v.npy'))
    assert.match(refused.stderr, /MODEL_WRONG_FAMILY/)
  },
)
