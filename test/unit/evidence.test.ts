import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Clock } from '../../src/clock.js'
import { CtdError } from '../../src/errors.js'
import { silentLog } from '../../src/log.js'
import { sealFault } from '../../src/protocol/fault.js'
import type { Store } from '../../src/store/store.js'
import { auditTranscript } from '../../src/protocol/audit.js'
import { standingsOf } from '../../src/protocol/standings.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { createSigner, seal } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../../src/wire/envelope.js'
import { fromHex, sha256, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'
import { Bundle } from '../../src/wire/generated/control.js'
import type { Standing } from '../../src/wire/generated/election.js'
import { Evidence, ReceiptIds } from '../../src/wire/generated/evidence.js'
import { answerEvidence } from '../../src/witness/evidence-desk.js'
import { evidenceFile } from '../../src/witness/evidence-file.js'
import { EvidenceRounds } from '../../src/witness/evidence-rounds.js'
import { FaultBook } from '../../src/witness/fault-book.js'
import { Fence } from '../../src/witness/fence.js'
import { ReceiptArchive } from '../../src/witness/receipt-archive.js'
import { ReputationBook } from '../../src/witness/reputation-book.js'
import { honest, NETWORK, Rig } from './rig.js'

const NOW_MS = 1_800_000_600_000
const clock: Clock = { now: () => NOW_MS, after: () => () => undefined }

type Records = Pick<Store, 'put' | 'putAll' | 'get' | 'getAll' | 'list' | 'delete' | 'deleteAll'>

/** A database in memory. */
class Memory implements Records {
  readonly records = new Map<string, string>()
  isFull = false

  async put(space: string, key: string, text: string): Promise<void> {
    await this.putAll([{ space, key, text }])
  }
  async putAll(
    records: ReadonlyArray<{ space: string; key: string; text: string }>,
  ): Promise<void> {
    if (this.isFull) throw new CtdError('STORE_FULL', 'no room')
    for (const { space, key, text } of records) this.records.set(`${space}!${key}`, text)
  }
  async get(space: string, key: string): Promise<string | undefined> {
    return this.records.get(`${space}!${key}`)
  }
  async getAll(space: string, keys: readonly string[]): Promise<Array<string | undefined>> {
    return keys.map((key) => this.records.get(`${space}!${key}`))
  }
  async list(space: string): Promise<Array<readonly [string, string]>> {
    const all = [...this.records].filter(([key]) => key.startsWith(`${space}!`))
    return all.map(([key, text]) => [key.slice(space.length + 1), text])
  }
  async delete(space: string, key: string): Promise<void> {
    this.records.delete(`${space}!${key}`)
  }
  async deleteAll(space: string, prefix: string): Promise<void> {
    for (const key of this.records.keys()) {
      if (key.startsWith(`${space}!${prefix}`)) this.records.delete(key)
    }
  }
  countOf(space: string): number {
    return [...this.records.keys()].filter((key) => key.startsWith(`${space}!`)).length
  }
}

/** The books of one peer, and what it answers. */
class Peer {
  readonly name: PeerId
  readonly memory: Memory
  readonly archive: ReceiptArchive
  readonly faults: FaultBook
  readonly reputation: ReputationBook
  readonly rounds: EvidenceRounds
  readonly asked: string[] = []
  readonly excluded: PeerId[] = []

  constructor(name: string, world: Map<PeerId, Peer>, memory = new Memory()) {
    this.name = name as PeerId
    this.memory = memory
    world.set(this.name, this)
    const parts = { network: NETWORK, store: memory, clock, log: silentLog }
    this.archive = new ReceiptArchive(parts)
    this.faults = new FaultBook({
      ...parts,
      isKnown: () => false,
      onFaulty: (peer) => this.excluded.push(peer),
    })
    const { archive, faults } = this
    this.reputation = new ReputationBook({
      ...parts,
      faults,
      onForgotten: (id) => archive.forget(id),
    })
    const courier = {
      ask: async (peer: PeerId, method: string, body: Uint8Array): Promise<Uint8Array> => {
        this.asked.push(method)
        const answer = await world.get(peer)?.answer(method, body)
        if (answer === undefined) throw new CtdError('PEER_UNREACHABLE', 'nobody there')
        return answer
      },
    }
    const connectedPeers = (): PeerId[] => [...world.keys()].filter((peer) => peer !== this.name)
    this.rounds = new EvidenceRounds(
      { ...parts, courier, archive, faults, reputation: this.reputation, connectedPeers },
      { roundMs: 1000 },
    )
  }

  async answer(method: string, body: Uint8Array): Promise<Uint8Array | undefined> {
    return answerEvidence(this, method, body)
  }

  /** As a witness of the job. */
  async witness(rig: Rig): Promise<void> {
    for (const receipt of rig.record.ofKind('receipt')) {
      const verified = await this.reputation.take(rig.record, receipt)
      assert.ok(verified)
      await this.archive.keep(receipt, verified.messages)
    }
  }
}

const rig = new Rig({ behaviours: ['liar', ...honest(5)], replicas: 4 }).run()
const receipts = rig.record.ofKind('receipt')
const executors = rig.executors.map(({ peerId }) => peerId)

function commitments(signer: Signer): [AnyOpened, AnyOpened] {
  const of = (result: string): Opened<'commitment'> =>
    seal(
      NETWORK,
      'commitment',
      { taskId: sha256(utf8('task')), attempt: 1, commitment: sha256(utf8(result)) },
      signer,
    )
  return [of('this'), of('that')]
}

describe('anti-entropy', () => {
  it('gives a late joiner the same scores and the same root', async () => {
    assert.ok(receipts.length > 3)
    const world = new Map<PeerId, Peer>()
    const [old, joiner] = [new Peer('old', world), new Peer('joiner', world)]
    await old.witness(rig)
    const outcome = await joiner.rounds.round(old.name)
    assert.deepEqual(outcome, { receipts: receipts.length, refused: 0, faults: 0 })
    assert.deepEqual(joiner.reputation.root(), old.reputation.root())
    for (const peer of executors) {
      assert.deepEqual(joiner.reputation.explain(peer), old.reputation.explain(peer))
    }
    const scores = executors.map((peer) => joiner.reputation.score(peer).reliabilityPpm)
    assert.ok(new Set(scores).size > 1, 'the liar is worth less than the others')
  })

  it('asks for nothing but the roots where both hold the same', async () => {
    const world = new Map<PeerId, Peer>()
    const [one, other] = [new Peer('one', world), new Peer('other', world)]
    await one.witness(rig)
    await other.witness(rig)
    await one.rounds.round(other.name)
    assert.deepEqual(one.asked, ['evidence-roots'])
  })

  it('unites what two peers hold in part', async () => {
    const world = new Map<PeerId, Peer>()
    const [one, other, joiner] = [
      new Peer('one', world),
      new Peer('other', world),
      new Peer('joiner', world),
    ]
    for (const [i, receipt] of receipts.entries()) {
      const peer = i % 2 === 0 ? one : other
      const verified = await peer.reputation.take(rig.record, receipt)
      assert.ok(verified)
      await peer.archive.keep(receipt, verified.messages)
    }
    const first = await joiner.rounds.round(one.name)
    const second = await joiner.rounds.round(other.name)
    assert.equal(first.receipts + second.receipts, receipts.length)
    await one.rounds.round(joiner.name)
    assert.deepEqual(one.reputation.root(), joiner.reputation.root())
  })

  it('believes no chain with a message altered, replaced or left out', async () => {
    const world = new Map<PeerId, Peer>()
    const old = new Peer('old', world)
    await old.witness(rig)
    const [receipt] = receipts
    assert.ok(receipt)
    const body = ReceiptIds.encode({ ids: [fromHex(receipt.id)] })
    const { envelopes } = Bundle.decode((await old.answer('evidence-receipts', body)) ?? body)
    for (let left = 0; left < envelopes.length; left++) {
      const joiner = new Peer('joiner', world)
      const answer = old.answer.bind(old)
      old.answer = async (method, asked) =>
        method === 'evidence-receipts'
          ? Bundle.encode({ envelopes: envelopes.filter((_, i) => i !== left) })
          : answer(method, asked)
      const outcome = await joiner.rounds.round(old.name)
      old.answer = answer
      assert.equal(outcome.receipts, 0, `without message ${left}`)
      assert.deepEqual(joiner.reputation.size, 0)
    }
  })

  it('keeps what it learnt over a restart, and serves it', async () => {
    const world = new Map<PeerId, Peer>()
    const old = new Peer('old', world)
    await old.witness(rig)
    await old.faults.take(sealFault(...commitments(createSigner(sha256(utf8('two-faced'))))))
    const again = new Peer('old', world, old.memory)
    await again.archive.load()
    await again.faults.load()
    await again.reputation.load()
    assert.deepEqual(again.reputation.root(), old.reputation.root())
    const joiner = new Peer('joiner', world)
    const outcome = await joiner.rounds.round(again.name)
    assert.deepEqual(outcome, { receipts: receipts.length, refused: 0, faults: 1 })
  })

  it('forgets a job with its last receipt', async () => {
    const peer = new Peer('old', new Map())
    await peer.witness(rig)
    const before = peer.memory.countOf('chain-message')
    for (const receipt of receipts.slice(1)) await peer.archive.forget(receipt.id)
    assert.equal(peer.memory.countOf('chain-message'), before)
    await peer.archive.forget(receipts[0]?.id ?? '')
    assert.equal(peer.memory.countOf('chain-message'), 0)
    assert.deepEqual(peer.archive.buckets(), [])
  })

  it('BAD_REQUEST: malformed questions are refused and huge ones are cut', async () => {
    const peer = new Peer('old', new Map())
    const short = ReceiptIds.encode({ ids: [utf8('short')] })
    await assert.rejects(peer.answer('evidence-receipts', short), { code: 'BAD_REQUEST' })
    const many = ReceiptIds.encode({ ids: Array.from({ length: 65 }, () => new Uint8Array(32)) })
    await assert.rejects(peer.answer('evidence-receipts', many), { code: 'BAD_REQUEST' })
    for (const method of ['evidence-ids', 'evidence-faults', 'evidence-receipts']) {
      const garbage = Uint8Array.of(0x0a, 0xff)
      await assert.rejects(peer.answer(method, garbage), { code: 'BAD_REQUEST' }, method)
    }
    assert.equal(await peer.answer('job-status', short), undefined)
  })
})

describe('the evidence file', () => {
  const twoFaced = createSigner(sha256(utf8('two-faced')))
  const keys = rig.executors.map(({ peerId }) => peerId)

  /** A job whose bidders a peer weighs by what it knows, and changes in between. */
  async function weighed(
    lie: (standing: Standing) => Standing = (standing) => standing,
  ): Promise<{ transcript: Uint8Array; evidence: Uint8Array }> {
    const book = new Peer('requester', new Map())
    const [first] = receipts
    assert.ok(first)
    const early = await book.reputation.take(rig.record, first)
    assert.ok(early)
    await book.archive.keep(first, early.messages)
    const roots: Uint8Array[] = [book.reputation.quote()]
    await book.witness(rig)
    await book.faults.take(sealFault(...commitments(twoFaced)))
    const job = new Rig({
      behaviours: ['liar', ...honest(5)],
      weigh: (bids, nowMs) => {
        const standings = standingsOf(bids, {
          score: (peer) => book.reputation.scoreAt(peer, nowMs),
          prefixOf: () => '10.0.0.0/24',
          work: 'cpu',
        })
        const receiptRoot = book.reputation.quote()
        roots.push(receiptRoot)
        const told = [...standings].map(([peer, standing]) => [peer, lie(standing)] as const)
        return { standings: new Map(told), receiptRoot }
      },
    }).run()
    const parts = { network: NETWORK, ...book }
    return {
      transcript: buildTranscript(NETWORK, job.record),
      evidence: await evidenceFile(parts, roots),
    }
  }

  function audit({ transcript, evidence }: { transcript: Uint8Array; evidence: Uint8Array }) {
    return auditTranscript({ bytes: transcript, evidence, trusted: new Set(keys) })
  }

  it('lets an auditor weigh every bidder again', async () => {
    const report = audit(await weighed())
    assert.deepEqual(
      report.problems.filter(({ code }) => code !== 'LISTING_MISSING'),
      [],
    )
    const { elections, checked } = report.standings
    assert.ok(elections > 3)
    assert.deepEqual([checked, report.standings.receipts], [elections, receipts.length])
  })

  it('STANDING_MISMATCH: a requester that favours a bidder is found out', async () => {
    let isFirst = true
    const report = audit(
      await weighed((standing) => {
        const { reliabilityPpm } = standing
        if (!isFirst) return standing
        isFirst = false
        return { ...standing, reliabilityPpm: reliabilityPpm + 1 }
      }),
    )
    assert.ok(report.problems.some(({ code }) => code === 'STANDING_MISMATCH'))
  })

  it('EVIDENCE_INVALID: nothing can be left out of it or put into it', async () => {
    const given = await weighed()
    const evidence = Evidence.decode(given.evidence)
    const altered: Evidence[] = [
      { ...evidence, receipts: evidence.receipts.slice(1) },
      { ...evidence, receipts: evidence.receipts.toReversed() },
      { ...evidence, faults: [] },
      { ...evidence, sets: evidence.sets.map((set) => ({ ...set, receipts: set.receipts - 1 })) },
      ...evidence.envelopes.map((_, left) => ({
        ...evidence,
        envelopes: evidence.envelopes.filter((__, i) => i !== left),
      })),
    ]
    for (const [i, one] of altered.entries()) {
      const report = audit({ ...given, evidence: Evidence.encode(one) })
      assert.ok(
        report.problems.some(({ message }) => message.startsWith('the evidence does not hold')),
        `alteration ${i}`,
      )
    }
    const other = audit({ ...given, evidence: utf8('not evidence') })
    assert.ok(other.problems.some(({ code }) => code === 'EVIDENCE_MALFORMED'))
  })

  it('EVIDENCE_MISSING: roots that this peer never quoted have no evidence here', async () => {
    const book = new Peer('requester', new Map())
    const parts = { network: NETWORK, ...book }
    await assert.rejects(evidenceFile(parts, [new Uint8Array(32)]), { code: 'EVIDENCE_MISSING' })
  })
})

describe('the fault book', () => {
  const liar = createSigner(sha256(utf8('two-faced')))

  it('excludes an equivocator for ever, whatever it has earned', async () => {
    const world = new Map<PeerId, Peer>()
    const [one, other] = [new Peer('one', world), new Peer('other', world)]
    const victim = rig.executors[1]
    assert.ok(victim)
    await one.witness(rig)
    assert.equal(one.reputation.score(victim.peerId).excluded, false)
    const root = one.reputation.root()
    assert.equal(await one.faults.take(sealFault(...commitments(victim.signer))), true)
    const score = one.reputation.score(victim.peerId)
    assert.deepEqual([score.excluded, score.excludedUntilMs], [true, undefined])
    assert.notDeepEqual(one.reputation.root(), root)
    await other.rounds.round(one.name)
    assert.deepEqual(other.excluded, [victim.peerId])
    assert.equal(other.reputation.score(victim.peerId).excluded, true)
  })

  it('takes one proof for each peer and none that proves nothing', async () => {
    const peer = new Peer('one', new Map())
    const [first, second] = commitments(liar)
    assert.equal(await peer.faults.take(sealFault(first, second)), true)
    assert.equal(await peer.faults.take(sealFault(first, second)), false)
    await assert.rejects(peer.faults.take(sealFault(first, first)), { code: 'FAULT_UNPROVEN' })
    assert.deepEqual(peer.faults.accused(), [liar.peerId])
  })

  it('tells its proofs page by page', async () => {
    const peer = new Peer('one', new Map())
    for (let i = 0; i < 5; i++) {
      await peer.faults.take(sealFault(...commitments(createSigner(sha256(utf8(`liar ${i}`))))))
    }
    const first = await peer.faults.list(undefined, 700)
    assert.ok(first.faults.length >= 1 && first.faults.length < 5)
    assert.ok(first.last.length > 0)
    const world = new Map([[peer.name, peer]])
    const joiner = new Peer('joiner', world)
    peer.faults.list = (
      (list) => async (after: PeerId | undefined) =>
        list(after, 700)
    )(peer.faults.list.bind(peer.faults))
    const { faults } = await joiner.rounds.round(peer.name)
    assert.equal(faults, 5)
  })
})

describe('the fence', () => {
  const signer = createSigner(sha256(utf8('honest')))
  const [first, second] = commitments(signer)
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

  function fenceOver(store: Memory): Fence {
    return new Fence({ store, clock, log: silentLog })
  }

  it('lets a message out again, and never another one for its slot key', async () => {
    const memory = new Memory()
    const sent: string[] = []
    const fence = fenceOver(memory)
    assert.equal(
      fence.pass(first, () => sent.push('first')),
      true,
    )
    assert.equal(
      fence.pass(second, () => sent.push('second')),
      false,
    )
    await settled()
    assert.equal(
      fence.pass(first, () => sent.push('again')),
      true,
    )
    assert.deepEqual(sent, ['first', 'again'])
  })

  it('remembers over a crash what had left', async () => {
    const memory = new Memory()
    fenceOver(memory).pass(first, () => undefined)
    await settled()
    const after = fenceOver(memory)
    await after.load()
    assert.equal(
      after.pass(second, () => undefined),
      false,
    )
    assert.equal(
      after.pass(first, () => undefined),
      true,
    )
  })

  it('lets nothing out before it is on disk, and nothing at all when the disk is full', async () => {
    const memory = new Memory()
    const sent: number[] = []
    const fence = fenceOver(memory)
    fence.pass(first, () => sent.push(memory.countOf('signed')))
    assert.equal(sent.length, 0)
    await settled()
    assert.deepEqual([...sent], [1])
    memory.isFull = true
    const other = seal(
      NETWORK,
      'vrfOpen',
      { frozenBids: new Uint8Array(32), proof: new Uint8Array(80) },
      signer,
    )
    fence.pass(other, () => {
      sent.push(2)
    })
    await settled()
    assert.deepEqual([...sent], [1])
  })

  it('keeps the order of messages that have a slot key and those that have none', async () => {
    const sent: string[] = []
    const fence = fenceOver(new Memory())
    const failure = seal(
      NETWORK,
      'failure',
      { taskId: new Uint8Array(32), code: 'X', reason: 'x' },
      signer,
    )
    fence.pass(first, () => sent.push('commitment'))
    fence.pass(failure, () => sent.push('failure'))
    await settled()
    assert.deepEqual(sent, ['commitment', 'failure'])
  })
})
