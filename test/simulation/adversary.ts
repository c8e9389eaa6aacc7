/**
 * What adversaries do with the production code around them: they compute something else, keep
 * messages back, send others, or answer what they see.
 */
import { commitmentOf } from '../../src/protocol/task.js'
import { seal } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../../src/wire/envelope.js'
import { toHex } from '../../src/wire/ids.js'
import type { PeerId, TaskId } from '../../src/wire/ids.js'

export const ADVERSARIES = [
  /** Computes something else than everybody. */
  'liar',
  /** Computes the same wrong thing as every other colluder. */
  'colluder',
  /** Bids, opens and is never heard of again. */
  'silent',
  /** Bids and does not open. */
  'non-opener',
  /** Commits and does not reveal. */
  'withholder',
  /** Reveals another result than it committed to. */
  'mismatcher',
  /** Computes nothing; repeats the first commitment and the first reveal it sees. */
  'copier',
  /** Commits to different things towards different peers. */
  'equivocator',
] as const
export type Adversary = (typeof ADVERSARIES)[number]
export type Behaviour = 'honest' | Adversary

/** What an adversary sends instead of an own message. */
export interface Outgoing {
  /** To everybody and to those who wait for it; absent, nothing is sent. */
  readonly opened?: AnyOpened
  /** Gossiped to every second peer instead of `opened`. */
  readonly toHalf?: AnyOpened
}

export class Corruption {
  readonly behaviour: Behaviour
  readonly #network: string
  readonly #signer: Signer
  readonly #copied = new Set<string>()

  constructor(behaviour: Behaviour, network: string, signer: Signer) {
    this.behaviour = behaviour
    this.#network = network
    this.#signer = signer
  }

  /** What is mixed into the results of this peer. */
  lie(): string {
    if (this.behaviour === 'liar') return this.#signer.peerId
    return this.behaviour === 'colluder' ? 'agreed lie' : ''
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
        return kind === 'bid' || kind === 'vrfOpen' || kind === 'decline' ? { opened } : {}
      case 'non-opener':
        return kind === 'vrfOpen' ? {} : { opened }
      case 'withholder':
        return kind === 'reveal' ? {} : { opened }
      case 'mismatcher':
        return { opened: kind === 'reveal' ? this.#otherReveal(opened) : opened }
      case 'equivocator':
        if (kind === 'commitment') return { opened, toHalf: this.#otherCommitment(opened) }
        return { opened }
      default:
        return { opened }
    }
  }

  #otherReveal({ message }: Opened<'reveal'>): Opened<'reveal'> {
    const outputRoot = message.outputRoot.map((byte) => byte ^ 1)
    const other = { ...message, outputRoot, listing: new Uint8Array(0) }
    return seal(this.#network, 'reveal', other, this.#signer)
  }

  #otherCommitment({ message }: Opened<'commitment'>): Opened<'commitment'> {
    const commitment = commitmentOf({
      taskId: toHex(message.taskId) as TaskId,
      attempt: message.attempt,
      peer: this.#signer.peerId,
      outputRoot: new Uint8Array(32),
      metrics: new Uint8Array(0),
      salt: new Uint8Array(32),
    })
    return seal(this.#network, 'commitment', { ...message, commitment }, this.#signer)
  }

  /** What a copier answers to another's commitment or reveal. */
  onSeen(opened: AnyOpened, self: PeerId): AnyOpened | undefined {
    if (this.behaviour !== 'copier' || opened.author === self) return undefined
    if (opened.kind !== 'commitment' && opened.kind !== 'reveal') return undefined
    const { taskId, attempt } = opened.message
    const key = `${opened.kind}/${toHex(taskId)}/${attempt}`
    if (this.#copied.has(key)) return undefined
    this.#copied.add(key)
    return opened.kind === 'commitment'
      ? seal(this.#network, 'commitment', opened.message, this.#signer)
      : seal(this.#network, 'reveal', opened.message, this.#signer)
  }
}
