/**
 * `npm run simulate`: drives the production people on a virtual clock and an in-memory network
 * through many schedules of faults and adversaries, and checks the invariants in each.
 *
 *   npm run simulate -- --schedules 10000 --seed NAME     schedules NAME/0, NAME/1, …
 *   npm run simulate -- --only NAME/17                    one schedule with its trace
 *   npm run simulate -- --json                            the last line is one JSON object
 *   npm run simulate -- --workers 1                       processes at the same time
 *   npm run simulate -- --once                            each schedule only once
 *   npm run simulate -- --stewards --schedules 5000      the stewards' law alone
 *   npm run simulate -- --table --tasks 10000             what adversaries gain, in numbers
 *
 * Every schedule is run twice, and its trace hash must be the same. Every hundredth has one task
 * alone, and does it with real signatures and VRFs, and with nothing kept that several peers compute
 * alike. A failing schedule is run again without one fault after the other, and what is left of it
 * is printed.
 */
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { CtdError, errorMessage } from '../src/errors.js'
import type { Outcome } from '../test/simulation/simulator.js'
import { showTable } from './simulate-table.js'

const SELF = fileURLToPath(import.meta.url)
const REAL_EVERY = 100
const SCHEDULES_MAX = 1_000_000
const TASKS_MAX = 100_000
const CHUNK = 20
/**
 * Schedules leave much garbage and little that lives: most is gone before it is ever copied. There
 * is a worker for every core, so that more threads for it would only be in each other's way.
 */
const GARBAGE = ['--min-semi-space-size=128', '--max-semi-space-size=128', '--single-threaded-gc']
/** Messages are small and many; they are cut from pieces of this size. */
const POOL_BYTES = 65_536
const TRACES_TOLD = 20
const FAILURES_SHOWN = 5
const TRACE_SHOWN = 60

interface Totals {
  schedules: number
  /** Of these, those that were run a second time. */
  twice: number
  /** Processor time of the workers. */
  cpuMs: number
  events: number
  virtualMs: number
  jobs: number
  statuses: Record<string, number>
  coverage: Record<string, number>
  slowestMs: number
  wrong: number
  /** Trace hashes of some schedules. */
  traces: Record<string, string>
  failures: Failure[]
}

interface Failure {
  readonly seed: string
  readonly words: string
}

/** One message from the parent to a worker, or back. */
interface Chunk {
  readonly name: string
  readonly from: number
  readonly to: number
  readonly isOnce: boolean
}

function emptyTotals(): Totals {
  return {
    schedules: 0,
    twice: 0,
    cpuMs: 0,
    events: 0,
    virtualMs: 0,
    jobs: 0,
    statuses: {},
    coverage: {},
    slowestMs: 0,
    wrong: 0,
    traces: {},
    failures: [],
  }
}

async function runChunk({ name, from, to, isOnce }: Chunk): Promise<Totals> {
  const { mixedSchedule, runSchedule } = await import('../test/simulation/simulator.js')
  const totals = emptyTotals()
  const started = process.cpuUsage()
  for (let index = from; index < to; index++) {
    const seed = `${name}/${index}`
    const schedule = mixedSchedule(seed, isRealSeed(seed))
    const outcome = await runSchedule(schedule)
    add(totals, outcome)
    if (index < TRACES_TOLD) totals.traces[seed] = outcome.traceHash
    if (isOnce) continue
    totals.twice += 1
    const again = await runSchedule(schedule, { isTraceOnly: true })
    if (again.traceHash !== outcome.traceHash) {
      totals.failures.push({ seed, words: 'two runs of one seed gave two traces' })
    }
  }
  const { user, system } = process.cpuUsage(started)
  totals.cpuMs = (user + system) / 1000
  return totals
}

function add(totals: Totals, outcome: Outcome): void {
  totals.schedules += 1
  totals.events += outcome.events
  totals.virtualMs += outcome.virtualMs
  totals.wrong += outcome.wrong
  for (const [what, count] of outcome.coverage) {
    totals.coverage[what] = (totals.coverage[what] ?? 0) + count
  }
  for (const { status, code, ms } of outcome.jobs) {
    const key = code === '' ? status : `${status} ${code}`
    totals.jobs += 1
    totals.statuses[key] = (totals.statuses[key] ?? 0) + 1
    totals.slowestMs = Math.max(totals.slowestMs, ms)
  }
  const [first] = outcome.violations
  if (first === undefined) return
  const words = `${first.invariant} at ${first.atMs} ms: ${first.words}`
  totals.failures.push({ seed: outcome.seed, words })
}

const SUMS = ['schedules', 'twice', 'cpuMs', 'events', 'virtualMs', 'jobs', 'wrong'] as const

function merge(totals: Totals, part: Totals): void {
  for (const key of SUMS) totals[key] += part[key]
  for (const key of ['statuses', 'coverage'] as const) {
    for (const [name, count] of Object.entries(part[key])) {
      totals[key][name] = (totals[key][name] ?? 0) + count
    }
  }
  totals.slowestMs = Math.max(totals.slowestMs, part.slowestMs)
  Object.assign(totals.traces, part.traces)
  totals.failures.push(...part.failures)
}

/** Hands chunks to worker processes: a schedule needs a process of its own mode and randomness. */
function runAll(chunks: Chunk[], workers: number): Promise<Totals> {
  const totals = emptyTotals()
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const execArgv = [...process.execArgv, ...GARBAGE]
      const child = fork(SELF, ['--worker'], { execArgv })
      const next = (): void => {
        const chunk = chunks.shift()
        if (chunk === undefined) child.disconnect()
        else child.send(chunk)
      }
      child.on('message', (part: Totals) => {
        merge(totals, part)
        next()
      })
      child.once('error', reject)
      child.once('exit', (status) => {
        if (status === 0) resolve()
        else reject(new CtdError('WORKER_ENDED', `a worker ended with status ${status}`))
      })
      next()
    })
  return Promise.all(Array.from({ length: workers }, one)).then(() => totals)
}

function serveParent(): void {
  // Refusals are values here: nobody reads where an error of a simulated peer was made.
  Error.stackTraceLimit = 0
  Buffer.poolSize = POOL_BYTES
  process.on('message', (chunk: Chunk) => {
    void runChunk(chunk).then(
      (totals) => process.send?.(totals),
      (error: unknown) => {
        console.error(`${chunk.name}/${chunk.from}…${chunk.to}: ${errorMessage(error)}`)
        process.exit(1)
      },
    )
  })
}

async function explain({ seed, words }: Failure): Promise<void> {
  const { mixedSchedule, runSchedule, shrink } = await import('../test/simulation/simulator.js')
  console.log(`\nFAILED ${seed}: ${words}`)
  const smallest = await shrink(mixedSchedule(seed, isRealSeed(seed)))
  console.log(`shrunk to ${JSON.stringify(smallest)}`)
  const trace: string[] = []
  const outcome = await runSchedule(smallest, { onTrace: (line) => trace.push(line) })
  const untilMs = outcome.violations[0]?.atMs ?? Infinity
  const before = trace.filter((line) => Number.parseInt(line, 10) <= untilMs)
  console.log(`the last of ${before.length} events before it:`)
  for (const line of before.slice(-TRACE_SHOWN)) console.log(`  ${line}`)
  for (const violation of outcome.violations) console.log(JSON.stringify(violation))
}

function isRealSeed(seed: string): boolean {
  return Number(seed.slice(seed.lastIndexOf('/') + 1)) % REAL_EVERY === 0
}

async function showOne(seed: string): Promise<void> {
  const { mixedSchedule, runSchedule } = await import('../test/simulation/simulator.js')
  const schedule = mixedSchedule(seed, isRealSeed(seed))
  console.log(JSON.stringify(schedule, null, 2))
  const outcome = await runSchedule(schedule, { onTrace: (line) => console.log(line) })
  console.log(
    JSON.stringify({ ...outcome, coverage: Object.fromEntries(outcome.coverage) }, null, 2),
  )
  process.exitCode = outcome.violations.length === 0 ? 0 : 1
}

interface Rates {
  readonly runs: number
  readonly seconds: number
  readonly perSecond: number
  /** What one core would do by itself. */
  readonly perCpuSecond: number
}

function ratesOf({ schedules, twice, cpuMs }: Totals, seconds: number): Rates {
  const runs = schedules + twice
  const perSecond = Number((runs / seconds).toFixed(1))
  return { runs, seconds, perSecond, perCpuSecond: Number(((1000 * runs) / cpuMs).toFixed(1)) }
}

async function report(totals: Totals, rates: Rates): Promise<readonly string[]> {
  const { EXPECTED } = await import('../test/simulation/simulator.js')
  const missing = EXPECTED.filter((what) => totals.coverage[what] === undefined)
  const counts = Object.entries(totals.coverage).sort(([a], [b]) => (a < b ? -1 : 1))
  console.log('\nhow often each thing happened')
  for (const [what, count] of counts) console.log(`  ${String(count).padStart(9)}  ${what}`)
  for (const what of missing) console.log(`      NEVER  ${what}`)
  console.log('\nhow the jobs ended')
  for (const [status, count] of Object.entries(totals.statuses)) {
    console.log(`  ${String(count).padStart(9)}  ${status}`)
  }
  console.log('\ntrace hashes')
  const traces = Object.entries(totals.traces).sort(([a], [b]) => a.length - b.length)
  for (const [seed, hash] of traces) {
    console.log(`  ${hash.slice(0, 32)}  ${seed}`)
  }
  const { runs, perSecond, perCpuSecond } = rates
  console.log(
    `\n${totals.schedules} schedules, ${totals.twice} of them twice, ${totals.events} events, ` +
      `${totals.failures.length} failed; ${runs} runs at ${perSecond} a second, ` +
      `${perCpuSecond} for each second of a core; ` +
      `slowest job ${(totals.slowestMs / 1000).toFixed(0)} s after the last fault`,
  )
  // The rule of three: with no failure in n, the rate is below 3/n with 95 % confidence.
  if (totals.failures.length === 0) {
    console.log(
      `no invariant broken: below ${(300 / totals.schedules).toFixed(3)} % of schedules (95 %)`,
    )
  }
  return missing
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      schedules: { type: 'string', default: '200' },
      seed: { type: 'string', default: randomBytes(4).toString('hex') },
      only: { type: 'string' },
      workers: { type: 'string', default: String(Math.min(4, availableParallelism())) },
      json: { type: 'boolean', default: false },
      once: { type: 'boolean', default: false },
      worker: { type: 'boolean', default: false },
      table: { type: 'boolean', default: false },
      stewards: { type: 'boolean', default: false },
      tasks: { type: 'string', default: '10000' },
    },
  })
  if (values.worker) return serveParent()
  if (values.only !== undefined) return showOne(values.only)
  if (values.table) {
    return showTable({
      seed: values.seed,
      tasks: wholeNumber('tasks', values.tasks, TASKS_MAX),
      workers: wholeNumber('workers', values.workers, 64),
      isJson: values.json,
    })
  }
  const schedules = wholeNumber('schedules', values.schedules, SCHEDULES_MAX)
  if (values.stewards) {
    const { showStewards } = await import('./simulate-stewards.js')
    showStewards({ seed: values.seed, schedules, isJson: values.json })
    return
  }
  const workers = wholeNumber('workers', values.workers, 64)
  console.log(`seed ${values.seed}, ${schedules} schedules, ${workers} workers`)
  const chunks = Array.from({ length: Math.ceil(schedules / CHUNK) }, (_, i) => ({
    name: values.seed,
    from: i * CHUNK,
    to: Math.min(schedules, (i + 1) * CHUNK),
    isOnce: values.once,
  }))
  const startedMs = performance.now()
  const totals = await runAll(chunks, Math.min(workers, chunks.length))
  const seconds = (performance.now() - startedMs) / 1000
  for (const failure of totals.failures.slice(0, FAILURES_SHOWN)) await explain(failure)
  const rates = ratesOf(totals, seconds)
  const missing = await report(totals, rates)
  if (totals.failures.length > 0) process.exitCode = 1
  if (!values.json) return
  const { failures, cpuMs, ...rest } = totals
  console.log(
    JSON.stringify({
      status: failures.length === 0 ? 'passed' : 'failed',
      seed: values.seed,
      ...rest,
      missing,
      failed: failures,
      runs: rates.runs,
      seconds: Number(seconds.toFixed(1)),
      cpuSeconds: Number((cpuMs / 1000).toFixed(1)),
      schedulesPerSecond: rates.perSecond,
      schedulesPerCpuSecond: rates.perCpuSecond,
    }),
  )
}

function wholeNumber(name: string, text: string, max: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= max) return value
  throw new CtdError('BAD_FLAG', `--${name} takes a whole number from 1 to ${max}`)
}

try {
  await main()
} catch (error) {
  console.error(errorMessage(error))
  process.exitCode = 2
}
