import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { seed2Of } from '../../src/protocol/ballot.js'
import { beaconOf, beaconRefusal } from '../../src/protocol/beacon.js'
import { omissionOf } from '../../src/protocol/omission.js'
import { faultsBorne, membersAt, quorumOf } from '../../src/protocol/quorum.js'
import { createStage, restoreStage, stepSteward } from '../../src/protocol/steward-step.js'
import type {
  StageContext,
  StageEffect,
  StageEvent,
  StageRecord,
} from '../../src/protocol/steward-step.js'
import { canonicalOf, rankStewards } from '../../src/protocol/stewards.js'
import type { RankingInput, StewardRanking } from '../../src/protocol/stewards.js'
import { open, openAs } from '../../src/wire/envelope.js'
import { fromHex, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'

interface Envelope {
  readonly name: string
  readonly network: string
  readonly envelope: string
}

interface Vectors {
  readonly quorum: ReadonlyArray<{ stewards: number; quorum: number; faulty: number }>
  readonly views: ReadonlyArray<{ candidates: number; view: number; members: number[] }>
  readonly ranking: ReadonlyArray<
    Omit<RankingInput, 'beacon'> & { name: string; beacon: string; expected: StewardRanking }
  >
  readonly beacon: {
    readonly drawn: ReadonlyArray<{
      name: string
      epoch: number
      outputs: ReadonlyArray<{ epoch: number; steward: PeerId; alpha: string; output: string }>
      beacon: string
    }>
    readonly quoted: ReadonlyArray<{ nowMs: number; epoch: number; beacon: string; code: string }>
  }
  readonly acknowledgement: {
    readonly valid: ReadonlyArray<Envelope & { id: string }>
    readonly invalid: ReadonlyArray<Envelope & { code: string }>
  }
  readonly seed2: ReadonlyArray<{
    name: string
    network: string
    offer: string
    freeze: string
    seed2: string | null
  }>
  readonly canonical: {
    readonly network: string
    readonly offer: string
    readonly cases: ReadonlyArray<{ name: string; certificates: string[]; id: string | null }>
  }
  readonly omission: {
    readonly network: string
    readonly offer: string
    readonly cases: ReadonlyArray<{
      name: string
      acknowledgement: string
      certificate: string
      proven: object | null
    }>
  }
  readonly transitions: ReadonlyArray<{
    name: string
    context: StageContext
    records: StageRecord[]
    steps: ReadonlyArray<{ event: StageEvent; effects: StageEffect[] }>
    phase: string
    view: number
  }>
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('stewards.json', import.meta.url), 'utf8'))

describe('vectors of the stewards', () => {
  it('count a quorum, and how many may be faulty', () => {
    // Stand here so that no rewrite of the file passes.
    assert.deepEqual(
      vectors.quorum.map(({ quorum }) => quorum),
      [1, 2, 2, 3, 4, 4, 5],
    )
    for (const { stewards, quorum, faulty } of vectors.quorum) {
      assert.equal(quorumOf(stewards), quorum)
      assert.equal(faultsBorne(stewards), faulty)
      // Two quorums share an honest one, and the honest alone are a quorum.
      assert.ok(2 * quorum - stewards > faulty && stewards - faulty >= quorum)
    }
  })

  it('name the members of a view', () => {
    for (const { candidates, view, members } of vectors.views) {
      const ranked = Array.from({ length: candidates }, (_, i) => i)
      assert.deepEqual(membersAt(ranked, view), members)
    }
  })

  for (const { name, beacon, expected, ...input } of vectors.ranking) {
    it(`rank the stewards ${name}`, () => {
      assert.deepEqual(rankStewards({ ...input, beacon: fromHex(beacon) }), expected)
    })
  }

  for (const { name, epoch, outputs, beacon } of vectors.beacon.drawn) {
    it(`draw the beacon where ${name}`, () => {
      const opened = outputs.map((each) => ({
        ...each,
        alpha: fromHex(each.alpha),
        output: fromHex(each.output),
      }))
      assert.equal(toHex(beaconOf(epoch, opened)), beacon)
      assert.equal(toHex(beaconOf(epoch, opened.toReversed())), beacon)
    })
  }

  it('tell which beacon may be quoted', () => {
    const codes = vectors.beacon.quoted.map(({ nowMs, epoch, beacon, code }) => {
      const quoted = { epoch, beacon: fromHex(beacon) }
      const refusal = beaconRefusal(quoted, nowMs, (at) => sha256(utf8(`beacon ${at}`)))
      assert.equal(refusal ?? 'OK', code)
      return code
    })
    assert.deepEqual(new Set(codes), new Set(['EPOCH_STALE', 'BEACON_UNKNOWN', 'OK']))
  })

  for (const { name, network, envelope, id } of vectors.acknowledgement.valid) {
    it(`open an acknowledgement ${name}`, () => {
      assert.equal(openAs(network, fromHex(envelope), 'acknowledgement').id, id)
    })
  }

  for (const { name, network, envelope, code } of vectors.acknowledgement.invalid) {
    it(`refuse an acknowledgement ${name}: ${code}`, () => {
      assert.throws(() => open(network, fromHex(envelope)), { code })
    })
  }

  for (const { name, network, offer, freeze, seed2 } of vectors.seed2) {
    it(`draw the second seed where ${name}`, () => {
      const opened = openAs(network, fromHex(offer), 'offer')
      const frozen = openAs(network, fromHex(freeze), 'freezeCommitments')
      const drawn = seed2Of(opened, frozen, 'verify')
      assert.equal(drawn === undefined ? null : toHex(drawn), seed2)
    })
  }

  const { canonical, omission } = vectors
  for (const { name, certificates, id } of canonical.cases) {
    it(`tell which certificate counts where ${name}`, () => {
      const offer = openAs(canonical.network, fromHex(canonical.offer), 'offer')
      const all = certificates.map((bytes) =>
        openAs(canonical.network, fromHex(bytes), 'freezeBids'),
      )
      assert.equal(canonicalOf(offer, all)?.id ?? null, id)
      assert.equal(canonicalOf(offer, all.toReversed())?.id ?? null, id)
    })
  }

  for (const { name, acknowledgement, certificate, proven } of omission.cases) {
    it(`${proven === null ? 'prove nothing' : 'prove an omission'} where ${name}`, () => {
      const { network } = omission
      const word = openAs(network, fromHex(acknowledgement), 'acknowledgement')
      const signed = open(network, fromHex(certificate))
      const offer = openAs(network, fromHex(omission.offer), 'offer')
      assert.deepEqual(omissionOf(network, word, signed, offer) ?? null, proven)
      assert.deepEqual(omissionOf(network, word, signed) ?? null, proven)
    })
  }

  for (const { name, context, records, steps, phase, view } of vectors.transitions) {
    it(`step: ${name}`, () => {
      const state = records.length === 0 ? createStage() : restoreStage(context, records)
      for (const { event, effects } of steps) {
        assert.deepEqual(stepSteward(context, state, event), effects)
      }
      assert.deepEqual([state.phase, state.view], [phase, view])
    })
  }
})
