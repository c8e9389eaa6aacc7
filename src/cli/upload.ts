/** Brings local files to the daemon by content, never by path: it may live elsewhere. */
import { createReadStream } from 'node:fs'
import { opendir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { API_LIMITS } from '../api/limits.js'
import { CtdError } from '../errors.js'
import { BLOB_NAME, parseBlobName } from '../wire/cid.js'
import type { ApiClient } from './client.js'

const FOLDER_DEPTH_MAX = 32

/**
 * The digest of a source: itself when it is a digest, else that of the uploaded file or folder.
 *
 * @param base - folder that relative paths start from
 * @throws CtdError FILE_NOT_FOUND, FOLDER_TOO_LARGE, FOLDER_SPECIAL
 */
export async function uploadSource(
  client: ApiClient,
  source: string,
  base: string,
): Promise<string> {
  const path = resolve(base, source)
  const stats = await stat(path).catch(() => undefined)
  if (stats === undefined) {
    if (BLOB_NAME.test(source)) return parseBlobName(source)
    throw fileNotFound(path)
  }
  return stats.isDirectory() ? await uploadFolder(client, path) : await uploadFile(client, path)
}

/**
 * The digest of a folder that holds several files and folders side by side.
 *
 * @throws CtdError DATASET_NAMES, and what `uploadSource` throws
 */
export async function uploadTogether(
  client: ApiClient,
  sources: readonly string[],
  base: string,
): Promise<string> {
  const entries = new Map<string, string>()
  for (const source of sources) {
    const path = resolve(base, source)
    const stats = await stat(path).catch(() => undefined)
    if (stats === undefined) throw fileNotFound(path)
    const found = stats.isDirectory() ? (await listFiles(path, '', 0)).sort() : ['']
    for (const file of found) {
      const name = file === '' ? basename(path) : `${basename(path)}/${file}`
      if (entries.has(name)) {
        throw new CtdError('DATASET_NAMES', `two files of the dataset are called ${name}`, {
          hint: 'rename one: files are taken in the order of their names',
        })
      }
      entries.set(name, await uploadFile(client, join(path, file)))
    }
  }
  const files = [...entries].map(([path, digest]) => ({ path, digest }))
  return (await client.post<{ digest: string }>('/v1/folders', files)).digest
}

function fileNotFound(path: string): CtdError {
  return new CtdError('FILE_NOT_FOUND', `there is no file or folder ${path}`, {
    hint: 'give a path on this machine, or the digest of a blob the daemon holds: ctd ls',
  })
}

async function uploadFile(client: ApiClient, path: string): Promise<string> {
  return (await client.upload(createReadStream(path))).digest
}

async function uploadFolder(client: ApiClient, folder: string): Promise<string> {
  const paths = (await listFiles(folder, '', 0)).sort()
  if (paths.length === 0) throw new CtdError('FOLDER_EMPTY', `there are no files in ${folder}`)
  const entries: Array<{ path: string; digest: string }> = []
  for (const path of paths) {
    entries.push({ path, digest: await uploadFile(client, join(folder, path)) })
  }
  return (await client.post<{ digest: string }>('/v1/folders', entries)).digest
}

/**
 * Paths of all files below a folder.
 * @throws CtdError FOLDER_TOO_DEEP, FOLDER_SPECIAL, FOLDER_TOO_LARGE
 */
export async function listFiles(folder: string, under: string, depth: number): Promise<string[]> {
  if (depth > FOLDER_DEPTH_MAX) throw new CtdError('FOLDER_TOO_DEEP', `${folder} nests too deep`)
  const found: string[] = []
  for await (const entry of await opendir(join(folder, under))) {
    const path = under === '' ? entry.name : `${under}/${entry.name}`
    if (entry.isDirectory()) found.push(...(await listFiles(folder, path, depth + 1)))
    else if (entry.isFile()) found.push(path)
    else {
      throw new CtdError('FOLDER_SPECIAL', `${join(folder, path)} is a link or a special file`, {
        hint: 'upload copies, or leave it out',
      })
    }
    if (found.length > API_LIMITS.folderEntries) {
      throw new CtdError(
        'FOLDER_TOO_LARGE',
        `${folder} has more than ${API_LIMITS.folderEntries} files`,
        {
          hint: 'pack it into one archive',
        },
      )
    }
  }
  return found
}
