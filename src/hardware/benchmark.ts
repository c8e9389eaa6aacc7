/**
 * Measures this machine the way tasks will use it: in the task image, in a container, under the same
 * limits. The result backs the capability that this peer announces.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type {
  ContainerRuntime,
  ImageRef,
  Isolation,
  TaskSpec,
} from '../container/container-runtime.js'
import { CtdError, errorMessage } from '../errors.js'
import type { GpuReading, HardwareProbe, HardwareReading } from './probe.js'

export interface GpuBenchmark {
  readonly uuid: string
  readonly name: string
  readonly vramMiB: number | null
  /** Full float32, no TF32; null where no CUDA image or no container toolkit is at hand. */
  readonly gflopsFp32: number | null
  readonly temperatureC: number | null
  /** `cuda/<gpu>/<driver>/<image>`: GPUs of one class are expected to give equal bits. */
  readonly hardwareClass: string
}

export interface Benchmark {
  /** One thread, float32 matrix products, per second of CPU time: a task has one thread. */
  readonly cpuGflops: number
  /** One thread, read and written, 10^9 bytes per second. */
  readonly memoryGBs: number
  /** Written and synced where task outputs go, 10^6 bytes per second. */
  readonly diskMBs: number
  readonly ramMiB: number
  readonly gpus: readonly GpuBenchmark[]
  /** Machines of one class give the same bits for the same CPU task: `cpu-x86-avx2/torch2.6.0-deb13/t1`. */
  readonly hardwareClass: string
}

export interface BenchmarkComponents {
  readonly runtime: Pick<ContainerRuntime, 'run' | 'release'>
  readonly probe: HardwareProbe
}

export interface BenchmarkOptions {
  readonly image: ImageRef
  /** Without it GPUs are listed, not measured. */
  readonly cudaImage?: ImageRef
  /** This node's peer id. */
  readonly owner: string
  /** Folder for the work folders of the runs. */
  readonly workRoot: string
  readonly isolation: Isolation
}

const PROGRAM = '/opt/ctd/benchmark.py'
const TIMEOUT_MS = 120_000
const RESULT_BYTES_MAX = 64 * 1024

/** @throws CtdError BENCHMARK_FAILED, or what the runtime throws */
export async function runBenchmark(
  components: BenchmarkComponents,
  options: BenchmarkOptions,
  signal: AbortSignal,
): Promise<Benchmark> {
  const before = await components.probe.read(signal)
  const cpu = await runOnce(components.runtime, taskFor(options, options.image, undefined), signal)
  const gpus: GpuBenchmark[] = []
  for (const gpu of before.gpus) gpus.push(await benchmarkGpu(components, options, gpu, signal))
  return {
    cpuGflops: positive(cpu, 'cpuGflops'),
    memoryGBs: positive(cpu, 'memoryGBs'),
    diskMBs: positive(cpu, 'diskMBs'),
    ramMiB: before.ramMiB,
    gpus,
    hardwareClass: cpuClass(before, softwareOf(cpu)),
  }
}

/** The class of CPU tasks: instruction set, software, one thread (`training.md` 3.4). */
export function cpuClass(
  reading: Pick<HardwareReading, 'architecture' | 'avx2'>,
  software: string,
): string {
  const processor =
    reading.architecture === 'x64'
      ? `x86-${reading.avx2 ? 'avx2' : 'base'}`
      : `${reading.architecture}-base`
  return `cpu-${processor}/${software}/t1`
}

/** The class of GPU tasks: another model, driver or image may round otherwise. */
export function gpuClass(
  gpu: Pick<GpuReading, 'name' | 'driver'>,
  imageDigest: string | undefined,
): string {
  const plain = (text: string): string => text.replace(/[^a-zA-Z0-9.]+/g, '-')
  return `cuda/${plain(gpu.name)}/${plain(gpu.driver ?? 'unknown')}/${imageDigest?.slice(0, 12) ?? 'none'}`
}

async function benchmarkGpu(
  components: BenchmarkComponents,
  options: BenchmarkOptions,
  gpu: GpuReading,
  signal: AbortSignal,
): Promise<GpuBenchmark> {
  let gflopsFp32: number | null = null
  let warm: GpuReading | undefined
  if (options.cudaImage !== undefined) {
    const found = await runOnce(
      components.runtime,
      taskFor(options, options.cudaImage, gpu),
      signal,
    )
    gflopsFp32 = positive(found, 'gpuGflopsFp32')
    warm = (await components.probe.read(signal)).gpus.find((one) => one.uuid === gpu.uuid)
  }
  return {
    uuid: gpu.uuid,
    name: gpu.name,
    vramMiB: gpu.vramMiB,
    gflopsFp32,
    temperatureC: (warm ?? gpu).temperatureC,
    hardwareClass: gpuClass(gpu, options.cudaImage?.configDigest),
  }
}

function taskFor(
  options: BenchmarkOptions,
  image: ImageRef,
  gpu: GpuReading | undefined,
): TaskSpec {
  const taskKey = gpu === undefined ? 'benchmark-cpu' : `benchmark-gpu-${gpu.index}`
  return {
    // Two daemons of one host may measure at once.
    taskKey: `${taskKey}-${options.owner.slice(-12)}`,
    owner: options.owner,
    image,
    // CPU time runs double under gVisor.
    argv: ['python3', PROGRAM, '--clock', options.isolation === 'runsc' ? 'wall' : 'cpu'],
    env: {},
    inputs: [],
    workDir: join(options.workRoot, taskKey),
    memoryMiB: gpu === undefined ? 512 : 4096,
    cpus: 1,
    pids: 256,
    outMiB: 64,
    timeoutMs: TIMEOUT_MS,
    gpuUuids: gpu === undefined ? [] : [gpu.uuid],
    isolation: options.isolation,
  }
}

async function runOnce(
  runtime: BenchmarkComponents['runtime'],
  spec: TaskSpec,
  signal: AbortSignal,
): Promise<Readonly<Record<string, unknown>>> {
  try {
    const outcome = await runtime.run(
      spec,
      { progress: () => undefined, log: () => undefined },
      signal,
    )
    if (outcome.status !== 'succeeded') {
      throw new CtdError('BENCHMARK_FAILED', `the benchmark did not run: ${outcome.reason}`, {
        fields: { code: outcome.code, log: outcome.logTail.slice(-1000) },
      })
    }
    const file = outcome.files.find((one) => one.path === 'benchmark.json')
    if (file === undefined || file.sizeBytes > RESULT_BYTES_MAX)
      throw unreadable('benchmark.json is missing')
    return parseResult(await readFile(join(outcome.outDir, file.path), 'utf8'))
  } finally {
    await runtime.release(spec)
  }
}

function parseResult(text: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw unreadable(errorMessage(error))
  }
  if (typeof value !== 'object' || value === null) throw unreadable('not an object')
  return { ...value }
}

function positive(found: Readonly<Record<string, unknown>>, name: string): number {
  const value = found[name]
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value
  throw unreadable(`${name} is ${String(value)}`)
}

function softwareOf(found: Readonly<Record<string, unknown>>): string {
  const value = found['software']
  if (typeof value === 'string' && /^[a-z0-9.-]{1,40}$/.test(value)) return value
  throw unreadable(`software is ${String(value)}`)
}

function unreadable(why: string): CtdError {
  return new CtdError('BENCHMARK_FAILED', `the benchmark's result makes no sense: ${why}`)
}
