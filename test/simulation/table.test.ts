/** A short look at the figures that `npm run simulate -- --table` gives in full. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { playRow, tableRows } from './table.js'
import type { TableFigures } from './table.js'

const TASKS = 400

function play(name: string, share: number): TableFigures {
  const row = tableRows().find((one) => one.name === name && one.share === share)
  assert.ok(row, name)
  return playRow(row, TASKS, 'table')
}

describe('what adversaries gain in a mature network', () => {
  it('is nothing for liars who do not agree, and they are excluded', () => {
    const { wrong, honestExcluded, adversariesExcluded } = play('liars', 30)
    assert.equal(wrong, 0)
    assert.equal(honestExcluded, 0)
    assert.ok(adversariesExcluded > 50)
  })

  it('is nothing for ten Sybils to each honest peer', () => {
    const { wrong, acceptedPercent } = play('Sybils, ten to one', 0)
    assert.equal(wrong, 0)
    assert.ok(acceptedPercent > 75)
  })

  it('is no more than the closed form for sleepers', () => {
    for (const share of [10, 20, 30]) {
      const row = tableRows().find(
        (one) => one.name === 'sleepers r=2 q=0.25' && one.share === share,
      )
      const { wrongLow } = play('sleepers r=2 q=0.25', share)
      assert.ok(wrongLow <= 100 * (row?.closedForm ?? 0), `${share} %`)
    }
  })

  it('costs two runs a task where nobody attacks', () => {
    const { executions, acceptedPercent, honestExcluded } = play('honest, 1 % errors', 0)
    assert.ok(executions < 2.3)
    assert.ok(acceptedPercent > 99)
    assert.equal(honestExcluded, 0)
  })

  it('gives the same figures for the same seed', () => {
    assert.deepEqual(play('always, same', 20), play('always, same', 20))
  })
})
