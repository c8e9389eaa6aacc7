/** The command line end to end: the real program against the real server over a fake daemon. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, beforeEach, test } from 'node:test'
import { smallBlobDigest } from '../../src/wire/folder.js'
import { parseDigest } from '../../src/wire/ids.js'
import { JOB_ID, makeJob, PEER_B, startFake } from './api-fake-daemon.js'
import type { Running } from './api-fake-daemon.js'

const ROOT = resolve(import.meta.dirname, '..', '..')
const ENTRY = join(ROOT, 'src', 'cli', 'ctd.ts')
const RESULT = { accuracy: 0.91, hash: 'c'.repeat(64) }

let fake: Running
let scratch: string
before(async () => {
  fake = await startFake()
  scratch = await mkdtemp(join(tmpdir(), 'ctd-cli-'))
})
after(async () => {
  await fake.stop()
  await rm(scratch, { recursive: true, force: true })
})
beforeEach(() => {
  fake.daemon.current = makeJob()
  fake.daemon.submitted.length = 0
  fake.daemon.onSubscribe = () => undefined
})

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs `ctd`; `onError` sees stderr as it grows, with the child at hand. */
async function ctd(
  args: readonly string[],
  options: {
    home?: string
    onError?: (text: string, kill: (signal: NodeJS.Signals) => void) => void
  } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, ['--import', 'tsx', ENTRY, ...args], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], HOME: scratch, CTD_HOME: options.home ?? fake.home },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
    options.onError?.(err, (signal) => void child.kill(signal))
  })
  const code = await new Promise<number | null>((done) =>
    child.once('close', (value) => done(value)),
  )
  return { code, out, err }
}

const succeed = (): void => {
  fake.daemon.current = makeJob({
    status: 'succeeded',
    progress: 1,
    tasksAccepted: 4,
    endedMs: Date.now(),
    result: RESULT,
  })
  fake.daemon.emit('job:succeeded', { jobId: JOB_ID })
}

test('train uploads the data set, tells id and estimate, follows, and ends with curve and result', async () => {
  await writeFile(join(scratch, 'custom.csv'), 'text,label\ngood,1\n')
  // Listening begins after submission; the job ends while it is followed.
  fake.daemon.onSubscribe = succeed
  const { code, out, err } = await ctd([
    ...['train', '--model', 'bert-tiny', '--dataset', join(scratch, 'custom.csv')],
    ...['--epochs', '5', '--shards', '2', '--seed', '7'],
  ])
  assert.equal(code, 0, err)
  const [request] = fake.daemon.submitted
  assert.ok(request?.kind === 'train')
  assert.equal(fake.daemon.blobs.bytes.get(request.dataset)?.toString(), 'text,label\ngood,1\n')
  assert.deepEqual(
    { ...request, dataset: '' },
    {
      kind: 'train',
      model: 'bert-tiny',
      dataset: '',
      epochs: 5,
      format: 'csv',
      shards: 2,
      seed: '7',
    },
  )
  assert.match(err, new RegExp(`^job ${JOB_ID}\nestimate: about 3 minutes on 2 peers\n`))
  assert.match(err, /job ab12ab12ab12 {2}succeeded {2}4\/4 tasks/)
  assert.match(out, /loss 0\.9 → 0\.3 over 2 rounds/)
  assert.match(out, /accuracy +0\.91/)
  assert.doesNotMatch(out + err, /\u001b/)
})

test('run --detach --json uploads inputs and folders, and prints nothing but JSON on stdout', async () => {
  const folder = join(scratch, 'code')
  await mkdir(join(folder, 'lib'), { recursive: true })
  await writeFile(join(folder, 'main.py'), 'print(1)')
  await writeFile(join(folder, 'lib', 'a.py'), 'a = 1')
  const { code, out } = await ctd([
    ...['run', '--image', 'cpu', '--input', `code=${folder}`, '--env', 'K=V', '--tasks', '3'],
    ...[
      '--memory',
      '1GiB',
      '--timeout',
      '90s',
      '-d',
      '--json',
      '--',
      'python3',
      '/in/code/main.py',
      '--json',
    ],
  ])
  assert.equal(code, 0)
  assert.deepEqual(JSON.parse(out), { id: JOB_ID, status: 'pending' })
  assert.deepEqual(fake.daemon.submitted, [
    {
      kind: 'run',
      image: 'cpu',
      command: ['python3', '/in/code/main.py', '--json'],
      env: { K: 'V' },
      inputs: [{ name: 'code', source: 'f'.repeat(64) }],
      tasks: 3,
      memoryMiB: 1024,
      timeoutMs: 90_000,
    },
  ])
  assert.deepEqual(
    fake.daemon.blobs.folders.at(-1)?.map(({ path }) => path),
    ['lib/a.py', 'main.py'],
  )
})

test('results --out may be called again and fetches only what is not whole', async () => {
  fake.daemon.current = makeJob({ status: 'succeeded', result: RESULT })
  const out = join(scratch, 'resumed')
  assert.equal((await ctd(['results', 'ab12', '--out', out])).code, 0)
  await writeFile(join(out, 'logs', 'eval.json'), 'half')
  await writeFile(join(out, 'model.safetensors.ctd-part'), 'of a call that was killed')
  fake.daemon.read.length = 0
  const again = await ctd(['results', 'ab12', '--out', out])
  assert.equal(again.code, 0, again.err)
  assert.deepEqual(fake.daemon.read, ['logs/eval.json'])
  assert.equal(await readFile(join(out, 'logs', 'eval.json'), 'utf8'), '{"accuracy":0.9}')
})

test('results --keep pins every artifact', async () => {
  fake.daemon.current = makeJob({ status: 'succeeded', result: RESULT })
  for (const text of fake.daemon.artifacts.values()) {
    await fake.daemon.blobs.add(Readable.from([Buffer.from(text)]))
  }
  const { code, err } = await ctd(['results', 'ab12', '--keep'])
  assert.equal(code, 0, err)
  assert.equal(fake.daemon.blobs.pins.size, 2)
  fake.daemon.blobs.pins.clear()
})

test('add streams a file, pins it by its name, and prints digest and CID', async () => {
  const file = join(scratch, 'words.txt')
  await writeFile(file, 'some words')
  const { code, out } = await ctd(['add', file, '--json'])
  assert.equal(code, 0)
  const added = JSON.parse(out)
  assert.equal(added.digest, smallBlobDigest(Buffer.from('some words')))
  assert.match(added.cid, /^bafkrei[a-z2-7]{52}$/)
  assert.equal(fake.daemon.blobs.pins.get(added.digest), 'words.txt')
  const listed = await ctd(['ls'])
  assert.match(listed.out, new RegExp(`^${added.digest}  words\\.txt  file {2}`, 'm'))
})

test('get writes a whole file, refuses a taken path, and tells where the bytes came from', async () => {
  const bytes = Buffer.alloc(3 << 20, 5)
  const digest = smallBlobDigest(bytes)
  fake.daemon.blobs.remote.set(digest, bytes)
  const out = join(scratch, 'got.bin')
  const first = await ctd(['get', digest, '--out', out, '--from', PEER_B])
  assert.equal(first.code, 0, first.err)
  assert.equal(first.out, `${out}\n`)
  assert.match(first.err, /3\.0MiB file, 3\.0MiB fetched/)
  assert.deepEqual(await readFile(out), bytes)
  assert.equal(fake.daemon.blobs.fetchFrom, PEER_B)
  const second = await ctd(['get', digest, '--out', out])
  assert.match(second.err, /^error\[FILE_EXISTS\]/)
})

test('get of bytes that are not those of the name leaves nothing behind', async () => {
  const digest = smallBlobDigest(Buffer.from('what was asked for'))
  fake.daemon.blobs.remote.set(digest, Buffer.from('what the disk gave back'))
  const out = join(scratch, 'rotten.bin')
  const { code, err } = await ctd(['get', digest, '--out', out])
  assert.equal(code, 1)
  assert.match(err, /^error\[BLOB_CORRUPT\]/)
  assert.deepEqual(
    (await readdir(scratch)).filter((name) => name.startsWith('rotten')),
    [],
  )
})

test('rm of what a job needs is refused with its holders, du and scrub say what they found', async () => {
  const { digest } = await fake.daemon.blobs.add(Readable.from([Buffer.from('held')]))
  fake.daemon.blobs.heldBy = ['your job ab12']
  const held = await ctd(['rm', digest])
  assert.equal(held.code, 1)
  assert.match(held.err, /^error\[BLOB_HELD\]: it is held by your job ab12\n {2}hint/)
  fake.daemon.blobs.heldBy = []
  assert.match((await ctd(['rm', digest])).out, /^removed [0-9a-f]{64} {2}4B freed/)
  assert.match((await ctd(['du'])).out, /^used +256MiB +25% of 1\.0GiB/m)
  fake.daemon.blobs.scrubReport = {
    ...fake.daemon.blobs.scrubReport,
    rotten: [{ digest: parseDigest(digest), sizeBytes: 9, pieces: 1, outcome: 'dropped' }],
  }
  const scrub = await ctd(['scrub'])
  assert.equal(scrub.code, 1)
  assert.match(scrub.out, /2 blobs, 300B read: 1 rotten\n.*1 bad piece {2}dropped/)
})

test('image add uploads and names an archive; ls and rm speak of it by that name', async () => {
  const archive = join(scratch, 'tool.tar')
  await writeFile(archive, 'an archive')
  const added = await ctd(['image', 'add', archive, '--name', 'tool2'])
  assert.equal(added.code, 0, added.err)
  assert.deepEqual(fake.daemon.images.added, [
    { archive: smallBlobDigest(Buffer.from('an archive')), name: 'tool2' },
  ])
  assert.match(
    (await ctd(['image', 'ls'])).out,
    /^tool +111111111111 +2\.9MiB +engine,store:977KiB/m,
  )
  assert.equal((await ctd(['image', 'rm', 'tool2', '--json'])).code, 0)
  assert.deepEqual(fake.daemon.images.removed, ['tool2'])
})

test('Ctrl-C leaves a followed job running, says how to follow again, and exits 130', async () => {
  let isSent = false
  const { code, err } = await ctd(['results', 'ab12', '--wait'], {
    onError(text, kill) {
      if (isSent || !text.includes('executing')) return
      isSent = true
      kill('SIGINT')
    },
  })
  assert.equal(code, 130, err)
  assert.match(err, /job ab12 keeps running\n {2}hint {2}follow again: ctd results ab12 --wait/)
  assert.equal(fake.daemon.current?.status, 'running')
})

test('a wait that is too short exits 8, a failed job 9', async () => {
  const late = await ctd(['results', 'ab12', '--wait-timeout', '50ms'])
  assert.equal(late.code, 8, late.err)
  fake.daemon.current = makeJob({
    status: 'failed',
    code: 'CONTAINER_FAILED',
    reason: 'exit 1',
    endedMs: 1,
  })
  const failed = await ctd(['results', 'ab12'])
  assert.equal(failed.code, 9)
  assert.match(
    failed.err,
    /^error\[JOB_FAILED\]: the job failed: exit 1\n {2}hint {2}see why: ctd logs/,
  )
})

test('results --out writes artifacts and transcript, refuses a folder of others, and obeys --force', async () => {
  succeed()
  const out = join(scratch, 'out')
  const first = await ctd(['results', 'ab12', '--out', out])
  assert.equal(first.code, 0, first.err)
  assert.equal(await readFile(join(out, 'logs', 'eval.json'), 'utf8'), '{"accuracy":0.9}')
  assert.equal((await stat(join(out, 'transcript.ctd'))).size, 3)
  assert.equal((await stat(join(out, 'evidence.ctd'))).size, 2)
  await writeFile(join(out, 'mine.txt'), 'not of the job')
  const second = await ctd(['results', 'ab12', '--out', out])
  assert.equal(second.code, 1)
  assert.match(second.err, /^error\[FOLDER_NOT_EMPTY\]/)
  assert.equal((await ctd(['results', 'ab12', '--out', out, '--force', '--json'])).code, 0)
  fake.daemon.evidenceBytes = undefined
  const without = await ctd(['results', 'ab12', '--out', out, '--force'])
  assert.equal(without.code, 0)
  assert.match(without.err, /standings cannot be audited: not kept/)
})

test('an artifact that climbs out of the folder is refused before anything is written', async () => {
  succeed()
  fake.daemon.artifacts.set('../evil', 'x')
  const out = join(scratch, 'climb')
  const { code, err } = await ctd(['results', 'ab12', '--out', out])
  fake.daemon.artifacts.delete('../evil')
  assert.equal(code, 1)
  assert.match(err, /^error\[ARTIFACT_BAD_NAME\]/)
  await assert.rejects(stat(out), { code: 'ENOENT' })
})

test('ps, peers, status, rep, logs and cancel answer people and programs', async () => {
  const ps = await ctd(['ps'])
  assert.match(
    ps.out,
    /^ID +NAME +STATUS +PROGRESS +TASKS +REASON +AGE\nab12ab12ab12 +bert-tiny +running/,
  )
  fake.daemon.current = undefined
  assert.equal((await ctd(['ps', '--json'])).out, '[]\n')
  fake.daemon.current = makeJob()
  const peers = await ctd(['--json', 'peers'])
  assert.equal(JSON.parse(peers.out)[0].peer, PEER_B)
  const rep = await ctd(['rep', PEER_B.slice(-6)])
  assert.match(
    rep.out,
    /standing +probationer\nreliability +0\.250 .*S 1\.500 earned, F 2\.000 failed/,
  )
  assert.match(rep.out, /serves +0\.111 +\(3\.0MiB to this peer, .*last: corrupt; .*59m\)/)
  assert.match(rep.out, /at cpu +2 accepted, 1 wrong, speed 0\.800/)
  assert.match(rep.out, /\+0\.000 +-2\.000 +b{12} +gave a wrong result in a young network/)
  const then = await ctd(['rep', PEER_B.slice(-6), '--at', '2026-11-22T10:00:00Z', '--json'])
  assert.equal(JSON.parse(then.out).atMs, Date.parse('2026-11-22T10:00:00Z'))
  const never = await ctd(['rep', PEER_B.slice(-6), '--at', 'yesterday'])
  assert.match(never.err, /^error\[BAD_TIME\]/)
  const logs = await ctd(['logs', 'ab12'])
  assert.match(logs.out, /12D3…BBBBbbbb {2}train r1 s0 {2}step 1/)
  const cancel = await ctd(['cancel', 'ab12', '--json'])
  assert.equal(JSON.parse(cancel.out).status, 'cancelled')
  const status = await ctd(['status'])
  assert.match(status.out, /^peer +12D3KooW/)
})

test('errors name code and hint on stderr and choose the exit code', async () => {
  const away = await ctd(['status'], { home: join(scratch, 'nowhere') })
  assert.deepEqual([away.code, away.out], [4, ''])
  assert.match(away.err, /^error\[DAEMON_NOT_RUNNING\]: .*\n {2}hint {2}start it: ctd start/)
  const unknown = await ctd(['logs', 'ffff'])
  assert.equal(unknown.code, 3)
  const typo = await ctd(['statsu'])
  assert.equal(typo.code, 2)
  assert.match(typo.err, /Did you mean status\?/)
  const file = join(scratch, 'job.yaml')
  await writeFile(file, 'kind: run\nimage: cpu\ncommmand: [x]\n')
  const spec = await ctd(['run', file])
  assert.equal(spec.code, 6)
  assert.match(
    spec.err,
    /job\.yaml:3: unknown key "commmand"\n {2}hint {2}did you mean "command"\?/,
  )
  const help = await ctd(['help', 'exit-codes'])
  assert.match(help.out, /130 +interrupted by Ctrl-C/)
})

test('doctor works with the daemon down and names each cure', async () => {
  const { out } = await ctd(['doctor', '--json'], { home: join(scratch, 'none') })
  const checks: Array<{ name: string; status: string; detail: string; fix: string }> =
    JSON.parse(out)
  assert.deepEqual(
    checks.map(({ name }) => name),
    ['node', 'home', 'socket', 'daemon', 'engine', 'gpu', 'disk'],
  )
  const daemon = checks.find(({ name }) => name === 'daemon')
  assert.deepEqual([daemon?.status, daemon?.fix], ['warn', 'ctd start'])
  const long = await ctd(['doctor', '--json'], { home: `/${'x'.repeat(120)}` })
  assert.equal(long.code, 1)
  assert.match(long.out, /"status": "fail",\n {4}"detail": "the path has 134 bytes/)
})

test('what ctd loads before it knows the command is the parser and nothing heavy', async () => {
  const seen = new Set<string>()
  const packages = new Set<string>()
  const visit = async (file: string): Promise<void> => {
    if (seen.has(file)) return
    seen.add(file)
    const source = await readFile(file, 'utf8')
    // Static imports that survive compilation; `import type` and `await import()` do not count.
    const imports = /^(?:import|export)\s+(?!type\b)(?:[^'"(]*?\sfrom\s+)?'([^']+)'/gm
    for (const match of source.matchAll(imports)) {
      const name = match[1] ?? ''
      if (!name.startsWith('.')) packages.add(name)
      else await visit(resolve(dirname(file), name.replace(/\.js$/, '.ts')))
    }
  }
  await visit(ENTRY)
  assert.deepEqual(
    [...packages].filter((name) => !name.startsWith('node:')),
    ['commander'],
  )
  assert.ok(seen.size >= 5, 'the search follows imports')
})

test('calibrate prints the figures, and refuses a tolerance that hides cheats', async () => {
  const good = await ctd(['calibrate'])
  assert.equal(good.code, 0, good.err)
  assert.match(good.out, /honest +at most 0\.0500 of the tolerance apart/)
  const { view } = fake.daemon.calibration
  fake.daemon.calibration.view = { ...view, profile: 'tf32', tau: 0.05, ok: false, tauMost: 0.02 }
  try {
    const bad = await ctd(['calibrate', '--tolerance', 'tf32', '--json'])
    assert.equal(bad.code, 11)
    assert.equal(JSON.parse(bad.out).ok, false)
    assert.match(bad.err, /PROFILE_INSEPARABLE/)
    assert.match(bad.err, /--tolerance tf32:0\.02/)
  } finally {
    fake.daemon.calibration.view = view
  }
  assert.equal((await ctd(['calibrate', '--tolerance', 'fp8'])).code, 2)
})
