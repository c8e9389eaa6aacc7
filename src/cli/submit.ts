/** `ctd train` and `ctd run`: upload, submit, follow, show the result. */
import type {
  JobRequest,
  JobView,
  RunRequest,
  TensorTolerance,
  TrainRequest,
} from '../api/daemon-port.js'
import { algorithmRequest } from './algorithm-flags.js'
import type { AlgorithmFlags } from './algorithm-flags.js'
import { DATA_FORMATS, formatOfName, type DataFormat } from '../training/data/source.js'
import type { Context } from './context.js'
import { EXIT, exitCodeOfJob } from './exit-codes.js'
import { followOnScreen } from './follow.js'
import { plotLoss } from './plot.js'
import { formatPairs, harmless } from './terminal.js'
import { formatAge, parseDurationMs, parseSizeMiB, parseWhole, shortJob, usage } from './units.js'
import { uploadSource, uploadTogether } from './upload.js'

export interface FollowFlags {
  readonly detach?: boolean
  readonly waitTimeout?: string
}

export interface CommonFlags extends FollowFlags {
  readonly name?: string
  readonly seed?: string
  readonly replicas?: string
  readonly auditPpm?: string
}

export interface TrainFlags extends CommonFlags, AlgorithmFlags {
  readonly model: string
  /** Files or folders; read as one. */
  readonly dataset: readonly string[]
  readonly epochs: string
  readonly from?: string
  readonly shards?: string
  readonly batchSize?: string
  readonly maxLength?: string
  readonly learningRate?: string
  readonly textColumn?: string
  readonly labelColumn?: string
  readonly featureColumns?: string
  readonly weights?: string
  readonly tokenizer?: string
  readonly format?: string
  readonly tolerance?: string
}

export interface RunFlags extends CommonFlags {
  readonly image?: string
  readonly input?: readonly string[]
  readonly env?: readonly string[]
  readonly tasks?: string
  readonly memory?: string
  readonly outSize?: string
  readonly timeout?: string
  readonly gpus?: string
  readonly vram?: string
  readonly isolation?: string
  readonly atol?: string
  readonly rtol?: string
  readonly tolerance?: string
}

/** Runs `ctd train`; returns the exit code. */
export async function trainCommand(context: Context, flags: TrainFlags): Promise<number> {
  const request = trainRequest(flags)
  if (flags.dataset.length === 1) {
    return await submitAndFollow(context, request, process.cwd(), flags)
  }
  await context.client.get('/v1/health')
  const dataset = await uploadTogether(context.client, flags.dataset, process.cwd())
  return await submitAndFollow(context, { ...request, dataset }, process.cwd(), flags)
}

/** Runs `ctd run`, from flags or from a job file; returns the exit code. */
export async function runCommand(
  context: Context,
  args: readonly string[],
  flags: RunFlags,
): Promise<number> {
  const [first] = args
  if (flags.image === undefined && args.length === 1 && /\.(ya?ml|json)$/.test(first ?? '')) {
    refuseJobFlags(flags)
    const { readJobFile } = await import('./job-file.js')
    const { request, base } = await readJobFile(first ?? '')
    return await submitAndFollow(context, request, base, flags)
  }
  return await submitAndFollow(context, runRequest(args, flags), process.cwd(), flags)
}

/** A job file says all there is to say of the job; a flag beside it would be lost. */
function refuseJobFlags(flags: RunFlags): void {
  const allowed = new Set(['detach', 'waitTimeout', 'json', 'home'])
  const [extra] = Object.keys(flags).filter((key) => !allowed.has(key))
  if (extra === undefined) return
  const name = extra.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
  throw usage(`--${name} cannot be given beside a job file`, `write it as a key of the file`)
}

/** The request that flags of `ctd train` stand for. @throws CtdError USAGE */
export function trainRequest(flags: TrainFlags): TrainRequest {
  return {
    kind: 'train',
    model: flags.model,
    dataset: flags.dataset[0] ?? '',
    epochs: parseWhole(flags.epochs, 1, 10_000),
    ...commonFields(flags),
    ...whole('shards', flags.shards, 1, 256),
    ...whole('batchSize', flags.batchSize, 1, 4096),
    ...whole('maxLength', flags.maxLength, 1, 8192),
    ...(flags.learningRate === undefined ? {} : { learningRate: parseRate(flags.learningRate) }),
    ...algorithmRequest(flags),
    ...(flags.from === undefined ? {} : { from: flags.from }),
    ...(flags.textColumn === undefined ? {} : { textColumn: flags.textColumn }),
    ...(flags.labelColumn === undefined ? {} : { labelColumn: flags.labelColumn }),
    ...(flags.weights === undefined ? {} : { weights: flags.weights }),
    ...(flags.tokenizer === undefined ? {} : { tokenizer: flags.tokenizer }),
    ...(flags.featureColumns === undefined
      ? {}
      : { featureColumns: flags.featureColumns.split(',').map((name) => name.trim()) }),
    ...datasetFormat(flags),
    ...(flags.tolerance === undefined ? {} : { compare: tensorTolerance(flags.tolerance) }),
  }
}

/** Told by name here, since a file goes to the daemon by its contents alone. */
function datasetFormat({ format, dataset }: TrainFlags): { readonly format?: DataFormat } {
  if (format === undefined) {
    const [name, second] = dataset
    const known = name === undefined || second !== undefined ? undefined : formatOfName(name)
    return known === undefined ? {} : { format: known }
  }
  const known = DATA_FORMATS.find((one) => one === format)
  if (known !== undefined) return { format: known }
  throw usage(`not a format: "${format}"`, `one of ${DATA_FORMATS.join(', ')}`)
}

const PROFILES = ['fp32', 'tf32', 'bf16', 'auto'] as const

/** A profile, and behind a colon another τ than its own. @throws CtdError USAGE */
export function tensorTolerance(text: string): TensorTolerance {
  const [name, tau, ...rest] = text.split(':')
  const tensors = PROFILES.find((profile) => profile === name)
  if (tensors === undefined || rest.length > 0) {
    throw usage(`--tolerance takes ${PROFILES.join(', ')}, and :TAU behind it`)
  }
  if (tau === undefined) return { tensors }
  const value = Number(tau)
  if (tau.trim() !== '' && value >= 1e-6 && value <= 0.2) return { tensors, tau: value }
  throw usage('the tolerance behind the colon is a number from 0.000001 to 0.2')
}

/** The request that flags of `ctd run` stand for. @throws CtdError USAGE */
export function runRequest(command: readonly string[], flags: RunFlags): RunRequest {
  if (flags.image === undefined) {
    throw usage(
      'ctd run needs --image or a job file',
      'ctd run --image cpu -- python3 -c "print(1)"    or: ctd run job.yaml',
    )
  }
  if (command.length === 0) throw usage('no command to run', 'write it after --')
  const env = (flags.env ?? []).map((text) => splitPair(text, '--env', 'K=V'))
  const inputs = (flags.input ?? []).map((text) => splitPair(text, '--input', 'name=path'))
  const names = inputs.map(([name]) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw usage(`--input ${twice} is given twice`)
  return {
    kind: 'run',
    image: flags.image,
    command,
    ...commonFields(flags),
    ...(env.length === 0 ? {} : { env: Object.fromEntries(env) }),
    ...(inputs.length === 0 ? {} : { inputs: inputs.map(([name, source]) => ({ name, source })) }),
    ...whole('tasks', flags.tasks, 1, 256),
    ...(flags.memory === undefined ? {} : { memoryMiB: parseSizeMiB(flags.memory) }),
    ...(flags.outSize === undefined ? {} : { outMiB: parseSizeMiB(flags.outSize) }),
    ...(flags.timeout === undefined ? {} : { timeoutMs: parseDurationMs(flags.timeout) }),
    ...whole('gpus', flags.gpus, 0, 16),
    ...(flags.vram === undefined ? {} : { vramMiB: parseSizeMiB(flags.vram) }),
    ...(flags.isolation === undefined ? {} : { isolation: parseIsolation(flags.isolation) }),
    ...tolerances(flags),
  }
}

function tolerances({ atol, rtol, tolerance }: RunFlags): Pick<RunRequest, 'compare'> {
  if (tolerance !== undefined) {
    if (atol === undefined && rtol === undefined) return { compare: tensorTolerance(tolerance) }
    throw usage(
      '--tolerance compares tensors and numbers; --atol and --rtol cannot stand beside it',
    )
  }
  if (atol === undefined && rtol === undefined) return {}
  return {
    compare: {
      ...(atol === undefined ? {} : { atol: parseTolerance('--atol', atol, 1e6) }),
      ...(rtol === undefined ? {} : { rtol: parseTolerance('--rtol', rtol, 0.5) }),
    },
  }
}

function parseTolerance(flag: string, text: string, max: number): number {
  const value = Number(text)
  if (text.trim() !== '' && (value === 0 || (value >= 1e-6 && value <= max))) return value
  throw usage(`${flag} takes 0, or a number from 0.000001 to ${max}`)
}

export function commonFields(flags: CommonFlags): {
  name?: string
  seed?: string
  replicas?: number
  auditPpm?: number
} {
  return {
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.seed === undefined ? {} : { seed: flags.seed }),
    ...whole('replicas', flags.replicas, 2, 7),
    ...whole('auditPpm', flags.auditPpm, 0, 1_000_000),
  }
}

function whole<Key extends string>(
  key: Key,
  text: string | undefined,
  min: number,
  max: number,
): { readonly [name in Key]?: number } {
  if (text === undefined) return {}
  const fields: { [name in Key]?: number } = {}
  fields[key] = parseWhole(text, min, max)
  return fields
}

function parseRate(text: string): number {
  const value = /^\d*\.?\d+(e-?\d+)?$/i.test(text) ? Number(text) : Number.NaN
  if (value > 0 && value <= 10) return value
  throw usage(`not a learning rate above 0 and at most 10: "${text}"`)
}

function parseIsolation(text: string): 'runc' | 'runsc' | 'kata' {
  if (text === 'runc' || text === 'runsc' || text === 'kata') return text
  throw usage(`not an isolation: "${text}"`, 'one of runc, runsc, kata')
}

function splitPair(text: string, flag: string, form: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 1) throw usage(`${flag} ${text} is not of the form ${form}`)
  return [text.slice(0, at), text.slice(at + 1)]
}

/**
 * Uploads what the request names, submits, and follows until the end.
 *
 * @param onSucceeded - what is left to do with the result; returns the exit code
 */
export async function submitAndFollow(
  context: Context,
  request: JobRequest,
  base: string,
  flags: FollowFlags,
  onSucceeded?: (job: JobView) => Promise<number>,
): Promise<number> {
  const { client } = context
  const waitMs = flags.waitTimeout === undefined ? undefined : parseDurationMs(flags.waitTimeout)
  // Asked first, so that an absent daemon is told before a long upload.
  await client.get('/v1/health')
  const uploaded = await uploadSources(context, request, base)
  const { id } = await client.post<{ id: string }>('/v1/jobs', uploaded)
  if (flags.detach === true) {
    if (context.json) context.printJson({ id, status: 'pending' })
    else context.print(id)
    context.tell(`follow it: ctd results ${shortJob(id)} --wait`)
    return EXIT.ok
  }
  return await followSubmitted(context, id, waitMs, onSucceeded)
}

/** Runs `ctd resume`: a new job that goes on where another stopped; returns the exit code. */
export async function resumeCommand(
  context: Context,
  id: string,
  flags: FollowFlags,
): Promise<number> {
  const waitMs = flags.waitTimeout === undefined ? undefined : parseDurationMs(flags.waitTimeout)
  const path = `/v1/jobs/${encodeURIComponent(id)}/resume`
  const resumed = await context.client.post<{ id: string; round: number }>(path)
  context.tell(
    resumed.round === 0 ? 'no round was closed: it begins anew' : `from round ${resumed.round} on`,
  )
  if (flags.detach !== true) return await followSubmitted(context, resumed.id, waitMs)
  if (context.json) context.printJson(resumed)
  else context.print(resumed.id)
  return EXIT.ok
}

async function followSubmitted(
  context: Context,
  id: string,
  waitMs: number | undefined,
  onSucceeded?: (job: JobView) => Promise<number>,
): Promise<number> {
  const { client } = context
  context.tell(`job ${id}`)
  const submitted = await client.get<JobView>(`/v1/jobs/${id}`)
  if (submitted.estimate !== '') context.tell(harmless(`estimate: ${submitted.estimate}`))
  const job = await followOnScreen(context, id, waitMs)
  showEnd(context, job)
  if (onSucceeded !== undefined && job.status === 'succeeded') return await onSucceeded(job)
  return exitCodeOfJob(job)
}

async function uploadSources(
  context: Context,
  request: JobRequest,
  base: string,
): Promise<JobRequest> {
  if (request.kind === 'map') {
    const model = await uploadSource(context.client, request.model, base)
    return { ...request, model, dataset: await uploadSource(context.client, request.dataset, base) }
  }
  if (request.kind === 'train') {
    const upload = (source: string): Promise<string> => uploadSource(context.client, source, base)
    const { dataset, weights, tokenizer } = request
    return {
      ...request,
      dataset: await upload(dataset),
      ...(weights === undefined ? {} : { weights: await upload(weights) }),
      ...(tokenizer === undefined ? {} : { tokenizer: await upload(tokenizer) }),
    }
  }
  if (request.inputs === undefined) return request
  const inputs: Array<{ name: string; source: string }> = []
  for (const { name, source } of request.inputs) {
    inputs.push({ name, source: await uploadSource(context.client, source, base) })
  }
  return { ...request, inputs }
}

/** Prints how a job ended: the curve and the result, or why there is none. */
export function showEnd(context: Context, job: JobView): void {
  if (context.json) {
    context.printJson(job)
    return
  }
  const curve = plotLoss(job.curve, context.columns ?? 80)
  if (curve.length > 0) context.print(curve.join('\n'))
  const pairs: Array<readonly [string, string]> = [
    ['job', job.id],
    ['status', job.status],
  ]
  if (job.endedMs !== null) pairs.push(['took', formatAge(job.endedMs - job.createdMs)])
  for (const [key, value] of Object.entries(job.result ?? {})) {
    if (key !== 'id' && value !== null)
      pairs.push([key, typeof value === 'string' ? value : JSON.stringify(value)])
  }
  if (job.code !== '') pairs.push(['code', job.code])
  if (job.reason !== '') pairs.push(['reason', job.reason])
  context.print(formatPairs(pairs.map(([label, value]) => [harmless(label), harmless(value)])))
  const id = shortJob(job.id)
  if (job.status === 'succeeded') {
    context.tell(`next   ctd results ${id} --out ./${id}    then: ctd audit ./${id}`)
  } else context.tell(`next   ctd logs ${id}`)
}
