/**
 * The updates inside outputs that are compared by sketches: opened for those who sketch them, and
 * fetched and sketched again by the requester, who alone holds the accepted one in full.
 */
import type { BlobStore } from '../blob/blob-store.js'
import type { BlobTransfer } from '../blob/blob-transfer.js'
import { CtdError } from '../errors.js'
import type { ToldUpdate } from '../protocol/job.js'
import { isHonest, sketchUpdate } from '../protocol/sketch-message.js'
import { openUpdate } from '../training/update.js'
import type { UpdateSource } from '../training/update.js'
import type { FolderFile } from '../wire/folder.js'
import type { TaskInput } from '../wire/generated/task.js'
import { parseDigest, toHex } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'

export interface OutputUpdatesComponents {
  readonly blobs: Pick<BlobStore, 'has' | 'path'>
  readonly transfer: Pick<BlobTransfer, 'fetch'>
}

export interface ReadOptions {
  readonly signal: AbortSignal
  readonly holder: string
  /** What the tensors may take together. */
  readonly maxBytes: number
}

export class OutputUpdates {
  readonly #components: OutputUpdatesComponents

  constructor(components: OutputUpdatesComponents) {
    this.#components = components
  }

  /** The update in an output whose tensors are here, and so are the inputs that it is taken off. */
  open(files: readonly FolderFile[], inputs: readonly TaskInput[]): Promise<UpdateSource> {
    const { blobs } = this.#components
    const paths = new Set(files.map(({ path }) => path))
    const before = inputs
      .filter(({ name, folder }) => paths.has(name) && !folder)
      .map(({ name, digest }) => [name, blobs.path(parseDigest(toHex(digest)))] as const)
    return openUpdate(
      files.map(({ path, digest }) => ({ path, digest, diskPath: () => blobs.path(digest) })),
      new Map(before),
    )
  }

  /**
   * Fetches an accepted output's tensors and sketches them as its executor had to.
   *
   * @throws CtdError OUTPUT_TOO_LARGE, BLOB_*; SKETCH_FALSE when the executor told of another update
   */
  async check(
    { sketch, seed2, inputs }: ToldUpdate,
    files: readonly FolderFile[],
    providers: readonly PeerId[],
    { maxBytes, ...options }: ReadOptions,
  ): Promise<void> {
    const { blobs, transfer } = this.#components
    const tensors = files.filter(({ path }) => path.endsWith('.safetensors'))
    const totalBytes = tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    if (totalBytes > maxBytes) {
      throw new CtdError('OUTPUT_TOO_LARGE', 'the tensors exceed the size asked for')
    }
    const before = inputs
      .filter(({ name, folder }) => !folder && tensors.some(({ path }) => path === name))
      .map(({ digest, sizeBytes }) => ({ digest: parseDigest(toHex(digest)), sizeBytes }))
    for (const { digest, sizeBytes } of [...tensors, ...before]) {
      if (blobs.has(digest)) continue
      await transfer.fetch(digest, providers, { ...options, maxBytes: sizeBytes })
    }
    // A stranger's file may be anything; what cannot be read is not what was sketched.
    const own = await this.open(files, inputs)
      .then((source) => sketchUpdate(source, seed2))
      .catch((cause: unknown) => {
        throw new CtdError('SKETCH_FALSE', 'an accepted output cannot be read', { cause })
      })
    if (isHonest(sketch.message, own)) return
    throw new CtdError('SKETCH_FALSE', `the output of ${sketch.author} is another than its sketch`)
  }
}
