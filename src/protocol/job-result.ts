/** The result of a job from its accepted outputs. */
import { InvariantError } from '../errors.js'
import { canonicalJson } from '../training/canonical-json.js'
import type { Json } from '../training/canonical-json.js'
import type { ResultFields } from '../training/families/family.js'
import { FAMILY_LAWS } from '../training/model.js'
import { familyOf } from '../training/presets.js'
import { digestOf, fromHex, utf8 } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import type { AcceptedOutput, JobResult, JobRunState } from './job.js'
import { outputOf } from './job.js'
import type { TrainSpec } from './job-spec.js'
import type { Artifact, Evaluation, Plan } from './plan.js'
import { artifactsOf, chosenEvaluation, runningSlots } from './selection.js'
import type { MetricsOf } from './selection.js'

const OUTPUTS_DOMAIN = utf8('ctd-outputs-v1\0')

/** Metrics of a run's tasks are part of its result while they are this short, in bytes. */
const METRICS_BYTES_MAX = 8 * 1024

/** The one encoding of a result, as the end of a job carries it: canonical JSON. */
export function encodeResult(result: JobResult): Uint8Array {
  return utf8(canonicalJson(result as unknown as Json))
}

/** What `results` shows, from outputs alone: the same for everyone who holds them. */
export type ResultOutputs = Pick<AcceptedOutput, 'root' | 'metrics' | 'files'>

/** @throws InvariantError when an output is missing */
export function jobResult(plan: Plan, state: JobRunState): JobResult {
  return resultOf(plan, (batch, slot) => outputOf(state, batch, slot))
}

export function resultOf(
  plan: Plan,
  output: (batch: number, slot: number) => ResultOutputs | undefined,
): JobResult {
  const need = (batch: number, slot: number): ResultOutputs => {
    const found = output(batch, slot)
    if (found === undefined) throw new InvariantError(`no output of slot ${batch}/${slot}`)
    return found
  }
  switch (plan.spec.kind) {
    case 'train':
      return trainResult(plan, plan.spec, need, output)
    case 'run':
      return runResult(plan, need)
    case 'map':
      return { accuracy: null, hash: artifactHash(plan.artifacts, need), rows: plan.spec.rows }
  }
}

/** Of the file that the job is for: the first of its artifacts. */
function artifactHash(
  [first]: readonly Artifact[],
  need: (batch: number, slot: number) => ResultOutputs,
): Digest {
  if (first?.file === undefined) throw new InvariantError('the job has no file of results')
  const hash = need(first.batch, first.slot).files?.get(first.file)?.digest
  if (hash === undefined) throw new InvariantError(`${first.file} was not read`)
  return hash
}

function trainResult(
  plan: Plan,
  spec: TrainSpec,
  need: (batch: number, slot: number) => ResultOutputs,
  output: (batch: number, slot: number) => ResultOutputs | undefined,
): JobResult {
  const metricsOf: MetricsOf = (batch, slot) => output(batch, slot)?.metrics
  const hash = artifactHash(artifactsOf(plan, metricsOf), need)
  const chosen = chosenEvaluation(plan, metricsOf)
  const evaluations = evaluationSlots(plan, chosen).map(
    ({ batch, slot }) => need(batch, slot).metrics,
  )
  const { results, baseline } = FAMILY_LAWS[familyOf(spec.model)]
  const split = need(0, 0).metrics
  return {
    accuracy: null,
    ...evaluationFields(spec, evaluations),
    // What a model would reach that learnt nothing but this; see `split.json`.
    ...(split['n'] === undefined
      ? {}
      : { baseline: { name: baseline, ...withoutNulls(results((name) => split[name] ?? 0)) } }),
    hash,
    rounds: roundsRun(plan, metricsOf),
    ...(chosen === undefined ? {} : { round: chosen.round }),
  }
}

/** What the counts of all shards of an evaluation mean. */
export function evaluationFields(
  { model }: TrainSpec,
  evaluations: ReadonlyArray<Readonly<Record<string, number>>>,
): ResultFields {
  return FAMILY_LAWS[familyOf(model)].results((name) =>
    evaluations.reduce((total, metrics) => total + (metrics[name] ?? 0), 0),
  )
}

function withoutNulls(fields: ResultFields): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(fields).filter((entry): entry is [string, number] => entry[1] !== null),
  )
}

/** Those of the chosen round, or the last batch where there is no choice. */
function evaluationSlots(
  { batches }: Plan,
  chosen: Evaluation | undefined,
): ReadonlyArray<{ readonly batch: number; readonly slot: number }> {
  if (chosen === undefined) return batches.at(-1) ?? []
  return chosen.slots.map((slot) => ({ batch: chosen.batch, slot }))
}

function roundsRun(plan: Plan, metricsOf: MetricsOf): number {
  const slots = runningSlots(plan, metricsOf)
  return slots.filter(({ stage }) => stage === 'aggregate').length
}

function runResult(plan: Plan, need: (batch: number, slot: number) => ResultOutputs): JobResult {
  const outputs = (plan.batches[0] ?? []).map(({ batch, slot }) => need(batch, slot))
  const [only] = outputs
  const hash: Digest =
    outputs.length === 1 && only !== undefined
      ? only.root
      : digestOf(OUTPUTS_DOMAIN, ...outputs.map(({ root }) => fromHex(root)))
  const accuracy = outputs.length === 1 ? (only?.metrics['accuracy'] ?? null) : null
  const metrics = outputs.map((output) => output.metrics)
  // Beyond that they stand in the outputs alone: the end of a job is one small message.
  const isShort = canonicalJson(metrics).length <= METRICS_BYTES_MAX
  return { accuracy, hash, ...(isShort ? { metrics } : {}) }
}
