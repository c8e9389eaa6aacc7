/**
 * The verdict of a slot from its messages, and what its receipt says of each executor. Stewards,
 * witnesses and auditors run the same function on the same frozen messages.
 */
import type { Opened } from '../wire/envelope.js'
import { fromHex, peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { parseFolder, smallBlobDigest } from '../wire/folder.js'
import type { FolderFile } from '../wire/folder.js'
import { LIMITS } from '../wire/limits.js'
import type { Loss } from './assignment.js'
import { openFrozen } from './ballot.js'
import { groupResults } from './compare.js'
import type { ComparePolicy } from './compare.js'
import { metricsMicro, parseMetrics } from './metrics.js'
import { outcomeOf } from './task.js'
import type { UpdateEvidence } from './tensors.js'
import { judge } from './verdict.js'

export interface VerdictContext {
  readonly network: string
  readonly frozenBids: Opened<'freezeBids'>
}

export type SlotVerdict =
  | {
      readonly kind: 'accept'
      /** Root of the accepted output, 32 bytes, and the outcome all agreed on. */
      readonly outputRoot: Uint8Array
      readonly outcome: Digest
      readonly agreed: readonly PeerId[]
      readonly dissented: readonly PeerId[]
      readonly struck: ReadonlySet<PeerId>
    }
  | { readonly kind: 'escalate' | 'reject'; readonly code: string; readonly reason: string }

/** Whether nobody more can be asked: no standby is left, or all replicas are used up. */
export function isLastReplica(slot: {
  readonly ranked: number
  readonly seats: number
  readonly committed: number
}): boolean {
  return slot.ranked <= slot.seats || slot.committed >= LIMITS.replicasPerTask
}

/** Replicas that all differ before a job counts as nondeterministic without asking all seven. */
const ALL_DIFFERENT_MIN = 4

interface Bidder {
  readonly operator: PeerId
  readonly established: boolean
  readonly reliabilityPpm: number
}

function biddersOf({ network, frozenBids }: VerdictContext): Map<PeerId, Bidder> {
  const bids = openFrozen(network, 'bid', frozenBids.message.bids)
  return new Map(
    bids.map((bid, i) => {
      const standing = frozenBids.message.standings[i]
      return [
        bid.author,
        {
          operator: peerIdFromPublicKey(bid.message.operator),
          established: standing?.established ?? false,
          reliabilityPpm: standing?.reliabilityPpm ?? 0,
        },
      ]
    }),
  )
}

/**
 * Judges a slot.
 *
 * @param input.reveals - reveals that match their frozen commitments
 * @param input.firstFreeze - the first commitments that were frozen: of those the seats were
 *   foreseen; undefined where none were frozen
 * @param input.isLast - `isLastReplica`: nothing can be escalated any more
 */
export function slotVerdict(
  input: VerdictContext & {
    readonly firstFreeze: Opened<'freezeCommitments'> | undefined
    readonly reveals: ReadonlyArray<Opened<'reveal'>>
    /** What the sketches say, where tensors are compared. */
    readonly updates: ReadonlyMap<PeerId, UpdateEvidence>
    /** Of this slot. */
    readonly policy: ComparePolicy
    readonly young: boolean
    readonly isLast: boolean
  },
): SlotVerdict {
  const bidders = biddersOf(input)
  const early = openFrozen(
    input.network,
    'commitment',
    input.firstFreeze?.message.commitments ?? [],
  )
  const foreseen = new Set(early.map(({ author }) => author))
  const outcomes = input.reveals.flatMap((reveal) => {
    const bidder = bidders.get(reveal.author)
    if (bidder === undefined) return []
    const { author: peer, message } = reveal
    const root = outcomeOf(message)
    const numbers = metricsMicro(parseMetrics(message.metrics))
    const update = input.updates.get(peer)
    const result = { peer, ...bidder, root, metricsMicro: numbers, foreseen: foreseen.has(peer) }
    return [update === undefined ? result : { ...result, update }]
  })
  const { policy } = input
  const allDiffer = groupResults(outcomes, policy).length === outcomes.length
  const isFinal = input.isLast || (allDiffer && outcomes.length >= ALL_DIFFERENT_MIN)
  const verdict = judge({
    outcomes,
    policy,
    young: input.young,
    executed: isFinal ? LIMITS.replicasPerTask : outcomes.length,
  })
  if (verdict.kind !== 'accept') {
    const { code, words } = verdict.reason
    return { kind: verdict.kind, code, reason: words }
  }
  const first = input.reveals.find((reveal) => outcomeOf(reveal.message) === verdict.root)
  return {
    kind: 'accept',
    outputRoot: first?.message.outputRoot ?? fromHex(verdict.root),
    outcome: verdict.root,
    agreed: verdict.agreed,
    dissented: verdict.dissented,
    struck: new Set(verdict.strikes.map(({ peer }) => peer)),
  }
}

export interface ReceiptOutcome {
  readonly peer: PeerId
  readonly operator: PeerId
  readonly outcome: 'agreed' | 'dissented' | 'spared' | Loss['outcome']
  readonly durationMs: number
  readonly root: Uint8Array
}

/**
 * The reveal whose output and numbers count: the first author's of those with the accepted output,
 * and with its listing if any carries that. Under tolerances others may have agreed with other
 * bytes.
 */
export function acceptedReveal(
  outputRoot: Uint8Array,
  agreed: ReadonlyArray<Opened<'reveal'>>,
): Opened<'reveal'> | undefined {
  const same = agreed
    .filter(({ message }) => Buffer.compare(message.outputRoot, outputRoot) === 0)
    .sort((a, b) => (a.author < b.author ? -1 : 1))
  return same.find((reveal) => listedFiles(reveal) !== undefined) ?? same[0]
}

/**
 * What a receipt says of every called executor, in the order of the ranking. `spared`: another
 * result than the accepted one, or any result of a rejected task, without blame.
 */
export function receiptOutcomes(
  input: VerdictContext & {
    readonly called: readonly PeerId[]
    readonly verdict: SlotVerdict
    readonly reveals: ReadonlyMap<PeerId, Opened<'reveal'>>
    readonly lost: ReadonlyMap<PeerId, Loss>
  },
): ReceiptOutcome[] {
  const bidders = biddersOf(input)
  return input.called.flatMap((peer): ReceiptOutcome[] => {
    const operator = bidders.get(peer)?.operator
    const reveal = input.reveals.get(peer)
    const loss = input.lost.get(peer)
    if (operator === undefined) return []
    if (reveal === undefined) {
      if (loss === undefined) return []
      return [{ peer, operator, outcome: loss.outcome, durationMs: 0, root: new Uint8Array(0) }]
    }
    const root = fromHex(outcomeOf(reveal.message))
    const { durationMs } = reveal.message
    return [{ peer, operator, outcome: judged(input.verdict, peer), durationMs, root }]
  })
}

function judged(verdict: SlotVerdict, peer: PeerId): 'agreed' | 'dissented' | 'spared' {
  if (verdict.kind !== 'accept') return 'spared'
  if (verdict.agreed.includes(peer)) return 'agreed'
  return verdict.struck.has(peer) ? 'dissented' : 'spared'
}

/** The files a reveal lists; undefined where the listing is left out or is not that of the root. */
export function listedFiles(
  reveal: Opened<'reveal'> | undefined,
): readonly FolderFile[] | undefined {
  const listing = reveal?.message.listing
  if (reveal === undefined || listing === undefined) return undefined
  if (smallBlobDigest(listing) !== toHex(reveal.message.outputRoot)) return undefined
  try {
    return parseFolder(listing)
  } catch {
    return undefined // The root is that of bytes that are no listing: nobody can use it.
  }
}
