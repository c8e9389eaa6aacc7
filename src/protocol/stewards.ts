/**
 * Who the stewards of an offer are, and which of their certificates counts. How they come to one
 * is in `steward-step.ts`, the beacon that draws them in `beacon.ts`.
 */
import { joinSignatures } from '../wire/envelope.js'
import type { Opened } from '../wire/envelope.js'
import { fromHex, publicKeyFromPeerId, sha256, utf8 } from '../wire/ids.js'
import type { JobId, PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { stewardsIn } from './ballot.js'
import type { SignedInView } from './ballot.js'
import { compareBytes } from './integer.js'
import { faultsBorne, isQuorum } from './quorum.js'

/** What a peer knows of another that might be a steward. */
export interface StewardCandidate {
  readonly peer: PeerId
  readonly operator: PeerId
  readonly reliabilityPpm: number
  readonly established: boolean
  readonly excluded: boolean
}

export interface RankingInput {
  readonly jobId: JobId
  /** Beacon of the epoch, 32 bytes; empty where there is none yet. */
  readonly beacon: Uint8Array
  readonly requester: PeerId
  readonly requesterOperator: PeerId
  /** Every peer of the network that is known, the requester or not. */
  readonly peers: readonly StewardCandidate[]
  /** Peers that are known to want to compute for the job. */
  readonly bidders?: readonly PeerId[]
}

/**
 * `young`: the requester alone. `small`: stewards may bid. `mature`: they must not.
 */
export interface StewardRanking {
  readonly network: 'young' | 'small' | 'mature'
  readonly ranking: readonly PeerId[]
}

/** Sources: `trust.md` 2.3; the five of a young network as in `ELECTION_RULES`. */
export const STEWARD_RULES = {
  /** R from which an established peer is trusted with a set. */
  reliabilityPpm: 600_000,
  /** Fewer operators fit for it make a young network. */
  fitOperators: 5,
  /** Fewer peers make a small network. */
  smallPeers: 9,
} as const

const TARGET_DOMAIN = utf8('ctd/stewards/v1')
const PLACE_DOMAIN = utf8('ctd/steward-place/v1')

/**
 * Ranks the stewards of a job in one epoch: of each operator the established peer closest by XOR
 * to H(job id, beacon), closest first, at most `LIMITS.stewardCandidates`.
 *
 * The beacon moves the peers as well as the job. Were the places of peers fixed, friends could
 * choose keys that lie next to each other, and would hold every set in their neighbourhood. That
 * of the job hangs on nothing else: with the batch or the attempt in it, a requester could offer
 * again and again until the set pleases it.
 */
export function rankStewards(input: RankingInput): StewardRanking {
  const fit = input.peers.filter((peer) => isFit(input, peer))
  if (new Set(fit.map(({ operator }) => operator)).size < STEWARD_RULES.fitOperators) {
    return { network: 'young', ranking: [input.requester] }
  }
  const bidders = new Set(input.bidders)
  const ranked = closest(input, fit)
  const idle = closest(
    input,
    fit.filter(({ peer }) => !bidders.has(peer)),
  )
  const others = input.peers.filter(({ peer }) => peer !== input.requester)
  const isSmall =
    others.length + 1 < STEWARD_RULES.smallPeers || idle.length < STEWARD_RULES.fitOperators
  return isSmall ? { network: 'small', ranking: ranked } : { network: 'mature', ranking: idle }
}

function isFit(input: RankingInput, candidate: StewardCandidate): boolean {
  const { requester, requesterOperator } = input
  const isOwn =
    candidate.peer === requester ||
    candidate.operator === requester ||
    candidate.operator === requesterOperator
  const isTrusted = candidate.reliabilityPpm >= STEWARD_RULES.reliabilityPpm
  return candidate.established && isTrusted && !candidate.excluded && !isOwn
}

function closest(input: RankingInput, fit: readonly StewardCandidate[]): PeerId[] {
  const target = sha256(TARGET_DOMAIN, fromHex(input.jobId), input.beacon)
  const sorted = fit
    .map(({ peer, operator }) => {
      const place = sha256(PLACE_DOMAIN, publicKeyFromPeerId(peer), input.beacon)
      return { peer, operator, distance: place.map((byte, i) => byte ^ (target[i] ?? 0)) }
    })
    .sort((a, b) => compareBytes(a.distance, b.distance))
  const operators = new Set<PeerId>()
  const ranking: PeerId[] = []
  for (const { peer, operator } of sorted) {
    if (operators.has(operator)) continue
    operators.add(operator)
    ranking.push(peer)
  }
  return ranking.slice(0, LIMITS.stewardCandidates)
}

/**
 * Whether an offer's stewards may pass as drawn, seen from another peer, whose knowledge of the
 * network differs a little: of the first set no more than may be faulty are missing on either side.
 *
 * @param own - the ranking that this peer computes for the same job and beacon
 */
export function isLikeOwn(listed: readonly PeerId[], own: readonly PeerId[]): boolean {
  const k = Math.min(LIMITS.stewardsPerOffer, own.length)
  if (Math.min(LIMITS.stewardsPerOffer, listed.length) !== k || k === 0) return false
  const missing = own.slice(0, k).filter((peer) => !listed.slice(0, k).includes(peer))
  const strange = listed.slice(0, k).filter((peer) => !own.includes(peer))
  return missing.length <= faultsBorne(k) && strange.length <= faultsBorne(k)
}

/** Whether a quorum of its view's stewards, and nobody else, signed a certificate. */
export function isFull(offer: Opened<'offer'>, certificate: SignedInView): boolean {
  const members = stewardsIn(offer, certificate.message.view).map(({ peer }) => peer)
  const isTheirs = certificate.authors.every((author) => members.includes(author))
  return isTheirs && isQuorum(certificate.authors.length, members.length)
}

type CertificateKind =
  'freezeBids' | 'freezeOpenings' | 'task' | 'freezeCommitments' | 'freezeReveals' | 'receipt'

/**
 * Of the full certificates of one stage the one that counts, after a partition for instance: lower
 * view, then more signatures, then lower id. Copies of one certificate are joined first.
 *
 * @returns undefined where none is full
 */
export function canonicalOf<K extends CertificateKind>(
  offer: Opened<'offer'>,
  certificates: ReadonlyArray<Opened<K>>,
): Opened<K> | undefined {
  const copies = new Map<string, Array<Opened<K>>>()
  for (const each of certificates) copies.set(each.id, [...(copies.get(each.id) ?? []), each])
  return [...copies.values()]
    .map((same) => joinSignatures(same))
    .filter((certificate) => isFull(offer, certificate))
    .sort(
      (a, b) =>
        a.message.view - b.message.view ||
        b.authors.length - a.authors.length ||
        (a.id < b.id ? -1 : 1),
    )[0]
}

/** Whom a steward could and could not reach at one time. */
export interface Reach {
  readonly atMs: number
  /** Peers it is connected to or expects answers from, and how many of them are silent. */
  readonly peers: number
  readonly silent: number
}

/**
 * Whether waiting in vain says something about the peer that was waited for: not while more than
 * half of the steward's own peers were silent, for then it is the steward that is cut off.
 *
 * @param reach - what the steward saw of its peers, oldest first; each holds until the next
 * @returns false also where it had not looked before the wait began
 */
export function isTimeoutEvidence(
  wait: { readonly fromMs: number; readonly toMs: number },
  reach: readonly Reach[],
): boolean {
  const before = reach.findLast(({ atMs }) => atMs <= wait.fromMs)
  const during = reach.filter(({ atMs }) => atMs > wait.fromMs && atMs <= wait.toMs)
  return before !== undefined && ![before, ...during].some(isCutOff)
}

function isCutOff({ peers, silent }: Reach): boolean {
  return silent * 2 > peers
}
