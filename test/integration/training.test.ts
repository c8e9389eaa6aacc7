/**
 * `npm run faults -- training` at a small size: one job of the real trainer undisturbed, and once
 * more while an executor and the submitter are killed and another executor poisons its update. The
 * other parts are for the show itself.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { Cast } from '../../scripts/faults-training-cast.js'
import type { Kill } from '../../scripts/faults-training-cast.js'
import { writeCorpus } from '../../scripts/faults-training-look.js'
import { SKIP, Stage, build } from './stage.js'

const HONEST = ['ann', 'bob', 'cem'] as const
const LIAR = 'flips'
const MINUTES_MS = 60_000

test(
  'weights are the same though an executor and the submitter die and another executor poisons',
  { skip: SKIP, timeout: 12 * MINUTES_MS },
  async () => {
    const stage = await Stage.open()
    const dataset = join(stage.dir, 'corpus.txt')
    await writeCorpus(dataset, 200, 'integration')
    await stage.start('boot', { role: 'bootstrap' })
    const requester = await stage.start('requester', { execute: false })
    const options = { network: stage.network, dataset, rounds: 2, shards: 1, seed: 'integration' }
    const cast = new Cast({ ...options, say: () => undefined }, requester)
    await cast.join(HONEST)
    const undisturbed = await cast.play('undisturbed')
    assert.equal(undisturbed.status, 'succeeded', undisturbed.view.reason)

    await cast.join([LIAR], { build: build('poisoner'), env: { CTD_TEST_LIES_IN: '1' } })
    const liar = cast.executors.find(({ name }) => name === LIAR)?.peerId
    let kills: readonly Kill[] = []
    let accepted = 0
    const disturbed = await cast.play('disturbed', {
      replicas: HONEST.length + 1,
      act: async (jobId) => {
        const due = await cast.training(1, jobId, ({ owner }) => owner !== liar)
        kills = await cast.killExecutors('disturbed', due.slice(0, 1))
        await cast.join(kills.map(({ peer }) => peer))
        accepted = await cast.killSubmitter(jobId)
        cast.submitter = await stage.start('requester', { execute: false })
      },
    })
    assert.equal(disturbed.status, 'succeeded', disturbed.view.reason)
    assert.equal(disturbed.hash, undisturbed.hash)

    const [kill] = kills
    assert.equal(kill?.task, 'train r0 s0')
    assert.equal(kill.ranOn, true, 'its container was at work when the daemon died')
    assert.equal(cast.submitter.peerId, requester.peerId)
    assert.ok(accepted > 0 && accepted < disturbed.view.tasksTotal)
    const dissents = disturbed.view.tasks.flatMap(({ name, replicas }) =>
      replicas
        .filter(({ phase }) => phase === 'dissented')
        .map(({ peer }) => `${name} ${cast.nameOf(peer)}`),
    )
    assert.deepEqual(dissents, [`train r1 s0 ${LIAR}`])
    await stage.network.stop()
  },
)
