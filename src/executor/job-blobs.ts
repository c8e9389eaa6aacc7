/**
 * Keeps what belongs to the jobs that this machine works for: what it fetched and what it made
 * stays until the job has ended, so that other executors and the requester can fetch it here.
 */
import type { Clock } from '../clock.js'
import type { JobId } from '../wire/ids.js'

/** A requester that went away for ever never ends its job; no task may run for longer than a day. */
const UNUSED_MAX_MS = 48 * 3600 * 1000

export interface JobBlobsComponents {
  readonly clock: Clock
  /** Lets go of all that is held under a name. */
  readonly release: (jobId: JobId, holder: string) => void
}

export class JobBlobs {
  readonly #components: JobBlobsComponents
  readonly #usedMs = new Map<JobId, number>()

  constructor(components: JobBlobsComponents) {
    this.#components = components
  }

  /** The name to hold a job's blobs under; a task of it begins or ends now. */
  holderOf(jobId: JobId): string {
    const nowMs = this.#components.clock.now()
    this.#usedMs.set(jobId, nowMs)
    for (const [other, usedMs] of this.#usedMs) {
      if (nowMs - usedMs > UNUSED_MAX_MS) this.onEnded(other)
    }
    return nameOf(jobId)
  }

  onEnded(jobId: JobId): void {
    if (this.#usedMs.delete(jobId)) this.#components.release(jobId, nameOf(jobId))
  }
}

function nameOf(jobId: JobId): string {
  return `executor/${jobId}`
}
