/**
 * What a submitter may choose of the algorithm: the same fields in a request, a job file and the
 * job's description. Absent means the default, so that a plain job keeps its encoding.
 */
import { z } from 'zod'
import { COMPRESSIONS } from './codec.js'
import { LoraSchema } from './lora.js'

const ROUNDS_MAX = 1000

export const ALGORITHM_FIELDS = {
  /** Averagings; more rounds cost more bytes, fewer let shards drift apart. */
  rounds: z.int().min(1).max(ROUNDS_MAX).exactOptional(),
  /** Steps of a round by those of the one before, until they are 16 times the first's. */
  growth: z.number().min(1).max(16).exactOptional(),
  /** How shards send their updates. */
  compression: z.enum(COMPRESSIONS).exactOptional(),
  /** How the weights come back: whole, or as an int8 update of those that a peer holds. */
  broadcast: z.enum(['full', 'update']).exactOptional(),
  /** One step a round on the mean gradient of all shards. */
  sync: z.literal(true).exactOptional(),
  /** Evaluate after every so many rounds, and after the last. */
  evalEvery: z.int().min(1).max(ROUNDS_MAX).exactOptional(),
  /** Stop when so many evaluations in a row brought nothing better. */
  patience: z.int().min(1).max(ROUNDS_MAX).exactOptional(),
  /** Which evaluated round's weights are the result. */
  keep: z.enum(['best', 'last']).exactOptional(),
  /** Size shards by measured speed, and close rounds without stragglers. */
  elastic: z.literal(true).exactOptional(),
  /** Train adapters of a model whose weights stay as they are. */
  lora: LoraSchema.exactOptional(),
} as const

const AlgorithmSchema = z.object(ALGORITHM_FIELDS)
export type Algorithm = z.infer<typeof AlgorithmSchema>

/** The choices among other fields; what is absent stays absent. */
export function algorithmOf(source: Algorithm): Algorithm {
  return AlgorithmSchema.parse(source)
}
