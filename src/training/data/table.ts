/**
 * Tables of whatever format as batches of records that hold the wanted columns alone, so that
 * what comes after need not know where they came from.
 */
import { CtdError } from '../../errors.js'
import { DelimitedParser, type TableRecord } from './delimited.js'
import { DATA_LIMITS } from './limits.js'
import { readLineBlocks } from './lines.js'
import { placeOf, type DataFile, type DataSource } from './source.js'

/** Picks the columns to read from those that a file has. */
export type ChooseColumns = (columns: readonly string[], file: DataFile) => readonly string[]

export interface TableBatch {
  readonly file: DataFile
  /** Cells in the order of the chosen columns. */
  readonly records: readonly TableRecord[]
}

/** What a record is called where it has no line. */
const UNIT = { csv: 'line', tsv: 'line', jsonl: 'line', parquet: 'row' } as const

export type TableFormat = keyof typeof UNIT

export function isTableFormat(format: string): format is TableFormat {
  return Object.hasOwn(UNIT, format)
}

/** Where a record is, for people. */
export function recordPlace(source: DataSource, file: DataFile, line: number): string {
  const unit = isTableFormat(source.format) ? UNIT[source.format] : 'row'
  return placeOf(source.files, file, `${unit} ${line}`)
}

/**
 * Reads all files of a table, one after the other.
 *
 * @throws CtdError DATA_EMPTY, DATA_TOO_LARGE, DATA_QUOTE, DATA_RAGGED, DATA_JSON, DATA_PARQUET,
 * DATA_FORMAT, and what `choose` and the reading of lines throw
 */
export async function* readTable(
  source: DataSource,
  choose: ChooseColumns,
): AsyncGenerator<TableBatch, void> {
  let rows = 0
  for (const file of source.files) {
    let inFile = 0
    for await (const records of recordsOf(source, file, choose)) {
      inFile += records.length
      if (rows + inFile > DATA_LIMITS.rows) {
        throw new CtdError('DATA_TOO_LARGE', `the dataset has more than ${DATA_LIMITS.rows} rows`, {
          hint: 'train on a sample of the rows',
        })
      }
      if (records.length > 0) yield { file, records }
    }
    if (inFile === 0) {
      const what = source.files.length > 1 ? file.name : 'the dataset'
      throw new CtdError('DATA_EMPTY', `${what} holds no rows`, {
        hint:
          source.format === 'jsonl'
            ? 'check the path and the file'
            : 'add rows below the header; the first line is always taken for the header',
      })
    }
    rows += inFile
  }
}

async function* recordsOf(
  source: DataSource,
  file: DataFile,
  choose: ChooseColumns,
): AsyncGenerator<readonly TableRecord[], void> {
  if (source.format === 'csv' || source.format === 'tsv') {
    yield* delimitedRecords(source, file, choose)
  } else if (source.format === 'jsonl') {
    yield* jsonRecords(source, file, choose)
  } else if (source.format === 'parquet') {
    // Loaded where it is needed only: most datasets are text.
    const { readParquet } = await import('./parquet.js')
    yield* readParquet(file, choose, (row) => recordPlace(source, file, row))
  } else {
    throw new CtdError('DATA_FORMAT', `the dataset is ${source.format}, which is no table`, {
      hint: 'this model takes csv, tsv, jsonl or parquet',
    })
  }
}

async function* delimitedRecords(
  source: DataSource,
  file: DataFile,
  choose: ChooseColumns,
): AsyncGenerator<readonly TableRecord[], void> {
  const parser = new DelimitedParser(source.format === 'tsv' ? '\t' : ',', (line) =>
    recordPlace(source, file, line),
  )
  let places: readonly number[] | undefined
  for await (const { text, isLast } of readLineBlocks(source.files, file)) {
    let records = parser.push(text, isLast)
    if (places === undefined) {
      const [header, ...rows] = records
      if (header === undefined) continue
      places = choose(header.cells, file).map((name) => header.cells.indexOf(name))
      assertDistinct(header.cells)
      records = rows
    }
    const wanted = places
    yield records.map(({ line, cells }) => ({ line, cells: wanted.map((at) => cells[at] ?? '') }))
  }
}

function assertDistinct(columns: readonly string[]): void {
  const twice = columns.find((name, at) => name.trim() !== '' && columns.indexOf(name) !== at)
  if (twice === undefined) return
  throw new CtdError('DATA_COLUMN_TWICE', `two columns are called "${twice.slice(0, 60)}"`, {
    hint: 'give every column a name of its own; the first line is taken for the header',
  })
}

async function* jsonRecords(
  source: DataSource,
  file: DataFile,
  choose: ChooseColumns,
): AsyncGenerator<readonly TableRecord[], void> {
  let keys: readonly string[] | undefined
  for await (const block of readLineBlocks(source.files, file)) {
    const records: TableRecord[] = []
    for (const [index, text] of block.text.split('\n').entries()) {
      if (text.trim() === '') continue
      const line = block.line + index
      const place = recordPlace(source, file, line)
      const object = parseJsonLine(text, line, place)
      keys ??= choose(Object.keys(object), file)
      records.push({ line, cells: keys.map((key) => jsonCell(object, key, line, place)) })
    }
    yield records
  }
}

function parseJsonLine(
  text: string,
  line: number,
  place: string,
): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new CtdError('DATA_JSON', `${place} is no JSON`, { cause, fields: { line } })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CtdError('DATA_JSON', `${place} is no JSON object`, { fields: { line } })
  }
  return Object.fromEntries(Object.entries(value))
}

function jsonCell(
  object: Readonly<Record<string, unknown>>,
  key: string,
  line: number,
  place: string,
): string {
  const value = object[key]
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw new CtdError('DATA_JSON', `${place}: "${key}" is neither text nor number`, {
    hint: `every line needs a "${key}"`,
    fields: { line, key },
  })
}
