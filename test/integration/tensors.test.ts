/** Tolerances among real daemons: unlike machines agree, and no cheat hides within the tolerance. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { before, test } from 'node:test'
import type { LocalPeer } from '../../scripts/local-network.js'
import { SafetensorsWriter } from '../../src/training/safetensors.js'
import { normal } from '../unit/updates.js'
import { SKIP, Stage, build, knows, outcomes, shellJob, succeed } from './stage.js'

const stage = await Stage.open()
const HONEST = ['ann', 'bob', 'cem'] as const
/** Of something that happens three times in four. */
const TRIES = 12
let requester: LocalPeer
let honest: LocalPeer[]

before(async () => {
  if (SKIP !== false) return
  await stage.start('boot', { role: 'bootstrap' })
  const [submitter, ...drifters] = await Promise.all([
    stage.start('requester', { execute: false }),
    ...HONEST.map((name) => stage.start(name, { build: build('drifter') })),
  ])
  assert.ok(submitter)
  requester = submitter
  honest = drifters
  await knows(requester, honest)
  const values = Float32Array.from(normal('integration', 20_000))
  const specs = [{ name: 'w', dtype: 'F32' as const, shape: [values.length] }]
  const writer = await SafetensorsWriter.create(join(stage.dir, 'update.safetensors'), specs)
  await writer.write('w', 0, values)
  await writer.close()
})

function job(replicas: number) {
  return shellJob('cp /in/update.safetensors /out/delta.safetensors', {
    replicas,
    inputs: [{ name: 'update.safetensors', source: join(stage.dir, 'update.safetensors') }],
    compare: { tensors: 'fp32' },
  })
}

test(
  'machines that differ in the last digits agree, byte for byte in nothing',
  {
    skip: SKIP,
  },
  async () => {
    const view = await succeed(requester.client, job(3))
    assert.deepEqual(outcomes(view, honest), { ann: 'agreed', bob: 'agreed', cem: 'agreed' })
  },
)

for (const name of ['skips', 'scales', 'other-data', 'input', 'edits']) {
  test(`a cheat that is called ${name} is struck`, { skip: SKIP }, async () => {
    const cheat = await stage.start(name, { build: build('drifter') })
    try {
      await knows(requester, [cheat])
      const view = await succeed(requester.client, job(4))
      assert.deepEqual(outcomes(view, [...honest, cheat]), {
        ann: 'agreed',
        bob: 'agreed',
        cem: 'agreed',
        [name]: 'dissented',
      })
    } finally {
      await cheat.stop()
    }
  })
}

test(
  'a number beyond the tolerance is escalated until those that agree are enough',
  { skip: SKIP },
  async () => {
    const far = await stage.start('far', { build: build('drifter') })
    try {
      await knows(requester, [far])
      const estimate = shellJob(`echo '{"estimate":3.14}' > /out/metrics.json`, {
        replicas: 3,
        compare: { atol: 0.01 },
      })
      // Three of four are called at first; the far one is not among them once in four times.
      for (let attempt = 0; ; attempt++) {
        assert.ok(attempt < TRIES, 'the far one is called sooner or later')
        const view = await succeed(requester.client, { ...estimate, seed: `far/${attempt}` })
        const fates = outcomes(view, [...honest, far])
        if (!('far' in fates)) continue
        // Two against one are not enough: the fourth was called, and decided.
        assert.deepEqual(fates, { ann: 'agreed', bob: 'agreed', cem: 'agreed', far: 'dissented' })
        return
      }
    } finally {
      await far.stop()
    }
  },
)
