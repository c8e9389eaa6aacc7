/** What names a task and what an executor commits to. */
import { digestOf, fromHex, publicKeyFromPeerId, sha256, utf8 } from '../wire/ids.js'
import type { Digest, PeerId, TaskId } from '../wire/ids.js'
import type { Reveal, Task } from '../wire/generated/task.js'

const TASK_DOMAIN = utf8('ctd-task-v1\0')
const COMMITMENT_DOMAIN = utf8('ctd-commitment-v1\0')
/** In the place of the length of a name. */
const ROUND_MARK = 0xffff_ffff
const OUTCOME_DOMAIN = utf8('ctd-outcome-v1\0')

function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/**
 * Names a task: hash of its slot, the digests of its inputs and, where there is one, the round
 * manifest, so that executors who were given different work commit to different tasks.
 */
export function taskIdOf(
  task: Pick<Task, 'jobId' | 'batch' | 'slot'> & {
    readonly inputs: ReadonlyArray<{ readonly name: string; readonly digest: Uint8Array }>
    readonly round?: Uint8Array
  },
): TaskId {
  const parts = [TASK_DOMAIN, task.jobId, uint32(task.batch), uint32(task.slot)]
  for (const { name, digest } of task.inputs) {
    const text = utf8(name)
    parts.push(uint32(text.length), text, digest)
  }
  // Behind the inputs nothing else can have this form: a name so long is none.
  if (task.round !== undefined && task.round.length > 0) {
    parts.push(uint32(ROUND_MARK), sha256(task.round))
  }
  return digestOf(...parts) as string as TaskId
}

export interface CommitmentInput {
  readonly taskId: TaskId
  readonly attempt: number
  readonly peer: PeerId
  readonly outputRoot: Uint8Array
  readonly metrics: Uint8Array
  /** 32 random bytes; without them a result of few possible values could be guessed. */
  readonly salt: Uint8Array
  /** Of the update (`updateRootOf`), 32 bytes, where tensors are compared; else empty. */
  readonly updateRoot?: Uint8Array
}

/**
 * H(task, attempt, peer, output root, metrics, salt, update root), 32 bytes. Bound to the peer: no
 * copying.
 */
export function commitmentOf(input: CommitmentInput): Uint8Array {
  return sha256(
    COMMITMENT_DOMAIN,
    fromHex(input.taskId),
    uint32(input.attempt),
    publicKeyFromPeerId(input.peer),
    input.outputRoot,
    sha256(input.metrics),
    input.salt,
    input.updateRoot ?? new Uint8Array(0),
  )
}

/** What replicas must agree on: the output root together with the metrics. */
export function outcomeOf(reveal: Pick<Reveal, 'outputRoot' | 'metrics'>): Digest {
  return digestOf(OUTCOME_DOMAIN, reveal.outputRoot, sha256(reveal.metrics))
}
