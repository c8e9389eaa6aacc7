import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { commitmentOf, outcomeOf } from '../../src/protocol/task.js'
import { fromHex, parsePeerId, toHex } from '../../src/wire/ids.js'
import type { TaskId } from '../../src/wire/ids.js'

interface CommitmentVector {
  readonly name: string
  readonly taskId: string
  readonly attempt: number
  readonly peer: string
  readonly outputRoot: string
  readonly metrics: string
  readonly salt: string
  readonly commitment: string
}

interface Vectors {
  readonly valid: readonly (CommitmentVector & { readonly outcome: string })[]
  readonly invalid: readonly CommitmentVector[]
}

const vectors: Vectors = JSON.parse(
  readFileSync(new URL('commitment.json', import.meta.url), 'utf8'),
)

/** Stands here so that no rewrite of the file passes. */
const FIRST_COMMITMENT = '213856b2aaf6ea71179f4f537ca98fbe4bf5292d73b20d264532c54df6e3f287'

function commit({ taskId, attempt, peer, outputRoot, metrics, salt }: CommitmentVector): string {
  return toHex(
    commitmentOf({
      taskId: taskId as TaskId,
      attempt,
      peer: parsePeerId(peer),
      outputRoot: fromHex(outputRoot),
      metrics: fromHex(metrics),
      salt: fromHex(salt),
    }),
  )
}

describe('vectors of the commitment', () => {
  it('hide a result as ever', () => {
    assert.equal(vectors.valid[0]?.commitment, FIRST_COMMITMENT)
  })

  for (const each of vectors.valid) {
    it(`commits ${each.name}`, () => {
      assert.equal(commit(each), each.commitment)
      const { outputRoot, metrics } = each
      const reveal = { outputRoot: fromHex(outputRoot), metrics: fromHex(metrics) }
      assert.equal(outcomeOf(reveal), each.outcome)
    })
  }

  for (const each of vectors.invalid) {
    it(`does not match a reveal ${each.name}`, () => assert.notEqual(commit(each), each.commitment))
  }
})
