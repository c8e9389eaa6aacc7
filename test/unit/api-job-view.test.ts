import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { jobView } from '../../src/api/job-view.js'
import { honest, Rig, RUN_SPEC } from './rig.js'

function reasonOf({ manifest, plan, state }: Rig): string {
  return jobView({ manifest, plan, state, beats: new Map() }).reason
}

describe('what people see of a job', () => {
  it('says what it waits for before it has executors, and nothing once it runs', () => {
    const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(3) })
    assert.equal(reasonOf(rig), 'it is about to be offered to peers')
    const assignment = () => rig.state.batches[0]?.assignment
    rig.run(() => assignment()?.bids.size === 1)
    assert.equal(reasonOf(rig), 'waiting for bids: 3 peers asked, 1 bid, 0 declined')
    rig.run(() => assignment()?.openings.size === 2)
    assert.equal(reasonOf(rig), 'drawing executors among 3 bidders, 2 have opened their lots')
    rig.run(() => rig.state.status === 'running')
    assert.equal(reasonOf(rig), '')
  })
})
