import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BLOB_LIMITS } from '../../src/blob/limits.js'
import { PieceSchedule } from '../../src/blob/piece-schedule.js'
import { PieceSet } from '../../src/blob/piece-set.js'

const SEED = 20261122

function setOf(pieceCount: number, pieces: readonly number[]): PieceSet {
  const set = PieceSet.empty(pieceCount)
  for (const piece of pieces) set.add(piece)
  return set
}

function scheduleOf(pieceCount: number, seed = SEED): PieceSchedule<string> {
  return new PieceSchedule(
    Array.from({ length: pieceCount }, (_, i) => i),
    { pieceCount, seed },
  )
}

/** All that a source may take now. */
function takeAll(schedule: PieceSchedule<string>, source: string): number[] {
  const taken: number[] = []
  for (let index = schedule.take(source); index !== undefined; index = schedule.take(source)) {
    taken.push(index)
  }
  return taken
}

test('the rarest pieces are taken first', () => {
  const schedule = scheduleOf(4)
  schedule.join('seed', PieceSet.full(4))
  schedule.join('one', setOf(4, [0, 1, 2]))
  schedule.join('two', setOf(4, [0, 1]))
  schedule.join('three', setOf(4, [0]))
  assert.deepEqual(takeAll(schedule, 'seed'), [3, 2, 1, 0])
})

test('what a source gains and what a leaving one had change what is rare', () => {
  const schedule = scheduleOf(3)
  schedule.join('seed', PieceSet.full(3))
  schedule.join('left', setOf(3, [0, 1]))
  schedule.join('right', setOf(3, [0]))
  schedule.leave('left')
  assert.ok(schedule.gained('right', 2))
  assert.equal(schedule.take('seed'), 1, 'only the seed has it')
  assert.ok(!schedule.gained('right', 2), 'a piece is gained once')
  assert.ok(!schedule.gained('right', 3), 'there is no such piece')
  assert.ok(schedule.gained('right', 1), 'now it is complete like the seed')
  assert.deepEqual(takeAll(schedule, 'right').sort(), [0, 2])
})

test('equally rare pieces come in an order that follows from the seed', () => {
  const orderOf = (seed: number): number[] => {
    const schedule = scheduleOf(100, seed)
    schedule.join('seed', PieceSet.full(100))
    return takeAll(schedule, 'seed')
  }
  assert.deepEqual(orderOf(1), orderOf(1))
  assert.notDeepEqual(orderOf(1), orderOf(2))
  assert.deepEqual(
    orderOf(3).sort((a, b) => a - b),
    Array.from({ length: 100 }, (_, i) => i),
  )
})

test('a source is asked only for what it has, however many pieces it lacks', () => {
  const pieceCount = 3 * BLOB_LIMITS.piecesCompared
  const schedule = scheduleOf(pieceCount)
  schedule.join('poor', setOf(pieceCount, [17]))
  assert.deepEqual(takeAll(schedule, 'poor'), [17])
  assert.equal(schedule.take('stranger'), undefined)
})

test('a failed source gives back what it owed, and all ends when all is done', () => {
  const schedule = scheduleOf(3)
  for (const source of ['a', 'b', 'c', 'd']) schedule.join(source, PieceSet.full(3))
  const [first, second] = [schedule.take('a'), schedule.take('a')]
  assert.ok(first !== undefined && second !== undefined)
  assert.equal(schedule.second('b'), undefined, 'not while something is left to take')
  const third = schedule.take('b')
  assert.ok(third !== undefined)
  assert.equal(schedule.take('b'), undefined)
  assert.equal(schedule.second('b'), first)
  assert.equal(schedule.second('c'), second)
  assert.equal(schedule.second('c'), third)
  assert.equal(schedule.second('d'), undefined, 'two askers a piece are enough')
  schedule.leave('a')
  assert.equal(schedule.take('d'), undefined, 'others still wait for what a owed')
  schedule.leave('b')
  assert.equal(schedule.take('d'), first)
  assert.ok(schedule.done(first))
  assert.ok(!schedule.done(first), 'a piece is done once')
  assert.ok(schedule.done(second))
  assert.ok(!schedule.finished)
  assert.ok(schedule.done(third))
  assert.ok(schedule.finished)
})

test('a piece is asked of a second source only when it has been owed for long', () => {
  const schedule = new PieceSchedule<string>([0, 1], { pieceCount: 2, seed: SEED })
  for (const source of ['a', 'b']) schedule.join(source, PieceSet.full(2))
  const first = schedule.take('a', 1000)
  const second = schedule.take('a', 1500)
  assert.equal(schedule.second('b', 999), undefined)
  assert.equal(schedule.second('b', 1499), first)
  assert.equal(schedule.second('b', 1499), undefined)
  assert.equal(schedule.second('b', 1500), second)
})

test(`every piece is done once, whoever comes, goes and gains (seed ${SEED})`, () => {
  const action = fc.record({
    source: fc.constantFrom('a', 'b', 'c'),
    kind: fc.constantFrom('take', 'second', 'deliver', 'leave', 'gain'),
    index: fc.nat(20),
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.array(action), (pieceCount, actions) => {
      const schedule = scheduleOf(pieceCount)
      const owed = new Map<string, Set<number>>()
      const done = new Set<number>()
      const join = (source: string, pieces: PieceSet): void => {
        owed.set(source, new Set())
        schedule.join(source, pieces)
      }
      const deliver = (source: string, index: number): void => {
        owed.get(source)?.delete(index)
        assert.equal(schedule.done(index), !done.has(index))
        done.add(index)
      }
      const ask = (source: string, index: number | undefined): void => {
        if (index === undefined) return
        assert.ok(!done.has(index), 'what is done is asked of nobody')
        owed.get(source)?.add(index)
      }
      for (const source of ['a', 'b', 'c']) join(source, setOf(pieceCount, [0]))
      for (const { source, kind, index } of actions) {
        if (kind === 'take') ask(source, schedule.take(source))
        if (kind === 'second') ask(source, schedule.second(source))
        if (kind === 'gain') schedule.gained(source, index)
        if (kind === 'deliver') for (const each of owed.get(source) ?? []) deliver(source, each)
        if (kind === 'leave') {
          schedule.leave(source)
          join(source, setOf(pieceCount, [index % pieceCount]))
        }
      }
      for (const source of ['a', 'b', 'c']) schedule.leave(source)
      join('seed', PieceSet.full(pieceCount))
      for (const index of takeAll(schedule, 'seed')) deliver('seed', index)
      assert.ok(schedule.finished)
      assert.equal(done.size, pieceCount)
    }),
    { seed: SEED, numRuns: 500 },
  )
})

test(`a set of pieces is its bitmap, and no other bitmap is accepted (seed ${SEED})`, () => {
  assert.deepEqual([...setOf(10, [0, 9]).toBitmap()], [0x80, 0x40])
  assert.deepEqual([...PieceSet.full(10).toBitmap()], [0xff, 0xc0])
  assert.deepEqual([...PieceSet.full(8).toBitmap()], [0xff])
  assert.ok(PieceSet.full(0).isFull)
  assert.equal(PieceSet.fromBitmap(Uint8Array.of(0xff, 0xe0), 10), undefined, 'a spare bit is set')
  assert.equal(PieceSet.fromBitmap(Uint8Array.of(0xff), 10), undefined)
  fc.assert(
    fc.property(fc.nat(70), fc.array(fc.nat(69)), (pieceCount, pieces) => {
      const set = setOf(
        pieceCount,
        pieces.filter((piece) => piece < pieceCount),
      )
      const again = PieceSet.fromBitmap(set.toBitmap(), pieceCount)
      assert.equal(again?.size, set.size)
      assert.deepEqual(again?.toBitmap(), set.toBitmap())
      assert.equal(set.isFull, set.size === pieceCount)
    }),
    { seed: SEED },
  )
})
