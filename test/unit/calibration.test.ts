/** When a tolerance is said to tell honest replicas from cheats, and what refuses it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { separationOf } from '../../src/protocol/calibration.js'
import { editedUpdate, scaledUpdate, updateSize } from '../../src/training/altered-update.js'
import type { UpdateDistances } from '../../src/protocol/tensors.js'
import type { UpdateSource } from '../../src/training/update.js'
import { upperBound } from '../../scripts/tolerance-report.js'

const TAU = 1000n
/** In hundredths of the tolerance. */
const at = (...hundredths: readonly number[]): UpdateDistances[] =>
  hundredths.map((value) => ({ relative: BigInt(value) * 10_000n, outlier: 400_000n, opened: 0n }))
/** Found by a bucket that stands out. */
const edited = { relative: 20_000n, outlier: 3_000_000n, opened: 0n }

describe('a calibration', () => {
  it('finds that a tolerance fits, and which others would', () => {
    const cheats = { skips: at(4000, 2000), scales: at(300), edits: [edited] }
    const found = separationOf({ honest: at(1, 5, 2), cheats }, TAU)
    assert.deepEqual(found, {
      ok: true,
      honest: 400_000n,
      cheats: { skips: 20_000_000n, scales: 3_000_000n, edits: 3_000_000n },
      tauLeastPpm: 167n,
      tauMostPpm: 3000n,
    })
  })

  it('refuses a tolerance in which a twentieth of the steps hides', () => {
    const found = separationOf({ honest: [], cheats: { skips: at(200), input: at(9000) } }, 50_000n)
    assert.equal(found.ok, false)
    assert.equal(found.tauMostPpm, 20_000n)
  })

  it('refuses a tolerance that honest replicas come near to', () => {
    const found = separationOf({ honest: at(31), cheats: { skips: at(4000) } }, TAU)
    assert.equal(found.ok, false)
    assert.equal(found.tauLeastPpm, 1034n)
    assert.equal(found.tauMostPpm, 8000n)
  })

  it('refuses where single numbers of honest replicas stand out', () => {
    const honest = [{ relative: 0n, outlier: 1_000_001n, opened: 0n }]
    assert.equal(separationOf({ honest, cheats: { skips: at(4000) } }, TAU).ok, false)
  })

  it('refuses a tolerance in which any other cheat hides', () => {
    const cheats = { skips: at(4000), edits: at(90) }
    assert.equal(separationOf({ honest: at(1), cheats }, TAU).ok, false)
  })
})

describe('an altered update', () => {
  const source: UpdateSource = {
    rest: [],
    step: 0.5,
    async *values() {
      yield Float64Array.of(1, -3)
      yield Float64Array.of(2, 0.25)
    },
  }
  const read = async (update: UpdateSource): Promise<number[]> => {
    const all: number[] = []
    for await (const values of update.values()) all.push(...values)
    return all
  }

  it('is scaled with its steps', async () => {
    const scaled = scaledUpdate(source, 2)
    assert.deepEqual(await read(scaled), [2, -6, 4, 0.5])
    assert.equal(scaled.step, 1)
  })

  it('has one number moved, and leaves its source as it was', async () => {
    assert.deepEqual(await read(editedUpdate(source, { element: 2, by: 1 })), [1, -3, 3, 0.25])
    assert.deepEqual(await read(source), [1, -3, 2, 0.25])
    assert.deepEqual(await updateSize(source), { elements: 4, largest: 3 })
  })
})

it('bounds a share that was never seen by three in so many', () => {
  assert.equal(upperBound(0, 600), 0.005)
  assert.equal(upperBound(0, 100), 0.03)
  // Of a table of Clopper and Pearson's bounds: 1 of 20, one-sided 95 %.
  assert.equal(upperBound(1, 20), 0.22)
  assert.equal(upperBound(0, 0), 1)
})
