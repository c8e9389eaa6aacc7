/** What executors say of their sketches: hidden first, then open, then checked by everybody. */
import { CtdError } from '../errors.js'
import type { Opened } from '../wire/envelope.js'
import type { Sketch as SketchMessage } from '../wire/generated/task.js'
import { fromHex, publicKeyFromPeerId, sha256, toHex, utf8 } from '../wire/ids.js'
import type { Digest, PeerId, TaskId } from '../wire/ids.js'
import type { UpdateSource } from '../training/update.js'
import { isIncluded, leafHash } from './merkle.js'
import type { MerkleTree } from './merkle.js'
import {
  bigintBytes,
  bytesBigint,
  chunkBytes,
  chunkCount,
  decodeBuckets,
  decodeChunk,
  encodeBuckets,
  openedChunks,
  RangeScan,
  restDigest,
  SKETCH,
  Sketcher,
  sketchSeedOf,
  UpdateDigester,
  updateRootOf,
} from './sketch.js'
import type { Opening, Sketch, UpdateClaim } from './sketch.js'
import type { UpdateEvidence } from './tensors.js'

const COMMITMENT_DOMAIN = utf8('ctd-sketch-v1\0')

/** What an executor makes of its update once the seed is known. */
export interface SketchedUpdate {
  readonly claim: UpdateClaim
  readonly sketch: Sketch
  readonly openings: readonly Opening[]
}

/**
 * What an executor commits to of an update, before any seed is known.
 *
 * @throws CtdError UPDATE_NOT_FINITE, UPDATE_TOO_LARGE, TENSORS_MALFORMED
 */
export async function claimUpdate(source: UpdateSource): Promise<UpdateClaim> {
  return (await digestUpdate(source)).claim
}

async function digestUpdate(
  source: UpdateSource,
): Promise<{ claim: UpdateClaim; tree: MerkleTree | undefined }> {
  const range = new RangeScan()
  for await (const values of source.values()) range.add(values)
  const digester = new UpdateDigester(range.exponent)
  for await (const values of source.values()) digester.add(values)
  return digester.finish(source.step, fromHex(restDigest(source.rest)))
}

/**
 * The same claim, with the sketch and the openings that a seed asks for.
 *
 * @param seed2 - second seed of the frozen commitments
 * @throws CtdError as `claimUpdate`
 */
export async function sketchUpdate(
  source: UpdateSource,
  seed2: Uint8Array,
): Promise<SketchedUpdate> {
  const { claim, tree } = await digestUpdate(source)
  const sketcher = new Sketcher(sketchSeedOf(seed2), claim)
  for await (const values of source.values()) sketcher.add(values)
  return { claim, sketch: sketcher.finish(), openings: sketcher.openings(tree) }
}

/** H(task, frozen commitments, peer, sketch, salt), 32 bytes. Bound to the peer: no copying. */
export function sketchCommitmentOf(input: {
  readonly taskId: TaskId
  /** Id of the freezeCommitments whose seed it uses. */
  readonly frozen: string
  readonly peer: PeerId
  readonly shift: number
  /** As they travel. */
  readonly buckets: Uint8Array
  readonly salt: Uint8Array
}): Uint8Array {
  return sha256(
    COMMITMENT_DOMAIN,
    fromHex(input.taskId),
    fromHex(input.frozen),
    publicKeyFromPeerId(input.peer),
    Uint8Array.of(input.shift),
    sha256(input.buckets),
    input.salt,
  )
}

/** The message that opens a sketch. `frozen`: id of the freezeSketches. */
export function sketchMessage(
  { claim, sketch, openings }: SketchedUpdate,
  rest: { readonly taskId: TaskId; readonly frozen: string; readonly salt: Uint8Array },
): SketchMessage {
  return {
    taskId: fromHex(rest.taskId),
    frozen: fromHex(rest.frozen),
    rest: claim.rest,
    elements: claim.elements,
    exponent: claim.exponent - SKETCH.exponentMin,
    step: claim.step,
    normSquared: bigintBytes(claim.normSquared),
    root: claim.root,
    shift: sketch.shift,
    buckets: encodeBuckets(sketch.buckets),
    openings: openings.map(({ values, path }) => ({ values: chunkBytes(values), path })),
    salt: rest.salt,
  }
}

function mismatch(reason: string): CtdError {
  return new CtdError('SKETCH_MISMATCH', reason)
}

/**
 * Whether a sketch is the one that was committed to.
 *
 * @param frozen - id of the freezeCommitments
 */
export function isCommitted(
  { author, message }: Opened<'sketch'>,
  commitment: Opened<'sketchCommitment'>,
  frozen: string,
): boolean {
  const expected = sketchCommitmentOf({
    taskId: toHex(message.taskId) as TaskId,
    frozen,
    peer: author,
    shift: message.shift,
    buckets: message.buckets,
    salt: message.salt,
  })
  return (
    commitment.author === author &&
    toHex(commitment.message.frozen) === frozen &&
    Buffer.compare(expected, commitment.message.commitment) === 0
  )
}

/**
 * Checks an opened sketch against the update that its executor had committed to, and gives what is
 * compared.
 *
 * @param updateRoot - of the executor's reveal
 * @param seed2 - second seed of the frozen commitments
 * @throws CtdError SKETCH_MISMATCH
 */
export function evidenceOf(
  { message }: Pick<Opened<'sketch'>, 'message'>,
  updateRoot: Uint8Array,
  seed2: Uint8Array,
): UpdateEvidence {
  const claim = claimOf(message)
  if (Buffer.compare(updateRootOf(claim), updateRoot) !== 0) {
    throw mismatch('the sketch is of another update than was committed to')
  }
  const { elements, exponent } = claim
  if (elements > SKETCH.elementsMax) throw mismatch('the sketch claims too many elements')
  const asked = openedChunks(sketchSeedOf(seed2), elements)
  if (asked.length !== message.openings.length) {
    throw mismatch(`${asked.length} chunks are to be opened, ${message.openings.length} were`)
  }
  const count = chunkCount(elements)
  message.openings.forEach(({ values, path }, i) => {
    const index = asked[i] ?? 0
    if (!isIncluded(leafHash(values), { index, count }, path, claim.root)) {
      throw mismatch(`chunk ${index} is not the one that was committed to`)
    }
  })
  return {
    rest: toHex(claim.rest) as Digest,
    elements,
    exponent,
    step: claim.step,
    normSquared: claim.normSquared,
    shift: message.shift,
    buckets: decodeBuckets(message.buckets),
    opened: message.openings.map(({ values }) => decodeChunk(values)),
  }
}

function claimOf(message: SketchMessage): UpdateClaim {
  return {
    rest: message.rest,
    elements: message.elements,
    exponent: message.exponent + SKETCH.exponentMin,
    step: message.step,
    normSquared: bytesBigint(message.normSquared),
    root: message.root,
  }
}

/**
 * Whether a holder of the whole update finds in a message what it makes of it itself. Compares
 * all that the message says but who, when and how it was hidden.
 */
export function isHonest(message: SketchMessage, own: SketchedUpdate): boolean {
  const expected = sketchMessage(own, {
    taskId: toHex(message.taskId) as TaskId,
    frozen: toHex(message.frozen),
    salt: message.salt,
  })
  return (
    Buffer.compare(updateRootOf(own.claim), updateRootOf(claimOf(message))) === 0 &&
    expected.shift === message.shift &&
    Buffer.compare(expected.buckets, message.buckets) === 0
  )
}

const ANY_ID = '00'.repeat(32)

/**
 * What a verdict would know of an update that is at hand: by way of the message that tells it.
 *
 * @throws CtdError as `claimUpdate`
 */
export async function evidenceUnder(
  source: UpdateSource,
  seed2: Uint8Array,
): Promise<UpdateEvidence> {
  const own = await sketchUpdate(source, seed2)
  const hidden = { taskId: ANY_ID as TaskId, frozen: ANY_ID, salt: new Uint8Array(32) }
  return evidenceOf({ message: sketchMessage(own, hidden) }, updateRootOf(own.claim), seed2)
}
