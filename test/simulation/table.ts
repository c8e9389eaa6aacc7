/**
 * What adversaries gain in numbers: many tasks by the production `elect`, `judge`,
 * `hiddenReplicaDrawn` and `OrderedFold`, without a network. Reputation feeds back: whoever is
 * caught is elected less and in the end not at all.
 */
import { choosePlaces, elect, hiddenReplicaDrawn } from '../../src/protocol/election.js'
import { compareText } from '../../src/protocol/integer.js'
import type { Applicant, Candidate, Election } from '../../src/protocol/election.js'
import type { ReceiptExecutor, ReputationReceipt } from '../../src/protocol/reputation.js'
import { isQuorum } from '../../src/protocol/quorum.js'
import { rankStewards, STEWARD_RULES } from '../../src/protocol/stewards.js'
import { digestOf, peerIdFromPublicKey } from '../../src/wire/ids.js'
import type { Digest, JobId, PeerId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { Random } from './random.js'
import { farmedBy, historyOf, START_MS } from './table-history.js'
import { Play, RIGHT } from './table-play.js'
import { PRODUCTION_RULES } from './table-setting.js'
import type { Bidder, Player, TableRules, TableSetting } from './table-setting.js'
import { RunningScores } from './table-scores.js'
import { meanInterval, wilson } from './table-statistics.js'
import type { Interval } from './table-statistics.js'

export interface TableFigures {
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

/** Tasks of one offer: they run together, and what they teach counts from the next offer on. */
const BATCH = 10
/** Ten minutes between offers: a week is some 10,000 tasks. */
const BATCH_MS = 600_000
const EARLY_TASKS = 1000
const SYBIL_FACTOR = 10
const REQUESTERS = 200
const WITHHOLDERS = 3
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
  #players: Player[] = []
  #scores = new RunningScores()
  readonly #everExcluded = new Set<PeerId>()
  #owned = new Set<PeerId>()
  #honest = 0
  #adversaries = 0
  /** Whether the stewards of the batch at hand are the adversary's. */
  #isCaptured = false
  readonly #sums = { tasks: 0, wrong: 0, early: 0, accepted: 0, runs: 0, runsSquared: 0 }
  readonly #credits = { honest: 0, adversary: 0 }

  constructor(setting: TableSetting, seed: string, rules: TableRules) {
    this.#setting = setting
    this.#rules = rules
    this.#random = new Random(seed)
    this.#begin()
  }

  /** A network of new peers; those of a mature one have a history. */
  #begin(): void {
    const { peers, share, strategy, phase } = this.#setting
    const owned = Math.round((peers * share) / 100)
    const sybils = strategy === 'sybils' ? SYBIL_FACTOR * peers : 0
    this.#players = Array.from({ length: peers + sybils }, (_, i) => ({
      peer: peerIdFromPublicKey(this.#random.bytes(32)),
      isAdversary: i < owned || i >= peers,
    }))
    this.#owned = new Set(this.#players.flatMap((each) => (each.isAdversary ? each.peer : [])))
    this.#scores = new RunningScores()
    this.#honest += peers - owned
    this.#adversaries += owned + sybils
    if (phase === 'young') return
    const hasHistory = strategy !== 'boasters' && strategy !== 'farmers'
    const histories = this.#players.slice(hasHistory ? 0 : owned, peers).flatMap(historyOf)
    if (strategy === 'farmers') histories.push(...farmedBy(this.#players.slice(0, owned)))
    histories.sort((a, b) => a.atMs - b.atMs || compareText(a.receiptId, b.receiptId))
    for (const receipt of histories) this.#scores.add(receipt)
  }

  play(): TableFigures {
    const { tasks, phase, strategy } = this.#setting
    const rules = this.#rules
    // Tasks of one offer share their stewards, which would make few draws look like many.
    const batch = strategy === 'stewards' ? 1 : BATCH
    const offerMs = (BATCH_MS * batch) / BATCH
    for (let offer = 0; this.#sums.tasks < tasks; offer++) {
      const task = this.#sums.tasks
      const nowMs = START_MS + offer * offerMs
      const offerHash = this.#random.bytes(32)
      const bidders = this.#bidders(nowMs, offerHash)
      const slots = Math.min(batch, tasks - task)
      const election = this.#elect(bidders, slots, offerHash)
      if (phase === 'young' && !election.young) {
        this.#begin()
        continue
      }
      const byPeer = new Map(bidders.map((bidder) => [bidder.peer, bidder]))
      const receipts = election.slots.map(({ ranking }, i) =>
        this.#playTask(
          ranking.flatMap((peer) => byPeer.get(peer) ?? []),
          { young: election.young, task: task + i, atMs: nowMs + offerMs - 1 },
        ),
      )
      for (const receipt of rules.forgets ? [] : receipts) {
        if (receipt !== undefined) this.#scores.add(receipt)
      }
    }
    return this.#figures()
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
    const { strategy } = this.#setting
    const all = [...applicants.values()]
    this.#isCaptured = strategy === 'stewards' && this.#capture(all)
    const bids = this.#isCaptured ? all.filter(({ isAdversary }) => isAdversary) : all
    return choosePlaces(bids, offerHash).map((peer) => {
      const isAdversary = this.#owned.has(peer)
      const score = this.#rules.weigh(this.#scores.scoreAt(peer, nowMs))
      // What a bid declares counts until there is something to be seen.
      const isBoast = strategy === 'boasters' && isAdversary && score.accepted === 0
      return { peer, isAdversary, score: isBoast ? { ...score, speedPpm: 2_000_000 } : score }
    })
  }

  /** Draws the stewards of a job. @returns whether the adversary alone makes a quorum of them */
  #capture(peers: readonly (Player & Applicant)[]): boolean {
    const requester = peerIdFromPublicKey(this.#random.bytes(32))
    const { ranking } = rankStewards({
      jobId: digestOf(this.#random.bytes(32)) as string as JobId,
      beacon: this.#random.bytes(32),
      requester,
      requesterOperator: requester,
      peers: peers.map(({ peer, established, excluded }) => ({
        peer,
        operator: peer,
        reliabilityPpm: STEWARD_RULES.reliabilityPpm,
        established,
        excluded,
      })),
    })
    const members = ranking.slice(0, LIMITS.stewardsPerOffer)
    return isQuorum(members.filter((peer) => this.#owned.has(peer)).length, members.length)
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
    const play = new Play(this.#setting, this.#rules, this.#random, ranking, this.#isCaptured)
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
