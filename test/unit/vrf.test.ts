import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ed25519 } from '@noble/curves/ed25519.js'
import { sha512 } from '@noble/hashes/sha2.js'
import {
  deriveVrfSecret,
  vrfOutput,
  vrfProve,
  vrfPublicKey,
  vrfVerify,
} from '../../src/protocol/vrf.js'
import { fromHex, toHex, utf8 } from '../../src/wire/ids.js'

const SECRET = fromHex('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60')
const PUBLIC = vrfPublicKey(SECRET)
const ALPHA = utf8('alpha')
const PROOF = vrfProve(SECRET, ALPHA)

/** Adds the group order to the response: the same scalar in another encoding. */
function withMalleatedResponse(proof: Uint8Array): Uint8Array {
  const malleated = Uint8Array.from(proof)
  let carry = 0
  for (let i = 0; i < 32; i++) {
    const orderByte = Number((ed25519.Point.Fn.ORDER >> BigInt(8 * i)) & 255n)
    const sum = (malleated[48 + i] ?? 0) + orderByte + carry
    malleated[48 + i] = sum & 255
    carry = sum >> 8
  }
  return malleated
}

/**
 * A key that is the neutral element and a proof whose equations hold for it without any secret:
 * with Gamma neutral too, U = sB and V = sH for every s.
 */
function forgedForIdentityKey(): { key: Uint8Array; proof: Uint8Array } {
  const { Point } = ed25519
  const key = Point.ZERO.toBytes()
  let h = Point.ZERO
  for (let counter = 0; h.is0(); counter++) {
    const hash = sha512(Uint8Array.of(3, 1, ...key, ...ALPHA, counter, 0))
    try {
      h = Point.fromBytes(hash.slice(0, 32), false).clearCofactor()
    } catch {
      // No point: the next counter is tried, as in RFC 9381 section 5.4.1.1.
    }
  }
  const [u, v] = [Point.BASE.multiply(5n), h.multiply(5n)].map((point) => point.toBytes())
  assert.ok(u !== undefined && v !== undefined)
  const challenge = sha512(Uint8Array.of(3, 2, ...key, ...h.toBytes(), ...key, ...u, ...v, 0))
  const response = Uint8Array.of(5, ...new Uint8Array(31))
  return { key, proof: Uint8Array.of(...key, ...challenge.subarray(0, 16), ...response) }
}

describe('the verifiable random function', () => {
  it('gives one output to whoever checks a good proof', () => {
    const output = vrfVerify(PUBLIC, ALPHA, PROOF)
    assert.equal(output?.length, 64)
    assert.deepEqual(vrfProve(SECRET, ALPHA), PROOF)
    assert.deepEqual(vrfOutput(PROOF), output)
  })

  it('refuses a proof with any byte changed', () => {
    for (let i = 0; i < PROOF.length; i++) {
      const changed = Uint8Array.from(PROOF)
      changed[i] = (changed[i] ?? 0) ^ 1
      assert.equal(vrfVerify(PUBLIC, ALPHA, changed), undefined, `byte ${i}`)
    }
  })

  it('refuses a proof for another input or another key', () => {
    assert.equal(vrfVerify(PUBLIC, utf8('beta'), PROOF), undefined)
    assert.equal(vrfVerify(vrfPublicKey(deriveVrfSecret(SECRET)), ALPHA, PROOF), undefined)
  })

  it('refuses a proof of any other length than 80 bytes', () => {
    for (const length of [0, 1, 79]) {
      assert.equal(vrfVerify(PUBLIC, ALPHA, PROOF.subarray(0, length)), undefined)
      assert.equal(vrfOutput(PROOF.subarray(0, length)), undefined)
    }
    assert.equal(vrfVerify(PUBLIC, ALPHA, Uint8Array.of(...PROOF, 0)), undefined)
  })

  it('refuses a response at or above the group order', () => {
    const malleated = withMalleatedResponse(PROOF)
    assert.notDeepEqual(malleated, PROOF)
    assert.equal(vrfVerify(PUBLIC, ALPHA, malleated), undefined)
    assert.equal(vrfOutput(malleated), undefined)
  })

  it('refuses public keys of small order and keys that are no point', () => {
    const smallOrder = [
      '0100000000000000000000000000000000000000000000000000000000000000',
      'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
      '0000000000000000000000000000000000000000000000000000000000000000',
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
    ]
    for (const key of smallOrder) assert.equal(vrfVerify(fromHex(key), ALPHA, PROOF), undefined)
    const { key, proof } = forgedForIdentityKey()
    assert.equal(vrfOutput(proof)?.length, 64)
    assert.equal(vrfVerify(key, ALPHA, proof), undefined)
    assert.equal(vrfVerify(fromHex('02'.padEnd(64, '0')), ALPHA, PROOF), undefined)
    assert.equal(vrfVerify(PUBLIC.subarray(1), ALPHA, PROOF), undefined)
  })

  it('refuses points in a form that is not canonical', () => {
    // y = p + 1 encodes the same point as y = 1.
    const notCanonical = 'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'
    assert.equal(vrfVerify(fromHex(notCanonical), ALPHA, PROOF), undefined)
    const proof = Uint8Array.of(...fromHex(notCanonical), ...PROOF.subarray(32))
    assert.equal(vrfVerify(PUBLIC, ALPHA, proof), undefined)
    assert.equal(vrfOutput(proof), undefined)
  })

  it('derives a secret that differs from the identity and is always the same', () => {
    const derived = deriveVrfSecret(SECRET)
    assert.equal(toHex(derived), toHex(deriveVrfSecret(SECRET)))
    assert.notEqual(toHex(derived), toHex(SECRET))
    assert.equal(derived.length, 32)
  })

  it('throws INVARIANT for a secret of the wrong length', () => {
    assert.throws(() => vrfProve(SECRET.subarray(1), ALPHA), { name: 'InvariantError' })
    assert.throws(() => deriveVrfSecret(new Uint8Array(31)), { name: 'InvariantError' })
  })
})
