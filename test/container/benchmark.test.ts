/** The benchmark in the real task image. Builds that image first if it is not there: minutes. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { ImageRef } from '../../src/container/container-runtime.js'
import { runBenchmark, type Benchmark } from '../../src/hardware/benchmark.js'
import { SystemProbe } from '../../src/hardware/probe.js'
import { Bench, NEVER, ROOT, SKIP } from './harness.js'

describe('the CPU task image', { skip: SKIP, timeout: 900_000 }, () => {
  let image: ImageRef
  let bench: Bench
  before(async () => {
    const args = ['--import', 'tsx', 'scripts/build-image.ts', '--json']
    const { stdout } = await promisify(execFile)(process.execPath, args, {
      cwd: ROOT,
      maxBuffer: 64 * 1024 * 1024,
    })
    const built: { image: ImageRef; loaded: string } = JSON.parse(
      stdout.trim().split('\n').at(-1) ?? '',
    )
    assert.notEqual(built.loaded, 'no engine answers', 'this test needs a container engine')
    image = built.image
    bench = await Bench.open(image)
  })
  after(async () => bench.close())

  test('computes the same bits in two containers, whatever machine runs them', async () => {
    const program = `
import hashlib, torch
torch.manual_seed(7)
x, w = torch.randn(64, 96), torch.randn(96, 32, requires_grad=True)
loss = torch.nn.functional.gelu(x @ w).softmax(-1).square().sum()
loss.backward()
open("/out/hash", "w").write(hashlib.sha256(w.grad.numpy().tobytes()).hexdigest())
open("/out/threads", "w").write(str(torch.get_num_threads()))`
    const runs: string[] = []
    for (const _ of [1, 2]) {
      const spec = bench.spec('', { argv: ['python3', '-c', program], memoryMiB: 1024, pids: 256 })
      const { outcome } = await bench.run(spec)
      assert.equal(outcome.status, 'succeeded', outcome.logTail)
      runs.push(await readFile(`${outcome.outDir}/hash`, 'utf8'))
      assert.equal(await readFile(`${outcome.outDir}/threads`, 'utf8'), '1')
    }
    assert.equal(runs[0], runs[1])
  })

  test('measures this machine', async () => {
    const components = { runtime: bench.runtime, probe: new SystemProbe({ dataDir: bench.folder }) }
    const options = {
      image,
      owner: bench.owner,
      workRoot: bench.folder,
      isolation: 'runc',
    } as const
    const found: Benchmark = await runBenchmark(components, options, NEVER)
    console.log(JSON.stringify(found))
    assert.match(found.hardwareClass, /^cpu-x86-(avx2|base)\/torch2\.6\.0-deb13\/t1$/)
    assert.ok(found.cpuGflops > 0.5, 'slower than the reference BLAS')
  })
})
