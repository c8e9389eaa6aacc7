/**
 * What has come on a stream and nobody has read yet: exact reads for the one reader, and a stream
 * that is paused while too much waits.
 */
import { CtdError, InvariantError } from '../errors.js'
import { NETWORK_LIMITS } from './limits.js'

/** The stream that fills a queue. */
export interface QueueSource {
  pause(): void
  resume(): void
  /** Whether bytes that came before the end are still to be pushed. */
  hasMore(): boolean
  /** With more than `highBytes` waiting the stream is paused until there are fewer than `lowBytes`. */
  readonly highBytes: number
  readonly lowBytes: number
}

/** Room for what waits, for one read of the system's on top, and for what was read meanwhile. */
const SPILL_PARTS = 4

export class ReadQueue {
  readonly #source: QueueSource
  readonly #chunks: Uint8Array[] = []
  #queuedBytes = 0
  /** Where copies lie, and up to where they do. */
  #spill: Uint8Array | undefined
  #spilled = 0
  #isPaused = false
  #isEnded = false
  #failure: Error | undefined
  #reading: { readonly into: Uint8Array; at: number; wake: () => void } | undefined

  constructor(source: QueueSource) {
    this.#source = source
  }

  /** Takes bytes that nobody changes any more. */
  push(bytes: Uint8Array): void {
    const rest = this.#serve(bytes)
    if (rest.length > 0) this.#keep(rest)
  }

  /** Takes bytes that are the caller's again after the call. */
  pushBorrowed(bytes: Uint8Array): void {
    const rest = this.#serve(bytes)
    if (rest.length > 0) this.#keep(this.#copy(rest))
  }

  /** No more will come; what is queued can still be read unless there is an error. */
  end(error?: Error): void {
    this.#isEnded = true
    this.#failure ??= error
    this.#reading?.wake()
  }

  /** Fills `into`. @throws CtdError STREAM_ENDED; InvariantError for a second read at a time */
  async readInto(into: Uint8Array): Promise<void> {
    if (this.#reading !== undefined) throw new InvariantError('one read at a time')
    let at = 0
    for (;;) {
      at = this.#take(into, at)
      if (at === into.length) return
      if (this.#isEnded && !this.#source.hasMore()) throw streamEnded(this.#failure)
      const reading = { into, at, wake: (): void => {} }
      await new Promise<void>((resolve) => {
        reading.wake = resolve
        this.#reading = reading
      })
      this.#reading = undefined
      at = reading.at
    }
  }

  /** Gives a waiting read what it lacks. @returns the rest */
  #serve(bytes: Uint8Array): Uint8Array {
    const reading = this.#reading
    if (reading === undefined || this.#chunks.length > 0) return bytes
    const count = Math.min(bytes.length, reading.into.length - reading.at)
    reading.into.set(count === bytes.length ? bytes : bytes.subarray(0, count), reading.at)
    reading.at += count
    if (reading.at === reading.into.length) reading.wake()
    return bytes.subarray(count)
  }

  /** Into the same memory as long as it has room: fresh buffers would be garbage in a moment. */
  #copy(bytes: Uint8Array): Uint8Array {
    this.#spill ??= new Uint8Array(SPILL_PARTS * this.#source.highBytes)
    if (this.#chunks.length === 0) this.#spilled = 0
    const end = this.#spilled + bytes.length
    if (end > this.#spill.length) return bytes.slice()
    const copy = this.#spill.subarray(this.#spilled, end)
    copy.set(bytes)
    this.#spilled = end
    return copy
  }

  #keep(bytes: Uint8Array): void {
    this.#chunks.push(bytes)
    this.#queuedBytes += bytes.length
    if (this.#isPaused || this.#queuedBytes <= this.#source.highBytes) return
    this.#isPaused = true
    this.#source.pause()
  }

  #take(into: Uint8Array, from: number): number {
    let at = from
    while (at < into.length) {
      const head = this.#chunks[0]
      if (head === undefined) break
      const count = Math.min(head.length, into.length - at)
      into.set(count === head.length ? head : head.subarray(0, count), at)
      if (count === head.length) this.#chunks.shift()
      else this.#chunks[0] = head.subarray(count)
      at += count
      this.#queuedBytes -= count
    }
    if (this.#isPaused && this.#queuedBytes < this.#source.lowBytes) {
      this.#isPaused = false
      this.#source.resume()
    }
    return at
  }
}

/** Fresh memory for `n` bytes that are filled before anybody sees them. @throws InvariantError */
export function allocate(n: number): Uint8Array {
  if (n < 0 || n > NETWORK_LIMITS.streamReadBytes) {
    throw new InvariantError(`a read of ${n} bytes is out of range`)
  }
  return n < UNZEROED_BYTES ? new Uint8Array(n) : new Uint8Array(Buffer.allocUnsafeSlow(n).buffer)
}

/** From here on zeroing costs more than it is worth. */
const UNZEROED_BYTES = 16 * 1024

export function streamEnded(cause: unknown): CtdError {
  return new CtdError('STREAM_ENDED', 'the peer ended the stream', { cause })
}
