/** Progress lines come from strangers' programs. */
import assert from 'node:assert/strict'
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { CONTAINER_LIMITS, type ProgressLine } from '../../src/container/container-runtime.js'
import { parseProgressLine, ProgressTail } from '../../src/container/progress-tail.js'

const SEED = Number(process.env['CTD_SEED'] ?? Date.now() % 2 ** 31)

describe('parseProgressLine', () => {
  test('takes step, total and metrics, in an object or beside the step', () => {
    assert.deepEqual(parseProgressLine('{"step":7,"total":50,"metrics":{"loss":2.31}}'), {
      step: 7,
      total: 50,
      metrics: { loss: 2.31 },
    })
    assert.deepEqual(parseProgressLine('{"ev":"progress","step":7,"loss":2.31,"tok_s":6900}'), {
      step: 7,
      total: null,
      metrics: { loss: 2.31, tok_s: 6900 },
    })
  })

  test('passes over what is no progress', () => {
    for (const line of [
      '',
      'null',
      '[]',
      '7',
      '{}',
      '{"step":-1}',
      '{"step":1.5}',
      '{"step":"1"}',
      '{"step":1',
      'x'.repeat(5000),
    ]) {
      assert.equal(parseProgressLine(line), undefined, line.slice(0, 20))
    }
  })

  test(`never throws and stays within its bounds (seed ${SEED})`, () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc
            .dictionary(fc.string(), fc.jsonValue())
            .map((value) => JSON.stringify({ ...value, step: 1 })),
        ),
        (text) => {
          const line = parseProgressLine(text)
          if (line === undefined) return
          const metrics = Object.entries(line.metrics)
          assert.ok(metrics.length <= CONTAINER_LIMITS.progressMetrics)
          for (const [, value] of metrics) assert.ok(Number.isFinite(value))
        },
      ),
      { seed: SEED, numRuns: 1000 },
    )
  })

  test('a metric beyond all numbers is left out', () => {
    assert.deepEqual(
      parseProgressLine('{"step":1,"metrics":{"a":1e999,"b":null,"c":3}}')?.metrics,
      { c: 3 },
    )
  })

  test('a metric named __proto__ changes nothing', () => {
    const line = parseProgressLine('{"step":1,"metrics":{"__proto__":1,"ok":2}}')
    assert.equal(line?.metrics['ok'], 2)
    assert.equal(Object.getPrototypeOf(line?.metrics), Object.prototype)
  })
})

describe('ProgressTail', () => {
  const follow = async (
    work: (path: string, tail: ProgressTail, seen: ProgressLine[]) => Promise<void>,
  ): Promise<void> => {
    const folder = await mkdtemp(join(tmpdir(), 'ctd-progress-'))
    const seen: ProgressLine[] = []
    const path = join(folder, 'progress.jsonl')
    try {
      await work(path, new ProgressTail(path, (line) => seen.push(line)), seen)
    } finally {
      await rm(folder, { recursive: true })
    }
  }

  test('reports each line once, also one that was written in two halves', async () => {
    await follow(async (path, tail, seen) => {
      await tail.poll()
      await writeFile(path, '{"step":1}\n{"st')
      await tail.poll()
      assert.deepEqual(
        seen.map((line) => line.step),
        [1],
      )
      await appendFile(path, 'ep":2}\n')
      await tail.poll()
      await tail.poll()
      assert.deepEqual(
        seen.map((line) => line.step),
        [1, 2],
      )
    })
  })

  test('of a flood only the newest lines are reported', async () => {
    await follow(async (path, tail, seen) => {
      const lines = Array.from({ length: 100_000 }, (_, i) => `{"step":${i}}\n`)
      await writeFile(path, lines.join(''))
      await tail.poll()
      assert.equal(seen.length, CONTAINER_LIMITS.progressLinesPerPoll)
      assert.equal(seen.at(-1)?.step, 99_999)
    })
  })

  test('a file that was cut is read from its beginning', async () => {
    await follow(async (path, tail, seen) => {
      await writeFile(path, '{"step":10}\n{"step":11}\n')
      await tail.poll()
      await writeFile(path, '{"step":0}\n')
      await tail.poll()
      assert.deepEqual(
        seen.map((line) => line.step),
        [10, 11, 0],
      )
    })
  })
})
