/**
 * Tensors in files: the safetensors format, written canonically and read within bounds.
 *
 * Layout (huggingface/safetensors): u64 little-endian header length, JSON header
 * `{name: {dtype, shape, data_offsets}}`, then the tensors' bytes without gaps. Canonical means
 * the one byte sequence that the reference library also writes for the same tensors without
 * metadata: tensors ordered by falling rank of dtype, then by name; no white space in the header,
 * padded with spaces to a multiple of 8.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { CtdError, InvariantError } from '../errors.js'

/** Element types in the rank order of the reference library; the header lists high ranks first. */
const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const

export type Dtype = keyof typeof DTYPE_BYTES

export interface TensorSpec {
  readonly name: string
  readonly dtype: Dtype
  /** Row-major extents; an empty shape is a scalar. */
  readonly shape: readonly number[]
}

/** A tensor's place in a file; `offset` counts from the start of the file. */
export interface PlacedTensor extends TensorSpec {
  readonly offset: number
  readonly sizeBytes: number
}

/** What a file may hold at most. A header of 4 MiB describes some 40 000 tensors. */
export const SAFETENSORS_LIMITS = {
  headerBytes: 4 * 1024 * 1024,
  tensors: 20_000,
  nameChars: 512,
  dimensions: 8,
  elements: 2 ** 40,
} as const

const DTYPE_RANK = new Map<string, number>(
  Object.keys(DTYPE_BYTES).map((name, rank) => [name, rank]),
)
/** Printable ASCII, so that the order by bytes is the order by code units. */
const NAME = /^[\x21-\x7e]+$/

function malformed(path: string, reason: string): CtdError {
  return new CtdError('TENSORS_MALFORMED', `${path} is no valid safetensors file: ${reason}`)
}

/** Elements of a shape. @throws CtdError TENSORS_MALFORMED when an extent is no small integer */
export function elementCount(shape: readonly number[]): number {
  let count = 1
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || extent < 0) throw malformed('shape', 'bad extent')
    count *= extent
    if (count > SAFETENSORS_LIMITS.elements) throw malformed('shape', 'too many elements')
  }
  return count
}

export function tensorBytes(spec: TensorSpec): number {
  return elementCount(spec.shape) * DTYPE_BYTES[spec.dtype]
}

function compareTensors(a: TensorSpec, b: TensorSpec): number {
  const byRank = (DTYPE_RANK.get(b.dtype) ?? 0) - (DTYPE_RANK.get(a.dtype) ?? 0)
  if (byRank !== 0) return byRank
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}

/** The one metadatum that Hugging Face's loaders ask of a file of weights. */
const MODEL_METADATA = '"__metadata__":{"format":"pt"}'

/**
 * The canonical header of a set of tensors, in any order.
 *
 * @param kind - `model` marks weights for Hugging Face's loaders
 * @returns the bytes that precede the data, and the tensors in the order in which to write them
 */
export function layOut(
  specs: readonly TensorSpec[],
  kind: 'tensors' | 'model' = 'tensors',
): {
  readonly header: Uint8Array
  readonly tensors: readonly PlacedTensor[]
} {
  const sorted = [...specs].sort(compareTensors)
  const names = new Set(sorted.map((spec) => spec.name))
  if (names.size !== sorted.length) throw new InvariantError('two tensors bear one name')
  let end = 0
  const entries = sorted.map((spec) => {
    if (!NAME.test(spec.name)) throw new InvariantError(`bad tensor name ${spec.name}`)
    const begin = end
    end += tensorBytes(spec)
    const place = { dtype: spec.dtype, shape: spec.shape, data_offsets: [begin, end] }
    return {
      spec,
      begin,
      size: end - begin,
      json: `${JSON.stringify(spec.name)}:${JSON.stringify(place)}`,
    }
  })
  const members = entries.map((entry) => entry.json)
  if (kind === 'model') members.unshift(MODEL_METADATA)
  const json = `{${members.join(',')}}`
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true)
  header.set(new TextEncoder().encode(json), 8)
  const tensors = entries.map(({ spec, begin, size }) => ({
    ...spec,
    offset: header.length + begin,
    sizeBytes: size,
  }))
  return { header, tensors }
}

/** Writes a file tensor by tensor, so that memory holds one chunk at a time. */
export class SafetensorsWriter {
  private readonly placed: ReadonlyMap<string, PlacedTensor>
  private remaining: number

  private constructor(
    private readonly file: FileHandle,
    tensors: readonly PlacedTensor[],
  ) {
    this.placed = new Map(tensors.map((tensor) => [tensor.name, tensor]))
    this.remaining = tensors.reduce((sum, tensor) => sum + tensor.sizeBytes, 0)
  }

  /** Creates the file, which must not exist, and writes its header. */
  static async create(
    path: string,
    specs: readonly TensorSpec[],
    kind: 'tensors' | 'model' = 'tensors',
  ): Promise<SafetensorsWriter> {
    const { header, tensors } = layOut(specs, kind)
    const file = await open(path, 'wx')
    await file.writev([header], 0)
    return new SafetensorsWriter(file, tensors)
  }

  /** Writes elements of one tensor, `start` elements into it; each element exactly once. */
  async write(name: string, start: number, elements: NumericArray): Promise<void> {
    const tensor = this.placed.get(name)
    if (tensor === undefined) throw new InvariantError(`no tensor ${name}`)
    const bytes = bytesOf(elements)
    const at = start * DTYPE_BYTES[tensor.dtype]
    if (at + bytes.length > tensor.sizeBytes)
      throw new InvariantError(`${name}: written past its end`)
    await writeAll(this.file, bytes, tensor.offset + at)
    this.remaining -= bytes.length
  }

  /** Flushes and closes. @throws InvariantError when bytes are missing */
  async close(): Promise<void> {
    await this.file.sync()
    await this.file.close()
    if (this.remaining !== 0) throw new InvariantError(`${this.remaining} tensor bytes not written`)
  }

  /** Closes without the check, after a failure. */
  async abandon(): Promise<void> {
    await this.file.close()
  }
}

export type NumericArray = Uint8Array | Int8Array | Int16Array | Int32Array | Float32Array

function bytesOf(elements: NumericArray): Uint8Array {
  return new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength)
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

/** A file opened for reading; its header has been checked, its data is read piece by piece. */
export class SafetensorsReader {
  private constructor(
    private readonly file: FileHandle,
    readonly path: string,
    /** By name, in the order of the file. */
    readonly tensors: ReadonlyMap<string, PlacedTensor>,
  ) {}

  /** @throws CtdError TENSORS_MALFORMED */
  static async open(path: string): Promise<SafetensorsReader> {
    const file = await open(path, 'r')
    try {
      const { size } = await file.stat()
      const prefix = await readExactly(file, path, 0, 8)
      const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true)
      if (length > BigInt(Math.min(SAFETENSORS_LIMITS.headerBytes, size - 8))) {
        throw malformed(path, `its header claims ${length} bytes`)
      }
      const header = await readExactly(file, path, 8, Number(length))
      return new SafetensorsReader(file, path, parseHeader(path, header, size))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** The tensor of this name. @throws CtdError TENSOR_MISSING, TENSOR_UNEXPECTED */
  tensor(name: string, dtype: Dtype, elements: number): PlacedTensor {
    const tensor = this.tensors.get(name)
    if (tensor === undefined) throw new CtdError('TENSOR_MISSING', `${this.path} lacks ${name}`)
    if (tensor.dtype !== dtype || elementCount(tensor.shape) !== elements) {
      throw new CtdError(
        'TENSOR_UNEXPECTED',
        `${this.path}: ${name} is ${tensor.dtype} [${tensor.shape.join(', ')}], ` +
          `not ${dtype} of ${elements} elements`,
      )
    }
    return tensor
  }

  async readFloat32(tensor: PlacedTensor, start: number, count: number): Promise<Float32Array> {
    const bytes = await this.readBytes(tensor, start, count)
    return new Float32Array(bytes.buffer, 0, count)
  }

  async readInt8(tensor: PlacedTensor, start: number, count: number): Promise<Int8Array> {
    const bytes = await this.readBytes(tensor, start, count)
    return new Int8Array(bytes.buffer, 0, count)
  }

  async readInt16(tensor: PlacedTensor, start: number, count: number): Promise<Int16Array> {
    const bytes = await this.readBytes(tensor, start, count)
    return new Int16Array(bytes.buffer, 0, count)
  }

  async readInt32(tensor: PlacedTensor, start: number, count: number): Promise<Int32Array> {
    const bytes = await this.readBytes(tensor, start, count)
    return new Int32Array(bytes.buffer, 0, count)
  }

  async close(): Promise<void> {
    await this.file.close()
  }

  private async readBytes(
    tensor: PlacedTensor,
    start: number,
    count: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const width = DTYPE_BYTES[tensor.dtype]
    if ((start + count) * width > tensor.sizeBytes) {
      throw new InvariantError(`${tensor.name}: read past its end`)
    }
    return readExactly(this.file, this.path, tensor.offset + start * width, count * width)
  }
}

/** Reads into a buffer of its own, so that typed views of it are aligned. */
async function readExactly(
  file: FileHandle,
  path: string,
  position: number,
  size: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(size)
  let done = 0
  while (done < size) {
    const { bytesRead } = await file.read(bytes, done, size - done, position + done)
    if (bytesRead === 0) throw malformed(path, 'it ends too early')
    done += bytesRead
  }
  return bytes
}

function parseHeader(
  path: string,
  header: Uint8Array,
  fileBytes: number,
): Map<string, PlacedTensor> {
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(header))
  } catch (cause) {
    throw new CtdError('TENSORS_MALFORMED', `${path}: the header is no JSON`, { cause })
  }
  if (!isRecord(parsed)) throw malformed(path, 'the header is no object')
  const found: PlacedTensor[] = []
  const dataStart = 8 + header.length
  for (const [name, entry] of Object.entries(parsed)) {
    if (name !== '__metadata__') found.push(parseEntry(path, name, entry, dataStart))
    if (found.length > SAFETENSORS_LIMITS.tensors) throw malformed(path, 'too many tensors')
  }
  found.sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes)
  let end = dataStart
  for (const tensor of found) {
    if (tensor.offset !== end)
      throw malformed(path, `${tensor.name} does not follow its predecessor`)
    end += tensor.sizeBytes
  }
  if (end !== fileBytes) throw malformed(path, `${fileBytes - end} bytes belong to no tensor`)
  return new Map(found.map((tensor) => [tensor.name, tensor]))
}

function parseEntry(path: string, name: string, entry: unknown, dataStart: number): PlacedTensor {
  if (name.length > SAFETENSORS_LIMITS.nameChars || !NAME.test(name)) {
    throw malformed(path, 'a tensor bears a bad name')
  }
  if (!isRecord(entry)) throw malformed(path, `${name} is no object`)
  const { dtype, shape, data_offsets: offsets } = entry
  if (!isDtype(dtype)) throw malformed(path, `${name} has an unknown dtype`)
  if (!isNumbers(shape) || shape.length > SAFETENSORS_LIMITS.dimensions) {
    throw malformed(path, `${name} has a bad shape`)
  }
  if (!isNumbers(offsets) || offsets.length !== 2) throw malformed(path, `${name} has bad offsets`)
  const spec = { name, dtype, shape }
  const [begin = -1, end = -1] = offsets
  const sizeBytes = tensorBytes(spec)
  if (!Number.isSafeInteger(begin) || begin < 0 || end - begin !== sizeBytes) {
    throw malformed(path, `${name}: offsets and shape disagree`)
  }
  return { ...spec, offset: dataStart + begin, sizeBytes }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number')
}

function isDtype(value: unknown): value is Dtype {
  return typeof value === 'string' && DTYPE_RANK.has(value)
}
