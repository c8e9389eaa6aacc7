/** The benchmark with a runtime and a probe handed in. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { ImageRef, TaskOutcome, TaskSpec } from '../../src/container/container-runtime.js'
import {
  cpuClass,
  gpuClass,
  runBenchmark,
  type BenchmarkComponents,
} from '../../src/hardware/benchmark.js'
import type { GpuReading, HardwareReading } from '../../src/hardware/probe.js'

const NEVER = new AbortController().signal
const IMAGE: ImageRef = {
  name: 'x',
  configDigest: 'a'.repeat(64),
  manifestDigest: 'b'.repeat(64),
  diffIds: ['c'.repeat(64)],
  sizeBytes: 1,
}
const GPU: GpuReading = {
  index: 0,
  uuid: 'GPU-5e1f7a9c-0f3a-4d61-9c5e-0a1b2c3d4e5f',
  name: 'NVIDIA H200',
  vramMiB: 143_771,
  vramUsedMiB: 0,
  temperatureC: 31,
  utilisationPercent: 0,
  powerW: 70,
  driver: '570.86.15',
  computeCapability: '9.0',
}
const CPU_RESULT = '{"software":"torch2.6.0-deb13","cpuGflops":40.5,"memoryGBs":9.5,"diskMBs":400}'

describe('runBenchmark', () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ctd-benchmark-'))
  })
  after(async () => rm(folder, { recursive: true }))

  /** A machine whose containers write the given text; remembers what was run and released. */
  const machine = (
    gpus: readonly GpuReading[],
    result: (spec: TaskSpec) => string,
    change: Partial<TaskOutcome> = {},
  ): { components: BenchmarkComponents; ran: TaskSpec[]; released: string[] } => {
    const ran: TaskSpec[] = []
    const released: string[] = []
    const reading: HardwareReading = {
      cpuModel: 'x',
      cores: 8,
      architecture: 'x64',
      avx2: true,
      ramMiB: 32_000,
      ramFreeMiB: 1,
      diskFreeMiB: 1,
      gpus,
    }
    const run = async (spec: TaskSpec): Promise<TaskOutcome> => {
      ran.push(spec)
      await mkdir(spec.workDir, { recursive: true })
      const text = result(spec)
      await writeFile(join(spec.workDir, 'benchmark.json'), text)
      return {
        status: 'succeeded',
        exitCode: 0,
        reason: '',
        code: 'SUCCEEDED',
        startedMs: 0,
        finishedMs: 1,
        logTail: '',
        outDir: spec.workDir,
        files: [{ path: 'benchmark.json', sizeBytes: text.length }],
        ...change,
      }
    }
    const release = async (spec: Pick<TaskSpec, 'taskKey'>): Promise<void> => {
      released.push(spec.taskKey)
    }
    return {
      components: { runtime: { run, release }, probe: { read: async () => reading } },
      ran,
      released,
    }
  }
  const options = (): Parameters<typeof runBenchmark>[1] => ({
    image: IMAGE,
    owner: '12D3KooWExample',
    workRoot: folder,
    isolation: 'runc',
  })

  test('gives the measured figures and the class of the machine, and releases its folder', async () => {
    const { components, ran, released } = machine([], () => CPU_RESULT)
    assert.deepEqual(await runBenchmark(components, options(), NEVER), {
      cpuGflops: 40.5,
      memoryGBs: 9.5,
      diskMBs: 400,
      ramMiB: 32_000,
      gpus: [],
      hardwareClass: 'cpu-x86-avx2/torch2.6.0-deb13/t1',
    })
    assert.deepEqual(
      released,
      ran.map((spec) => spec.taskKey),
    )
    assert.deepEqual(ran[0]?.gpuUuids, [])
  })

  test('measures each GPU in the CUDA image, alone', async () => {
    const { components, ran } = machine([GPU], (spec) =>
      spec.gpuUuids.length > 0
        ? '{"software":"torch2.6.0-other","gpuGflopsFp32":51000}'
        : CPU_RESULT,
    )
    const cudaImage = { ...IMAGE, configDigest: 'd'.repeat(64) }
    const { gpus } = await runBenchmark(components, { ...options(), cudaImage }, NEVER)
    assert.deepEqual(
      ran.map((spec) => spec.gpuUuids),
      [[], [GPU.uuid]],
    )
    assert.equal(gpus[0]?.gflopsFp32, 51_000)
    assert.equal(gpus[0]?.hardwareClass, 'cuda/NVIDIA-H200/570.86.15/dddddddddddd')
  })

  test('without a CUDA image a GPU is listed and not measured', async () => {
    const { components, ran } = machine([GPU], () => CPU_RESULT)
    const { gpus } = await runBenchmark(components, options(), NEVER)
    assert.equal(ran.length, 1)
    assert.equal(gpus[0]?.gflopsFp32, null)
  })

  test('BENCHMARK_FAILED: a failed run or a senseless result is no figure', async () => {
    const failed = machine([], () => CPU_RESULT, { status: 'failed' })
    await assert.rejects(runBenchmark(failed.components, options(), NEVER), {
      code: 'BENCHMARK_FAILED',
    })
    assert.equal(failed.released.length, 1)
    for (const text of [
      '',
      '7',
      '{}',
      '{"cpuGflops":-1}',
      CPU_RESULT.replace('9.5', '"9.5"'),
      CPU_RESULT.replace('torch', 'T/'),
    ]) {
      const odd = machine([], () => text)
      await assert.rejects(
        runBenchmark(odd.components, options(), NEVER),
        { code: 'BENCHMARK_FAILED' },
        text,
      )
    }
  })
})

describe('hardware classes', () => {
  test('differ where bits may differ', () => {
    assert.equal(cpuClass({ architecture: 'x64', avx2: false }, 's'), 'cpu-x86-base/s/t1')
    assert.equal(cpuClass({ architecture: 'arm64', avx2: false }, 's'), 'cpu-arm64-base/s/t1')
    assert.equal(
      gpuClass({ name: 'NVIDIA GeForce RTX 4090', driver: null }, undefined),
      'cuda/NVIDIA-GeForce-RTX-4090/unknown/none',
    )
  })
})
