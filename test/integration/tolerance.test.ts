/**
 * The real trainer on unlike code paths by real daemons: they agree, and a cheat is struck. All
 * cheats: `npm run tolerance -- --daemons`.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CalibrationView } from '../../src/api/calibration-desk.js'
import { playDaemons } from '../../scripts/tolerance-daemons.js'
import { NEVER } from '../container/harness.js'
import { PATIENCE_MS, SKIP, Stage } from './stage.js'

const stage = await Stage.open()

test(
  'unlike machines train alike, and one that leaves out steps is struck',
  { skip: SKIP, timeout: 8 * PATIENCE_MS },
  async () => {
    const { network, dir } = stage
    const say = (): void => undefined
    for (const seen of await playDaemons({ network, dir, cheats: ['skips'], say })) {
      assert.ok(seen.isSeen, `${seen.promise}: ${seen.detail}`)
    }
  },
)

test(
  'a daemon finds that a wide tolerance hides who leaves out steps',
  { skip: SKIP, timeout: 8 * PATIENCE_MS },
  async () => {
    const { client } = await stage.start('measurer', { execute: false })
    const steps: unknown[] = []
    const view = await client.work<unknown, CalibrationView>(
      '/v1/calibration',
      { tensors: 'tf32' },
      (step) => void steps.push(step),
      NEVER,
    )
    assert.equal(view.ok, false)
    assert.ok(view.tauMost < view.tau, JSON.stringify(view))
    // Nor is honest drift the reason: what fits begins far below.
    assert.ok(view.tauLeast < view.tauMost, JSON.stringify(view))
    assert.ok(view.honestPairs > 0 && steps.length > 0)
    assert.deepEqual(Object.keys(view.cheats).sort(), [
      'edits',
      'input',
      'other-data',
      'scales',
      'skips',
    ])
  },
)
