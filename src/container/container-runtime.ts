/**
 * What the rest of the house knows of containers: a task goes in, an outcome and a folder of plain
 * files come out. Docker implements it; the simulator has its own.
 */
import type { Readable } from 'node:stream'

/** An image, pinned by everything engines know it by. Digests are SHA-256, hexadecimal. */
export interface ImageRef {
  readonly name: string
  readonly configDigest: string
  readonly manifestDigest: string
  /** Digests of the uncompressed layers, lowest first. */
  readonly diffIds: readonly string[]
  readonly sizeBytes: number
}

/** How strongly a task is kept from the host: shared kernel, user-space kernel, virtual machine. */
export type Isolation = 'runc' | 'runsc' | 'kata'

export interface TaskInput {
  /** File name under `/in`. */
  readonly name: string
  /** Absolute path of a regular file or folder on this host; never a link. */
  readonly path: string
}

/** One container run. */
export interface TaskSpec {
  /** Unique per task and attempt on this node; the container is named `ctd-<taskKey>`. */
  readonly taskKey: string
  /** This node's peer id; marks what is ours, so that two daemons of one host do not meddle. */
  readonly owner: string
  readonly image: ImageRef
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly inputs: readonly TaskInput[]
  /** Host folder private to this run; created by `run`, deleted by `release`. */
  readonly workDir: string
  readonly memoryMiB: number
  readonly cpus: number
  readonly pids: number
  readonly outMiB: number
  readonly timeoutMs: number
  /** Whole GPUs leased to this run, as `GPU-…` or `MIG-…`; empty for a CPU task. */
  readonly gpuUuids: readonly string[]
  readonly isolation: Isolation
}

/** One line a program wrote to the file named by `CTD_PROGRESS`, reduced to what is shown. */
export interface ProgressLine {
  readonly step: number
  readonly total: number | null
  /** At most `CONTAINER_LIMITS.progressMetrics` finite numbers by name. */
  readonly metrics: Readonly<Record<string, number>>
}

export type TaskStatus =
  'succeeded' | 'failed' | 'out-of-memory' | 'timed-out' | 'cancelled' | 'bad-output'

export interface OutputFile {
  /** Relative to `outDir`, separated by `/`. */
  readonly path: string
  readonly sizeBytes: number
}

export interface TaskOutcome {
  readonly status: TaskStatus
  /** Null when the container never ran to an end of its own. */
  readonly exitCode: number | null
  /** Why, in plain words. */
  readonly reason: string
  /** Stable: `SUCCEEDED`, `CONTAINER_FAILED`, `CONTAINER_OOM`, `CONTAINER_TIMEOUT`, `OUTPUT_LINK`, … */
  readonly code: string
  readonly startedMs: number
  readonly finishedMs: number
  /** The end of standard output and standard error together, at most 16 KiB. */
  readonly logTail: string
  /** Folder of the outputs; valid until `release`. */
  readonly outDir: string
  /** Empty unless the task succeeded; sorted by path. */
  readonly files: readonly OutputFile[]
}

export interface TaskListener {
  progress(line: ProgressLine): void
  log(text: string): void
  started?(containerId: string): void
}

/** What the local engine is and can do. */
export interface EngineDescription {
  readonly version: string
  readonly apiVersion: string
  readonly operatingSystem: string
  readonly architecture: string
  readonly cpus: number
  readonly memoryMiB: number
  readonly cgroupVersion: string
  readonly isolations: readonly Isolation[]
  /** The engine can hand GPUs to containers. */
  readonly gpuReady: boolean
  /** Container root is not host root (user namespaces or a rootless engine). */
  readonly userNamespaces: boolean
  /** `/out` is a file system of its own size, not a folder watched for its size. */
  readonly outputCapped: boolean
}

export interface ContainerRuntime {
  /** @throws CtdError NO_CONTAINER_ENGINE when no engine answers */
  describe(signal: AbortSignal): Promise<EngineDescription>

  /** Whether the engine holds exactly this image: its digest and its layers. */
  hasImage(image: ImageRef, signal: AbortSignal): Promise<boolean>

  /**
   * Loads an uncompressed image archive and checks that it brought this image.
   *
   * @throws CtdError IMAGE_ARCHIVE_REFUSED when it holds anything but this image
   * @throws CtdError IMAGE_LOAD_FAILED when the engine refuses the archive
   * @throws CtdError IMAGE_DIGEST_MISMATCH when the archive holds another image
   */
  loadImage(image: ImageRef, archive: Readable, signal: AbortSignal): Promise<void>

  /**
   * Runs a task to its end, whatever the end is. An abort of `signal` kills the container and
   * gives the outcome `cancelled`. The container is gone when this returns; the output stays
   * until `release`.
   *
   * @throws CtdError for what is not the task's doing: IMAGE_MISSING, BAD_TASK_SPEC,
   *   INPUT_UNREADABLE, ISOLATION_UNAVAILABLE, ENGINE_FAILED, ENGINE_RESTARTED
   */
  run(spec: TaskSpec, on: TaskListener, signal: AbortSignal): Promise<TaskOutcome>

  /** Unmounts and deletes the work folder. May be called twice, and after a crash. */
  release(spec: Pick<TaskSpec, 'taskKey' | 'workDir'>): Promise<void>

  /**
   * Removes what earlier processes of this owner left behind: containers, and mounts.
   *
   * @param keepKeys - task keys that are still running here
   * @returns how many containers and mounts were removed
   */
  cleanUp(owner: string, keepKeys: readonly string[]): Promise<number>
}

/** Every bound of this room. */
export const CONTAINER_LIMITS = {
  argvItems: 256,
  argvBytes: 64 * 1024,
  envItems: 64,
  envValueBytes: 4096,
  inputs: 256,
  gpus: 16,
  memoryMiBMin: 16,
  memoryMiBMax: 4 * 1024 * 1024,
  cpusMax: 1024,
  pidsMax: 32_768,
  outMiBMin: 1,
  outMiBMax: 1024 * 1024,
  timeoutMsMax: 30 * 24 * 3600 * 1000,
  tmpMiB: 64,
  shmMiB: 64,
  progressMiB: 4,
  progressLineBytes: 4096,
  progressLinesPerPoll: 16,
  progressMetrics: 32,
  logTailBytes: 16 * 1024,
  /** Passed on to listeners; the rest is only counted. */
  logForwardBytes: 1024 * 1024,
  /** More than this and the task is killed: reading it costs the provider. */
  logTotalBytes: 64 * 1024 * 1024,
  outputFiles: 10_000,
  outputDepth: 16,
  outputNameBytes: 255,
} as const
