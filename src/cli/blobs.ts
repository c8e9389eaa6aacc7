/** Commands on what the daemon keeps: ls, pin, unpin, rm, du, scrub. */
import type { BlobDetailView, BlobView, StorageView } from '../api/blob-port.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import { interruptible } from './interrupt.js'
import { formatPairs, formatTable, harmless } from './terminal.js'
import { TransferLine } from './transfer-line.js'
import { formatAge, formatBytes } from './units.js'

const DIGEST_CHARS = 12

/** `ctd ls [DIGEST]`. */
export async function lsCommand(
  context: Context,
  name: string | undefined,
  flags: { readonly all?: boolean },
): Promise<number> {
  if (name !== undefined) return showOne(context, name)
  const blobs = await context.client.get<BlobView[]>(`/v1/blobs?all=${flags.all === true}`)
  if (context.json) context.printJson(blobs)
  else if (blobs.length > 0) context.print(blobTable(blobs, Date.now(), context.columns))
  else if (flags.all === true) context.tell('no blobs yet; add one: ctd add PATH')
  else context.tell('nothing is pinned; add something: ctd add PATH    all blobs: ctd ls --all')
  return EXIT.ok
}

/** The table of `ctd ls`; in a pipe digests are whole. */
export function blobTable(
  blobs: readonly BlobView[],
  nowMs: number,
  columns: number | undefined,
): string {
  const rows = blobs.map((blob) => [
    columns === undefined ? blob.digest : blob.digest.slice(0, DIGEST_CHARS),
    blob.name,
    blob.kind === 'folder' ? `folder:${blob.files}` : 'file',
    blob.totalBytes === 0 && blob.sizeBytes === 0 && blob.heldBy.length > 0
      ? '0B'
      : formatBytes(blob.totalBytes),
    blob.isPinned ? 'pinned' : blob.heldBy.length > 0 ? 'held' : 'cache',
    blob.isProvided ? 'yes' : 'no',
    blob.addedMs === null ? '' : formatAge(nowMs - blob.addedMs),
  ])
  return formatTable(['DIGEST', 'NAME', 'KIND', 'SIZE', 'KEPT', 'PROVIDED', 'AGE'], rows, {
    columns,
    cuts: 'NAME',
  })
}

async function showOne(context: Context, name: string): Promise<number> {
  const blob = await context.client.get<BlobDetailView>(`/v1/blobs/${encodeURIComponent(name)}`)
  if (context.json) {
    context.printJson(blob)
    return EXIT.ok
  }
  const held = blob.heldBy.join(', ') || 'nobody: it goes when its room is needed'
  context.print(
    formatPairs([
      ['digest', blob.digest],
      ['cid', blob.cid],
      ['name', harmless(blob.name) || '-'],
      ['size', `${formatBytes(blob.totalBytes)} (${blob.totalBytes} bytes)`],
      ['kind', blob.kind === 'folder' ? `folder of ${blob.files} files` : 'file'],
      ['held by', harmless(held)],
      ['provided', blob.isProvided ? 'yes: peers find it by its digest' : 'no'],
    ]),
  )
  for (const { path, sizeBytes } of blob.entries) {
    context.print(`${formatBytes(sizeBytes).padStart(9)}  ${harmless(path)}`)
  }
  return EXIT.ok
}

/** `ctd pin DIGEST`. */
export async function pinCommand(
  context: Context,
  name: string,
  flags: { readonly name?: string },
): Promise<number> {
  const body = flags.name === undefined ? {} : { name: flags.name }
  const blob = await context.client.put<BlobView>(`/v1/blobs/${encodeURIComponent(name)}/pin`, body)
  if (context.json) context.printJson(blob)
  else context.print(`pinned ${blob.digest}  ${formatBytes(blob.totalBytes)}`)
  return EXIT.ok
}

/** `ctd unpin DIGEST`. */
export async function unpinCommand(context: Context, name: string): Promise<number> {
  const blob = await context.client.delete<BlobView>(`/v1/blobs/${encodeURIComponent(name)}/pin`)
  if (context.json) context.printJson(blob)
  else {
    context.print(`unpinned ${blob.digest}`)
    context.tell('its bytes stay until their room is needed; remove them now: ctd rm')
  }
  return EXIT.ok
}

/** `ctd rm DIGEST...`. */
export async function rmCommand(context: Context, names: readonly string[]): Promise<number> {
  const removed: Array<{ readonly digest: string; readonly freedBytes: number }> = []
  for (const name of names) {
    const one = await context.client.delete<{ digest: string; freedBytes: number }>(
      `/v1/blobs/${encodeURIComponent(name)}`,
    )
    removed.push(one)
    if (!context.json) context.print(`removed ${one.digest}  ${formatBytes(one.freedBytes)} freed`)
  }
  if (context.json) context.printJson(removed)
  return EXIT.ok
}

/** `ctd du`. */
export async function duCommand(context: Context): Promise<number> {
  const storage = await context.client.get<StorageView>('/v1/storage')
  if (context.json) context.printJson(storage)
  else context.print(storageText(storage, Date.now()))
  return EXIT.ok
}

/** The screen of `ctd du`. */
export function storageText(storage: StorageView, nowMs: number): string {
  const { quotaBytes, usedBytes } = storage
  const share = quotaBytes === 0 ? 0 : Math.round((usedBytes / quotaBytes) * 100)
  const line = (bytes: number, words: string): string => `${formatBytes(bytes).padEnd(9)} ${words}`
  const scrubbed =
    storage.scrubbed === null
      ? 'not yet since the start (now: ctd scrub)'
      : `${storage.scrubbed.blobs} blobs, ${formatAge(nowMs - storage.scrubbed.endedMs)} ago`
  return formatPairs([
    ['used', line(usedBytes, `${share}% of ${formatBytes(quotaBytes)} (diskMiB)`)],
    ['pinned', line(storage.pinnedBytes, `${storage.pins} pins: kept until ctd unpin`)],
    ['held', line(storage.heldBytes, 'by jobs, images and uploads: kept until they end')],
    ['cache', line(storage.cacheBytes, 'goes when room is needed, the longest unused first')],
    ['partial', line(storage.partialBytes, `${storage.partials} fetches that have not ended`)],
    ['rotten', line(storage.rottenBytes, `${storage.rotten} blobs set aside`)],
    ['disk', line(storage.freeDiskBytes, 'free')],
    ['scrubbed', scrubbed],
  ])
}

interface ScrubView {
  readonly blobs: number
  readonly bytes: number
  readonly rotten: ReadonlyArray<{
    readonly digest: string
    readonly sizeBytes: number
    readonly pieces: number
    readonly outcome: 'refetched' | 'dropped' | 'set-aside'
  }>
}

const OUTCOMES = {
  refetched: 'fetched anew from peers',
  dropped: 'dropped: nobody held it and no peer has it',
  'set-aside': 'set aside: no connected peer has it, asked again next time',
} as const

/** `ctd scrub`. */
export async function scrubCommand(context: Context): Promise<number> {
  const line = new TransferLine(context, 'scrub')
  const report = await interruptible('run it again at any time', (signal) =>
    context.client
      .work<{ doneBytes: number; totalBytes: number }, ScrubView>(
        '/v1/storage/scrub',
        {},
        (progress) => line.step(progress),
        signal,
      )
      .finally(() => line.end()),
  )
  if (context.json) context.printJson(report)
  else {
    const bad = report.rotten.length
    const words = bad === 0 ? 'all sound' : `${bad} rotten`
    context.print(`${report.blobs} blobs, ${formatBytes(report.bytes)} read: ${words}`)
    for (const { digest, sizeBytes, pieces, outcome } of report.rotten) {
      const where =
        pieces === 0 ? 'set aside earlier' : `${pieces} bad ${pieces === 1 ? 'piece' : 'pieces'}`
      const size = formatBytes(sizeBytes)
      context.print(`  ${digest.slice(0, DIGEST_CHARS)}  ${size}  ${where}  ${OUTCOMES[outcome]}`)
    }
  }
  return report.rotten.some(({ outcome }) => outcome !== 'refetched') ? EXIT.failure : EXIT.ok
}
