/** Archives from strangers: ours pass unchanged, anything odd never reaches the engine whole. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { errorCode } from '../../src/errors.js'
import { guardImageArchive, localImageName } from '../../src/container/image-archive-guard.js'
import {
  tarEntry,
  tarHeader,
  tarPadding,
  writeImageArchive,
  writeLayer,
  type TarEntry,
  type WrittenImage,
} from '../../src/container/image-archive.js'

const NEVER = new AbortController().signal
const SEED = Number(process.env['CTD_SEED'] ?? Date.now() % 2 ** 31)

describe('guardImageArchive', () => {
  let folder: string
  let image: WrittenImage
  let bytes: Buffer
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ctd-guard-'))
    const content = Buffer.alloc(70_000, 'x')
    const entries: TarEntry[] = [{ type: 'file', path: 'a', mode: 0o644, content }]
    const layer = await writeLayer(
      entries,
      { path: join(folder, 'layer.tar'), epochSeconds: 0 },
      NEVER,
    )
    const settings = {
      name: 'computetorrent/x:1',
      createdEpochSeconds: 0,
      command: ['sh'],
      env: {},
      labels: {},
    }
    image = await writeImageArchive(settings, [layer], join(folder, 'image.tar'), NEVER)
    bytes = await readFile(join(folder, 'image.tar'))
  })
  after(async () => rm(folder, { recursive: true }))

  async function* inPieces(archive: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < archive.length; at += pieceBytes)
      yield archive.subarray(at, at + pieceBytes)
  }
  const guard = async (
    archive: Uint8Array,
    pinned = image,
    pieceBytes = 65_536,
  ): Promise<Buffer> => {
    const parts: Uint8Array[] = []
    for await (const part of guardImageArchive(inPieces(archive, pieceBytes), pinned))
      parts.push(part)
    return Buffer.concat(parts)
  }
  const refused = async (archive: Uint8Array, pinned = image): Promise<void> =>
    assert.rejects(guard(archive, pinned), { code: 'IMAGE_ARCHIVE_REFUSED' })
  /** The archive with one more entry in front. */
  const withEntry = (entry: TarEntry): Buffer => Buffer.concat([...tarEntry(entry, 0), bytes])
  /** The archive with the content of one entry replaced. */
  const withContent = (path: string, change: (text: string) => string): Buffer => {
    const start = bytes.indexOf(`${path}\0`)
    assert.ok(start >= 0 && start % 512 === 0)
    const size = Number.parseInt(bytes.toString('latin1', start + 124, start + 135), 8)
    const content = Buffer.from(change(bytes.toString('utf8', start + 512, start + 512 + size)))
    const end = start + 512 + size + tarPadding(size).length
    const entry: TarEntry = { type: 'file', path, mode: 0o644, content }
    return Buffer.concat([bytes.subarray(0, start), ...tarEntry(entry, 0), bytes.subarray(end)])
  }
  const large = (): WrittenImage => ({ ...image, sizeBytes: image.sizeBytes + 1_000_000 })

  test('passes our own archive on byte for byte, however it is cut', async () => {
    for (const pieceBytes of [1, 511, 512, 513, 1 << 20]) {
      const passed = await guard(bytes, image, pieceBytes)
      assert.equal(createHash('sha256').update(passed).digest('hex'), image.archiveSha256)
    }
  })

  test('an archive cannot name an image of the host, nor bring a second one', async () => {
    const other = {
      Config: `blobs/sha256/${'f'.repeat(64)}`,
      RepoTags: ['postgres:latest'],
      Layers: [],
    }
    const changed = withContent('manifest.json', (text) => {
      const [ours] = JSON.parse(text)
      return JSON.stringify([{ ...ours, RepoTags: ['debian:trixie'] }, other])
    })
    const passed = (await guard(changed, large())).toString('latin1')
    assert.ok(!passed.includes('debian:trixie') && !passed.includes('postgres'))
    assert.ok(passed.includes('computetorrent/x:1'))
    assert.equal(
      localImageName({ ...image, name: 'debian:trixie' }),
      `computetorrent/image:${image.configDigest.slice(0, 16)}`,
    )
  })

  test('IMAGE_ARCHIVE_REFUSED: another image, other bytes, or nothing at all', async () => {
    await refused(bytes, { ...image, configDigest: 'd'.repeat(64) })
    await refused(bytes, { ...image, manifestDigest: 'd'.repeat(64) })
    await refused(Buffer.alloc(0))
    await refused(Buffer.alloc(1024))
    await refused(Buffer.alloc(4096, 7))
    await refused(bytes.subarray(0, 60_000))
    await refused(bytes, { ...image, sizeBytes: image.sizeBytes - 1 })
    const flipped = Buffer.from(bytes)
    flipped.writeUInt8(flipped.readUInt8(flipped.length - 20_000) ^ 1, flipped.length - 20_000)
    await refused(flipped)
  })

  test('IMAGE_ARCHIVE_REFUSED: links, devices, extended headers and paths that lead elsewhere', async () => {
    const content = Buffer.from('x')
    for (const path of [
      '../evil',
      '/etc/cron.d/x',
      'blobs/sha256/../../x',
      'x/layer.tar',
      'blobs/sha256/ABC',
    ]) {
      await refused(withEntry({ type: 'file', path, mode: 0o644, content }), large())
    }
    await refused(withEntry({ type: 'folder', path: '../x', mode: 0o755 }), large())
    await refused(
      withEntry({ type: 'link', path: `blobs/sha256/${'a'.repeat(64)}`, target: '/etc/shadow' }),
      large(),
    )
    for (const type of ['1', '3', '4', '6', 'x', 'g', 'L', 'K', 'S']) {
      const header = Buffer.from(
        tarHeader({
          path: 'oci-layout',
          typeFlag: '0',
          mode: 0o644,
          sizeBytes: 0,
          epochSeconds: 0,
        }),
      )
      const sum = header.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0)
      header.write(type, 156)
      header.write(`${(sum - 48 + type.charCodeAt(0)).toString(8).padStart(6, '0')}\0 `, 148)
      await refused(Buffer.concat([header, bytes]), large())
    }
  })

  test('IMAGE_ARCHIVE_REFUSED: the same name twice', async () => {
    await refused(
      withEntry({ type: 'file', path: 'oci-layout', mode: 0o644, content: Buffer.from('{}') }),
      large(),
    )
  })

  test(`whatever is changed, it is either refused or harmless (seed ${SEED})`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(bytes.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (at, mask) => {
          const changed = Buffer.from(bytes)
          changed[at] = (changed[at] ?? 0) ^ mask
          try {
            const passed = await guard(changed)
            assert.equal(createHash('sha256').update(passed).digest('hex'), image.archiveSha256)
          } catch (error) {
            assert.equal(errorCode(error), 'IMAGE_ARCHIVE_REFUSED')
          }
        },
      ),
      { seed: SEED, numRuns: 3000 },
    )
  })
})
