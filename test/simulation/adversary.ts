/**
 * What adversaries do with the production code around them: they compute something else, keep
 * messages back, send others, or answer what they see.
 */
import { commitmentOf } from '../../src/protocol/task.js'
import { vrfOutput } from '../../src/protocol/vrf.js'
import { seal } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../../src/wire/envelope.js'
import { toHex } from '../../src/wire/ids.js'
import type { PeerId, TaskId } from '../../src/wire/ids.js'

export const ADVERSARIES = [
  /** Computes something else than everybody. */
  'liar',
  /** Computes the same wrong thing as every other colluder. */
  'colluder',
  /** Lies with the other sleepers, but only where they hold every seat that was called. */
  'sleeper',
  /** Lies with the other framers, but only where an honest executor would be outvoted. */
  'framer',
  /** One of many newcomers that one operator made; all tell one lie. */
  'sybil',
  /** Claims a thousand times the speed it has, and is slow. */
  'boaster',
  /** Bids, opens and is never heard of again. */
  'silent',
  /** Bids and does not open. */
  'non-opener',
  /** Opens only when it likes its ticket. */
  'chooser',
  /** Commits and does not reveal. */
  'withholder',
  /** Reveals another result than it committed to. */
  'mismatcher',
  /** Opens another sketch than it committed to. */
  'forger',
  /** Computes nothing; repeats the first commitment and the first reveal it sees. */
  'copier',
  /** Commits to different things towards different peers. */
  'equivocator',
] as const
export type Adversary = (typeof ADVERSARIES)[number]
export type Behaviour = 'honest' | Adversary

/** Those whose lie another operator's peer may tell as well. */
export const CONSPIRATORS: ReadonlySet<Behaviour> = new Set(['colluder', 'sleeper', 'framer'])

/** What an adversary sends instead of an own message. */
export interface Outgoing {
  /** To everybody and to those who wait for it; absent, nothing is sent. */
  readonly opened?: AnyOpened
  /** Gossiped to every second peer instead of `opened`. */
  readonly toHalf?: AnyOpened
}

export interface CorruptionOptions {
  readonly behaviour: Behaviour
  readonly network: string
  readonly signer: Signer
  /** Peers of the same behaviour, this one among them. */
  readonly gang: ReadonlySet<PeerId>
  /** Told whenever an adversary does what it is for. */
  readonly count: (what: string) => void
}

const LIE = 'agreed lie'
const BOAST = 1000

export class Corruption {
  readonly behaviour: Behaviour
  readonly #options: CorruptionOptions
  readonly #copied = new Set<string>()

  constructor(options: CorruptionOptions) {
    this.behaviour = options.behaviour
    this.#options = options
  }

  #act(): void {
    this.#options.count(`adversary:${this.behaviour}`)
  }

  /**
   * What is mixed into the result of a task; the same for all who are to agree.
   *
   * @param called - everybody who was called to the task so far
   */
  lie(called: readonly PeerId[]): string {
    const { gang, signer } = this.#options
    const ours = called.filter((peer) => gang.has(peer)).length
    const others = called.length - ours
    const lie = {
      liar: signer.peerId,
      colluder: LIE,
      sleeper: ours > 1 && others === 0 ? LIE : '',
      framer: others > 0 && ours > others ? LIE : '',
      sybil: 'the lie of one operator',
    }[this.behaviour as string]
    if (lie === undefined || lie === '') return ''
    this.#act()
    return lie
  }

  /** What it claims to compute in a second, as a multiple of what it does. */
  get boast(): number {
    if (this.behaviour !== 'boaster') return 1
    this.#act()
    return BOAST
  }

  /** A copier never finishes by itself. */
  get isIdle(): boolean {
    return this.behaviour === 'copier'
  }

  get isMute(): boolean {
    return this.behaviour === 'silent'
  }

  outgoing(opened: AnyOpened): Outgoing {
    const { kind } = opened
    switch (this.behaviour) {
      case 'silent':
        return kind === 'bid' || kind === 'vrfOpen' || kind === 'decline'
          ? { opened }
          : this.#nothing()
      case 'non-opener':
        return kind === 'vrfOpen' ? this.#nothing() : { opened }
      case 'chooser':
        return kind === 'vrfOpen' && !isLiked(opened) ? this.#nothing() : { opened }
      case 'withholder':
        return kind === 'reveal' ? this.#nothing() : { opened }
      case 'mismatcher':
        return { opened: kind === 'reveal' ? this.#otherReveal(opened) : opened }
      case 'forger':
        return { opened: opened.kind === 'sketch' ? this.#otherSketch(opened) : opened }
      case 'equivocator':
        if (kind === 'commitment') return { opened, toHalf: this.#otherCommitment(opened) }
        return { opened }
      default:
        return { opened }
    }
  }

  #nothing(): Outgoing {
    this.#act()
    return {}
  }

  #otherReveal({ message }: Opened<'reveal'>): Opened<'reveal'> {
    this.#act()
    const { network, signer } = this.#options
    const outputRoot = message.outputRoot.map((byte) => byte ^ 1)
    return seal(network, 'reveal', { ...message, outputRoot, listing: new Uint8Array(0) }, signer)
  }

  #otherSketch({ message }: Opened<'sketch'>): Opened<'sketch'> {
    this.#act()
    const { network, signer } = this.#options
    const buckets = message.buckets.map((byte, i) => (i === 0 ? byte ^ 1 : byte))
    return seal(network, 'sketch', { ...message, buckets }, signer)
  }

  #otherCommitment({ message }: Opened<'commitment'>): Opened<'commitment'> {
    this.#act()
    const { network, signer } = this.#options
    const commitment = commitmentOf({
      taskId: toHex(message.taskId) as TaskId,
      attempt: message.attempt,
      peer: signer.peerId,
      outputRoot: new Uint8Array(32),
      metrics: new Uint8Array(0),
      salt: new Uint8Array(32),
    })
    return seal(network, 'commitment', { ...message, commitment }, signer)
  }

  /** What a copier answers to another's commitment or reveal. */
  onSeen(opened: AnyOpened, self: PeerId): AnyOpened | undefined {
    if (this.behaviour !== 'copier' || opened.author === self) return undefined
    if (opened.kind !== 'commitment' && opened.kind !== 'reveal') return undefined
    const { taskId, attempt } = opened.message
    const key = `${opened.kind}/${toHex(taskId)}/${attempt}`
    if (this.#copied.has(key)) return undefined
    this.#copied.add(key)
    this.#act()
    const { network, signer } = this.#options
    return opened.kind === 'commitment'
      ? seal(network, 'commitment', opened.message, signer)
      : seal(network, 'reveal', opened.message, signer)
  }
}

/** A chooser likes half of its tickets. */
function isLiked({ message }: Opened<'vrfOpen'>): boolean {
  return ((vrfOutput(message.proof)?.[0] ?? 0) & 1) === 0
}
