/** Which column means what: by the name that is given, else by the names that people use. */
import { CtdError } from '../../errors.js'
import { nearest } from '../nearest.js'

/** What a column may be for. */
export type ColumnRole = 'text' | 'label' | 'anchor' | 'positive'

/** Header names that mean a role, the likeliest first. */
const NAMES: Readonly<Record<ColumnRole, readonly string[]>> = {
  text: [
    'text',
    'sentence',
    'content',
    'review',
    'message',
    'comment',
    'body',
    'document',
    'prompt',
  ],
  label: ['label', 'class', 'category', 'target', 'sentiment', 'language', 'lang', 'intent'],
  anchor: ['anchor', 'query', 'question', 'sentence1', 'text1', 'source', 'first', 'a'],
  positive: ['positive', 'passage', 'answer', 'sentence2', 'text2', 'target', 'second', 'b'],
}
/** Of tables of numbers, whose last column is the label where no name says so. */
const NUMERIC_LABELS = [...NAMES.label, 'species', 'variety', 'diagnosis', 'y']

/** @throws CtdError DATA_COLUMN_MISSING */
export function findColumn(
  columns: readonly string[],
  role: ColumnRole,
  wanted: string | undefined,
): string {
  if (wanted !== undefined) return namedColumn(columns, role, wanted)
  const found = columnLike(columns, NAMES[role])
  if (found !== undefined) return found
  throw columnMissing(columns, role, `no column looks like the ${role}`, undefined)
}

/** The label's column of a table of numbers. @throws CtdError DATA_COLUMN_MISSING */
export function findLabelOfNumbers(columns: readonly string[], wanted: string | undefined): string {
  if (wanted !== undefined) return namedColumn(columns, 'label', wanted)
  const found = columnLike(columns, NUMERIC_LABELS)
  if (found !== undefined) return found
  const last = columns.at(-1)
  if (last !== undefined) return last
  throw columnMissing(columns, 'label', 'there are no columns', undefined)
}

/** @throws CtdError DATA_COLUMN_MISSING */
export function namedColumn(columns: readonly string[], role: string, wanted: string): string {
  if (columns.includes(wanted)) return wanted
  const near = nearest(wanted, columns)
  throw columnMissing(columns, role, `there is no column "${wanted.slice(0, 60)}"`, near)
}

function columnLike(columns: readonly string[], known: readonly string[]): string | undefined {
  const names = columns.map((column) => column.trim().toLowerCase())
  for (const name of known) {
    const found = names.indexOf(name)
    if (found !== -1) return columns[found]
  }
  return undefined
}

function columnMissing(
  columns: readonly string[],
  role: string,
  message: string,
  near: string | undefined,
): CtdError {
  const shown = columns.slice(0, 12).map((column) => `"${column.slice(0, 40)}"`)
  const suggestion = near === undefined ? `name the ${role} column` : `did you mean "${near}"?`
  return new CtdError('DATA_COLUMN_MISSING', message, {
    hint: `${suggestion} (columns: ${shown.join(', ')})`,
    fields: { role, columns: columns.slice(0, 12) },
  })
}
