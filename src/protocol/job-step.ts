/**
 * A requester's part in its job: offer batch after batch, hand each slot to the stewards' part as
 * soon as its inputs are known, collect what was accepted, end the job.
 *
 * `stepJob` owns the state it is given and changes it in place; it is deterministic, so a job is
 * rebuilt after a restart by replaying its events.
 */
import { encodeRound } from '../training/round-manifest.js'
import { seal } from '../wire/envelope.js'
import type { Opened } from '../wire/envelope.js'
import type { TaskInput } from '../wire/generated/task.js'
import { fromHex, peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { stepAssignment } from './assignment-step.js'
import { createAssignment } from './assignment.js'
import type { AssignmentEffect, AssignmentEvent, SlotState } from './assignment.js'
import { keysOf, seed2Of } from './ballot.js'
import {
  closedShard,
  graceMs,
  isSized,
  missableShards,
  roundManifest,
  trainSlotAt,
  trainSlotsOf,
} from './elastic.js'
import type { ClosedShard, ClosedShardOf } from './elastic.js'
import { encodeResult, jobResult } from './job-result.js'
import { metricsIn, outputOf } from './job.js'
import type {
  BatchState,
  JobContext,
  JobEffect,
  JobEvent,
  JobRunState,
  OutputFile,
  ToldUpdate,
} from './job.js'
import { parseMetrics } from './metrics.js'
import type { PlannedInput, PlannedSlot } from './plan.js'
import { artifactsOf, batchFate } from './selection.js'
import { offeredAuditPpm } from './slot-chain.js'
import { acceptedReveal, listedFiles } from './slot-verdict.js'
import { addSample, earliestStartMs, SLOW_RULES, slowAfterMs } from './slow-replica.js'
import { vrfPublicKey } from './vrf.js'

/** Elections of one batch after rejected tasks, before the job is given up. */
const REJECTIONS_MAX = 3
const RETRY_FIRST_MS = 500
const RETRY_MAX_MS = 15_000
/** Rejections that other executors may mend. */
const RETRYABLE: ReadonlySet<string> = new Set([
  'NO_EXECUTORS_LEFT',
  'UNDECIDED',
  'TOO_FEW_REVEALS',
  'ONE_OPERATOR',
  'MARGIN',
  'NO_ESTABLISHED',
  'SKETCH_FALSE',
])

export function stepJob(context: JobContext, state: JobRunState, event: JobEvent): JobEffect[] {
  if (isEnded(state)) return []
  switch (event.type) {
    case 'started':
      return [notify('job:submitted', {}), ...advance(context, state, event.nowMs)]
    case 'restarted':
      return onRestarted(context, state, event.nowMs)
    case 'cancelled':
      return end(context, state, 'cancelled', 'CANCELLED', event.reason, event.nowMs)
    case 'failed':
      return end(context, state, 'failed', event.code, event.reason, event.nowMs)
    case 'peersAsked':
      return onPeersAsked(context, state, event)
    case 'retryDue':
      return onRetryDue(state, event.batch)
    case 'outputRead':
      return onOutputRead(context, state, event)
    case 'outputLost':
      return onOutputLost(context, state, event)
    case 'assignment':
      return onAssignment(context, state, event.batch, event.event)
  }
}

export function isEnded(state: JobRunState): boolean {
  return state.status === 'succeeded' || state.status === 'failed' || state.status === 'cancelled'
}

function notify(event: string, fields: Readonly<Record<string, unknown>>): JobEffect {
  return { type: 'notify', event, fields }
}

/** Offers what can be offered, starts what is ready, ends the job when all is accepted. */
function advance(context: JobContext, state: JobRunState, nowMs: number): JobEffect[] {
  const effects: JobEffect[] = []
  for (const batch of state.batches) {
    const before = state.batches[batch.index - 1]
    // The next batch is elected while this one computes; later joiners may bid for the one after.
    const isDue = before === undefined || isOver(before) || isComputing(before)
    const fate =
      batch.status === 'waiting' ? batchFate(context.plan, batch.index, metricsIn(state)) : 'runs'
    if (fate === 'skipped') {
      batch.status = 'skipped'
      effects.push(notify('batch:skipped', { batch: batch.index }))
    }
    if (batch.status === 'waiting' && isDue && fate === 'runs') {
      batch.status = 'asking'
      batch.waitingSinceMs = nowMs
      effects.push({ type: 'askPeers', batch: batch.index })
    }
    if (batch.status === 'assigned') {
      effects.push(...startReady(context, state, batch, nowMs))
      effects.push(...beginGrace(context, state, batch))
    }
    if (isEnded(state)) return effects
  }
  if (state.batches.every(isOver)) effects.push(...finish(context, state, nowMs))
  return effects
}

function isOver({ status }: BatchState): boolean {
  return status === 'done' || status === 'skipped'
}

/** Ends the job once all artifacts are here; which they are may only be known now. */
function finish(context: JobContext, state: JobRunState, nowMs: number): JobEffect[] {
  const missing = new Map<string, JobEffect>()
  let isComplete = true
  for (const { batch, slot } of artifactsOf(context.plan, metricsIn(state))) {
    const output = outputOf(state, batch, slot)
    if (output === undefined || output.fetched === 'yes') continue
    isComplete = false
    if (output.fetched === 'asked') continue
    output.fetched = 'asked'
    const { root, providers } = output
    missing.set(`${batch}/${slot}`, { type: 'readOutput', batch, slot, root, providers })
  }
  return isComplete ? succeed(context, state, nowMs) : [...missing.values()]
}

function isComputing(batch: BatchState): boolean {
  return batch.assignment?.slots.some((slot) => slot.phase !== 'waiting') ?? false
}

function startReady(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  nowMs: number,
): JobEffect[] {
  const { assignment } = batch
  if (assignment === undefined || assignment.phase !== 'elected') return []
  const effects: JobEffect[] = []
  let round: Uint8Array | undefined
  for (const slot of context.plan.batches[batch.index] ?? []) {
    if (batch.status !== 'assigned') break
    const isOpen = assignment.slots[slot.slot]?.phase === 'waiting' && isMissing(batch, slot)
    if (!isOpen) continue
    const ready = resolveInputs(context, state, slot)
    if (ready === undefined) continue
    if (isSized(context.plan, slot)) round ??= sizesOf(context, state, batch, slot)
    const sized = round !== undefined && isSized(context.plan, slot) ? { round } : {}
    const event: AssignmentEvent = { type: 'taskReady', slot: slot.slot, nowMs, ...ready, ...sized }
    effects.push(
      ...passOn(context, state, batch, stepAssignment(context, assignment, event), nowMs),
    )
  }
  return effects
}

/** Whether the job still wants the output of a slot. */
function isMissing({ outputs, missed }: BatchState, { slot }: PlannedSlot): boolean {
  return !outputs.has(slot) && !missed.has(slot)
}

/** The round manifest of a shard's task, as this election gives it. */
function sizesOf(
  { plan }: JobContext,
  state: JobRunState,
  { assignment }: BatchState,
  { round }: PlannedSlot,
): Uint8Array | undefined {
  const { training } = plan
  if (training === undefined || assignment === undefined) return undefined
  const executorsOf = (shard: number): readonly PeerId[] =>
    assignment.election?.slots[shard]?.executors ?? []
  const closed: ClosedShardOf = (earlier, shard) => {
    const slot = trainSlotAt(plan, earlier, shard)
    return slot && outputOf(state, slot.batch, slot.slot)?.closed
  }
  return encodeRound(roundManifest(training, round, executorsOf, closed))
}

/** The shards that an elastic round may go on without; none while it may not. */
function stragglers({ plan }: JobContext, batch: BatchState): readonly PlannedSlot[] {
  if (plan.training?.elastic !== true || batch.missed.size > 0) return []
  const open = trainSlotsOf(plan, batch.index).filter((slot) => isMissing(batch, slot))
  const [first] = open
  const most = first === undefined ? 0 : missableShards(plan.training, first.round)
  return open.length <= most ? open : []
}

/** With its quorum an elastic round waits a little longer. */
function beginGrace(context: JobContext, state: JobRunState, batch: BatchState): JobEffect[] {
  if (batch.graceAttempt === batch.attempt || stragglers(context, batch).length === 0) return []
  batch.graceAttempt = batch.attempt
  const ms = graceMs(state.tookMs.get('train') ?? [], context.slowFloorMs)
  return [{ type: 'timer', name: timerName(batch, 'close'), ms }]
}

/** Goes on without the shards that are still open: their rows come first in their next round. */
function closeRound(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  nowMs: number,
): JobEffect[] {
  const effects: JobEffect[] = []
  const { assignment } = batch
  for (const { slot, name } of stragglers(context, batch)) {
    batch.missed.add(slot)
    effects.push(notify('task:missed', { batch: batch.index, slot, name }))
    if (assignment === undefined) continue
    const missed = stepAssignment(context, assignment, { type: 'slotMissed', slot, nowMs })
    effects.push(...passOn(context, state, batch, missed, nowMs))
  }
  if (effects.length === 0) return []
  batch.rejected = undefined
  return [...effects, ...advance(context, state, nowMs)]
}

/** The inputs of a slot with their digests, or undefined while one is still to come. */
export function resolveInputs(
  context: Pick<JobContext, 'manifest' | 'requester'>,
  state: JobRunState,
  slot: PlannedSlot,
): { inputs: TaskInput[]; providers: PeerId[] } | undefined {
  const providers = new Set<PeerId>()
  const inputs: TaskInput[] = []
  for (const input of slot.inputs) {
    if (isFromMissed(state, input)) continue
    const resolved = resolveInput(context.manifest, state, input)
    if (resolved === undefined) return undefined
    inputs.push(resolved.input)
    for (const peer of resolved.providers) providers.add(peer)
  }
  // The requester holds a copy of what it was given and of most that was accepted.
  const others = [...providers].slice(0, LIMITS.providersPerTask - 1)
  return { inputs, providers: [...new Set([...others, context.requester])] }
}

function isFromMissed(state: JobRunState, { source }: PlannedInput): boolean {
  return source.kind === 'slot' && state.batches[source.batch]?.missed.has(source.slot) === true
}

function resolveInput(
  manifest: Opened<'manifest'>,
  state: JobRunState,
  { name, source }: PlannedInput,
): { input: TaskInput; providers: readonly PeerId[] } | undefined {
  if (source.kind === 'job') {
    const found = manifest.message.inputs.find((candidate) => candidate.name === source.input)
    if (found === undefined) return undefined
    const { digest, sizeBytes, folder } = found
    return { input: { name, digest, sizeBytes, folder }, providers: [] }
  }
  const output = outputOf(state, source.batch, source.slot)
  const file = output?.files?.get(source.path)
  if (output === undefined || file === undefined) return undefined
  const { digest, sizeBytes } = file
  return {
    input: { name, digest: fromHex(digest), sizeBytes, folder: false },
    providers: output.providers,
  }
}

function onPeersAsked(
  context: JobContext,
  state: JobRunState,
  event: Extract<JobEvent, { type: 'peersAsked' }>,
): JobEffect[] {
  const batch = state.batches[event.batch]
  if (batch === undefined || batch.status !== 'asking') return []
  batch.attempt += 1
  const { resources } = context.plan
  const offer = seal(
    context.network,
    'offer',
    {
      jobId: fromHex(context.jobId),
      batch: batch.index,
      attempt: batch.attempt,
      slots: context.plan.batches[batch.index]?.length ?? 0,
      replicas: context.replicas,
      requirements: {
        memoryMib: resources.memoryMiB,
        diskMib: resources.outMiB,
        gpus: resources.gpus,
        vramMib: resources.vramMiB,
        isolation: resources.isolation,
      },
      bidWindowMs: context.bidWindowMs,
      openWindowMs: context.openWindowMs,
      auditPpm: offeredAuditPpm(context),
      stewards: keysOf([context.signer.peerId]),
      stewardVrfKeys: [vrfPublicKey(context.vrfSecret)],
      diversity: context.diversity,
      epoch: 0,
      beacon: new Uint8Array(0),
      small: false,
    },
    context.signer,
  )
  batch.status = 'assigned'
  batch.assignment = createAssignment(offer, event.peers)
  return [
    { type: 'publish', opened: offer, to: event.peers },
    { type: 'timer', name: timerName(batch, 'bids'), ms: context.bidWindowMs },
    notify('task:offered', {
      batch: batch.index,
      attempt: batch.attempt,
      asked: event.peers.length,
    }),
  ]
}

/** Timer names carry batch and attempt, so that a late one of an old attempt hits nothing. */
function timerName(batch: BatchState, name: string): string {
  return `${batch.index}/${batch.attempt}/${name}`
}

/** The batch, attempt and name of an assignment's timer; undefined for other timers. */
export function parseTimer(
  name: string,
): { batch: number; attempt: number; name: string } | undefined {
  const match = /^(\d+)\/(\d+)\/(.+)$/.exec(name)
  if (match === null) return undefined
  return { batch: Number(match[1]), attempt: Number(match[2]), name: match[3] ?? '' }
}

function onAssignment(
  context: JobContext,
  state: JobRunState,
  index: number,
  event: AssignmentEvent,
): JobEffect[] {
  const batch = state.batches[index]
  if (batch?.assignment === undefined || batch.status !== 'assigned') return []
  const { nowMs } = event
  if (event.type === 'deadline') {
    if (event.name === 'close') return closeRound(context, state, batch, nowMs)
    const [, watched] = /^slow:(\d+)$/.exec(event.name) ?? []
    const slot = watched === undefined ? undefined : batch.assignment.slots[Number(watched)]
    if (slot !== undefined) return onSlowDue(context, state, batch, slot, nowMs)
  }
  const effects = stepAssignment(context, batch.assignment, event)
  const passed = passOn(context, state, batch, effects, nowMs)
  const started = event.type === 'executorStarted' ? batch.assignment.slots[event.slot] : undefined
  return started === undefined
    ? passed
    : [...passed, ...watch(context, state, batch, started, nowMs)]
}

function stageOf(context: JobContext, batch: BatchState, { index }: SlotState) {
  return context.plan.batches[batch.index]?.[index]?.stage
}

/** When the slowest executor of a slot becomes slow; undefined while that cannot be said. */
function slowDueMs(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  slot: SlotState,
): number | undefined {
  const stage = stageOf(context, batch, slot)
  const tookMs = stage === undefined ? undefined : state.tookMs.get(stage)
  const afterMs = slowAfterMs(tookMs ?? [], context.slowFloorMs)
  const startMs = earliestStartMs(slot)
  return afterMs === undefined || startMs === undefined ? undefined : startMs + afterMs
}

/** Waits for the moment at which an executor of the slot becomes slow. */
function watch(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  slot: SlotState,
  nowMs: number,
): JobEffect[] {
  if (slot.phase !== 'executing' || slot.isWatched || slot.hasEarlyStandby) return []
  const dueMs = slowDueMs(context, state, batch, slot)
  if (dueMs === undefined) return []
  slot.isWatched = true
  const name = timerName(batch, `slow:${slot.index}`)
  return [{ type: 'timer', name, ms: Math.max(0, dueMs - nowMs) }]
}

/** What counts as slow, and who is still at it, may have changed since the timer was set. */
function onSlowDue(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  slot: SlotState,
  nowMs: number,
): JobEffect[] {
  slot.isWatched = false
  const dueMs = slowDueMs(context, state, batch, slot)
  if (dueMs === undefined || batch.assignment === undefined) return []
  if (dueMs > nowMs) return watch(context, state, batch, slot, nowMs)
  const event: AssignmentEvent = { type: 'standbyDue', slot: slot.index, nowMs }
  return passOn(context, state, batch, stepAssignment(context, batch.assignment, event), nowMs)
}

/** With the first few times known, those that are at it already can be watched. */
function onCommitted(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  effect: Extract<AssignmentEffect, { type: 'committed' }>,
  nowMs: number,
): JobEffect[] {
  const stage = context.plan.batches[batch.index]?.[effect.slot]?.stage
  if (stage === undefined) return []
  const tookMs = state.tookMs.get(stage) ?? []
  state.tookMs.set(stage, tookMs)
  addSample(tookMs, effect.tookMs)
  if (tookMs.length !== SLOW_RULES.samplesMin) return []
  return state.batches.flatMap((other) =>
    (other.assignment?.slots ?? [])
      .filter((slot) => stageOf(context, other, slot) === stage)
      .flatMap((slot) => watch(context, state, other, slot, nowMs)),
  )
}

/** Translates what a batch asks for into what the job asks for. */
function passOn(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  effects: readonly AssignmentEffect[],
  nowMs: number,
): JobEffect[] {
  return effects.flatMap((effect): JobEffect[] => {
    switch (effect.type) {
      case 'publish':
        return [effect]
      case 'timer':
        return [{ ...effect, name: timerName(batch, effect.name) }]
      case 'clearTimer':
        return [{ type: 'clearTimer', name: timerName(batch, effect.name) }]
      case 'weigh':
        return [{ type: 'weigh', batch: batch.index, bids: effect.bids }]
      case 'called':
        return [notify('task:called', { batch: batch.index, slot: effect.slot, peer: effect.peer })]
      case 'committed':
        return onCommitted(context, state, batch, effect, nowMs)
      case 'slow':
        return [notify('task:slow', { batch: batch.index, slot: effect.slot })]
      case 'outrun': {
        const { slot, peer } = effect
        return [notify('executor:outrun', { batch: batch.index, slot, peer })]
      }
      case 'elected': {
        if (!state.batches.some(({ status }) => status === 'retrying')) {
          state.status = 'running'
          state.code = ''
          state.reason = ''
        }
        const weights = [...effect.election.weights].map(([peer, ppm]) => ({
          peer,
          ppm: Number(ppm),
        }))
        const { young, slots } = effect.election
        const rankings = slots.map((slot) => slot.ranking)
        return [
          notify('task:elected', { batch: batch.index, young, weights, rankings }),
          ...advance(context, state, nowMs),
        ]
      }
      case 'unelectable':
        return retry(context, state, batch, effect.code, effect.reason, nowMs)
      case 'slotClosed':
        return [
          ...onSlotClosed(context, state, batch, effect, nowMs),
          ...retryRejected(context, state, batch, nowMs),
        ]
    }
  })
}

function onSlotClosed(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  effect: Extract<AssignmentEffect, { type: 'slotClosed' }>,
  nowMs: number,
): JobEffect[] {
  const { message } = effect.receipt
  const fields = {
    batch: batch.index,
    slot: effect.slot,
    name: context.plan.batches[batch.index]?.[effect.slot]?.name,
    young: message.young,
    executors: receiptExecutors(effect.receipt),
  }
  if (message.verdict !== 'accepted') {
    const { code, reason } = splitReason(message.reason)
    const told = notify('task:rejected', { ...fields, code, reason })
    return [told, ...onRejected(context, state, batch, code, reason, nowMs)]
  }
  const agreed = fields.executors.flatMap(({ peer, outcome }) =>
    outcome === 'agreed' ? [peer] : [],
  )
  const root = toHex(message.outputRoot) as Digest
  const reveals = agreedReveals(batch, effect.slot, agreed)
  const reveal = acceptedReveal(message.outputRoot, reveals)
  // Under tolerances some agreed with other bytes than those that count.
  const providers = agreed.filter((peer) =>
    reveals.some(({ author, message: own }) => author === peer && toHex(own.outputRoot) === root),
  )
  const metrics = reveal === undefined ? {} : parseMetrics(reveal.message.metrics)
  const listed = listedFiles(reveal)
  const told = toldUpdate(batch, effect.slot, reveal)
  const sketched = told === undefined ? {} : { told }
  const closed = closedBy(context, batch, effect)
  batch.outputs.set(effect.slot, {
    root,
    metrics,
    providers,
    files: undefined,
    fetched: 'no',
    receipt: effect.receipt,
    ...sketched,
    ...(closed === undefined ? {} : { closed }),
  })
  const accepted = notify('task:accepted', { ...fields, root, metrics })
  const isArtifact = artifactsOf(context.plan, metricsIn(state)).some(
    (artifact) => artifact.batch === batch.index && artifact.slot === effect.slot,
  )
  // An output whose sketch counted is read in full: only its holder can tell whether it was true.
  if (listed !== undefined && !isArtifact && told === undefined) {
    const files = listed.map((file) => ({ ...file }))
    return [accepted, ...takeFiles(context, state, batch, effect.slot, files, nowMs)]
  }
  const output = batch.outputs.get(effect.slot)
  if (output !== undefined && isArtifact) output.fetched = 'asked'
  const place = { batch: batch.index, slot: effect.slot }
  return [accepted, { type: 'readOutput', ...place, root, providers, ...sketched }]
}

/** What an accepted result tells of its shard. */
function closedBy(
  { plan }: JobContext,
  { index, assignment }: BatchState,
  { slot, receipt }: Extract<AssignmentEffect, { type: 'slotClosed' }>,
): ClosedShard | undefined {
  const planned = plan.batches[index]?.[slot]
  const round = assignment?.slots[slot]?.round
  if (planned === undefined || round === undefined || !isSized(plan, planned)) return undefined
  const agreed = receipt.message.executors.flatMap(({ peer, outcome, durationMs }) =>
    outcome === 'agreed' ? [{ peer: peerIdFromPublicKey(peer), durationMs }] : [],
  )
  return plan.training && closedShard(plan.training, planned, round, agreed)
}

function toldUpdate(
  batch: BatchState,
  index: number,
  reveal: Opened<'reveal'> | undefined,
): ToldUpdate | undefined {
  const slot = batch.assignment?.slots[index]
  const sketch = reveal && slot?.sketches.get(reveal.author)
  const seed2 =
    batch.assignment &&
    slot?.frozenCommitments &&
    seed2Of(batch.assignment.offer, slot.frozenCommitments, 'trust')
  if (sketch === undefined || seed2 === undefined || slot === undefined) return undefined
  return { sketch, seed2, inputs: slot.inputs }
}

function receiptExecutors(
  receipt: Opened<'receipt'>,
): Array<{ readonly peer: PeerId; readonly outcome: string }> {
  return receipt.message.executors.map(({ peer, outcome }) => ({
    peer: peerIdFromPublicKey(peer),
    outcome,
  }))
}

/** `CODE: words` of a receipt's reason. */
export function splitReason(reason: string): { code: string; reason: string } {
  const at = reason.indexOf(': ')
  return at < 0
    ? { code: reason, reason }
    : { code: reason.slice(0, at), reason: reason.slice(at + 2) }
}

/** The reveals of those who agreed. */
function agreedReveals(
  batch: BatchState,
  index: number,
  agreed: readonly PeerId[],
): ReadonlyArray<Opened<'reveal'>> {
  const reveals = batch.assignment?.slots[index]?.reveals
  return agreed.flatMap((peer) => reveals?.get(peer) ?? [])
}

function onRejected(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  code: string,
  reason: string,
  nowMs: number,
): JobEffect[] {
  if (batch.rejected === undefined) batch.rejections += 1
  batch.rejected ??= { code, reason }
  if (!RETRYABLE.has(code) || batch.rejections > REJECTIONS_MAX) {
    return end(context, state, 'failed', code, reason, nowMs)
  }
  return retryRejected(context, state, batch, nowMs)
}

/** The work on the other tasks of the batch is not thrown away: the new offer waits for it. */
function retryRejected(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  nowMs: number,
): JobEffect[] {
  const { rejected } = batch
  // The next attempt is on its way already and will run what is missing.
  if (batch.status === 'asking' || batch.status === 'retrying') {
    batch.rejected = undefined
    return []
  }
  const isUsed = batch.assignment?.slots.some(({ phase }) =>
    ['executing', 'sketching', 'revealing'].includes(phase),
  )
  if (rejected === undefined || isUsed === true || isEnded(state)) return []
  if (stragglers(context, batch).length > 0) return closeRound(context, state, batch, nowMs)
  // What was spent computing is not time spent waiting for peers.
  batch.waitingSinceMs = nowMs
  return retry(context, state, batch, rejected.code, rejected.reason, nowMs)
}

/** Offers a batch anew after a while; what was accepted stays accepted. */
function retry(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  code: string,
  reason: string,
  nowMs: number,
): JobEffect[] {
  // While an earlier batch computes, its peers are busy: the wait has not begun.
  const isNext = state.batches.slice(0, batch.index).every(isOver)
  if (!isNext) batch.waitingSinceMs = nowMs
  if (nowMs - batch.waitingSinceMs > context.queueTimeoutMs) {
    return end(context, state, 'failed', code, reason, nowMs)
  }
  batch.status = 'retrying'
  batch.rejected = undefined
  state.status = 'pending'
  state.code = code
  state.reason = reason
  const ms = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(batch.attempt, 10))
  return [
    { type: 'timer', name: `retry:${batch.index}`, ms },
    notify('job:waiting', { batch: batch.index, code, reason, retryMs: ms }),
  ]
}

function onRetryDue(state: JobRunState, index: number): JobEffect[] {
  const batch = state.batches[index]
  if (batch === undefined || batch.status !== 'retrying') return []
  batch.status = 'asking'
  return [{ type: 'askPeers', batch: index }]
}

function onOutputRead(
  context: JobContext,
  state: JobRunState,
  event: Extract<JobEvent, { type: 'outputRead' }>,
): JobEffect[] {
  const batch = state.batches[event.batch]
  if (batch === undefined) return []
  const output = batch.outputs.get(event.slot)
  if (output?.fetched === 'asked') output.fetched = 'yes'
  return takeFiles(context, state, batch, event.slot, event.files, event.nowMs)
}

function takeFiles(
  context: JobContext,
  state: JobRunState,
  batch: BatchState,
  index: number,
  files: readonly OutputFile[],
  nowMs: number,
): JobEffect[] {
  const output = batch.outputs.get(index)
  if (output === undefined) return []
  output.files = new Map(files.map((file) => [file.path, file]))
  const slots = context.plan.batches[batch.index] ?? []
  const isWhole = slots.every(
    ({ slot }) => batch.missed.has(slot) || batch.outputs.get(slot)?.files !== undefined,
  )
  if (isWhole) batch.status = 'done'
  return advance(context, state, nowMs)
}

/** Nobody serves an accepted output any more, or it is a lie: the task runs again. */
function onOutputLost(
  context: JobContext,
  state: JobRunState,
  event: Extract<JobEvent, { type: 'outputLost' }>,
): JobEffect[] {
  const batch = state.batches[event.batch]
  if (batch === undefined || !batch.outputs.delete(event.slot)) return []
  const isFalse = event.code === 'SKETCH_FALSE'
  const reason = isFalse
    ? 'an accepted output is another than its sketch'
    : 'the peers that hold an accepted output cannot be reached'
  const code = isFalse ? 'SKETCH_FALSE' : 'NO_EXECUTORS_LEFT'
  return onRejected(context, state, batch, code, reason, event.nowMs)
}

function onRestarted(context: JobContext, state: JobRunState, nowMs: number): JobEffect[] {
  const effects: JobEffect[] = [notify('job:resumed', {})]
  for (const batch of state.batches) {
    for (const [slot, output] of batch.outputs) {
      const { root, providers, told } = output
      if (output.files !== undefined) {
        // Asked for as the chosen one: asked again below.
        if (output.fetched === 'asked') output.fetched = 'no'
        continue
      }
      const sketched = told === undefined ? {} : { told }
      effects.push({ type: 'readOutput', batch: batch.index, slot, root, providers, ...sketched })
    }
    const isOpen = (context.plan.batches[batch.index] ?? []).some((slot) => isMissing(batch, slot))
    const isHanging =
      batch.status === 'assigned' || batch.status === 'asking' || batch.status === 'retrying'
    if (!isOpen || !isHanging) continue
    batch.status = 'asking'
    batch.rejected = undefined
    batch.waitingSinceMs = nowMs
    effects.push({ type: 'askPeers', batch: batch.index })
  }
  return [...effects, ...advance(context, state, nowMs)]
}

function succeed(context: JobContext, state: JobRunState, nowMs: number): JobEffect[] {
  const result = jobResult(context.plan, state)
  state.result = result
  return end(context, state, 'succeeded', '', '', nowMs)
}

function end(
  context: JobContext,
  state: JobRunState,
  status: 'succeeded' | 'failed' | 'cancelled',
  code: string,
  reason: string,
  nowMs: number,
): JobEffect[] {
  state.status = status
  state.code = code
  state.reason = reason
  state.endedMs = nowMs
  const opened = seal(
    context.network,
    'jobEnd',
    {
      jobId: fromHex(context.jobId),
      status,
      code,
      reason: reason.slice(0, LIMITS.textBytes),
      result: state.result === undefined ? new Uint8Array(0) : encodeResult(state.result),
    },
    context.signer,
  )
  return [
    { type: 'publish', opened, to: [] },
    notify(`job:${status}`, { code, reason, result: state.result }),
    { type: 'ended' },
  ]
}
