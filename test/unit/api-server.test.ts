/** The HTTP API over a fake daemon, through a real unix socket. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { after, before, beforeEach, test } from 'node:test'
import * as schemas from '../../src/api/schemas.js'
import { CtdError } from '../../src/errors.js'
import { ask, JOB_ID, makeJob, NODE, startFake } from './api-fake-daemon.js'
import type { Running } from './api-fake-daemon.js'

const DATASET = 'd'.repeat(64)
const UNEXPECTED: unknown[] = []
let fake: Running
before(async () => {
  fake = await startFake({ blobBytes: 100_000, onUnexpectedError: (e) => UNEXPECTED.push(e) })
})
after(async () => await fake.stop())
beforeEach(() => {
  fake.daemon.current = makeJob()
  fake.daemon.failWith = undefined
  fake.daemon.submitted.length = 0
})

test('POST /submit-job takes {model, dataset, epochs} and answers 202 with where to look', async () => {
  const answer = await ask(fake.socketPath, '/submit-job', {
    json: { model: 'bert-tiny', dataset: DATASET, epochs: 5 },
  })
  assert.equal(answer.status, 202)
  assert.deepEqual(answer.json, {
    id: JOB_ID,
    status: 'pending',
    statusUrl: `/job-status?id=${JOB_ID}`,
    resultsUrl: `/results?id=${JOB_ID}`,
  })
  assert.deepEqual(fake.daemon.submitted, [
    { kind: 'train', model: 'bert-tiny', dataset: DATASET, epochs: 5 },
  ])
})

test('POST /submit-job passes the optional extras of a train job on', async () => {
  const extras = { seed: '7', replicas: 3, shards: 4, learningRate: 0.5 }
  const answer = await ask(fake.socketPath, '/submit-job', {
    json: { model: 'bert-tiny', dataset: '/data/a.csv', epochs: 1, ...extras },
  })
  assert.equal(answer.status, 202)
  assert.deepEqual(fake.daemon.submitted[0], {
    kind: 'train',
    model: 'bert-tiny',
    dataset: '/data/a.csv',
    epochs: 1,
    ...extras,
  })
})

test('GET /job-status says id, status and progress, and accepts a prefix of the id', async () => {
  for (const id of [JOB_ID, JOB_ID.slice(0, 8)]) {
    const answer = await ask(fake.socketPath, `/job-status?id=${id}`)
    assert.equal(answer.status, 200)
    assert.equal(answer.json.id, JOB_ID)
    assert.equal(answer.json.status, 'running')
    assert.equal(answer.json.progress, 0.5)
    assert.equal(answer.json.tasks, undefined)
    schemas.jobStatusSchema.parse(answer.json)
  }
})

test('GET /results gives accuracy and hash once the job succeeded', async () => {
  fake.daemon.current = makeJob({
    status: 'succeeded',
    result: { accuracy: 0.91, hash: 'c'.repeat(64), rounds: 3 },
  })
  const answer = await ask(fake.socketPath, `/results?id=${JOB_ID}`)
  assert.equal(answer.status, 200)
  assert.deepEqual(answer.json, { id: JOB_ID, accuracy: 0.91, hash: 'c'.repeat(64), rounds: 3 })
})

test('GET /results answers 409 with the reason while the job is not finished', async () => {
  fake.daemon.current = makeJob({ status: 'pending', reason: '1 of 2 peers fit' })
  const answer = await ask(fake.socketPath, `/results?id=${JOB_ID}`)
  assert.equal(answer.status, 409)
  assert.equal(answer.headers['content-type'], 'application/problem+json; charset=utf-8')
  assert.equal(answer.json.code, 'JOB_NOT_FINISHED')
  assert.match(answer.json.detail, /pending: 1 of 2 peers fit/)
  assert.equal(answer.json.status, 409)
  assert.equal(answer.json.jobStatus, 'pending')
  schemas.problemSchema.parse(answer.json)
})

test('GET /results answers 424 for a failed job and 410 for a cancelled one', async () => {
  fake.daemon.current = makeJob({ status: 'failed', code: 'NO_MAJORITY', reason: 'disagreed' })
  const failed = await ask(fake.socketPath, `/results?id=${JOB_ID}`)
  assert.deepEqual([failed.status, failed.json.code], [424, 'JOB_FAILED'])
  assert.equal(failed.json.jobCode, 'NO_MAJORITY')
  fake.daemon.current = makeJob({ status: 'cancelled' })
  const cancelled = await ask(fake.socketPath, `/results?id=${JOB_ID}`)
  assert.deepEqual([cancelled.status, cancelled.json.code], [410, 'JOB_CANCELLED'])
})

test('an unknown job is 404 JOB_NOT_FOUND on both plain endpoints and under /v1', async () => {
  for (const path of ['/job-status?id=ffff', '/results?id=ffff', '/v1/jobs/ffff']) {
    const answer = await ask(fake.socketPath, path)
    assert.deepEqual([answer.status, answer.json.code], [404, 'JOB_NOT_FOUND'], path)
    assert.equal(answer.json.hint, 'list yours: ctd ps')
  }
})

test('an id that is no hexadecimal prefix is refused before the daemon is asked', async () => {
  for (const path of ['/job-status?id=ZZZZ', '/job-status', '/v1/jobs/..%2f..', '/results?id=ab']) {
    assert.equal((await ask(fake.socketPath, path)).status, 400, path)
  }
})

test('an unknown key is 400 with the key that was meant', async () => {
  const cases: ReadonlyArray<readonly [string, unknown, string]> = [
    ['/submit-job', { model: 'm', datset: DATASET, epochs: 1 }, 'dataset'],
    ['/submit-job', { model: 'm', dataset: DATASET, epochs: 1, lerningRate: 1 }, 'learningRate'],
    ['/v1/jobs', { kind: 'run', image: 'cpu', command: ['x'], memory: 5 }, 'memoryMiB'],
    [
      '/v1/jobs',
      { kind: 'run', image: 'cpu', command: ['x'], inputs: [{ nmae: 'a', source: '/a' }] },
      'name',
    ],
  ]
  for (const [path, json, meant] of cases) {
    const answer = await ask(fake.socketPath, path, { json })
    assert.equal(answer.status, 400)
    assert.equal(answer.json.code, 'REQUEST_INVALID')
    assert.equal(answer.json.suggestion, meant)
    assert.equal(answer.json.hint, `did you mean "${meant}"?`)
  }
  assert.equal(fake.daemon.submitted.length, 0)
})

test('values out of range, missing keys and unknown query keys are 400 and name the place', async () => {
  const json = { model: 'm', dataset: DATASET, epochs: 0 }
  const range = await ask(fake.socketPath, '/submit-job', { json })
  assert.equal(range.status, 400)
  assert.match(range.json.detail, /^epochs: /)
  const missing = await ask(fake.socketPath, '/submit-job', { json: { model: 'm' } })
  assert.match(missing.json.detail, /^dataset: is missing/)
  const relative = await ask(fake.socketPath, '/submit-job', {
    json: { model: 'm', dataset: 'custom.csv', epochs: 1 },
  })
  assert.match(relative.json.detail, /^dataset: must be a blob digest/)
  const query = await ask(fake.socketPath, `/job-status?id=${JOB_ID}&ids=1`)
  assert.deepEqual([query.status, query.json.suggestion], [400, 'id'])
  const listQuery = await ask(fake.socketPath, '/v1/jobs?limit=5')
  assert.equal(listQuery.status, 400)
})

test('a train job may not have one replica', async () => {
  const json = { model: 'm', dataset: DATASET, epochs: 1, replicas: 1 }
  assert.equal((await ask(fake.socketPath, '/submit-job', { json })).status, 400)
})

test('a JSON body above 1 MiB is 413, bad JSON 400, another media type 415', async () => {
  const big = await ask(fake.socketPath, '/submit-job', { json: { model: 'x'.repeat(1 << 20) } })
  assert.deepEqual([big.status, big.json.code], [413, 'BODY_TOO_LARGE'])
  const headers = { 'content-type': 'application/json' }
  const bad = await ask(fake.socketPath, '/submit-job', { bytes: Buffer.from('{"a":'), headers })
  assert.deepEqual([bad.status, bad.json.code], [400, 'REQUEST_INVALID'])
  const form = await ask(fake.socketPath, '/submit-job', {
    bytes: Buffer.from('a=b'),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
  assert.deepEqual([form.status, form.json.code], [415, 'MEDIA_TYPE_UNSUPPORTED'])
})

test('a key named __proto__ is refused', async () => {
  const answer = await ask(fake.socketPath, '/submit-job', {
    bytes: Buffer.from(`{"model":"m","dataset":"${DATASET}","epochs":1,"__proto__":{"a":1}}`),
    headers: { 'content-type': 'application/json' },
  })
  assert.equal(answer.status, 400)
})

test('an unexpected error is 500 without its message, and is reported inside', async () => {
  fake.daemon.failWith = new Error('secret path /root/x')
  const answer = await ask(fake.socketPath, `/job-status?id=${JOB_ID}`)
  assert.deepEqual([answer.status, answer.json.code], [500, 'INTERNAL'])
  assert.doesNotMatch(answer.text, /secret/)
  assert.equal(UNEXPECTED.at(-1), fake.daemon.failWith)
})

test("a daemon's own error keeps its code, hint and fields", async () => {
  fake.daemon.failWith = new CtdError('NO_CAPACITY', '0 of 3 peers fit', {
    hint: 'ask for less memory',
    fields: { peers: 3, status: 'must not replace the status' },
  })
  const answer = await ask(fake.socketPath, '/submit-job', {
    json: { model: 'm', dataset: DATASET, epochs: 1 },
  })
  assert.equal(answer.status, 503)
  assert.equal(answer.json.status, 503)
  assert.equal(answer.json.hint, 'ask for less memory')
  assert.equal(answer.json.peers, 3)
})

test('an unknown endpoint is a problem document that names the list', async () => {
  const answer = await ask(fake.socketPath, '/v2/jobs')
  assert.deepEqual([answer.status, answer.json.code], [404, 'ROUTE_NOT_FOUND'])
})

test('POST /v1/jobs takes the full form of both kinds and cancel stops a job', async () => {
  const run = {
    kind: 'run',
    image: 'cpu',
    command: ['python', 'x.py'],
    env: { A: '1' },
    inputs: [{ name: 'x.py', source: DATASET }],
    tasks: 4,
    timeoutMs: 60_000,
  }
  const answer = await ask(fake.socketPath, '/v1/jobs', { json: run })
  assert.deepEqual([answer.status, answer.json.statusUrl], [202, `/v1/jobs/${JOB_ID}`])
  assert.deepEqual(fake.daemon.submitted, [run])
  const cancelled = await ask(fake.socketPath, `/v1/jobs/${JOB_ID}/cancel`, { method: 'POST' })
  assert.deepEqual([cancelled.status, cancelled.json.status], [200, 'cancelled'])
})

test('lists and views under /v1 have the documented shapes', async () => {
  const get = async (path: string): Promise<unknown> => {
    const answer = await ask(fake.socketPath, path)
    assert.equal(answer.status, 200, `${path} ${answer.text}`)
    return answer.json
  }
  schemas.jobSchema.array().parse(await get('/v1/jobs'))
  schemas.jobSchema.parse(await get(`/v1/jobs/${JOB_ID}`))
  schemas.logLineSchema.array().parse(await get(`/v1/jobs/${JOB_ID}/logs`))
  schemas.fileSchema.array().parse(await get(`/v1/jobs/${JOB_ID}/files`))
  schemas.peerSchema.array().parse(await get('/v1/peers'))
  schemas.reputationSchema.parse(await get(`/v1/peers/${NODE.peer}/reputation?at=5`))
  schemas.nodeSchema.parse(await get('/v1/node'))
  schemas.healthSchema.parse(await get('/v1/health'))
})

test('artifacts and the transcript come as octets, and climbing paths are refused', async () => {
  const file = await ask(fake.socketPath, `/v1/jobs/${JOB_ID}/file?path=logs/eval.json`)
  assert.equal(file.headers['content-type'], 'application/octet-stream')
  assert.equal(file.text, '{"accuracy":0.9}')
  const transcript = await ask(fake.socketPath, `/v1/jobs/${JOB_ID}/transcript`)
  assert.equal(transcript.text, '\u0001\u0002\u0003')
  for (const path of ['../x', '/etc/passwd', 'a/../b', 'a//b', 'a%00', 'a%5Cb', '']) {
    const refused = await ask(fake.socketPath, `/v1/jobs/${JOB_ID}/file?path=${path}`)
    assert.equal(refused.status, 400, path)
  }
  const missing = await ask(fake.socketPath, `/v1/jobs/${JOB_ID}/file?path=nope`)
  assert.deepEqual([missing.status, missing.json.code], [404, 'FILE_NOT_FOUND'])
})

test('POST /v1/blobs streams bytes in and answers with their digest', async () => {
  const bytes = randomBytes(90_000)
  const answer = await ask(fake.socketPath, '/v1/blobs', { bytes: Readable.from([bytes]) })
  assert.equal(answer.status, 201)
  assert.equal(answer.json.sizeBytes, 90_000)
  assert.deepEqual(fake.daemon.blobs.bytes.get(answer.json.digest), bytes)
})

test('an upload above the limit is 413, announced or not', async () => {
  const bytes = randomBytes(100_001)
  const announced = await ask(fake.socketPath, '/v1/blobs', {
    bytes,
    headers: { 'content-length': String(bytes.length) },
  })
  assert.deepEqual([announced.status, announced.json.code], [413, 'BLOB_TOO_LARGE'])
  const streamed = await ask(fake.socketPath, '/v1/blobs', {
    bytes: Readable.from([bytes.subarray(0, 60_000), bytes.subarray(60_000)]),
  })
  assert.deepEqual([streamed.status, streamed.json.code], [413, 'BLOB_TOO_LARGE'])
})

test('POST /v1/folders takes paths and digests, each path once', async () => {
  const good = await ask(fake.socketPath, '/v1/folders', {
    json: [{ path: 'a/b.py', digest: DATASET }],
  })
  assert.deepEqual([good.status, good.json.digest], [201, 'f'.repeat(64)])
  const twice = [
    { path: 'a', digest: DATASET },
    { path: 'a', digest: DATASET },
  ]
  assert.equal((await ask(fake.socketPath, '/v1/folders', { json: twice })).status, 400)
  const climbing = [{ path: '../a', digest: DATASET }]
  assert.equal((await ask(fake.socketPath, '/v1/folders', { json: climbing })).status, 400)
})

test('/openapi.json is OpenAPI 3.1 and lists every endpoint', async () => {
  const { json } = await ask(fake.socketPath, '/openapi.json')
  assert.equal(json.openapi, '3.1.0')
  assert.deepEqual(Object.keys(json.paths).sort(), [
    '/job-status',
    '/results',
    '/submit-job',
    '/v1/blobs',
    '/v1/blobs/link',
    '/v1/blobs/{digest}',
    '/v1/blobs/{digest}/bytes',
    '/v1/blobs/{digest}/fetch',
    '/v1/blobs/{digest}/pin',
    '/v1/calibration',
    '/v1/events',
    '/v1/folders',
    '/v1/health',
    '/v1/images',
    '/v1/images/{name}',
    '/v1/jobs',
    '/v1/jobs/{id}',
    '/v1/jobs/{id}/cancel',
    '/v1/jobs/{id}/evidence',
    '/v1/jobs/{id}/file',
    '/v1/jobs/{id}/files',
    '/v1/jobs/{id}/logs',
    '/v1/jobs/{id}/resume',
    '/v1/jobs/{id}/transcript',
    '/v1/node',
    '/v1/peers',
    '/v1/peers/{peer}/reputation',
    '/v1/storage',
    '/v1/storage/scrub',
  ])
  const body = json.paths['/submit-job'].post.requestBody.content['application/json'].schema
  assert.deepEqual(body.required, ['model', 'dataset', 'epochs'])
  assert.equal(body.additionalProperties, false)
})

/** Opens the event stream and collects its text; `until` resolves when a pattern has come. */
async function readEvents(socketPath: string) {
  const request = httpRequest({ socketPath, path: '/v1/events', agent: false })
  request.end()
  const [response] = await once(request, 'response')
  let text = ''
  let onText: () => void = () => undefined
  response.setEncoding('utf8')
  response.on('data', (chunk: string) => {
    text += chunk
    onText()
  })
  const until = (pattern: RegExp): Promise<string> =>
    new Promise((resolve) => {
      onText = () => {
        if (pattern.test(text)) resolve(text)
      }
      onText()
    })
  return { response, until, close: () => request.destroy() }
}

test('GET /v1/events sends each event, keeps the line alive and lets go of readers', async () => {
  const own = await startFake({ events: { heartbeatMs: 5 } })
  try {
    const listening = new Promise<void>((resolve) => (own.daemon.onSubscribe = resolve))
    const reader = await readEvents(own.socketPath)
    await listening
    assert.equal(reader.response.headers['content-type'], 'text/event-stream; charset=utf-8')
    own.daemon.emit('task:accepted', { jobId: JOB_ID, text: 'two\nlines' })
    const text = await reader.until(/task:accepted[\s\S]*: heartbeat/)
    assert.match(text, /event: task:accepted\ndata: \{"type":"task:accepted".*two\\nlines.*\}\n\n/)
    const left = new Promise<void>((resolve) => {
      const check = own.daemon.listeners
      const remove = check.delete.bind(check)
      check.delete = (listener) => {
        resolve()
        return remove(listener)
      }
    })
    reader.close()
    await left
    assert.equal(own.daemon.listeners.size, 0)
  } finally {
    await own.stop()
  }
})

test('a reader that does not read costs at most its buffer and is told what it missed', async () => {
  const own = await startFake({ events: { heartbeatMs: 5, bufferBytes: 2_000_000 } })
  try {
    const listening = new Promise<void>((resolve) => (own.daemon.onSubscribe = resolve))
    const reader = await readEvents(own.socketPath)
    await listening
    const filler = 'x'.repeat(100_000)
    for (let i = 0; i < 100; i++) own.daemon.emit('task:called', { i, filler })
    const text = await reader.until(/event: events:skipped\n.*\n/)
    const count = Number(/"count":(\d+)/.exec(text)?.[1])
    const received = text.match(/event: task:called/g)?.length ?? 0
    assert.equal(received + count, 100)
    assert.ok(received >= 19 && received < 100, `received ${received}`)
    reader.close()
  } finally {
    await own.stop()
  }
})

test('stopping ends open streams and idle connections at once', async () => {
  const own = await startFake()
  const listening = new Promise<void>((resolve) => (own.daemon.onSubscribe = resolve))
  const reader = await readEvents(own.socketPath)
  await listening
  const closed = once(reader.response, 'close').catch(() => undefined)
  reader.response.on('error', () => undefined)
  reader.response.resume()
  await own.stop()
  await closed
  assert.equal(own.daemon.listeners.size, 0)
  await assert.rejects(ask(own.socketPath, '/v1/health'), { code: 'ENOENT' })
})
