/** `DaemonPort` over the people of this daemon. */
import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import type { BlobStore } from '../blob/blob-store.js'
import type { BlobTransfer } from '../blob/blob-transfer.js'
import { CtdError, errorMessage } from '../errors.js'
import type { Events } from '../events.js'
import type { JobContext } from '../protocol/job.js'
import { buildTranscript } from '../protocol/transcript.js'
import type { JobRunner } from '../requester/job-runner.js'
import type { Requester } from '../requester/requester.js'
import { encodeFolder } from '../wire/folder.js'
import { parseDigest, utf8 } from '../wire/ids.js'
import type { Digest, JobId, PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { Courier } from '../witness/courier.js'
import type { Inbox } from '../witness/inbox.js'
import type {
  DaemonPort,
  FileView,
  JobView,
  LogLine,
  NodeView,
  PeerView,
  RunRequest,
  TrainRequest,
} from './daemon-port.js'
import { jobView } from './job-view.js'
import type { Beat } from './job-view.js'
import { createJobOf } from './submission.js'
import type { SubmissionComponents } from './submission.js'

export interface LocalPortComponents extends Omit<SubmissionComponents, 'isFolder'> {
  readonly network: string
  readonly blobs: BlobStore
  readonly transfer: BlobTransfer
  readonly requester: Requester
  readonly inbox: Inbox
  readonly courier: Courier
  readonly events: Events
  readonly beats: ReadonlyMap<string, Beat>
  readonly writeFolder: (digest: Digest, dir: string) => Promise<unknown>
  /** Peers that may hold the state of a job that is not ours. */
  readonly holdersOf: (jobId: string, signal: AbortSignal) => Promise<readonly PeerId[]>
  readonly onSubmitted: (jobId: JobId) => void
  readonly peers: () => Promise<readonly PeerView[]>
  readonly node: () => NodeView
}

const ASK_MS = 5_000
const HOLDERS_MAX = 12
/** Uploaded folders remembered until their job is submitted. */
const FOLDERS_MAX = 4096

export class LocalPort implements DaemonPort {
  readonly #parts: LocalPortComponents
  readonly #folders = new Set<string>()

  constructor(parts: LocalPortComponents) {
    this.#parts = parts
  }

  async submit(request: TrainRequest | RunRequest): Promise<{ readonly id: string }> {
    const isFolder = (digest: string): boolean => this.#folders.has(digest)
    const job = await createJobOf({ ...this.#parts, isFolder }, request)
    const id = await this.#parts.requester.submit(job)
    this.#parts.onSubmitted(id)
    return { id }
  }

  async job(id: string, signal: AbortSignal): Promise<JobView> {
    const runner = this.#find(id)
    if (runner !== undefined) return this.view(runner)
    const bytes = await this.#askHolders('job-status', id, signal)
    return JSON.parse(new TextDecoder().decode(bytes)) as JobView
  }

  jobs(): Promise<readonly JobView[]> {
    const views = this.#parts.requester.runners().map((runner) => this.view(runner))
    return Promise.resolve(views.sort((a, b) => b.createdMs - a.createdMs))
  }

  /** What people see of an own job. */
  view({ context, state }: { context: JobContext; state: JobRunner['state'] }): JobView {
    const { manifest, plan } = context
    return jobView({ manifest, plan, state, beats: this.#parts.beats })
  }

  async cancel(id: string): Promise<JobView> {
    const runner = this.#own(id)
    await this.#parts.requester.cancel(runner.context.jobId, 'cancelled by its submitter')
    return this.view(runner)
  }

  async logs(id: string): Promise<readonly LogLine[]> {
    const { context, state } = this.#own(id)
    const executors = new Set<PeerId>()
    for (const { assignment } of state.batches) {
      for (const slot of assignment?.slots ?? []) {
        const ranking = assignment?.election?.slots[slot.index]?.ranking ?? []
        for (const peer of ranking.slice(0, slot.seats)) executors.add(peer)
      }
    }
    const lines = await Promise.all(
      [...executors].map((peer) => this.#logsOf(peer, context.jobId)),
    )
    return lines.flat().sort((a, b) => a.atMs - b.atMs)
  }

  async #logsOf(peer: PeerId, jobId: JobId): Promise<readonly LogLine[]> {
    try {
      const bytes = await this.#parts.courier.ask(peer, 'job-logs', utf8(jobId), AbortSignal.timeout(ASK_MS))
      return JSON.parse(new TextDecoder().decode(bytes)) as LogLine[]
    } catch (error) {
      return [{ atMs: 0, peer, task: '', text: `(no logs: ${errorMessage(error)})` }]
    }
  }

  async files(id: string, signal: AbortSignal): Promise<readonly FileView[]> {
    const { context, state } = this.#succeeded(id)
    const files: FileView[] = []
    for (const artifact of context.plan.artifacts) {
      const output = state.batches[artifact.batch]?.outputs.get(artifact.slot)
      if (output?.files === undefined) continue
      for (const file of output.files.values()) {
        if (artifact.file !== undefined && artifact.file !== file.path) continue
        const path = artifact.file === undefined ? `${artifact.path}/${file.path}` : artifact.path
        files.push({ path, sizeBytes: file.sizeBytes, digest: file.digest })
      }
    }
    // Listings that were too long for the reveals: an audit needs them to follow the chain.
    for (const batch of state.batches) {
      for (const output of batch.outputs.values()) {
        const sorted = [...(output.files?.values() ?? [])]
        const listing = encodeFolder(sorted)
        if (listing.length <= LIMITS.listingBytes) continue
        const { digest, sizeBytes } = await this.#parts.blobs.addBytes(listing)
        files.push({ path: `listings/${output.root}.jsonl`, sizeBytes, digest })
      }
    }
    signal.throwIfAborted()
    return files
  }

  async readFile(id: string, path: string, signal: AbortSignal): Promise<Readable> {
    const file = (await this.files(id, signal)).find((candidate) => candidate.path === path)
    if (file === undefined) throw new CtdError('FILE_UNKNOWN', `the job has no file ${path}`)
    const digest = parseDigest(file.digest)
    const { state } = this.#succeeded(id)
    const providers = state.batches.flatMap((batch) =>
      [...batch.outputs.values()].flatMap((output) => output.providers),
    )
    await this.#parts.transfer.fetch(digest, [...new Set(providers)], { signal, maxBytes: file.sizeBytes })
    return createReadStream(this.#parts.blobs.path(digest))
  }

  async transcript(id: string, signal: AbortSignal): Promise<Uint8Array> {
    const found = this.#find(id)
    const record = this.#parts.inbox.record(found?.context.jobId ?? id)
    if (record?.end !== undefined) return buildTranscript(this.#parts.network, record)
    if (found === undefined) return this.#askHolders('job-transcript', id, signal)
    throw new CtdError('JOB_NOT_ENDED', 'the job has not ended yet', {
      hint: `wait for it: ctd ps, or ctd logs ${id.slice(0, 8)}`,
    })
  }

  peers(): Promise<readonly PeerView[]> {
    return this.#parts.peers()
  }

  node(): Promise<NodeView> {
    return Promise.resolve(this.#parts.node())
  }

  async addBlob(bytes: Readable): Promise<{ readonly digest: string; readonly sizeBytes: number }> {
    return this.#parts.blobs.addStream(bytes)
  }

  async addFolder(
    entries: ReadonlyArray<{ readonly path: string; readonly digest: string }>,
  ): Promise<{ readonly digest: string }> {
    const files = entries.map(({ path, digest }) => {
      const parsed = parseDigest(digest)
      return { path, digest: parsed, sizeBytes: this.#parts.blobs.size(parsed) }
    })
    const { digest } = await this.#parts.blobs.addBytes(encodeFolder(files))
    if (this.#folders.size >= FOLDERS_MAX) this.#folders.clear()
    this.#folders.add(digest)
    return { digest }
  }

  subscribe(listener: Parameters<DaemonPort['subscribe']>[0]): () => void {
    return this.#parts.events.subscribe(listener)
  }

  /** An own job by its id or a unique prefix of it. @throws CtdError JOB_AMBIGUOUS */
  #find(id: string): JobRunner | undefined {
    const runners = this.#parts.requester.runners().filter(({ context }) => context.jobId.startsWith(id))
    if (runners.length > 1 && id.length < 64) {
      throw new CtdError('JOB_AMBIGUOUS', `${runners.length} jobs begin with ${id}`, {
        hint: 'give more characters of the id',
      })
    }
    return runners[0]
  }

  #own(id: string): JobRunner {
    const runner = this.#find(id)
    if (runner === undefined) throw unknownJob(id)
    return runner
  }

  #succeeded(id: string): JobRunner {
    const runner = this.#own(id)
    const { status, code, reason } = runner.state
    if (status === 'succeeded') return runner
    const isOver = status === 'failed' || status === 'cancelled'
    const why = isOver ? `it ${status === 'failed' ? 'failed' : 'was cancelled'}: ${reason}` : 'it has not ended yet'
    throw new CtdError(isOver ? 'JOB_HAS_NO_RESULT' : 'JOB_NOT_ENDED', `no results: ${why}`, {
      fields: { status, code },
    })
  }

  async #askHolders(method: string, id: string, signal: AbortSignal): Promise<Uint8Array> {
    if (!/^[0-9a-f]{64}$/.test(id)) throw unknownJob(id)
    const holders = await this.#parts.holdersOf(id, signal)
    for (const peer of holders.slice(0, HOLDERS_MAX)) {
      try {
        const patience = AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)])
        return await this.#parts.courier.ask(peer, method, utf8(id), patience)
      } catch {
        // This peer does not know the job, or is gone: the next may.
        signal.throwIfAborted()
      }
    }
    throw unknownJob(id)
  }
}

function unknownJob(id: string): CtdError {
  return new CtdError('JOB_UNKNOWN', `no job ${id.slice(0, 64)} is known here`, {
    hint: 'own jobs: ctd ps; jobs of other peers need their whole id of 64 characters',
  })
}

