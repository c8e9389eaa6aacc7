/**
 * Names that cross the wire: peer ids, digests, job and task ids. All are branded strings, so
 * that one kind cannot be handed over as another.
 */
import { hash } from 'node:crypto'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { CtdError } from '../errors.js'

declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** A libp2p peer id of an Ed25519 key in its base58btc text form (`12D3Koo…`). */
export type PeerId = Branded<'PeerId'>
/** SHA-256, 64 lower-case hexadecimal characters. */
export type Digest = Branded<'Digest'>
/** SHA-256 of a job manifest's domain, author and payload, hexadecimal. */
export type JobId = Branded<'JobId'>
/** SHA-256 of a slot and the digests of its inputs, hexadecimal. */
export type TaskId = Branded<'TaskId'>

/** Identity multihash of a protobuf `PublicKey { Type: Ed25519, Data: 32 bytes }` (libp2p peer ids spec). */
const PEER_ID_PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20)
const HEX_64 = /^[0-9a-f]{64}$/

/** The peer id of a raw 32-byte Ed25519 public key. */
export function peerIdFromPublicKey(publicKey: Uint8Array): PeerId {
  if (publicKey.length !== 32) throw new CtdError('BAD_KEY', 'an Ed25519 public key has 32 bytes')
  return toString(Buffer.concat([PEER_ID_PREFIX, publicKey]), 'base58btc') as PeerId
}

/** The raw 32-byte Ed25519 public key inside a peer id. @throws CtdError BAD_PEER_ID */
export function publicKeyFromPeerId(peerId: string): Uint8Array {
  try {
    const bytes = fromString(peerId, 'base58btc')
    if (bytes.length === 38 && PEER_ID_PREFIX.every((byte, i) => bytes[i] === byte)) {
      return bytes.subarray(6)
    }
  } catch {
    // Falls through to the one error for every malformed id.
  }
  throw new CtdError('BAD_PEER_ID', `not an Ed25519 peer id: ${peerId.slice(0, 60)}`)
}

/** Checks and brands a peer id. @throws CtdError BAD_PEER_ID */
export function parsePeerId(text: string): PeerId {
  publicKeyFromPeerId(text)
  return text as PeerId
}

/** Checks and brands a digest. @throws CtdError BAD_DIGEST */
export function parseDigest(text: string): Digest {
  if (!HEX_64.test(text))
    throw new CtdError('BAD_DIGEST', `not a SHA-256 digest: ${text.slice(0, 80)}`)
  return text as Digest
}

/** SHA-256 over the concatenation of the parts. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(hash('sha256', joined(parts), 'buffer'))
}

/** SHA-256 over the concatenation of the parts, as a hexadecimal digest. */
export function digestOf(...parts: readonly Uint8Array[]): Digest {
  return hash('sha256', joined(parts), 'hex') as Digest
}

/** One call for all bytes takes a third of what a hash object takes; parts are small. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts
  return only !== undefined && parts.length === 1 ? only : Buffer.concat(parts)
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

export function fromHex(text: string): Uint8Array {
  return fromString(text, 'base16')
}

/** UTF-8 bytes of a text; used for domain strings. */
export function utf8(text: string): Uint8Array {
  return fromString(text, 'utf8')
}
