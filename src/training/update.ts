/**
 * What an output changes: the numbers of its safetensors files, less those that it started from,
 * as one list in one order. Everything else about the files is named, to be compared bit for bit.
 *
 * - `metrics.json` is left out: its numbers have a tolerance of their own
 * - an I8 tensor with its scales (`quantise.ts`) is read as the numbers it stands for
 * - F32, BF16 and F16 are numbers; the tensor of that name, type and shape in the input file of the
 *   same name, where there is one, is taken off
 * - all other tensors, and all other files, stand for themselves
 */
import { createHash } from 'node:crypto'
import { SafetensorsReader, elementCount } from './safetensors.js'
import type { PlacedTensor } from './safetensors.js'
import { blockCount, dequantise, QUANTISATION_BLOCK, SCALE_SUFFIX } from './quantise.js'

/** A file of an output. */
export interface UpdateFile {
  readonly path: string
  /** Blob digest, hexadecimal. */
  readonly digest: string
  /** Asked for tensors alone: other files are told apart by their digest, and may be elsewhere. */
  readonly diskPath: () => string
}

/** An update that can be read as often as need be. */
export interface UpdateSource {
  /** What must be equal bit for bit, in order. */
  readonly rest: readonly Uint8Array[]
  /** Largest scale of a quantised block, in the unit of the numbers; 0 without any. */
  readonly step: number
  /** All numbers in order, in pieces of any length. */
  values(): AsyncIterable<Float64Array>
}

/** Elements read at a time: whole blocks. */
const PIECE = 256 * QUANTISATION_BLOCK

type Part = (inputs: Readers, outputs: Readers) => AsyncIterable<Float64Array>
type Readers = Map<string, SafetensorsReader>

/**
 * @param files - of the output, sorted by path
 * @param inputs - where the task's inputs lie, by name
 * @throws CtdError TENSORS_MALFORMED
 */
export async function openUpdate(
  files: readonly UpdateFile[],
  inputs: ReadonlyMap<string, string>,
): Promise<UpdateSource> {
  const rest: Uint8Array[] = []
  const parts: Part[] = []
  let step = 0
  const paths = new Map<string, string>()
  for (const { path, digest, diskPath: placed } of files) {
    if (path === 'metrics.json') continue
    if (!path.endsWith('.safetensors')) {
      rest.push(text(path, digest))
      continue
    }
    const diskPath = placed()
    paths.set(path, diskPath)
    const reader = await SafetensorsReader.open(diskPath)
    try {
      for (const tensor of sorted(reader)) {
        const found = await partOf(reader, path, tensor)
        rest.push(...found.rest)
        step = Math.max(step, found.step)
        if (found.part !== undefined) parts.push(found.part)
      }
    } finally {
      await reader.close()
    }
  }
  const values = (): AsyncIterable<Float64Array> => readAll(parts, paths, inputs)
  return { rest, step, values }
}

function text(...words: readonly string[]): Uint8Array {
  return new TextEncoder().encode(words.join('\0'))
}

function sorted({ tensors }: SafetensorsReader): PlacedTensor[] {
  return [...tensors.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

async function* readAll(
  parts: readonly Part[],
  paths: ReadonlyMap<string, string>,
  inputs: ReadonlyMap<string, string>,
): AsyncGenerator<Float64Array> {
  const outputs: Readers = new Map()
  const before: Readers = new Map()
  try {
    for (const [path, diskPath] of paths) {
      outputs.set(path, await SafetensorsReader.open(diskPath))
      const input = inputs.get(path)
      if (input !== undefined) before.set(path, await SafetensorsReader.open(input))
    }
    for (const part of parts) yield* part(before, outputs)
  } finally {
    for (const reader of [...outputs.values(), ...before.values()]) await reader.close()
  }
}

/** How a tensor is compared. A tensor of scales belongs to the one that it scales. */
async function partOf(
  reader: SafetensorsReader,
  path: string,
  tensor: PlacedTensor,
): Promise<{ rest: Uint8Array[]; step: number; part: Part | undefined }> {
  const { name, dtype, shape } = tensor
  const place = text(path, name, dtype, shape.join(','))
  const scales = scalesOf(reader, tensor)
  if (scales !== undefined) {
    const part: Part = (_, outputs) => readQuantised(outputs.get(path), tensor, scales)
    return { rest: [place], step: await largest(reader, scales), part }
  }
  if (name.endsWith(SCALE_SUFFIX)) {
    const scaled = reader.tensors.get(name.slice(0, -SCALE_SUFFIX.length))
    if (scaled !== undefined && scalesOf(reader, scaled) === tensor) {
      return { rest: [place], step: 0, part: undefined }
    }
  }
  if (dtype === 'F32' || dtype === 'BF16' || dtype === 'F16') {
    const part: Part = (inputs, outputs) => readChange(outputs.get(path), inputs.get(path), tensor)
    return { rest: [place], step: 0, part }
  }
  return { rest: [place, await contentOf(reader, tensor)], step: 0, part: undefined }
}

function scalesOf(reader: SafetensorsReader, tensor: PlacedTensor): PlacedTensor | undefined {
  if (tensor.dtype !== 'I8') return undefined
  const scales = reader.tensors.get(`${tensor.name}${SCALE_SUFFIX}`)
  const isFit =
    scales?.dtype === 'F32' && elementCount(scales.shape) === blockCount(elementCount(tensor.shape))
  return isFit ? scales : undefined
}

/** Of magnitudes: a scale is not negative, but these are a stranger's. */
async function largest(reader: SafetensorsReader, scales: PlacedTensor): Promise<number> {
  let most = 0
  for (const [start, count] of pieces(scales)) {
    for (const scale of await reader.readFloat32(scales, start, count)) {
      most = Math.max(most, Math.abs(scale))
    }
  }
  return Number.isFinite(most) ? most : 0
}

function* pieces({ shape }: PlacedTensor): Generator<readonly [number, number]> {
  const elements = elementCount(shape)
  for (let start = 0; start < elements; start += PIECE) {
    yield [start, Math.min(PIECE, elements - start)]
  }
}

async function* readQuantised(
  reader: SafetensorsReader | undefined,
  tensor: PlacedTensor,
  scales: PlacedTensor,
): AsyncGenerator<Float64Array> {
  if (reader === undefined) return
  for (const [start, count] of pieces(tensor)) {
    const values = await reader.readInt8(tensor, start, count)
    const own = await reader.readFloat32(scales, start / QUANTISATION_BLOCK, blockCount(count))
    yield dequantise({ values, scales: own })
  }
}

async function* readChange(
  reader: SafetensorsReader | undefined,
  input: SafetensorsReader | undefined,
  tensor: PlacedTensor,
): AsyncGenerator<Float64Array> {
  if (reader === undefined) return
  const same = input?.tensors.get(tensor.name)
  const isFit = same?.dtype === tensor.dtype && same.shape.join() === tensor.shape.join()
  for (const [start, count] of pieces(tensor)) {
    const values = await readNumbers(reader, tensor, start, count)
    if (isFit && input !== undefined) {
      const before = await readNumbers(input, same, start, count)
      for (let i = 0; i < count; i++) values[i] = (values[i] ?? 0) - (before[i] ?? 0)
    }
    yield values
  }
}

async function readNumbers(
  reader: SafetensorsReader,
  tensor: PlacedTensor,
  start: number,
  count: number,
): Promise<Float64Array> {
  if (tensor.dtype === 'F32') {
    return Float64Array.from(await reader.readFloat32(tensor, start, count))
  }
  const decode = tensor.dtype === 'BF16' ? brainFloat : halfFloat
  return Float64Array.from(await reader.readInt16(tensor, start, count), decode)
}

const WORD = new DataView(new ArrayBuffer(4))

/** The upper half of a single. */
function brainFloat(bits: number): number {
  WORD.setInt32(0, bits << 16)
  return WORD.getFloat32(0)
}

/** IEEE 754 binary16. */
function halfFloat(bits: number): number {
  const sign = bits < 0 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  // 2^-24 and 1 are exact, and so is every product with an integer shift of at most 30 bits.
  return exponent === 0
    ? (sign * fraction) / 0x1000000
    : (sign * (0x400 + fraction) * (1 << exponent)) / 0x2000000
}

/** SHA-256 of the bytes of a tensor. */
async function contentOf(reader: SafetensorsReader, tensor: PlacedTensor): Promise<Uint8Array> {
  const hash = createHash('sha256')
  for (const [start, count] of pieces(tensor)) {
    // The view has one byte per element; its buffer holds all that was read.
    const { buffer } = await reader.readInt8(tensor, start, count)
    hash.update(new Uint8Array(buffer))
  }
  return new Uint8Array(hash.digest())
}
