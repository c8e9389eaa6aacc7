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
import type { ComparePolicy } from '../protocol/compare.js'
import { encodeBuckets, updateRootOf } from '../protocol/sketch.js'
import {
  claimUpdate,
  sketchCommitmentOf,
  sketchMessage,
  sketchUpdate,
} from '../protocol/sketch-message.js'
import type { SketchedUpdate } from '../protocol/sketch-message.js'
import { commitmentOf } from '../protocol/task.js'
import type { UpdateSource } from '../training/update.js'
import type { Store } from '../store/store.js'
import { seal } from '../wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../wire/envelope.js'
import { fromHex, sha256, toHex, utf8 } from '../wire/ids.js'
import type { Digest, JobId, PeerId, TaskId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { ReplicaFetch } from './fetch-state.js'

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
  /** Present while something is being fetched. */
  readonly fetch?: ReplicaFetch
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
  /** The update in an output of this replica, for slots that compare tensors. */
  readonly openUpdate: (replica: Replica, root: Digest) => Promise<UpdateSource>
}

export interface ReplicaOptions {
  readonly jobId: JobId
  readonly manifest: Opened<'manifest'>
  readonly offer: Opened<'offer'>
  readonly task: Opened<'task'>
  readonly taskId: TaskId
  readonly slot: PlannedSlot
  readonly resources: Resources
  /** How this slot's results are compared. */
  readonly policy: ComparePolicy
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
  /** Where tensors are compared: `updateRootOf`, and a secret that hides the sketches. */
  readonly updateRoot?: string
  readonly sketchSecret?: string
}

const SALT_DOMAIN = utf8('ctd-sketch-salt-v1\0')

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
  /** The sketch under the seed of one freeze of commitments. */
  #sketched: { readonly frozen: Digest; readonly update: Promise<SketchedUpdate> } | undefined

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
    const whole = { ...kept, ...(await this.#claim(output.root)) }
    await this.#components.store.put(SPACE, this.key, JSON.stringify(whole), true)
    return whole
  }

  async #claim(root: Digest): Promise<Pick<Kept, 'updateRoot' | 'sketchSecret'>> {
    if (this.options.policy.kind !== 'tensors') return {}
    const claim = await claimUpdate(await this.#components.openUpdate(this, root))
    return {
      updateRoot: Buffer.from(updateRootOf(claim)).toString('base64'),
      sketchSecret: Buffer.from(randomBytes(32)).toString('base64'),
    }
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
      updateRoot: fromBase64(kept.updateRoot ?? ''),
    })
    const message = { taskId: fromHex(taskId), attempt, commitment }
    this.#enter('committed')
    this.#components.send(seal(network, 'commitment', message, signer), stewards)
  }

  /**
   * The stewards froze the commitments, no further replica is due, and tensors are compared:
   * sketches the update under the seed that follows, and commits to the sketch.
   */
  async sketch(frozen: Opened<'freezeCommitments'>, seed2: Uint8Array): Promise<void> {
    const kept = this.#kept
    if (kept === undefined || this.phase === 'failed' || this.phase === 'done') return
    const { network, signer, log } = this.#components
    const { taskId, stewards } = this.options
    try {
      if (this.#sketched?.frozen !== frozen.id) {
        const update = this.#components
          .openUpdate(this, kept.root)
          .then((source) => sketchUpdate(source, seed2))
        this.#sketched = { frozen: frozen.id, update }
      }
      const { sketch } = await this.#sketched.update
      if (this.#abort.signal.aborted) return
      const commitment = sketchCommitmentOf({
        taskId,
        frozen: frozen.id,
        peer: signer.peerId,
        shift: sketch.shift,
        buckets: encodeBuckets(sketch.buckets),
        salt: this.#sketchSalt(kept, frozen.id),
      })
      const message = { taskId: fromHex(taskId), frozen: fromHex(frozen.id), commitment }
      this.#components.send(seal(network, 'sketchCommitment', message, signer), stewards)
    } catch (error) {
      const fields = { taskId, code: errorCode(error), detail: errorMessage(error) }
      log.warn(fields, 'an update could not be sketched')
    }
  }

  /** Another one for every freeze, and always the same for one: it need not be kept. */
  #sketchSalt({ sketchSecret = '' }: Kept, frozen: Digest): Uint8Array {
    return sha256(SALT_DOMAIN, fromBase64(sketchSecret), fromHex(frozen))
  }

  /** The stewards froze the sketches of a freeze of commitments, the own one among them. */
  async openSketch(frozen: Opened<'freezeSketches'>): Promise<void> {
    const [kept, sketched] = [this.#kept, this.#sketched]
    const commitments = toHex(frozen.message.previous)
    if (kept === undefined || sketched?.frozen !== commitments) return
    const { network, signer } = this.#components
    const { taskId, stewards } = this.options
    const update = await sketched.update
    if (this.#abort.signal.aborted) return
    this.reveal()
    const salt = this.#sketchSalt(kept, sketched.frozen)
    const message = sketchMessage(update, { taskId, frozen: frozen.id, salt })
    this.#components.send(seal(network, 'sketch', message, signer), stewards)
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
        updateRoot: fromBase64(kept.updateRoot ?? ''),
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
