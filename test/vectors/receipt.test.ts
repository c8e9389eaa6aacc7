import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { open } from '../../src/wire/envelope.js'
import { fromHex } from '../../src/wire/ids.js'
import { codeOf, tellSlot, verifyMessages } from './chain.js'

interface Chain {
  readonly name: string
  /** Ids, the manifest first and the receipt last. */
  readonly chain: readonly string[]
}
interface Vectors {
  readonly network: string
  readonly valid: ReadonlyArray<Chain & { readonly expected: object }>
  readonly invalid: ReadonlyArray<Chain & { readonly code: string }>
  readonly messages: Readonly<Record<string, string>>
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('receipt.json', import.meta.url), 'utf8'))
const { network, messages } = vectors

function envelopesOf({ chain }: Chain): string[] {
  return chain.map((id) => {
    const envelope = messages[id]
    assert.ok(envelope !== undefined, `no message ${id}`)
    return envelope
  })
}

describe('vectors of receipts', () => {
  it('name every message by its id', () => {
    for (const [name, envelope] of Object.entries(messages)) {
      assert.equal(open(network, fromHex(envelope)).id, name.split(' ')[0])
    }
  })

  for (const each of vectors.valid) {
    it(`holds what was ${each.name}`, () => {
      assert.deepEqual(tellSlot(verifyMessages(network, envelopesOf(each))), each.expected)
    })

    it(`refuses what was ${each.name} with any message missing`, () => {
      const envelopes = envelopesOf(each)
      // The manifest and the receipt stand at the ends: without them there is nothing to verify.
      for (let left = 1; left < envelopes.length - 1; left++) {
        const rest = envelopes.filter((_, i) => i !== left)
        assert.equal(
          codeOf(() => verifyMessages(network, rest)),
          'CHAIN_BROKEN',
        )
      }
    })
  }

  for (const each of vectors.invalid) {
    it(`refuses ${each.name} with ${each.code}`, () => {
      assert.notEqual(each.code, 'OK')
      assert.equal(
        codeOf(() => verifyMessages(network, envelopesOf(each))),
        each.code,
      )
    })
  }

  it('tell of a bidder that did not open', () => {
    const told = vectors.valid.map(({ expected }) => Reflect.get(expected, 'unopened') as unknown[])
    assert.deepEqual(new Set(told.map(({ length }) => length)), new Set([0, 1]))
  })

  it('tell of every outcome an executor can have, and of every refusal of a chain', () => {
    const outcomes = JSON.stringify(vectors.valid)
    for (const outcome of [
      'agreed',
      'dissented',
      'spared',
      'withheld',
      'timed-out',
      'failed',
      'outrun',
    ]) {
      assert.ok(outcomes.includes(`"${outcome}"`), outcome)
    }
    const codes = new Set(vectors.invalid.map(({ code }) => code))
    assert.deepEqual([...codes].sort(), [
      'BALLOT_INVALID',
      'CHAIN_BROKEN',
      'CHAIN_INVALID',
      'FREEZE_UNSORTED',
      'NOT_A_STEWARD',
      'VERDICT_MISMATCH',
      'VRF_INVALID',
    ])
  })
})
