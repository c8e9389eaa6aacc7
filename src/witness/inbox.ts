/**
 * What every peer does with every message: verify it, find what it follows, remember it, hand it
 * on in causal order. Gossip, direct deliveries and own messages all pass here.
 */
import type { Clock } from '../clock.js'
import { CtdError, errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { assertCandidate, assertStewards } from '../protocol/ballot.js'
import { assertManifest } from '../protocol/manifest.js'
import { slotKeyOf } from '../protocol/slot-key.js'
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
  readonly resolve: (receipt: Receipt | Promise<Receipt>) => void
  readonly cancel: () => void
}

type Listener = (opened: AnyOpened, from: PeerId) => void

const ACCEPTED: Receipt = { verdict: 'accept', code: 'ACCEPTED' }
const IGNORABLE: ReadonlySet<string> = new Set([
  'KIND_UNKNOWN',
  'UNKNOWN_MODEL',
  'BAD_TRAINING_SPEC',
  'DRAFT',
])

/** Sent by those who were called to a task, and so by bidders. */
const BIDDERS_ONLY: ReadonlySet<AnyOpened['kind']> = new Set([
  'vrfOpen',
  'commitment',
  'reveal',
  'failure',
  'sketchCommitment',
  'sketch',
])
/** A job that this peer takes part in may be so many times larger than others. */
const HELD_FACTOR = 4

export class Inbox {
  readonly #options: InboxOptions
  readonly #records = new Map<JobId, JobRecord>()
  /** Which job a message, or a task, belongs to. */
  readonly #jobOf = new Map<string, JobRecord>()
  /** What became of envelopes; of those that wait, that they are sound on their own. */
  readonly #seen = new Map<Digest, Receipt['verdict']>()
  readonly #slotKeys = new Map<string, AnyOpened>()
  readonly #pending = new Map<string, Pending[]>()
  readonly #pendingOf = new Map<PeerId, number>()
  readonly #bidders = new WeakMap<Opened<'freezeBids'>, ReadonlySet<PeerId>>()
  #pendingCount = 0
  #recordBytes = 0
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

  /** How much is remembered, and of it what waits for its predecessor. */
  get sizes(): Readonly<Record<'jobs' | 'bytes' | 'pending' | 'seen' | 'slotKeys', number>> {
    return {
      jobs: this.#records.size,
      bytes: this.#recordBytes,
      pending: this.#pendingCount,
      seen: this.#seen.size,
      slotKeys: this.#slotKeys.size,
    }
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
    rememberKey(this.#seen, digestOf(opened.bytes), 'accept', LIMITS.seenEnvelopes)
    void this.#place(opened, opened.author)
  }

  /**
   * Judges an encoded envelope. Resolves once its predecessor is known, or `ignore` when that has
   * not come within a minute.
   */
  async receive(bytes: Uint8Array, from: PeerId): Promise<Receipt> {
    const digest = digestOf(bytes)
    const before = this.#seen.get(digest)
    if (before !== undefined) return { verdict: before, code: 'DUPLICATE' }
    let opened: AnyOpened
    try {
      opened = open(this.#options.network, bytes)
    } catch (error) {
      return this.#refuse(error, from)
    }
    rememberKey(this.#seen, digest, 'accept', LIMITS.seenEnvelopes)
    const placed = this.#place(opened, from)
    // Most find their predecessor here; a turn of the loop for each of them would add up.
    const receipt = placed instanceof Promise ? await placed : placed
    // What was refused once is not forwarded when it comes again.
    if (this.#seen.has(digest)) this.#seen.set(digest, receipt.verdict)
    return receipt
  }

  #refuse(error: unknown, from: PeerId): Receipt {
    const code = errorCode(error)
    this.#options.log.debug({ code, from, detail: errorMessage(error) }, 'message refused')
    const isLocal = !(error instanceof CtdError) || IGNORABLE.has(code)
    return { verdict: isLocal ? 'ignore' : 'reject', code }
  }

  #place(opened: AnyOpened, from: PeerId): Receipt | Promise<Receipt> {
    if (opened.kind === 'capability') return this.#emit(opened, from)
    if (opened.kind === 'manifest') return this.#onManifest(opened, from)
    // They go to the steward alone, by a request of their own.
    if (opened.kind === 'heartbeat') return { verdict: 'ignore', code: 'HEARTBEAT_NOT_ASKED' }
    const record = this.#find(opened)
    const previous = record === undefined ? undefined : predecessorIn(record, opened)
    const isKnown =
      record !== undefined && previous !== undefined && record.get(previous) !== undefined
    if (!isKnown) return this.#wait(opened, from, waitKey(opened))
    // Frozen reveals name the sketches that they are judged by: these travel by themselves.
    const sketches = opened.kind === 'freezeReveals' ? opened.message.sketches.map(toHex) : []
    const missing = sketches.find((id) => record.get(id) === undefined)
    if (missing !== undefined) return this.#wait(opened, from, missing)
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
      this.#makeRoom(record.sizeBytes)
      this.#records.set(record.jobId, record)
      this.#recordBytes += record.sizeBytes
      this.#jobOf.set(opened.id, record)
    } catch (error) {
      return this.#refuse(error, from)
    }
    const receipt = this.#emit(opened, from)
    this.#release(opened.id)
    return receipt
  }

  /** Forgets the oldest jobs that this peer takes no part in until there is room for one more. */
  #makeRoom(sizeBytes: number): void {
    for (const [jobId, record] of this.#records) {
      const isFull =
        this.#records.size >= LIMITS.witnessedJobs ||
        this.#recordBytes + sizeBytes > LIMITS.witnessedBytes
      if (!isFull) return
      if (this.#held.has(jobId)) continue
      this.#records.delete(jobId)
      this.#recordBytes -= record.sizeBytes
      for (const id of record.ids()) if (this.#jobOf.get(id) === record) this.#jobOf.delete(id)
      for (const [key, opened] of this.#slotKeys) {
        if (record.get(opened.id) === opened) this.#slotKeys.delete(key)
      }
    }
  }

  /** Why a sound message is not remembered; undefined where it is. */
  #refusalOf(record: JobRecord, opened: AnyOpened): string | undefined {
    if (!record.hasRoomFor(opened)) return 'TOO_MANY'
    const maxBytes = LIMITS.witnessedJobBytes * (this.#held.has(record.jobId) ? HELD_FACTOR : 1)
    if (record.sizeBytes + opened.bytes.length > maxBytes) return 'RECORD_FULL'
    return BIDDERS_ONLY.has(opened.kind) && !this.#isBidder(record, opened)
      ? 'NOT_A_BIDDER'
      : undefined
  }

  /** Only whom the stewards froze as a bidder can be called. */
  #isBidder(record: JobRecord, opened: AnyOpened): boolean {
    const offer = record.offerOf(predecessorIn(record, opened) ?? '')
    const frozen = offer === undefined ? undefined : record.frozenBidsOf(offer.id)
    if (frozen === undefined) return false
    const known = this.#bidders.get(frozen)
    const bidders =
      known ??
      new Set(frozen.message.bids.map((bytes) => open(this.#options.network, bytes).author))
    this.#bidders.set(frozen, bidders)
    return bidders.has(opened.author)
  }

  #wait(opened: AnyOpened, from: PeerId, key: string): Promise<Receipt> {
    if (opened.kind === 'offer' && !this.#records.has(key as JobId)) {
      this.#options.onUnknownJob(key as JobId, from, opened.author)
    }
    const ofPeer = this.#pendingOf.get(from) ?? 0
    if (this.#pendingCount >= LIMITS.pendingEnvelopes || ofPeer >= LIMITS.pendingPerPeer) {
      this.#seen.delete(digestOf(opened.bytes))
      return Promise.resolve({ verdict: 'ignore', code: 'PENDING_FULL' })
    }
    return new Promise((resolve) => {
      const list = this.#pending.get(key) ?? []
      const cancel = this.#options.clock.after(LIMITS.pendingMs, () => {
        const rest = (this.#pending.get(key) ?? []).filter((other) => other.opened !== opened)
        if (rest.length === 0) this.#pending.delete(key)
        else this.#pending.set(key, rest)
        this.#countPending(from, -1)
        // It was never judged: when it comes again, it is as good as new.
        this.#seen.delete(digestOf(opened.bytes))
        resolve({ verdict: 'ignore', code: 'PREDECESSOR_UNKNOWN' })
      })
      list.push({ opened, from, resolve, cancel })
      this.#pending.set(key, list)
      this.#countPending(from, 1)
    })
  }

  #countPending(from: PeerId, change: 1 | -1): void {
    this.#pendingCount += change
    const count = (this.#pendingOf.get(from) ?? 0) + change
    if (count > 0) this.#pendingOf.set(from, count)
    else this.#pendingOf.delete(from)
  }

  #accept(record: JobRecord, opened: AnyOpened, from: PeerId): Receipt {
    const slotKey = slotKeyOf(opened)
    const before = slotKey === undefined ? undefined : this.#slotKeys.get(slotKey)
    try {
      assertAuthority(record, opened)
      // Also where there is no room to remember it: the pair is what is kept.
      if (before !== undefined && before.id !== opened.id) {
        this.#options.onEquivocation(before, opened)
        return { verdict: 'ignore', code: 'EQUIVOCATION' }
      }
      const code = this.#refusalOf(record, opened)
      if (code !== undefined) return { verdict: 'ignore', code }
    } catch (error) {
      return this.#refuse(error, from)
    }
    if (slotKey !== undefined) rememberKey(this.#slotKeys, slotKey, opened, LIMITS.seenEnvelopes)
    this.#recordBytes -= record.sizeBytes
    record.add(opened)
    this.#recordBytes += record.sizeBytes
    if (this.#recordBytes > LIMITS.witnessedBytes) this.#makeRoom(0)
    if (!this.#records.has(record.jobId)) return { verdict: 'ignore', code: 'RECORD_FULL' }
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
    for (const { opened, from, resolve, cancel } of waiting) {
      cancel()
      this.#countPending(from, -1)
      resolve(this.#place(opened, from))
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
  if (opened.kind === 'freezeCommitments' || opened.kind === 'freezeSketches') {
    return opened.message.commitments
  }
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
      return toHex(opened.message.taskId)
  }
}

/** @throws CtdError NOT_THE_REQUESTER, NOT_A_STEWARD, DRAFT */
function assertAuthority(record: JobRecord, opened: AnyOpened): void {
  if (opened.kind === 'offer' || opened.kind === 'jobEnd') {
    if (opened.author === record.manifest.author) return
    throw new CtdError('NOT_THE_REQUESTER', `${opened.kind} by another than the requester`)
  }
  if (opened.kind === 'freezeCommitments' && opened.message.vrfProofs.length === 0) {
    throw new CtdError('DRAFT', 'commitments over which no steward has opened yet')
  }
  const { authors, kind, message } = opened
  if (!isCertificate(kind) && kind !== 'acknowledgement') return
  const offer = record.offerOf(predecessorIn(record, opened) ?? '')
  if (offer === undefined) throw new CtdError('NOT_A_STEWARD', `${kind} without an offer`)
  if (kind === 'acknowledgement') assertCandidate(offer, opened.author)
  else if ('view' in message) assertStewards(offer, { authors, message })
}

function rememberKey<K, T>(map: Map<K, T>, key: K, value: T, max: number): void {
  map.set(key, value)
  if (map.size <= max) return
  for (const oldest of map.keys()) {
    map.delete(oldest)
    return
  }
}
