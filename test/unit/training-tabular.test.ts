import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import fc from 'fast-check'
import { CtdError } from '../../src/errors.js'
import { findColumn } from '../../src/training/data/columns.js'
import { readExamples } from '../../src/training/data/examples.js'
import { openSource } from '../../src/training/data/source.js'
import { readTable } from '../../src/training/data/table.js'
import { summariseDataset, type DatasetParams } from '../../src/training/split.js'

const folder = mkdtempSync(join(tmpdir(), 'ctd-tabular-'))
after(() => rmSync(folder, { recursive: true }))
let made = 0

function write(content: string | Uint8Array): string {
  made += 1
  const path = join(folder, `dataset-${made}`)
  writeFileSync(path, content)
  return path
}

const bytes = (text: string) => new TextEncoder().encode(text)

/** The table alone: what a classifier asks of its rows besides is tested through `refusal`. */
async function parseTable(content: string | Uint8Array, options: DatasetParams = {}) {
  const source = await openSource(write(content), { format: options.format })
  const table = { textColumn: '', rows: new Array<{ text: string; label: string }>() }
  const batches = readTable(source, (columns) => {
    table.textColumn = findColumn(columns, 'text', options.textColumn)
    return [table.textColumn, findColumn(columns, 'label', options.labelColumn)]
  })
  for await (const { records } of batches) {
    for (const { cells } of records) {
      table.rows.push({ text: cells[0] ?? '', label: (cells[1] ?? '').trim() })
    }
  }
  return table
}

const rows = async (text: string, options: DatasetParams = {}) =>
  (await parseTable(text, options)).rows

async function judge(content: string | Uint8Array, options: DatasetParams = {}) {
  const source = await openSource(write(content), { format: options.format })
  return await readExamples('labelled-text', source, options)
}

function summarise(content: string | Uint8Array) {
  const files = write(content)
  return summariseDataset({ files, spoolPath: `${files}.spool` })
}

async function refusal(run: () => Promise<unknown>): Promise<CtdError> {
  try {
    await run()
  } catch (error) {
    if (error instanceof CtdError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

describe('tabular data', () => {
  it('reads quoted cells with separators, quotes and line breaks (RFC 4180)', async () => {
    assert.deepEqual(await rows('text,label\r\n"a, ""b""\r\nc",x\r\nplain,y'), [
      { text: 'a, "b"\r\nc', label: 'x' },
      { text: 'plain', label: 'y' },
    ])
  })

  it('finds the columns by their usual names, in any order and case', async () => {
    const table = await parseTable(bytes('id,Category,Review\n1,good,fine\n'))
    assert.equal(table.textColumn, 'Review')
    assert.deepEqual(table.rows, [{ text: 'fine', label: 'good' }])
  })

  it('reads tab-separated values and JSON lines by their first line', async () => {
    assert.deepEqual(await rows('label\ttext\nx\ta, b\n'), [{ text: 'a, b', label: 'x' }])
    assert.deepEqual(await rows('{"text":"a","label":1}\n\n{"label":2,"text":"b"}'), [
      { text: 'a', label: '1' },
      { text: 'b', label: '2' },
    ])
  })

  it('skips a byte order mark and blank lines', async () => {
    assert.deepEqual(await rows('\ufefftext,label\n\na,x\n\n'), [{ text: 'a', label: 'x' }])
  })

  it('reads back every table that is written with quotes', async () => {
    const cell = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
    const table = fc.array(fc.record({ text: cell, label: cell }), { minLength: 1, maxLength: 20 })
    const usable = table.filter((all) =>
      all.every((row) => row.text.trim() !== '' && row.label.trim() !== ''),
    )
    const quote = (text: string) => `"${text.replaceAll('"', '""')}"`
    await fc.assert(
      fc.asyncProperty(usable, async (all) => {
        const csv = ['text,label', ...all.map((row) => `${quote(row.text)},${quote(row.label)}`)]
        const expected = all.map((row) => ({ text: row.text, label: row.label.trim() }))
        assert.deepEqual(await rows(csv.join('\r\n'), { format: 'csv' }), expected)
      }),
    )
  })

  const refused: readonly (readonly [string, string, string, DatasetParams, number?])[] = [
    ['an empty file', 'DATA_EMPTY', '', {}],
    ['a header alone', 'DATA_EMPTY', 'text,label\n', {}],
    ['a row that is too short', 'DATA_RAGGED', 'text,label\na,x\n"b\nc",y\nd\n', {}, 5],
    ['a row that is too long', 'DATA_RAGGED', 'text,label\na,x,1\n', {}, 2],
    ['a quote that is never closed', 'DATA_QUOTE', 'text,label\n"a,x\nb,y\n', {}, 2],
    ['text after a closing quote', 'DATA_QUOTE', 'text,label\n"a"b,x\n', {}, 2],
    ['a line that is no JSON', 'DATA_JSON', '{"text":"a","label":"x"}\n{"text"\n', {}, 2],
    ['a JSON value that is no text', 'DATA_JSON', '{"text":["a"],"label":"x"}\n', {}, 1],
    ['a blank text', 'DATA_BLANK', 'text,label\na,x\n ,y\n', {}, 3],
    ['a blank label', 'DATA_BLANK', 'text,label\na,\n', {}, 2],
    ['no column for the text', 'DATA_COLUMN_MISSING', 'foo,label\na,x\n', {}],
  ]
  for (const [what, code, text, options, line] of refused) {
    it(`refuses ${what}: ${code}`, async () => {
      const error = await refusal(() => judge(text, options))
      assert.equal(error.code, code)
      if (line !== undefined) assert.equal(error.fields['line'], line)
    })
  }

  it('suggests the column that was meant: DATA_COLUMN_MISSING', async () => {
    const error = await refusal(() => judge('Sentence,label\na,x\n', { textColumn: 'sentense' }))
    assert.equal(error.code, 'DATA_COLUMN_MISSING')
    assert.match(error.hint ?? '', /did you mean "Sentence"/)
  })

  it('names the line that is not UTF-8: DATA_ENCODING', async () => {
    const error = await refusal(() =>
      judge(Uint8Array.of(...bytes('text,label\na,x\n'), 0xe9, 0x2c, 0x79)),
    )
    assert.equal(error.code, 'DATA_ENCODING')
    assert.equal(error.fields['line'], 3)
    assert.equal(
      (await refusal(() => judge(Uint8Array.of(0xff, 0xfe, 0x74, 0)))).code,
      'DATA_ENCODING',
    )
  })

  const ten = (label: (i: number) => string, count = 10) =>
    bytes(
      `text,label\n${Array.from({ length: count }, (_, i) => `row ${i},${label(i)}`).join('\n')}`,
    )

  it('counts rows and classes before a job is submitted', async () => {
    const summary = await summarise(ten((i) => (i % 2 === 0 ? 'a' : 'b'), 25))
    assert.deepEqual(summary, {
      rows: 25,
      trainRows: 23,
      evalRows: 2,
      classes: 2,
      format: 'csv',
      longestTokens: 8,
      textColumn: 'text',
      labelColumn: 'label',
    })
  })

  it('refuses one label for all rows: DATA_ONE_CLASS', async () => {
    assert.equal((await refusal(() => summarise(ten(() => 'a')))).code, 'DATA_ONE_CLASS')
  })

  it('refuses a handful of rows: DATA_TOO_FEW_ROWS', async () => {
    assert.equal((await refusal(() => summarise(ten(String, 9)))).code, 'DATA_TOO_FEW_ROWS')
  })

  it('refuses a label for every row of many: DATA_TOO_MANY_CLASSES', async () => {
    assert.equal((await refusal(() => summarise(ten(String, 1001)))).code, 'DATA_TOO_MANY_CLASSES')
  })
})
