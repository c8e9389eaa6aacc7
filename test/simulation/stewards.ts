/**
 * Plays the stewards' law: the production step of one certificate on every steward, over a network
 * that loses, delays, repeats, reorders and parts, on a virtual clock, with stewards that are
 * silent, censor, equivocate or crash. It stands alone: no keys, no disks, thousands of schedules
 * a minute. After every event the law is checked; what a schedule does follows from its seed.
 */
import { faultsBorne, isQuorum, membersAt } from '../../src/protocol/quorum.js'
import {
  createStage,
  isBefore,
  restoreStage,
  stepSteward,
} from '../../src/protocol/steward-step.js'
import type {
  Entry,
  Proposal,
  StageContext,
  StageEffect,
  StageEvent,
  StageRecord,
  StewardState,
} from '../../src/protocol/steward-step.js'
import type { PeerId } from '../../src/wire/ids.js'
import { Random } from './random.js'

/** How a steward behaves. */
export type Role = 'honest' | 'silent' | 'censor' | 'equivocator' | 'careless'

export interface StewardCounts {
  schedules: number
  events: number
  /** Schedules in which every honest steward ended with the same full certificate. */
  certified: number
  /** Certified above view 0, and in two views at once with one of them canonical. */
  viewChanged: number
  forked: number
  crashes: number
  partitions: number
  /** Schedules with stewards of each role. */
  roles: Record<Role, number>
  /** Two payloads signed in one view, as found by an honest steward. */
  equivocationsProven: number
  /** Schedules whose stewards were captured, and what of it could be proven. */
  captured: number
  omissions: number
  omissionsProven: number
  /** From the end of all disturbance to the last honest steward's certificate, virtual ms. */
  slowestMs: number
  failures: string[]
}

export interface SimulateStewards {
  readonly schedules: number
  readonly seed: string
  /** Which schedules to capture: 5 of 7 stewards together leave out one message. */
  readonly captured?: boolean
}

const FAILURES_KEPT = 20
const WINDOW_MS = 300
const SETTLE_MS = 80
const VIEW_MS = 400
const RESEND_MS = 250
/** By then at the latest all disturbance is over; each certificate is due so long after. */
const CALM_MS = 4000
const DUE_MS = 20_000
const SETS = [1, 3, 4, 5, 7, 7, 7, 9, 14] as const

export function simulateStewards({
  schedules,
  seed,
  captured = false,
}: SimulateStewards): StewardCounts {
  const counts: StewardCounts = {
    schedules: 0,
    events: 0,
    certified: 0,
    viewChanged: 0,
    forked: 0,
    crashes: 0,
    partitions: 0,
    roles: { honest: 0, silent: 0, censor: 0, equivocator: 0, careless: 0 },
    equivocationsProven: 0,
    captured: 0,
    omissions: 0,
    omissionsProven: 0,
    slowestMs: 0,
    failures: [],
  }
  for (let i = 0; i < schedules; i++) {
    new Play(`${seed}/${i}`, counts, captured).run()
    counts.schedules += 1
  }
  return counts
}

type Network =
  | { readonly type: 'entry'; readonly entry: Entry }
  | { readonly type: 'acknowledged'; readonly steward: PeerId; readonly entry: Entry }
  | {
      readonly type: 'tell'
      readonly steward: PeerId
      readonly view: number
      readonly entries: readonly Entry[]
    }
  | { readonly type: 'proposal'; readonly from: PeerId; readonly proposal: Proposal }

type Happening =
  | { readonly type: 'deliver'; readonly to: number; readonly message: Network }
  | {
      readonly type: 'timer'
      readonly to: number
      readonly life: number
      readonly event: StageEvent
    }
  | { readonly type: 'resend'; readonly to: number; readonly life: number }
  | { readonly type: 'crash'; readonly to: number; readonly downMs: number }
  | { readonly type: 'restart'; readonly to: number }

interface Steward {
  readonly index: number
  readonly peer: PeerId
  readonly role: Role
  readonly context: StageContext
  readonly disk: StageRecord[]
  state: StewardState
  isUp: boolean
  /** Grows with every crash: timers of an earlier life are gone. */
  life: number
}

interface Partition {
  readonly fromMs: number
  readonly toMs: number
  readonly side: ReadonlySet<number>
}

class Play {
  readonly #seed: string
  readonly #random: Random
  readonly #counts: StewardCounts
  readonly #isCaptured: boolean
  readonly #stewards: Steward[] = []
  readonly #ranked: PeerId[]
  readonly #entries: Entry[]
  readonly #lossy: number
  readonly #doubling: number
  readonly #delayMs: number
  readonly #isCalm: boolean
  /** When all disturbance is over. */
  readonly #calmMs: number
  readonly #partitions: Partition[] = []
  readonly #queue = new Queue<Happening>()
  /** What honest stewards have let others see: their law is checked on these. */
  readonly #signed = new Map<string, string>()
  readonly #acknowledged = new Map<PeerId, Map<string, Entry>>()
  /** The full certificates by view; and the best that an honest steward has published. */
  readonly #full = new Map<number, Proposal>()
  #best: Proposal | undefined
  #nowMs = 0
  #failed = false
  #lastCertifiedMs = 0
  #payloads = 0

  constructor(seed: string, counts: StewardCounts, isCaptured: boolean) {
    this.#seed = seed
    this.#random = new Random(seed)
    this.#counts = counts
    this.#isCaptured = isCaptured
    const random = this.#random
    const n = isCaptured ? 7 : random.pick(SETS)
    this.#ranked = Array.from({ length: n }, (_, i) => `steward-${i}` as PeerId)
    this.#isCalm = isCaptured || random.chance(0.25)
    this.#lossy = this.#isCalm ? 0 : random.pick([0, 0.05, 0.2])
    this.#calmMs = this.#isCalm ? 0 : random.between(1000, CALM_MS)
    this.#doubling = random.pick([0, 0.1])
    this.#delayMs = this.#isCalm ? 30 : random.pick([20, 100, 400])
    this.#entries = Array.from({ length: random.between(1, 5) }, (_, i) => ({
      id: `message-${i}`,
      author: `bidder-${i}` as PeerId,
    }))
    const roles = this.#roles(n)
    for (const [i, peer] of this.#ranked.entries()) this.#add(i, peer, roles[i] ?? 'honest')
    if (!this.#isCalm) this.#disturb(n)
  }

  #roles(n: number): Role[] {
    const k = Math.min(n, 7)
    const count = this.#isCaptured ? 5 : this.#random.between(0, faultsBorne(k))
    const kinds: readonly Role[] = this.#isCaptured
      ? ['censor']
      : ['silent', 'censor', 'equivocator', 'careless']
    const roles = Array.from({ length: n }, (_, i): Role => {
      return i < count ? this.#random.pick(kinds) : 'honest'
    })
    for (const role of new Set(roles)) this.#counts.roles[role] += 1
    return this.#random.shuffle(roles)
  }

  #add(index: number, peer: PeerId, role: Role): void {
    const context = {
      self: peer,
      candidates: this.#ranked,
      room: 64,
      heldMax: 1024,
      settleMs: SETTLE_MS,
      viewMs: VIEW_MS,
    }
    const steward: Steward = {
      index,
      peer,
      role,
      context,
      disk: [],
      state: createStage(),
      isUp: true,
      life: 0,
    }
    this.#stewards.push(steward)
    const skewMs = this.#random.between(0, 20)
    this.#timer(steward, WINDOW_MS + skewMs, { type: 'deadline' })
    this.#queue.push(RESEND_MS + this.#random.between(0, RESEND_MS), {
      type: 'resend',
      to: index,
      life: 0,
    })
    for (const entry of this.#entries) {
      // In the calm, what reaches one honest steward in time is to be in the set.
      if (this.#isCalm && !this.#isCaptured && this.#random.chance(0.6)) continue
      const sentMs = this.#random.between(0, this.#isCalm ? WINDOW_MS / 2 : WINDOW_MS)
      this.#transmit(sentMs, undefined, index, { type: 'entry', entry })
    }
  }

  #disturb(n: number): void {
    const random = this.#random
    if (n > 1 && random.chance(0.4)) {
      const fromMs = random.between(0, 1000)
      const side = new Set(
        this.#stewards.map(({ index }) => index).filter(() => random.chance(0.5)),
      )
      this.#partitions.push({
        fromMs,
        toMs: random.between(fromMs, Math.max(fromMs, this.#calmMs)),
        side,
      })
      this.#counts.partitions += 1
    }
    for (let i = random.between(0, 3); i > 0; i--) {
      const atMs = random.between(0, this.#calmMs)
      const downMs = random.between(1, Math.max(1, this.#calmMs - atMs))
      this.#queue.push(atMs, { type: 'crash', to: random.between(0, n - 1), downMs })
    }
  }

  run(): void {
    while (!this.#failed) {
      const next = this.#queue.pop()
      if (next === undefined) break
      this.#nowMs = next.atMs
      if (this.#nowMs > this.#calmMs + DUE_MS) {
        this.#fail('a certificate is not full long after all disturbance')
        return
      }
      this.#counts.events += 1
      this.#happen(next.item)
      if (this.#nowMs > this.#calmMs && this.#isSettled()) break
    }
    if (!this.#failed) this.#conclude()
  }

  #happen(item: Happening): void {
    const steward = this.#stewards[item.to]
    if (steward === undefined) return
    switch (item.type) {
      case 'deliver':
        if (steward.isUp) this.#deliver(steward, item.message)
        return
      case 'timer':
        if (steward.isUp && item.life === steward.life) this.#step(steward, item.event)
        return
      case 'resend':
        if (!steward.isUp || item.life !== steward.life) return
        this.#step(steward, { type: 'resend' })
        this.#queue.push(this.#nowMs + RESEND_MS, item)
        return
      case 'crash':
        if (steward.isUp) this.#crash(steward, item.downMs)
        return
      case 'restart':
        this.#restart(steward)
    }
  }

  #crash(steward: Steward, downMs: number): void {
    steward.isUp = false
    steward.life += 1
    this.#counts.crashes += 1
    this.#queue.push(this.#nowMs + downMs, { type: 'restart', to: steward.index })
  }

  #restart(steward: Steward): void {
    steward.isUp = true
    steward.state = restoreStage(steward.context, steward.disk)
    this.#queue.push(this.#nowMs + RESEND_MS, {
      type: 'resend',
      to: steward.index,
      life: steward.life,
    })
    this.#step(steward, { type: 'restarted' })
    if (steward.state.phase !== 'collecting') return
    this.#timer(steward, Math.max(1, WINDOW_MS - this.#nowMs), { type: 'deadline' })
  }

  #timer(steward: Steward, afterMs: number, event: StageEvent): void {
    const { index: to, life } = steward
    this.#queue.push(this.#nowMs + afterMs, { type: 'timer', to, life, event })
  }

  /** The message that this schedule's censors leave out. */
  get #victim(): Entry | undefined {
    return this.#entries[0]
  }

  #deliver(steward: Steward, message: Network): void {
    const isVictim = (entry: Entry): boolean =>
      steward.role === 'censor' && entry.id === this.#victim?.id
    switch (message.type) {
      case 'entry':
        if (isVictim(message.entry)) {
          // To its author a captured steward says that all is well.
          if (this.#isCaptured) this.#noteAcknowledged(steward, message.entry)
          return
        }
        this.#step(steward, { type: 'message', entry: message.entry })
        return
      case 'acknowledged':
        if (isVictim(message.entry)) return
        this.#step(steward, message)
        return
      case 'tell':
        for (const entry of message.entries) {
          if (isVictim(entry)) continue
          this.#step(steward, { type: 'acknowledged', steward: message.steward, entry })
        }
        this.#step(steward, { type: 'word', steward: message.steward, view: message.view })
        return
      case 'proposal':
        if (steward.role === 'careless' || steward.role === 'equivocator') {
          this.#signAnything(steward, message.proposal)
        }
        this.#step(steward, message)
    }
  }

  /** Signs every payload it sees, two of one view among them. */
  #signAnything(steward: Steward, proposal: Proposal): void {
    const set = membersAt(this.#ranked, proposal.view)
    if (!set.includes(steward.peer) || proposal.signers.includes(steward.peer)) return
    const signers = [...proposal.signers, steward.peer]
    this.#send(steward, {
      type: 'proposal',
      from: steward.peer,
      proposal: { ...proposal, signers },
    })
  }

  #step(steward: Steward, event: StageEvent): void {
    const effects = stepSteward(steward.context, steward.state, event)
    for (const effect of effects) {
      // A crash between any two effects: what is persisted stays, what follows never happens.
      const mayCrash = !this.#isCalm && this.#nowMs < this.#calmMs - 500
      if (mayCrash && this.#random.chance(0.002)) {
        this.#crash(steward, this.#random.between(1, 500))
        return
      }
      this.#perform(steward, effect)
    }
  }

  #perform(steward: Steward, effect: StageEffect): void {
    switch (effect.type) {
      case 'persist':
        steward.disk.push(effect.record)
        return
      case 'acknowledge':
        this.#noteAcknowledged(steward, effect.entry)
        this.#send(steward, { type: 'acknowledged', steward: steward.peer, entry: effect.entry })
        return
      case 'tell': {
        const { view, entries } = effect
        this.#send(steward, { type: 'tell', steward: steward.peer, view, entries })
        return
      }
      case 'compose':
        this.#compose(steward, effect.view, effect.entries)
        return
      case 'publish':
        this.#publish(steward, effect.proposal, effect.to)
        return
      case 'timer':
        this.#timer(steward, effect.ms, { type: effect.name, view: effect.view })
        return
      case 'certified':
        this.#lastCertifiedMs = this.#nowMs
        return
      case 'equivocated':
        this.#onEquivocated(effect.steward)
        return
      case 'stalled':
        this.#fail(`${steward.peer} ran out of views`)
    }
  }

  #noteAcknowledged(steward: Steward, entry: Entry): void {
    const ofSteward = this.#acknowledged.get(steward.peer) ?? new Map<string, Entry>()
    this.#acknowledged.set(steward.peer, ofSteward.set(entry.id, entry))
  }

  #compose(steward: Steward, view: number, entries: readonly Entry[]): void {
    const make = (held: readonly Entry[]): Proposal => {
      this.#payloads += 1
      return { view, digest: `payload-${this.#payloads}`, entries: held, signers: [] }
    }
    if (steward.role !== 'equivocator') {
      this.#step(steward, { type: 'composed', proposal: make(entries) })
      return
    }
    const two = [make(entries), make(this.#random.chance(0.5) ? entries : entries.slice(1))]
    for (const other of this.#stewards) {
      const proposal = this.#random.pick(two)
      const signed = { ...proposal, signers: [steward.peer] }
      const message: Network = { type: 'proposal', from: steward.peer, proposal: signed }
      this.#transmit(this.#nowMs, steward.index, other.index, message)
    }
  }

  #publish(steward: Steward, proposal: Proposal, to: PeerId | undefined): void {
    this.#check(steward, proposal)
    const message: Network = { type: 'proposal', from: steward.peer, proposal }
    if (to === undefined) {
      this.#send(steward, message)
      return
    }
    const other = this.#stewards.find(({ peer }) => peer === to)
    if (other !== undefined) this.#transmit(this.#nowMs, steward.index, other.index, message)
  }

  #send(steward: Steward, message: Network): void {
    for (const { index } of this.#stewards) {
      if (index !== steward.index) this.#transmit(this.#nowMs, steward.index, index, message)
    }
  }

  #transmit(sentMs: number, from: number | undefined, to: number, message: Network): void {
    if (from !== undefined && this.#stewards[from]?.role === 'silent') return
    const isDisturbed = sentMs < this.#calmMs
    if (isDisturbed && this.#random.chance(this.#lossy)) return
    const isParted = this.#partitions.some(
      ({ fromMs, toMs, side }) =>
        from !== undefined && sentMs >= fromMs && sentMs < toMs && side.has(from) !== side.has(to),
    )
    if (isParted) return
    const copies = this.#random.chance(this.#doubling) ? 2 : 1
    for (let i = 0; i < copies; i++) {
      const delayMs = this.#random.between(1, isDisturbed ? this.#delayMs : 30)
      this.#queue.push(sentMs + delayMs, { type: 'deliver', to, message })
    }
  }

  /** The law, on what an honest steward lets others see, and on every full certificate. */
  #check(steward: Steward, proposal: Proposal): void {
    const { view, digest, signers } = proposal
    if (steward.role === 'honest' && signers.includes(steward.peer)) {
      const key = `${steward.peer}/${view}`
      const before = this.#signed.get(key) ?? digest
      if (before !== digest) this.#fail(`${steward.peer} signed two payloads in view ${view}`)
      this.#signed.set(key, digest)
    }
    const set = membersAt(this.#ranked, view)
    if (!isQuorum(signers.length, set.length)) return
    const known = this.#full.get(view)
    if (known !== undefined && known.digest !== digest && !this.#isCaptured) {
      this.#fail(`two full certificates in view ${view}`)
    }
    if (known === undefined || isBefore(proposal, known)) this.#full.set(view, proposal)
    const isTold = steward.role === 'honest'
    if (isTold && (this.#best === undefined || isBefore(proposal, this.#best)))
      this.#best = proposal
    this.#checkOmissions(proposal, set)
  }

  #checkOmissions(proposal: Proposal, set: readonly PeerId[]): void {
    const authors = new Set(proposal.entries.map(({ author }) => author))
    for (const entry of this.#entries) {
      if (authors.has(entry.author)) continue
      const honest = this.#stewards.filter(
        ({ peer, role }) =>
          role === 'honest' && set.includes(peer) && this.#acknowledged.get(peer)?.has(entry.id),
      )
      const signed = honest.find(({ peer }) => proposal.signers.includes(peer))
      if (signed !== undefined) {
        this.#fail(`${signed.peer} signed a set without ${entry.id}, which it acknowledged`)
      }
      // More honest ones hold it than a quorum can do without; with a network that keeps its
      // promises a single one is enough.
      const isSafe =
        honest.length > set.length - Math.ceil((2 * set.length) / 3) ||
        (this.#isCalm && honest.length > 0 && !this.#isCaptured)
      if (isSafe) this.#fail(`${entry.id} is left out though ${honest.length} honest ones hold it`)
    }
  }

  #onEquivocated(peer: PeerId): void {
    this.#counts.equivocationsProven += 1
    const accused = this.#stewards.find((steward) => steward.peer === peer)
    if (accused?.role === 'honest') this.#fail(`${peer} is accused and honest`)
  }

  #honest(): Steward[] {
    return this.#stewards.filter(({ role }) => role === 'honest')
  }

  /** Whether every honest steward is back and holds one and the same certificate. */
  #isSettled(): boolean {
    const honest = this.#honest()
    const [first] = honest
    return honest.every(
      ({ isUp, state }) =>
        isUp &&
        state.certificate !== undefined &&
        state.certificate.digest === first?.state.certificate?.digest,
    )
  }

  #conclude(): void {
    const certificate = this.#honest()[0]?.state.certificate
    if (certificate === undefined) {
      this.#fail('nothing was certified')
      return
    }
    // A faulty one may know a better one and keep it to itself.
    if (this.#best?.digest !== certificate.digest) {
      this.#fail('the honest stewards hold another than the canonical certificate')
    }
    this.#counts.certified += 1
    this.#counts.viewChanged += certificate.view > 0 ? 1 : 0
    this.#counts.forked += this.#full.size > 1 ? 1 : 0
    const lateMs = Math.max(0, this.#lastCertifiedMs - Math.max(this.#calmMs, WINDOW_MS))
    this.#counts.slowestMs = Math.max(this.#counts.slowestMs, lateMs)
    if (this.#isCaptured) this.#proveOmission(certificate)
  }

  /** Everybody who told the victim that its message is there, and signed a set without it. */
  #proveOmission(certificate: Proposal): void {
    this.#counts.captured += 1
    const victim = this.#victim
    if (victim === undefined || certificate.entries.some(({ id }) => id === victim.id)) return
    this.#counts.omissions += 1
    const proven = certificate.signers.filter((peer) =>
      this.#acknowledged.get(peer)?.has(victim.id),
    )
    if (proven.length >= 5) this.#counts.omissionsProven += 1
    else this.#fail('a message was left out and too few can be held to account')
    if (certificate.entries.length !== this.#entries.length - 1) {
      this.#fail('a captured set did more than leave out one message')
    }
  }

  #fail(words: string): void {
    this.#failed = true
    if (this.#counts.failures.length < FAILURES_KEPT) {
      this.#counts.failures.push(`${this.#seed}: ${words}`)
    }
  }
}

/** What happens next: a binary heap by time, then by order of arrival. */
class Queue<T> {
  readonly #heap: Array<{ readonly atMs: number; readonly order: number; readonly item: T }> = []
  #order = 0

  push(atMs: number, item: T): void {
    const heap = this.#heap
    const entry = { atMs, order: this.#order++, item }
    let at = heap.length
    heap.push(entry)
    while (at > 0) {
      const up = (at - 1) >> 1
      const parent = heap[up]
      if (parent === undefined || !isEarlier(entry, parent)) break
      heap[at] = parent
      at = up
    }
    heap[at] = entry
  }

  pop(): { readonly atMs: number; readonly item: T } | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let down = 2 * at + 1
      let child = heap[down]
      const right = heap[down + 1]
      if (child !== undefined && right !== undefined && isEarlier(right, child)) {
        down += 1
        child = right
      }
      if (child === undefined || !isEarlier(child, last)) break
      heap[at] = child
      at = down
    }
    heap[at] = last
    return first
  }
}

interface Timed {
  readonly atMs: number
  readonly order: number
}

function isEarlier(a: Timed, b: Timed): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
