/**
 * What adversaries gain in numbers: many tasks by the production `elect`, `judge`,
 * `hiddenReplicaDrawn` and `foldReputation`, without a network. Reputation feeds back: whoever is
 * caught is elected less and in the end not at all. Closed forms and attacks: trust.md section 3.
 */
import { elect, hiddenReplicaDrawn } from '../../src/protocol/election.js'
import type { Candidate } from '../../src/protocol/election.js'
import { foldReputation, scoreOf } from '../../src/protocol/reputation.js'
import type { ReputationReceipt, Score } from '../../src/protocol/reputation.js'
import { judge } from '../../src/protocol/verdict.js'
import type { ExecutorOutcome } from '../../src/protocol/verdict.js'
import { digestOf, peerIdFromPublicKey, utf8 } from '../../src/wire/ids.js'
import type { Digest, PeerId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { Random } from './random.js'

export type Strategy =
  | 'none'
  /** All return one wrong value, always. */
  | 'always'
  /** All return one wrong value, but only where they hold every visible seat. */
  | 'sleepers'
  /** Each returns a wrong value of its own. */
  | 'liars'
  /** Ten times the honest peers, all newcomers, all returning one wrong value. */
  | 'sybils'

export interface TableRow {
  readonly name: string
  readonly strategy: Strategy
  /** Share of the established peers that the adversary owns, in per cent. */
  readonly share: number
  readonly replicas: number
  readonly auditPpm: number
  readonly isYoung: boolean
  /** Share of honest runs that go wrong by themselves, in per cent. */
  readonly honestErrors: number
  /** Probability of a wrong result by formula, where there is one. */
  readonly closedForm: number | undefined
}

export interface TableFigures {
  readonly tasks: number
  readonly wrong: number
  /** Share of tasks with a wrong result accepted, per cent, with its 95 % interval (Wilson). */
  readonly wrongPercent: number
  readonly wrongLow: number
  readonly wrongHigh: number
  readonly acceptedPercent: number
  readonly executions: number
  /** Per cent of the honest peers, and of the adversary's, that were ever excluded. */
  readonly honestExcluded: number
  readonly adversariesExcluded: number
}

const START_MS = 1_800_000_000_000
const PEERS = 60
const HISTORY = 100
const FOLD_EVERY = 100
const TASK_EVERY_MS = 60_000
const HOUR_MS = 3600_000
const SYBIL_FACTOR = 10
const REQUESTERS = 200

const RIGHT = digestOf(utf8('the right result'))
const WRONG = digestOf(utf8('the agreed wrong result'))

interface Player {
  readonly peer: PeerId
  readonly isAdversary: boolean
}

export function tableRows(): TableRow[] {
  const rows: TableRow[] = []
  const base = { replicas: 2, auditPpm: 100_000, isYoung: false, honestErrors: 0 }
  rows.push({ ...base, name: 'nobody', strategy: 'none', share: 0, closedForm: 0 })
  rows.push({
    ...base,
    name: 'honest, 1 % errors',
    strategy: 'none',
    share: 0,
    honestErrors: 1,
    closedForm: undefined,
  })
  for (const share of [10, 20, 30]) {
    const f = share / 100
    const margin = f ** 2 / (f ** 2 + (1 - f) ** 2)
    rows.push({ ...base, name: 'liars', strategy: 'liars', share, closedForm: 0 })
    rows.push({ ...base, name: 'always, same', strategy: 'always', share, closedForm: margin })
    for (const [replicas, q] of [
      [2, 0.1],
      [2, 0.25],
      [3, 0.25],
    ] as const) {
      rows.push({
        ...base,
        name: `sleepers r=${replicas} q=${q}`,
        strategy: 'sleepers',
        share,
        replicas,
        auditPpm: q * 1e6,
        closedForm: f ** replicas * (1 - q * (1 - f)),
      })
    }
    rows.push({
      ...base,
      name: 'young, always, same',
      strategy: 'always',
      share,
      isYoung: true,
      closedForm: undefined,
    })
  }
  rows.push({ ...base, name: 'Sybils, ten to one', strategy: 'sybils', share: 0, closedForm: 0 })
  return rows
}

export function playRow(row: TableRow, tasks: number, seed: string): TableFigures {
  const random = new Random(`${seed}/${row.name}/${row.share}`)
  const players = createPlayers(row, random)
  const receipts = row.isYoung ? [] : players.established.flatMap(historyOf)
  const excluded = new Set<PeerId>()
  let scores: ReadonlyMap<PeerId, Score> = new Map()
  const sums = { wrong: 0, accepted: 0, executions: 0 }
  for (let task = 0; task < tasks; task++) {
    const nowMs = START_MS + task * TASK_EVERY_MS
    if (task % FOLD_EVERY === 0) {
      scores = foldReputation(receipts, nowMs)
      for (const [peer, score] of scores) if (score.exclusions > 0) excluded.add(peer)
    }
    const played = playTask(row, { players: players.all, scores, random, nowMs, task })
    if (played === undefined) continue
    sums.executions += played.executed
    if (played.root !== undefined) sums.accepted += 1
    if (played.root !== undefined && played.root !== RIGHT) sums.wrong += 1
    receipts.push(played.receipt)
  }
  const share = (isAdversary: boolean): number => {
    const side = players.all.filter((player) => player.isAdversary === isAdversary)
    const out = side.filter(({ peer }) => excluded.has(peer))
    return side.length === 0 ? 0 : (100 * out.length) / side.length
  }
  const { low, high } = wilson(sums.wrong, tasks)
  return {
    tasks,
    wrong: sums.wrong,
    wrongPercent: (100 * sums.wrong) / tasks,
    wrongLow: sums.wrong === 0 ? 0 : 100 * low,
    wrongHigh: 100 * high,
    acceptedPercent: (100 * sums.accepted) / tasks,
    executions: sums.executions / tasks,
    honestExcluded: share(false),
    adversariesExcluded: share(true),
  }
}

function createPlayers(row: TableRow, random: Random): { all: Player[]; established: Player[] } {
  const create = (isAdversary: boolean): Player => ({
    peer: peerIdFromPublicKey(random.bytes(32)),
    isAdversary,
  })
  const owned = Math.round((PEERS * row.share) / 100)
  const established = Array.from({ length: PEERS }, (_, i) => create(i < owned))
  const sybils = row.strategy === 'sybils' ? SYBIL_FACTOR * PEERS : 0
  return {
    all: [...established, ...Array.from({ length: sybils }, () => create(true))],
    established,
  }
}

/** A hundred accepted replicas, each for another requester and with another partner. */
function historyOf({ peer }: Player): ReputationReceipt[] {
  return Array.from({ length: HISTORY }, (_, i) => {
    const id = `history/${peer}/${i}`
    const partner = `${id}/partner` as PeerId
    return {
      receiptId: id,
      taskId: id,
      requester: `${id}/requester` as PeerId,
      atMs: START_MS - (i + 1) * HOUR_MS,
      young: false,
      stewards: 1,
      executors: [
        { peer, operator: peer, outcome: 'agreed', durationMs: 1000 },
        { peer: partner, operator: partner, outcome: 'agreed', durationMs: 1000 },
      ],
    }
  })
}

interface Round {
  readonly players: readonly Player[]
  readonly scores: ReadonlyMap<PeerId, Score>
  readonly random: Random
  readonly nowMs: number
  readonly task: number
}

interface Played {
  /** The accepted result; undefined for a rejected task. */
  readonly root: Digest | undefined
  readonly executed: number
  readonly receipt: ReputationReceipt
}

function playTask(row: TableRow, round: Round): Played | undefined {
  const { players, scores, random } = round
  const usable = players.filter(({ peer }) => !scoreOf(scores, peer).excluded)
  const bidders = random.shuffle(usable).slice(0, LIMITS.bidsPerOffer)
  const election = elect({
    offerHash: random.bytes(32),
    attempt: 1,
    frozenBidsHash: random.bytes(32),
    slots: 1,
    replicas: row.replicas,
    requester: peerIdFromPublicKey(random.bytes(32)),
    candidates: bidders.map(({ peer }) => candidateOf(peer, scoreOf(scores, peer))),
    openings: bidders.map(({ peer }) => ({ peer, output: random.bytes(64) })),
    diversity: 'operator',
    young: row.isYoung,
  })
  const ranking = election.slots[0]?.ranking ?? []
  if (ranking.length < row.replicas) return undefined
  const adversaries = new Set(bidders.flatMap((player) => (player.isAdversary ? player.peer : [])))
  const first = ranking.slice(0, row.replicas)
  const isLying = row.strategy !== 'sleepers' || first.every((peer) => adversaries.has(peer))
  const outcomes: ExecutorOutcome[] = []
  const run = (peer: PeerId): void => {
    const { established, reliabilityPpm } = scoreOf(scores, peer)
    const root = rootOf(row, peer, adversaries.has(peer), isLying, random)
    outcomes.push({ peer, operator: peer, established, reliabilityPpm, root })
  }
  for (const peer of first) run(peer)
  // The draw is made when all commitments are frozen: nobody can still change its mind.
  const isHidden = hiddenReplicaDrawn(random.bytes(64), 0, row.auditPpm)
  const hidden = ranking[row.replicas]
  if (isHidden && hidden !== undefined) run(hidden)
  for (;;) {
    const next = ranking[outcomes.length]
    const isLast = next === undefined || outcomes.length >= LIMITS.replicasPerTask
    const verdict = judge({
      outcomes,
      policy: { kind: 'exact' },
      young: row.isYoung,
      executed: isLast ? LIMITS.replicasPerTask : outcomes.length,
    })
    if (verdict.kind === 'escalate' && next !== undefined) {
      run(next)
      continue
    }
    const struck = new Set(verdict.kind === 'accept' ? verdict.strikes.map(({ peer }) => peer) : [])
    const agreed = new Set(verdict.kind === 'accept' ? verdict.agreed : [])
    const id = `task/${round.task}`
    return {
      root: verdict.kind === 'accept' ? verdict.root : undefined,
      executed: outcomes.length,
      receipt: {
        receiptId: id,
        taskId: id,
        requester: `requester ${random.between(1, REQUESTERS)}` as PeerId,
        atMs: round.nowMs,
        young: row.isYoung,
        stewards: 1,
        executors: outcomes.map(({ peer, operator, root }) => ({
          peer,
          operator,
          outcome: agreed.has(peer) ? 'agreed' : struck.has(peer) ? 'dissented' : 'spared',
          durationMs: 1000,
          ...(struck.has(peer) && root !== undefined ? { wrongRoot: root } : {}),
        })),
      },
    }
  }
}

function candidateOf(peer: PeerId, score: Score): Candidate {
  return {
    peer,
    operator: peer,
    addressPrefix: '',
    vrfKey: new Uint8Array(32),
    capacity: 1,
    availabilityPpm: BigInt(score.availabilityPpm),
    reliabilityPpm: BigInt(score.reliabilityPpm),
    speedPpm: BigInt(score.speedPpm),
    established: score.established,
    excluded: score.excluded,
    meetsRequirement: true,
  }
}

function rootOf(
  row: TableRow,
  peer: PeerId,
  isAdversary: boolean,
  isLying: boolean,
  random: Random,
): Digest {
  if (!isAdversary) {
    const isWrong = random.chance(row.honestErrors / 100)
    return isWrong ? digestOf(random.bytes(32)) : RIGHT
  }
  if (!isLying) return RIGHT
  return row.strategy === 'liars' ? digestOf(utf8(`${peer}'s own wrong result`)) : WRONG
}

/** Wilson's score interval at 95 %. */
function wilson(hits: number, trials: number): { low: number; high: number } {
  const z = 1.959964
  const p = hits / trials
  const scale = 1 + z ** 2 / trials
  const middle = (p + z ** 2 / (2 * trials)) / scale
  const half = (z * Math.sqrt((p * (1 - p)) / trials + z ** 2 / (4 * trials ** 2))) / scale
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) }
}
