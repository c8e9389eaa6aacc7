/** A short look at the figures that `npm run simulate -- --table` gives in full. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ATTACKS, playAttack } from './table-attacks.js'
import { playRow, tableRows } from './table-rows.js'
import type { PlayedRow } from './table-rows.js'

const SEED = 'table'
const TASKS = 500
/** Most attacks play a fifth of it, and each of them twice. */
const ATTACK_TASKS = 2500

function play(name: string, share: number, tasks = TASKS): PlayedRow['figures'] {
  const row = tableRows().find((one) => one.name === name && one.share === share)
  assert.ok(row, name)
  return playRow({ ...row, times: 1 }, tasks, SEED).figures
}

describe(`what adversaries gain in a mature network (seed ${SEED})`, () => {
  it('is nothing for liars who do not agree, and they are excluded', () => {
    const { wrong, honestExcluded, adversariesExcluded } = play('liars', 30)
    assert.equal(wrong, 0)
    assert.equal(honestExcluded.value, 0)
    assert.ok(adversariesExcluded.value > 10)
  })

  it('is no more than the closed form for sleepers', () => {
    for (const share of [10, 20, 30]) {
      const row = tableRows().find(
        (one) => one.name === 'sleepers r=2 q=0.25' && one.share === share,
      )
      const { wrongPercent } = play('sleepers r=2 q=0.25', share)
      assert.ok(wrongPercent.low <= (row?.formulaPercent ?? 0), `${share} %`)
    }
  })

  it('costs little more than two runs a task where nobody attacks', () => {
    const { executions, acceptedPercent, honestExcluded } = play('nobody', 0)
    assert.ok(executions.high < 2.2)
    assert.equal(acceptedPercent.value, 100)
    assert.equal(honestExcluded.value, 0)
  })

  it('gives the same figures for the same seed', () => {
    assert.deepEqual(play('always, same', 20, 200), play('always, same', 20, 200))
  })

  it('is told where it exceeds what was promised', () => {
    const row = tableRows().find(({ name }) => name === 'nobody')
    assert.ok(row)
    const strict = { ...row, bounds: [{ figure: 'executions' as const, most: 2 }] }
    assert.equal(playRow(strict, 100, SEED).missed.length, 1)
  })
})

describe(`each attack beats a weakened rule and not ours (seed ${SEED})`, () => {
  for (const attack of ATTACKS) {
    it(`${attack.adversary}: ${attack.rule}`, () => {
      assert.deepEqual(playAttack(attack, ATTACK_TASKS, SEED).missed, [])
    })
  }
})
