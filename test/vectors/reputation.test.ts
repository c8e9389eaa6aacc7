import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { foldReputation } from '../../src/protocol/reputation-fold.js'
import { NEWCOMER, scoreOf } from '../../src/protocol/reputation.js'
import type { ReputationReceipt } from '../../src/protocol/reputation.js'

interface Fold {
  readonly name: string
  readonly nowMs: number
  readonly receipts: readonly ReputationReceipt[]
}

interface Vectors {
  readonly valid: readonly (Fold & { readonly scores: unknown })[]
  readonly invalid: readonly Fold[]
}

const vectors: Vectors = JSON.parse(
  readFileSync(new URL('reputation.json', import.meta.url), 'utf8'),
)

describe('vectors of reputation', () => {
  for (const { name, nowMs, receipts, scores } of vectors.valid) {
    it(`scores as every other machine does: ${name}`, () => {
      const folded = Object.fromEntries(foldReputation(receipts.toReversed(), nowMs))
      // Through JSON, where an absent end of an exclusion is left out.
      assert.deepEqual(JSON.parse(JSON.stringify(folded)), scores)
    })
  }

  for (const { name, nowMs, receipts } of vectors.invalid) {
    it(`gives no weight to a receipt: ${name}`, () => {
      const scores = foldReputation(receipts, nowMs)
      const peers = receipts.flatMap(({ executors }) => executors.map(({ peer }) => peer))
      assert.ok(peers.length > 0)
      for (const peer of peers) assert.deepEqual(scoreOf(scores, peer), NEWCOMER)
    })
  }
})
