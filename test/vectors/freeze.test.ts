import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { commitmentsAlpha, openFrozen, openingAlpha, seed2Of } from '../../src/protocol/ballot.js'
import { hiddenReplicaDrawn } from '../../src/protocol/election.js'
import { vrfVerify } from '../../src/protocol/vrf.js'
import { open, openAs } from '../../src/wire/envelope.js'
import { digestOf, fromHex, toHex, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'
import { ballotFrom, checkFreeze, codeOf, electionFrom, entriesOf } from './chain.js'
import type { BallotVector } from './chain.js'

interface Named {
  readonly name: string
}
interface FreezeVector extends Named {
  readonly offer: string
  readonly envelope: string
}
interface Vectors {
  readonly network: string
  readonly requester: PeerId
  readonly valid: ReadonlyArray<
    FreezeVector & {
      readonly id: string
      readonly signers: readonly string[]
      readonly entries: readonly string[]
    }
  >
  readonly ballots: ReadonlyArray<
    Named &
      BallotVector & {
        readonly openingAlpha: string
        readonly outputs: ReadonlyArray<readonly [peer: string, output: string]>
        readonly election: object
      }
  >
  readonly draws: ReadonlyArray<
    Named & {
      readonly offer: string
      readonly freezeCommitments: string
      readonly commitmentsAlpha: string
      readonly seed2: string
      readonly drawn: ReadonlyArray<{ slot: number; auditPpm: number; hidden: boolean }>
    }
  >
  readonly invalid: ReadonlyArray<FreezeVector & { readonly code: string }>
  readonly invalidBallots: ReadonlyArray<Named & BallotVector & { readonly code: string }>
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('freeze.json', import.meta.url), 'utf8'))
const { network, requester } = vectors

describe('vectors of freezes', () => {
  for (const each of vectors.valid) {
    it(`holds ${each.name}`, () => {
      const opened = open(network, fromHex(each.envelope))
      assert.equal(opened.id, each.id)
      assert.deepEqual(opened.authors, each.signers)
      assert.deepEqual(entriesOf(network, opened), each.entries)
      assert.deepEqual(checkFreeze(network, each.offer, each.envelope), each.entries)
    })
  }

  for (const each of vectors.ballots) {
    it(`elects alike from what was ${each.name}`, () => {
      const { offer, frozenBids, frozenOpenings } = ballotFrom(network, each)
      assert.equal(toHex(openingAlpha(offer, frozenBids.id)), each.openingAlpha)
      const attempt = Uint8Array.of(0, 0, 0, offer.message.attempt)
      const parts = [fromHex(offer.id), attempt, fromHex(frozenBids.id)]
      assert.equal(digestOf(utf8('ctd-vrf-open-v1\0'), ...parts), each.openingAlpha)
      const keys = new Map(
        openFrozen(network, 'bid', frozenBids.message.bids).map(({ author, message }) => [
          author,
          message.vrfKey,
        ]),
      )
      const outputs = openFrozen(network, 'vrfOpen', frozenOpenings.message.openings).map(
        ({ author, message }) => {
          const key = keys.get(author) ?? new Uint8Array(0)
          const output = vrfVerify(key, fromHex(each.openingAlpha), message.proof)
          return [author, output && toHex(output)]
        },
      )
      assert.deepEqual(outputs, each.outputs)
      assert.deepEqual(electionFrom(network, requester, each), each.election)
    })
  }

  for (const each of vectors.draws) {
    it(`draws the hidden replica alike where it was ${each.name}`, () => {
      const offer = openAs(network, fromHex(each.offer), 'offer')
      const freeze = openAs(network, fromHex(each.freezeCommitments), 'freezeCommitments')
      const { previous, commitments } = freeze.message
      assert.equal(toHex(commitmentsAlpha(previous, commitments)), each.commitmentsAlpha)
      const seed2 = seed2Of(offer, freeze, 'verify')
      assert.equal(seed2 && toHex(seed2), each.seed2)
      for (const { slot, auditPpm, hidden } of each.drawn) {
        assert.equal(hiddenReplicaDrawn(fromHex(each.seed2), slot, auditPpm), hidden)
        const first = digestOf(
          utf8('ctd/hidden-replica/v1'),
          fromHex(each.seed2),
          Uint8Array.of(0, 0, 0, slot),
        )
        const ppm = (BigInt(`0x${first.slice(0, 16)}`) * 1_000_000n) >> 64n
        assert.equal(ppm < BigInt(auditPpm), hidden)
      }
    })
  }

  for (const each of vectors.invalid) {
    it(`refuses ${each.name} with ${each.code}`, () => {
      assert.notEqual(each.code, 'OK')
      assert.equal(
        codeOf(() => checkFreeze(network, each.offer, each.envelope)),
        each.code,
      )
    })
  }

  for (const each of vectors.invalidBallots) {
    it(`refuses an election with ${each.name} with ${each.code}`, () => {
      assert.notEqual(each.code, 'OK')
      assert.equal(
        codeOf(() => electionFrom(network, requester, each)),
        each.code,
      )
    })
  }

  it('knows every code a freeze can be refused with', () => {
    const codes = [...vectors.invalid, ...vectors.invalidBallots].map(({ code }) => code)
    assert.deepEqual([...new Set(codes)].sort(), [
      'BALLOT_INVALID',
      'DRAFT',
      'ENVELOPE_MALFORMED',
      'FREEZE_UNSORTED',
      'KIND_UNEXPECTED',
      'MESSAGE_MALFORMED',
      'NOT_A_STEWARD',
      'NO_ELIGIBLE_BIDS',
      'SIGNATURE_INVALID',
      'VRF_INVALID',
    ])
  })
})
