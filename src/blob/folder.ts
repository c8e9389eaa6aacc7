/**
 * Folders in the store: every file a blob, and the listing of them (`wire/folder.ts`) a blob that
 * names the folder.
 */
import { constants } from 'node:fs'
import { chmod, copyFile, link, lstat, mkdir, opendir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { assertPath, badFolder, encodeFolder, FOLDER_LIMITS, parseFolder } from '../wire/folder.js'
import type { FolderFile } from '../wire/folder.js'
import type { Digest } from '../wire/ids.js'
import { diskError } from '../errors.js'
import type { AddOptions, BlobEntry, BlobStore } from './blob-store.js'

export interface FolderEntry extends BlobEntry {
  readonly files: readonly FolderFile[]
}

/** Adds every file below `dir` and the list of them. @throws CtdError BAD_FOLDER, DISK_QUOTA */
export async function addFolder(
  store: BlobStore,
  dir: string,
  options: Pick<AddOptions, 'signal' | 'holder'> = {},
): Promise<FolderEntry> {
  const files: FolderFile[] = []
  for await (const path of walk(dir, '', 0)) {
    options.signal?.throwIfAborted()
    if (files.length >= FOLDER_LIMITS.files) throw badFolder('it has too many files')
    assertPath(path)
    files.push({ path, ...(await store.addFile(join(dir, path), options)) })
  }
  const bytes = encodeFolder(files)
  return { ...(await store.addBytes(bytes, options)), files: parseFolder(bytes) }
}

/** The files of a folder that the store holds. @throws CtdError BLOB_UNKNOWN, BAD_FOLDER */
export async function readFolder(store: BlobStore, digest: Digest): Promise<readonly FolderFile[]> {
  return parseFolder(await store.readBytes(digest, FOLDER_LIMITS.bytes))
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
