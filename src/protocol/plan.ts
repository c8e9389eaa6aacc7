/**
 * The plan of a job: its batches of slots, what each slot runs and where its inputs come from. A
 * pure function of the manifest, so requester, executor and auditor derive the same tasks.
 */
import { CtdError } from '../errors.js'
import { canonicalJson } from '../training/canonical-json.js'
import type { Json } from '../training/canonical-json.js'
import { dataShapeOf } from '../training/data-shape.js'
import { adamStep, evalTask, planTraining, trainTask } from '../training/plan.js'
import type { TrainingPlan } from '../training/plan.js'
import { FAMILY_LAWS } from '../training/model.js'
import { familyOf } from '../training/presets.js'
import { shardFileName } from '../training/split.js'
import type { JobManifest } from '../wire/generated/job.js'
import { LIMITS } from '../wire/limits.js'
import { decodeSpec } from './job-spec.js'
import type { JobSpec, Resources, RunSpec, TrainSpec } from './job-spec.js'

/** Where a task's input comes from. */
export type InputSource =
  | { readonly kind: 'job'; readonly input: string }
  /** A file in the accepted output of an earlier slot. */
  | { readonly kind: 'slot'; readonly batch: number; readonly slot: number; readonly path: string }

export interface PlannedInput {
  readonly name: string
  readonly source: InputSource
}

export type Program =
  | { readonly kind: 'builtin'; readonly name: string; readonly params: Json }
  | {
      readonly kind: 'container'
      readonly argv: readonly string[]
      readonly env: Readonly<Record<string, string>>
    }

export interface PlannedSlot {
  readonly batch: number
  readonly slot: number
  /** For people: `split`, `train r2 s0`, `eval 0`, `run 3`. */
  readonly name: string
  readonly stage: 'split' | 'init' | 'train' | 'aggregate' | 'eval' | 'run'
  readonly round: number
  readonly index: number
  readonly program: Program
  /** Text of `/in/task.json`; empty for none. Made when asked for: plans are kept by the hundred. */
  readonly taskJson: () => string
  readonly inputs: readonly PlannedInput[]
}

export interface Plan {
  readonly spec: JobSpec
  readonly resources: Resources
  readonly batches: ReadonlyArray<readonly PlannedSlot[]>
  /** Which accepted outputs are the job's artifacts. */
  readonly artifacts: readonly Artifact[]
}

export interface Artifact {
  /** Where it is written below the results folder. */
  readonly path: string
  readonly batch: number
  readonly slot: number
  /** A file of the output, or undefined for all of it. */
  readonly file: string | undefined
}

/** The trainer inside the CPU and CUDA images. */
const TRAINER = ['python3', '/opt/ctd/trainer.py'] as const

/** @throws CtdError SPEC_INVALID, UNKNOWN_MODEL, BAD_TRAINING_SPEC, PLAN_TOO_LARGE */
export function planJob(manifest: Pick<JobManifest, 'spec' | 'inputs'>): Plan {
  const spec = decodeSpec(manifest.spec)
  const plan =
    spec.kind === 'train'
      ? planTrain(spec)
      : planRun(
          spec,
          manifest.inputs.map(({ name }) => name),
        )
  assertSize(plan)
  return plan
}

/** A plan must fit the messages that carry it. */
function assertSize({ batches }: Plan): void {
  let [slots, inputs] = [0, 0]
  for (const batch of batches) {
    slots = Math.max(slots, batch.length)
    for (const slot of batch) inputs = Math.max(inputs, slot.inputs.length)
  }
  assertFits({ batches: batches.length, slots, inputs })
}

/** @throws CtdError PLAN_TOO_LARGE */
function assertFits(size: {
  readonly batches: number
  readonly slots: number
  readonly inputs: number
}): void {
  const { batches, slots, inputs } = size
  const { batchesPerJob, slotsPerBatch, inputsPerTask, tasksPerJob } = LIMITS
  const isWithin =
    batches <= batchesPerJob &&
    slots <= slotsPerBatch &&
    inputs <= inputsPerTask &&
    batches * slots <= tasksPerJob
  if (isWithin) return
  const message = `${batches} batches of up to ${slots} tasks with up to ${inputs} inputs`
  throw new CtdError('PLAN_TOO_LARGE', `the job is too large: ${message}`, {
    hint: `at most ${batchesPerJob} batches, ${slotsPerBatch} tasks in one, ${tasksPerJob} in all, ${inputsPerTask} inputs each; fewer epochs or shards help`,
  })
}

/** The rounds and steps of a train job. */
export function trainingPlanOf(spec: TrainSpec): TrainingPlan {
  return planTraining(spec)
}

type Unplaced = Omit<PlannedSlot, 'batch' | 'slot'>

/**
 * Batch 0 splits and initialises; each further batch is one round, its shards and their
 * aggregation; the last evaluates.
 */
function planTrain(spec: TrainSpec): Plan {
  const plan = planTraining(spec)
  const last = plan.rounds.length
  // Before the slots are made: a few bytes of a spec can ask for a great many.
  assertFits({ batches: last + 2, slots: plan.shards + 1, inputs: 2 + 2 * plan.shards })
  const batches: Unplaced[][] = [[splitSlot(spec, plan), initSlot(spec)]]
  for (let round = 0; round < last; round++) {
    const shards = Array.from({ length: plan.shards }, (_, shard) => trainSlot(plan, round, shard))
    batches.push([...shards, aggregateSlot(plan, round)])
  }
  batches.push(Array.from({ length: plan.evalShards }, (_, shard) => evalSlot(plan, shard)))
  return {
    spec,
    resources: spec.resources,
    batches: place(batches),
    artifacts: [
      { path: 'model.safetensors', batch: last, slot: plan.shards, file: 'weights.safetensors' },
      { path: 'config.json', batch: 0, slot: 0, file: 'config.json' },
      ...splitFiles(spec.model),
      { path: 'split.json', batch: 0, slot: 0, file: 'split.json' },
      ...Array.from({ length: plan.evalShards }, (_, shard) => ({
        path: `evaluation-${numbered(shard)}.json`,
        batch: last + 1,
        slot: shard,
        file: 'metrics.json',
      })),
    ],
  }
}

/** Files of the split that the use of the model needs. */
function splitFiles(model: string): readonly Artifact[] {
  return FAMILY_LAWS[familyOf(model)].files.map((file) => ({ path: file, batch: 0, slot: 0, file }))
}

function place(batches: readonly Unplaced[][]): PlannedSlot[][] {
  return batches.map((slots, batch) =>
    slots.map((slot, index) => ({ ...slot, batch, slot: index })),
  )
}

function numbered(index: number): string {
  return String(index).padStart(3, '0')
}

/** Where the weights at the start of a round come from. */
function stateAt(plan: TrainingPlan, round: number): { batch: number; slot: number } {
  return round === 0 ? { batch: 0, slot: 1 } : { batch: round, slot: plan.shards }
}

function splitSlot(spec: TrainSpec, plan: TrainingPlan): Unplaced {
  const { seed, format, textColumn, labelColumn, maxLength, model } = spec
  const { shards, evalShards } = plan
  const params = { shards, evalShards, maxLength, seed, format, textColumn, labelColumn, model }
  return {
    name: 'split',
    stage: 'split',
    round: 0,
    index: 0,
    program: { kind: 'builtin', name: 'split@1', params },
    taskJson: () => '',
    inputs: [{ name: 'dataset', source: { kind: 'job', input: 'dataset' } }],
  }
}

function initSlot(spec: TrainSpec): Unplaced {
  const { model, seed, maxLength } = spec
  const params = { model, ...dataShapeOf(spec), maxLength, seed }
  return {
    name: 'init',
    stage: 'init',
    round: 0,
    index: 0,
    program: { kind: 'builtin', name: 'init@1', params },
    taskJson: () => '',
    inputs: [],
  }
}

function trainSlot(plan: TrainingPlan, round: number, shard: number): Unplaced {
  const data = shardFileName('train', shard)
  return {
    name: `train r${round} s${shard}`,
    stage: 'train',
    round,
    index: shard,
    program: { kind: 'container', argv: TRAINER, env: {} },
    taskJson: () => canonicalJson(trainTask(plan, { round, shard }) as unknown as Json),
    inputs: [
      {
        name: 'weights.safetensors',
        source: { kind: 'slot', ...stateAt(plan, round), path: 'weights.safetensors' },
      },
      { name: 'data.safetensors', source: { kind: 'slot', batch: 0, slot: 0, path: data } },
      ...feedbackInput(plan, round, shard),
    ],
  }
}

/** What the update of the same shard left out a round before; it belongs to the slot, to no peer. */
function feedbackInput(plan: TrainingPlan, round: number, shard: number): readonly PlannedInput[] {
  if (plan.compression !== 'topk' || round === 0) return []
  const path = 'feedback.safetensors'
  return [{ name: path, source: { kind: 'slot', batch: round, slot: shard, path } }]
}

function aggregateSlot(plan: TrainingPlan, round: number): Unplaced {
  const state = stateAt(plan, round)
  const from = (path: string): InputSource => ({ kind: 'slot', ...state, path })
  const { compression, outer } = plan
  const adam = adamStep(plan, round)
  const params = {
    shards: plan.shards,
    ...outer,
    ...(compression === 'int8' ? {} : { compression }),
    ...(adam === undefined ? {} : { adam: { ...adam } }),
  }
  const deltas = Array.from({ length: plan.shards }, (_, shard): PlannedInput[] => {
    const source = { kind: 'slot', batch: round + 1, slot: shard } as const
    return [
      {
        name: `delta-${numbered(shard)}.safetensors`,
        source: { ...source, path: 'delta.safetensors' },
      },
      { name: `metrics-${numbered(shard)}.json`, source: { ...source, path: 'metrics.json' } },
    ]
  })
  return {
    name: `aggregate r${round}`,
    stage: 'aggregate',
    round,
    index: 0,
    program: { kind: 'builtin', name: 'aggregate@2', params },
    taskJson: () => '',
    inputs: [
      { name: 'weights.safetensors', source: from('weights.safetensors') },
      { name: 'momentum.safetensors', source: from('momentum.safetensors') },
      ...deltas.flat(),
    ],
  }
}

function evalSlot(plan: TrainingPlan, shard: number): Unplaced {
  const state = stateAt(plan, plan.rounds.length)
  return {
    name: `eval ${shard}`,
    stage: 'eval',
    round: plan.rounds.length,
    index: shard,
    program: { kind: 'container', argv: TRAINER, env: {} },
    taskJson: () => canonicalJson(evalTask(plan) as unknown as Json),
    inputs: [
      {
        name: 'weights.safetensors',
        source: { kind: 'slot', ...state, path: 'weights.safetensors' },
      },
      {
        name: 'data.safetensors',
        source: { kind: 'slot', batch: 0, slot: 0, path: shardFileName('eval', shard) },
      },
    ],
  }
}

/** One batch of tasks that differ in `CTD_TASK_INDEX` and `CTD_SEED` alone. */
function planRun(spec: RunSpec, inputs: readonly string[]): Plan {
  const slots = Array.from({ length: spec.tasks }, (_, index): Unplaced => {
    const env = {
      ...spec.env,
      CTD_TASK_INDEX: String(index),
      CTD_TASK_COUNT: String(spec.tasks),
      CTD_SEED: `${spec.seed}/${index}`,
    }
    return {
      name: `run ${index}`,
      stage: 'run',
      round: 0,
      index,
      program: { kind: 'container', argv: spec.command, env },
      taskJson: () => canonicalJson({ index, count: spec.tasks, seed: `${spec.seed}/${index}` }),
      inputs: inputs.map((input) => ({ name: input, source: { kind: 'job', input } })),
    }
  })
  return {
    spec,
    resources: spec.resources,
    batches: place([slots]),
    artifacts: slots.map((_, slot) => ({
      path: spec.tasks === 1 ? 'output' : `output-${numbered(slot)}`,
      batch: 0,
      slot,
      file: undefined,
    })),
  }
}
