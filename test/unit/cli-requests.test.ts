/** From what a person writes to the request that is sent. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CtdError } from '../../src/errors.js'
import { defaultHome, socketOf } from '../../src/config.js'
import { exitCodeOf, exitCodeOfJob } from '../../src/cli/exit-codes.js'
import { resolveHome, socketPathOf } from '../../src/cli/home.js'
import { parseJobFile } from '../../src/cli/job-file.js'
import { targetPath } from '../../src/cli/results.js'
import { runRequest, trainRequest } from '../../src/cli/submit.js'
import { checkNode } from '../../src/cli/doctor.js'
import { makeJob } from './api-fake-daemon.js'

test('flags of ctd run become a run request in the units of the API', () => {
  const request = runRequest(['python3', 'x.py', '--deep=1'], {
    image: 'cpu',
    input: ['x.py=./x.py', 'set=data=1'],
    env: ['A=1', 'B=x=y'],
    tasks: '4',
    memory: '2GiB',
    timeout: '10m',
    seed: '7',
  })
  assert.deepEqual(request, {
    kind: 'run',
    image: 'cpu',
    command: ['python3', 'x.py', '--deep=1'],
    seed: '7',
    env: { A: '1', B: 'x=y' },
    inputs: [
      { name: 'x.py', source: './x.py' },
      { name: 'set', source: 'data=1' },
    ],
    tasks: 4,
    memoryMiB: 2048,
    timeoutMs: 600_000,
  })
})

test('flags that cannot be meant are USAGE', () => {
  const run = { image: 'cpu' }
  assert.throws(() => runRequest(['x'], {}), { code: 'USAGE' })
  assert.throws(() => runRequest([], run), { code: 'USAGE' })
  assert.throws(() => runRequest(['x'], { ...run, env: ['A'] }), { code: 'USAGE' })
  assert.throws(() => runRequest(['x'], { ...run, input: ['a=1', 'a=2'] }), { code: 'USAGE' })
  assert.throws(() => runRequest(['x'], { ...run, replicas: '1' }), { code: 'USAGE' })
  assert.throws(() => runRequest(['x'], { ...run, isolation: 'chroot' }), { code: 'USAGE' })
  const train = { model: 'm', dataset: ['d'], epochs: '5' }
  assert.throws(() => trainRequest({ ...train, epochs: 'five' }), { code: 'USAGE' })
  assert.throws(() => trainRequest({ ...train, learningRate: '0' }), { code: 'USAGE' })
  assert.deepEqual(trainRequest({ ...train, learningRate: '2e-5', shards: '3' }), {
    kind: 'train',
    model: 'm',
    dataset: 'd',
    epochs: 5,
    shards: 3,
    learningRate: 2e-5,
  })
})

test('a job file has the keys of a request, and its sources may be relative', () => {
  const text = `# a job
kind: run
image: cpu
command: [python3, /in/x.py]
inputs:
  - name: x.py
    source: ./x.py
tasks: 2
`
  assert.deepEqual(parseJobFile(text, 'job.yaml'), {
    kind: 'run',
    image: 'cpu',
    command: ['python3', '/in/x.py'],
    inputs: [{ name: 'x.py', source: './x.py' }],
    tasks: 2,
  })
  const train = parseJobFile('{"kind":"train","model":"m","dataset":"a.csv","epochs":1}', 'j.json')
  assert.equal(train.kind === 'train' && train.dataset, 'a.csv')
})

test('a fault in a job file is SPEC_INVALID with its line and what was meant', () => {
  const cases: ReadonlyArray<readonly [string, RegExp, string | undefined]> = [
    ['kind: run\nimage: cpu\ncommand: [x]\ntask: 3\n', /^j:4: unknown key "task"/, 'tasks'],
    [
      'kind: run\nimage: cpu\ncommand: [x]\ninputs:\n  - name: a\n    sorce: b\n',
      /^j:6: unknown key "sorce" in inputs\[0\]/,
      'source',
    ],
    ['kind: train\nmodel: m\ndataset: d\nepochs: 0\n', /^j:4: epochs: /, undefined],
    ['kind: train\nmodel: m\nmodel: n\n', /^j:3: .*unique/i, undefined],
    ['kind: walk\n', /^j:1: kind: /, undefined],
    ['- a\n', /^j:1: /, undefined],
    ['kind: [\n', /^j:\d+: /, undefined],
    ['', /^j:1: /, undefined],
  ]
  for (const [text, message, meant] of cases) {
    assert.throws(
      () => parseJobFile(text, 'j'),
      (error) => {
        assert.ok(error instanceof CtdError, String(error))
        assert.equal(error.code, 'SPEC_INVALID')
        assert.match(error.message, message)
        assert.equal(error.hint, meant === undefined ? undefined : `did you mean "${meant}"?`)
        return true
      },
      text,
    )
  }
})

test('a job file cannot swell by aliases', () => {
  const laughs = ['a: &a [x,x,x,x,x,x,x,x,x]']
  for (let i = 1; i < 9; i++) {
    const above = String.fromCharCode(96 + i)
    const name = String.fromCharCode(97 + i)
    laughs.push(`${name}: &${name} [${Array(9).fill(`*${above}`).join(',')}]`)
  }
  assert.throws(() => parseJobFile(laughs.join('\n'), 'j'), { code: 'SPEC_INVALID' })
})

test('artifact names stay below the folder and never replace the transcript', () => {
  assert.equal(targetPath('/out', 'a/b.txt'), '/out/a/b.txt')
  for (const bad of [
    '../x',
    'a/../../x',
    '/etc/x',
    '',
    '.',
    'a//b',
    'a\\b',
    'a\nb',
    'transcript.ctd',
  ]) {
    assert.throws(() => targetPath('/out', bad), { code: 'ARTIFACT_BAD_NAME' }, bad)
  }
})

test('exit codes follow the code of the error and the end of the job', () => {
  const code = (name: string, fields = {}): number => exitCodeOf(new CtdError(name, '', { fields }))
  assert.equal(code('USAGE'), 2)
  assert.equal(code('JOB_NOT_FOUND', { httpStatus: 404 }), 3)
  assert.equal(code('DAEMON_NOT_RUNNING'), 4)
  assert.equal(code('PERMISSION_DENIED'), 5)
  assert.equal(code('UNKNOWN_MODEL', { httpStatus: 400 }), 6)
  assert.equal(code('NO_CAPACITY', { httpStatus: 503 }), 7)
  assert.equal(code('WAIT_TIMED_OUT'), 8)
  assert.equal(code('JOB_FAILED', { jobCode: 'CONTAINER_FAILED' }), 9)
  assert.equal(code('JOB_CANCELLED'), 10)
  assert.equal(code('JOB_FAILED', { jobCode: 'REPLICAS_DISAGREE' }), 11)
  assert.equal(code('JOB_FAILED', { jobCode: 'MARGIN' }), 11)
  assert.equal(code('JOB_FAILED', { jobCode: 'NO_ELIGIBLE_BIDS' }), 7)
  assert.equal(exitCodeOf(new Error('?')), 1)
  assert.equal(exitCodeOfJob(makeJob({ status: 'succeeded' })), 0)
  assert.equal(exitCodeOfJob(makeJob({ status: 'failed', code: 'CONTAINER_OOM' })), 9)
  assert.equal(exitCodeOfJob(makeJob({ status: 'cancelled' })), 10)
})

test('the thin client and the daemon agree on home and socket', () => {
  for (const env of [
    {},
    { CTD_HOME: '/a/b' },
    { XDG_DATA_HOME: '/x' },
    { CTD_HOME: '/a', XDG_DATA_HOME: '/x' },
  ]) {
    assert.equal(resolveHome(undefined, env), defaultHome(env))
    const home = resolveHome(undefined, env)
    assert.equal(socketPathOf(home), socketOf(home))
  }
  assert.equal(resolveHome('/flag', { CTD_HOME: '/a' }), '/flag')
})

test('doctor refuses old Node, warns below 22 and is content from there', () => {
  assert.deepEqual(
    ['18.20.0', '20.18.1', '20.19.0', '22.12.0', '26.10.0'].map(
      (version) => checkNode(version).status,
    ),
    ['fail', 'fail', 'warn', 'ok', 'ok'],
  )
})
