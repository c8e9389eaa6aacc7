/**
 * Verifies everything a receipt rests on: the chain of certificates of its slot back to the
 * election, the commitments, the reveals, the hidden replica, the verdict. Witnesses run it before
 * a receipt counts, auditors before they believe a result.
 */
import { CtdError } from '../errors.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import type { FolderFile } from '../wire/folder.js'
import type { ExecutorOutcome, TaskInput } from '../wire/generated/task.js'
import { peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { Digest, PeerId, TaskId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { assertStewards, electionOf, openFrozen, seed2Of } from './ballot.js'
import type { Ballot, SignedInView } from './ballot.js'
import type { ComparePolicy } from './compare.js'
import { hiddenReplicaDrawn } from './election.js'
import type { Election } from './election.js'
import { parseMetrics } from './metrics.js'
import type { Plan } from './plan.js'
import type { Unopened, WorkKind } from './reputation.js'
import { evidenceOf, isCommitted } from './sketch-message.js'
import { policyOfSlot, slotPolicies } from './slot-policy.js'
import { workOn } from './standings.js'
import {
  acceptedReveal,
  isLastReplica,
  listedFiles,
  receiptOutcomes,
  slotVerdict,
} from './slot-verdict.js'
import type { ReceiptOutcome, SlotVerdict } from './slot-verdict.js'
import { commitmentOf, taskIdOf } from './task.js'
import type { UpdateEvidence } from './tensors.js'

export interface ChainSource {
  readonly network: string
  readonly manifest: Opened<'manifest'>
  /** The job's, where it is at hand. */
  readonly plan?: Plan
  /** A message by its id. */
  get(id: string): AnyOpened | undefined
  /** Elections already recomputed, by the id of their frozen openings. */
  readonly elections: Map<Digest, Election>
  readonly proofs: 'verify' | 'trust'
}

export interface VerifiedSlot {
  readonly batch: number
  readonly slot: number
  readonly attempt: number
  readonly taskId: TaskId
  readonly inputs: readonly TaskInput[]
  /** The round manifest of its calls; empty where sizes are fixed by the plan. */
  readonly round: Uint8Array
  readonly election: Election
  readonly accepted: boolean
  readonly outputRoot: Digest
  readonly metrics: Readonly<Record<string, number>>
  /** Files of the output where the reveals carry its listing. */
  readonly files: readonly FolderFile[] | undefined
  readonly agreed: readonly PeerId[]
  /** What those revealed who agreed. */
  readonly durationsMs: readonly number[]
  readonly dissented: readonly PeerId[]
  readonly young: boolean
  /** What the offer asked for. */
  readonly work: WorkKind
  /** Who bid and did not open. */
  readonly unopened: Unopened
  /** Every message the receipt rests on, oldest first, itself last. */
  readonly messages: readonly AnyOpened[]
}

interface Chain {
  readonly ballot: Ballot
  readonly links: readonly AnyOpened[]
}

function invalid(code: string, message: string): CtdError {
  return new CtdError(code, message)
}

/** @throws CtdError CHAIN_BROKEN, CHAIN_INVALID, NOT_A_STEWARD, VERDICT_MISMATCH, … */
export function verifySlot(source: ChainSource, receipt: Opened<'receipt'>): VerifiedSlot {
  const { ballot, links } = walk(source, receipt)
  const election = electionFor(source, ballot)
  const state = new SlotReplay(source, ballot, election, receipt)
  for (const link of links) state.take(link)
  return state.conclude([
    source.manifest,
    ballot.offer,
    ballot.frozenBids,
    ballot.frozenOpenings,
    ...links,
    receipt,
  ])
}

/** The ballot that a receipt's slot was elected by. @throws CtdError CHAIN_BROKEN, CHAIN_INVALID */
export function ballotBehind(source: ChainSource, receipt: Opened<'receipt'>): Ballot {
  return walk(source, receipt).ballot
}

function electionFor(source: ChainSource, ballot: Ballot): Election {
  const known = source.elections.get(ballot.frozenOpenings.id)
  if (known !== undefined) return known
  const election = electionOf(source.network, ballot, source.manifest.author, source.proofs)
  source.elections.set(ballot.frozenOpenings.id, election)
  return election
}

/** Longest chain of one slot: a call, a freeze and a reveal for every replica and lost executor. */
const LINKS_MAX = 256

function walk(source: ChainSource, receipt: Opened<'receipt'>): Chain {
  const links: AnyOpened[] = []
  let id = toHex(receipt.message.previous)
  for (let i = 0; i < LINKS_MAX; i++) {
    const link = need(source, id)
    if (link.kind === 'freezeOpenings') return { ballot: ballotOf(source, link), links }
    if (
      link.kind !== 'task' &&
      link.kind !== 'freezeCommitments' &&
      link.kind !== 'freezeSketches' &&
      link.kind !== 'freezeReveals'
    ) {
      throw invalid('CHAIN_INVALID', `a ${link.kind} inside the chain of a slot`)
    }
    links.unshift(...sketchesOf(source, link), link)
    id = toHex(link.message.previous)
  }
  throw invalid('CHAIN_INVALID', 'the chain of a slot is too long')
}

/** The sketches that frozen reveals name; they stand before them in the chain. */
export function sketchesOf(
  source: { get(id: string): AnyOpened | undefined },
  link: AnyOpened,
): Array<Opened<'sketch'>> {
  const ids = link.kind === 'freezeReveals' ? link.message.sketches.map(toHex) : []
  return ids.map((id) => {
    const sketch = source.get(id)
    if (sketch?.kind === 'sketch') return sketch
    throw invalid('CHAIN_BROKEN', `the sketch ${id.slice(0, 16)} is missing`)
  })
}

function need(source: ChainSource, id: string): AnyOpened {
  const found = source.get(id)
  if (found === undefined)
    throw invalid('CHAIN_BROKEN', `the message ${id.slice(0, 16)} is missing`)
  return found
}

function ballotOf(source: ChainSource, frozenOpenings: Opened<'freezeOpenings'>): Ballot {
  const frozenBids = need(source, toHex(frozenOpenings.message.frozenBids))
  if (frozenBids.kind !== 'freezeBids') throw invalid('CHAIN_INVALID', 'openings without bids')
  const offer = need(source, toHex(frozenBids.message.offer))
  const isOwn = offer.kind === 'offer' && offer.author === source.manifest.author
  if (!isOwn || toHex(offer.message.jobId) !== source.manifest.id) {
    throw invalid('CHAIN_INVALID', 'the offer is not one of this job')
  }
  assertTerms(source.manifest, offer)
  return { offer, frozenBids, frozenOpenings }
}

/**
 * The audit probability of an offer. A task whose replicas are at their maximum already has no
 * room for a hidden one.
 */
export function offeredAuditPpm(manifest: { replicas: number; auditPpm: number }): number {
  return manifest.replicas < LIMITS.replicasPerTask ? manifest.auditPpm : 0
}

/** A requester may not offer fewer replicas or audits than its manifest names. */
function assertTerms(manifest: Opened<'manifest'>, offer: Opened<'offer'>): void {
  const { replicas, auditPpm } = offer.message
  const isSame =
    replicas === manifest.message.replicas && auditPpm === offeredAuditPpm(manifest.message)
  if (!isSame) throw invalid('CHAIN_INVALID', 'the offer has other terms than the manifest')
}

/** Replays one slot's certificates and checks each against what went before. */
class SlotReplay {
  readonly #source: ChainSource
  readonly #ballot: Ballot
  readonly #receipt: Opened<'receipt'>
  readonly #election: Election
  readonly #ranking: readonly PeerId[]
  #previous: AnyOpened
  #task: Opened<'task'> | undefined
  #commitments = new Map<PeerId, Opened<'commitment'>>()
  /** How many commitments the next freeze may hold: stewards cannot choose among more. */
  #wanted: number
  #freezes = 0
  #firstFreeze: Opened<'freezeCommitments'> | undefined
  /** Since the last freeze: seats that were called before it, and calls after it. */
  #stage = { before: 0, calls: 0 }
  /** Who was called and had not committed at each freeze that a standby was called before. */
  readonly #outrun: Array<readonly PeerId[]> = []
  #isHiddenDue = false
  readonly #policy: ComparePolicy
  #seed2: Uint8Array = new Uint8Array(64)
  #sketchCommitments = new Map<PeerId, Opened<'sketchCommitment'>>()
  #updates = new Map<PeerId, UpdateEvidence>()
  #reveals = new Map<PeerId, Opened<'reveal'>>()
  #verdict: SlotVerdict | undefined

  constructor(source: ChainSource, ballot: Ballot, election: Election, receipt: Opened<'receipt'>) {
    this.#source = source
    this.#ballot = ballot
    this.#receipt = receipt
    this.#previous = ballot.frozenOpenings
    this.#election = election
    this.#wanted = ballot.offer.message.replicas
    const ranking = election.slots[receipt.message.slot]?.ranking
    if (ranking === undefined)
      throw invalid('CHAIN_INVALID', 'the receipt is for no slot of the batch')
    this.#ranking = ranking
    const { manifest, plan } = source
    const { batch, slot } = receipt.message
    this.#policy =
      plan === undefined
        ? policyOfSlot(manifest, { batch, slot })
        : slotPolicies(manifest.message.compare, plan)(batch, slot)
    assertStewards(ballot.offer, receipt)
  }

  take(link: AnyOpened): void {
    if (link.kind === 'task') this.#onTask(this.#signed(link))
    else if (link.kind === 'freezeCommitments') this.#onCommitments(this.#signed(link))
    else if (link.kind === 'freezeSketches') this.#onSketches(this.#signed(link))
    else if (link.kind === 'freezeReveals') this.#onReveals(this.#signed(link))
    // A sketch is no link of the chain: the frozen reveals that follow name it.
    if (link.kind !== 'sketch') this.#previous = link
  }

  #signed<T extends SignedInView>(link: T): T {
    assertStewards(this.#ballot.offer, link)
    return link
  }

  #onTask(task: Opened<'task'>): void {
    const { message } = task
    const { message: expected } = this.#receipt
    const { offer } = this.#ballot
    const isOurs =
      toHex(message.jobId) === this.#source.manifest.id &&
      message.batch === offer.message.batch &&
      message.attempt === offer.message.attempt &&
      message.batch === expected.batch &&
      message.slot === expected.slot &&
      taskIdOf(message) === toHex(expected.taskId)
    if (!isOurs)
      throw invalid('CHAIN_INVALID', 'a task in the chain is another than that of the receipt')
    if (message.seats <= (this.#task?.message.seats ?? 0) || message.seats > this.#ranking.length) {
      throw invalid('CHAIN_INVALID', 'a task calls nobody new, or more than the ranking holds')
    }
    if (this.#previous.kind === 'freezeCommitments' && !this.#isHiddenDue) {
      throw invalid('CHAIN_INVALID', 'a replica was added that the draw did not ask for')
    }
    if (this.#previous.kind === 'freezeReveals' && this.#verdict?.kind !== 'escalate') {
      throw invalid('CHAIN_INVALID', 'a replica was added though the verdict was clear')
    }
    if (this.#previous.kind !== 'freezeOpenings' && this.#previous.kind !== 'task') {
      this.#wanted = this.#commitments.size + 1
    }
    if (this.#previous.kind !== 'task') {
      this.#stage = { before: this.#task?.message.seats ?? 0, calls: 0 }
    }
    this.#stage.calls += 1
    this.#isHiddenDue = false
    this.#task = task
  }

  #onCommitments(freeze: Opened<'freezeCommitments'>): void {
    const task = this.#task
    if (task === undefined || this.#previous.kind !== 'task') {
      throw invalid('CHAIN_INVALID', 'commitments were frozen before a task was called')
    }
    const { network } = this.#source
    const commitments = openFrozen(network, 'commitment', freeze.message.commitments)
    const ever = new Set(this.#ranking.slice(0, task.message.seats))
    const now = new Map(commitments.map((commitment) => [commitment.author, commitment]))
    for (const [peer, commitment] of now) {
      const { taskId, attempt } = commitment.message
      const isFit = toHex(taskId) === toHex(this.#receipt.message.taskId)
      if (!isFit || attempt !== task.message.attempt || !ever.has(peer)) {
        throw invalid('CHAIN_INVALID', `${peer} committed to a task it was not called for`)
      }
    }
    for (const [peer, before] of this.#commitments) {
      if (now.get(peer)?.id !== before.id) {
        throw invalid('CHAIN_INVALID', `the commitment of ${peer} was dropped or changed`)
      }
    }
    if (now.size < LIMITS.replicasMin || now.size > this.#wanted) {
      throw invalid(
        'CHAIN_INVALID',
        `${now.size} commitments were frozen, ${this.#wanted} were due`,
      )
    }
    const called = this.#ranking.slice(this.#stage.before, task.message.seats)
    // Whoever was called before the last freeze may know what others revealed since.
    const late = [...now.keys()].find(
      (peer) => !this.#commitments.has(peer) && !called.includes(peer),
    )
    if (late !== undefined) {
      throw invalid('CHAIN_INVALID', `${late} committed after the freeze that it was called for`)
    }
    if (this.#stage.calls > 1) this.#outrun.push(called.filter((peer) => !now.has(peer)))
    this.#commitments = now
    this.#freezes += 1
    this.#firstFreeze ??= freeze
    const output = this.#stewardOutput(freeze)
    this.#seed2 = output
    const hasStandby = this.#ranking.length > task.message.seats
    this.#isHiddenDue =
      this.#freezes === 1 &&
      hasStandby &&
      hiddenReplicaDrawn(output, task.message.slot, this.#ballot.offer.message.auditPpm)
  }

  #stewardOutput(freeze: Opened<'freezeCommitments'>): Uint8Array {
    const output = seed2Of(this.#ballot.offer, freeze, this.#source.proofs)
    if (output === undefined) throw invalid('VRF_INVALID', "a steward's VRF proof does not verify")
    return output
  }

  #onSketches(freeze: Opened<'freezeSketches'>): void {
    const isDue = this.#policy.kind === 'tensors' && this.#previous.kind === 'freezeCommitments'
    if (!isDue || this.#isHiddenDue) {
      throw invalid('CHAIN_INVALID', 'sketches were frozen that were not due')
    }
    const { network } = this.#source
    const commitments = openFrozen(network, 'sketchCommitment', freeze.message.commitments)
    for (const { author, message } of commitments) {
      const isOurs =
        toHex(message.taskId) === toHex(this.#receipt.message.taskId) &&
        toHex(message.frozen) === this.#previous.id
      if (!isOurs || !this.#commitments.has(author)) {
        throw invalid('CHAIN_INVALID', `${author} committed to a sketch of something else`)
      }
    }
    this.#sketchCommitments = new Map(commitments.map((opened) => [opened.author, opened]))
  }

  #onReveals(freeze: Opened<'freezeReveals'>): void {
    const task = this.#task
    const due = this.#policy.kind === 'tensors' ? 'freezeSketches' : 'freezeCommitments'
    if (task === undefined || this.#previous.kind !== due || this.#isHiddenDue) {
      throw invalid('CHAIN_INVALID', 'reveals were frozen before all commitments were')
    }
    const reveals = openFrozen(this.#source.network, 'reveal', freeze.message.reveals)
    for (const reveal of reveals) this.#assertReveal(reveal, task)
    this.#updates = this.#updatesOf(freeze, reveals)
    this.#reveals = new Map(reveals.map((reveal) => [reveal.author, reveal]))
    this.#verdict = this.#judge(
      isLastReplica({
        ranked: this.#ranking.length,
        seats: task.message.seats,
        committed: this.#commitments.size,
      }),
    )
  }

  /** One sketch for each reveal, in the same order, each the one that was committed to. */
  #updatesOf(
    freeze: Opened<'freezeReveals'>,
    reveals: ReadonlyArray<Opened<'reveal'>>,
  ): Map<PeerId, UpdateEvidence> {
    const sketches = sketchesOf(this.#source, freeze)
    if (sketches.length !== (this.#policy.kind === 'tensors' ? reveals.length : 0)) {
      throw invalid('CHAIN_INVALID', `${reveals.length} reveals, ${sketches.length} sketches`)
    }
    const updates = sketches.map((sketch, i): [PeerId, UpdateEvidence] => {
      const { author } = sketch
      const reveal = reveals[i]
      const commitment = this.#sketchCommitments.get(author)
      const isTheirs =
        reveal?.author === author &&
        commitment !== undefined &&
        toHex(sketch.message.frozen) === this.#previous.id &&
        isCommitted(sketch, commitment, toHex(commitment.message.frozen))
      if (!isTheirs) {
        throw invalid('CHAIN_INVALID', `the sketch of ${author} does not match its commitment`)
      }
      return [author, evidenceOf(sketch, reveal.message.updateRoot, this.#seed2)]
    })
    return new Map(updates)
  }

  #assertReveal(reveal: Opened<'reveal'>, task: Opened<'task'>): void {
    const { author, message } = reveal
    const taskId = taskIdOf(task.message)
    if (toHex(message.taskId) !== taskId || message.attempt !== task.message.attempt) {
      throw invalid('CHAIN_INVALID', `the reveal of ${author} is for another task or attempt`)
    }
    const expected = commitmentOf({
      taskId,
      attempt: message.attempt,
      peer: author,
      outputRoot: message.outputRoot,
      metrics: message.metrics,
      salt: message.salt,
      updateRoot: message.updateRoot,
    })
    const commitment = this.#commitments.get(author)?.message.commitment
    if (commitment === undefined || Buffer.compare(commitment, expected) !== 0) {
      throw invalid('CHAIN_INVALID', `the reveal of ${author} does not match its commitment`)
    }
  }

  #judge(isLast: boolean): SlotVerdict {
    return slotVerdict({
      reveals: [...this.#reveals.values()],
      updates: this.#updates,
      network: this.#source.network,
      frozenBids: this.#ballot.frozenBids,
      firstFreeze: this.#firstFreeze,
      policy: this.#policy,
      young: this.#election.young,
      isLast,
    })
  }

  conclude(messages: readonly AnyOpened[]): VerifiedSlot {
    const task = this.#task
    const { message } = this.#receipt
    if (task === undefined) throw invalid('CHAIN_INVALID', 'a receipt without a task')
    const verdict = this.#verdict ?? this.#judge(true)
    const accepted = message.verdict === 'accepted'
    const isDerived =
      accepted === (verdict.kind === 'accept' && this.#previous.kind === 'freezeReveals')
    if (!isDerived || message.young !== this.#election.young) {
      throw invalid('VERDICT_MISMATCH', 'the receipt tells another verdict than the reveals give')
    }
    const root = verdict.kind === 'accept' ? toHex(verdict.outputRoot) : ''
    if (root !== toHex(message.outputRoot)) {
      throw invalid('VERDICT_MISMATCH', 'the receipt names another output than the reveals give')
    }
    this.#assertOutcomes(verdict, task.message.seats)
    const agreed = verdict.kind === 'accept' ? verdict.agreed : []
    const revealed = agreed.flatMap((peer) => this.#reveals.get(peer) ?? [])
    const reveal = acceptedReveal(message.outputRoot, revealed)
    return {
      batch: message.batch,
      slot: message.slot,
      attempt: task.message.attempt,
      taskId: toHex(message.taskId) as TaskId,
      inputs: task.message.inputs,
      round: task.message.round,
      election: this.#election,
      accepted,
      outputRoot: toHex(message.outputRoot) as Digest,
      metrics: reveal === undefined ? {} : parseMetrics(reveal.message.metrics),
      files: listedFiles(reveal),
      agreed,
      durationsMs: revealed.map(({ message: own }) => own.durationMs),
      dissented: verdict.kind === 'accept' ? verdict.dissented : [],
      young: this.#election.young,
      work: workOn(this.#ballot.offer.message.requirements?.gpus),
      unopened: {
        election: this.#ballot.frozenOpenings.id,
        stewards: this.#ballot.frozenOpenings.authors.length,
        peers: this.#election.unopened,
      },
      messages,
    }
  }

  /**
   * What the receipt says of those who revealed must follow from the verdict. Of the others it
   * may blame only whom it called, in the order of the ranking: `withheld` whose commitment was
   * frozen, else lost; in an accepted task nobody may be left out.
   */
  #assertOutcomes(verdict: SlotVerdict, seats: number): void {
    const called = this.#ranking.slice(0, seats)
    const derived = new Map(
      receiptOutcomes({
        called,
        verdict,
        reveals: this.#reveals,
        lost: new Map(),
        network: this.#source.network,
        frozenBids: this.#ballot.frozenBids,
      }).map((outcome) => [outcome.peer, outcome]),
    )
    const told = this.#receipt.message.executors
    const peers = told.map((executor) => peerIdFromPublicKey(executor.peer))
    const isOrdered = peers.every((peer, i) => {
      const before = peers[i - 1]
      return (
        called.includes(peer) &&
        (before === undefined || called.indexOf(before) < called.indexOf(peer))
      )
    })
    const isComplete = verdict.kind !== 'accept' || peers.length === called.length
    const hasAll = [...derived.keys()].every((peer) => peers.includes(peer))
    if (!isOrdered || !isComplete || !hasAll) {
      throw invalid('VERDICT_MISMATCH', 'the receipt lists other executors than were called')
    }
    told.forEach((executor, i) => {
      const peer = peers[i]
      if (peer === undefined) return
      const isFit = this.#isFit(executor, peer, derived.get(peer))
      if (!isFit) throw invalid('VERDICT_MISMATCH', `the receipt tells another outcome of ${peer}`)
    })
    const outrun = peers.filter((_, i) => told[i]?.outcome === 'outrun')
    const isPaired = this.#outrun.every(
      (slow) => slow.filter((peer) => outrun.includes(peer)).length <= 1,
    )
    if (!isPaired) throw invalid('VERDICT_MISMATCH', 'one standby outran more than one executor')
  }

  #isFit(told: ExecutorOutcome, peer: PeerId, derived: ReceiptOutcome | undefined): boolean {
    const operator = peerIdFromPublicKey(told.operator)
    if (derived !== undefined) {
      const { outcome, durationMs, root } = derived
      const isSame = told.outcome === outcome && told.durationMs === durationMs
      return isSame && operator === derived.operator && toHex(told.root) === toHex(root)
    }
    const wasSlow = this.#outrun.some((slow) => slow.includes(peer))
    const allowed = this.#commitments.has(peer)
      ? ['withheld']
      : ['timed-out', 'failed', ...(wasSlow ? ['outrun'] : [])]
    const isOwner = operator === this.#operatorOf(peer)
    return (
      allowed.includes(told.outcome) && isOwner && told.durationMs === 0 && told.root.length === 0
    )
  }

  #operatorOf(peer: PeerId): PeerId | undefined {
    const { network } = this.#source
    const bids = openFrozen(network, 'bid', this.#ballot.frozenBids.message.bids)
    const bid = bids.find(({ author }) => author === peer)
    return bid && peerIdFromPublicKey(bid.message.operator)
  }
}
