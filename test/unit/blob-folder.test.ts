import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { BlobStore } from '../../src/blob/blob-store.js'
import { addFolder, writeFolder } from '../../src/blob/folder.js'
import { encodeFolder, parseFolder } from '../../src/wire/folder.js'
import type { FolderFile } from '../../src/wire/folder.js'
import { CtdError } from '../../src/errors.js'
import { digestOf, utf8 } from '../../src/wire/ids.js'

const root = await mkdtemp(join(tmpdir(), 'ctd-folder-'))
after(() => rm(root, { recursive: true, force: true }))
const newStore = async (): Promise<BlobStore> =>
  BlobStore.open(await mkdtemp(join(root, 's-')), { quotaBytes: 1 << 24 })

const digest = digestOf(utf8('x'))
const line = (path: string, sizeBytes = 1): string =>
  `${JSON.stringify({ path, sizeBytes, digest })}\n`

test('BAD_FOLDER is every list that the encoder would not have written', () => {
  const bad: Record<string, string> = {
    'parent folder': line('../x'),
    'hidden parent folder': line('a/../../x'),
    'own folder': line('./x'),
    absolute: line('/etc/passwd'),
    'empty name': line('a//b'),
    'empty path': line(''),
    'trailing slash': line('a/'),
    'control character': line('a\u0007'),
    'line break': line('a\nb'),
    'zero byte': line('a\0'),
    'line separator': line('a\u2028'),
    backslash: line('a\\b'),
    'lone surrogate': `{"path":"\\ud800","sizeBytes":1,"digest":"${digest}"}\n`,
    duplicate: line('a') + line('a'),
    unsorted: line('b') + line('a'),
    'file and folder': line('a') + line('a/b'),
    'file and folder far apart': line('a') + line('a-b') + line('a/b'),
    'long name': line('n'.repeat(256)),
    'long path': line(`${'n'.repeat(200)}/`.repeat(6) + 'x'),
    deep: line(`${'d/'.repeat(33)}x`),
    'negative size': line('a', -1),
    'fractional size': line('a', 1.5),
    'huge size': line('a', 2 ** 52),
    'missing line end': line('a').trimEnd(),
    'blank line': `${line('a')}\n`,
    'other key order': `{"sizeBytes":1,"path":"a","digest":"${digest}"}\n`,
    'extra key': `{"path":"a","sizeBytes":1,"digest":"${digest}","mode":7}\n`,
    'missing key': `{"path":"a","sizeBytes":1}\n`,
    prototype: `{"__proto__":{},"path":"a","sizeBytes":1,"digest":"${digest}"}\n`,
    'upper-case digest': line('a').replace(digest, digest.toUpperCase()),
    spaces: `{"path": "a","sizeBytes":1,"digest":"${digest}"}\n`,
    'size in other notation': `{"path":"a","sizeBytes":1e0,"digest":"${digest}"}\n`,
    'not an object': '[]\n',
    null: 'null\n',
    'not JSON': 'x\n',
    'byte order mark': `\ufeff${line('a')}`,
  }
  for (const [name, text] of Object.entries(bad)) {
    assert.throws(() => parseFolder(utf8(text)), { code: 'BAD_FOLDER' }, name)
  }
  assert.throws(() => parseFolder(Uint8Array.of(0xff, 0x0a)), { code: 'BAD_FOLDER' })
  assert.throws(() => parseFolder(new Uint8Array(16 * 1024 * 1024 + 1)), { code: 'BAD_FOLDER' })
})

test('paths are sorted by their UTF-8 bytes', () => {
  const paths = ['a', 'a!b', 'a0', 'ab', 'b/a', '\u{ff5e}', '\u{1f600}']
  const files = paths.map((path) => ({ path, sizeBytes: 0, digest }))
  assert.deepEqual(
    parseFolder(encodeFolder(files.toReversed())).map(({ path }) => path),
    paths,
  )
  assert.deepEqual(parseFolder(new Uint8Array()), [])
})

const seed = Number(process.env['CTD_SEED'] ?? Date.now() % 2 ** 31)
const runs = { seed, numRuns: 300 }

test(`what is encoded is parsed again to the same bytes (seed ${seed})`, () => {
  const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 })
  const file: fc.Arbitrary<FolderFile> = fc.record({
    path: fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/')),
    sizeBytes: fc.nat(),
    digest: fc.constant(digest),
  })
  fc.assert(
    fc.property(fc.array(file, { maxLength: 8 }), (files) => {
      let bytes
      try {
        bytes = encodeFolder(files)
      } catch (error) {
        assert.ok(error instanceof CtdError && error.code === 'BAD_FOLDER')
        return
      }
      const parsed = parseFolder(bytes)
      assert.deepEqual(encodeFolder(parsed), bytes)
      assert.equal(parsed.length, files.length)
    }),
    runs,
  )
})

test(`no damaged list is accepted as anything but itself (seed ${seed})`, () => {
  const good = encodeFolder(
    ['a.csv', 'b/c', 'b/d/e'].map((path, sizeBytes) => ({ path, sizeBytes, digest })),
  )
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 }), (at, byte) => {
      const damaged = good.slice()
      damaged[at] = byte
      try {
        assert.deepEqual(encodeFolder(parseFolder(damaged)), damaged)
      } catch (error) {
        assert.ok(error instanceof CtdError && error.code === 'BAD_FOLDER', String(error))
      }
    }),
    runs,
  )
})

test('a folder with a link or a missing blob is refused', async () => {
  const store = await newStore()
  const dir = await mkdtemp(join(root, 'f-'))
  await mkdir(join(dir, 'in'))
  await writeFile(join(dir, 'in', 'plain'), 'plain')
  const entry = await addFolder(store, dir)
  assert.deepEqual(
    entry.files.map(({ path, sizeBytes }) => ({ path, sizeBytes })),
    [{ path: 'in/plain', sizeBytes: 5 }],
  )
  await symlink('/etc/passwd', join(dir, 'in', 'link'))
  await assert.rejects(addFolder(store, dir), { code: 'BAD_FOLDER' })

  const missing = await store.addBytes(encodeFolder([{ path: 'a', sizeBytes: 1, digest }]))
  const target = join(root, 'target')
  await assert.rejects(writeFolder(store, missing.digest, target), { code: 'BLOB_UNKNOWN' })
  const [file] = entry.files
  assert.ok(file)
  const wrong = await store.addBytes(encodeFolder([{ ...file, sizeBytes: 6 }]))
  await assert.rejects(writeFolder(store, wrong.digest, target), { code: 'BAD_FOLDER' })
  await writeFolder(store, entry.digest, target, { link: true })
  await assert.rejects(writeFolder(store, entry.digest, target), { code: 'EEXIST' })
})
