/** Some hundred schedules of everything at once; `npm run simulate` runs as many as one likes. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { mixedSchedule, runSchedule } from './simulator.js'

const FIXED = 110
const FRESH = 20
/** What must have happened at least once in the fixed schedules, so that they are worth their time. */
const COVERED = [
  'branch:called-again',
  'branch:escalated',
  'branch:hidden-replica',
  'executor:lost',
  'fault:crash-requester',
  'fault:full-disk',
  'fault:gossip-duplicated',
  'fault:gossip-lost',
  'fault:partition',
  'fault:request-lost',
  'job:resumed',
  'job:waiting:NO_ELIGIBLE_BIDS',
  'outcome:dissented',
  'outcome:timed-out',
  'outcome:withheld',
  'verdict:accepted',
  'verdict:accepted-young',
] as const

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
  it('break no invariant, and meet every fault', async () => {
    const coverage = await playMixed('fixed', FIXED)
    for (const what of COVERED) assert.ok((coverage.get(what) ?? 0) > 0, what)
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
})
