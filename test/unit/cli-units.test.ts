import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  formatAge,
  formatBytes,
  parseDurationMs,
  parseSizeMiB,
  parseWhole,
  shortPeer,
} from '../../src/cli/units.js'

test('sizes need a unit and come out in whole MiB', () => {
  assert.equal(parseSizeMiB('512MiB'), 512)
  assert.equal(parseSizeMiB('2GiB'), 2048)
  assert.equal(parseSizeMiB('1.5GiB'), 1536)
  assert.equal(parseSizeMiB('1TiB'), 1_048_576)
  for (const bad of ['', '2', '2GB', '2 GiB', '2gib', '-1GiB', '0MiB', '1.5MiB', '1e3MiB', 'GiB']) {
    assert.throws(() => parseSizeMiB(bad), { code: 'USAGE' }, bad)
  }
})

test('durations add their parts in falling order and refuse everything else', () => {
  assert.equal(parseDurationMs('90s'), 90_000)
  assert.equal(parseDurationMs('10m'), 600_000)
  assert.equal(parseDurationMs('1h30m'), 5_400_000)
  assert.equal(parseDurationMs('500ms'), 500)
  assert.equal(parseDurationMs('1m500ms'), 60_500)
  assert.equal(parseDurationMs('2d'), 172_800_000)
  for (const bad of ['', '10', '10 m', '30m1h', '1.5h', '-1s', '0s', '10min', 'm']) {
    assert.throws(() => parseDurationMs(bad), { code: 'USAGE' }, bad)
  }
})

test('any split of a duration into parts reads back to the same milliseconds', () => {
  fc.assert(
    fc.property(fc.nat(30), fc.nat(23), fc.nat(59), fc.nat(59), fc.nat(999), (d, h, m, s, ms) => {
      const total = (((d * 24 + h) * 60 + m) * 60 + s) * 1000 + ms
      fc.pre(total > 0)
      assert.equal(parseDurationMs(`${d}d${h}h${m}m${s}s${ms}ms`), total)
    }),
    { seed: 20261122 },
  )
})

test('whole numbers outside the range are refused with the range', () => {
  assert.equal(parseWhole('7', 2, 7), 7)
  for (const bad of ['1', '8', '2.0', '+3', '0x3', '', '1e1']) {
    assert.throws(() => parseWhole(bad, 2, 7), { code: 'USAGE', message: /from 2 to 7/ }, bad)
  }
})

test('ages, sizes and ids are shown short', () => {
  assert.deepEqual([5_000, 180_000, 8_000_000, 200_000_000].map(formatAge), [
    '5s',
    '3m',
    '2h',
    '2d',
  ])
  assert.equal(formatAge(-5), '0s')
  assert.deepEqual([812, 1536, 8.5e9, 1024 ** 2 * 300].map(formatBytes), [
    '812B',
    '1.5KiB',
    '7.9GiB',
    '300MiB',
  ])
  assert.equal(shortPeer(`12D3KooW${'x'.repeat(36)}12345678`), '12D3…12345678')
})
