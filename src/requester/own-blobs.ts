/**
 * Keeps the blobs of own jobs: inputs and image while a job runs, its artifacts for as long as the
 * job is remembered.
 */
import type { BlobStore } from '../blob/blob-store.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { isEnded } from '../protocol/job-step.js'
import { metricsIn } from '../protocol/job.js'
import { artifactsOf } from '../protocol/selection.js'
import { parseDigest, toHex } from '../wire/ids.js'
import type { Digest, JobId } from '../wire/ids.js'
import type { JobRunner } from './job-runner.js'

export interface OwnBlobsComponents {
  readonly blobs: Pick<BlobStore, 'hold' | 'release'>
  readonly log: Log
  readonly readFolder: (digest: Digest) => Promise<ReadonlyArray<{ readonly digest: Digest }>>
}

type Job = Pick<JobRunner, 'context' | 'state'>

export class OwnBlobs {
  readonly #components: OwnBlobsComponents

  constructor(components: OwnBlobsComponents) {
    this.#components = components
  }

  /** The name under which a job's blobs are held. */
  holderOf(jobId: JobId): string {
    return `requester/${jobId}`
  }

  /** Holds what a job needs from now on: one under way its inputs, any its artifacts. */
  async hold(job: Job): Promise<void> {
    const { blobs } = this.#components
    const holder = this.holderOf(job.context.jobId)
    for (const digest of digestsOf(job)) blobs.hold(holder, digest)
    if (isEnded(job.state)) return
    const { image, inputs } = job.context.manifest.message
    if (image?.archive.length === 32) blobs.hold(holder, parseDigest(toHex(image.archive)))
    for (const input of inputs) {
      const digest = parseDigest(toHex(input.digest))
      blobs.hold(holder, digest)
      if (input.folder) await this.#holdFolder(holder, digest)
    }
  }

  async #holdFolder(holder: string, digest: Digest): Promise<void> {
    const { blobs, log, readFolder } = this.#components
    try {
      for (const file of await readFolder(digest)) blobs.hold(holder, file.digest)
    } catch (error) {
      // An input that is gone: the job's executors will say so.
      log.warn({ digest, code: errorCode(error), detail: errorMessage(error) }, 'input not held')
    }
  }

  /** The inputs may go; what the job made stays. */
  onEnded(job: Job): void {
    this.release(job.context.jobId)
    const holder = this.holderOf(job.context.jobId)
    for (const digest of digestsOf(job)) this.#components.blobs.hold(holder, digest)
  }

  release(jobId: JobId): void {
    this.#components.blobs.release(this.holderOf(jobId))
  }
}

function digestsOf({ context, state }: Job): Digest[] {
  return artifactsOf(context.plan, metricsIn(state)).flatMap(({ batch, slot, file: path }) => {
    const output = state.batches[batch]?.outputs.get(slot)
    if (output === undefined) return []
    const files = [...(output.files?.values() ?? [])]
    const wanted = files.filter((file) => path === undefined || file.path === path)
    return [output.root, ...wanted.map(({ digest }) => digest)]
  })
}
