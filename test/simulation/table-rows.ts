/**
 * The rows of the table: adversaries, how much they own, what follows by formula, and the bounds
 * that the network promises. A bound holds for the unfavourable end of the 95 % interval.
 */
import type { Interval } from './table-statistics.js'
import { playTable } from './table.js'
import type { TableFigures } from './table.js'
import type { Strategy, TableSetting } from './table-setting.js'

type Figure = {
  [K in keyof TableFigures]: TableFigures[K] extends Interval ? K : never
}[keyof TableFigures]

export interface Bound {
  readonly figure: Figure
  readonly most?: number
  readonly least?: number
}

export interface TableRow extends Omit<TableSetting, 'tasks'> {
  readonly name: string
  /** Tasks as a multiple of what is asked for: rare events need more, dear ones get fewer. */
  readonly times: number
  /** Per cent of wrong results by formula while nobody has learnt anything; undefined: no formula. */
  readonly formulaPercent: number | undefined
  readonly bounds: readonly Bound[]
}

export interface PlayedRow {
  readonly row: TableRow
  readonly figures: TableFigures
  /** The bounds that were not reached, in words. */
  readonly missed: readonly string[]
}

const PEERS = 200
/** So many honest peers that none excluded means at most half a per cent with 95 % confidence. */
const MANY_PEERS = 800

const MATURE = {
  replicas: 2,
  auditPpm: 100_000,
  phase: 'mature',
  honestErrors: 0,
  peers: PEERS,
  times: 1,
  share: 0,
  formulaPercent: 0,
  bounds: [],
} as const satisfies Partial<TableRow>

export function tableRows(): TableRow[] {
  return [
    ...quietRows(),
    ...[10, 20, 30].flatMap((share) => [...attackRows(share), ...youngRows(share)]),
    {
      ...MATURE,
      name: 'Sybils, ten to one',
      strategy: 'sybils',
      bounds: [{ figure: 'wrongPercent', most: 0.04 }],
    },
  ]
}

function quietRows(): TableRow[] {
  const accepted: Bound = { figure: 'acceptedPercent', least: 99 }
  return [
    {
      ...MATURE,
      name: 'nobody',
      strategy: 'none',
      bounds: [{ figure: 'executions', most: 2.2 }, accepted],
    },
    {
      ...MATURE,
      name: 'nobody, 1 % errors',
      strategy: 'none',
      honestErrors: 1,
      peers: MANY_PEERS,
      times: 2,
      formulaPercent: undefined,
      bounds: [{ figure: 'honestExcluded', most: 0.5 }, accepted],
    },
    { ...MATURE, name: 'young, nobody', strategy: 'none', phase: 'young', times: 0.3 },
  ]
}

function attackRows(share: number): TableRow[] {
  const f = share / 100
  const row = (name: string, strategy: Strategy, rest: Partial<TableRow> = {}): TableRow => ({
    ...MATURE,
    name,
    strategy,
    share,
    ...rest,
  })
  const sleepers = (replicas: number, q: number): TableRow =>
    row(`sleepers r=${replicas} q=${q}`, 'sleepers', {
      replicas,
      auditPpm: q * 1e6,
      formulaPercent: 100 * f ** replicas * (1 - q * (1 - f)),
      ...(replicas === 3 && share === 20
        ? { times: 2, bounds: [{ figure: 'wrongPercent', most: 0.8 }] }
        : {}),
    })
  const always: Partial<TableRow> =
    share === 30
      ? { times: 4, bounds: [{ figure: 'wrongPercent', most: 0.1 }] }
      : share === 20
        ? { bounds: [{ figure: 'executions', most: 2.6 }] }
        : {}
  const some = { times: 0.3 }
  return [
    row('liars', 'liars', some),
    row('always, same', 'always', {
      formulaPercent: (100 * f ** 2) / (f ** 2 + (1 - f) ** 2),
      ...always,
    }),
    sleepers(2, 0.1),
    sleepers(2, 0.25),
    sleepers(3, 0.25),
    row('latecomers', 'latecomers', { ...some, formulaPercent: undefined }),
    row('framers r=3', 'framers', { ...some, replicas: 3, formulaPercent: undefined }),
    row('whitewashers', 'whitewashers', { ...some, formulaPercent: undefined }),
    row('farmers, always', 'farmers', some),
    row('lying benchmarks, always', 'boasters', some),
    row('captured stewards', 'stewards', { ...some, formulaPercent: 100 * fiveOfSeven(f) }),
    row('copycats', 'copycats', some),
    row('silent', 'silent', some),
    row('withholders K=3', 'withholders', {
      times: 0.1,
      // At best each of the eight choices is a draw of its own.
      formulaPercent: 100 * Math.min(1, 8 * f ** 2 * (1 - 0.1 * (1 - f))),
    }),
  ]
}

/** P(X ≥ 5) of seven stewards, each the adversary's with probability f. */
function fiveOfSeven(f: number): number {
  return 21 * f ** 5 * (1 - f) ** 2 + 7 * f ** 6 * (1 - f) + f ** 7
}

/** Networks whose peers all begin, as long as they are young. */
function youngRows(share: number): TableRow[] {
  const f = share / 100
  const formulas = {
    liars: 0,
    // Two ahead of the others: as a gambler who wins each round with probability f.
    always: (100 * f ** 2) / (f ** 2 + (1 - f) ** 2),
    sleepers: 100 * f ** 2 * (1 - 0.1 * (1 - f)),
  }
  return (['liars', 'always', 'sleepers'] as const).map((strategy) => ({
    ...MATURE,
    name: `young, ${strategy}`,
    strategy,
    share,
    phase: 'young',
    times: 0.3,
    formulaPercent: formulas[strategy],
  }))
}

export function playRow(row: TableRow, tasks: number, seed: string): PlayedRow {
  const setting = { ...row, tasks: Math.max(10, Math.round(tasks * row.times)) }
  const figures = playTable(setting, `${seed}/${row.name}/${row.share}`)
  return { row, figures, missed: row.bounds.flatMap((bound) => missedOf(row, bound, figures)) }
}

function missedOf(row: TableRow, { figure, most, least }: Bound, figures: TableFigures): string[] {
  const { low, high } = figures[figure]
  const name = row.share === 0 ? row.name : `${row.name}, ${row.share} %`
  const tell = (sign: string, bound: number, end: number): string =>
    `${name}: ${figure} ${sign} ${bound} was promised, the interval reaches ${end.toFixed(3)}`
  return [
    ...(most !== undefined && high > most ? [tell('≤', most, high)] : []),
    ...(least !== undefined && low < least ? [tell('≥', least, low)] : []),
  ]
}
