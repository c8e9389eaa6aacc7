/** Tables of numbers with one column of labels: csv and tsv without quotes inside cells. */
import { CtdError } from '../../errors.js'
import { nearest } from '../nearest.js'
import type { DatasetOptions } from './family.js'

export interface NumericTable {
  /** Of all columns but the label's. */
  readonly names: readonly string[]
  /** Row by row; not-a-number where a cell is empty. */
  readonly values: Float64Array
  readonly labels: readonly string[]
  readonly labelColumn: string
}

const LABEL_NAMES = ['label', 'class', 'category', 'target', 'species', 'variety', 'diagnosis', 'y']
const MISSING = new Set(['', 'na', 'nan', 'null', '?'])
const VALUES_MAX = 2 ** 28

/**
 * Reads a table whose first line names the columns. The label's is the one asked for, or has a
 * usual name, or is the last.
 *
 * @throws CtdError DATA_EMPTY, DATA_RAGGED, DATA_NUMBER, DATA_BLANK, DATA_COLUMN_MISSING,
 * DATA_FORMAT, DATA_TOO_LARGE
 */
export function readNumbers(bytes: Uint8Array, options: DatasetOptions): NumericTable {
  if (options.format === 'txt' || options.format === 'jsonl') {
    throw new CtdError('DATA_FORMAT', `the dataset is ${options.format}, not a table of numbers`, {
      hint: 'give a csv or tsv file whose first line names the columns',
    })
  }
  const separator = options.format === 'tsv' ? '\t' : ','
  const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString().split(/\r?\n/)
  const header = cellsOf(lines[0] ?? '', separator)
  const numbered = lines.map((text, i) => ({ text, line: i + 1 })).slice(1)
  const body = numbered.filter(({ text }) => text.trim() !== '')
  if (body.length === 0 || header.length < 2) {
    throw new CtdError('DATA_EMPTY', 'the dataset is no table with a header and rows', {
      hint: 'the first line names the columns, at least a number and a label',
    })
  }
  const labelAt = labelPlace(header, options.labelColumn)
  const features = header.length - 1
  if (features * body.length > VALUES_MAX) {
    throw new CtdError('DATA_TOO_LARGE', `the dataset has ${features * body.length} numbers`)
  }
  const values = new Float64Array(features * body.length)
  const labels = body.map(({ text, line }, row) => {
    const cells = cellsOf(text, separator)
    if (cells.length !== header.length) throw ragged(line, cells.length, header.length)
    const [label = ''] = cells.splice(labelAt, 1)
    if (label === '') {
      throw new CtdError('DATA_BLANK', `line ${line} has no label`, { fields: { line } })
    }
    for (const [column, cell] of cells.entries()) {
      values[row * features + column] = numberOf(cell, line)
    }
    return label
  })
  const names = header.filter((_, at) => at !== labelAt)
  return { names, values, labels, labelColumn: header[labelAt] ?? '' }
}

function cellsOf(line: string, separator: string): string[] {
  return line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, '$1'))
}

function labelPlace(header: readonly string[], wanted: string | undefined): number {
  if (wanted === undefined || wanted === '') {
    const lower = header.map((name) => name.toLowerCase())
    const usual = LABEL_NAMES.find((name) => lower.includes(name))
    return usual === undefined ? header.length - 1 : lower.indexOf(usual)
  }
  const at = header.indexOf(wanted)
  if (at !== -1) return at
  const near = nearest(wanted, header)
  throw new CtdError('DATA_COLUMN_MISSING', `there is no column "${wanted.slice(0, 60)}"`, {
    hint: `${near === undefined ? '' : `did you mean "${near}"? `}columns: ${header.slice(0, 12).join(', ')}`,
  })
}

function numberOf(cell: string, line: number): number {
  if (MISSING.has(cell.toLowerCase())) return Number.NaN
  const value = Number(cell)
  if (Number.isFinite(value)) return value
  throw new CtdError('DATA_NUMBER', `line ${line}: "${cell.slice(0, 40)}" is no number`, {
    hint: 'all columns but the label must be numbers; remove the others',
    fields: { line },
  })
}

function ragged(line: number, found: number, expected: number): CtdError {
  return new CtdError(
    'DATA_RAGGED',
    `line ${line} has ${found} cells, the header has ${expected}`,
    {
      fields: { line, found, expected },
    },
  )
}
