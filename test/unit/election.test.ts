import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CtdError } from '../../src/errors.js'
import {
  choosePlaces,
  elect,
  hiddenReplicaDrawn,
  secondSeed,
  type Candidate,
  type ElectionInput,
} from '../../src/protocol/election.js'
import { peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'

function peer(name: string): PeerId {
  return peerIdFromPublicKey(sha256(utf8(name)))
}

function bidder(name: string, changes: Partial<Candidate> = {}): Candidate {
  return {
    peer: peer(name),
    operator: peer(name),
    addressPrefix: '',
    vrfKey: sha256(utf8(name)),
    capacity: 256,
    availabilityPpm: 900_000n,
    reliabilityPpm: 930_000n,
    speedPpm: 1_000_000n,
    established: true,
    excluded: false,
    meetsRequirement: true,
    ...changes,
  }
}

function ballot(candidates: Candidate[], changes: Partial<ElectionInput> = {}): ElectionInput {
  return {
    offerHash: sha256(utf8('offer')),
    attempt: 0,
    frozenBidsHash: sha256(utf8('bids')),
    slots: 8,
    replicas: 2,
    requester: peer('requester'),
    candidates,
    openings: candidates.map((each) => ({
      peer: each.peer,
      output: Uint8Array.of(...sha256(utf8(each.peer)), ...sha256(utf8(`${each.peer}'`))),
    })),
    diversity: 'operator',
    ...changes,
  }
}

function field(count: number, changes: Partial<Candidate> = {}): Candidate[] {
  return Array.from({ length: count }, (_, i) => bidder(`peer-${i}`, changes))
}

function caught(action: () => unknown): CtdError {
  try {
    action()
  } catch (error) {
    if (error instanceof CtdError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('the election', () => {
  it('seats every slot with two different executors and the rest as standbys', () => {
    const { slots, unseated, young } = elect(ballot(field(6)))
    assert.equal(slots.length, 8)
    assert.deepEqual(unseated, [])
    assert.equal(young, false)
    for (const slot of slots) {
      assert.equal(new Set(slot.executors).size, 2)
      assert.deepEqual(slot.ranking.slice(0, 2), slot.executors)
      assert.equal(slot.ranking.length, 6)
    }
  })

  it('gives slots different executors and other attempts another election', () => {
    const first = elect(ballot(field(10)))
    const second = elect(ballot(field(10), { attempt: 1 }))
    assert.ok(new Set(first.slots.map(({ executors }) => executors.join())).size > 3)
    assert.notDeepEqual(first.seed, second.seed)
    assert.notDeepEqual(first.slots, second.slots)
  })

  it('never elects the requester, nor a peer that the requester owns', () => {
    const mine = [bidder('requester'), bidder('mine', { operator: peer('requester') })]
    const { slots } = elect(ballot([...field(3), ...mine]))
    const ranked = slots.flatMap(({ ranking }) => ranking)
    for (const { peer: own } of mine) assert.ok(!ranked.includes(own))
  })

  it('caps the weight of a peer at four times the median', () => {
    const giant = bidder('giant', { speedPpm: 2_000_000n, availabilityPpm: 1_000_000n })
    const slow = field(4, { availabilityPpm: 100_000n })
    const { weights } = elect(ballot([giant, ...slow]))
    assert.equal(weights.get(peer('peer-0')), 93_000n)
    assert.equal(weights.get(peer('giant')), 372_000n)
  })

  it('keeps the weights when somebody withholds its opening, and turns the seed', () => {
    const whole = ballot(field(6))
    const withheld = { ...whole, openings: whole.openings.slice(1) }
    assert.deepEqual(elect(withheld).weights, elect(whole).weights)
    assert.notDeepEqual(elect(withheld).seed, elect(whole).seed)
    assert.deepEqual(elect(withheld).unopened, [peer('peer-0')])
    assert.deepEqual(elect(whole).unopened, [])
    assert.ok(!elect(withheld).slots.some(({ ranking }) => ranking.includes(peer('peer-0'))))
  })

  it('ignores the opening of a peer that is not among the frozen bids', () => {
    const whole = ballot(field(6))
    const stray = { peer: peer('stray'), output: new Uint8Array(64).fill(7) }
    const flooded = { ...whole, openings: [...whole.openings, stray] }
    assert.deepEqual(elect(flooded), elect(whole))
  })

  it('lets one peer of an operator into a slot', () => {
    const house = ['h1', 'h2', 'h3'].map((name) => bidder(name, { operator: 'house' }))
    for (const { ranking } of elect(ballot([...house, ...field(2)])).slots) {
      assert.equal(ranking.length, 3)
      assert.equal(house.filter((each) => ranking.includes(each.peer)).length, 1)
    }
  })

  it('lets one peer of an address prefix into a slot where the offer asks for it', () => {
    const near = ['n1', 'n2', 'n3'].map((name) => bidder(name, { addressPrefix: '10.0.0.0/24' }))
    const candidates = [...near, ...field(2)]
    const strict = elect(ballot(candidates, { diversity: 'operator-and-address' }))
    for (const { ranking } of strict.slots) {
      assert.equal(near.filter((each) => ranking.includes(each.peer)).length, 1)
      assert.equal(ranking.length, 3)
    }
    for (const { ranking } of elect(ballot(candidates)).slots) assert.equal(ranking.length, 5)
  })

  it('fills no seat beyond a capacity and leaves the slots that are too many waiting', () => {
    const { slots, unseated } = elect(ballot(field(3, { capacity: 2 })))
    const seats = new Map<PeerId, number>()
    for (const each of slots.flatMap(({ executors }) => executors)) {
      seats.set(each, (seats.get(each) ?? 0) + 1)
    }
    assert.ok([...seats.values()].every((count) => count <= 2))
    assert.ok(unseated.length >= 5)
    assert.deepEqual(slots[7], { index: 7, ranking: slots[7]?.ranking, executors: [] })
    assert.equal(slots[7]?.ranking.length, 3)
  })

  it('seats at most one probationer in a slot of a mature network', () => {
    const newcomers = Array.from({ length: 30 }, (_, i) =>
      bidder(`new-${i}`, { established: false }),
    )
    const isNew = (each: PeerId) => newcomers.some((newcomer) => newcomer.peer === each)
    const result = elect(ballot([...field(5), ...newcomers], { slots: 50, replicas: 3 }))
    assert.equal(result.young, false)
    const counts = result.slots.map(({ executors }) => executors.filter(isNew).length)
    assert.equal(Math.max(...counts), 1)
    assert.ok(counts.filter((count) => count === 1).length > 30)
  })

  it('is young while fewer than five credible operators bid', () => {
    const probationers = Array.from({ length: 6 }, (_, i) =>
      bidder(`new-${i}`, { established: false }),
    )
    const four = elect(ballot([...field(4), ...probationers], { slots: 40 }))
    assert.equal(four.young, true)
    const pairs = four.slots.map(({ executors }) =>
      executors.every((each) => probationers.some((newcomer) => newcomer.peer === each)),
    )
    assert.ok(pairs.includes(true), 'two probationers may serve one slot of a young network')
    assert.equal(elect(ballot(field(5))).young, false)
    assert.equal(elect(ballot(field(9, { reliabilityPpm: 700_000n }))).young, true)
    assert.equal(elect(ballot(field(9, { operator: 'one' }).concat(field(1)).slice(1))).young, true)
    assert.equal(elect(ballot(field(5), { young: true })).young, true)
  })

  it('throws NO_ELIGIBLE_BIDS with the counts and reasons', () => {
    const candidates = [
      bidder('alone'),
      bidder('requester'),
      bidder('bad', { excluded: true }),
      bidder('small', { meetsRequirement: false }),
      bidder('gone', { availabilityPpm: 0n }),
      bidder('silent'),
    ]
    const input = ballot(candidates)
    const openings = input.openings.filter((opening) => opening.peer !== peer('silent'))
    const error = caught(() => elect({ ...input, openings }))
    assert.equal(error.code, 'NO_ELIGIBLE_BIDS')
    assert.deepEqual(error.fields, {
      replicas: 2,
      bids: 6,
      usable: 1,
      withSeats: 1,
      operators: 1,
      reasons: { excluded: 1, requester: 1, requirement: 1, unopened: 1, weightless: 1 },
    })
    assert.equal(caught(() => elect(ballot([]))).code, 'NO_ELIGIBLE_BIDS')
    const oneOwner = field(4, { operator: 'one' })
    assert.equal(caught(() => elect(ballot(oneOwner))).code, 'NO_ELIGIBLE_BIDS')
    const noSeats = field(4, { capacity: 0 })
    assert.equal(caught(() => elect(ballot(noSeats))).fields['withSeats'], 0)
  })

  it('throws BAD_ELECTION for counts out of range and for a peer that bids twice', () => {
    const code = (changes: Partial<ElectionInput>) =>
      caught(() => elect(ballot(field(3), changes))).code
    assert.equal(code({ replicas: 1 }), 'BAD_ELECTION')
    assert.equal(code({ replicas: 8 }), 'BAD_ELECTION')
    assert.equal(code({ slots: 0 }), 'BAD_ELECTION')
    assert.equal(code({ slots: 257 }), 'BAD_ELECTION')
    assert.equal(code({ candidates: [...field(3), bidder('peer-0')] }), 'BAD_ELECTION')
    assert.equal(caught(() => elect(ballot(field(65)))).code, 'BAD_ELECTION')
  })
})

describe('the hidden replica', () => {
  it('is never drawn at zero and always at one', () => {
    const seed = sha256(utf8('seed'))
    for (let slot = 0; slot < 200; slot++) {
      assert.equal(hiddenReplicaDrawn(seed, slot, 0), false)
      assert.equal(hiddenReplicaDrawn(seed, slot, 1_000_000), true)
    }
  })

  it('is drawn at its probability', () => {
    let drawn = 0
    for (let i = 0; i < 10_000; i++) {
      if (hiddenReplicaDrawn(sha256(utf8(`seed ${i}`)), i % 256, 100_000)) drawn++
    }
    // Mean 1000, standard deviation 30.
    assert.ok(Math.abs(drawn - 1000) < 100, `${drawn}`)
  })

  it('follows from the outputs of the stewards in any order', () => {
    const [a, b] = [new Uint8Array(64).fill(1), new Uint8Array(64).fill(2)]
    const frozen = sha256(utf8('commitments'))
    assert.deepEqual(secondSeed(frozen, [a, b]), secondSeed(frozen, [b, a]))
    assert.notDeepEqual(secondSeed(frozen, [a]), secondSeed(frozen, [a, b]))
  })
})

describe('the places of an offer', () => {
  const applicant = (name: string, established: boolean, excluded = false) => ({
    peer: peer(name),
    established,
    excluded,
  })
  const crowd = (count: number, name: string, established: boolean, excluded = false) =>
    Array.from({ length: count }, (_, i) => applicant(`${name} ${i}`, established, excluded))

  it('go to everybody while they suffice', () => {
    const all = [
      ...crowd(10, 'old', true),
      ...crowd(50, 'new', false),
      ...crowd(4, 'out', true, true),
    ]
    assert.equal(choosePlaces(all, sha256(utf8('offer'))).length, 64)
  })

  it('go to the established first in a flood of newcomers, who keep sixteen', () => {
    for (const [old, expected] of [
      [5, 5],
      [48, 48],
      [200, 48],
    ] as const) {
      const established = crowd(old, 'old', true)
      const all = [...crowd(1000, 'new', false), ...crowd(90, 'out', true, true), ...established]
      const placed = new Set(choosePlaces(all, sha256(utf8('offer'))))
      assert.equal(placed.size, 64)
      assert.equal(established.filter((each) => placed.has(each.peer)).length, expected)
    }
  })

  it('fall to others with another offer', () => {
    const all = crowd(100, 'old', true)
    const places = (offer: string) => choosePlaces(all, sha256(utf8(offer)))
    assert.notDeepEqual(places('one'), places('two'))
    assert.deepEqual(places('one'), choosePlaces(all.toReversed(), sha256(utf8('one'))))
  })
})
