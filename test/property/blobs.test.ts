import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzzBlobs } from '../unit/fuzz-blobs.js'

const SEED = 20261122
const INPUTS = 20_000

test(`${INPUTS} damaged manifests, listings and frames crash nothing (seed ${SEED})`, async () => {
  const report = await fuzzBlobs(INPUTS, SEED)
  assert.deepEqual(report.crashes, [])
  assert.equal(report.bytesOutside, 0)
  assert.ok(report.accepted > 0 && report.refused > 0)
  for (const [kind, count] of Object.entries(report.kinds)) assert.ok(count > 0, kind)
})
