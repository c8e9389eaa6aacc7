/**
 * Rows of bytes by number: in memory while they are few, else in a file, so that a dataset may be
 * larger than memory. Reads are synchronous, for use in a worker thread.
 */
import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs'
import { CtdError, InvariantError } from '../../errors.js'
import { DATA_LIMITS } from './limits.js'

/** Written at a time; datasets up to this size never touch the disk. */
const BLOCK_BYTES = 32 * 1024 * 1024

export class RowStore {
  private block = Buffer.alloc(64 * 1024)
  private used = 0
  /** Bytes that stand in the file, before the block. */
  private written = 0
  private ends = new Float64Array(1024)
  private rows = 0
  private file: number | undefined

  /** @param path - of the file, which is made when it is needed and removed by `close` */
  constructor(private readonly path: string) {}

  get count(): number {
    return this.rows
  }

  append(row: Uint8Array): void {
    if (this.written + this.used + row.length > DATA_LIMITS.expandedBytes) {
      throw new CtdError(
        'DATA_TOO_LARGE',
        `the rows take more than ${DATA_LIMITS.expandedBytes} bytes`,
      )
    }
    if (this.used + row.length > this.block.length) this.makeRoom(row.length)
    this.block.set(row, this.used)
    this.used += row.length
    if (this.rows === this.ends.length) {
      const longer = new Float64Array(2 * this.ends.length)
      longer.set(this.ends)
      this.ends = longer
    }
    this.ends[this.rows] = this.written + this.used
    this.rows += 1
  }

  /** The bytes of a row; valid until the next call. */
  get(row: number): Uint8Array {
    const end = this.ends[row]
    if (end === undefined || row >= this.rows) throw new InvariantError(`there is no row ${row}`)
    const start = row === 0 ? 0 : (this.ends[row - 1] ?? 0)
    if (start >= this.written) return this.block.subarray(start - this.written, end - this.written)
    const bytes = Buffer.alloc(end - start)
    let done = 0
    while (done < bytes.length) {
      const count = readSync(this.opened(), bytes, done, bytes.length - done, start + done)
      if (count === 0) throw new InvariantError('the file of rows ends too early')
      done += count
    }
    return bytes
  }

  close(): void {
    if (this.file === undefined) return
    closeSync(this.file)
    unlinkSync(this.path)
    this.file = undefined
  }

  private makeRoom(need: number): void {
    if (this.used + need <= BLOCK_BYTES) {
      const larger = Buffer.alloc(
        Math.min(BLOCK_BYTES, Math.max(2 * this.block.length, this.used + need)),
      )
      larger.set(this.block.subarray(0, this.used))
      this.block = larger
      return
    }
    for (let done = 0; done < this.used;) {
      done += writeSync(this.opened(), this.block, done, this.used - done, this.written + done)
    }
    this.written += this.used
    this.used = 0
    if (need > this.block.length) this.block = Buffer.alloc(need)
  }

  private opened(): number {
    this.file ??= openSync(this.path, 'wx+')
    return this.file
  }
}
