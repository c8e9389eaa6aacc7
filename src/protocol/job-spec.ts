/**
 * What a job asks for, as the manifest carries it: canonical JSON of one of these three forms.
 * Checked by every peer that considers working on the job.
 */
import { z } from 'zod'
import { CtdError } from '../errors.js'
import { ALGORITHM_FIELDS } from '../training/algorithm.js'
import { canonicalJson } from '../training/canonical-json.js'
import { DATA_FORMATS } from '../training/data/source.js'
import { DATA_SHAPE_FIELDS } from '../training/data-shape.js'
import { GivenModelSchema } from '../training/given-model.js'
import { MAP_LIMITS, MAP_OUTPUTS } from '../training/map.js'
import { TOKENIZER_FILES } from '../training/tokenizers/files.js'
import { LIMITS } from '../wire/limits.js'

const text = z.string().max(LIMITS.textBytes)

/** What one replica of a task may use. */
export const ResourcesSchema = z.strictObject({
  memoryMiB: z
    .int()
    .min(16)
    .max(1 << 20),
  cpus: z.int().min(1).max(256),
  pids: z.int().min(4).max(4096),
  outMiB: z
    .int()
    .min(1)
    .max(1 << 20),
  gpus: z.int().min(0).max(LIMITS.gpusPerPeer),
  vramMiB: z
    .int()
    .min(0)
    .max(1 << 20),
  isolation: z.enum(['runc', 'runsc', 'kata']),
  timeoutMs: z.int().min(1000).max(LIMITS.taskTimeoutMs),
})
export type Resources = z.infer<typeof ResourcesSchema>

/** A state that another job left: the job's inputs `start-…`, checked against the model. */
const StartSchema = z.strictObject({
  /** Digest of what the state was taken from: a round's output, or a file of weights. */
  of: z.string().regex(/^[0-9a-f]{64}$/),
  /** Rounds that are behind it: the plan goes on with this one; 0 for a new plan. */
  round: z.int().min(0),
  momentum: z.boolean(),
  residual: z.boolean(),
  /** Shards that bring feedback: all of them or none. */
  feedback: z.int().min(0).max(256),
})
export type Start = z.infer<typeof StartSchema>

const TrainSpecSchema = z.strictObject({
  kind: z.literal('train'),
  model: text,
  epochs: z.int().min(1),
  seed: text,
  rows: z.int().min(1),
  ...DATA_SHAPE_FIELDS,
  shards: z.int().min(1).optional(),
  batchSize: z.int().min(1).optional(),
  learningRate: z.number().positive().optional(),
  ...ALGORITHM_FIELDS,
  start: StartSchema.exactOptional(),
  /** The first weights are those of the input `weights`, a folder. */
  pretrained: z.literal(true).exactOptional(),
  /** Files of the input `tokenizer`, a folder; bytes are the tokens where it is absent. */
  tokenizer: z.array(z.enum(TOKENIZER_FILES)).min(1).max(TOKENIZER_FILES.length).exactOptional(),
  maxLength: z.int().min(8),
  format: z.enum(DATA_FORMATS),
  textColumn: text,
  labelColumn: text,
  /** Of a table of numbers; all but the label when absent. */
  featureColumns: z.array(text).min(1).max(1000).optional(),
  resources: ResourcesSchema,
})
export type TrainSpec = z.infer<typeof TrainSpecSchema>

const RunSpecSchema = z.strictObject({
  kind: z.literal('run'),
  command: z.array(z.string().max(4096)).min(1).max(256),
  env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/), z.string().max(4096)),
  seed: text,
  tasks: z.int().min(1).max(LIMITS.slotsPerBatch),
  resources: ResourcesSchema,
})
export type RunSpec = z.infer<typeof RunSpecSchema>

const MapSpecSchema = z.strictObject({
  kind: z.literal('map'),
  verb: z.enum(['embed', 'generate']),
  model: GivenModelSchema,
  rows: z.int().min(1).max(MAP_LIMITS.rows),
  shards: z.int().min(1).max(MAP_LIMITS.shards),
  seed: text,
  format: z.enum(DATA_FORMATS),
  /** Empty where rows are lines. */
  textColumn: text,
  output: z.enum(MAP_OUTPUTS),
  /** Of `generate`: tokens behind each prompt at most, and how they are drawn; 0 for `embed`. */
  maxTokens: z.int().min(0).max(8192),
  temperature: z.number().min(0).max(10),
  /** Id that ends a text. */
  endToken: z.int().min(0).max(262_143),
  resources: ResourcesSchema,
})
export type MapSpec = z.infer<typeof MapSpecSchema>

export type JobSpec = TrainSpec | RunSpec | MapSpec
const JobSpecSchema = z.discriminatedUnion('kind', [TrainSpecSchema, RunSpecSchema, MapSpecSchema])

/** The one encoding of a spec. */
export function encodeSpec(spec: JobSpec): Uint8Array {
  const bytes = new TextEncoder().encode(canonicalJson(JobSpecSchema.parse(spec)))
  if (bytes.length > LIMITS.specBytes) {
    throw new CtdError('SPEC_TOO_LARGE', `the job description has ${bytes.length} bytes`, {
      hint: `at most ${LIMITS.specBytes}; put long arguments into an input file`,
    })
  }
  return bytes
}

/** @throws CtdError SPEC_INVALID unless the bytes are the one encoding of a valid spec */
export function decodeSpec(bytes: Uint8Array): JobSpec {
  let spec: JobSpec
  try {
    spec = JobSpecSchema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)))
  } catch (cause) {
    throw new CtdError('SPEC_INVALID', 'the job description is not valid', { cause })
  }
  if (Buffer.compare(encodeSpec(spec), bytes) !== 0) {
    throw new CtdError('SPEC_INVALID', 'the job description is not in its one encoding')
  }
  return spec
}
