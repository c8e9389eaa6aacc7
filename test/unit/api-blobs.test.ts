/** The endpoints of blobs and images over a fake daemon, through a real unix socket. */
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, before, beforeEach, test } from 'node:test'
import { Readable } from 'node:stream'
import { CtdError } from '../../src/errors.js'
import { cidOf } from '../../src/wire/cid.js'
import { smallBlobDigest } from '../../src/wire/folder.js'
import { ask, IMAGE, startFake, STORAGE } from './api-fake-daemon.js'
import type { Answer, Running } from './api-fake-daemon.js'

let fake: Running
before(async () => {
  fake = await startFake()
})
after(async () => await fake.stop())
beforeEach(() => {
  fake.daemon.blobs.heldBy = []
  fake.daemon.images.failWith = undefined
})

const add = async (text: string): Promise<string> =>
  (await fake.daemon.blobs.add(Readable.from([Buffer.from(text)]))).digest

const linesOf = (answer: Answer): unknown[] =>
  answer.text
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line))

test('a blob is added, listed, read, pinned, let go and removed by its digest', async () => {
  const bytes = Buffer.from('some bytes')
  const digest = smallBlobDigest(bytes)
  const added = await ask(fake.socketPath, '/v1/blobs', { bytes })
  assert.deepEqual([added.status, added.json.digest, added.json.cid], [201, digest, cidOf(digest)])
  const path = `/v1/blobs/${digest}`
  const listed = await ask(fake.socketPath, '/v1/blobs?all=true')
  assert.ok(listed.json.some((blob: { digest: string }) => blob.digest === digest))
  assert.equal((await ask(fake.socketPath, `${path}/bytes`)).text, 'some bytes')
  const pin = { method: 'PUT', json: { name: 'mine' } }
  assert.equal((await ask(fake.socketPath, `${path}/pin`, pin)).json.name, 'mine')
  assert.equal((await ask(fake.socketPath, `${path}/pin`, { method: 'DELETE' })).status, 200)
  const removed = await ask(fake.socketPath, path, { method: 'DELETE' })
  assert.deepEqual(removed.json, { digest, freedBytes: bytes.length })
})

test('every refusal has its code, its status and a way out', async () => {
  const digest = await add('refusals')
  const unknown = 'e'.repeat(64)
  fake.daemon.blobs.heldBy = ['your job ab12']
  const cases: ReadonlyArray<readonly [string, string, number, string, unknown?]> = [
    ['GET', `/v1/blobs/${unknown}`, 404, 'BLOB_UNKNOWN'],
    ['DELETE', `/v1/blobs/${digest}`, 409, 'BLOB_HELD'],
    ['DELETE', `/v1/blobs/${digest}/pin`, 409, 'NOT_PINNED'],
    ['POST', `/v1/blobs/${unknown}/fetch`, 503, 'BLOB_UNAVAILABLE', {}],
    ['POST', '/v1/blobs/not-a-digest/fetch', 400, 'BAD_DIGEST', {}],
    ['POST', `/v1/blobs/${digest}/fetch`, 400, 'REQUEST_INVALID', { from: 'somebody' }],
    ['POST', `/v1/blobs/${digest}/fetch`, 400, 'REQUEST_INVALID', { form: 'typo' }],
    ['PUT', `/v1/blobs/${digest}/pin`, 400, 'REQUEST_INVALID', { name: 'a\nb' }],
    ['POST', '/v1/blobs/link', 400, 'REQUEST_INVALID', { path: 'relative' }],
    ['GET', '/v1/blobs?all=maybe', 400, 'REQUEST_INVALID'],
  ]
  for (const [method, path, status, code, json] of cases) {
    const options = json === undefined ? { method } : { method, json }
    const answer = await ask(fake.socketPath, path, options)
    assert.deepEqual([answer.status, answer.json.code], [status, code], `${method} ${path}`)
  }
})

test('a fetch answers with lines: how far it is, then what came', async () => {
  const bytes = Buffer.from('of another peer')
  const digest = smallBlobDigest(bytes)
  fake.daemon.blobs.remote.set(digest, bytes)
  const answer = await ask(fake.socketPath, `/v1/blobs/${digest}/fetch`, { json: {} })
  assert.equal(answer.status, 200)
  assert.equal(answer.headers['content-type'], 'application/x-ndjson')
  const lines = linesOf(answer)
  assert.deepEqual(lines[0], { progress: { doneBytes: 0, totalBytes: bytes.length, sources: 1 } })
  assert.equal(Reflect.get(Object(Reflect.get(Object(lines.at(-1)), 'result')), 'digest'), digest)
})

test('work that fails after its first progress ends with a problem among the lines', async () => {
  fake.daemon.images.failWith = new CtdError('IMAGE_ARCHIVE_REFUSED', 'it is no tar archive')
  const answer = await ask(fake.socketPath, '/v1/images', { json: { archive: 'a'.repeat(64) } })
  assert.equal(answer.status, 200)
  const problem: unknown = Reflect.get(Object(linesOf(answer).at(-1)), 'problem')
  assert.deepEqual(
    ['code', 'status'].map((key): unknown => Reflect.get(Object(problem), key)),
    ['IMAGE_ARCHIVE_REFUSED', 422],
  )
})

test('a client that leaves ends the fetch it asked for', async () => {
  const { blobs } = fake.daemon
  const original = blobs.fetch.bind(blobs)
  const aborted = new Promise<unknown>((resolve) => {
    blobs.fetch = (_name, _from, onProgress, signal) => {
      onProgress({ doneBytes: 1, totalBytes: 2, sources: 1 })
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          resolve(signal.reason)
          reject(signal.reason)
        })
      })
    }
  })
  const asked = request({
    socketPath: fake.socketPath,
    method: 'POST',
    path: `/v1/blobs/${'a'.repeat(64)}/fetch`,
    headers: { 'content-type': 'application/json', 'content-length': '2' },
    agent: false,
  })
  asked.on('response', () => asked.destroy())
  asked.on('error', () => undefined) // It left on purpose.
  asked.end('{}')
  assert.equal(Reflect.get(Object(await aborted), 'code'), 'ABORTED')
  blobs.fetch = original
})

test('storage and images are told as the daemon has them', async () => {
  assert.deepEqual((await ask(fake.socketPath, '/v1/storage')).json, STORAGE)
  assert.deepEqual((await ask(fake.socketPath, '/v1/images')).json, [IMAGE])
  const scrub = await ask(fake.socketPath, '/v1/storage/scrub', { json: {} })
  assert.deepEqual(linesOf(scrub).at(-1), { result: fake.daemon.blobs.scrubReport })
  fake.daemon.images.failWith = new CtdError('IMAGE_LEASED', 'a job needs it')
  const leased = await ask(fake.socketPath, '/v1/images/tool', { method: 'DELETE' })
  assert.deepEqual([leased.status, leased.json.code], [409, 'IMAGE_LEASED'])
})
