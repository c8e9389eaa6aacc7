import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { curveCsv, curveSvg } from '../../src/cli/curve.js'
import { plotLoss } from '../../src/cli/plot.js'

const curve = [
  { round: 0, lossStart: 3, lossEnd: 2 },
  { round: 1, lossStart: 2, lossEnd: 1.2, evalLoss: 1.5, accuracy: 0.5 },
  { round: 2, lossStart: 1.2, lossEnd: 0.7 },
  { round: 3, lossStart: 0.7, lossEnd: 0.4, evalLoss: 0.9, accuracy: 0.875 },
]

describe('the curve of a training', () => {
  it('is a table with empty cells where a round was not evaluated', () => {
    assert.deepEqual(curveCsv(curve).split('\r\n'), [
      'round,lossStart,lossEnd,evalLoss,accuracy',
      '0,3,2,,',
      '1,2,1.2,1.5,0.5',
      '2,1.2,0.7,,',
      '3,0.7,0.4,0.9,0.875',
      '',
    ])
  })

  it('is a picture with a line and a dot for every number', () => {
    const svg = curveSvg(curve, 'bert-tiny on <a> & "b"')
    assert.equal(svg.match(/<circle /g)?.length, 4 + 2 + 2)
    assert.equal(svg.match(/<polyline /g)?.length, 3)
    assert.match(svg, /bert-tiny on &#60;a&#62; &#38; &#34;b&#34;/)
    assert.doesNotMatch(svg, /NaN|Infinity|undefined/)
  })

  it('is a picture also of one round, of equal numbers and of none', () => {
    for (const few of [curve.slice(0, 1), [{ round: 0, lossEnd: 0 }], []]) {
      assert.doesNotMatch(curveSvg(few, ''), /NaN|Infinity|undefined/)
    }
  })

  it('stays within the frame', () => {
    const wild = [-5, 1e-9, 1e6].map((lossEnd, round) => ({ round, lossEnd }))
    const heights = [...curveSvg(wild, '').matchAll(/cy="([\d.-]+)"/g)].map(([, y]) => Number(y))
    assert.ok(heights.every((y) => y >= 48 && y <= 340))
  })

  it('ends in the terminal with the best evaluation', () => {
    const lines = plotLoss(curve, 80)
    assert.match(lines.at(-1) ?? '', /evaluation loss 0\.9, accuracy 0\.875 at its best, round 3/)
    assert.doesNotMatch(plotLoss(curve.slice(0, 1), 80).join('\n'), /evaluation/)
  })
})
