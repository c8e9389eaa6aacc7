import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { stepAssignment } from '../../src/protocol/assignment-step.js'
import type { AssignmentEffect, AssignmentState } from '../../src/protocol/assignment.js'
import { openingAlpha, openFrozen } from '../../src/protocol/ballot.js'
import { vrfProve } from '../../src/protocol/vrf.js'
import { seal } from '../../src/wire/envelope.js'
import { fromHex } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'
import type { Behaviour, RigOptions } from './rig.js'

function rigOf(options: Partial<RigOptions> = {}): Rig {
  return new Rig({ spec: RUN_SPEC, behaviours: honest(4), ...options })
}

/** The rig's first batch once it has that phase. */
function assignmentAt(rig: Rig, phase: AssignmentState['phase']): AssignmentState {
  rig.run(() => rig.state.batches[0]?.assignment?.phase === phase)
  const assignment = rig.state.batches[0]?.assignment
  assert.ok(assignment)
  return assignment
}

function typesOf(effects: readonly AssignmentEffect[]): string[] {
  return effects.map((effect) => (effect.type === 'publish' ? effect.opened.kind : effect.type))
}

describe('the election of a batch', () => {
  it('closes the bids as soon as everyone who was asked has answered', () => {
    const behaviours: Behaviour[] = ['honest', 'honest', { declines: 'busy' }]
    const rig = rigOf({ behaviours })
    const startMs = rig.nowMs
    const assignment = assignmentAt(rig, 'elected')
    assert.equal(rig.nowMs, startMs)
    assert.equal(assignment.bids.size, 2)
    assert.equal(assignment.declines.size, 1)
  })

  it('closes the bids at the deadline when somebody does not answer', () => {
    const rig = rigOf({ behaviours: ['honest', 'honest', 'offline'] })
    const startMs = rig.nowMs
    const assignment = assignmentAt(rig, 'elected')
    assert.equal(rig.nowMs, startMs + rig.context.bidWindowMs)
    assert.equal(assignment.frozenBids?.message.bids.length, 2)
  })

  it('freezes bids and openings sorted by author', () => {
    const assignment = assignmentAt(rigOf(), 'elected')
    const bids = openFrozen(NETWORK, 'bid', assignment.frozenBids?.message.bids ?? [])
    const openings = openFrozen(
      NETWORK,
      'vrfOpen',
      assignment.frozenOpenings?.message.openings ?? [],
    )
    assert.equal(bids.length, 4)
    assert.deepEqual(
      openings.map(({ author }) => author),
      bids.map(({ author }) => author),
    )
  })

  it('goes on without the bidders that do not open in time', () => {
    const rig = rigOf()
    const assignment = assignmentAt(rig, 'opening')
    const [first, second] = rig.executors
    assert.ok(assignment.frozenBids && first && second)
    const alpha = openingAlpha(assignment.offer, assignment.frozenBids.id)
    const { nowMs } = rig
    for (const { signer, vrfSecret } of [first, second]) {
      const proof = vrfProve(vrfSecret, alpha)
      const frozenBids = fromHex(assignment.frozenBids.id)
      const opened = seal(NETWORK, 'vrfOpen', { frozenBids, proof }, signer)
      assert.deepEqual(
        stepAssignment(rig.context, assignment, { type: 'message', opened, nowMs }),
        [],
      )
    }
    const event = { type: 'deadline', name: 'openings', nowMs } as const
    const effects = stepAssignment(rig.context, assignment, event)
    assert.deepEqual(typesOf(effects), ['clearTimer', 'freezeOpenings', 'elected'])
    const ranking = assignment.election?.slots[0]?.ranking ?? []
    assert.deepEqual(ranking.toSorted(), [first.peerId, second.peerId].sort())
  })

  it('fails with NO_ELIGIBLE_BIDS when fewer open than replicas are needed', () => {
    const rig = rigOf()
    const assignment = assignmentAt(rig, 'opening')
    const event = { type: 'deadline', name: 'openings', nowMs: rig.nowMs } as const
    const effects = stepAssignment(rig.context, assignment, event)
    assert.equal(assignment.phase, 'failed')
    const [told] = effects.filter((effect) => effect.type === 'unelectable')
    assert.equal(told?.code, 'NO_ELIGIBLE_BIDS')
  })

  it('counts an opening only with a proof for this offer by a frozen bidder', () => {
    const rig = rigOf()
    const assignment = assignmentAt(rig, 'opening')
    const frozen = assignment.frozenBids
    const [bidder] = rig.executors
    const stranger = new Rig({ spec: RUN_SPEC, behaviours: honest(1), keys: 'strangers' }).executor(
      0,
    )
    assert.ok(frozen && bidder)
    const right = openingAlpha(assignment.offer, frozen.id)
    const wrong = openingAlpha(assignment.offer, rig.manifest.id)
    const cases = [
      { from: bidder, alpha: wrong, frozenBids: frozen.id },
      { from: bidder, alpha: right, frozenBids: rig.manifest.id },
      { from: stranger, alpha: right, frozenBids: frozen.id },
    ]
    const { nowMs } = rig
    for (const { from, alpha, frozenBids } of cases) {
      const proof = vrfProve(from.vrfSecret, alpha)
      const opened = seal(
        NETWORK,
        'vrfOpen',
        { frozenBids: fromHex(frozenBids), proof },
        from.signer,
      )
      stepAssignment(rig.context, assignment, { type: 'message', opened, nowMs })
    }
    assert.equal(assignment.openings.size, 0)
  })

  it('takes one answer of each peer, and freezes as many bids as fit', () => {
    const rig = rigOf({ behaviours: ['offline', 'offline'] })
    const assignment = assignmentAt(rig, 'bidding')
    const crowd = new Rig({
      spec: RUN_SPEC,
      behaviours: honest(LIMITS.bidsPerOffer + 3),
      keys: 'crowd',
    })
    const { nowMs } = rig
    const long = 'c'.repeat(LIMITS.textBytes)
    for (const { signer } of crowd.executors) {
      const bid = {
        offer: fromHex(assignment.offer.id),
        capacity: 0xffff_ffff,
        vrfKey: new Uint8Array(32).fill(1),
        operator: new Uint8Array(32).fill(1),
        hardwareClass: long,
        flopsMega: Number.MAX_SAFE_INTEGER,
      }
      const opened = seal(NETWORK, 'bid', bid, signer)
      stepAssignment(rig.context, assignment, { type: 'message', opened, nowMs })
      stepAssignment(rig.context, assignment, { type: 'message', opened, nowMs })
    }
    assert.equal(assignment.bids.size, crowd.executors.length)
    stepAssignment(rig.context, assignment, { type: 'deadline', name: 'bids', nowMs })
    const standings = new Map(
      [...assignment.bids.keys()].map((peer) => [
        peer,
        { ...rig.standingOf(peer), reliabilityPpm: 1e6, addressPrefix: '2001:db8:ffff::/48' },
      ]),
    )
    const event = { type: 'standings', standings, receiptRoot: new Uint8Array(32), nowMs } as const
    assert.deepEqual(typesOf(stepAssignment(rig.context, assignment, event)), [
      'freezeBids',
      'timer',
    ])
    assert.equal(assignment.bids.size, LIMITS.bidsPerOffer)
    assert.equal(assignment.frozenBids?.message.bids.length, LIMITS.bidsPerOffer)
  })

  it('ignores events that come too late', () => {
    const rig = rigOf()
    const assignment = assignmentAt(rig, 'elected')
    const { nowMs } = rig
    for (const name of ['bids', 'openings', 'reveals:9']) {
      assert.deepEqual(
        stepAssignment(rig.context, assignment, { type: 'deadline', name, nowMs }),
        [],
      )
    }
    const event = {
      type: 'standings',
      standings: new Map(),
      receiptRoot: new Uint8Array(32),
      nowMs,
    } as const
    assert.deepEqual(stepAssignment(rig.context, assignment, event), [])
    const [bid] = assignment.bids.values()
    assert.ok(bid)
    assert.deepEqual(
      stepAssignment(rig.context, assignment, { type: 'message', opened: bid, nowMs }),
      [],
    )
  })

  it('never seats the requester or an operator twice in a slot', () => {
    const rig = rigOf({ behaviours: honest(6), spec: { ...RUN_SPEC, tasks: 8 }, capacity: 3 })
    const assignment = assignmentAt(rig, 'elected')
    const slots = assignment.election?.slots ?? []
    assert.equal(slots.length, 8)
    for (const { ranking } of slots) {
      assert.equal(new Set(ranking).size, ranking.length)
      assert.ok(!ranking.includes(rig.requester.peerId))
    }
    const firsts = new Set(slots.map(({ ranking }) => ranking.slice(0, 2).toSorted().join()))
    assert.ok(firsts.size > 1, 'slots of one batch get different executors')
  })
})
