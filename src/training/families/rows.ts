/** Rows of a dataset on their way into a shard's file. */
import { CtdError } from '../../errors.js'
import { SafetensorsWriter, type Dtype, type NumericArray } from '../safetensors.js'

/** One tensor of a shard: so many numbers a row. */
export interface RowTensor {
  readonly name: string
  readonly dtype: Dtype
  /** Extents of one row; empty for one number. */
  readonly rowShape: readonly number[]
  /** The numbers of these rows, one row after the other. */
  fill(rows: Uint32Array): NumericArray
}

const MINIMUM_ROWS = 10
/** Rows written at a time, unless they are long. */
const CHUNK_ROWS = 4096
const CHUNK_ELEMENTS = 4 * 1024 * 1024

/** @throws CtdError DATA_TOO_FEW_ROWS */
export function assertEnoughRows(rows: number, what = 'rows'): void {
  if (rows >= MINIMUM_ROWS) return
  throw new CtdError('DATA_TOO_FEW_ROWS', `the dataset has only ${rows} ${what}`, {
    hint: `at least ${MINIMUM_ROWS} are needed to train and to evaluate`,
  })
}

/** Writes the chosen rows of all tensors; memory holds one chunk. */
export async function writeRows(
  path: string,
  rows: Uint32Array,
  tensors: readonly RowTensor[],
): Promise<void> {
  const specs = tensors.map(({ name, dtype, rowShape }) => ({
    name,
    dtype,
    shape: [rows.length, ...rowShape],
  }))
  const writer = await SafetensorsWriter.create(path, specs)
  try {
    for (const { name, rowShape, fill } of tensors) {
      const elements = rowShape.reduce((product, extent) => product * extent, 1)
      const step = Math.max(1, Math.min(CHUNK_ROWS, Math.floor(CHUNK_ELEMENTS / elements)))
      for (let start = 0; start < rows.length; start += step) {
        await writer.write(name, start * elements, fill(rows.subarray(start, start + step)))
      }
    }
  } catch (error) {
    await writer.abandon()
    throw error
  }
  await writer.close()
}

/** The column of the labels' numbers. */
export function labelTensor(ids: Int32Array): RowTensor {
  const fill = (rows: Uint32Array) => Int32Array.from(rows, (row) => ids[row] ?? -1)
  return { name: 'labels', dtype: 'I32', rowShape: [], fill }
}
