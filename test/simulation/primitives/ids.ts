/**
 * Stands in for the names on the wire: the real ones, with the base58 of a few peers kept, and the
 * digest and hexadecimal form of an array noted on it. Messages never change once they are made,
 * and all simulated peers share them.
 */
import * as real from '../../../src/wire/ids.js'
import type { Digest, PeerId } from '../../../src/wire/ids.js'
import { mode } from './mode.js'

export * from '../../../src/wire/ids.js'

const DIGEST = Symbol('digest')
const HEX = Symbol('hex')
interface Noted extends Uint8Array {
  [DIGEST]?: Digest
  [HEX]?: string
}

const KEPT_MAX = 4096
const HEX_64 = /^[0-9a-f]{64}$/
const peerIds = new Map<string, PeerId>()
const publicKeys = new Map<string, Uint8Array>()

export function digestOf(...parts: readonly Uint8Array[]): Digest {
  const [only] = parts
  if (mode.isReal || only === undefined || parts.length > 1) return real.digestOf(...parts)
  const noted: Noted = only
  return (noted[DIGEST] ??= real.digestOf(only))
}

export function toHex(bytes: Uint8Array): string {
  if (mode.isReal) return real.toHex(bytes)
  const noted: Noted = bytes
  return (noted[HEX] ??= real.toHex(bytes))
}

export function fromHex(text: string): Uint8Array {
  if (mode.isReal || !HEX_64.test(text)) return real.fromHex(text)
  const bytes: Noted = new Uint8Array(Buffer.from(text, 'hex'))
  bytes[HEX] = text
  return bytes
}

export function peerIdFromPublicKey(publicKey: Uint8Array): PeerId {
  const name = toHex(publicKey)
  const known = peerIds.get(name) ?? real.peerIdFromPublicKey(publicKey)
  if (peerIds.size < KEPT_MAX) peerIds.set(name, known)
  return known
}

export function publicKeyFromPeerId(peerId: string): Uint8Array {
  const known = publicKeys.get(peerId) ?? real.publicKeyFromPeerId(peerId)
  if (publicKeys.size < KEPT_MAX) publicKeys.set(peerId, known)
  return known
}
