/**
 * The evidence file: all receipts and faults that a steward had when it froze bids, with the chains
 * they rest on. From it the standings of the bidders follow, so an auditor need not take the
 * steward's word for the weights of the lottery.
 */
import { CtdError } from '../errors.js'
import { open } from '../wire/envelope.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import type { Standing } from '../wire/generated/election.js'
import { Evidence } from '../wire/generated/evidence.js'
import { toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { openFrozen } from './ballot.js'
import type { Election } from './election.js'
import { evidenceRoot } from './evidence-root.js'
import { openFault } from './fault.js'
import { assertManifest } from './manifest.js'
import { reputationReceipt } from './reputation-receipt.js'
import { scoreFrom } from './reputation-fold.js'
import { excludedForEver } from './reputation.js'
import type { ReputationReceipt, Score, WorkKind } from './reputation.js'
import type { Plan } from './plan.js'
import { verifySlot } from './slot-chain.js'
import { standingsOf } from './standings.js'

const VERSION = 1

/** What was known when a root was quoted. */
interface KnownThen {
  readonly receipts: number
  readonly accused: ReadonlySet<PeerId>
}

/** Evidence whose every receipt and fault has been verified. */
export class VerifiedEvidence {
  readonly network: string
  readonly #receipts: readonly ReputationReceipt[]
  readonly #sets: ReadonlyMap<string, KnownThen>
  readonly #ofPeer = new Map<PeerId, Array<readonly [number, ReputationReceipt]>>()

  constructor(
    network: string,
    receipts: readonly ReputationReceipt[],
    sets: ReadonlyMap<string, KnownThen>,
  ) {
    this.network = network
    this.#receipts = receipts
    this.#sets = sets
    receipts.forEach((receipt, i) => {
      const named = [
        ...receipt.executors.map(({ peer }) => peer),
        ...(receipt.unopened?.peers ?? []),
      ]
      for (const peer of new Set(named)) {
        const known = this.#ofPeer.get(peer) ?? []
        known.push([i, receipt])
        this.#ofPeer.set(peer, known)
      }
    })
  }

  get receipts(): number {
    return this.#receipts.length
  }

  /**
   * The first bidder whose frozen standing does not follow from the evidence.
   *
   * @param work - what the offer of those bids asked for
   * @returns `unknown` where this evidence holds nothing under the quoted root
   */
  check(
    frozen: Opened<'freezeBids'>,
    work: WorkKind,
  ): 'unknown' | 'ok' | { readonly peer: PeerId } {
    const { bids, standings, receiptRoot, frozenMs } = frozen.message
    const known = this.#sets.get(toHex(receiptRoot))
    if (known === undefined) return 'unknown'
    const opened = openFrozen(this.network, 'bid', bids)
    const expected = standingsOf(opened, {
      score: (peer) => this.#scoreOf(peer, frozenMs, known),
      // Where a bidder connects from is for the steward alone to see.
      prefixOf: () => '',
      work,
    })
    const wrong = opened.find(({ author }, i) => !isSame(expected.get(author), standings[i]))
    return wrong === undefined ? 'ok' : { peer: wrong.author }
  }

  #scoreOf(peer: PeerId, atMs: number, { receipts, accused }: KnownThen): Score {
    const then = (this.#ofPeer.get(peer) ?? []).flatMap(([i, receipt]) =>
      i < receipts ? [receipt] : [],
    )
    const score = scoreFrom(then, peer, atMs)
    return accused.has(peer) ? excludedForEver(score) : score
  }
}

function isSame(a: Standing | undefined, b: Standing | undefined): boolean {
  return (
    a !== undefined &&
    b !== undefined &&
    a.reliabilityPpm === b.reliabilityPpm &&
    a.availabilityPpm === b.availabilityPpm &&
    a.speedPpm === b.speedPpm &&
    a.established === b.established &&
    a.excluded === b.excluded
  )
}

/**
 * Reads an evidence file and verifies all of it: each receipt by its whole chain, each fault by its
 * two messages, each set by its root.
 *
 * @throws CtdError EVIDENCE_MALFORMED, EVIDENCE_INVALID and what `open` and `verifySlot` throw
 */
export function openEvidence(bytes: Uint8Array): VerifiedEvidence {
  const { network, sets, receipts, faults, envelopes } = decode(bytes)
  const messages = new Map<string, AnyOpened>()
  for (const envelope of envelopes) {
    const opened = open(network, envelope)
    messages.set(opened.id, opened)
  }
  const elections = new Map<Digest, Election>()
  const plans = new Map<string, Plan>()
  const ids = receipts.map(toHex)
  const verified = ids.map((id) => {
    const receipt = messages.get(id)
    if (receipt?.kind !== 'receipt') throw invalid('a receipt is missing')
    const manifest = messages.get(toHex(receipt.message.jobId))
    if (manifest?.kind !== 'manifest') throw invalid('the job of a receipt is missing')
    const plan = plans.get(manifest.id) ?? assertManifest(network, manifest)
    plans.set(manifest.id, plan)
    const get = (other: string): AnyOpened | undefined => messages.get(other)
    const source = { network, manifest, plan, get, elections, proofs: 'verify' } as const
    return reputationReceipt(manifest.author, receipt, verifySlot(source, receipt))
  })
  const accused = faults.map((fault) => openFault(network, fault).accused)
  const known = new Map<string, KnownThen>()
  for (const set of sets) {
    const then = accused.slice(0, set.faults).flat()
    const root = evidenceRoot(ids.slice(0, set.receipts), [...new Set(then)])
    if (Buffer.compare(root, set.root) !== 0) throw invalid('a set is not that of its root')
    known.set(toHex(root), { receipts: set.receipts, accused: new Set(then) })
  }
  return new VerifiedEvidence(network, verified, known)
}

/** @throws CtdError EVIDENCE_TOO_LARGE */
export function encodeEvidence(evidence: Omit<Evidence, 'version'>): Uint8Array {
  const bytes = Evidence.encode({ version: VERSION, ...evidence })
  if (bytes.length <= LIMITS.transcriptBytes) return bytes
  throw new CtdError('EVIDENCE_TOO_LARGE', `evidence of ${bytes.length} bytes`, {
    hint: `at most ${LIMITS.transcriptBytes} bytes; the result can be audited without it`,
  })
}

function decode(bytes: Uint8Array): Evidence {
  let evidence: Evidence
  let canonical: Uint8Array
  try {
    evidence = Evidence.decode(bytes, {
      limits: {
        sets: LIMITS.batchesPerJob,
        receipts: LIMITS.receiptsPerBucket,
        faults: LIMITS.faultyPeers,
        envelopes: LIMITS.transcriptEnvelopes,
      },
    })
    canonical = Evidence.encode(evidence)
  } catch (cause) {
    throw new CtdError('EVIDENCE_MALFORMED', 'not an evidence file', { cause })
  }
  if (evidence.version !== VERSION || Buffer.compare(canonical, bytes) !== 0) {
    throw new CtdError('EVIDENCE_MALFORMED', 'not an evidence file of a version known here')
  }
  return evidence
}

function invalid(message: string): CtdError {
  return new CtdError('EVIDENCE_INVALID', message)
}
