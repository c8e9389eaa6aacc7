/** Tables, curves and progress: pure functions from state to text. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plotCurve, plotLoss } from '../../src/cli/plot.js'
import { jobChanges, progressLines } from '../../src/cli/progress.js'
import { createPaint, cut, formatTable, harmless } from '../../src/cli/terminal.js'
import { findPeer, jobTable, lastProblem, peerTable } from '../../src/cli/views.js'
import { startScreen } from '../../src/cli/start.js'
import { makeJob, makePeer, NODE, PEER_A, PEER_B } from './api-fake-daemon.js'

const plain = createPaint(false, {})
const width = (line: string): number => [...line].length

test('a table has upper-case headings, no borders, and aligns its columns', () => {
  const table = formatTable(
    ['ID', 'NAME'],
    [
      ['a', 'first'],
      ['bbb', ''],
    ],
    { columns: undefined },
  )
  assert.equal(table, 'ID   NAME\na    first\nbbb  -')
})

test('a table that is too wide cuts the named column, and lines never exceed the terminal', () => {
  const rows = [['ab12', 'waits because '.repeat(10), '3m']]
  for (const columns of [10, 20, 40, 80]) {
    const lines = formatTable(['ID', 'REASON', 'AGE'], rows, { columns, cuts: 'REASON' }).split(
      '\n',
    )
    for (const line of lines) assert.ok(width(line) <= columns, `${columns}: ${line}`)
    if (columns >= 20) assert.match(lines[1] ?? '', /^ab12.*….*3m$/)
  }
  const piped = formatTable(['ID', 'REASON', 'AGE'], rows, { columns: undefined, cuts: 'REASON' })
  assert.doesNotMatch(piped, /…/)
})

test("a peer's text cannot move the cursor or turn the direction of writing", () => {
  assert.equal(harmless('a\u001b[2Jb\r\nc\u202ed'), 'a [2Jb  c d')
  const table = formatTable(['NAME'], [['x\u001b[31m']], { columns: 80 })
  assert.doesNotMatch(table, /\u001b/)
})

test('colour is for terminals only and NO_COLOR and TERM=dumb forbid it', () => {
  assert.equal(createPaint(true, {})('red', 'x'), '\u001b[31mx\u001b[39m')
  assert.equal(createPaint(false, {})('red', 'x'), 'x')
  assert.equal(createPaint(true, { NO_COLOR: '1' })('red', 'x'), 'x')
  assert.equal(createPaint(true, { TERM: 'dumb' })('red', 'x'), 'x')
  assert.notEqual(createPaint(false, { FORCE_COLOR: '1' })('red', 'x'), 'x')
})

test('a cut is marked and counts characters, not bytes', () => {
  assert.equal(cut('ééééé', 5), 'ééééé')
  assert.equal(cut('éééééé', 5), 'éééé…')
  assert.equal(cut('abc', 0), '')
})

test('a falling curve begins at the top left and ends at the bottom right', () => {
  const lines = plotCurve([4, 3, 2, 1], { columns: 8, rows: 4 })
  assert.equal(lines.length, 4)
  assert.match(lines[0] ?? '', /^4 ┤[^\u2800]/)
  assert.match(lines[3] ?? '', /^1 ┤\u2800.*[^\u2800]$/)
  assert.ok(lines.every((line) => width(line) === 3 + 8))
})

test('every column of a drawn curve has a dot, and gaps stay gaps', () => {
  const filled = plotCurve([1, 9, 1, 9], { columns: 20, rows: 5 }).map((line) => [...line].slice(3))
  for (let x = 0; x < 20; x++)
    assert.ok(
      filled.some((row) => row[x] !== '\u2800'),
      `column ${x}`,
    )
  assert.deepEqual(plotCurve([1], { columns: 8, rows: 4 }), [])
  assert.deepEqual(plotCurve([Number.NaN, 1], { columns: 8, rows: 4 }), [])
  assert.equal(plotCurve([2, 2, 2], { columns: 8, rows: 4 }).length, 4)
})

test('the loss curve says where it began and where it ended', () => {
  const lines = plotLoss(makeJob().curve, 80)
  assert.equal(lines.at(-1), 'loss 0.9 → 0.3 over 2 rounds')
  assert.deepEqual(plotLoss([], 80), [])
})

test('progress shows tasks and replicas with peer, phase and steps within the terminal', () => {
  const lines = progressLines(makeJob(), { columns: 60, rows: 24 }, Date.now(), plain)
  assert.match(lines[0] ?? '', /^ab12ab12ab12 {2}running .* 50% {2}2\/4 tasks/)
  assert.equal(lines[1], '  train r1 s0  executing')
  assert.equal(lines[2], '    12D3…AAAAaaaa  running  12/40')
  assert.equal(lines[3], '    12D3…BBBBbbbb  committed')
  const many = makeJob({
    tasks: Array.from({ length: 50 }, (_, slot) => ({
      ...(makeJob().tasks[0] ?? assert.fail()),
      slot,
    })),
  })
  const few = progressLines(many, { columns: 30, rows: 10 }, Date.now(), plain)
  assert.ok(few.length <= 9, `${few.length} lines`)
  assert.ok(few.every((line) => width(line) <= 30))
  assert.match(few.at(-1) ?? '', /more tasks$/)
})

test('changes are told once each, and steps are no change', () => {
  const job = makeJob()
  assert.deepEqual(jobChanges(undefined, job), [
    'train r1 s0  12D3…AAAAaaaa  running',
    'train r1 s0  12D3…BBBBbbbb  committed',
    'train r1 s0  executing',
    'job ab12ab12ab12  running  2/4 tasks',
  ])
  const [task] = job.tasks
  assert.ok(task)
  const stepped = task.replicas.map((replica) => ({ ...replica, step: 30 }))
  assert.deepEqual(jobChanges(job, { ...job, tasks: [{ ...task, replicas: stepped }] }), [])
  const accepted = { ...job, status: 'succeeded' as const, tasks: [{ ...task, state: 'accepted' }] }
  assert.deepEqual(jobChanges(job, accepted), [
    'train r1 s0  accepted',
    'job ab12ab12ab12  succeeded  2/4 tasks',
  ])
})

test('the tables of jobs and peers fit 80 columns', () => {
  const job = makeJob({ status: 'pending', reason: '0 of 12 peers fit: 9 lack memory, 3 are busy' })
  const jobs = jobTable([job], Date.now(), { columns: 80, paint: plain })
  assert.match(jobs, /^ID +NAME +STATUS +PROGRESS +TASKS +REASON +AGE\n/)
  const gpu = { name: 'NVIDIA H200', vramMiB: 143_771, gflops: 1, temperatureC: 40 }
  const peers = peerTable([makePeer(), makePeer({ peer: PEER_A, self: true, gpus: [gpu] })], 80)
  assert.match(peers.split('\n')[1] ?? '', /AAAAaaaa +self/)
  for (const line of [...jobs.split('\n'), ...peers.split('\n')]) {
    assert.ok(width(line) <= 80, line)
  }
})

test('a peer is found by the beginning, the end or the short form of its id', () => {
  const peers = [makePeer({ peer: PEER_A }), makePeer({ peer: PEER_B })]
  assert.equal(findPeer(peers, 'BBbbbb').peer, PEER_B)
  assert.equal(findPeer(peers, '12D3…AAAAaaaa').peer, PEER_A)
  assert.throws(() => findPeer(peers, '12D3'), { code: 'ID_AMBIGUOUS' })
  assert.throws(() => findPeer(peers, 'nobody'), { code: 'PEER_NOT_FOUND' })
})

test('status names the waiting job first, then a missing engine, then the last failure', () => {
  const waiting = makeJob({ status: 'pending', reason: 'no peers fit' })
  const failed = makeJob({ status: 'failed', reason: 'broke', endedMs: 1 })
  const engineless = { ...NODE, engine: 'none: not installed' }
  assert.match(lastProblem(engineless, [failed, waiting])?.text ?? '', /pending: no peers fit/)
  assert.equal(lastProblem(engineless, [failed])?.next, 'ctd doctor')
  assert.equal(lastProblem(NODE, [failed])?.next, 'ctd logs ab12ab12ab12')
  assert.equal(lastProblem(NODE, [makeJob()]), undefined)
})

test('the start screen says who and where this is, and how others join', () => {
  const screen = startScreen(NODE, makePeer({ self: true }))
  for (const part of [PEER_A, NODE.socket, 'Test CPU', 'docker 20.10.24', 'ctd status']) {
    assert.ok(screen.includes(part), part)
  }
  assert.match(
    screen,
    /ctd start --network test --bootstrap \/ip4\/127\.0\.0\.1\/tcp\/4001\/p2p\/12D3/,
  )
})
