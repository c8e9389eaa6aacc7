/**
 * Writes the JSON vectors of freezes to test/vectors/freeze.json: what stewards sign, what follows
 * from it, and what is refused: `node --import tsx scripts/vectors-freeze.ts`.
 */
import { writeFile } from 'node:fs/promises'
import { commitmentsAlpha, keysOf, openingAlpha, seed2Of } from '../src/protocol/ballot.js'
import { hiddenReplicaDrawn } from '../src/protocol/election.js'
import { membersAt } from '../src/protocol/quorum.js'
import { commitmentOf, taskIdOf } from '../src/protocol/task.js'
import { deriveVrfSecret, vrfOutput, vrfProve, vrfPublicKey } from '../src/protocol/vrf.js'
import { createSigner, joinSignatures, seal, signedBytes } from '../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../src/wire/envelope.js'
import type { Standing } from '../src/wire/generated/election.js'
import { Envelope } from '../src/wire/generated/envelope.js'
import { fromHex, publicKeyFromPeerId, sha256, toHex, utf8 } from '../src/wire/ids.js'
import { kindId } from '../src/wire/messages.js'
import type { MessageKind, Messages } from '../src/wire/messages.js'
import { checkFreeze, codeOf, electionFrom, entriesOf } from '../test/vectors/chain.js'
import type { BallotVector } from '../test/vectors/chain.js'

const NETWORK = 'vectors'
const START_MS = 1_800_000_000_000
const hash = (name: string): Uint8Array => sha256(utf8(name))

/** A peer with both of its keys. */
interface Party {
  readonly signer: Signer
  readonly vrfSecret: Uint8Array
}
function party(name: string): Party {
  return { signer: createSigner(hash(name)), vrfSecret: deriveVrfSecret(hash(name)) }
}
const REQUESTER = party('requester')
const STEWARDS = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => party(`steward ${i}`))
const BIDDERS = [0, 1, 2, 3, 4]
  .map((i) => party(`bidder ${i}`))
  .sort((a, b) => (a.signer.peerId < b.signer.peerId ? -1 : 1))
const STRANGER = party('stranger')

/** @param stewards - who signs; the requester where there is one */
function offerOf(stewards: readonly Party[]): Opened<'offer'> {
  const message = {
    jobId: hash('job'),
    batch: 1,
    attempt: 2,
    slots: 3,
    replicas: 2,
    requirements: { memoryMib: 1024, diskMib: 64, gpus: 0, vramMib: 0, isolation: 'runc' },
    bidWindowMs: 2000,
    openWindowMs: 2000,
    auditPpm: 500_000,
    stewards: keysOf(stewards.map(({ signer }) => signer.peerId)),
    diversity: 'operator',
    stewardVrfKeys: stewards.map(({ vrfSecret }) => vrfPublicKey(vrfSecret)),
    epoch: stewards.length > 1 ? 3_000_000 : 0,
    beacon: stewards.length > 1 ? hash('beacon') : new Uint8Array(0),
    small: stewards.length > 1,
  }
  return seal(NETWORK, 'offer', message, REQUESTER.signer)
}

type Freeze = 'freezeBids' | 'freezeOpenings' | 'freezeCommitments' | 'freezeReveals'

/** All four freezes of a slot, as the given stewards sign them. */
class Slot {
  readonly offer: Opened<'offer'>
  readonly stewards: readonly Party[]
  readonly signers: readonly Party[]
  readonly frozenBids: Opened<'freezeBids'>
  readonly frozenOpenings: Opened<'freezeOpenings'>
  readonly task: Opened<'task'>
  readonly frozenCommitments: Opened<'freezeCommitments'>
  readonly frozenReveals: Opened<'freezeReveals'>

  constructor(stewards: readonly Party[], signers: readonly Party[]) {
    this.stewards = stewards
    this.signers = signers
    this.offer = offerOf(stewards)
    this.frozenBids = this.freeze('freezeBids', this.bids())
    this.frozenOpenings = this.freeze('freezeOpenings', this.openings())
    this.task = this.freeze('task', {
      previous: fromHex(this.frozenOpenings.id),
      jobId: hash('job'),
      batch: 1,
      slot: 0,
      attempt: 2,
      seats: 2,
      inputs: [{ name: 'x.csv', digest: hash('x'), sizeBytes: 9, folder: false }],
      providers: [],
      calledMs: START_MS + 3000,
      view: 0,
      round: new Uint8Array(0),
    })
    this.frozenCommitments = this.freeze('freezeCommitments', this.commitments())
    this.frozenReveals = this.freeze('freezeReveals', this.reveals())
  }

  freeze<K extends Freeze | 'task'>(
    kind: K,
    message: Messages[K],
    signers = this.signers,
  ): Opened<K> {
    return joinSignatures(signers.map(({ signer }) => seal(NETWORK, kind, message, signer)))
  }

  bid(bidder: Party, offer = this.offer.id as string, network = NETWORK): Uint8Array {
    const message = {
      offer: fromHex(offer),
      capacity: 2,
      vrfKey: vrfPublicKey(bidder.vrfSecret),
      operator: publicKeyFromPeerId(bidder.signer.peerId),
      hardwareClass: 'cpu',
      flopsMega: 1000,
    }
    return seal(network, 'bid', message, bidder.signer).bytes
  }

  bids(changes: Partial<Messages['freezeBids']> = {}): Messages['freezeBids'] {
    const bids = BIDDERS.map((bidder) => this.bid(bidder))
    return {
      offer: fromHex(this.offer.id),
      bids,
      standings: BIDDERS.map((_, i) => standing(i)),
      receiptRoot: hash('receipts'),
      frozenMs: START_MS + 1000,
      view: 0,
      ...changes,
    }
  }

  opening(bidder: Party, frozenBids = this.frozenBids.id as string): Uint8Array {
    const proof = vrfProve(bidder.vrfSecret, openingAlpha(this.offer, frozenBids))
    return seal(NETWORK, 'vrfOpen', { frozenBids: fromHex(frozenBids), proof }, bidder.signer).bytes
  }

  openings(changes: Partial<Messages['freezeOpenings']> = {}): Messages['freezeOpenings'] {
    const openings = BIDDERS.map((bidder) => this.opening(bidder))
    return { frozenBids: fromHex(this.frozenBids.id), openings, view: 0, ...changes }
  }

  result(bidder: Party): Messages['reveal'] {
    return {
      taskId: fromHex(taskIdOf(this.task.message)),
      attempt: 2,
      outputRoot: hash('root'),
      metrics: utf8('{}\n'),
      salt: sha256(utf8('salt'), publicKeyFromPeerId(bidder.signer.peerId)),
      durationMs: 100,
      listing: new Uint8Array(0),
      updateRoot: new Uint8Array(0),
    }
  }

  commitment(bidder: Party): Uint8Array {
    const { taskId, attempt, outputRoot, metrics, salt } = this.result(bidder)
    const commitment = commitmentOf({
      taskId: taskIdOf(this.task.message),
      attempt,
      peer: bidder.signer.peerId,
      outputRoot,
      metrics,
      salt,
    })
    return seal(NETWORK, 'commitment', { taskId, attempt, commitment }, bidder.signer).bytes
  }

  /** With the proofs of those that sign. */
  commitments(changes: Partial<Messages['freezeCommitments']> = {}): Messages['freezeCommitments'] {
    const previous = fromHex(this.task.id)
    const commitments = BIDDERS.slice(0, 2).map((bidder) => this.commitment(bidder))
    const message = { previous, commitments, view: 0, ...changes }
    const alpha = commitmentsAlpha(message.previous, message.commitments)
    const vrfProofs = membersAt(this.stewards, message.view).map((steward) =>
      this.signers.includes(steward) ? vrfProve(steward.vrfSecret, alpha) : new Uint8Array(0),
    )
    return { vrfProofs, ...message }
  }

  reveals(changes: Partial<Messages['freezeReveals']> = {}): Messages['freezeReveals'] {
    const reveals = BIDDERS.slice(0, 2).map(
      (bidder) => seal(NETWORK, 'reveal', this.result(bidder), bidder.signer).bytes,
    )
    return {
      previous: fromHex(this.frozenCommitments.id),
      reveals,
      sketches: [],
      view: 0,
      ...changes,
    }
  }
}

function standing(i: number): Standing {
  return {
    reliabilityPpm: 900_000 + i * 10_000,
    availabilityPpm: 950_000,
    speedPpm: 1_000_000,
    established: true,
    excluded: false,
    addressPrefix: '',
  }
}

const ALONE = new Slot([REQUESTER], [REQUESTER])
const FOUR = new Slot(STEWARDS.slice(0, 4), STEWARDS.slice(0, 3))

function validVectors(): object[] {
  return [ALONE, FOUR].flatMap((slot) =>
    [slot.frozenBids, slot.frozenOpenings, slot.frozenCommitments, slot.frozenReveals].map(
      (opened: AnyOpened) => ({
        name: `${opened.kind} by ${opened.authors.length} of ${slot.stewards.length}`,
        offer: toHex(slot.offer.bytes),
        envelope: toHex(opened.bytes),
        id: opened.id,
        signers: opened.authors,
        entries: entriesOf(NETWORK, opened),
      }),
    ),
  )
}

function ballotVectors(): object[] {
  return [ALONE, FOUR].map((slot) => {
    const vector = ballotOf(slot)
    const { frozenOpenings, offer, frozenBids } = slot
    return {
      name: `frozen by ${slot.signers.length} of ${slot.stewards.length}`,
      ...vector,
      openingAlpha: toHex(openingAlpha(offer, frozenBids.id)),
      outputs: BIDDERS.map((bidder) => {
        const proof = vrfProve(bidder.vrfSecret, openingAlpha(offer, frozenBids.id))
        return [bidder.signer.peerId, toHex(vrfOutput(proof) ?? proof)]
      }),
      frozenOpenings: frozenOpenings.id,
      election: electionFrom(NETWORK, REQUESTER.signer.peerId, vector),
    }
  })
}

function ballotOf(slot: Slot, changes: Partial<BallotVector> = {}): BallotVector {
  return {
    offer: toHex(slot.offer.bytes),
    freezeBids: toHex(slot.frozenBids.bytes),
    freezeOpenings: toHex(slot.frozenOpenings.bytes),
    ...changes,
  }
}

/** The draw of the hidden replica, for several slots and audit probabilities. */
function drawVectors(): object[] {
  return [ALONE, FOUR].map(({ offer, frozenCommitments, signers, stewards }) => {
    const { previous, commitments } = frozenCommitments.message
    const seed2 = seed2Of(offer, frozenCommitments, 'verify')
    if (seed2 === undefined) throw new Error('no seed')
    return {
      name: `opened by ${signers.length} of ${stewards.length}`,
      offer: toHex(offer.bytes),
      freezeCommitments: toHex(frozenCommitments.bytes),
      commitmentsAlpha: toHex(commitmentsAlpha(previous, commitments)),
      seed2: toHex(seed2),
      drawn: [0, 1, 2, 3].flatMap((slot) =>
        [0, 100_000, 500_000, 1_000_000].map((auditPpm) => ({
          slot,
          auditPpm,
          hidden: hiddenReplicaDrawn(seed2, slot, auditPpm),
        })),
      ),
    }
  })
}

/** A certificate with signatures as they are, also those that no honest peer would join. */
function signedBy<K extends MessageKind>(
  kind: K,
  { bytes }: Opened<K>,
  signers: readonly Party[],
): string {
  const { payload } = Envelope.decode(bytes)
  const signed = signedBytes(NETWORK, kindId(kind), payload)
  const signatures = signers.map(({ signer }) => ({
    author: publicKeyFromPeerId(signer.peerId),
    signature: signer.sign(signed),
  }))
  return toHex(Envelope.encode({ kind: kindId(kind), payload, signatures }))
}

function invalidVectors(): object[] {
  const offer = toHex(ALONE.offer.bytes)
  const hexOf = <K extends Freeze>(kind: K, message: Messages[K]): string =>
    toHex(ALONE.freeze(kind, message).bytes)
  const bids = ALONE.bids()
  const openings = ALONE.openings()
  const commitments = ALONE.commitments()
  const reveals = ALONE.reveals()
  const empty = new Uint8Array(0)
  const many = <T>(n: number, item: T): T[] => Array.from({ length: n }, () => item)
  const [firstBid = empty] = bids.bids
  const [firstReveal = empty] = reveals.reveals
  const otherProof = vrfProve(REQUESTER.vrfSecret, hash('another set'))
  const cases: Array<{ name: string; offer?: string; envelope: string }> = [
    {
      name: 'bids that are not sorted',
      envelope: hexOf('freezeBids', { ...bids, bids: bids.bids.toReversed() }),
    },
    {
      name: 'a bidder that stands twice',
      envelope: hexOf('freezeBids', {
        ...bids,
        bids: [firstBid, ...bids.bids],
        standings: [standing(0), ...bids.standings],
      }),
    },
    {
      name: 'openings that are not sorted',
      envelope: hexOf('freezeOpenings', { ...openings, openings: openings.openings.toReversed() }),
    },
    {
      name: 'commitments that are not sorted',
      envelope: hexOf(
        'freezeCommitments',
        ALONE.commitments({ commitments: commitments.commitments.toReversed() }),
      ),
    },
    {
      name: 'a reveal that stands twice',
      envelope: hexOf('freezeReveals', { ...reveals, reveals: [firstReveal, firstReveal] }),
    },
    {
      name: 'a bid among the openings',
      envelope: hexOf('freezeOpenings', { ...openings, openings: [firstBid] }),
    },
    {
      name: 'a bid of another network',
      envelope: hexOf('freezeBids', {
        ...bids,
        bids: BIDDERS.slice(0, 1).map((bidder) => ALONE.bid(bidder, ALONE.offer.id, 'another')),
        standings: [standing(0)],
      }),
    },
    {
      name: 'a bid without a standing',
      envelope: hexOf('freezeBids', { ...bids, standings: bids.standings.slice(1) }),
    },
    {
      name: '65 bids',
      envelope: hexOf('freezeBids', {
        ...bids,
        bids: many(65, empty),
        standings: many(65, standing(0)),
      }),
    },
    {
      name: '65 openings',
      envelope: hexOf('freezeOpenings', { ...openings, openings: many(65, empty) }),
    },
    {
      name: 'eight commitments',
      envelope: hexOf('freezeCommitments', { ...commitments, commitments: many(8, empty) }),
    },
    {
      name: 'eight reveals',
      envelope: hexOf('freezeReveals', { ...reveals, reveals: many(8, empty) }),
    },
    { name: 'view 64', envelope: hexOf('freezeReveals', { ...reveals, view: 64 }) },
    {
      name: 'a proof of 79 bytes',
      envelope: hexOf('freezeCommitments', { ...commitments, vrfProofs: [hash('proof')] }),
    },
    {
      name: 'a draft, over which nobody opened yet',
      envelope: hexOf('freezeCommitments', { ...commitments, vrfProofs: [] }),
    },
    {
      name: 'a proof over another set of commitments',
      envelope: hexOf('freezeCommitments', { ...commitments, vrfProofs: [otherProof] }),
    },
    {
      name: 'commitments with the proof of others',
      envelope: hexOf('freezeCommitments', {
        ...commitments,
        commitments: commitments.commitments.slice(1),
      }),
    },
    {
      name: 'two proofs of one steward',
      envelope: hexOf('freezeCommitments', {
        ...commitments,
        vrfProofs: many(2, commitments.vrfProofs[0] ?? empty),
      }),
    },
    {
      name: 'an empty place for the only steward',
      envelope: hexOf('freezeCommitments', { ...commitments, vrfProofs: [empty] }),
    },
    {
      name: 'bids frozen by a stranger',
      envelope: signedBy('freezeBids', ALONE.frozenBids, [STRANGER]),
    },
    ...fourVectors(),
  ]
  return cases.map(({ name, envelope, offer: of = offer }) => ({
    name,
    offer: of,
    envelope,
    code: codeOf(() => checkFreeze(NETWORK, of, envelope)),
  }))
}

/** Freezes of an offer with four stewards, of whom three must sign. */
function fourVectors(): Array<{ name: string; offer: string; envelope: string }> {
  const { offer, frozenReveals, frozenCommitments } = FOUR
  const [a, b, c] = STEWARDS.slice(0, 3) as [Party, Party, Party]
  const { commitments, previous } = frozenCommitments.message
  const proof = vrfProve(a.vrfSecret, commitmentsAlpha(previous, commitments))
  const empty = new Uint8Array(0)
  const alone = { ...frozenCommitments.message, vrfProofs: [proof, empty, empty, empty] }
  const reveals = (signers: readonly Party[]): string =>
    signedBy('freezeReveals', frozenReveals, signers)
  return [
    { name: 'too few signatures', envelope: reveals([a, b]) },
    { name: 'enough signatures and one of a stranger', envelope: reveals([a, b, c, REQUESTER]) },
    { name: 'one signature twice', envelope: reveals([a, b, b]) },
    { name: 'eight signatures', envelope: reveals(STEWARDS) },
    {
      name: 'the proof of one steward of four',
      envelope: toHex(FOUR.freeze('freezeCommitments', alone).bytes),
    },
  ].map((each) => ({ ...each, offer: toHex(offer.bytes) }))
}

function invalidBallots(): object[] {
  const [first, second] = BIDDERS as [Party, Party]
  const another = new Slot([REQUESTER], [REQUESTER])
  const elsewhere = ALONE.freeze('freezeBids', {
    ...ALONE.bids(),
    bids: [...BIDDERS.map((bidder) => ALONE.bid(bidder, FOUR.offer.id))],
  })
  const opened = (message: Messages['freezeOpenings'], signers?: readonly Party[]): string =>
    toHex(ALONE.freeze('freezeOpenings', message, signers).bytes)
  const forged = seal(
    NETWORK,
    'vrfOpen',
    {
      frozenBids: fromHex(ALONE.frozenBids.id),
      proof: vrfProve(second.vrfSecret, openingAlpha(ALONE.offer, ALONE.frozenBids.id)),
    },
    first.signer,
  ).bytes
  const stale = seal(
    NETWORK,
    'vrfOpen',
    { frozenBids: fromHex(FOUR.frozenBids.id), proof: vrfProve(first.vrfSecret, hash('x')) },
    first.signer,
  ).bytes
  const openingsOf = (id: string): string =>
    opened({ frozenBids: fromHex(id), openings: [], view: 0 })
  const cases: Array<{ name: string; vector: BallotVector }> = [
    {
      name: 'bids of another offer',
      vector: ballotOf(another, { offer: toHex(FOUR.offer.bytes) }),
    },
    {
      name: 'openings of other bids',
      vector: ballotOf(ALONE, { freezeOpenings: openingsOf(FOUR.frozenBids.id) }),
    },
    {
      name: 'bids inside that answer another offer',
      vector: ballotOf(ALONE, {
        freezeBids: toHex(elsewhere.bytes),
        freezeOpenings: openingsOf(elsewhere.id),
      }),
    },
    {
      name: 'an opening without a bid',
      vector: ballotOf(ALONE, {
        freezeOpenings: opened(ALONE.openings({ openings: [ALONE.opening(REQUESTER)] })),
      }),
    },
    {
      name: 'an opening over other bids',
      vector: ballotOf(ALONE, { freezeOpenings: opened(ALONE.openings({ openings: [stale] })) }),
    },
    {
      name: 'an opening by the VRF key of another',
      vector: ballotOf(ALONE, { freezeOpenings: opened(ALONE.openings({ openings: [forged] })) }),
    },
    {
      name: 'openings frozen by a bidder',
      vector: ballotOf(ALONE, { freezeOpenings: opened(ALONE.openings(), [first]) }),
    },
    {
      name: 'one opening for two replicas',
      vector: ballotOf(ALONE, {
        freezeOpenings: opened(ALONE.openings({ openings: [ALONE.opening(first)] })),
      }),
    },
  ]
  const requester = REQUESTER.signer.peerId
  return cases.map(({ name, vector }) => ({
    name,
    ...vector,
    code: codeOf(() => electionFrom(NETWORK, requester, vector)),
  }))
}

const VECTORS = {
  about:
    'freezes with their entries; ballots and the elections that follow; draws of the hidden ' +
    'replica. An invalid freeze is refused on its own or beside its offer',
  network: NETWORK,
  requester: REQUESTER.signer.peerId,
  valid: validVectors(),
  ballots: ballotVectors(),
  draws: drawVectors(),
  invalid: invalidVectors(),
  invalidBallots: invalidBallots(),
}
await writeFile(
  new URL('../test/vectors/freeze.json', import.meta.url),
  `${JSON.stringify(VECTORS, null, 1)}\n`,
)
