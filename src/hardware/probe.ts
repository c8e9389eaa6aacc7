/**
 * Looks at this machine: processor, memory, disk and GPUs. What it can do is measured elsewhere
 * (`benchmark.ts`); this only reads what the system says of itself.
 */
import { execFile } from 'node:child_process'
import { readFile, statfs } from 'node:fs/promises'
import { arch, cpus, freemem, totalmem } from 'node:os'
import { promisify } from 'node:util'
import { CtdError, errorMessage } from '../errors.js'

export interface GpuReading {
  readonly index: number
  readonly uuid: string
  readonly name: string
  readonly vramMiB: number | null
  readonly vramUsedMiB: number | null
  readonly temperatureC: number | null
  readonly utilisationPercent: number | null
  readonly powerW: number | null
  readonly driver: string | null
  /** Such as `9.0`. */
  readonly computeCapability: string | null
}

export interface HardwareReading {
  readonly cpuModel: string
  /** Threads the system can run at once. */
  readonly cores: number
  readonly architecture: string
  /** Instruction sets that matter for equal bits; empty where the system does not say. */
  readonly avx2: boolean
  readonly ramMiB: number
  readonly ramFreeMiB: number
  readonly diskFreeMiB: number
  readonly gpus: readonly GpuReading[]
}

export interface HardwareProbe {
  /** @throws CtdError GPU_PROBE_FAILED when there is a driver and it gives no sense */
  read(signal: AbortSignal): Promise<HardwareReading>
}

const MIB = 1024 ** 2
const GPUS_MAX = 64
const COMMAND_TIMEOUT_MS = 10_000
const FIELDS = [
  'index',
  'uuid',
  'name',
  'memory.total',
  'memory.used',
  'temperature.gpu',
  'utilization.gpu',
  'power.draw',
  'driver_version',
  'compute_cap',
] as const
type Field = (typeof FIELDS)[number]

export interface SystemProbeOptions {
  /** The disk that holds work and blobs. */
  readonly dataDir: string
  /** Stands in for `nvidia-smi` in tests. */
  readonly gpuCommand?: string
}

/** The machine this process runs on. */
export class SystemProbe implements HardwareProbe {
  readonly #options: SystemProbeOptions

  constructor(options: SystemProbeOptions) {
    this.#options = options
  }

  async read(signal: AbortSignal): Promise<HardwareReading> {
    const [disk, cpuFlags, gpus] = await Promise.all([
      statfs(this.#options.dataDir),
      readCpuFlags(),
      readGpus(this.#options.gpuCommand ?? 'nvidia-smi', signal),
    ])
    const processors = cpus()
    return {
      cpuModel: processors[0]?.model.trim() ?? 'unknown',
      cores: Math.max(1, processors.length),
      architecture: arch(),
      avx2: cpuFlags.has('avx2'),
      ramMiB: Math.floor(totalmem() / MIB),
      ramFreeMiB: Math.floor(freemem() / MIB),
      diskFreeMiB: Math.floor((disk.bavail * disk.bsize) / MIB),
      gpus,
    }
  }
}

/**
 * Asks the NVIDIA driver. No driver means no GPUs; a field that this driver does not know is asked
 * for no more and reads as null.
 */
async function readGpus(command: string, signal: AbortSignal): Promise<readonly GpuReading[]> {
  let fields: readonly Field[] = FIELDS
  for (;;) {
    const args = [`--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits']
    try {
      const { stdout } = await promisify(execFile)(command, args, {
        signal,
        timeout: COMMAND_TIMEOUT_MS,
      })
      return parseGpuTable(stdout, fields)
    } catch (error) {
      if (signal.aborted || error instanceof CtdError) throw error
      if (isMissing(error)) return []
      const said = outputOf(error)
      if (/No devices were found|couldn't communicate with the NVIDIA driver/i.test(said)) return []
      const unknown = /Field "([^"]+)" is not a valid field/.exec(said)?.[1]
      const fewer = fields.filter((field) => field !== unknown)
      if (fewer.length === fields.length) {
        throw new CtdError('GPU_PROBE_FAILED', `nvidia-smi failed: ${said.slice(0, 300)}`, {
          hint: 'run nvidia-smi by hand; after a driver update the machine must be restarted',
          cause: error,
        })
      }
      fields = fewer
    }
  }
}

/**
 * Reads `nvidia-smi --format=csv,noheader,nounits`. `[N/A]`, `[Not Supported]` and the like are null.
 *
 * @throws CtdError GPU_PROBE_FAILED for a line without an index, UUID or name
 */
export function parseGpuTable(
  text: string,
  fields: readonly Field[] = FIELDS,
): readonly GpuReading[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.slice(0, GPUS_MAX).map((line) => {
    const cells = line.split(',').map((cell) => cell.trim())
    const cell = (field: Field): string | null => {
      const found = cells[fields.indexOf(field)]
      return found === undefined ||
        found === '' ||
        /^\[?(N\/A|Not Supported|Unknown Error|Insufficient Permissions)\]?$/i.test(found)
        ? null
        : found
    }
    const number = (field: Field): number | null => {
      const value = Number(cell(field) ?? Number.NaN)
      return Number.isFinite(value) ? value : null
    }
    const [index, uuid, name] = [number('index'), cell('uuid'), cell('name')]
    if (cells.length !== fields.length || index === null || uuid === null || name === null) {
      throw new CtdError(
        'GPU_PROBE_FAILED',
        `nvidia-smi wrote a line that makes no sense: ${line.slice(0, 200)}`,
      )
    }
    return {
      index,
      uuid,
      name,
      vramMiB: number('memory.total'),
      vramUsedMiB: number('memory.used'),
      temperatureC: number('temperature.gpu'),
      utilisationPercent: number('utilization.gpu'),
      powerW: number('power.draw'),
      driver: cell('driver_version'),
      computeCapability: cell('compute_cap'),
    }
  })
}

/** Linux only; elsewhere empty, and the machine counts as one without special instructions. */
async function readCpuFlags(): Promise<ReadonlySet<string>> {
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '')
  return new Set((/^flags\s*:\s*(.*)$/m.exec(text)?.[1] ?? '').split(' '))
}

function isMissing(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    (error.code === 'ENOENT' || error.code === 'EACCES')
  )
}

/** nvidia-smi writes its complaints to standard output. */
function outputOf(error: unknown): string {
  const parts = ['stdout', 'stderr'].map((name) =>
    typeof error === 'object' && error !== null ? String(Reflect.get(error, name) ?? '') : '',
  )
  return parts.join('').trim() || errorMessage(error)
}
