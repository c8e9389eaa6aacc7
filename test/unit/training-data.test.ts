import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { CtdError } from '../../src/errors.js'
import { DelimitedParser } from '../../src/training/data/delimited.js'
import {
  readExamples,
  type ExampleKind,
  type ExampleOptions,
  type ExampleSet,
} from '../../src/training/data/examples.js'
import { RowStore } from '../../src/training/data/row-store.js'
import { openSource } from '../../src/training/data/source.js'
import {
  idxFile,
  npyFile,
  PARQUET_DATES,
  PARQUET_GZIP,
  PARQUET_NULLS,
  PARQUET_SNAPPY,
  zipFile,
} from './dataset-files.js'

const folder = mkdtempSync(join(tmpdir(), 'ctd-data-'))
after(() => rmSync(folder, { recursive: true }))
let made = 0

type Files = Readonly<Record<string, string | Uint8Array>>

/** Writes files into a folder of their own. */
function write(files: Files): string {
  made += 1
  const dir = join(folder, String(made))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true })
    writeFileSync(join(dir, name), content)
  }
  return dir
}

async function read(
  kind: ExampleKind,
  files: Files,
  options: ExampleOptions = {},
): Promise<ExampleSet> {
  const dir = write(files)
  const names = Object.keys(files)
  const path = names.length === 1 ? join(dir, names[0] ?? '') : dir
  const examples = await readExamples(kind, await openSource(path), options, `${dir}.spool`)
  after(() => examples.close())
  return examples
}

async function refusal(
  kind: ExampleKind,
  files: Files,
  options: ExampleOptions = {},
): Promise<CtdError> {
  try {
    await read(kind, files, options)
  } catch (error) {
    if (error instanceof CtdError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8')
const texts = (set: ExampleSet): string[] =>
  Array.from({ length: set.rows }, (_, row) => textOf(set.row(row)))
const labels = (set: ExampleSet): unknown[] => Array.from(set.labelIds, (id) => set.labels[id])
const floats = (set: ExampleSet, row: number): number[] => {
  const bytes = Buffer.from(set.row(row))
  return Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleLE(8 * i))
}

const LINES = Array.from({ length: 12 }, (_, i) => [`row ${i}`, i % 2 === 0 ? 'even' : 'odd'])
const CSV = `text,label\n${LINES.map((cells) => cells.join(',')).join('\n')}\n`
const NUMBERS = `length,width,species\n${Array.from({ length: 12 }, (_, i) => `${i},${i / 8},${i % 3}`).join('\n')}`
const pixels = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, i) => i % 251)
const bytesOf = (array: Float32Array | BigInt64Array | Float64Array): Uint8Array =>
  new Uint8Array(array.buffer)

describe('labelled texts', () => {
  const expected = LINES.map(([text]) => text)
  const jsonl = LINES.map(([text, label]) => JSON.stringify({ label, text })).join('\n')
  const files: readonly (readonly [string, Files])[] = [
    ['csv', { 'a.csv': CSV }],
    ['csv with CRLF', { 'a.csv': CSV.replaceAll('\n', '\r\n') }],
    ['csv under gzip', { 'a.csv.gz': gzipSync(CSV) }],
    ['tsv', { 'a.tsv': CSV.replaceAll(',', '\t') }],
    ['JSON lines', { 'a.jsonl': jsonl }],
    ['JSON lines without a telling name', { dataset: jsonl }],
    ['several files, in the order of their names', splitFile(CSV)],
  ]
  for (const [what, given] of files) {
    it(`are read from ${what}`, async () => {
      const set = await read('labelled-text', given)
      assert.deepEqual(texts(set), expected)
      assert.deepEqual(
        labels(set),
        LINES.map(([, label]) => label),
      )
      assert.deepEqual(set.labels, ['even', 'odd'])
      assert.equal(set.textColumn, 'text')
      assert.equal(set.longestBytes, 6)
    })
  }

  function splitFile(csv: string): Files {
    const [header = '', ...rows] = csv.trimEnd().split('\n')
    const part = (from: number, to?: number): string => [header, ...rows.slice(from, to)].join('\n')
    // Written last to first.
    return { 'sub/c.csv': part(9), 'b.csv': part(5, 9), 'a.csv': part(0, 5) }
  }

  for (const [what, bytes] of [
    ['Snappy in three groups', PARQUET_SNAPPY],
    ['gzip', PARQUET_GZIP],
  ] as const) {
    it(`are read from Parquet, packed by ${what}`, async () => {
      const set = await read('labelled-text', { 'a.parquet': bytes })
      assert.equal(set.rows, 24)
      assert.deepEqual(texts(set)[23], 'row 23 é字é字')
      assert.deepEqual(labels(set).slice(0, 3), ['even', 'odd', 'even'])
    })
  }

  it('are found by the columns that are named', async () => {
    const set = await read(
      'labelled-text',
      { 'a.csv': CSV.replace('text,label', 'foo,bar') },
      { textColumn: 'foo', labelColumn: 'bar' },
    )
    assert.deepEqual(texts(set), expected)
  })

  it('are counted without being kept', async () => {
    const dir = write({ 'a.csv': CSV })
    const set = await readExamples('labelled-text', await openSource(join(dir, 'a.csv')))
    assert.equal(set.rows, 12)
    assert.deepEqual(readdirSync(dir), ['a.csv'])
  })
})

describe('the parser of delimited text', () => {
  it('finds the same records however the text is cut', () => {
    const cell = fc.string({
      unit: fc.constantFrom('a', '"', ',', '\n', '\r\n', ' '),
      maxLength: 6,
    })
    const table = fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 8 })
    const cuts = fc.array(fc.nat(200), { maxLength: 5 })
    fc.assert(
      fc.property(table, cuts, (rows, places) => {
        const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`
        const csv = rows.map((cells) => cells.map(quote).join(',')).join('\r\n')
        const parser = new DelimitedParser(',', String)
        const found: unknown[] = []
        let from = 0
        for (const place of [...places].sort((a, b) => a - b)) {
          found.push(...parser.push(csv.slice(from, Math.max(from, place)), false))
          from = Math.max(from, Math.min(place, csv.length))
        }
        found.push(...parser.push(csv.slice(from), true))
        assert.deepEqual(
          found.map((record) => Reflect.get(Object(record), 'cells')),
          rows.map((cells) => [...cells]),
        )
      }),
      { verbose: true },
    )
  })

  it('splits plain lines faster than it looks at each character, with the same result', () => {
    const parser = new DelimitedParser(',', String)
    const records = parser.push('a,b\n\n1,"2"\n3,4', true)
    assert.deepEqual(records, [
      { line: 1, cells: ['a', 'b'] },
      { line: 3, cells: ['1', '2'] },
      { line: 4, cells: ['3', '4'] },
    ])
  })
})

describe('texts', () => {
  it('are the lines of text files with their breaks, blank ones too', async () => {
    const set = await read('text', { 'b.txt': 'third\r\n', 'a.txt': 'first\n\nsecond' })
    assert.deepEqual(texts(set), ['first\n', '\n', 'second\n', 'third\r\n'])
    assert.equal(set.totalBytes, 21)
  })

  it('are the text column of a table', async () => {
    assert.deepEqual((await read('text', { 'a.csv': CSV })).rows, 12)
  })
})

describe('pairs of texts', () => {
  it('are two columns of a table', async () => {
    const csv = `query,answer\n${LINES.map(([text]) => `${text},to ${text}`).join('\n')}`
    const set = await read('text-pair', { 'a.csv': csv })
    assert.equal(textOf(set.row(3)), 'row 3')
    assert.equal(textOf(set.second(3)), 'to row 3')
    assert.deepEqual([set.textColumn, set.labelColumn], ['query', 'answer'])
  })

  it('never come from one column twice: DATA_COLUMN_MISSING', async () => {
    const error = await refusal(
      'text-pair',
      { 'a.csv': CSV },
      { textColumn: 'text', labelColumn: 'text' },
    )
    assert.equal(error.code, 'DATA_COLUMN_MISSING')
  })
})

describe('rows of numbers', () => {
  it('are all columns of a table but the label', async () => {
    const set = await read('features', { 'a.csv': NUMBERS })
    assert.deepEqual(set.shape, [2])
    assert.deepEqual(set.featureColumns, ['length', 'width'])
    assert.deepEqual(floats(set, 5), [5, 0.625])
    assert.deepEqual(labels(set).slice(0, 4), ['0', '1', '2', '0'])
  })

  it('are the columns that are named, also of Parquet', async () => {
    const set = await read(
      'features',
      { 'a.parquet': PARQUET_SNAPPY },
      { featureColumns: ['count', 'length'] },
    )
    assert.deepEqual(floats(set, 5), [5, 1.25])
    assert.equal(set.labelColumn, 'label')
  })

  for (const [what, descr, bytes] of [
    ['float32', '<f4', bytesOf(Float32Array.from({ length: 24 }, (_, i) => i / 2))],
    ['float64', '<f8', bytesOf(Float64Array.from({ length: 24 }, (_, i) => i / 2))],
  ] as const) {
    it(`are an array of ${what} in an npz file, labels beside`, async () => {
      const y = npyFile(
        '<i8',
        [12],
        bytesOf(BigInt64Array.from({ length: 12 }, (_, i) => BigInt(i % 2))),
      )
      const x = npyFile(descr, [12, 2], bytes)
      for (const deflated of [true, false]) {
        const members = [
          { name: 'x.npy', bytes: x },
          { name: 'y.npy', bytes: y },
        ]
        const set = await read('features', { 'a.npz': zipFile(members, deflated) })
        assert.deepEqual(floats(set, 3), [3, 3.5])
        assert.deepEqual(labels(set).slice(0, 2), ['0', '1'])
      }
    })
  }

  it('lack a number where a cell is empty', async () => {
    for (const cell of ['', 'NA', ' ? ']) {
      const set = await read('features', broken(cell))
      assert.deepEqual(floats(set, 5), [Number.NaN, 0.625])
    }
  })

  const broken = (cell: string): Files => ({ 'a.csv': NUMBERS.replace('\n5,', `\n${cell},`) })
  const refused: readonly (readonly [string, string, Files, ExampleOptions?])[] = [
    ['a number that is NaN', 'DATA_NOT_FINITE', broken('NaN')],
    ['a number that is infinite', 'DATA_NOT_FINITE', broken('-inf')],
    ['a number beyond 32 bits', 'DATA_NOT_FINITE', broken('1e39')],
    ['a word among numbers', 'DATA_NOT_NUMERIC', broken('long')],
    ['a hexadecimal number', 'DATA_NOT_NUMERIC', broken('0x10')],
    ['a table without a header', 'DATA_NO_HEADER', { 'a.csv': NUMBERS.slice(21) }],
    [
      'a column that is not there',
      'DATA_COLUMN_MISSING',
      { 'a.csv': NUMBERS },
      { featureColumns: ['lenght'] },
    ],
    [
      'the label among the numbers',
      'DATA_COLUMN_MISSING',
      { 'a.csv': NUMBERS },
      { featureColumns: ['species'] },
    ],
    [
      'a column name used twice',
      'DATA_COLUMN_TWICE',
      { 'a.csv': NUMBERS.replace('width', 'length') },
    ],
    [
      'NaN in an npz file',
      'DATA_NOT_FINITE',
      npz('<f4', [12, 2], bytesOf(new Float32Array(24).fill(Number.NaN))),
    ],
    [
      'an array of three dimensions',
      'DATA_SHAPE',
      npz('<f4', [12, 2, 1], bytesOf(new Float32Array(24))),
    ],
  ]
  for (const [what, code, files, options] of refused) {
    it(`refuse ${what}: ${code}`, async () => {
      assert.equal((await refusal('features', files, options)).code, code)
    })
  }
})

function npz(descr: string, shape: readonly number[], bytes: Uint8Array, count = 12): Files {
  const y = npyFile(
    '|u1',
    [count],
    Uint8Array.from({ length: count }, (_, i) => i % 2),
  )
  return {
    'a.npz': zipFile([
      { name: 'x.npy', bytes: npyFile(descr, shape, bytes) },
      { name: 'y.npy', bytes: y },
    ]),
  }
}

describe('images', () => {
  const images = idxFile([12, 3, 5], pixels(180))
  const marks = idxFile(
    [12],
    Uint8Array.from({ length: 12 }, (_, i) => i % 4),
  )

  it('are pairs of idx files, packed or not, those for tests joined', async () => {
    const set = await read('images', {
      'train-images-idx3-ubyte.gz': gzipSync(images),
      'train-labels-idx1-ubyte': marks,
      't10k-images-idx3-ubyte': images,
      't10k-labels-idx1-ubyte.gz': gzipSync(marks),
    })
    assert.equal(set.rows, 24)
    assert.deepEqual(set.shape, [3, 5, 1])
    assert.deepEqual(set.labels, ['0', '1', '2', '3'])
    assert.deepEqual([...set.row(13)], [...pixels(30).subarray(15)])
  })

  it('are arrays of an npz file, with channels, trained and tested on', async () => {
    const member = (name: string, bytes: Uint8Array) => ({ name: `${name}.npy`, bytes })
    const x = npyFile('|u1', [12, 2, 2, 3], pixels(144))
    const y = npyFile(
      '<i4',
      [12, 1],
      new Uint8Array(Int32Array.from({ length: 12 }, (_, i) => i % 2).buffer),
    )
    const file = zipFile([
      member('x_train', x),
      member('y_train', y),
      member('x_test', x),
      member('y_test', y),
    ])
    const set = await read('images', { 'a.npz': file })
    assert.equal(set.rows, 24)
    assert.deepEqual(set.shape, [2, 2, 3])
    const chosen = await read(
      'images',
      { 'a.npz': file },
      { textColumn: 'x_test', labelColumn: 'y_test' },
    )
    assert.equal(chosen.rows, 12)
  })

  const member = (shape: readonly number[], bytes: Uint8Array, more: object = {}) => ({
    ...{ name: 'x.npy', bytes: npyFile('|u1', shape, bytes) },
    ...more,
  })
  const y = {
    name: 'y.npy',
    bytes: npyFile(
      '|u1',
      [12],
      Uint8Array.from({ length: 12 }, (_, i) => i % 2),
    ),
  }
  const good = member([12, 2, 2], pixels(48))
  const file = (...members: Parameters<typeof zipFile>[0]): Files => ({ 'a.npz': zipFile(members) })
  const whole = zipFile([good, y])
  const pair = (first: Uint8Array, second: Uint8Array): Files => ({
    'train-images-idx3-ubyte': first,
    'train-labels-idx1-ubyte': second,
  })
  const refused: readonly (readonly [string, string, Files, ExampleOptions?])[] = [
    ['idx images that end early', 'DATA_TRUNCATED', pair(images.subarray(0, -1), marks)],
    ['idx images that go on', 'DATA_IDX', pair(Buffer.concat([images, marks]), marks)],
    ['more labels than images', 'DATA_RAGGED', pair(images, idxFile([13], pixels(13)))],
    [
      'images without labels',
      'DATA_IDX',
      { 'train-images-idx3-ubyte': images, 't-images-idx3-ubyte': images },
    ],
    [
      'gzip that ends early',
      'DATA_TRUNCATED',
      { ...pair(images, marks), 'train-labels-idx1-ubyte': gzipSync(marks).subarray(0, -9) },
    ],
    [
      'gzip that is damaged',
      'DATA_COMPRESSION',
      { ...pair(images, marks), 'train-labels-idx1-ubyte': damaged(gzipSync(marks), 12) },
    ],
    [
      'images of unequal shape',
      'DATA_SHAPE',
      {
        'a-images-idx3-ubyte': images,
        'a-labels-idx1-ubyte': marks,
        'b-images-idx3-ubyte': idxFile([12, 5, 3], pixels(180)),
        'b-labels-idx1-ubyte': marks,
      },
    ],
    ['images that are floats', 'DATA_SHAPE', npz('<f4', [12, 2, 1], bytesOf(new Float32Array(24)))],
    ['images that are flat', 'DATA_SHAPE', npz('|u1', [12, 4], pixels(48))],
    ['a table', 'DATA_FORMAT', { 'a.csv': CSV }],
    ['an npz file that ends early', 'DATA_TRUNCATED', { 'a.npz': whole.subarray(0, -30) }],
    ['an npz file cut in its middle', 'DATA_TRUNCATED', { 'a.npz': whole.subarray(0, 60) }],
    [
      'an array that unpacks to more than it claims',
      'DATA_ZIP',
      file(member([12, 2, 2], pixels(48), { claimedBytes: 64 }), y),
    ],
    [
      'arrays that claim to unpack to many gigabytes',
      'DATA_TOO_LARGE',
      file(member([12, 2, 2], pixels(48), { claimedBytes: 0xfffffffe }), {
        ...y,
        claimedBytes: 0xfffffffe,
      }),
    ],
    [
      'an array that unpacks to less than it claims',
      'DATA_TRUNCATED',
      file(member([12, 2, 2], pixels(47), { claimedBytes: 1000 }), y),
    ],
    ['an array shorter than its shape', 'DATA_TRUNCATED', file(member([12, 2, 2], pixels(47)), y)],
    ['an array longer than its shape', 'DATA_NPZ', file(member([12, 2, 2], pixels(49)), y)],
    ['entries that share their bytes', 'DATA_ZIP', file(good, { ...y, offset: 0 })],
    ['a checksum that does not hold', 'DATA_ZIP', file({ ...good, claimedCrc: 1 }, y)],
    ['an encrypted entry', 'DATA_ZIP', file({ ...good, flags: 1 }, y)],
    ['an unknown method of packing', 'DATA_ZIP', file({ ...good, method: 12 }, y)],
    [
      'Python objects',
      'DATA_NPZ',
      file({ name: 'x.npy', bytes: npyFile('|O', [12], pixels(9)) }, y),
    ],
    [
      'an array stored by columns',
      'DATA_NPZ',
      file({ name: 'x.npy', bytes: npyFile('|u1', [12, 2, 2], pixels(48), true) }, y),
    ],
    ['an array that is missing', 'DATA_COLUMN_MISSING', file({ ...good, name: 'foo.npy' }, y)],
    ['an array that is named wrongly', 'DATA_COLUMN_MISSING', file(good, y), { textColumn: 'xx' }],
  ]
  for (const [what, code, files, options] of refused) {
    it(`refuse ${what}: ${code}`, async () => {
      assert.equal((await refusal('images', files, options)).code, code)
    })
  }
})

function damaged(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 0xff
  return copy
}

describe('a dataset', () => {
  const empty = (label: string): string => CSV.replaceAll(/even|odd/g, label)
  const refused: readonly (readonly [string, string, Files])[] = [
    ['an empty file', 'DATA_EMPTY', { 'a.csv': '' }],
    ['a file of blank lines', 'DATA_EMPTY', { 'a.csv': '\n\n' }],
    ['an empty file among others', 'DATA_EMPTY', { 'a.csv': CSV, 'b.csv': '' }],
    ['a header alone among others', 'DATA_EMPTY', { 'a.csv': CSV, 'b.csv': 'text,label\n' }],
    ['two formats in a folder', 'DATA_MIXED_FORMATS', { 'a.csv': CSV, 'b.jsonl': '{}' }],
    [
      'files whose columns differ',
      'DATA_COLUMN_MISSING',
      { 'a.csv': CSV, 'b.csv': CSV.replace('text', 'sentence') },
    ],
    ['one label', 'DATA_ONE_CLASS', { 'a.csv': empty('same') }],
    ['few rows', 'DATA_TOO_FEW_ROWS', { 'a.csv': CSV.split('\n').slice(0, 9).join('\n') }],
    ['UTF-16', 'DATA_ENCODING', { 'a.csv': Buffer.from(`\ufeff${CSV}`, 'utf16le') }],
    ['UTF-16 without its mark', 'DATA_ENCODING', { 'a.csv': Buffer.from(CSV, 'utf16le') }],
    [
      'Latin-1',
      'DATA_ENCODING',
      { 'a.csv': Buffer.from(CSV.replace('row 4', 'caf\u00e9'), 'latin1') },
    ],
    ['gzip that ends early', 'DATA_TRUNCATED', { 'a.csv.gz': gzipSync(CSV).subarray(0, -8) }],
    ['Parquet that ends early', 'DATA_TRUNCATED', { 'a.parquet': PARQUET_SNAPPY.subarray(0, -1) }],
    ['Parquet cut at its start', 'DATA_PARQUET', { 'a.parquet': PARQUET_SNAPPY.subarray(20) }],
    ['Parquet with a null', 'DATA_BLANK', { 'a.parquet': PARQUET_NULLS }],
    ['Parquet with dates for texts', 'DATA_PARQUET', { 'a.parquet': PARQUET_DATES }],
    ['Parquet that is damaged', 'DATA_PARQUET', { 'a.parquet': damaged(PARQUET_GZIP, 40) }],
  ]
  for (const [what, code, files] of refused) {
    it(`is refused for ${what}: ${code}`, async () => {
      const error = await refusal('labelled-text', files)
      assert.equal(error.code, code)
    })
  }

  it('names the file and the line that is wrong: DATA_RAGGED', async () => {
    const error = await refusal('labelled-text', { 'a.csv': CSV, 'b.csv': `${CSV}one\n` })
    assert.equal(error.code, 'DATA_RAGGED')
    assert.match(error.message, /^b\.csv, line 14 has 1 cells/)
  })

  it('names the line that is not UTF-8, behind the first block too', async () => {
    const long = `text,label\n${'some words,even\n'.repeat(100_000)}`
    const bytes = Buffer.concat([Buffer.from(long), Buffer.from([0xe9, 0x2c, 0x79])])
    const error = await refusal('labelled-text', { 'a.csv': bytes })
    assert.equal(error.fields['line'], 100_002)
  })
})

describe('rows kept aside', () => {
  it('come back as they were, from memory and from the file', () => {
    const path = join(folder, 'rows')
    const store = new RowStore(path)
    const row = (i: number): Buffer => Buffer.alloc((i * 7919) % 4096, i % 256)
    const count = 20_000
    for (let i = 0; i < count; i++) store.append(row(i))
    for (let i = 0; i < count; i += 97) {
      const at = (i * 31) % count
      assert.equal(Buffer.compare(store.get(at), row(at)), 0, `row ${at}`)
    }
    assert.ok(readdirSync(folder).includes('rows'))
    store.close()
    assert.ok(!readdirSync(folder).includes('rows'))
  })
})
