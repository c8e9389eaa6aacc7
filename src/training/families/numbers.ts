/** Rows of numbers as the readers keep them. */

/** The numbers of a row: float64, little-endian; not-a-number where one is missing. */
export function numbersOf(bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return Float64Array.from({ length: bytes.length / 8 }, (_, i) => view.getFloat64(8 * i, true))
}
