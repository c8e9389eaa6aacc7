/**
 * One replica of a task on this machine: fetch, execute, commit, reveal. The commitment and its
 * salt are on disk before anything is published, so that a restarted peer never commits twice to
 * different things.
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../clock.js'
import { CtdError, diskError, errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { encodeMetrics } from '../protocol/metrics.js'
import type { Resources } from '../protocol/job-spec.js'
import type { PlannedSlot } from '../protocol/plan.js'
import { commitmentOf } from '../protocol/task.js'
import type { Store } from '../store/store.js'
import { seal } from '../wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../wire/envelope.js'
import { fromHex } from '../wire/ids.js'
import type { Digest, JobId, PeerId, TaskId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'

export type ReplicaPhase =
  'queued' | 'fetching' | 'running' | 'committed' | 'revealed' | 'failed' | 'done'

/** What a task's run left: the root of its output and where it stands. */
export interface ReplicaOutput {
  readonly root: Digest
  readonly listing: Uint8Array
  readonly metrics: Uint8Array | undefined
}

export interface ReplicaProgress {
  readonly step: number
  readonly total: number
  readonly note: string
}

/** What a replica asks of the daemon. */
export interface ReplicaComponents {
  readonly network: string
  readonly signer: Signer
  readonly clock: Clock
  readonly log: Log
  readonly store: Pick<Store, 'put' | 'get' | 'delete'>
  /** Sends to everyone and to the stewards. */
  readonly send: (opened: AnyOpened, to: readonly PeerId[]) => void
  /** Fetches the inputs and runs the program. @throws CtdError with the code of the failure */
  readonly work: (
    replica: Replica,
    on: { phase(phase: 'fetching' | 'running'): void; progress(progress: ReplicaProgress): void },
    signal: AbortSignal,
  ) => Promise<ReplicaOutput>
  readonly onPhase: (replica: Replica) => void
}

export interface ReplicaOptions {
  readonly jobId: JobId
  readonly manifest: Opened<'manifest'>
  readonly offer: Opened<'offer'>
  readonly task: Opened<'task'>
  readonly taskId: TaskId
  readonly slot: PlannedSlot
  readonly resources: Resources
  readonly stewards: readonly PeerId[]
}

const SPACE = 'replica'

/** The salted result as kept on disk. */
interface Kept {
  readonly salt: string
  readonly root: Digest
  readonly listing: string
  readonly metrics: string
  readonly durationMs: number
}

export class Replica {
  readonly options: ReplicaOptions
  readonly #components: ReplicaComponents
  readonly #abort = new AbortController()
  phase: ReplicaPhase = 'queued'
  progress: ReplicaProgress = { step: 0, total: 0, note: '' }
  readonly takenMs: number
  /** When a steward last answered a heartbeat; at first, when the replica was taken on. */
  answeredMs: number
  #kept: Kept | undefined
  #reveal: Opened<'reveal'> | undefined

  constructor(options: ReplicaOptions, components: ReplicaComponents) {
    this.options = options
    this.#components = components
    this.takenMs = components.clock.now()
    this.answeredMs = this.takenMs
  }

  get key(): string {
    return `${this.options.taskId}/${this.options.offer.message.attempt}`
  }

  /** Runs to the commitment; never throws. */
  async run(): Promise<void> {
    const startedMs = this.#components.clock.now()
    try {
      const before = await this.#components.store.get(SPACE, this.key)
      const kept = before === undefined ? await this.#work(startedMs) : (JSON.parse(before) as Kept)
      this.#abort.signal.throwIfAborted()
      this.#kept = kept
      this.#commit(kept)
    } catch (error) {
      this.#fail(error)
    }
  }

  async #work(startedMs: number): Promise<Kept> {
    const output = await this.#components.work(
      this,
      {
        phase: (phase) => {
          this.#enter(phase)
        },
        progress: (progress) => {
          this.progress = progress
          this.#components.onPhase(this)
        },
      },
      this.#abort.signal,
    )
    const kept: Kept = {
      salt: Buffer.from(randomBytes(32)).toString('base64'),
      root: output.root,
      listing:
        output.listing.length <= LIMITS.listingBytes
          ? Buffer.from(output.listing).toString('base64')
          : '',
      metrics: Buffer.from(encodeMetrics(output.metrics)).toString('base64'),
      durationMs: this.#components.clock.now() - startedMs,
    }
    await this.#components.store.put(SPACE, this.key, JSON.stringify(kept), true)
    return kept
  }

  #enter(phase: ReplicaPhase): void {
    this.phase = phase
    this.#components.onPhase(this)
  }

  #commit(kept: Kept): void {
    const { network, signer } = this.#components
    const { taskId, offer, stewards } = this.options
    const { attempt } = offer.message
    const commitment = commitmentOf({
      taskId,
      attempt,
      peer: signer.peerId,
      outputRoot: fromHex(kept.root),
      metrics: fromBase64(kept.metrics),
      salt: fromBase64(kept.salt),
    })
    const message = { taskId: fromHex(taskId), attempt, commitment }
    this.#enter('committed')
    this.#components.send(seal(network, 'commitment', message, signer), stewards)
  }

  /** The stewards froze the commitments and no further replica is due. */
  reveal(): void {
    const kept = this.#kept
    if (kept === undefined || this.phase === 'failed' || this.phase === 'done') return
    const { network, signer } = this.#components
    const { taskId, offer, stewards } = this.options
    this.#reveal ??= seal(
      network,
      'reveal',
      {
        taskId: fromHex(taskId),
        attempt: offer.message.attempt,
        outputRoot: fromHex(kept.root),
        metrics: fromBase64(kept.metrics),
        salt: fromBase64(kept.salt),
        durationMs: kept.durationMs,
        listing: fromBase64(kept.listing),
      },
      signer,
    )
    this.#enter('revealed')
    this.#components.send(this.#reveal, stewards)
  }

  #fail(cause: unknown): void {
    const error = diskError(cause)
    const { network, signer, log } = this.#components
    const { taskId, stewards, slot } = this.options
    if (this.phase === 'done') return
    const code = errorCode(error)
    const reason = errorMessage(error)
    log.warn({ taskId, slot: slot.name, code, detail: reason }, 'replica failed')
    this.#enter('failed')
    if (this.#abort.signal.aborted) return
    const message = {
      taskId: fromHex(taskId),
      code: code.slice(0, 64),
      reason: (error instanceof CtdError ? reason : 'an internal error').slice(0, LIMITS.textBytes),
    }
    this.#components.send(seal(network, 'failure', message, signer), stewards)
  }

  /** Stops whatever it does; nothing more is published. */
  end(): void {
    this.phase = 'done'
    this.#abort.abort()
    this.#components.store.delete(SPACE, this.key).catch((error: unknown) => {
      // A full disk keeps the record; the next start of the same replica would find it.
      const fields = { code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'a kept result could not be deleted')
    })
    this.#components.onPhase(this)
  }

  /** Stops for a shutdown; what was kept stays. */
  stop(): void {
    this.#abort.abort()
  }
}

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64'))
}
