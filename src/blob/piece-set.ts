/**
 * A set of pieces of one blob, and its form on the wire: a bitmap in which piece 0 is the highest
 * bit of the first byte and the bits beyond the last piece are zero.
 */

/** Length in bytes of the bitmap of so many pieces. */
export function bitmapBytesOf(pieceCount: number): number {
  return Math.ceil(pieceCount / 8)
}

export class PieceSet {
  readonly pieceCount: number
  readonly #bits: Uint8Array
  #size: number

  private constructor(pieceCount: number, bits: Uint8Array, size: number) {
    this.pieceCount = pieceCount
    this.#bits = bits
    this.#size = size
  }

  static empty(pieceCount: number): PieceSet {
    return new PieceSet(pieceCount, new Uint8Array(bitmapBytesOf(pieceCount)), 0)
  }

  static full(pieceCount: number): PieceSet {
    const bits = new Uint8Array(bitmapBytesOf(pieceCount)).fill(0xff)
    const spare = bits.length * 8 - pieceCount
    if (spare > 0) bits[bits.length - 1] = (0xff << spare) & 0xff
    return new PieceSet(pieceCount, bits, pieceCount)
  }

  /** Reads a bitmap; nothing where its length or its spare bits are wrong. */
  static fromBitmap(bytes: Uint8Array, pieceCount: number): PieceSet | undefined {
    if (bytes.length !== bitmapBytesOf(pieceCount)) return undefined
    const spare = bytes.length * 8 - pieceCount
    if (((bytes.at(-1) ?? 0) & ((1 << spare) - 1)) !== 0) return undefined
    let size = 0
    for (const byte of bytes) {
      for (let left = byte; left > 0; left &= left - 1) size += 1
    }
    return new PieceSet(pieceCount, bytes.slice(), size)
  }

  get size(): number {
    return this.#size
  }

  get isFull(): boolean {
    return this.#size === this.pieceCount
  }

  has(index: number): boolean {
    return ((this.#bits[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0
  }

  /** Adds a piece that exists. @returns false where it was there already */
  add(index: number): boolean {
    if (this.has(index)) return false
    this.#bits[index >> 3] = (this.#bits[index >> 3] ?? 0) | (0x80 >> (index & 7))
    this.#size += 1
    return true
  }

  toBitmap(): Uint8Array {
    return this.#bits.slice()
  }
}
