/**
 * Faults that prove themselves: two envelopes that no honest peer can both have signed, be it two
 * messages for one place, or a word that it holds a message and a certificate without that message.
 * Whoever holds them can check them without knowing anything else, and no time makes them good.
 */
import { CtdError } from '../errors.js'
import { open } from '../wire/envelope.js'
import type { AnyOpened } from '../wire/envelope.js'
import type { Fault } from '../wire/generated/evidence.js'
import type { PeerId } from '../wire/ids.js'
import { omissionOf } from './omission.js'
import type { Omission } from './omission.js'
import { slotKeyOf } from './slot-key.js'

export interface ProvenFault {
  readonly kind: 'equivocation' | 'omission'
  /** Who signed both; sorted. */
  readonly accused: readonly PeerId[]
  readonly first: AnyOpened
  readonly second: AnyOpened
  /** One plain sentence, without its subject. */
  readonly words: string
}

/** Puts two envelopes into the one order that a fault has. */
export function sealFault(one: AnyOpened, other: AnyOpened): Fault {
  const [first, second] = one.id < other.id ? [one, other] : [other, one]
  return { first: first.bytes, second: second.bytes }
}

/**
 * Opens a fault and checks that it proves what it says.
 *
 * @throws CtdError FAULT_UNPROVEN, and what `open` throws
 */
export function openFault(network: string, fault: Fault): ProvenFault {
  const first = open(network, fault.first)
  const second = open(network, fault.second)
  if (first.id >= second.id) throw unproven('the two messages are the same, or out of order')
  const omission = omissionIn(network, first, second)
  if (omission !== undefined) {
    const words = `acknowledged a ${omission.kind} and signed a certificate without it`
    return { kind: 'omission', accused: [omission.accused], first, second, words }
  }
  const key = slotKeyOf(first)
  if (key === undefined || key !== slotKeyOf(second)) {
    throw unproven('the two messages are not for the same place')
  }
  const accused = first.authors.filter((author) => second.authors.includes(author)).sort()
  if (accused.length === 0) throw unproven('nobody signed both messages')
  const what = first.kind === second.kind ? first.kind : `${first.kind} and ${second.kind}`
  const words = `signed two different messages where only one is allowed: ${what}`
  return { kind: 'equivocation', accused, first, second, words }
}

function omissionIn(network: string, one: AnyOpened, other: AnyOpened): Omission | undefined {
  if (one.kind === 'acknowledgement') return omissionOf(network, one, other)
  return other.kind === 'acknowledgement' ? omissionOf(network, other, one) : undefined
}

function unproven(message: string): CtdError {
  return new CtdError('FAULT_UNPROVEN', message)
}
