/**
 * A task survives the death of the engine. Needs root: it starts an engine of its own, beside the
 * one of this host, and kills it.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { DockerRuntime } from '../../src/container/docker-runtime.js'
import { Bench, NEVER, ROOT, SKIP, testImage } from './harness.js'

const AS_ROOT = process.getuid?.() === 0
const WHY_NOT = AS_ROOT ? false : 'needs root to start an engine of its own'

describe('an engine that dies', { skip: SKIP || WHY_NOT, timeout: 120_000 }, () => {
  let folder: string
  let bench: Bench
  const engine = async (...args: readonly string[]): Promise<{ pid: number | null }> => {
    const { stdout } = await promisify(execFile)(join(ROOT, 'scripts/engine.sh'), [...args], {
      env: {
        ...process.env,
        CTD_DOCKER_SOCK: join(folder, 'engine.sock'),
        CTD_DOCKER_ROOT: join(folder, 'root'),
        CTD_ENGINE_STATE: join(folder, 'state'),
      },
    })
    return JSON.parse(stdout)
  }
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ctd-engine-'))
    const { image, archive } = await testImage()
    await engine()
    bench = await Bench.open(image, new DockerRuntime({ socketPath: join(folder, 'engine.sock') }))
    await bench.runtime.loadImage(image, createReadStream(archive), NEVER)
  })
  after(async () => {
    try {
      await bench.close()
    } finally {
      await engine('stop')
      await unmountInside(folder)
      await rm(folder, { recursive: true, force: true })
    }
  })

  test('and comes back finds its task running, and the task ends as if nothing had been', async () => {
    const gate = join(bench.folder, 'gate')
    await mkdir(gate)
    const spec = bench.spec(
      'until [ -e /in/gate/open ]; do sleep 0.1; done; echo done > /out/a; exit 5',
      {
        inputs: [{ name: 'gate', path: gate }],
      },
    )
    const { promise: started, resolve: onStarted } = deferred()
    const running = bench.run(spec, NEVER, onStarted)
    await Promise.race([started, running])
    const { pid } = await engine()
    assert.ok(pid !== null)
    process.kill(pid, 'SIGKILL')
    const again = await engine()
    assert.notEqual(again.pid, pid)
    // Until the new engine sees containers end, it may miss the end of an old one.
    await bench.run(bench.spec('true'))
    await writeFile(join(gate, 'open'), '')
    const { outcome } = await running
    assert.equal(outcome.code, 'CONTAINER_FAILED')
    assert.equal(outcome.exitCode, 5)
    assert.equal(await readFile(join(outcome.outDir, 'a'), 'utf8'), 'done\n')
  })

  test('and comes back can still cancel its task', async () => {
    const control = new AbortController()
    const { promise: started, resolve: onStarted } = deferred()
    const running = bench.run(bench.spec('sleep 600'), control.signal, onStarted)
    await Promise.race([started, running])
    const { pid } = await engine()
    assert.ok(pid !== null)
    process.kill(pid, 'SIGKILL')
    control.abort()
    await engine()
    assert.equal((await running).outcome.status, 'cancelled')
  })

  test('ENGINE_RESTARTED: a container that vanished is not the fault of its task', async () => {
    const { promise: started, resolve: onStarted } = deferred()
    const spec = bench.spec('sleep 600')
    const running = bench.run(spec, NEVER, onStarted)
    await Promise.race([started, running])
    const earlier = [1, 2, 3].map((count) => `${bench.owner}-${count}`)
    assert.equal(await bench.runtime.cleanUp(bench.owner, earlier), 1)
    await assert.rejects(running, { code: 'ENGINE_RESTARTED' })
  })
})

/** A killed engine leaves its root mounted upon itself. */
async function unmountInside(folder: string): Promise<void> {
  const text = await readFile('/proc/self/mountinfo', 'utf8')
  const paths = text.split('\n').map((line) => line.split(' ')[4] ?? '')
  for (const path of paths.filter((one) => one.startsWith(`${folder}/`)).reverse()) {
    await promisify(execFile)('umount', [path])
  }
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
