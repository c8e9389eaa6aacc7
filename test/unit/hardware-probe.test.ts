/** What nvidia-smi says, as recorded on several machines, and what we make of it. */
import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseGpuTable, SystemProbe } from '../../src/hardware/probe.js'

const NEVER = new AbortController().signal
const UUID = 'GPU-5e1f7a9c-0f3a-4d61-9c5e-0a1b2c3d4e5f'

describe('parseGpuTable', () => {
  test('reads a data centre card', () => {
    assert.deepEqual(
      parseGpuTable(`0, ${UUID}, NVIDIA H200, 143771, 0, 31, 0, 76.42, 570.86.15, 9.0\n`),
      [
        {
          index: 0,
          uuid: UUID,
          name: 'NVIDIA H200',
          vramMiB: 143_771,
          vramUsedMiB: 0,
          temperatureC: 31,
          utilisationPercent: 0,
          powerW: 76.42,
          driver: '570.86.15',
          computeCapability: '9.0',
        },
      ],
    )
  })

  test('reads what a card does not tell as null', () => {
    const [gpu] = parseGpuTable(
      `1, ${UUID}, NVIDIA GeForce GT 710, 2002, [N/A], 45, [Not Supported], [N/A], 470.223.02, [N/A]`,
    )
    assert.equal(gpu?.vramMiB, 2002)
    assert.equal(gpu?.vramUsedMiB, null)
    assert.equal(gpu?.utilisationPercent, null)
    assert.equal(gpu?.powerW, null)
    assert.equal(gpu?.computeCapability, null)
  })

  test('reads several cards in order, and nothing as none', () => {
    const line = (index: number): string =>
      `${index}, ${UUID}, NVIDIA A100-SXM4-40GB, 40960, 3, 40, 12, 55.1, 535.54.03, 8.0`
    assert.deepEqual(
      parseGpuTable(`${line(0)}\r\n${line(1)}\r\n`).map((gpu) => gpu.index),
      [0, 1],
    )
    assert.deepEqual(parseGpuTable('\n'), [])
  })

  test('GPU_PROBE_FAILED: a line that makes no sense is no GPU', () => {
    for (const line of ['garbage', `0, ${UUID}`, `[N/A], ${UUID}, x, 1, 1, 1, 1, 1, 1, 1`]) {
      assert.throws(() => parseGpuTable(line), { code: 'GPU_PROBE_FAILED' })
    }
  })
})

describe('SystemProbe', () => {
  const withCommand = async (
    script: string,
    work: (command: string) => Promise<void>,
  ): Promise<void> => {
    const folder = await mkdtemp(join(tmpdir(), 'ctd-probe-'))
    const command = join(folder, 'nvidia-smi')
    try {
      await writeFile(command, `#!/bin/sh\n${script}\n`)
      await chmod(command, 0o755)
      await work(command)
    } finally {
      await rm(folder, { recursive: true })
    }
  }
  const read = (gpuCommand: string): ReturnType<SystemProbe['read']> =>
    new SystemProbe({ dataDir: tmpdir(), gpuCommand }).read(NEVER)

  test('describes this machine; no driver means no GPUs', async () => {
    const reading = await read('/no/such/nvidia-smi')
    assert.ok(reading.cores >= 1)
    assert.ok(reading.ramMiB > 0)
    assert.ok(reading.diskFreeMiB > 0)
    assert.notEqual(reading.cpuModel, '')
    assert.deepEqual(reading.gpus, [])
  })

  test('asks an old driver again without the field it does not know', async () => {
    const script = `case "$1" in
      *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;;
      *) echo '0, ${UUID}, Tesla K80, 11441, 0, 30, 0, 26.1, 418.87.00';;
    esac`
    await withCommand(script, async (command) => {
      const { gpus } = await read(command)
      assert.equal(gpus[0]?.name, 'Tesla K80')
      assert.equal(gpus[0]?.driver, '418.87.00')
      assert.equal(gpus[0]?.computeCapability, null)
    })
  })

  test('a driver without a card means no GPUs', async () => {
    await withCommand("echo 'No devices were found'; exit 6", async (command) => {
      assert.deepEqual((await read(command)).gpus, [])
    })
  })

  test('GPU_PROBE_FAILED: a broken driver is said, not hidden', async () => {
    await withCommand(
      "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
      async (command) => {
        await assert.rejects(read(command), { code: 'GPU_PROBE_FAILED' })
      },
    )
  })
})
