/** What the array formats have in common: element types, and bytes that come in pieces. */
import { CtdError } from '../../errors.js'
import { truncated } from './source.js'

export type ElementType = 'u1' | 'i1' | 'u2' | 'i2' | 'u4' | 'i4' | 'u8' | 'i8' | 'f4' | 'f8'

export interface ArrayShape {
  readonly type: ElementType
  readonly isLittleEndian: boolean
  readonly shape: readonly number[]
}

/** An array of rows with their labels; the rows are still to be taken off the reader. */
export interface ArrayPart {
  /** For people. */
  readonly name: string
  readonly array: ArrayShape
  readonly reader: PieceReader
  readonly labels: readonly string[]
}

export function elementBytes(type: ElementType): number {
  return Number(type.slice(1))
}

/** Numbers of an array's bytes. @throws CtdError DATA_NUMBER when one is no safe integer */
export function decodeNumbers(
  bytes: Uint8Array,
  { type, isLittleEndian }: Pick<ArrayShape, 'type' | 'isLittleEndian'>,
): Float64Array {
  const width = elementBytes(type)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const numbers = new Float64Array(bytes.byteLength / width)
  for (let i = 0; i < numbers.length; i++) {
    numbers[i] = readNumber(view, i * width, type, isLittleEndian)
  }
  return numbers
}

function readNumber(view: DataView, at: number, type: ElementType, little: boolean): number {
  switch (type) {
    case 'u1':
      return view.getUint8(at)
    case 'i1':
      return view.getInt8(at)
    case 'u2':
      return view.getUint16(at, little)
    case 'i2':
      return view.getInt16(at, little)
    case 'u4':
      return view.getUint32(at, little)
    case 'i4':
      return view.getInt32(at, little)
    case 'u8':
      return safe(view.getBigUint64(at, little))
    case 'i8':
      return safe(view.getBigInt64(at, little))
    case 'f4':
      return view.getFloat32(at, little)
    case 'f8':
      return view.getFloat64(at, little)
  }
}

function safe(value: bigint): number {
  const number = Number(value)
  if (Number.isSafeInteger(number)) return number
  throw new CtdError('DATA_NUMBER', `the dataset holds the integer ${value}, which is too large`, {
    hint: 'integers up to 2^53 can be read',
  })
}

/** Takes counted bytes off a stream of pieces. */
export class PieceReader {
  private held: Uint8Array = new Uint8Array()

  constructor(
    private readonly pieces: AsyncGenerator<Uint8Array, void>,
    private readonly place: string,
  ) {}

  /** Exactly so many bytes, a copy of its own. @throws CtdError DATA_TRUNCATED */
  async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(count)
    let done = 0
    while (done < count) {
      if (this.held.length === 0) {
        const { value, done: isOver } = await this.pieces.next()
        if (isOver === true) throw truncated(this.place)
        this.held = value
        continue
      }
      const part = this.held.subarray(0, count - done)
      bytes.set(part, done)
      done += part.length
      this.held = this.held.subarray(part.length)
    }
    return bytes
  }

  /** Whether nothing follows. */
  async isAtEnd(): Promise<boolean> {
    while (this.held.length === 0) {
      const { value, done: isOver } = await this.pieces.next()
      if (isOver === true) return true
      this.held = value
    }
    return false
  }

  async close(): Promise<void> {
    await this.pieces.return()
  }
}

/** Elements of a shape. @throws CtdError DATA_TOO_LARGE */
export function extentOf(shape: readonly number[], place: string): number {
  const count = shape.reduce((product, extent) => product * extent, 1)
  if (shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0) && count <= 2 ** 40) {
    return count
  }
  throw new CtdError('DATA_TOO_LARGE', `${place} claims the shape ${shape.join(' x ')}`)
}

/** @throws CtdError DATA_RAGGED */
export function assertSameCount(
  images: { readonly name: string },
  imageCount: number,
  labels: { readonly name: string },
  labelCount: number,
): void {
  if (imageCount === labelCount) return
  throw new CtdError(
    'DATA_RAGGED',
    `${images.name} has ${imageCount} rows, ${labels.name} has ${labelCount}`,
    { hint: 'every row needs one label' },
  )
}
