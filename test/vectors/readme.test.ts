import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { LIMITS } from '../../src/wire/limits.js'
import { decodeMessage, isCertificate, kindId, kindOf } from '../../src/wire/messages.js'
import type { MessageKind } from '../../src/wire/messages.js'
import { codeOf } from './chain.js'

const ROOT = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')
const text = read('proto/README.md')

/** The rows of the table whose first heading is `title`, as cells. */
function tableOf(title: string): string[][] {
  const lines = text.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${title} |`))
  assert.notEqual(start, -1, `no table of ${title}`)
  const end = lines.findIndex((line, i) => i > start && !line.startsWith('|'))
  return lines.slice(start + 2, end === -1 ? undefined : end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1024 }

describe('the table of message kinds in proto/README.md', () => {
  const rows = tableOf('kind')

  it('has every kind, by its number', () => {
    const kinds: MessageKind[] = []
    for (let id = 1; kindOf(id) !== undefined; id++) kinds.push(kindOf(id) ?? 'bid')
    assert.deepEqual(
      rows.map(([id, name]) => [Number(id), name]),
      kinds.map((kind) => [kindId(kind), kind]),
    )
  })

  for (const [, name = '', , most = '', certificate = ''] of rows) {
    const kind = name as MessageKind
    it(`knows how large a ${kind} may be, and who signs it`, () => {
      const [amount = '', unit = ''] = most.split(' ')
      const maxBytes = Number(amount) * (UNITS[unit] ?? NaN)
      const decoding = (length: number) =>
        codeOf(() => decodeMessage(kind, new Uint8Array(length).fill(255)))
      assert.equal(decoding(maxBytes), 'MESSAGE_MALFORMED')
      assert.equal(decoding(maxBytes + 1), 'MESSAGE_TOO_LARGE')
      assert.equal(certificate === 'yes', isCertificate(kind))
    })
  }
})

describe('the tables of fields in proto/README.md', () => {
  const files = readdirSync(new URL('proto/', ROOT)).filter((name) => name.endsWith('.proto'))
  const messages = files.flatMap((file) => [
    ...read(`proto/${file}`).matchAll(/^message (\w+) \{([\s\S]*?)\n?\}/gm),
  ])

  it('are those of all messages', () => {
    assert.ok(messages.length > 35)
  })

  for (const [, name = '', body = ''] of messages) {
    it(`have the fields of ${name}`, () => {
      const fields = [...body.matchAll(/((?:repeated )?\w+) (\w+) = (\d+)/g)].map(
        ([, type, field, tag]) => [field, type, tag],
      )
      assert.ok(fields.length > 0)
      if (name === 'Envelope' || name === 'Signature') {
        for (const [field, type, tag] of fields) {
          assert.ok(text.includes(`${type} ${field} = ${tag};`), `${name}.${field}`)
        }
        return
      }
      const told = tableOf(name).map(([field = '', type, tag]) => [
        field.replaceAll('`', ''),
        type,
        tag,
      ])
      assert.deepEqual(told, fields)
    })
  }
})

describe('the other tables in proto/README.md', () => {
  it('have every limit of the code', () => {
    const told = tableOf('limit').map(([name = '', value]) => [
      name.replaceAll('`', ''),
      Number(value),
    ])
    assert.deepEqual(Object.fromEntries(told), { ...LIMITS })
  })

  it('have every method of the control protocol', () => {
    const asked = ['src/witness/control.ts', 'src/witness/evidence-desk.ts'].flatMap((path) => [
      ...read(path).matchAll(/^ +case '([a-z-]+)':/gm),
    ])
    const ofJobs = [...read('src/daemon.ts').matchAll(/method === '([a-z-]+)'/g)]
    const answered = [...asked, ...ofJobs].map(([, method]) => method)
    const told = tableOf('method').map(([method = '']) => method.replaceAll('`', ''))
    assert.deepEqual(told.toSorted(), [...new Set(answered)].sort())
  })

  it('have every file of vectors', () => {
    const told = new Set([...text.matchAll(/`([\w-]+\.json)`/g)].map(([, name]) => name))
    const files = readdirSync(new URL('.', import.meta.url))
    for (const file of files.filter((name) => name.endsWith('.json'))) {
      assert.ok(told.has(file), file)
    }
  })

  it('list every section under its heading', () => {
    const headings = [...text.matchAll(/^## (\d+\. .*)$/gm)].map(([, heading]) => heading)
    const listed = [...text.matchAll(/^- \[(\d+\. .*?)\]\(#(.*?)\)$/gm)]
    assert.deepEqual(
      listed.map(([, heading]) => heading),
      headings,
    )
    for (const [, heading = '', anchor] of listed) {
      const expected = heading
        .toLowerCase()
        .replace(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-')
      assert.equal(anchor, expected)
    }
  })
})
