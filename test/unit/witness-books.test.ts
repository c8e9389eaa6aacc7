import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Clock } from '../../src/clock.js'
import { silentLog } from '../../src/log.js'
import { REPUTATION_RULES } from '../../src/protocol/reputation.js'
import type { ReputationReceipt } from '../../src/protocol/reputation.js'
import { createSigner, seal } from '../../src/wire/envelope.js'
import { Request, Response } from '../../src/wire/generated/control.js'
import { sha256, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'
import { createControl } from '../../src/witness/control.js'
import { Inbox } from '../../src/witness/inbox.js'
import { ReputationBook } from '../../src/witness/reputation-book.js'
import { NETWORK } from './rig.js'

const NOW_MS = 1_700_000_000_000
const clock: Clock = { now: () => NOW_MS, after: () => () => undefined }
const [executor, other] = ['executor', 'other'].map((name) => createSigner(sha256(utf8(name))))
assert.ok(executor !== undefined && other !== undefined)

function receiptAt(receiptId: string, atMs: number): string {
  const receipt: ReputationReceipt = {
    receiptId,
    taskId: 'task',
    requester: 'requester' as PeerId,
    atMs,
    young: true,
    stewards: 1,
    executors: [],
  }
  return JSON.stringify({ receipt, arrival: 0 })
}

describe('the reputation book', () => {
  it('forgets receipts that are too old to count and those that are damaged', async () => {
    const { horizonMs } = REPUTATION_RULES
    const kept = new Map([
      ['old', receiptAt('old', NOW_MS - horizonMs - 1)],
      ['young', receiptAt('young', NOW_MS - horizonMs + 1)],
      ['damaged', '{"receiptId":'],
      ['of another version', '{"receiptId":"x"}'],
    ])
    const book = new ReputationBook({
      network: NETWORK,
      clock,
      log: silentLog,
      store: {
        list: () => Promise.resolve([...kept]),
        put: () => Promise.resolve(),
        delete: (_space, key) => {
          kept.delete(key)
          return Promise.resolve()
        },
      },
    })
    await book.load()
    assert.equal(kept.has('old'), false)
    const rootOfYoung = sha256(utf8('ctd-receipts-v1\0'), utf8('young'))
    assert.deepEqual(book.root(), rootOfYoung)
  })
})

describe('the control protocol', () => {
  const asked: string[] = []
  const control = createControl({
    network: NETWORK,
    log: silentLog,
    inbox: new Inbox({
      network: NETWORK,
      clock,
      log: silentLog,
      onUnknownJob: () => undefined,
      onEquivocation: () => undefined,
    }),
    onHeartbeat: ({ author }) => {
      asked.push(author)
      return { isAwaited: true, missed: [] }
    },
    jobAnswer: (method, _jobId, from) =>
      Promise.resolve(method === 'job-logs' && from === other.peerId ? utf8('logs') : undefined),
  })
  const ask = async (method: string, body: Uint8Array, from: PeerId): Promise<Response> =>
    Response.decode(await control(Request.encode({ method, body }), from))

  it('refuses as HEARTBEAT_NOT_OWN a heartbeat that another peer has kept', async () => {
    const beat = { taskId: new Uint8Array(32), phase: 'running', step: 0, total: 0, note: '' }
    const { bytes } = seal(NETWORK, 'heartbeat', beat, executor)
    assert.equal((await ask('heartbeat', bytes, other.peerId)).code, 'HEARTBEAT_NOT_OWN')
    assert.deepEqual(asked, [])
    assert.equal((await ask('heartbeat', bytes, executor.peerId)).code, 'OK')
    assert.deepEqual(asked, [executor.peerId])
  })

  it('tells who asks, so that logs go to the submitter alone', async () => {
    const jobId = utf8('a'.repeat(64))
    assert.equal((await ask('job-logs', jobId, executor.peerId)).code, 'JOB_UNKNOWN')
    assert.equal((await ask('job-logs', jobId, other.peerId)).code, 'OK')
  })
})
