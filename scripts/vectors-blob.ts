/**
 * Writes the vectors of blobs and their protocol to test/vectors/blob.json:
 * `node --import tsx scripts/vectors-blob.ts`.
 */
import { writeFile } from 'node:fs/promises'
import {
  FRAME,
  MANIFEST_REQUEST,
  encodeFrame,
  encodeHave,
  encodeRequest,
} from '../src/blob/blob-protocol.js'
import { createManifest } from '../src/blob/manifest.js'
import { PieceSet } from '../src/blob/piece-set.js'
import { encodeInvitation } from '../src/network/data-channel.js'
import { fromHex, sha256, toHex, utf8 } from '../src/wire/ids.js'

const PIECE = 1024 * 1024

/** Byte `i` of the blob is `i mod 251`. */
function counting(sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, i) => i % 251)
}

function blobCase(name: string, sizeBytes: number) {
  const bytes = counting(sizeBytes)
  const hashes: Uint8Array[] = []
  for (let at = 0; at < sizeBytes; at += PIECE) hashes.push(sha256(bytes.subarray(at, at + PIECE)))
  const manifest = createManifest(sizeBytes, hashes)
  // CIDv1, raw, SHA-256: the multihash of the manifest is the digest.
  const cid = Buffer.concat([fromHex('01551220'), fromHex(manifest.digest)])
  return {
    name,
    sizeBytes,
    manifest: toHex(manifest.bytes),
    digest: manifest.digest,
    cidBytes: toHex(cid),
  }
}

const size = (value: bigint): string => value.toString(16).padStart(16, '0')
const hash = toHex(sha256(utf8('a piece')))
const INVITED = '000102030405060708090a0b0c0d0e0f'
const KEY = sha256(utf8('a key'))
const some = PieceSet.empty(10)
for (const piece of [0, 3, 9]) some.add(piece)

const vectors = {
  blobs: [
    blobCase('an empty blob', 0),
    blobCase('one byte', 1),
    blobCase('one piece', PIECE),
    blobCase('one piece and a byte', PIECE + 1),
    blobCase('three pieces', 3 * PIECE),
  ],
  invalidManifests: [
    { name: 'no bytes', manifest: '', code: 'BAD_MANIFEST' },
    { name: 'a size cut short', manifest: '00000000000000', code: 'BAD_MANIFEST' },
    { name: 'a piece too many', manifest: size(0n) + hash, code: 'BAD_MANIFEST' },
    { name: 'a piece too few', manifest: size(1n), code: 'BAD_MANIFEST' },
    { name: 'half a hash', manifest: size(1n) + hash.slice(2), code: 'BAD_MANIFEST' },
    { name: 'more than 256 GiB', manifest: size(2n ** 38n + 1n), code: 'BLOB_TOO_LARGE' },
    { name: 'the largest number', manifest: 'f'.repeat(16), code: 'BLOB_TOO_LARGE' },
  ],
  requests: [
    { name: 'piece 0', request: 0, bytes: toHex(encodeRequest(0)) },
    { name: 'piece 258', request: 258, bytes: toHex(encodeRequest(258)) },
    {
      name: 'the manifest',
      request: MANIFEST_REQUEST,
      bytes: toHex(encodeRequest(MANIFEST_REQUEST)),
    },
  ],
  frames: [
    { name: 'an answer of 3 bytes', frame: toHex(encodeFrame(FRAME.ANSWER, utf8('abc'))) },
    { name: 'unknown blob', frame: toHex(encodeFrame(FRAME.UNKNOWN_BLOB)) },
    { name: 'bad request', frame: toHex(encodeFrame(FRAME.BAD_REQUEST)) },
    { name: 'busy', frame: toHex(encodeFrame(FRAME.BUSY)) },
    { name: 'all pieces', frame: toHex(encodeFrame(FRAME.ALL)) },
    { name: 'pieces 0, 3 and 9 of 10', frame: toHex(encodeFrame(FRAME.SOME, some.toBitmap())) },
    { name: 'news of pieces 7 and 258', frame: toHex(encodeHave([7, 258])) },
  ],
  invalidBitmaps: [
    { name: 'a spare bit is set', pieceCount: 10, bitmap: '9060' },
    { name: 'a byte too few', pieceCount: 10, bitmap: '90' },
    { name: 'a byte too many', pieceCount: 8, bitmap: '9000' },
  ],
  invalidHaveSizes: [0, 3, 6, 4100],
  invitations: [
    {
      name: 'port 4702',
      port: 4702,
      identity: INVITED,
      key: toHex(KEY),
      bytes: toHex(encodeInvitation({ port: 4702, name: INVITED, key: KEY })),
    },
  ],
  invalidInvitations: [
    { name: 'nothing: the peer takes no more connections', bytes: '' },
    { name: 'port 0', bytes: '00'.repeat(50) },
    { name: 'a byte too few', bytes: '01'.repeat(49) },
    { name: 'a byte too many', bytes: '01'.repeat(51) },
  ],
}

await writeFile(
  new URL('../test/vectors/blob.json', import.meta.url),
  `${JSON.stringify(vectors, null, 1)}\n`,
)
