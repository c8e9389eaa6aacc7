/** Turns what a submitter wrote of work over rows into a job: reads model and rows, fixes defaults. */
import { randomBytes } from 'node:crypto'
import { readFile, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { BlobStore } from '../blob/blob-store.js'
import { assertAbsolute } from '../config.js'
import { CtdError } from '../errors.js'
import type { MapSpec, Resources } from '../protocol/job-spec.js'
import type { NewJob } from '../requester/requester.js'
import { readGivenModel, VERB_FAMILIES, type GivenModel } from '../training/given-model.js'
import {
  endTokenOf,
  flopsOfRow,
  MAP_LIMITS,
  summariseRows,
  type MapRows,
  type RowsSource,
  type RowsSummary,
} from '../training/map.js'
import { parameterSpecs } from '../training/model.js'
import { elementCount, SafetensorsReader } from '../training/safetensors.js'
import { readTokenizer, TOKENIZER_FILES } from '../training/tokenizers/files.js'
import type { Tokenizer } from '../training/tokenizers/tokenizer.js'
import type { FolderFile } from '../wire/folder.js'
import type { Image, Input } from '../wire/generated/job.js'
import { fromHex, parseDigest, toHex } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { MapRequest } from './daemon-port.js'

export interface MapComponents {
  readonly blobs: BlobStore
  readonly folderFiles: (digest: Digest) => Promise<readonly FolderFile[] | undefined>
  readonly image: (name: string, holder: string) => Promise<Image>
  /** Where files may be written while a request is judged. */
  readonly scratchDir: string
  readonly holder: string
  /** The files of a dataset, wherever it is. */
  readonly findDataset: (source: string) => Promise<Pick<RowsSource, 'files'>>
  /** Stores the dataset, and names it. */
  readonly addDataset: (source: string) => Promise<Input>
}

const CONFIG_FILE = 'config.json'
const WEIGHTS_FILE = 'model.safetensors'
const CONFIG_BYTES_MAX = 1024 * 1024
const MAX_TOKENS = 64
/** What a task over rows should take at least of one core, so that its start pays. */
const SHARD_SECONDS = 60
const GFLOPS = 20
const SHARDS_DEFAULT_MAX = 64

/** @throws CtdError MODEL_*, TOKENIZER_*, DATA_*, PROMPT_*, BAD_MAP_REQUEST */
export async function mapJob(
  components: MapComponents,
  request: MapRequest,
): Promise<Omit<NewJob, 'replicas' | 'auditPpm'>> {
  const { verb, output } = request
  const isEmbed = verb === 'embed'
  assertRequest(request)
  const folder = await openModel(components, request.model)
  const model = readGivenModel(await folder.read(CONFIG_FILE, CONFIG_BYTES_MAX), verb)
  const tokenizer = await tokenizerOf(folder, model)
  const parameters = await assertWeights(folder.path(WEIGHTS_FILE), model)
  const maxTokens = isEmbed ? 0 : (request.maxTokens ?? MAX_TOKENS)
  const { format, textColumn } = request
  const rows: MapRows = { verb, model, format, textColumn, maxTokens }
  const summary = await summariseRows(
    {
      ...(await components.findDataset(request.dataset)),
      spoolPath: join(components.scratchDir, components.holder.replaceAll('/', '-')),
    },
    rows,
    tokenizer,
  )
  const seconds = (summary.rows * flopsOfRow(rows, summary.longestTokens)) / (GFLOPS * 1e9)
  const shards = request.shards ?? defaultShards(summary.rows, seconds)
  if (shards > summary.rows) {
    throw bad(`${summary.rows} rows do not fill ${shards} shards`, 'use fewer shards')
  }
  const spec: MapSpec = {
    kind: 'map',
    verb,
    model,
    rows: summary.rows,
    shards,
    seed: request.seed ?? toHex(randomBytes(8)),
    format: summary.format,
    textColumn: summary.textColumn,
    output,
    maxTokens,
    temperature: request.temperature ?? 0,
    endToken: isEmbed ? 0 : endTokenOf(tokenizer),
    resources: mapResources({ parameters, summary, model, maxTokens, seconds, shards }),
  }
  return {
    name: request.name ?? `${verb} ${summary.rows} rows`,
    spec,
    image: await components.image('cpu', components.holder),
    inputs: [
      await components.addDataset(request.dataset),
      await folder.add(WEIGHTS_FILE, 'weights'),
      ...(await Promise.all(folder.tokenizerFiles.map((name) => folder.add(name, name)))),
    ],
  }
}

/** @throws CtdError BAD_MAP_REQUEST */
function assertRequest({ verb, output, maxTokens, temperature }: MapRequest): void {
  if (verb === 'embed' && (maxTokens !== undefined || temperature !== undefined)) {
    throw bad('vectors have no tokens to draw', 'leave out maxTokens and temperature')
  }
  if (verb === 'generate' && output === 'npy') {
    throw bad('texts are no array of numbers', 'write them as .jsonl or .csv')
  }
}

function bad(message: string, hint: string): CtdError {
  return new CtdError('BAD_MAP_REQUEST', message, { hint })
}

function defaultShards(rows: number, seconds: number): number {
  const wanted = Math.ceil(seconds / SHARD_SECONDS)
  return Math.max(1, Math.min(wanted, SHARDS_DEFAULT_MAX, MAP_LIMITS.shards, rows))
}

function mapResources(of: {
  readonly parameters: number
  readonly summary: RowsSummary
  readonly model: GivenModel
  readonly maxTokens: number
  readonly seconds: number
  readonly shards: number
}): Resources {
  const { parameters, summary, model, maxTokens, seconds, shards } = of
  const rows = Math.ceil(summary.rows / shards)
  const inBytes = 4 * rows * summary.longestTokens
  const outBytes = rows * Math.max(2 * model.hidden, 4 * maxTokens)
  const joinedBytes = summary.rows * Math.max(24 * model.hidden, 24 * maxTokens)
  const MiB = 1024 ** 2
  return {
    memoryMiB: 768 + Math.ceil((8 * parameters + 3 * (inBytes + outBytes)) / MiB),
    cpus: 1,
    pids: 256,
    outMiB: 64 + Math.ceil(Math.max(4 * summary.rows * summary.longestTokens, joinedBytes) / MiB),
    gpus: 0,
    vramMiB: 0,
    isolation: 'runc',
    // Twenty times slower than any machine we measured is taken for hung.
    timeoutMs: Math.min(
      LIMITS.taskTimeoutMs,
      Math.ceil(600_000 + ((seconds * GFLOPS) / shards) * 20_000),
    ),
  }
}

/** The folder of a model, on this disk or in the store. */
interface ModelFolder {
  readonly tokenizerFiles: readonly string[]
  /** @throws CtdError MODEL_FILE_MISSING */
  path(name: string): string
  /** @throws CtdError MODEL_FILE_MISSING, MODEL_CONFIG_INVALID */
  read(name: string, mostBytes: number): Promise<Uint8Array>
  /** Stores a file as an input of the job. */
  add(name: string, input: string): Promise<Input>
}

/** @throws CtdError MODEL_NOT_FOUND, MODEL_FILE_MISSING */
async function openModel(
  { blobs, folderFiles, holder }: MapComponents,
  source: string,
): Promise<ModelFolder> {
  const paths = /^[0-9a-f]{64}$/.test(source)
    ? await storedPaths(blobs, await folderFiles(parseDigest(source)), source)
    : await pathsOnDisk(source)
  const path = (name: string): string => {
    const found = paths.get(name)
    if (found !== undefined) return found
    throw new CtdError('MODEL_FILE_MISSING', `the model's folder holds no ${name}`, {
      hint: 'a model is a folder with config.json, model.safetensors and the files of its tokenizer: ctd results ID --out DIR writes one',
    })
  }
  path(CONFIG_FILE)
  path(WEIGHTS_FILE)
  return {
    tokenizerFiles: TOKENIZER_FILES.filter((name) => paths.has(name)),
    path,
    read: async (name, mostBytes) => {
      if ((await stat(path(name))).size <= mostBytes) return await readFile(path(name))
      throw new CtdError('MODEL_CONFIG_INVALID', `${name} has more than ${mostBytes} bytes`)
    },
    add: async (name, input) => {
      const { digest, sizeBytes } = await blobs.addFile(path(name), { holder })
      return { name: input, digest: fromHex(digest), sizeBytes, folder: false }
    },
  }
}

function storedPaths(
  blobs: BlobStore,
  files: readonly FolderFile[] | undefined,
  source: string,
): ReadonlyMap<string, string> {
  if (files === undefined) {
    throw new CtdError('MODEL_NOT_FOUND', `there is no folder ${source.slice(0, 12)}… here`, {
      hint: 'fetch it first: ctd get DIGEST --pin; or give the folder itself',
    })
  }
  return new Map(files.map((file) => [file.path, blobs.path(file.digest)]))
}

async function pathsOnDisk(source: string): Promise<ReadonlyMap<string, string>> {
  assertAbsolute(source)
  const status = await stat(source).catch(() => undefined)
  if (status?.isDirectory() !== true) {
    throw new CtdError('MODEL_NOT_FOUND', `${basename(source)} is no folder`, {
      hint: 'a model is a folder with config.json and model.safetensors',
    })
  }
  const names = await readdir(source)
  return new Map(names.map((name) => [name, join(source, name)]))
}

/** @throws CtdError TOKENIZER_*, MODEL_CONFIG_INVALID */
async function tokenizerOf(
  folder: ModelFolder,
  { vocabulary }: GivenModel,
): Promise<Tokenizer | undefined> {
  const paths = new Map(folder.tokenizerFiles.map((name) => [name, folder.path(name)]))
  if (paths.size > 0) return await readTokenizer(paths)
  if (vocabulary === BYTE_VOCABULARY) return undefined
  throw new CtdError('TOKENIZER_MISSING', `the model has ${vocabulary} tokens and no tokenizer`, {
    hint: 'put tokenizer.json, or vocab.json with merges.txt, or vocab.txt beside its weights',
  })
}

const BYTE_VOCABULARY = 259

/** @returns how many parameters there are. @throws CtdError MODEL_UNFIT, TENSORS_MALFORMED */
async function assertWeights(path: string, model: GivenModel): Promise<number> {
  const specs = parameterSpecs({ ...model, family: model.family })
  const reader = await SafetensorsReader.open(path)
  try {
    const unfit = specs.find(({ name, dtype, shape }) => {
      const found = reader.tensors.get(name)
      return found?.dtype !== dtype || found.shape.join() !== shape.join()
    })
    const extra = [...reader.tensors.keys()].find((name) => !specs.some((one) => one.name === name))
    if (unfit === undefined && extra === undefined) {
      return specs.reduce((sum, { shape }) => sum + elementCount(shape), 0)
    }
    const what =
      unfit === undefined
        ? `they hold ${extra ?? ''}, which it lacks`
        : `${unfit.name} must be fp32 of ${unfit.shape.join(' x ')}`
    throw new CtdError('MODEL_UNFIT', `the weights are not those of config.json: ${what}`, {
      hint: `a ${VERB_FAMILIES[model.family === 'causal-lm' ? 'generate' : 'embed']} model with the names that ctd results --out writes`,
    })
  } finally {
    await reader.close()
  }
}
