/** Jobs that go on: from the latest closed round of another job, or from weights given by digest. */
import type { BlobStore } from '../blob/blob-store.js'
import { CtdError } from '../errors.js'
import { latestClosedRound } from '../protocol/closed-round.js'
import type { ClosedOutput, ClosedOutputOf, ClosedRound } from '../protocol/closed-round.js'
import { decodeSpec } from '../protocol/job-spec.js'
import type { Start } from '../protocol/job-spec.js'
import type { Plan } from '../protocol/plan.js'
import { verifySlot } from '../protocol/slot-chain.js'
import type { JobRunner } from '../requester/job-runner.js'
import type { NewJob } from '../requester/requester.js'
import type { Opened } from '../wire/envelope.js'
import type { FolderFile } from '../wire/folder.js'
import type { Input } from '../wire/generated/job.js'
import { fromHex, parseDigest, toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import type { JobRecord } from '../witness/job-record.js'

export interface ResumeComponents {
  readonly blobs: BlobStore
  /** Brings a blob into the store and holds it. @throws CtdError BLOB_* */
  readonly bring: (digest: Digest, providers: readonly PeerId[], maxBytes?: number) => Promise<void>
  readonly folderFiles: (digest: Digest) => Promise<readonly FolderFile[] | undefined>
}

/** A job as far as it came. */
export interface UnfinishedJob {
  readonly manifest: Opened<'manifest'>
  readonly plan: Plan
  readonly outputOf: ClosedOutputOf
}

/** An own job, by its state. */
export function unfinishedOf({
  context,
  state,
}: Pick<JobRunner, 'context' | 'state'>): UnfinishedJob {
  const outputOf: ClosedOutputOf = (batch, slot) => {
    const output = state.batches[batch]?.outputs.get(slot)
    if (output?.files === undefined) return undefined
    return { root: output.root, files: output.files, providers: output.providers }
  }
  return { manifest: context.manifest, plan: context.plan, outputOf }
}

/** A job of a requester that is gone, by the messages that were seen of it. */
export function unfinishedIn(network: string, record: JobRecord): UnfinishedJob {
  const { manifest, plan } = record
  const elections = new Map()
  const get = record.get.bind(record)
  const outputs = new Map<string, ClosedOutput>()
  for (const receipt of record.ofKind('receipt')) {
    if (receipt.message.verdict !== 'accepted') continue
    const source = { network, manifest, get, elections, proofs: 'verify' } as const
    const { batch, slot, outputRoot: root, files, agreed } = verifySlot(source, receipt)
    const byPath = new Map((files ?? []).map((file) => [file.path, file]))
    outputs.set(`${batch}/${slot}`, { root, files: byPath, providers: agreed })
  }
  return { manifest, plan, outputOf: (batch, slot) => outputs.get(`${batch}/${slot}`) }
}

/**
 * The job that goes on where another stopped: same plan, same seeds, the rounds that are left. With
 * no closed round, or with adapters, it begins anew.
 *
 * @throws CtdError RESUME_NOT_TRAINING, BLOB_*
 */
export async function resumedJob(
  { bring, folderFiles }: ResumeComponents,
  { manifest, plan, outputOf }: UnfinishedJob,
): Promise<{ readonly job: NewJob; readonly round: number }> {
  const { message } = manifest
  const spec = decodeSpec(message.spec)
  if (spec.kind !== 'train') {
    throw new CtdError('RESUME_NOT_TRAINING', 'only train jobs can be resumed', {
      hint: 'submit the job again',
    })
  }
  // The state of adapters is of no use without the weights that they belong to: they begin anew.
  const closed = spec.lora === undefined ? latestClosedRound(plan, spec, outputOf) : undefined
  const state = closed === undefined ? message.inputs.slice(1) : closed.files.map(inputOf)
  const providers = new Map(closed?.files.map((file) => [file.name, file.providers]))
  const inputs = [...message.inputs.slice(0, 1), ...state]
  for (const input of inputs) {
    const digest = parseDigest(toHex(input.digest))
    const from = providers.get(input.name) ?? [manifest.author]
    await bring(digest, from, input.sizeBytes)
    const files = input.folder ? await folderFiles(digest) : []
    for (const file of files ?? []) await bring(parseDigest(file.digest), from, file.sizeBytes)
  }
  return {
    job: {
      name: message.name,
      spec: closed === undefined ? spec : { ...spec, start: closed.start },
      image: message.image,
      inputs,
      replicas: message.replicas,
      auditPpm: message.auditPpm,
      compare: message.compare,
    },
    round: closed?.start.round ?? 0,
  }
}

function inputOf({ name, digest, sizeBytes }: ClosedRound['files'][number]): Input {
  return { name, digest: fromHex(digest), sizeBytes, folder: false }
}

/**
 * The state that further epochs begin with: a file of weights, or a folder that holds
 * `weights.safetensors` or `model.safetensors`, and perhaps `momentum.safetensors`.
 *
 * @throws CtdError STATE_UNUSABLE, BLOB_*
 */
export async function startFrom(
  { blobs, bring, folderFiles }: ResumeComponents,
  text: string,
): Promise<{ readonly start: Start; readonly inputs: readonly Input[] }> {
  const digest = parseDigest(text)
  await bring(digest, [])
  const files = await folderFiles(digest)
  const found = (path: string): FolderFile | undefined => files?.find((file) => file.path === path)
  const weights =
    files === undefined
      ? { digest, sizeBytes: blobs.size(digest) }
      : (found('weights.safetensors') ?? found('model.safetensors'))
  if (weights === undefined) {
    throw new CtdError('STATE_UNUSABLE', 'the folder holds no weights to begin with', {
      hint: 'give the digest of model.safetensors, of a result or of a round',
    })
  }
  const momentum = found('momentum.safetensors')
  const parts = [
    { name: 'start-weights', file: weights },
    ...(momentum === undefined ? [] : [{ name: 'start-momentum', file: momentum }]),
  ]
  for (const { file } of parts) await bring(parseDigest(file.digest), [], file.sizeBytes)
  return {
    start: {
      of: digest,
      round: 0,
      momentum: momentum !== undefined,
      residual: false,
      feedback: 0,
    },
    inputs: parts.map(({ name, file }) => ({
      name,
      digest: fromHex(file.digest),
      sizeBytes: file.sizeBytes,
      folder: false,
    })),
  }
}
