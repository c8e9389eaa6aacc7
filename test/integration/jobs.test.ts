/** Jobs through every door, images that travel, and daemons that die in the middle. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFile, mkdir, open, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { before, test } from 'node:test'
import type { JobView } from '../../src/api/daemon-port.js'
import { hashLayer, writeImageArchive } from '../../src/container/image-archive.js'
import type { WrittenImage } from '../../src/container/image-archive.js'
import { CTD, until } from '../../scripts/local-network.js'
import type { LocalPeer } from '../../scripts/local-network.js'
import { NEVER, testImage } from '../container/harness.js'
import type { TestImage } from '../container/harness.js'
import {
  PATIENCE_MS,
  SKIP,
  Stage,
  containersOf,
  engine,
  fileText,
  finished,
  knows,
  nextEvent,
  outcomes,
  run,
  shellJob,
  submit,
  succeed,
} from './stage.js'

const stage = await Stage.open()
let requester: LocalPeer
let executors: LocalPeer[]
let small: TestImage

before(async () => {
  if (SKIP !== false) return
  small = await testImage()
  await stage.start('boot', { role: 'bootstrap' })
  const started = await stage.startAll(['ann', 'bob', 'cem'], ['requester'])
  executors = started.slice(0, 3)
  requester = started[3] as LocalPeer
  await knows(requester, executors)
})

function executor(index: number): LocalPeer {
  const peer = executors[index]
  assert.ok(peer)
  return peer
}

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function program(file: string, args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(file, args, { timeout: PATIENCE_MS }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr })
    })
  })
}

function ctd(...args: readonly string[]): Promise<Ran> {
  return program(process.execPath, [CTD, '--home', requester.home, ...args])
}

/** What a person types: status code and body. */
async function curl(peer: LocalPeer, path: string, ...more: string[]): Promise<[number, unknown]> {
  const args = ['-s', '--unix-socket', peer.socket, '-w', '\n%{http_code}', ...more]
  const { code, stdout } = await program('curl', [...args, `http://ctd${path}`])
  assert.equal(code, 0)
  const [status = '', ...body] = stdout.trimEnd().split('\n').toReversed()
  return [Number(status), JSON.parse(body.toReversed().join('\n'))]
}

test('the three endpoints answer by curl on any socket', { skip: SKIP }, async () => {
  const dataset = join(stage.dir, 'custom.csv')
  const rows = Array.from({ length: 40 }, (_, i) =>
    i % 2 === 0 ? `the sun is warm on day ${i},sun` : `the rain is cold at night ${i},rain`,
  )
  await writeFile(dataset, `text,label\n${rows.join('\n')}\n`)
  const body = JSON.stringify({ model: 'bert-tiny', dataset, epochs: 1 })
  const json = ['-H', 'content-type: application/json', '-d', body]
  const [accepted, job] = await curl(requester, '/submit-job', ...json)
  assert.equal(accepted, 202)
  const { id } = job as { id: string }
  assert.match(id, /^[0-9a-f]{64}$/)

  const other = executor(0)
  const [early, problem] = await curl(other, `/results?id=${id}`)
  assert.equal(early, 409)
  assert.equal((problem as { code: string }).code, 'JOB_NOT_FINISHED')
  const last = await until('the train job to end', 3 * PATIENCE_MS, async () => {
    const [status, view] = await curl(other, `/job-status?id=${id}`)
    assert.equal(status, 200)
    const { status: state } = view as JobView
    assert.ok(state !== 'failed' && state !== 'cancelled', JSON.stringify(view))
    return state === 'succeeded' ? (view as JobView) : undefined
  })
  assert.equal(last.progress, 1)
  const [own, result] = await curl(requester, `/results?id=${id}`)
  assert.equal(own, 200)
  const { accuracy, hash } = result as { accuracy: number; hash: string }
  assert.ok(accuracy >= 0 && accuracy <= 1)
  assert.match(hash, /^[0-9a-f]{64}$/)
  assert.deepEqual(await curl(other, `/results?id=${id}`), [200, result])

  const nobodys = '0'.repeat(64)
  const [unknown, why] = await curl(other, `/job-status?id=${nobodys}`)
  assert.equal(unknown, 404)
  assert.equal((why as { code: string }).code, 'JOB_UNKNOWN')
})

test('a language model learns from a plain text by the same endpoint', { skip: SKIP }, async () => {
  const dataset = join(stage.dir, 'corpus.txt')
  const lines = Array.from({ length: 40 }, (_, i) => `the ship sails on day ${i} in the rain\n`)
  await writeFile(dataset, lines.join(''))
  const body = JSON.stringify({ model: 'gpt-tiny', dataset, epochs: 1 })
  const json = ['-H', 'content-type: application/json', '-d', body]
  const [accepted, job] = await curl(requester, '/submit-job', ...json)
  assert.equal(accepted, 202, JSON.stringify(job))
  const { id } = job as { id: string }
  await until('the language model to be trained', 3 * PATIENCE_MS, async () => {
    const [, view] = await curl(requester, `/job-status?id=${id}`)
    const { status } = view as JobView
    assert.ok(status !== 'failed' && status !== 'cancelled', JSON.stringify(view))
    return status === 'succeeded' ? view : undefined
  })
  const [own, result] = await curl(requester, `/results?id=${id}`)
  assert.equal(own, 200)
  const { accuracy, loss, perplexity, baseline } = result as {
    accuracy: null
    loss: number
    perplexity: number
    baseline: { name: string; loss: number }
  }
  assert.equal(accuracy, null)
  assert.ok(loss > 0 && Math.abs(perplexity / Math.exp(loss) - 1) < 1e-9)
  assert.equal(baseline.name, 'how often each token occurs')
  assert.ok(baseline.loss > 1 && baseline.loss < 6)

  const out = join(stage.dir, 'language-model')
  const fetched = await ctd('results', id, '--out', out)
  assert.equal(fetched.code, 0, fetched.stderr)
  const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as unknown
  assert.deepEqual((config as { architectures: string[] }).architectures, ['GPT2LMHeadModel'])
  assert.ok((await stat(join(out, 'model.safetensors'))).size > 4 * 366_000)
})

test(
  'a job with a folder and three tasks goes through the CLI and is audited',
  { skip: SKIP },
  async () => {
    const data = join(stage.dir, 'data')
    await mkdir(join(data, 'more'), { recursive: true })
    await writeFile(join(data, 'a.txt'), '1\n2\n')
    await writeFile(join(data, 'more', 'b.txt'), '3\n')
    const code = [
      'import os, glob, json',
      'numbers = [int(line) for path in sorted(glob.glob("/in/data/**/*.txt", recursive=True))',
      '           for line in open(path)]',
      'index = int(os.environ["CTD_TASK_INDEX"])',
      'assert os.environ["CTD_TASK_COUNT"] == "3"',
      'json.dump({"sum": sum(numbers) * (index + 1)}, open("/out/metrics.json", "w"))',
      'open("/out/seed.txt", "w").write(os.environ["CTD_SEED"])',
    ].join('\n')
    const job = ['--input', `data=${data}`, '--tasks', '3', '--seed', 'pi']
    const ran = await ctd('--json', 'run', '--image', 'cpu', ...job, '--', 'python3', '-c', code)
    assert.equal(ran.code, 0, ran.stderr)
    const view = JSON.parse(ran.stdout) as JobView
    assert.equal(view.status, 'succeeded')
    assert.equal(view.tasksAccepted, 3)

    const out = join(stage.dir, 'results')
    const results = await ctd('results', view.id.slice(0, 12), '--out', out)
    assert.equal(results.code, 0, results.stderr)
    for (const index of [0, 1, 2]) {
      const folder = join(out, `output-00${index}`)
      assert.deepEqual(JSON.parse(await readFile(join(folder, 'metrics.json'), 'utf8')), {
        sum: 6 * (index + 1),
      })
      assert.equal(await readFile(join(folder, 'seed.txt'), 'utf8'), `pi/${index}`)
    }
    const audit = await ctd('audit', out)
    assert.equal(audit.code, 0, audit.stdout + audit.stderr)
    await writeFile(join(out, 'output-001', 'seed.txt'), 'pi/2')
    assert.equal((await ctd('audit', out)).code, 11)
  },
)

interface Shipped {
  readonly image: WrittenImage
  readonly reference: string
  readonly archive: string
}

/** An image that no engine has seen: the small one under a label of its own. */
async function strangeImage(name: string): Promise<Shipped> {
  const folder = join(stage.dir, name)
  await mkdir(folder)
  const archive = join(folder, 'image.tar')
  const layer = await hashLayer(join(dirname(small.archive), 'test-layer.tar'), NEVER)
  const label = randomBytes(8).toString('hex')
  const image = await writeImageArchive(
    {
      name: `computetorrent/travel-${label}:dev`,
      createdEpochSeconds: 1_700_000_000,
      command: ['sh'],
      env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
      labels: { 'io.computetorrent.test': label },
    },
    [layer],
    archive,
    NEVER,
  )
  const reference = join(folder, 'ref.json')
  await writeFile(reference, JSON.stringify(image))
  return { image, reference, archive }
}

async function isLoaded(image: WrittenImage): Promise<boolean> {
  const found = await engine<{ Id?: string }>('GET', `/images/sha256:${image.configDigest}/json`)
  return found.Id === `sha256:${image.configDigest}`
}

async function blobSizes(peer: LocalPeer): Promise<readonly number[]> {
  const dir = join(peer.home, 'blobs')
  const found = await readdir(dir, { recursive: true, withFileTypes: true })
  const files = found.filter((entry) => entry.isFile())
  return Promise.all(files.map(async (file) => (await stat(join(file.parentPath, file.name))).size))
}

test('an image that the engine lacks is fetched from the requester', { skip: SKIP }, async () => {
  const { image, reference, archive } = await strangeImage('fresh')
  assert.equal(await isLoaded(image), false)
  try {
    const job = await succeed(requester.client, shellJob('echo hi > /out/x', { image: reference }))
    assert.equal(await fileText(requester.client, job.id, 'output/x'), 'hi\n')
    assert.equal(await isLoaded(image), true)
    const { size } = await stat(archive)
    const holders = await Promise.all(executors.map((peer) => blobSizes(peer)))
    assert.ok(holders.some((sizes) => sizes.includes(size)))
  } finally {
    await engine('DELETE', `/images/sha256:${image.configDigest}?force=1`)
  }
})

test(
  'an archive with a changed byte is refused: IMAGE_ARCHIVE_REFUSED',
  { skip: SKIP },
  async () => {
    const { image, reference, archive } = await strangeImage('changed')
    const file = await open(archive, 'r+')
    try {
      // In the middle of the layer.
      const at = Math.floor(image.sizeBytes / 2)
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at)
      await file.write(Buffer.of((buffer[0] ?? 0) ^ 1), 0, 1, at)
    } finally {
      await file.close()
    }
    const job = await run(requester.client, shellJob('echo hi > /out/x', { image: reference }))
    assert.equal(job.status, 'failed')
    assert.equal(job.code, 'IMAGE_ARCHIVE_REFUSED', job.reason)
    assert.equal(await isLoaded(image), false)
  },
)

test('an archive of another image is refused: IMAGE_ARCHIVE_REFUSED', { skip: SKIP }, async () => {
  const wanted = await strangeImage('wanted')
  const other = await strangeImage('other')
  await copyFile(other.archive, wanted.archive)
  const job = await run(requester.client, shellJob('true', { image: wanted.reference }))
  assert.equal(job.status, 'failed')
  assert.equal(job.code, 'IMAGE_ARCHIVE_REFUSED', job.reason)
  assert.equal(await isLoaded(other.image), false)
})

/** Submits, and resolves once one of the executors is heard of inside its container. */
async function underWay(script: string): Promise<{ readonly id: string; readonly peer: string }> {
  const { event } = await nextEvent(
    requester,
    ({ type, fields }) => type === 'task:progressed' && fields['phase'] === 'running',
  )
  const id = await submit(requester.client, shellJob(script))
  const { fields } = await event
  assert.equal(fields['jobId'], id)
  return { id, peer: String(fields['peer']) }
}

test('a requester killed in the middle of a job goes on with it', { skip: SKIP }, async () => {
  const script = 'sleep 4; echo $CTD_SEED > /out/seed'
  const { id } = await underWay(script)
  await requester.kill()
  requester = await stage.start('requester', { execute: false })
  const resumed = await finished(requester.client, id)
  assert.equal(resumed.status, 'succeeded', resumed.reason)
  assert.equal(resumed.id, id)
  assert.equal(
    (await requester.client.get<JobView[]>('/v1/jobs')).filter((job) => job.id === id).length,
    1,
  )
  const undisturbed = await succeed(requester.client, shellJob(script))
  assert.equal(resumed.result?.['hash'], undisturbed.result?.['hash'])
  assert.equal(await fileText(requester.client, id, 'output/seed'), 'test/0\n')
})

/** Where the work folders of a peer are mounted. */
async function workFolders(peer: string): Promise<readonly string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  return lines
    .filter((line) => line.includes(`ctd:${peer}:`))
    .map((line) => line.split(' ')[4] ?? '')
}

test(
  'an executor killed in the middle of a task leaves nothing running',
  { skip: SKIP },
  async () => {
    await knows(requester, executors)
    const { id, peer } = await underWay('sleep 10; echo done > /out/word')
    const victim = executors.find((candidate) => candidate.peerId === peer)
    assert.ok(victim)
    await victim.kill()
    assert.equal((await containersOf(peer)).length, 1, 'its container is still there')
    const left = await workFolders(peer)
    assert.ok(left.length > 0, 'its work folder is still mounted')
    const again = await stage.start(victim.name)
    assert.equal(again.peerId, peer)
    executors[executors.indexOf(victim)] = again
    assert.deepEqual(await containersOf(peer), [])
    // It may have mounted another one since, for its benchmark.
    const mounted = await workFolders(peer)
    assert.deepEqual(
      left.filter((folder) => mounted.includes(folder)),
      [],
    )
    const job = await finished(requester.client, id)
    assert.equal(job.status, 'succeeded', job.reason)
    assert.equal(outcomes(job, executors)[victim.name], 'timed-out')
    assert.equal(
      Object.values(outcomes(job, executors)).filter((fate) => fate === 'agreed').length,
      2,
    )
  },
)

/** Every replica estimates with noise of its own, as programs do that are not bit-exact. */
function noisy(spread: string): string {
  const noise = `$(od -An -N2 -tu2 /dev/urandom | tr -d " ")`
  return `echo '{"estimate":'$(awk "BEGIN { print 3.14 + ${spread} * ${noise} / 65536 }")'}' > /out/metrics.json`
}

test('numbers within the tolerance are accepted, and audited', { skip: SKIP }, async () => {
  const compare = { atol: 0.01 }
  const job = await succeed(requester.client, shellJob(noisy('0.01'), { compare, replicas: 3 }))
  assert.deepEqual(new Set(Object.values(outcomes(job, executors))), new Set(['agreed']))
  const folder = join(stage.dir, 'within')
  const home = ['--home', requester.home]
  const results = await program(process.execPath, [
    CTD,
    ...home,
    'results',
    job.id,
    '--out',
    folder,
  ])
  assert.equal(results.code, 0, results.stderr)
  const audit = await program(process.execPath, [CTD, ...home, 'audit', folder])
  assert.equal(audit.code, 0, audit.stdout)
  assert.match(audit.stdout, /standings +1 of 1 elections weighed again from \d+ receipts/)
})

test('numbers beyond the tolerance end the job with the reason', { skip: SKIP }, async () => {
  const job = await run(requester.client, shellJob(noisy('1000'), { compare: { rtol: 0.0001 } }))
  assert.equal(job.status, 'failed')
  assert.match(job.code, /^(NONDETERMINISTIC|UNDECIDED)$/)
  assert.match(job.reason, /different results|no two operators got the same result/)
})
