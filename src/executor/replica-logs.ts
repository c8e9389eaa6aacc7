/** The last lines that the containers on this machine wrote, for the submitters who ask. */
import type { Clock } from '../clock.js'
import type { JobId, PeerId } from '../wire/ids.js'

export interface ReplicaLogLine {
  readonly atMs: number
  readonly peer: PeerId
  readonly task: string
  readonly text: string
}

const JOBS_MAX = 64
const LINES_PER_JOB = 500
const LINE_CHARS = 1000

export class ReplicaLogs {
  readonly #clock: Clock
  readonly #jobs = new Map<JobId, ReplicaLogLine[]>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(jobId: JobId, task: string, peer: PeerId, text: string): void {
    const lines = this.#jobs.get(jobId) ?? []
    for (const line of text.split('\n')) {
      if (line.trim() === '') continue
      lines.push({ atMs: this.#clock.now(), peer, task, text: line.slice(0, LINE_CHARS) })
    }
    lines.splice(0, Math.max(0, lines.length - LINES_PER_JOB))
    // The job that was written to last stays longest.
    this.#jobs.delete(jobId)
    this.#jobs.set(jobId, lines)
    const [oldest] = this.#jobs.keys()
    if (this.#jobs.size > JOBS_MAX && oldest !== undefined) this.#jobs.delete(oldest)
  }

  of(jobId: JobId): readonly ReplicaLogLine[] {
    return this.#jobs.get(jobId) ?? []
  }
}
