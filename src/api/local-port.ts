/** `DaemonPort` over the people of this daemon. */
import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import type { BlobStore } from '../blob/blob-store.js'
import type { BlobTransfer } from '../blob/blob-transfer.js'
import type { Clock } from '../clock.js'
import { CtdError, errorMessage } from '../errors.js'
import type { Events } from '../events.js'
import { metricsIn } from '../protocol/job.js'
import type { JobContext } from '../protocol/job.js'
import { artifactsOf } from '../protocol/selection.js'
import { isEnded } from '../protocol/job-step.js'
import { buildTranscript } from '../protocol/transcript.js'
import type { JobRunner } from '../requester/job-runner.js'
import type { DroppedJob, NewJob, Requester } from '../requester/requester.js'
import { encodeFolder } from '../wire/folder.js'
import { parseDigest, utf8 } from '../wire/ids.js'
import type { Digest, JobId, PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { Courier } from '../witness/courier.js'
import type { Inbox } from '../witness/inbox.js'
import type { BlobPort } from './blob-port.js'
import type {
  DaemonPort,
  FileView,
  JobRequest,
  JobView,
  LogLine,
  NodeView,
  PeerView,
  ReputationView,
} from './daemon-port.js'
import type { CalibrationPort } from './calibration-desk.js'
import type { ImagePort } from './image-desk.js'
import { jobView } from './job-view.js'
import type { Beat } from './job-view.js'
import { resumedJob, unfinishedIn, unfinishedOf } from './resume.js'
import { createJobOf } from './submission.js'
import type { SubmissionComponents } from './submission.js'

export interface LocalPortComponents extends Omit<SubmissionComponents, 'holder' | 'bring'> {
  readonly network: string
  readonly clock: Clock
  readonly blobs: BlobStore
  readonly desk: BlobPort
  readonly imageDesk: ImagePort
  readonly calibration: CalibrationPort
  readonly transfer: BlobTransfer
  readonly requester: Requester
  readonly inbox: Inbox
  readonly courier: Courier
  readonly events: Events
  readonly beats: ReadonlyMap<string, Beat>
  /** Peers that may hold the state of a job that is not ours. */
  readonly holdersOf: (jobId: string, signal: AbortSignal) => Promise<readonly PeerId[]>
  /** Peers that may have a blob, beside those that are known to. */
  readonly providersOf: (digest: Digest, signal: AbortSignal) => Promise<readonly PeerId[]>
  /** Also holds the job's blobs. */
  readonly onSubmitted: (jobId: JobId) => Promise<void>
  readonly peers: () => Promise<readonly PeerView[]>
  readonly reputation: (peer: PeerId, atMs: number) => ReputationView
  /** The evidence behind quoted roots. */
  readonly evidence: (roots: readonly Uint8Array[]) => Promise<Uint8Array>
  readonly node: () => NodeView
}

const ASK_MS = 5_000
/** Without a new piece from anybody for so long, what a job begins with is not to be had. */
const BRING_GIVE_UP_MS = 30_000
/** Without a new piece from anybody for so long, an artifact is not to be had now. */
const FILE_GIVE_UP_MS = 30_000
const HOLDERS_MAX = 12
const LOG_LINES_MAX = 1000
const LOG_LINE_CHARS = 1000

export class LocalPort implements DaemonPort {
  readonly #parts: LocalPortComponents
  readonly blobs: BlobPort
  readonly images: ImagePort
  readonly calibration: CalibrationPort
  #submissions = 0

  constructor(parts: LocalPortComponents) {
    this.#parts = parts
    this.blobs = parts.desk
    this.images = parts.imageDesk
    this.calibration = parts.calibration
  }

  async submit(request: JobRequest): Promise<{ readonly id: string }> {
    return this.#submit(async (components) => createJobOf(components, request))
  }

  async resume(id: string, signal: AbortSignal): Promise<{ id: string; round: number }> {
    const found = this.#find(id)
    if (found !== undefined && !isEnded(found.state)) {
      throw new CtdError('JOB_NOT_ENDED', 'the job is still under way', {
        hint: `follow it: ctd results ${id.slice(0, 8)} --wait`,
      })
    }
    const record = this.#parts.inbox.record(id)
    if (found === undefined && record === undefined) throw unknownJob(id)
    let round = 0
    const resumed = await this.#submit(async (components) => {
      const source =
        found === undefined && record !== undefined
          ? unfinishedIn(this.#parts.network, record)
          : unfinishedOf(found ?? this.#own(id))
      const made = await resumedJob(components, source)
      round = made.round
      return made.job
    }, signal)
    return { ...resumed, round }
  }

  /** What is made or fetched for a job is held until the job holds it itself. */
  async #submit(
    create: (components: SubmissionComponents) => Promise<NewJob>,
    signal = new AbortController().signal,
  ): Promise<{ readonly id: string }> {
    const { blobs, transfer, requester, providersOf } = this.#parts
    const holder = `submission/${this.#submissions++}`
    const bring: SubmissionComponents['bring'] = async (digest, providers, maxBytes) => {
      await transfer.fetch(digest, providers, {
        signal,
        holder,
        ...(maxBytes === undefined ? {} : { maxBytes }),
        findMore: (step) => providersOf(digest, step),
        giveUpMs: BRING_GIVE_UP_MS,
      })
    }
    try {
      const job = await create({ ...this.#parts, holder, bring })
      const id = await requester.submit(job)
      await this.#parts.onSubmitted(id)
      return { id }
    } finally {
      blobs.release(holder)
    }
  }

  async job(id: string, signal: AbortSignal): Promise<JobView> {
    const runner = this.#find(id)
    if (runner !== undefined) return this.view(runner)
    const bytes = await this.#askHolders('job-status', id, signal)
    return parseJobView(bytes, id)
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
    const lines = await Promise.all([...executors].map((peer) => this.#logsOf(peer, context.jobId)))
    return lines.flat().sort((a, b) => a.atMs - b.atMs)
  }

  async #logsOf(peer: PeerId, jobId: JobId): Promise<readonly LogLine[]> {
    try {
      const bytes = await this.#parts.courier.ask(
        peer,
        'job-logs',
        utf8(jobId),
        AbortSignal.timeout(ASK_MS),
      )
      return parseLogLines(bytes, peer)
    } catch (error) {
      return [{ atMs: 0, peer, task: '', text: `(no logs: ${errorMessage(error)})` }]
    }
  }

  async files(id: string, signal: AbortSignal): Promise<readonly FileView[]> {
    const { context, state } = this.#succeeded(id)
    const files: FileView[] = []
    for (const artifact of artifactsOf(context.plan, metricsIn(state))) {
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
    // As a rule it is here; else from whoever made it, under whatever address it has now.
    await this.#parts.transfer.fetch(digest, [...new Set(providers)], {
      signal,
      maxBytes: file.sizeBytes,
      findMore: (step) => this.#parts.providersOf(digest, step),
      giveUpMs: FILE_GIVE_UP_MS,
    })
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

  async evidence(id: string): Promise<Uint8Array> {
    const jobId = this.#find(id)?.context.jobId
    const record = jobId === undefined ? undefined : this.#parts.inbox.record(jobId)
    if (record === undefined) {
      throw new CtdError('EVIDENCE_MISSING', 'this peer did not weigh the bidders of that job', {
        hint: 'the daemon it was submitted to did',
      })
    }
    const frozen = record.ofKind('freezeBids')
    return this.#parts.evidence(frozen.map(({ message }) => message.receiptRoot))
  }

  async reputation(peer: PeerId, atMs: number | undefined): Promise<ReputationView> {
    return this.#parts.reputation(peer, atMs ?? this.#parts.clock.now())
  }

  peers(): Promise<readonly PeerView[]> {
    return this.#parts.peers()
  }

  node(): Promise<NodeView> {
    return Promise.resolve(this.#parts.node())
  }

  subscribe(listener: Parameters<DaemonPort['subscribe']>[0]): () => void {
    return this.#parts.events.subscribe(listener)
  }

  /** An own job by its id or a unique prefix of it. @throws CtdError JOB_AMBIGUOUS */
  #find(id: string): JobRunner | undefined {
    const runners = this.#parts.requester
      .runners()
      .filter(({ context }) => context.jobId.startsWith(id))
    if (runners.length > 1 && id.length < 64) {
      throw new CtdError('JOB_AMBIGUOUS', `${runners.length} jobs begin with ${id}`, {
        hint: 'give more characters of the id',
      })
    }
    return runners[0]
  }

  #own(id: string): JobRunner {
    const runner = this.#find(id)
    if (runner !== undefined) return runner
    const gone = this.#parts.requester.dropped(id)
    throw gone === undefined ? unknownJob(id) : droppedJob(id, gone)
  }

  #succeeded(id: string): JobRunner {
    const runner = this.#own(id)
    const { status, code, reason } = runner.state
    if (status === 'succeeded') return runner
    const isOver = status === 'failed' || status === 'cancelled'
    const why = isOver
      ? `it ${status === 'failed' ? 'failed' : 'was cancelled'}: ${reason}`
      : 'it has not ended yet'
    throw new CtdError(isOver ? 'JOB_HAS_NO_RESULT' : 'JOB_NOT_ENDED', `no results: ${why}`, {
      fields: { status, code },
    })
  }

  async #askHolders(method: string, id: string, signal: AbortSignal): Promise<Uint8Array> {
    const gone = this.#parts.requester.dropped(id)
    if (gone !== undefined) throw droppedJob(id, gone)
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

/** What a stranger says of its job. @throws CtdError JOB_UNKNOWN where that is something else */
function parseJobView(bytes: Uint8Array, id: string): JobView {
  const parsed = parseJson(bytes)
  const isView =
    Reflect.get(parsed, 'id') === id &&
    typeof Reflect.get(parsed, 'status') === 'string' &&
    Array.isArray(Reflect.get(parsed, 'tasks'))
  if (!isView) throw unknownJob(id)
  return parsed as JobView
}

/** The lines of an executor, whatever it sent: told in its own name, and only so many. */
export function parseLogLines(bytes: Uint8Array, peer: PeerId): LogLine[] {
  const parsed = parseJson(bytes)
  if (!Array.isArray(parsed)) return []
  return parsed.slice(-LOG_LINES_MAX).flatMap((line: unknown): LogLine[] => {
    const read = (name: string): unknown => Reflect.get(Object(line), name)
    const [atMs, task, text] = [read('atMs'), read('task'), read('text')]
    if (typeof atMs !== 'number' || typeof task !== 'string' || typeof text !== 'string') return []
    const short = { task: task.slice(0, 100), text: text.slice(0, LOG_LINE_CHARS) }
    return [{ atMs, peer, ...short }]
  })
}

function parseJson(bytes: Uint8Array): object {
  try {
    return Object(JSON.parse(new TextDecoder().decode(bytes))) as object
  } catch {
    return {} // Another peer's nonsense: the caller finds nothing in it.
  }
}

function droppedJob(id: string, { name, status, endedMs }: DroppedJob): CtdError {
  const day = new Date(endedMs).toISOString().slice(0, 10)
  const words = `job ${id.slice(0, 8)} (${name}) ${status} on ${day} and is not kept any more`
  return new CtdError('JOB_UNKNOWN', words, { hint: 'results are kept for seven days' })
}

function unknownJob(id: string): CtdError {
  return new CtdError('JOB_UNKNOWN', `no job ${id.slice(0, 64)} is known here`, {
    hint: 'own jobs: ctd ps; jobs of other peers need their whole id of 64 characters',
  })
}
