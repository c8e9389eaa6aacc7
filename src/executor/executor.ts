/**
 * Jobs I do: bid, open, take the seats I was elected to, run them in turn, reveal when it is time.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { electionOf, openingAlpha, seed2Of } from '../protocol/ballot.js'
import type { Ballot } from '../protocol/ballot.js'
import { hiddenReplicaDrawn } from '../protocol/election.js'
import type { Election } from '../protocol/election.js'
import { parsePolicy } from '../protocol/compare.js'
import { slotPolicy } from '../protocol/slot-policy.js'
import { stewardsOf } from '../protocol/slot-step.js'
import { taskIdOf } from '../protocol/task.js'
import { vrfProve, vrfPublicKey } from '../protocol/vrf.js'
import { openAs, seal } from '../wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../wire/envelope.js'
import { fromHex, publicKeyFromPeerId, toHex } from '../wire/ids.js'
import type { JobId, PeerId, TaskId } from '../wire/ids.js'
import type { JobRecord } from '../witness/job-record.js'
import { refusalOf } from './bid.js'
import type { Offering } from './bid.js'
import { Replica } from './replica.js'
import type { ReplicaComponents } from './replica.js'

export interface ExecutorComponents extends ReplicaComponents {
  readonly signer: Signer
  readonly clock: Clock
  readonly log: Log
  readonly record: (jobId: JobId) => JobRecord | undefined
  readonly recordOf: (id: string) => JobRecord | undefined
  readonly offering: () => Offering
  readonly hardwareClass: () => string
  /** Benchmarked speed of what tasks run on, 10^6 operations per second. */
  readonly flopsMega: () => number
  /** Sends to these peers alone. */
  readonly sendTo: (opened: AnyOpened, to: readonly PeerId[]) => void
  /** Asks a steward whether it still waits; gives what may have been missed. */
  readonly heartbeat: (
    replica: Replica,
    steward: PeerId,
  ) => Promise<{ readonly isAwaited: boolean; readonly missed: readonly Uint8Array[] }>
  readonly receive: (bytes: Uint8Array, from: PeerId) => void
}

export interface ExecutorOptions {
  readonly vrfSecret: Uint8Array
  readonly operator: PeerId
  /** Replicas that run at the same time. */
  readonly seats: number
  readonly heartbeatMs: number
}

/** A replica whose steward has been silent for so long is given up. */
const SILENCE_MAX_MS = 3600_000
/** And one that its stewards never close, however they answer. */
const LIFE_MAX_MS = 72 * 3600_000
/** Replicas at once, those that wait for their reveal included. */
export const REPLICAS_MAX = 1024
const ELECTIONS_MAX = 256
/** What draws no seed is no certificate; nobody judges by it. */
const NO_SEED = new Uint8Array(64)
/** Certificates that a steward tells of with a heartbeat's answer. */
const MISSED_MAX = 16

export class Executor {
  readonly #components: ExecutorComponents
  readonly #options: ExecutorOptions
  readonly #vrfKey: Uint8Array
  readonly #replicas = new Map<string, Replica>()
  readonly #elections = new Map<string, Election>()
  readonly #queue: Replica[] = []
  #running = 0
  #finished = 0
  #isStopped = false
  #cancelBeat: (() => void) | undefined

  constructor(components: ExecutorComponents, options: ExecutorOptions) {
    this.#components = components
    this.#options = options
    this.#vrfKey = vrfPublicKey(options.vrfSecret)
  }

  get replicas(): readonly Replica[] {
    return [...this.#replicas.values()]
  }

  /** Replicas that ran to a commitment since the start. */
  get finished(): number {
    return this.#finished
  }

  get executing(): number {
    return this.#running
  }

  /** Replicas that wait for a seat. */
  get waiting(): number {
    return this.#queue.length
  }

  onMessage(opened: AnyOpened): void {
    switch (opened.kind) {
      case 'offer':
        this.#onOffer(opened)
        return
      case 'freezeBids':
        this.#onFrozenBids(opened)
        return
      case 'task':
        this.#onTask(opened)
        return
      case 'freezeCommitments':
        this.#onFrozenCommitments(opened)
        return
      case 'freezeSketches':
        this.#onFrozenSketches(opened)
        return
      case 'receipt':
        this.#onReceipt(opened)
        return
      case 'jobEnd':
        this.#onJobEnd(toHex(opened.message.jobId) as JobId)
        return
      default:
        return
    }
  }

  stop(): void {
    this.#isStopped = true
    this.#cancelBeat?.()
    this.#queue.length = 0
    for (const replica of this.#replicas.values()) replica.stop()
  }

  #onOffer(offer: Opened<'offer'>): void {
    const { network, signer } = this.#components
    const record = this.#components.record(toHex(offer.message.jobId) as JobId)
    if (record === undefined || record.end !== undefined) return
    // The requester never executes its own job.
    if (record.manifest.author === signer.peerId) return
    const offering = this.#components.offering()
    const backlog = this.#queue.length + this.#running
    const refusal = refusalOf(offering, offer, record.manifest, backlog)
    const id = fromHex(offer.id)
    const answer: AnyOpened =
      refusal === undefined
        ? seal(
            network,
            'bid',
            {
              offer: id,
              capacity: offering.seatsPerBatch,
              vrfKey: this.#vrfKey,
              operator: publicKeyFromPeerId(this.#options.operator),
              hardwareClass: this.#components.hardwareClass(),
              flopsMega: this.#components.flopsMega(),
            },
            signer,
          )
        : seal(network, 'decline', { offer: id, ...refusal }, signer)
    this.#components.sendTo(answer, stewardsOf(offer))
  }

  #onFrozenBids(frozen: Opened<'freezeBids'>): void {
    const { network, signer } = this.#components
    const offer = this.#components.recordOf(frozen.id)?.offerOf(frozen.id)
    if (offer === undefined || !this.#hasBid(frozen)) return
    const proof = vrfProve(this.#options.vrfSecret, openingAlpha(offer, frozen.id))
    const opening = seal(network, 'vrfOpen', { frozenBids: fromHex(frozen.id), proof }, signer)
    this.#components.sendTo(opening, stewardsOf(offer))
  }

  #hasBid(frozen: Opened<'freezeBids'>): boolean {
    return frozen.message.bids.some(
      (bytes) =>
        openAs(this.#components.network, bytes, 'bid').author === this.#components.signer.peerId,
    )
  }

  #ballotOf(record: JobRecord, id: string): Ballot | undefined {
    const offer = record.offerOf(id)
    if (offer === undefined) return undefined
    const frozenBids = record
      .ofKind('freezeBids')
      .find((freeze) => toHex(freeze.message.offer) === offer.id)
    const frozenOpenings = record
      .ofKind('freezeOpenings')
      .find((freeze) => toHex(freeze.message.frozenBids) === frozenBids?.id)
    if (frozenBids === undefined || frozenOpenings === undefined) return undefined
    return { offer, frozenBids, frozenOpenings }
  }

  /** The ranking of a task's slot, recomputed from the frozen messages. */
  #rankingOf(record: JobRecord, task: Opened<'task'>): readonly PeerId[] {
    const ballot = this.#ballotOf(record, task.id)
    if (ballot === undefined) return []
    const { id } = ballot.frozenOpenings
    try {
      const election =
        this.#elections.get(id) ??
        electionOf(this.#components.network, ballot, record.manifest.author, 'trust')
      if (this.#elections.size >= ELECTIONS_MAX) this.#elections.clear()
      this.#elections.set(id, election)
      return election.slots[task.message.slot]?.ranking ?? []
    } catch (error) {
      const fields = { code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'an election does not hold')
      return []
    }
  }

  #onTask(task: Opened<'task'>): void {
    const record = this.#components.recordOf(task.id)
    const offer = record?.offerOf(task.id)
    const { batch, slot: index, seats, attempt } = task.message
    const slot = record?.plan.batches[batch]?.[index]
    if (record === undefined || offer === undefined || slot === undefined || record.end) return
    const seat = this.#rankingOf(record, task).indexOf(this.#components.signer.peerId)
    if (seat < 0 || seat >= seats) return
    const taskId: TaskId = taskIdOf(task.message)
    if (this.#replicas.has(`${taskId}/${attempt}`)) return
    if (this.#isPassedOver(record, task, seat)) return
    const stewards = stewardsOf(offer)
    const { jobId, manifest } = record
    this.#endEarlier(taskId, attempt)
    if (this.#replicas.size >= REPLICAS_MAX) {
      this.#components.log.warn({ jobId, taskId, code: 'TOO_MANY_REPLICAS' }, 'a call is not taken')
      return
    }
    const replica = new Replica(
      {
        jobId,
        manifest,
        offer,
        task,
        taskId,
        slot,
        resources: record.plan.resources,
        policy: slotPolicy(parsePolicy(manifest.message.compare), slot),
        stewards,
      },
      this.#components,
    )
    this.#replicas.set(replica.key, replica)
    this.#queue.push(replica)
    this.#startBeating()
    this.#startNext()
  }

  /** Whether a freeze went on without this executor: a later call of the slot is for others. */
  #isPassedOver(record: JobRecord, task: Opened<'task'>, seat: number): boolean {
    const { network, signer } = this.#components
    let link = record.get(toHex(task.message.previous))
    let isFrozen = false
    while (link !== undefined && link.kind !== 'freezeOpenings' && 'previous' in link.message) {
      if (link.kind === 'freezeCommitments') {
        const isMine = link.message.commitments.some(
          (bytes) => openAs(network, bytes, 'commitment').author === signer.peerId,
        )
        if (isMine) return false
        isFrozen = true
      }
      if (link.kind === 'task' && isFrozen && seat < link.message.seats) return true
      link = record.get(toHex(link.message.previous))
    }
    return false
  }

  /** A new attempt at a task supersedes the earlier ones: nobody waits for their results. */
  #endEarlier(taskId: TaskId, attempt: number): void {
    for (const replica of this.#replicas.values()) {
      const { options } = replica
      if (options.taskId === taskId && options.offer.message.attempt < attempt) replica.end()
    }
    this.#forgetDone()
  }

  #startNext(): void {
    while (this.#running < this.#options.seats && !this.#isStopped) {
      const replica = this.#queue.shift()
      if (replica === undefined) return
      if (replica.phase === 'done') continue
      this.#running += 1
      void this.#run(replica)
    }
  }

  async #run(replica: Replica): Promise<void> {
    try {
      await replica.run()
      if (replica.phase === 'committed') this.#finished += 1
    } catch (error) {
      const fields = { code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.error(fields, 'a replica could not say how it ended')
    }
    this.#running -= 1
    this.#startNext()
  }

  /** Reveals when the own commitment is frozen, unless the draw asks for one more replica first. */
  #onFrozenCommitments(frozen: Opened<'freezeCommitments'>): void {
    const record = this.#components.recordOf(frozen.id)
    if (record === undefined) return
    const mine = frozen.message.commitments
      .map((bytes) => openAs(this.#components.network, bytes, 'commitment'))
      .find((commitment) => commitment.author === this.#components.signer.peerId)
    const task = record.get(toHex(frozen.message.previous))
    if (mine === undefined) {
      if (task?.kind === 'task') this.#endOutrun(task)
      return
    }
    const { taskId, attempt } = mine.message
    const replica = this.#replicas.get(`${toHex(taskId)}/${attempt}`)
    if (replica === undefined || task?.kind !== 'task') return
    if (this.#isHiddenDue(record, frozen, task)) return
    if (replica.options.policy.kind !== 'tensors') replica.reveal()
    else void replica.sketch(frozen, seed2Of(replica.options.offer, frozen, 'trust') ?? NO_SEED)
  }

  /** Others were faster: the seat is worth more than a result that counts no more. */
  #endOutrun(task: Opened<'task'>): void {
    const replica = this.#replicas.get(`${taskIdOf(task.message)}/${task.message.attempt}`)
    if (replica === undefined || !isUnfinished(replica)) return
    replica.end()
    this.#forgetDone()
  }

  #onFrozenSketches(frozen: Opened<'freezeSketches'>): void {
    const mine = frozen.message.commitments
      .map((bytes) => openAs(this.#components.network, bytes, 'sketchCommitment'))
      .find((commitment) => commitment.author === this.#components.signer.peerId)
    if (mine === undefined) return
    const taskId = toHex(mine.message.taskId)
    for (const replica of this.#replicas.values()) {
      if (replica.options.taskId === taskId) void this.#openSketch(replica, frozen)
    }
  }

  async #openSketch(replica: Replica, frozen: Opened<'freezeSketches'>): Promise<void> {
    try {
      await replica.openSketch(frozen)
    } catch (error) {
      const fields = { code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'a sketch could not be opened')
    }
  }

  #isHiddenDue(
    record: JobRecord,
    frozen: Opened<'freezeCommitments'>,
    task: Opened<'task'>,
  ): boolean {
    // Only the first freeze of a slot draws: the calls before it lead back to the election.
    let before: AnyOpened | undefined = task
    while (before?.kind === 'task') before = record.get(toHex(before.message.previous))
    if (before?.kind !== 'freezeOpenings') return false
    const offer = record.offerOf(task.id)
    if (offer === undefined) return false
    const output = seed2Of(offer, frozen, 'trust')
    const { auditPpm } = offer.message
    const { slot, seats } = task.message
    const hasStandby = this.#rankingOf(record, task).length > seats
    // What draws nothing is no certificate: nobody reveals.
    return output === undefined || (hasStandby && hiddenReplicaDrawn(output, slot, auditPpm))
  }

  #onReceipt(receipt: Opened<'receipt'>): void {
    const taskId = toHex(receipt.message.taskId)
    const attempt = this.#components.recordOf(receipt.id)?.offerOf(receipt.id)?.message.attempt
    // A late receipt of an earlier attempt says nothing about a later one.
    const replica = this.#replicas.get(`${taskId}/${attempt}`)
    replica?.end()
    this.#forgetDone()
  }

  #onJobEnd(jobId: JobId): void {
    for (const replica of this.#replicas.values()) {
      if (replica.options.jobId === jobId) replica.end()
    }
    this.#forgetDone()
  }

  #forgetDone(): void {
    for (const [key, replica] of this.#replicas)
      if (replica.phase === 'done') this.#replicas.delete(key)
  }

  #startBeating(): void {
    if (this.#cancelBeat !== undefined || this.#isStopped) return
    this.#cancelBeat = this.#components.clock.after(this.#options.heartbeatMs, () => {
      this.#cancelBeat = undefined
      void this.#beat()
    })
  }

  /** Tells the stewards that the replicas live; learns what was missed. */
  async #beat(): Promise<void> {
    const alive = this.replicas.filter(({ phase }) => phase !== 'done')
    await Promise.all(alive.map((replica) => this.#beatOne(replica)))
    this.#forgetDone()
    if (alive.length > 0) this.#startBeating()
  }

  async #beatOne(replica: Replica): Promise<void> {
    const [steward] = replica.options.stewards
    if (steward === undefined) return
    try {
      const { isAwaited, missed } = await this.#components.heartbeat(replica, steward)
      replica.answeredMs = this.#components.clock.now()
      for (const bytes of missed.slice(0, MISSED_MAX)) this.#components.receive(bytes, steward)
      if (!isAwaited && isUnfinished(replica)) replica.end()
      if (this.#components.clock.now() - replica.takenMs > LIFE_MAX_MS) replica.end()
    } catch (error) {
      const fields = { steward, code: errorCode(error) }
      this.#components.log.debug(fields, 'heartbeat not answered')
      // Its lease ended long ago, and a requester that comes back starts a new attempt.
      if (this.#components.clock.now() - replica.answeredMs > SILENCE_MAX_MS) replica.end()
    }
  }
}

function isUnfinished({ phase }: Replica): boolean {
  return phase === 'queued' || phase === 'fetching' || phase === 'running'
}
