import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, describe, it } from 'node:test'
import { readExamples } from '../../src/training/data/examples.js'
import { openSource } from '../../src/training/data/source.js'

const folder = mkdtempSync(join(tmpdir(), 'ctd-dataset-'))
after(() => rmSync(folder, { recursive: true }))

function write(name: string): Buffer {
  const path = join(folder, name)
  const root = resolve(import.meta.dirname, '../..')
  execFileSync(process.execPath, ['--import', 'tsx', 'scripts/dataset.ts', path], { cwd: root })
  return readFileSync(path)
}

describe("the demo's dataset", () => {
  const bytes = write('first.csv')

  it('is the same every time', () => {
    assert.deepEqual(write('second.csv'), bytes)
  })

  it('holds 160 different phrases of each of twenty languages, none longer than 60 bytes', async () => {
    const source = await openSource(join(folder, 'first.csv'))
    const examples = await readExamples('labelled-text', source, {}, join(folder, 'spool'))
    const rows = Array.from(examples.labelIds, (id, row) => ({
      text: Buffer.from(examples.row(row)).toString(),
      label: examples.labels[id] ?? '',
    }))
    const counts = new Map<string, number>()
    for (const { label } of rows) counts.set(label, (counts.get(label) ?? 0) + 1)
    assert.equal(counts.size, 20)
    for (const [label, count] of counts) assert.equal(count, 160, label)
    const sizes = rows.map((row) => Buffer.byteLength(row.text))
    assert.ok(Math.max(...sizes) <= 60 && Math.min(...sizes) >= 16)
    assert.equal(new Set(rows.map((row) => `${row.label}\n${row.text}`)).size, 3200)
    assert.ok(rows.every((row) => !/[<>]|&\w+;/.test(row.text)))
  })
})
