/**
 * Makes an input of what this peer holds and of a small update, where the plan says how. Whatever
 * comes of it is a blob under its own digest: another than the one asked for is no harm, and the
 * input is fetched whole.
 */
import { join } from 'node:path'
import type { BlobStore } from '../blob/blob-store.js'
import type { FolderEntry } from '../blob/folder.js'
import { CtdError, errorMessage } from '../errors.js'
import type { TaskInput } from '../wire/generated/task.js'
import { parseDigest, toHex } from '../wire/ids.js'
import type { Digest, JobId } from '../wire/ids.js'
import type { BuiltinRequest } from '../training/builtin-worker.js'
import type { Replica } from './replica.js'

export interface RebuildComponents {
  readonly blobs: BlobStore
  readonly addFolder: (dir: string, signal: AbortSignal, holder: string) => Promise<FolderEntry>
  readonly holderOf: (jobId: JobId) => string
  readonly onLog: (replica: Replica, text: string) => void
}

export interface Rebuild {
  readonly replica: Replica
  readonly dir: string
  readonly signal: AbortSignal
  /** What the input must be. */
  readonly digest: Digest
  readonly rebuild: { readonly base: string; readonly update: string }
  readonly fetchUpdate: (input: TaskInput, digest: Digest) => Promise<unknown>
  readonly runWorker: (request: BuiltinRequest) => Promise<void>
}

export async function rebuildInput(
  { blobs, addFolder, holderOf, onLog }: RebuildComponents,
  { replica, dir, signal, digest, rebuild, fetchUpdate, runWorker }: Rebuild,
): Promise<void> {
  const { message } = replica.options.task
  const base = message.inputs.find(({ name }) => name === rebuild.base)
  const update = message.inputs.find(({ name }) => name === rebuild.update)
  if (base === undefined || update === undefined) return
  const [baseDigest, updateDigest] = [base, update].map((input) => parseDigest(toHex(input.digest)))
  if (baseDigest === undefined || updateDigest === undefined || !blobs.has(baseDigest)) return
  const outDir = join(dir, 'rebuilt')
  try {
    await fetchUpdate(update, updateDigest)
    const inputs = [
      { name: 'base.safetensors', path: blobs.path(baseDigest) },
      { name: 'update.safetensors', path: blobs.path(updateDigest) },
    ]
    await runWorker({ name: 'apply-update@1', params: {}, inputs, outDir })
    const { files } = await addFolder(outDir, signal, holderOf(replica.options.jobId))
    if (files.some((file) => file.digest === digest)) return
    throw new CtdError('REBUILD_MISMATCH', 'the update leads to other weights than the task names')
  } catch (error) {
    if (signal.aborted) throw error
    onLog(replica, `fetching the weights whole: ${errorMessage(error)}\n`)
  }
}
