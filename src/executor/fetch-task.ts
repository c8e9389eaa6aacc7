/**
 * Brings what a replica needs: its inputs and, where the engine lacks it, the archive of its image,
 * from whoever has them. What the submitter alone may have is looked after: it is offered to others
 * and the task waits until one of them has it too.
 */
import { join } from 'node:path'
import type { Holding } from '../blob/ask-holding.js'
import type { BlobStore } from '../blob/blob-store.js'
import type { BlobTransfer, FetchProgress } from '../blob/blob-transfer.js'
import type { FolderEntry } from '../blob/folder.js'
import type { ImageRef, TaskInput as MountedInput } from '../container/container-runtime.js'
import { CtdError } from '../errors.js'
import type { BuiltinRequest } from '../training/builtin-worker.js'
import type { TaskInput } from '../wire/generated/task.js'
import { parseDigest, peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { Digest, JobId, PeerId } from '../wire/ids.js'
import { replicaFetch } from './fetch-state.js'
import { rebuildInput } from './rebuild-input.js'
import type { Replica, ReplicaProgress } from './replica.js'
import { awaitSecondHolders } from './second-holder.js'
import type { HeldBlob } from './second-holder.js'

export type { HeldBlob } from './second-holder.js'

export interface FetchComponents {
  readonly blobs: BlobStore
  readonly transfer: BlobTransfer
  /** Others than those that the task names, from the DHT and among the connected. */
  readonly findProviders: (digest: Digest, signal: AbortSignal) => Promise<readonly PeerId[]>
  /** The same, also for a blob that is here. */
  readonly findHolders: (digest: Digest, signal: AbortSignal) => Promise<readonly PeerId[]>
  /** How much of a blob a peer has. */
  readonly askHolding: (peer: PeerId, digest: Digest, signal: AbortSignal) => Promise<Holding>
  /** The files of a folder that is here. */
  readonly filesOf: (
    digest: Digest,
  ) => Promise<ReadonlyArray<{ readonly digest: Digest; readonly sizeBytes: number }>>
  /** Blobs of a job that are here whole now, for others too. */
  readonly onFetched: (jobId: JobId, digests: readonly Digest[]) => void
  /** Under which name a job's blobs are held. */
  readonly holderOf: (jobId: JobId) => string
  readonly writeFolder: (digest: Digest, dir: string) => Promise<unknown>
  readonly addFolder: (dir: string, signal: AbortSignal, holder: string) => Promise<FolderEntry>
  readonly onLog: (replica: Replica, text: string) => void
  /** Between two looks for a second holder; two seconds where absent. */
  readonly pause?: (signal: AbortSignal) => Promise<void>
}

export interface FetchOptions {
  readonly self: PeerId
  /** The most that the inputs of one task may take, in bytes. */
  readonly inputBytesMax: () => number
}

interface Listener {
  progress(progress: ReplicaProgress): void
}

/** Without a new piece from anybody for so long, the inputs are not to be had now. */
const GIVE_UP_MS = 30_000

/** One replica's fetch. */
export interface Fetching {
  readonly components: FetchComponents
  readonly options: FetchOptions
  readonly replica: Replica
  readonly dir: string
  readonly on: Listener
  readonly signal: AbortSignal
  /** Runs a built-in task beside the daemon. */
  readonly runWorker: (request: BuiltinRequest) => Promise<void>
}

export interface FetchedInputs {
  readonly inputs: readonly MountedInput[]
  /** Those that the submitter gave: what other tasks made has two holders by their verdict. */
  readonly ofJob: readonly HeldBlob[]
}

function tellFetch(on: Listener, what: string): (progress: FetchProgress) => void {
  return (progress) => {
    on.progress({ step: 0, total: 0, note: '', fetch: replicaFetch(what, progress) })
  }
}

/** @throws CtdError TOO_LARGE, before anything is fetched, and what `BlobTransfer.fetch` throws */
export async function fetchInputs(fetching: Fetching): Promise<FetchedInputs> {
  const { components, options, replica, dir } = fetching
  const { blobs, transfer, writeFolder, filesOf } = components
  const { slot, task, manifest } = replica.options
  const planned = new Map(slot.inputs.map((input) => [input.name, input]))
  const mounted = task.message.inputs.filter(({ name }) => planned.get(name)?.isAid !== true)
  const totalBytes = mounted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  if (totalBytes > options.inputBytesMax()) {
    throw new CtdError(
      'TOO_LARGE',
      `the inputs have ${totalBytes} bytes, more than this peer takes`,
    )
  }
  const given = new Set(manifest.message.inputs.map((input) => toHex(input.digest)))
  const inputs: MountedInput[] = []
  const ofJob: HeldBlob[] = []
  for (const input of mounted) {
    const { name } = input
    const digest = parseDigest(toHex(input.digest))
    const [providers, wanted] = wantedOf(fetching, input)
    if (input.folder) {
      await transfer.fetchFolder(digest, providers, wanted)
      const path = join(dir, `folder-${inputs.length}`)
      await writeFolder(digest, path)
      inputs.push({ name, path })
    } else {
      const rebuild = planned.get(name)?.rebuild
      if (rebuild !== undefined && !blobs.has(digest)) {
        const fetchUpdate = (update: TaskInput, updateDigest: Digest): Promise<unknown> =>
          transfer.fetch(updateDigest, ...wantedOf(fetching, update))
        await rebuildInput(components, { ...fetching, digest, rebuild, fetchUpdate })
      }
      // At once where it was rebuilt, else the whole of it.
      await transfer.fetch(digest, providers, wanted)
      inputs.push({ name, path: blobs.path(digest) })
    }
    if (!given.has(digest)) continue
    ofJob.push({ digest, name })
    const files = input.folder ? await filesOf(digest) : []
    const largest = files.toSorted((a, b) => b.sizeBytes - a.sizeBytes).slice(0, FILES_ASKED_MAX)
    ofJob.push(...largest.map((file) => ({ digest: file.digest, name })))
  }
  return { inputs, ofJob }
}

/** Whom to ask for an input, and how. */
function wantedOf(
  { components: { findProviders, holderOf }, replica, on, signal }: Fetching,
  { name, digest: bytes, sizeBytes: maxBytes }: TaskInput,
): [readonly PeerId[], NonNullable<Parameters<BlobTransfer['fetch']>[2]>] {
  const { task, jobId } = replica.options
  const digest = parseDigest(toHex(bytes))
  const providers = task.message.providers.map((key) => peerIdFromPublicKey(key))
  return [
    providers,
    {
      ...{ signal, maxBytes, holder: holderOf(jobId), giveUpMs: GIVE_UP_MS },
      findMore: (step) => findProviders(digest, step),
      onProgress: tellFetch(on, name),
    },
  ]
}

/** Of a folder its listing and its largest files are looked after; who has these has the rest. */
const FILES_ASKED_MAX = 16

/** Offers what was fetched to others, and waits until one of them has it too. */
export async function keepTwice(
  { components, options, replica, on, signal }: Fetching,
  blobs: readonly HeldBlob[],
): Promise<void> {
  if (blobs.length === 0) return
  const { jobId, manifest, task } = replica.options
  components.onFetched(
    jobId,
    blobs.map(({ digest }) => digest),
  )
  const named = [manifest.author, ...task.message.providers.map((key) => peerIdFromPublicKey(key))]
  const asked = new Set<Digest>()
  await awaitSecondHolders(
    blobs,
    {
      ask: components.askHolding,
      ...(components.pause && { pause: components.pause }),
      // Those that the task names hold it as a rule; only then is the network searched.
      candidates: async (digest, step) => {
        const others = asked.has(digest) ? await components.findHolders(digest, step) : []
        asked.add(digest)
        return [...new Set([...named, ...others])].filter((peer) => peer !== options.self)
      },
      onWaiting: (name) => {
        const what = `a second holder of ${name}`
        const nothing = { doneBytes: 0, totalBytes: 0, ratePerSecond: 0, sources: [] }
        on.progress({ step: 0, total: 0, note: '', fetch: replicaFetch(what, nothing) })
      },
    },
    signal,
  )
}

/** Brings the archive of an image that the engine lacks from peers; it is never longer than pinned. */
export async function fetchImage(
  { components: { transfer, holderOf, findProviders }, replica, on, signal }: Fetching,
  image: ImageRef,
): Promise<Digest> {
  const { message, author } = replica.options.manifest
  const archive = message.image?.archive
  if (archive === undefined || archive.length !== 32) {
    throw new CtdError('IMAGE_UNAVAILABLE', `the engine lacks the image ${image.name}`)
  }
  const digest = parseDigest(toHex(archive))
  const providers = [
    author,
    ...replica.options.task.message.providers.map((key) => peerIdFromPublicKey(key)),
  ]
  await transfer.fetch(digest, providers, {
    signal,
    holder: holderOf(replica.options.jobId),
    maxBytes: image.sizeBytes,
    findMore: (step) => findProviders(digest, step),
    giveUpMs: GIVE_UP_MS,
    onProgress: tellFetch(on, 'image'),
  })
  return digest
}
