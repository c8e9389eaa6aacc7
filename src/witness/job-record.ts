/** All signed messages a peer has seen of one job, by what they follow. */
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { toHex } from '../wire/ids.js'
import type { Digest, JobId, TaskId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { Plan } from '../protocol/plan.js'
import { taskIdOf } from '../protocol/task.js'

/** A planned slot in memory. */
const SLOT_BYTES = 1024

export class JobRecord {
  readonly jobId: JobId
  readonly manifest: Opened<'manifest'>
  readonly plan: Plan
  readonly #messages = new Map<Digest, AnyOpened>()
  /** The offer each message of a batch belongs to. */
  readonly #offers = new Map<Digest, Opened<'offer'>>()
  readonly #tasks = new Map<TaskId, Opened<'task'>>()
  readonly #frozenBids = new Map<string, Opened<'freezeBids'>>()
  readonly #counts = new Map<string, number>()
  #sizeBytes: number
  end: Opened<'jobEnd'> | undefined

  constructor(manifest: Opened<'manifest'>, plan: Plan) {
    this.jobId = manifest.id as string as JobId
    this.manifest = manifest
    this.plan = plan
    this.#messages.set(manifest.id, manifest)
    const slots = plan.batches.reduce((sum, batch) => sum + batch.length, 0)
    this.#sizeBytes = manifest.bytes.length + slots * SLOT_BYTES
  }

  /** About what the record takes in memory. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** The ids under which the job is found: those of its messages and tasks. */
  *ids(): Generator<string> {
    yield* this.#messages.keys()
    yield* this.#tasks.keys()
  }

  frozenBidsOf(offerId: string): Opened<'freezeBids'> | undefined {
    return this.#frozenBids.get(offerId)
  }

  /** Whether there is room for one more message of those that strangers may send in any number. */
  hasRoomFor(opened: AnyOpened): boolean {
    const limited = countedAs(opened)
    return limited === undefined || (this.#counts.get(limited.key) ?? 0) < limited.max
  }

  get(id: string): AnyOpened | undefined {
    return this.#messages.get(id as Digest)
  }

  /** The offer that a message of this job belongs to. */
  offerOf(id: string): Opened<'offer'> | undefined {
    return this.#offers.get(id as Digest)
  }

  /** The last call for a task. */
  taskOf(taskId: string): Opened<'task'> | undefined {
    return this.#tasks.get(taskId as TaskId)
  }

  /** Every message, in the order of arrival. */
  messages(): IterableIterator<AnyOpened> {
    return this.#messages.values()
  }

  ofKind<K extends AnyOpened['kind']>(kind: K): Array<Opened<K>> {
    return [...this.#messages.values()].filter((opened) => opened.kind === kind) as Array<Opened<K>>
  }

  /** Adds a message whose predecessor is here already. */
  add(opened: AnyOpened): void {
    if (!this.#messages.has(opened.id)) this.#sizeBytes += opened.bytes.length
    this.#messages.set(opened.id, opened)
    const limited = countedAs(opened)
    if (limited !== undefined) {
      this.#counts.set(limited.key, (this.#counts.get(limited.key) ?? 0) + 1)
    }
    if (opened.kind === 'freezeBids') this.#frozenBids.set(toHex(opened.message.offer), opened)
    const offer = opened.kind === 'offer' ? opened : this.offerOf(predecessorIn(this, opened) ?? '')
    if (offer !== undefined) this.#offers.set(opened.id, offer)
    if (opened.kind === 'jobEnd') this.end ??= opened
    if (opened.kind !== 'task') return
    const taskId = taskIdOf(opened.message)
    const known = this.#tasks.get(taskId)
    if (known === undefined || isLater(opened, known)) this.#tasks.set(taskId, opened)
  }
}

/** What a message counts as, and how many of these a record takes; undefined where all are due. */
function countedAs(opened: AnyOpened): { readonly key: string; readonly max: number } | undefined {
  if (opened.kind === 'bid' || opened.kind === 'decline') {
    return { key: toHex(opened.message.offer), max: LIMITS.answersPerOffer }
  }
  if (opened.kind === 'acknowledgement') {
    const key = `${opened.author}/${toHex(opened.message.offer)}`
    return { key, max: LIMITS.acknowledgementsPerSteward }
  }
  if (opened.kind !== 'failure') return undefined
  const key = `${opened.author}/${toHex(opened.message.taskId)}`
  return { key, max: LIMITS.failuresPerAuthor }
}

function isLater(task: Opened<'task'>, other: Opened<'task'>): boolean {
  const { attempt, seats } = task.message
  return (
    attempt > other.message.attempt ||
    (attempt === other.message.attempt && seats > other.message.seats)
  )
}

/**
 * The id of the message that must be known before this one makes sense; undefined where that is
 * a task that has not been called yet.
 */
export function predecessorIn(record: JobRecord, opened: AnyOpened): string | undefined {
  switch (opened.kind) {
    case 'manifest':
    case 'capability':
      return undefined
    case 'offer':
    case 'jobEnd':
      return record.jobId
    case 'bid':
    case 'decline':
    case 'freezeBids':
    case 'acknowledgement':
      return toHex(opened.message.offer)
    case 'vrfOpen':
    case 'freezeOpenings':
      return toHex(opened.message.frozenBids)
    case 'task':
    case 'freezeCommitments':
    case 'freezeSketches':
    case 'freezeReveals':
    case 'receipt':
      return toHex(opened.message.previous)
    case 'sketchCommitment':
    case 'sketch':
      return toHex(opened.message.frozen)
    case 'heartbeat':
    case 'failure':
    case 'commitment':
    case 'reveal':
      return record.taskOf(toHex(opened.message.taskId))?.id
  }
}
