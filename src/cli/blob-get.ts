/**
 * `ctd get`: has the daemon fetch a blob or folder from its peers, and writes it here. The daemon
 * keeps every verified piece, so that a fetch that was stopped goes on where it was; the target
 * appears whole or not at all.
 */
import { createWriteStream } from 'node:fs'
import { lstat, mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { BlobDetailView, FetchedView, FetchProgressView } from '../api/blob-port.js'
import type { PeerView } from '../api/daemon-port.js'
import { CtdError } from '../errors.js'
import { assertPath } from '../wire/folder.js'
import { BlobHasher } from './blob-hasher.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import { interruptible } from './interrupt.js'
import { harmless } from './terminal.js'
import { TransferLine } from './transfer-line.js'
import { formatAge, formatBytes, shortPeer } from './units.js'
import { findPeer } from './views.js'

export interface GetFlags {
  readonly out?: string
  readonly from?: string
  readonly force?: boolean
  readonly pin?: boolean
}

/** @throws CtdError BLOB_UNAVAILABLE, BAD_DIGEST, FILE_EXISTS, INTERRUPTED, … */
export async function getCommand(context: Context, name: string, flags: GetFlags): Promise<number> {
  const out = flags.out === undefined ? undefined : resolve(flags.out)
  if (out !== undefined) await assertFree(out, flags.force === true)
  const from = flags.from === undefined ? {} : { from: await peerOf(context, flags.from) }
  const startedMs = Date.now()
  const path = `/v1/blobs/${encodeURIComponent(name)}`
  const advice = `what was verified is kept; go on with: ctd get ${name}`
  const { fetched, target } = await interruptible(advice, async (signal) => {
    const line = new TransferLine(context, `get ${name.slice(0, 12)}`)
    const onProgress = (progress: FetchProgressView): void => line.step(progress)
    const result = await context.client
      .work<FetchProgressView, FetchedView>(`${path}/fetch`, from, onProgress, signal)
      .finally(() => line.end())
    const written = out ?? resolve(result.digest.slice(0, 12))
    if (out === undefined) await assertFree(written, flags.force === true)
    const view = await context.client.get<BlobDetailView>(`/v1/blobs/${result.digest}`, signal)
    await writeOut(context, view, written, signal)
    return { fetched: result, target: written }
  })
  if (flags.pin === true) await context.client.put(`/v1/blobs/${fetched.digest}/pin`, {})
  if (context.json) {
    context.printJson({ ...fetched, path: target })
    return EXIT.ok
  }
  context.print(target)
  const seconds = Math.max(0.001, (Date.now() - startedMs) / 1000)
  const had = fetched.totalBytes - fetched.fetchedBytes
  const parts = [
    `${formatBytes(fetched.totalBytes)} ${fetched.kind}`,
    `${formatBytes(fetched.fetchedBytes)} fetched in ${formatAge(seconds * 1000)}`,
    ...(had > 0 ? [`${formatBytes(had)} were here already`] : []),
  ]
  context.tell(parts.join(', '))
  for (const { peer, bytes, fault, reason } of fetched.peers) {
    // That a peer lacks the blob is no news.
    if (bytes === 0 && fault === 'unknown-blob') continue
    const trouble = fault === undefined ? '' : `  ${fault}: ${reason ?? ''}`
    context.tell(harmless(`  ${shortPeer(peer)}  ${formatBytes(bytes)}${trouble}`))
  }
  return EXIT.ok
}

async function peerOf(context: Context, name: string): Promise<string> {
  if (/^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/.test(name)) return name
  return findPeer(await context.client.get<PeerView[]>('/v1/peers'), name).peer
}

async function assertFree(target: string, isForced: boolean): Promise<void> {
  const found = await lstat(target).catch(() => undefined)
  if (found === undefined || isForced) return
  throw new CtdError('FILE_EXISTS', `${target} exists already`, {
    hint: 'write elsewhere with --out, or replace it with --force',
  })
}

/** Everything is written beside the target and takes its place when it is whole. */
async function writeOut(
  context: Context,
  view: BlobDetailView,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const part = `${target}.ctd-part`
  await rm(part, { recursive: true, force: true })
  await mkdir(dirname(target), { recursive: true })
  try {
    if (view.kind === 'file') await writeBlob(context, view, part, signal)
    else {
      await mkdir(part)
      for (const file of view.entries) {
        assertPath(file.path)
        await mkdir(dirname(join(part, file.path)), { recursive: true })
        await writeBlob(context, file, join(part, file.path), signal)
      }
    }
    // A folder cannot be renamed onto another: --force was given, or there is none.
    await rm(target, { recursive: true, force: true })
    await rename(part, target)
  } catch (error) {
    await rm(part, { recursive: true, force: true })
    throw error
  }
}

/** Writes one blob and checks what was written against its name. @throws CtdError BLOB_CORRUPT */
async function writeBlob(
  context: Context,
  blob: { readonly digest: string; readonly sizeBytes: number },
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const bytes = await context.client.download(`/v1/blobs/${blob.digest}/bytes`, signal)
  const hasher = new BlobHasher()
  await pipeline(
    bytes,
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        hasher.update(chunk)
        yield chunk
      }
    },
    createWriteStream(path, { flags: 'wx' }),
    { signal },
  )
  if (hasher.digest() === blob.digest) return
  throw new CtdError('BLOB_CORRUPT', `the bytes of ${blob.digest.slice(0, 12)} are not its own`, {
    hint: 'the disk of the daemon may rot: ctd scrub',
  })
}
