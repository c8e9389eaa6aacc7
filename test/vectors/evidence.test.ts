import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { openEvidence } from '../../src/protocol/evidence.js'
import { evidenceRoot, faultRoot, receiptRoot } from '../../src/protocol/evidence-root.js'
import { openAs } from '../../src/wire/envelope.js'
import { Evidence } from '../../src/wire/generated/evidence.js'
import { digestOf, fromHex, toHex, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'
import { codeOf } from './chain.js'

interface Vectors {
  readonly network: string
  readonly roots: ReadonlyArray<{
    readonly receipts: readonly string[]
    readonly accused: readonly PeerId[]
    readonly receiptRoot: string
    readonly faultRoot: string
    readonly evidenceRoot: string
  }>
  readonly receipts: readonly string[]
  readonly accused: readonly PeerId[]
  readonly file: string
  readonly quotes: ReadonlyArray<{ name: string; freezeBids: string; result: unknown }>
  readonly invalid: ReadonlyArray<{ name: string; file: string; code: string }>
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('evidence.json', import.meta.url), 'utf8'))
const { network } = vectors

describe('vectors of evidence', () => {
  for (const each of vectors.roots) {
    it(`name ${each.receipts.length} receipts and ${each.accused.length} faulty peers`, () => {
      const { receipts, accused } = each
      assert.equal(toHex(receiptRoot(receipts)), each.receiptRoot)
      assert.equal(toHex(faultRoot(accused)), each.faultRoot)
      assert.equal(toHex(evidenceRoot(receipts, accused)), each.evidenceRoot)
      const plain = digestOf(utf8('ctd-receipts-v1\0'), utf8([...receipts].sort().join('')))
      assert.equal(plain, each.receiptRoot)
      const faults = digestOf(utf8('ctd-faults-v1\0'), utf8([...accused].sort().join('')))
      assert.equal(faults, each.faultRoot)
      const both = accused.length === 0 ? plain : digestOf(fromHex(plain), fromHex(faults))
      assert.equal(both, each.evidenceRoot)
    })
  }

  it('verify the file, and hold its sets to their roots', () => {
    const evidence = openEvidence(fromHex(vectors.file))
    assert.equal(evidence.receipts, vectors.receipts.length)
    const { sets } = Evidence.decode(fromHex(vectors.file))
    assert.deepEqual(
      sets.map(({ root }) => toHex(root)),
      sets.map(({ receipts, faults }) =>
        toHex(evidenceRoot(vectors.receipts.slice(0, receipts), vectors.accused.slice(0, faults))),
      ),
    )
  })

  for (const each of vectors.quotes) {
    it(`check standings that are quoted with ${each.name}`, () => {
      const frozen = openAs(network, fromHex(each.freezeBids), 'freezeBids')
      assert.deepEqual(openEvidence(fromHex(vectors.file)).check(frozen, 'cpu'), each.result)
    })
  }

  for (const each of vectors.invalid) {
    it(`refuse a file with ${each.name} with ${each.code}`, () => {
      assert.notEqual(each.code, 'OK')
      assert.equal(
        codeOf(() => openEvidence(fromHex(each.file))),
        each.code,
      )
    })
  }
})
