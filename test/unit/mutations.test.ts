import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { chosenDefences, countOccurrences, runMutants, wantedOf } from '../../scripts/mutants.js'
import { DEFENCES } from '../../scripts/mutations.js'
import type { Defence } from '../../scripts/mutations.js'

const ALL = DEFENCES.flatMap(({ mutations }) => mutations)
const never = new AbortController().signal

/** A defence of one edit, to see how it is judged. */
function defenceOf(changes: Partial<Defence['mutations'][number]>): Defence {
  const mutation = {
    name: 'a near miss is none',
    file: 'protocol/compare.ts',
    find: 'NEAR_MISS_FACTOR = 3n',
    replace: 'NEAR_MISS_FACTOR = 1n',
    tests: ['unit/compare: calls a miss near below three tolerances'],
    ...changes,
  }
  return { id: 1, attack: 'an attack', name: 'a defence', mutations: [mutation] }
}

async function fateOf(changes: Partial<Defence['mutations'][number]>): Promise<unknown> {
  const [mutant] = await runMutants([defenceOf(changes)], never)
  assert.equal(mutant?.killedBy.length, mutant?.fate === 'killed' ? 1 : 0)
  return mutant?.fate
}

describe('the table of mutations', () => {
  it('holds the twelve defences, each with an edit at least', () => {
    assert.deepEqual(
      DEFENCES.map(({ id }) => id),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    )
    for (const { mutations, attack } of DEFENCES) assert.ok(mutations.length > 0, attack)
    assert.equal(new Set(ALL.map(({ name }) => name)).size, ALL.length)
  })

  it('replaces what stands in its file exactly once, by something else', async () => {
    for (const mutation of ALL) {
      assert.equal(await countOccurrences(mutation), 1, mutation.name)
      assert.notEqual(mutation.find, mutation.replace, mutation.name)
    }
  })

  it('counts on tests of behaviour, never on vectors', () => {
    for (const { tests, name } of ALL) {
      assert.ok(tests.length > 0, name)
      for (const { file } of wantedOf(tests)) assert.match(file, /^(unit|property|simulation)\//)
    }
    assert.throws(() => wantedOf(['no title']), { code: 'BAD_MUTATION' })
  })

  it('is chosen from by number: UNKNOWN_DEFENCE', () => {
    assert.deepEqual(
      chosenDefences('12,3').map(({ id }) => id),
      [3, 12],
    )
    assert.equal(chosenDefences(undefined).length, DEFENCES.length)
    assert.throws(() => chosenDefences('13'), { code: 'UNKNOWN_DEFENCE' })
  })
})

describe('an edit', () => {
  it('is killed by a test that fails', async () => {
    assert.equal(await fateOf({}), 'killed')
  })

  it('survives where nothing depends on it', async () => {
    assert.equal(await fateOf({ replace: 'NEAR_MISS_FACTOR = 1n + 2n' }), 'survived')
  })

  it('is stale where its text, or a test, is no longer there', async () => {
    assert.equal(await fateOf({ find: 'NEAR_MISS_FACTOR = 4n' }), 'stale')
    assert.equal(await fateOf({ find: 'NEAR_MISS_FACTOR' }), 'stale')
    assert.equal(await fateOf({ tests: ['unit/compare: is not there'] }), 'stale')
  })

  it('is broken, not killed, where the code no longer runs', async () => {
    assert.equal(await fateOf({ replace: 'NEAR_MISS_FACTOR = (' }), 'broken')
    assert.equal(await fateOf({ replace: 'NEAR_MISS_FACTOR = nothing' }), 'broken')
  })
})
