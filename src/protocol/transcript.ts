/**
 * The transcript of a job: exactly the signed messages its result rests on, in one order. Anyone
 * who saw a job's gossip builds the same bytes; anyone who holds them can verify the job offline.
 */
import { CtdError, errorCode, errorMessage } from '../errors.js'
import { open } from '../wire/envelope.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { Transcript } from '../wire/generated/envelope.js'
import { fromHex, peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { Digest, JobId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { openFrozen } from './ballot.js'
import type { Ballot } from './ballot.js'
import { assertManifest } from './manifest.js'
import { parseMetrics } from './metrics.js'
import { missedSlots } from './elastic.js'
import type { Plan, PlannedSlot } from './plan.js'
import { batchFate } from './selection.js'
import type { MetricsOf } from './selection.js'
import { sketchesOf } from './slot-chain.js'
import { acceptedReveal } from './slot-verdict.js'

/** What a transcript is built from; `JobRecord` is one. */
export interface TranscriptSource {
  readonly manifest: Opened<'manifest'>
  readonly plan: Plan
  readonly end: Opened<'jobEnd'> | undefined
  get(id: string): AnyOpened | undefined
  messages(): Iterable<AnyOpened>
}

/** A transcript whose outer signatures, order and completeness were checked. */
export interface ParsedTranscript extends TranscriptSource {
  readonly network: string
  readonly jobId: JobId
  readonly end: Opened<'jobEnd'>
  /** The accepted receipt of every planned slot, by batch and slot. */
  readonly receipts: ReadonlyArray<Opened<'receipt'>>
}

const VERSION = 1
/** Longest chain of one slot, as `verifySlot` walks it. */
const LINKS_MAX = 256

/**
 * Builds the transcript of a job that succeeded: the manifest; for each batch the offer, frozen
 * bids and frozen openings of every attempt that is rested on, then each slot's certificates from
 * the first call to its receipt; the job's end. Attempts, slots and batches ascend. Of a slot that
 * was accepted more than once the highest attempt counts. Shards that an elastic round closed
 * without are left out.
 *
 * @throws CtdError TRANSCRIPT_INCOMPLETE when the job did not succeed or a message is missing,
 *   TRANSCRIPT_TOO_LARGE
 */
export function buildTranscript(network: string, source: TranscriptSource): Uint8Array {
  const { end, manifest } = source
  if (end?.message.status !== 'succeeded') {
    throw new CtdError('TRANSCRIPT_INCOMPLETE', 'the job has not succeeded: there is no result', {
      hint: 'a transcript proves a result; wait for the job to end',
    })
  }
  const messages = [manifest, ...acceptedOf(network, source).flatMap(messagesOf), end]
  const bytes = Transcript.encode({
    version: VERSION,
    network,
    jobId: fromHex(manifest.id),
    envelopes: messages.map((opened) => opened.bytes),
  })
  assertSize(bytes, messages.length)
  return bytes
}

function assertSize(bytes: Uint8Array, envelopes: number): void {
  if (bytes.length <= LIMITS.transcriptBytes && envelopes <= LIMITS.transcriptEnvelopes) return
  throw new CtdError('TRANSCRIPT_TOO_LARGE', `a transcript of ${bytes.length} bytes`, {
    hint: `at most ${LIMITS.transcriptBytes} bytes and ${LIMITS.transcriptEnvelopes} messages`,
  })
}

/** The chain that an accepted receipt rests on. */
interface AcceptedSlot {
  readonly ballot: Ballot
  /** From the first call to the receipt. */
  readonly chain: readonly AnyOpened[]
}

/** One list per batch that was not skipped, slots ascending. */
function acceptedOf(network: string, source: TranscriptSource): AcceptedSlot[][] {
  const best = new Map<string, AcceptedSlot>()
  for (const opened of source.messages()) {
    if (opened.kind !== 'receipt' || opened.message.verdict !== 'accepted') continue
    const { batch, slot } = opened.message
    if (source.plan.batches[batch]?.[slot] === undefined) continue
    const found = chainOf(source, opened)
    const known = best.get(`${batch}/${slot}`)
    if (known === undefined || isLater(found, known)) best.set(`${batch}/${slot}`, found)
  }
  const metricsOf: MetricsOf = (batch, slot) => {
    const found = best.get(`${batch}/${slot}`)
    return found && metricsIn(network, found)
  }
  const running = source.plan.batches.filter(
    (_, batch) => batchFate(source.plan, batch, metricsOf) !== 'skipped',
  )
  return running.map((slots, index) => {
    const missed = new Set(missedOf(source.plan, slots[0]?.batch ?? index, best))
    return slots
      .filter((planned) => !missed.has(planned))
      .map(({ batch, slot, name }) => {
        const found = best.get(`${batch}/${slot}`)
        if (found !== undefined) return found
        throw new CtdError('TRANSCRIPT_INCOMPLETE', `the accepted receipt of ${name} is missing`)
      })
  })
}

/** The slots that the accepted aggregation of a batch was not given the results of. */
function missedOf(
  plan: Plan,
  batch: number,
  best: ReadonlyMap<string, AcceptedSlot>,
): readonly PlannedSlot[] {
  const aggregate = plan.batches[batch]?.find(({ stage }) => stage === 'aggregate')
  const found = aggregate && best.get(`${batch}/${aggregate.slot}`)
  const task = found?.chain.find((link) => link.kind === 'task')
  return task?.kind === 'task' ? missedSlots(plan, batch, task.message.inputs) : []
}

/** The numbers of the result that a chain ends with accepting. */
function metricsIn(
  network: string,
  { chain }: AcceptedSlot,
): Readonly<Record<string, number>> | undefined {
  const receipt = chain.at(-1)
  const freeze = chain.findLast((link) => link.kind === 'freezeReveals')
  if (receipt?.kind !== 'receipt' || freeze?.kind !== 'freezeReveals') return undefined
  const agreed = new Set(
    receipt.message.executors.flatMap(({ peer, outcome }) =>
      outcome === 'agreed' ? [peerIdFromPublicKey(peer)] : [],
    ),
  )
  const reveals = openFrozen(network, 'reveal', freeze.message.reveals)
  const reveal = acceptedReveal(
    receipt.message.outputRoot,
    reveals.filter(({ author }) => agreed.has(author)),
  )
  return reveal && parseMetrics(reveal.message.metrics)
}

function chainOf(source: TranscriptSource, receipt: Opened<'receipt'>): AcceptedSlot {
  const chain: AnyOpened[] = [receipt]
  let id = toHex(receipt.message.previous)
  while (chain.length <= LINKS_MAX) {
    const link = need(source, id)
    switch (link.kind) {
      case 'freezeOpenings':
        return { ballot: ballotOf(source, link), chain }
      case 'task':
      case 'freezeCommitments':
      case 'freezeSketches':
      case 'freezeReveals':
        chain.unshift(...sketchesOf(source, link), link)
        id = toHex(link.message.previous)
        break
      default:
        throw malformed(`a ${link.kind} inside the chain of a slot`)
    }
  }
  throw malformed('the chain of a slot is too long')
}

function ballotOf(source: TranscriptSource, frozenOpenings: Opened<'freezeOpenings'>): Ballot {
  const frozenBids = need(source, toHex(frozenOpenings.message.frozenBids))
  if (frozenBids.kind !== 'freezeBids') throw malformed('openings without bids')
  const offer = need(source, toHex(frozenBids.message.offer))
  if (offer.kind !== 'offer') throw malformed('bids without an offer')
  return { offer, frozenBids, frozenOpenings }
}

function need(source: TranscriptSource, id: string): AnyOpened {
  const found = source.get(id)
  if (found !== undefined) return found
  throw new CtdError('TRANSCRIPT_INCOMPLETE', `the message ${id.slice(0, 16)} is missing`)
}

function malformed(message: string): CtdError {
  return new CtdError('TRANSCRIPT_MALFORMED', `not a transcript: ${message}`)
}

/** The higher attempt; of equal ones, which no honest steward writes, the smaller receipt id. */
function isLater(a: AcceptedSlot, b: AcceptedSlot): boolean {
  const [left, right] = [a.ballot.offer.message.attempt, b.ballot.offer.message.attempt]
  return left === right ? receiptId(a) < receiptId(b) : left > right
}

function receiptId({ chain }: AcceptedSlot): string {
  return chain.at(-1)?.id ?? ''
}

/** The messages of a batch in their order. */
function messagesOf(slots: readonly AcceptedSlot[]): AnyOpened[] {
  const ballots = new Map(slots.map(({ ballot }) => [ballot.frozenOpenings.id, ballot]))
  const elections = [...ballots.values()].sort(
    (a, b) =>
      a.offer.message.attempt - b.offer.message.attempt ||
      (a.frozenOpenings.id < b.frozenOpenings.id ? -1 : 1),
  )
  return [
    ...elections.flatMap((ballot) => [ballot.offer, ballot.frozenBids, ballot.frozenOpenings]),
    ...slots.flatMap(({ chain }) => chain),
  ]
}

/**
 * Reads a transcript, verifies the signature of every envelope in it, and accepts only what
 * `buildTranscript` would have written from these messages: nothing missing, nothing superfluous,
 * nothing in another place or another encoding. What stands inside the freezes, and whether the
 * messages follow from each other, is for `auditTranscript`.
 *
 * @throws CtdError TRANSCRIPT_TOO_LARGE, TRANSCRIPT_MALFORMED, TRANSCRIPT_VERSION,
 *   TRANSCRIPT_MESSAGE_INVALID (fields: `index`, `messageCode`), TRANSCRIPT_INCOMPLETE,
 *   TRANSCRIPT_NOT_CANONICAL
 */
export function parseTranscript(bytes: Uint8Array): ParsedTranscript {
  const { network, jobId, envelopes } = decode(bytes)
  const messages = envelopes.map((envelope, index) => openAt(network, envelope, index))
  const [manifest] = messages
  const end = messages.at(-1)
  if (manifest?.kind !== 'manifest' || end?.kind !== 'jobEnd') {
    throw malformed('it must begin with the manifest and end with the end of the job')
  }
  if (toHex(jobId) !== manifest.id || toHex(end.message.jobId) !== manifest.id) {
    throw malformed('the messages belong to different jobs')
  }
  if (end.author !== manifest.author) throw malformed('the end was not told by the requester')
  const byId = new Map<Digest, AnyOpened>(messages.map((opened) => [opened.id, opened]))
  const source = {
    manifest,
    plan: planOf(network, manifest),
    end,
    get: (id: string) => byId.get(id as Digest),
    messages: () => messages,
  }
  if (Buffer.compare(buildTranscript(network, source), bytes) !== 0) {
    throw new CtdError(
      'TRANSCRIPT_NOT_CANONICAL',
      'messages are superfluous, repeated or not in their places',
    )
  }
  const receipts = messages.filter((opened) => opened.kind === 'receipt')
  return { ...source, network, jobId: manifest.id as string as JobId, receipts }
}

function decode(bytes: Uint8Array): Transcript {
  assertSize(bytes, 0)
  let transcript: Transcript
  let canonical: Uint8Array
  try {
    transcript = Transcript.decode(bytes, { limits: { envelopes: LIMITS.transcriptEnvelopes } })
    canonical = Transcript.encode(transcript)
  } catch (cause) {
    throw new CtdError('TRANSCRIPT_MALFORMED', 'not a transcript', {
      hint: 'the file is damaged, cut short or something else',
      cause,
    })
  }
  if (transcript.version !== VERSION) {
    throw new CtdError('TRANSCRIPT_VERSION', `a transcript of version ${transcript.version}`, {
      hint: `this auditor knows version ${VERSION}`,
    })
  }
  if (Buffer.compare(canonical, bytes) !== 0) throw malformed('another than the one encoding')
  return transcript
}

function openAt(network: string, envelope: Uint8Array, index: number): AnyOpened {
  try {
    return open(network, envelope)
  } catch (cause) {
    throw invalidMessage(index, cause)
  }
}

function planOf(network: string, manifest: Opened<'manifest'>): Plan {
  try {
    return assertManifest(network, manifest)
  } catch (cause) {
    throw invalidMessage(0, cause)
  }
}

function invalidMessage(index: number, cause: unknown): CtdError {
  const message = `message ${index} does not hold: ${errorMessage(cause)}`
  const fields = { index, messageCode: errorCode(cause) }
  return new CtdError('TRANSCRIPT_MESSAGE_INVALID', message, { fields, cause })
}
