/**
 * Keeps what belongs to the jobs that this machine works for. What it fetched and what it made
 * stays until the job has ended, so that other executors and the requester can fetch it here; what
 * the job is for, its artifacts, stays for its time to live beyond that, also over restarts, within
 * a part of the owner's quota: a requester that was away finds its result.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { Digest, JobId } from '../wire/ids.js'

export interface JobBlobsComponents {
  readonly clock: Clock
  readonly log: Log
  readonly blobs: {
    hold(holder: string, digest: Digest): void
    release(holder: string): void
    has(digest: Digest): boolean
    size(digest: Digest): number
    readonly quotaBytes: number
  }
  /** The files of an output folder. */
  readonly filesOf: (root: Digest) => Promise<readonly Digest[]>
  /** Outputs on disk, by job and root; a space of the daemon's database. */
  readonly ledger: {
    put(key: string, text: string): Promise<void>
    delete(key: string): Promise<void>
    list(limit: number): Promise<ReadonlyArray<readonly [string, string]>>
  }
  /** Tells the DHT of what is here, and that it is told no more. */
  readonly provide: (digest: Digest) => void
  readonly withdraw: (digest: Digest) => void
  /** Nothing of a job is under way here any more. */
  readonly onReleased: (jobId: JobId) => void
}

/** An output that this peer made. */
interface KeptOutput {
  readonly jobId: JobId
  readonly root: Digest
  /** Whether it is what the job is for; the rest is kept until the job ends. */
  readonly isArtifact: boolean
  isEnded: boolean
  untilMs: number
  /** Of the folder and its files, once they were counted. */
  sizeBytes?: number
}

/** A requester that went away for ever never ends its job; no task may run for longer than a day. */
const UNUSED_MAX_MS = 48 * 3600 * 1000
/** As long as the requester remembers a job that has ended. */
const RESULT_MS = 7 * 24 * 3600 * 1000
/** The part of the quota that results of ended jobs may take; the oldest go first. */
const RESULT_PART = 1 / 4
const OUTPUTS_MAX = 65_536

export class JobBlobs {
  readonly #components: JobBlobsComponents
  readonly #usedMs = new Map<JobId, number>()
  /** By key, in the order they were made. */
  readonly #outputs = new Map<string, KeptOutput>()
  readonly #provided = new Map<JobId, Set<Digest>>()

  constructor(components: JobBlobsComponents) {
    this.#components = components
  }

  /** Holds what earlier processes made. */
  async load(): Promise<void> {
    const nowMs = this.#components.clock.now()
    for (const [key, text] of await this.#components.ledger.list(OUTPUTS_MAX)) {
      const output = parseOutput(key, text)
      if (output === undefined || !this.#components.blobs.has(output.root)) {
        await this.#components.ledger.delete(key)
        continue
      }
      this.#outputs.set(key, output)
      if (!output.isEnded) this.#usedMs.set(output.jobId, nowMs)
      await this.#hold(output)
    }
    await this.#forgetOld()
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

  /** Inputs that are here now: others are told, until the job has ended. */
  onFetched(jobId: JobId, digests: readonly Digest[]): void {
    const provided = this.#provided.get(jobId) ?? new Set()
    this.#provided.set(jobId, provided)
    for (const digest of digests) {
      if (provided.has(digest)) continue
      provided.add(digest)
      this.#components.provide(digest)
    }
  }

  /** An output that was just made. @throws CtdError STORE_FULL */
  async keep(jobId: JobId, root: Digest, isArtifact: boolean): Promise<void> {
    if (this.#outputs.size >= OUTPUTS_MAX) return // Held until the job ends all the same.
    const untilMs = this.#components.clock.now() + RESULT_MS
    // Two tasks may have made the same.
    const before = this.#outputs.get(keyOf({ jobId, root }))
    const isWanted = isArtifact || before?.isArtifact === true
    const output: KeptOutput = { jobId, root, isArtifact: isWanted, isEnded: false, untilMs }
    this.#outputs.set(keyOf(output), output)
    await this.#write(output)
    await this.#hold(output)
  }

  /** Lets go of what only the job needed; its artifacts stay for their time to live. */
  onEnded(jobId: JobId): void {
    const { blobs, clock, withdraw, onReleased } = this.#components
    for (const digest of this.#provided.get(jobId) ?? []) {
      const isShared = [...this.#provided].some(
        ([other, digests]) => other !== jobId && digests.has(digest),
      )
      if (!isShared) withdraw(digest)
    }
    this.#provided.delete(jobId)
    const untilMs = clock.now() + RESULT_MS
    const changed = [...this.#outputs.values()].filter((output) => output.jobId === jobId)
    for (const output of changed) {
      if (output.isEnded) continue
      output.isEnded = true
      output.untilMs = untilMs
    }
    if (this.#usedMs.delete(jobId)) {
      blobs.release(nameOf(jobId))
      onReleased(jobId)
    }
    this.#settle(changed).catch((error: unknown) => {
      // What is not written down is kept until the next start.
      const fields = { jobId, code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'kept results could not be written down')
    })
  }

  async #settle(changed: readonly KeptOutput[]): Promise<void> {
    for (const output of changed) {
      if (output.isArtifact) await this.#write(output)
      else await this.#forget(output)
    }
    await this.#forgetOld()
  }

  /** Of the jobs that have ended: what has outlived its time, and the oldest beyond their part. */
  async #forgetOld(): Promise<void> {
    const { blobs, clock } = this.#components
    const ended = [...this.#outputs.values()].filter(({ isEnded }) => isEnded)
    let leftBytes = blobs.quotaBytes * RESULT_PART
    for (const output of ended.toSorted((a, b) => b.untilMs - a.untilMs)) {
      leftBytes -= await this.#bytesOf(output)
      if (output.untilMs <= clock.now() || leftBytes < 0) await this.#forget(output)
    }
  }

  async #bytesOf(output: KeptOutput): Promise<number> {
    if (output.sizeBytes !== undefined) return output.sizeBytes
    const { blobs } = this.#components
    const parts = (await this.#partsOf(output.root)).filter((digest) => blobs.has(digest))
    output.sizeBytes = parts.reduce((sum, digest) => sum + blobs.size(digest), 0)
    return output.sizeBytes
  }

  async #partsOf(root: Digest): Promise<readonly Digest[]> {
    if (!this.#components.blobs.has(root)) return []
    return [root, ...(await this.#components.filesOf(root))]
  }

  async #hold(output: KeptOutput): Promise<void> {
    for (const digest of await this.#partsOf(output.root)) {
      this.#components.blobs.hold(holderOfOutput(output), digest)
    }
  }

  async #forget(output: KeptOutput): Promise<void> {
    this.#outputs.delete(keyOf(output))
    this.#components.blobs.release(holderOfOutput(output))
    await this.#components.ledger.delete(keyOf(output))
  }

  async #write(output: KeptOutput): Promise<void> {
    const { isArtifact, isEnded, untilMs } = output
    const text = JSON.stringify({ isArtifact, isEnded, untilMs })
    await this.#components.ledger.put(keyOf(output), text)
  }
}

function nameOf(jobId: JobId): string {
  return `executor/${jobId}`
}

function holderOfOutput(output: KeptOutput): string {
  return `result/${keyOf(output)}`
}

function keyOf({ jobId, root }: Pick<KeptOutput, 'jobId' | 'root'>): string {
  return `${jobId}/${root}`
}

/** Our own record; one that is damaged keeps nothing. */
function parseOutput(key: string, text: string): KeptOutput | undefined {
  const [, jobId, root] = /^([0-9a-f]{64})\/([0-9a-f]{64})$/.exec(key) ?? []
  try {
    const { isArtifact, isEnded, untilMs } = Object(JSON.parse(text)) as Partial<KeptOutput>
    if (jobId === undefined || root === undefined || typeof untilMs !== 'number') return undefined
    const ids = { jobId: jobId as JobId, root: root as Digest }
    return { ...ids, isArtifact: isArtifact === true, isEnded: isEnded === true, untilMs }
  } catch {
    return undefined
  }
}
