/**
 * The listing of a folder: one JSON object a line, `{"path","sizeBytes","digest"}` in this order,
 * sorted by the UTF-8 bytes of the path. There is one byte string per folder, so equal folders
 * have equal digests. Links, empty folders and file modes do not exist.
 */
import { CtdError } from '../errors.js'
import { digestOf, parseDigest, sha256, utf8 } from './ids.js'
import type { Digest } from './ids.js'

export interface FolderFile {
  /** Relative, with `/` between names. */
  readonly path: string
  readonly sizeBytes: number
  readonly digest: Digest
}

/** Bounds of a listing and of the paths in it; sizes in bytes. */
export const FOLDER_LIMITS = {
  bytes: 16 * 1024 * 1024,
  files: 65_536,
  fileBytes: 256 * 1024 ** 3,
  pathBytes: 1024,
  nameBytes: 255,
  depth: 32,
} as const

/** The bytes of a folder; the files may come in any order. @throws CtdError BAD_FOLDER */
export function encodeFolder(files: readonly FolderFile[]): Uint8Array {
  const sorted = files.toSorted((a, b) => comparePaths(a.path, b.path))
  assertFiles(sorted)
  return utf8(sorted.map(encodeLine).join(''))
}

/**
 * Reads the bytes of a folder and accepts only what `encodeFolder` would have written: sorted,
 * unique, relative paths without `.`, `..`, backslashes or control characters, where no file is
 * also a folder.
 *
 * @throws CtdError BAD_FOLDER
 */
export function parseFolder(bytes: Uint8Array): readonly FolderFile[] {
  if (bytes.length > FOLDER_LIMITS.bytes) throw badFolder('the list is too long')
  const text = decodeUtf8(bytes)
  if (text === '') return []
  if (!text.endsWith('\n')) throw badFolder('the last line does not end')
  const files = text.slice(0, -1).split('\n').map(parseLine)
  assertFiles(files)
  return files
}

/** Blobs are hashed in pieces of this size (`blob/manifest.ts`). */
export const PIECE_BYTES = 1024 * 1024

/**
 * The digest that names a blob (`blob/manifest.ts`): SHA-256 over its size as uint64 BE and the
 * SHA-256 of each 1 MiB piece in order, none for an empty blob.
 */
export function blobDigestOf(sizeBytes: number, pieceHashes: readonly Uint8Array[]): Digest {
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(BigInt(sizeBytes))
  return digestOf(size, ...pieceHashes)
}

/** The blob digest of bytes that are in memory. */
export function smallBlobDigest(bytes: Uint8Array): Digest {
  const pieces = Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, i) =>
    sha256(bytes.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES)),
  )
  return blobDigestOf(bytes.length, pieces)
}

function encodeLine({ path, sizeBytes, digest }: FolderFile): string {
  return `${JSON.stringify({ path, sizeBytes, digest })}\n`
}

function parseLine(line: string): FolderFile {
  const value = parseJson(line)
  if (typeof value !== 'object' || value === null) throw badFolder('a line is no object')
  const { path, sizeBytes, digest } = { path: '', sizeBytes: -1, digest: '', ...value }
  if (typeof path !== 'string' || typeof digest !== 'string') throw badFolder('a line is not ours')
  if (!/^[0-9a-f]{64}$/.test(digest)) throw badFolder('a digest is malformed')
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw badFolder('a size is malformed')
  const file = { path, sizeBytes, digest: parseDigest(digest) }
  if (encodeLine(file) !== `${line}\n`) throw badFolder('a line is not in canonical form')
  return file
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch (cause) {
    throw badFolder('a line is not JSON', cause)
  }
}

function assertFiles(files: readonly FolderFile[]): void {
  if (files.length > FOLDER_LIMITS.files) throw badFolder('it has too many files')
  const paths = new Set<string>()
  let before: string | undefined
  for (const { path, sizeBytes } of files) {
    assertPath(path)
    if (sizeBytes > FOLDER_LIMITS.fileBytes) throw badFolder('a file is too large')
    if (before !== undefined && comparePaths(before, path) >= 0) {
      throw badFolder(`paths are not sorted and unique at ${JSON.stringify(path)}`)
    }
    before = path
    paths.add(path)
  }
  for (const path of paths) {
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
      if (paths.has(path.slice(0, at))) {
        throw badFolder(`${JSON.stringify(path.slice(0, at))} is both a file and a folder`)
      }
    }
  }
}

/** @throws CtdError BAD_FOLDER for a path that no listing may hold */
export function assertPath(path: string): void {
  const names = path.split('/')
  const bad =
    /\p{Surrogate}/u.test(path) ||
    /[\u0000-\u001f\u007f-\u009f\\\u2028\u2029]/.test(path) ||
    Buffer.byteLength(path) > FOLDER_LIMITS.pathBytes ||
    names.length > FOLDER_LIMITS.depth + 1 ||
    names.some(
      (name) =>
        name === '' ||
        name === '.' ||
        name === '..' ||
        Buffer.byteLength(name) > FOLDER_LIMITS.nameBytes,
    )
  if (bad) throw badFolder(`not an allowed path: ${JSON.stringify(path.slice(0, 200))}`)
}

function comparePaths(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw badFolder('it is not UTF-8', cause)
  }
}

export function badFolder(reason: string, cause?: unknown): CtdError {
  return new CtdError('BAD_FOLDER', `not a valid folder: ${reason}`, {
    hint: 'a folder holds plain files only: no links, devices or unusual names',
    ...(cause === undefined ? {} : { cause }),
  })
}
