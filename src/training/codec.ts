/**
 * How an update is compressed, and how a file of it is read.
 *
 * `int8` and `int4`: blocks of 256 elements with one fp32 scale `max|x| / most`, an element
 * becomes `x / scale` rounded half to even. `topk` (SparseLoCo, Sarfi et al. 2025): of every 4096
 * elements the 64 largest, quantised like int8 with one scale for all of them; what was left out
 * is kept as feedback and added to the next round's update. `none`: fp32. Every rounding is IEEE
 * 754 single precision, so `images/cpu/codecs.py` gives the same bits.
 *
 * In a file the parameter `w` is `w` (int8 values, or fp32), `w::int4` (two values a byte, low
 * half first) or `w::topk` and `w::index` (int16 places within a chunk, ascending), with `w::scale`.
 */
import { CtdError } from '../errors.js'
import {
  blockCount,
  QUANTISATION_BLOCK,
  quantise,
  roundHalfToEven,
  SCALE_SUFFIX,
} from './quantise.js'
import { elementCount } from './safetensors.js'
import type { SafetensorsReader, TensorSpec } from './safetensors.js'

export const COMPRESSIONS = ['none', 'int8', 'int4', 'topk'] as const
export type Compression = (typeof COMPRESSIONS)[number]

/** Elements among which `topk` chooses; an index within fits 16 bits. */
export const TOPK_CHUNK = 4096
/** One element of so many is kept: 1.56 %. */
export const TOPK_SPARSITY = 64
/** Share of the feedback that counts in the next round (SparseLoCo). */
export const FEEDBACK_DECAY = 0.95

const INT4_SUFFIX = '::int4'
const TOPK_SUFFIX = '::topk'
const INDEX_SUFFIX = '::index'

/** Elements of a tensor that `topk` keeps. */
export function keptCount(elements: number): number {
  return Math.ceil(elements / TOPK_SPARSITY)
}

/** The tensors that a file of updates holds for a parameter. */
export function deltaTensors(
  { name, shape }: Pick<TensorSpec, 'name' | 'shape'>,
  compression: Compression,
): readonly TensorSpec[] {
  const elements = elementCount(shape)
  const scales = (blocks: number): TensorSpec => ({
    name: name + SCALE_SUFFIX,
    dtype: 'F32',
    shape: [blocks],
  })
  switch (compression) {
    case 'none':
      return [{ name, dtype: 'F32', shape }]
    case 'int8':
      return [{ name, dtype: 'I8', shape }, scales(blockCount(elements))]
    case 'int4':
      return [
        { name: name + INT4_SUFFIX, dtype: 'I8', shape: [Math.ceil(elements / 2)] },
        scales(blockCount(elements)),
      ]
    case 'topk':
      return [
        { name: name + TOPK_SUFFIX, dtype: 'I8', shape: [keptCount(elements)] },
        { name: name + INDEX_SUFFIX, dtype: 'I16', shape: [keptCount(elements)] },
        scales(Math.ceil(elements / TOPK_CHUNK)),
      ]
  }
}

/** Bytes of an update of so many elements, but for the header and the rounding up of tensors. */
export function deltaBytes(elements: number, compression: Compression): number {
  switch (compression) {
    case 'none':
      return 4 * elements
    case 'int8':
      return Math.ceil(elements * (1 + 4 / QUANTISATION_BLOCK))
    case 'int4':
      return Math.ceil(elements * (0.5 + 4 / QUANTISATION_BLOCK))
    case 'topk':
      return Math.ceil(elements * (3 / TOPK_SPARSITY + 4 / TOPK_CHUNK))
  }
}

/** Part of a tensor; `start` is a multiple of `TOPK_CHUNK`. */
export interface Chunk {
  readonly name: string
  /** Of the whole tensor. */
  readonly elements: number
  readonly start: number
  readonly count: number
}

/**
 * Reads part of an update.
 *
 * @returns its values, exact in double precision
 * @throws CtdError UPDATE_NOT_FINITE, UPDATE_MALFORMED, TENSOR_MISSING, TENSOR_UNEXPECTED
 */
export async function readDelta(
  file: SafetensorsReader,
  chunk: Chunk,
  compression: Compression,
): Promise<Float64Array> {
  switch (compression) {
    case 'none':
      return readPlain(file, chunk)
    case 'int8':
      return readBlocks(file, chunk, await readInt8(file, chunk))
    case 'int4':
      return readBlocks(file, chunk, await readInt4(file, chunk))
    case 'topk':
      return readKept(file, chunk)
  }
}

async function readPlain(file: SafetensorsReader, chunk: Chunk): Promise<Float64Array> {
  const { name, elements, start, count } = chunk
  const values = await file.readFloat32(file.tensor(name, 'F32', elements), start, count)
  if (!values.every(Number.isFinite)) throw notFinite(file, name)
  return Float64Array.from(values)
}

async function readInt8(file: SafetensorsReader, chunk: Chunk): Promise<Int8Array> {
  const tensor = file.tensor(chunk.name, 'I8', chunk.elements)
  return file.readInt8(tensor, chunk.start, chunk.count)
}

async function readInt4(file: SafetensorsReader, chunk: Chunk): Promise<Int8Array> {
  const { name, elements, start, count } = chunk
  const tensor = file.tensor(name + INT4_SUFFIX, 'I8', Math.ceil(elements / 2))
  const packed = await file.readInt8(tensor, start / 2, Math.ceil(count / 2))
  return unpackInt4(packed, count)
}

async function readBlocks(
  file: SafetensorsReader,
  { name, elements, start, count }: Chunk,
  values: Int8Array,
): Promise<Float64Array> {
  const tensor = file.tensor(name + SCALE_SUFFIX, 'F32', blockCount(elements))
  const scales = await file.readFloat32(tensor, start / QUANTISATION_BLOCK, blockCount(count))
  const result = new Float64Array(count)
  for (const [block, scale] of scales.entries()) {
    if (!Number.isFinite(scale) || scale < 0) throw notFinite(file, name)
    const end = Math.min((block + 1) * QUANTISATION_BLOCK, count)
    for (let i = block * QUANTISATION_BLOCK; i < end; i++) result[i] = scale * (values[i] ?? 0)
  }
  return result
}

async function readKept(
  file: SafetensorsReader,
  { name, elements, start, count }: Chunk,
): Promise<Float64Array> {
  const kept = keptCount(elements)
  const values = file.tensor(name + TOPK_SUFFIX, 'I8', kept)
  const places = file.tensor(name + INDEX_SUFFIX, 'I16', kept)
  const scale = file.tensor(name + SCALE_SUFFIX, 'F32', Math.ceil(elements / TOPK_CHUNK))
  const [from, many] = [start / TOPK_SPARSITY, keptCount(count)]
  const sparse: Sparse = {
    values: await file.readInt8(values, from, many),
    places: await file.readInt16(places, from, many),
    scales: await file.readFloat32(scale, start / TOPK_CHUNK, Math.ceil(count / TOPK_CHUNK)),
  }
  if (!sparse.scales.every((value) => Number.isFinite(value) && value >= 0)) {
    throw notFinite(file, name)
  }
  const result = spread(sparse, count)
  if (result !== undefined) return result
  throw new CtdError('UPDATE_MALFORMED', `${file.path}: the places of ${name} are not in order`)
}

function notFinite(file: SafetensorsReader, name: string): CtdError {
  return new CtdError('UPDATE_NOT_FINITE', `${file.path}: the update of ${name} is not finite`)
}

/** Block-wise int4: values in [-7, 7], two a byte. */
export function quantiseInt4(source: Float32Array): {
  readonly packed: Int8Array
  readonly scales: Float32Array
} {
  const { values, scales } = quantise(source, 7)
  const packed = new Int8Array(Math.ceil(source.length / 2))
  for (let i = 0; i < packed.length; i++) {
    packed[i] = ((values[2 * i] ?? 0) & 15) + 16 * (values[2 * i + 1] ?? 0)
  }
  return { packed, scales }
}

/** @param count - values wanted; the last half byte of an odd number is not one */
export function unpackInt4(packed: Int8Array, count: number): Int8Array {
  return Int8Array.from({ length: count }, (_, i) => {
    const byte = packed[i >> 1] ?? 0
    return i % 2 === 0 ? (byte << 28) >> 28 : byte >> 4
  })
}

export interface Sparse {
  /** In [-127, 127], chunk after chunk. */
  readonly values: Int8Array
  /** Within the chunk, ascending. */
  readonly places: Int16Array
  /** One per chunk. */
  readonly scales: Float32Array
}

/** The dense values, exact in double precision; undefined when places repeat or lie outside. */
function spread({ values, places, scales }: Sparse, count: number): Float64Array | undefined {
  const result = new Float64Array(count)
  for (const [chunk, scale] of scales.entries()) {
    const start = chunk * TOPK_CHUNK
    const length = Math.min(TOPK_CHUNK, count - start)
    let before = -1
    for (let i = start / TOPK_SPARSITY; i < start / TOPK_SPARSITY + keptCount(length); i++) {
      const place = places[i] ?? -1
      if (place <= before || place >= length) return undefined
      result[start + place] = scale * (values[i] ?? 0)
      before = place
    }
  }
  return result
}

/**
 * Keeps the largest elements of `update + 0.95 feedback`, and what they leave as new feedback.
 *
 * Among equals the first is kept. Not-a-number and infinities are the caller's to refuse.
 *
 * @param feedback - of the round before, as long as the update; zeros in the first
 */
export function keepLargest(
  update: Float32Array,
  feedback: Float32Array,
): { readonly sparse: Sparse; readonly feedback: Float32Array } {
  const decay = Math.fround(FEEDBACK_DECAY)
  const rest = update.map((value, i) => value + Math.fround(decay * (feedback[i] ?? 0)))
  const sparse = {
    values: new Int8Array(keptCount(rest.length)),
    places: new Int16Array(keptCount(rest.length)),
    scales: new Float32Array(Math.ceil(rest.length / TOPK_CHUNK)),
  }
  for (const chunk of sparse.scales.keys()) {
    const values = rest.subarray(chunk * TOPK_CHUNK, (chunk + 1) * TOPK_CHUNK)
    const size = (i: number): number => Math.abs(values[i] ?? 0)
    const order = Array.from(values.keys()).sort((a, b) => size(b) - size(a) || a - b)
    const places = Int16Array.from(order.slice(0, keptCount(values.length))).sort()
    const scale = Math.fround(size(order[0] ?? 0) / 127)
    const at = (chunk * TOPK_CHUNK) / TOPK_SPARSITY
    sparse.scales[chunk] = scale
    sparse.places.set(places, at)
    if (scale === 0) continue
    for (const [i, place] of places.entries()) {
      const rounded = roundHalfToEven(Math.fround((values[place] ?? 0) / scale))
      const value = Math.max(-127, Math.min(127, rounded))
      sparse.values[at + i] = value
      values[place] = (values[place] ?? 0) - Math.fround(value * scale)
    }
  }
  return { sparse, feedback: rest }
}
