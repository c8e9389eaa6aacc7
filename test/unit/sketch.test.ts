import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { isIncluded, leafHash, MerkleTree } from '../../src/protocol/merkle.js'
import {
  bigintBytes,
  bytesBigint,
  openedChunks,
  RangeScan,
  SKETCH,
  sketchSeedOf,
  updateRootOf,
} from '../../src/protocol/sketch.js'
import { evidenceOf, isHonest, sketchMessage } from '../../src/protocol/sketch-message.js'
import { commitmentOf } from '../../src/protocol/task.js'
import { TENSOR_PROFILES, updateDistance } from '../../src/protocol/tensors.js'
import { createSigner, seal } from '../../src/wire/envelope.js'
import { sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { TaskId } from '../../src/wire/ids.js'
import { ELEMENTS, claimed, evidence, noisy, normal, sketched } from './updates.js'

const SEED = sha256(utf8('sketch test'))
const TAU = TENSOR_PROFILES.fp32.tauPpm
const MATCH = 1_000_000n
const base = normal('base')

/** In parts per million of the tolerance; undefined where the two cannot be compared. */
function distance(
  other: Float64Array,
  tauPpm: bigint = TAU,
  mine: Float64Array = base,
): bigint | undefined {
  return updateDistance(evidence(mine, SEED), evidence(other, SEED), tauPpm)
}

function apart(other: Float64Array): number {
  return Number(distance(other) ?? 0n) / 1e6
}

describe('a Merkle tree of chunks', () => {
  it('proves every leaf of every size, and nothing else', () => {
    for (let count = 1; count <= 33; count++) {
      const leaves = Array.from({ length: count }, (_, i) => leafHash(Uint8Array.of(i)))
      const tree = new MerkleTree(new Uint8Array(Buffer.concat(leaves)))
      leaves.forEach((leaf, index) => {
        const path = tree.path(index)
        const at = (place: number): boolean =>
          isIncluded(leaf, { index: place, count }, path, tree.root)
        assert.ok(at(index), `${index} of ${count}`)
        assert.ok(!at((index + 1) % count) || count === 1)
        const other = leafHash(Uint8Array.of(255))
        assert.ok(!isIncluded(other, { index, count }, path, tree.root))
        const long = new Uint8Array([...path, ...leaf])
        assert.ok(!isIncluded(leaf, { index, count }, long, tree.root))
        assert.ok(count === 1 || !isIncluded(leaf, { index, count }, path.subarray(1), tree.root))
      })
    }
  })
})

describe('a claim about an update', () => {
  it('binds every number, the files beside it and what it was quantised to', () => {
    const roots = [
      claimed(base),
      claimed(base.map((value, i) => (i === ELEMENTS - 1 ? value + 1e-6 : value))),
      claimed(base.subarray(1)),
      claimed(base, { rest: 'other' }),
      claimed(base, { step: 0.5 }),
    ].map((claim) => toHex(updateRootOf(claim)))
    assert.equal(new Set(roots).size, roots.length)
  })

  it('is bound by the commitment to the result', () => {
    const result = {
      taskId: '55'.repeat(32) as TaskId,
      attempt: 1,
      peer: createSigner(SEED).peerId,
      outputRoot: SEED,
      metrics: SEED,
      salt: SEED,
    }
    const update = updateRootOf(claimed(base))
    const other = updateRootOf(claimed(normal('other')))
    const commitments = [
      commitmentOf(result),
      commitmentOf({ ...result, updateRoot: update }),
      commitmentOf({ ...result, updateRoot: other }),
    ].map(toHex)
    assert.equal(new Set(commitments).size, 3)
    assert.equal(toHex(commitmentOf({ ...result, updateRoot: new Uint8Array(0) })), commitments[0])
  })

  it('is the same however the numbers are cut into pieces', () => {
    const range = new RangeScan()
    for (let i = 0; i < ELEMENTS; i += 7) range.add(base.subarray(i, i + 7))
    assert.equal(range.exponent, claimed(base).exponent)
    assert.equal(range.elements, ELEMENTS)
  })

  it('knows the least power of two, also of powers and of nothing', () => {
    for (const [value, exponent] of [
      [1, 0],
      [-1.0000001, 1],
      [0.5, -1],
      [2 ** 100, 100],
      [Number.MAX_VALUE, 1024],
      [0, SKETCH.exponentMin],
      [Number.MIN_VALUE, SKETCH.exponentMin],
    ] as const) {
      const range = new RangeScan()
      range.add(Float64Array.of(value))
      assert.equal(range.exponent, exponent, String(value))
    }
  })

  it('UPDATE_NOT_FINITE: is not made of what is no number', () => {
    for (const value of [NaN, Infinity, -Infinity]) {
      const range = new RangeScan()
      assert.throws(() => range.add(Float64Array.of(1, value, 2)), { code: 'UPDATE_NOT_FINITE' })
    }
  })

  it('sums its squares without loss', () => {
    const { normSquared, exponent } = claimed(base)
    const whole = (value: number): bigint => BigInt(Math.round(value * 2 ** (30 - exponent)))
    const expected = [...base].reduce((sum, value) => sum + whole(value) ** 2n, 0n)
    assert.equal(normSquared, expected)
  })

  it('writes large numbers without leading zeros', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1n << 120n }), (value) => {
        const bytes = bigintBytes(value)
        assert.equal(bytesBigint(bytes), value)
        assert.notEqual(bytes[0], 0)
      }),
    )
  })
})

describe('the chunks that a seed opens', () => {
  it('are eight different ones, ascending, or all of them', () => {
    for (let i = 0; i < 50; i++) {
      const chunks = openedChunks(sha256(utf8(`${i}`)), 64 * 20)
      assert.equal(new Set(chunks).size, 8)
      assert.deepEqual(
        chunks,
        chunks.toSorted((a, b) => a - b),
      )
      assert.ok(chunks.every((chunk) => chunk < 20))
    }
    assert.deepEqual(openedChunks(SEED, 65), [0, 1])
    assert.deepEqual(openedChunks(SEED, 0), [])
  })
})

describe('the distance of two updates', () => {
  it('is nothing for the same, and symmetric', () => {
    assert.equal(distance(base), 0n)
    const other = noisy(base, 3e-4, 'noise')
    assert.equal(distance(other), distance(base, TAU, other))
  })

  it('estimates the relative distance within a tenth', () => {
    for (const size of [5e-4, 1e-3, 1e-2, 0.1]) {
      const found = apart(noisy(base, size, `noise ${size}`)) / 1000
      assert.ok(Math.abs(found / size - 1) < 0.1, `${size}: ${found}`)
    }
  })

  it('matches honest noise of a tenth of the tolerance, a thousand times', () => {
    // Each draw under a seed of its own: what one hash hides another shows.
    for (let i = 0; i < 1000; i++) {
      const seed = sha256(utf8(`draw ${i}`))
      const left = evidence(base.subarray(0, 1500), seed)
      const other = noisy(base.subarray(0, 1500), 1e-4, `honest ${i}`)
      const found = updateDistance(left, evidence(other, seed), TAU) ?? MATCH * 9n
      assert.ok(found <= MATCH, `draw ${i}: ${found}`)
    }
  })

  it('is beyond the tolerance for every named cheat', () => {
    const kept = noisy(base, 1e-4, 'honest')
    const cheats = {
      'skips a twentieth of its steps': kept.map((value) => 0.95 * value),
      'scales by 1.01': kept.map((value) => 1.01 * value),
      'other data': normal('other'),
      'returns its input': new Float64Array(ELEMENTS),
      'edits one weight': kept.map((value, i) => (i === 4711 ? value + 10 : value)),
      'leaves half out': kept.map((value, i) => (i % 2 === 0 ? value : 0)),
      'turns the sign': kept.map((value) => -value),
    }
    for (const [name, values] of Object.entries(cheats)) {
      assert.ok(apart(values) > 1, `${name}: ${apart(values)}`)
    }
  })

  it('finds a single edited weight by its bucket, where the whole is within the tolerance', () => {
    const wide = 50_000n
    const kept = noisy(base, 1e-4, 'honest')
    const edited = kept.map((value, i) => (i === 4711 ? value + 3 : value))
    assert.ok((distance(kept, wide) ?? MATCH * 9n) <= MATCH)
    assert.ok((distance(edited, wide) ?? 0n) > MATCH)
  })

  it('forgives whole quantisation steps, by the smaller of both claims', () => {
    const step = 0.5
    const flipped = base.map((value, i) => (i % 1000 === 0 ? value + step : value))
    const wide = 50_000n
    const of = (mine: number, theirs: number): bigint =>
      updateDistance(
        evidence(base, SEED, { step: mine }),
        evidence(flipped, SEED, { step: theirs }),
        wide,
      ) ?? 0n
    assert.ok(of(step, step) <= MATCH)
    assert.ok(of(0, step) > MATCH)
    assert.ok(of(step, 0) > MATCH)
  })

  it('is undefined where names, lengths or other files differ', () => {
    const left = evidence(base, SEED)
    assert.equal(updateDistance(left, evidence(base, SEED, { rest: 'x' }), TAU), undefined)
    assert.equal(updateDistance(left, evidence(base.subarray(1), SEED), TAU), undefined)
  })

  it('compares sizes that are worlds apart, and nothing with nothing', () => {
    const zero = new Float64Array(ELEMENTS)
    assert.equal(distance(zero, TAU, zero), 0n)
    for (const other of [
      zero,
      base.map((value) => value * 1e30),
      base.map((value) => value * 1e-30),
    ]) {
      assert.ok((distance(other) ?? 0n) >= 999n * MATCH)
      assert.ok((distance(base, TAU, other) ?? 0n) >= 999n * MATCH)
    }
    const none = new Float64Array(0)
    assert.equal(distance(none, TAU, none), 0n)
  })

  it('goes by the chunks too: a sketch that was repeated from somebody else is not enough', () => {
    const left = evidence(base, SEED)
    const echo = { ...evidence(normal('garbage'), SEED), buckets: left.buckets, shift: left.shift }
    const { exponent, normSquared } = left
    const found = updateDistance(left, { ...echo, exponent, normSquared }, TAU)
    assert.ok((found ?? 0n) > 3n * MATCH, String(found))
  })
})

describe('a sketch on the wire', () => {
  const signer = createSigner(sha256(utf8('sketch')))
  const own = sketched(base, SEED)
  const root = updateRootOf(own.claim)
  const ID = '22'.repeat(32)
  const told = { taskId: ID as TaskId, frozen: ID, salt: new Uint8Array(32) }
  const message = sketchMessage(own, told)
  const open = (changes: Partial<typeof message>): unknown =>
    evidenceOf(seal('sketch', 'sketch', { ...message, ...changes }, signer), root, SEED)

  it('is at most 20 KiB', () => {
    assert.ok(seal('sketch', 'sketch', message, signer).bytes.length < 20 * 1024)
  })

  it('SKETCH_MISMATCH: must be of the update that was committed to', () => {
    assert.doesNotThrow(() => open({}))
    const { openings } = message
    const [first, second] = openings
    assert.ok(first !== undefined && second !== undefined)
    const values = first.values.map((byte, i) => (i === 0 ? byte ^ 1 : byte))
    for (const changes of [
      { elements: ELEMENTS - 1 },
      { exponent: message.exponent + 1 },
      { step: 1 },
      { normSquared: Uint8Array.of(1) },
      { rest: new Uint8Array(32) },
      { root: new Uint8Array(32) },
      { openings: openings.slice(1) },
      { openings: [second, first, ...openings.slice(2)] },
      { openings: [{ ...first, values }, ...openings.slice(1)] },
    ]) {
      assert.throws(() => open(changes), { code: 'SKETCH_MISMATCH' }, Object.keys(changes).join())
    }
    const opened = seal('sketch', 'sketch', message, signer)
    assert.throws(() => evidenceOf(opened, root, sha256(SEED)), { code: 'SKETCH_MISMATCH' })
    assert.throws(() => evidenceOf(opened, sha256(root), SEED), { code: 'SKETCH_MISMATCH' })
  })

  it("is found out by whoever holds the update, when it is another one's", () => {
    assert.ok(isHonest(message, own))
    assert.ok(!isHonest(message, sketched(noisy(base, 1e-6, 'x'), SEED)))
    const bent = message.buckets.map((byte, i) => (i === 100 ? byte ^ 1 : byte))
    assert.ok(!isHonest({ ...message, buckets: bent }, own))
    assert.ok(!isHonest({ ...message, shift: message.shift + 1 }, own))
  })

  it('depends on the seed in every row', () => {
    const other = sketched(base, sha256(SEED)).sketch.buckets
    for (let row = 0; row < SKETCH.rows; row++) {
      const part = (buckets: Int16Array): Int16Array =>
        buckets.subarray(row * SKETCH.buckets, (row + 1) * SKETCH.buckets)
      assert.notDeepEqual(part(other), part(own.sketch.buckets))
    }
    assert.notDeepEqual(sketchSeedOf(SEED), SEED)
  })
})
