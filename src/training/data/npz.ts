/**
 * Arrays in npz files (numpy.savez): pairs of an array of rows and an array of labels, found by
 * the names that people give them. Format of the members: numpy.lib.format 1.0 to 3.0.
 */
import { CtdError } from '../../errors.js'
import { assertSameCount, decodeNumbers, elementBytes, extentOf, PieceReader } from './arrays.js'
import type { ArrayPart, ArrayShape, ElementType } from './arrays.js'
import { namedColumn } from './columns.js'
import { DATA_LIMITS } from './limits.js'
import type { DataSource } from './source.js'
import { ZipFile, type ZipEntry } from './zip.js'

export interface ArrayOptions {
  /** Name of the array of rows. */
  readonly textColumn?: string | undefined
  readonly labelColumn?: string | undefined
}

const ROW_NAMES = ['x', 'images', 'image', 'data', 'features', 'pixels', 'arr_0']
const LABEL_NAMES = ['y', 'labels', 'label', 'target', 'targets', 'arr_1']
/** Parts of a dataset that was split before; they are joined, and split again by the seed. */
const PARTS = ['', '_train', '_val', '_valid', '_validation', '_test']

const MAGIC = Buffer.from('\u0093NUMPY', 'latin1')
const TYPES = new Map<string, ElementType>([
  ['b1', 'u1'],
  ...(['u1', 'i1', 'u2', 'i2', 'u4', 'i4', 'u8', 'i8', 'f4', 'f8'] as const).map(
    (type) => [type, type] as const,
  ),
])

/**
 * Pairs of rows and labels of all files.
 *
 * @throws CtdError DATA_NPZ, DATA_ZIP, DATA_TRUNCATED, DATA_RAGGED, DATA_COLUMN_MISSING,
 * DATA_TOO_LARGE
 */
export async function* openNpz(
  source: DataSource,
  options: ArrayOptions,
): AsyncGenerator<ArrayPart, void> {
  for (const file of source.files) {
    const zip = await ZipFile.open(file.path, file.name)
    try {
      for (const [rows, labels] of pairsOf(zip.entries, options, file.name)) {
        const found = await readLabels(zip, labels)
        const reader = new PieceReader(zip.read(rows), rows.name)
        try {
          const array = await readHeader(reader, rows)
          assertSameCount(rows, array.shape[0] ?? 0, labels, found.length)
          yield { name: arrayName(rows), array, reader, labels: found }
          if (!(await reader.isAtEnd())) throw malformed(rows.name, 'is longer than it claims')
        } finally {
          await reader.close()
        }
      }
    } finally {
      await zip.close()
    }
  }
}

function arrayName({ name }: ZipEntry): string {
  return name.replace(/\.npy$/, '')
}

function pairsOf(
  entries: readonly ZipEntry[],
  { textColumn, labelColumn }: ArrayOptions,
  file: string,
): ReadonlyArray<readonly [ZipEntry, ZipEntry]> {
  const arrays = new Map(entries.map((entry) => [arrayName(entry), entry]))
  const names = [...arrays.keys()]
  const entryOf = (name: string): ZipEntry => {
    const entry = arrays.get(name)
    if (entry === undefined) throw malformed(file, `lacks ${name}`)
    return entry
  }
  if (textColumn !== undefined || labelColumn !== undefined) {
    const rows = textColumn ?? named(names, ROW_NAMES, '')
    const labels = labelColumn ?? named(names, LABEL_NAMES, '')
    if (rows === undefined || labels === undefined) throw noPairs(file, names)
    return [
      [
        entryOf(namedColumn(names, 'array of rows', rows)),
        entryOf(namedColumn(names, 'array of labels', labels)),
      ],
    ]
  }
  const pairs = PARTS.flatMap((part): ReadonlyArray<readonly [ZipEntry, ZipEntry]> => {
    const rows = named(names, ROW_NAMES, part)
    const labels = named(names, LABEL_NAMES, part)
    return rows === undefined || labels === undefined ? [] : [[entryOf(rows), entryOf(labels)]]
  })
  if (pairs.length === 0) throw noPairs(file, names)
  return pairs
}

function named(
  names: readonly string[],
  known: readonly string[],
  part: string,
): string | undefined {
  for (const stem of known) {
    const wanted = [`${stem}${part}`, part === '' ? stem : `${part.slice(1)}_${stem}`]
    const found = names.find((name) => wanted.includes(name.toLowerCase()))
    if (found !== undefined) return found
  }
  return undefined
}

function noPairs(file: string, names: readonly string[]): CtdError {
  return new CtdError('DATA_COLUMN_MISSING', `${file} has no pair of rows and labels`, {
    hint: `name the arrays x and y, or say which they are (arrays: ${names.slice(0, 12).join(', ')})`,
    fields: { columns: names.slice(0, 12) },
  })
}

async function readLabels(zip: ZipFile, entry: ZipEntry): Promise<readonly string[]> {
  const reader = new PieceReader(zip.read(entry), entry.name)
  try {
    const array = await readHeader(reader, entry)
    const [, width = 1, ...more] = array.shape
    if (array.shape.length === 0 || width !== 1 || more.length > 0) {
      throw malformed(entry.name, `has the shape ${array.shape.join(' x ')}, not one label a row`)
    }
    const bytes = extentOf(array.shape, entry.name) * elementBytes(array.type)
    if (bytes > DATA_LIMITS.labelBytes) throw malformed(entry.name, 'is too large for labels')
    const numbers = decodeNumbers(await reader.take(bytes), array)
    if (!(await reader.isAtEnd())) throw malformed(entry.name, 'is longer than it claims')
    if (numbers.some((number) => !Number.isFinite(number))) {
      throw new CtdError('DATA_NOT_FINITE', `${entry.name} holds labels that are no numbers`)
    }
    return Array.from(numbers, String)
  } finally {
    await reader.close()
  }
}

async function readHeader(reader: PieceReader, { name }: ZipEntry): Promise<ArrayShape> {
  const magic = Buffer.from(await reader.take(8))
  if (!magic.subarray(0, 6).equals(MAGIC)) throw malformed(name, 'is no numpy array')
  const [major = 0] = magic.subarray(6)
  if (major < 1 || major > 3) throw malformed(name, `has the version ${major}`)
  const sizeField = Buffer.from(await reader.take(major === 1 ? 2 : 4))
  const size = major === 1 ? sizeField.readUInt16LE(0) : sizeField.readUInt32LE(0)
  if (size > DATA_LIMITS.npyHeaderBytes) throw malformed(name, `has a header of ${size} bytes`)
  return parseHeader(Buffer.from(await reader.take(size)).toString('latin1'), name)
}

/** The header is a Python dictionary of three keys; nothing else is read into it. */
function parseHeader(header: string, name: string): ArrayShape {
  const found =
    /^\{'descr': '([<>|=])([a-zA-Z])(\d+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\),? ?\}\s*$/.exec(
      header,
    )
  const [, order = '', kind = '', width = '', fortran = '', extents = ''] = found ?? []
  if (found === null) {
    const hasObjects = /'\|O'|\[\(/.test(header)
    throw malformed(name, hasObjects ? 'holds Python objects' : 'has a header that cannot be read')
  }
  const type = TYPES.get(`${kind}${width}`)
  if (type === undefined) throw malformed(name, `holds elements of type ${kind}${width}`)
  const shape = extents
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(Number)
  if (fortran === 'True' && shape.length > 1) {
    throw malformed(name, 'is stored by columns', 'save numpy.ascontiguousarray(x)')
  }
  extentOf(shape, name)
  return { type, isLittleEndian: order !== '>', shape }
}

function malformed(name: string, reason: string, hint?: string): CtdError {
  return new CtdError('DATA_NPZ', `${name} ${reason}`, {
    hint: hint ?? 'save plain arrays of numbers: numpy.savez_compressed("data.npz", x=x, y=y)',
  })
}
