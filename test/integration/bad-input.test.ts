/** What can be wrong with a job or a machine: a code, a reason and a hint, and nothing is left. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { promisify } from 'node:util'
import type { JobView, NodeView, RunRequest } from '../../src/api/daemon-port.js'
import { CtdError } from '../../src/errors.js'
import { CTD, until } from '../../scripts/local-network.js'
import type { LocalPeer } from '../../scripts/local-network.js'
import { testImage } from '../container/harness.js'
import {
  PATIENCE_MS,
  SKIP,
  Stage,
  containersOf,
  fileText,
  finished,
  knows,
  outcomes,
  peersOf,
  run,
  shellJob,
  submit,
  succeed,
} from './stage.js'
import { Stranger } from './stranger.js'

const exec = promisify(execFile)
const stage = await Stage.open()
const NO_ENGINE = { CTD_ENGINE_SOCKET: '/nonexistent/engine.sock' }
let requester: LocalPeer
/** Its machine has no container engine. */
let dry: LocalPeer
let executors: LocalPeer[] = []

before(async () => {
  if (SKIP !== false) return
  await testImage()
  await stage.start('boot', { role: 'bootstrap' })
  requester = await stage.start('requester', { execute: false })
  dry = await stage.start('dry', { env: NO_ENGINE })
})

async function nodeOf(peer: LocalPeer): Promise<NodeView> {
  return peer.client.get<NodeView>('/v1/node')
}

/** Runs a job that must fail, and looks that no container of it is left. */
async function failure(job: RunRequest): Promise<JobView> {
  assert.equal(executors.length, 3, 'the executors have joined')
  const view = await run(requester.client, job)
  assert.equal(view.status, 'failed')
  for (const { peerId } of executors) {
    await until('all containers to be gone', PATIENCE_MS, async () =>
      (await containersOf(peerId)).length === 0 ? true : undefined,
    )
  }
  return view
}

test('a peer without a container engine starts and says so', { skip: SKIP }, async () => {
  const node = await until('the engine to have been asked', PATIENCE_MS, async () => {
    const view = await nodeOf(dry)
    return view.engine.includes('not asked') ? undefined : view
  })
  assert.match(node.engine, /^none: no container engine answers/)
  const env = { ...process.env, ...NO_ENGINE }
  const doctor = await exec(process.execPath, [CTD, '--home', dry.home, 'doctor'], { env }).then(
    () => assert.fail('doctor found nothing wrong'),
    (error: { code: number; stdout: string }) => error,
  )
  assert.equal(doctor.code, 1)
  assert.match(doctor.stdout, /FAIL +engine +no engine answers at \/nonexistent\/engine\.sock/)
  assert.match(doctor.stdout, /fix +install and start Docker/)
})

test(
  'a job without eligible peers waits, counts why, and starts when peers join',
  { skip: SKIP },
  async () => {
    const id = await submit(requester.client, shellJob('echo late > /out/word'))
    const waiting = await until('the job to wait and say why', PATIENCE_MS, async () => {
      const view = await requester.client.get<JobView>(`/v1/jobs/${id}`)
      return view.reason.includes('container engine') ? view : undefined
    })
    assert.equal(waiting.status, 'pending')
    assert.equal(waiting.code, 'NO_ELIGIBLE_BIDS')
    assert.match(waiting.reason, /^0 of \d peers bid, 2 are needed: /)
    assert.match(waiting.reason, /1 have no container engine/)
    executors = await stage.startAll(['ann', 'bob', 'cem'], [])
    const job = await finished(requester.client, id)
    assert.equal(job.status, 'succeeded', job.reason)
    assert.equal(await fileText(requester.client, id, 'output/word'), 'late\n')
    await knows(requester, executors)
  },
)

test('a program that fails: CONTAINER_FAILED with its last words', { skip: SKIP }, async () => {
  const job = await failure(shellJob('echo reading; echo "no column price" >&2; exit 3'))
  assert.equal(job.code, 'CONTAINER_FAILED')
  assert.match(job.reason, /exit code 3/)
  assert.match(job.reason, /no column price/)
})

test('a program that needs too much memory: CONTAINER_OOM', { skip: SKIP }, async () => {
  const command = ['python3', '-c', 'x = bytearray(10**9)']
  const job = await failure(shellJob('', { image: 'cpu', command }))
  assert.equal(job.code, 'CONTAINER_OOM')
  assert.match(job.reason, /more than 64 MiB of memory/)
})

test('a program that writes a link: OUTPUT_LINK', { skip: SKIP }, async () => {
  const job = await failure(shellJob('ln -s /etc/passwd /out/users'))
  assert.equal(job.code, 'OUTPUT_LINK')
  assert.match(job.reason, /\/out\/users is a link/)
})

test('a program that never ends: CONTAINER_TIMEOUT', { skip: SKIP }, async () => {
  const job = await failure(shellJob('sleep 600', { timeoutMs: 3000 }))
  assert.equal(job.code, 'CONTAINER_TIMEOUT')
  assert.match(job.reason, /longer than 3000 ms/)
})

test('a program that is not in the image: CONTAINER_FAILED says so', { skip: SKIP }, async () => {
  const job = await failure(shellJob('', { command: ['no-such-program'] }))
  assert.equal(job.code, 'CONTAINER_FAILED')
  assert.match(job.reason, /no-such-program|not found/)
})

test(
  'an honest program that is not deterministic: NONDETERMINISTIC names the file',
  { skip: SKIP },
  async () => {
    const before = await peersOf(requester)
    const script = 'echo same > /out/same; head -c 8 /dev/urandom > /out/noise'
    const job = await failure(shellJob(script))
    assert.equal(job.code, 'NONDETERMINISTIC')
    assert.match(job.reason, /they differ in noise$/)
    assert.deepEqual(outcomes(job, executors), { ann: 'spared', bob: 'spared', cem: 'spared' })
    const after = await peersOf(requester)
    for (const { peerId, name } of executors) {
      const [then, now] = [before, after].map((all) => all.find(({ peer }) => peer === peerId))
      assert.ok(then && now)
      // Standing also fades with time, by far less than any fault costs.
      const faded = then.reliability * 0.999
      assert.ok(now.reliability >= faded, `the reputation of ${name} fell`)
      assert.equal(now.dissents, 0)
    }
  },
)

/** The problem that a request is answered with. */
async function refusal(path: string, body: unknown): Promise<CtdError> {
  try {
    await requester.client.post(path, body)
  } catch (error) {
    if (error instanceof CtdError) return error
    throw error
  }
  return assert.fail('the request was accepted')
}

test('an unknown model: UNKNOWN_MODEL with the nearest name', { skip: SKIP }, async () => {
  const job = { model: 'bert-tny', dataset: join(stage.dir, 'none.csv'), epochs: 1 }
  const problem = await refusal('/submit-job', job)
  assert.equal(problem.code, 'UNKNOWN_MODEL')
  assert.equal(problem.fields['httpStatus'], 400)
  assert.match(problem.hint ?? '', /did you mean "?bert-tiny/i)
})

test(
  'a data set that cannot be used is refused before anything starts',
  { skip: SKIP },
  async () => {
    const dataset = join(stage.dir, 'rows.csv')
    const bad: ReadonlyArray<readonly [string, RegExp]> = [
      ['', /^DATA_/],
      ['text,label\n', /^DATA_/],
      ['text,label\n"an open quote,a\n', /^DATA_/],
      ['text,label\none,a\ntwo\n', /^DATA_/],
      [`text,label\n${'row,a\n'.repeat(20)}`, /^DATA_/],
    ]
    for (const [text, code] of bad) {
      await writeFile(dataset, text)
      const problem = await refusal('/submit-job', { model: 'bert-tiny', dataset, epochs: 1 })
      assert.match(problem.code, code, JSON.stringify(text))
      assert.ok((problem.hint ?? '') !== '', `${problem.code} has a hint`)
    }
    const missing = { model: 'bert-tiny', dataset: join(stage.dir, 'none.csv'), epochs: 1 }
    assert.equal((await refusal('/submit-job', missing)).code, 'DATASET_NOT_FOUND')
  },
)

test(
  'a mis-signed job is refused by executors: CODE_SIGNATURE_INVALID',
  { skip: SKIP },
  async () => {
    const ann = executors[0]
    assert.ok(ann)
    const stranger = await Stranger.join(stage.name, ann.node?.addresses ?? [])
    try {
      const [misSigned, forged, good] = await Promise.all([
        stranger.job({ publisher: 'another key' }),
        stranger.job({ envelope: 'a changed byte' }),
        stranger.job({}),
      ])
      for (const job of [misSigned, forged, good]) await stranger.hand(ann.peerId, job)
      // Messages from one peer are judged in order: the bid for the last job came after the others.
      await stranger.answerTo(good, PATIENCE_MS)
      assert.equal(stranger.answers(misSigned), 0)
      assert.equal(stranger.answers(forged), 0)
      const log = await readFile(`${ann.home}.log`, 'utf8')
      assert.match(log, /CODE_SIGNATURE_INVALID/)
      assert.match(log, /SIGNATURE_INVALID/)
    } finally {
      await stranger.leave()
    }
  },
)

test('an executor with a full disk gives its task away and goes on', { skip: SKIP }, async () => {
  const home = join(stage.dir, 'tight')
  await mkdir(home)
  await exec('mount', ['-t', 'tmpfs', '-o', 'size=512m,mode=0700', 'tmpfs', home])
  stage.onClosed(() => exec('umount', [home]))
  const tight = await stage.start('tight')
  await knows(requester, [tight])
  const filler = join(home, 'filler')
  await fill(filler, home)

  const data = join(stage.dir, 'data.bin')
  await writeFile(data, randomBytes(24 * 1024 ** 2))
  const inputs = [{ name: 'data', source: data }]
  const job = shellJob('wc -c < /in/data > /out/size', { inputs })
  // Two tasks with two seats each, and every peer bids for one seat: all four are called.
  const view = await succeed(requester.client, { ...job, tasks: 2 })
  const replicas = view.tasks.map((task) => task.replicas)
  const given = replicas.find((all) => all.some(({ peer }) => peer === tight.peerId)) ?? []
  const lost = given.find(({ peer }) => peer === tight.peerId)
  assert.equal(lost?.phase, 'failed', JSON.stringify(replicas))
  assert.match(lost?.note ?? '', /^DISK_FULL: the disk is full/)
  assert.equal(given.filter(({ phase }) => phase === 'agreed').length, 2)
  const sizeBytes = `${24 * 1024 ** 2}\n`
  assert.equal(await fileText(requester.client, view.id, 'output-000/size'), sizeBytes)
  assert.equal(await fileText(requester.client, view.id, 'output-001/size'), sizeBytes)

  assert.ok(tight.isRunning)
  await rm(filler)
  const last = await succeed(requester.client, { ...job, replicas: 4 })
  assert.equal(outcomes(last, [...executors, tight])['tight'], 'agreed')
})

/** Writes until nothing fits any more. */
async function fill(path: string, dir: string): Promise<void> {
  const { bavail, bsize } = await statfs(dir)
  await writeFile(path, Buffer.alloc(bavail * bsize)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOSPC') throw error
  })
}
