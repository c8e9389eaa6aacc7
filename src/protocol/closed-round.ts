/** The state that a train job can go on from: what its latest closed round left. */
import type { PeerId } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { numbered } from './plan.js'
import type { Plan, PlannedSlot } from './plan.js'
import type { Start, TrainSpec } from './job-spec.js'

/** An accepted output with its files by path. */
export interface ClosedOutput {
  readonly root: Digest
  readonly files: ReadonlyMap<string, { readonly digest: Digest; readonly sizeBytes: number }>
  readonly providers: readonly PeerId[]
}

export type ClosedOutputOf = (batch: number, slot: number) => ClosedOutput | undefined

/** A file of the state, under the name of the job input that it becomes. */
export interface StateFile {
  readonly name: string
  readonly digest: Digest
  readonly sizeBytes: number
  readonly providers: readonly PeerId[]
}

export interface ClosedRound {
  readonly start: Start
  /** In the order in which the plan of the new job asks for them. */
  readonly files: readonly StateFile[]
}

/**
 * The latest round that leaves work to do and whose state is known; undefined when there is none.
 * A job that only lacked its evaluation runs its last round again.
 */
export function latestClosedRound(
  plan: Plan,
  spec: TrainSpec,
  outputOf: ClosedOutputOf,
): ClosedRound | undefined {
  const closing = plan.batches.flat().filter(({ stage }) => stage === 'aggregate')
  for (const slot of closing.slice(0, -1).reverse()) {
    const found = stateAfter(plan, spec, slot, outputOf)
    if (found !== undefined) return found
  }
  return undefined
}

function stateAfter(
  plan: Plan,
  spec: TrainSpec,
  slot: PlannedSlot,
  outputOf: ClosedOutputOf,
): ClosedRound | undefined {
  const output = outputOf(slot.batch, slot.slot)
  if (output === undefined) return undefined
  const fileOf = (from: ClosedOutput | undefined, path: string, name: string): StateFile[] => {
    const file = from?.files.get(path)
    return file === undefined || from === undefined
      ? []
      : [{ name, digest: file.digest, sizeBytes: file.sizeBytes, providers: from.providers }]
  }
  const weights = fileOf(output, 'weights.safetensors', 'start-weights')
  const momentum = fileOf(output, 'momentum.safetensors', 'start-momentum')
  const residual = fileOf(output, 'residual.safetensors', 'start-residual')
  const shards = (plan.batches[slot.batch] ?? []).filter(({ stage }) => stage === 'train')
  const feedback =
    spec.compression === 'topk'
      ? shards.flatMap(({ slot: shard }) =>
          fileOf(
            outputOf(slot.batch, shard),
            'feedback.safetensors',
            `start-feedback-${numbered(shard)}`,
          ),
        )
      : []
  const isWhole = spec.compression !== 'topk' || feedback.length === shards.length
  if (weights.length === 0 || !isWhole) return undefined
  return {
    start: {
      of: output.root,
      round: slot.round + 1,
      momentum: momentum.length > 0,
      residual: residual.length > 0,
      feedback: feedback.length,
    },
    files: [...weights, ...momentum, ...residual, ...feedback],
  }
}
