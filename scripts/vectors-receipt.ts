/**
 * Writes the JSON vectors of receipts to test/vectors/receipt.json: whole chains of a slot, from the
 * manifest to the receipt, that hold or are refused: `node --import tsx scripts/vectors-receipt.ts`.
 */
import { writeFile } from 'node:fs/promises'
import { commitmentsAlpha, openFrozen } from '../src/protocol/ballot.js'
import { verifySlot } from '../src/protocol/slot-chain.js'
import type { VerifiedSlot } from '../src/protocol/slot-chain.js'
import { vrfProve } from '../src/protocol/vrf.js'
import { seal } from '../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../src/wire/envelope.js'
import type { Standing } from '../src/wire/generated/election.js'
import { fromHex, publicKeyFromPeerId, sha256, toHex, utf8 } from '../src/wire/ids.js'
import type { Messages } from '../src/wire/messages.js'
import { codeOf, tellSlot, verifyMessages } from '../test/vectors/chain.js'
import { honest, NETWORK, Rig, RUN_SPEC } from '../test/unit/rig.js'
import type { RigOptions } from '../test/unit/rig.js'

/** Every envelope that a case names, by its id; the id says nothing about who signed. */
const messages = new Map<string, string>()

function named(chain: readonly AnyOpened[]): string[] {
  return chain.map(({ id, bytes }) => {
    const envelope = toHex(bytes)
    const isOther = (messages.get(id) ?? envelope) !== envelope
    const name = isOther ? `${id} signed by another` : id
    messages.set(name, envelope)
    return name
  })
}

/** The first job of a name whose first wanted slot ends so; keys differ from try to try. */
function story(
  name: string,
  options: Omit<RigOptions, 'spec' | 'keys'>,
  isWanted: (slot: VerifiedSlot, receipt: Opened<'receipt'>) => boolean,
): { readonly rig: Rig; readonly slot: VerifiedSlot } {
  for (let i = 0; i < 100; i++) {
    const rig = new Rig({ spec: RUN_SPEC, keys: `${name} ${i}`, ...options }).run()
    const source = {
      network: NETWORK,
      manifest: rig.manifest,
      get: (id: string) => rig.record.get(id),
      elections: new Map(),
      proofs: 'trust' as const,
    }
    for (const receipt of rig.record.ofKind('receipt')) {
      const slot = verifySlot(source, receipt)
      if (isWanted(slot, receipt)) return { rig, slot }
    }
  }
  throw new Error(`no story ends so: ${name}`)
}

const MATURE = {
  standing: (): Partial<Standing> => ({ established: true, reliabilityPpm: 930_000 }),
}
const has = (outcome: string) => (_: VerifiedSlot, receipt: Opened<'receipt'>) =>
  receipt.message.executors.some((executor) => executor.outcome === outcome)
const links = (slot: VerifiedSlot, kind: string): number =>
  slot.messages.filter((message) => message.kind === kind).length

const young = story('young', { behaviours: honest(3) }, (slot) => slot.accepted)
const hidden = story(
  'hidden',
  { behaviours: honest(5), ...MATURE, auditPpm: 1_000_000 },
  (slot) => links(slot, 'freezeCommitments') === 2,
)
const escalated = story(
  'escalated',
  { behaviours: ['liar', ...honest(5)], ...MATURE },
  (slot, receipt) => slot.accepted && has('dissented')(slot, receipt),
)

function validVectors(): object[] {
  const all: Array<readonly [name: string, slot: VerifiedSlot]> = [
    ['accepted in a young network', young.slot],
    [
      'accepted in a mature network',
      story('mature', { behaviours: honest(5), ...MATURE }, (slot) => slot.accepted).slot,
    ],
    ['accepted with a hidden replica', hidden.slot],
    ['accepted after an escalation, the liar struck', escalated.slot],
    [
      'accepted by four, two liars spared in a young network',
      story(
        'spared',
        { behaviours: ['liar', 'liar', ...honest(5)], replicas: 4 },
        (slot, receipt) =>
          slot.accepted && slot.dissented.length === 2 && has('spared')(slot, receipt),
      ).slot,
    ],
    [
      'accepted, one executor timed out before it committed',
      story('silent', { behaviours: ['silent', ...honest(4)] }, has('timed-out')).slot,
    ],
    [
      'accepted, one executor failed by itself',
      story('failed', { behaviours: [{ fails: 'CONTAINER_FAILED' }, ...honest(4)] }, has('failed'))
        .slot,
    ],
    [
      'accepted, one executor withheld its reveal',
      story('withheld', { behaviours: ['withholds', ...honest(4)] }, has('withheld')).slot,
    ],
    [
      'accepted, one executor revealed something else',
      story('mismatch', { behaviours: ['mismatch', ...honest(4)] }, has('withheld')).slot,
    ],
    [
      'accepted, the listing too long for the reveals',
      story('listing', { behaviours: honest(3), extraFiles: 40 }, (slot) => slot.accepted).slot,
    ],
    [
      'rejected, all results differ',
      story(
        'random',
        { behaviours: honest(5).map(() => 'random') },
        (slot) => !slot.accepted && links(slot, 'freezeReveals') > 0,
      ).slot,
    ],
    [
      'rejected, the program fails alike',
      story(
        'fails',
        { behaviours: honest(3).map(() => ({ fails: 'CONTAINER_FAILED' })) },
        (slot) => !slot.accepted,
      ).slot,
    ],
    [
      'rejected, all executors timed out',
      story('gone', { behaviours: honest(3).map(() => 'silent') }, (slot) => !slot.accepted).slot,
    ],
  ]
  const chains = all.map(([name, slot]) => [name, slot.messages] as const)
  const more = [
    ['accepted, one bidder did not open', unopened()],
    ['accepted, one executor outrun by a standby', outrun()],
  ] as const
  return [...chains, ...more].map(([name, opened]) => {
    const chain = named(opened)
    const envelopes = chain.map((id) => messages.get(id) ?? '')
    return { name, chain, expected: tellSlot(verifyMessages(NETWORK, envelopes)) }
  })
}

/** No chain tells whether the standby was called for a slow executor or a lost one. */
function outrun(): readonly AnyOpened[] {
  const told = story('outrun', { behaviours: ['silent', ...honest(4)] }, has('timed-out'))
  return forged(told, {
    receipt: (message) => ({
      ...message,
      executors: message.executors.map((executor) =>
        executor.outcome === 'timed-out' ? { ...executor, outcome: 'outrun' } : executor,
      ),
    }),
  })
}

/** Of three bidders the one that was not called does not open; the other two run the task. */
function unopened(): readonly AnyOpened[] {
  for (let i = 0; i < 100; i++) {
    const told = story(`unopened ${i}`, { behaviours: honest(3) }, (slot) => slot.accepted)
    const chain = forged(told, {
      freezeOpenings: (message) => ({
        ...message,
        openings: openFrozen(NETWORK, 'vrfOpen', message.openings)
          .filter(({ author }) => told.slot.agreed.includes(author))
          .map(({ bytes }) => bytes),
      }),
    })
    // Another seed, another race: the two may come in the other order.
    const envelopes = chain.map(({ bytes }) => toHex(bytes))
    if (codeOf(() => verifyMessages(NETWORK, envelopes)) === 'OK') return chain
  }
  throw new Error('nobody could be left out')
}

type Link =
  | 'offer'
  | 'freezeBids'
  | 'freezeOpenings'
  | 'task'
  | 'freezeCommitments'
  | 'freezeReveals'
  | 'receipt'
type Changes = {
  readonly [K in Link]?: (message: Messages[K], nth: number) => Messages[K]
}

/** Signs a chain again, each message upon what the one before became, without those left out. */
function forged(
  { rig, slot }: { readonly rig: Rig; readonly slot: VerifiedSlot },
  changes: Changes,
  options: {
    readonly leaveOut?: (opened: AnyOpened, nth: number) => boolean
    readonly signer?: Signer
  } = {},
): AnyOpened[] {
  const chain: AnyOpened[] = [rig.manifest]
  const counts = new Map<string, number>()
  let isChanged = false
  for (const opened of slot.messages.slice(1)) {
    const nth = counts.get(opened.kind) ?? 0
    counts.set(opened.kind, nth + 1)
    if (options.leaveOut?.(opened, nth) === true) {
      isChanged = true
      continue
    }
    isChanged ||=
      opened.kind in changes || (opened.kind === 'receipt' && options.signer !== undefined)
    chain.push(
      isChanged ? resealed(rig, changes, opened, chain.at(-1), nth, options.signer) : opened,
    )
  }
  return chain
}

function resealed(
  rig: Rig,
  changes: Changes,
  opened: AnyOpened,
  before: AnyOpened | undefined,
  nth: number,
  signer: Signer | undefined,
): AnyOpened {
  const link = fromHex(before?.id ?? '')
  const { requester } = rig
  switch (opened.kind) {
    case 'offer':
      return sealedAs('offer', opened.message)
    case 'freezeBids':
      return sealedAs('freezeBids', { ...opened.message, offer: link })
    case 'freezeOpenings':
      return sealedAs('freezeOpenings', { ...opened.message, frozenBids: link })
    case 'task':
      return sealedAs('task', { ...opened.message, previous: link })
    case 'freezeCommitments': {
      const changed = changedBy('freezeCommitments', { ...opened.message, previous: link })
      const alpha = commitmentsAlpha(changed.previous, changed.commitments)
      const isOwnProof = changed.vrfProofs !== opened.message.vrfProofs
      const vrfProofs = isOwnProof ? changed.vrfProofs : [vrfProve(rig.context.vrfSecret, alpha)]
      return seal(NETWORK, 'freezeCommitments', { ...changed, vrfProofs }, requester)
    }
    case 'freezeReveals':
      return sealedAs('freezeReveals', { ...opened.message, previous: link })
    case 'receipt': {
      const changed = changedBy('receipt', { ...opened.message, previous: link })
      return seal(NETWORK, 'receipt', changed, signer ?? requester)
    }
    default:
      throw new Error(`no link of a chain: ${opened.kind}`)
  }

  function changedBy<K extends Link>(kind: K, message: Messages[K]): Messages[K] {
    const change = changes[kind] as ((message: Messages[K], nth: number) => Messages[K]) | undefined
    return change?.(message, nth) ?? message
  }
  function sealedAs<K extends Link>(kind: K, message: Messages[K]): AnyOpened {
    return seal(NETWORK, kind, changedBy(kind, message), requester) as AnyOpened
  }
}

/** What stewards could write instead, by the rule of section 10 that it breaks. */
function forgeries(): Array<readonly [name: string, chain: readonly AnyOpened[]]> {
  const { rig, slot } = young
  const input = { name: 'x', digest: new Uint8Array(32), sizeBytes: 1, folder: false }
  const outsider = rig.executor(0).signer
  const executors = (change: (all: Executors) => Executors): AnyOpened[] =>
    forged(young, { receipt: (message) => ({ ...message, executors: change(message.executors) }) })
  const receipt = (change: Partial<Messages['receipt']>): AnyOpened[] =>
    forged(young, { receipt: (message) => ({ ...message, ...change }) })
  const task = (change: Partial<Messages['task']>): AnyOpened[] =>
    forged(young, { task: (message) => ({ ...message, ...change }) })
  const key = publicKeyFromPeerId(rig.requester.peerId)
  const stranger = { peer: key, operator: key, outcome: 'timed-out', durationMs: 0, root: sha256() }
  return [
    ['a receipt signed by an executor', forged(young, {}, { signer: outsider })],
    [
      'the frozen reveals are missing',
      slot.messages.filter(({ kind }) => kind !== 'freezeReveals'),
    ],
    ['the offer is missing', slot.messages.filter(({ kind }) => kind !== 'offer')],
    [
      'another number of replicas than in the manifest',
      forged(young, { offer: (m) => ({ ...m, replicas: 3 }) }),
    ],
    [
      'another audit probability than in the manifest',
      forged(young, { offer: (m) => ({ ...m, auditPpm: 1 }) }),
    ],
    ['bids for another offer', forged(young, { offer: (m) => ({ ...m, bidWindowMs: 1 }) })],
    [
      'a frozen bid dropped',
      forged(young, {
        freezeBids: (m) => ({ ...m, bids: m.bids.slice(1), standings: m.standings.slice(1) }),
      }),
    ],
    ['a task with other inputs', task({ inputs: [input] })],
    ['a task of another attempt', task({ attempt: 2 })],
    ['a task of another batch', task({ batch: 1 })],
    ['more seats than the ranking has', task({ seats: 4 })],
    ['a task that calls nobody new', forged(hidden, { task: (m) => ({ ...m, seats: 2 }) })],
    [
      'more commitments than due: the steward called three for two',
      forged(
        hidden,
        {},
        { leaveOut: ({ kind }, nth) => kind === 'freezeCommitments' && nth === 0 },
      ),
    ],
    [
      'a commitment dropped after the first freeze',
      forged(hidden, {
        freezeCommitments: (m, nth) =>
          nth === 1 ? { ...m, commitments: m.commitments.slice(1) } : m,
      }),
    ],
    ['a commitment exchanged after the first freeze', exchanged()],
    [
      'one commitment alone',
      forged(young, { freezeCommitments: (m) => ({ ...m, commitments: m.commitments.slice(1) }) }),
    ],
    [
      'commitments in another order',
      forged(young, {
        freezeCommitments: (m) => ({ ...m, commitments: m.commitments.toReversed() }),
      }),
    ],
    [
      'a made-up proof of the draw',
      forged(young, {
        freezeCommitments: (m) => ({
          ...m,
          vrfProofs: [vrfProve(rig.context.vrfSecret, sha256(utf8('another set')))],
        }),
      }),
    ],
    [
      'a proof of the draw left out',
      forged(young, { freezeCommitments: (m) => ({ ...m, vrfProofs: [] }) }),
    ],
    ['the hidden replica skipped', skipped()],
    [
      'a replica added that was not drawn',
      forged(escalated, {}, { leaveOut: ({ kind }, nth) => kind === 'freezeReveals' && nth === 0 }),
    ],
    ['a replica added though the verdict was clear', added()],
    [
      'a reveal that does not open its commitment',
      forged(young, {
        freezeReveals: (m) => ({ ...m, reveals: otherReveals(rig, m.reveals) }),
      }),
    ],
    [
      'a reveal dropped',
      forged(young, { freezeReveals: (m) => ({ ...m, reveals: m.reveals.slice(1) }) }),
    ],
    ['a receipt without a task', forged(young, {}, { leaveOut: isAfterElection })],
    [
      'accepted without reveals',
      forged(young, {}, { leaveOut: ({ kind }) => kind === 'freezeReveals' }),
    ],
    ['another verdict', receipt({ verdict: 'rejected' })],
    ['another age of the network', receipt({ young: false })],
    ['another output', receipt({ outputRoot: new Uint8Array(32) })],
    ['another slot', receipt({ slot: 1 })],
    ['another task', receipt({ taskId: new Uint8Array(32) })],
    ['an executor that nobody called', executors((all) => [...all, stranger])],
    ['an executor left out', executors((all) => all.slice(1))],
    ['executors in another order', executors((all) => all.toReversed())],
    ['an executor twice', executors((all) => [...all.slice(0, 1), ...all])],
    ['another duration', executors((all) => all.map((each) => ({ ...each, durationMs: 1 })))],
    ['another operator', executors((all) => all.map((each) => ({ ...each, operator: key })))],
    [
      'agreement told as dissent',
      executors((all) => all.map((each) => ({ ...each, outcome: 'dissented' }))),
    ],
    [
      'agreement told as failure',
      executors((all) => all.map((each) => ({ ...each, outcome: 'failed' }))),
    ],
    [
      'another outcome told of an executor',
      executors((all) => all.map((each) => ({ ...each, root: new Uint8Array(32) }))),
    ],
  ]
}
type Executors = Messages['receipt']['executors']

function isAfterElection({ kind }: AnyOpened): boolean {
  return kind === 'task' || kind === 'freezeCommitments' || kind === 'freezeReveals'
}

function exchanged(): AnyOpened[] {
  const author = hidden.rig.executors.find(({ peerId }) => hidden.slot.agreed.includes(peerId))
  if (author === undefined) throw new Error('nobody agreed')
  const message = {
    taskId: fromHex(hidden.slot.taskId),
    attempt: hidden.slot.attempt,
    commitment: new Uint8Array(32),
  }
  const other = seal(NETWORK, 'commitment', message, author.signer)
  return forged(hidden, {
    freezeCommitments: (m, nth) => ({
      ...m,
      commitments: openFrozen(NETWORK, 'commitment', m.commitments).map(({ author: by, bytes }) =>
        nth === 1 && by === other.author ? other.bytes : bytes,
      ),
    }),
  })
}

/** The reveals follow the first freeze at once, though that draws a hidden replica. */
function skipped(): AnyOpened[] {
  const first = hidden.slot.messages.find(({ kind }) => kind === 'freezeCommitments')
  if (first?.kind !== 'freezeCommitments') throw new Error('nothing was frozen')
  const early = new Set(
    openFrozen(NETWORK, 'commitment', first.message.commitments).map(({ author }) => author),
  )
  return forged(
    hidden,
    {
      freezeReveals: (m) => ({
        ...m,
        reveals: openFrozen(NETWORK, 'reveal', m.reveals)
          .filter(({ author }) => early.has(author))
          .map(({ bytes }) => bytes),
      }),
    },
    { leaveOut: ({ kind }, nth) => nth === 1 && (kind === 'task' || kind === 'freezeCommitments') },
  )
}

/** One more is called after two agreed. */
function added(): AnyOpened[] {
  const { rig, slot } = young
  const chain = [...slot.messages]
  const receipt = chain.pop()
  const task = chain.find(({ kind }) => kind === 'task')
  if (receipt?.kind !== 'receipt' || task?.kind !== 'task') throw new Error('no chain')
  const previous = fromHex(chain.at(-1)?.id ?? '')
  const more = seal(NETWORK, 'task', { ...task.message, previous, seats: 3 }, rig.requester)
  const last = { ...receipt.message, previous: fromHex(more.id) }
  return [...chain, more as AnyOpened, seal(NETWORK, 'receipt', last, rig.requester) as AnyOpened]
}

function otherReveals(rig: Rig, reveals: readonly Uint8Array[]): Uint8Array[] {
  return openFrozen(NETWORK, 'reveal', reveals).map(({ author, message }) => {
    const executor = rig.executors.find(({ peerId }) => peerId === author)
    if (executor === undefined) throw new Error('a reveal of nobody')
    const other = { ...message, salt: new Uint8Array(32) }
    return seal(NETWORK, 'reveal', other, executor.signer).bytes
  })
}

function invalidVectors(): object[] {
  return forgeries().map(([name, opened]) => {
    const chain = named(opened)
    const envelopes = chain.map((id) => messages.get(id) ?? '')
    return { name, chain, code: codeOf(() => verifyMessages(NETWORK, envelopes)) }
  })
}

const valid = validVectors()
const invalid = invalidVectors()
const VECTORS = {
  about:
    'chains name messages by id, the manifest first and the receipt last; they are verified with ' +
    'all VRF proofs, and invalid ones are refused with the code',
  network: NETWORK,
  valid,
  invalid,
  messages: Object.fromEntries(messages),
}
await writeFile(
  new URL('../test/vectors/receipt.json', import.meta.url),
  `${JSON.stringify(VECTORS, null, 1)}\n`,
)
