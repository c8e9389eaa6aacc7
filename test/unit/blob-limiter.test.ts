import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BandwidthLimiter } from '../../src/blob/bandwidth-limiter.js'

const KIB = 1024

/** Takes again and again until one flow has been given 1 MiB; counts what each was given. */
async function takeOn(
  limiter: BandwidthLimiter,
  flow: string,
  given: Map<string, number>,
): Promise<void> {
  while (Math.max(...given.values(), 0) < 1024 * KIB) {
    await limiter.take(16 * KIB, flow, new AbortController().signal)
    given.set(flow, (given.get(flow) ?? 0) + 16 * KIB)
  }
}

test('two flows get half of the rate each, however many takers they have', async () => {
  const limiter = new BandwidthLimiter(4 * 1024 * KIB)
  const given = new Map<string, number>()
  const flows = ['many', 'many', 'many', 'many', 'many', 'one']
  await Promise.all(flows.map((flow) => takeOn(limiter, flow, given)))
  const [many = 0, one = 0] = [given.get('many'), given.get('one')]
  assert.ok(Math.abs(many - one) <= 128 * KIB, `${many} and ${one}`)
})

test('the rate holds, a flow that comes late begins with the others, and giving up frees a place', async () => {
  const limiter = new BandwidthLimiter(1024 * KIB)
  const signal = new AbortController().signal
  const startMs = performance.now()
  for (let i = 0; i < 8; i += 1) await limiter.take(32 * KIB, 'early', signal)
  const order: string[] = []
  const impatient = new AbortController()
  const gaveUp = assert.rejects(limiter.take(1024 * KIB, 'late', impatient.signal))
  const late = limiter.take(32 * KIB, 'late', signal).then(() => order.push('late'))
  const early = limiter.take(32 * KIB, 'early', signal).then(() => order.push('early'))
  assert.ok(limiter.backlogMs > 1000)
  impatient.abort()
  await Promise.all([late, early, gaveUp])
  assert.deepEqual(order, ['late', 'early'], 'what went before is not held against the late one')
  const elapsedMs = performance.now() - startMs
  // Ten takes of 1/32 s; the first passes at once, and 20 ms of lateness may be made up for.
  assert.ok(elapsedMs >= 9 * 31.25 - 25, `${elapsedMs} ms`)
  await assert.rejects(limiter.take(1, 'late', impatient.signal))
  await new BandwidthLimiter(Infinity).take(1e12, 'any', signal)
})
