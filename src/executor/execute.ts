/**
 * Runs a replica's program: brings its inputs and its image, runs the container or the built-in
 * task, stores the output.
 */
import { createReadStream } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { CtdError, errorMessage } from '../errors.js'
import type { BlobStore } from '../blob/blob-store.js'
import type {
  ContainerRuntime,
  ImageRef,
  ProgressLine,
  TaskInput as MountedInput,
  TaskOutcome,
  TaskSpec,
} from '../container/container-runtime.js'
import type { PlannedSlot, Program } from '../protocol/plan.js'
import type { BuiltinReply, BuiltinRequest } from '../training/builtin-worker.js'
import type { Image } from '../wire/generated/job.js'
import { toHex } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { fetchImage, fetchInputs, keepTwice } from './fetch-task.js'
import type { FetchComponents, FetchOptions, HeldBlob } from './fetch-task.js'
import type { ReplicaComponents, ReplicaOutput, ReplicaProgress, Replica } from './replica.js'

export interface ExecuteComponents extends FetchComponents {
  readonly runtime: ContainerRuntime
  /** What a task left: kept beyond the end of its job. */
  readonly onOutput: (replica: Replica, root: Digest) => Promise<void>
  readonly onProgram: (replica: Replica, kind: 'container' | 'builtin', id: string) => void
}

export interface ExecuteOptions extends FetchOptions {
  /** Folder for the private folders of running tasks. */
  readonly workDir: string
  /** GPUs of this machine that tasks may have. */
  readonly gpuUuids: () => readonly string[]
  /** Compiled entry of the worker that runs built-in tasks. */
  readonly builtinWorker: URL
}

type Listener = Parameters<ReplicaComponents['work']>[1]

export function createExecute(
  components: ExecuteComponents,
  options: ExecuteOptions,
): ReplicaComponents['work'] {
  /** One image is loaded at a time. */
  let loading: Promise<void> = Promise.resolve()
  /** A GPU belongs to one container at a time. */
  const leased = new Set<string>()

  return async (replica, on, signal) => {
    on.phase('fetching')
    const dir = join(options.workDir, replica.key.replace('/', '-').slice(-72))
    await mkdir(dir, { recursive: true })
    try {
      const patience = AbortSignal.timeout(FETCH_MS)
      const fetching = AbortSignal.any([signal, patience])
      const whileFetching = <T>(step: Promise<T>): Promise<T> =>
        step.catch((error: unknown) => {
          if (signal.aborted || !patience.aborted) throw error
          throw new CtdError('FETCH_TOO_SLOW', 'the inputs did not arrive within two hours')
        })
      const runWorker = (request: BuiltinRequest): Promise<void> =>
        inWorker(options.builtinWorker, request, fetching)
      const fetch = { components, options, replica, dir, on, signal: fetching, runWorker }
      const { inputs, ofJob } = await whileFetching(fetchInputs(fetch))
      const { program } = replica.options.slot
      const twice = (blobs: readonly HeldBlob[]): Promise<void> =>
        whileFetching(keepTwice(fetch, blobs))
      if (program.kind === 'builtin') {
        await twice(ofJob)
        on.phase('running')
        components.onProgram(replica, 'builtin', program.name)
        return await runBuiltin(components, options, replica, program, inputs, dir, signal)
      }
      const image = imageRefOf(replica.options.manifest.message.image)
      if (await components.runtime.hasImage(image, fetching)) await twice(ofJob)
      else {
        const archive = await whileFetching(fetchImage(fetch, image))
        await twice([...ofJob, { digest: archive, name: 'the image' }])
        on.progress({ step: 0, total: 0, note: '{"loading":1}' })
        const load = (): Promise<void> => loadImage(components, image, archive, signal)
        loading = loading.catch(() => undefined).then(load)
        await loading
      }
      on.phase('running')
      const gpuUuids = lease(options.gpuUuids(), leased, replica.options.resources.gpus)
      try {
        const run = { components, options, replica, image, program, inputs, dir, on, signal }
        return await runContainer({ ...run, gpuUuids })
      } finally {
        for (const uuid of gpuUuids) leased.delete(uuid)
      }
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  }
}

/** Peers that trickle must not keep a seat for ever. */
const FETCH_MS = 2 * 3600 * 1000
/** The largest images take a slow disk some minutes. */
const LOAD_MS = 30 * 60 * 1000

/** @throws CtdError NO_GPU_FREE */
function lease(all: readonly string[], leased: Set<string>, count: number): readonly string[] {
  const free = all.filter((uuid) => !leased.has(uuid)).slice(0, count)
  if (free.length < count) {
    throw new CtdError('NO_GPU_FREE', `${count} GPUs are needed and ${free.length} are free`)
  }
  for (const uuid of free) leased.add(uuid)
  return free
}

/** The wire form of an image as the engine knows it. */
export function imageRefOf(image: Image | undefined): ImageRef {
  if (image === undefined) throw new CtdError('MANIFEST_INVALID', 'the job names no image')
  return {
    name: image.name,
    configDigest: toHex(image.configDigest),
    manifestDigest: toHex(image.manifestDigest),
    diffIds: image.diffIds.map(toHex),
    sizeBytes: image.sizeBytes,
  }
}

/** Hands an archive to the engine, unless another task has meanwhile. */
async function loadImage(
  { runtime, blobs }: ExecuteComponents,
  image: ImageRef,
  archive: Digest,
  signal: AbortSignal,
): Promise<void> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(LOAD_MS)])
  if (await runtime.hasImage(image, limited)) return
  await runtime.loadImage(image, createReadStream(blobs.path(archive)), limited)
}

async function runBuiltin(
  components: ExecuteComponents,
  options: ExecuteOptions,
  replica: Replica,
  program: Extract<Program, { kind: 'builtin' }>,
  inputs: readonly MountedInput[],
  dir: string,
  signal: AbortSignal,
): Promise<ReplicaOutput> {
  const outDir = join(dir, 'out')
  const request: BuiltinRequest = {
    name: program.name,
    params: JSON.parse(JSON.stringify(program.params)) as unknown,
    inputs: [...inputs],
    outDir,
  }
  const { timeoutMs } = replica.options.resources
  const late = AbortSignal.timeout(timeoutMs)
  await inWorker(options.builtinWorker, request, AbortSignal.any([signal, late])).catch(
    (error: unknown) => {
      if (signal.aborted || !late.aborted) throw error
      throw new CtdError('TIMED_OUT', `the task ran for more than ${timeoutMs} ms`)
    },
  )
  return storeOutput(components, replica, outDir, signal)
}

/** @throws CtdError with the code of the task's own failure */
export function inWorker(entry: URL, request: BuiltinRequest, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(entry, { workerData: request, execArgv: [] })
    const onAbort = (): void => {
      void worker.terminate()
      reject(new CtdError('CANCELLED', 'the task was cancelled'))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    worker.once('message', (reply: BuiltinReply) => {
      if (reply.ok) resolve()
      else
        reject(
          new CtdError(reply.code === 'INTERNAL' ? 'BUILTIN_FAILED' : reply.code, reply.message),
        )
    })
    worker.once('error', (error) => {
      reject(new CtdError('BUILTIN_FAILED', errorMessage(error)))
    })
    worker.once('exit', () => {
      signal.removeEventListener('abort', onAbort)
      reject(new CtdError('BUILTIN_FAILED', 'the worker ended without an answer'))
    })
  })
}

interface ContainerRun {
  readonly components: ExecuteComponents
  readonly options: ExecuteOptions
  readonly replica: Replica
  readonly image: ImageRef
  readonly program: Extract<Program, { kind: 'container' }>
  readonly inputs: readonly MountedInput[]
  readonly dir: string
  readonly gpuUuids: readonly string[]
  readonly on: Listener
  readonly signal: AbortSignal
}

async function runContainer(run: ContainerRun): Promise<ReplicaOutput> {
  const { components, replica, dir, on, signal } = run
  const spec = await taskSpecOf(run, join(dir, 'work'))
  try {
    const outcome = await components.runtime.run(
      spec,
      {
        progress: (line) => {
          on.progress(progressOf(line))
        },
        log: (text) => {
          components.onLog(replica, text)
        },
        started: (id) => {
          components.onProgram(replica, 'container', id)
        },
      },
      signal,
    )
    if (outcome.status !== 'succeeded') throw failureOf(outcome, replica.options.slot.stage)
    return await storeOutput(components, replica, outcome.outDir, signal)
  } finally {
    await components.runtime.release(spec)
  }
}

async function taskSpecOf(run: ContainerRun, workDir: string): Promise<TaskSpec> {
  const { replica, options, image, program, dir } = run
  const { resources } = replica.options
  const inputs = [...run.inputs]
  const taskJson = replica.options.slot.taskJson(replica.options.task.message.round)
  if (taskJson !== '') {
    const path = join(dir, 'task.json')
    await writeFile(path, taskJson)
    inputs.push({ name: 'task.json', path })
  }
  return {
    taskKey: `${options.self.slice(-6)}-${replica.key.replace('/', '-').slice(0, 40)}-${replica.options.offer.message.attempt}`,
    owner: options.self,
    image,
    argv: program.argv,
    env: program.env,
    inputs,
    workDir,
    memoryMiB: resources.memoryMiB,
    cpus: resources.cpus,
    pids: resources.pids,
    outMiB: resources.outMiB,
    timeoutMs: resources.timeoutMs,
    gpuUuids: run.gpuUuids,
    isolation: resources.isolation,
  }
}

function progressOf({ step, total, metrics }: ProgressLine): ReplicaProgress {
  return {
    step,
    total: total ?? 0,
    note: JSON.stringify(metrics).slice(0, LIMITS.textBytes),
  }
}

/** With it the trainer says that a loss or an update is no number. */
const EXIT_NOT_FINITE = 11

/** The last words of a container say more than its exit code. */
function failureOf(
  { code, reason, logTail, exitCode }: TaskOutcome,
  stage: PlannedSlot['stage'],
): CtdError {
  const words = logTail.trim().split('\n').slice(-3).join(' | ').slice(0, 300)
  if (exitCode === EXIT_NOT_FINITE && (stage === 'train' || stage === 'eval')) {
    return new CtdError('TRAINING_DIVERGED', words, { hint: 'lower the learning rate' })
  }
  return new CtdError(code, words === '' ? reason : `${reason}: ${words}`)
}

async function storeOutput(
  { addFolder, blobs, holderOf, onOutput }: ExecuteComponents,
  replica: Replica,
  outDir: string,
  signal: AbortSignal,
): Promise<ReplicaOutput> {
  const folder = await addFolder(outDir, signal, holderOf(replica.options.jobId))
  await onOutput(replica, folder.digest)
  const metrics = folder.files.find(({ path }) => path === 'metrics.json')
  return {
    root: folder.digest,
    listing: await readFile(blobs.path(folder.digest)),
    metrics: metrics === undefined ? undefined : await readMetrics(blobs, metrics.digest),
  }
}

const METRICS_FILE_MAX = 16 * 1024 * 1024

async function readMetrics(blobs: BlobStore, digest: Digest): Promise<Uint8Array> {
  return blobs.readBytes(digest, METRICS_FILE_MAX)
}
