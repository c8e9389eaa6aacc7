/**
 * Stands in for the envelope module: the real one, except that bytes which one simulated peer has
 * opened are not decoded and verified again for the next. `open` is a pure function of its bytes.
 */
import * as real from '../../../src/wire/envelope.js'
import type { AnyOpened, Opened } from '../../../src/wire/envelope.js'
import { CtdError } from '../../../src/errors.js'
import type { MessageKind } from '../../../src/wire/messages.js'
import { digestOf, toHex } from './ids.js'
import { Kept } from './kept.js'
import { mode } from './mode.js'

export * from '../../../src/wire/envelope.js'

const OPENED = Symbol('opened')
/** All simulated peers are of one network, and gossip hands every peer the very same bytes. */
interface Noted extends Uint8Array {
  [OPENED]?: AnyOpened
}

const opened = new Kept<AnyOpened>()
const signers = new Map<string, real.Signer>()

export function createSigner(seed: Uint8Array): real.Signer {
  const name = toHex(seed)
  const known = signers.get(name) ?? real.createSigner(seed)
  signers.set(name, known)
  return known
}

export function open(network: string, bytes: Uint8Array): AnyOpened {
  if (mode.isReal) return real.open(network, bytes)
  const noted: Noted = bytes
  return (noted[OPENED] ??= opened.of(digestOf(bytes), () => real.open(network, bytes)))
}

export function openAs<K extends MessageKind>(
  network: string,
  bytes: Uint8Array,
  kind: K,
): Opened<K> {
  const found = open(network, bytes)
  if (found.kind !== kind) {
    throw new CtdError('KIND_UNEXPECTED', `expected ${kind}, got ${found.kind}`)
  }
  return found as Opened<K>
}
