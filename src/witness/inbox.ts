/**
 * What every peer does with every message: verify it, find what it follows, remember it, hand it
 * on in causal order. Gossip, direct deliveries and own messages all pass here.
 */
import type { Clock } from '../clock.js'
import { CtdError, errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { assertStewards } from '../protocol/ballot.js'
import { assertManifest } from '../protocol/manifest.js'
import { taskIdOf } from '../protocol/task.js'
import { isCertificate } from '../wire/messages.js'
import { open } from '../wire/envelope.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { digestOf, toHex } from '../wire/ids.js'
import type { Digest, JobId, PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { JobRecord, predecessorIn } from './job-record.js'

/** `reject` only where the sender is provably at fault; the rest is `ignore`. */
export interface Receipt {
  readonly verdict: 'accept' | 'ignore' | 'reject'
  readonly code: string
}

export interface InboxOptions {
  readonly network: string
  readonly clock: Clock
  readonly log: Log
  /** Called for an offer of a job whose manifest is not here. */
  readonly onUnknownJob: (jobId: JobId, from: PeerId, author: PeerId) => void
  /** Two messages of one author for one slot key: self-certifying and permanent. */
  readonly onEquivocation: (first: AnyOpened, second: AnyOpened) => void
}

interface Pending {
  readonly opened: AnyOpened
  readonly from: PeerId
  readonly resolve: (receipt: Receipt) => void
  readonly cancel: () => void
}

type Listener = (opened: AnyOpened, from: PeerId) => void

const ACCEPTED: Receipt = { verdict: 'accept', code: 'ACCEPTED' }
const IGNORABLE: ReadonlySet<string> = new Set([
  'KIND_UNKNOWN',
  'UNKNOWN_MODEL',
  'BAD_TRAINING_SPEC',
])

export class Inbox {
  readonly #options: InboxOptions
  readonly #records = new Map<JobId, JobRecord>()
  /** Which job a message, or a task, belongs to. */
  readonly #jobOf = new Map<string, JobRecord>()
  readonly #seen = new Set<Digest>()
  readonly #slotKeys = new Map<string, AnyOpened>()
  readonly #pending = new Map<string, Pending[]>()
  #pendingCount = 0
  readonly #held = new Set<JobId>()
  readonly #listeners: Listener[] = []

  constructor(options: InboxOptions) {
    this.#options = options
  }

  onMessage(listener: Listener): void {
    this.#listeners.push(listener)
  }

  record(jobId: string): JobRecord | undefined {
    return this.#records.get(jobId as JobId)
  }

  records(): IterableIterator<JobRecord> {
    return this.#records.values()
  }

  /** The job that a message id or task id belongs to. */
  recordOf(id: string): JobRecord | undefined {
    return this.#jobOf.get(id)
  }

  /** Keeps a job's record while this peer takes part in it. */
  hold(jobId: JobId): void {
    this.#held.add(jobId)
  }

  letGo(jobId: JobId): void {
    this.#held.delete(jobId)
  }

  /** Adds an own message; it is known to be sound. */
  note(opened: AnyOpened): void {
    this.#seen.add(digestOf(opened.bytes))
    void this.#place(opened, opened.author)
  }

  /**
   * Judges an encoded envelope. Resolves once its predecessor is known, or `ignore` when that has
   * not come within a minute.
   */
  async receive(bytes: Uint8Array, from: PeerId): Promise<Receipt> {
    const digest = digestOf(bytes)
    if (this.#seen.has(digest)) return { verdict: 'accept', code: 'DUPLICATE' }
    let opened: AnyOpened
    try {
      opened = open(this.#options.network, bytes)
    } catch (error) {
      return this.#refuse(error, from)
    }
    remember(this.#seen, digest, LIMITS.seenEnvelopes)
    return this.#place(opened, from)
  }

  #refuse(error: unknown, from: PeerId): Receipt {
    const code = errorCode(error)
    this.#options.log.debug({ code, from, detail: errorMessage(error) }, 'message refused')
    const isLocal = !(error instanceof CtdError) || IGNORABLE.has(code)
    return { verdict: isLocal ? 'ignore' : 'reject', code }
  }

  async #place(opened: AnyOpened, from: PeerId): Promise<Receipt> {
    if (opened.kind === 'capability') return this.#emit(opened, from)
    if (opened.kind === 'manifest') return this.#onManifest(opened, from)
    const record = this.#find(opened)
    const previous = record === undefined ? undefined : predecessorIn(record, opened)
    const isKnown =
      record !== undefined && previous !== undefined && record.get(previous) !== undefined
    if (!isKnown) return this.#wait(opened, from, waitKey(opened))
    return this.#accept(record, opened, from)
  }

  #find(opened: AnyOpened): JobRecord | undefined {
    const { message } = opened
    if ('jobId' in message) return this.#records.get(toHex(message.jobId) as JobId)
    return this.#jobOf.get(waitKey(opened))
  }

  #onManifest(opened: Opened<'manifest'>, from: PeerId): Receipt {
    if (this.#records.has(opened.id as string as JobId)) return ACCEPTED
    try {
      const record = new JobRecord(opened, assertManifest(this.#options.network, opened))
      this.#evict()
      this.#records.set(record.jobId, record)
      this.#jobOf.set(opened.id, record)
    } catch (error) {
      return this.#refuse(error, from)
    }
    const receipt = this.#emit(opened, from)
    this.#release(opened.id)
    return receipt
  }

  #evict(): void {
    if (this.#records.size < LIMITS.witnessedJobs) return
    for (const [jobId, record] of this.#records) {
      if (this.#held.has(jobId)) continue
      this.#records.delete(jobId)
      for (const [id, owner] of this.#jobOf) if (owner === record) this.#jobOf.delete(id)
      return
    }
  }

  #wait(opened: AnyOpened, from: PeerId, key: string): Promise<Receipt> {
    if (opened.kind === 'offer' && !this.#records.has(key as JobId)) {
      this.#options.onUnknownJob(key as JobId, from, opened.author)
    }
    if (this.#pendingCount >= LIMITS.pendingEnvelopes) {
      this.#seen.delete(digestOf(opened.bytes))
      return Promise.resolve({ verdict: 'ignore', code: 'PENDING_FULL' })
    }
    return new Promise((resolve) => {
      const list = this.#pending.get(key) ?? []
      const cancel = this.#options.clock.after(LIMITS.pendingMs, () => {
        const rest = (this.#pending.get(key) ?? []).filter((other) => other.opened !== opened)
        if (rest.length === 0) this.#pending.delete(key)
        else this.#pending.set(key, rest)
        this.#pendingCount -= 1
        // It was never judged: when it comes again, it is as good as new.
        this.#seen.delete(digestOf(opened.bytes))
        resolve({ verdict: 'ignore', code: 'PREDECESSOR_UNKNOWN' })
      })
      list.push({ opened, from, resolve, cancel })
      this.#pending.set(key, list)
      this.#pendingCount += 1
    })
  }

  #accept(record: JobRecord, opened: AnyOpened, from: PeerId): Receipt {
    try {
      assertAuthority(record, opened)
    } catch (error) {
      return this.#refuse(error, from)
    }
    const slotKey = slotKeyOf(opened)
    const before = slotKey === undefined ? undefined : this.#slotKeys.get(slotKey)
    if (before !== undefined && before.id !== opened.id) {
      this.#options.onEquivocation(before, opened)
      return { verdict: 'ignore', code: 'EQUIVOCATION' }
    }
    if (slotKey !== undefined) rememberKey(this.#slotKeys, slotKey, opened, LIMITS.seenEnvelopes)
    record.add(opened)
    this.#jobOf.set(opened.id, record)
    const receipt = this.#emit(opened, from)
    this.#release(opened.id)
    if (opened.kind === 'task') {
      const taskId = taskIdOf(opened.message)
      this.#jobOf.set(taskId, record)
      this.#release(taskId)
    }
    // Whoever told this peer something else than the stewards is found out here.
    for (const bytes of frozenIn(opened)) void this.receive(bytes, from)
    return receipt
  }

  /** Places what waited for this id, in the order it came. */
  #release(id: string): void {
    const waiting = this.#pending.get(id)
    if (waiting === undefined) return
    this.#pending.delete(id)
    this.#pendingCount -= waiting.length
    for (const { opened, from, resolve, cancel } of waiting) {
      cancel()
      void this.#place(opened, from).then(resolve)
    }
  }

  #emit(opened: AnyOpened, from: PeerId): Receipt {
    for (const listener of this.#listeners) {
      try {
        listener(opened, from)
      } catch (error) {
        const fields = { kind: opened.kind, code: errorCode(error), detail: errorMessage(error) }
        this.#options.log.error(fields, 'a listener failed')
      }
    }
    return ACCEPTED
  }
}

/** The executors' envelopes inside a certificate. */
function frozenIn(opened: AnyOpened): readonly Uint8Array[] {
  if (opened.kind === 'freezeCommitments') return opened.message.commitments
  return opened.kind === 'freezeReveals' ? opened.message.reveals : []
}

/** The id a message waits for: its predecessor, its job or its task. */
function waitKey(opened: AnyOpened): string {
  switch (opened.kind) {
    case 'manifest':
    case 'capability':
      return opened.id
    case 'offer':
    case 'jobEnd':
      return toHex(opened.message.jobId)
    case 'bid':
    case 'decline':
    case 'freezeBids':
      return toHex(opened.message.offer)
    case 'vrfOpen':
    case 'freezeOpenings':
      return toHex(opened.message.frozenBids)
    case 'task':
    case 'freezeCommitments':
    case 'freezeReveals':
    case 'receipt':
      return toHex(opened.message.previous)
    case 'heartbeat':
    case 'failure':
    case 'commitment':
    case 'reveal':
      return toHex(opened.message.taskId)
  }
}

/** @throws CtdError NOT_THE_REQUESTER, NOT_A_STEWARD */
function assertAuthority(record: JobRecord, opened: AnyOpened): void {
  if (opened.kind === 'offer' || opened.kind === 'jobEnd') {
    if (opened.author === record.manifest.author) return
    throw new CtdError('NOT_THE_REQUESTER', `${opened.kind} by another than the requester`)
  }
  if (!isCertificate(opened.kind)) return
  const offer = record.offerOf(predecessorIn(record, opened) ?? '')
  if (offer === undefined) throw new CtdError('NOT_A_STEWARD', 'a certificate without an offer')
  assertStewards(offer, opened.authors)
}

/** What an author may say only once; undefined for kinds that may be repeated. */
function slotKeyOf(opened: AnyOpened): string | undefined {
  const { author, kind } = opened
  switch (opened.kind) {
    case 'offer': {
      const { jobId, batch, attempt } = opened.message
      return `${author}/${kind}/${toHex(jobId)}/${batch}/${attempt}`
    }
    case 'bid':
    case 'decline':
      return `${author}/answer/${toHex(opened.message.offer)}`
    case 'freezeBids':
      return `${kind}/${toHex(opened.message.offer)}`
    case 'vrfOpen':
      return `${author}/${kind}/${toHex(opened.message.frozenBids)}`
    case 'freezeOpenings':
      return `${kind}/${toHex(opened.message.frozenBids)}`
    case 'commitment':
    case 'reveal':
      return `${author}/${kind}/${toHex(opened.message.taskId)}/${opened.message.attempt}`
    case 'task':
    case 'freezeCommitments':
    case 'freezeReveals':
    case 'receipt':
      // Each link of a slot's chain has one successor per slot.
      return `${kind}/${toHex(opened.message.previous)}/${'slot' in opened.message ? opened.message.slot : ''}`
    case 'jobEnd':
      return `${author}/${kind}/${toHex(opened.message.jobId)}`
    default:
      return undefined
  }
}

function remember<T>(set: Set<T>, value: T, max: number): void {
  set.add(value)
  if (set.size <= max) return
  for (const oldest of set) {
    set.delete(oldest)
    return
  }
}

function rememberKey<T>(map: Map<string, T>, key: string, value: T, max: number): void {
  map.set(key, value)
  if (map.size <= max) return
  for (const oldest of map.keys()) {
    map.delete(oldest)
    return
  }
}
