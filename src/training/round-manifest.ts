/**
 * The sizes of an elastic round's shards, as every call of one of its tasks carries them. How they
 * follow from what was measured is in `protocol/elastic.ts`.
 */
import { z } from 'zod'
import { CtdError } from '../errors.js'
import { canonicalJson } from './canonical-json.js'
import type { Json } from './canonical-json.js'
import { PLAN_LIMITS } from './plan.js'
import type { ShardSize, TrainingPlan } from './plan.js'

export interface RoundManifest {
  readonly version: 1
  readonly round: number
  /** Shards that the round before closed without. */
  readonly missed: readonly number[]
  readonly shards: readonly ShardSize[]
}

const step = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
const RoundManifestSchema = z.strictObject({
  version: z.literal(1),
  round: z.int().min(0).max(PLAN_LIMITS.rounds),
  missed: z.array(z.int().min(0).max(PLAN_LIMITS.shards)).max(PLAN_LIMITS.shards),
  shards: z
    .array(z.strictObject({ start: step, steps: step.min(1) }))
    .min(1)
    .max(PLAN_LIMITS.shards),
})

/** The one encoding: canonical JSON. */
export function encodeRound(manifest: RoundManifest): Uint8Array {
  return new TextEncoder().encode(canonicalJson(manifest as unknown as Json))
}

/** @throws CtdError ROUND_MALFORMED unless it is in its one encoding and within the plan */
export function decodeRound(plan: TrainingPlan, round: number, bytes: Uint8Array): RoundManifest {
  let manifest: RoundManifest
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    manifest = RoundManifestSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new CtdError('ROUND_MALFORMED', 'a call without the sizes of its round', { cause })
  }
  const isFit =
    manifest.round === round &&
    manifest.shards.length === plan.shards &&
    manifest.shards.every(({ start, steps }) => start + steps <= plan.totalSteps) &&
    Buffer.compare(encodeRound(manifest), bytes) === 0
  if (isFit) return manifest
  throw new CtdError('ROUND_MALFORMED', 'a call with sizes that do not fit its job')
}
