/**
 * Early stopping and the choice of the round whose weights are the result: pure rules over the
 * accepted evaluations, so that requester, executors and auditor agree which batches are skipped.
 */
import type { Artifact, Evaluation, Plan, PlannedSlot, Selection } from './plan.js'

/** Numbers of an accepted output; undefined while there is none. */
export type MetricsOf = (
  batch: number,
  slot: number,
) => Readonly<Record<string, number>> | undefined

/**
 * What a model lost over its evaluation, to be made small: the summed loss in fixed point, or the
 * wrong answers where a family has no loss. Sums of integers over the same rows compare exactly.
 */
function penaltyOf({ batch, slots }: Evaluation, metricsOf: MetricsOf): number | undefined {
  let sum = 0
  for (const slot of slots) {
    const metrics = metricsOf(batch, slot)
    if (metrics === undefined) return undefined
    sum += metrics['nllFixed'] ?? -(metrics['correct'] ?? 0)
  }
  return sum
}

interface Walk {
  /** Evaluations up to the stop, or to the first that is not known. */
  readonly walked: readonly Evaluation[]
  /** The first of the smallest penalty. */
  readonly best: Evaluation | undefined
  readonly end: 'stopped' | 'unknown' | 'last'
}

function walk({ evaluations, patience }: Selection, metricsOf: MetricsOf): Walk {
  const walked: Evaluation[] = []
  let best: { readonly evaluation: Evaluation; readonly penalty: number } | undefined
  let sinceBest = 0
  for (const evaluation of evaluations) {
    const penalty = penaltyOf(evaluation, metricsOf)
    if (penalty === undefined) return { walked, best: best?.evaluation, end: 'unknown' }
    walked.push(evaluation)
    if (best === undefined || penalty < best.penalty) {
      best = { evaluation, penalty }
      sinceBest = 0
    } else sinceBest += 1
    if (patience !== undefined && sinceBest >= patience) {
      return { walked, best: best.evaluation, end: 'stopped' }
    }
  }
  return { walked, best: best?.evaluation, end: 'last' }
}

/** Whether a batch runs. While an evaluation before it is unknown, nobody can say. */
export function batchFate(
  plan: Pick<Plan, 'selection'>,
  batch: number,
  metricsOf: MetricsOf,
): 'runs' | 'skipped' | 'unknown' {
  const { selection } = plan
  if (selection?.patience === undefined) return 'runs'
  const before = selection.evaluations.filter((evaluation) => evaluation.batch < batch)
  const { end } = walk({ ...selection, evaluations: before }, metricsOf)
  if (end === 'last') return 'runs'
  return end === 'stopped' ? 'skipped' : 'unknown'
}

/** The slots that run, once all that decides it is known; before, those that are sure to. */
export function runningSlots(plan: Plan, metricsOf: MetricsOf): readonly PlannedSlot[] {
  return plan.batches.filter((_, batch) => batchFate(plan, batch, metricsOf) === 'runs').flat()
}

/** The evaluation that speaks for the result; undefined while that is open, or there is no choice. */
export function chosenEvaluation(
  { selection }: Pick<Plan, 'selection'>,
  metricsOf: MetricsOf,
): Evaluation | undefined {
  if (selection === undefined) return undefined
  const { walked, best, end } = walk(selection, metricsOf)
  if (end === 'unknown') return undefined
  return selection.keep === 'best' ? best : walked.at(-1)
}

/** The artifacts, those of a round that is still to be chosen left out. */
export function artifactsOf(
  plan: Pick<Plan, 'artifacts' | 'selection'>,
  metricsOf: MetricsOf,
): readonly Artifact[] {
  if (plan.selection === undefined) return plan.artifacts
  const chosen = chosenEvaluation(plan, metricsOf)
  return plan.artifacts.flatMap((artifact) => {
    if (artifact.isChosen !== true) return [artifact]
    return chosen === undefined ? [] : [{ ...artifact, batch: chosen.batch }]
  })
}

/** Whether the output of a slot is an artifact, or becomes one if its round is chosen. */
export function mayBeArtifact(
  { artifacts, selection }: Pick<Plan, 'artifacts' | 'selection'>,
  { batch, slot }: Pick<PlannedSlot, 'batch' | 'slot'>,
): boolean {
  return artifacts.some((artifact) => {
    if (artifact.slot !== slot) return false
    if (artifact.isChosen !== true || selection === undefined) return artifact.batch === batch
    return selection.evaluations.some((evaluation) => evaluation.batch === batch)
  })
}
