/** What a hostile program can reach from inside a container, and what it can leave behind. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { TaskOutcome } from '../../src/container/container-runtime.js'
import { Bench, NEVER, SKIP, testImage } from './harness.js'

describe('a hostile task', { skip: SKIP, timeout: 180_000 }, () => {
  let bench: Bench
  before(async () => {
    bench = await Bench.open((await testImage()).image)
  })
  after(async () => bench.close())

  const read = (outcome: TaskOutcome, name: string): Promise<string> =>
    readFile(join(outcome.outDir, name), 'utf8')

  test('has no capabilities, no way to gain any, a filter of system calls and no root', async () => {
    const { outcome } = await bench.run(
      bench.spec('cat /proc/self/status > /out/status; id -u > /out/uid'),
    )
    assert.equal(outcome.status, 'succeeded', outcome.reason)
    const status = await read(outcome, 'status')
    for (const set of ['CapEff', 'CapPrm', 'CapBnd', 'CapInh', 'CapAmb']) {
      assert.match(status, new RegExp(`${set}:\\s+0000000000000000\\n`))
    }
    assert.match(status, /NoNewPrivs:\s+1\n/)
    assert.match(status, /Seccomp:\s+2\n/)
    assert.notEqual(await read(outcome, 'uid'), '0\n')
  })

  test('has no network interface but its own loopback, and no route', async () => {
    const script =
      'ls /sys/class/net > /out/net; ip route > /out/route; tail -n +2 /proc/net/route >> /out/route'
    const { outcome } = await bench.run(bench.spec(script))
    assert.equal(await read(outcome, 'net'), 'lo\n')
    assert.equal(await read(outcome, 'route'), '')
  })

  test('cannot write outside /out, /tmp and its progress', async () => {
    const script =
      'for f in /x /bin/x /in/x /etc/x /proc/sys/kernel/core_pattern; do echo x > $f && echo "$f" >> /out/written; done; echo ok > /out/end'
    const { outcome } = await bench.run(bench.spec(script))
    assert.deepEqual(outcome.files, [{ path: 'end', sizeBytes: 3 }])
  })

  test('cannot run what it writes to /tmp, nor to a mounted /out', async () => {
    const script =
      'cp /bin/busybox /out/tool 2>/dev/null || cat /bin/busybox > /out/tool; chmod 755 /out/tool; /out/tool true; echo $? > /out/code; cat /bin/busybox > /tmp/tool; chmod 755 /tmp/tool; /tmp/tool true; echo $? >> /out/code'
    const { outcome } = await bench.run(bench.spec(script))
    const { outputCapped } = await bench.runtime.describe(NEVER)
    // 127 is busybox: it ran, and does not know itself by that name.
    assert.equal(await read(outcome, 'code'), outputCapped ? '126\n126\n' : '127\n126\n')
  })

  test('OUTPUT_LINK: a symbolic link is refused and named', async () => {
    const { outcome } = await bench.run(
      bench.spec('mkdir /out/a && ln -s /etc/shadow /out/a/result'),
    )
    assert.equal(outcome.status, 'bad-output')
    assert.equal(outcome.code, 'OUTPUT_LINK')
    assert.match(outcome.reason, /\/out\/a\/result/)
    assert.deepEqual(outcome.files, [])
  })

  test('OUTPUT_LINK: a hard link is refused', async () => {
    const { outcome } = await bench.run(bench.spec('echo x > /out/a && ln /out/a /out/b'))
    assert.equal(outcome.code, 'OUTPUT_LINK')
  })

  test('OUTPUT_LINK: a pipe is refused without being opened', async () => {
    const { outcome } = await bench.run(bench.spec('mkfifo /out/pipe'))
    assert.equal(outcome.code, 'OUTPUT_LINK')
    assert.match(outcome.reason, /\/out\/pipe/)
  })

  test('OUTPUT_TOO_DEEP and OUTPUT_BAD_NAME: odd trees are refused', async () => {
    const deep = await bench.run(
      bench.spec('cd /out; for i in 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6; do mkdir d; cd d; done'),
    )
    assert.equal(deep.outcome.code, 'OUTPUT_TOO_DEEP')
    const named = await bench.run(bench.spec('touch "/out/$(echo -e \'a\\tb\')"'))
    assert.equal(named.outcome.code, 'OUTPUT_BAD_NAME')
  })

  test('OUTPUT_TOO_LARGE: more than allowed is an error, also when the program hides it', async () => {
    const fill =
      'dd if=/dev/zero of=/out/a bs=1M count=14; dd if=/dev/zero of=/out/b bs=1M count=14'
    const { outcome } = await bench.run(bench.spec(`${fill}; exit 0`))
    assert.equal(outcome.status, 'bad-output')
    assert.equal(outcome.code, 'OUTPUT_TOO_LARGE')
  })

  test('OUTPUT_TOO_LARGE: a sparse file counts with its whole size', async () => {
    const { outcome } = await bench.run(
      bench.spec('for f in a b c; do dd if=/dev/zero of=/out/$f bs=1 count=1 seek=8M; done'),
    )
    assert.equal(outcome.code, 'OUTPUT_TOO_LARGE')
  })

  test('a full progress file does not grow and does not disturb', async () => {
    const script =
      'yes \'{"step":1}\' | head -c 20m > $CTD_PROGRESS 2>/dev/null; echo ok > /out/end'
    const { outcome, progress } = await bench.run(bench.spec(script))
    assert.equal(outcome.status, 'succeeded', outcome.reason)
    assert.ok(progress.length <= 64, `${progress.length} lines passed on`)
  })

  test('a progress file that is a link or a pipe is not followed', async () => {
    for (const trick of ['ln -s /etc/passwd $CTD_PROGRESS', 'mkfifo $CTD_PROGRESS']) {
      const { outcome, progress } = await bench.run(bench.spec(trick))
      assert.equal(outcome.status, 'succeeded', outcome.reason)
      assert.deepEqual(progress, [])
    }
  })

  test('cannot have more processes than allowed', async () => {
    const script = 'i=0; while [ $i -lt 100 ]; do sleep 60 & i=$((i+1)); done; wait'
    const { outcome } = await bench.run(bench.spec(script, { pids: 20 }))
    assert.equal(outcome.status, 'failed')
    assert.match(outcome.logTail, /can't fork/)
  })

  test('LOG_TOO_LARGE: a flood of log is cut, bounded and ends the task', async () => {
    const { outcome, log } = await bench.run(
      bench.spec('exec yes 0123456789012345678901234567890123456789'),
    )
    assert.equal(outcome.code, 'LOG_TOO_LARGE')
    assert.ok(Buffer.byteLength(outcome.logTail) <= 16 * 1024)
    assert.ok(log.length < 2 * 1024 * 1024)
  })

  test('finds none of the provider in its environment', async () => {
    const { outcome } = await bench.run(
      bench.spec(
        'cat /proc/self/environ | tr "\\\\0" "\\n" > /out/env 2>/dev/null || cat /proc/self/environ > /out/env',
        { env: { CTD_SEED: '7' } },
      ),
    )
    const env = await read(outcome, 'env')
    assert.match(env, /CTD_SEED=7/)
    assert.match(env, /OMP_NUM_THREADS=1/)
    assert.match(env, /NVIDIA_VISIBLE_DEVICES=void/)
    assert.ok(!env.includes(bench.owner), 'the container learns the peer id')
  })
})
