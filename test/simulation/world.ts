/** Runs one schedule: builds the peers, lets time pass, breaks things, checks what must hold. */
import { createHash } from 'node:crypto'
import { isEnded } from '../../src/protocol/job-step.js'
import type { JobRunState } from '../../src/protocol/job.js'
import type { JobSpec, Resources } from '../../src/protocol/job-spec.js'
import type { ReputationReceipt } from '../../src/protocol/reputation.js'
import type { VerifiedSlot } from '../../src/protocol/slot-chain.js'
import type { NewJob } from '../../src/requester/requester.js'
import { digestOf, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { JobId, PeerId } from '../../src/wire/ids.js'
import { CONSPIRATORS } from './adversary.js'
import type { Behaviour } from './adversary.js'
import { Invariants } from './invariants.js'
import type { Violation } from './invariants.js'
import { SimulatedNetwork } from './network.js'
import { Outputs } from './outputs.js'
import { SimulatedPeer } from './peer.js'
import type { PeerOptions } from './peer.js'
import { forgetKept } from './primitives/kept.js'
import { mode } from './primitives/mode.js'
import { Random } from './random.js'
import type { Fault, Schedule, ScheduledJob } from './schedule.js'
import { Timeline } from './timeline.js'

export interface JobOutcome {
  readonly jobId: JobId | undefined
  readonly status: JobRunState['status'] | 'not accepted'
  readonly code: string
  readonly reason: string
  /** From its acceptance, or the end of the last fault where that was later. */
  readonly ms: number
  /** Over the accepted outputs by slot; the same wherever the same was computed. */
  readonly outputs: string
}

export interface Outcome {
  readonly seed: string
  /** Over every delivered event, in order. */
  readonly traceHash: string
  readonly events: number
  readonly virtualMs: number
  readonly violations: readonly Violation[]
  readonly coverage: ReadonlyMap<string, number>
  readonly jobs: readonly JobOutcome[]
  /** Slots whose accepted output was a lie. */
  readonly wrong: number
  /** What receipts said of each peer, by index and outcome: `3 agreed`. */
  readonly outcomes: ReadonlyMap<string, number>
}

export interface RunOptions {
  /** Told of every event, for the trace of a failing seed. */
  readonly onTrace?: (line: string) => void
  /** Told before the first event, for tests that take part. */
  readonly onWorld?: (world: World) => void
  /** Something that is broken on purpose, for tests of what finds it. */
  readonly defect?: 'never-syncs'
  /** For the second run of a seed, of which only the trace is looked at. */
  readonly isTraceOnly?: boolean
}

const START_MS = 1_800_000_000_000
/**
 * Longest that a job may take once everything works again (I5). In every election one executor that
 * stays silent and one that beats without ever committing may each use up their patience.
 */
export const LIVENESS_MS = { run: 480_000, train: 900_000 } as const
/** Longer than anything waits: for a predecessor, a lease, an answer. */
const SETTLE_MS = 100_000
const SUBMIT_AGAIN_MS = 1000
const TRACE_BYTES = 65_536

const TIMES: PeerOptions['times'] = {
  bidWindowMs: 2000,
  openWindowMs: 2000,
  revealWindowMs: 10_000,
  slowFloorMs: 500,
  leaseMs: 15_000,
  graceMs: 1000,
  heartbeatMs: 2000,
  queueTimeoutMs: 120_000,
  diversity: 'operator',
}

const RESOURCES: Resources = {
  memoryMiB: 64,
  cpus: 1,
  pids: 16,
  outMiB: 16,
  gpus: 0,
  vramMiB: 0,
  isolation: 'runc',
  timeoutMs: 10_000,
}

interface RunningJob {
  readonly scheduled: ScheduledJob
  jobId: JobId | undefined
  acceptedMs: number
  endedMs: number | undefined
}

export async function runSchedule(schedule: Schedule, options: RunOptions = {}): Promise<Outcome> {
  const world = new World(schedule, options)
  options.onWorld?.(world)
  return world.run()
}

export class World {
  readonly schedule: Schedule
  readonly timeline = new Timeline(START_MS)
  readonly #isChecked: boolean
  readonly network: SimulatedNetwork
  readonly peers: readonly SimulatedPeer[]
  readonly invariants: Invariants
  readonly jobs: RunningJob[]
  readonly #random: Random
  readonly #outputs = new Outputs()
  readonly #gangs = new Map<Behaviour, Set<PeerId>>()
  readonly #coverage = new Map<string, { times: number }>()
  readonly #hash = createHash('sha256')
  /** The end of the trace, which is not hashed yet. */
  readonly #trace = Buffer.allocUnsafe(TRACE_BYTES)
  #unhashed = 0
  readonly #names = new Map<string, string>()
  readonly #defect: RunOptions['defect']
  readonly #onTrace: ((line: string) => void) | undefined
  #events = 0
  #faultsEndMs: number

  constructor(schedule: Schedule, { onTrace, defect, isTraceOnly }: RunOptions = {}) {
    this.#isChecked = isTraceOnly !== true
    this.schedule = schedule
    this.#onTrace = onTrace
    this.#defect = defect
    this.#random = new Random(schedule.seed).fork('world')
    // The second run of a seed follows its first, and pure functions stay what they are.
    if (this.#isChecked) forgetKept()
    mode.isReal = schedule.isReal
    mode.random = this.#random.fork('bytes')
    this.invariants = new Invariants({
      now: () => this.timeline.nowMs - START_MS,
      count: (what) => this.count(what),
      isRight: (verified) => this.#isRight(verified),
      undrifted: (root) => this.#outputs.undrifted(root),
      conspirators: schedule.behaviours.filter((one) => CONSPIRATORS.has(one)).length,
    })
    const observer = {
      trace: (what: string, from: string, to: string, bytes: Uint8Array | undefined) => {
        this.trace(what, from, to, bytes)
      },
      count: (what: string) => this.count(what),
      onVerdict: this.#isChecked
        ? this.invariants.onVerdict.bind(this.invariants)
        : () => undefined,
    }
    this.network = new SimulatedNetwork(this.timeline, this.#random.fork('network'), observer, {
      faults: schedule.network,
      prefixes: new Map(),
    })
    this.peers = schedule.behaviours.map((behaviour, i) => this.#createPeer(i, behaviour))
    this.peers.forEach((peer, i) => {
      this.#names.set(peer.peerId, `p${i}`)
      this.invariants.trust(peer)
    })
    this.#faultsEndMs = START_MS
    this.jobs = schedule.jobs.map((scheduled) => ({
      scheduled,
      jobId: undefined,
      acceptedMs: 0,
      endedMs: undefined,
    }))
  }

  #createPeer(index: number, behaviour: PeerOptions['behaviour']): SimulatedPeer {
    const { seats, backlogFactor, workMinMs, workMaxMs, failure, hang } = this.schedule
    const skew = this.schedule.skews[index] ?? { offsetMs: 0, driftPpm: 0 }
    if (skew.offsetMs !== 0) this.count('fault:clock-offset')
    if (skew.driftPpm !== 0) this.count('fault:clock-drift')
    const random = this.#random.fork(`peer/${index}`)
    return new SimulatedPeer(
      {
        timeline: this.timeline,
        network: this.network,
        outputs: this.#outputs,
        observer: this.invariants,
        random,
        gangs: this.#gangs,
      },
      {
        // The same keys in every schedule: making them is the dearest part.
        name: `simulated peer ${index}`,
        behaviour,
        times: TIMES,
        seats,
        backlogFactor,
        workMinMs,
        workMaxMs,
        failure: behaviour === 'honest' ? failure : 0,
        hang: behaviour === 'honest' ? hang : 0,
        skew,
        neverSyncs: this.#defect === 'never-syncs',
      },
    )
  }

  count(what: string): void {
    if (!this.#isChecked) return
    const known = this.#coverage.get(what)
    if (known === undefined) this.#coverage.set(what, { times: 1 })
    else known.times += 1
  }

  trace(what: string, from: string, to: string, bytes: Uint8Array | undefined): void {
    this.#events += 1
    const atMs = this.timeline.nowMs - START_MS
    const line = `${atMs} ${what} ${this.nameOf(from)} ${this.nameOf(to)} ${bytes?.length ?? 0}\n`
    if (this.#unhashed + line.length > this.#trace.length) this.#hashTrace()
    this.#unhashed += this.#trace.write(line, this.#unhashed, 'latin1')
    if (bytes !== undefined) this.#toHash(bytes)
    if (this.#onTrace === undefined) return
    const digest = bytes === undefined ? '' : ` ${digestOf(bytes).slice(0, 12)}`
    this.#onTrace(line.trimEnd() + digest)
  }

  /** A hash of its own for every line would take longer than what happens. */
  #toHash(bytes: Uint8Array): void {
    if (this.#unhashed + bytes.length > this.#trace.length) this.#hashTrace()
    if (bytes.length > this.#trace.length) this.#hash.update(bytes)
    else {
      this.#trace.set(bytes, this.#unhashed)
      this.#unhashed += bytes.length
    }
  }

  #hashTrace(): void {
    this.#hash.update(this.#trace.subarray(0, this.#unhashed))
    this.#unhashed = 0
  }

  /** `p0` for the first peer and so on, for people. */
  nameOf(peer: string): string {
    return this.#names.get(peer) ?? peer
  }

  async run(): Promise<Outcome> {
    this.#presetHistory()
    const late = new Set(
      this.schedule.faults.flatMap((fault) => (fault.kind === 'late-join' ? [fault.peer] : [])),
    )
    this.peers.forEach((peer, i) => {
      if (!late.has(i)) this.timeline.after(i, () => void peer.start())
    })
    for (const fault of this.schedule.faults) this.#schedule(fault)
    for (const job of this.jobs) {
      this.timeline.after(job.scheduled.atMs, () => void this.#submit(job))
    }
    const deadline = (): number => {
      const bounds = this.jobs.map(({ acceptedMs, scheduled }) => {
        return Math.max(this.#faultsEndMs, acceptedMs) + LIVENESS_MS[scheduled.kind]
      })
      return Math.max(...bounds)
    }
    await this.timeline.play(() => {
      this.#observe()
      return this.#isOver() ? undefined : deadline()
    })
    if (!this.#isOver()) this.invariants.fail('I5', `jobs hang: ${this.#describeOpen()}`)
    else {
      const settledMs = this.timeline.nowMs + SETTLE_MS
      await this.timeline.play(() => {
        this.#observe()
        return settledMs
      })
      if (this.#isChecked) this.invariants.checkSettled(this.peers)
    }
    const jobs = this.jobs.map((job) => this.#outcomeOf(job))
    for (const peer of this.peers) peer.crash(false)
    mode.random = undefined
    return this.#conclude(jobs)
  }

  #observe(): void {
    if (this.#isChecked) this.invariants.check(this.peers)
    for (const job of this.jobs) {
      if (job.jobId === undefined) continue
      const state = this.stateOf(job)
      if (state === undefined || !isEnded(state)) continue
      job.endedMs ??= this.timeline.nowMs
      this.invariants.onEnd(job.jobId, state.status)
    }
  }

  #isOver(): boolean {
    return (
      this.timeline.nowMs >= this.#faultsEndMs &&
      // Cheaper than what follows, which cannot hold without it.
      this.jobs.every((job) => job.endedMs !== undefined) &&
      this.jobs.every((job) => this.stateOf(job) !== undefined) &&
      this.peers.every(({ household }) =>
        household?.requester.runners().every(({ state }) => isEnded(state)),
      )
    )
  }

  stateOf(job: RunningJob): JobRunState | undefined {
    const { household } = this.#peer(job.scheduled.peer)
    return job.jobId === undefined ? undefined : household?.requester.runner(job.jobId)?.state
  }

  #describeOpen(): string {
    return this.jobs
      .map((job) => {
        const state = this.stateOf(job)
        const batches = state?.batches.map(({ status, attempt, assignment }) => {
          const slots = assignment?.slots.map(({ phase }) => phase).join(',')
          return `${status}#${attempt}(${assignment?.phase}: ${slots})`
        })
        return `${state?.status} ${batches?.join(' ')}`
      })
      .join('; ')
  }

  #peer(index: number): SimulatedPeer {
    const peer = this.peers[index]
    if (peer === undefined) throw new Error(`no peer ${index}`)
    return peer
  }

  #schedule(fault: Fault): void {
    const begins = START_MS + fault.atMs
    const ends = begins + ('ms' in fault ? fault.ms : 'downMs' in fault ? fault.downMs : 0)
    this.#faultsEndMs = Math.max(this.#faultsEndMs, ends)
    this.timeline.after(fault.atMs, () => {
      this.count(`fault:${fault.kind}`)
      this.trace(`fault:${fault.kind}`, '', '', undefined)
      this.#begin(fault)
    })
    const ms = ends - START_MS
    if (ms > fault.atMs) this.timeline.after(ms, () => this.#end(fault))
  }

  #begin(fault: Fault): void {
    switch (fault.kind) {
      case 'crash':
        if (fault.peer === 0) this.count('fault:crash-requester')
        this.#peer(fault.peer).crash(fault.losesUnsynced)
        return
      case 'partition': {
        const side = new Set(fault.side.map((index) => this.#peer(index).peerId))
        for (const { peerId } of this.peers) {
          for (const other of side) {
            if (side.has(peerId)) continue
            this.network.block(other, peerId)
            if (!fault.isOneWay) this.network.block(peerId, other)
          }
        }
        return
      }
      case 'full-disk':
        this.#peer(fault.peer).disk.isFull = true
        return
      case 'failing-disk':
        this.#peer(fault.peer).disk.isFailing = true
        return
      case 'slow-disk':
        this.#peer(fault.peer).disk.isSlow = true
        return
      case 'late-join':
        this.#startAgain(fault.peer)
    }
  }

  #end(fault: Fault): void {
    if (fault.kind === 'crash') this.#startAgain(fault.peer)
    if (fault.kind === 'partition') this.network.heal()
    if (fault.kind === 'full-disk') this.#peer(fault.peer).disk.isFull = false
    if (fault.kind === 'failing-disk') this.#peer(fault.peer).disk.isFailing = false
    if (fault.kind === 'slow-disk') this.#peer(fault.peer).disk.isSlow = false
  }

  #startAgain(index: number): void {
    const peer = this.#peer(index)
    if (peer.household !== undefined) return
    void peer.start().catch((error: unknown) => {
      this.invariants.fail('E', `peer ${index} does not start: ${String(error)}`)
    })
  }

  async #submit(job: RunningJob): Promise<void> {
    const peer = this.#peer(job.scheduled.peer)
    const again = this.timeline.after(SUBMIT_AGAIN_MS, () => void this.#submit(job))
    try {
      const jobId = await peer.submit(newJob(job.scheduled))
      if (jobId === undefined) return
      job.jobId = jobId
      job.acceptedMs = this.timeline.nowMs
      again()
    } catch {
      this.count('branch:submit-refused')
    }
  }

  #isRight({ messages, batch, slot, outputRoot }: VerifiedSlot): boolean {
    const task = messages.findLast((message) => message.kind === 'task')
    const manifest = messages.find((message) => message.kind === 'manifest')
    const record = this.peers
      .map(({ household }) => household?.inbox.record(manifest?.id ?? ''))
      .find((found) => found !== undefined)
    const planned = record?.plan.batches[batch]?.[slot]
    if (task === undefined || record === undefined || planned === undefined) {
      throw new Error('a receipt of no task')
    }
    const right = this.#outputs.compute(record.plan, planned, task.message, '')
    return this.#outputs.undrifted(outputRoot) === right.root
  }

  /**
   * Old receipts by strangers who are gone, so that some peers are established from the start, as
   * those see it who are to weigh them.
   */
  #presetHistory(): void {
    const established = this.schedule.established.map((index) => this.#peer(index).peerId)
    if (established.length === 0) return
    const records = historyOf(established)
    for (const requester of new Set(this.schedule.jobs.map(({ peer }) => peer))) {
      this.#peer(requester).disk.preset('receipt', records)
    }
  }

  #outcomeOf(job: RunningJob): JobOutcome {
    const state = this.stateOf(job)
    const since = Math.max(job.acceptedMs, this.#faultsEndMs)
    const roots = state?.batches.flatMap(({ index, outputs }) =>
      [...outputs].map(([slot, { root }]) => `${index}/${slot}/${root}`),
    )
    return {
      jobId: job.jobId,
      status: state?.status ?? 'not accepted',
      code: state?.code ?? '',
      reason: state?.reason ?? '',
      ms: Math.max(0, (job.endedMs ?? this.timeline.nowMs) - since),
      outputs: toHex(sha256(utf8((roots ?? []).sort().join(' ')))),
    }
  }

  #conclude(jobs: readonly JobOutcome[]): Outcome {
    this.#hashTrace()
    return {
      seed: this.schedule.seed,
      traceHash: this.#hash.digest('hex'),
      events: this.#events,
      virtualMs: this.timeline.nowMs - START_MS,
      violations: this.invariants.violations,
      coverage: new Map([...this.#coverage].map(([what, { times }]) => [what, times])),
      jobs,
      wrong: this.invariants.wrong,
      outcomes: new Map(
        [...this.invariants.outcomes].map(([key, count]) => {
          const [peer = '', outcome = ''] = key.split(' ')
          return [`${this.nameOf(peer).slice(1)} ${outcome}`, count]
        }),
      ),
    }
  }
}

function newJob({ kind, tasks, replicas, auditPpm, compare, isElastic }: ScheduledJob): NewJob {
  const dataset = {
    name: 'dataset',
    digest: sha256(utf8('dataset')),
    sizeBytes: 1234,
    folder: false,
  }
  const run: JobSpec = {
    kind: 'run',
    command: ['true'],
    env: {},
    seed: 'simulation',
    tasks,
    resources: RESOURCES,
  }
  const train: JobSpec = {
    kind: 'train',
    model: 'bert-tiny',
    epochs: 1,
    seed: 'simulation',
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
  // Three rounds of four shards, of which one may be missed.
  const shape = { rows: 120, shards: 4, batchSize: 9, rounds: 3 }
  const elastic: JobSpec = { ...train, ...shape, elastic: true }
  return {
    name: 'simulated',
    spec: kind === 'run' ? run : isElastic === true ? elastic : train,
    image: {
      name: 'ctd/cpu',
      configDigest: sha256(utf8('config')),
      manifestDigest: sha256(utf8('manifest')),
      diffIds: [],
      sizeBytes: 1,
      archive: new Uint8Array(0),
    },
    inputs: kind === 'run' ? [] : [dataset],
    replicas,
    ...(compare === undefined ? {} : { compare }),
    auditPpm,
  }
}

const histories = new Map<string, ReadonlyMap<string, string>>()
const HISTORY_RECEIPTS = 40
const HISTORY_EVERY_MS = 3600_000

/**
 * Forty accepted replicas each, every one for another requester and with another partner, who did
 * one with each of the peers.
 */
function historyOf(peers: readonly PeerId[]): ReadonlyMap<string, string> {
  const name = peers.join()
  const known = histories.get(name)
  if (known !== undefined) return known
  const records = new Map<string, string>()
  for (const peer of peers) {
    for (let i = 0; i < HISTORY_RECEIPTS; i++) {
      const receiptId = digestOf(utf8(`history/${peer}/${i}`))
      const stranger = `stranger ${i}` as PeerId
      const agreed = { outcome: 'agreed', durationMs: 1000 } as const
      const receipt: ReputationReceipt = {
        receiptId,
        taskId: receiptId,
        requester: `requester ${i}` as PeerId,
        atMs: START_MS - (i + 1) * HISTORY_EVERY_MS,
        young: false,
        stewards: 1,
        executors: [
          { peer, operator: peer, ...agreed },
          { peer: stranger, operator: stranger, ...agreed },
        ],
      }
      records.set(receiptId, JSON.stringify({ receipt, arrival: records.size }))
    }
  }
  histories.set(name, records)
  return records
}
