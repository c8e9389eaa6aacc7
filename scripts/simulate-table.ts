/**
 * `npm run simulate -- --table`: what adversaries gain, in numbers. Plays the rows of
 * `test/simulation/table-rows.ts` and the attacks of `table-attacks.ts` in worker processes, and
 * says which of the promised bounds were missed.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { CtdError, errorMessage } from '../src/errors.js'
import type { PlayedAttack } from '../test/simulation/table-attacks.js'
import type { PlayedRow } from '../test/simulation/table-rows.js'
import type { Interval } from '../test/simulation/table-statistics.js'

const SELF = fileURLToPath(import.meta.url)
const WORKER_FLAG = '--table-worker'

/** What a worker is asked for: the row or the attack of this place. */
interface Assignment {
  readonly kind: 'row' | 'attack'
  readonly place: number
  readonly tasks: number
  readonly seed: string
}

interface Answer {
  readonly kind: 'row' | 'attack'
  readonly place: number
  readonly played: PlayedRow | PlayedAttack
}

export interface TableOptions {
  readonly seed: string
  /** Tasks of an ordinary row. */
  readonly tasks: number
  readonly workers: number
  readonly isJson: boolean
}

/** Prints both tables. Sets the exit code to 1 where a bound is missed. */
export async function showTable({ seed, tasks, workers, isJson }: TableOptions): Promise<void> {
  const { ATTACKS } = await import('../test/simulation/table-attacks.js')
  const { tableRows } = await import('../test/simulation/table-rows.js')
  const rows = tableRows()
  const jobs: Assignment[] = [
    ...rows.map((_, place) => ({ kind: 'row' as const, place, tasks, seed })),
    ...ATTACKS.map((_, place) => ({ kind: 'attack' as const, place, tasks, seed })),
  ]
  // The longest first, so that no worker begins one when the others have ended.
  const cost = ({ kind, place }: Assignment): number =>
    kind === 'row' ? (rows[place]?.times ?? 1) : 0.5
  const played = new Map<string, PlayedRow | PlayedAttack>()
  const startedMs = performance.now()
  await playAll(
    jobs.toSorted((a, b) => cost(b) - cost(a)),
    workers,
    ({ kind, place, played: one }) => {
      played.set(`${kind} ${place}`, one)
      console.error(`${played.size} of ${jobs.length} played`)
    },
  )
  const pick = <T>(kind: Assignment['kind'], count: number): T[] =>
    Array.from({ length: count }, (_, place) => played.get(`${kind} ${place}`) as T)
  const playedRows = pick<PlayedRow>('row', rows.length)
  const attacks = pick<PlayedAttack>('attack', ATTACKS.length)
  console.log(`seed ${seed}; per cent with 95 % intervals unless said otherwise`)
  console.log(`first 1,000: the share of wrong results before much is learnt about anybody`)
  tellRows(playedRows)
  tellAttacks(attacks)
  const missed = [...playedRows, ...attacks].flatMap((each) => each.missed)
  for (const words of missed) console.log(`MISSED: ${words}`)
  if (missed.length === 0) console.log('every promised bound was reached')
  else process.exitCode = 1
  if (!isJson) return
  const seconds = Number(((performance.now() - startedMs) / 1000).toFixed(1))
  const status = missed.length === 0 ? 'passed' : 'failed'
  console.log(JSON.stringify({ status, seed, tasks, seconds, missed, rows: playedRows, attacks }))
}

function playAll(
  jobs: Assignment[],
  workers: number,
  onPlayed: (answer: Answer) => void,
): Promise<unknown> {
  const children: ChildProcess[] = []
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const child = fork(SELF, [WORKER_FLAG])
      children.push(child)
      const next = (): void => {
        const job = jobs.shift()
        if (job === undefined) child.disconnect()
        else child.send(job)
      }
      child.on('message', (answer: Answer) => {
        onPlayed(answer)
        next()
      })
      child.once('error', reject)
      child.once('exit', (status) => {
        if (status === 0) resolve()
        else reject(new CtdError('WORKER_ENDED', `a worker ended with status ${status}`))
      })
      next()
    })
  return Promise.all(Array.from({ length: Math.min(workers, jobs.length) }, one)).finally(() => {
    for (const child of children) child.kill()
  })
}

function serveParent(): void {
  process.on('message', (job: Assignment) => {
    void play(job).then(
      (answer) => process.send?.(answer),
      (error: unknown) => {
        console.error(`${job.kind} ${job.place}: ${errorMessage(error)}`)
        process.exit(1)
      },
    )
  })
}

async function play({ kind, place, tasks, seed }: Assignment): Promise<Answer> {
  if (kind === 'row') {
    const { playRow, tableRows } = await import('../test/simulation/table-rows.js')
    const row = tableRows()[place]
    if (row === undefined) throw new CtdError('BAD_FLAG', `there is no row ${place}`)
    return { kind, place, played: playRow(row, tasks, seed) }
  }
  const { ATTACKS, playAttack } = await import('../test/simulation/table-attacks.js')
  const attack = ATTACKS[place]
  if (attack === undefined) throw new CtdError('BAD_FLAG', `there is no attack ${place}`)
  return { kind, place, played: playAttack(attack, tasks, seed) }
}

function interval({ value, low, high }: Interval, digits = 2): string {
  return `${value.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`
}

function tellRows(rows: readonly PlayedRow[]): void {
  const header = ['adversary', 'f', 'tasks', 'wrong', 'formula', 'first 1,000']
  const rest = ['accepted', 'runs/task', 'honest excluded', 'theirs']
  const cells = rows.map(({ row, figures }) => [
    row.name,
    String(row.share),
    String(figures.tasks),
    interval(figures.wrongPercent, 3),
    row.formulaPercent === undefined ? '-' : row.formulaPercent.toFixed(2),
    figures.earlyPercent.value.toFixed(1),
    interval(figures.acceptedPercent),
    interval(figures.executions),
    interval(figures.honestExcluded),
    row.share === 0 && row.strategy === 'none' ? '-' : figures.adversariesExcluded.value.toFixed(0),
  ])
  tellGrid([[...header, ...rest], ...cells])
}

function tellAttacks(attacks: readonly PlayedAttack[]): void {
  const header = ['adversary', 'what it gains', 'by our rules', 'weakened', 'the weakened rule']
  const cells = attacks.map(({ adversary, gain, real, weak, rule }) => [
    adversary,
    gain,
    real.toFixed(2),
    weak.toFixed(2),
    rule,
  ])
  console.log('\neach attack against our rules and against one weakened rule')
  tellGrid([header, ...cells])
}

function tellGrid(lines: readonly (readonly string[])[]): void {
  const widths = (lines[0] ?? []).map((_, i) => Math.max(...lines.map((l) => (l[i] ?? '').length)))
  for (const line of lines) {
    console.log(
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
  }
}

if (process.argv[2] === WORKER_FLAG) serveParent()
