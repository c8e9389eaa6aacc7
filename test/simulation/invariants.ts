/**
 * What must hold whatever happens, checked by one who sees every peer (security.md section 6):
 *
 * - I1 an accepted result has at least two valid equal reveals of distinct operators, where
 *   tensors are compared two that differ by honest drift alone
 * - I2 no honest peer signs two payloads for a slot key, over all its restarts
 * - I3 each seat of a task, and one standby beside slow ones, has at most one live lease, of a peer that was called and is neither
 *   lost nor done, and no peer runs one replica twice at the same time
 * - I4 terminal states are absorbing
 * - I5 every accepted job ends within a bound once the network has healed
 * - I6 no honest peer's message is refused, and no honest receipt disbelieved, by an honest peer;
 *   and what one honest peer forwards no other holds against it
 * - I7 a strike only for whoever revealed another result than the accepted one, and nothing held
 *   against anybody in an honest peer's book that no verified receipt tells
 * - I8 seats in use never pass the seats there are, are never negative, and are as many as there
 *   are programs running
 * - I9 what a peer keeps stays within the maxima of its rooms, and is gone when the jobs are
 * - I10 a proof of equivocation verifies by itself, and never names an honest peer
 * - W no wrong result is accepted where the adversaries are too few to win: never in a mature
 *   network, where all of them are newcomers, and in a young one unless two can tell one lie
 * - E no internal error happens, and every daemon starts
 *
 * After every event only the processes that it reached are looked at: nothing changes in others.
 */
import { REPLICAS_MAX } from '../../src/executor/executor.js'
import type { SlotState } from '../../src/protocol/assignment.js'
import { rankingOf } from '../../src/protocol/slot-step.js'
import { openFault, sealFault } from '../../src/protocol/fault.js'
import { outcomeOf } from '../../src/protocol/task.js'
import type { VerifiedSlot } from '../../src/protocol/slot-chain.js'
import type { GossipVerdict } from '../../src/network/transport.js'
import { errorMessage } from '../../src/errors.js'
import { openAs } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened } from '../../src/wire/envelope.js'
import { Fault } from '../../src/wire/generated/evidence.js'
import { peerIdFromPublicKey, toHex } from '../../src/wire/ids.js'
import type { Digest, JobId, PeerId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { OUTBOX_MAX } from '../../src/witness/courier.js'
import { NETWORK } from './peer.js'
import type { Household, PeerObserver, SimulatedPeer } from './peer.js'

export interface Violation {
  readonly invariant: string
  readonly words: string
  readonly atMs: number
}

export interface InvariantOptions {
  readonly now: () => number
  readonly count: (what: string) => void
  /** Whether the accepted output is the right one, or one of them under a tolerance. */
  readonly isRight: (verified: VerifiedSlot) => boolean
  /** What an output is without the drift of its machine. */
  readonly undrifted: (root: Digest) => Digest
  /** Peers that may tell one lie. */
  readonly conspirators: number
}

const TERMINAL = /^job:(succeeded|failed|cancelled)$/
const VIOLATIONS_MAX = 20
/** What a process may keep; timers have no maximum of their own, each belongs to something else. */
const SIZES_MAX = {
  jobs: LIMITS.witnessedJobs,
  bytes: LIMITS.witnessedBytes,
  pending: LIMITS.pendingEnvelopes,
  seen: LIMITS.seenEnvelopes,
  slotKeys: LIMITS.seenEnvelopes,
  replicas: REPLICAS_MAX,
  waiting: REPLICAS_MAX,
  outbox: OUTBOX_MAX,
  timers: 2048,
} as const

export class Invariants implements PeerObserver {
  readonly violations: Violation[] = []
  readonly #options: InvariantOptions
  readonly #honest = new Set<PeerId>()
  /** What every honest author signed for a slot key. */
  readonly #signed = new Map<string, Digest>()
  readonly #openings = new Set<Digest>()
  readonly #judged = new Set<Digest>()
  readonly #verdicts = new Map<Uint8Array, GossipVerdict>()
  readonly #ends = new Map<JobId, string>()
  /** Roots accepted by job, batch and slot. */
  readonly accepted = new Map<string, Digest>()
  wrong = 0
  /** What receipts said, by peer and outcome. */
  readonly outcomes = new Map<string, number>()

  constructor(options: InvariantOptions) {
    this.#options = options
  }

  trust(peer: SimulatedPeer): void {
    if (peer.isHonest) this.#honest.add(peer.peerId)
  }

  fail(invariant: string, words: string): void {
    if (this.violations.length >= VIOLATIONS_MAX) return
    this.violations.push({ invariant, words, atMs: this.#options.now() })
  }

  onMade(opened: AnyOpened): void {
    if (opened.kind === 'freezeOpenings') this.#openings.add(opened.id)
  }

  onSigned(peer: SimulatedPeer, opened: AnyOpened): void {
    this.#options.count(`signed:${opened.kind}`)
    if (!peer.isHonest) return
    const key = this.#slotKeyOf(opened)
    if (key === undefined) return
    const before = this.#signed.get(`${peer.peerId}/${key}`)
    if (before !== undefined && before !== opened.id) {
      this.fail('I2', `${peer.options.name} signed two messages for ${key}`)
    }
    this.#signed.set(`${peer.peerId}/${key}`, opened.id)
  }

  /** Independent of the inbox: every link of a slot's chain has one successor of any kind. */
  #slotKeyOf(opened: AnyOpened): string | undefined {
    switch (opened.kind) {
      case 'offer': {
        const { jobId, batch, attempt } = opened.message
        return `offer/${toHex(jobId)}/${batch}/${attempt}`
      }
      case 'bid':
      case 'decline':
        return `answer/${toHex(opened.message.offer)}`
      case 'freezeBids':
        return `freezeBids/${toHex(opened.message.offer)}`
      case 'vrfOpen':
      case 'freezeOpenings':
        return `${opened.kind}/${toHex(opened.message.frozenBids)}`
      case 'commitment':
      case 'reveal':
        return `${opened.kind}/${toHex(opened.message.taskId)}/${opened.message.attempt}`
      case 'task':
      case 'freezeCommitments':
      case 'freezeReveals':
      case 'receipt': {
        const previous = toHex(opened.message.previous)
        const isShared = this.#openings.has(previous as Digest)
        const slot = isShared && 'slot' in opened.message ? `/${opened.message.slot}` : ''
        return `link/${previous}${slot}`
      }
      case 'jobEnd':
        return `jobEnd/${toHex(opened.message.jobId)}`
      default:
        return undefined
    }
  }

  onReceipt(
    peer: SimulatedPeer,
    receipt: Opened<'receipt'>,
    verified: VerifiedSlot | undefined,
  ): void {
    if (!peer.isHonest) return
    if (verified === undefined) {
      if (!this.#honest.has(receipt.author)) return
      return this.fail('I6', `${peer.options.name} disbelieves a receipt of ${receipt.author}`)
    }
    if (this.#judged.has(receipt.id)) return
    this.#judged.add(receipt.id)
    const isRight = !verified.accepted || this.#judgeAccepted(receipt, verified)
    for (const { peer: key, outcome } of receipt.message.executors) {
      this.#options.count(`outcome:${outcome}`)
      const executor = peerIdFromPublicKey(key)
      const name = `${executor} ${outcome}`
      this.outcomes.set(name, (this.outcomes.get(name) ?? 0) + 1)
      if (outcome !== 'dissented') continue
      if (this.#honest.has(executor) && isRight) this.fail('I7', `${executor} was struck unjustly`)
    }
    this.#options.count(`verdict:${receipt.message.verdict}${verified.young ? '-young' : ''}`)
    const seats = verified.messages.filter(({ kind }) => kind === 'task').length
    if (seats > 1) this.#options.count('branch:called-again')
    const freezes = verified.messages.filter(({ kind }) => kind === 'freezeReveals').length
    if (freezes > 1) this.#options.count('branch:escalated')
    const commits = verified.messages.filter(({ kind }) => kind === 'freezeCommitments').length
    if (commits > freezes) this.#options.count('branch:hidden-replica')
  }

  /** @returns whether the accepted output is the right one */
  #judgeAccepted(receipt: Opened<'receipt'>, verified: VerifiedSlot): boolean {
    const { jobId, batch, slot } = receipt.message
    const frozen = verified.messages.findLast((message) => message.kind === 'freezeReveals')
    const bids = verified.messages.find((message) => message.kind === 'freezeBids')
    const operators = new Map(
      (bids?.message.bids ?? []).map((bytes) => {
        const { author, message } = openAs(NETWORK, bytes, 'bid')
        return [author, peerIdFromPublicKey(message.operator)]
      }),
    )
    const reveals = (frozen?.message.reveals ?? []).map((bytes) => openAs(NETWORK, bytes, 'reveal'))
    const isTensors = (frozen?.message.sketches.length ?? 0) > 0
    const { undrifted } = this.#options
    const agreeing = reveals.filter(({ message }) => {
      const root = undrifted(toHex(message.outputRoot) as Digest)
      return root === undrifted(verified.outputRoot)
    })
    if (isTensors) this.#options.count('verdict:accepted-tensors')
    const distinct = new Set(agreeing.map(({ author }) => operators.get(author) ?? author))
    const outcomes = new Set(agreeing.map(({ message }) => outcomeOf(message)))
    if (distinct.size < LIMITS.replicasMin || (outcomes.size !== 1 && !isTensors)) {
      this.fail('I1', `slot ${batch}/${slot} was accepted with ${distinct.size} equal reveals`)
    }
    for (const peer of verified.dissented) {
      const reveal = reveals.find(({ author }) => author === peer)
      if (reveal !== undefined && toHex(reveal.message.outputRoot) === verified.outputRoot) {
        this.fail('I7', `${peer} dissents with the accepted output`)
      }
    }
    this.accepted.set(`${toHex(jobId)}/${batch}/${slot}`, verified.outputRoot)
    if (this.#options.isRight(verified)) return true
    this.wrong += 1
    this.#options.count('verdict:accepted-wrong')
    // Two colluders can win in a young network (DESIGN.md section 4).
    const mayBeWrong = verified.young && this.#options.conspirators > 1
    if (!mayBeWrong) this.fail('W', `a wrong result of slot ${batch}/${slot}`)
    return false
  }

  onEquivocation(peer: SimulatedPeer, first: AnyOpened, second: AnyOpened): void {
    if (!peer.isHonest) return
    this.#options.count('branch:equivocation-proved')
    try {
      // Nothing but its bytes: whoever is shown them knows nothing else.
      const proof = Fault.decode(Fault.encode(sealFault(first, second)))
      const { accused, first: a, second: b } = openFault(NETWORK, proof)
      const isProof = a.id !== b.id && this.#slotKeyOf(a) === this.#slotKeyOf(b)
      if (!isProof) this.fail('I10', `no proof: ${a.kind} and ${b.kind} of ${a.author}`)
      for (const name of accused) {
        if (!this.#honest.has(name)) continue
        this.fail('I10', `${peer.options.name} holds a proof against the honest ${name}`)
      }
    } catch (error) {
      this.fail('I10', `a proof does not verify: ${errorMessage(error)}`)
    }
  }

  onVerdict(to: PeerId, from: PeerId, bytes: Uint8Array, verdict: GossipVerdict): void {
    this.#options.count(`gossip:${verdict}`)
    if (!this.#honest.has(to) || verdict === 'ignore') return
    if (verdict === 'reject' && this.#honest.has(from)) {
      this.fail('I6', `${to} rejects a message of the honest ${from}`)
    }
    const before = this.#verdicts.get(bytes)
    if (before !== undefined && before !== verdict) {
      this.fail('I6', `a message of ${from} is accepted by one peer and rejected by another`)
    }
    this.#verdicts.set(bytes, verdict)
  }

  onFault(what: string): void {
    this.#options.count(what)
  }

  onNotify(jobId: JobId, event: string, fields: Readonly<Record<string, unknown>>): void {
    const { code } = fields
    this.#options.count(typeof code === 'string' && code !== '' ? `${event}:${code}` : event)
    if (TERMINAL.test(event)) this.onEnd(jobId, event.slice('job:'.length))
  }

  /** A job was seen in a terminal state: by its notification, or after a restart. */
  onEnd(jobId: JobId, status: string): void {
    const before = this.#ends.get(jobId)
    if (before !== undefined && before !== status) {
      this.fail('I4', `job ${jobId.slice(0, 8)} was ${before} and is ${status}`)
    }
    this.#ends.set(jobId, status)
  }

  hasEnded(jobId: JobId): boolean {
    return this.#ends.has(jobId)
  }

  onDouble(peer: SimulatedPeer, key: string): void {
    this.fail('I3', `${peer.options.name} runs ${key.slice(0, 12)} twice at the same time`)
  }

  onError(peer: SimulatedPeer, fields: object, message: string): void {
    const code = 'code' in fields ? String(fields.code) : ''
    this.#options.count(`error:${code}`)
    if (code !== 'INTERNAL' && code !== '') return
    this.fail('E', `${peer.options.name}: ${message} ${JSON.stringify(fields)}`)
  }

  /** After every event, of the processes that it reached: the others are as they were. */
  check(peers: readonly SimulatedPeer[]): void {
    for (const peer of peers) {
      const household = peer.household
      if (household?.life.isTouched !== true) continue
      household.life.isTouched = false
      this.#checkSeats(peer, household)
      this.#checkSizes(peer, household)
      this.#checkLeases(peer, household)
    }
  }

  #checkSeats(peer: SimulatedPeer, { executor }: Household): void {
    const { name, seats } = peer.options
    const { executing } = executor
    if (executing < 0 || executing > seats) this.fail('I8', `${name} uses ${executing} seats`)
    if (peer.working > executing) {
      this.fail('I8', `${name} runs ${peer.working} programs on ${executing} seats`)
    }
  }

  #checkSizes(peer: SimulatedPeer, household: Household): void {
    const { executor, life, inbox, courier } = household
    const { jobs, bytes, pending, seen, slotKeys } = inbox.sizes
    const isSmall =
      life.timers <= SIZES_MAX.timers &&
      jobs <= SIZES_MAX.jobs &&
      bytes <= SIZES_MAX.bytes &&
      pending <= SIZES_MAX.pending &&
      seen <= SIZES_MAX.seen &&
      slotKeys <= SIZES_MAX.slotKeys &&
      executor.waiting <= SIZES_MAX.waiting &&
      executor.replicas.length <= SIZES_MAX.replicas &&
      courier.queuedMax <= SIZES_MAX.outbox
    if (isSmall) return
    const told = { ...inbox.sizes, timers: life.timers, waiting: executor.waiting }
    const rest = { replicas: executor.replicas.length, outbox: courier.queuedMax }
    const words = JSON.stringify({ ...told, ...rest })
    this.fail('I9', `${peer.options.name} keeps more than it may: ${words}`)
  }

  /** What a book holds against a peer, some receipt that was verified must tell of it. */
  #checkBook(
    { options: { name } }: SimulatedPeer,
    { reputation, faults }: Household,
    peers: readonly SimulatedPeer[],
  ): void {
    for (const { peerId } of peers) {
      if (faults.has(peerId) && this.#honest.has(peerId)) {
        this.fail('I10', `${name} excludes the honest ${peerId}`)
      }
      const { wrongs, failureMicro } = reputation.score(peerId)
      const told = (outcome: string): boolean => this.outcomes.has(`${peerId} ${outcome}`)
      const isTold = told('dissented') || told('withheld') || told('timed-out')
      if (wrongs > 0 && !told('dissented')) this.fail('I7', `${name} counts a wrong of ${peerId}`)
      if (failureMicro > 0 && !isTold) this.fail('I7', `${name} blames ${peerId} for nothing`)
    }
  }

  #checkLeases(peer: SimulatedPeer, { requester }: Household): void {
    for (const { state, leases } of requester.runners()) {
      if (leases.length === 0) continue
      const open = new Map<SlotState, number>()
      for (const { batch, slot: index, peer: executor } of leases) {
        const assignment = state.batches[batch]?.assignment
        const slot = assignment?.slots[index]
        const where = `the lease of ${executor} for slot ${batch}/${index}`
        if (assignment === undefined || slot === undefined) {
          this.fail('I3', `${peer.options.name}: ${where} is for no slot`)
          continue
        }
        const called = rankingOf(assignment, slot).slice(0, slot.seats)
        const isDue =
          slot.phase === 'executing' &&
          called.includes(executor) &&
          !slot.lost.has(executor) &&
          !slot.commitments.has(executor)
        if (!isDue) {
          const seat = called.includes(executor)
            ? (slot.lost.get(executor)?.code ?? 'called')
            : 'uncalled'
          this.fail('I3', `${peer.options.name}: ${where} (${slot.phase}, ${seat}) is not due`)
        }
        open.set(slot, (open.get(slot) ?? 0) + 1)
      }
      for (const [slot, count] of open) {
        // Beside a slow executor there is one standby more.
        const most = slot.wanted + (slot.hasEarlyStandby ? 1 : 0)
        if (count + slot.commitments.size <= most) continue
        const words = `${count} leases beside ${slot.commitments.size} commitments`
        this.fail('I3', `${peer.options.name}: ${words}, ${most} are wanted`)
      }
    }
  }

  /** After all jobs ended and everything settled, nothing may be left running. */
  checkSettled(peers: readonly SimulatedPeer[]): void {
    for (const peer of peers) {
      const household = peer.household
      if (household === undefined || !peer.isHonest) continue
      const { executor, life, requester, inbox, courier } = household
      const { name } = peer.options
      const rest = {
        seats: executor.executing,
        programs: peer.working,
        waiting: executor.waiting,
        leases: requester.runners().flatMap(({ leases }) => leases).length,
        pending: inbox.sizes.pending,
        outbox: courier.queuedMax,
      }
      for (const [what, count] of Object.entries(rest)) {
        if (count > 0) this.fail('I9', `${name} still has ${count} ${what} when all jobs ended`)
      }
      this.#checkBook(peer, household, peers)
      if (executor.replicas.length > 0) {
        const phases = executor.replicas.map(({ phase }) => phase).join(' ')
        this.fail('I9', `${name} keeps replicas of ended jobs: ${phases}`)
      }
      if (life.timers > 0) this.fail('I9', `${name} keeps ${life.timers} timers`)
    }
  }
}
