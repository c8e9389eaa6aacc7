/** The state of a job at its requester, the events that move it and the effects it asks for. */
import type { AnyOpened, Opened } from '../wire/envelope.js'
import type { TaskInput } from '../wire/generated/task.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { AssignmentContext, AssignmentEvent, AssignmentState } from './assignment.js'
import type { ClosedShard } from './elastic.js'
import type { Plan, PlannedSlot } from './plan.js'
import type { MetricsOf } from './selection.js'

export interface JobContext extends AssignmentContext {
  readonly manifest: Opened<'manifest'>
  readonly plan: Plan
  readonly bidWindowMs: number
  readonly openWindowMs: number
  readonly diversity: 'operator' | 'operator-and-address'
  /** How long a job may wait for peers before it fails. */
  readonly queueTimeoutMs: number
}

export interface OutputFile {
  readonly path: string
  readonly sizeBytes: number
  readonly digest: Digest
}

/** What was said of an accepted output whose tensors were compared, for whoever holds it. */
export interface ToldUpdate {
  readonly sketch: Opened<'sketch'>
  /** The second seed that it was made under. */
  readonly seed2: Uint8Array
  /** Of the task. */
  readonly inputs: readonly TaskInput[]
}

/** The accepted output of a slot. */
export interface AcceptedOutput {
  readonly root: Digest
  /** Numbers of `/out/metrics.json`. */
  readonly metrics: Readonly<Record<string, number>>
  readonly providers: readonly PeerId[]
  /** Known once the requester has read the folder. */
  files: ReadonlyMap<string, OutputFile> | undefined
  /** Whether the requester has fetched the files that are artifacts, or is at it. */
  fetched: 'no' | 'asked' | 'yes'
  readonly receipt: Opened<'receipt'>
  readonly told?: ToldUpdate
  /** What it tells of its shard, where the sizes of shards follow from that. */
  readonly closed?: ClosedShard
}

export interface BatchState {
  readonly index: number
  /** `skipped`: the job stopped before it (selection.ts). */
  status: 'waiting' | 'asking' | 'assigned' | 'retrying' | 'done' | 'skipped'
  attempt: number
  /** Attempts with a rejected task so far; each asks for a fresh election. */
  rejections: number
  /** Why the batch is to be offered anew once none of its tasks is under way any more. */
  rejected: { readonly code: string; readonly reason: string } | undefined
  waitingSinceMs: number
  assignment: AssignmentState | undefined
  readonly outputs: Map<number, AcceptedOutput>
  /** Slots that an elastic round closed without; empty while it is open. */
  readonly missed: Set<number>
  /** Whether the grace of an elastic round has begun, in which attempt. */
  graceAttempt: number
}

export interface JobRunState {
  status: 'pending' | 'running' | 'succeeded' | 'failed' | 'cancelled'
  code: string
  reason: string
  endedMs: number | undefined
  result: JobResult | undefined
  readonly batches: BatchState[]
  /** How long finished replicas took, by stage of the plan. */
  readonly tookMs: Map<PlannedSlot['stage'], number[]>
}

/** `accuracy` is null where a job has none; `hash` names the model or the output. */
export interface JobResult {
  readonly accuracy: number | null
  readonly hash: Digest
  readonly [key: string]: unknown
}

export type JobEvent = { readonly nowMs: number } & (
  | { readonly type: 'started' }
  /** Replayed to the end after a restart: what was under way is offered anew. */
  | { readonly type: 'restarted' }
  | { readonly type: 'cancelled'; readonly reason: string }
  | { readonly type: 'failed'; readonly code: string; readonly reason: string }
  /** Answers `askPeers`: who is connected now and should answer the offer. */
  | { readonly type: 'peersAsked'; readonly batch: number; readonly peers: readonly PeerId[] }
  | { readonly type: 'retryDue'; readonly batch: number }
  | {
      readonly type: 'outputRead'
      readonly batch: number
      readonly slot: number
      readonly files: readonly OutputFile[]
    }
  | {
      readonly type: 'outputLost'
      readonly batch: number
      readonly slot: number
      /** `SKETCH_FALSE` where it is there and is another than its sketch. */
      readonly code?: string
    }
  | { readonly type: 'assignment'; readonly batch: number; readonly event: AssignmentEvent }
)

export type JobEffect =
  | { readonly type: 'publish'; readonly opened: AnyOpened; readonly to: readonly PeerId[] }
  | { readonly type: 'askPeers'; readonly batch: number }
  | { readonly type: 'timer'; readonly name: string; readonly ms: number }
  | { readonly type: 'clearTimer'; readonly name: string }
  | {
      readonly type: 'readOutput'
      readonly batch: number
      readonly slot: number
      readonly root: Digest
      readonly providers: readonly PeerId[]
      readonly told?: ToldUpdate
    }
  | { readonly type: 'weigh'; readonly batch: number; readonly bids: ReadonlyArray<Opened<'bid'>> }
  | { readonly type: 'ended' }
  /** For people who watch: what just happened. */
  | {
      readonly type: 'notify'
      readonly event: string
      readonly fields: Readonly<Record<string, unknown>>
    }

export function createJob(plan: Plan): JobRunState {
  return {
    status: 'pending',
    code: '',
    reason: '',
    endedMs: undefined,
    result: undefined,
    tookMs: new Map(),
    batches: plan.batches.map((_, index) => ({
      index,
      status: 'waiting',
      attempt: 0,
      rejections: 0,
      rejected: undefined,
      waitingSinceMs: 0,
      assignment: undefined,
      outputs: new Map(),
      missed: new Set(),
      graceAttempt: 0,
    })),
  }
}

/** Every accepted output of a job, by batch and slot. */
export function outputOf(
  state: JobRunState,
  batch: number,
  slot: number,
): AcceptedOutput | undefined {
  return state.batches[batch]?.outputs.get(slot)
}

/** The numbers of accepted outputs, as the rules of selection.ts ask for them. */
export function metricsIn(state: JobRunState): MetricsOf {
  return (batch, slot) => outputOf(state, batch, slot)?.metrics
}
