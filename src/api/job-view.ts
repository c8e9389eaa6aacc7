/** What people see of a job, from the requester's state. */
import type { SlotState } from '../protocol/assignment.js'
import type { BatchState, JobRunState } from '../protocol/job.js'
import type { Plan, PlannedSlot } from '../protocol/plan.js'
import type { JobSpec } from '../protocol/job-spec.js'
import { evaluationFields } from '../protocol/job-result.js'
import type { Opened } from '../wire/envelope.js'
import { peerIdFromPublicKey } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import { estimateCost } from '../training/plan.js'
import type { ReplicaFetch } from '../executor/fetch-state.js'
import type { JobView, ReplicaView, TaskView } from './daemon-port.js'

/** The last heartbeat of an executor. */
export interface Beat {
  readonly phase: string
  readonly step: number
  readonly total: number
  readonly note: string
  readonly fetch?: ReplicaFetch
}

export interface JobViewSource {
  readonly manifest: Opened<'manifest'>
  readonly plan: Plan
  readonly state: JobRunState
  /** By task id and peer. */
  readonly beats: ReadonlyMap<string, Beat>
}

/** GFLOP/s of one CPU core in small matrix products, for the estimate told before a job starts. */
const ESTIMATE_GFLOPS = 20

export function jobView({ manifest, plan, state, beats }: JobViewSource): JobView {
  const { message } = manifest
  const tasks = plan.batches.flatMap((slots) =>
    slots.map((slot) => taskView(slot, state.batches[slot.batch], beats)),
  )
  const accepted = tasks.filter((task) => task.state === 'accepted').length
  const total = tasks.filter((task) => !['skipped', 'missed'].includes(task.state)).length
  return {
    id: manifest.id,
    name: message.name,
    kind: plan.spec.kind,
    requester: manifest.author,
    status: state.status,
    code: state.code,
    reason: state.reason === '' ? waitingReason(state) : state.reason,
    progress: total === 0 ? 0 : accepted / total,
    createdMs: message.createdMs,
    endedMs: state.endedMs ?? null,
    tasksTotal: total,
    tasksAccepted: accepted,
    tasks,
    estimate: estimateOf(plan, message.replicas),
    result: state.result ?? null,
    curve: curveOf(plan, state),
  }
}

/** What a job waits for that has no executors yet and met no obstacle. */
function waitingReason({ status, batches }: JobRunState): string {
  if (status !== 'pending') return ''
  const assignment = batches.find((batch) => batch.status === 'assigned')?.assignment
  if (assignment === undefined) return 'it is about to be offered to peers'
  const { phase, asked, bids, declines, openings } = assignment
  if (phase === 'bidding') {
    return `waiting for bids: ${asked.size} peers asked, ${bids.size} bid, ${declines.size} declined`
  }
  return `drawing executors among ${bids.size} bidders, ${openings.size} have opened their lots`
}

function taskView(
  slot: PlannedSlot,
  batch: BatchState | undefined,
  beats: ReadonlyMap<string, Beat>,
): TaskView {
  const { name } = slot
  const place = { batch: slot.batch, slot: slot.slot, name }
  const output = batch?.outputs.get(slot.slot)
  const state = batch?.assignment?.slots[slot.slot]
  const ranking = batch?.assignment?.election?.slots[slot.slot]?.ranking ?? []
  const replicas =
    state === undefined
      ? []
      : ranking.slice(0, state.seats).map((peer) => replicaView(peer, state, beats))
  if (output !== undefined)
    return { ...place, state: 'accepted', replicas, outputRoot: output.root }
  return { ...place, state: phaseOf(batch, state), replicas }
}

function phaseOf(batch: BatchState | undefined, slot: SlotState | undefined): string {
  if (batch === undefined || batch.status === 'waiting') return 'waiting'
  if (batch.status === 'skipped') return 'skipped'
  if (batch.assignment?.phase !== 'elected') return 'electing'
  if (slot !== undefined && batch.missed.has(slot.index)) return 'missed'
  return slot?.phase === 'closed' ? 'rejected' : (slot?.phase ?? 'waiting')
}

function replicaView(peer: PeerId, slot: SlotState, beats: ReadonlyMap<string, Beat>): ReplicaView {
  const executors = slot.receipt?.message.executors
  const told = executors?.find((executor) => peerIdFromPublicKey(executor.peer) === peer)
  const loss = slot.lost.get(peer)
  const note = loss === undefined ? {} : { note: `${loss.code}: ${loss.reason}` }
  if (told !== undefined) return { peer, phase: told.outcome, ...note }
  if (loss !== undefined) return { peer, phase: loss.outcome, ...note }
  if (slot.reveals.has(peer)) return { peer, phase: 'revealed' }
  if (slot.commitments.has(peer)) return { peer, phase: 'committed' }
  const beat = beats.get(`${slot.taskId ?? ''}/${peer}`)
  return beat === undefined ? { peer, phase: 'called' } : { peer, ...beat }
}

function estimateOf(plan: Plan, replicas: number): string {
  const { training } = plan
  if (training === undefined) return ''
  const cost = estimateCost(training, { gflops: ESTIMATE_GFLOPS, replicas })
  const minutes = cost.coreSeconds / 60
  const total =
    minutes < 2
      ? `${Math.ceil(cost.coreSeconds)} core-seconds`
      : `${Math.ceil(minutes)} core-minutes`
  return (
    `${(cost.parameters / 1e6).toFixed(2)} M parameters, ${training.rounds.length} rounds of ` +
    `${training.shards} shards, each run ${replicas} times: at most about ${total} in all at ` +
    `${ESTIMATE_GFLOPS} GFLOP/s a core, and ${(cost.updateBytes / 1e6).toFixed(2)} MB an update`
  )
}

/**
 * Mean loss at the start and the end of every round whose shards are all accepted, and what its
 * evaluation gave where it was evaluated.
 */
function curveOf(plan: Plan, state: JobRunState): Array<Record<string, number>> {
  const points: Array<Record<string, number>> = []
  for (const slots of plan.batches) {
    const metricsAt = (stage: PlannedSlot['stage']): readonly Numbers[] | undefined => {
      const planned = slots.filter(
        (slot) => slot.stage === stage && state.batches[slot.batch]?.missed.has(slot.slot) !== true,
      )
      const found = planned.flatMap((slot): readonly Numbers[] => {
        const output = state.batches[slot.batch]?.outputs.get(slot.slot)
        return output === undefined ? [] : [output.metrics]
      })
      return planned.length > 0 && found.length === planned.length ? found : undefined
    }
    const trained = metricsAt('train')
    if (trained === undefined) continue
    points.push({
      round: slots[0]?.round ?? 0,
      lossStart: sumOf(trained, 'lossStart') / trained.length,
      lossEnd: sumOf(trained, 'lossEnd') / trained.length,
      ...evaluationOf(plan.spec, metricsAt('eval')),
    })
  }
  return points
}

function evaluationOf(
  spec: JobSpec,
  metrics: readonly Numbers[] | undefined,
): Record<string, number> {
  if (metrics === undefined || spec.kind !== 'train') return {}
  const { accuracy = null, loss = null } = evaluationFields(spec, metrics)
  return {
    ...(loss === null ? {} : { evalLoss: loss }),
    ...(accuracy === null ? {} : { accuracy }),
  }
}

type Numbers = Readonly<Record<string, number>>

function sumOf(metrics: readonly Numbers[], name: string): number {
  return metrics.reduce((sum, values) => sum + (values[name] ?? 0), 0)
}
