import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Clock } from '../../src/clock.js'
import { silentLog } from '../../src/log.js'
import { createSigner, seal } from '../../src/wire/envelope.js'
import { fromHex, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { JobId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { Inbox } from '../../src/witness/inbox.js'
import { honest, NETWORK, Rig, RUN_SPEC, sealManifest } from './rig.js'

const clock: Clock = { now: () => 0, after: () => () => undefined }
const stranger = createSigner(sha256(utf8('stranger')))

function createInbox(): Inbox {
  return new Inbox({
    network: NETWORK,
    clock,
    log: silentLog,
    onUnknownJob: () => undefined,
    onEquivocation: () => undefined,
  })
}

const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(4) }).run()

async function inboxWithJob(): Promise<Inbox> {
  const inbox = createInbox()
  for (const opened of rig.record.messages()) {
    const { verdict, code } = await inbox.receive(opened.bytes, opened.author)
    assert.equal(verdict, 'accept', `${opened.kind}: ${code}`)
  }
  return inbox
}

const [offer] = rig.record.ofKind('offer')
const [commitment] = rig.record.ofKind('commitment')
assert.ok(offer !== undefined && commitment !== undefined)
const { taskId } = commitment.message

describe('a witness', () => {
  it('takes every message of a job that went well', async () => {
    const inbox = await inboxWithJob()
    const record = inbox.record(rig.context.jobId)
    assert.equal([...(record?.messages() ?? [])].length, [...rig.record.messages()].length)
  })

  it('ignores as NOT_A_BIDDER what peers say of a task that nobody froze a bid of', async () => {
    const inbox = await inboxWithJob()
    const failure = seal(NETWORK, 'failure', { taskId, code: 'X', reason: 'x' }, stranger)
    const fake = { taskId, attempt: 1, commitment: new Uint8Array(32) }
    for (const opened of [failure, seal(NETWORK, 'commitment', fake, stranger)]) {
      const receipt = await inbox.receive(opened.bytes, stranger.peerId)
      assert.deepEqual(receipt, { verdict: 'ignore', code: 'NOT_A_BIDDER' })
      const again = await inbox.receive(opened.bytes, stranger.peerId)
      assert.deepEqual(again, { verdict: 'ignore', code: 'DUPLICATE' })
    }
  })

  it('ignores as TOO_MANY failures beyond eight that one bidder tells of one task', async () => {
    const inbox = await inboxWithJob()
    const { signer } = rig.executor(0)
    const codes: string[] = []
    for (let i = 0; i <= LIMITS.failuresPerAuthor; i++) {
      const failure = { taskId, code: 'X', reason: String(i) }
      const { bytes } = seal(NETWORK, 'failure', failure, signer)
      codes.push((await inbox.receive(bytes, signer.peerId)).code)
    }
    assert.equal(codes.filter((code) => code === 'ACCEPTED').length, LIMITS.failuresPerAuthor)
    assert.equal(codes.at(-1), 'TOO_MANY')
  })

  it('notices an EQUIVOCATION also where an offer has all the answers it takes', async () => {
    const inbox = createInbox()
    const id = fromHex(offer.id)
    const answer = (name: string, reason: string) =>
      seal(
        NETWORK,
        'decline',
        { offer: id, code: 'BUSY', reason },
        createSigner(sha256(utf8(name))),
      )
    for (const { bytes, author } of [rig.manifest, offer]) await inbox.receive(bytes, author)
    for (let i = 0; i < LIMITS.answersPerOffer; i++) {
      const { bytes, author } = answer(`${i}`, 'busy')
      assert.equal((await inbox.receive(bytes, author)).code, 'ACCEPTED')
    }
    const [late, second] = [answer('late', 'busy'), answer('0', 'away')]
    assert.equal((await inbox.receive(late.bytes, late.author)).code, 'TOO_MANY')
    assert.equal((await inbox.receive(second.bytes, second.author)).code, 'EQUIVOCATION')
  })

  it('ignores heartbeats as HEARTBEAT_NOT_ASKED', async () => {
    const inbox = await inboxWithJob()
    const beat = { taskId, phase: 'running', step: 1, total: 2, note: '' }
    const { bytes } = seal(NETWORK, 'heartbeat', beat, rig.executor(0).signer)
    const receipt = await inbox.receive(bytes, rig.executor(0).peerId)
    assert.deepEqual(receipt, { verdict: 'ignore', code: 'HEARTBEAT_NOT_ASKED' })
  })

  it('lets one peer fill only its share of what waits for a predecessor', async () => {
    const inbox = createInbox()
    let last = { code: '' }
    for (let i = 0; i <= LIMITS.pendingPerPeer; i++) {
      const unknown = sha256(utf8(`offer ${i}`))
      const { bytes } = seal(
        NETWORK,
        'decline',
        { offer: unknown, code: 'X', reason: '' },
        stranger,
      )
      const waiting = inbox.receive(bytes, stranger.peerId)
      // Those that wait never resolve here: no time passes.
      if (i === LIMITS.pendingPerPeer) last = await waiting
    }
    assert.equal(last.code, 'PENDING_FULL')
    for (const opened of rig.record.messages()) {
      assert.equal((await inbox.receive(opened.bytes, opened.author)).verdict, 'accept')
    }
  })

  it('forgets the oldest jobs that it takes no part in, with all that names them', async () => {
    const inbox = await inboxWithJob()
    const held = sealManifest(stranger, { spec: RUN_SPEC, behaviours: [], replicas: 3 })
    await inbox.receive(held.bytes, stranger.peerId)
    inbox.hold(held.id as string as JobId)
    for (let i = 0; i < LIMITS.witnessedJobs; i++) {
      const spec = { ...RUN_SPEC, seed: String(i) }
      const { bytes } = sealManifest(stranger, { spec, behaviours: [] })
      assert.equal((await inbox.receive(bytes, stranger.peerId)).verdict, 'accept')
    }
    assert.equal([...inbox.records()].length, LIMITS.witnessedJobs)
    assert.notEqual(inbox.record(held.id), undefined)
    assert.equal(inbox.record(rig.context.jobId), undefined)
    assert.equal(inbox.recordOf(offer.id), undefined)
    assert.equal(inbox.recordOf(toHex(taskId)), undefined)
  })
})
