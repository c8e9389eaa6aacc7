import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { createSigner, open, signedBytes, verifySignature } from '../../src/wire/envelope.js'
import { Envelope } from '../../src/wire/generated/envelope.js'
import { fromHex, publicKeyFromPeerId, toHex } from '../../src/wire/ids.js'

interface Vectors {
  readonly valid: readonly {
    readonly name: string
    readonly network: string
    readonly kind: string
    readonly kindId: number
    readonly seed: string
    readonly author: string
    readonly payload: string
    readonly envelope: string
    readonly id: string
  }[]
  readonly invalid: readonly {
    readonly name: string
    readonly network: string
    readonly envelope?: string
    /** In place of an envelope: that many zero bytes. */
    readonly zeros?: number
    readonly code: string
  }[]
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('envelope.json', import.meta.url), 'utf8'))

/** Stands here so that no rewrite of the file passes. */
const COMMITMENT_ID = '952738a29aea05d56f0c641305743c718191f81f4a2a4745b45909497ae4cd79'

describe('vectors of the envelope', () => {
  it('name a message as ever', () => {
    const commitment = vectors.valid.find(({ name }) => name === 'commitment')
    assert.equal(commitment?.id, COMMITMENT_ID)
  })

  for (const each of vectors.valid) {
    it(`opens ${each.name} and signs it alike`, () => {
      const opened = open(each.network, fromHex(each.envelope))
      assert.equal(opened.kind, each.kind)
      assert.equal(opened.id, each.id)
      assert.equal(opened.author, each.author)
      const signer = createSigner(fromHex(each.seed))
      assert.equal(signer.peerId, each.author)
      const payload = fromHex(each.payload)
      const signature = signer.sign(signedBytes(each.network, each.kindId, payload))
      const author = publicKeyFromPeerId(signer.peerId)
      assert.ok(verifySignature(author, signedBytes(each.network, each.kindId, payload), signature))
      const encoded = Envelope.encode({
        kind: each.kindId,
        payload,
        signatures: [{ author, signature }],
      })
      assert.equal(toHex(encoded), each.envelope)
    })
  }

  for (const each of vectors.invalid) {
    it(`refuses ${each.name} with ${each.code}`, () => {
      const bytes =
        each.envelope === undefined ? new Uint8Array(each.zeros ?? 0) : fromHex(each.envelope)
      assert.throws(
        () => open(each.network, bytes),
        (error) => Reflect.get(Object(error), 'code') === each.code,
      )
    })
  }
})
