/**
 * Runs tasks in Docker, or in any engine that speaks its API. The engine is trusted, the image and
 * the task are not: see `host-config.ts` for what a container is given, `host-config-audit.ts` for
 * the second look at it, and `output-collect.ts` for what is taken from it.
 */
import type { Readable } from 'node:stream'
import Docker from 'dockerode'
import { CtdError, errorMessage, InvariantError } from '../errors.js'
import {
  CONTAINER_LIMITS as LIMITS,
  type ContainerRuntime,
  type EngineDescription,
  type ImageRef,
  type Isolation,
  type OutputFile,
  type TaskListener,
  type TaskOutcome,
  type TaskSpec,
  type TaskStatus,
} from './container-runtime.js'
import { engineError, isGone } from './docker-errors.js'
import { runContainer, type EndedContainer } from './docker-run.js'
import { auditHostConfig, auditInspect, type ContainerPolicy } from './host-config-audit.js'
import { assertTaskSpec, createOptions, LABELS, PATHS, type RunLayout } from './host-config.js'
import { collectOutput } from './output-collect.js'
import { ProgressTail } from './progress-tail.js'
import {
  folderBytes,
  isFull,
  MountAbility,
  mountedWorkFolders,
  prepareWorkFolder,
  removeWorkFolder,
  type WorkFolder,
} from './work-folder.js'

export interface DockerRuntimeOptions {
  /** The engine's unix socket. */
  readonly socketPath?: string
}

const DEFAULT_SOCKET = '/var/run/docker.sock'
const ANSWER_MS = 10_000
const MIB = 1024 ** 2
/** Names under which engines register each isolation, the preferred first. */
const RUNTIME_NAMES: Readonly<Record<Isolation, readonly string[]>> = {
  runc: ['runc', 'crun'],
  runsc: ['runsc', 'runsc-systrap', 'runsc-ptrace'],
  kata: ['kata', 'kata-runtime', 'io.containerd.kata.v2'],
}
const ISOLATIONS: readonly Isolation[] = ['runc', 'runsc', 'kata']

/** What we need of the engine's `info`, whose type differs between versions. */
interface EngineFacts {
  readonly runtimes: ReadonlySet<string>
  readonly cdi: boolean
}

export class DockerRuntime implements ContainerRuntime {
  readonly #docker: Docker
  readonly #mounts = new MountAbility()
  #facts: EngineFacts | undefined

  constructor(options: DockerRuntimeOptions = {}) {
    this.#docker = new Docker({ socketPath: options.socketPath ?? DEFAULT_SOCKET })
  }

  async describe(signal: AbortSignal): Promise<EngineDescription> {
    const patience = AbortSignal.timeout(ANSWER_MS)
    const [info, version] = await answer(
      () => Promise.all([this.#docker.info(), this.#docker.version()]),
      AbortSignal.any([signal, patience]),
    ).catch((error: unknown) => {
      if (signal.aborted || !patience.aborted) throw error
      throw new CtdError(
        'NO_CONTAINER_ENGINE',
        `the container engine is silent for ${ANSWER_MS} ms`,
        {
          hint: 'restart Docker',
        },
      )
    })
    const facts = factsOf(info)
    this.#facts = facts
    const security: unknown = info.SecurityOptions
    const options = Array.isArray(security) ? security.map(String) : []
    return {
      version: version.Version,
      apiVersion: version.ApiVersion,
      operatingSystem: String(info.OperatingSystem),
      architecture: String(info.Architecture),
      cpus: Number(info.NCPU),
      memoryMiB: Math.floor(Number(info.MemTotal) / MIB),
      cgroupVersion: String(info.CgroupVersion ?? '1'),
      isolations: ISOLATIONS.filter((isolation) => runtimeName(isolation, facts) !== undefined),
      gpuReady: facts.cdi || facts.runtimes.has('nvidia'),
      userNamespaces: options.some((option) => /name=(userns|rootless)/.test(option)),
      outputCapped: this.#mounts.possible,
    }
  }

  async hasImage(image: ImageRef, signal: AbortSignal): Promise<boolean> {
    return (await this.#imageId(image, signal)) !== undefined
  }

  async loadImage(image: ImageRef, archive: Readable, signal: AbortSignal): Promise<void> {
    const destroy = (): void => {
      archive.destroy()
    }
    signal.addEventListener('abort', destroy, { once: true })
    try {
      const body = await answer(() => this.#docker.loadImage(archive, { quiet: '1' }), signal)
      await readLoadAnswer(body, signal)
    } finally {
      signal.removeEventListener('abort', destroy)
      archive.destroy()
    }
    if ((await this.#imageId(image, signal)) === undefined) {
      throw new CtdError(
        'IMAGE_DIGEST_MISMATCH',
        `the archive does not hold image ${image.name} as pinned`,
        {
          fields: { configDigest: image.configDigest },
        },
      )
    }
  }

  async run(spec: TaskSpec, on: TaskListener, signal: AbortSignal): Promise<TaskOutcome> {
    assertTaskSpec(spec)
    if (signal.aborted) return cancelledBeforeStart(spec)
    const imageId = await this.#imageId(spec.image, signal)
    if (imageId === undefined) {
      throw new CtdError('IMAGE_MISSING', `the engine does not hold image ${spec.image.name}`)
    }
    const facts = (this.#facts ??= factsOf(await answer(() => this.#docker.info(), signal)))
    const runtime = runtimeName(spec.isolation, facts)
    if (runtime === undefined) {
      throw new CtdError('ISOLATION_UNAVAILABLE', `the engine has no runtime for ${spec.isolation}`)
    }
    await this.#removeContainer(`ctd-${spec.taskKey}`)
    const folder = await prepareWorkFolder(spec, this.#mounts, signal)
    const layout: RunLayout = {
      ...folder,
      imageId,
      runtimeName: runtime,
      user: taskUser(),
      gpuDriver: facts.cdi ? 'cdi' : 'nvidia',
    }
    const container = await this.#create({ ...spec, inputs: folder.inputs }, layout)
    let ended: EndedContainer
    try {
      const tail = new ProgressTail(`${folder.progressDir}/progress.jsonl`, (line) =>
        on.progress(line),
      )
      const outputTooLarge = (): Promise<boolean> => isOverflowing(folder, spec)
      ended = await runContainer(
        this.#docker,
        container,
        { timeoutMs: spec.timeoutMs, tail, outputTooLarge },
        on,
        signal,
      )
    } finally {
      await this.#removeContainer(container.id)
    }
    return judge(spec, folder, ended)
  }

  async release(spec: Pick<TaskSpec, 'taskKey' | 'workDir'>): Promise<void> {
    await removeWorkFolder(spec.workDir)
  }

  async cleanUp(owner: string, keepKeys: readonly string[]): Promise<number> {
    const keep = new Set(keepKeys)
    let removed = 0
    const containers = await answer(
      () =>
        this.#docker.listContainers({
          all: true,
          filters: { label: [`${LABELS.owner}=${owner}`] },
        }),
      AbortSignal.timeout(ANSWER_MS),
    )
    for (const { Id, Labels } of containers) {
      if (keep.has(Labels[LABELS.taskKey] ?? '')) continue
      await this.#removeContainer(Id)
      removed += 1
      const workDir = Labels[LABELS.workDir]
      if (workDir !== undefined) await removeWorkFolder(workDir)
    }
    for (const { taskKey, workDir } of await mountedWorkFolders(owner)) {
      if (keep.has(taskKey)) continue
      await removeWorkFolder(workDir)
      removed += 1
    }
    return removed
  }

  /** Creates the container and looks at it twice: at our request, and at what the engine made of it. */
  async #create(spec: TaskSpec, layout: RunLayout): Promise<Docker.Container> {
    const options = createOptions(spec, layout)
    const policy = policyFor(spec, layout)
    const faults = auditHostConfig(options.HostConfig, policy)
    if (faults.length > 0)
      throw new InvariantError(`refused our own container request: ${faults.join('; ')}`)
    const container = await answer(
      () => this.#docker.createContainer(options),
      new AbortController().signal,
    )
    try {
      const recorded = auditInspect(await container.inspect(), policy)
      if (recorded.length === 0) return container
      throw new CtdError(
        'CONTAINER_NOT_AS_ASKED',
        `the engine made another container: ${recorded.join('; ')}`,
        {
          hint: 'an image that declares volumes, or an engine with its own defaults, can cause this',
          fields: { faults: recorded },
        },
      )
    } catch (error) {
      await this.#removeContainer(container.id)
      throw engineError(error)
    }
  }

  /** The engine's id of an image, if it is this image down to its layers. */
  async #imageId(image: ImageRef, signal: AbortSignal): Promise<string | undefined> {
    // Classic stores know an image by its config, containerd stores by its manifest.
    for (const digest of [image.configDigest, image.manifestDigest]) {
      const id = `sha256:${digest}`
      const found = await answer(
        () =>
          this.#docker
            .getImage(id)
            .inspect()
            .catch((error: unknown) => {
              if (isGone(error)) return undefined
              throw error
            }),
        signal,
      )
      if (found === undefined || found.Id !== id) continue
      const layers = found.RootFS.Layers ?? []
      const wanted = image.diffIds.map((diffId) => `sha256:${diffId}`)
      if (layers.length === wanted.length && wanted.every((layer, i) => layers[i] === layer))
        return id
    }
    return undefined
  }

  /** Also ends it. Fine when it is gone already. */
  async #removeContainer(idOrName: string): Promise<void> {
    try {
      await this.#docker.getContainer(idOrName).remove({ force: true, v: true })
    } catch (error) {
      if (!isGone(error)) throw engineError(error)
    }
  }
}

/** What a run's end means for the task; the first cause wins. */
async function judge(
  spec: TaskSpec,
  folder: WorkFolder,
  ended: EndedContainer,
): Promise<TaskOutcome> {
  const outcome = (
    status: TaskStatus,
    code: string,
    reason: string,
    files: readonly OutputFile[] = [],
  ): TaskOutcome => ({
    status,
    code,
    reason,
    files,
    exitCode: ended.stopReason === undefined ? ended.exitCode : null,
    startedMs: ended.startedMs,
    finishedMs: ended.finishedMs,
    logTail: ended.logTail,
    outDir: folder.outDir,
  })
  const tooLarge = `the task wrote more than ${spec.outMiB} MiB to ${PATHS.out}`
  switch (ended.stopReason) {
    case 'cancelled':
      return outcome('cancelled', 'CONTAINER_CANCELLED', 'the task was cancelled')
    case 'timed-out':
      return outcome(
        'timed-out',
        'CONTAINER_TIMEOUT',
        `the task ran longer than ${spec.timeoutMs} ms`,
      )
    case 'log-flood':
      return outcome(
        'failed',
        'LOG_TOO_LARGE',
        `the task logged more than ${LIMITS.logTotalBytes} bytes`,
      )
    case 'output-full':
      return outcome('bad-output', 'OUTPUT_TOO_LARGE', tooLarge)
    case undefined:
      break
  }
  if (ended.oomKilled) {
    return outcome(
      'out-of-memory',
      'CONTAINER_OOM',
      `the task needed more than ${spec.memoryMiB} MiB of memory`,
    )
  }
  if (folder.capped && (await isFull(folder.outDir)))
    return outcome('bad-output', 'OUTPUT_TOO_LARGE', tooLarge)
  if (ended.exitCode !== 0) {
    return outcome('failed', 'CONTAINER_FAILED', `the task ended with ${exitWords(ended.exitCode)}`)
  }
  const output = await collectOutput(
    folder.outDir,
    { totalBytesMax: spec.outMiB * MIB },
    new AbortController().signal,
  )
  return output.ok
    ? outcome('succeeded', 'SUCCEEDED', 'the task succeeded', output.files)
    : outcome('bad-output', output.code, output.reason)
}

function exitWords(code: number): string {
  if (code === 127) return 'exit code 127: its program was not found in the image'
  if (code === 153) return 'signal 25: a file grew beyond its limit'
  return code > 128 && code < 160 ? `exit code ${code} (signal ${code - 128})` : `exit code ${code}`
}

function cancelledBeforeStart(spec: TaskSpec): TaskOutcome {
  const now = Date.now()
  return {
    status: 'cancelled',
    code: 'CONTAINER_CANCELLED',
    reason: 'the task was cancelled before it started',
    exitCode: null,
    startedMs: now,
    finishedMs: now,
    logTail: '',
    outDir: `${spec.workDir}/out`,
    files: [],
  }
}

/** Where `/out` has no size of its own, its folder is measured. */
async function isOverflowing(folder: WorkFolder, spec: TaskSpec): Promise<boolean> {
  if (folder.capped) return false
  const outMax = spec.outMiB * MIB
  const progressMax = LIMITS.progressMiB * MIB
  return (
    (await folderBytes(folder.outDir, outMax)) > outMax ||
    (await folderBytes(folder.progressDir, progressMax)) > progressMax
  )
}

/** The policy is stated from the task, not from the request that is to be judged. */
function policyFor(spec: TaskSpec, layout: RunLayout): ContainerPolicy {
  return {
    mounts: [
      { source: layout.inDir, target: '/in', readOnly: true },
      ...spec.inputs.map(({ name, path }) => ({
        source: path,
        target: `/in/${name}`,
        readOnly: true,
      })),
      { source: layout.outDir, target: '/out', readOnly: false },
      { source: layout.progressDir, target: '/progress', readOnly: false },
    ],
    memoryBytesMax: (spec.memoryMiB + 128) * MIB,
    cpusMax: spec.cpus,
    pidsMax: spec.pids,
    shmBytesMax: 64 * MIB,
    tmpBytesMax: 64 * MIB,
    runtimeName: layout.runtimeName,
    user: layout.user,
    gpuUuids: spec.gpuUuids,
  }
}

/**
 * Nobody, when we are root. Else our own user: files of another user could be neither read nor
 * deleted by us.
 */
function taskUser(): string {
  const uid = process.getuid?.() ?? 0
  return uid === 0 ? '65534:65534' : `${uid}:${process.getgid?.() ?? uid}`
}

function factsOf(info: unknown): EngineFacts {
  const read = (name: string): unknown =>
    typeof info === 'object' && info !== null ? Reflect.get(info, name) : undefined
  const runtimes = read('Runtimes')
  const cdiFolders = read('CDISpecDirs')
  return {
    runtimes: new Set(
      Object.keys(typeof runtimes === 'object' && runtimes !== null ? runtimes : {}),
    ),
    cdi: Array.isArray(cdiFolders) && cdiFolders.length > 0,
  }
}

function runtimeName(isolation: Isolation, facts: EngineFacts): string | undefined {
  return RUNTIME_NAMES[isolation].find((name) => facts.runtimes.has(name))
}

/** The engine answers 200 and then writes its errors into the body. */
async function readLoadAnswer(body: NodeJS.ReadableStream, signal: AbortSignal): Promise<void> {
  let text = ''
  for await (const chunk of body) {
    signal.throwIfAborted()
    text = (text + String(chunk)).slice(-LIMITS.logTailBytes)
  }
  for (const line of text.split('\n')) {
    const found = /"error"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(line)?.[1]
    if (found !== undefined) {
      throw new CtdError(
        'IMAGE_LOAD_FAILED',
        `the engine could not load the image: ${String(JSON.parse(found))}`,
      )
    }
  }
}

/** Waits for the engine no longer than the signal allows, and speaks of its failures our way. */
async function answer<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  let onAbort = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = (): void =>
      reject(
        signal.reason instanceof Error ? signal.reason : new Error(errorMessage(signal.reason)),
      )
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([call(), aborted])
  } catch (error) {
    if (signal.aborted) throw error
    throw engineError(error)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
