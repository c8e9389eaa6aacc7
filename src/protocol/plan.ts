/**
 * The plan of a job: its batches of slots, what each slot runs and where its inputs come from. A
 * pure function of the manifest, so requester, executor and auditor derive the same tasks.
 */
import { CtdError } from '../errors.js'
import { canonicalJson } from '../training/canonical-json.js'
import type { Json } from '../training/canonical-json.js'
import { dataShapeOf } from '../training/data-shape.js'
import { adamStep, evalTask, planTraining, roundsWithin, trainTask } from '../training/plan.js'
import type { TrainingPlan } from '../training/plan.js'
import { FAMILY_LAWS } from '../training/model.js'
import { familyOf } from '../training/presets.js'
import { decodeRound } from '../training/round-manifest.js'
import { shardFileName } from '../training/split.js'
import type { JobManifest } from '../wire/generated/job.js'
import { LIMITS } from '../wire/limits.js'
import { parsePolicy } from './compare.js'
import type { ComparePolicy } from './compare.js'
import { decodeSpec } from './job-spec.js'
import type { JobSpec, Resources, RunSpec, Start, TrainSpec } from './job-spec.js'
import { mapPlan } from './map-plan.js'
import { TENSOR_PROFILES } from './tensors.js'

/** Where a task's input comes from. */
export type InputSource =
  | { readonly kind: 'job'; readonly input: string }
  /** A file in the accepted output of an earlier slot. */
  | { readonly kind: 'slot'; readonly batch: number; readonly slot: number; readonly path: string }

export interface PlannedInput {
  readonly name: string
  readonly source: InputSource
  /** An executor that holds `base` may make the input of it and of `update`, and check its digest. */
  readonly rebuild?: { readonly base: string; readonly update: string }
  /** Only there to make another input of: the program does not see it. */
  readonly isAid?: true
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
  readonly stage:
    'split' | 'init' | 'train' | 'aggregate' | 'eval' | 'run' | 'map' | 'join' | 'merge'
  readonly round: number
  readonly index: number
  readonly program: Program
  /**
   * Text of `/in/task.json`; empty for none. Made when asked for: plans are kept by the hundred.
   * Of the round manifest where sizes are in the call. @throws CtdError ROUND_MALFORMED
   */
  readonly taskJson: (round?: Uint8Array) => string
  readonly inputs: readonly PlannedInput[]
}

export interface Plan {
  readonly spec: JobSpec
  readonly resources: Resources
  /** The rounds and steps of a train job. */
  readonly training?: TrainingPlan
  readonly batches: ReadonlyArray<readonly PlannedSlot[]>
  /** Which accepted outputs are the job's artifacts. */
  readonly artifacts: readonly Artifact[]
  /** Where rounds are evaluated: which of them run, and whose weights are the result. */
  readonly selection?: Selection
}

/** An evaluation of the weights after a round. */
export interface Evaluation {
  readonly round: number
  readonly batch: number
  readonly slots: readonly number[]
}

export interface Selection {
  /** Rounds ascending; the last is the last of the plan. */
  readonly evaluations: readonly Evaluation[]
  /** Evaluations in a row that may bring nothing better; undefined for no end. */
  readonly patience: number | undefined
  readonly keep: 'best' | 'last'
}

export interface Artifact {
  /** Where it is written below the results folder. */
  readonly path: string
  readonly batch: number
  readonly slot: number
  /** A file of the output, or undefined for all of it. */
  readonly file: string | undefined
  /** Of the chosen round; its slot is the same in every round, `batch` is the last (selection.ts). */
  readonly isChosen?: true
}

/** The trainer inside the CPU and CUDA images. */
const TRAINER = ['python3', '/opt/ctd/trainer.py'] as const

/**
 * @throws CtdError SPEC_INVALID, UNKNOWN_MODEL, BAD_TRAINING_SPEC, PLAN_TOO_LARGE, POLICY_INVALID
 */
export function planJob(
  manifest: Pick<JobManifest, 'spec' | 'inputs'> & Partial<Pick<JobManifest, 'compare'>>,
): Plan {
  const spec = decodeSpec(manifest.spec)
  const inputs = manifest.inputs.map(({ name }) => name)
  const plan = planOf(spec, inputs, manifest.compare ?? 'exact')
  assertSize(plan)
  return plan
}

function planOf(spec: JobSpec, inputs: readonly string[], compare: string): Plan {
  switch (spec.kind) {
    case 'train':
      return planTrain(spec, parsePolicy(compare))
    case 'run':
      return planRun(spec, inputs)
    case 'map': {
      const { batches, artifacts } = mapPlan(spec, inputs, TRAINER)
      return { spec, resources: spec.resources, batches: place(batches), artifacts }
    }
  }
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

/**
 * The rounds and steps of a train job. Where tensors are compared within a tolerance, no round has
 * more steps than honest replicas stay near each other for.
 */
function trainingPlanOf(spec: TrainSpec, policy: ComparePolicy): TrainingPlan {
  const plan = planTraining(spec)
  if (policy.kind !== 'tensors') return plan
  if (plan.elastic === true) {
    const hint = 'use exact comparison, or leave out elastic'
    throw new CtdError('BAD_TRAINING_SPEC', 'elastic shards have no bound of steps', { hint })
  }
  if (plan.compression === 'int4' || plan.compression === 'topk') {
    // Whole bytes hold several numbers, or the choice of those kept turns on the last digit.
    const message = `updates as ${plan.compression} are alike bit for bit or not at all`
    throw new CtdError('BAD_TRAINING_SPEC', message, {
      hint: 'with a tolerance use --compression int8 or none',
    })
  }
  const { segmentSteps } = TENSOR_PROFILES[policy.profile]
  const rounds = roundsWithin(segmentSteps, plan.totalSteps, spec.growth)
  return rounds <= plan.rounds.length ? plan : planTraining({ ...spec, rounds })
}

type Unplaced = Omit<PlannedSlot, 'batch' | 'slot'>

/**
 * Batch 0 splits and initialises; each further batch is one round, its shards and their
 * aggregation, where asked for with an evaluation of what they led to; else the last evaluates.
 */
function planTrain(spec: TrainSpec, policy: ComparePolicy): Plan {
  const plan = trainingPlanOf(spec, policy)
  const rounds = plan.rounds.length - plan.startRound
  const { shards, evalShards } = plan
  const perRound = shards + 2 + (plan.evaluated.length === 0 ? 0 : evalShards)
  // Before the slots are made: a few bytes of a spec can ask for a great many.
  assertFits({ batches: rounds + 2, slots: perRound, inputs: 6 + 2 * shards })
  const batches: Unplaced[][] = [[splitSlot(spec, plan), firstSlot(spec), ...adaptersSlot(spec)]]
  for (let round = plan.startRound; round < plan.rounds.length; round++) {
    const trained = Array.from({ length: shards }, (_, shard) => trainSlot(plan, round, shard))
    const isEvaluated = plan.evaluated.includes(round)
    const evaluated = isEvaluated ? evalSlots(spec, plan, round + 1) : []
    batches.push([...trained, aggregateSlot(spec, plan, round), ...evaluated])
  }
  const selection = selectionOf(spec, plan)
  if (selection === undefined) batches.push(evalSlots(spec, plan, plan.rounds.length))
  const chosen = selection === undefined ? {} : { isChosen: true as const }
  return {
    spec,
    resources: spec.resources,
    training: plan,
    batches: place(batches),
    artifacts: [
      ...trainedArtifacts(spec, plan, chosen),
      { path: 'config.json', batch: 0, slot: 0, file: 'config.json' },
      ...splitFiles(spec),
      { path: 'split.json', batch: 0, slot: 0, file: 'split.json' },
      ...Array.from({ length: evalShards }, (_, shard) => ({
        path: `evaluation-${numbered(shard)}.json`,
        batch: selection === undefined ? rounds + 1 : rounds,
        slot: selection === undefined ? shard : shards + 1 + shard,
        file: 'metrics.json',
        ...chosen,
      })),
    ],
    ...(selection === undefined ? {} : { selection }),
  }
}

/** Files of the split that the use of the model needs. */
function splitFiles({ model, tokenizer = [] }: TrainSpec): readonly Artifact[] {
  const files = [...FAMILY_LAWS[familyOf(model)].files, ...tokenizer]
  return files.map((file) => ({ path: file, batch: 0, slot: 0, file }))
}

function selectionOf(spec: TrainSpec, plan: TrainingPlan): Selection | undefined {
  if (plan.evaluated.length === 0) return undefined
  const slots = Array.from({ length: plan.evalShards }, (_, shard) => plan.shards + 1 + shard)
  return {
    evaluations: plan.evaluated
      .filter((round) => round >= plan.startRound)
      .map((round) => ({ round, batch: batchOf(plan, round), slots })),
    patience: spec.patience,
    keep: spec.keep ?? 'last',
  }
}

function batchOf(plan: TrainingPlan, round: number): number {
  return round - plan.startRound + 1
}

function place(batches: ReadonlyArray<readonly Unplaced[]>): PlannedSlot[][] {
  return batches.map((slots, batch) =>
    slots.map((slot, index) => ({ ...slot, batch, slot: index })),
  )
}

/** `007`, as names of files and inputs have it. */
export function numbered(index: number): string {
  return String(index).padStart(3, '0')
}

/** Where the weights at the start of a round come from. */
function stateAt(plan: TrainingPlan, round: number): { batch: number; slot: number } {
  if (round > plan.startRound) return { batch: batchOf(plan, round - 1), slot: plan.shards }
  return { batch: 0, slot: plan.lora === undefined ? 1 : 2 }
}

/** The weights at the start of a round, and what they can be made of. */
function weightsInputs(plan: TrainingPlan, round: number): readonly PlannedInput[] {
  const from = (at: number, path: string): InputSource => ({
    kind: 'slot',
    ...stateAt(plan, at),
    path,
  })
  const weights = { name: 'weights.safetensors', source: from(round, 'weights.safetensors') }
  if (plan.broadcast !== 'update' || round === plan.startRound) return [weights]
  const [base, update] = ['base.safetensors', 'update.safetensors']
  return [
    { ...weights, rebuild: { base, update } },
    { name: base, source: from(round - 1, 'weights.safetensors'), isAid: true },
    { name: update, source: from(round, 'update.safetensors'), isAid: true },
  ]
}

function splitSlot(spec: TrainSpec, plan: TrainingPlan): Unplaced {
  const { seed, format, textColumn, labelColumn, featureColumns, maxLength, model } = spec
  const { shards, evalShards } = plan
  const params = {
    ...{ shards, evalShards, maxLength, seed, format, textColumn, labelColumn, model },
    ...(featureColumns === undefined ? {} : { featureColumns }),
  }
  return {
    name: 'split',
    stage: 'split',
    round: 0,
    index: 0,
    program: { kind: 'builtin', name: 'split@1', params },
    taskJson: () => '',
    inputs: ['dataset', ...(spec.tokenizer === undefined ? [] : ['tokenizer'])].map((input) => ({
      name: input,
      source: { kind: 'job', input },
    })),
  }
}

/** Draws the first weights, or takes those of a round that another job closed. */
function firstSlot(spec: TrainSpec): Unplaced {
  if (spec.start !== undefined) return continueSlot(spec, spec.start)
  return spec.pretrained === undefined ? initSlot(spec) : importSlot(spec)
}

function importSlot(spec: TrainSpec): Unplaced {
  const init = initSlot(spec)
  const params = init.program.kind === 'builtin' ? init.program.params : {}
  return {
    ...init,
    name: 'import',
    program: { kind: 'builtin', name: 'import@1', params },
    inputs: [{ name: 'weights', source: { kind: 'job', input: 'weights' } }],
  }
}

function continueSlot(spec: TrainSpec, start: Start): Unplaced {
  const init = initSlot(spec)
  const params = init.program.kind === 'builtin' ? init.program.params : {}
  return {
    ...init,
    name: `continue r${start.round}`,
    round: start.round,
    program: { kind: 'builtin', name: 'continue@1', params },
    inputs: startInputs({ ...start, feedback: 0 }).map((input) => ({
      name: `${input.slice('start-'.length)}.safetensors`,
      source: { kind: 'job', input },
    })),
  }
}

/** The job inputs that a state takes, by name. */
function startInputs(start: Start): readonly string[] {
  return [
    'start-weights',
    ...(start.momentum ? ['start-momentum'] : []),
    ...(start.residual ? ['start-residual'] : []),
    ...Array.from({ length: start.feedback }, (_, shard) => `start-feedback-${numbered(shard)}`),
  ]
}

/** The inputs that a train job must have, in their order. */
export function trainInputs(spec: TrainSpec): readonly string[] {
  return [
    'dataset',
    ...(spec.tokenizer === undefined ? [] : ['tokenizer']),
    ...(spec.pretrained === undefined ? [] : ['weights']),
    ...(spec.start === undefined ? [] : startInputs(spec.start)),
  ]
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

/** Where adapters are trained: the model's weights, the same blob in every round. */
const FROZEN: PlannedInput = {
  name: 'frozen.safetensors',
  source: { kind: 'slot', batch: 0, slot: 1, path: 'weights.safetensors' },
}

function frozenInput({ lora }: TrainingPlan): readonly PlannedInput[] {
  return lora === undefined ? [] : [FROZEN]
}

function adaptersSlot(spec: TrainSpec): readonly Unplaced[] {
  if (spec.lora === undefined) return []
  const name = 'adapters'
  const program = { kind: 'builtin', name: 'adapters@1', params: adapterParams(spec) } as const
  return [{ ...initSlot(spec), name, index: 1, program, inputs: [FROZEN] }]
}

/** Works the adapters into the model as they are at the start of a round. */
function mergeSlot(spec: TrainSpec, plan: TrainingPlan, round: number): readonly Unplaced[] {
  if (spec.lora?.merge !== true) return []
  const source = { kind: 'slot', ...stateAt(plan, round), path: 'weights.safetensors' } as const
  const program = { kind: 'builtin', name: 'merge@1', params: adapterParams(spec) } as const
  const inputs = [FROZEN, { name: 'adapters.safetensors', source }]
  return [{ ...initSlot(spec), name: 'merge', stage: 'merge', round, program, inputs }]
}

function adapterParams(spec: TrainSpec): Json {
  const { model, seed, maxLength, lora } = spec
  return { model, ...dataShapeOf(spec), maxLength, seed, lora: { ...lora } }
}

/** The first is what the hash of the result names. */
function trainedArtifacts(
  spec: TrainSpec,
  { rounds, startRound, shards, evalShards, evaluated }: TrainingPlan,
  chosen: Pick<Artifact, 'isChosen'>,
): readonly Artifact[] {
  const batch = rounds.length - startRound
  const trained = { batch, slot: shards, file: 'weights.safetensors', ...chosen }
  if (spec.lora === undefined) return [{ path: 'model.safetensors', ...trained }]
  const config = 'adapter_config.json'
  const merged =
    evaluated.length === 0
      ? { ...trained, batch: batch + 1, slot: evalShards }
      : { ...trained, slot: shards + 1 + evalShards }
  return [
    { path: 'adapter_model.safetensors', ...trained },
    { path: config, batch: 0, slot: 2, file: config },
    ...(spec.lora.merge === true ? [{ path: 'model.safetensors', ...merged }] : []),
  ]
}

function trainSlot(plan: TrainingPlan, round: number, shard: number): Unplaced {
  const data = shardFileName('train', shard)
  return {
    name: `train r${round} s${shard}`,
    stage: 'train',
    round,
    index: shard,
    program: { kind: 'container', argv: TRAINER, env: {} },
    taskJson: (sizes) => {
      const isElastic = plan.elastic === true
      const manifest = isElastic ? decodeRound(plan, round, sizes ?? new Uint8Array(0)) : undefined
      const task = trainTask(plan, { round, shard }, manifest?.shards[shard])
      return canonicalJson(task as unknown as Json)
    },
    inputs: [
      ...weightsInputs(plan, round),
      { name: 'data.safetensors', source: { kind: 'slot', batch: 0, slot: 0, path: data } },
      ...frozenInput(plan),
      ...feedbackInput(plan, round, shard),
    ],
  }
}

/** What the update of the same shard left out a round before; it belongs to the slot, to no peer. */
function feedbackInput(plan: TrainingPlan, round: number, shard: number): readonly PlannedInput[] {
  if (plan.compression !== 'topk' || round === 0) return []
  const path = 'feedback.safetensors'
  if (round === plan.startRound) {
    const input = `start-feedback-${numbered(shard)}`
    return [{ name: path, source: { kind: 'job', input } }]
  }
  return [
    { name: path, source: { kind: 'slot', batch: batchOf(plan, round - 1), slot: shard, path } },
  ]
}

function aggregateSlot(spec: TrainSpec, plan: TrainingPlan, round: number): Unplaced {
  const state = stateAt(plan, round)
  const from = (path: string): InputSource => ({ kind: 'slot', ...state, path })
  const { compression, broadcast, outer } = plan
  const adam = adamStep(plan, round)
  const params = {
    shards: plan.shards,
    ...outer,
    ...(compression === 'int8' ? {} : { compression }),
    ...(broadcast === 'full' ? {} : { broadcast }),
    ...(plan.elastic === true ? { elastic: true } : {}),
    ...(adam === undefined ? {} : { adam: { ...adam } }),
  }
  const hasResidual = round > plan.startRound || spec.start?.residual === true
  const residual = 'residual.safetensors'
  const deltas = Array.from({ length: plan.shards }, (_, shard): PlannedInput[] => {
    const source = { kind: 'slot', batch: batchOf(plan, round), slot: shard } as const
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
      ...weightsInputs(plan, round),
      { name: 'momentum.safetensors', source: from('momentum.safetensors') },
      ...(broadcast === 'update' && hasResidual
        ? [{ name: residual, source: from(residual) }]
        : []),
      ...deltas.flat(),
    ],
  }
}

/** Evaluates the weights at the start of a round, that is those after the one before. */
function evalSlots(spec: TrainSpec, plan: TrainingPlan, round: number): Unplaced[] {
  const isEnd = plan.evaluated.length === 0
  const evaluations = Array.from({ length: plan.evalShards }, (_, shard): Unplaced => ({
    name: isEnd ? `eval ${shard}` : `eval r${round - 1} ${shard}`,
    stage: 'eval',
    round: isEnd ? round : round - 1,
    index: shard,
    program: { kind: 'container', argv: TRAINER, env: {} },
    taskJson: () => canonicalJson(evalTask(plan) as unknown as Json),
    inputs: [
      ...weightsInputs(plan, round),
      {
        name: 'data.safetensors',
        source: { kind: 'slot', batch: 0, slot: 0, path: shardFileName('eval', shard) },
      },
      ...frozenInput(plan),
    ],
  }))
  return [...evaluations, ...mergeSlot(spec, plan, round)]
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
