/**
 * Folders in the store: every file a blob, and the listing of them (`wire/folder.ts`) a blob that
 * names the folder.
 */
import { constants } from 'node:fs'
import { chmod, copyFile, link, lstat, mkdir, open, opendir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { assertPath, badFolder, encodeFolder, FOLDER_LIMITS, parseFolder } from '../wire/folder.js'
import type { FolderFile } from '../wire/folder.js'
import type { Digest } from '../wire/ids.js'
import { diskError, errorCode } from '../errors.js'
import type { AddedBlob, AddOptions, BlobStore } from './blob-store.js'

export interface FolderEntry extends AddedBlob {
  readonly files: readonly FolderFile[]
}

export interface AddFolderOptions extends Pick<AddOptions, 'signal' | 'holder'> {
  /** Hard links instead of copies; see `BlobStore.linkFile`. */
  readonly link?: boolean
}

/**
 * Adds every file below `dir` and the list of them.
 * @throws CtdError BAD_FOLDER, DISK_QUOTA, CANNOT_LINK
 */
export async function addFolder(
  store: BlobStore,
  dir: string,
  options: AddFolderOptions = {},
): Promise<FolderEntry> {
  const files: FolderFile[] = []
  const add = (path: string): Promise<AddedBlob> =>
    options.link === true ? store.linkFile(path, options) : store.addFile(path, options)
  for await (const path of walk(dir, '', 0)) {
    options.signal?.throwIfAborted()
    if (files.length >= FOLDER_LIMITS.files) throw badFolder('it has too many files')
    assertPath(path)
    const { digest, sizeBytes } = await add(join(dir, path))
    files.push({ path, digest, sizeBytes })
  }
  const bytes = encodeFolder(files)
  return { ...(await store.addBytes(bytes, options)), files: parseFolder(bytes) }
}

/** The files of a folder that the store holds. @throws CtdError BLOB_UNKNOWN, BAD_FOLDER */
export async function readFolder(store: BlobStore, digest: Digest): Promise<readonly FolderFile[]> {
  return parseFolder(await store.readBytes(digest, FOLDER_LIMITS.bytes))
}

const LINE_START = '{"path":'

/**
 * The files of a blob that is the listing of a folder, undefined for any other blob. A file of that
 * very form is taken for a folder; there are no such files but listings.
 *
 * @throws CtdError BLOB_UNKNOWN
 */
export async function folderFiles(
  store: BlobStore,
  digest: Digest,
): Promise<readonly FolderFile[] | undefined> {
  const sizeBytes = store.size(digest)
  if (sizeBytes === 0 || sizeBytes > FOLDER_LIMITS.bytes) return undefined
  const file = await open(store.path(digest), constants.O_RDONLY)
  try {
    const { buffer } = await file.read(Buffer.alloc(LINE_START.length), 0, LINE_START.length, 0)
    if (buffer.toString('latin1') !== LINE_START) return undefined
  } finally {
    await file.close()
  }
  try {
    return await readFolder(store, digest)
  } catch (error) {
    if (errorCode(error) === 'BAD_FOLDER') return undefined
    throw error
  }
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
  if (depth > FOLDER_LIMITS.depth) throw badFolder(`it is nested too deeply at ${prefix}`)
  for await (const entry of await opendir(join(dir, prefix))) {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`
    const status = await lstat(join(dir, path))
    if (status.isDirectory()) yield* walk(dir, path, depth + 1)
    else if (status.isFile()) yield path
    else throw badFolder(`${JSON.stringify(path)} is a link or a special file`)
  }
}
