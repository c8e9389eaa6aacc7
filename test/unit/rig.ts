/**
 * A whole job in one process: `stepJob` with executors that are faked by the rules of
 * `src/executor`, without network and with virtual time. Everything follows from the options, so
 * two rigs with the same options exchange the same bytes.
 */
import type { AssignmentEvent, Collected } from '../../src/protocol/assignment.js'
import { electionOf, openingAlpha, seed2Of } from '../../src/protocol/ballot.js'
import { hiddenReplicaDrawn } from '../../src/protocol/election.js'
import type { Election } from '../../src/protocol/election.js'
import { encodeSpec } from '../../src/protocol/job-spec.js'
import type { JobSpec, Resources, RunSpec, TrainSpec } from '../../src/protocol/job-spec.js'
import { isEnded, parseTimer, stepJob } from '../../src/protocol/job-step.js'
import { createJob, metricsIn } from '../../src/protocol/job.js'
import type { JobContext, JobEffect, JobEvent, JobRunState } from '../../src/protocol/job.js'
import { assertManifest, codeBytes } from '../../src/protocol/manifest.js'
import { encodeMetrics } from '../../src/protocol/metrics.js'
import type { Plan, PlannedSlot } from '../../src/protocol/plan.js'
import { NEWCOMER } from '../../src/protocol/reputation.js'
import { artifactsOf } from '../../src/protocol/selection.js'
import { verifySlot } from '../../src/protocol/slot-chain.js'
import type { VerifiedSlot } from '../../src/protocol/slot-chain.js'
import { sketchCommitmentOf, sketchMessage } from '../../src/protocol/sketch-message.js'
import { encodeBuckets, updateRootOf } from '../../src/protocol/sketch.js'
import { slotPolicies } from '../../src/protocol/slot-policy.js'
import { commitmentOf, taskIdOf } from '../../src/protocol/task.js'
import { deriveVrfSecret, vrfProve, vrfPublicKey } from '../../src/protocol/vrf.js'
import { createSigner, openAs, seal } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../../src/wire/envelope.js'
import { encodeFolder, parseFolder, smallBlobDigest } from '../../src/wire/folder.js'
import type { Standing } from '../../src/wire/generated/election.js'
import {
  fromHex,
  peerIdFromPublicKey,
  publicKeyFromPeerId,
  sha256,
  toHex,
  utf8,
} from '../../src/wire/ids.js'
import type { Digest, JobId, PeerId, TaskId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { JobRecord } from '../../src/witness/job-record.js'
import { claimed, normal, sketched } from './updates.js'

/** How an executor deviates. */
export type Behaviour =
  | 'honest'
  /** Computes something else, always the same, and reveals it properly. */
  | 'liar'
  /** Another result every time and for everyone: a program that is not deterministic. */
  | 'random'
  /** Bids and opens, then is never heard of again. */
  | 'silent'
  /** Reveals another result than it committed to. */
  | 'mismatch'
  /** Commits and does not reveal. */
  | 'withholds'
  /** Repeats the first commitment it sees, later its reveal. */
  | 'copier'
  /** Does not answer offers at all. */
  | 'offline'
  | { readonly fails: string }
  /** Gives signs of life and commits after so long. */
  | { readonly takesMs: number }
  /** Gets an estimate that lies this far from the others', and other files. */
  | { readonly drifts: number }
  /** Where tensors are compared: its update is so much longer, in parts per million. */
  | { readonly scales: number }
  /** Commits to its sketch never, to another one, or sketches another update than its own. */
  | 'sketch-withheld'
  | 'sketch-other'
  | 'sketch-foreign'
  | { readonly declines: string }

export interface RigOptions {
  readonly spec?: JobSpec
  /** One per executor. */
  readonly behaviours: readonly Behaviour[]
  readonly replicas?: number
  readonly auditPpm?: number
  readonly capacity?: number
  readonly queueTimeoutMs?: number
  /** Goes into every key: rigs with different names share none. */
  readonly keys?: string
  /** Standing by executor; newcomers where absent. */
  readonly standing?: (index: number) => Partial<Standing>
  /** The manifest's compare policy; exact where absent. */
  readonly compare?: string
  /** What the bids are weighed by, in place of `standing`. */
  readonly weigh?: (
    bids: ReadonlyArray<Opened<'bid'>>,
    nowMs: number,
  ) => { readonly standings: ReadonlyMap<PeerId, Standing>; readonly receiptRoot: Uint8Array }
  /** Whether the task of this slot deviates; all where absent. */
  readonly deviates?: (slot: PlannedSlot) => boolean
  /** Numbers of a slot's `metrics.json`, in place of some that are the same for all. */
  readonly numbers?: (slot: PlannedSlot) => Readonly<Record<string, number>>
  /** The job inputs beside the dataset. */
  readonly inputs?: readonly string[]
  /** Extra bytes in every file, to push listings out of the reveals. */
  readonly extraFiles?: number
}

export const NETWORK = 'rig'
const START_MS = 1_800_000_000_000
const LEASE_MS = 15_000
const WINDOW_MS = 2_000
const SLOW_FLOOR_MS = 1_000

const NUMBERS = { correct: 3, n: 4, nllFixed: 1 << 20, words: 'ok' }

export const RESOURCES: Resources = {
  memoryMiB: 64,
  cpus: 1,
  pids: 16,
  outMiB: 16,
  gpus: 0,
  vramMiB: 0,
  isolation: 'runc',
  timeoutMs: 60_000,
}

/** Two shards and two rounds. */
export const TRAIN_SPEC: TrainSpec = {
  kind: 'train',
  model: 'bert-tiny',
  epochs: 2,
  seed: 'rig',
  rows: 40,
  classes: 3,
  shards: 2,
  batchSize: 18,
  maxLength: 16,
  format: 'csv',
  textColumn: 'text',
  labelColumn: 'label',
  resources: RESOURCES,
}

export const RUN_SPEC: RunSpec = {
  kind: 'run',
  command: ['true'],
  env: {},
  seed: 'rig',
  tasks: 1,
  resources: RESOURCES,
}

interface Output {
  readonly root: Digest
  readonly listing: Uint8Array
  readonly metrics: Uint8Array
  readonly files: ReadonlyMap<string, Uint8Array>
}

interface Replica {
  readonly output: Output
  readonly behaviour: Behaviour
  readonly update: Float64Array | undefined
  readonly commitment: Opened<'commitment'>
  readonly reveal: Opened<'reveal'> | undefined
}

export class FakeExecutor {
  readonly signer: Signer
  readonly vrfSecret: Uint8Array
  readonly behaviour: Behaviour
  readonly #rig: Rig
  readonly #replicas = new Map<string, Replica>()
  /** Tasks a copier waits for somebody else's commitment of. */
  readonly #copying = new Map<string, Opened<'task'>>()

  constructor(rig: Rig, name: string, behaviour: Behaviour) {
    const seed = sha256(utf8(name))
    this.signer = createSigner(seed)
    this.vrfSecret = deriveVrfSecret(seed)
    this.behaviour = behaviour
    this.#rig = rig
  }

  get peerId(): PeerId {
    return this.signer.peerId
  }

  /** The answers to a gossiped message, sealed. */
  onMessage(opened: AnyOpened): Collected[] {
    switch (opened.kind) {
      case 'offer':
        return this.#onOffer(opened)
      case 'freezeBids':
        return this.#onFrozenBids(opened)
      case 'task':
        return this.#onTask(opened)
      case 'commitment':
        return this.#onCommitment(opened)
      case 'freezeCommitments':
        return this.#onFrozenCommitments(opened)
      case 'freezeSketches':
        return this.#onFrozenSketches(opened)
      case 'reveal':
        return this.#onReveal(opened)
      default:
        return []
    }
  }

  #onOffer(offer: Opened<'offer'>): Collected[] {
    if (this.behaviour === 'offline') return []
    const id = fromHex(offer.id)
    if (typeof this.behaviour === 'object' && 'declines' in this.behaviour) {
      const reason = this.behaviour.declines
      return [seal(NETWORK, 'decline', { offer: id, code: 'BUSY', reason }, this.signer)]
    }
    const bid = {
      offer: id,
      capacity: this.#rig.options.capacity ?? 8,
      vrfKey: vrfPublicKey(this.vrfSecret),
      operator: publicKeyFromPeerId(this.peerId),
      hardwareClass: 'cpu',
      flopsMega: 1000,
    }
    return [seal(NETWORK, 'bid', bid, this.signer)]
  }

  #onFrozenBids(frozen: Opened<'freezeBids'>): Collected[] {
    const offer = this.#rig.record.offerOf(frozen.id)
    const isMine = frozen.message.bids.some(
      (bytes) => openAs(NETWORK, bytes, 'bid').author === this.peerId,
    )
    if (offer === undefined || !isMine) return []
    const proof = vrfProve(this.vrfSecret, openingAlpha(offer, frozen.id))
    return [seal(NETWORK, 'vrfOpen', { frozenBids: fromHex(frozen.id), proof }, this.signer)]
  }

  #onTask(task: Opened<'task'>): Collected[] {
    const { message } = task
    const seat = this.#rig.rankingOf(task).indexOf(this.peerId)
    const key = `${taskIdOf(message)}/${message.attempt}`
    if (seat < 0 || seat >= message.seats || this.#replicas.has(key)) return []
    const behaviour = this.#behaviourFor(task)
    if (behaviour === 'silent' || this.#copying.has(key)) return []
    if (typeof behaviour === 'object' && 'fails' in behaviour) {
      const failure = {
        taskId: fromHex(taskIdOf(message)),
        code: behaviour.fails,
        reason: 'exit 1',
      }
      return [seal(NETWORK, 'failure', failure, this.signer)]
    }
    if (typeof behaviour === 'object' && 'takesMs' in behaviour) {
      this.#rig.takes(task, this.peerId, behaviour.takesMs, () => this.#commit(task, 'honest'))
      return []
    }
    if (behaviour === 'copier') {
      this.#copying.set(key, task)
      const seen = this.#rig.record
        .ofKind('commitment')
        .find((other) => toHex(other.message.taskId) === taskIdOf(message))
      return seen === undefined ? [] : this.#copy(seen)
    }
    return [this.#commit(task, behaviour)]
  }

  #behaviourFor(task: Opened<'task'>): Behaviour {
    const { deviates } = this.#rig.options
    const slot = this.#rig.slotOf(task)
    return deviates === undefined || deviates(slot) ? this.behaviour : 'honest'
  }

  #commit(task: Opened<'task'>, behaviour: Behaviour): Opened<'commitment'> {
    const { message } = task
    const taskId = taskIdOf(message)
    const salt = sha256(utf8('salt'), fromHex(taskId), publicKeyFromPeerId(this.peerId))
    const twist = twistOf(behaviour, this.peerId)
    const output = this.#rig.compute(task, twist)
    const { root, listing, metrics } = output
    const isTensors = this.#rig.comparesTensors(task)
    const update = isTensors ? updateOf(taskId, behaviour, this.peerId) : undefined
    const updateRoot = update === undefined ? new Uint8Array(0) : updateRootOf(claimed(update))
    const commitment = commitmentOf({
      taskId,
      attempt: message.attempt,
      peer: this.peerId,
      outputRoot: fromHex(root),
      metrics,
      salt,
      updateRoot,
    })
    const revealed = behaviour === 'mismatch' ? this.#rig.compute(task, 'another') : output
    const reveal = seal(
      NETWORK,
      'reveal',
      {
        taskId: fromHex(taskId),
        attempt: message.attempt,
        outputRoot: fromHex(revealed.root),
        metrics,
        salt,
        durationMs: 100,
        listing: listing.length <= LIMITS.listingBytes ? listing : new Uint8Array(0),
        updateRoot,
      },
      this.signer,
    )
    const opened = seal(
      NETWORK,
      'commitment',
      { taskId: fromHex(taskId), attempt: message.attempt, commitment },
      this.signer,
    )
    this.#replicas.set(`${taskId}/${message.attempt}`, {
      output,
      behaviour,
      update,
      commitment: opened,
      reveal: behaviour === 'withholds' ? undefined : reveal,
    })
    return opened
  }

  #onCommitment(seen: Opened<'commitment'>): Collected[] {
    const key = `${toHex(seen.message.taskId)}/${seen.message.attempt}`
    return this.#copying.has(key) && seen.author !== this.peerId ? this.#copy(seen) : []
  }

  #copy(seen: Opened<'commitment'>): Collected[] {
    const key = `${toHex(seen.message.taskId)}/${seen.message.attempt}`
    if (!this.#copying.delete(key)) return []
    return [seal(NETWORK, 'commitment', seen.message, this.signer)]
  }

  #onFrozenCommitments(frozen: Opened<'freezeCommitments'>): Collected[] {
    const mine = frozen.message.commitments
      .map((bytes) => openAs(NETWORK, bytes, 'commitment'))
      .find(({ author }) => author === this.peerId)
    if (mine === undefined || this.#rig.isHiddenDue(frozen)) return []
    const { taskId, attempt } = mine.message
    const replica = this.#replicas.get(`${toHex(taskId)}/${attempt}`)
    if (replica?.update !== undefined) {
      if (replica.behaviour === 'sketch-withheld') return []
      const { shift, buckets, salt } = this.#sketch(replica.update, frozen)
      const commitment = sketchCommitmentOf({
        taskId: toHex(taskId) as TaskId,
        frozen: frozen.id,
        peer: this.peerId,
        shift,
        buckets: replica.behaviour === 'sketch-other' ? buckets.map((byte) => byte ^ 1) : buckets,
        salt,
      })
      const message = { taskId, frozen: fromHex(frozen.id), commitment }
      return [seal(NETWORK, 'sketchCommitment', message, this.signer)]
    }
    return replica?.reveal === undefined ? [] : [replica.reveal]
  }

  #sketch(update: Float64Array, frozen: Opened<'freezeCommitments'>) {
    const whole = sketched(update, this.#rig.seed2(frozen))
    const salt = sha256(utf8('sketch salt'), fromHex(frozen.id), publicKeyFromPeerId(this.peerId))
    const { shift, buckets } = whole.sketch
    return { whole, shift, buckets: encodeBuckets(buckets), salt }
  }

  #onFrozenSketches(frozen: Opened<'freezeSketches'>): Collected[] {
    const mine = frozen.message.commitments
      .map((bytes) => openAs(NETWORK, bytes, 'sketchCommitment'))
      .find(({ author }) => author === this.peerId)
    const before = this.#rig.record.get(toHex(frozen.message.previous))
    if (mine === undefined || before?.kind !== 'freezeCommitments') return []
    const taskId = toHex(mine.message.taskId) as TaskId
    const replica = [...this.#replicas].find(([key]) => key.startsWith(taskId))?.[1]
    if (replica?.update === undefined || replica.reveal === undefined) return []
    const own = this.#sketch(replica.update, before)
    const isForeign = replica.behaviour === 'sketch-foreign'
    const foreign = isForeign ? sketched(normal('foreign'), this.#rig.seed2(before)) : own.whole
    const told = { ...foreign, sketch: own.whole.sketch }
    const message = sketchMessage(told, { taskId, frozen: frozen.id, salt: own.salt })
    return [replica.reveal, seal(NETWORK, 'sketch', message, this.signer)]
  }

  /** A copier repeats the first reveal of a task it committed to without computing. */
  #onReveal(seen: Opened<'reveal'>): Collected[] {
    const key = `${toHex(seen.message.taskId)}/${seen.message.attempt}`
    if (this.behaviour !== 'copier' || this.#replicas.has(key)) return []
    const copied = this.#rig.record
      .ofKind('commitment')
      .some(
        ({ author, message }) =>
          author === this.peerId && toHex(message.taskId) === key.slice(0, 64),
      )
    if (!copied || seen.author === this.peerId) return []
    return [seal(NETWORK, 'reveal', seen.message, this.signer)]
  }
}

/** What honest executors of a task get, and what others make of it. */
function updateOf(taskId: string, behaviour: Behaviour, peer: PeerId): Float64Array {
  if (behaviour === 'liar') return normal('lie')
  if (behaviour === 'random') return normal(peer)
  const right = normal(taskId)
  if (typeof behaviour !== 'object' || !('scales' in behaviour)) return right
  const factor = 1 + behaviour.scales * 1e-6
  return right.map((value) => value * factor)
}

function twistOf(behaviour: Behaviour, peer: PeerId): string {
  if (typeof behaviour === 'object' && 'scales' in behaviour) return `scale ${behaviour.scales}`
  if (typeof behaviour === 'object' && 'drifts' in behaviour) return `drift ${behaviour.drifts}`
  return behaviour === 'liar' ? 'lie' : behaviour === 'random' ? peer : ''
}

interface Timer {
  readonly dueMs: number
  readonly order: number
  readonly fire: () => void
}

export class Rig {
  readonly options: RigOptions
  readonly requester: Signer
  readonly executors: readonly FakeExecutor[]
  readonly manifest: Opened<'manifest'>
  readonly plan: Plan
  readonly context: JobContext
  /** What the requester's daemon saw. */
  readonly record: JobRecord
  readonly events: JobEvent[] = []
  readonly notes: Array<{
    readonly event: string
    readonly fields: Readonly<Record<string, unknown>>
  }> = []
  readonly published: AnyOpened[] = []
  state: JobRunState
  nowMs = START_MS
  /** Peers that answer offers now. */
  connected: PeerId[]
  readonly #queue: JobEvent[] = []
  readonly #timers = new Map<string, Timer>()
  readonly #leases = new Map<string, string>()
  /** Executors that take their time, by task. */
  readonly #busy = new Set<string>()
  readonly #outputs = new Map<Digest, Output>()
  readonly #elections = new Map<Digest, Election>()
  #order = 0

  constructor(options: RigOptions) {
    this.options = options
    const keys = options.keys ?? 'rig'
    const seed = sha256(utf8(`${keys}/requester`))
    this.requester = createSigner(seed)
    this.executors = options.behaviours.map(
      (behaviour, i) => new FakeExecutor(this, `${keys}/executor/${i}`, behaviour),
    )
    this.connected = this.executors.map(({ peerId }) => peerId)
    this.manifest = sealManifest(this.requester, options)
    this.plan = assertManifest(NETWORK, this.manifest)
    this.context = this.#contextOf(seed)
    this.record = new JobRecord(this.manifest, this.plan)
    this.state = createJob(this.plan)
  }

  #contextOf(seed: Uint8Array): JobContext {
    return {
      network: NETWORK,
      signer: this.requester,
      vrfSecret: deriveVrfSecret(seed),
      jobId: this.manifest.id as string as JobId,
      requester: this.requester.peerId,
      replicas: this.manifest.message.replicas,
      auditPpm: this.manifest.message.auditPpm,
      revealWindowMs: WINDOW_MS,
      slowFloorMs: SLOW_FLOOR_MS,
      policyOf: slotPolicies(this.options.compare ?? 'exact', this.plan),
      manifest: this.manifest,
      plan: this.plan,
      bidWindowMs: WINDOW_MS,
      openWindowMs: WINDOW_MS,
      diversity: 'operator',
      queueTimeoutMs: this.options.queueTimeoutMs ?? 600_000,
    }
  }

  comparesTensors({ message }: Opened<'task'>): boolean {
    return this.context.policyOf(message.batch, message.slot).kind === 'tensors'
  }

  seed2(frozen: Opened<'freezeCommitments'>): Uint8Array {
    const offer = this.record.offerOf(frozen.id)
    const seed = offer === undefined ? undefined : seed2Of(offer, frozen, 'trust')
    if (seed === undefined) throw new Error('no seed')
    return seed
  }

  /** The executor of that index. */
  executor(index: number): FakeExecutor {
    const found = this.executors[index]
    if (found === undefined) throw new Error(`no executor ${index}`)
    return found
  }

  /** Runs until the job ends or `until` holds. */
  run(until: () => boolean = () => false): this {
    if (this.events.length === 0) this.push({ type: 'started', nowMs: this.nowMs })
    for (let steps = 0; steps < 20_000; steps++) {
      if (isEnded(this.state) || until()) return this
      const event = this.#queue.shift()
      if (event !== undefined) this.#handle(event)
      else if (!this.#fireTimer()) throw new Error(`the job hangs: ${this.state.reason}`)
    }
    throw new Error('the job does not end')
  }

  push(event: JobEvent): void {
    this.#queue.push(event)
  }

  #handle(event: JobEvent): void {
    this.events.push(event)
    if (event.type === 'assignment' && event.event.type === 'message') {
      this.record.add(event.event.opened)
    }
    for (const effect of stepJob(this.context, this.state, event)) this.#execute(effect)
  }

  #execute(effect: JobEffect): void {
    const { nowMs } = this
    switch (effect.type) {
      case 'publish':
        this.#publish(effect.opened)
        return
      case 'timer':
        this.#arm(effect.name, effect.ms, () => {
          this.#onTimer(effect.name)
        })
        return
      case 'clearTimer':
        this.#timers.delete(effect.name)
        return
      case 'askPeers':
        this.push({ type: 'peersAsked', batch: effect.batch, peers: [...this.connected], nowMs })
        return
      case 'weigh': {
        const weighed = this.options.weigh?.(effect.bids, nowMs) ?? {
          standings: new Map(effect.bids.map(({ author }) => [author, this.standingOf(author)])),
          receiptRoot: new Uint8Array(32),
        }
        const event: AssignmentEvent = { type: 'standings', ...weighed, nowMs }
        this.push({ type: 'assignment', batch: effect.batch, event, nowMs })
        return
      }
      case 'readOutput': {
        const { batch, slot, root } = effect
        const files = parseFolder(this.output(root).listing)
        this.push({ type: 'outputRead', batch, slot, files, nowMs })
        return
      }
      case 'notify':
        this.notes.push({ event: effect.event, fields: effect.fields })
        this.#lease(effect)
        return
      case 'ended':
        this.#timers.clear()
    }
  }

  standingOf(peer: PeerId): Standing {
    const index = this.executors.findIndex(({ peerId }) => peerId === peer)
    return {
      reliabilityPpm: NEWCOMER.reliabilityPpm,
      availabilityPpm: 1_000_000,
      speedPpm: 1_000_000,
      established: false,
      excluded: false,
      addressPrefix: '',
      ...this.options.standing?.(index),
    }
  }

  /** Gossip: everyone sees it; answers of executors are seen by everyone too. */
  #publish(opened: AnyOpened): void {
    this.published.push(opened)
    this.record.add(opened)
    for (const executor of this.executors) {
      if (!this.connected.includes(executor.peerId)) continue
      for (const answer of executor.onMessage(opened)) this.#collect(answer)
    }
  }

  #collect(answer: Collected): void {
    const batch = this.#batchOf(answer)
    if (batch === undefined) return
    const { nowMs } = this
    if (answer.kind === 'commitment' || answer.kind === 'failure') {
      const lease = this.#leases.get(`${toHex(answer.message.taskId)}/${answer.author}`)
      if (lease !== undefined) this.#timers.delete(lease)
    }
    this.push({
      type: 'assignment',
      batch,
      event: { type: 'message', opened: answer, nowMs },
      nowMs,
    })
    if (answer.kind !== 'commitment' && answer.kind !== 'reveal') return
    for (const executor of this.executors) {
      if (executor.peerId === answer.author) continue
      for (const copy of executor.onMessage(answer)) this.#collect(copy)
    }
  }

  #batchOf(answer: Collected): number | undefined {
    const { message } = answer
    if ('taskId' in message) return this.record.taskOf(toHex(message.taskId))?.message.batch
    const id =
      'offer' in message ? message.offer : 'frozenBids' in message ? message.frozenBids : undefined
    return id && this.record.offerOf(toHex(id))?.message.batch
  }

  #lease(effect: Extract<JobEffect, { type: 'notify' }>): void {
    const { batch, slot, peer } = effect.fields
    if (effect.event !== 'task:called' || typeof peer !== 'string') return
    if (typeof batch !== 'number' || typeof slot !== 'number') return
    const taskId = this.state.batches[batch]?.assignment?.slots[slot]?.taskId
    const name = `lease/${batch}/${slot}/${peer}`
    this.#leases.set(`${taskId}/${peer}`, name)
    // The commitment may be in the queue already: calls are published before they are told.
    const hasAnswered = this.#queue.some(
      (event) =>
        event.type === 'assignment' &&
        event.event.type === 'message' &&
        event.event.opened.author === peer &&
        'taskId' in event.event.opened.message &&
        toHex(event.event.opened.message.taskId) === taskId,
    )
    if (hasAnswered || this.#busy.has(`${taskId}/${peer}`)) return
    this.#arm(name, LEASE_MS, () => {
      this.lose(batch, slot, peer as PeerId)
    })
  }

  /** An executor is heard to begin, and commits after a while; its lease is renewed meanwhile. */
  takes(task: Opened<'task'>, peer: PeerId, ms: number, commit: () => Collected): void {
    const { batch, slot } = task.message
    const { nowMs } = this
    const event: AssignmentEvent = { type: 'executorStarted', slot, peer, nowMs }
    const key = `${taskIdOf(task.message)}/${peer}`
    if (this.#busy.has(key)) return
    this.#busy.add(key)
    this.push({ type: 'assignment', batch, event, nowMs })
    this.#arm(`work/${batch}/${slot}/${peer}`, ms, () => {
      this.#collect(commit())
    })
  }

  /** The lease of an executor ran out. */
  lose(batch: number, slot: number, peer: PeerId): void {
    const { nowMs } = this
    const event: AssignmentEvent = {
      type: 'executorLost',
      slot,
      peer,
      code: 'LEASE_EXPIRED',
      reason: 'gave no sign of life',
      nowMs,
    }
    this.push({ type: 'assignment', batch, event, nowMs })
  }

  #arm(name: string, ms: number, fire: () => void): void {
    this.#order += 1
    this.#timers.set(name, { dueMs: this.nowMs + ms, order: this.#order, fire })
  }

  #fireTimer(): boolean {
    const due = [...this.#timers].sort(([, a], [, b]) => a.dueMs - b.dueMs || a.order - b.order)[0]
    if (due === undefined) return false
    const [name, timer] = due
    this.#timers.delete(name)
    this.nowMs = Math.max(this.nowMs, timer.dueMs)
    timer.fire()
    return true
  }

  #onTimer(name: string): void {
    const { nowMs } = this
    const retry = /^retry:(\d+)$/.exec(name)
    if (retry !== null) return this.push({ type: 'retryDue', batch: Number(retry[1]), nowMs })
    const timer = parseTimer(name)
    if (timer === undefined || this.state.batches[timer.batch]?.attempt !== timer.attempt) return
    const event: AssignmentEvent = { type: 'deadline', name: timer.name, nowMs }
    this.push({ type: 'assignment', batch: timer.batch, event, nowMs })
  }

  slotOf(task: Opened<'task'>): PlannedSlot {
    const slot = this.plan.batches[task.message.batch]?.[task.message.slot]
    if (slot === undefined) throw new Error('a task of no slot')
    return slot
  }

  rankingOf(task: Opened<'task'>): readonly PeerId[] {
    const offer = this.record.offerOf(task.id)
    const frozenBids = this.record
      .ofKind('freezeBids')
      .find(({ message }) => toHex(message.offer) === offer?.id)
    const frozenOpenings = this.record
      .ofKind('freezeOpenings')
      .find(({ message }) => toHex(message.frozenBids) === frozenBids?.id)
    if (offer === undefined || frozenBids === undefined || frozenOpenings === undefined) return []
    const ballot = { offer, frozenBids, frozenOpenings }
    const election =
      this.#elections.get(frozenOpenings.id) ??
      electionOf(NETWORK, ballot, this.requester.peerId, 'trust')
    this.#elections.set(frozenOpenings.id, election)
    return election.slots[task.message.slot]?.ranking ?? []
  }

  /** As in `src/executor/executor.ts`. */
  isHiddenDue(frozen: Opened<'freezeCommitments'>): boolean {
    const task = this.record.get(toHex(frozen.message.previous))
    let before: AnyOpened | undefined = task
    while (before?.kind === 'task') before = this.record.get(toHex(before.message.previous))
    if (before?.kind !== 'freezeOpenings' || task?.kind !== 'task') return false
    const offer = this.record.offerOf(task.id)
    if (offer === undefined) return false
    const output = seed2Of(offer, frozen, 'trust')
    const { auditPpm } = offer.message
    const hasStandby = this.rankingOf(task).length > task.message.seats
    const { slot } = task.message
    // What draws nothing is no certificate: nobody reveals.
    return output === undefined || (hasStandby && hiddenReplicaDrawn(output, slot, auditPpm))
  }

  /** Made-up files that depend on the slot and its inputs, under the names the plan asks for. */
  compute(task: Opened<'task'>, twist: string): Output {
    const slot = this.slotOf(task)
    const inputs = task.message.inputs.map(({ digest }) => digest)
    const content = (path: string): Uint8Array =>
      path === 'metrics.json'
        ? utf8(
            JSON.stringify({
              ...this.#estimate(twist),
              ...NUMBERS,
              ...this.options.numbers?.(slot),
              twist,
            }),
          )
        : sha256(utf8(`${slot.batch}/${slot.slot}/${path}/${twist}`), ...inputs)
    const files = new Map(this.#pathsOf(slot).map((path) => [path, content(path)]))
    const listing = encodeFolder(
      [...files].map(([path, bytes]) => ({
        path,
        sizeBytes: bytes.length,
        digest: smallBlobDigest(bytes),
      })),
    )
    const root = smallBlobDigest(listing)
    const metrics = encodeMetrics(files.get('metrics.json'))
    const output = { root, listing, metrics, files }
    this.#outputs.set(root, output)
    return output
  }

  /** A number that replicas are compared by within tolerances. */
  #estimate(twist: string): { readonly estimate?: number } {
    if (this.options.compare === undefined) return {}
    const [, drift] = /^drift (.*)$/.exec(twist) ?? []
    return { estimate: 3.14 + Number(drift ?? 0) }
  }

  #pathsOf(slot: PlannedSlot): string[] {
    const sources = this.plan.batches
      .flat()
      .flatMap(({ inputs }) =>
        inputs.flatMap(({ source }) =>
          source.kind === 'slot' && source.batch === slot.batch && source.slot === slot.slot
            ? [source.path]
            : [],
        ),
      )
    const artifacts = this.plan.artifacts.flatMap(({ batch, slot: index, file }) =>
      batch === slot.batch && index === slot.slot && file !== undefined ? [file] : [],
    )
    const extra = Array.from({ length: this.options.extraFiles ?? 0 }, (_, i) => `extra/${i}.bin`)
    return [...new Set(['metrics.json', 'report.txt', ...sources, ...artifacts, ...extra])]
  }

  output(root: Digest): Output {
    const found = this.#outputs.get(root)
    if (found === undefined) throw new Error('nobody computed this root')
    return found
  }

  /** Every artifact of the ended job by its path: a file's bytes, or all files of a folder. */
  artifacts(): Map<string, Uint8Array> {
    const found = new Map<string, Uint8Array>()
    for (const { path, batch, slot, file } of artifactsOf(this.plan, metricsIn(this.state))) {
      const root = this.state.batches[batch]?.outputs.get(slot)?.root
      if (root === undefined) continue
      for (const [name, bytes] of this.output(root).files) {
        if (file === undefined) found.set(`${path}/${name}`, bytes)
        else if (file === name) found.set(path, bytes)
      }
    }
    return found
  }

  /** The roots of artifacts that are whole folders, as an auditor would measure them. */
  folders(): Map<string, { readonly digest: Digest; readonly sizeBytes: undefined }> {
    const found = new Map<string, { readonly digest: Digest; readonly sizeBytes: undefined }>()
    for (const { path, batch, slot, file } of this.plan.artifacts) {
      const root = this.state.batches[batch]?.outputs.get(slot)?.root
      if (root === undefined || file !== undefined) continue
      const { listing } = this.output(root)
      found.set(path, { digest: smallBlobDigest(listing), sizeBytes: undefined })
    }
    return found
  }

  /** Listings of all accepted outputs by root. */
  listings(): Map<Digest, Uint8Array> {
    const outputs = this.state.batches.flatMap((batch) => [...batch.outputs.values()])
    return new Map(outputs.map(({ root }) => [root, this.output(root).listing]))
  }

  verified(proofs: 'verify' | 'trust' = 'trust'): VerifiedSlot[] {
    const elections = new Map()
    const { manifest, record } = this
    const get = (id: string): AnyOpened | undefined => record.get(id)
    const source = { network: NETWORK, manifest, get, elections, proofs }
    return record.ofKind('receipt').map((receipt) => verifySlot(source, receipt))
  }

  /** What was told of a kind, oldest first. */
  told(event: string): Array<Readonly<Record<string, unknown>>> {
    return this.notes.filter((note) => note.event === event).map(({ fields }) => fields)
  }

  /** Outcomes of an executor over all receipts. */
  outcomesOf(peer: PeerId): string[] {
    return this.record
      .ofKind('receipt')
      .flatMap(({ message }) =>
        message.executors.flatMap((executor) =>
          peerIdFromPublicKey(executor.peer) === peer ? [executor.outcome] : [],
        ),
      )
  }

  /** Steps a fresh state through the recorded events and gives it with what was published. */
  replay(): { readonly state: JobRunState; readonly published: readonly AnyOpened[] } {
    const state = createJob(this.plan)
    const published = this.events.flatMap((event) =>
      stepJob(this.context, state, event).flatMap((effect) =>
        effect.type === 'publish' ? [effect.opened] : [],
      ),
    )
    return { state, published }
  }
}

export function sealManifest(requester: Signer, options: RigOptions): Opened<'manifest'> {
  const spec = options.spec ?? TRAIN_SPEC
  const code = {
    spec: encodeSpec(spec),
    image: {
      name: 'ctd/cpu',
      configDigest: sha256(utf8('config')),
      manifestDigest: sha256(utf8('manifest')),
      diffIds: [],
      sizeBytes: 1,
      archive: new Uint8Array(0),
    },
    inputs:
      spec.kind === 'train'
        ? ['dataset', ...(options.inputs ?? [])].map((name) => ({
            name,
            digest: sha256(utf8(name)),
            sizeBytes: 1234,
            folder: false,
          }))
        : [],
  }
  return seal(
    NETWORK,
    'manifest',
    {
      version: 1,
      jobKind: spec.kind,
      name: 'rig',
      ...code,
      planSeed: new Uint8Array(32),
      compare: options.compare ?? 'exact',
      replicas: options.replicas ?? 2,
      auditPpm: options.auditPpm ?? 0,
      createdMs: START_MS,
      publisher: publicKeyFromPeerId(requester.peerId),
      publisherSignature: requester.sign(codeBytes(NETWORK, code)),
      operator: publicKeyFromPeerId(requester.peerId),
    },
    requester,
  )
}

export function honest(count: number): Behaviour[] {
  return Array.from({ length: count }, () => 'honest')
}
