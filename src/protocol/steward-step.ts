/**
 * How the stewards of one offer agree on one certificate: collect messages, acknowledge them,
 * propose, sign, merge, and change the view when nothing comes of it. Every certificate of an
 * offer is one such stage.
 *
 * `stepSteward` owns the state it is given and changes it in place; it knows no clock and no
 * keys. Messages are names here: whoever runs it has checked their signatures, and that a proposal
 * is sound apart from what it may have left out. Effects are executed in order, and a `persist`
 * is on disk before the next one begins.
 */
import type { PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { compareText } from './integer.js'
import { faultsBorne, isQuorum, membersAt } from './quorum.js'

/** A collected message. A certificate holds one of each author. */
export interface Entry {
  /** Message id. */
  readonly id: string
  readonly author: PeerId
}

/** A certificate in the making: a payload, and who has signed it so far. */
export interface Proposal {
  readonly view: number
  /** Id of the certificate; it names the payload. */
  readonly digest: string
  readonly entries: readonly Entry[]
  readonly signers: readonly PeerId[]
}

export interface StageContext {
  readonly self: PeerId
  /** The offer's stewards in the order of their ranking. */
  readonly candidates: readonly PeerId[]
  /** How many entries the certificate takes at most. */
  readonly room: number
  /** How many messages are held at most; of more than fit, the payload's maker chooses. */
  readonly heldMax: number
  /** How long acknowledgements of others are awaited after the own deadline. */
  readonly settleMs: number
  /** How long view 0 may take; view v takes v + 1 times as long. */
  readonly viewMs: number
}

export interface StewardState {
  phase: 'collecting' | 'agreeing' | 'certified' | 'stalled'
  view: number
  /** Whether what this steward has acknowledged is final. */
  isSettled: boolean
  /** The last view in which acknowledgements were awaited long enough. */
  settledView: number
  /** What an own proposal would hold, by author. */
  readonly held: Map<PeerId, Entry>
  /** What this steward has put its name to, by author. */
  readonly acknowledged: Map<PeerId, Entry>
  /** What this steward has signed, by view. */
  readonly votes: Map<number, Proposal>
  /** The furthest view that each steward is known to have entered. */
  readonly words: Map<PeerId, number>
  readonly proposals: Map<number, Map<string, Proposal>>
  readonly faulty: Set<PeerId>
  composing: number | undefined
  certificate: Proposal | undefined
}

/** What is on disk; a state is rebuilt from the records in their order. */
export type StageRecord =
  | { readonly kind: 'acknowledged'; readonly entry: Entry }
  | { readonly kind: 'view'; readonly view: number }
  | { readonly kind: 'vote'; readonly proposal: Proposal }
  | { readonly kind: 'certificate'; readonly proposal: Proposal }

export type StageEvent =
  /** A message came from its author. */
  | { readonly type: 'message'; readonly entry: Entry }
  /** Another steward acknowledged a message, and sent it along. */
  | { readonly type: 'acknowledged'; readonly steward: PeerId; readonly entry: Entry }
  /** Another steward said in which view it is, after all its acknowledgements. */
  | { readonly type: 'word'; readonly steward: PeerId; readonly view: number }
  /** The window for messages is over, or everybody who was asked has answered. */
  | { readonly type: 'deadline' }
  | { readonly type: 'settled'; readonly view: number }
  | { readonly type: 'timeout'; readonly view: number }
  /** The payload that a `compose` asked for; nobody has signed it yet. */
  | { readonly type: 'composed'; readonly proposal: Proposal }
  | { readonly type: 'proposal'; readonly from: PeerId; readonly proposal: Proposal }
  /** Messages get lost: from time to time, until the certificate is known to be everywhere. */
  | { readonly type: 'resend' }
  | { readonly type: 'restarted' }

export type StageEffect =
  | { readonly type: 'persist'; readonly record: StageRecord }
  /** To the author and all candidates, the message with it. */
  | { readonly type: 'acknowledge'; readonly entry: Entry }
  /** To all candidates: all own acknowledgements with their messages, then the view. */
  | { readonly type: 'tell'; readonly view: number; readonly entries: readonly Entry[] }
  /** Make the payload of a certificate, with these or the best of them; answer with `composed`. */
  | { readonly type: 'compose'; readonly view: number; readonly entries: readonly Entry[] }
  /** To all candidates, or only to one that seems to lack it. The own signature is among them. */
  | { readonly type: 'publish'; readonly proposal: Proposal; readonly to?: PeerId }
  | {
      readonly type: 'timer'
      readonly name: 'settled' | 'timeout'
      readonly view: number
      readonly ms: number
    }
  /** Anew where a certificate turns out to come before the one known so far. */
  | { readonly type: 'certified'; readonly certificate: Proposal }
  /** A steward signed both in one view: with the two envelopes a proof (`fault.ts`). */
  | {
      readonly type: 'equivocated'
      readonly steward: PeerId
      readonly first: Proposal
      readonly second: Proposal
    }
  /** No view is left; the requester may offer anew. */
  | { readonly type: 'stalled' }

/** Payloads of one view that a steward remembers; an honest view has one. */
const PROPOSALS_PER_VIEW = 8
/** Own signatures that are sent again, those of the highest views. */
const VOTES_RESENT = 7

export function createStage(): StewardState {
  return {
    phase: 'collecting',
    view: 0,
    isSettled: false,
    settledView: -1,
    held: new Map(),
    acknowledged: new Map(),
    votes: new Map(),
    words: new Map(),
    proposals: new Map(),
    faulty: new Set(),
    composing: undefined,
    certificate: undefined,
  }
}

/**
 * A state from what is on disk; go on with `restarted`. Whoever was down acknowledges nothing more
 * once its window was over: it cannot know for how long.
 */
export function restoreStage(context: StageContext, records: readonly StageRecord[]): StewardState {
  const state = createStage()
  for (const record of records) {
    if (record.kind === 'acknowledged') {
      state.held.set(record.entry.author, record.entry)
      state.acknowledged.set(record.entry.author, record.entry)
    } else if (record.kind === 'view') {
      if (state.phase === 'collecting') state.phase = 'agreeing'
      state.view = Math.max(state.view, record.view)
      state.isSettled = true
      state.words.set(context.self, state.view)
    } else if (record.kind === 'vote') {
      state.votes.set(record.proposal.view, record.proposal)
      state.isSettled = true
      const signed = remember(state, record.proposal)
      // Its own signature may have been the last that was missing.
      if (isFullIn(context, signed)) certify(state, signed)
    } else {
      certify(state, remember(state, record.proposal))
    }
  }
  return state
}

export function stepSteward(
  context: StageContext,
  state: StewardState,
  event: StageEvent,
): StageEffect[] {
  switch (event.type) {
    case 'message':
      return state.phase === 'collecting' ? acknowledge(context, state, event.entry) : []
    case 'acknowledged':
      return onAcknowledged(context, state, event)
    case 'word':
      return onWord(context, state, event)
    case 'deadline':
      return state.phase === 'collecting' ? enter(context, state, 0) : []
    case 'settled':
      if (event.view === 0) state.isSettled = true
      state.settledView = Math.max(state.settledView, event.view)
      return propose(context, state)
    case 'timeout':
      return state.phase === 'agreeing' && event.view === state.view
        ? enter(context, state, event.view + 1)
        : []
    case 'composed':
      return onComposed(context, state, event.proposal)
    case 'proposal':
      return onProposal(context, state, event)
    case 'resend':
    case 'restarted':
      return [...timers(context, state, event.type), ...again(context, state)]
  }
}

/** Whether one certificate comes before another: lower view, more signatures, lower hash. */
export function isBefore(a: Proposal, b: Proposal): boolean {
  if (a.view !== b.view) return a.view < b.view
  if (a.signers.length !== b.signers.length) return a.signers.length > b.signers.length
  return a.digest < b.digest
}

function members(context: StageContext, view: number): readonly PeerId[] {
  return membersAt(context.candidates, view)
}

function isFullIn(context: StageContext, proposal: Proposal): boolean {
  return isQuorum(proposal.signers.length, members(context, proposal.view).length)
}

function acknowledge(context: StageContext, state: StewardState, entry: Entry): StageEffect[] {
  if (state.acknowledged.has(entry.author) || state.acknowledged.size >= context.heldMax) return []
  if (!hold(context, state, entry)) return []
  state.acknowledged.set(entry.author, entry)
  return [
    { type: 'persist', record: { kind: 'acknowledged', entry } },
    { type: 'acknowledge', entry },
  ]
}

/** Of two messages of one author the first stays: the pair is its author's fault. */
function hold(context: StageContext, state: StewardState, entry: Entry): boolean {
  const known = state.held.get(entry.author)
  if (known !== undefined) return known.id === entry.id
  if (state.held.size >= context.heldMax) return false
  state.held.set(entry.author, entry)
  return true
}

/**
 * Until it has settled, a steward acknowledges what another did: so what one honest steward
 * acknowledged in time is soon acknowledged by all. Later it only keeps it for an own proposal:
 * what may not be left out must not grow while the others sign.
 */
function onAcknowledged(
  context: StageContext,
  state: StewardState,
  { steward, entry }: Extract<StageEvent, { type: 'acknowledged' }>,
): StageEffect[] {
  if (!context.candidates.includes(steward)) return []
  if (state.certificate !== undefined || state.phase === 'stalled') return []
  if (!state.isSettled) return acknowledge(context, state, entry)
  hold(context, state, entry)
  return []
}

function onWord(
  context: StageContext,
  state: StewardState,
  { steward, view }: Extract<StageEvent, { type: 'word' }>,
): StageEffect[] {
  if (!context.candidates.includes(steward) || view >= LIMITS.stewardViews) return []
  if (state.certificate !== undefined) {
    return [{ type: 'publish', proposal: state.certificate, to: steward }]
  }
  state.words.set(steward, Math.max(view, state.words.get(steward) ?? 0))
  if (state.phase !== 'agreeing') return []
  const further = furthest(context, state)
  return further > state.view ? enter(context, state, further) : propose(context, state)
}

/** The furthest view that at least one honest member of its set has entered. */
function furthest(context: StageContext, state: StewardState): number {
  let view = Math.max(...state.words.values())
  for (; view > state.view; view--) {
    const set = members(context, view)
    if (countIn(state, set, view) > faultsBorne(set.length)) break
  }
  return view
}

function countIn(state: StewardState, set: readonly PeerId[], view: number): number {
  return set.filter((peer) => (state.words.get(peer) ?? -1) >= view).length
}

function enter(context: StageContext, state: StewardState, view: number): StageEffect[] {
  if (view >= LIMITS.stewardViews) {
    state.phase = 'stalled'
    return [{ type: 'stalled' }]
  }
  state.phase = 'agreeing'
  state.view = view
  state.words.set(context.self, view)
  return [
    { type: 'persist', record: { kind: 'view', view } },
    { type: 'tell', view, entries: [...state.acknowledged.values()] },
    ...timers(context, state, 'entered'),
    ...sign(context, state),
    ...propose(context, state),
  ]
}

function timers(
  context: StageContext,
  { phase, view }: StewardState,
  why: 'entered' | 'restarted' | 'resend',
): StageEffect[] {
  if (phase !== 'agreeing' || why === 'resend') return []
  const { settleMs, viewMs } = context
  return [
    { type: 'timer', name: 'settled', view, ms: settleMs },
    { type: 'timer', name: 'timeout', view, ms: viewMs * (view + 1) },
  ]
}

/**
 * The leader proposes once it knows what the others acknowledged: all of its set have said so, or
 * a quorum have and the rest were given time. Without a quorum nothing could come of it.
 */
function propose(context: StageContext, state: StewardState): StageEffect[] {
  const { view } = state
  const set = members(context, view)
  const isMine = state.phase === 'agreeing' && set[0] === context.self && mayVote(state, view)
  if (!isMine || state.composing === view) return []
  const told = countIn(state, set, view)
  const isReady = told === set.length || (isQuorum(told, set.length) && state.settledView >= view)
  if (!isReady) return []
  state.composing = view
  return [{ type: 'compose', view, entries: entriesOf(state) }]
}

/** What is held, in the order of a certificate. */
function entriesOf(state: StewardState): Entry[] {
  return [...state.held.values()].sort((a, b) => compareText(a.author, b.author))
}

/**
 * One payload for each view, and views only upwards: what was signed higher is not undone by
 * helping a lower one to its quorum.
 */
function mayVote(state: StewardState, view: number): boolean {
  return view > Math.max(-1, ...state.votes.keys())
}

function onComposed(context: StageContext, state: StewardState, proposal: Proposal): StageEffect[] {
  const { view } = proposal
  if (state.phase !== 'agreeing' || view !== state.view || state.composing !== view) return []
  if (!mayVote(state, view) || members(context, view)[0] !== context.self) return []
  state.composing = undefined
  // Something was acknowledged while the payload was made.
  if (!covers(context, state, proposal)) return propose(context, state)
  return vote(context, state, proposal)
}

/**
 * Nothing that this steward acknowledged may be missing while there is room for it. Whether a full
 * set is the right choice of more is part of being sound.
 */
function covers(context: StageContext, state: StewardState, proposal: Proposal): boolean {
  if (proposal.entries.length >= context.room) return true
  const authors = new Set(proposal.entries.map(({ author }) => author))
  return [...state.acknowledged.keys()].every((author) => authors.has(author))
}

function onProposal(
  context: StageContext,
  state: StewardState,
  { from, proposal }: Extract<StageEvent, { type: 'proposal' }>,
): StageEffect[] {
  if (!isPlausible(context, proposal)) return []
  const isNew = state.certificate === undefined
  const merged = remember(state, proposal)
  const effects = accuse(state, merged)
  if (isFullIn(context, merged)) return [...effects, ...certify(state, merged)]
  if (isNew) return [...effects, ...sign(context, state)]
  // Whoever still gathers signatures does not know that it is done.
  const { certificate } = state
  const isDone = certificate === undefined || isBefore(merged, certificate)
  return isDone ? effects : [...effects, { type: 'publish', proposal: certificate, to: from }]
}

/** Signed by its leader, or by so many that this no longer matters, and by no stranger. */
function isPlausible(context: StageContext, proposal: Proposal): boolean {
  const { view, signers, entries } = proposal
  if (view >= LIMITS.stewardViews || entries.length > context.room) return false
  const set = members(context, view)
  const leader = set[0]
  const isLed = leader !== undefined && signers.includes(leader)
  return signers.every((peer) => set.includes(peer)) && (isLed || isFullIn(context, proposal))
}

/** Joins the signatures of one payload. Beyond a few payloads of one view only full ones count. */
function remember(state: StewardState, proposal: Proposal): Proposal {
  const { view, digest, signers } = proposal
  const ofView = state.proposals.get(view) ?? new Map<string, Proposal>()
  state.proposals.set(view, ofView)
  const known = ofView.get(digest)
  const all = [...new Set([...(known?.signers ?? []), ...signers])].sort(compareText)
  const merged = { ...proposal, signers: all }
  if (known !== undefined || ofView.size < PROPOSALS_PER_VIEW) ofView.set(digest, merged)
  return merged
}

function accuse(state: StewardState, proposal: Proposal): StageEffect[] {
  const effects: StageEffect[] = []
  for (const other of state.proposals.get(proposal.view)?.values() ?? []) {
    if (other.digest === proposal.digest) continue
    for (const steward of other.signers) {
      if (!proposal.signers.includes(steward) || state.faulty.has(steward)) continue
      state.faulty.add(steward)
      effects.push({ type: 'equivocated', steward, first: other, second: proposal })
    }
  }
  return effects
}

/** Signs what may be signed now: in the views entered so far, the lowest first. */
function sign(context: StageContext, state: StewardState): StageEffect[] {
  if (state.phase !== 'agreeing') return []
  for (const view of [...state.proposals.keys()].sort((a, b) => a - b)) {
    if (view > state.view || !mayVote(state, view)) continue
    if (!members(context, view).includes(context.self)) continue
    for (const proposal of state.proposals.get(view)?.values() ?? []) {
      if (covers(context, state, proposal)) return vote(context, state, proposal)
    }
  }
  return []
}

function vote(context: StageContext, state: StewardState, proposal: Proposal): StageEffect[] {
  const signed = remember(state, {
    ...proposal,
    signers: [...proposal.signers, context.self],
  })
  state.votes.set(proposal.view, signed)
  state.isSettled = true
  const effects: StageEffect[] = [
    { type: 'persist', record: { kind: 'vote', proposal: signed } },
    { type: 'publish', proposal: signed },
  ]
  return isFullIn(context, signed) ? [...effects, ...certify(state, signed)] : effects
}

function certify(state: StewardState, certificate: Proposal): StageEffect[] {
  const before = state.certificate
  if (before !== undefined && !isBefore(certificate, before)) return []
  state.certificate = certificate
  state.phase = 'certified'
  const persisted: StageEffect = {
    type: 'persist',
    record: { kind: 'certificate', proposal: certificate },
  }
  // More signatures under what is known already are no news.
  if (before?.digest === certificate.digest) return [persisted]
  return [persisted, { type: 'publish', proposal: certificate }, { type: 'certified', certificate }]
}

function again(context: StageContext, state: StewardState): StageEffect[] {
  if (state.certificate !== undefined) return [{ type: 'publish', proposal: state.certificate }]
  if (state.phase !== 'agreeing') {
    return [...state.acknowledged.values()].map((entry) => ({ type: 'acknowledge', entry }))
  }
  const own = [...state.votes.keys()].slice(-VOTES_RESENT).map((view) => bestOf(state, view))
  const effects: StageEffect[] = [
    { type: 'tell', view: state.view, entries: [...state.acknowledged.values()] },
    ...own.flatMap((proposal): StageEffect[] =>
      proposal === undefined ? [] : [{ type: 'publish', proposal }],
    ),
  ]
  // What was being composed was lost with a crash.
  return [...effects, ...propose(context, state)]
}

/** What this steward signed in a view, with all signatures known. */
function bestOf(state: StewardState, view: number): Proposal | undefined {
  const signed = state.votes.get(view)
  return signed && (state.proposals.get(view)?.get(signed.digest) ?? signed)
}
