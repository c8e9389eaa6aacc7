import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { didYouMean, editDistance } from '../../src/api/did-you-mean.js'

test('a swap of neighbours, an insertion, a deletion and a substitution cost one each', () => {
  assert.equal(editDistance('epcohs', 'epochs'), 1)
  assert.equal(editDistance('epoch', 'epochs'), 1)
  assert.equal(editDistance('eepochs', 'epochs'), 1)
  assert.equal(editDistance('epachs', 'epochs'), 1)
  assert.equal(editDistance('', 'abc'), 3)
})

test('the distance is symmetric, zero only for equal words, at most the longer length', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      const distance = editDistance(a, b)
      assert.equal(distance, editDistance(b, a))
      assert.equal(distance === 0, a === b)
      assert.ok(distance <= Math.max(a.length, b.length))
    }),
    { seed: 20261122, verbose: 1 },
  )
})

test('a near word is suggested, a far one is not', () => {
  const known = ['model', 'dataset', 'epochs', 'memoryMiB', 'learningRate']
  assert.equal(didYouMean('datset', known), 'dataset')
  assert.equal(didYouMean('learning_rate', known), 'learningRate')
  assert.equal(didYouMean('memory', known), 'memoryMiB')
  assert.equal(didYouMean('colour', known), undefined)
  assert.equal(didYouMean('', known), undefined)
  assert.equal(didYouMean('x'.repeat(100_000), known), undefined)
})
