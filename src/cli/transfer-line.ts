/** One line that says how far bytes have come: redrawn on a terminal, seldom repeated elsewhere. */
import type { Context } from './context.js'
import { cut } from './terminal.js'
import { formatAge, formatBytes } from './units.js'

const REDRAW_MS = 200
/** Without a terminal one line in this time is enough. */
const REPEAT_MS = 10_000
/** The rate is that of the last seconds, so that it tells of now. */
const RATE_WINDOW_MS = 5_000

export interface TransferStep {
  readonly doneBytes: number
  readonly totalBytes: number
  readonly sources?: number
}

export class TransferLine {
  readonly #context: Pick<Context, 'tell' | 'json'>
  readonly #label: string
  readonly #stream: NodeJS.WriteStream
  readonly #now: () => number
  readonly #samples: Array<{ readonly atMs: number; readonly bytes: number }> = []
  #drawnMs = -Infinity
  #isDrawn = false

  constructor(
    context: Pick<Context, 'tell' | 'json'>,
    label: string,
    stream: NodeJS.WriteStream = process.stderr,
    now: () => number = Date.now,
  ) {
    this.#context = context
    this.#label = label
    this.#stream = stream
    this.#now = now
    this.#drawnMs = stream.isTTY ? -Infinity : now()
  }

  step(step: TransferStep): void {
    const nowMs = this.#now()
    this.#samples.push({ atMs: nowMs, bytes: step.doneBytes })
    while ((this.#samples[0]?.atMs ?? nowMs) < nowMs - RATE_WINDOW_MS) this.#samples.shift()
    const isDue = nowMs - this.#drawnMs >= (this.#stream.isTTY ? REDRAW_MS : REPEAT_MS)
    if (this.#context.json || !isDue) return
    this.#drawnMs = nowMs
    const text = transferText(this.#label, step, this.#rate())
    if (this.#stream.isTTY) {
      this.#stream.write(`\r\u001b[K${cut(text, (this.#stream.columns || 80) - 1)}`)
      this.#isDrawn = true
    } else this.#context.tell(text)
  }

  /** Clears the line; to be called whatever the end is. */
  end(): void {
    if (this.#isDrawn) this.#stream.write('\r\u001b[K')
    this.#isDrawn = false
  }

  /** Bytes per second, undefined before there is anything to judge by. */
  #rate(): number | undefined {
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (first === undefined || last === undefined || last.atMs - first.atMs < 500) return undefined
    return ((last.bytes - first.bytes) * 1000) / (last.atMs - first.atMs)
  }
}

/** `fetch 3fa2…  42%  41.8MiB of 100MiB  58.3MiB/s  1s left  from 2 peers`. */
export function transferText(label: string, step: TransferStep, rate: number | undefined): string {
  const { doneBytes, totalBytes, sources } = step
  const share = totalBytes === 0 ? 1 : doneBytes / totalBytes
  const parts = [
    label,
    `${Math.floor(share * 100)}%`,
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
  ]
  if (rate !== undefined && rate >= 1) {
    parts.push(`${formatBytes(rate)}/s`)
    const leftMs = ((totalBytes - doneBytes) / rate) * 1000
    if (leftMs > 0) parts.push(`${formatAge(leftMs + 999)} left`)
  } else if (rate !== undefined) parts.push('stalled')
  if (sources !== undefined) parts.push(`from ${sources} ${sources === 1 ? 'peer' : 'peers'}`)
  return parts.join('  ')
}
