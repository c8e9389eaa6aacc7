/**
 * A folder is a blob whose bytes list files: one JSON object a line, `{"path","sizeBytes",
 * "digest"}` in this order, sorted by the UTF-8 bytes of the path. There is one byte string per
 * folder, so equal folders have equal digests. Links, empty folders and file modes do not exist.
 */
import { constants } from 'node:fs'
import { chmod, copyFile, link, lstat, mkdir, opendir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CtdError } from '../errors.js'
import { parseDigest, utf8 } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import { diskError } from './blob-store.js'
import type { BlobEntry, BlobStore } from './blob-store.js'
import { BLOB_LIMITS } from './limits.js'

export interface FolderFile {
  /** Relative, with `/` between names. */
  readonly path: string
  readonly sizeBytes: number
  readonly digest: Digest
}

export interface FolderEntry extends BlobEntry {
  readonly files: readonly FolderFile[]
}

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
  if (bytes.length > BLOB_LIMITS.folderBytes) throw badFolder('the list is too long')
  const text = decodeUtf8(bytes)
  if (text === '') return []
  if (!text.endsWith('\n')) throw badFolder('the last line does not end')
  const files = text.slice(0, -1).split('\n').map(parseLine)
  assertFiles(files)
  return files
}

/** Adds every file below `dir` and the list of them. @throws CtdError BAD_FOLDER, DISK_QUOTA */
export async function addFolder(
  store: BlobStore,
  dir: string,
  signal?: AbortSignal,
): Promise<FolderEntry> {
  const files: FolderFile[] = []
  for await (const path of walk(dir, '', 0)) {
    signal?.throwIfAborted()
    if (files.length >= BLOB_LIMITS.folderFiles) throw badFolder('it has too many files')
    assertPath(path)
    files.push({ path, ...(await store.addFile(join(dir, path), signal ? { signal } : {})) })
  }
  const bytes = encodeFolder(files)
  return { ...(await store.addBytes(bytes)), files: parseFolder(bytes) }
}

/** The files of a folder that the store holds. @throws CtdError BLOB_UNKNOWN, BAD_FOLDER */
export async function readFolder(store: BlobStore, digest: Digest): Promise<readonly FolderFile[]> {
  return parseFolder(await store.readBytes(digest, BLOB_LIMITS.folderBytes))
}

/**
 * Lays a folder out in `dir`, which must not exist yet. All its files must be in the store.
 *
 * @param options - `link`: hard links instead of copies, for places that are mounted read-only
 * @throws CtdError BLOB_UNKNOWN, BAD_FOLDER, DISK_FULL
 */
export async function writeFolder(
  store: BlobStore,
  digest: Digest,
  dir: string,
  options: { readonly link?: boolean } = {},
): Promise<readonly FolderFile[]> {
  const files = await readFolder(store, digest)
  for (const file of files) {
    if (store.size(file.digest) !== file.sizeBytes) {
      throw badFolder(`the size of ${file.path} is not that of its blob`)
    }
  }
  try {
    await mkdir(dir)
    for (const file of files) {
      const target = join(dir, file.path)
      await mkdir(dirname(target), { recursive: true })
      await place(store.path(file.digest), target, options.link === true)
    }
  } catch (error) {
    throw diskError(error)
  }
  return files
}

async function place(source: string, target: string, linked: boolean): Promise<void> {
  if (linked) {
    try {
      return await link(source, target)
    } catch {
      // Another file system: a copy does as well.
    }
  }
  await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  await chmod(target, 0o644)
}

/** Paths of all regular files below `dir`, depth first. */
async function* walk(dir: string, prefix: string, depth: number): AsyncGenerator<string> {
  if (depth > BLOB_LIMITS.folderDepth) throw badFolder(`it is nested too deeply at ${prefix}`)
  for await (const entry of await opendir(join(dir, prefix))) {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`
    const status = await lstat(join(dir, path))
    if (status.isDirectory()) yield* walk(dir, path, depth + 1)
    else if (status.isFile()) yield path
    else throw badFolder(`${JSON.stringify(path)} is a link or a special file`)
  }
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
  if (files.length > BLOB_LIMITS.folderFiles) throw badFolder('it has too many files')
  const paths = new Set<string>()
  let before: string | undefined
  for (const { path, sizeBytes } of files) {
    assertPath(path)
    if (sizeBytes > BLOB_LIMITS.blobBytes) throw badFolder('a file is too large')
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

function assertPath(path: string): void {
  const names = path.split('/')
  const bad =
    /[\p{Surrogate}\p{Control}\\\u2028\u2029]/u.test(path) ||
    Buffer.byteLength(path) > BLOB_LIMITS.folderPathBytes ||
    names.length > BLOB_LIMITS.folderDepth + 1 ||
    names.some(
      (name) =>
        name === '' ||
        name === '.' ||
        name === '..' ||
        Buffer.byteLength(name) > BLOB_LIMITS.folderNameBytes,
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

function badFolder(reason: string, cause?: unknown): CtdError {
  return new CtdError('BAD_FOLDER', `not a valid folder: ${reason}`, {
    hint: 'a folder holds plain files only: no links, devices or unusual names',
    ...(cause === undefined ? {} : { cause }),
  })
}
