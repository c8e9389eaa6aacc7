/** What `npm run mutate` does, as tests: every edit of `scripts/mutations.ts` is noticed. */
import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { runMutants } from '../../scripts/mutants.js'
import type { Mutant } from '../../scripts/mutants.js'
import { DEFENCES } from '../../scripts/mutations.js'

describe('the tests', () => {
  let mutants: readonly Mutant[] = []
  before(async () => {
    mutants = await runMutants(DEFENCES, new AbortController().signal)
  })

  for (const { id, attack, mutations } of DEFENCES) {
    it(`notice whatever is left out of the defence against ${attack}`, () => {
      const of = mutants.filter(({ defence }) => defence.id === id)
      assert.equal(of.length, mutations.length)
      const left = of.filter(({ fate }) => fate !== 'killed')
      assert.deepEqual(
        left.map(({ mutation, fate, reason }) => `${fate}: ${mutation.name}: ${reason}`),
        [],
      )
    })
  }
})
