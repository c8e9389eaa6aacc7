/**
 * What this machine offers: probed, benchmarked in a container of the task image, bounded by its
 * owner's limits.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type {
  ContainerRuntime,
  EngineDescription,
  Isolation,
} from '../container/container-runtime.js'
import type { Benchmark } from '../hardware/benchmark.js'
import type { HardwareReading } from '../hardware/probe.js'
import type { Capability } from '../wire/generated/capability.js'
import type { PeerId } from '../wire/ids.js'
import type { Offering } from './bid.js'

export interface HardwareComponents {
  readonly clock: Clock
  readonly log: Log
  readonly runtime: Pick<ContainerRuntime, 'describe'>
  readonly probe: (signal: AbortSignal) => Promise<HardwareReading>
  readonly benchmark: (isolation: Isolation, signal: AbortSignal) => Promise<Benchmark>
}

export interface HardwareOptions {
  readonly isExecutor: boolean
  readonly memoryMiB: number
  readonly diskMiB: number
  readonly seats: number
  readonly isolation: readonly Isolation[]
  readonly publishers: readonly PeerId[]
  readonly blocked: readonly PeerId[]
}

/** Used where no benchmark could run; such a peer still runs built-in tasks for nobody. */
const NO_CLASS = 'unknown'
/** Tasks waiting on this machine, as a multiple of what runs at once. */
const BACKLOG_FACTOR = 8

export class Hardware {
  readonly #components: HardwareComponents
  readonly #options: HardwareOptions
  #engine: EngineDescription | undefined
  #engineProblem: string | undefined = 'the engine was not asked yet'
  #reading: HardwareReading | undefined
  #benchmark: Benchmark | undefined
  #measuredMs = 0

  constructor(components: HardwareComponents, options: HardwareOptions) {
    this.#components = components
    this.#options = options
  }

  /** Asks the engine, reads the machine, runs the benchmark. Failures become reasons. */
  async measure(signal: AbortSignal): Promise<void> {
    this.#reading = await this.#components.probe(signal)
    try {
      this.#engine = await this.#components.runtime.describe(signal)
      this.#engineProblem = undefined
    } catch (error) {
      this.#engineProblem = errorMessage(error)
      return
    }
    if (!this.#options.isExecutor) return
    try {
      this.#benchmark = await this.#components.benchmark(
        this.#options.isolation[0] ?? 'runc',
        signal,
      )
      this.#measuredMs = this.#components.clock.now()
    } catch (error) {
      const detail = errorMessage(error)
      this.#engineProblem = `the benchmark failed: ${detail}`
      this.#components.log.warn({ code: errorCode(error), detail }, 'benchmark failed')
    }
  }

  get engineText(): string {
    if (this.#engine === undefined) return `none: ${this.#engineProblem ?? ''}`
    const problem = this.#engineProblem === undefined ? '' : ` (${this.#engineProblem})`
    return `${this.#engine.version}, ${this.#engine.isolations.join(' ')}${problem}`
  }

  get benchmarkText(): string {
    const { cpuGflops, memoryGBs, diskMBs } = this.#benchmark ?? {}
    if (cpuGflops === undefined) return 'none'
    return `${cpuGflops.toFixed(1)} GFLOP/s a core, ${memoryGBs?.toFixed(1)} GB/s memory, ${diskMBs?.toFixed(0)} MB/s disk`
  }

  get hardwareClass(): string {
    return this.#benchmark?.hardwareClass ?? NO_CLASS
  }

  get flopsMega(): number {
    return Math.round((this.#benchmark?.cpuGflops ?? 0) * 1000)
  }

  get gpuUuids(): readonly string[] {
    return (this.#benchmark?.gpus ?? []).map((gpu) => gpu.uuid)
  }

  offering(): Offering {
    const gpus = this.#benchmark?.gpus ?? []
    const isolations = this.#engine?.isolations ?? []
    return {
      isExecutor: this.#options.isExecutor,
      engineProblem:
        this.#benchmark === undefined ? (this.#engineProblem ?? 'not measured yet') : undefined,
      memoryMiB: Math.min(this.#options.memoryMiB, this.#reading?.ramMiB ?? 0),
      diskMiB: Math.min(this.#options.diskMiB, this.#reading?.diskFreeMiB ?? 0),
      gpus: gpus.length,
      vramMiB: Math.min(...gpus.map((gpu) => gpu.vramMiB ?? 0), gpus.length === 0 ? 0 : Infinity),
      isolation: this.#options.isolation.filter((tier) => isolations.includes(tier)),
      seatsPerBatch: this.#options.seats,
      backlogMax: this.#options.seats * BACKLOG_FACTOR,
      publishers: this.#options.publishers,
      blocked: this.#options.blocked,
    }
  }

  /** The measured part of the capability record. */
  capability(): Omit<
    Capability,
    'sequence' | 'issuedMs' | 'vrfKey' | 'operator' | 'role' | 'agent'
  > {
    const { cpuGflops = 0, memoryGBs = 0, diskMBs = 0, gpus = [] } = this.#benchmark ?? {}
    const offering = this.offering()
    return {
      hardwareClass: this.hardwareClass,
      cpuModel: this.#reading?.cpuModel ?? '',
      cpuCores: this.#reading?.cores ?? 0,
      cpuFlopsMega: Math.round(cpuGflops * 1000),
      memoryBytesPerSecond: Math.round(memoryGBs * 1e9),
      diskBytesPerSecond: Math.round(diskMBs * 1e6),
      ramMib: offering.memoryMiB,
      diskFreeMib: offering.diskMiB,
      gpus: gpus.map((gpu) => ({
        name: gpu.name,
        vramMib: gpu.vramMiB ?? 0,
        flopsMega: Math.round((gpu.gflopsFp32 ?? 0) * 1000),
        temperatureC: gpu.temperatureC ?? 0,
      })),
      isolation: [...offering.isolation],
      seats: this.#options.isExecutor ? this.#options.seats : 0,
    }
  }

  get measuredMs(): number {
    return this.#measuredMs
  }
}
