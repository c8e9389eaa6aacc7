/**
 * Stands in for the envelope module: the real one, except that bytes which one simulated peer has
 * opened are not decoded and verified again for the next. `open` is a pure function of its bytes.
 */
import * as real from '../../../src/wire/envelope.js'
import type { AnyOpened, Opened } from '../../../src/wire/envelope.js'
import { CtdError } from '../../../src/errors.js'
import type { MessageKind } from '../../../src/wire/messages.js'

export { messageId, seal, signedBytes, verifySignature } from '../../../src/wire/envelope.js'

const OPENED_MAX = 8192
const opened = new Map<string, AnyOpened>()
/** The same by identity: gossip hands every peer the very same bytes. */
let openedBytes = new WeakMap<Uint8Array, AnyOpened>()
const signers = new Map<string, real.Signer>()

function nameOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

/** All simulated peers are of one network. One schedule must not find what another one opened under other primitives. */
export function forgetOpened(): void {
  opened.clear()
  openedBytes = new WeakMap()
}

export function createSigner(seed: Uint8Array): real.Signer {
  const name = nameOf(seed)
  const known = signers.get(name) ?? real.createSigner(seed)
  signers.set(name, known)
  return known
}

export function open(network: string, bytes: Uint8Array): AnyOpened {
  const same = openedBytes.get(bytes)
  if (same !== undefined) return same
  const name = nameOf(bytes)
  const found = opened.get(name) ?? real.open(network, bytes)
  if (opened.size >= OPENED_MAX) opened.clear()
  opened.set(name, found)
  openedBytes.set(bytes, found)
  return found
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
