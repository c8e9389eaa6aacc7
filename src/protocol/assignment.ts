/**
 * The state of one batch as its stewards see it, from the offer to the receipts, with the events
 * that move it and the effects it asks for. The steps are in `assignment-step.ts` (bids,
 * openings, election) and `slot-step.ts` (one slot's executors).
 */
import type { AnyOpened, Opened, Signer } from '../wire/envelope.js'
import type { Standing } from '../wire/generated/election.js'
import type { TaskInput } from '../wire/generated/task.js'
import type { Digest, JobId, PeerId, TaskId } from '../wire/ids.js'
import type { ComparePolicy } from './compare.js'
import type { Election } from './election.js'

/** What the steps need to know beside their state: the same for a whole job. */
export interface AssignmentContext {
  readonly network: string
  readonly signer: Signer
  /** The steward's VRF key (`deriveVrfSecret`); its outputs draw the hidden replica. */
  readonly vrfSecret: Uint8Array
  readonly jobId: JobId
  readonly requester: PeerId
  readonly replicas: number
  readonly auditPpm: number
  readonly revealWindowMs: number
  /** No replica is slow before (slow-replica.ts). */
  readonly slowFloorMs: number
  /** How the results of a slot are compared. */
  readonly policyOf: (batch: number, slot: number) => ComparePolicy
}

export interface Loss {
  readonly outcome: 'timed-out' | 'failed' | 'withheld' | 'outrun'
  readonly code: string
  readonly reason: string
}

export interface SlotState {
  readonly index: number
  phase: 'waiting' | 'executing' | 'sketching' | 'revealing' | 'closed'
  inputs: TaskInput[]
  providers: PeerId[]
  /** The round manifest of its call; empty where sizes are fixed by the plan. */
  round: Uint8Array
  taskId: TaskId | undefined
  /** How many of the ranking are called, and how many commitments are wanted now. */
  seats: number
  wanted: number
  /** The last certificate of the slot's chain, and all its links after the election. */
  tail: Digest | undefined
  readonly chain: AnyOpened[]
  calledMs: number
  /** When each executor was first heard to be at it. */
  readonly startedMs: Map<PeerId, number>
  /** Whether a timer waits for slow executors, and whether a standby was called for one already. */
  isWatched: boolean
  hasEarlyStandby: boolean
  readonly lost: Map<PeerId, Loss>
  readonly commitments: Map<PeerId, Opened<'commitment'>>
  readonly committedMs: Map<PeerId, number>
  readonly reveals: Map<PeerId, Opened<'reveal'>>
  frozenCommitments: Opened<'freezeCommitments'> | undefined
  /** Of the last freeze, where tensors are compared: every freeze has a seed of its own. */
  readonly sketchCommitments: Map<PeerId, Opened<'sketchCommitment'>>
  frozenSketches: Opened<'freezeSketches'> | undefined
  readonly sketches: Map<PeerId, Opened<'sketch'>>
  hiddenDrawn: boolean
  receipt: Opened<'receipt'> | undefined
}

export interface AssignmentState {
  readonly batch: number
  readonly offer: Opened<'offer'>
  phase: 'bidding' | 'weighing' | 'opening' | 'elected' | 'failed'
  readonly asked: Set<PeerId>
  readonly bids: Map<PeerId, Opened<'bid'>>
  readonly declines: Map<PeerId, Opened<'decline'>>
  readonly openings: Map<PeerId, Opened<'vrfOpen'>>
  frozenBids: Opened<'freezeBids'> | undefined
  frozenOpenings: Opened<'freezeOpenings'> | undefined
  election: Election | undefined
  readonly slots: SlotState[]
}

/** What a steward collects. */
export type Collected = Extract<
  AnyOpened,
  {
    kind:
      | 'bid'
      | 'decline'
      | 'vrfOpen'
      | 'commitment'
      | 'sketchCommitment'
      | 'sketch'
      | 'reveal'
      | 'failure'
  }
>

export type AssignmentEvent = { readonly nowMs: number } & (
  | { readonly type: 'message'; readonly opened: Collected }
  | {
      readonly type: 'standings'
      readonly standings: ReadonlyMap<PeerId, Standing>
      readonly receiptRoot: Uint8Array
    }
  | { readonly type: 'deadline'; readonly name: string }
  | {
      readonly type: 'taskReady'
      readonly slot: number
      readonly inputs: readonly TaskInput[]
      readonly providers: readonly PeerId[]
      readonly round?: Uint8Array
    }
  /** The round goes on without the slot. */
  | { readonly type: 'slotMissed'; readonly slot: number }
  | {
      readonly type: 'executorLost'
      readonly slot: number
      readonly peer: PeerId
      readonly code: string
      readonly reason: string
    }
  /** An executor was heard to be at it. */
  | { readonly type: 'executorStarted'; readonly slot: number; readonly peer: PeerId }
  /** One of the slot's executors is slow. */
  | { readonly type: 'standbyDue'; readonly slot: number }
)

export type AssignmentEffect =
  /** Publish to the job's topic and hand over directly to those it concerns. */
  | { readonly type: 'publish'; readonly opened: AnyOpened; readonly to: readonly PeerId[] }
  | { readonly type: 'timer'; readonly name: string; readonly ms: number }
  | { readonly type: 'clearTimer'; readonly name: string }
  /** Answer with a `standings` event for these bidders. */
  | { readonly type: 'weigh'; readonly bids: ReadonlyArray<Opened<'bid'>> }
  | { readonly type: 'elected'; readonly election: Election }
  | { readonly type: 'unelectable'; readonly code: string; readonly reason: string }
  | { readonly type: 'called'; readonly slot: number; readonly peer: PeerId }
  | { readonly type: 'committed'; readonly slot: number; readonly tookMs: number }
  /** A standby is called beside executors that are slow. */
  | { readonly type: 'slow'; readonly slot: number }
  /** Nobody waits for it any more: enough others have committed. */
  | { readonly type: 'outrun'; readonly slot: number; readonly peer: PeerId }
  | { readonly type: 'slotClosed'; readonly slot: number; readonly receipt: Opened<'receipt'> }

/** A new batch. `asked` are the peers an answer is expected from; all answered closes early. */
export function createAssignment(
  offer: Opened<'offer'>,
  asked: readonly PeerId[],
): AssignmentState {
  return {
    batch: offer.message.batch,
    offer,
    phase: 'bidding',
    asked: new Set(asked),
    bids: new Map(),
    declines: new Map(),
    openings: new Map(),
    frozenBids: undefined,
    frozenOpenings: undefined,
    election: undefined,
    slots: Array.from({ length: offer.message.slots }, (_, index) => createSlot(index)),
  }
}

function createSlot(index: number): SlotState {
  return {
    index,
    phase: 'waiting',
    inputs: [],
    providers: [],
    round: new Uint8Array(0),
    taskId: undefined,
    seats: 0,
    wanted: 0,
    tail: undefined,
    chain: [],
    calledMs: 0,
    startedMs: new Map(),
    isWatched: false,
    hasEarlyStandby: false,
    lost: new Map(),
    commitments: new Map(),
    committedMs: new Map(),
    reveals: new Map(),
    frozenCommitments: undefined,
    sketchCommitments: new Map(),
    frozenSketches: undefined,
    sketches: new Map(),
    hiddenDrawn: false,
    receipt: undefined,
  }
}
