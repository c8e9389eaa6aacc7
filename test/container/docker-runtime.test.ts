/** The life of a container in the real engine: how tasks end, and what is left afterwards. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import Docker from 'dockerode'
import { DockerRuntime } from '../../src/container/docker-runtime.js'
import { Bench, NEVER, ROOT, SKIP, testImage, type TestImage } from './harness.js'

describe('a task in a container', { skip: SKIP, timeout: 180_000 }, () => {
  let built: TestImage
  let bench: Bench
  before(async () => {
    built = await testImage()
    bench = await Bench.open(built.image)
  })
  after(async () => bench.close())

  test('succeeds with the files it wrote, sorted by path', async () => {
    const spec = bench.spec(
      'mkdir /out/b && echo two > /out/b/x && echo one > /out/a && echo hello',
    )
    const { outcome, log } = await bench.run(spec)
    assert.equal(outcome.status, 'succeeded', outcome.reason)
    assert.equal(outcome.exitCode, 0)
    assert.deepEqual(outcome.files, [
      { path: 'a', sizeBytes: 4 },
      { path: 'b/x', sizeBytes: 4 },
    ])
    assert.equal(await readFile(join(outcome.outDir, 'b/x'), 'utf8'), 'two\n')
    assert.equal(outcome.logTail, 'hello\n')
    assert.equal(log, 'hello\n')
    await bench.runtime.release(spec)
    await assert.rejects(readFile(join(outcome.outDir, 'a')), { code: 'ENOENT' })
    await bench.runtime.release(spec)
  })

  test('reads its inputs by name, also those closed to others on the host, and cannot change them', async () => {
    const file = join(bench.folder, 'data.txt')
    const secret = join(bench.folder, 'closed.txt')
    const folder = join(bench.folder, 'set')
    await mkdir(folder)
    await writeFile(file, 'payload')
    await chmod(file, 0o666)
    await writeFile(secret, 'closed', { mode: 0o600 })
    await writeFile(join(folder, 'row'), 'row')
    const script = `cat /in/data.txt /in/closed.txt /in/set/row > /out/all
      echo x >> /in/data.txt; touch /in/new; touch /in/set/new; true`
    const spec = bench.spec(script, {
      inputs: [
        { name: 'data.txt', path: file },
        { name: 'closed.txt', path: secret },
        { name: 'set', path: folder },
      ],
    })
    const { outcome } = await bench.run(spec)
    assert.equal(outcome.status, 'succeeded', outcome.reason)
    assert.equal(await readFile(join(outcome.outDir, 'all'), 'utf8'), 'payloadclosedrow')
    assert.equal(await readFile(file, 'utf8'), 'payload')
    assert.equal(outcome.logTail.match(/Read-only file system/g)?.length, 3)
  })

  test('INPUT_UNREADABLE: a missing input or a link is refused before anything starts', async () => {
    const gone = bench.spec('true', { inputs: [{ name: 'a', path: join(bench.folder, 'gone') }] })
    await assert.rejects(bench.run(gone), { code: 'INPUT_UNREADABLE' })
  })

  test('reports progress lines while it runs and passes over what is none', async () => {
    const script = `echo '{"step":1,"total":3,"metrics":{"loss":0.5}}' >> $CTD_PROGRESS
      echo 'not json' >> $CTD_PROGRESS
      echo '{"step":3,"total":3,"loss":0.25}' >> $CTD_PROGRESS`
    const { outcome, progress } = await bench.run(bench.spec(script))
    assert.equal(outcome.status, 'succeeded', outcome.reason)
    assert.deepEqual(outcome.files, [])
    assert.deepEqual(progress, [
      { step: 1, total: 3, metrics: { loss: 0.5 } },
      { step: 3, total: 3, metrics: { loss: 0.25 } },
    ])
  })

  test('CONTAINER_FAILED: a failing exit keeps its code and the end of its log', async () => {
    const { outcome } = await bench.run(bench.spec('echo broken >&2; exit 7'))
    assert.equal(outcome.status, 'failed')
    assert.equal(outcome.code, 'CONTAINER_FAILED')
    assert.equal(outcome.exitCode, 7)
    assert.equal(outcome.logTail, 'broken\n')
  })

  test('CONTAINER_FAILED: a program that is not in the image is named as the reason', async () => {
    const { outcome } = await bench.run(bench.spec('', { argv: ['/no/such/program'] }))
    assert.equal(outcome.code, 'CONTAINER_FAILED')
    assert.equal(outcome.exitCode, 127)
    assert.match(outcome.reason, /not found in the image/)
  })

  test('CONTAINER_OOM: a task that takes too much memory is killed', async () => {
    const { outcome } = await bench.run(bench.spec('exec tail /dev/zero', { memoryMiB: 16 }))
    assert.equal(outcome.status, 'out-of-memory')
    assert.equal(outcome.code, 'CONTAINER_OOM')
  })

  test('CONTAINER_OOM: a memory kill inside a pipe is seen although the exit code is 0', async () => {
    const script = 'head -c 400m /dev/zero | tail | wc -c; echo done > /out/result; exit 0'
    const { outcome } = await bench.run(bench.spec(script, { memoryMiB: 16 }))
    assert.equal(outcome.exitCode, 0)
    assert.equal(outcome.status, 'out-of-memory')
    assert.deepEqual(outcome.files, [])
  })

  test('CONTAINER_TIMEOUT: a task is killed when its time is over', async () => {
    const { outcome } = await bench.run(bench.spec('sleep 600', { timeoutMs: 300 }))
    assert.equal(outcome.status, 'timed-out')
    assert.equal(outcome.code, 'CONTAINER_TIMEOUT')
    assert.equal(outcome.exitCode, null)
  })

  test('CONTAINER_CANCELLED: an abort kills the running container', async () => {
    const control = new AbortController()
    const spec = bench.spec('trap "" TERM; sleep 600')
    const { outcome } = await bench.run(spec, control.signal, () => control.abort())
    assert.equal(outcome.status, 'cancelled')
    assert.equal(await countContainers(bench.owner), 0)
  })

  test('CONTAINER_CANCELLED: an abort before the start runs nothing', async () => {
    const { outcome } = await bench.run(bench.spec('true'), AbortSignal.abort())
    assert.equal(outcome.status, 'cancelled')
  })

  test('IMAGE_MISSING: a task of an unknown image does not run', async () => {
    const image = { ...built.image, configDigest: 'a'.repeat(64), manifestDigest: 'b'.repeat(64) }
    await assert.rejects(bench.run(bench.spec('true', { image })), { code: 'IMAGE_MISSING' })
  })

  test('IMAGE_MISSING: the right id with other layers is not the image', async () => {
    const image = { ...built.image, diffIds: ['c'.repeat(64)] }
    await assert.rejects(bench.run(bench.spec('true', { image })), { code: 'IMAGE_MISSING' })
  })

  test('ISOLATION_UNAVAILABLE: a task never falls back to weaker isolation', async () => {
    const engine = await bench.runtime.describe(NEVER)
    const missing = (['kata', 'runsc'] as const).find((one) => !engine.isolations.includes(one))
    assert.ok(missing, 'this engine has every runtime: nothing to refuse')
    await assert.rejects(bench.run(bench.spec('true', { isolation: missing })), {
      code: 'ISOLATION_UNAVAILABLE',
    })
  })

  test('leaves no container behind, however it ended', async () => {
    assert.equal(await countContainers(bench.owner), 0)
  })

  test('containers and mounts of a killed daemon are removed by the next one, but not those in use', async () => {
    const own = await Bench.open(built.image)
    after(async () => own.close())
    const spec = own.spec('sleep 600')
    const victim = spawn(process.execPath, ['--import', 'tsx', 'test/container/victim.ts'], {
      cwd: ROOT,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    victim.stdin.end(JSON.stringify(spec))
    for await (const line of createInterface(victim.stdout)) {
      assert.equal(line, 'started')
      break
    }
    victim.kill('SIGKILL')
    assert.equal(await countContainers(own.owner), 1)
    assert.equal(await own.runtime.cleanUp(own.owner, [spec.taskKey]), 0)
    assert.equal(await own.runtime.cleanUp('somebody-else', []), 0)
    assert.equal(await countContainers(own.owner), 1)
    assert.equal(await mountCount(spec.workDir), process.getuid?.() === 0 ? 2 : 0)
    assert.ok((await own.runtime.cleanUp(own.owner, [])) >= 1)
    assert.equal(await countContainers(own.owner), 0)
    assert.equal(await mountCount(spec.workDir), 0)
    await assert.rejects(readFile(spec.workDir), { code: 'ENOENT' })
  })

  test('mounts whose container is gone are removed too', async () => {
    const own = await Bench.open(built.image)
    after(async () => own.close())
    const spec = own.spec('echo left > /out/left')
    await own.run(spec)
    assert.ok((await own.runtime.cleanUp(own.owner, [])) >= (process.getuid?.() === 0 ? 1 : 0))
    assert.equal(await mountCount(spec.workDir), 0)
  })
})

describe('the engine', { skip: SKIP }, () => {
  test('describes itself', async () => {
    const engine = await new DockerRuntime().describe(NEVER)
    assert.ok(engine.cpus > 0)
    assert.ok(engine.memoryMiB > 0)
    assert.ok(engine.isolations.includes('runc'))
  })

  test('NO_CONTAINER_ENGINE: a missing engine comes with a hint', async () => {
    const runtime = new DockerRuntime({ socketPath: '/tmp/ctd-no-such-engine.sock' })
    await assert.rejects(runtime.describe(NEVER), (error: { code: string; hint: string }) => {
      assert.equal(error.code, 'NO_CONTAINER_ENGINE')
      assert.match(error.hint, /engine\.sh/)
      return true
    })
  })
})

async function countContainers(owner: string): Promise<number> {
  const docker = new Docker({ socketPath: '/var/run/docker.sock' })
  return (await docker.listContainers({ all: true, filters: { label: [`ctd.node=${owner}`] } }))
    .length
}

async function mountCount(folder: string): Promise<number> {
  const text = await readFile('/proc/self/mountinfo', 'utf8')
  return text.split('\n').filter((line) => line.includes(` ${folder}/`)).length
}
