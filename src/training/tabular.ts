/**
 * Labelled texts out of the files people have: csv, tsv (RFC 4180) and JSON lines, UTF-8.
 *
 * Everything wrong with a file is told with the number of its line and what to do about it.
 */
import { CtdError } from '../errors.js'
import { nearest } from './nearest.js'

export type TableFormat = 'csv' | 'tsv' | 'jsonl'

export interface TableOptions {
  /** Told from the first lines when absent. */
  readonly format?: TableFormat | undefined
  readonly textColumn?: string | undefined
  readonly labelColumn?: string | undefined
}

export interface LabelledRow {
  readonly text: string
  readonly label: string
}

export interface LabelledTable {
  readonly format: TableFormat
  readonly textColumn: string
  readonly labelColumn: string
  readonly rows: readonly LabelledRow[]
}

export const TABLE_LIMITS = {
  bytes: 256 * 1024 * 1024,
  rows: 5_000_000,
  columns: 1000,
  cellChars: 1_000_000,
  labelChars: 200,
} as const

/** Header names that mean the text and the label, the likeliest first. */
const TEXT_NAMES = [
  'text',
  'sentence',
  'content',
  'review',
  'message',
  'comment',
  'body',
  'document',
]
const LABEL_NAMES = [
  'label',
  'class',
  'category',
  'target',
  'sentiment',
  'language',
  'lang',
  'intent',
]

/** A record of the file and the number of the line it starts on, from 1. */
interface TableRecord {
  readonly line: number
  readonly cells: readonly string[]
}

/**
 * Reads a table of texts and labels.
 *
 * @throws CtdError DATA_TOO_LARGE, DATA_ENCODING, DATA_EMPTY, DATA_QUOTE, DATA_RAGGED, DATA_JSON,
 * DATA_COLUMN_MISSING, DATA_BLANK
 */
export function parseTable(bytes: Uint8Array, options: TableOptions = {}): LabelledTable {
  if (bytes.length > TABLE_LIMITS.bytes) {
    throw new CtdError('DATA_TOO_LARGE', `the dataset has ${bytes.length} bytes`, {
      hint: `at most ${TABLE_LIMITS.bytes} bytes; train on a sample of the rows`,
    })
  }
  const content = decodeUtf8(bytes)
  if (content.trim() === '') {
    throw new CtdError('DATA_EMPTY', 'the dataset is empty', {
      hint: 'check the path and the file',
    })
  }
  const format = options.format ?? sniffFormat(content)
  const records =
    format === 'jsonl' ? jsonRecords(content, options) : delimitedRecords(content, format)
  const [header, ...body] = records
  if (header === undefined || body.length === 0) {
    throw new CtdError('DATA_EMPTY', 'the dataset has a header but no rows', {
      hint: 'add rows below the header; the first line is always taken for the header',
    })
  }
  const text = findColumn(header.cells, 'text', options.textColumn)
  const label = findColumn(header.cells, 'label', options.labelColumn)
  return {
    format,
    textColumn: header.cells[text] ?? '',
    labelColumn: header.cells[label] ?? '',
    rows: body.map((record) => readRow(record, text, label)),
  }
}

function decodeUtf8(bytes: Uint8Array): string {
  const isUtf16 =
    (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  try {
    if (!isUtf16) return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    // Falls through to the one error, which names the line.
  }
  const line = isUtf16 ? 1 : firstBadLine(bytes)
  throw new CtdError('DATA_ENCODING', `line ${line} of the dataset is not UTF-8`, {
    hint: `save the file as UTF-8, for example: iconv -f ${isUtf16 ? 'UTF-16' : 'WINDOWS-1252'} -t UTF-8`,
    fields: { line },
  })
}

function firstBadLine(bytes: Uint8Array): number {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let line = 1
  let start = 0
  for (;;) {
    const found = bytes.indexOf(0x0a, start)
    const end = found === -1 ? bytes.length : found
    try {
      decoder.decode(bytes.subarray(start, end))
    } catch {
      return line
    }
    if (found === -1) return line
    start = found + 1
    line += 1
  }
}

function sniffFormat(content: string): TableFormat {
  const first = content.trimStart().split('\n', 1)[0] ?? ''
  if (first.startsWith('{')) return 'jsonl'
  return first.includes('\t') && !first.includes(',') ? 'tsv' : 'csv'
}

/** Records of a delimited file; every record must have as many cells as the first. */
function delimitedRecords(content: string, format: 'csv' | 'tsv'): readonly TableRecord[] {
  const records: TableRecord[] = []
  let width: number | undefined
  for (const record of scanDelimited(content, format === 'csv' ? ',' : '\t')) {
    if (record.cells.length === 1 && record.cells[0] === '') continue
    width ??= record.cells.length
    if (record.cells.length !== width) throw ragged(record, width)
    records.push(record)
    assertRowLimit(records.length)
  }
  return records
}

function ragged(record: TableRecord, width: number): CtdError {
  return new CtdError(
    'DATA_RAGGED',
    `line ${record.line} has ${record.cells.length} cells, the header has ${width}`,
    {
      hint: 'put cells that contain the separator or a line break in double quotes',
      fields: { line: record.line, found: record.cells.length, expected: width },
    },
  )
}

function assertRowLimit(rows: number): void {
  if (rows > TABLE_LIMITS.rows + 1) {
    throw new CtdError('DATA_TOO_LARGE', `the dataset has more than ${TABLE_LIMITS.rows} rows`)
  }
}

/** RFC 4180: quoted cells may hold separators, line breaks and doubled quotes; CRLF or LF. */
function* scanDelimited(content: string, separator: string): Generator<TableRecord, void> {
  let at = 0
  let line = 1
  while (at < content.length) {
    const startLine = line
    const cells: string[] = []
    for (;;) {
      let cell: string
      if (content[at] === '"') {
        const end = closingQuote(content, at + 1, line)
        const quoted = content.slice(at + 1, end)
        line += quoted.split('\n').length - 1
        cell = quoted.replaceAll('""', '"')
        at = end + 1
        if (at < content.length && !isCellEnd(content, at, separator)) {
          throw quoteError(line, 'text follows a closing quote')
        }
      } else {
        const start = at
        while (at < content.length && !isCellEnd(content, at, separator)) at += 1
        cell = content.slice(start, at)
      }
      cells.push(cell)
      if (cell.length > TABLE_LIMITS.cellChars || cells.length > TABLE_LIMITS.columns) {
        throw new CtdError('DATA_TOO_LARGE', `line ${startLine} is too long`, {
          hint: 'is a double quote unclosed before it?',
          fields: { line: startLine },
        })
      }
      if (content[at] !== separator) break
      at += 1
    }
    if (content[at] === '\r') at += 1
    if (content[at] === '\n') at += 1
    line += 1
    yield { line: startLine, cells }
  }
}

function isCellEnd(content: string, at: number, separator: string): boolean {
  const char = content[at]
  if (char === separator || char === '\n') return true
  return char === '\r' && (content[at + 1] === '\n' || at + 1 === content.length)
}

function closingQuote(content: string, from: number, line: number): number {
  let end = content.indexOf('"', from)
  while (end !== -1 && content[end + 1] === '"') end = content.indexOf('"', end + 2)
  if (end === -1) throw quoteError(line, 'a double quote is never closed')
  return end
}

function quoteError(line: number, reason: string): CtdError {
  return new CtdError('DATA_QUOTE', `line ${line}: ${reason}`, {
    hint: 'write a double quote inside a quoted cell twice',
    fields: { line },
  })
}

/** JSON lines as a table of two columns, so that the rest need not know the difference. */
function jsonRecords(content: string, options: TableOptions): readonly TableRecord[] {
  const records: TableRecord[] = []
  let names: { text: string; label: string } | undefined
  for (const [index, source] of content.split('\n').entries()) {
    if (source.trim() === '') continue
    const line = index + 1
    const object = parseJsonLine(source, line)
    if (names === undefined) {
      const keys = Object.keys(object)
      names = {
        text: keys[findColumn(keys, 'text', options.textColumn)] ?? '',
        label: keys[findColumn(keys, 'label', options.labelColumn)] ?? '',
      }
      records.push({ line, cells: [names.text, names.label] })
    }
    records.push({
      line,
      cells: [jsonCell(object, names.text, line), jsonCell(object, names.label, line)],
    })
    assertRowLimit(records.length)
  }
  return records
}

function parseJsonLine(source: string, line: number): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(source)
  } catch (cause) {
    throw new CtdError('DATA_JSON', `line ${line} is no JSON`, { cause, fields: { line } })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CtdError('DATA_JSON', `line ${line} is no JSON object`, { fields: { line } })
  }
  return Object.fromEntries(Object.entries(value))
}

function jsonCell(object: Readonly<Record<string, unknown>>, key: string, line: number): string {
  const value = object[key]
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw new CtdError('DATA_JSON', `line ${line}: "${key}" is neither text nor number`, {
    fields: { line, key },
  })
}

function findColumn(
  columns: readonly string[],
  role: 'text' | 'label',
  wanted: string | undefined,
): number {
  const names = columns.map((column) => column.trim().toLowerCase())
  if (wanted !== undefined) {
    const found = columns.indexOf(wanted)
    if (found !== -1) return found
    const near = nearest(wanted, columns)
    throw columnMissing(columns, role, `there is no column "${wanted}"`, near)
  }
  for (const name of role === 'text' ? TEXT_NAMES : LABEL_NAMES) {
    const found = names.indexOf(name)
    if (found !== -1) return found
  }
  throw columnMissing(columns, role, `no column looks like the ${role}`, undefined)
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

function readRow({ line, cells }: TableRecord, textAt: number, labelAt: number): LabelledRow {
  const text = cells[textAt] ?? ''
  const label = (cells[labelAt] ?? '').trim()
  const blank = text.trim() === '' ? 'text' : label === '' ? 'label' : undefined
  if (blank !== undefined) {
    throw new CtdError('DATA_BLANK', `line ${line} has no ${blank}`, {
      hint: 'fill the cell or remove the line',
      fields: { line },
    })
  }
  if (label.length > TABLE_LIMITS.labelChars) {
    throw new CtdError(
      'DATA_COLUMN_MISSING',
      `line ${line}: the label has ${label.length} characters`,
      {
        hint: 'are the text and label columns swapped?',
        fields: { line },
      },
    )
  }
  return { text, label }
}
