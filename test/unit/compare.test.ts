import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  groupResults,
  isNearMiss,
  resultDistance,
  type ComparePolicy,
  type ReplicaResult,
} from '../../src/protocol/compare.js'
import { digestOf, peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'

function peer(name: string): PeerId {
  return peerIdFromPublicKey(sha256(utf8(name)))
}

function result(name: string, root: string, loss?: bigint): ReplicaResult {
  const base = { peer: peer(name), root: digestOf(utf8(root)) }
  return loss === undefined ? base : { ...base, metricsMicro: { loss } }
}

const EXACT: ComparePolicy = { kind: 'exact' }
const WITHIN_TEN: ComparePolicy = { kind: 'metrics', atolMicro: 10n, rtolPpm: 0n }

describe('comparing results', () => {
  it('groups by equal root under the exact policy, whatever the numbers say', () => {
    const results = [result('a', 'x', 1n), result('b', 'x', 9n), result('c', 'y', 1n)]
    const groups = groupResults(results, EXACT)
    assert.deepEqual(
      groups.map(({ root, members }) => [root, members.length]),
      [
        [digestOf(utf8('x')), 2],
        [digestOf(utf8('y')), 1],
      ],
    )
    assert.deepEqual(groupResults(results.toReversed(), EXACT), groups)
  })

  it('matches numbers up to the tolerance and not one millionth beyond', () => {
    const at = (x: bigint, y: bigint, policy: ComparePolicy) =>
      groupResults([result('a', 'x', x), result('b', 'y', y)], policy).length === 1
    assert.equal(at(100n, 110n, WITHIN_TEN), true)
    assert.equal(at(100n, 111n, WITHIN_TEN), false)
    assert.equal(at(-5n, 5n, WITHIN_TEN), true)
    const onePercent: ComparePolicy = { kind: 'metrics', atolMicro: 0n, rtolPpm: 10_000n }
    assert.equal(at(99_000_000n, 100_000_000n, onePercent), true)
    assert.equal(at(98_999_999n, 100_000_000n, onePercent), false)
    const none: ComparePolicy = { kind: 'metrics', atolMicro: 0n, rtolPpm: 0n }
    assert.equal(at(7n, 7n, none), true)
    assert.equal(at(7n, 8n, none), false)
  })

  it('does not chain near results into one group', () => {
    const chain = [result('a', 'x', 0n), result('b', 'y', 9n), result('c', 'z', 18n)]
    const groups = groupResults(chain, WITHIN_TEN)
    assert.deepEqual(
      groups.map(({ members }) => members.length),
      [2, 1],
    )
  })

  it('keeps equal roots together and joins the nearest first', () => {
    const results = [
      result('a', 'x', 0n),
      result('b', 'x', 0n),
      result('c', 'y', 10n),
      result('d', 'z', 12n),
    ]
    const [first, second] = groupResults(results, WITHIN_TEN)
    assert.deepEqual(first?.members, [peer('a'), peer('b')].sort())
    assert.deepEqual(second?.members, [peer('c'), peer('d')].sort())
  })

  it('never matches results that name other numbers, or none', () => {
    const named = (name: string, metricsMicro: Record<string, bigint>) => ({
      ...result(name, name),
      metricsMicro,
    })
    const pairs: [ReplicaResult, ReplicaResult][] = [
      [named('a', { loss: 1n }), named('b', { accuracy: 1n })],
      [named('a', { loss: 1n }), named('b', { loss: 1n, accuracy: 1n })],
      [named('a', { toString: 1n }), named('b', { loss: 1n })],
      [result('a', 'x'), result('b', 'y')],
    ]
    for (const pair of pairs) assert.equal(groupResults(pair, WITHIN_TEN).length, 2)
  })

  it('calls a miss near below three tolerances', () => {
    const [base, near, far] = [result('a', 'x', 0n), result('b', 'y', 29n), result('c', 'z', 30n)]
    assert.equal(isNearMiss(base, near, WITHIN_TEN), true)
    assert.equal(isNearMiss(base, far, WITHIN_TEN), false)
    assert.equal(isNearMiss(base, near, EXACT), false)
    assert.equal(resultDistance(base, base, EXACT), 0n)
  })

  it('throws TOO_MANY_RESULTS beyond seven', () => {
    const results = Array.from({ length: 8 }, (_, i) => result(`p${i}`, 'x'))
    assert.throws(() => groupResults(results, EXACT), { code: 'TOO_MANY_RESULTS' })
  })
})
