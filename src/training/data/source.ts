/**
 * The files of a dataset: one file or a folder, in the one order that their names give, all of
 * one format; and their bytes, unpacked where they are gzip.
 */
import { open, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { createGunzip } from 'node:zlib'
import { CtdError } from '../../errors.js'
import { DATA_LIMITS } from './limits.js'

export const DATA_FORMATS = ['csv', 'tsv', 'jsonl', 'txt', 'parquet', 'idx', 'npz'] as const
export type DataFormat = (typeof DATA_FORMATS)[number]

export interface DataFile {
  /** Relative to the dataset's folder, with slashes; for people and for the order. */
  readonly name: string
  readonly path: string
}

export interface DataSource {
  readonly format: DataFormat
  /** Sorted by name, so that the order in which they were given does not count. */
  readonly files: readonly DataFile[]
}

export interface SourceOptions {
  /** Told from names and contents when absent. */
  readonly format?: DataFormat | undefined
  /** What a file is taken for that neither its name nor its first bytes tell. */
  readonly plain?: 'csv' | 'txt' | undefined
}

const FOLDER_DEPTH = 8
const READ_BYTES = 1024 * 1024

const EXTENSIONS: Readonly<Record<string, DataFormat>> = {
  csv: 'csv',
  tsv: 'tsv',
  tab: 'tsv',
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  txt: 'txt',
  text: 'txt',
  parquet: 'parquet',
  npz: 'npz',
}

/**
 * Opens a dataset on this disk.
 *
 * @param path - a file, or a folder of which every file is read
 * @param name - of a file whose path does not say it
 * @throws CtdError DATA_EMPTY, DATA_TOO_LARGE, DATA_MIXED_FORMATS, DATA_FORMAT
 */
export async function openSource(
  path: string,
  { name = basename(path), ...options }: SourceOptions & { readonly name?: string } = {},
): Promise<DataSource> {
  const status = await stat(path)
  const files = status.isDirectory() ? await listFiles(path, '', 0) : [{ name, path }]
  return await sourceOf(files, options)
}

/** As `openSource`, of files that are known by name, in any order. */
export async function sourceOf(
  files: readonly DataFile[],
  { format, plain = 'csv' }: SourceOptions = {},
): Promise<DataSource> {
  if (files.length === 0) {
    throw new CtdError('DATA_EMPTY', 'the dataset is a folder without files')
  }
  if (files.length > DATA_LIMITS.files) throw tooLarge(`more than ${DATA_LIMITS.files} files`)
  const sorted = [...files].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  let total = 0
  for (const file of sorted) {
    const { size } = await stat(file.path)
    if (size === 0) {
      throw new CtdError('DATA_EMPTY', emptyMessage(sorted, file), {
        hint: 'check the path and the file',
      })
    }
    total += size
  }
  if (total > DATA_LIMITS.bytes) throw tooLarge(`${total} bytes`)
  return { format: format ?? (await commonFormat(sorted, plain)), files: sorted }
}

function emptyMessage(files: readonly DataFile[], file: DataFile): string {
  return files.length === 1 ? 'the dataset is empty' : `${file.name} of the dataset is empty`
}

function tooLarge(what: string): CtdError {
  return new CtdError('DATA_TOO_LARGE', `the dataset has ${what}`, {
    hint: `at most ${DATA_LIMITS.bytes} bytes in ${DATA_LIMITS.files} files; train on a sample of the rows`,
  })
}

async function listFiles(folder: string, under: string, depth: number): Promise<DataFile[]> {
  if (depth > FOLDER_DEPTH) throw new CtdError('DATA_FORMAT', `${folder} nests too deep`)
  const found: DataFile[] = []
  for (const entry of await readdir(join(folder, under), { withFileTypes: true })) {
    const name = under === '' ? entry.name : `${under}/${entry.name}`
    if (entry.isDirectory()) found.push(...(await listFiles(folder, name, depth + 1)))
    else if (entry.isFile()) found.push({ name, path: join(folder, name) })
    else throw new CtdError('DATA_FORMAT', `${name} is a link or a special file`)
    if (found.length > DATA_LIMITS.files) throw tooLarge(`more than ${DATA_LIMITS.files} files`)
  }
  return found
}

async function commonFormat(files: readonly DataFile[], plain: 'csv' | 'txt'): Promise<DataFormat> {
  let first: { readonly format: DataFormat; readonly name: string } | undefined
  for (const { name, path } of files) {
    const format = formatOfName(name) ?? (await sniffFormat({ name, path }, plain))
    if (first !== undefined && first.format !== format) {
      throw new CtdError(
        'DATA_MIXED_FORMATS',
        `the dataset mixes formats: ${first.name} is ${first.format}, ${name} is ${format}`,
        { hint: 'give files of one format, and nothing else beside them in the folder' },
      )
    }
    first ??= { format, name }
  }
  return first?.format ?? 'csv'
}

/** What a name says by its end, packed or not. */
export function formatOfName(name: string): DataFormat | undefined {
  const lower = name.toLowerCase().replace(/\.gz$/, '')
  if (/idx[1-4][-.]ubyte$|\.idx[1-4]?$/.test(lower)) return 'idx'
  return EXTENSIONS[/\.([a-z0-9]+)$/.exec(lower)?.[1] ?? '']
}

/** By the first bytes, where the name says nothing. */
async function sniffFormat(file: DataFile, plain: 'csv' | 'txt'): Promise<DataFormat> {
  let start = new Uint8Array()
  for await (const chunk of readChunks([file], file)) {
    start = Uint8Array.from(chunk.subarray(0, 64 * 1024))
    break
  }
  const magic = Buffer.from(start.subarray(0, 4)).toString('latin1')
  if (magic === 'PAR1') return 'parquet'
  if (magic === 'PK\u0003\u0004') return 'npz'
  if (start[0] === 0 && start[1] === 0) return 'idx'
  const first = new TextDecoder().decode(start).trimStart().split('\n', 1)[0] ?? ''
  if (plain === 'txt') return 'txt'
  if (first.startsWith('{')) return 'jsonl'
  return first.includes('\t') && !first.includes(',') ? 'tsv' : 'csv'
}

/** Where something is, for people: a line, with its file where there are several. */
export function placeOf(files: readonly DataFile[], file: DataFile, where: string): string {
  return files.length > 1 ? `${file.name}, ${where}` : where
}

/**
 * The bytes of a file in pieces, unpacked where it is gzip.
 *
 * @throws CtdError DATA_TRUNCATED, DATA_COMPRESSION, DATA_TOO_LARGE
 */
export async function* readChunks(
  files: readonly DataFile[],
  file: DataFile,
): AsyncGenerator<Uint8Array, void> {
  const handle = await open(file.path, 'r')
  try {
    const magic = Buffer.alloc(2)
    await handle.read(magic, 0, 2, 0)
    const raw = handle.createReadStream({
      start: 0,
      highWaterMark: READ_BYTES,
      autoClose: false,
    })
    if (magic[0] !== 0x1f || magic[1] !== 0x8b) {
      for await (const chunk of raw) yield bytesOf(chunk)
      return
    }
    const unpacked = createGunzip({ chunkSize: READ_BYTES })
    raw.on('error', (error) => unpacked.destroy(error))
    let total = 0
    try {
      for await (const chunk of raw.pipe(unpacked)) {
        const bytes = bytesOf(chunk)
        total += bytes.length
        if (total > DATA_LIMITS.expandedBytes) {
          throw tooLarge(`more than ${DATA_LIMITS.expandedBytes} bytes when unpacked`)
        }
        yield bytes
      }
    } catch (error) {
      throw unpackError(placeOf(files, file, 'the file'), error)
    } finally {
      raw.destroy()
    }
  } finally {
    await handle.close()
  }
}

/** A chunk of a stream of bytes, whose type Node does not tell. */
export function bytesOf(chunk: unknown): Uint8Array {
  return chunk instanceof Uint8Array ? chunk : Buffer.from(String(chunk))
}

/** What zlib says of bytes that do not unpack, in our words; all else unchanged. */
export function unpackError(place: string, error: unknown): unknown {
  const code = error instanceof Error ? String(Reflect.get(error, 'code')) : ''
  if (code === 'Z_BUF_ERROR') return truncated(place, error)
  if (!code.startsWith('Z_')) return error
  return new CtdError('DATA_COMPRESSION', `${place} does not unpack`, {
    hint: 'it is damaged; copy or compress it again',
    cause: error,
  })
}

export function truncated(place: string, cause?: unknown): CtdError {
  return new CtdError('DATA_TRUNCATED', `${place} ends too early`, {
    hint: 'the copy is incomplete; fetch it again',
    ...(cause === undefined ? {} : { cause }),
  })
}
