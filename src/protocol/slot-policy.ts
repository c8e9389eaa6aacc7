/** How the results of one slot are compared: the manifest names one policy for the whole job. */
import type { Opened } from '../wire/envelope.js'
import { parsePolicy } from './compare.js'
import type { ComparePolicy } from './compare.js'
import { planJob } from './plan.js'
import type { Plan, PlannedSlot } from './plan.js'

/**
 * An evaluation counts: replicas that drift apart may take one row for another, or one in a
 * thousand (training.md 3.6).
 */
const EVALUATION: ComparePolicy = { kind: 'metrics', atolMicro: 1_000_000n, rtolPpm: 1000n }

/** Built-in tasks are pure arithmetic: whoever gets other bits has a defect. */
export function slotPolicy(
  policy: ComparePolicy,
  { program, stage }: Pick<PlannedSlot, 'program' | 'stage'>,
): ComparePolicy {
  if (policy.kind === 'exact' || program.kind === 'builtin') return { kind: 'exact' }
  return policy.kind === 'tensors' && stage === 'eval' ? EVALUATION : policy
}

/** The policy of every slot of a job. @throws CtdError POLICY_INVALID */
export function slotPolicies(
  compare: string,
  plan: Plan,
): (batch: number, slot: number) => ComparePolicy {
  const policy = parsePolicy(compare)
  return (batch, slot) => {
    const planned = plan.batches[batch]?.[slot]
    return planned === undefined ? { kind: 'exact' } : slotPolicy(policy, planned)
  }
}

/** The policy of one slot, where no plan is at hand. @throws CtdError what `planJob` throws */
export function policyOfSlot(
  { message }: Opened<'manifest'>,
  place: { readonly batch: number; readonly slot: number },
): ComparePolicy {
  // Plans take time, and nothing in this one is compared otherwise.
  if (message.compare === 'exact') return { kind: 'exact' }
  return slotPolicies(message.compare, planJob(message))(place.batch, place.slot)
}
