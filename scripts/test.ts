/**
 * `npm test`: sets up what the tests need and runs all of them.
 *
 *   npm test                                 everything
 *   npm test -- --only unit,property         some groups
 *   npm test -- --require-engine             a missing container engine is a failure (.ci/run)
 *   npm test -- --json                       the last line is one JSON object
 *
 * Static checks first, then the quick groups, then those that start processes and containers, one
 * at a time. Each group has a deadline, after which it and all it started are killed. The last
 * line says how many passed, failed and were skipped; the status is 1 if anything failed.
 */
import { execFile, spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, symlink } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs, promisify } from 'node:util'
import { CtdError, errorMessage } from '../src/errors.js'
import { ENGINE_SOCKET, setUp, type EngineState, type SetUp } from './setup.js'
import { sweepFolder } from './sweep.js'

const ROOT = join(import.meta.dirname, '..')
const MINUTE_MS = 60_000
const REASON_SHOWN = 3000
const OUTPUT_KEPT = 16_384

interface TestGroup {
  readonly name: string
  readonly deadlineMs: number
  /** Files at the same time. */
  readonly concurrency: number
  readonly needsEngine: boolean
}

const WIDE = availableParallelism()
const TEST_GROUPS: readonly TestGroup[] = [
  { name: 'unit', deadlineMs: 5 * MINUTE_MS, concurrency: WIDE, needsEngine: false },
  { name: 'vectors', deadlineMs: 3 * MINUTE_MS, concurrency: WIDE, needsEngine: false },
  { name: 'property', deadlineMs: 6 * MINUTE_MS, concurrency: WIDE, needsEngine: false },
  { name: 'simulation', deadlineMs: 6 * MINUTE_MS, concurrency: WIDE, needsEngine: false },
  // One file, which itself runs two at the same time.
  { name: 'mutation', deadlineMs: 8 * MINUTE_MS, concurrency: 1, needsEngine: false },
  { name: 'integration', deadlineMs: 25 * MINUTE_MS, concurrency: 1, needsEngine: true },
  { name: 'container', deadlineMs: 12 * MINUTE_MS, concurrency: 1, needsEngine: true },
]

interface Check {
  readonly name: string
  run(signal: AbortSignal): Promise<Ended>
}

const CHECK_DEADLINE_MS = 5 * MINUTE_MS
const CHECKS: readonly Check[] = [
  { name: 'packages', run: () => checkLock() },
  { name: 'lint', run: (signal) => npmRun('lint', signal) },
  { name: 'format', run: (signal) => npmRun('format:check', signal) },
  { name: 'types', run: (signal) => npmRun('types', signal) },
  { name: 'generated', run: (signal) => compareGenerated(signal) },
]

interface Row {
  readonly group: string
  readonly files: number
  passed: number
  failed: number
  skipped: number
  seconds: number
}

/** One line of `test-reporter.mjs`. */
interface ReportedTest {
  readonly outcome: 'passed' | 'failed' | 'skipped'
  readonly name: string
  readonly file: string
  readonly ms: number
  readonly reason: string
}

interface Ended {
  readonly isOk: boolean
  readonly isLate?: boolean
  readonly output: string
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      json: { type: 'boolean', default: false },
      'require-engine': { type: 'boolean', default: false },
    },
  })
  const known = [...CHECKS, ...TEST_GROUPS].map(({ name }) => name)
  const wanted = values.only?.split(',') ?? known
  const unknown = wanted.filter((name) => !known.includes(name))
  if (unknown.length > 0) {
    throw new CtdError('UNKNOWN_GROUP', `no such group: ${unknown.join(', ')}`, {
      hint: `the groups are ${known.join(', ')}`,
    })
  }
  const groups = TEST_GROUPS.filter(({ name }) => wanted.includes(name))
  const rows: Row[] = []
  const house = await prepare(groups, rows)
  // All that tests leave lies in one folder, so that it can be told from what others run here.
  const scratch = await mkdtemp(join(tmpdir(), 'ctd-'))
  house.onTearDown(() => sweepFolder(ENGINE_SOCKET, scratch))
  try {
    for (const check of CHECKS.filter(({ name }) => wanted.includes(name))) {
      rows.push(await runCheck(check, house.signal))
    }
    for (const group of groups) rows.push(await runGroup(group, house, scratch))
    const needy = groups.filter(({ needsEngine }) => needsEngine)
    conclude(rows, needy.length > 0 ? house.engine : 'ready', values)
  } finally {
    await house.tearDown()
  }
}

/** Sets up; code that does not compile is one failure, and the rest still runs. */
async function prepare(groups: readonly TestGroup[], rows: Row[]): Promise<SetUp> {
  const needsEngine = groups.some((group) => group.needsEngine)
  const options = { image: needsEngine, engine: needsEngine, quiet: false }
  const startedMs = performance.now()
  try {
    const house = await setUp({ ...options, build: needsEngine })
    if (needsEngine && house.engine === 'ready') await buildTestImage()
    return house
  } catch (error) {
    if (!(error instanceof CtdError) || error.code !== 'BUILD_FAILED') throw error
    rows.push({ ...newRow('build', 1), failed: 1, seconds: secondsSince(startedMs) })
    tellFailure('build', errorMessage(error))
    return setUp({ ...options, build: false })
  }
}

/** The small image that container and integration tests run their programs in. */
async function buildTestImage(): Promise<void> {
  const args = ['--import', 'tsx', 'scripts/build-image.ts', '--test-image', '--json']
  await promisify(execFile)(process.execPath, args, { cwd: ROOT })
}

function newRow(group: string, files: number): Row {
  return { group, files, passed: 0, failed: 0, skipped: 0, seconds: 0 }
}

function secondsSince(startedMs: number): number {
  return (performance.now() - startedMs) / 1000
}

async function runCheck(check: Check, signal: AbortSignal): Promise<Row> {
  const startedMs = performance.now()
  const row = newRow(check.name, 1)
  const { isOk, output } = await check.run(signal)
  signal.throwIfAborted()
  row.seconds = secondsSince(startedMs)
  if (isOk) row.passed = 1
  else {
    row.failed = 1
    tellFailure(check.name, output)
  }
  tellRow(row)
  return row
}

async function runGroup(group: TestGroup, house: SetUp, scratch: string): Promise<Row> {
  const files = await testFiles(join(ROOT, 'test', group.name))
  const row = newRow(group.name, files.length)
  if (files.length === 0) {
    tellRow(row)
    return row
  }
  console.log(`${group.name}: ${files.length} files`)
  const startedMs = performance.now()
  const hasEngine = house.engine === 'ready'
  const args = [
    ...['--import', './scripts/plain-assert.mjs', '--import', 'tsx'],
    ...['--test', `--test-concurrency=${group.concurrency}`],
    '--test-reporter=./scripts/test-reporter.mjs',
    ...files.map((file) => relative(ROOT, file)),
  ]
  const ended = await runBounded(process.execPath, args, {
    signal: house.signal,
    deadlineMs: group.deadlineMs,
    env: { TMPDIR: scratch, ...(hasEngine ? {} : { CTD_TEST_NO_ENGINE: '1' }) },
    onLine: (line) => takeLine(row, group, line),
  })
  house.signal.throwIfAborted()
  row.seconds = secondsSince(startedMs)
  const ran = row.passed + row.failed + row.skipped
  // A runner that was ended at its deadline may have reported failures before; both are told.
  if (!ended.isOk && (ended.isLate || row.failed === 0)) {
    row.failed += 1
    tellFailure(`${group.name}: the runner itself`, ended.output)
  } else if (ended.isOk && ran === 0) {
    row.failed = 1
    tellFailure(group.name, 'no test was reported')
  }
  tellRow(row)
  return row
}

function takeLine(row: Row, group: TestGroup, line: string): void {
  const test = parseReported(line)
  if (test === undefined) return
  row[test.outcome] += 1
  if (test.outcome === 'failed') {
    tellFailure(`${relative(ROOT, test.file)}: ${test.name}`, test.reason)
  } else if (test.outcome === 'skipped') {
    console.log(`  skipped  ${test.name}${test.reason === '' ? '' : ` (${test.reason})`}`)
  } else if (group.concurrency === 1) {
    console.log(`  ${(test.ms / 1000).toFixed(1).padStart(6)} s  ${test.name}`)
  }
}

function parseReported(line: string): ReportedTest | undefined {
  if (!line.startsWith('{"outcome":')) return undefined
  return JSON.parse(line) as ReportedTest
}

async function testFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true }).catch(() => [])
  return names
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => join(folder, name))
}

function npmRun(script: string, signal: AbortSignal): Promise<Ended> {
  return runBounded('npm', ['run', '--silent', script], { signal, deadlineMs: CHECK_DEADLINE_MS })
}

/**
 * `npm ci` refuses a lock that misses a package, also one for another system. npm itself leaves
 * such packages out where a registry does not have them, and only a fresh clone would notice.
 */
async function checkLock(): Promise<Ended> {
  const lock: LockFile = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8'))
  const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !isLocked(lock, path, name)),
  )
  return { isOk: missing.length === 0, output: `package-lock.json misses ${missing.join(', ')}` }
}

interface LockFile {
  readonly packages: Readonly<
    Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>
  >
}

/** Whether a dependency of the package at `path` is found there or in a folder further up. */
function isLocked({ packages }: LockFile, path: string, name: string): boolean {
  const candidate = path === '' ? `node_modules/${name}` : `${path}/node_modules/${name}`
  if (packages[candidate] !== undefined) return true
  if (path === '') return false
  return isLocked(
    { packages },
    path.slice(0, Math.max(0, path.lastIndexOf('/node_modules/'))),
    name,
  )
}

/** Generates the codecs again beside a copy of the sources; any difference is a failure. */
async function compareGenerated(signal: AbortSignal): Promise<Ended> {
  const copy = await mkdtemp(join(tmpdir(), 'ctd-generated-'))
  try {
    await cp(join(ROOT, 'proto'), join(copy, 'proto'), { recursive: true })
    await cp(join(ROOT, 'package.json'), join(copy, 'package.json'))
    await mkdir(join(copy, 'scripts'))
    await cp(join(ROOT, 'scripts/generate-proto.ts'), join(copy, 'scripts/generate-proto.ts'))
    await mkdir(join(copy, 'src/wire/generated'), { recursive: true })
    await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
    const args = ['--import', 'tsx', join(copy, 'scripts/generate-proto.ts')]
    const made = await runBounded(process.execPath, args, { signal, deadlineMs: CHECK_DEADLINE_MS })
    if (!made.isOk) return made
    const fresh = await readFolder(join(copy, 'src/wire/generated'))
    const present = await readFolder(join(ROOT, 'src/wire/generated'))
    const stale = [...new Set([...fresh.keys(), ...present.keys()])].filter(
      (name) => fresh.get(name) !== present.get(name),
    )
    const output = `not what proto/ gives: ${stale.join(', ')}; run npm run proto`
    return { isOk: stale.length === 0 && fresh.size > 0, output }
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}

async function readFolder(folder: string): Promise<Map<string, string>> {
  const names = await readdir(folder)
  const texts = names.map(
    async (name) => [name, await readFile(join(folder, name), 'utf8')] as const,
  )
  return new Map(await Promise.all(texts))
}

interface RunOptions {
  readonly signal: AbortSignal
  readonly deadlineMs: number
  readonly env?: Readonly<Record<string, string>>
  readonly onLine?: (line: string) => void
}

/** Runs a command in a process group of its own, so that a deadline ends all that it started. */
async function runBounded(
  command: string,
  args: readonly string[],
  { signal, deadlineMs, env = {}, onLine }: RunOptions,
): Promise<Ended> {
  signal.throwIfAborted()
  const child = spawn(command, args, {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  let output = ''
  const keep = (text: string): void => {
    output = (output + text).slice(-OUTPUT_KEPT)
  }
  const kill = (): void => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // The whole group has ended by itself.
    }
  }
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    keep(`\nended at its deadline of ${deadlineMs / 1000} s\n`)
    kill()
  }, deadlineMs)
  signal.addEventListener('abort', kill, { once: true })
  child.stderr.on('data', (chunk: Buffer) => keep(chunk.toString()))
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (onLine === undefined) keep(`${line}\n`)
    else onLine(line)
  })
  try {
    const status = await new Promise<number>((done) => {
      child.once('error', (error) => {
        keep(error.message)
        done(127)
      })
      child.once('close', (code) => done(code ?? 1))
    })
    return { isOk: status === 0 && !isLate, isLate, output }
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', kill)
    // Whatever a test left behind in its group ends with it.
    kill()
  }
}

function tellFailure(name: string, reason: string): void {
  const shown = reason.trim().slice(0, REASON_SHOWN).replaceAll('\n', '\n    ')
  console.log(`  FAILED   ${name}\n    ${shown}`)
}

function tellRow({ group, passed, failed, skipped, seconds }: Row): void {
  const counts = `${passed} passed, ${failed} failed, ${skipped} skipped`
  console.log(`${group}: ${counts} in ${seconds.toFixed(1)} s`)
}

/** Prints the table, what was left out and why, and the last line. */
function conclude(
  rows: readonly Row[],
  engine: EngineState,
  options: { readonly json: boolean; readonly 'require-engine': boolean },
): void {
  const header = ['group', 'files', 'passed', 'failed', 'skipped', 'seconds']
  const cells = rows.map(({ group, files, passed, failed, skipped, seconds }) =>
    [group, files, passed, failed, skipped, seconds.toFixed(1)].map(String),
  )
  const lines = [header, ...cells].map(([first = '', ...rest]) =>
    [first.padEnd(12), ...rest.map((cell) => cell.padStart(8))].join(' '),
  )
  console.log(`\n${lines.join('\n')}\n`)
  const sum = (key: 'passed' | 'failed' | 'skipped'): number =>
    rows.reduce((total, row) => total + row[key], 0)
  const [passed, failed, skipped] = [sum('passed'), sum('failed'), sum('skipped')]
  const isLacking = engine !== 'ready'
  if (isLacking) console.log(`skipped the tests with real containers: ${engine.missing}`)
  if (failed > 0 || (isLacking && options['require-engine'])) process.exitCode = 1
  const missing = isLacking ? engine.missing : null
  if (options.json) console.log(JSON.stringify({ passed, failed, skipped, missing, groups: rows }))
  else console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
}

main().catch((error: unknown) => {
  if (error instanceof Error && error.name === 'AbortError') return
  console.error(errorMessage(error))
  if (error instanceof CtdError && error.hint !== undefined) console.error(error.hint)
  process.exitCode ||= 1
})
