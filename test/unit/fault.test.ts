import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openFault, sealFault } from '../../src/protocol/fault.js'
import { createSigner, seal } from '../../src/wire/envelope.js'
import type { Opened, Signer } from '../../src/wire/envelope.js'
import { fromHex, publicKeyFromPeerId, sha256, utf8 } from '../../src/wire/ids.js'
import { kindId } from '../../src/wire/messages.js'

const NETWORK = 'test'
const alice = createSigner(sha256(utf8('alice')))
const bob = createSigner(sha256(utf8('bob')))
const NEWCOMER_STANDING = {
  reliabilityPpm: 100_000,
  availabilityPpm: 500_000,
  speedPpm: 1_000_000,
  established: false,
  excluded: false,
  addressPrefix: '',
}

function commitment(signer: Signer, task: string, result: string): Opened<'commitment'> {
  const message = { taskId: sha256(utf8(task)), attempt: 1, commitment: sha256(utf8(result)) }
  return seal(NETWORK, 'commitment', message, signer)
}

function frozenOpenings(signer: Signer, bids: string, openings: number): Opened<'freezeOpenings'> {
  const message = {
    frozenBids: sha256(utf8(bids)),
    openings: Array.from({ length: openings }, () => utf8('opening')),
    view: 0,
  }
  return seal(NETWORK, 'freezeOpenings', message, signer)
}

test('two commitments to one task accuse their author, in whichever order they are held', () => {
  const one = commitment(alice, 'task', 'this')
  const other = commitment(alice, 'task', 'that')
  assert.deepEqual(sealFault(one, other), sealFault(other, one))
  const proven = openFault(NETWORK, sealFault(one, other))
  assert.deepEqual(proven.accused, [alice.peerId])
  assert.match(proven.words, /commitment$/)
})

test('a bid and a decline of one offer accuse their author', () => {
  const offer = sha256(utf8('offer'))
  const bid = seal(
    NETWORK,
    'bid',
    {
      offer,
      capacity: 1,
      vrfKey: new Uint8Array(32),
      operator: new Uint8Array(32),
      hardwareClass: 'cpu',
      flopsMega: 1,
    },
    alice,
  )
  const decline = seal(NETWORK, 'decline', { offer, code: 'BUSY', reason: 'busy' }, alice)
  assert.deepEqual(openFault(NETWORK, sealFault(bid, decline)).accused, [alice.peerId])
})

test('two certificates for one place accuse whoever signed both', () => {
  const fault = sealFault(frozenOpenings(alice, 'bids', 1), frozenOpenings(alice, 'bids', 2))
  assert.deepEqual(openFault(NETWORK, fault).accused, [alice.peerId])
})

test('FAULT_UNPROVEN: what different peers signed, or signed for different places, proves nothing', () => {
  const pairs = [
    [commitment(alice, 'task', 'this'), commitment(bob, 'task', 'that')],
    [commitment(alice, 'task', 'this'), commitment(alice, 'another task', 'that')],
    [commitment(alice, 'task', 'this'), commitment(alice, 'task', 'this')],
    [frozenOpenings(alice, 'bids', 1), frozenOpenings(bob, 'bids', 2)],
  ] as const
  for (const [one, other] of pairs) {
    assert.throws(() => openFault(NETWORK, sealFault(one, other)), { code: 'FAULT_UNPROVEN' })
  }
  const { first, second } = sealFault(
    commitment(alice, 'task', 'this'),
    commitment(alice, 'task', 'that'),
  )
  assert.throws(() => openFault(NETWORK, { first: second, second: first }), {
    code: 'FAULT_UNPROVEN',
  })
})

test('SIGNATURE_INVALID: a fault with one altered byte accuses nobody', () => {
  const fault = sealFault(commitment(alice, 'task', 'this'), commitment(alice, 'task', 'that'))
  const altered = Uint8Array.from(fault.second)
  altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1
  assert.throws(() => openFault(NETWORK, { first: fault.first, second: altered }), {
    code: 'SIGNATURE_INVALID',
  })
  assert.throws(() => openFault('another network', fault), { code: 'SIGNATURE_INVALID' })
})

test('an acknowledged bid that is missing in the freeze accuses the steward, and nobody else', () => {
  const offer = sha256(utf8('offer'))
  const bid = seal(
    NETWORK,
    'bid',
    {
      offer,
      capacity: 1,
      vrfKey: new Uint8Array(32),
      operator: new Uint8Array(32),
      hardwareClass: 'cpu',
      flopsMega: 1,
    },
    alice,
  )
  const acknowledgement = seal(
    NETWORK,
    'acknowledgement',
    {
      offer,
      message: fromHex(bid.id),
      receivedMs: 1,
      kind: kindId('bid'),
      author: publicKeyFromPeerId(alice.peerId),
      stage: offer,
      attempt: 0,
      view: 0,
    },
    bob,
  )
  const freeze = (bids: Uint8Array[], signer: Signer): Opened<'freezeBids'> => {
    const standings = bids.map(() => NEWCOMER_STANDING)
    const message = {
      offer,
      bids,
      standings,
      receiptRoot: new Uint8Array(32),
      frozenMs: 2,
      view: 0,
    }
    return seal(NETWORK, 'freezeBids', message, signer)
  }
  const proven = openFault(NETWORK, sealFault(acknowledgement, freeze([], bob)))
  assert.deepEqual([proven.kind, proven.accused], ['omission', [bob.peerId]])
  for (const innocent of [freeze([bid.bytes], bob), freeze([], alice)]) {
    assert.throws(() => openFault(NETWORK, sealFault(acknowledgement, innocent)), {
      code: 'FAULT_UNPROVEN',
    })
  }
})
