import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { judge, type Verdict, type VerdictInput } from '../../src/protocol/verdict.js'

interface Vectors {
  readonly valid: readonly { name: string; input: VerdictInput; verdict: Verdict }[]
  readonly invalid: readonly { name: string; input: VerdictInput; code: string }[]
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('verdict.json', import.meta.url), 'utf8'))

describe('vectors of the verdict', () => {
  for (const { name, input, verdict } of vectors.valid) {
    it(`judges as every other machine does: ${name}`, () => {
      assert.deepEqual(judge(input), verdict)
    })
  }

  for (const { name, input, code } of vectors.invalid) {
    it(`throws ${code}: ${name}`, () => {
      assert.throws(() => judge(input), { code })
    })
  }

  it('hold verdicts of every kind', () => {
    const kinds = new Set(vectors.valid.map(({ verdict }) => verdict.kind))
    assert.deepEqual([...kinds].sort(), ['accept', 'escalate', 'reject'])
  })
})
