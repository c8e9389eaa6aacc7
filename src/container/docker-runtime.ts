/**
 * Runs tasks in Docker, or in any engine that speaks its API. The engine is trusted, the image and
 * the task are not: see `host-config.ts` for what a container is given, `host-config-audit.ts` for
 * the second look at it, and `output-collect.ts` for what is taken from it.
 */
import type { Readable } from 'node:stream'
import Docker from 'dockerode'
import { CtdError, InvariantError } from '../errors.js'
import {
  CONTAINER_LIMITS as LIMITS,
  type ContainerRuntime,
  type EngineDescription,
  type ImageRef,
  type Isolation,
  type TaskListener,
  type TaskOutcome,
  type TaskSpec,
} from './container-runtime.js'
import { answer, engineError, isConflict, isGone } from './docker-errors.js'
import { findImage, loadImage, removeImage } from './docker-images.js'
import { runContainer, type EndedContainer } from './docker-run.js'
import type { EngineImages } from './engine-images.js'
import { auditHostConfig, auditInspect, type ContainerPolicy } from './host-config-audit.js'
import { assertTaskSpec, createOptions, LABELS, type RunLayout } from './host-config.js'
import { ProgressTail } from './progress-tail.js'
import { cancelledBeforeStart, judgeRun } from './task-outcome.js'
import {
  folderBytes,
  isWorkFolder,
  MountAbility,
  mountedWorkFolders,
  prepareWorkFolder,
  removeWorkFolder,
  type WorkFolder,
} from './work-folder.js'

export interface DockerRuntimeOptions {
  /** The engine's unix socket. */
  readonly socketPath?: string
  /** What tasks may count on; `base` where the processor lacks AVX2. Default `avx2`. */
  readonly instructionSet?: 'avx2' | 'base'
  /** Remembers what is loaded and keeps it within a budget; without it all stays. */
  readonly images?: EngineImages
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
  readonly #instructionSet: 'avx2' | 'base'
  readonly #images: EngineImages | undefined
  #facts: EngineFacts | undefined

  constructor(options: DockerRuntimeOptions = {}) {
    this.#instructionSet = options.instructionSet ?? 'avx2'
    this.#docker = new Docker({ socketPath: options.socketPath ?? DEFAULT_SOCKET })
    this.#images = options.images
    this.#images?.connect((image, signal) => removeImage(this.#docker, image, signal))
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
    return (await findImage(this.#docker, image, signal)) !== undefined
  }

  async loadImage(image: ImageRef, archive: Readable, signal: AbortSignal): Promise<void> {
    if ((await findImage(this.#docker, image, signal)) !== undefined) {
      archive.destroy()
      return // The owner's, or loaded meanwhile: not ours to remove.
    }
    await this.#images?.makeRoom(image, signal)
    await loadImage(this.#docker, image, archive, signal)
    await this.#images?.onLoaded(image)
  }

  async run(spec: TaskSpec, on: TaskListener, signal: AbortSignal): Promise<TaskOutcome> {
    assertTaskSpec(spec)
    if (signal.aborted) return cancelledBeforeStart(spec)
    const end = await this.#images?.use(spec.image.configDigest)
    try {
      return await this.#run(spec, on, signal)
    } finally {
      end?.()
    }
  }

  async #run(spec: TaskSpec, on: TaskListener, signal: AbortSignal): Promise<TaskOutcome> {
    const imageId = await findImage(this.#docker, spec.image, signal)
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
      instructionSet: this.#instructionSet,
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
    return judgeRun(spec, folder, ended)
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
      if (workDir !== undefined && (await isWorkFolder(workDir))) await removeWorkFolder(workDir)
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

  /** Also ends it. Fine when it is gone already. */
  async #removeContainer(idOrName: string): Promise<void> {
    try {
      await this.#docker.getContainer(idOrName).remove({ force: true, v: true })
    } catch (error) {
      if (!isGone(error) && !isConflict(error)) throw engineError(error)
    }
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
