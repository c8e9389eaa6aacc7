import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { openFault, sealFault } from '../../src/protocol/fault.js'
import { slotKeyOf } from '../../src/protocol/slot-key.js'
import { open } from '../../src/wire/envelope.js'
import { fromHex } from '../../src/wire/ids.js'
import { kindOf } from '../../src/wire/messages.js'
import { codeOf } from './chain.js'

interface FaultVector {
  readonly name: string
  readonly first: string
  readonly second: string
}
interface Vectors {
  readonly network: string
  readonly slotKeys: ReadonlyArray<{ name: string; envelope: string; slotKey: string | null }>
  readonly valid: ReadonlyArray<FaultVector & { kind: string; accused: readonly string[] }>
  readonly invalid: ReadonlyArray<FaultVector & { code: string }>
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('fault.json', import.meta.url), 'utf8'))
const { network } = vectors
const faultOf = ({ first, second }: FaultVector) => ({
  first: fromHex(first),
  second: fromHex(second),
})

describe('vectors of slot keys', () => {
  it('have every kind of message', () => {
    const kinds = new Set(
      vectors.slotKeys.map(({ envelope }) => open(network, fromHex(envelope)).kind),
    )
    for (let id = 1; kindOf(id) !== undefined; id++) assert.ok(kinds.has(kindOf(id) ?? 'bid'))
    assert.ok(kinds.size >= 21)
  })

  for (const { name, envelope, slotKey } of vectors.slotKeys) {
    it(`${slotKey === null ? 'let an author repeat' : 'allow an author one'} ${name}`, () => {
      assert.equal(slotKeyOf(open(network, fromHex(envelope))) ?? null, slotKey)
    })
  }
})

describe('vectors of faults', () => {
  for (const each of vectors.valid) {
    it(`accuse by ${each.name}`, () => {
      const proven = openFault(network, faultOf(each))
      assert.equal(proven.kind, each.kind)
      assert.deepEqual(proven.accused, each.accused)
      assert.deepEqual(sealFault(proven.second, proven.first), faultOf(each))
    })

    it(`accuse nobody in another network by ${each.name}`, () => {
      assert.equal(
        codeOf(() => openFault('another network', faultOf(each))),
        'SIGNATURE_INVALID',
      )
    })
  }

  for (const each of vectors.invalid) {
    it(`refuse ${each.name} with ${each.code}`, () => {
      assert.notEqual(each.code, 'OK')
      assert.equal(
        codeOf(() => openFault(network, faultOf(each))),
        each.code,
      )
    })
  }
})
