/** The twelve attacks of strangers where no other test plays them; `npm run mutate` needs these. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { stepAssignment } from '../../src/protocol/assignment-step.js'
import { commitmentsAlpha, openFrozen, openingAlpha, seed2Of } from '../../src/protocol/ballot.js'
import { resultDistance } from '../../src/protocol/compare.js'
import type { ReplicaResult } from '../../src/protocol/compare.js'
import { hiddenReplicaDrawn } from '../../src/protocol/election.js'
import { encodeMetrics } from '../../src/protocol/metrics.js'
import { scoreFrom } from '../../src/protocol/reputation-fold.js'
import { NEWCOMER } from '../../src/protocol/reputation.js'
import type { ReputationReceipt } from '../../src/protocol/reputation.js'
import { verifySlot } from '../../src/protocol/slot-chain.js'
import { receiptOutcomes } from '../../src/protocol/slot-verdict.js'
import { rankStewards } from '../../src/protocol/stewards.js'
import { createStage, stepSteward } from '../../src/protocol/steward-step.js'
import type { Entry, Proposal, StageEffect, StewardState } from '../../src/protocol/steward-step.js'
import { commitmentOf, outcomeOf, taskIdOf } from '../../src/protocol/task.js'
import type { CommitmentInput } from '../../src/protocol/task.js'
import { vrfProve, vrfVerify } from '../../src/protocol/vrf.js'
import { seal } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened } from '../../src/wire/envelope.js'
import { digestOf, fromHex, peerIdFromPublicKey, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { JobId, PeerId, TaskId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import type { Messages } from '../../src/wire/messages.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'
import type { Behaviour, RigOptions } from './rig.js'

function peer(name: string): PeerId {
  return peerIdFromPublicKey(sha256(utf8(name)))
}

const RESULT: CommitmentInput = {
  taskId: digestOf(utf8('task')) as string as TaskId,
  attempt: 1,
  peer: peer('executor'),
  outputRoot: sha256(utf8('result')),
  metrics: utf8('{"accuracy":0.9}'),
  salt: sha256(utf8('salt')),
}

function ranTask(options: Partial<RigOptions> = {}): Rig {
  const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(5), ...options }).run()
  assert.equal(rig.state.status, 'succeeded')
  return rig
}

/** With the first keys for which the lottery calls the odd one. */
function ranWith(odd: Behaviour): Rig {
  for (let i = 0; i < 32; i++) {
    const rig = ranTask({ behaviours: [odd, ...honest(5)], keys: `odd-${i}` })
    if (rig.outcomesOf(rig.executor(0).peerId).length > 0) return rig
  }
  throw new Error('the lottery never draws the first executor')
}

type Changes = {
  readonly [K in 'freezeCommitments' | 'freezeReveals' | 'receipt']?: (
    message: Messages[K],
  ) => Messages[K]
}

/** What a witness says of a chain whose steward wrote its last links anew. */
function verifyWith(rig: Rig, changes: Changes): string {
  const [slot] = rig.verified()
  assert.ok(slot)
  const messages = new Map<string, AnyOpened>()
  let receipt: Opened<'receipt'> | undefined
  let previous: AnyOpened | undefined
  for (const opened of slot.messages.slice(1)) {
    const written = resigned(rig, opened, previous, changes)
    messages.set(written.id, written)
    previous = written
    if (written.kind === 'receipt') receipt = written
  }
  assert.ok(receipt)
  const get = (id: string): AnyOpened | undefined => messages.get(id)
  const { manifest } = rig
  const rest = { get, elections: new Map(), proofs: 'verify' as const }
  try {
    verifySlot({ network: NETWORK, manifest, ...rest }, receipt)
    return 'holds'
  } catch (error) {
    return error instanceof Error ? error.message : ''
  }
}

function resigned(
  rig: Rig,
  opened: AnyOpened,
  before: AnyOpened | undefined,
  changes: Changes,
): AnyOpened {
  const previous = fromHex(before?.id ?? '')
  const { requester } = rig
  if (opened.kind === 'task') {
    return seal(NETWORK, 'task', { ...opened.message, previous }, requester)
  }
  if (opened.kind === 'freezeCommitments') {
    const changed = changes.freezeCommitments?.(opened.message) ?? opened.message
    const alpha = commitmentsAlpha(previous, changed.commitments)
    const vrfProofs = [vrfProve(rig.context.vrfSecret, alpha)]
    return seal(NETWORK, 'freezeCommitments', { ...changed, previous, vrfProofs }, requester)
  }
  if (opened.kind === 'freezeReveals') {
    const changed = changes.freezeReveals?.(opened.message) ?? opened.message
    return seal(NETWORK, 'freezeReveals', { ...changed, previous }, requester)
  }
  if (opened.kind === 'receipt') {
    const changed = changes.receipt?.(opened.message) ?? opened.message
    return seal(NETWORK, 'receipt', { ...changed, previous }, requester)
  }
  return opened
}

/** The same result as its author revealed, under another salt. */
function resalted(rig: Rig, author: PeerId): Record<'commitment' | 'reveal', Uint8Array> {
  const reveal = rig.record.ofKind('reveal').find((each) => each.author === author)
  const executor = rig.executors.find(({ peerId }) => peerId === author)
  assert.ok(reveal && executor)
  const { taskId, attempt, outputRoot, metrics } = reveal.message
  const salt = sha256(utf8('another salt'))
  const of = { attempt, peer: author, outputRoot, metrics, salt }
  const commitment = commitmentOf({ ...of, taskId: toHex(taskId) as TaskId })
  const { signer } = executor
  return {
    commitment: seal(NETWORK, 'commitment', { taskId, attempt, commitment }, signer).bytes,
    reveal: seal(NETWORK, 'reveal', { ...reveal.message, salt }, signer).bytes,
  }
}

function replaced<K extends 'commitment' | 'reveal'>(
  kind: K,
  envelopes: readonly Uint8Array[],
  author: PeerId,
  by: Uint8Array,
): Uint8Array[] {
  return openFrozen(NETWORK, kind, envelopes).map((each) =>
    each.author === author ? by : each.bytes,
  )
}

describe('a peer that copies', () => {
  it('cannot tell by a commitment whether it guessed the result', () => {
    const salts = ['a', 'b', 'c'].map((text) => sha256(utf8(text)))
    const seen = salts.map((salt) => toHex(commitmentOf({ ...RESULT, salt })))
    assert.equal(new Set(seen).size, salts.length)
  })

  it('is refused by witnesses even where its steward takes a reveal that does not match', () => {
    const rig = ranTask()
    const author = rig.record.ofKind('reveal')[0]?.author
    assert.ok(author)
    assert.equal(verifyWith(rig, {}), 'holds')
    const { reveal } = resalted(rig, author)
    const freezeReveals = (frozen: Messages['freezeReveals']): Messages['freezeReveals'] => ({
      ...frozen,
      reveals: replaced('reveal', frozen.reveals, author, reveal),
    })
    assert.match(verifyWith(rig, { freezeReveals }), /does not match its commitment/)
  })
})

describe('a peer that forges what results are compared by', () => {
  it('opens a commitment to one root and one set of numbers only', () => {
    const commitment = commitmentOf(RESULT)
    assert.deepEqual(commitmentOf({ ...RESULT }), commitment)
    const outputRoot = sha256(utf8('another result'))
    assert.notDeepEqual(commitmentOf({ ...RESULT, outputRoot }), commitment)
    const metrics = utf8('{"accuracy":0.8}')
    assert.notDeepEqual(commitmentOf({ ...RESULT, metrics }), commitment)
  })

  it('agrees with others only by root and numbers together', () => {
    const other = { ...RESULT, metrics: utf8('{"accuracy":0.8}') }
    assert.equal(outcomeOf({ ...RESULT, metrics: utf8('{"accuracy":0.9}') }), outcomeOf(RESULT))
    assert.notEqual(outcomeOf(other), outcomeOf(RESULT))
  })

  it('commits to another task where it was given other inputs', () => {
    const given = (text: string): TaskId =>
      taskIdOf({
        ...{ jobId: sha256(utf8('job')), batch: 0, slot: 0 },
        inputs: [{ name: 'data', digest: sha256(utf8(text)) }],
      })
    assert.equal(given('what the plan names'), given('what the plan names'))
    assert.notEqual(given('what a steward made up'), given('what the plan names'))
  })

  it('cannot exchange its commitment once the first freeze is closed', () => {
    const rig = ranTask({ auditPpm: 1_000_000 })
    const [first, second] = rig.record.ofKind('freezeCommitments')
    const author = openFrozen(NETWORK, 'commitment', first?.message.commitments ?? [])[0]?.author
    assert.ok(author && second, 'there is a hidden replica, and so a second freeze')
    const { commitment, reveal } = resalted(rig, author)
    const found = verifyWith(rig, {
      freezeCommitments: (frozen) =>
        frozen.commitments.length === first?.message.commitments.length
          ? frozen
          : {
              ...frozen,
              commitments: replaced('commitment', frozen.commitments, author, commitment),
            },
      freezeReveals: (frozen) => ({
        ...frozen,
        reveals: replaced('reveal', frozen.reveals, author, reveal),
      }),
    })
    assert.match(found, /was dropped or changed/)
  })
})

describe('executors that hold every seat', () => {
  it('grind their salts in vain: the hidden replica comes as often as promised', () => {
    const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(2) })
    rig.run(() => rig.record.ofKind('offer').length > 0)
    const [offer] = rig.record.ofKind('offer')
    assert.ok(offer)
    const tasks = 96
    let drawn = 0
    for (let task = 0; task < tasks; task++) {
      const previous = sha256(utf8(`task ${task}`))
      const tried = (salt: number): Uint8Array[] => [sha256(previous, utf8(`salt ${salt}`))]
      const isDrawn = (seed: Uint8Array): boolean => hiddenReplicaDrawn(seed, 0, 500_000)
      // All that the executors know: what they are going to commit to.
      let salt = 0
      while (isDrawn(commitmentsAlpha(previous, tried(salt)))) salt++
      const commitments = tried(salt)
      const alpha = commitmentsAlpha(previous, commitments)
      const vrfProofs = [vrfProve(rig.context.vrfSecret, alpha)]
      const message = { previous, commitments, vrfProofs, view: 0 }
      const frozen = seal(NETWORK, 'freezeCommitments', message, rig.requester)
      const seed = seed2Of(offer, frozen, 'trust')
      assert.ok(seed)
      if (isDrawn(seed)) drawn++
    }
    // Mean 48, standard deviation 4.9.
    assert.ok(Math.abs(drawn - tasks / 2) < 20, `${drawn} of ${tasks}`)
  })
})

describe('a bidder that grinds its ticket', () => {
  it('opens another number with another set of frozen bids', () => {
    const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(2) })
    rig.run(() => rig.record.ofKind('offer').length > 0)
    const [offer] = rig.record.ofKind('offer')
    assert.ok(offer)
    const [expected, actual] = ['expected', 'actual'].map((bids) =>
      openingAlpha(offer, toHex(sha256(utf8(bids)))),
    )
    assert.ok(expected && actual)
    assert.notDeepEqual(expected, actual)
    const { vrfSecret } = rig.executor(0)
    const [bid] = rig.executor(0).onMessage(offer)
    assert.ok(bid?.kind === 'bid')
    assert.equal(vrfVerify(bid.message.vrfKey, actual, vrfProve(vrfSecret, expected)), undefined)
  })

  it('gets no place by a bid that comes after the freeze', () => {
    const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(4) })
    rig.run(() => rig.state.batches[0]?.assignment?.phase === 'opening')
    const assignment = rig.state.batches[0]?.assignment
    assert.ok(assignment)
    const late = new Rig({ spec: RUN_SPEC, behaviours: honest(1), keys: 'late' }).executor(0)
    const [opened] = late.onMessage(assignment.offer)
    assert.ok(opened?.kind === 'bid')
    const event = { type: 'message', opened, nowMs: rig.nowMs } as const
    assert.deepEqual(stepAssignment(rig.context, assignment, event), [])
    assert.ok(!assignment.bids.has(late.peerId))
    assert.equal(assignment.phase, 'opening')
  })
})

describe('an executor that commits and does not reveal', () => {
  it('cannot be excused by its steward', () => {
    const rig = ranWith('withholds')
    assert.deepEqual(rig.outcomesOf(rig.executor(0).peerId), ['withheld'])
    assert.equal(verifyWith(rig, {}), 'holds')
    const receipt = (message: Messages['receipt']): Messages['receipt'] => ({
      ...message,
      executors: message.executors.map((executor) => ({
        ...executor,
        outcome: executor.outcome === 'withheld' ? 'timed-out' : executor.outcome,
      })),
    })
    assert.match(verifyWith(rig, { receipt }), /tells another outcome/)
  })
})

describe('a peer that begins anew with another key', () => {
  const NOW = 1_900_000_000_000
  function receiptOf(nth: number, outcome: 'agreed' | 'dissented'): ReputationReceipt {
    const others = ['a', 'b', 'c'].map((name) => ({
      ...{ peer: peer(`${name} ${nth}`), operator: `${name} ${nth}` },
      ...{ outcome: 'agreed' as const, durationMs: 1000 },
    }))
    const own = { peer: peer('own'), operator: 'own', outcome, durationMs: 1000 }
    return {
      ...{ receiptId: `${nth}`, taskId: `${nth}`, requester: peer(`requester ${nth}`) },
      ...{ atMs: NOW - 1000 + nth, young: false, stewards: 1, executors: [own, ...others] },
    }
  }

  it('is worth less than with the key that it throws away after a wrong result', () => {
    const good = Array.from({ length: 30 }, (_, nth) => receiptOf(nth, 'agreed'))
    const before = scoreFrom(good, peer('own'), NOW)
    const after = scoreFrom([...good, receiptOf(30, 'dissented')], peer('own'), NOW)
    assert.ok(after.reliabilityPpm < before.reliabilityPpm)
    assert.ok(NEWCOMER.reliabilityPpm < after.reliabilityPpm)
    // One good result is far from making up for it.
    const again = scoreFrom(good.slice(0, 1), peer('own'), NOW)
    assert.ok(again.reliabilityPpm < 300_000, `${again.reliabilityPpm}`)
    assert.ok(again.reliabilityPpm < after.reliabilityPpm)
    assert.equal(again.established, false)
  })
})

describe('stewards of whom some censor, are silent or say two things', () => {
  const [first, self, third, fourth] = [peer('0'), peer('1'), peer('2'), peer('3')]
  const context = {
    self,
    candidates: [first, self, third, fourth],
    ...{ room: 8, heldMax: 8, settleMs: 10, viewMs: 100 },
  }
  const bid: Entry = { id: 'bid', author: peer('bidder') }

  function proposed(view: number, entries: readonly Entry[], by: PeerId = first): Proposal {
    const digest = `${view} ${entries.map(({ id }) => id).join()}`
    return { view, digest, entries, signers: [by] }
  }

  function take(state: StewardState, proposal: Proposal): StageEffect[] {
    const [from] = proposal.signers
    assert.ok(from)
    return stepSteward(context, state, { type: 'proposal', from, proposal })
  }

  function votes(effects: readonly StageEffect[]): string[] {
    return effects.flatMap((effect) =>
      effect.type === 'persist' && effect.record.kind === 'vote'
        ? [effect.record.proposal.digest]
        : [],
    )
  }

  it('never sign a certificate that lacks a bid they acknowledged', () => {
    const state = createStage()
    stepSteward(context, state, { type: 'message', entry: bid })
    assert.ok(state.acknowledged.has(bid.author))
    stepSteward(context, state, { type: 'deadline' })
    assert.deepEqual(votes(take(state, proposed(0, []))), [])
    assert.deepEqual(votes(take(state, proposed(0, [bid]))), ['0 bid'])
  })

  it('go on without a leader that says nothing', () => {
    const state = createStage()
    stepSteward(context, state, { type: 'message', entry: bid })
    stepSteward(context, state, { type: 'deadline' })
    const step = (event: Parameters<typeof stepSteward>[2]): StageEffect[] =>
      stepSteward(context, state, event)
    assert.deepEqual(step({ type: 'settled', view: 0 }), [])
    // Nobody else has said so yet: it is its own time that has run out.
    const waited = step({ type: 'timeout', view: 0 })
    assert.ok(waited.some((effect) => effect.type === 'tell' && effect.view === 1))
    const effects = [
      ...step({ type: 'word', steward: third, view: 1 }),
      ...step({ type: 'word', steward: fourth, view: 1 }),
      ...step({ type: 'settled', view: 1 }),
    ]
    const composed = effects.filter((effect) => effect.type === 'compose')
    assert.deepEqual(composed, [{ type: 'compose', view: 1, entries: [bid] }])
  })

  it('are not neighbours for the next beacon because they were for this one', () => {
    const peers = Array.from({ length: 100 }, (_, i) => ({
      ...{ peer: peer(`steward ${i}`), operator: peer(`steward ${i}`) },
      ...{ reliabilityPpm: 900_000, established: true, excluded: false },
    }))
    const setOf = (job: number, beacon: string): readonly PeerId[] =>
      rankStewards({
        jobId: digestOf(utf8(`job ${job}`)) as string as JobId,
        ...{ beacon: sha256(utf8(beacon)), peers },
        ...{ requester: peer('requester'), requesterOperator: peer('requester') },
      }).ranking.slice(0, LIMITS.stewardsPerOffer)
    const friends = setOf(0, 'this')
    const captured = Array.from({ length: 200 }, (_, job) => setOf(job, 'next')).filter(
      (set) => set.filter((one) => friends.includes(one)).length >= 5,
    )
    assert.equal(captured.length, 0)
  })

  it('sign nothing in an earlier view once they signed in a later one', () => {
    const state = createStage()
    stepSteward(context, state, { type: 'deadline' })
    stepSteward(context, state, { type: 'timeout', view: 0 })
    stepSteward(context, state, { type: 'timeout', view: 1 })
    assert.deepEqual(votes(take(state, proposed(2, [bid], third))), ['2 bid'])
    assert.deepEqual(votes(take(state, proposed(0, [bid]))), [])
  })
})

describe('a result that is compared', () => {
  const within = { kind: 'metrics', atolMicro: 10n, rtolPpm: 0n } as const
  const result = (name: string, metricsMicro: Record<string, bigint>): ReplicaResult => ({
    ...{ peer: peer(name), root: digestOf(utf8(name)), metricsMicro },
  })

  it('differs by a number that is left out, in whichever order it is compared', () => {
    const whole = result('whole', { loss: 1n, accuracy: 1n })
    const cut = result('cut', { loss: 1n })
    assert.equal(resultDistance(whole, result('same', { loss: 1n, accuracy: 1n }), within), 0n)
    assert.ok(resultDistance(whole, cut, within) > 1_000_000n)
    assert.ok(resultDistance(cut, whole, within) > 1_000_000n)
  })

  it('has finite numbers, or none', () => {
    const file = utf8('{"finite":1,"huge":1e999,"text":"NaN","none":null}')
    assert.equal(new TextDecoder().decode(encodeMetrics(file)), '{"finite":1}\n')
  })

  it('is no fault of who got it where nobody proved that it is wrong', () => {
    const rig = ranTask()
    const [frozenBids] = rig.record.ofKind('freezeBids')
    const reveals = new Map(rig.record.ofKind('reveal').map((each) => [each.author, each]))
    const [winner, other] = reveals.keys()
    assert.ok(frozenBids && winner && other)
    const outcomes = (struck: readonly PeerId[]): string[] =>
      receiptOutcomes({
        ...{ network: NETWORK, frozenBids, reveals, lost: new Map() },
        called: [winner, other],
        verdict: {
          kind: 'accept',
          outputRoot: new Uint8Array(32),
          outcome: digestOf(utf8('result')),
          ...{ agreed: [winner], dissented: [other], struck: new Set(struck) },
        },
      }).map(({ outcome }) => outcome)
    assert.deepEqual(outcomes([]), ['agreed', 'spared'])
    assert.deepEqual(outcomes([other]), ['agreed', 'dissented'])
  })
})
