/**
 * A steward's part in the election of a batch: collect bids, freeze, collect openings, freeze.
 * Windows close early when everyone who was asked has answered.
 *
 * `stepAssignment` owns the state it is given and changes it in place; it is deterministic, so a
 * state is rebuilt by replaying its events.
 */
import { CtdError, errorCode, errorMessage } from '../errors.js'
import { seal } from '../wire/envelope.js'
import type { Opened } from '../wire/envelope.js'
import { fromHex, toHex } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { Standing } from '../wire/generated/election.js'
import type { PeerId } from '../wire/ids.js'
import type {
  AssignmentContext,
  AssignmentEffect,
  AssignmentEvent,
  AssignmentState,
} from './assignment.js'
import { electionOf, openingAlpha, sortByAuthor } from './ballot.js'
import { choosePlaces } from './election.js'
import {
  onExecutorLost,
  onExecutorStarted,
  onRevealDeadline,
  onSlotMissed,
  onSlotMessage,
  onStandbyDue,
  onTaskReady,
} from './slot-step.js'
import { vrfVerify } from './vrf.js'

const UNKNOWN_STANDING: Standing = {
  reliabilityPpm: 0,
  availabilityPpm: 0,
  speedPpm: 0,
  established: false,
  excluded: true,
  addressPrefix: '',
}

export function stepAssignment(
  context: AssignmentContext,
  state: AssignmentState,
  event: AssignmentEvent,
): AssignmentEffect[] {
  switch (event.type) {
    case 'message':
      return onMessage(context, state, event)
    case 'standings':
      return onStandings(context, state, event)
    case 'deadline':
      if (event.name === 'bids') return state.phase === 'bidding' ? closeBids(state) : []
      if (event.name === 'openings') {
        return state.phase === 'opening' ? closeOpenings(context, state) : []
      }
      return onRevealDeadline(context, state, event.name, event.nowMs)
    case 'taskReady':
      return onTaskReady(context, state, event)
    case 'slotMissed':
      return onSlotMissed(state, event)
    case 'executorLost':
      return onExecutorLost(context, state, event)
    case 'executorStarted':
      return onExecutorStarted(state, event)
    case 'standbyDue':
      return onStandbyDue(context, state, event)
  }
}

function onMessage(
  context: AssignmentContext,
  state: AssignmentState,
  event: Extract<AssignmentEvent, { type: 'message' }>,
): AssignmentEffect[] {
  const { opened } = event
  switch (opened.kind) {
    case 'bid':
    case 'decline':
      return onAnswer(state, opened)
    case 'vrfOpen':
      return onOpening(context, state, opened)
    default:
      return onSlotMessage(context, state, opened, event.nowMs)
  }
}

function onAnswer(
  state: AssignmentState,
  answer: Opened<'bid'> | Opened<'decline'>,
): AssignmentEffect[] {
  if (state.phase !== 'bidding' || toHex(answer.message.offer) !== state.offer.id) return []
  if (state.bids.has(answer.author) || state.declines.has(answer.author)) return []
  if (answer.kind === 'decline') state.declines.set(answer.author, answer)
  else if (state.bids.size < LIMITS.answersPerOffer) state.bids.set(answer.author, answer)
  const isComplete = [...state.asked].every(
    (peer) => state.bids.has(peer) || state.declines.has(peer),
  )
  return isComplete ? closeBids(state) : []
}

function closeBids(state: AssignmentState): AssignmentEffect[] {
  if (state.bids.size < state.offer.message.replicas) {
    return fail(state, new CtdError('NO_ELIGIBLE_BIDS', describeAnswers(state)))
  }
  state.phase = 'weighing'
  return [
    { type: 'clearTimer', name: 'bids' },
    { type: 'weigh', bids: sortByAuthor(state.bids.values()) },
  ]
}

const REASONS_TOLD = 5
const REASON_CHARS = 120

/** Why too few bid, in words: `1 of 4 peers bid, 2 are needed: 2 busy, 1 not an executor`. */
function describeAnswers(state: AssignmentState): string {
  const counts = new Map<string, number>()
  for (const { message } of state.declines.values()) {
    counts.set(message.reason, (counts.get(message.reason) ?? 0) + 1)
  }
  const silent = [...state.asked].filter(
    (peer) => !state.bids.has(peer) && !state.declines.has(peer),
  ).length
  if (silent > 0) counts.set('no answer', silent)
  // The commonest, and briefly: the words are those of strangers.
  const reasons = [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, REASONS_TOLD)
    .map(([reason, count]) => `${count} ${reason.slice(0, REASON_CHARS)}`)
    .join(', ')
  const seen = state.bids.size + state.declines.size + silent
  return (
    `${state.bids.size} of ${seen} peers bid, ${state.offer.message.replicas} are needed` +
    (reasons === '' ? '' : `: ${reasons}`)
  )
}

function onStandings(
  context: AssignmentContext,
  state: AssignmentState,
  event: Extract<AssignmentEvent, { type: 'standings' }>,
): AssignmentEffect[] {
  if (state.phase !== 'weighing') return []
  keepPlaced(state, event.standings)
  const bids = sortByAuthor(state.bids.values())
  state.frozenBids = seal(
    context.network,
    'freezeBids',
    {
      offer: fromHex(state.offer.id),
      bids: bids.map((bid) => bid.bytes),
      standings: bids.map((bid) => event.standings.get(bid.author) ?? UNKNOWN_STANDING),
      receiptRoot: event.receiptRoot,
      frozenMs: event.nowMs,
      view: 0,
    },
    context.signer,
  )
  state.phase = 'opening'
  return [
    { type: 'publish', opened: state.frozenBids, to: bids.map((bid) => bid.author) },
    { type: 'timer', name: 'openings', ms: state.offer.message.openWindowMs },
  ]
}

/** Forgets the bids for which no place is left. */
function keepPlaced(state: AssignmentState, standings: ReadonlyMap<PeerId, Standing>): void {
  const applicants = [...state.bids.keys()].map((peer) => {
    const { established, excluded } = standings.get(peer) ?? UNKNOWN_STANDING
    return { peer, established, excluded }
  })
  const placed = new Set(choosePlaces(applicants, fromHex(state.offer.id)))
  for (const peer of state.bids.keys()) if (!placed.has(peer)) state.bids.delete(peer)
}

function onOpening(
  context: AssignmentContext,
  state: AssignmentState,
  opening: Opened<'vrfOpen'>,
): AssignmentEffect[] {
  const { frozenBids } = state
  const bid = state.bids.get(opening.author)
  if (state.phase !== 'opening' || frozenBids === undefined || bid === undefined) return []
  if (toHex(opening.message.frozenBids) !== frozenBids.id) return []
  const alpha = openingAlpha(state.offer, frozenBids.id)
  if (vrfVerify(bid.message.vrfKey, alpha, opening.message.proof) === undefined) return []
  state.openings.set(opening.author, opening)
  return state.openings.size === state.bids.size ? closeOpenings(context, state) : []
}

function closeOpenings(context: AssignmentContext, state: AssignmentState): AssignmentEffect[] {
  const { offer, frozenBids } = state
  if (frozenBids === undefined) return []
  const frozenOpenings = seal(
    context.network,
    'freezeOpenings',
    {
      frozenBids: fromHex(frozenBids.id),
      openings: sortByAuthor(state.openings.values()).map((opening) => opening.bytes),
      view: 0,
    },
    context.signer,
  )
  try {
    const ballot = { offer, frozenBids, frozenOpenings }
    state.election = electionOf(context.network, ballot, context.requester, 'trust')
  } catch (error) {
    return fail(state, error)
  }
  state.frozenOpenings = frozenOpenings
  state.phase = 'elected'
  const bidders: PeerId[] = [...state.bids.keys()]
  return [
    { type: 'clearTimer', name: 'openings' },
    { type: 'publish', opened: frozenOpenings, to: bidders },
    { type: 'elected', election: state.election },
  ]
}

function fail(state: AssignmentState, error: unknown): AssignmentEffect[] {
  state.phase = 'failed'
  return [
    { type: 'clearTimer', name: 'bids' },
    { type: 'clearTimer', name: 'openings' },
    { type: 'unelectable', code: errorCode(error), reason: errorMessage(error) },
  ]
}
