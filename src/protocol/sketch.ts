/**
 * The count-sketch of an update (Charikar, Chen and Farach-Colton 2002) and what an executor says
 * of the update before it knows the seed: enough to compare two updates of any length within a
 * tolerance, by 8 KiB each, with neither side able to choose its sketch.
 *
 * An update is a list of numbers. Each becomes a whole number of at most 31 bits, by one power of
 * two for all; from there on everything is a sum of whole numbers, so that every machine gets the
 * same bits. Whoever holds the update can repeat all of it.
 */
import { CtdError } from '../errors.js'
import { digestOf, sha256, utf8 } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { leafHash, MerkleTree } from './merkle.js'

/** Sizes of a sketch: trust.md 2.5. */
export const SKETCH = {
  rows: 4,
  /** Of each row. A power of two. */
  buckets: 1024,
  /** Elements that are committed to, and opened, together. */
  chunkElements: 64,
  /** Chunks that are opened, or all where there are fewer. */
  openings: 8,
  /** Bits of the largest element, its sign aside. */
  bits: 30,
  /** What an update may hold, so that counters of chunks fit into 31 bits. */
  elementsMax: 2 ** 36,
  /** Powers of two of the largest element; smaller updates count as zero. */
  exponentMin: -960,
  exponentMax: 1024,
} as const

const UPDATE_DOMAIN = utf8('ctd-update-v1\0')
const ROW_DOMAIN = utf8('ctd-sketch-row-v1\0')
const OPEN_DOMAIN = utf8('ctd-sketch-open-v1\0')
const SEED_DOMAIN = utf8('ctd-sketch-seed-v1\0')

/** What an executor commits to beside its output: fixed before the seed exists. */
export interface UpdateClaim {
  /** Digest of all that is compared bit for bit: names, shapes, whole numbers, other files. */
  readonly rest: Uint8Array
  readonly elements: number
  /** An element is its whole number times 2^(exponent − 30). */
  readonly exponent: number
  /** Largest quantisation step among the elements, in whole numbers, rounded up; 0 for none. */
  readonly step: number
  /** Sum of the squared whole numbers. */
  readonly normSquared: bigint
  /** Merkle root of the chunks, 32 bytes. */
  readonly root: Uint8Array
}

/** One opened chunk. */
export interface Opening {
  /** 64 whole numbers, the last chunk filled up with zeros. */
  readonly values: Int32Array
  /** Its inclusion proof. */
  readonly path: Uint8Array
}

export interface Sketch {
  /** A bucket holds its entry here times 2^shift, rounded. */
  readonly shift: number
  /** Row by row. */
  readonly buckets: Int16Array
}

/** H of all that a claim says, 32 bytes. */
export function updateRootOf(claim: UpdateClaim): Uint8Array {
  const norm = bigintBytes(claim.normSquared)
  return sha256(
    UPDATE_DOMAIN,
    claim.rest,
    uint64(claim.elements),
    uint32(claim.exponent - SKETCH.exponentMin),
    uint32(claim.step),
    uint32(norm.length),
    norm,
    claim.root,
  )
}

/** The seed of the sketches of one freeze, from its second seed. */
export function sketchSeedOf(seed2: Uint8Array): Uint8Array {
  return sha256(SEED_DOMAIN, seed2)
}

export function chunkCount(elements: number): number {
  return Math.ceil(elements / SKETCH.chunkElements)
}

/** The chunks that a seed asks for, ascending. */
export function openedChunks(seed: Uint8Array, elements: number): number[] {
  const count = chunkCount(elements)
  if (count <= SKETCH.openings) return Array.from({ length: count }, (_, index) => index)
  const chosen = new Set<number>()
  for (let i = 0; chosen.size < SKETCH.openings; i++) {
    const drawn = Buffer.from(sha256(OPEN_DOMAIN, seed, uint32(i))).readBigUInt64BE(0)
    chosen.add(Number(drawn % BigInt(count)))
  }
  return [...chosen].sort((a, b) => a - b)
}

/** First pass: the largest magnitude decides the power of two. */
export class RangeScan {
  #largest = 0
  #elements = 0

  /** @throws CtdError UPDATE_NOT_FINITE, UPDATE_TOO_LARGE */
  add(values: Float64Array): void {
    this.#elements += values.length
    if (this.#elements > SKETCH.elementsMax) {
      throw new CtdError('UPDATE_TOO_LARGE', `more than ${SKETCH.elementsMax} numbers to compare`)
    }
    for (const value of values) {
      const magnitude = Math.abs(value)
      if (magnitude > this.#largest) this.#largest = magnitude
      else if (Number.isNaN(value)) throw notFinite()
    }
    if (this.#largest === Infinity) throw notFinite()
  }

  get elements(): number {
    return this.#elements
  }

  /** The least e with every magnitude at most 2^e. */
  get exponent(): number {
    return exponentOf(this.#largest)
  }
}

function notFinite(): CtdError {
  return new CtdError('UPDATE_NOT_FINITE', 'the output holds a number that is not finite')
}

/** Read from the bits of the double: logarithms may differ between engines. */
function exponentOf(largest: number): number {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, largest)
  const bits = view.getBigUint64(0)
  const floor = Number(bits >> 52n) - 1023
  const isPower = (bits & ((1n << 52n) - 1n)) === 0n
  return Math.max(SKETCH.exponentMin, isPower ? floor : floor + 1)
}

/** What an element is multiplied by before it is rounded half up; the result is at most 2^30. */
function scaleOf(exponent: number): number {
  return powerOfTwo(SKETCH.bits - exponent)
}

/** From its bits: engines may approximate powers. Exponents from −1022 to 1023. */
function powerOfTwo(exponent: number): number {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, BigInt(exponent + 1023) << 52n)
  return view.getFloat64(0)
}

/** Numbers are summed without loss up to here before they become a bigint. */
const FLUSH_ELEMENTS = 2 ** 20
const HALF_BITS = 15

/** Second pass: the claim, and the tree whose chunks may be opened. */
export class UpdateDigester {
  readonly #exponent: number
  readonly #scale: number
  readonly #leaves: Uint8Array[] = []
  readonly #chunk = new Int32Array(SKETCH.chunkElements)
  #filled = 0
  #elements = 0
  #norm = 0n
  /** Of the squares of the upper and lower 15 bits, and of their products. */
  #sums: [number, number, number] = [0, 0, 0]
  #sinceFlush = 0

  constructor(exponent: number) {
    this.#exponent = exponent
    this.#scale = scaleOf(exponent)
  }

  add(values: Float64Array): void {
    for (const value of values) {
      const whole = Math.round(value * this.#scale)
      this.#chunk[this.#filled] = whole
      this.#filled += 1
      const upper = whole >> HALF_BITS
      const lower = whole & ((1 << HALF_BITS) - 1)
      this.#sums[0] += upper * upper
      this.#sums[1] += upper * lower
      this.#sums[2] += lower * lower
      this.#sinceFlush += 1
      if (this.#sinceFlush === FLUSH_ELEMENTS) this.#flush()
      if (this.#filled === this.#chunk.length) this.#closeChunk()
    }
    this.#elements += values.length
  }

  #flush(): void {
    const [upper, mixed, lower] = this.#sums
    const bits = BigInt(HALF_BITS)
    this.#norm += (BigInt(upper) << (2n * bits)) + (BigInt(mixed) << (bits + 1n)) + BigInt(lower)
    this.#sums = [0, 0, 0]
    this.#sinceFlush = 0
  }

  #closeChunk(): void {
    this.#leaves.push(leafHash(chunkBytes(this.#chunk)))
    this.#chunk.fill(0)
    this.#filled = 0
  }

  /**
   * @param step - largest quantisation step, in the unit of the elements
   * @param rest - digest of what is compared bit for bit, 32 bytes
   */
  finish(step: number, rest: Uint8Array): { claim: UpdateClaim; tree: MerkleTree | undefined } {
    if (this.#filled > 0) this.#closeChunk()
    this.#flush()
    const tree = this.#leaves.length === 0 ? undefined : new MerkleTree(concat(this.#leaves))
    const claim = {
      rest,
      elements: this.#elements,
      exponent: this.#exponent,
      step: Math.min(2 ** SKETCH.bits, Math.ceil(step * this.#scale)),
      normSquared: this.#norm,
      root: tree?.root ?? new Uint8Array(32),
    }
    return { claim, tree }
  }
}

/** The bytes of a chunk: its whole numbers, 32 bits, little-endian. */
export function chunkBytes(chunk: Int32Array): Uint8Array {
  const bytes = new Uint8Array(chunk.length * 4)
  const view = new DataView(bytes.buffer)
  chunk.forEach((value, i) => {
    view.setInt32(4 * i, value, true)
  })
  return bytes
}

/** Third pass, once the seed is known: the sketch, and the chunks that it asks for. */
export class Sketcher {
  readonly #scale: number
  readonly #keys: ReadonlyArray<readonly [number, number, number]>
  readonly #sums = new Float64Array(SKETCH.rows * SKETCH.buckets)
  readonly #opened: ReadonlyMap<number, Int32Array>
  #at = 0

  constructor(
    seed: Uint8Array,
    { exponent, elements }: Pick<UpdateClaim, 'exponent' | 'elements'>,
  ) {
    this.#scale = scaleOf(exponent)
    this.#keys = Array.from({ length: SKETCH.rows }, (_, row) => rowKeys(seed, row))
    this.#opened = new Map(
      openedChunks(seed, elements).map((chunk) => [chunk, new Int32Array(SKETCH.chunkElements)]),
    )
  }

  add(values: Float64Array): void {
    let chunk = -1
    let opened: Int32Array | undefined
    for (const value of values) {
      const at = this.#at++
      const whole = Math.round(value * this.#scale)
      for (let row = 0; row < SKETCH.rows; row++) {
        const hash = placeOf(this.#keys[row], at)
        const place = row * SKETCH.buckets + (hash & (SKETCH.buckets - 1))
        const signed = hash < 0 ? -whole : whole
        this.#sums[place] = (this.#sums[place] ?? 0) + signed
      }
      const own = Math.floor(at / SKETCH.chunkElements)
      if (own !== chunk) [chunk, opened] = [own, this.#opened.get(own)]
      if (opened !== undefined) opened[at % SKETCH.chunkElements] = whole
    }
  }

  finish(): Sketch {
    const largest = this.#sums.reduce((max, sum) => Math.max(max, Math.abs(sum)), 0)
    let shift = 0
    while (Math.round(largest / powerOfTwo(shift)) > 0x7fff) shift += 1
    const unit = powerOfTwo(shift)
    // Rounded by magnitude, so that no entry passes the largest.
    const entry = (sum: number): number => Math.sign(sum) * Math.round(Math.abs(sum) / unit)
    return { shift, buckets: Int16Array.from(this.#sums, entry) }
  }

  /** The chunks that the seed asks for, with their proofs. */
  openings(tree: MerkleTree | undefined): Opening[] {
    return [...this.#opened].map(([chunk, values]) => ({
      values,
      path: tree?.path(chunk) ?? new Uint8Array(0),
    }))
  }
}

function rowKeys(seed: Uint8Array, row: number): readonly [number, number, number] {
  const bytes = Buffer.from(sha256(ROW_DOMAIN, seed, uint32(row)))
  return [bytes.readInt32BE(0), bytes.readInt32BE(4), bytes.readInt32BE(8)]
}

/**
 * Where an element goes: the lowest ten bits are its bucket, the sign is its sign. A keyed mixer
 * of 32 bits in the manner of MurmurHash3; the keys come from a seed that nobody knew when the
 * update was committed to, so it need not withstand anybody who knows them.
 */
function placeOf(keys: readonly [number, number, number] | undefined, index: number): number {
  const [first, second, third] = keys ?? [0, 0, 0]
  const high = Math.floor(index / 2 ** 32)
  let hash = Math.imul((index | 0) ^ first, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 15) ^ second ^ high, 0x85ebca77)
  hash = Math.imul(hash ^ (hash >>> 13) ^ third, 0xc2b2ae3d)
  return hash ^ (hash >>> 16)
}

/** The buckets of a sketch on the wire: 16 bits each, little-endian. */
export function encodeBuckets(buckets: Int16Array): Uint8Array {
  const bytes = new Uint8Array(2 * buckets.length)
  const view = new DataView(bytes.buffer)
  buckets.forEach((bucket, i) => {
    view.setInt16(2 * i, bucket, true)
  })
  return bytes
}

export function decodeBuckets(bytes: Uint8Array): Int16Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Int16Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true))
}

/** The whole numbers of a chunk on the wire. */
export function decodeChunk(bytes: Uint8Array): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => view.getInt32(4 * i, true))
}

/** Big-endian without leading zeros; nothing for 0. */
export function bigintBytes(value: bigint): Uint8Array {
  if (value === 0n) return new Uint8Array(0)
  const hex = value.toString(16)
  return new Uint8Array(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex'))
}

export function bytesBigint(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
}

/** Digest of what is compared bit for bit, from the parts that make it up, each in its own frame. */
export function restDigest(parts: readonly Uint8Array[]): Digest {
  return digestOf(...parts.flatMap((part) => [uint32(part.length), part]))
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function uint64(value: number): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}
