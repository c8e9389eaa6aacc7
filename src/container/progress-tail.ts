/**
 * Follows the file a task writes its progress to. The file belongs to a stranger's program: it is
 * opened without following links, read a bounded piece at a time, and a line that is no progress is
 * passed over.
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { CONTAINER_LIMITS as LIMITS, type ProgressLine } from './container-runtime.js'

const POLL_BYTES = LIMITS.progressLineBytes * LIMITS.progressLinesPerPoll
const METRIC_NAME = /^[a-zA-Z_][a-zA-Z0-9_.@/-]{0,63}$/
const RESERVED = new Set(['step', 'total', 'metrics'])

/** Reads on from where it stopped; one instance per run, never polled twice at once. */
export class ProgressTail {
  readonly #path: string
  readonly #report: (line: ProgressLine) => void
  #offset = 0
  #rest = ''

  constructor(path: string, report: (line: ProgressLine) => void) {
    this.#path = path
    this.#report = report
  }

  /** Reports the newest lines, at most `progressLinesPerPoll`; of a flood the oldest are dropped. */
  async poll(): Promise<void> {
    const text = await this.#readOn()
    const lines = (this.#rest + text).split('\n')
    this.#rest = (lines.pop() ?? '').slice(0, LIMITS.progressLineBytes)
    const parsed = lines.map(parseProgressLine).filter((line) => line !== undefined)
    for (const line of parsed.slice(-LIMITS.progressLinesPerPoll)) this.#report(line)
  }

  async #readOn(): Promise<string> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
    const file = await open(this.#path, flags).catch(() => undefined)
    if (file === undefined) return ''
    try {
      const found = await file.stat()
      if (!found.isFile()) return ''
      if (found.size < this.#offset) this.#restartAt(0)
      if (found.size - this.#offset > POLL_BYTES) this.#restartAt(found.size - POLL_BYTES)
      const buffer = Buffer.alloc(Math.min(POLL_BYTES, found.size - this.#offset))
      const { bytesRead } = await file.read(buffer, 0, buffer.length, this.#offset)
      this.#offset += bytesRead
      return buffer.subarray(0, bytesRead).toString('utf8')
    } finally {
      await file.close()
    }
  }

  #restartAt(offset: number): void {
    this.#offset = offset
    this.#rest = ''
  }
}

/**
 * Understands `{"step":7,"total":50,"metrics":{"loss":2.3}}` and, as programs often write it, the
 * metrics beside the step: `{"step":7,"loss":2.3}`. Undefined for anything else.
 */
export function parseProgressLine(text: string): ProgressLine | undefined {
  if (text.length > LIMITS.progressLineBytes) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined // Half a line, or a program's own idea of progress.
  }
  if (typeof value !== 'object' || value === null) return undefined
  const fields = new Map<string, unknown>(Object.entries(value))
  const step = fields.get('step')
  const total = fields.get('total')
  if (typeof step !== 'number' || !Number.isSafeInteger(step) || step < 0) return undefined
  const nested = fields.get('metrics')
  const candidates = [
    ...Object.entries(typeof nested === 'object' && nested !== null ? nested : {}),
    ...[...fields].filter(([name]) => !RESERVED.has(name)),
  ]
  const metrics = new Map<string, number>()
  for (const [name, number] of candidates) {
    if (metrics.size >= LIMITS.progressMetrics) break
    if (METRIC_NAME.test(name) && Number.isFinite(number) && !metrics.has(name))
      metrics.set(name, number)
  }
  return {
    step,
    total: typeof total === 'number' && Number.isSafeInteger(total) && total > 0 ? total : null,
    metrics: Object.fromEntries(metrics),
  }
}
