/**
 * Each attack played twice: against our rules and against one of them weakened. The gain by the
 * weakened rule shows that the attack itself is real.
 */
import { elect, hiddenReplicaDrawn, secondSeed } from '../../src/protocol/election.js'
import type { Candidate, Election } from '../../src/protocol/election.js'
import { quorumOf } from '../../src/protocol/quorum.js'
import { foldReputation, scoreFrom } from '../../src/protocol/reputation-fold.js'
import type { ReceiptExecutor, ReputationReceipt } from '../../src/protocol/reputation.js'
import { rankStewards } from '../../src/protocol/stewards.js'
import { peerIdFromPublicKey, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { JobId, PeerId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { Random } from './random.js'
import { playTable } from './table.js'
import type { TableFigures } from './table.js'
import { PRODUCTION_RULES } from './table-setting.js'
import type { TableRules, TableSetting } from './table-setting.js'
import {
  FIRST_COME,
  FREE_TIMEOUTS,
  NO_COMMITMENTS,
  NO_DUES,
  NO_MEMORY,
  PLAIN_MAJORITY,
} from './table-weakened.js'

export interface Attack {
  readonly adversary: string
  /** What is measured; more is better for the adversary. */
  readonly gain: string
  /** The weakened rule, in words. */
  readonly rule: string
  /** Most that our rules may grant. */
  readonly most: number
  /** By how much the weakened rule must at least exceed ours, for the attack to be real. */
  readonly factor: number
  /** @param tasks - of an ordinary row of the table */
  play(tasks: number, seed: string): { readonly real: number; readonly weak: number }
}

export interface PlayedAttack {
  readonly adversary: string
  readonly gain: string
  readonly rule: string
  readonly real: number
  readonly weak: number
  readonly missed: readonly string[]
}

const DAY_MS = 24 * 3600_000
const START_MS = 1_800_000_000_000
/** Bidders of the elections that are played alone, and how many of them are the adversary's. */
const BIDDERS = 20
const OWNED = 4
const WITHHOLDERS = 3
/** How often a grinder tries. */
const TRIES = 10_000
const AUDIT_PPM = 100_000

const SETTING: TableSetting = {
  strategy: 'none',
  share: 20,
  replicas: 2,
  auditPpm: AUDIT_PPM,
  phase: 'mature',
  honestErrors: 0,
  peers: 100,
  tasks: 0,
}

/** An attack by a strategy of the table: the same run with and without the weakened rule. */
function tableAttack(
  words: Pick<Attack, 'adversary' | 'gain' | 'rule' | 'most' | 'factor'>,
  changes: Partial<TableSetting>,
  weak: { readonly rules?: TableRules; readonly setting?: Partial<TableSetting> },
  figureOf: (figures: TableFigures) => number,
): Attack {
  return {
    ...words,
    play(tasks, seed) {
      const setting = { ...SETTING, ...changes, tasks: Math.max(10, Math.round(tasks / 5)) }
      const name = `${seed}/${words.adversary}`
      const weakened = { ...setting, ...weak.setting }
      return {
        real: figureOf(playTable(setting, name, PRODUCTION_RULES)),
        weak: figureOf(playTable(weakened, name, weak.rules ?? PRODUCTION_RULES)),
      }
    },
  }
}

const wrongOf = ({ wrongPercent }: TableFigures): number => wrongPercent.value
const WRONG = 'wrong results, %'

export const ATTACKS: readonly Attack[] = [
  tableAttack(
    {
      adversary: 'always, same, f = 30 %',
      gain: WRONG,
      rule: 'plain 2-of-3 majority that remembers nothing',
      most: 3,
      factor: 5,
    },
    { strategy: 'always', share: 30 },
    { rules: NO_MEMORY },
    wrongOf,
  ),
  tableAttack(
    {
      adversary: 'sleepers, f = 20 %, q = 0.25',
      gain: WRONG,
      rule: 'no hidden replica',
      most: 4,
      factor: 1.3,
    },
    { strategy: 'sleepers', auditPpm: 250_000 },
    { setting: { auditPpm: 0 } },
    wrongOf,
  ),
  tableAttack(
    {
      adversary: 'framers, f = 30 %, r = 3',
      gain: 'honest peers excluded, %',
      rule: 'a bare majority strikes',
      most: 2,
      factor: 10,
    },
    { strategy: 'framers', share: 30, replicas: 3 },
    { rules: PLAIN_MAJORITY },
    ({ honestExcluded }) => honestExcluded.value,
  ),
  tableAttack(
    {
      adversary: 'copycats, f = 20 %',
      gain: 'credit without work, % of all',
      rule: 'no commitments',
      most: 0,
      factor: 10,
    },
    { strategy: 'copycats' },
    { rules: NO_COMMITMENTS },
    ({ creditShare }) => creditShare,
  ),
  tableAttack(
    {
      adversary: 'Sybils, ten to one',
      gain: WRONG,
      rule: 'the first bids that come are frozen',
      most: 0,
      factor: 10,
    },
    { strategy: 'sybils', share: 0 },
    { rules: FIRST_COME },
    wrongOf,
  ),
  tableAttack(
    {
      adversary: 'Sybils, one attempt each',
      gain: WRONG,
      rule: 'no dues: a newcomer counts like everybody',
      most: 0,
      factor: 10,
    },
    { strategy: 'sybils', share: 0 },
    { rules: NO_DUES },
    wrongOf,
  ),
  tableAttack(
    {
      adversary: 'whitewashers, f = 20 %',
      gain: WRONG,
      rule: 'no dues: a newcomer counts like everybody',
      most: 3,
      factor: 3,
    },
    { strategy: 'whitewashers' },
    { rules: NO_DUES },
    wrongOf,
  ),
  tableAttack(
    {
      adversary: 'silent executors, f = 30 %',
      gain: 'wasted calls per task',
      rule: 'running out of time costs nothing',
      most: 1.2,
      factor: 1.05,
    },
    { strategy: 'silent', share: 30 },
    { rules: FREE_TIMEOUTS },
    ({ executions }) => executions.value - 2.1,
  ),
  {
    adversary: 'withholders, K = 3 of 4 in 20',
    gain: 'tasks with both seats, %',
    rule: 'openings are asked for again until all come',
    // Both seats by chance: 4 / 20 · 3 / 19. Eight choices give at most eight times that.
    most: (8 * 100 * 4 * 3) / (20 * 19),
    factor: 2,
    play: playWithholders,
  },
  {
    adversary: 'ticket grinders, 4 of 20',
    gain: 'tasks with both seats, %',
    rule: 'tickets follow from the offer and the key alone',
    most: 5.5,
    factor: 10,
    play: playGrinders,
  },
  {
    adversary: 'salt grinders, q = 0.10',
    gain: 'audits avoided, %',
    rule: 'the second seed is H(commitments)',
    most: 92,
    factor: 1.08,
    play: playSaltGrinders,
  },
  {
    adversary: 'reputation farmers, 1,000 own tasks',
    gain: 'credit S (a full history is 100)',
    rule: 'credit does not diminish',
    // Of n credits by one requester with one partner: Σ 25 / (5 + i)² < 25 · (1/25 + 1/5) = 6.
    most: 6,
    factor: 10,
    play: playFarmers,
  },
  {
    adversary: 'lying benchmarks, 4 of 20',
    gain: 'first seats, %',
    rule: 'speed as declared, without a cap',
    most: 22,
    factor: 1.5,
    play: playBenchmarks,
  },
  {
    adversary: 'censoring stewards, f = 20 %',
    gain: 'offers whose bids they choose, %',
    rule: 'the first steward freezes, without acknowledgements',
    // Five of seven: 0.47 %, and three standard deviations at 2,000 offers.
    most: 0.95,
    factor: 10,
    play: playStewards,
  },
]

export function playAttack(attack: Attack, tasks: number, seed: string): PlayedAttack {
  const { adversary, gain, rule, most, factor } = attack
  const { real, weak } = attack.play(tasks, seed)
  const missed: string[] = []
  if (real > most) missed.push(`${adversary}: ${gain} ≤ ${most} was promised, it is ${real}`)
  if (weak < factor * real || weak === 0) {
    missed.push(`${adversary}: ${rule} gives ${weak} against ${real}, so the attack is not shown`)
  }
  return { adversary, gain, rule, real, weak, missed }
}

function bidder(peer: PeerId, changes: Partial<Candidate> = {}): Candidate {
  return {
    peer,
    operator: peer,
    addressPrefix: '',
    vrfKey: new Uint8Array(32),
    capacity: 1,
    availabilityPpm: 900_000n,
    reliabilityPpm: 960_000n,
    speedPpm: 1_000_000n,
    established: true,
    excluded: false,
    meetsRequirement: true,
    ...changes,
  }
}

interface Field {
  readonly peers: readonly PeerId[]
  readonly owned: ReadonlySet<PeerId>
}

function fieldOf(random: Random): Field {
  const peers = Array.from({ length: BIDDERS }, () => peerIdFromPublicKey(random.bytes(32)))
  return { peers, owned: new Set(peers.slice(0, OWNED)) }
}

type TicketOf = (peer: PeerId) => Uint8Array

function electAmong(
  { peers }: Field,
  offerHash: Uint8Array,
  outputOf: TicketOf,
  candidates = peers.map((peer) => bidder(peer)),
): Election {
  return elect({
    offerHash,
    attempt: 1,
    frozenBidsHash: sha256(offerHash),
    slots: 1,
    replicas: 2,
    requester: peerIdFromPublicKey(new Uint8Array(32)),
    candidates,
    openings: peers.flatMap((peer) => {
      const output = outputOf(peer)
      return output.length === 0 ? [] : [{ peer, output }]
    }),
    diversity: 'operator',
  })
}

function holdsBoth({ owned }: Field, election: Election): boolean {
  return election.slots.every(({ executors }) => executors.every((peer) => owned.has(peer)))
}

/** Some of the adversary see all other openings and choose which of their own to give. */
function playWithholders(tasks: number, seed: string): { real: number; weak: number } {
  const random = new Random(`${seed}/withholders`)
  const field = fieldOf(random)
  const withholders = field.peers.slice(0, WITHHOLDERS)
  const offers = Math.max(10, Math.round(tasks / 10))
  const wins = { real: 0, weak: 0 }
  for (let offer = 0; offer < offers; offer++) {
    const offerHash = random.bytes(32)
    const hasWon = (outputs: ReadonlyMap<PeerId, Uint8Array>): boolean =>
      Array.from({ length: 2 ** WITHHOLDERS }, (_, mask) => mask).some((mask) => {
        const isHeld = (peer: PeerId): boolean => {
          const place = withholders.indexOf(peer)
          return place >= 0 && ((mask >> place) & 1) === 1
        }
        const election = electAmong(field, offerHash, (peer) =>
          isHeld(peer) ? new Uint8Array(0) : (outputs.get(peer) ?? new Uint8Array(0)),
        )
        return holdsBoth(field, election)
      })
    const draw = (): Map<PeerId, Uint8Array> =>
      new Map(field.peers.map((peer) => [peer, random.bytes(64)]))
    const isWon = hasWon(draw())
    if (isWon) wins.real++
    // Whoever may miss a round without being left out of it draws until the round pleases.
    let rounds = 1
    let isWonLater = isWon
    while (!isWonLater && rounds++ < 8) isWonLater = hasWon(draw())
    if (isWonLater) wins.weak++
  }
  return { real: (100 * wins.real) / offers, weak: (100 * wins.weak) / offers }
}

/** A requester tries offers until its own bidders hold both seats. */
function playGrinders(tasks: number, seed: string): { real: number; weak: number } {
  const random = new Random(`${seed}/grinders`)
  const field = fieldOf(random)
  const offers = Math.max(10, Math.round(tasks / 2.5))
  let real = 0
  for (let offer = 0; offer < offers; offer++) {
    // An offer is out before anybody opens: whatever was ground before, the outputs are fresh.
    const election = electAmong(field, random.bytes(32), () => random.bytes(64))
    if (holdsBoth(field, election)) real++
  }
  const rounds = Math.max(5, Math.round(tasks / 200))
  let weak = 0
  for (let round = 0; round < rounds; round++) {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const offerHash = random.bytes(32)
      const election = electAmong(field, offerHash, (peer) => {
        const half = sha256(offerHash, utf8(peer))
        return Uint8Array.of(...half, ...sha256(half))
      })
      if (!holdsBoth(field, election)) continue
      weak++
      break
    }
  }
  return { real: (100 * real) / offers, weak: (100 * weak) / rounds }
}

/** The last to commit tries salts until no hidden replica would be drawn. */
function playSaltGrinders(tasks: number, seed: string): { real: number; weak: number } {
  const random = new Random(`${seed}/salts`)
  const rounds = Math.max(10, tasks)
  let real = 0
  let weak = 0
  for (let round = 0; round < rounds; round++) {
    const salts = Array.from({ length: 50 }, () => sha256(random.bytes(32)))
    const isFree = (salt: Uint8Array): boolean => !hiddenReplicaDrawn(sha256(salt), 0, AUDIT_PPM)
    const chosen = salts.find(isFree) ?? salts[0] ?? new Uint8Array(32)
    if (isFree(chosen)) weak++
    // The stewards' outputs are over the frozen commitments and known to nobody before.
    const seed2 = secondSeed(chosen, [random.bytes(64), random.bytes(64)])
    if (!hiddenReplicaDrawn(seed2, 0, AUDIT_PPM)) real++
  }
  return { real: (100 * real) / rounds, weak: (100 * weak) / rounds }
}

/** A submitter has two friends compute a thousand of its tasks within a day. */
function playFarmers(): { real: number; weak: number } {
  const [requester, first, second] = ['requester', 'first', 'second'].map((name) =>
    peerIdFromPublicKey(sha256(utf8(name))),
  ) as [PeerId, PeerId, PeerId]
  const receipts = Array.from({ length: 1000 }, (_, i): ReputationReceipt => {
    const id = `farmed ${String(i).padStart(5, '0')}`
    const executor = (peer: PeerId): ReceiptExecutor => ({
      peer,
      operator: peer,
      outcome: 'agreed',
      durationMs: 1000,
    })
    return {
      receiptId: id,
      taskId: id,
      requester,
      atMs: START_MS + i * (DAY_MS / 1000),
      young: false,
      stewards: 3,
      executors: [executor(first), executor(second)],
    }
  })
  const nowMs = START_MS + DAY_MS
  // As if no two tasks had the same requester or partner: then nothing diminishes.
  const flat = receipts.map((receipt, i): ReputationReceipt => {
    const executors = receipt.executors.map((each) =>
      each.peer === first ? each : { ...each, operator: `${each.operator} ${i}` },
    )
    return { ...receipt, requester: `${receipt.requester} ${i}` as PeerId, executors }
  })
  const creditOf = (given: readonly ReputationReceipt[]): number =>
    scoreFrom(given, first, nowMs).creditMicro / 1e6
  return { real: creditOf(receipts), weak: creditOf(flat) }
}

/** Peers that declare ten times their speed, and have run thirty tasks beside others since. */
function playBenchmarks(tasks: number, seed: string): { real: number; weak: number } {
  const random = new Random(`${seed}/benchmarks`)
  const field = fieldOf(random)
  const [liar] = field.peers
  const receipts = Array.from({ length: 30 }, (_, i): ReputationReceipt => {
    const executor = (peer: PeerId): ReceiptExecutor => ({
      peer,
      operator: peer,
      outcome: 'agreed',
      durationMs: 1000,
    })
    const other = field.peers[OWNED + (i % (BIDDERS - OWNED))]
    return {
      receiptId: `task ${i}`,
      taskId: `task ${i}`,
      requester: peerIdFromPublicKey(sha256(utf8(`requester ${i}`))),
      atMs: START_MS + i * 1000,
      young: false,
      stewards: 3,
      executors: [liar, other].flatMap((peer) => (peer === undefined ? [] : [executor(peer)])),
    }
  })
  const scores = foldReputation(receipts, START_MS + DAY_MS)
  const seen = BigInt((liar === undefined ? undefined : scores.get(liar))?.speedPpm ?? 0)
  const offers = Math.max(10, Math.round(tasks / 2.5))
  const shareAt = (speedPpm: bigint): number => {
    const candidates = field.peers.map((peer) =>
      bidder(peer, field.owned.has(peer) ? { speedPpm } : {}),
    )
    let wins = 0
    for (let offer = 0; offer < offers; offer++) {
      const election = electAmong(field, random.bytes(32), () => random.bytes(64), candidates)
      const [first] = election.slots[0]?.executors ?? []
      if (first !== undefined && field.owned.has(first)) wins++
    }
    return (100 * wins) / offers
  }
  return { real: shareAt(seen), weak: shareAt(10_000_000n) }
}

/** How often so many stewards of a job are the adversary's that they can freeze what they like. */
function playStewards(tasks: number, seed: string): { real: number; weak: number } {
  const random = new Random(`${seed}/stewards`)
  const peers = Array.from({ length: 200 }, () => peerIdFromPublicKey(random.bytes(32)))
  const owned = new Set(peers.slice(0, 40))
  const requester = peerIdFromPublicKey(random.bytes(32))
  const candidates = peers.map((peer) => ({
    peer,
    operator: peer,
    reliabilityPpm: 960_000,
    established: true,
    excluded: false,
  }))
  const offers = Math.max(10, Math.round(tasks / 5))
  let real = 0
  let weak = 0
  for (let offer = 0; offer < offers; offer++) {
    const jobId = toHex(random.bytes(32)) as JobId
    const beacon = random.bytes(32)
    const { ranking } = rankStewards({
      jobId,
      beacon,
      requester,
      requesterOperator: requester,
      peers: candidates,
    })
    const members = ranking.slice(0, LIMITS.stewardsPerOffer)
    // An honest steward signs no freeze that lacks a bid it acknowledged.
    const captured = members.filter((peer) => owned.has(peer)).length
    if (captured >= quorumOf(members.length)) real++
    const [leader] = members
    if (leader !== undefined && owned.has(leader)) weak++
  }
  return { real: (100 * real) / offers, weak: (100 * weak) / offers }
}
