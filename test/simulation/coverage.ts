/** What must happen in enough schedules: each fault is felt, each adversary acts, each way is gone. */
import { ADVERSARIES } from './adversary.js'

const FAULTS = [
  'answer-lost',
  'clock-drift',
  'clock-offset',
  'crash',
  'crash-requester',
  'disk-was-full',
  'engine-hung',
  'engine-lost',
  'failing-disk',
  'full-disk',
  'gossip-duplicated',
  'gossip-lost',
  'gossip-unreachable',
  'late-join',
  'overtaken',
  'partition',
  'request-lost',
  'slow-disk',
  'sync-slow',
  'write-lost',
  'write-refused',
  'write-torn',
] as const

const WAYS = [
  'branch:called-again',
  'branch:equivocation-proved',
  'branch:escalated',
  'branch:hidden-replica',
  'branch:peer-excluded',
  'executor:lost',
  'gossip:accept',
  'gossip:ignore',
  'job:resumed',
  'job:succeeded',
  'job:waiting:NO_ELIGIBLE_BIDS',
  'outcome:agreed',
  'outcome:dissented',
  'outcome:failed',
  'outcome:outrun',
  'outcome:spared',
  'outcome:timed-out',
  'outcome:withheld',
  'task:slow',
  'verdict:accepted',
  'verdict:accepted-young',
  'verdict:accepted-tensors',
] as const

/** Names in an outcome's coverage. */
export const EXPECTED: readonly string[] = [
  ...ADVERSARIES.map((adversary) => `adversary:${adversary}`),
  ...FAULTS.map((fault) => `fault:${fault}`),
  ...WAYS,
]
