/**
 * Writes the JSON vectors of slot keys and of the faults that follow to test/vectors/fault.json:
 * `node --import tsx scripts/vectors-fault.ts`.
 */
import { writeFile } from 'node:fs/promises'
import { openFault, sealFault } from '../src/protocol/fault.js'
import { slotKeyOf } from '../src/protocol/slot-key.js'
import { createSigner, joinSignatures, seal } from '../src/wire/envelope.js'
import type { AnyOpened, Signer } from '../src/wire/envelope.js'
import type { Standing } from '../src/wire/generated/election.js'
import { publicKeyFromPeerId, sha256, toHex, utf8 } from '../src/wire/ids.js'
import { LIMITS } from '../src/wire/limits.js'
import { kindId } from '../src/wire/messages.js'
import type { MessageKind, Messages } from '../src/wire/messages.js'
import { codeOf } from '../test/vectors/chain.js'

const NETWORK = 'vectors'
const hash = (name: string): Uint8Array => sha256(utf8(name))
const [ALICE, BOB, CAROL] = ['alice', 'bob', 'carol'].map((name) => createSigner(hash(name))) as [
  Signer,
  Signer,
  Signer,
]
const NOBODY = new Uint8Array(0)

function by<K extends MessageKind>(
  signers: readonly Signer[],
  kind: K,
  message: Messages[K],
): AnyOpened {
  const copies = signers.map((signer) => seal(NETWORK, kind, message, signer))
  return joinSignatures(copies) as AnyOpened
}

const STANDING: Standing = {
  reliabilityPpm: 100_000,
  availabilityPpm: 500_000,
  speedPpm: 1_000_000,
  established: false,
  excluded: false,
  addressPrefix: '',
}

/** One message of every kind; `twist` goes into what an author may not change. */
function messageOf(kind: MessageKind, twist: string, signers: readonly Signer[]): AnyOpened {
  const bytes = hash(twist)
  const previous = hash('previous')
  const taskId = hash('task')
  const jobId = hash('job')
  switch (kind) {
    case 'capability':
      return by(signers, kind, {
        sequence: 1,
        issuedMs: 1,
        vrfKey: bytes,
        operator: bytes,
        role: 'peer',
        agent: 'ctd',
        hardwareClass: 'cpu',
        cpuModel: 'x',
        cpuCores: 1,
        cpuFlopsMega: 1,
        memoryBytesPerSecond: 1,
        diskBytesPerSecond: 1,
        ramMib: 1,
        diskFreeMib: 1,
        gpus: [],
        isolation: [],
        seats: 1,
      })
    case 'manifest':
      return by(signers, kind, {
        version: 1,
        jobKind: 'run',
        name: twist,
        spec: NOBODY,
        planSeed: bytes,
        inputs: [],
        compare: 'exact',
        replicas: 2,
        auditPpm: 0,
        createdMs: 1,
        publisher: bytes,
        publisherSignature: new Uint8Array(64),
        operator: bytes,
      })
    case 'jobEnd':
      return by(signers, kind, { jobId, status: 'failed', code: twist, reason: '', result: NOBODY })
    case 'offer':
      return by(signers, kind, {
        jobId,
        batch: 0,
        attempt: 1,
        slots: 1,
        replicas: 2,
        requirements: { memoryMib: 1, diskMib: 1, gpus: 0, vramMib: 0, isolation: 'runc' },
        bidWindowMs: 1,
        openWindowMs: 1,
        auditPpm: 0,
        stewards: [bytes],
        diversity: 'operator',
        stewardVrfKeys: [bytes],
        epoch: 0,
        beacon: NOBODY,
        small: false,
      })
    case 'bid':
      return by(signers, kind, {
        offer: hash('offer'),
        capacity: 1,
        vrfKey: bytes,
        operator: bytes,
        hardwareClass: 'cpu',
        flopsMega: 1,
      })
    case 'decline':
      return by(signers, kind, { offer: hash('offer'), code: 'BUSY', reason: twist })
    case 'freezeBids':
      return by(signers, kind, {
        offer: hash('offer'),
        bids: [],
        standings: [],
        receiptRoot: bytes,
        frozenMs: 1,
        view: 0,
      })
    case 'vrfOpen':
      return by(signers, kind, {
        frozenBids: hash('bids'),
        proof: Buffer.concat([bytes, bytes, bytes]).subarray(0, 80),
      })
    case 'freezeOpenings':
      return by(signers, kind, { frozenBids: hash('bids'), openings: [bytes], view: 0 })
    case 'task':
      return by(signers, kind, {
        previous,
        jobId,
        batch: 0,
        slot: 0,
        attempt: 1,
        seats: 2,
        inputs: [{ name: 'x', digest: bytes, sizeBytes: 1, folder: false }],
        providers: [],
        calledMs: 1,
        view: 0,
        round: new Uint8Array(0),
      })
    case 'heartbeat':
      return by(signers, kind, { taskId, phase: 'running', step: 1, total: 2, note: twist })
    case 'failure':
      return by(signers, kind, { taskId, code: 'BUSY', reason: twist })
    case 'commitment':
      return by(signers, kind, { taskId, attempt: 1, commitment: bytes })
    case 'freezeCommitments': {
      const proof = Buffer.concat([bytes, bytes, bytes]).subarray(0, 80)
      return by(signers, kind, { previous, commitments: [bytes], vrfProofs: [proof], view: 0 })
    }
    case 'reveal':
      return by(signers, kind, {
        taskId,
        attempt: 1,
        outputRoot: bytes,
        metrics: NOBODY,
        salt: bytes,
        durationMs: 1,
        listing: NOBODY,
        updateRoot: NOBODY,
      })
    case 'freezeReveals':
      return by(signers, kind, { previous, reveals: [bytes], sketches: [], view: 0 })
    case 'sketchCommitment':
      return by(signers, kind, { taskId, frozen: previous, commitment: bytes })
    case 'freezeSketches':
      return by(signers, kind, { previous, commitments: [bytes], view: 0 })
    case 'sketch':
      return by(signers, kind, {
        taskId,
        frozen: previous,
        rest: bytes,
        elements: 0,
        exponent: 0,
        step: 0,
        normSquared: NOBODY,
        root: bytes,
        shift: 0,
        buckets: new Uint8Array(LIMITS.sketchBytes),
        openings: [],
        salt: bytes,
      })
    case 'receipt':
      return by(signers, kind, {
        previous,
        jobId,
        batch: 0,
        slot: 0,
        taskId,
        verdict: 'rejected',
        outputRoot: NOBODY,
        executors: [],
        young: true,
        closedMs: 1,
        reason: twist,
        view: 0,
      })
    case 'acknowledgement':
      return acknowledgement({ message: bytes })
  }
}

/** Alice's word that she holds a bid of Carol. */
function acknowledgement(changes: Partial<Messages['acknowledgement']>, signer = ALICE): AnyOpened {
  return by([signer], 'acknowledgement', {
    offer: hash('offer'),
    message: hash('bid'),
    receivedMs: 1,
    kind: kindId('bid'),
    author: publicKeyFromPeerId(CAROL.peerId),
    stage: hash('offer'),
    attempt: 0,
    view: 0,
    ...changes,
  })
}

function draft(twist: string, signers: readonly Signer[]): AnyOpened {
  const message = { previous: hash('previous'), commitments: [hash(twist)], vrfProofs: [], view: 0 }
  return by(signers, 'freezeCommitments', message)
}

function frozenBids(bidders: readonly Signer[], signers: readonly Signer[]): AnyOpened {
  const bids = bidders.map((bidder) => messageOf('bid', 'a', [bidder]).bytes)
  return by(signers, 'freezeBids', {
    offer: hash('offer'),
    bids,
    standings: bids.map(() => STANDING),
    receiptRoot: hash('receipts'),
    frozenMs: 1,
    view: 0,
  })
}

const KEYED: readonly MessageKind[] = [
  'jobEnd',
  'offer',
  'bid',
  'decline',
  'freezeBids',
  'vrfOpen',
  'freezeOpenings',
  'task',
  'commitment',
  'freezeCommitments',
  'reveal',
  'freezeReveals',
  'sketchCommitment',
  'freezeSketches',
  'sketch',
  'receipt',
]
const UNKEYED: readonly MessageKind[] = [
  'capability',
  'manifest',
  'heartbeat',
  'failure',
  'acknowledgement',
]

function faultVectors(): object {
  const keys = [...KEYED, ...UNKEYED]
    .map((kind) => ({ name: kind as string, opened: messageOf(kind, 'a', [ALICE]) }))
    .concat([{ name: 'draft of freezeCommitments', opened: draft('a', [ALICE]) }])
    .map(({ name, opened }) => ({
      name,
      envelope: toHex(opened.bytes),
      slotKey: slotKeyOf(opened) ?? null,
    }))
  const valid = [
    ...KEYED.map((kind) => ({
      name: `two of ${kind}`,
      pair: [messageOf(kind, 'a', [ALICE]), messageOf(kind, 'b', [ALICE])],
    })),
    {
      name: 'a bid and a decline',
      pair: [messageOf('bid', 'a', [ALICE]), messageOf('decline', 'a', [ALICE])],
    },
    { name: 'two drafts', pair: [draft('a', [ALICE]), draft('b', [ALICE])] },
    {
      name: 'two certificates with one signer in common',
      pair: [
        messageOf('freezeReveals', 'a', [ALICE, BOB]),
        messageOf('freezeReveals', 'b', [BOB, CAROL]),
      ],
    },
    {
      name: 'two certificates with two signers in common',
      pair: [
        messageOf('receipt', 'a', [ALICE, BOB]),
        messageOf('receipt', 'b', [ALICE, BOB, CAROL]),
      ],
    },
    {
      name: 'a bid acknowledged and left out',
      pair: [acknowledgement({}), frozenBids([BOB], [ALICE, BOB])],
    },
  ].map(({ name, pair: [one, other] }) => {
    const fault = sealFault(one as AnyOpened, other as AnyOpened)
    const { kind, accused } = openFault(NETWORK, fault)
    return { name, kind, accused, first: toHex(fault.first), second: toHex(fault.second) }
  })
  return {
    about:
      'slotKeys: the key of each kind as text, of which only equality matters. A fault accuses ' +
      'whoever signed both of its messages, the one with the lower id first',
    network: NETWORK,
    slotKeys: keys,
    valid,
    invalid: invalidFaults(),
  }
}

function invalidFaults(): object[] {
  const [a, b] = [messageOf('commitment', 'a', [ALICE]), messageOf('commitment', 'b', [ALICE])]
  const sound = sealFault(a, b)
  const at = (view: number): AnyOpened =>
    by([ALICE], 'freezeReveals', { previous: hash('previous'), reveals: [], sketches: [], view })
  const altered = Uint8Array.from(sound.second)
  altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1
  const cases = [
    { name: 'in the other order', fault: { first: sound.second, second: sound.first } },
    { name: 'the same message twice', fault: { first: sound.first, second: sound.first } },
    { name: 'an altered signature', fault: { first: sound.first, second: altered } },
    {
      name: 'one message by two authors',
      fault: sealFault(messageOf('commitment', 'a', [ALICE]), messageOf('commitment', 'b', [BOB])),
    },
    {
      name: 'messages of two tasks',
      fault: sealFault(
        a,
        by([ALICE], 'commitment', { taskId: hash('other'), attempt: 1, commitment: hash('b') }),
      ),
    },
    {
      name: 'messages of two attempts',
      fault: sealFault(
        a,
        by([ALICE], 'commitment', { taskId: hash('task'), attempt: 2, commitment: hash('b') }),
      ),
    },
    { name: 'certificates of two views', fault: sealFault(at(0), at(1)) },
    {
      name: 'certificates with no signer in common',
      fault: sealFault(
        messageOf('freezeReveals', 'a', [ALICE]),
        messageOf('freezeReveals', 'b', [BOB]),
      ),
    },
    {
      name: 'a draft and its certificate',
      fault: sealFault(draft('a', [ALICE]), messageOf('freezeCommitments', 'a', [ALICE])),
    },
    {
      name: 'a commitment and its reveal',
      fault: sealFault(a, messageOf('reveal', 'a', [ALICE])),
    },
    ...UNKEYED.map((kind) => ({
      name: `two of ${kind}`,
      fault: sealFault(messageOf(kind, 'a', [ALICE]), messageOf(kind, 'b', [ALICE])),
    })),
    {
      name: 'a bid acknowledged and there',
      fault: sealFault(acknowledgement({}), frozenBids([CAROL], [ALICE])),
    },
    {
      name: 'a bid acknowledged by one who did not sign',
      fault: sealFault(acknowledgement({}), frozenBids([], [BOB])),
    },
    {
      name: 'a bid acknowledged for another offer',
      fault: sealFault(acknowledgement({ stage: hash('another') }), frozenBids([], [ALICE])),
    },
  ]
  return cases.map(({ name, fault }) => ({
    name,
    first: toHex(fault.first),
    second: toHex(fault.second),
    code: codeOf(() => openFault(NETWORK, fault)),
  }))
}

await writeFile(
  new URL('../test/vectors/fault.json', import.meta.url),
  `${JSON.stringify(faultVectors(), null, 1)}\n`,
)
