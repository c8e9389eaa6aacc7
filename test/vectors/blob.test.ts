import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { CID } from 'multiformats/cid'
import {
  FRAME,
  decodeFrameHeader,
  decodeHave,
  decodeRequest,
  encodeRequest,
  isHaveSize,
} from '../../src/blob/blob-protocol.js'
import { parseManifest, pieceBytesOf, isPiece } from '../../src/blob/manifest.js'
import { PieceSet } from '../../src/blob/piece-set.js'
import { decodeInvitation } from '../../src/network/data-channel.js'
import { smallBlobDigest } from '../../src/wire/folder.js'
import { fromHex, sha256, toHex } from '../../src/wire/ids.js'

interface Vectors {
  readonly blobs: readonly {
    readonly name: string
    readonly sizeBytes: number
    readonly manifest: string
    readonly digest: string
    readonly cidBytes: string
  }[]
  readonly invalidManifests: readonly { name: string; manifest: string; code: string }[]
  readonly requests: readonly { name: string; request: number; bytes: string }[]
  readonly frames: readonly { name: string; frame: string }[]
  readonly invalidBitmaps: readonly { name: string; pieceCount: number; bitmap: string }[]
  readonly invalidHaveSizes: readonly number[]
  readonly invitations: readonly {
    readonly name: string
    readonly port: number
    readonly identity: string
    readonly key: string
    readonly bytes: string
  }[]
  readonly invalidInvitations: readonly { name: string; bytes: string }[]
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('blob.json', import.meta.url), 'utf8'))
const PIECE = 1024 * 1024

function frameOf(name: string): { kind: number; body: Uint8Array } {
  const found = vectors.frames.find((each) => each.name === name)
  assert.ok(found !== undefined, name)
  const bytes = fromHex(found.frame)
  const { kind, sizeBytes } = decodeFrameHeader(bytes)
  assert.equal(sizeBytes, bytes.length - 5)
  return { kind, body: bytes.slice(5) }
}

describe('vectors of blobs', () => {
  for (const { name, sizeBytes, manifest, digest, cidBytes } of vectors.blobs) {
    it(`${name} has this manifest, digest and CID`, () => {
      const bytes = Uint8Array.from({ length: sizeBytes }, (_, i) => i % 251)
      assert.equal(smallBlobDigest(bytes), digest)
      const parsed = parseManifest(fromHex(manifest))
      assert.equal(parsed.digest, digest)
      assert.equal(parsed.sizeBytes, sizeBytes)
      for (let i = 0; i < parsed.pieceCount; i += 1) {
        const at = i * PIECE
        assert.ok(isPiece(parsed, i, bytes.subarray(at, at + pieceBytesOf(parsed, i))))
      }
      const cid = CID.decode(fromHex(cidBytes))
      assert.equal(cid.version, 1)
      assert.equal(cid.code, 0x55)
      assert.equal(toHex(cid.multihash.digest), toHex(sha256(fromHex(manifest))))
    })
  }

  for (const { name, manifest, code } of vectors.invalidManifests) {
    it(`a manifest with ${name} is ${code}`, () => {
      assert.throws(() => parseManifest(fromHex(manifest)), { code })
    })
  }

  it('requests are these bytes', () => {
    for (const { request, bytes } of vectors.requests) {
      assert.equal(toHex(encodeRequest(request)), bytes)
      assert.equal(decodeRequest(fromHex(bytes)), request)
    }
  })

  it('frames are these bytes', () => {
    assert.deepEqual(frameOf('an answer of 3 bytes'), {
      kind: FRAME.ANSWER,
      body: Uint8Array.of(97, 98, 99),
    })
    const empty = [FRAME.UNKNOWN_BLOB, FRAME.BAD_REQUEST, FRAME.BUSY, FRAME.ALL]
    for (const [i, name] of ['unknown blob', 'bad request', 'busy', 'all pieces'].entries()) {
      assert.deepEqual(frameOf(name), { kind: empty[i], body: new Uint8Array() })
    }
    const some = frameOf('pieces 0, 3 and 9 of 10')
    assert.equal(some.kind, FRAME.SOME)
    const set = PieceSet.fromBitmap(some.body, 10)
    assert.deepEqual(
      Array.from({ length: 10 }, (_, i) => i).filter((i) => set?.has(i)),
      [0, 3, 9],
    )
    const news = frameOf('news of pieces 7 and 258')
    assert.equal(news.kind, FRAME.HAVE)
    assert.deepEqual(decodeHave(news.body), [7, 258])
  })

  it('refuses bitmaps and news of any other form', () => {
    for (const { name, pieceCount, bitmap } of vectors.invalidBitmaps) {
      assert.equal(PieceSet.fromBitmap(fromHex(bitmap), pieceCount), undefined, name)
    }
    for (const sizeBytes of vectors.invalidHaveSizes) assert.ok(!isHaveSize(sizeBytes))
  })
})

describe('vectors of invitations to a data port', () => {
  for (const { name, port, identity, key, bytes } of vectors.invitations) {
    it(`${name} is named and opened by these bytes`, () => {
      const invitation = decodeInvitation(fromHex(bytes))
      assert.ok(invitation !== undefined)
      assert.equal(invitation.port, port)
      assert.equal(invitation.name, identity)
      assert.equal(toHex(invitation.key), key)
    })
  }

  for (const { name, bytes } of vectors.invalidInvitations) {
    it(`${name} is no invitation`, () => {
      assert.equal(decodeInvitation(fromHex(bytes)), undefined)
    })
  }
})
