/**
 * Block-wise 8-bit quantisation of pseudo-gradients.
 *
 * A tensor is cut, row-major, into blocks of 256 elements; each block has one fp32 scale
 * `max|x| / 127`, and an element becomes `x / scale`, rounded half to even. One byte and 4/256 per
 * element: 3.94 times smaller than fp32. All roundings are IEEE 754 single precision, so Python
 * (torch fp32) and TypeScript agree bit for bit.
 */

/** Elements that share a scale. */
export const QUANTISATION_BLOCK = 256

/** Suffix of the tensor that holds the scales of the tensor before it. */
export const SCALE_SUFFIX = '::scale'

export interface Quantised {
  /** In [-127, 127]. */
  readonly values: Int8Array
  /** One per block, fp32, finite and not negative. */
  readonly scales: Float32Array
}

/** Scales that a tensor of this many elements has. */
export function blockCount(elements: number): number {
  return Math.ceil(elements / QUANTISATION_BLOCK)
}

/**
 * Quantises a tensor. Not-a-number and infinities are the caller's to refuse.
 *
 * @param most - what the largest element of a block becomes: 127 for int8, 7 for int4
 */
export function quantise(source: Float32Array, most = 127): Quantised {
  const values = new Int8Array(source.length)
  const scales = new Float32Array(blockCount(source.length))
  for (let block = 0; block < scales.length; block++) {
    const start = block * QUANTISATION_BLOCK
    const end = Math.min(start + QUANTISATION_BLOCK, source.length)
    let largest = 0
    for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(source[i] ?? 0))
    const scale = Math.fround(largest / most)
    scales[block] = scale
    if (scale === 0) continue
    for (let i = start; i < end; i++) {
      const rounded = roundHalfToEven(Math.fround((source[i] ?? 0) / scale))
      values[i] = Math.max(-most, Math.min(most, rounded))
    }
  }
  return { values, scales }
}

/** The inverse up to rounding: `value * scale` of its block, exact in double precision. */
export function dequantise({ values, scales }: Quantised): Float64Array {
  return Float64Array.from(
    values,
    (value, i) => value * (scales[Math.floor(i / QUANTISATION_BLOCK)] ?? 0),
  )
}

/** IEEE 754's rounding to a whole number. */
export function roundHalfToEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}
