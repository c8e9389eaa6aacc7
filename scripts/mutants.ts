/**
 * Runs tests against production code with one edit in it, to see whether they notice. No file is
 * touched: `mutate-load.mjs` edits what Node reads.
 */
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { CtdError, errorMessage } from '../src/errors.js'
import { DEFENCES } from './mutations.js'
import type { Defence, Mutation } from './mutations.js'

const ROOT = join(import.meta.dirname, '..')
const AT_ONCE = 2
/** Of one file with the chosen titles; most take a second. */
const DEADLINE_MS = 60_000
const STDERR_KEPT = 4096
/** Errors of code that is broken, not of a test that noticed something. */
const BROKEN = new Set(['SyntaxError', 'ReferenceError', 'TypeError'])

/**
 * `stale`: the edit or a title is no longer there, or the tests fail without the edit.
 * `broken`: the tests ended otherwise than by noticing it.
 */
export type Fate = 'killed' | 'survived' | 'stale' | 'broken'

export interface Mutant {
  readonly defence: Defence
  readonly mutation: Mutation
  readonly fate: Fate
  /** The tests that failed, as `Mutation.tests` has them. */
  readonly killedBy: readonly string[]
  /** Why it is not killed; empty where it is. */
  readonly reason: string
  readonly ms: number
}

/** What a mutation expects of one file. */
interface Wanted {
  readonly file: string
  readonly titles: readonly string[]
}

/** One line of `test-reporter.mjs`. */
interface ReportedTest {
  readonly outcome: 'passed' | 'failed' | 'skipped'
  readonly name: string
  readonly failureType: string
  readonly errorName: string
  readonly reason: string
}

interface TestRun {
  readonly tests: readonly ReportedTest[]
  readonly isLate: boolean
  readonly complaint: string
}

/** How often the text that an edit looks for stands in its file; 1 is right. */
export async function countOccurrences({ file, find }: Mutation): Promise<number> {
  return (await readFile(join(ROOT, 'src', file), 'utf8')).split(find).length - 1
}

/** @throws CtdError BAD_MUTATION where a test is not written as `folder/file: title` */
export function wantedOf(tests: readonly string[]): Wanted[] {
  const byFile = new Map<string, string[]>()
  for (const test of tests) {
    const [, file, title] = /^([a-z]+\/[a-z-]+): (.+)$/.exec(test) ?? []
    if (file === undefined || title === undefined) {
      throw new CtdError('BAD_MUTATION', `not of the form folder/file: title: ${test}`)
    }
    byFile.set(file, [...(byFile.get(file) ?? []), title])
  }
  return [...byFile].map(([file, titles]) => ({ file, titles }))
}

/**
 * Runs every mutation of these defences, two at a time, in no particular order.
 *
 * First each file runs once with all titles that are wanted of it and no edit: what fails or is
 * missing there makes its mutations stale.
 *
 * @param onMutant - told of each as it is done
 * @returns in the order of the table
 */
export async function runMutants(
  defences: readonly Defence[],
  signal: AbortSignal,
  onMutant: (mutant: Mutant) => void = () => undefined,
): Promise<Mutant[]> {
  const all = defences.flatMap((defence) =>
    defence.mutations.map((mutation) => ({ defence, mutation })),
  )
  const files = wantedOf(all.flatMap(({ mutation }) => mutation.tests))
  const passing = new Set<string>()
  await eachOf(files, async ({ file, titles }) => {
    const { tests } = await runTests({ file, titles: [...new Set(titles)] }, undefined, signal)
    for (const title of titles) {
      const of = tests.filter(({ name }) => name === title)
      if (of.length > 0 && of.every(({ outcome }) => outcome === 'passed')) {
        passing.add(`${file}: ${title}`)
      }
    }
  })
  const mutants: Mutant[] = []
  await eachOf(
    all.map((one, place) => ({ ...one, place })),
    async ({ defence, mutation, place }) => {
      const startedMs = performance.now()
      const judged = await judgeMutation(mutation, passing, signal)
      const ms = Math.round(performance.now() - startedMs)
      const mutant: Mutant = { defence, mutation, ...judged, ms }
      mutants[place] = mutant
      onMutant(mutant)
    },
  )
  return mutants
}

async function judgeMutation(
  mutation: Mutation,
  passing: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Pick<Mutant, 'fate' | 'killedBy' | 'reason'>> {
  const failing = (fate: Fate, reason: string): Pick<Mutant, 'fate' | 'killedBy' | 'reason'> => ({
    ...{ fate, reason },
    killedBy: [],
  })
  const occurrences = await countOccurrences(mutation)
  if (occurrences !== 1) {
    return failing('stale', `what it replaces occurs ${occurrences} times in src/${mutation.file}`)
  }
  const absent = mutation.tests.find((test) => !passing.has(test))
  if (absent !== undefined) {
    return failing('stale', `does not pass without the edit, or is not there: ${absent}`)
  }
  for (const wanted of wantedOf(mutation.tests)) {
    const first = await runTests(wanted, mutation, signal)
    // A machine that stalled says nothing about the tests; one that stalls twice on the same does.
    const again = first.isLate && !signal.aborted
    const { tests, isLate, complaint } = again ? await runTests(wanted, mutation, signal) : first
    const failed = tests.filter(({ outcome }) => outcome === 'failed')
    const noticed = failed.filter(isNoticed)
    if (noticed.length > 0) {
      const killedBy = noticed.map(({ name }) => `${wanted.file}: ${name}`)
      return { fate: 'killed', killedBy, reason: '' }
    }
    const [other] = failed
    if (other !== undefined) return failing('broken', other.reason)
    if (isLate) return failing('broken', `${wanted.file} ran out of time`)
    if (tests.length === 0) return failing('broken', complaint)
  }
  return failing('survived', `nothing failed of ${mutation.tests.join('; ')}`)
}

/** A test that failed by what it checks, or by an error of ours that it did not expect. */
function isNoticed({ failureType, errorName }: ReportedTest): boolean {
  return failureType === 'testCodeFailure' && !BROKEN.has(errorName)
}

/** At most `AT_ONCE` at the same time. */
async function eachOf<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const work = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await act(item)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}

async function runTests(
  { file, titles }: Wanted,
  mutation: Mutation | undefined,
  signal: AbortSignal,
): Promise<TestRun> {
  signal.throwIfAborted()
  const edit = mutation && {
    url: pathToFileURL(join(ROOT, 'src', mutation.file)).href,
    find: mutation.find,
    replace: mutation.replace,
  }
  const child = spawn(
    process.execPath,
    [
      ...['--import', './scripts/plain-assert.mjs'],
      // Beneath tsx, which is therefore last.
      ...(edit === undefined ? [] : ['--import', './scripts/mutate-hook.mjs']),
      ...['--import', 'tsx', '--test-reporter=./scripts/test-reporter.mjs'],
      ...titles.map((title) => `--test-name-pattern=^${escaped(title)}$`),
      `test/${file}.test.ts`,
    ],
    {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      // Not a part of a test run that this may itself be in.
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, CTD_MUTATION: JSON.stringify(edit) },
    },
  )
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    child.kill('SIGKILL')
  }, DEADLINE_MS)
  const onAbort = (): void => void child.kill('SIGKILL')
  signal.addEventListener('abort', onAbort, { once: true })
  let complaint = ''
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-STDERR_KEPT)
  })
  const tests: ReportedTest[] = []
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (!line.startsWith('{"outcome":')) return
    const test = JSON.parse(line) as ReportedTest
    if (test.outcome !== 'skipped') tests.push(test)
  })
  try {
    await new Promise<void>((done) => {
      child.once('error', (error) => {
        complaint = errorMessage(error)
        done()
      })
      child.once('close', () => done())
    })
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
  signal.throwIfAborted()
  return { tests, isLate, complaint }
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}

/** The defences with these numbers, all where none is named. @throws CtdError UNKNOWN_DEFENCE */
export function chosenDefences(only: string | undefined): readonly Defence[] {
  if (only === undefined) return DEFENCES
  const ids = only.split(',').map(Number)
  const unknown = ids.filter((id) => !DEFENCES.some((defence) => defence.id === id))
  if (unknown.length > 0) {
    throw new CtdError('UNKNOWN_DEFENCE', `no such defence: ${unknown.join(', ')}`, {
      hint: `they are numbered 1 to ${DEFENCES.length}`,
    })
  }
  return DEFENCES.filter(({ id }) => ids.includes(id))
}
