/**
 * Parquet by hyparquet, one group of rows at a time. What a page claims to unpack to is bounded
 * before any of it is.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import {
  parquetMetadataAsync,
  parquetRead,
  type AsyncBuffer,
  type ColumnMetaData,
  type Compressors,
  type FileMetaData,
} from 'hyparquet'
import { compressors as others, decompressZstd } from 'hyparquet-compressors'
import { CtdError, InvariantError } from '../../errors.js'
import type { TableRecord } from './delimited.js'
import { DATA_LIMITS } from './limits.js'
import { truncated, type DataFile } from './source.js'
import type { ChooseColumns } from './table.js'

/** Rows that are turned into cells at a time. */
const BATCH_ROWS = 10_000

/** @throws CtdError DATA_PARQUET, DATA_TRUNCATED, DATA_TOO_LARGE, and what `choose` throws */
export async function* readParquet(
  file: DataFile,
  choose: ChooseColumns,
  place: (row: number) => string,
): AsyncGenerator<readonly TableRecord[], void> {
  const handle = await open(file.path, 'r')
  try {
    const { size } = await handle.stat()
    await assertEnds(handle, file, size)
    const buffer = bufferOf(handle, file, size)
    const metadata = await guarded(file, () => parquetMetadataAsync(buffer, { geoparquet: false }))
    const columns = [...choose(columnsOf(metadata), file)]
    for (const column of columns) assertReadable(metadata, column)
    let row = 1
    let groupStart = 0
    for (const group of metadata.row_groups) {
      const rows = Number(group.num_rows)
      assertGroup(
        file,
        group.columns.flatMap((chunk) => chunk.meta_data ?? []),
        columns,
        rows,
      )
      const found = await guarded(file, () =>
        readGroup(buffer, metadata, columns, groupStart, groupStart + rows),
      )
      groupStart += rows
      for (let start = 0; start < rows; start += BATCH_ROWS) {
        const batch = found.slice(start, start + BATCH_ROWS)
        const first = row + start
        yield batch.map((cells, i) => ({
          line: first + i,
          cells: columns.map((name, at) => cellOf(cells[at], name, () => place(first + i))),
        }))
      }
      row += rows
    }
  } finally {
    await handle.close()
  }
}

/** The format ends as it begins; a file cut short does not. */
async function assertEnds(handle: FileHandle, file: DataFile, size: number): Promise<void> {
  const start = Buffer.alloc(4)
  const end = Buffer.alloc(8)
  if (size < 12) throw truncated(file.name)
  await handle.read(start, 0, 4, 0)
  await handle.read(end, 0, 8, size - 8)
  const magic = end.toString('latin1', 4)
  if (magic === 'PARE') throw malformed(file, 'is encrypted')
  if (start.toString('latin1') !== 'PAR1') throw malformed(file, 'is no Parquet file')
  if (magic !== 'PAR1') throw truncated(file.name)
  const footer = end.readUInt32LE(0)
  if (footer > DATA_LIMITS.parquetFooterBytes || footer > size - 12) {
    throw malformed(file, `has a footer of ${footer} bytes`)
  }
}

function bufferOf(handle: FileHandle, file: DataFile, size: number): AsyncBuffer {
  return {
    byteLength: size,
    slice: async (start, end = size) => {
      const length = Math.min(end, size) - start
      if (!(start >= 0 && length >= 0)) throw malformed(file, 'points outside itself')
      const bytes = new Uint8Array(length)
      let done = 0
      while (done < length) {
        const { bytesRead } = await handle.read(bytes, done, length - done, start + done)
        if (bytesRead === 0) throw truncated(file.name)
        done += bytesRead
      }
      return bytes.buffer
    },
  }
}

function malformed(file: DataFile, reason: string, cause?: unknown): CtdError {
  return new CtdError('DATA_PARQUET', `${file.name} ${reason}`, {
    hint: 'write it again, for example with pandas: frame.to_parquet("data.parquet")',
    ...(cause === undefined ? {} : { cause }),
  })
}

/** The library throws plain errors of what it cannot read. */
async function guarded<T>(file: DataFile, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof CtdError || error instanceof InvariantError) throw error
    const reason = error instanceof Error ? error.message.slice(0, 200) : 'unknown'
    throw malformed(file, `cannot be read: ${reason}`, error)
  }
}

/** Names of the columns that hold one value a row, in the order of the file. */
function columnsOf(metadata: FileMetaData): readonly string[] {
  const [root, ...elements] = metadata.schema
  const names: string[] = []
  let at = 0
  for (let child = 0; child < (root?.num_children ?? 0); child++) {
    const element = elements[at]
    if (element === undefined) break
    if (element.num_children === undefined && element.repetition_type !== 'REPEATED') {
      names.push(element.name)
    }
    at = behind(elements, at)
  }
  return names.slice(0, DATA_LIMITS.columns)
}

/** The place behind an element of the schema and all below it. */
function behind(elements: FileMetaData['schema'], from: number): number {
  let open = 1
  let at = from
  while (open > 0 && at < elements.length) {
    open += (elements[at]?.num_children ?? 0) - 1
    at += 1
  }
  return at
}

function assertReadable(metadata: FileMetaData, column: string): void {
  const element = metadata.schema.find(({ name }) => name === column)
  const logical = element?.logical_type?.type
  const isPlain =
    logical === undefined || ['STRING', 'ENUM', 'INTEGER', 'FLOAT16', 'DECIMAL'].includes(logical)
  if (isPlain) return
  throw new CtdError(
    'DATA_PARQUET',
    `the column "${column}" holds ${logical.toLowerCase()} values`,
    {
      hint: 'text and numbers can be read; convert the column',
    },
  )
}

function assertGroup(
  file: DataFile,
  chunks: readonly ColumnMetaData[],
  columns: readonly string[],
  rows: number,
): void {
  const read = chunks.filter(({ path_in_schema: [name = ''] }) => columns.includes(name))
  const bytes = read.reduce((sum, chunk) => sum + Number(chunk.total_uncompressed_size), 0)
  const values = read.reduce((most, chunk) => Math.max(most, Number(chunk.num_values)), rows)
  if (!(rows >= 0 && values <= DATA_LIMITS.rows && bytes <= DATA_LIMITS.parquetGroupBytes)) {
    throw new CtdError(
      'DATA_TOO_LARGE',
      `a group of ${file.name} has ${rows} rows and ${bytes} bytes`,
      { hint: 'write it with smaller row groups, for example of 100 000 rows' },
    )
  }
}

async function readGroup(
  file: AsyncBuffer,
  metadata: FileMetaData,
  columns: string[],
  rowStart: number,
  rowEnd: number,
): Promise<readonly (readonly unknown[])[]> {
  const found: Record<string, unknown>[] = []
  const parsers = { stringFromBytes: decodeText }
  const range = { rowStart, rowEnd }
  await parquetRead({
    ...{ file, metadata, columns, compressors: boundedCompressors(), parsers, geoparquet: false },
    ...range,
    rowFormat: 'object',
    onComplete: (rows) => {
      for (const row of rows) found.push(row)
    },
  })
  if (found.length !== rowEnd - rowStart) {
    throw new Error(`a group holds ${found.length} rows and claims ${rowEnd - rowStart}`)
  }
  return found.map((row) => columns.map((name) => row[name]))
}

/** A byte order mark is part of the text here: the bytes are a cell, not a file. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeText(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined
  try {
    return UTF8.decode(bytes)
  } catch (cause) {
    throw new CtdError('DATA_ENCODING', 'a text of the dataset is not UTF-8', {
      hint: 'is the column binary? Write it as text',
      cause,
    })
  }
}

/** Decompressors that make no more than a page claims, and no page of more than the limit. */
function boundedCompressors(): Compressors {
  const bounded =
    (unpack: (input: Uint8Array, size: number) => Uint8Array) =>
    (input: Uint8Array, size: number): Uint8Array => {
      if (!(size >= 0 && size <= DATA_LIMITS.parquetPageBytes)) {
        throw new CtdError('DATA_TOO_LARGE', `a page unpacks to ${size} bytes`)
      }
      const output = unpack(input, size)
      if (output.length !== size) throw new Error('a page unpacks to another size than it claims')
      return output
    }
  const { SNAPPY, LZ4, LZ4_RAW: lz4Raw } = others
  if (SNAPPY === undefined || LZ4 === undefined || lz4Raw === undefined) {
    throw new InvariantError('a decompressor is missing')
  }
  return {
    SNAPPY: bounded(SNAPPY),
    LZ4: bounded(LZ4),
    LZ4_RAW: bounded(lz4Raw),
    ZSTD: bounded((input, size) => decompressZstd(input, new Uint8Array(size))),
    GZIP: bounded((input, size) => gunzipSync(input, { maxOutputLength: Math.max(size, 1) })),
    BROTLI: bounded((input, size) =>
      brotliDecompressSync(input, { maxOutputLength: Math.max(size, 1) }),
    ),
  }
}

function cellOf(value: unknown, column: string, place: () => string): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') {
    return String(value)
  }
  // Told as blank, or as a missing number, by whoever reads the cell.
  if (value === null || value === undefined) return ''
  throw new CtdError('DATA_PARQUET', `${place()}: "${column}" is neither text nor number`, {
    hint: 'text and numbers can be read; convert the column',
  })
}
