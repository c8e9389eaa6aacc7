/** Turns what a submitter wrote into a job: reads the data, stores it, fixes every default. */
import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { BlobStore } from '../blob/blob-store.js'
import type { FolderEntry } from '../blob/folder.js'
import { assertAbsolute } from '../config.js'
import { CtdError } from '../errors.js'
import type { Resources, RunSpec, TrainSpec } from '../protocol/job-spec.js'
import { policyText } from '../protocol/compare.js'
import { TENSOR_PROFILES } from '../protocol/tensors.js'
import type { NewJob } from '../requester/requester.js'
import { startFrom } from './resume.js'
import type { ResumeComponents } from './resume.js'
import { algorithmOf } from '../training/algorithm.js'
import type { DataFile } from '../training/data/source.js'
import { dataShapeOf } from '../training/data-shape.js'
import { estimateCost, planTraining } from '../training/plan.js'
import { assertWeightsFit, namedFiles, WEIGHTS_FILES, type NamedFiles } from '../training/import.js'
import { defaultMaxLength, modelConfig, presetTraining } from '../training/presets.js'
import { summariseDataset, type DatasetSummary } from '../training/split.js'
import { readTokenizer, TOKENIZER_FILES } from '../training/tokenizers/files.js'
import type { Image, Input } from '../wire/generated/job.js'
import { encodeFolder, type FolderFile } from '../wire/folder.js'
import { fromHex, parseDigest, toHex } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { JobRequest, MapRequest, RunRequest, TrainRequest } from './daemon-port.js'
import { mapJob } from './map-submission.js'

export interface SubmissionComponents {
  readonly blobs: BlobStore
  readonly addFolder: (dir: string, holder: string) => Promise<FolderEntry>
  /** The files of a folder in the store; undefined where a digest is no folder's. */
  readonly folderFiles: (digest: Digest) => Promise<readonly FolderFile[] | undefined>
  /** The image of a name, with its archive's blob. @throws CtdError IMAGE_UNKNOWN */
  readonly image: (name: string, holder: string) => Promise<Image>
  /** Where files may be written while a request is judged; cleared when the daemon starts. */
  readonly scratchDir: string
  readonly bring: ResumeComponents['bring']
  /** Holds what is stored until the job does itself. */
  readonly holder: string
}

const REPLICAS = 2
/** Probability of the hidden extra replica, parts per million (trust.md, decision 2). */
const AUDIT_PPM = 100_000
const DATASET_MAX = 1024 ** 3
const DIGEST = /^[0-9a-f]{64}$/

/** @throws CtdError DATA_*, UNKNOWN_MODEL, DATASET_NOT_FOUND, IMAGE_UNKNOWN, … */
export async function createJobOf(
  components: SubmissionComponents,
  request: JobRequest,
): Promise<NewJob> {
  const job = await unreplicated(components, request)
  const { replicas = REPLICAS, auditPpm = AUDIT_PPM } = request
  if (replicas < LIMITS.replicasMin || replicas > LIMITS.replicasPerTask) {
    throw new CtdError('BAD_REPLICAS', `${replicas} replicas`, {
      hint: `from ${LIMITS.replicasMin} to ${LIMITS.replicasPerTask}; a task never runs once only`,
    })
  }
  return { ...job, replicas, auditPpm }
}

type Unreplicated = Omit<NewJob, 'replicas' | 'auditPpm'>

async function unreplicated(
  components: SubmissionComponents,
  request: JobRequest,
): Promise<Unreplicated> {
  switch (request.kind) {
    case 'train':
      return await trainJob(components, request)
    case 'run':
      return await runJob(components, request)
    case 'map':
      return await rowsJob(components, request)
  }
}

async function rowsJob(
  components: SubmissionComponents,
  request: MapRequest,
): Promise<Unreplicated> {
  const findDataset = (source: string) => findSource(components, source, 'dataset')
  const addDataset = (source: string) => addInput(components, 'dataset', source, 'dataset')
  return await mapJob({ ...components, findDataset, addDataset }, request)
}

async function trainJob(
  components: SubmissionComponents,
  request: TrainRequest,
): Promise<Unreplicated> {
  // An unknown model is told before any data is read.
  const maxLength = request.maxLength ?? defaultMaxLength(request.model)
  const { model, format, textColumn, labelColumn, featureColumns } = request
  const { name, files } = await findSource(components, request.dataset, 'dataset')
  const weights = await findFolder(components, request.weights, 'weights', WEIGHTS_FILES)
  const tokenizer = await findTokenizer(components, request)
  const summary = await summariseDataset(
    {
      files,
      spoolPath: join(components.scratchDir, components.holder.replaceAll('/', '-')),
      tokenizer: tokenizer === undefined ? undefined : await readTokenizer(tokenizer),
    },
    { model, maxLength, format, textColumn, labelColumn, featureColumns },
  )
  if (weights !== undefined) {
    await assertWeightsFit(modelConfig(model, { ...dataShapeOf(summary), maxLength }), weights)
  }
  const { from } = request
  if (from !== undefined && weights !== undefined) {
    throw new CtdError('BAD_TRAINING_SPEC', 'a job begins with given weights or from another job', {
      hint: 'leave out --weights or --from',
    })
  }
  const begun = from === undefined ? undefined : await startFrom(components, from)
  const spec: TrainSpec = {
    kind: 'train',
    model,
    epochs: request.epochs,
    seed: request.seed ?? toHex(randomBytes(8)),
    rows: summary.rows,
    ...dataShapeOf(summary),
    ...(request.shards === undefined ? {} : { shards: request.shards }),
    ...(request.batchSize === undefined ? {} : { batchSize: request.batchSize }),
    ...(request.learningRate === undefined ? {} : { learningRate: request.learningRate }),
    ...algorithmOf(request),
    ...growthOf(request),
    ...(begun === undefined ? {} : { start: begun.start }),
    maxLength,
    format: summary.format,
    textColumn: summary.textColumn,
    labelColumn: summary.labelColumn,
    ...(featureColumns === undefined ? {} : { featureColumns: [...featureColumns] }),
    ...(weights === undefined ? {} : { pretrained: true }),
    ...(tokenizer === undefined
      ? {}
      : { tokenizer: TOKENIZER_FILES.filter((file) => tokenizer.has(file)) }),
    resources: trainResources(request, summary),
  }
  return {
    name: request.name ?? `${model} on ${name}`.slice(0, LIMITS.textBytes),
    spec,
    image: await components.image('cpu', components.holder),
    // In the order of `trainInputs`.
    inputs: [
      await addInput(components, 'dataset', request.dataset, 'dataset'),
      ...(tokenizer === undefined ? [] : [await addFiles(components, 'tokenizer', tokenizer)]),
      ...(weights === undefined ? [] : [await addFiles(components, 'weights', weights)]),
      ...(begun?.inputs ?? []),
    ],
    ...comparison(request.compare, 0),
  }
}

/** Of a model that begins from nothing, as its preset has it; others keep equal rounds. */
function growthOf(request: TrainRequest): Pick<TrainSpec, 'growth'> {
  const { model, growth, sync, weights, from } = request
  if (growth !== undefined) return { growth }
  const own = presetTraining(model).growth
  const isEqual = own === 1 || sync === true || weights !== undefined || from !== undefined
  return isEqual ? {} : { growth: own }
}

/** That which is asked for, else that of the weights where they bring one; bytes otherwise. */
async function findTokenizer(
  components: SubmissionComponents,
  { tokenizer, weights }: TrainRequest,
): Promise<NamedFiles | undefined> {
  const source = tokenizer ?? weights
  const found = await findFolder(components, source, 'tokenizer', TOKENIZER_FILES)
  if (tokenizer !== undefined) return found
  const isThere = found !== undefined && TOKENIZER_FILES.some((name) => found.has(name))
  return isThere ? found : undefined
}

/** Those files of a folder that have one of the names. */
async function findFolder(
  components: SubmissionComponents,
  source: string | undefined,
  what: 'weights' | 'tokenizer',
  names: readonly string[],
): Promise<NamedFiles | undefined> {
  if (source === undefined) return undefined
  const { files } = await findSource(components, source, what)
  if (typeof files === 'string') return await namedFiles(files, names)
  const wanted = files.filter(({ name }) => names.includes(name))
  return new Map(wanted.map(({ name, path }) => [name, path]))
}

/** Stores these files alone as a folder: what else lies beside them is nobody's business. */
async function addFiles(
  { blobs, holder }: SubmissionComponents,
  name: string,
  files: NamedFiles,
): Promise<Input> {
  const added: FolderFile[] = []
  for (const [path, from] of files) {
    added.push({ path, ...(await blobs.addFile(from, { holder })) })
  }
  const listing = await blobs.addBytes(encodeFolder(added), { holder })
  return inputOf(name, listing.digest, bytesOfFiles(added) + listing.sizeBytes, true)
}

/**
 * A file or a folder of this disk, or the files of one in the store.
 *
 * @throws CtdError DATASET_NOT_FOUND, WEIGHTS_NOT_FOUND, TOKENIZER_NOT_FOUND, BLOB_UNKNOWN
 */
async function findSource(
  { blobs, folderFiles }: SubmissionComponents,
  source: string,
  what: 'dataset' | 'weights' | 'tokenizer',
): Promise<{ readonly name: string; readonly files: string | readonly DataFile[] }> {
  const [digest = '', name = what] = source.split('#', 2)
  if (!DIGEST.test(digest)) {
    assertAbsolute(source)
    await statSource(source, what)
    return { name: basename(source), files: source }
  }
  const held = await folderFiles(parseDigest(digest))
  if (held === undefined) return { name, files: [{ name, path: blobs.path(parseDigest(digest)) }] }
  return { name, files: held.map((file) => ({ name: file.path, path: blobs.path(file.digest) })) }
}

/** Memory for weights, gradients, moments and activations with room to spare. */
function trainResources(request: TrainRequest, summary: DatasetSummary): Resources {
  const plan = planTraining({
    ...summary,
    model: request.model,
    epochs: request.epochs,
    seed: '',
    shards: request.shards,
    batchSize: request.batchSize,
    learningRate: request.learningRate,
    maxLength: request.maxLength ?? defaultMaxLength(request.model),
    ...algorithmOf(request),
    ...growthOf(request),
  })
  const { parameters, trained, taskSeconds, activationBytes } = estimateCost(plan, {
    gflops: 1,
    replicas: 1,
  })
  // Of what is frozen: the weights, and those with adapters in them and their gradients.
  const frozen = plan.lora === undefined ? 0 : parameters
  const stateMiB = Math.ceil((trained * 4 * 6 + frozen * 4 * 3) / 1024 ** 2)
  return {
    memoryMiB: 768 + stateMiB + Math.ceil(activationBytes / 1024 ** 2),
    cpus: 1,
    pids: 256,
    outMiB: 64 + Math.ceil((parameters * 4) / 1024 ** 2),
    gpus: 0,
    vramMiB: 0,
    isolation: 'runc',
    // Twenty times slower than any machine we measured is taken for hung.
    timeoutMs: Math.min(LIMITS.taskTimeoutMs, Math.ceil(600_000 + taskSeconds * 20_000)),
  }
}

async function runJob(
  components: SubmissionComponents,
  request: RunRequest,
): Promise<Unreplicated> {
  const inputs: Input[] = []
  for (const { name, source } of request.inputs ?? []) {
    if (!/^[A-Za-z0-9._-]{1,100}$/.test(name) || name === 'task.json' || name.startsWith('.')) {
      throw new CtdError('BAD_INPUT_NAME', `not a name for an input: ${name.slice(0, 60)}`, {
        hint: 'letters, digits, dot, dash and underscore; task.json is taken',
      })
    }
    inputs.push(await addInput(components, name, source, 'input'))
  }
  const spec: RunSpec = {
    kind: 'run',
    command: [...request.command],
    env: { ...request.env },
    seed: request.seed ?? toHex(randomBytes(8)),
    tasks: request.tasks ?? 1,
    resources: {
      memoryMiB: request.memoryMiB ?? 1024,
      cpus: 1,
      pids: 256,
      outMiB: request.outMiB ?? 64,
      gpus: request.gpus ?? 0,
      vramMiB: request.vramMiB ?? 0,
      isolation: request.isolation ?? 'runc',
      timeoutMs: request.timeoutMs ?? 600_000,
    },
  }
  const name = request.name ?? request.command.join(' ').slice(0, 80)
  const image = await components.image(request.image, components.holder)
  return { name, spec, image, inputs, ...comparison(request.compare, spec.resources.gpus) }
}

function comparison(compare: RunRequest['compare'], gpus: number): { readonly compare?: string } {
  if (compare === undefined) return {}
  if ('tensors' in compare) {
    const { tensors, tau } = compare
    const onGpus = gpus > 0 ? 'tf32' : 'fp32'
    const profile = tensors === 'auto' ? onGpus : tensors
    const own = TENSOR_PROFILES[profile].tauPpm
    const tauPpm = tau === undefined ? own : BigInt(Math.round(tau * 1e6))
    return { compare: policyText({ kind: 'tensors', profile, tauPpm }) }
  }
  const { atol = 0, rtol = 0 } = compare
  const atolMicro = BigInt(Math.round(atol * 1e6))
  const rtolPpm = BigInt(Math.round(rtol * 1e6))
  return { compare: policyText({ kind: 'metrics', atolMicro, rtolPpm }) }
}

function inputOf(name: string, digest: Digest, sizeBytes: number, folder: boolean): Input {
  return { name, digest: fromHex(digest), sizeBytes, folder }
}

/** What the files of a folder take where it is laid out. */
export function bytesOfFiles(files: ReadonlyArray<{ readonly sizeBytes: number }>): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

async function addInput(
  { blobs, addFolder, folderFiles, holder }: SubmissionComponents,
  name: string,
  source: string,
  what: 'dataset' | 'input',
): Promise<Input> {
  if (DIGEST.test(source)) {
    const digest = parseDigest(source)
    const files = await folderFiles(digest)
    if (files !== undefined) {
      const listingBytes = blobs.size(digest)
      for (const held of [digest, ...files.map((file) => file.digest)]) blobs.hold(holder, held)
      return inputOf(name, digest, bytesOfFiles(files) + listingBytes, true)
    }
  } else {
    assertAbsolute(source)
    const status = await statSource(source, what)
    if (status.isDirectory()) {
      const folder = await addFolder(source, holder)
      return inputOf(name, folder.digest, bytesOfFiles(folder.files) + folder.sizeBytes, true)
    }
  }
  const { path } = await readSource(blobs, source, what)
  const { digest, sizeBytes } = await blobs.addFile(path, { holder })
  return inputOf(name, digest, sizeBytes, false)
}

async function statSource(path: string, what: string): Promise<Awaited<ReturnType<typeof stat>>> {
  try {
    return await stat(path)
  } catch (cause) {
    throw new CtdError(`${what.toUpperCase()}_NOT_FOUND`, `cannot read the ${what} ${path}`, {
      cause,
      hint: 'the daemon must be able to read it; check the path and its permissions',
    })
  }
}

async function readSource(
  blobs: BlobStore,
  source: string,
  what: string,
): Promise<{ readonly path: string; readonly name: string }> {
  const [digest = '', name = what] = source.split('#', 2)
  if (DIGEST.test(digest)) return { path: blobs.path(digest as Digest), name }
  assertAbsolute(source)
  const status = await statSource(source, what)
  if (!status.isFile() || status.size > DATASET_MAX) {
    throw new CtdError(`${what.toUpperCase()}_UNUSABLE`, `${source} is not a file of at most 1 GiB`)
  }
  return { path: source, name: basename(source) }
}
