/**
 * What may be written to the API, as strict schemas: an unknown key is an error, every number has a
 * range. From the same schemas come the OpenAPI document and the check of a job file in the CLI.
 * Shapes of answers are stated for the document; answers are not re-checked when sent.
 */
import { isAbsolute } from 'node:path'
import { z } from 'zod'
import { DATA_FORMATS } from '../training/data/source.js'
import { ALGORITHM_FIELDS } from '../training/algorithm.js'
import { MAP_LIMITS, MAP_OUTPUTS } from '../training/map.js'
import { API_LIMITS } from './limits.js'

const DAY_MS = 24 * 3600 * 1000
const DIGEST = /^[0-9a-f]{64}$/

const text = (max: number): z.ZodString =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[^\u0000-\u001f\u007f]*$/, 'must not contain control characters')
const whole = (min: number, max: number): z.ZodInt => z.int().min(min).max(max)

/** A blob digest, or an absolute path on the daemon's machine. */
const source = text(4096).refine((value) => DIGEST.test(value) || isAbsolute(value), {
  error: 'must be a blob digest (64 hexadecimal characters) or an absolute path',
})

/** Unique prefix of a job id, or the whole of it. */
export const jobIdSchema = z
  .string()
  .regex(/^[0-9a-f]{4,64}$/, 'must be 4 to 64 lower-case hexadecimal characters')

/** A relative path with `/` between its parts, never climbing out of its folder. */
export const relativePathSchema = text(API_LIMITS.pathChars).refine(
  (path) =>
    !path.includes('\\') &&
    path.split('/').every((part) => part !== '' && part !== '.' && part !== '..'),
  { error: 'must be relative, without empty parts, "." or ".."' },
)

const common = {
  name: text(64).exactOptional(),
  seed: text(64).exactOptional(),
  replicas: whole(2, 7).exactOptional(),
  auditPpm: whole(0, 1_000_000).exactOptional(),
}

const tensorTolerance = {
  tensors: z.enum(['fp32', 'tf32', 'bf16', 'auto']),
  tau: z.number().min(1e-6).max(0.2).exactOptional(),
}

/** Body of `POST /v1/calibration`. */
export const calibrationSchema = z.strictObject({
  ...tensorTolerance,
  tensors: z.enum(['fp32', 'tf32', 'bf16']),
})

const train = {
  model: text(128),
  dataset: source,
  epochs: whole(1, 10_000),
  ...common,
  shards: whole(1, 256).exactOptional(),
  batchSize: whole(1, 4096).exactOptional(),
  maxLength: whole(1, 8192).exactOptional(),
  learningRate: z.number().gt(0).max(10).exactOptional(),
  ...ALGORITHM_FIELDS,
  from: z.string().regex(DIGEST, 'must be a digest of 64 hexadecimal characters').exactOptional(),
  weights: source.exactOptional(),
  tokenizer: source.exactOptional(),
  textColumn: text(128).exactOptional(),
  labelColumn: text(128).exactOptional(),
  featureColumns: z.array(text(128)).min(1).max(1000).readonly().exactOptional(),
  format: z.enum(DATA_FORMATS).exactOptional(),
  compare: z.strictObject(tensorTolerance).exactOptional(),
}

/** Body of `POST /submit-job`: a train job without its `kind`. */
export const submitJobSchema = z.strictObject(train)
export const trainRequestSchema = z.strictObject({ kind: z.literal('train'), ...train })

export const inputNameSchema = z
  .string()
  .regex(/^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$/, 'must be a plain file name: letters, digits, . _ -')

const tolerance = (max: number): z.ZodNumber =>
  z
    .number()
    .min(0)
    .max(max)
    .refine((value) => value === 0 || value >= 1e-6, { error: 'must be 0 or at least 0.000001' })

/** Replicas agree when each number of `/out/metrics.json` is this near, or each tensor. */
const compareSchema = z.union([
  z.strictObject({
    atol: tolerance(1e6).exactOptional(),
    rtol: tolerance(0.5).exactOptional(),
  }),
  z.strictObject(tensorTolerance),
])

export const runRequestSchema = z.strictObject({
  kind: z.literal('run'),
  image: text(4096),
  command: z.array(z.string().max(16_384)).min(1).max(256).readonly(),
  env: z
    .record(
      z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be a variable name'),
      z.string().max(4096),
    )
    .refine((env) => Object.keys(env).length <= 64, { error: 'at most 64 variables' })
    .exactOptional(),
  inputs: z
    .array(z.strictObject({ name: inputNameSchema, source }))
    .max(64)
    .readonly()
    .exactOptional(),
  ...common,
  tasks: whole(1, 256).exactOptional(),
  compare: compareSchema.exactOptional(),
  memoryMiB: whole(16, 4_194_304).exactOptional(),
  outMiB: whole(1, 4_194_304).exactOptional(),
  timeoutMs: whole(1000, DAY_MS).exactOptional(),
  gpus: whole(0, 16).exactOptional(),
  vramMiB: whole(0, 1_048_576).exactOptional(),
  isolation: z.enum(['runc', 'runsc', 'kata']).exactOptional(),
})

const mapRequestSchema = z.strictObject({
  kind: z.literal('map'),
  verb: z.enum(['embed', 'generate']),
  model: source,
  dataset: source,
  format: z.enum(DATA_FORMATS).exactOptional(),
  textColumn: text(128).exactOptional(),
  output: z.enum(MAP_OUTPUTS),
  maxTokens: whole(1, 8191).exactOptional(),
  temperature: z.number().min(0).max(10).exactOptional(),
  ...common,
  shards: whole(1, MAP_LIMITS.shards).exactOptional(),
})

/** Body of `POST /v1/jobs`. */
export const jobRequestSchema = z.discriminatedUnion('kind', [
  trainRequestSchema,
  runRequestSchema,
  mapRequestSchema,
])

export const emptyQuerySchema = z.strictObject({})
export const idQuerySchema = z.strictObject({ id: jobIdSchema })
export const idParamsSchema = z.strictObject({ id: jobIdSchema })
export const fileQuerySchema = z.strictObject({ path: relativePathSchema })

export const problemSchema = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  hint: z.string().optional(),
})

const jobState = z.enum(['pending', 'running', 'succeeded', 'failed', 'cancelled'])

export const acceptedSchema = z.looseObject({
  id: z.string(),
  status: jobState,
  statusUrl: z.string(),
  resultsUrl: z.string(),
})

export const resumedSchema = z.looseObject({ id: z.string(), round: z.int() })

const fetchSchema = z.looseObject({
  what: z.string(),
  doneBytes: z.number(),
  totalBytes: z.number(),
  bytesPerSecond: z.number(),
  etaMs: z.number().nullable(),
  sources: z.array(z.looseObject({ peer: z.string(), bytes: z.number(), state: z.string() })),
})

const jobFields = {
  id: z.string(),
  status: jobState,
  progress: z.number().min(0).max(1),
  name: z.string(),
  kind: z.enum(['train', 'run', 'map']),
  code: z.string(),
  reason: z.string(),
  tasksTotal: z.int(),
  tasksAccepted: z.int(),
  createdMs: z.number(),
  endedMs: z.number().nullable(),
  estimate: z.string(),
}

export const jobStatusSchema = z.looseObject({
  ...jobFields,
  /** What its executors fetch at the moment. */
  fetching: z.array(fetchSchema.extend({ task: z.string(), peer: z.string() })),
})

export const resultsSchema = z.looseObject({
  id: z.string(),
  accuracy: z.number().nullable().optional(),
  hash: z.string().optional(),
})

export const jobSchema = z.looseObject({
  ...jobFields,
  requester: z.string(),
  tasks: z.array(
    z.looseObject({
      batch: z.int(),
      slot: z.int(),
      name: z.string(),
      state: z.string(),
      replicas: z.array(
        z.looseObject({ peer: z.string(), phase: z.string(), fetch: fetchSchema.optional() }),
      ),
    }),
  ),
  result: z.record(z.string(), z.unknown()).nullable(),
  curve: z.array(z.record(z.string(), z.number())),
})

export const fileSchema = z.looseObject({
  path: z.string(),
  sizeBytes: z.number(),
  digest: z.string(),
})
export const logLineSchema = z.looseObject({
  atMs: z.number(),
  peer: z.string(),
  task: z.string(),
  text: z.string(),
})
const servingSchema = z.looseObject({
  standing: z.number(),
  servedBytes: z.number(),
  faults: z.int(),
  lastFault: z.string(),
  lastFaultMs: z.number().nullable(),
  avoidedUntilMs: z.number().nullable(),
})
export const peerSchema = z.looseObject({
  peer: z.string(),
  connected: z.boolean(),
  self: z.boolean(),
  role: z.string(),
  reliability: z.number(),
  established: z.boolean(),
  excluded: z.boolean(),
  serving: servingSchema,
})
export const peerParamsSchema = z.strictObject({
  peer: z.string().regex(/^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/, 'must be a peer id'),
})
export const reputationQuerySchema = z.strictObject({
  /** Unix time in ms at which to fold the receipts. */
  at: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).exactOptional(),
})
export const reputationSchema = z.looseObject({
  peer: z.string(),
  atMs: z.number(),
  standing: z.enum(['established', 'probationer', 'excluded']),
  reliability: z.number(),
  availability: z.number(),
  speed: z.number(),
  credit: z.number(),
  failure: z.number(),
  serving: servingSchema,
  receipts: z.int(),
  root: z.string(),
  evidence: z.array(
    z.looseObject({
      receiptId: z.string(),
      kind: z.string(),
      credit: z.number(),
      failure: z.number(),
      words: z.string(),
    }),
  ),
})
export const nodeSchema = z.looseObject({
  peer: z.string(),
  role: z.string(),
  network: z.string(),
  version: z.string(),
  addresses: z.array(z.string()),
  connectedPeers: z.int(),
  engine: z.string(),
})
export const healthSchema = z.looseObject({ status: z.literal('ok') })
