import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { deriveVrfSecret, vrfProve, vrfPublicKey, vrfVerify } from '../../src/protocol/vrf.js'
import { fromHex, toHex } from '../../src/wire/ids.js'

interface Proof {
  readonly name: string
  readonly publicKey: string
  readonly alpha: string
  readonly proof: string
}

interface Vectors {
  readonly valid: readonly (Proof & { readonly secret: string; readonly output: string })[]
  readonly invalid: readonly Proof[]
  readonly derived: readonly { identitySeed: string; secret: string; publicKey: string }[]
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('vrf.json', import.meta.url), 'utf8'))

/** First bytes of the outputs in RFC 9381 appendix B.3, so that no rewrite of the file passes. */
const RFC_OUTPUTS = ['90cf1df3b703cce5', 'eb4440665d3891d6', '645427e5d00c62a2']

function verify({ publicKey, alpha, proof }: Proof): string | undefined {
  const output = vrfVerify(fromHex(publicKey), fromHex(alpha), fromHex(proof))
  return output && toHex(output)
}

describe('vectors of the verifiable random function', () => {
  it('are those of RFC 9381', () => {
    assert.deepEqual(
      vectors.valid.map(({ output }) => output.slice(0, 16)),
      RFC_OUTPUTS,
    )
  })

  for (const each of vectors.valid) {
    it(`proves and verifies ${each.name}`, () => {
      assert.equal(toHex(vrfPublicKey(fromHex(each.secret))), each.publicKey)
      assert.equal(toHex(vrfProve(fromHex(each.secret), fromHex(each.alpha))), each.proof)
      assert.equal(verify(each), each.output)
    })
  }

  for (const each of vectors.invalid) {
    it(`refuses ${each.name}`, () => assert.equal(verify(each), undefined))
  }

  it('derives the keys of identities', () => {
    assert.equal(vectors.derived.length, 1)
    for (const { identitySeed, secret, publicKey } of vectors.derived) {
      assert.equal(toHex(deriveVrfSecret(fromHex(identitySeed))), secret)
      assert.equal(toHex(vrfPublicKey(fromHex(secret))), publicKey)
    }
  })
})
