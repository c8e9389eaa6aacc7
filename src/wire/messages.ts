/**
 * The table of message kinds: number, codec, size limit and the checks that a message must pass
 * on its own. What fails here is the sender's fault at any time and in any state.
 */
import { Capability } from './generated/capability.js'
import {
  Acknowledgement,
  Bid,
  Decline,
  FreezeBids,
  FreezeOpenings,
  Offer,
  VrfOpen,
} from './generated/election.js'
import { JobEnd, JobManifest } from './generated/job.js'
import {
  Commitment,
  Failure,
  type FetchState,
  FreezeCommitments,
  FreezeReveals,
  FreezeSketches,
  Heartbeat,
  Receipt,
  Reveal,
  Sketch,
  SketchCommitment,
  Task,
} from './generated/task.js'
import { CtdError } from '../errors.js'
import { LIMITS } from './limits.js'

/** The message types by kind. */
export interface Messages {
  capability: Capability
  manifest: JobManifest
  jobEnd: JobEnd
  offer: Offer
  bid: Bid
  decline: Decline
  freezeBids: FreezeBids
  vrfOpen: VrfOpen
  freezeOpenings: FreezeOpenings
  task: Task
  heartbeat: Heartbeat
  failure: Failure
  commitment: Commitment
  freezeCommitments: FreezeCommitments
  reveal: Reveal
  freezeReveals: FreezeReveals
  receipt: Receipt
  acknowledgement: Acknowledgement
  sketchCommitment: SketchCommitment
  freezeSketches: FreezeSketches
  sketch: Sketch
}
export type MessageKind = keyof Messages

interface Codec<T> {
  encode(message: T): Uint8Array
  decode(bytes: Uint8Array, options?: { limits?: Record<string, unknown> }): T
}

interface KindRow<T> {
  /** Number on the wire; never reused. */
  readonly id: number
  readonly codec: Codec<T>
  readonly maxBytes: number
  /** Certificates are signed by one or more stewards; their id does not depend on which. */
  readonly certificate: boolean
  readonly check: (message: T) => boolean
}

const KiB = 1024
const is32 = (bytes: Uint8Array): boolean => bytes.length === 32
const isText = (text: string): boolean => text.length <= LIMITS.textBytes
/** Bytes, not characters: 64 bids with their texts must fit into one freeze. */
const isShortUtf8 = (text: string): boolean => Buffer.byteLength(text) <= LIMITS.textBytes
const upTo = (items: readonly unknown[], max: number): boolean => items.length <= max
const isView = (view: number): boolean => view < LIMITS.stewardViews
const isFetchState = ({ what, sources }: FetchState): boolean =>
  isText(what) &&
  upTo(sources, LIMITS.fetchSources) &&
  sources.every(({ peer, state }) => is32(peer) && state.length <= LIMITS.fetchStateChars)
/** Kinds of messages that stewards acknowledge. */
const ACKNOWLEDGED: readonly number[] = [5, 8, 13, 15]

const KINDS: { readonly [K in MessageKind]: KindRow<Messages[K]> } = {
  capability: {
    id: 1,
    codec: Capability,
    maxBytes: 4 * KiB,
    certificate: false,
    check: (m) =>
      is32(m.vrfKey) &&
      is32(m.operator) &&
      upTo(m.gpus, LIMITS.gpusPerPeer) &&
      upTo(m.isolation, 8),
  },
  manifest: {
    id: 2,
    codec: JobManifest as unknown as Codec<JobManifest>,
    maxBytes: 48 * KiB,
    certificate: false,
    check: (m) =>
      m.version === 1 &&
      is32(m.planSeed) &&
      is32(m.publisher) &&
      is32(m.operator) &&
      m.publisherSignature.length === 64 &&
      m.spec.length <= LIMITS.specBytes &&
      upTo(m.image?.diffIds ?? [], LIMITS.diffIdsPerImage) &&
      upTo(m.inputs, LIMITS.inputsPerJob) &&
      m.inputs.every((input) => is32(input.digest) && isText(input.name)) &&
      m.replicas >= LIMITS.replicasMin &&
      m.replicas <= LIMITS.replicasPerTask &&
      m.auditPpm <= 1_000_000 &&
      isText(m.name),
  },
  jobEnd: {
    id: 3,
    codec: JobEnd,
    maxBytes: 16 * KiB,
    certificate: false,
    check: (m) =>
      is32(m.jobId) && ['succeeded', 'failed', 'cancelled'].includes(m.status) && isText(m.code),
  },
  offer: {
    id: 4,
    codec: Offer as unknown as Codec<Offer>,
    maxBytes: 4 * KiB,
    certificate: false,
    check: (m) =>
      is32(m.jobId) &&
      m.slots >= 1 &&
      m.slots <= LIMITS.slotsPerBatch &&
      m.replicas >= LIMITS.replicasMin &&
      m.replicas <= LIMITS.replicasPerTask &&
      m.stewards.length >= 1 &&
      upTo(m.stewards, LIMITS.stewardCandidates) &&
      m.stewards.every(is32) &&
      new Set(m.stewards.map((key) => Buffer.from(key).toString('hex'))).size ===
        m.stewards.length &&
      m.stewardVrfKeys.length === m.stewards.length &&
      m.stewardVrfKeys.every(is32) &&
      (m.beacon.length === 32 || (m.beacon.length === 0 && m.epoch === 0)) &&
      m.requirements !== undefined,
  },
  bid: {
    id: 5,
    codec: Bid,
    maxBytes: 1 * KiB,
    certificate: false,
    check: (m) =>
      is32(m.offer) && is32(m.vrfKey) && is32(m.operator) && isShortUtf8(m.hardwareClass),
  },
  decline: {
    id: 6,
    codec: Decline,
    maxBytes: 1 * KiB,
    certificate: false,
    check: (m) => is32(m.offer) && isText(m.code) && isText(m.reason),
  },
  freezeBids: {
    id: 7,
    codec: FreezeBids,
    maxBytes: LIMITS.envelopeBytes,
    certificate: true,
    check: (m) =>
      is32(m.offer) &&
      m.bids.length === m.standings.length &&
      upTo(m.bids, LIMITS.bidsPerOffer) &&
      isView(m.view),
  },
  vrfOpen: {
    id: 8,
    codec: VrfOpen,
    maxBytes: 512,
    certificate: false,
    check: (m) => is32(m.frozenBids) && m.proof.length === 80,
  },
  freezeOpenings: {
    id: 9,
    codec: FreezeOpenings,
    maxBytes: LIMITS.envelopeBytes,
    certificate: true,
    check: (m) => is32(m.frozenBids) && upTo(m.openings, LIMITS.bidsPerOffer) && isView(m.view),
  },
  task: {
    id: 10,
    codec: Task,
    maxBytes: 48 * KiB,
    certificate: true,
    check: (m) =>
      is32(m.previous) &&
      is32(m.jobId) &&
      m.seats >= LIMITS.replicasMin &&
      upTo(m.inputs, LIMITS.inputsPerTask) &&
      m.inputs.every((input) => is32(input.digest) && isText(input.name)) &&
      upTo(m.providers, LIMITS.providersPerTask) &&
      m.providers.every(is32) &&
      isView(m.view) &&
      m.round.length <= LIMITS.roundBytes,
  },
  heartbeat: {
    id: 11,
    codec: Heartbeat,
    maxBytes: 2 * KiB,
    certificate: false,
    check: (m) =>
      is32(m.taskId) &&
      isText(m.phase) &&
      isText(m.note) &&
      (m.fetch === undefined || isFetchState(m.fetch)),
  },
  failure: {
    id: 12,
    codec: Failure,
    maxBytes: 2 * KiB,
    certificate: false,
    check: (m) => is32(m.taskId) && isText(m.code) && isText(m.reason),
  },
  commitment: {
    id: 13,
    codec: Commitment,
    maxBytes: 512,
    certificate: false,
    check: (m) => is32(m.taskId) && is32(m.commitment),
  },
  freezeCommitments: {
    id: 14,
    codec: FreezeCommitments,
    maxBytes: 16 * KiB,
    certificate: true,
    check: (m) =>
      is32(m.previous) &&
      upTo(m.vrfProofs, LIMITS.stewardsPerOffer) &&
      m.vrfProofs.every((proof) => proof.length === 80 || proof.length === 0) &&
      upTo(m.commitments, LIMITS.replicasPerTask) &&
      isView(m.view),
  },
  reveal: {
    id: 15,
    codec: Reveal,
    maxBytes: 8 * KiB,
    certificate: false,
    check: (m) =>
      is32(m.taskId) &&
      is32(m.outputRoot) &&
      is32(m.salt) &&
      m.metrics.length <= LIMITS.metricsBytes &&
      m.listing.length <= LIMITS.listingBytes &&
      (m.updateRoot.length === 0 || is32(m.updateRoot)),
  },
  freezeReveals: {
    id: 16,
    codec: FreezeReveals,
    maxBytes: LIMITS.envelopeBytes,
    certificate: true,
    check: (m) =>
      is32(m.previous) &&
      upTo(m.reveals, LIMITS.replicasPerTask) &&
      (m.sketches.length === 0 || m.sketches.length === m.reveals.length) &&
      m.sketches.every(is32) &&
      isView(m.view),
  },
  receipt: {
    id: 17,
    codec: Receipt,
    // Every bidder of an offer may have been called: 64 outcomes of about 130 bytes.
    maxBytes: 16 * KiB,
    certificate: true,
    check: (m) =>
      is32(m.previous) &&
      is32(m.jobId) &&
      is32(m.taskId) &&
      ['accepted', 'rejected'].includes(m.verdict) &&
      upTo(m.executors, LIMITS.bidsPerOffer) &&
      m.executors.every((executor) => is32(executor.peer) && is32(executor.operator)) &&
      isText(m.reason) &&
      isView(m.view),
  },
  acknowledgement: {
    id: 18,
    codec: Acknowledgement,
    maxBytes: 512,
    certificate: false,
    check: (m) => is32(m.offer) && is32(m.stage) && isView(m.view) && isAcknowledged(m),
  },
  sketchCommitment: {
    id: 19,
    codec: SketchCommitment,
    maxBytes: 512,
    certificate: false,
    check: (m) => is32(m.taskId) && is32(m.frozen) && is32(m.commitment),
  },
  freezeSketches: {
    id: 20,
    codec: FreezeSketches,
    maxBytes: 16 * KiB,
    certificate: true,
    check: (m) => is32(m.previous) && upTo(m.commitments, LIMITS.replicasPerTask) && isView(m.view),
  },
  sketch: {
    id: 21,
    codec: Sketch as unknown as Codec<Sketch>,
    // 8 KiB of buckets and eight chunks with paths of up to 30 hashes.
    maxBytes: 20 * KiB,
    certificate: false,
    check: (m) =>
      is32(m.taskId) &&
      is32(m.frozen) &&
      is32(m.rest) &&
      is32(m.root) &&
      is32(m.salt) &&
      m.exponent <= LIMITS.sketchExponents &&
      m.step <= 2 ** 30 &&
      m.normSquared.length <= 16 &&
      m.normSquared[0] !== 0 &&
      m.shift <= LIMITS.sketchShift &&
      m.buckets.length === LIMITS.sketchBytes &&
      upTo(m.openings, LIMITS.sketchOpenings) &&
      m.openings.every(isOpening),
  },
}

function isOpening({ values, path }: { values: Uint8Array; path: Uint8Array }): boolean {
  return values.length === LIMITS.sketchChunkBytes && path.length <= 32 * LIMITS.sketchPathHashes
}

/** Either of a message, or (kind 0) the word in which view a steward is. */
function isAcknowledged(m: Acknowledgement): boolean {
  if (m.kind === 0) {
    return m.message.length === 0 && m.author.length === 0 && m.attempt === 0
  }
  return ACKNOWLEDGED.includes(m.kind) && is32(m.message) && is32(m.author) && m.view === 0
}

const KIND_BY_ID = new Map<number, MessageKind>(
  (Object.keys(KINDS) as MessageKind[]).map((kind) => [KINDS[kind].id, kind]),
)

export function kindId(kind: MessageKind): number {
  return KINDS[kind].id
}

/** The kind of a wire number; undefined for numbers of later versions. */
export function kindOf(id: number): MessageKind | undefined {
  return KIND_BY_ID.get(id)
}

export function isCertificate(kind: MessageKind): boolean {
  return KINDS[kind].certificate
}

/** @throws CtdError MESSAGE_TOO_LARGE when the encoding passes the limit of its kind */
export function encodeMessage<K extends MessageKind>(kind: K, message: Messages[K]): Uint8Array {
  const bytes = KINDS[kind].codec.encode(message)
  if (bytes.length > KINDS[kind].maxBytes) {
    throw new CtdError('MESSAGE_TOO_LARGE', `${kind} has ${bytes.length} bytes`, {
      fields: { maxBytes: KINDS[kind].maxBytes },
    })
  }
  return bytes
}

/**
 * Decodes a payload of a known kind within its limits.
 *
 * @throws CtdError MESSAGE_TOO_LARGE, MESSAGE_MALFORMED (not protobuf, not the one encoding that
 *   we would write ourselves, or impossible on its own)
 */
export function decodeMessage<K extends MessageKind>(kind: K, bytes: Uint8Array): Messages[K] {
  const row = KINDS[kind]
  if (bytes.length > row.maxBytes) {
    throw new CtdError('MESSAGE_TOO_LARGE', `${kind} has ${bytes.length} bytes`)
  }
  let message: Messages[K]
  let canonical: Uint8Array
  try {
    message = row.codec.decode(bytes)
    canonical = row.codec.encode(message)
  } catch (cause) {
    throw new CtdError('MESSAGE_MALFORMED', `${kind} is not protobuf`, { cause })
  }
  if (Buffer.compare(canonical, bytes) !== 0 || !row.check(message)) {
    throw new CtdError('MESSAGE_MALFORMED', `${kind} is not a valid message`)
  }
  return message
}
