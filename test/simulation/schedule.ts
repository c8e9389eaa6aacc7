/** One schedule: who takes part, which jobs there are, what goes wrong and when. All from a seed. */
import { ADVERSARIES } from './adversary.js'
import type { Adversary, Behaviour } from './adversary.js'
import type { NetworkFaults } from './network.js'
import { Random } from './random.js'
import type { Skew } from './timeline.js'

export interface ScheduledJob {
  readonly atMs: number
  /** Index of its requester. */
  readonly peer: number
  readonly kind: 'run' | 'train'
  readonly tasks: number
  readonly replicas: number
  readonly auditPpm: number
  /** Of a job that trains: rounds close without stragglers. */
  readonly isElastic?: true
  /** Bit for bit where absent. */
  readonly compare?: 'tensors:fp32'
}

export type Fault =
  | {
      readonly kind: 'crash'
      readonly atMs: number
      readonly peer: number
      readonly downMs: number
      readonly losesUnsynced: boolean
    }
  | {
      readonly kind: 'partition'
      readonly atMs: number
      readonly side: readonly number[]
      readonly ms: number
      readonly isOneWay: boolean
    }
  | {
      readonly kind: 'full-disk' | 'failing-disk' | 'slow-disk'
      readonly atMs: number
      readonly peer: number
      readonly ms: number
    }
  | { readonly kind: 'late-join'; readonly atMs: number; readonly peer: number }

export interface Schedule {
  readonly seed: string
  /** One per peer; the first is honest and submits. */
  readonly behaviours: readonly Behaviour[]
  /** Peers with a history that makes them established; none for a young network. */
  readonly established: readonly number[]
  readonly jobs: readonly ScheduledJob[]
  readonly network: NetworkFaults
  readonly faults: readonly Fault[]
  readonly seats: number
  readonly backlogFactor: number
  readonly workMinMs: number
  readonly workMaxMs: number
  /** Share of replicas that fail on one machine alone, and whose container engine hangs. */
  readonly failure: number
  readonly hang: number
  /** How wrong the clock of each peer is; right for those it does not name. */
  readonly skews: readonly Skew[]
  /** Real signatures and VRFs instead of hashes. */
  readonly isReal: boolean
}

export const CALM: NetworkFaults = {
  delayMinMs: 1,
  delayMaxMs: 5,
  slow: 0,
  loss: 0,
  gossipLoss: 0,
  duplication: 0,
}

/** A schedule without anything that goes wrong; tests change what they are about. */
export function calmSchedule(seed: string, changes: Partial<Schedule> = {}): Schedule {
  return {
    seed,
    behaviours: Array.from({ length: 7 }, () => 'honest'),
    established: [],
    jobs: [{ atMs: 3000, peer: 0, kind: 'run', tasks: 2, replicas: 2, auditPpm: 0 }],
    network: CALM,
    faults: [],
    seats: 2,
    backlogFactor: 8,
    workMinMs: 50,
    workMaxMs: 1500,
    failure: 0,
    hang: 0,
    skews: [],
    isReal: false,
    ...changes,
  }
}

const FAULTS_FROM_MS = 2500
const FAULTS_TO_MS = 30_000
const PEERS_MIN = 7
/** Most schedules stay small, so that there can be many. */
const PEERS_USUAL_MAX = 8
const PEERS_MAX = 12
/** Honest peers that must stay so that every job can be served. */
const HONEST_MIN = 5
const ESTABLISHED_MAX = 7
const ADVERSARIES_MAX = 4
/** Those who gain by being several; some seldom find what they wait for, and so come more often. */
const GANGS = ['colluder', 'sybil', 'sleeper', 'sleeper', 'framer', 'framer'] as const
/** Share of jobs that train: each takes as long as four others. */
const TRAIN = 0.05
/** Share of those whose rounds are elastic. */
const ELASTIC = 0.6
/** Share of jobs whose tensors are compared within a tolerance. */
const TENSORS = 0.25
const SKEW_MAX_MS = 8000
const DRIFT_MAX_PPM = 5000

/** A full mix: every schedule draws which faults it has at all, and how strong they are. */
export function mixedSchedule(seed: string, isReal = false): Schedule {
  const random = new Random(seed)
  const most = random.chance(0.12) ? PEERS_MAX : PEERS_USUAL_MAX
  const peers = random.between(PEERS_MIN, most)
  const behaviours = drawBehaviours(random, peers)
  const isMature = random.chance(0.25)
  const honest = behaviours.flatMap((behaviour, i) => (behaviour === 'honest' ? [i] : []))
  const delayMinMs = random.between(1, 20)
  const loss = random.chance(0.5) ? random.pick([0.01, 0.03, 0.1]) : 0
  return {
    seed,
    behaviours,
    // Adversaries are newcomers here: what mature ones gain is a matter of probability.
    established: isMature ? honest.slice(0, ESTABLISHED_MAX) : [],
    jobs: drawJobs(random, behaviours),
    network: {
      delayMinMs,
      delayMaxMs: delayMinMs + random.between(1, 150),
      slow: random.chance(0.5) ? 0.05 : 0,
      loss,
      gossipLoss: loss,
      duplication: random.chance(0.5) ? 0.15 : 0,
    },
    faults: drawFaults(random, peers),
    seats: random.between(1, 3),
    backlogFactor: random.pick([1, 8]),
    workMinMs: 20,
    workMaxMs: random.pick([300, 2000, 9000]),
    failure: random.chance(0.3) ? 0.05 : 0,
    hang: random.chance(0.15) ? 0.05 : 0,
    skews: random.chance(0.5) ? Array.from({ length: peers }, () => drawSkew(random)) : [],
    isReal,
  }
}

function drawSkew(random: Random): Skew {
  const offsetMs = random.chance(0.5) ? random.between(-SKEW_MAX_MS, SKEW_MAX_MS) : 0
  return {
    offsetMs,
    driftPpm: random.chance(0.3) ? random.between(-DRIFT_MAX_PPM, DRIFT_MAX_PPM) : 0,
  }
}

function drawBehaviours(random: Random, peers: number): Behaviour[] {
  const room = Math.min(ADVERSARIES_MAX, peers - HONEST_MIN)
  const adversaries = random.chance(0.7) ? drawAdversaries(random, random.between(0, room)) : []
  const rest = random.shuffle<Behaviour>([
    ...adversaries,
    ...Array.from({ length: peers - 1 - adversaries.length }, (): Behaviour => 'honest'),
  ])
  return ['honest', ...rest]
}

/** Often a gang and whoever there is room for beside it. */
function drawAdversaries(random: Random, count: number): Adversary[] {
  const loners = random.shuffle(ADVERSARIES)
  if (count < 2 || random.chance(0.4)) return loners.slice(0, count)
  const kind = random.pick(GANGS)
  const gang = Array.from({ length: random.between(2, count) }, () => kind)
  return [...gang, ...loners.filter((other) => other !== kind)].slice(0, count)
}

function drawJobs(random: Random, behaviours: readonly Behaviour[]): ScheduledJob[] {
  // An adversary's own job is its own affair.
  const second = behaviours[1] === 'honest' ? random.between(0, 1) : 0
  const compare = random.fork('compare')
  const elastic = random.fork('elastic')
  return Array.from({ length: random.chance(0.12) ? 2 : 1 }, (_, i): ScheduledJob => {
    const job = {
      atMs: 2500 + random.between(0, 4000),
      peer: i === 0 ? 0 : second,
      kind: random.chance(TRAIN) ? ('train' as const) : ('run' as const),
      tasks: random.pick([1, 1, 1, 2, 2, 4]),
      replicas: random.pick([2, 2, 2, 3]),
      auditPpm: random.pick([0, 100_000, 500_000, 1_000_000]),
    }
    const isTensors = compare.chance(TENSORS)
    if (job.kind === 'train' && elastic.chance(ELASTIC)) return { ...job, isElastic: true }
    return isTensors ? { ...job, compare: 'tensors:fp32' } : job
  })
}

function drawFaults(random: Random, peers: number): Fault[] {
  const faults: Fault[] = []
  const atMs = (): number => random.between(FAULTS_FROM_MS, FAULTS_TO_MS)
  const anybody = (): number => random.between(0, peers - 1)
  const times = (share: number, max: number): undefined[] =>
    Array.from({ length: random.chance(share) ? random.between(1, max) : 0 })
  const crash = (peer: number): void => {
    const downMs = random.between(50, 8000)
    faults.push({ kind: 'crash', atMs: atMs(), peer, downMs, losesUnsynced: random.chance(0.7) })
  }
  for (const _ of times(0.35, 3)) crash(0)
  for (const _ of times(0.5, 4)) crash(anybody())
  for (const _ of times(0.4, 2)) {
    const side = random.shuffle(Array.from({ length: peers }, (__, i) => i))
    faults.push({
      kind: 'partition',
      atMs: atMs(),
      side: side.slice(0, random.between(1, peers - 1)),
      ms: random.between(300, 15_000),
      isOneWay: random.chance(0.25),
    })
  }
  for (const kind of ['full-disk', 'failing-disk', 'slow-disk'] as const) {
    for (const _ of times(0.2, 2)) {
      faults.push({ kind, atMs: atMs(), peer: anybody(), ms: random.between(100, 6000) })
    }
  }
  for (const _ of times(0.3, 2)) {
    faults.push({ kind: 'late-join', atMs: atMs(), peer: random.between(1, peers - 1) })
  }
  return faults
}
