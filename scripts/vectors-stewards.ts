/**
 * Writes the JSON vectors of the stewards' law to test/vectors/stewards.json:
 * `node --import tsx scripts/vectors-stewards.ts`. Envelopes and other bytes are hexadecimal.
 */
import { writeFile } from 'node:fs/promises'
import { commitmentsAlpha, keysOf, seed2Of } from '../src/protocol/ballot.js'
import { beaconOf, beaconRefusal, EPOCH_MS } from '../src/protocol/beacon.js'
import { omissionOf } from '../src/protocol/omission.js'
import { faultsBorne, membersAt, quorumOf } from '../src/protocol/quorum.js'
import { createStage, restoreStage, stepSteward } from '../src/protocol/steward-step.js'
import type {
  Entry,
  Proposal,
  StageContext,
  StageEvent,
  StageRecord,
} from '../src/protocol/steward-step.js'
import { canonicalOf, rankStewards } from '../src/protocol/stewards.js'
import { deriveVrfSecret, vrfProve, vrfPublicKey } from '../src/protocol/vrf.js'
import { createSigner, joinSignatures, seal, signedBytes } from '../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../src/wire/envelope.js'
import { Acknowledgement } from '../src/wire/generated/election.js'
import { Envelope } from '../src/wire/generated/envelope.js'
import { fromHex, publicKeyFromPeerId, sha256, toHex, utf8 } from '../src/wire/ids.js'
import type { JobId, PeerId } from '../src/wire/ids.js'
import { LIMITS } from '../src/wire/limits.js'
import { kindId } from '../src/wire/messages.js'

const NETWORK = 'vectors'
const EPOCH = 3_000_000
const hash = (name: string): Uint8Array => sha256(utf8(name))
const BEACON = hash('beacon')
const REQUESTER = createSigner(hash('requester'))
const AUTHOR = createSigner(hash('author'))
const seedOf = (i: number): Uint8Array => hash(`steward ${i}`)
const STEWARDS: readonly Signer[] = Array.from({ length: 9 }, (_, i) => createSigner(seedOf(i)))

function offerOf(stewards: number): Opened<'offer'> {
  const peers = STEWARDS.slice(0, stewards).map(({ peerId }) => peerId)
  const message = {
    jobId: hash('job'),
    batch: 1,
    attempt: 2,
    slots: 3,
    replicas: 2,
    requirements: { memoryMib: 1024, diskMib: 64, gpus: 0, vramMib: 0, isolation: 'runc' },
    bidWindowMs: 2000,
    openWindowMs: 2000,
    auditPpm: 100_000,
    stewards: keysOf(peers),
    diversity: 'operator',
    stewardVrfKeys: peers.map((_, i) => vrfPublicKey(deriveVrfSecret(seedOf(i)))),
    epoch: EPOCH,
    beacon: BEACON,
    small: stewards < 7,
  }
  return seal(NETWORK, 'offer', message, REQUESTER)
}

function rankingVectors(): object[] {
  const peers = Array.from({ length: 20 }, (_, i) => {
    const { peerId } = createSigner(hash(`peer ${i}`))
    return {
      peer: peerId,
      // The last two are of one operator.
      operator: i === 19 ? createSigner(hash('peer 18')).peerId : peerId,
      reliabilityPpm: i === 0 ? 599_999 : 600_000 + i,
      established: i !== 1,
      excluded: i === 2,
    }
  })
  const input = {
    jobId: toHex(hash('job')) as JobId,
    beacon: BEACON,
    requester: REQUESTER.peerId,
    requesterOperator: REQUESTER.peerId,
    bidders: [] as PeerId[],
    peers,
  }
  const cases = [
    { name: 'of a mature network', ...input },
    { name: 'in the next epoch', ...input, beacon: hash('next beacon') },
    { name: 'without those who bid', ...input, bidders: peers.slice(5, 10).map((p) => p.peer) },
    { name: 'of a small network', ...input, peers: peers.slice(3, 10) },
    { name: 'of a young network', ...input, peers: peers.slice(0, 7) },
  ]
  return cases.map((each) => ({
    ...each,
    beacon: toHex(each.beacon),
    expected: rankStewards(each),
  }))
}

function beaconVectors(): object {
  const output = (steward: number, alpha: string, epoch = EPOCH) => ({
    epoch,
    steward: STEWARDS[steward]?.peerId ?? REQUESTER.peerId,
    alpha: hash(alpha),
    output: Buffer.concat([hash(`${steward}${alpha}`), hash(`${alpha}${steward}`)]),
  })
  const cases = [
    { name: 'nothing was opened', outputs: [] },
    { name: 'three stewards', outputs: [output(2, 'x'), output(0, 'x'), output(1, 'x')] },
    {
      name: 'one opened several times: the lowest alpha counts',
      outputs: [output(0, 'a'), output(0, 'b'), output(0, 'c'), output(1, 'a')],
    },
    { name: 'others are of another epoch', outputs: [output(0, 'x'), output(1, 'x', EPOCH - 1)] },
  ]
  const beaconAt = (epoch: number): Uint8Array => hash(`beacon ${epoch}`)
  const quoted = [EPOCH - 2, EPOCH - 1, EPOCH, EPOCH + 1].flatMap((epoch) => [
    { epoch, beacon: beaconAt(epoch) },
    { epoch, beacon: hash('another') },
  ])
  const nowMs = EPOCH * EPOCH_MS + 5
  return {
    drawn: cases.map(({ name, outputs }) => ({
      name,
      epoch: EPOCH + 1,
      outputs: outputs.map((each) => ({
        ...each,
        alpha: toHex(each.alpha),
        output: toHex(each.output),
      })),
      beacon: toHex(beaconOf(EPOCH + 1, outputs)),
    })),
    /** The beacon of epoch e is H("beacon e") here. */
    quoted: quoted.map(({ epoch, beacon }) => ({
      nowMs,
      epoch,
      beacon: toHex(beacon),
      code: beaconRefusal({ epoch, beacon }, nowMs, beaconAt) ?? 'OK',
    })),
  }
}

const OFFER = offerOf(4)
const BID = {
  offer: fromHex(OFFER.id),
  capacity: 1,
  vrfKey: hash('vrf key'),
  operator: publicKeyFromPeerId(AUTHOR.peerId),
  hardwareClass: 'cpu',
  flopsMega: 1000,
}
const STANDING = {
  reliabilityPpm: 100_000,
  availabilityPpm: 500_000,
  speedPpm: 1_000_000,
  established: false,
  excluded: false,
  addressPrefix: '',
}
const ACKNOWLEDGEMENT = {
  offer: fromHex(OFFER.id),
  message: hash('bid'),
  receivedMs: 1_800_000_000_000,
  kind: kindId('bid'),
  author: publicKeyFromPeerId(AUTHOR.peerId),
  stage: fromHex(OFFER.id),
  attempt: 0,
  view: 0,
}

function frozenBids(
  signers: readonly number[],
  bidders: readonly Signer[],
  view = 0,
): Opened<'freezeBids'> {
  const bids = bidders
    .map((signer) => seal(NETWORK, 'bid', BID, signer))
    .sort((a, b) => (a.author < b.author ? -1 : 1))
  const message = {
    offer: fromHex(OFFER.id),
    bids: bids.map(({ bytes }) => bytes),
    standings: bids.map(() => STANDING),
    receiptRoot: hash('receipts'),
    frozenMs: 1_800_000_000_500,
    view,
  }
  return joinSignatures(
    signers.map((i) => seal(NETWORK, 'freezeBids', message, STEWARDS[i] ?? REQUESTER)),
  )
}

function acknowledgementVectors(): object {
  const steward = STEWARDS[0] ?? REQUESTER
  const valid = [
    { name: 'of a bid', message: ACKNOWLEDGEMENT },
    {
      name: 'of a commitment',
      message: {
        ...ACKNOWLEDGEMENT,
        kind: kindId('commitment'),
        stage: hash('task'),
        attempt: 2,
      },
    },
    {
      name: 'word of a view',
      message: {
        ...ACKNOWLEDGEMENT,
        kind: 0,
        message: new Uint8Array(0),
        author: new Uint8Array(0),
        view: 3,
      },
    },
  ]
  const invalid = [
    { name: 'of a certificate', message: { ...ACKNOWLEDGEMENT, kind: kindId('freezeBids') } },
    { name: 'of a bid with a view', message: { ...ACKNOWLEDGEMENT, view: 1 } },
    { name: 'of nobody', message: { ...ACKNOWLEDGEMENT, author: new Uint8Array(0) } },
    { name: 'word of a view about a message', message: { ...ACKNOWLEDGEMENT, kind: 0 } },
    { name: 'without a stage', message: { ...ACKNOWLEDGEMENT, stage: new Uint8Array(0) } },
  ]
  return {
    valid: valid.map(({ name, message }) => {
      const { bytes, id } = seal(NETWORK, 'acknowledgement', message, steward)
      return { name, network: NETWORK, envelope: toHex(bytes), id }
    }),
    invalid: invalid.map(({ name, message }) => {
      const payload = Acknowledgement.encode(message)
      const kind = kindId('acknowledgement')
      const author = publicKeyFromPeerId(steward.peerId)
      const signature = steward.sign(signedBytes(NETWORK, kind, payload))
      const bytes = Envelope.encode({ kind, payload, signatures: [{ author, signature }] })
      return { name, network: NETWORK, envelope: toHex(bytes), code: 'MESSAGE_MALFORMED' }
    }),
  }
}

function canonicalVectors(): object {
  const [other] = [createSigner(hash('another author'))]
  const a = (signers: readonly number[], view = 0) => frozenBids(signers, [AUTHOR], view)
  const b = (signers: readonly number[], view = 0) => frozenBids(signers, [AUTHOR, other], view)
  const cases = [
    { name: 'none is full', all: [a([0, 1]), b([2, 3])] },
    { name: 'the lower view', all: [a([0, 1, 2, 3], 1), b([0, 1, 2], 0)] },
    { name: 'a lower view that is not full', all: [a([1, 2, 3], 1), b([0, 1], 0)] },
    { name: 'more signatures', all: [a([0, 1, 2]), b([0, 1, 2, 3])] },
    { name: 'the lower id', all: [a([0, 1, 2]), b([1, 2, 3])] },
    { name: 'two copies together are full', all: [a([0, 1]), a([1, 3])] },
  ]
  return {
    network: NETWORK,
    offer: toHex(OFFER.bytes),
    cases: cases.map(({ name, all }) => ({
      name,
      certificates: all.map(({ bytes }) => toHex(bytes)),
      id: canonicalOf(OFFER, all)?.id ?? null,
    })),
  }
}

function omissionVectors(): object {
  const steward = STEWARDS[0] ?? REQUESTER
  const word = (changes: Partial<typeof ACKNOWLEDGEMENT> = {}, signer = steward) =>
    seal(NETWORK, 'acknowledgement', { ...ACKNOWLEDGEMENT, ...changes }, signer)
  const left = frozenBids([0, 1, 2], [])
  const another = publicKeyFromPeerId(REQUESTER.peerId)
  const cases = [
    { name: 'signed without it', acknowledgement: word(), certificate: left },
    { name: 'signed alone', acknowledgement: word(), certificate: frozenBids([0], []) },
    { name: 'in a later view', acknowledgement: word(), certificate: frozenBids([0, 1], [], 2) },
    {
      name: 'another author is missing',
      acknowledgement: word({ author: another }),
      certificate: frozenBids([0, 1, 2], [AUTHOR]),
    },
    { name: 'it is there', acknowledgement: word(), certificate: frozenBids([0, 1, 2], [AUTHOR]) },
    { name: 'it did not sign', acknowledgement: word({}, STEWARDS[3]), certificate: left },
    {
      name: 'of another offer',
      acknowledgement: word({ stage: hash('another offer') }),
      certificate: left,
    },
    {
      name: 'of another kind',
      acknowledgement: word({ kind: kindId('reveal') }),
      certificate: left,
    },
  ]
  return {
    network: NETWORK,
    offer: toHex(OFFER.bytes),
    cases: cases.map(({ name, acknowledgement, certificate }) => ({
      name,
      acknowledgement: toHex(acknowledgement.bytes),
      certificate: toHex(certificate.bytes),
      proven: omissionOf(NETWORK, acknowledgement, certificate as AnyOpened, OFFER) ?? null,
    })),
  }
}

function seed2Vectors(): object[] {
  const of = (stewards: number, opened: readonly number[], view = 0): object => {
    const offer = offerOf(stewards)
    const previous = hash('previous')
    const commitments = ['a', 'b'].map((name) => {
      const message = { taskId: hash('task'), attempt: 2, commitment: hash(name) }
      return seal(NETWORK, 'commitment', message, createSigner(hash(`executor ${name}`))).bytes
    })
    const alpha = commitmentsAlpha(previous, commitments)
    const places = membersAt(
      Array.from({ length: stewards }, (_, i) => i),
      view,
    )
    const vrfProofs = places.map((i) =>
      opened.includes(i) ? vrfProve(deriveVrfSecret(seedOf(i)), alpha) : new Uint8Array(0),
    )
    const message = { previous, commitments, vrfProofs, view }
    const [leader = 0] = places
    const signer = STEWARDS[leader] ?? REQUESTER
    const freeze = seal(NETWORK, 'freezeCommitments', message, signer)
    const seed2 = seed2Of(offer, freeze, 'verify')
    return {
      name: `${opened.length} of ${stewards} opened, view ${view}`,
      network: NETWORK,
      offer: toHex(offer.bytes),
      freeze: toHex(freeze.bytes),
      seed2: seed2 === undefined ? null : toHex(seed2),
    }
  }
  return [of(1, [0]), of(4, [0, 1, 3]), of(4, [0, 1, 2, 3], 1), of(4, [0, 1]), of(4, [])]
}

function transitionVectors(): object[] {
  const names = ['a', 'b', 'c', 'd'] as PeerId[]
  const context = (self: string, count = 4): StageContext => ({
    self: self as PeerId,
    candidates: names.slice(0, count),
    room: 64,
    heldMax: 1024,
    settleMs: 100,
    viewMs: 1000,
  })
  const entry = (name: string): Entry => ({ id: `bid of ${name}`, author: name as PeerId })
  const proposal = (digest: string, view: number, signers: string, authors: string): Proposal => ({
    view,
    digest,
    entries: [...authors].map(entry),
    signers: [...signers] as PeerId[],
  })
  const told = (digest: string, view: number, signers: string, authors: string): StageEvent => ({
    type: 'proposal',
    from: (signers.at(-1) ?? 'a') as PeerId,
    proposal: proposal(digest, view, signers, authors),
  })
  const bid = (name: string): StageEvent => ({ type: 'message', entry: entry(name) })
  const word = (steward: string, view: number): StageEvent => ({
    type: 'word',
    steward: steward as PeerId,
    view,
  })
  const deadline: StageEvent = { type: 'deadline' }
  const cases: Array<{
    readonly name: string
    readonly context: StageContext
    readonly records?: readonly StageRecord[]
    readonly events: readonly StageEvent[]
  }> = [
    {
      name: 'a lone steward certifies by itself',
      context: context('a', 1),
      events: [bid('x'), deadline, { type: 'composed', proposal: proposal('P', 0, '', 'x') }],
    },
    {
      name: 'the leader proposes all that was acknowledged once a quorum has told and settled',
      context: context('a'),
      events: [
        bid('x'),
        { type: 'acknowledged', steward: names[1] ?? context('b').self, entry: entry('y') },
        deadline,
        word('b', 0),
        { type: 'settled', view: 0 },
        word('c', 0),
        { type: 'composed', proposal: proposal('P', 0, '', 'xy') },
        told('P', 0, 'ab', 'xy'),
        told('P', 0, 'ac', 'xy'),
      ],
    },
    {
      name: 'a member signs what holds all that it acknowledged, and only once in a view',
      context: context('b'),
      events: [bid('x'), deadline, told('P', 0, 'a', 'xy'), told('Q', 0, 'a', 'xyz')],
    },
    {
      name: 'a member does not sign what lacks a message it acknowledged',
      context: context('b'),
      events: [bid('x'), bid('y'), deadline, told('P', 0, 'a', 'x')],
    },
    {
      name: 'nobody signs a proposal without its leader, or of a stranger',
      context: context('b'),
      events: [deadline, told('P', 0, 'c', ''), told('P', 0, 'az', '')],
    },
    {
      name: 'a message after the deadline is not acknowledged, nor an acknowledgement after settling',
      context: context('b'),
      events: [
        deadline,
        bid('x'),
        { type: 'settled', view: 0 },
        { type: 'acknowledged', steward: context('c').self, entry: entry('y') },
      ],
    },
    {
      name: 'a timeout leads to the next view, where another leads',
      context: context('b'),
      events: [
        bid('x'),
        deadline,
        { type: 'timeout', view: 0 },
        { type: 'timeout', view: 0 },
        word('c', 1),
        word('d', 1),
        word('a', 2),
        { type: 'composed', proposal: proposal('P', 1, '', 'x') },
      ],
    },
    {
      name: 'two others in a higher view, one of them surely honest, take a member along',
      context: context('b'),
      events: [deadline, word('c', 5), word('d', 7)],
    },
    {
      name: 'what was signed in a higher view is not undone by signing in a lower one',
      context: context('d'),
      events: [
        deadline,
        { type: 'timeout', view: 0 },
        told('Q', 1, 'b', ''),
        told('P', 0, 'a', ''),
      ],
    },
    {
      name: 'a full certificate of a lower view replaces that of a higher one',
      context: context('d'),
      events: [deadline, told('Q', 1, 'bca', ''), told('P', 0, 'abc', ''), told('R', 2, 'cab', '')],
    },
    {
      name: 'after a crash nothing else is signed in the same view',
      context: context('b'),
      records: [
        { kind: 'acknowledged', entry: entry('x') },
        { kind: 'view', view: 0 },
        { kind: 'vote', proposal: proposal('P', 0, 'ab', 'x') },
      ],
      events: [{ type: 'restarted' }, told('Q', 0, 'a', 'xy'), told('P', 0, 'ac', 'x')],
    },
    {
      name: 'after the last view it is over',
      context: context('d'),
      records: [{ kind: 'view', view: LIMITS.stewardViews - 1 }],
      events: [{ type: 'timeout', view: LIMITS.stewardViews - 1 }, told('P', 0, 'a', '')],
    },
  ]
  return cases.map(({ name, context: of, records = [], events }) => {
    const state = records.length === 0 ? createStage() : restoreStage(of, records)
    const steps = events.map((event) => ({ event, effects: stepSteward(of, state, event) }))
    return { name, context: of, records, steps, phase: state.phase, view: state.view }
  })
}

const VECTORS = {
  quorum: [1, 2, 3, 4, 5, 6, 7].map((k) => ({
    stewards: k,
    quorum: quorumOf(k),
    faulty: faultsBorne(k),
  })),
  views: [1, 4, 7, 9, 14].flatMap((candidates) =>
    [0, 1, 5, 63].map((view) => ({
      candidates,
      view,
      members: membersAt(
        Array.from({ length: candidates }, (_, i) => i),
        view,
      ),
    })),
  ),
  ranking: rankingVectors(),
  beacon: beaconVectors(),
  acknowledgement: acknowledgementVectors(),
  seed2: seed2Vectors(),
  canonical: canonicalVectors(),
  omission: omissionVectors(),
  transitions: transitionVectors(),
}
await writeFile(
  new URL('../test/vectors/stewards.json', import.meta.url),
  `${JSON.stringify(VECTORS, null, 1)}\n`,
)
