/**
 * The verifiable random function of the lottery: ECVRF-EDWARDS25519-SHA512-TAI, suite 0x03 of
 * RFC 9381. A peer proves the one output its key gives for an input; nobody can choose it, and
 * everybody can check it.
 */
import { ed25519 } from '@noble/curves/ed25519.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256, sha512 } from '@noble/hashes/sha2.js'
import { InvariantError } from '../errors.js'
import { utf8 } from '../wire/ids.js'

/** Length of a proof: Gamma (32), challenge (16), response (32). RFC 9381 section 5.1. */
export const VRF_PROOF_BYTES = 80
/** Length of an output: SHA-512. */
export const VRF_OUTPUT_BYTES = 64
/** Domain of the derivation of the VRF key from the identity, so that nonces never meet. */
export const VRF_KEY_DOMAIN = 'ctd/vrf/v1'

const { Point } = ed25519
type Point = InstanceType<typeof Point>

const SUITE = 0x03
const FRONT_ENCODE = 0x01
const FRONT_CHALLENGE = 0x02
const FRONT_OUTPUT = 0x03
const BACK = 0x00
const CHALLENGE_BYTES = 16
const SECRET_BYTES = 32
const ORDER = Point.Fn.ORDER

/**
 * The secret of a peer's VRF key: HKDF-SHA256 of its 32-byte Ed25519 seed with no salt and the
 * domain as info. The public key is bound to the peer by its signed identity record.
 */
export function deriveVrfSecret(identitySeed: Uint8Array): Uint8Array {
  assertSecret(identitySeed)
  return hkdf(sha256, identitySeed, undefined, utf8(VRF_KEY_DOMAIN), SECRET_BYTES)
}

/** The 32-byte public key of a 32-byte secret (RFC 8032 section 5.1.5). */
export function vrfPublicKey(secret: Uint8Array): Uint8Array {
  assertSecret(secret)
  return ed25519.getPublicKey(secret)
}

/**
 * Proves the output for `alpha` (RFC 9381 section 5.1, nonce as in section 5.4.2.2).
 *
 * @param secret - 32-byte secret of `deriveVrfSecret`
 * @returns the 80-byte proof; `vrfVerify` turns it into the output
 */
export function vrfProve(secret: Uint8Array, alpha: Uint8Array): Uint8Array {
  assertSecret(secret)
  const { prefix, scalar, pointBytes } = ed25519.utils.getExtendedPublicKey(secret)
  const h = encodeToCurve(pointBytes, alpha)
  // One in 2^256 keys would get here; none has ever been seen.
  if (h === undefined) throw new InvariantError('no curve point in 256 tries')
  const gamma = h.multiply(scalar)
  const nonce = littleEndian(sha512(concat(prefix, h.toBytes()))) % ORDER
  const publicKey = Point.fromBytes(pointBytes, false)
  const u = Point.BASE.multiply(nonce)
  const challenge = challengeOf([publicKey, h, gamma, u, h.multiply(nonce)])
  const response = (nonce + littleEndian(challenge) * scalar) % ORDER
  return concat(gamma.toBytes(), challenge, littleEndianBytes(response))
}

/**
 * Checks a proof and gives its output (RFC 9381 section 5.3, with key validation).
 *
 * Total: whatever the bytes, it returns. Points are decoded strictly (RFC 8032, no cofactored
 * leniency), keys of small order are refused, the response must be below the group order.
 *
 * @returns the 64-byte output, or undefined when the proof does not hold
 */
export function vrfVerify(
  publicKey: Uint8Array,
  alpha: Uint8Array,
  proof: Uint8Array,
): Uint8Array | undefined {
  if (proof.length !== VRF_PROOF_BYTES || publicKey.length !== 32) return undefined
  const y = decodePoint(publicKey)
  const gamma = decodePoint(proof.subarray(0, 32))
  if (y === undefined || gamma === undefined || y.isSmallOrder()) return undefined
  const challenge = proof.subarray(32, 32 + CHALLENGE_BYTES)
  const response = littleEndian(proof.subarray(32 + CHALLENGE_BYTES))
  if (response >= ORDER) return undefined
  const h = encodeToCurve(publicKey, alpha)
  if (h === undefined) return undefined
  const c = littleEndian(challenge)
  const u = Point.BASE.multiplyUnsafe(response).subtract(y.multiplyUnsafe(c))
  const v = h.multiplyUnsafe(response).subtract(gamma.multiplyUnsafe(c))
  const expected = challengeOf([y, h, gamma, u, v])
  if (!expected.every((byte, i) => byte === challenge[i])) return undefined
  return outputOf(gamma)
}

/**
 * Reads the output that a proof claims, without checking the proof (RFC 9381 section 5.2).
 *
 * @returns the 64-byte output, or undefined when the bytes cannot be a proof
 */
export function vrfOutput(proof: Uint8Array): Uint8Array | undefined {
  if (proof.length !== VRF_PROOF_BYTES) return undefined
  if (littleEndian(proof.subarray(32 + CHALLENGE_BYTES)) >= ORDER) return undefined
  const gamma = decodePoint(proof.subarray(0, 32))
  return gamma === undefined ? undefined : outputOf(gamma)
}

function outputOf(gamma: Point): Uint8Array {
  const cleared = gamma.clearCofactor().toBytes()
  return sha512(concat(Uint8Array.of(SUITE, FRONT_OUTPUT), cleared, Uint8Array.of(BACK)))
}

/** Try-and-increment (RFC 9381 section 5.4.1.1); the salt is the public key. */
function encodeToCurve(publicKey: Uint8Array, alpha: Uint8Array): Point | undefined {
  const front = concat(Uint8Array.of(SUITE, FRONT_ENCODE), publicKey, alpha)
  for (let counter = 0; counter < 256; counter++) {
    const hash = sha512(concat(front, Uint8Array.of(counter, BACK)))
    const point = decodePoint(hash.subarray(0, 32))?.clearCofactor()
    if (point !== undefined && !point.is0()) return point
  }
  return undefined
}

function challengeOf(points: readonly Point[]): Uint8Array {
  const encoded = points.map((point) => point.toBytes())
  const front = Uint8Array.of(SUITE, FRONT_CHALLENGE)
  return sha512(concat(front, ...encoded, Uint8Array.of(BACK))).subarray(0, CHALLENGE_BYTES)
}

function decodePoint(bytes: Uint8Array): Point | undefined {
  try {
    return Point.fromBytes(Uint8Array.from(bytes), false)
  } catch {
    // The library throws for every encoding that is no point; here that is an answer.
    return undefined
  }
}

function assertSecret(secret: Uint8Array): void {
  if (secret.length !== SECRET_BYTES) throw new InvariantError('a secret has 32 bytes')
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n)
}

function littleEndianBytes(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 255n))
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}
