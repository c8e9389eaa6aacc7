/** Some hundred schedules of everything at once; `npm run simulate` runs as many as one likes. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { calmSchedule, EXPECTED, mixedSchedule, runSchedule, shrink } from './simulator.js'

const FIXED = 260
const FRESH = 20

async function playMixed(name: string, count: number): Promise<Map<string, number>> {
  const coverage = new Map<string, number>()
  for (let index = 0; index < count; index++) {
    const seed = `${name}/${index}`
    const outcome = await runSchedule(mixedSchedule(seed))
    assert.deepEqual(outcome.violations, [], `npm run simulate -- --only ${seed}`)
    for (const [what, times] of outcome.coverage) {
      coverage.set(what, (coverage.get(what) ?? 0) + times)
    }
  }
  return coverage
}

describe('schedules of mixed faults and adversaries', () => {
  it('break no invariant, and meet every fault and every adversary', async () => {
    const coverage = await playMixed('fixed', FIXED)
    assert.deepEqual(
      EXPECTED.filter((what) => !coverage.has(what)),
      [],
    )
  })

  it('break no invariant under a fresh seed', async (t) => {
    const name = randomBytes(4).toString('hex')
    t.diagnostic(`seed ${name}`)
    await playMixed(name, FRESH)
  })

  it('have one trace for one seed, with simulated and with real signatures', async () => {
    for (const isReal of [false, true]) {
      const schedule = mixedSchedule('trace', isReal)
      const [first, second] = [await runSchedule(schedule), await runSchedule(schedule)]
      assert.equal(first.traceHash, second.traceHash)
      assert.deepEqual(first.violations, [])
      const other = await runSchedule(mixedSchedule('another trace', isReal))
      assert.notEqual(first.traceHash, other.traceHash)
    }
  })

  it('have seven to twelve peers, most of them honest', () => {
    const sizes = new Set<number>()
    for (let index = 0; index < 500; index++) {
      const { behaviours } = mixedSchedule(`size/${index}`)
      const honest = behaviours.filter((behaviour) => behaviour === 'honest').length
      assert.equal(behaviours[0], 'honest')
      assert.ok(honest > behaviours.length / 2)
      sizes.add(behaviours.length)
    }
    assert.deepEqual(
      [...sizes].sort((a, b) => a - b),
      [7, 8, 9, 10, 11, 12],
    )
  })
})

describe('a broken rule', () => {
  /** A requester that does not wait for its disk signs something else after a crash. */
  const broken = { defect: 'never-syncs' } as const

  it('breaks an invariant, and what is left of the schedule still breaks it', async () => {
    const seeds = Array.from({ length: 60 }, (_, index) => `broken/${index}`)
    for (const seed of seeds) {
      const schedule = mixedSchedule(seed)
      const [violation] = (await runSchedule(schedule, broken)).violations
      if (violation === undefined) continue
      assert.deepEqual((await runSchedule(schedule)).violations, [])
      const smallest = await shrink(schedule, broken)
      const [again] = (await runSchedule(smallest, broken)).violations
      assert.equal(again?.invariant, violation.invariant)
      assert.ok(smallest.faults.length <= schedule.faults.length)
      assert.ok(
        smallest.faults.every(({ kind }) => kind === 'crash'),
        JSON.stringify(smallest.faults),
      )
      assert.deepEqual(await shrink(smallest, broken), smallest)
      return
    }
    assert.fail(`no schedule of ${seeds.length} found the defect`)
  })

  it('is nothing that a schedule without faults shows, and that is not made smaller', async () => {
    const calm = calmSchedule('nothing broken')
    assert.equal(await shrink(calm, broken), calm)
  })
})
