/** `ctd add`: brings files and folders into the daemon's blob store, streamed, and pins them. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { Transform } from 'node:stream'
import type { AddedFolderView, AddedView, BlobView } from '../api/blob-port.js'
import { CtdError } from '../errors.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import { interruptible } from './interrupt.js'
import { formatPairs } from './terminal.js'
import { TransferLine } from './transfer-line.js'
import { formatBytes } from './units.js'
import { listFiles } from './upload.js'

export interface AddFlags {
  readonly copy: boolean
  readonly pin: boolean
  readonly name?: string
}

/** @throws CtdError FILE_NOT_FOUND, DISK_QUOTA, CANNOT_LINK, … */
export async function addCommand(
  context: Context,
  source: string,
  flags: AddFlags,
): Promise<number> {
  const path = resolve(source)
  const status = await stat(path).catch((cause: unknown) => {
    throw new CtdError('FILE_NOT_FOUND', `there is no file or folder ${path}`, { cause })
  })
  const advice = 'nothing half added is kept; run it again'
  const added = await interruptible(advice, async (signal) => {
    if (!flags.copy) {
      return context.client.post<AddedFolderView>('/v1/blobs/link', { path }, signal)
    }
    return status.isDirectory()
      ? addFolder(context, path, signal)
      : addFile(context, path, status.size, signal)
  })
  const name = flags.name ?? basename(path)
  const view = flags.pin
    ? await context.client.put<BlobView>(`/v1/blobs/${added.digest}/pin`, { name })
    : undefined
  if (context.json) {
    context.printJson({ ...added, name, isPinned: flags.pin })
    return EXIT.ok
  }
  const { files, totalBytes, totalPieces, knownPieces } = added
  const size = `${formatBytes(totalBytes)} (${totalBytes} bytes)`
  context.print(
    formatPairs([
      ['digest', added.digest],
      ['cid', added.cid],
      ['size', view?.kind === 'folder' ? `${size} in ${files} files` : size],
      ['pieces', `${totalPieces}, of which ${knownPieces} were here already`],
      ['kept', flags.pin ? `pinned as ${name}` : 'until its room is needed (--no-pin)'],
    ]),
  )
  context.tell(`next    on another peer: ctd get ${added.digest}`)
  return EXIT.ok
}

async function addFile(
  context: Context,
  path: string,
  sizeBytes: number,
  signal: AbortSignal,
): Promise<AddedFolderView> {
  const line = new TransferLine(context, `add ${basename(path)}`)
  try {
    const added = await upload(context, path, signal, (doneBytes) => {
      line.step({ doneBytes, totalBytes: sizeBytes })
    })
    const { pieces, isNew } = added
    const knownPieces = isNew ? 0 : pieces
    return {
      ...added,
      files: 1,
      totalBytes: added.sizeBytes,
      totalPieces: pieces,
      knownPieces,
    }
  } finally {
    line.end()
  }
}

async function addFolder(
  context: Context,
  folder: string,
  signal: AbortSignal,
): Promise<AddedFolderView> {
  const paths = (await listFiles(folder, '', 0)).sort()
  if (paths.length === 0) throw new CtdError('FOLDER_EMPTY', `there are no files in ${folder}`)
  let totalBytes = 0
  for (const path of paths) totalBytes += (await stat(join(folder, path))).size
  const line = new TransferLine(context, `add ${basename(folder)}`)
  const entries: Array<{ path: string; digest: string }> = []
  let [doneBytes, totalPieces, knownPieces] = [0, 0, 0]
  try {
    for (const path of paths) {
      const before = doneBytes
      const added = await upload(context, join(folder, path), signal, (bytes) => {
        line.step({ doneBytes: before + bytes, totalBytes })
      })
      entries.push({ path, digest: added.digest })
      doneBytes += added.sizeBytes
      totalPieces += added.pieces
      if (!added.isNew) knownPieces += added.pieces
    }
  } finally {
    line.end()
  }
  const { digest, cid } = await context.client.post<Pick<AddedView, 'digest' | 'cid'>>(
    '/v1/folders',
    entries,
    signal,
  )
  const { sizeBytes } = await context.client.get<BlobView>(`/v1/blobs/${digest}`)
  return {
    digest,
    cid,
    sizeBytes,
    pieces: 1,
    isNew: knownPieces < totalPieces,
    files: paths.length,
    totalBytes: doneBytes + sizeBytes,
    totalPieces,
    knownPieces,
  }
}

async function upload(
  context: Context,
  path: string,
  signal: AbortSignal,
  onBytes: (doneBytes: number) => void,
): Promise<AddedView> {
  let doneBytes = 0
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      doneBytes += chunk.length
      onBytes(doneBytes)
      done(null, chunk)
    },
  })
  const file = createReadStream(path, { highWaterMark: 1024 * 1024 })
  file.once('error', (error) => counted.destroy(error))
  return await context.client.upload(file.pipe(counted), signal)
}
