/** One schedule: who takes part, which jobs there are, what goes wrong and when. All from a seed. */
import { ADVERSARIES } from './adversary.js'
import type { Behaviour } from './adversary.js'
import type { NetworkFaults } from './network.js'
import { Random } from './random.js'

export interface ScheduledJob {
  readonly atMs: number
  /** Index of its requester. */
  readonly peer: number
  readonly kind: 'run' | 'train'
  readonly tasks: number
  readonly replicas: number
  readonly auditPpm: number
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
      readonly kind: 'full-disk'
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
  /** Share of replicas that fail on one machine alone. */
  readonly failure: number
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
    isReal: false,
    ...changes,
  }
}

const FAULTS_FROM_MS = 2500
const FAULTS_TO_MS = 30_000
const PEERS_MIN = 7
const PEERS_MAX = 9
/** Honest peers that must stay so that every job can be served. */
const HONEST_MIN = 5
const ESTABLISHED_MAX = 7

/** A full mix: every schedule draws which faults it has at all, and how strong they are. */
export function mixedSchedule(seed: string, isReal = false): Schedule {
  const random = new Random(seed)
  const peers = random.between(PEERS_MIN, PEERS_MAX)
  const behaviours = drawBehaviours(random, peers)
  const isMature = random.chance(0.3)
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
    isReal,
  }
}

function drawBehaviours(random: Random, peers: number): Behaviour[] {
  const count = random.chance(0.7) ? random.between(0, Math.min(3, peers - HONEST_MIN)) : 0
  // At most one tells a lie that another could agree with: two may win in a young network.
  const kinds = random.shuffle(ADVERSARIES).slice(0, count)
  const rest = random.shuffle([
    ...kinds,
    ...Array.from({ length: peers - 1 - count }, (): Behaviour => 'honest'),
  ])
  return ['honest', ...rest]
}

function drawJobs(random: Random, behaviours: readonly Behaviour[]): ScheduledJob[] {
  // An adversary's own job is its own affair.
  const second = behaviours[1] === 'honest' ? random.between(0, 1) : 0
  return Array.from({ length: random.chance(0.25) ? 2 : 1 }, (_, i) => ({
    atMs: 2500 + random.between(0, 4000),
    peer: i === 0 ? 0 : second,
    kind: random.chance(0.2) ? 'train' : 'run',
    tasks: random.between(1, 4),
    replicas: random.pick([2, 2, 2, 3]),
    auditPpm: random.pick([0, 100_000, 500_000, 1_000_000]),
  }))
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
  for (const _ of times(0.15, 2)) {
    faults.push({ kind: 'full-disk', atMs: atMs(), peer: anybody(), ms: random.between(100, 6000) })
  }
  for (const _ of times(0.3, 2)) {
    faults.push({ kind: 'late-join', atMs: atMs(), peer: random.between(1, peers - 1) })
  }
  return faults
}
