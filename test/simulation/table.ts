/**
 * What adversaries gain in numbers: many tasks by the production `elect`, `judge` and
 * `hiddenReplicaDrawn`, without a network. Reputation feeds back, by scores that are compared with
 * `foldReputation` as the run goes: whoever is caught is elected less and in the end not at all.
 */
import { choosePlaces, elect, hiddenReplicaDrawn } from '../../src/protocol/election.js'
import type { Applicant, Candidate, Election } from '../../src/protocol/election.js'
import type {
  ReceiptExecutor,
  ReceiptOutcome,
  ReputationReceipt,
  Score,
} from '../../src/protocol/reputation.js'
import { judge } from '../../src/protocol/verdict.js'
import type { ExecutorOutcome, Verdict } from '../../src/protocol/verdict.js'
import { digestOf, peerIdFromPublicKey, utf8 } from '../../src/wire/ids.js'
import type { Digest, PeerId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { Random } from './random.js'
import { assertSame, RunningScores } from './table-scores.js'
import { meanInterval, wilson } from './table-statistics.js'
import type { Interval } from './table-statistics.js'

export type Strategy =
  | 'none'
  /** All return one wrong value, always. */
  | 'always'
  /** All return one wrong value, but only where they hold every visible seat. */
  | 'sleepers'
  /** Each returns a wrong value of its own. */
  | 'liars'
  /** One wrong value, but only where they are called after the first results were committed. */
  | 'latecomers'
  /** One wrong value wherever they outnumber the honest among the visible seats. */
  | 'framers'
  /** Compute nothing, commit blindly and try to reveal what somebody else revealed. */
  | 'copycats'
  /** Take seats and fall silent. */
  | 'silent'
  /** Always wrong, and back under a new key as soon as the old one is excluded. */
  | 'whitewashers'
  /** Sleepers of whom the last three to open hold back whichever openings suit them. */
  | 'withholders'
  /** Ten times the honest peers, all newcomers, all returning one wrong value. */
  | 'sybils'

/** The rules a run is played by. Production's, unless a weakened one is put in its place. */
export interface TableRules {
  readonly judge: (outcomes: readonly ExecutorOutcome[], young: boolean, isLast: boolean) => Verdict
  /** Whether an executor can reveal what it had not committed to. */
  readonly canCopy: boolean
  /** What a candidate looks like to the election and the verdict. */
  readonly weigh: (score: Score) => Score
  /** Stewards that sign: a lone one's word about timeouts counts nothing. */
  readonly stewards: number
  /** Bids a steward takes before it chooses among them; where only as many as fit, the first. */
  readonly bidsTaken: number
  /** Whether receipts teach nothing. */
  readonly forgets: boolean
}

export interface TableSetting {
  readonly strategy: Strategy
  /** Share of the peers with history that the adversary owns, in per cent. */
  readonly share: number
  readonly replicas: number
  readonly auditPpm: number
  /** `young`: nobody has any history, and only tasks by the young rules count. */
  readonly phase: 'mature' | 'young'
  /** Share of honest runs that go wrong by themselves, in per cent. */
  readonly honestErrors: number
  readonly peers: number
  readonly tasks: number
}

export interface TableFigures {
  /** Tasks played; in the young phase those before the network matured. */
  readonly tasks: number
  readonly wrong: number
  /** Share of tasks with a wrong result accepted, per cent, with its 95 % interval (Wilson). */
  readonly wrongPercent: Interval
  /** The same of the first 1,000 tasks, before much is learnt about anybody. */
  readonly earlyPercent: Interval
  readonly acceptedPercent: Interval
  /** Runs of the task's program per task, the wasted ones of adversaries included. */
  readonly executions: Interval
  /** Per cent of the honest peers, and of the adversary's, that were ever excluded. */
  readonly honestExcluded: Interval
  readonly adversariesExcluded: Interval
  /** The adversary's share of the credit for accepted replicas, per cent. */
  readonly creditShare: number
}

const START_MS = 1_800_000_000_000
/** Enough receipts for the greatest credit, S = 100. */
const HISTORY = 110
const HISTORY_MS = 24 * 3600_000
/** Tasks of one offer: they run together, and what they teach counts from the next offer on. */
const BATCH = 10
/** Ten minutes between offers: a week is some 10,000 tasks. */
const BATCH_MS = 600_000
const EARLY_TASKS = 1000
const SAME_EVERY = 1000
const SAME_PEERS = 2
const SYBIL_FACTOR = 10
const REQUESTERS = 200
const WITHHOLDERS = 3

const RIGHT = digestOf(utf8('the right result'))
const WRONG = digestOf(utf8('the agreed wrong result'))

export const PRODUCTION_RULES: TableRules = {
  judge: (outcomes, young, isLast) =>
    judge({
      outcomes,
      policy: { kind: 'exact' },
      young,
      executed: isLast ? LIMITS.replicasPerTask : outcomes.length,
    }),
  canCopy: false,
  weigh: (score) => score,
  stewards: 3,
  bidsTaken: LIMITS.answersPerOffer,
  forgets: false,
}

interface Player {
  readonly peer: PeerId
  readonly isAdversary: boolean
}

/** One bidder of a batch with what was frozen about it. */
interface Bidder extends Player {
  readonly score: Score
}

export function playTable(
  setting: TableSetting,
  seed: string,
  rules: TableRules = PRODUCTION_RULES,
): TableFigures {
  return new Run(setting, seed, rules).play()
}

class Run {
  readonly #setting: TableSetting
  readonly #rules: TableRules
  readonly #random: Random
  readonly #players: Player[]
  readonly #scores = new RunningScores()
  readonly #receipts: ReputationReceipt[] = []
  readonly #everExcluded = new Set<PeerId>()
  readonly #owned: Set<PeerId>
  readonly #honest: number
  #adversaries: number
  readonly #sums = { tasks: 0, wrong: 0, early: 0, accepted: 0, runs: 0, runsSquared: 0 }
  readonly #credits = { honest: 0, adversary: 0 }

  constructor(setting: TableSetting, seed: string, rules: TableRules) {
    this.#setting = setting
    this.#rules = rules
    this.#random = new Random(seed)
    const owned = Math.round((setting.peers * setting.share) / 100)
    const sybils = setting.strategy === 'sybils' ? SYBIL_FACTOR * setting.peers : 0
    this.#players = Array.from({ length: setting.peers + sybils }, (_, i) => ({
      peer: peerIdFromPublicKey(this.#random.bytes(32)),
      isAdversary: i < owned || i >= setting.peers,
    }))
    this.#owned = new Set(this.#players.flatMap((each) => (each.isAdversary ? each.peer : [])))
    this.#honest = setting.peers - owned
    this.#adversaries = owned + sybils
    if (setting.phase === 'young') return
    const histories = this.#players.slice(0, setting.peers).flatMap(historyOf)
    for (const receipt of histories.sort((a, b) => a.atMs - b.atMs)) this.#take(receipt)
  }

  play(): TableFigures {
    const { tasks, phase } = this.#setting
    const rules = this.#rules
    for (let task = 0; task < tasks; task += BATCH) {
      const nowMs = START_MS + (task / BATCH) * BATCH_MS
      const offerHash = this.#random.bytes(32)
      const bidders = this.#bidders(nowMs, offerHash)
      const slots = Math.min(BATCH, tasks - task)
      const election = this.#elect(bidders, slots, offerHash)
      if (phase === 'young' && !election.young) break
      const byPeer = new Map(bidders.map((bidder) => [bidder.peer, bidder]))
      const receipts = election.slots.map(({ ranking }, i) =>
        this.#playTask(
          ranking.flatMap((peer) => byPeer.get(peer) ?? []),
          { young: election.young, task: task + i, atMs: nowMs + BATCH_MS - 1 },
        ),
      )
      for (const receipt of rules.forgets ? [] : receipts) {
        if (receipt !== undefined) this.#take(receipt)
      }
      if (task % SAME_EVERY === 0) this.#compare(nowMs + BATCH_MS)
    }
    return this.#figures()
  }

  #take(receipt: ReputationReceipt): void {
    this.#receipts.push(receipt)
    this.#scores.add(receipt)
  }

  #compare(nowMs: number): void {
    const peers = this.#random
      .fork(`compare ${nowMs}`)
      .shuffle(this.#players)
      .slice(0, SAME_PEERS)
      .map(({ peer }) => peer)
    assertSame(this.#scores, this.#receipts, peers, nowMs)
  }

  /** The frozen bids. Who bids comes in a random order; where too many bid, some get no place. */
  #bidders(nowMs: number, offerHash: Uint8Array): Bidder[] {
    const applicants = new Map<PeerId, Player & Applicant>()
    for (const player of this.#random.shuffle(this.#players)) {
      if (applicants.size === this.#rules.bidsTaken) break
      const place = this.#scores.placeAt(player.peer, nowMs)
      if (place.exclusions > 0) this.#everExcluded.add(player.peer)
      if (!place.excluded) applicants.set(player.peer, { ...player, ...place })
      else if (player.isAdversary && this.#setting.strategy === 'whitewashers') {
        const fresh = this.#replace(player)
        applicants.set(fresh.peer, { ...fresh, established: false, excluded: false })
      }
    }
    return choosePlaces([...applicants.values()], offerHash).map((peer) => ({
      peer,
      isAdversary: this.#owned.has(peer),
      score: this.#rules.weigh(this.#scores.scoreAt(peer, nowMs)),
    }))
  }

  #replace(player: Player): Player {
    const fresh = { peer: peerIdFromPublicKey(this.#random.bytes(32)), isAdversary: true }
    this.#players[this.#players.indexOf(player)] = fresh
    this.#owned.add(fresh.peer)
    this.#adversaries++
    return fresh
  }

  #elect(bidders: readonly Bidder[], slots: number, offerHash: Uint8Array): Election {
    const openings = bidders.map(({ peer, isAdversary }) => ({
      peer,
      isAdversary,
      output: this.#random.bytes(64),
    }))
    const input = {
      offerHash,
      attempt: 1,
      frozenBidsHash: this.#random.bytes(32),
      slots,
      replicas: this.#setting.replicas,
      requester: peerIdFromPublicKey(this.#random.bytes(32)),
      candidates: bidders.map(candidateOf),
      diversity: 'operator' as const,
    }
    if (this.#setting.strategy !== 'withholders') return elect({ ...input, openings })
    // They see all other openings and open last, each in the way that gives them most slots.
    const last = openings.filter(({ isAdversary }) => isAdversary).slice(0, WITHHOLDERS)
    const choices = subsetsOf(last).map((held) =>
      elect({ ...input, openings: openings.filter((opening) => !held.includes(opening)) }),
    )
    const gain = ({ slots: each }: Election): number =>
      each.filter(({ executors }) => executors.every((peer) => this.#owned.has(peer))).length
    return choices.reduce((best, choice) => (gain(choice) > gain(best) ? choice : best))
  }

  #playTask(
    ranking: readonly Bidder[],
    { young, task, atMs }: { young: boolean; task: number; atMs: number },
  ): ReputationReceipt | undefined {
    const { replicas, auditPpm } = this.#setting
    if (ranking.length < replicas) return this.#count(task, undefined, 0)
    const play = new Play(this.#setting, this.#rules, this.#random, ranking)
    play.callUntil(replicas)
    // The draw is made when all commitments are frozen: nobody can still change its mind.
    if (hiddenReplicaDrawn(this.#random.bytes(64), 0, auditPpm)) play.callUntil(play.committed + 1)
    for (;;) {
      const { outcomes, committed } = play
      const differ = new Set(outcomes.map(({ root }) => root)).size === outcomes.length
      const isLast =
        !play.hasStandby || committed >= LIMITS.replicasPerTask || (differ && committed >= 4)
      const verdict = this.#rules.judge(outcomes, young, isLast)
      if (verdict.kind === 'escalate' && play.hasStandby) {
        play.callUntil(committed + 1)
        continue
      }
      this.#count(task, verdict.kind === 'accept' ? verdict.root : undefined, play.executed)
      const id = `task ${String(task).padStart(8, '0')}`
      const executors = play.receiptOf(verdict)
      this.#credit(executors)
      return {
        receiptId: id,
        taskId: id,
        requester: `requester ${this.#random.between(1, REQUESTERS)}` as PeerId,
        atMs,
        young,
        stewards: this.#rules.stewards,
        executors,
      }
    }
  }

  #credit(executors: readonly ReceiptExecutor[]): void {
    for (const { peer, outcome } of executors) {
      if (outcome === 'agreed') this.#credits[this.#owned.has(peer) ? 'adversary' : 'honest']++
    }
  }

  #count(task: number, root: Digest | undefined, executed: number): undefined {
    const sums = this.#sums
    sums.tasks++
    sums.runs += executed
    sums.runsSquared += executed ** 2
    if (root === undefined) return
    sums.accepted++
    if (root === RIGHT) return
    sums.wrong++
    if (task < EARLY_TASKS) sums.early++
  }

  #figures(): TableFigures {
    const { tasks, wrong, early, accepted, runs, runsSquared } = this.#sums
    const out = (isAdversary: boolean): number =>
      this.#players.filter(
        (player) => player.isAdversary === isAdversary && this.#everExcluded.has(player.peer),
      ).length
    // Replaced keys are gone from the list of players, and all of them were excluded.
    const gone = this.#everExcluded.size - out(true) - out(false)
    const { honest, adversary } = this.#credits
    return {
      tasks,
      wrong,
      wrongPercent: wilson(wrong, tasks),
      earlyPercent: wilson(early, Math.min(tasks, EARLY_TASKS)),
      acceptedPercent: wilson(accepted, tasks),
      executions: meanInterval(tasks, runs, runsSquared),
      honestExcluded: wilson(out(false), this.#honest),
      adversariesExcluded: wilson(out(true) + gone, this.#adversaries),
      creditShare: (100 * adversary) / Math.max(1, honest + adversary),
    }
  }
}

/** One task: who was called, and what each of them did. */
class Play {
  readonly #setting: TableSetting
  readonly #rules: TableRules
  readonly #random: Random
  readonly #ranking: readonly Bidder[]
  readonly #isLying: boolean
  readonly #lost = new Map<PeerId, ReceiptOutcome>()
  readonly outcomes: ExecutorOutcome[] = []
  #called = 0
  #silent = 0
  #isFirstRound = true

  constructor(
    setting: TableSetting,
    rules: TableRules,
    random: Random,
    ranking: readonly Bidder[],
  ) {
    this.#setting = setting
    this.#rules = rules
    this.#random = random
    this.#ranking = ranking
    const visible = ranking.slice(0, setting.replicas)
    const owned = visible.filter(({ isAdversary }) => isAdversary).length
    const { strategy } = setting
    if (strategy === 'sleepers' || strategy === 'withholders') {
      this.#isLying = owned === visible.length
    } else this.#isLying = strategy !== 'framers' || 2 * owned > visible.length
  }

  get hasStandby(): boolean {
    return this.#called < this.#ranking.length
  }

  /** Commitments so far, those that were never revealed included. */
  get committed(): number {
    return this.#called - this.#silent
  }

  get executed(): number {
    return this.#called
  }

  /** Calls down the ranking until so many have committed. */
  callUntil(committed: number): void {
    while (this.committed < committed && this.hasStandby) this.#call()
    this.#isFirstRound = false
  }

  #call(): void {
    const bidder = this.#ranking[this.#called++]
    if (bidder === undefined) return
    const { peer, isAdversary, score } = bidder
    const { strategy } = this.#setting
    if (isAdversary && strategy === 'silent') {
      this.#silent++
      this.#lost.set(peer, 'timed-out')
      return
    }
    if (isAdversary && strategy === 'copycats' && !this.#rules.canCopy) {
      this.#lost.set(peer, 'withheld')
      return
    }
    const { established, reliabilityPpm } = score
    // Until the first commitments are frozen the called are those of the election.
    const foreseen = this.#isFirstRound
    this.outcomes.push({
      peer,
      operator: peer,
      established,
      reliabilityPpm,
      root: this.#rootOf(bidder),
      foreseen,
    })
  }

  #rootOf({ peer, isAdversary }: Bidder): Digest {
    if (!isAdversary) {
      const isWrong = this.#random.chance(this.#setting.honestErrors / 100)
      return isWrong ? digestOf(this.#random.bytes(32)) : RIGHT
    }
    if (!this.#isLying) return RIGHT
    if (this.#setting.strategy === 'latecomers' && this.#isFirstRound) return RIGHT
    if (this.#setting.strategy === 'liars') return digestOf(utf8(`${peer}'s own wrong result`))
    // Where results are seen before they are due, a copycat repeats the one it sees.
    if (this.#setting.strategy === 'copycats') {
      const others = this.#ranking.slice(0, Math.max(this.#setting.replicas, this.#called))
      return others.some((other) => !other.isAdversary) ? RIGHT : WRONG
    }
    return WRONG
  }

  receiptOf(verdict: Verdict): ReceiptExecutor[] {
    const isAccepted = verdict.kind === 'accept'
    const agreed = new Set(isAccepted ? verdict.agreed : [])
    const struck = new Set(isAccepted ? verdict.strikes.map(({ peer }) => peer) : [])
    const roots = new Map(this.outcomes.map(({ peer, root }) => [peer, root]))
    return this.#ranking.slice(0, this.#called).map(({ peer }): ReceiptExecutor => {
      const lost = this.#lost.get(peer)
      if (lost !== undefined) return { peer, operator: peer, outcome: lost, durationMs: 0 }
      const root = roots.get(peer)
      const outcome = agreed.has(peer) ? 'agreed' : struck.has(peer) ? 'dissented' : 'spared'
      return {
        peer,
        operator: peer,
        outcome,
        durationMs: 1000,
        ...(outcome === 'dissented' && root !== undefined ? { wrongRoot: root } : {}),
      }
    })
  }
}

/** Accepted replicas of the last day, each for another requester and with another partner. */
function historyOf({ peer }: Player): ReputationReceipt[] {
  return Array.from({ length: HISTORY }, (_, i) => {
    const id = `history ${peer} ${i}`
    const partner = `partner of ${id}` as PeerId
    return {
      receiptId: id,
      taskId: id,
      requester: `requester of ${id}` as PeerId,
      atMs: START_MS - HISTORY_MS + Math.floor(((i + 1) * HISTORY_MS) / (HISTORY + 1)),
      young: false,
      stewards: 1,
      executors: [
        { peer, operator: peer, outcome: 'agreed', durationMs: 1000 },
        { peer: partner, operator: partner, outcome: 'agreed', durationMs: 1000 },
      ],
    }
  })
}

function candidateOf({ peer, score }: Bidder): Candidate {
  return {
    peer,
    operator: peer,
    addressPrefix: '',
    vrfKey: new Uint8Array(32),
    capacity: BATCH,
    availabilityPpm: BigInt(score.availabilityPpm),
    reliabilityPpm: BigInt(score.reliabilityPpm),
    speedPpm: BigInt(score.speedPpm),
    established: score.established,
    excluded: score.excluded,
    meetsRequirement: true,
  }
}

function subsetsOf<T>(items: readonly T[]): T[][] {
  return items.reduce<T[][]>((sets, item) => [...sets, ...sets.map((set) => [...set, item])], [[]])
}
