import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { jobStatus } from '../../src/api/answers.js'
import { jobView } from '../../src/api/job-view.js'
import { fetchText } from '../../src/cli/progress.js'
import { decodeFetch, encodeFetch } from '../../src/executor/fetch-state.js'
import { openAs, seal } from '../../src/wire/envelope.js'
import { Heartbeat } from '../../src/wire/generated/task.js'
import { decodeMessage } from '../../src/wire/messages.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'

const MIB = 1024 ** 2

function reasonOf({ manifest, plan, state }: Rig): string {
  return jobView({ manifest, plan, state, beats: new Map() }).reason
}

describe('what people see of a job', () => {
  it('says what it waits for before it has executors, and nothing once it runs', () => {
    const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(3) })
    assert.equal(reasonOf(rig), 'it is about to be offered to peers')
    const assignment = () => rig.state.batches[0]?.assignment
    rig.run(() => assignment()?.bids.size === 1)
    assert.equal(reasonOf(rig), 'waiting for bids: 3 peers asked, 1 bid, 0 declined')
    rig.run(() => assignment()?.openings.size === 2)
    assert.equal(reasonOf(rig), 'drawing executors among 3 bidders, 2 have opened their lots')
    rig.run(() => rig.state.status === 'running')
    assert.equal(reasonOf(rig), '')
  })

  it('tells how far each executor is with what it fetches, in few words too', () => {
    const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(3) })
    rig.run(() => rig.state.status === 'running')
    const slot = rig.state.batches[0]?.assignment?.slots[0]
    const [peer] = rig.state.batches[0]?.assignment?.election?.slots[0]?.ranking ?? []
    assert.ok(slot !== undefined && peer !== undefined)
    const source = { peer: rig.requester.peerId, bytes: 3 * MIB, state: 'fetching' }
    const told = { what: 'image', doneBytes: 3 * MIB, totalBytes: 8 * MIB, bytesPerSecond: MIB }
    const fetch = { ...told, etaMs: 5000, sources: [source] }
    // As it comes over the wire.
    const state = encodeFetch(fetch)
    const beat = { taskId: new Uint8Array(32), phase: 'fetching', step: 0, total: 0, note: '' }
    const { bytes } = seal(NETWORK, 'heartbeat', { ...beat, fetch: state }, rig.requester)
    const { message } = openAs(NETWORK, bytes, 'heartbeat')
    assert.ok(message.fetch)
    const beats = new Map([
      [`${slot.taskId}/${peer}`, { ...message, fetch: decodeFetch(message.fetch) }],
    ])
    const { manifest, plan } = rig
    const status = jobStatus(jobView({ manifest, plan, state: rig.state, beats }))
    assert.deepEqual(status.fetching, [{ task: plan.batches[0]?.[0]?.name, peer, ...fetch }])
    const words = 'image 3.0MiB of 8.0MiB, 1.0MiB/s, 5s left, from 1 peer'
    assert.equal(fetchText(fetch), words)
    const unknown = { ...fetch, totalBytes: 0, etaMs: null, sources: [] }
    assert.deepEqual(decodeFetch(encodeFetch(unknown)), unknown)
    assert.equal(fetchText(unknown), 'image, 1.0MiB/s, from 0 peers')
  })

  it('MESSAGE_MALFORMED: a heartbeat names eight sources at most', () => {
    const source = { peer: new Uint8Array(32), bytes: 1, state: 'fetching' }
    const bytesOf = (count: number): Uint8Array => {
      const sources = Array.from({ length: count }, () => source)
      const told = { what: 'x', doneBytes: 0, totalBytes: 0, bytesPerSecond: 0, etaMs: 0 }
      const beat = { taskId: new Uint8Array(32), phase: 'fetching', step: 0, total: 0, note: '' }
      return Heartbeat.encode({ ...beat, fetch: { ...told, sources } })
    }
    assert.equal(decodeMessage('heartbeat', bytesOf(8)).fetch?.sources.length, 8)
    assert.throws(() => decodeMessage('heartbeat', bytesOf(9)), { code: 'MESSAGE_MALFORMED' })
  })
})
