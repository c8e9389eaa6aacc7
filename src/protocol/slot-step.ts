/**
 * A steward's part in one slot: call the executors, freeze their commitments, draw the hidden
 * replica, freeze the reveals, judge, call a standby or write the receipt.
 */
import { errorCode, errorMessage } from '../errors.js'
import { seal } from '../wire/envelope.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { fromHex, peerIdFromPublicKey, publicKeyFromPeerId, toHex } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type {
  AssignmentContext,
  AssignmentEffect,
  AssignmentEvent,
  AssignmentState,
  Collected,
  Loss,
  SlotState,
} from './assignment.js'
import { commitmentsAlpha, keysOf, seed2Of, sortByAuthor } from './ballot.js'
import { differenceOf } from './difference.js'
import { hiddenReplicaDrawn } from './election.js'
import { describeLosses, isProgramFailure } from './failure.js'
import { isLastReplica, receiptOutcomes, slotVerdict } from './slot-verdict.js'
import type { SlotVerdict } from './slot-verdict.js'
import { evidenceOf, isCommitted } from './sketch-message.js'
import { commitmentOf, taskIdOf } from './task.js'
import type { UpdateEvidence } from './tensors.js'
import { vrfProve } from './vrf.js'

/** The slot's ranking; empty before the election. */
export function rankingOf(state: AssignmentState, slot: SlotState): readonly PeerId[] {
  return state.election?.slots[slot.index]?.ranking ?? []
}

export function onTaskReady(
  context: AssignmentContext,
  state: AssignmentState,
  event: Extract<AssignmentEvent, { type: 'taskReady' }>,
): AssignmentEffect[] {
  const slot = state.slots[event.slot]
  if (slot === undefined || slot.phase !== 'waiting' || state.frozenOpenings === undefined)
    return []
  slot.inputs = [...event.inputs]
  slot.providers = [...event.providers].slice(0, LIMITS.providersPerTask)
  slot.tail = state.frozenOpenings.id
  slot.wanted = context.replicas
  slot.round = event.round ?? new Uint8Array(0)
  slot.taskId = taskIdOf({
    jobId: fromHex(context.jobId),
    batch: state.batch,
    slot: slot.index,
    inputs: slot.inputs,
    round: slot.round,
  })
  const { length } = rankingOf(state, slot)
  if (length < LIMITS.replicasMin) {
    const reason = `${length} peers may serve the task, ${LIMITS.replicasMin} are needed`
    return close(context, state, slot, event.nowMs, { code: 'NO_EXECUTORS_LEFT', reason })
  }
  return call(context, state, slot, event.nowMs)
}

/** Calls as many more of the ranking as commitments are missing, or as are told. */
function call(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  nowMs: number,
  count = slot.wanted - slot.commitments.size,
): AssignmentEffect[] {
  const ranking = rankingOf(state, slot)
  const seats = Math.min(ranking.length, slot.seats + count)
  const called = ranking.slice(slot.seats, seats)
  if (called.length === 0) return advance(context, state, slot, nowMs)
  slot.seats = seats
  slot.phase = 'executing'
  slot.calledMs = nowMs
  const task = seal(
    context.network,
    'task',
    {
      previous: fromHex(slot.tail ?? ''),
      jobId: fromHex(context.jobId),
      batch: state.batch,
      slot: slot.index,
      attempt: state.offer.message.attempt,
      seats,
      inputs: slot.inputs,
      providers: keysOf(slot.providers),
      calledMs: nowMs,
      view: 0,
      round: slot.round,
    },
    context.signer,
  )
  // A standby may have missed what was said before it was called; without it the call means nothing.
  const before = slot.chain.map((opened): AssignmentEffect => ({
    type: 'publish',
    opened,
    to: called,
  }))
  append(slot, task)
  return [
    ...before,
    { type: 'publish', opened: task, to: called },
    ...called.map((peer): AssignmentEffect => ({ type: 'called', slot: slot.index, peer })),
  ]
}

function append(slot: SlotState, link: AnyOpened): void {
  slot.tail = link.id
  slot.chain.push(link)
}

export function onSlotMessage(
  context: AssignmentContext,
  state: AssignmentState,
  opened: Extract<Collected, { readonly message: { readonly taskId: Uint8Array } }>,
  nowMs: number,
): AssignmentEffect[] {
  const taskId = toHex(opened.message.taskId)
  const slot = state.slots.find((candidate) => candidate.taskId === taskId)
  if (slot === undefined || slot.phase === 'closed') return []
  if (!rankingOf(state, slot).slice(0, slot.seats).includes(opened.author)) return []
  switch (opened.kind) {
    case 'commitment':
      return onCommitment(context, state, slot, opened, nowMs)
    case 'sketchCommitment':
      return onSketchCommitment(context, state, slot, opened, nowMs)
    case 'sketch':
      return onSketch(context, state, slot, opened, nowMs)
    case 'reveal':
      return onReveal(context, state, slot, opened, nowMs)
    case 'failure': {
      // After a commitment there is only the reveal; whoever sees itself outvoted may not back out.
      if (slot.commitments.has(opened.author)) return []
      const { code, reason } = opened.message
      return lose(context, state, slot, opened.author, { outcome: 'failed', code, reason }, nowMs)
    }
  }
}

function onCommitment(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  opened: Opened<'commitment'>,
  nowMs: number,
): AssignmentEffect[] {
  const isLate = slot.phase !== 'executing' || slot.lost.has(opened.author)
  if (isLate || slot.commitments.has(opened.author)) return []
  if (opened.message.attempt !== state.offer.message.attempt) return []
  slot.commitments.set(opened.author, opened)
  slot.committedMs.set(opened.author, nowMs)
  const tookMs = nowMs - (slot.startedMs.get(opened.author) ?? slot.calledMs)
  return [{ type: 'committed', slot: slot.index, tookMs }, ...advance(context, state, slot, nowMs)]
}

function onReveal(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  opened: Opened<'reveal'>,
  nowMs: number,
): AssignmentEffect[] {
  const { author, message } = opened
  const commitment = slot.commitments.get(author)
  if (slot.phase !== 'revealing' || commitment === undefined || slot.taskId === undefined) return []
  if (slot.reveals.has(author) || slot.lost.has(author)) return []
  // A late reveal of an earlier attempt is no fault: the task id is the same in every attempt.
  if (message.attempt !== state.offer.message.attempt) return []
  const expected = commitmentOf({
    taskId: slot.taskId,
    attempt: message.attempt,
    peer: author,
    outputRoot: message.outputRoot,
    metrics: message.metrics,
    salt: message.salt,
    updateRoot: message.updateRoot,
  })
  if (Buffer.compare(expected, commitment.message.commitment) !== 0) {
    const reason = 'revealed something else than it had committed to'
    const loss: Loss = { outcome: 'withheld', code: 'REVEAL_MISMATCH', reason }
    return lose(context, state, slot, author, loss, nowMs)
  }
  slot.reveals.set(author, opened)
  return checkSketch(context, state, slot, author, nowMs)
}

function onSketchCommitment(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  opened: Opened<'sketchCommitment'>,
  nowMs: number,
): AssignmentEffect[] {
  const { author, message } = opened
  const isAwaited = slot.phase === 'sketching' && slot.commitments.has(author)
  if (!isAwaited || slot.lost.has(author) || slot.sketchCommitments.has(author)) return []
  // Late for the seed of an earlier freeze.
  if (toHex(message.frozen) !== slot.frozenCommitments?.id) return []
  slot.sketchCommitments.set(author, opened)
  return advance(context, state, slot, nowMs)
}

function onSketch(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  opened: Opened<'sketch'>,
  nowMs: number,
): AssignmentEffect[] {
  const { author, message } = opened
  const commitment = slot.sketchCommitments.get(author)
  if (slot.phase !== 'revealing' || commitment === undefined) return []
  if (slot.sketches.has(author) || slot.lost.has(author)) return []
  if (toHex(message.frozen) !== slot.frozenSketches?.id) return []
  if (!isCommitted(opened, commitment, slot.frozenCommitments?.id ?? '')) {
    const reason = 'revealed another sketch than it had committed to'
    const loss: Loss = { outcome: 'withheld', code: 'SKETCH_MISMATCH', reason }
    return lose(context, state, slot, author, loss, nowMs)
  }
  slot.sketches.set(author, opened)
  return checkSketch(context, state, slot, author, nowMs)
}

/** Once reveal and sketch of an executor are here: they must be of one update. */
function checkSketch(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  author: PeerId,
  nowMs: number,
): AssignmentEffect[] {
  const reveal = slot.reveals.get(author)
  const sketch = slot.sketches.get(author)
  const isDue = comparesTensors(context, state, slot)
  if (isDue && reveal !== undefined && sketch !== undefined) {
    try {
      evidenceOf(sketch, reveal.message.updateRoot, lastSeed(state, slot))
    } catch (error) {
      const loss: Loss = {
        outcome: 'withheld',
        code: errorCode(error),
        reason: errorMessage(error),
      }
      return lose(context, state, slot, author, loss, nowMs)
    }
  }
  return advance(context, state, slot, nowMs)
}

function comparesTensors(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
): boolean {
  return context.policyOf(state.batch, slot.index).kind === 'tensors'
}

/** The second seed of the last freeze of commitments. */
function lastSeed(state: AssignmentState, slot: SlotState): Uint8Array {
  const { frozenCommitments } = slot
  const seed = frozenCommitments && seed2Of(state.offer, frozenCommitments, 'trust')
  return seed ?? new Uint8Array(64)
}

/** The reveals that count: where tensors are compared, those with a sketch under the last seed. */
function countedReveals(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
): ReadonlyMap<PeerId, Opened<'reveal'>> {
  if (!comparesTensors(context, state, slot)) return slot.reveals
  const counted = [...slot.reveals].filter(
    ([peer]) => slot.sketches.has(peer) && !slot.lost.has(peer),
  )
  return new Map(counted)
}

function updatesOf(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
): ReadonlyMap<PeerId, UpdateEvidence> {
  if (!comparesTensors(context, state, slot)) return new Map()
  const seed2 = lastSeed(state, slot)
  const updates = [...countedReveals(context, state, slot)].flatMap(([peer, { message }]) => {
    const sketch = slot.sketches.get(peer)
    return sketch === undefined
      ? []
      : [[peer, evidenceOf(sketch, message.updateRoot, seed2)] as const]
  })
  return new Map(updates)
}

export function onExecutorLost(
  context: AssignmentContext,
  state: AssignmentState,
  event: Extract<AssignmentEvent, { type: 'executorLost' }>,
): AssignmentEffect[] {
  const slot = state.slots[event.slot]
  if (slot === undefined || slot.phase !== 'executing') return []
  if (slot.commitments.has(event.peer)) return []
  // The lease may be one of an earlier attempt.
  if (!rankingOf(state, slot).slice(0, slot.seats).includes(event.peer)) return []
  const loss: Loss = { outcome: 'timed-out', code: event.code, reason: event.reason }
  return lose(context, state, slot, event.peer, loss, event.nowMs)
}

/** Ends a slot without a receipt: nothing of what comes for it counts any more. */
export function onSlotMissed(
  state: AssignmentState,
  event: Extract<AssignmentEvent, { type: 'slotMissed' }>,
): AssignmentEffect[] {
  const slot = state.slots[event.slot]
  if (slot === undefined || slot.phase === 'closed') return []
  slot.phase = 'closed'
  return [
    { type: 'clearTimer', name: `sketches:${slot.index}` },
    { type: 'clearTimer', name: `reveals:${slot.index}` },
    { type: 'clearTimer', name: `slow:${slot.index}` },
  ]
}

export function onExecutorStarted(
  state: AssignmentState,
  event: Extract<AssignmentEvent, { type: 'executorStarted' }>,
): AssignmentEffect[] {
  const slot = state.slots[event.slot]
  const { peer, nowMs } = event
  if (slot?.phase === 'executing' && !slot.startedMs.has(peer)) slot.startedMs.set(peer, nowMs)
  return []
}

/** Calls a standby beside executors that are slow, one between two freezes: the first count. */
export function onStandbyDue(
  context: AssignmentContext,
  state: AssignmentState,
  event: Extract<AssignmentEvent, { type: 'standbyDue' }>,
): AssignmentEffect[] {
  const slot = state.slots[event.slot]
  if (slot?.phase !== 'executing' || slot.hasEarlyStandby) return []
  if (rankingOf(state, slot).length <= slot.seats) return []
  slot.hasEarlyStandby = true
  return [{ type: 'slow', slot: slot.index }, ...call(context, state, slot, event.nowMs, 1)]
}

export function onRevealDeadline(
  context: AssignmentContext,
  state: AssignmentState,
  name: string,
  nowMs: number,
): AssignmentEffect[] {
  const slot = state.slots.find(({ index }) =>
    [`reveals:${index}`, `sketches:${index}`].includes(name),
  )
  const isDue =
    (slot?.phase === 'revealing' && name === `reveals:${slot.index}`) ||
    (slot?.phase === 'sketching' && name === `sketches:${slot.index}`)
  if (slot === undefined || !isDue) return []
  for (const peer of owingOf(context, state, slot)) {
    const [code, what] =
      slot.phase === 'sketching'
        ? ['SKETCH_WITHHELD', 'commit to its sketch']
        : ['REVEAL_WITHHELD', 'reveal']
    const reason = `committed and did not ${what} in time`
    slot.lost.set(peer, { outcome: 'withheld', code, reason })
  }
  return advance(context, state, slot, nowMs)
}

/** Who has committed and still owes what the phase is for. */
function owingOf(context: AssignmentContext, state: AssignmentState, slot: SlotState): PeerId[] {
  const isTensors = comparesTensors(context, state, slot)
  return [...slot.commitments.keys()].filter((peer) => {
    if (slot.lost.has(peer)) return false
    if (slot.phase === 'sketching') return !slot.sketchCommitments.has(peer)
    return !slot.reveals.has(peer) || (isTensors && !slot.sketches.has(peer))
  })
}

function lose(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  peer: PeerId,
  loss: Loss,
  nowMs: number,
): AssignmentEffect[] {
  if (slot.lost.has(peer)) return []
  slot.lost.set(peer, loss)
  return advance(context, state, slot, nowMs)
}

/** Moves a slot on as far as what has arrived allows. */
function advance(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  nowMs: number,
): AssignmentEffect[] {
  if (slot.phase === 'executing') {
    const running = rankingOf(state, slot)
      .slice(0, slot.seats)
      .filter((peer) => !slot.commitments.has(peer) && !slot.lost.has(peer))
    if (running.length > 0 && slot.commitments.size < slot.wanted) return []
    if (running.length > 0) {
      return [...outrun(slot, running), ...freezeCommitments(context, state, slot, nowMs)]
    }
    const failure = programFailure(slot)
    if (failure !== undefined) return close(context, state, slot, nowMs, failure)
    const isShort = slot.commitments.size < slot.wanted
    if (isShort && rankingOf(state, slot).length > slot.seats) {
      return call(context, state, slot, nowMs)
    }
    if (slot.commitments.size < LIMITS.replicasMin || isStuck(slot)) {
      const lost = [...slot.lost.values()].filter(({ outcome }) => outcome !== 'outrun')
      const losses = describeLosses(lost)
      const reason =
        `${slot.commitments.size} of ${slot.wanted} executors finished and no standby is left` +
        (losses === '' ? '' : `: ${losses}`)
      return close(context, state, slot, nowMs, { code: 'NO_EXECUTORS_LEFT', reason })
    }
    return freezeCommitments(context, state, slot, nowMs)
  }
  if (slot.phase === 'sketching' || slot.phase === 'revealing') {
    if (owingOf(context, state, slot).length > 0) return []
    return slot.phase === 'sketching'
      ? freezeSketches(context, state, slot, nowMs)
      : freezeReveals(context, state, slot, nowMs)
  }
  return []
}

/** Others were faster: what comes of these now would come after the freeze, and counts no more. */
function outrun(slot: SlotState, running: readonly PeerId[]): AssignmentEffect[] {
  return running.map((peer): AssignmentEffect => {
    const reason = 'others were done before it'
    slot.lost.set(peer, { outcome: 'outrun', code: 'OUTRUN', reason })
    return { type: 'outrun', slot: slot.index, peer }
  })
}

/** An escalation whose standbys all failed: nothing new was committed since the last reveals. */
function isStuck(slot: SlotState): boolean {
  return (
    slot.reveals.size > 0 &&
    [...slot.commitments.keys()].every((peer) => slot.reveals.has(peer) || slot.lost.has(peer))
  )
}

/** Two executors that failed the same way, nobody who succeeded: the program is at fault. */
function programFailure(slot: SlotState): { code: string; reason: string } | undefined {
  if (slot.commitments.size > 0) return undefined
  const losses = [...slot.lost.values()].filter(
    (loss) => loss.outcome === 'failed' && isProgramFailure(loss.code),
  )
  const twice = losses.find(
    (loss) => losses.filter((other) => other.code === loss.code).length >= LIMITS.replicasMin,
  )
  return twice && { code: twice.code, reason: twice.reason }
}

function freezeCommitments(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  nowMs: number,
): AssignmentEffect[] {
  const commitments = sortByAuthor(slot.commitments.values()).map((opened) => opened.bytes)
  const previous = fromHex(slot.tail ?? '')
  const vrfProof = vrfProve(context.vrfSecret, commitmentsAlpha(previous, commitments))
  const frozen = seal(
    context.network,
    'freezeCommitments',
    { previous, commitments, vrfProofs: [vrfProof], view: 0 },
    context.signer,
  )
  const isFirst = slot.frozenCommitments === undefined
  slot.hasEarlyStandby = false
  slot.frozenCommitments = frozen
  slot.frozenSketches = undefined
  slot.sketchCommitments.clear()
  slot.sketches.clear()
  append(slot, frozen)
  const committed = [...slot.commitments.keys()]
  const effects: AssignmentEffect[] = [{ type: 'publish', opened: frozen, to: committed }]
  const seed2 = seed2Of(state.offer, frozen, 'trust') ?? new Uint8Array(64)
  const hasStandby = rankingOf(state, slot).length > slot.seats
  const { auditPpm } = state.offer.message
  if (isFirst && hasStandby && hiddenReplicaDrawn(seed2, slot.index, auditPpm)) {
    slot.hiddenDrawn = true
    slot.wanted = slot.commitments.size + 1
    return [...effects, ...call(context, state, slot, nowMs)]
  }
  const isTensors = comparesTensors(context, state, slot)
  slot.phase = isTensors ? 'sketching' : 'revealing'
  const name = `${isTensors ? 'sketches' : 'reveals'}:${slot.index}`
  effects.push({ type: 'timer', name, ms: context.revealWindowMs })
  return effects
}

/** Closes the sketches: from here on they may be opened, and none can be made from another. */
function freezeSketches(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  nowMs: number,
): AssignmentEffect[] {
  const frozen = seal(
    context.network,
    'freezeSketches',
    {
      previous: fromHex(slot.tail ?? ''),
      commitments: sortByAuthor(slot.sketchCommitments.values()).map((opened) => opened.bytes),
      view: 0,
    },
    context.signer,
  )
  slot.frozenSketches = frozen
  slot.phase = 'revealing'
  append(slot, frozen)
  return [
    { type: 'clearTimer', name: `sketches:${slot.index}` },
    { type: 'publish', opened: frozen, to: [...slot.sketchCommitments.keys()] },
    { type: 'timer', name: `reveals:${slot.index}`, ms: context.revealWindowMs },
    // Nobody may be left to wait for.
    ...advance(context, state, slot, nowMs),
  ]
}

function freezeReveals(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  nowMs: number,
): AssignmentEffect[] {
  const { election, frozenBids } = state
  if (election === undefined || frozenBids === undefined || slot.frozenCommitments === undefined) {
    return []
  }
  const reveals = sortByAuthor(countedReveals(context, state, slot).values())
  const sketches = reveals.flatMap(({ author }) => slot.sketches.get(author) ?? [])
  const frozen = seal(
    context.network,
    'freezeReveals',
    {
      previous: fromHex(slot.tail ?? ''),
      reveals: reveals.map((opened) => opened.bytes),
      sketches: sketches.map(({ id }) => fromHex(id)),
      view: 0,
    },
    context.signer,
  )
  // Whoever is called later needs what the frozen reveals speak of.
  slot.chain.push(...sketches)
  append(slot, frozen)
  const effects: AssignmentEffect[] = [
    { type: 'clearTimer', name: `reveals:${slot.index}` },
    // The receipt follows it: whoever gets that directly must not wait for this by gossip.
    { type: 'publish', opened: frozen, to: rankingOf(state, slot).slice(0, slot.seats) },
  ]
  const verdict = slotVerdict({
    reveals,
    updates: updatesOf(context, state, slot),
    frozenBids,
    firstFreeze: firstFreezeOf(slot),
    policy: context.policyOf(state.batch, slot.index),
    network: context.network,
    young: election.young,
    isLast: isLastReplica({
      ranked: rankingOf(state, slot).length,
      seats: slot.seats,
      committed: slot.commitments.size,
    }),
  })
  if (verdict.kind === 'escalate') {
    slot.wanted = slot.commitments.size + 1
    return [...effects, ...call(context, state, slot, nowMs)]
  }
  return [...effects, ...close(context, state, slot, nowMs, rejection(verdict, slot))]
}

/** The commitments of those whose seats were known from the election. */
function firstFreezeOf(slot: SlotState): Opened<'freezeCommitments'> | undefined {
  return slot.chain.find((link) => link.kind === 'freezeCommitments')
}

/** Why a task is rejected, with the files named that its replicas differ in. */
function rejection(
  verdict: SlotVerdict,
  slot: SlotState,
): { readonly code: string; readonly reason: string } | undefined {
  if (verdict.kind !== 'reject') return undefined
  const difference = differenceOf([...slot.reveals.values()])
  const words = difference === undefined ? '' : `; they differ in ${difference}`
  return { code: verdict.code, reason: `${verdict.reason}${words}` }
}

/** Writes the receipt: accepted when there is no failure. */
function close(
  context: AssignmentContext,
  state: AssignmentState,
  slot: SlotState,
  nowMs: number,
  failure: { readonly code: string; readonly reason: string } | undefined,
): AssignmentEffect[] {
  const { election, frozenBids } = state
  if (election === undefined || frozenBids === undefined) return []
  const reveals = countedReveals(context, state, slot)
  const verdict = slotVerdict({
    reveals: [...reveals.values()],
    updates: updatesOf(context, state, slot),
    frozenBids,
    firstFreeze: firstFreezeOf(slot),
    policy: context.policyOf(state.batch, slot.index),
    network: context.network,
    young: election.young,
    isLast: true,
  })
  slot.phase = 'closed'
  const isAccepted = failure === undefined && verdict.kind === 'accept'
  slot.receipt = seal(
    context.network,
    'receipt',
    {
      previous: fromHex(slot.tail ?? ''),
      jobId: fromHex(context.jobId),
      batch: state.batch,
      slot: slot.index,
      taskId: fromHex(slot.taskId ?? ''),
      verdict: isAccepted ? 'accepted' : 'rejected',
      outputRoot: isAccepted ? verdict.outputRoot : new Uint8Array(0),
      executors: receiptOutcomes({
        called: rankingOf(state, slot).slice(0, slot.seats),
        verdict,
        reveals,
        lost: slot.lost,
        frozenBids,
        network: context.network,
      }).map((outcome) => ({
        peer: publicKeyFromPeerId(outcome.peer),
        operator: publicKeyFromPeerId(outcome.operator),
        outcome: outcome.outcome,
        durationMs: outcome.durationMs,
        root: outcome.root,
      })),
      young: election.young,
      closedMs: nowMs,
      reason: failure === undefined ? '' : `${failure.code}: ${failure.reason}`.slice(0, 500),
      view: 0,
    },
    context.signer,
  )
  return [
    { type: 'clearTimer', name: `reveals:${slot.index}` },
    { type: 'publish', opened: slot.receipt, to: rankingOf(state, slot).slice(0, slot.seats) },
    { type: 'slotClosed', slot: slot.index, receipt: slot.receipt },
  ]
}

/** The stewards of an offer. */
export function stewardsOf(offer: Opened<'offer'>): PeerId[] {
  return offer.message.stewards.map((key) => peerIdFromPublicKey(key))
}
