/**
 * Images and labels in idx files, the format of MNIST (LeCun, Cortes, Burges), also as gzip:
 * two zero bytes, the element type, the number of dimensions, each extent as a big-endian u32,
 * then the elements. Labels stand in a file of their own, told by its name.
 */
import { CtdError } from '../../errors.js'
import { assertSameCount, decodeNumbers, elementBytes, extentOf, PieceReader } from './arrays.js'
import type { ArrayPart, ArrayShape, ElementType } from './arrays.js'
import { DATA_LIMITS } from './limits.js'
import { readChunks, type DataFile, type DataSource } from './source.js'

const TYPES: Readonly<Record<number, ElementType>> = {
  0x08: 'u1',
  0x09: 'i1',
  0x0b: 'i2',
  0x0c: 'i4',
  0x0d: 'f4',
  0x0e: 'f8',
}

/**
 * Pairs of images and labels.
 *
 * @throws CtdError DATA_IDX, DATA_TRUNCATED, DATA_RAGGED, DATA_TOO_LARGE
 */
export async function* openIdx(source: DataSource): AsyncGenerator<ArrayPart, void> {
  for (const [images, labels] of pairsOf(source.files)) {
    const labelReader = new PieceReader(readChunks(source.files, labels), labels.name)
    const found = await readLabels(labelReader, labels)
    const reader = new PieceReader(readChunks(source.files, images), images.name)
    try {
      const array = await readHeader(reader, images)
      assertSameCount(images, array.shape[0] ?? 0, labels, found.length)
      yield { name: images.name, array, reader, labels: found }
      if (!(await reader.isAtEnd())) throw malformed(images, 'is longer than it claims')
    } finally {
      await reader.close()
    }
  }
}

function pairsOf(files: readonly DataFile[]): ReadonlyArray<readonly [DataFile, DataFile]> {
  const isLabels = ({ name }: DataFile): boolean => /label|idx1/i.test(name)
  const key = ({ name }: DataFile): string =>
    name
      .toLowerCase()
      .replace(/images?|labels?/, '')
      .replace(/idx\d/, '')
      .replace(/\.gz$/, '')
  const labels = new Map(files.filter(isLabels).map((file) => [key(file), file]))
  const images = files.filter((file) => !isLabels(file))
  const pairs = images.map((file) => {
    const partner = labels.get(key(file))
    if (partner === undefined) throw unpaired(file, 'labels', 'train-labels-idx1-ubyte.gz')
    labels.delete(key(file))
    return [file, partner] as const
  })
  const [left] = labels.values()
  if (left !== undefined) throw unpaired(left, 'images', 'train-images-idx3-ubyte.gz')
  return pairs
}

function unpaired(file: DataFile, what: string, example: string): CtdError {
  return new CtdError('DATA_IDX', `${file.name} has no file of ${what} beside it`, {
    hint: `give both files, named alike, for example ${example}`,
  })
}

async function readLabels(reader: PieceReader, file: DataFile): Promise<readonly string[]> {
  try {
    const array = await readHeader(reader, file)
    const bytes = extentOf(array.shape, file.name) * elementBytes(array.type)
    if (array.shape.length !== 1)
      throw malformed(file, `has ${array.shape.length} dimensions, not 1`)
    if (bytes > DATA_LIMITS.labelBytes) throw malformed(file, 'is too large for labels')
    const numbers = decodeNumbers(await reader.take(bytes), array)
    if (!(await reader.isAtEnd())) throw malformed(file, 'is longer than it claims')
    return Array.from(numbers, String)
  } finally {
    await reader.close()
  }
}

async function readHeader(reader: PieceReader, file: DataFile): Promise<ArrayShape> {
  const magic = await reader.take(4)
  const [zero, alsoZero, code = 0, dimensions = 0] = magic
  const type = TYPES[code]
  if (zero !== 0 || alsoZero !== 0 || type === undefined || dimensions < 1 || dimensions > 4) {
    throw malformed(file, 'does not begin as an idx file does')
  }
  const extents = await reader.take(4 * dimensions)
  const view = new DataView(extents.buffer)
  const shape = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 * i))
  extentOf(shape, file.name)
  return { type, isLittleEndian: false, shape }
}

function malformed(file: DataFile, reason: string): CtdError {
  return new CtdError('DATA_IDX', `${file.name} ${reason}`, {
    hint: 'idx files are those of MNIST: train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz',
  })
}
