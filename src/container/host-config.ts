/**
 * Turns our own task description into the engine's. Every field is set here by name from a checked
 * value; nothing that came from a peer is ever spread into it. `host-config-audit.ts` judges the
 * result without knowing this file.
 */
import { isAbsolute } from 'node:path'
import type { ContainerCreateOptions } from 'dockerode'
import { CtdError } from '../errors.js'
import { CONTAINER_LIMITS as LIMITS, type TaskSpec } from './container-runtime.js'

/** Where the prepared parts of a run lie on the host, and how the engine is asked. */
export interface RunLayout {
  readonly inDir: string
  readonly outDir: string
  readonly progressDir: string
  /** The image's id in this engine. */
  readonly imageId: string
  /** Name of the engine's runtime for the task's isolation. */
  readonly runtimeName: string
  /** `uid:gid`, numeric, never root. */
  readonly user: string
  /** CDI where the engine knows it, else NVIDIA's device request. */
  readonly gpuDriver: 'nvidia' | 'cdi'
  /** `base` for processors without AVX2: another class of determinism, and about a third as fast. */
  readonly instructionSet: 'avx2' | 'base'
}

export const LABELS = { owner: 'ctd.node', taskKey: 'ctd.task', workDir: 'ctd.work' } as const

export const PATHS = {
  in: '/in',
  out: '/out',
  progress: '/progress',
  progressFile: '/progress/progress.jsonl',
} as const

const MIB = 1024 ** 2
const TASK_KEY = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/
const OWNER = /^[a-zA-Z0-9_-]{1,100}$/
const INPUT_NAME = /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,199}$/
const ENV_NAME = /^[A-Z][A-Z0-9_]{0,63}$/
const DIGEST = /^[0-9a-f]{64}$/
const GPU_UUID = /^(GPU|MIG)-[0-9a-zA-Z/-]{8,100}$/
const CONTROL_CHARACTER = /[^\P{Cc}\t\n]/u
/** Names that steer the loader, the GPU hook or the arithmetic: a task may not set them. */
const ENV_RESERVED =
  /^(LD|NVIDIA|CUDA|CUBLAS|CUDNN|NCCL|OMP|GOMP|KMP|OPENBLAS|MKL|BLIS|ATEN|ONEDNN|DNNL|PYTORCH|TORCH|PYTHON|GLIBC|MALLOC|DOCKER|CONTAINER|CTD_PROGRESS|CTD_INPUTS|CTD_OUTPUTS|PATH$|HOME$|HOSTNAME$|TZ$|LC_|LANG)/

/**
 * One thread and one instruction set, so that replicas on unlike machines compute the same bits
 * (`training.md` 3.4, `images.md` 10). Spinning threads on shared cores cost a factor of 7.
 */
const DETERMINISM_ENV: Readonly<Record<string, string>> = {
  ATEN_CPU_CAPABILITY: 'avx2',
  LC_ALL: 'C.UTF-8',
  MKL_CBWR: 'AVX2,STRICT',
  MKL_NUM_THREADS: '1',
  OMP_NUM_THREADS: '1',
  OMP_WAIT_POLICY: 'passive',
  ONEDNN_MAX_CPU_ISA: 'AVX2',
  OPENBLAS_CORETYPE: 'Haswell',
  OPENBLAS_NUM_THREADS: '1',
  PYTHONDONTWRITEBYTECODE: '1',
  PYTHONHASHSEED: '0',
  TZ: 'UTC',
}
const BASE_INSTRUCTIONS_ENV: Readonly<Record<string, string>> = {
  ATEN_CPU_CAPABILITY: 'default',
  MKL_CBWR: 'COMPATIBLE',
  ONEDNN_MAX_CPU_ISA: 'SSE41',
  OPENBLAS_CORETYPE: 'Prescott',
}
const GPU_DETERMINISM_ENV: Readonly<Record<string, string>> = {
  CUBLAS_WORKSPACE_CONFIG: ':4096:8',
  NVIDIA_DRIVER_CAPABILITIES: 'compute,utility',
  NVIDIA_TF32_OVERRIDE: '0',
}

/** @throws CtdError BAD_TASK_SPEC naming the field */
export function assertTaskSpec(spec: TaskSpec): void {
  const problem = firstProblem(spec)
  if (problem !== undefined) throw new CtdError('BAD_TASK_SPEC', `cannot run this task: ${problem}`)
}

/** The request that creates the container of a task. @throws CtdError BAD_TASK_SPEC */
export function createOptions(spec: TaskSpec, layout: RunLayout): ContainerCreateOptions {
  assertTaskSpec(spec)
  const gpu = spec.gpuUuids.length > 0
  // Memory file systems count as the container's memory: the task still gets all of its own.
  const memoryBytes = (spec.memoryMiB + LIMITS.tmpMiB + LIMITS.shmMiB) * MIB
  const fileBytes = Math.max(spec.outMiB, LIMITS.tmpMiB) * MIB
  const tmpfs = `rw,noexec,nosuid,nodev,size=${LIMITS.tmpMiB}m,mode=1777,nr_inodes=20000`
  return {
    name: `ctd-${spec.taskKey}`,
    Image: layout.imageId,
    Entrypoint: spec.argv.slice(0, 1),
    Cmd: spec.argv.slice(1),
    Env: containerEnv(spec, layout.instructionSet),
    User: layout.user,
    WorkingDir: '/tmp',
    Labels: {
      [LABELS.owner]: spec.owner,
      [LABELS.taskKey]: spec.taskKey,
      [LABELS.workDir]: spec.workDir,
    },
    Healthcheck: { Test: ['NONE'] },
    NetworkDisabled: true,
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    OpenStdin: false,
    Tty: false,
    StopSignal: 'SIGTERM',
    StopTimeout: 2,
    HostConfig: {
      Privileged: false,
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      NetworkMode: 'none',
      IpcMode: 'private',
      CgroupnsMode: 'private',
      Init: true,
      Runtime: layout.runtimeName,
      Memory: memoryBytes,
      MemorySwap: memoryBytes,
      NanoCpus: Math.round(spec.cpus * 1e9),
      PidsLimit: spec.pids,
      OomScoreAdj: 500,
      ShmSize: LIMITS.shmMiB * MIB,
      Ulimits: [
        { Name: 'core', Soft: 0, Hard: 0 },
        { Name: 'fsize', Soft: fileBytes, Hard: fileBytes },
        { Name: 'memlock', Soft: gpu ? -1 : 0, Hard: gpu ? -1 : 0 },
        { Name: 'nofile', Soft: 4096, Hard: 4096 },
        // Counted per user of the host, not per container: PidsLimit is the real limit.
        { Name: 'nproc', Soft: 4096, Hard: 4096 },
      ],
      Tmpfs: { '/tmp': tmpfs },
      Mounts: [
        bind(layout.inDir, PATHS.in, true),
        ...spec.inputs.map((input) => bind(input.path, `${PATHS.in}/${input.name}`, true)),
        bind(layout.outDir, PATHS.out, false),
        bind(layout.progressDir, PATHS.progress, false),
      ],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '8m', 'max-file': '1' } },
      RestartPolicy: { Name: 'no' },
      AutoRemove: false,
      DeviceRequests: gpu ? [gpuRequest(spec.gpuUuids, layout.gpuDriver)] : [],
    } as NonNullable<ContainerCreateOptions['HostConfig']>,
  }
}

/** Everything a task's processes find in their environment, besides the image's own. */
function containerEnv(spec: TaskSpec, instructionSet: RunLayout['instructionSet']): string[] {
  const gpu = spec.gpuUuids.length > 0
  const fixed: Readonly<Record<string, string>> = {
    ...DETERMINISM_ENV,
    ...(instructionSet === 'base' ? BASE_INSTRUCTIONS_ENV : {}),
    // Void keeps an image from asking NVIDIA's hook for devices by its own environment.
    ...(gpu ? GPU_DETERMINISM_ENV : { NVIDIA_VISIBLE_DEVICES: 'void' }),
    CTD_DEVICE: gpu ? 'cuda' : 'cpu',
    CTD_INPUTS: PATHS.in,
    CTD_OUTPUTS: PATHS.out,
    CTD_PROGRESS: PATHS.progressFile,
    HOME: '/tmp',
    UCX_LOG_LEVEL: 'fatal',
  }
  const all = new Map([...Object.entries(spec.env), ...Object.entries(fixed)])
  return [...all].map(([name, value]) => `${name}=${value}`).sort()
}

function bind(
  source: string,
  target: string,
  readOnly: boolean,
): {
  Type: 'bind'
  Source: string
  Target: string
  ReadOnly: boolean
  BindOptions: { Propagation: 'rprivate' }
} {
  return {
    Type: 'bind',
    Source: source,
    Target: target,
    ReadOnly: readOnly,
    BindOptions: { Propagation: 'rprivate' },
  }
}

function gpuRequest(
  uuids: readonly string[],
  driver: RunLayout['gpuDriver'],
): { Driver: string; DeviceIDs: string[]; Capabilities?: string[][] } {
  return driver === 'cdi'
    ? { Driver: 'cdi', DeviceIDs: uuids.map((uuid) => `nvidia.com/gpu=${uuid}`) }
    : { Driver: 'nvidia', DeviceIDs: [...uuids], Capabilities: [['gpu', 'compute', 'utility']] }
}

function firstProblem(spec: TaskSpec): string | undefined {
  if (!TASK_KEY.test(spec.taskKey)) return 'taskKey must be 1 to 100 letters, digits, _ . -'
  if (!OWNER.test(spec.owner)) return 'owner must be a peer id'
  if (!isPlainPath(spec.workDir)) return 'workDir must be an absolute path'
  return (
    imageProblem(spec) ??
    argvProblem(spec.argv) ??
    envProblem(spec) ??
    inputProblem(spec) ??
    limitProblem(spec) ??
    gpuProblem(spec.gpuUuids)
  )
}

function imageProblem({ image }: TaskSpec): string | undefined {
  const digests = [image.configDigest, image.manifestDigest, ...image.diffIds]
  if (image.diffIds.length === 0 || !digests.every((digest) => DIGEST.test(digest))) {
    return 'image must be named by SHA-256 digests'
  }
  return undefined
}

function argvProblem(argv: readonly string[]): string | undefined {
  if (argv.length === 0 || argv[0] === '') return 'argv is empty'
  if (argv.length > LIMITS.argvItems) return `argv has more than ${LIMITS.argvItems} items`
  if (Buffer.byteLength(argv.join(' ')) > LIMITS.argvBytes)
    return `argv has more than ${LIMITS.argvBytes} bytes`
  return argv.some((item) => item.includes('\0')) ? 'argv holds a NUL byte' : undefined
}

function envProblem({ env, gpuUuids }: TaskSpec): string | undefined {
  const entries = Object.entries(env)
  if (entries.length > LIMITS.envItems) return `env has more than ${LIMITS.envItems} names`
  const fixed: Readonly<Record<string, string>> =
    gpuUuids.length > 0 ? { ...DETERMINISM_ENV, ...GPU_DETERMINISM_ENV } : DETERMINISM_ENV
  for (const [name, value] of entries) {
    if (!ENV_NAME.test(name)) return `env name ${name.slice(0, 64)} is not of the form A_NAME`
    if (ENV_RESERVED.test(name) && fixed[name] !== value) return `env name ${name} is reserved`
    if (Buffer.byteLength(value) > LIMITS.envValueBytes) return `env ${name} is too long`
    if (CONTROL_CHARACTER.test(value)) return `env ${name} holds a control character`
  }
  return undefined
}

function inputProblem({ inputs }: TaskSpec): string | undefined {
  if (inputs.length > LIMITS.inputs) return `more than ${LIMITS.inputs} inputs`
  const names = new Set<string>()
  for (const { name, path } of inputs) {
    if (!INPUT_NAME.test(name)) return `input name ${name.slice(0, 64)} is not a plain file name`
    if (names.has(name)) return `two inputs named ${name}`
    if (!isPlainPath(path)) return `input ${name} must have an absolute path`
    names.add(name)
  }
  return undefined
}

function limitProblem(spec: TaskSpec): string | undefined {
  const within = (value: number, min: number, max: number): boolean => value >= min && value <= max
  const whole = (value: number, min: number, max: number): boolean =>
    Number.isSafeInteger(value) && within(value, min, max)
  if (!whole(spec.memoryMiB, LIMITS.memoryMiBMin, LIMITS.memoryMiBMax))
    return 'memoryMiB is out of range'
  if (!within(spec.cpus, 0.01, LIMITS.cpusMax)) return 'cpus is out of range'
  if (!whole(spec.pids, 1, LIMITS.pidsMax)) return 'pids is out of range'
  if (!whole(spec.outMiB, LIMITS.outMiBMin, LIMITS.outMiBMax)) return 'outMiB is out of range'
  if (!whole(spec.timeoutMs, 1, LIMITS.timeoutMsMax)) return 'timeoutMs is out of range'
  return undefined
}

function gpuProblem(uuids: readonly string[]): string | undefined {
  if (uuids.length > LIMITS.gpus) return `more than ${LIMITS.gpus} GPUs`
  return uuids.every((uuid) => GPU_UUID.test(uuid)) ? undefined : 'GPUs must be named by UUID'
}

/** Absolute, without dot segments or control characters. */
function isPlainPath(path: string): boolean {
  return (
    isAbsolute(path) && path !== '/' && !/\p{Cc}/u.test(path) && !/(^|\/)\.{1,2}(\/|$)/.test(path)
  )
}
