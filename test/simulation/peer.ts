/**
 * One simulated daemon: the production people, put together as in `src/daemon.ts`, over a virtual
 * clock, an in-memory network and a disk that survives its crashes.
 */
import { CtdError, errorCode } from '../../src/errors.js'
import { Executor } from '../../src/executor/executor.js'
import type { Replica, ReplicaOutput } from '../../src/executor/replica.js'
import type { Offering } from '../../src/executor/bid.js'
import type { Log } from '../../src/log.js'
import { sealFault } from '../../src/protocol/fault.js'
import { electionOf } from '../../src/protocol/ballot.js'
import type { VerifiedSlot } from '../../src/protocol/slot-chain.js'
import { deriveVrfSecret } from '../../src/protocol/vrf.js'
import { Requester } from '../../src/requester/requester.js'
import type { NewJob, RequesterOptions } from '../../src/requester/requester.js'
import { createSigner, seal } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../../src/wire/envelope.js'
import { Bundle } from '../../src/wire/generated/control.js'
import { fromHex, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { JobId, PeerId } from '../../src/wire/ids.js'
import { jobTopic, topicsOf } from '../../src/wire/topics.js'
import { createControl } from '../../src/witness/control.js'
import { Courier } from '../../src/witness/courier.js'
import { FaultBook } from '../../src/witness/fault-book.js'
import { Fence } from '../../src/witness/fence.js'
import { Inbox } from '../../src/witness/inbox.js'
import type { JobRecord } from '../../src/witness/job-record.js'
import { ReputationBook } from '../../src/witness/reputation-book.js'
import { Corruption, CONSPIRATORS } from './adversary.js'
import type { Behaviour } from './adversary.js'
import { Disk } from './disk.js'
import type { SimulatedNetwork } from './network.js'
import type { Outputs } from './outputs.js'
import type { Random } from './random.js'
import { Life } from './timeline.js'
import type { Skew, Timeline } from './timeline.js'

export const NETWORK = 'simulation'

/** What a peer tells those who check the invariants. */
export interface PeerObserver {
  /** An own message was made; it may never leave. */
  onMade(opened: AnyOpened): void
  onSigned(peer: SimulatedPeer, opened: AnyOpened): void
  onReceipt(
    peer: SimulatedPeer,
    receipt: Opened<'receipt'>,
    verified: VerifiedSlot | undefined,
  ): void
  onEquivocation(peer: SimulatedPeer, first: AnyOpened, second: AnyOpened): void
  /** A fault was felt, or an adversary did what it is for. */
  onFault(what: string): void
  onNotify(jobId: JobId, event: string, fields: Readonly<Record<string, unknown>>): void
  /** A replica was started while the same one was still running. */
  onDouble(peer: SimulatedPeer, key: string): void
  onError(peer: SimulatedPeer, fields: object, message: string): void
}

export interface PeerParts {
  readonly timeline: Timeline
  readonly network: SimulatedNetwork
  readonly outputs: Outputs
  readonly observer: PeerObserver
  readonly random: Random
  /** Peers by behaviour; every peer adds itself. */
  readonly gangs: Map<Behaviour, Set<PeerId>>
}

export interface PeerOptions {
  readonly name: string
  readonly behaviour: Behaviour
  readonly times: Pick<
    RequesterOptions,
    | 'bidWindowMs'
    | 'openWindowMs'
    | 'revealWindowMs'
    | 'slowFloorMs'
    | 'leaseMs'
    | 'graceMs'
    | 'queueTimeoutMs'
    | 'diversity'
  > & { readonly heartbeatMs: number }
  readonly seats: number
  /** Replicas that may wait, for each seat; with one, a busy peer declines. */
  readonly backlogFactor: number
  readonly workMinMs: number
  readonly workMaxMs: number
  /** Share of replicas that fail on this machine alone, and that never end by themselves. */
  readonly failure: number
  readonly hang: number
  readonly skew: Skew
  /** Writes that should reach the disk do not wait for it: a defect, for tests of the checks. */
  readonly neverSyncs: boolean
}

/** The people of one process. */
export interface Household {
  readonly life: Life
  readonly inbox: Inbox
  readonly courier: Courier
  readonly reputation: ReputationBook
  readonly faults: FaultBook
  readonly fence: Fence
  readonly requester: Requester
  readonly executor: Executor
}

const ENVELOPES_MAX = 256
/** How much slower a boaster is than it could be. */
const SLOW_FACTOR = 2

export class SimulatedPeer {
  readonly options: PeerOptions
  readonly signer: Signer
  readonly disk: Disk
  readonly corruption: Corruption
  readonly #parts: PeerParts
  readonly #seed: Uint8Array
  /** Replicas by the process that ran them last. */
  readonly #running = new Map<string, Life>()
  readonly #operator: PeerId
  #household: Household | undefined

  constructor(parts: PeerParts, options: PeerOptions) {
    this.#parts = parts
    this.options = options
    this.#seed = sha256(utf8(options.name))
    this.signer = createSigner(this.#seed)
    const count = parts.observer.onFault.bind(parts.observer)
    this.disk = new Disk(parts.random.fork('disk'), { count, neverSyncs: options.neverSyncs })
    const { behaviour } = options
    const gang = parts.gangs.get(behaviour) ?? new Set()
    parts.gangs.set(behaviour, gang.add(this.peerId))
    this.corruption = new Corruption({
      behaviour,
      network: NETWORK,
      signer: this.signer,
      gang,
      count,
    })
    const [first = this.peerId] = gang
    this.#operator = behaviour === 'sybil' ? first : this.peerId
  }

  get peerId(): PeerId {
    return this.signer.peerId
  }

  /** Replicas whose program runs in this process. */
  get working(): number {
    const life = this.#household?.life
    return [...this.#running.values()].filter((other) => other === life).length
  }

  get isHonest(): boolean {
    return this.options.behaviour === 'honest'
  }

  /** Undefined while the process is down. */
  get household(): Household | undefined {
    return this.#household
  }

  /** The process dies: no goodbye, and the disk loses what was not synced. */
  crash(losesUnsynced: boolean): void {
    const household = this.#household
    if (household === undefined) return
    household.life.isAlive = false
    this.#household = undefined
    this.#parts.network.leave(this.peerId)
    this.disk.crash(losesUnsynced)
  }

  async submit(job: NewJob): Promise<JobId | undefined> {
    const household = this.#household
    const jobId = await household?.requester.submit(job)
    if (jobId !== undefined) household?.inbox.hold(jobId)
    return jobId
  }

  async start(): Promise<void> {
    const life = new Life(this.#parts.timeline, this.options.skew)
    const household = this.#compose(life)
    this.#household = household
    await household.faults.load()
    await household.reputation.load()
    await household.fence.load()
    await household.requester.restore()
  }

  #compose(life: Life): Household {
    const { observer, network, outputs } = this.#parts
    const { signer, options } = this
    const self = signer.peerId
    const { clock } = life
    const store = this.disk.open(life)
    const log: Log = {
      warn: () => undefined,
      info: () => undefined,
      debug: () => undefined,
      error: (fields: object, message = '') => {
        if (life.isAlive) observer.onError(this, fields, message)
      },
    }
    const topics = topicsOf(NETWORK)
    const transport = network.join(self, life)
    const vrfSecret = deriveVrfSecret(this.#seed)
    const faults = new FaultBook({
      network: NETWORK,
      store,
      log,
      isKnown: () => true,
      onFaulty: () => observer.onFault('branch:peer-excluded'),
    })
    const reputation = new ReputationBook({ network: NETWORK, store, clock, log, faults })
    const fence = new Fence({ store, clock, log })
    const courier = new Courier({ transport, clock, log })
    const inbox: Inbox = new Inbox({
      network: NETWORK,
      clock,
      log,
      onUnknownJob: (jobId, from, author) => {
        void fetchManifest(jobId, [author, from])
      },
      onEquivocation: (first, second) => {
        observer.onEquivocation(this, first, second)
        faults.take(sealFault(first, second)).catch((error: unknown) => {
          log.debug({ code: errorCode(error) }, 'two messages that accuse nobody')
        })
      },
    })
    const asked = new Set<JobId>()
    async function fetchManifest(jobId: JobId, holders: readonly PeerId[]): Promise<void> {
      if (asked.has(jobId)) return
      asked.add(jobId)
      for (const peer of holders) {
        try {
          const { envelopes } = Bundle.decode(await courier.ask(peer, 'job-messages', utf8(jobId)))
          for (const bytes of envelopes.slice(0, ENVELOPES_MAX)) await inbox.receive(bytes, peer)
          if (inbox.record(jobId) !== undefined) break
        } catch {
          // The next holder may answer.
        }
      }
      asked.delete(jobId)
    }

    const topicFor = (opened: AnyOpened): string => {
      if (opened.kind === 'offer') return topics.offer.cpu
      const record = opened.kind === 'manifest' ? undefined : inbox.recordOf(opened.id)
      return jobTopic(topics, record?.jobId ?? (opened.id as string as JobId))
    }
    const send = (original: AnyOpened, to: readonly PeerId[]): void => {
      if (!life.isAlive) return
      const { opened, toHalf } = this.corruption.outgoing(original)
      if (opened === undefined) return
      observer.onMade(opened)
      const mayLeave = pass(opened, () => leave(opened, toHalf, to))
      if (mayLeave) inbox.note(opened)
    }
    /** No adversary holds itself to what it signed before. */
    const pass = (opened: AnyOpened, go: () => void): boolean => {
      const hear = (): void => {
        if (!life.isAlive) return
        observer.onSigned(this, opened)
        go()
      }
      if (this.isHonest) return fence.pass(opened, hear)
      hear()
      return true
    }
    const leave = (
      opened: AnyOpened,
      toHalf: AnyOpened | undefined,
      to: readonly PeerId[],
    ): void => {
      if (toHalf === undefined) void courier.publish(topicFor(opened), opened)
      else {
        transport.connectedPeers().forEach((peer, i) => {
          network.gossipTo(self, peer, topicFor(opened), (i % 2 === 0 ? opened : toHalf).bytes)
        })
      }
      handOver(opened, to)
    }
    const sendTo = (original: AnyOpened, to: readonly PeerId[]): void => {
      if (!life.isAlive) return
      const { opened } = this.corruption.outgoing(original)
      if (opened === undefined) return
      pass(opened, () => handOver(opened, to))
    }
    const handOver = (opened: AnyOpened, to: readonly PeerId[]): void => {
      for (const peer of to) {
        if (peer === self) void inbox.receive(opened.bytes, self)
        else courier.deliver(peer, opened)
      }
    }

    const requester = new Requester(
      {
        clock,
        log,
        store,
        note: (opened) => {
          inbox.note(opened)
        },
        send,
        connectedPeers: () => transport.connectedPeers(),
        score: (peer) => reputation.score(peer),
        prefixOf: (peer) => transport.prefixOf(peer),
        receiptRoot: () => reputation.quote(),
        readOutput: (_runner, { root }, providers) =>
          life.wait(this.#parts.random.between(5, 300), () =>
            outputs.read(root, providers, (peer) => network.isReachable(self, peer)),
          ),
        notify: (jobId, event, fields) => {
          if (life.isAlive) observer.onNotify(jobId, event, fields)
        },
        onEnded: (jobId) => {
          inbox.letGo(jobId)
        },
      },
      { ...options.times, network: NETWORK, signer, vrfSecret, operator: this.#operator },
    )
    const executor: Executor = new Executor(
      {
        network: NETWORK,
        signer,
        clock,
        log,
        store,
        send,
        sendTo,
        record: (jobId) => inbox.record(jobId),
        recordOf: (id) => inbox.recordOf(id),
        offering: () => this.#offering(faults.accused()),
        hardwareClass: () => 'cpu',
        flopsMega: () => 1000 * this.corruption.boast,
        receive: (bytes, from) => {
          void inbox.receive(bytes, from)
        },
        heartbeat: async (replica, steward) => {
          if (this.corruption.isMute) throw new CtdError('PEER_UNREACHABLE', 'stays silent')
          const { step, total, note } = replica.progress
          const { taskId } = replica.options
          const beat = { taskId: fromHex(taskId), phase: replica.phase, step, total, note }
          const { bytes } = seal(NETWORK, 'heartbeat', beat, signer)
          const answer = await courier.ask(steward, 'heartbeat', bytes)
          return { isAwaited: answer[0] === 1, missed: Bundle.decode(answer.subarray(1)).envelopes }
        },
        work: (replica, on, signal) => this.#work(life, inbox, replica, on, signal),
        openUpdate: (_replica, root) => Promise.resolve(outputs.update(root)),
        onPhase: () => undefined,
      },
      {
        vrfSecret,
        operator: this.#operator,
        seats: options.seats,
        heartbeatMs: options.times.heartbeatMs,
      },
    )

    inbox.onMessage((opened) => {
      const answer = this.corruption.onSeen(opened, self)
      if (answer !== undefined) {
        const offer = inbox.recordOf(opened.id)?.offerOf(opened.id)
        if (offer !== undefined) send(answer, [offer.author])
      }
      switch (opened.kind) {
        case 'capability':
          return
        case 'bid':
        case 'decline':
        case 'vrfOpen':
        case 'commitment':
        case 'sketchCommitment':
        case 'sketch':
        case 'reveal':
        case 'failure': {
          const record = inbox.recordOf(opened.id)
          if (record !== undefined) requester.onMessage(record.jobId, opened)
          return
        }
        case 'receipt':
          executor.onMessage(opened)
          void onReceipt(opened)
          return
        default:
          executor.onMessage(opened)
      }
    })
    const onReceipt = async (receipt: Opened<'receipt'>): Promise<void> => {
      const record = inbox.recordOf(receipt.id)
      if (record === undefined) return
      const verified = await reputation.take(record, receipt)
      if (life.isAlive) observer.onReceipt(this, receipt, verified)
    }

    transport.onRequest(
      createControl({
        network: NETWORK,
        log,
        inbox,
        onHeartbeat: ({ author, message }) => {
          const taskId = toHex(message.taskId)
          const record = inbox.recordOf(taskId)
          const runner = record === undefined ? undefined : requester.runner(record.jobId)
          const isAwaited = runner?.onHeartbeat(taskId, author, message.phase) ?? false
          const tail = runner?.tailOf(taskId) ?? []
          return { isAwaited, missed: tail.map(({ bytes }) => bytes) }
        },
        jobAnswer: (method, jobId) => {
          const record = inbox.record(jobId)
          const isKnown = method === 'job-messages' && record !== undefined
          return Promise.resolve(
            isKnown ? Bundle.encode({ envelopes: [record.manifest.bytes] }) : undefined,
          )
        },
      }),
    )
    for (const topic of topics.all) {
      transport.subscribe(topic, async (bytes, from) => (await inbox.receive(bytes, from)).verdict)
    }
    transport.onPeer(({ peer, kind }) => {
      requester.onPeer(peer, kind)
    })
    return { life, inbox, courier, reputation, faults, fence, requester, executor }
  }

  #offering(blocked: readonly PeerId[]): Offering {
    return {
      isExecutor: true,
      engineProblem: undefined,
      memoryMiB: 1024,
      diskMiB: 1024,
      gpus: 0,
      vramMiB: 0,
      isolation: ['runc'],
      seatsPerBatch: this.options.seats,
      backlogMax: this.options.seats * this.options.backlogFactor,
      publishers: [],
      blocked,
    }
  }

  /** The program of a task: takes its time, then gives what follows from the task. */
  async #work(
    life: Life,
    inbox: Inbox,
    replica: Replica,
    on: { phase(phase: 'fetching' | 'running'): void },
    signal: AbortSignal,
  ): Promise<ReplicaOutput> {
    const { random, outputs, observer } = this.#parts
    const { workMinMs, workMaxMs, failure, hang } = this.options
    if (this.#running.get(replica.key) === life) observer.onDouble(this, replica.key)
    this.#running.set(replica.key, life)
    try {
      on.phase('fetching')
      await pause(life, random.between(5, 100), signal)
      on.phase('running')
      if (this.corruption.isIdle) await pause(life, Infinity, signal)
      if (random.chance(hang)) {
        observer.onFault('fault:engine-hung')
        await pause(life, replica.options.resources.timeoutMs, signal)
        throw new CtdError('ENGINE_TIMEOUT', 'the container engine does not answer')
      }
      const factor = this.corruption.behaviour === 'boaster' ? SLOW_FACTOR : 1
      await pause(life, factor * random.between(workMinMs, workMaxMs), signal)
      if (random.chance(failure)) {
        observer.onFault('fault:engine-lost')
        throw new CtdError('ENGINE_LOST', 'the container engine died')
      }
    } finally {
      this.#running.delete(replica.key)
    }
    const { task, slot, jobId } = replica.options
    const record = inbox.record(jobId)
    if (record === undefined) throw new CtdError('JOB_UNKNOWN', 'the job is not known any more')
    const called = CONSPIRATORS.has(this.corruption.behaviour) ? calledTo(record, replica) : []
    // Machines differ in the last digits where that is allowed for.
    const drift = replica.options.policy.kind === 'tensors' ? this.peerId : ''
    const lie = this.corruption.lie(called)
    const output = outputs.compute(record.plan, slot, task.message, lie, drift)
    outputs.hold(output.root, this.peerId)
    return output
  }
}

/** Everybody who was called to a replica's task: conspirators read it from public messages. */
function calledTo(record: JobRecord, { options: { offer, task } }: Replica): readonly PeerId[] {
  let link: AnyOpened | undefined = task
  while (link !== undefined && link.kind !== 'freezeOpenings') {
    link = 'previous' in link.message ? record.get(toHex(link.message.previous)) : undefined
  }
  const frozenBids = link === undefined ? undefined : record.get(toHex(link.message.frozenBids))
  if (link === undefined || frozenBids?.kind !== 'freezeBids') return []
  const ballot = { offer, frozenBids, frozenOpenings: link }
  const { slots } = electionOf(NETWORK, ballot, record.manifest.author, 'trust')
  return slots[task.message.slot]?.ranking.slice(0, task.message.seats) ?? []
}

function pause(life: Life, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = ms === Infinity ? () => undefined : life.after(ms, resolve)
    signal.addEventListener('abort', () => {
      cancel()
      reject(new CtdError('CANCELLED', 'the task was cancelled'))
    })
  })
}
