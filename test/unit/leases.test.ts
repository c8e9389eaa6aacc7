import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Clock } from '../../src/clock.js'
import { Leases } from '../../src/steward/leases.js'
import type { Lease } from '../../src/steward/leases.js'
import { createSigner } from '../../src/wire/envelope.js'
import { sha256, utf8 } from '../../src/wire/ids.js'

const [one, two] = ['one', 'two'].map((name) => createSigner(sha256(utf8(name))).peerId)
assert.ok(one !== undefined && two !== undefined)

/** A clock whose timers all go off at once when told to. */
function createClock(): { readonly clock: Clock; readonly runOut: () => void } {
  const calls = new Set<() => void>()
  const after = (_ms: number, call: () => void): (() => void) => {
    calls.add(call)
    return () => calls.delete(call)
  }
  const runOut = (): void => {
    for (const call of calls) call()
  }
  return { clock: { now: () => 0, after }, runOut }
}

describe('leases', () => {
  it('of a batch all end when it is offered anew, and those of other batches go on', () => {
    const { clock, runOut } = createClock()
    const expired: Lease[] = []
    const options = { clock, leaseMs: 1000, graceMs: 100 }
    const leases = new Leases({ ...options, onExpired: (lease) => expired.push(lease) })
    const other = { batch: 1, slot: 0, peer: one }
    for (const slot of [0, 1]) {
      for (const peer of [one, two]) leases.grant({ batch: 0, slot, peer }, true)
    }
    leases.grant(other, true)
    leases.endBatch(0)
    assert.deepEqual(leases.live, [other])
    assert.equal(leases.renew({ batch: 0, slot: 1, peer: two }), false)
    runOut()
    assert.deepEqual(expired, [other])
  })
})
