/** Stands in for the names on the wire: the real ones, with the base58 of a few peers kept. */
import * as real from '../../../src/wire/ids.js'
import type { PeerId } from '../../../src/wire/ids.js'

export {
  digestOf,
  fromHex,
  parseDigest,
  parsePeerId,
  sha256,
  toHex,
  utf8,
} from '../../../src/wire/ids.js'

const KEPT_MAX = 4096
const peerIds = new Map<string, PeerId>()
const publicKeys = new Map<string, Uint8Array>()

export function peerIdFromPublicKey(publicKey: Uint8Array): PeerId {
  const name = Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.length).toString(
    'latin1',
  )
  const known = peerIds.get(name) ?? real.peerIdFromPublicKey(publicKey)
  if (peerIds.size < KEPT_MAX) peerIds.set(name, known)
  return known
}

export function publicKeyFromPeerId(peerId: string): Uint8Array {
  const known = publicKeys.get(peerId) ?? real.publicKeyFromPeerId(peerId)
  if (publicKeys.size < KEPT_MAX) publicKeys.set(peerId, known)
  return known
}
