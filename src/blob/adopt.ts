/** Takes large files into the store without copying them, and without hashing them twice. */
import { createReadStream } from 'node:fs'
import { readFile, rename, stat, writeFile } from 'node:fs/promises'
import { sha256 } from '../wire/ids.js'
import type { AddOptions, BlobEntry, BlobStore } from './blob-store.js'
import { BLOB_LIMITS } from './limits.js'
import { createManifest, parseManifest } from './manifest.js'
import type { Manifest } from './manifest.js'

/**
 * Adopts a file whose manifest is kept beside it as `<path>.manifest`, and writes that file where
 * it is missing or older: reading an image archive takes seconds.
 *
 * @throws CtdError BAD_MANIFEST, DISK_QUOTA, DISK_FULL, BLOB_TOO_LARGE
 */
export async function adoptFile(
  store: BlobStore,
  path: string,
  options: Pick<AddOptions, 'holder'> = {},
): Promise<BlobEntry> {
  return store.adoptFile(path, await manifestBeside(path), options)
}

async function manifestBeside(path: string): Promise<Manifest> {
  const beside = `${path}.manifest`
  const [file, known] = await Promise.all([stat(path), stat(beside).catch(() => undefined)])
  if (known !== undefined && known.mtimeMs >= file.mtimeMs) {
    return parseManifest(new Uint8Array(await readFile(beside)))
  }
  const hashes: Uint8Array[] = []
  for await (const piece of createReadStream(path, { highWaterMark: BLOB_LIMITS.pieceBytes })) {
    hashes.push(sha256(piece as Uint8Array))
  }
  const manifest = createManifest(file.size, hashes)
  const temporary = `${beside}.${process.pid}`
  await writeFile(temporary, manifest.bytes)
  await rename(temporary, beside)
  return manifest
}
