/**
 * Blobs under the names of the wider world. The digest of a blob is the SHA-256 of its manifest,
 * so CIDv1 with the codec raw (0x55) and the multihash sha2-256 (0x12), in base32, names that
 * manifest: `bafkrei…`, 59 characters (https://github.com/multiformats/cid). It is the key under
 * which providers are found in the DHT.
 */
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { CtdError } from '../errors.js'
import { fromHex, toHex } from './ids.js'
import type { Digest } from './ids.js'

/** CIDv1, raw, sha2-256, 32 bytes. */
const PREFIX = Uint8Array.of(0x01, 0x55, 0x12, 0x20)
const HEX = /^[0-9a-f]{64}$/
const CID = /^b[a-z2-7]{58}$/

/** What `parseBlobName` may accept; for schemas. */
export const BLOB_NAME = /^(?:[0-9a-f]{64}|b[a-z2-7]{58})$/

/** The CID of a blob in base32. */
export function cidOf(digest: Digest): string {
  return `b${toString(Buffer.concat([PREFIX, fromHex(digest)]), 'base32')}`
}

/** The digest that a person wrote, as hexadecimal or as a CID. @throws CtdError BAD_DIGEST */
export function parseBlobName(text: string): Digest {
  if (HEX.test(text)) return text as Digest
  const digest = CID.test(text) ? digestInCid(text) : undefined
  // Compared whole: the prefix must be ours.
  if (digest !== undefined && cidOf(digest) === text) return digest
  throw new CtdError('BAD_DIGEST', `not the digest of a blob: ${text.slice(0, 80)}`, {
    hint: '64 hexadecimal characters, or a CIDv1 of a raw sha2-256 (bafkrei…)',
  })
}

function digestInCid(text: string): Digest | undefined {
  try {
    const digest = toHex(fromString(text.slice(1), 'base32').subarray(PREFIX.length))
    return HEX.test(digest) ? (digest as Digest) : undefined
  } catch {
    return undefined // The last character has bits that must be zero.
  }
}
