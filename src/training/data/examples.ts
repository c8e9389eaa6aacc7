/**
 * What a model learns from, out of the files people have: labelled texts, texts, pairs of texts,
 * rows of numbers, images. One reader for each, and one refusal for everything that is wrong,
 * with the place and what to do about it.
 */
import { CtdError } from '../../errors.js'
import { decodeNumbers, elementBytes, type ArrayPart } from './arrays.js'
import { findColumn, findLabelOfNumbers, namedColumn } from './columns.js'
import { openIdx } from './idx.js'
import { DATA_LIMITS } from './limits.js'
import { readLineBlocks } from './lines.js'
import { openNpz } from './npz.js'
import { RowStore } from './row-store.js'
import { isTableFormat, readTable, recordPlace } from './table.js'
import { placeOf, type DataSource } from './source.js'

export const EXAMPLE_KINDS = ['labelled-text', 'text', 'text-pair', 'features', 'images'] as const
export type ExampleKind = (typeof EXAMPLE_KINDS)[number]

/** Columns, or arrays of an npz file; found by their names where absent. */
export interface ExampleOptions {
  /** Of texts; of the first texts of pairs; of the rows of an npz file. */
  readonly textColumn?: string | undefined
  /** Of labels; of the second texts of pairs. */
  readonly labelColumn?: string | undefined
  /** Of numbers; all but the label where absent. */
  readonly featureColumns?: readonly string[] | undefined
}

/** A dataset that was read from its first to its last row. */
export interface ExampleSet {
  readonly kind: ExampleKind
  readonly rows: number
  /** Sorted by code unit, which no locale changes; empty where rows bear none. */
  readonly labels: readonly string[]
  /** Which of them a row bears. */
  readonly labelIds: Int32Array
  /** The columns that were read, by their names in the file; empty where there are none. */
  readonly textColumn: string
  readonly labelColumn: string
  /** Names of numbers; [height, width, channels] of images stands in `shape`. */
  readonly featureColumns: readonly string[]
  /** Extents of a row: [features], [height, width, channels], or none for texts. */
  readonly shape: readonly number[]
  /** UTF-8 bytes of the longest text, and of all texts. */
  readonly longestBytes: number
  readonly totalBytes: number
  /**
   * Bytes of a row, valid until the next call: UTF-8 of a text, float64 little-endian of numbers
   * (not-a-number where one is missing), uint8 of pixels from the top, all channels of each together.
   * Lines of text files keep their breaks, so that all rows together are the text.
   */
  readonly row: (row: number) => Uint8Array
  /** UTF-8 of the second text of a pair. */
  readonly second: (row: number) => Uint8Array
  readonly close: () => void
}

/**
 * Reads and judges a dataset.
 *
 * @param spoolPath - where rows are kept that do not fit memory; without it rows are counted and
 * judged alone, and `row` and `second` must not be called
 * @throws CtdError DATA_EMPTY, DATA_TOO_LARGE, DATA_ENCODING, DATA_QUOTE, DATA_RAGGED, DATA_JSON,
 * DATA_PARQUET, DATA_IDX, DATA_NPZ, DATA_ZIP, DATA_TRUNCATED, DATA_COMPRESSION, DATA_FORMAT,
 * DATA_COLUMN_MISSING, DATA_COLUMN_TWICE, DATA_BLANK, DATA_NOT_NUMERIC,
 * DATA_NOT_FINITE, DATA_NO_HEADER, DATA_SHAPE, DATA_TOO_FEW_ROWS, DATA_ONE_CLASS,
 * DATA_TOO_MANY_CLASSES
 */
export async function readExamples(
  kind: ExampleKind,
  source: DataSource,
  options: ExampleOptions = {},
  spoolPath?: string,
): Promise<ExampleSet> {
  const collector = new Collector(kind, spoolPath)
  try {
    await READERS[kind](source, options, collector)
    return collector.finish()
  } catch (error) {
    collector.close()
    throw error
  }
}

type Reader = (source: DataSource, options: ExampleOptions, into: Collector) => Promise<void>

const READERS: Readonly<Record<ExampleKind, Reader>> = {
  'labelled-text': readLabelledTexts,
  text: readTexts,
  'text-pair': readPairs,
  features: readFeatures,
  images: readImages,
}

/** Gathers rows and labels. */
class Collector {
  textColumn = ''
  labelColumn = ''
  featureColumns: readonly string[] = []
  shape: readonly number[] = []
  private rows = 0
  private longestBytes = 0
  private totalBytes = 0
  private readonly known = new Map<string, number>()
  private ids = new Int32Array(1024)
  private readonly first: RowStore | undefined
  private readonly other: RowStore | undefined

  constructor(
    private readonly kind: ExampleKind,
    spoolPath: string | undefined,
  ) {
    if (spoolPath === undefined) return
    this.first = new RowStore(`${spoolPath}.rows`)
    this.other = new RowStore(`${spoolPath}.seconds`)
  }

  add(bytes: Uint8Array, label?: string): void {
    this.first?.append(bytes)
    this.longestBytes = Math.max(this.longestBytes, bytes.length)
    this.totalBytes += bytes.length
    if (label !== undefined) this.addLabel(label)
    this.rows += 1
    if (this.rows > DATA_LIMITS.rows) {
      throw new CtdError('DATA_TOO_LARGE', `the dataset has more than ${DATA_LIMITS.rows} rows`, {
        hint: 'train on a sample of the rows',
      })
    }
  }

  addSecond(bytes: Uint8Array): void {
    this.other?.append(bytes)
    this.longestBytes = Math.max(this.longestBytes, bytes.length)
    this.totalBytes += bytes.length
  }

  private addLabel(label: string): void {
    let id = this.known.get(label)
    if (id === undefined) {
      id = this.known.size
      this.known.set(label, id)
      if (this.known.size > DATA_LIMITS.classes) {
        const message = `there are more than ${DATA_LIMITS.classes} different labels`
        throw new CtdError('DATA_TOO_MANY_CLASSES', message, {
          hint: `at most ${DATA_LIMITS.classes}; is the right column the label?`,
        })
      }
    }
    if (this.rows === this.ids.length) {
      const longer = new Int32Array(2 * this.ids.length)
      longer.set(this.ids)
      this.ids = longer
    }
    this.ids[this.rows] = id
  }

  finish(): ExampleSet {
    if (this.rows < DATA_LIMITS.minimumRows && this.kind !== 'text') {
      throw new CtdError('DATA_TOO_FEW_ROWS', `the dataset has only ${this.rows} rows`, {
        hint: `at least ${DATA_LIMITS.minimumRows} are needed to train and to evaluate`,
      })
    }
    const found = [...this.known.keys()]
    if (found.length === 1) {
      throw new CtdError('DATA_ONE_CLASS', `every row has the label "${found[0] ?? ''}"`, {
        hint: 'a classifier needs at least two labels; is the right column chosen?',
      })
    }
    const labels = [...found].sort()
    const places = Int32Array.from(found, (label) => labels.indexOf(label))
    const { kind, rows, textColumn, labelColumn, featureColumns, shape } = this
    return {
      ...{ kind, rows, labels, textColumn, labelColumn, featureColumns, shape },
      labelIds: this.ids.subarray(0, found.length === 0 ? 0 : rows).map((id) => places[id] ?? -1),
      longestBytes: this.longestBytes,
      totalBytes: this.totalBytes,
      row: (row) => this.first?.get(row) ?? new Uint8Array(),
      second: (row) => this.other?.get(row) ?? new Uint8Array(),
      close: () => this.close(),
    }
  }

  close(): void {
    this.first?.close()
    this.other?.close()
  }
}

const UTF8 = new TextEncoder()

async function readLabelledTexts(
  source: DataSource,
  options: ExampleOptions,
  into: Collector,
): Promise<void> {
  const batches = readTable(source, (columns) => {
    into.textColumn = findColumn(columns, 'text', options.textColumn ?? known(into.textColumn))
    into.labelColumn = findColumn(columns, 'label', options.labelColumn ?? known(into.labelColumn))
    return [into.textColumn, into.labelColumn]
  })
  for await (const { file, records } of batches) {
    for (const { line, cells } of records) {
      const [text = '', label = ''] = cells
      const trimmed = label.trim()
      const place = (): string => recordPlace(source, file, line)
      if (text.trim() === '') throw blank(place(), 'text', line)
      assertLabel(trimmed, place, line)
      into.add(UTF8.encode(text), trimmed)
    }
  }
}

/** The columns of the first file are those of all. */
function known(column: string): string | undefined {
  return column === '' ? undefined : column
}

function blank(place: string, what: string, line: number): CtdError {
  return new CtdError('DATA_BLANK', `${place} has no ${what}`, {
    hint: 'fill the cell or remove the line',
    fields: { line },
  })
}

function assertLabel(label: string, place: () => string, line: number): void {
  if (label === '') throw blank(place(), 'label', line)
  if (label.length <= DATA_LIMITS.labelChars) return
  const message = `${place()}: the label has ${label.length} characters`
  throw new CtdError('DATA_COLUMN_MISSING', message, {
    hint: 'are the text and label columns swapped?',
    fields: { line },
  })
}

/** Lines of text files with their breaks; else the texts of a table. */
async function readTexts(
  source: DataSource,
  options: ExampleOptions,
  into: Collector,
): Promise<void> {
  if (source.format === 'txt') {
    for (const [i, file] of source.files.entries()) {
      for await (const { text, isLast } of readLineBlocks(source.files, file)) {
        const lines = text.split(/(?<=\n)/)
        // A file that ends without a break must not run into the next one.
        const isOpen = isLast && text !== '' && !text.endsWith('\n') && i + 1 < source.files.length
        if (isOpen) lines.push(`${lines.pop() ?? ''}\n`)
        for (const line of lines) if (line !== '') into.add(UTF8.encode(line))
      }
    }
    return
  }
  const batches = readTable(source, (columns) => {
    into.textColumn = findColumn(columns, 'text', options.textColumn ?? known(into.textColumn))
    return [into.textColumn]
  })
  for await (const { file, records } of batches) {
    for (const { line, cells } of records) {
      const [text = ''] = cells
      if (text.trim() === '') throw blank(recordPlace(source, file, line), 'text', line)
      into.add(UTF8.encode(text))
    }
  }
}

async function readPairs(
  source: DataSource,
  options: ExampleOptions,
  into: Collector,
): Promise<void> {
  const batches = readTable(source, (columns) => {
    into.textColumn = findColumn(columns, 'anchor', options.textColumn ?? known(into.textColumn))
    const wanted = options.labelColumn ?? known(into.labelColumn)
    into.labelColumn = findColumn(columns, 'positive', wanted)
    if (into.labelColumn === into.textColumn) {
      throw new CtdError('DATA_COLUMN_MISSING', 'both texts of a pair come from one column', {
        hint: 'name two columns',
      })
    }
    return [into.textColumn, into.labelColumn]
  })
  for await (const { file, records } of batches) {
    for (const { line, cells } of records) {
      const [first = '', second = ''] = cells
      const missing = first.trim() === '' ? 'first text' : second.trim() === '' ? 'second text' : ''
      if (missing !== '') throw blank(recordPlace(source, file, line), missing, line)
      into.addSecond(UTF8.encode(second))
      into.add(UTF8.encode(first))
    }
  }
}

async function readFeatures(
  source: DataSource,
  options: ExampleOptions,
  into: Collector,
): Promise<void> {
  if (source.format === 'npz') {
    nameArrays(options, into)
    for await (const part of openNpz(source, options)) {
      await readArray(part, into, 2, (bytes, row) => {
        const numbers = decodeNumbers(bytes, part.array)
        const bad = numbers.findIndex((number) => !Number.isFinite(Math.fround(number)))
        if (bad !== -1) throw notFinite(`row ${row + 1} of ${part.name}`, `number ${bad + 1}`, row)
        return bytesOfNumbers(numbers)
      })
    }
    return
  }
  const batches = readTable(source, (columns, file) => {
    if (source.format !== 'jsonl') assertHeader(columns, placeOf(source.files, file, 'line 1'))
    const wanted = options.labelColumn ?? known(into.labelColumn)
    into.labelColumn = findLabelOfNumbers(columns, wanted)
    if (into.featureColumns.length === 0) {
      into.featureColumns =
        options.featureColumns ?? columns.filter((name) => name !== into.labelColumn)
      into.shape = [into.featureColumns.length]
    }
    for (const name of into.featureColumns) namedColumn(columns, 'feature', name)
    if (into.featureColumns.length === 0 || into.featureColumns.includes(into.labelColumn)) {
      throw new CtdError('DATA_COLUMN_MISSING', 'there are no columns of numbers beside the label')
    }
    return [...into.featureColumns, into.labelColumn]
  })
  for await (const { file, records } of batches) {
    for (const { line, cells } of records) {
      const place = (): string => recordPlace(source, file, line)
      const numbers = new Float64Array(into.featureColumns.length)
      for (const [i, name] of into.featureColumns.entries()) {
        numbers[i] = numberOf(cells[i] ?? '', name, place, line)
      }
      const label = (cells.at(-1) ?? '').trim()
      assertLabel(label, place, line)
      into.add(bytesOfNumbers(numbers), label)
    }
  }
}

/** Written where a number is missing; not-a-number on purpose is refused. */
const MISSING = new Set(['', 'na', 'n/a', 'null', 'none', '?', '-'])
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i
const NOT_FINITE = /^[+-]?(nan|inf|infinity)$/i

function numberOf(cell: string, column: string, place: () => string, line: number): number {
  const text = cell.trim()
  if (NUMBER.test(text)) {
    const number = Number(text)
    // The model computes in 32 bits.
    if (Number.isFinite(Math.fround(number))) return number
    throw notFinite(place(), `"${column}"`, line)
  }
  if (MISSING.has(text.toLowerCase())) return Number.NaN
  if (NOT_FINITE.test(text)) throw notFinite(place(), `"${column}"`, line)
  throw new CtdError(
    'DATA_NOT_NUMERIC',
    `${place()}: "${column}" is no number: "${text.slice(0, 40)}"`,
    {
      hint: 'choose the columns of numbers, or write categories as columns of 0 and 1',
      fields: { line, column },
    },
  )
}

function notFinite(place: string, what: string, line: number): CtdError {
  return new CtdError('DATA_NOT_FINITE', `${place}: ${what} is not finite`, {
    hint: 'replace NaN and infinities, or remove the row',
    fields: { line },
  })
}

function assertHeader(columns: readonly string[], place: string): void {
  if (!columns.every((name) => NUMBER.test(name.trim()))) return
  throw new CtdError('DATA_NO_HEADER', `${place} holds numbers, not the names of columns`, {
    hint: 'put a first line with the names of the columns, for example: length,width,label',
  })
}

/** Little-endian whatever the machine. */
function bytesOfNumbers(numbers: Float64Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * numbers.length))
  for (const [i, number] of numbers.entries()) view.setFloat64(8 * i, number, true)
  return new Uint8Array(view.buffer)
}

async function readImages(
  source: DataSource,
  options: ExampleOptions,
  into: Collector,
): Promise<void> {
  if (source.format !== 'idx' && source.format !== 'npz') {
    const what = isTableFormat(source.format) ? 'a table' : source.format
    throw new CtdError('DATA_FORMAT', `the dataset is ${what}, which holds no images`, {
      hint: 'this model takes npz, or idx files as those of MNIST',
    })
  }
  nameArrays(options, into)
  const parts = source.format === 'idx' ? openIdx(source) : openNpz(source, options)
  for await (const part of parts) {
    if (part.array.type !== 'u1') {
      throw new CtdError('DATA_SHAPE', `the pixels of ${part.name} are no bytes`, {
        hint: 'save them as 8-bit numbers from 0 to 255: (255 * x).astype("uint8")',
      })
    }
    await readArray(part, into, 3, (bytes) => bytes)
  }
}

/** The arrays that were named, so that the split task takes them again. */
function nameArrays({ textColumn = '', labelColumn = '' }: ExampleOptions, into: Collector): void {
  into.textColumn = textColumn
  into.labelColumn = labelColumn
}

/**
 * Takes the rows of an array one by one.
 *
 * @param dimensions - 2 for numbers; 3 for images, which may have channels besides
 */
async function readArray(
  { name, array, reader, labels }: ArrayPart,
  into: Collector,
  dimensions: 2 | 3,
  rowOf: (bytes: Uint8Array, row: number) => Uint8Array,
): Promise<void> {
  const [, ...extents] = array.shape
  const isImage = dimensions === 3
  const shape = isImage && extents.length === 2 ? [...extents, 1] : extents
  assertShape(name, array.shape, shape, isImage ? 3 : 1)
  if (into.shape.length > 0 && into.shape.join() !== shape.join()) {
    throw new CtdError(
      'DATA_SHAPE',
      `rows of ${name} are ${shape.join(' x ')}, others ${into.shape.join(' x ')}`,
      { hint: 'all rows must have one shape' },
    )
  }
  into.shape = shape
  const bytes = elementBytes(array.type) * shape.reduce((product, extent) => product * extent, 1)
  for (const [row, label] of labels.entries()) into.add(rowOf(await reader.take(bytes), row), label)
}

function assertShape(
  name: string,
  given: readonly number[],
  shape: readonly number[],
  expected: number,
): void {
  const [height = 0, width = 1, channels = 1] = shape
  const isWithin =
    expected === 1
      ? height >= 1 && height <= DATA_LIMITS.features
      : height >= 1 &&
        width >= 1 &&
        channels >= 1 &&
        Math.max(height, width) <= DATA_LIMITS.imageSide &&
        channels <= DATA_LIMITS.imageChannels
  if (shape.length === expected && isWithin) return
  throw new CtdError('DATA_SHAPE', `${name} has the shape ${given.join(' x ')}`, {
    hint:
      expected === 1
        ? `rows x numbers, at most ${DATA_LIMITS.features} numbers`
        : `rows x height x width, or with at most ${DATA_LIMITS.imageChannels} channels behind; sides up to ${DATA_LIMITS.imageSide}`,
  })
}
