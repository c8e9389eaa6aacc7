/**
 * Work over rows: a model that is given goes over a dataset, shard by shard, each row for itself.
 * `split-rows@1` cuts the rows, containers do the work, `join@1` puts what they made in the order
 * of the rows. What runs in the containers stands in `images/cpu/inference.py`.
 */
import { open, writeFile, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError } from '../errors.js'
import { TOKEN } from './bytes.js'
import { canonicalJson } from './canonical-json.js'
import { readExamples, type ExampleSet } from './data/examples.js'
import { openSource, sourceOf, type DataFormat } from './data/source.js'
import { writeRows, type RowTensor } from './families/rows.js'
import { coderOf, tokenTensor, type TextCoder } from './families/texts.js'
import type { GivenModel, MapVerb } from './given-model.js'
import { SafetensorsReader } from './safetensors.js'
import type { DatasetSource } from './split.js'
import type { Tokenizer } from './tokenizers/tokenizer.js'

export const MAP_LIMITS = {
  rows: 5_000_000,
  /** Each is a task, and one batch holds them and the one that joins them. */
  shards: 255,
} as const

/** Vectors are whole multiples of 1 / 16384: 3e-5 of rounding, and two bytes a number. */
export const VECTOR_SCALE = 2 ** 14

export const MAP_OUTPUTS = ['npy', 'jsonl', 'csv'] as const
export type MapOutput = (typeof MAP_OUTPUTS)[number]

/** How the rows are read and what is done with them. */
export interface MapRows {
  readonly verb: MapVerb
  readonly model: GivenModel
  readonly format?: DataFormat | undefined
  readonly textColumn?: string | undefined
  /** Tokens that are written behind each prompt; 0 where nothing is written. */
  readonly maxTokens: number
}

/** Where rows are, and what they are read with. */
export type RowsSource = Pick<DatasetSource, 'files' | 'spoolPath'>

/** What a submitter knows of the rows before any task ran. */
export interface RowsSummary {
  readonly rows: number
  readonly format: DataFormat
  readonly textColumn: string
  /** Tokens of the longest row as the model gets it. */
  readonly longestTokens: number
}

/** Rows of a shard: stretches that differ by one at most. */
export function firstRow(rows: number, shards: number, shard: number): number {
  return Math.floor((rows * shard) / shards)
}

export function rowsFileName(shard: number): string {
  return `rows-${String(shard).padStart(3, '0')}.safetensors`
}

/** Name of what `join@1` writes. */
export function joinedFileName(verb: MapVerb, output: MapOutput): string {
  return `${verb === 'embed' ? 'vectors' : 'generated'}.${output}`
}

/**
 * Reads and judges rows as the split task will.
 *
 * @throws CtdError DATA_*, TOKENIZER_*, PROMPT_TOO_LONG, PROMPT_EMPTY
 */
export async function summariseRows(
  source: RowsSource,
  rows: MapRows,
  tokenizer: Tokenizer | undefined,
): Promise<RowsSummary> {
  return await withRows(source, rows, tokenizer, ({ examples, format, longestTokens }) =>
    Promise.resolve({
      rows: examples.rows,
      format,
      textColumn: examples.textColumn,
      longestTokens,
    }),
  )
}

interface JudgedRows {
  readonly examples: ExampleSet
  /** UTF-8 of a row, valid until the next call. */
  readonly textOf: (row: number) => Uint8Array
  readonly format: DataFormat
  readonly coder: TextCoder
  readonly longestTokens: number
}

async function withRows<T>(
  { files, spoolPath }: RowsSource,
  { verb, model, format: asked, textColumn, maxTokens }: MapRows,
  tokenizer: Tokenizer | undefined,
  use: (judged: JudgedRows) => Promise<T>,
): Promise<T> {
  const coder = coderOf(tokenizer, verb === 'embed')
  if (coder.vocabulary > model.vocabulary) {
    const message = `the tokenizer has ${coder.vocabulary} tokens, the model ${model.vocabulary}`
    throw new CtdError('TOKENIZER_UNSUITABLE', message, {
      hint: 'put the tokenizer files that belong to the model beside its weights',
    })
  }
  const source =
    typeof files === 'string'
      ? await openSource(files, { format: asked, plain: 'txt' })
      : await sourceOf(files, { format: asked, plain: 'txt' })
  const examples = await readExamples('text', source, { textColumn }, spoolPath)
  const isLines = source.format === 'txt'
  const textOf = (row: number): Uint8Array => {
    const text = examples.row(row)
    return isLines ? withoutBreak(text) : text
  }
  try {
    if (examples.rows === 0) {
      throw new CtdError('DATA_EMPTY', 'the dataset has no rows', {
        hint: 'one text a line, or a table with a column of texts',
      })
    }
    if (examples.rows > MAP_LIMITS.rows) {
      throw new CtdError('DATA_TOO_LARGE', `the dataset has ${examples.rows} rows`, {
        hint: `at most ${MAP_LIMITS.rows}; cut it in parts`,
      })
    }
    const longest = longestRow(examples.rows, textOf, coder)
    const longestTokens =
      verb === 'generate'
        ? longestPrompt(longest, { room: model.maxLength - maxTokens, model, maxTokens })
        : Math.min(longest.tokens + 2, model.maxLength)
    return await use({ examples, textOf, format: source.format, coder, longestTokens })
  } finally {
    examples.close()
  }
}

/** A line as people see it: the reader gives them with their breaks. */
function withoutBreak(line: Uint8Array): Uint8Array {
  let end = line.length
  if (line[end - 1] === 0x0a) end -= 1
  if (line[end - 1] === 0x0d) end -= 1
  return line.subarray(0, end)
}

interface LongestRow {
  readonly row: number
  readonly tokens: number
  /** The first row without a token, or -1. */
  readonly empty: number
}

function longestRow(rows: number, textOf: JudgedRows['textOf'], coder: TextCoder): LongestRow {
  let [row, tokens, empty] = [0, 0, -1]
  for (let i = 0; i < rows; i++) {
    const { length } = coder.encode(textOf(i))
    if (length === 0 && empty === -1) empty = i
    if (length > tokens) [row, tokens] = [i, length]
  }
  return { row, tokens, empty }
}

/** @throws CtdError PROMPT_TOO_LONG, PROMPT_EMPTY */
function longestPrompt(
  { row, tokens, empty }: LongestRow,
  limits: { readonly room: number; readonly model: GivenModel; readonly maxTokens: number },
): number {
  if (empty >= 0) {
    throw new CtdError('PROMPT_EMPTY', `row ${empty + 1} is an empty prompt`, {
      hint: 'remove it, or write at least one character to begin with',
    })
  }
  const { room, model, maxTokens } = limits
  if (tokens <= room) return tokens
  const message =
    `the prompt of row ${row + 1} has ${tokens} tokens, and with ${maxTokens} to write ` +
    `the model's ${model.maxLength} have room for ${Math.max(room, 0)}`
  throw new CtdError('PROMPT_TOO_LONG', message, { hint: 'shorten it, or lower --max-tokens' })
}

/**
 * Writes `rows-NNN.safetensors`, consecutive stretches of the rows, and `split.json`.
 *
 * For `embed` the tensor `tokens` holds [rows, longest] ids from start to end, padded with 0 and
 * cut to the model's length; for `generate` the prompts' ids, filled up with -1.
 *
 * @throws CtdError DATA_*, TOKENIZER_*, PROMPT_TOO_LONG, PROMPT_EMPTY
 */
export async function splitRows(
  source: RowsSource,
  params: MapRows & { readonly rows: number; readonly shards: number },
  tokenizer: Tokenizer | undefined,
  outDir: string,
): Promise<void> {
  await withRows(source, params, tokenizer, async ({ examples, textOf, coder, longestTokens }) => {
    if (examples.rows !== params.rows) {
      const message = `the dataset has ${examples.rows} rows, the job says ${params.rows}`
      throw new CtdError('DATA_ROWS_DIFFER', message)
    }
    const tensor =
      params.verb === 'embed'
        ? tokenTensor('tokens', textOf, { coder, maxLength: longestTokens })
        : promptTensor(textOf, coder, longestTokens)
    for (let shard = 0; shard < params.shards; shard++) {
      const start = firstRow(examples.rows, params.shards, shard)
      const end = firstRow(examples.rows, params.shards, shard + 1)
      const numbers = Uint32Array.from({ length: end - start }, (_, i) => start + i)
      await writeRows(join(outDir, rowsFileName(shard)), numbers, [tensor])
    }
    const summary = { longestTokens, rows: examples.rows, shards: params.shards }
    await writeFile(join(outDir, 'split.json'), canonicalJson(summary), { flag: 'wx' })
  })
}

function promptTensor(textOf: JudgedRows['textOf'], coder: TextCoder, longest: number): RowTensor {
  return {
    name: 'tokens',
    dtype: 'I32',
    rowShape: [longest],
    fill: (rows) => {
      const tokens = new Int32Array(rows.length * longest).fill(-1)
      for (const [i, row] of rows.entries()) {
        tokens.set(Array.from(coder.encode(textOf(row))), i * longest)
      }
      return tokens
    },
  }
}

/** What the containers' task is, beside the rows of its shard. */
export interface MapTaskOptions {
  readonly verb: MapVerb
  readonly model: GivenModel
  readonly rows: number
  readonly shards: number
  readonly seed: string
  readonly maxTokens: number
  /** 0 takes the likeliest token always. */
  readonly temperature: number
  /** Id that ends a text. */
  readonly endToken: number
}

/** `task.json` of one shard. Draws are keyed by the number of the row, whatever the shards. */
export function mapTask(options: MapTaskOptions, shard: number) {
  const { verb, model, rows, shards, seed, maxTokens, temperature, endToken } = options
  const work = { kind: verb, version: 1, model, batchSize: 32 }
  if (verb === 'embed') return work
  return {
    ...work,
    endToken,
    firstRow: firstRow(rows, shards, shard),
    maxTokens,
    seed,
    temperature,
  }
}

/** Floating point operations of one row: a forward pass is a third of a step of training. */
export function flopsOfRow({ model, maxTokens }: MapRows, longestTokens: number): number {
  const { layers, hidden, intermediate, vocabulary } = model
  const matrices = layers * (4 * hidden * hidden + 2 * hidden * intermediate)
  const head = model.family === 'causal-lm' ? hidden * vocabulary : 0
  const tokens = longestTokens + maxTokens
  return tokens * (2 * (matrices + head) + 4 * layers * hidden * tokens)
}

/** Id that ends a text for a model with this tokenizer. @throws CtdError TOKENIZER_UNSUITABLE */
export function endTokenOf(tokenizer: Tokenizer | undefined): number {
  return coderOf(tokenizer, false).end
}

export interface JoinParams {
  readonly verb: MapVerb
  readonly output: MapOutput
  readonly rows: number
  readonly shards: number
  /** Numbers of a vector. */
  readonly width: number
}

/**
 * Writes all rows into one file, in their order: `vectors.npy` (fp32 [rows, width]), `.jsonl` or
 * `.csv`; `generated.jsonl` or `.csv`. And `metrics.json` with the rows.
 *
 * @param paths - what the shards made, in their order
 * @throws CtdError TENSOR_MISSING, TENSOR_UNEXPECTED, TENSORS_MALFORMED
 */
export async function joinRows(
  params: JoinParams,
  paths: readonly string[],
  tokenizer: Tokenizer | undefined,
  outDir: string,
): Promise<void> {
  const { verb, output, rows, shards, width } = params
  const file = await open(join(outDir, joinedFileName(verb, output)), 'wx')
  try {
    await file.writeFile(headOf(params))
    for (const [shard, path] of paths.entries()) {
      const start = firstRow(rows, shards, shard)
      const count = firstRow(rows, shards, shard + 1) - start
      const reader = await SafetensorsReader.open(path)
      try {
        const part = { reader, start, count, output }
        if (verb === 'embed') await writeVectors(file, part, width)
        else await writeTexts(file, part, tokenizer)
      } finally {
        await reader.close()
      }
    }
    await file.sync()
  } finally {
    await file.close()
  }
  await writeFile(join(outDir, 'metrics.json'), canonicalJson({ rows }), { flag: 'wx' })
}

function headOf({ verb, output, rows, width }: JoinParams): Uint8Array {
  if (output === 'npy') return npyHeader(rows, width)
  if (output === 'jsonl') return new Uint8Array()
  const names =
    verb === 'embed' ? Array.from({ length: width }, (_, i) => `v${i}`) : ['row', 'text']
  return Buffer.from(`${names.join(',')}\n`)
}

/** Version 1.0 of NumPy's format (NEP 1): the header ends on a multiple of 64 bytes. */
function npyHeader(rows: number, width: number): Uint8Array {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${width}), }`
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10
  const header = Buffer.alloc(10 + length, 0x20)
  header.write('\u0093NUMPY\u0001\u0000', 0, 'latin1')
  header.writeUInt16LE(length, 8)
  header.write(text, 10, 'latin1')
  header.write('\n', 10 + length - 1, 'latin1')
  return header
}

/** A shard's part of the rows. */
interface Part {
  readonly reader: SafetensorsReader
  readonly start: number
  readonly count: number
  readonly output: MapOutput
}

const ROWS_AT_A_TIME = 512

async function writeVectors(
  file: FileHandle,
  { reader, start, count, output }: Part,
  width: number,
): Promise<void> {
  const tensor = reader.tensor('vectors', 'I16', count * width)
  for (let at = 0; at < count; at += ROWS_AT_A_TIME) {
    const some = Math.min(ROWS_AT_A_TIME, count - at)
    const fixed = await reader.readInt16(tensor, at * width, some * width)
    const values = Float32Array.from(fixed, (value) => value / VECTOR_SCALE)
    if (output === 'npy') {
      await file.writeFile(new Uint8Array(values.buffer))
      continue
    }
    const lines = Array.from({ length: some }, (_, i) => {
      const vector = [...values.subarray(i * width, (i + 1) * width)]
      return output === 'csv' ? vector.join(',') : JSON.stringify({ row: start + at + i, vector })
    })
    await file.writeFile(`${lines.join('\n')}\n`)
  }
}

async function writeTexts(
  file: FileHandle,
  { reader, start, count, output }: Part,
  tokenizer: Tokenizer | undefined,
): Promise<void> {
  const width = reader.tensors.get('tokens')?.shape[1] ?? 0
  const tensor = reader.tensor('tokens', 'I32', count * width)
  for (let at = 0; at < count; at += ROWS_AT_A_TIME) {
    const some = Math.min(ROWS_AT_A_TIME, count - at)
    const ids = await reader.readInt32(tensor, at * width, some * width)
    const lines = Array.from({ length: some }, (_, i) => {
      const written = ids.subarray(i * width, (i + 1) * width).filter((id) => id >= 0)
      const row = start + at + i
      const text = decodeIds(written, tokenizer)
      return output === 'csv'
        ? `${row},"${text.replaceAll('"', '""')}"`
        : JSON.stringify({ row, text, tokens: written.length })
    })
    await file.writeFile(`${lines.join('\n')}\n`)
  }
}

function decodeIds(ids: Int32Array, tokenizer: Tokenizer | undefined): string {
  if (tokenizer !== undefined) return tokenizer.decode(ids)
  const bytes = Uint8Array.from(
    ids.filter((id) => id >= TOKEN.byteOffset && id < TOKEN.vocabulary),
    (id) => id - TOKEN.byteOffset,
  )
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
}
