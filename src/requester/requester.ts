/** My jobs: accept, run, restart, cancel, and tell what became of them. */
import { randomBytes } from 'node:crypto'
import { CtdError, errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { Clock } from '../clock.js'
import { encodeSpec } from '../protocol/job-spec.js'
import type { JobSpec } from '../protocol/job-spec.js'
import type { JobContext } from '../protocol/job.js'
import { isEnded } from '../protocol/job-step.js'
import { assertManifest, codeBytes } from '../protocol/manifest.js'
import { slotPolicies } from '../protocol/slot-policy.js'
import type { Store } from '../store/store.js'
import { openAs, seal } from '../wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../wire/envelope.js'
import type { Image, Input } from '../wire/generated/job.js'
import { publicKeyFromPeerId } from '../wire/ids.js'
import type { JobId, PeerId } from '../wire/ids.js'
import type { Collected } from '../protocol/assignment.js'
import { JobRunner, logNameOf } from './job-runner.js'
import type { JobRunnerComponents, JobRunnerOptions } from './job-runner.js'

export interface RequesterOptions extends JobRunnerOptions {
  readonly network: string
  readonly signer: Signer
  readonly vrfSecret: Uint8Array
  readonly operator: PeerId
  readonly bidWindowMs: number
  readonly openWindowMs: number
  readonly revealWindowMs: number
  readonly slowFloorMs: number
  readonly queueTimeoutMs: number
  readonly diversity: 'operator' | 'operator-and-address'
}

export interface RequesterComponents extends Omit<
  JobRunnerComponents,
  'store' | 'notify' | 'onEnded' | 'readOutput'
> {
  readonly clock: Clock
  readonly log: Log
  readonly store: Pick<Store, 'append' | 'readLog' | 'put' | 'list' | 'delete' | 'deleteLog'>
  readonly readOutput: (
    runner: JobRunner,
    ...rest: Parameters<JobRunnerComponents['readOutput']>
  ) => ReturnType<JobRunnerComponents['readOutput']>
  /** Remembers an own message before it is sent. */
  readonly note: (opened: AnyOpened) => void
  readonly notify: (jobId: JobId, event: string, fields: Readonly<Record<string, unknown>>) => void
  readonly onEnded: (jobId: JobId) => void
  /** An earlier process's job is back, ended or not. */
  readonly onRestored?: (runner: JobRunner) => Promise<void>
  /** A job that ended long ago is forgotten. */
  readonly onDropped?: (jobId: JobId) => void
}

/** What is kept of a job for good. */
export interface DroppedJob {
  readonly name: string
  readonly status: string
  readonly endedMs: number
}

/** A job as its submitter describes it, inputs already stored as blobs. */
export interface NewJob {
  readonly name: string
  readonly spec: JobSpec
  readonly image: Image | undefined
  readonly inputs: readonly Input[]
  readonly replicas: number
  readonly auditPpm: number
  /** As `parsePolicy` reads it; exact where absent. */
  readonly compare?: string
}

const SPACE = 'job'
const JOBS_MAX = 10_000
const OPEN_JOBS_MAX = 64
/** How long a job that has ended is kept with its results. */
const ENDED_KEPT_MS = 7 * 24 * 3600 * 1000
const DROPPED = 'job-dropped'
const DROPPED_MAX = 1000

export class Requester {
  readonly #components: RequesterComponents
  readonly #options: RequesterOptions
  readonly #runners = new Map<JobId, JobRunner>()
  /** In the order they were dropped. */
  readonly #dropped = new Map<string, DroppedJob>()

  constructor(components: RequesterComponents, options: RequesterOptions) {
    this.#components = components
    this.#options = options
  }

  runners(): readonly JobRunner[] {
    return [...this.#runners.values()]
  }

  runner(jobId: string): JobRunner | undefined {
    return this.#runners.get(jobId as JobId)
  }

  /**
   * Brings back the jobs of earlier processes; those that had not ended go on. Call once the
   * network is up.
   */
  async restore(): Promise<void> {
    await this.#restoreDropped()
    for (const [jobId, text] of await this.#components.store.list(SPACE, JOBS_MAX)) {
      try {
        await this.#restoreOne(text)
      } catch (error) {
        const fields = { jobId, code: errorCode(error), detail: errorMessage(error) }
        this.#components.log.error(fields, 'a job could not be restored')
      }
    }
    await this.#dropOld()
  }

  /** A job that was dropped, by its id or the beginning of it. */
  dropped(id: string): DroppedJob | undefined {
    if (id.length < 4) return undefined
    for (const [jobId, dropped] of this.#dropped) if (jobId.startsWith(id)) return dropped
    return undefined
  }

  async #restoreDropped(): Promise<void> {
    const kept = await this.#components.store.list(DROPPED, 2 * DROPPED_MAX)
    const dropped = kept.flatMap(([jobId, text]): Array<[string, DroppedJob]> => {
      try {
        return [[jobId, JSON.parse(text) as DroppedJob]]
      } catch {
        return [] // Damaged: it is only a memory.
      }
    })
    dropped.sort(([, a], [, b]) => a.endedMs - b.endedMs)
    for (const [jobId, job] of dropped) this.#dropped.set(jobId, job)
  }

  /** Forgets the jobs that ended long ago, but for their names. */
  async #dropOld(): Promise<void> {
    const beforeMs = this.#components.clock.now() - ENDED_KEPT_MS
    for (const runner of this.runners()) {
      const { endedMs } = runner.state
      if (!isEnded(runner.state) || endedMs === undefined || endedMs > beforeMs) continue
      try {
        await this.#drop(runner, endedMs)
      } catch (error) {
        const fields = { code: errorCode(error), detail: errorMessage(error) }
        this.#components.log.warn(fields, 'an old job could not be dropped')
      }
    }
  }

  async #drop({ context, state }: JobRunner, endedMs: number): Promise<void> {
    const { store, onDropped } = this.#components
    const { jobId, manifest } = context
    const job = { name: manifest.message.name, status: state.status, endedMs }
    await store.put(DROPPED, jobId, JSON.stringify(job))
    // Without its manifest the job is gone: a log that a crash leaves is never read.
    await store.delete(SPACE, jobId)
    await store.deleteLog(logNameOf(jobId))
    this.#runners.delete(jobId)
    this.#dropped.set(jobId, job)
    onDropped?.(jobId)
    for (const [oldest] of this.#dropped) {
      if (this.#dropped.size <= DROPPED_MAX) return
      this.#dropped.delete(oldest)
      await store.delete(DROPPED, oldest)
    }
  }

  async #restoreOne(text: string): Promise<void> {
    const bytes = new Uint8Array(Buffer.from(text, 'base64'))
    const manifest = openAs(this.#options.network, bytes, 'manifest')
    this.#components.note(manifest)
    const runner = this.#createRunner(manifest)
    await runner.replay((opened) => {
      this.#components.note(opened)
    })
    await this.#components.onRestored?.(runner)
    if (isEnded(runner.state)) return
    this.#components.send(manifest, [])
    await runner.dispatch({ type: 'restarted', nowMs: this.#components.clock.now() })
  }

  /**
   * Signs the manifest, keeps it and starts the job.
   *
   * @throws CtdError TOO_MANY_JOBS, SPEC_INVALID, UNKNOWN_MODEL, …
   */
  async submit(job: NewJob): Promise<JobId> {
    const open = this.runners().filter((runner) => !isEnded(runner.state)).length
    if (open >= OPEN_JOBS_MAX) {
      throw new CtdError('TOO_MANY_JOBS', `${open} jobs are under way`, {
        hint: 'wait for one to end, or cancel one: ctd ps, ctd cancel ID',
      })
    }
    await this.#dropOld()
    const manifest = this.#seal(job)
    assertManifest(this.#options.network, manifest)
    const text = Buffer.from(manifest.bytes).toString('base64')
    await this.#components.store.put(SPACE, manifest.id, text, true)
    this.#components.note(manifest)
    this.#components.send(manifest, [])
    const runner = this.#createRunner(manifest)
    void runner.dispatch({ type: 'started', nowMs: this.#components.clock.now() })
    return runner.context.jobId
  }

  #seal(job: NewJob): Opened<'manifest'> {
    const { signer, network, operator } = this.#options
    const spec = encodeSpec(job.spec)
    const inputs = [...job.inputs]
    const code = { spec, inputs, ...(job.image === undefined ? {} : { image: job.image }) }
    return seal(
      network,
      'manifest',
      {
        version: 1,
        jobKind: job.spec.kind,
        name: job.name,
        ...code,
        planSeed: new Uint8Array(randomBytes(32)),
        compare: job.compare ?? 'exact',
        replicas: job.replicas,
        auditPpm: job.auditPpm,
        createdMs: this.#components.clock.now(),
        publisher: publicKeyFromPeerId(signer.peerId),
        publisherSignature: signer.sign(codeBytes(network, code)),
        operator: publicKeyFromPeerId(operator),
      },
      signer,
    )
  }

  #createRunner(manifest: Opened<'manifest'>): JobRunner {
    const { signer, network, vrfSecret } = this.#options
    const jobId = manifest.id as string as JobId
    const plan = assertManifest(network, manifest)
    const context: JobContext = {
      network,
      signer,
      vrfSecret,
      jobId,
      requester: signer.peerId,
      replicas: manifest.message.replicas,
      auditPpm: manifest.message.auditPpm,
      revealWindowMs: this.#options.revealWindowMs,
      slowFloorMs: this.#options.slowFloorMs,
      policyOf: slotPolicies(manifest.message.compare, plan),
      manifest,
      plan,
      bidWindowMs: this.#options.bidWindowMs,
      openWindowMs: this.#options.openWindowMs,
      diversity: this.#options.diversity,
      queueTimeoutMs: this.#options.queueTimeoutMs,
    }
    const components = this.#components
    const runner: JobRunner = new JobRunner(
      context,
      {
        ...components,
        notify: (event, fields) => {
          components.notify(jobId, event, fields)
        },
        readOutput: (...rest) => components.readOutput(runner, ...rest),
      },
      this.#options,
    )
    this.#runners.set(jobId, runner)
    return runner
  }

  /** @throws CtdError JOB_UNKNOWN */
  async cancel(jobId: string, reason: string): Promise<void> {
    const runner = this.runner(jobId)
    if (runner === undefined) throw new CtdError('JOB_UNKNOWN', `no own job ${jobId}`)
    await runner.dispatch({ type: 'cancelled', reason, nowMs: this.#components.clock.now() })
  }

  onMessage(jobId: JobId, opened: Collected): void {
    this.#runners.get(jobId)?.onMessage(opened)
  }

  onPeer(peer: PeerId, kind: 'connected' | 'disconnected'): void {
    for (const runner of this.#runners.values()) {
      if (kind === 'connected') runner.onConnected()
      else runner.onDisconnected(peer)
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.runners().map((runner) => runner.stop()))
  }
}
