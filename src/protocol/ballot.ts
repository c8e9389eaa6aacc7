/**
 * From frozen messages to an election: opens the envelopes inside the freezes, checks that they
 * belong together and hands plain numbers to the lottery.
 */
import { CtdError } from '../errors.js'
import { openAs } from '../wire/envelope.js'
import type { Opened } from '../wire/envelope.js'
import {
  fromHex,
  peerIdFromPublicKey,
  publicKeyFromPeerId,
  sha256,
  toHex,
  utf8,
} from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import { elect, secondSeed } from './election.js'
import type { Candidate, Election } from './election.js'
import { isQuorum, membersAt } from './quorum.js'
import { vrfOutput, vrfVerify } from './vrf.js'

/** The three messages an election follows from. */
export interface Ballot {
  readonly offer: Opened<'offer'>
  readonly frozenBids: Opened<'freezeBids'>
  readonly frozenOpenings: Opened<'freezeOpenings'>
}

const ALPHA_DOMAIN = utf8('ctd-vrf-open-v1\0')
const SEED2_DOMAIN = utf8('ctd-seed2-v1\0')

/** What a bidder proves its VRF output over: offer, attempt and the frozen set of bids. */
export function openingAlpha(offer: Opened<'offer'>, frozenBidsId: string): Uint8Array {
  const attempt = Buffer.alloc(4)
  attempt.writeUInt32BE(offer.message.attempt)
  return sha256(ALPHA_DOMAIN, fromHex(offer.id), attempt, fromHex(frozenBidsId))
}

/** What a steward proves its VRF output over: the frozen commitments and their predecessor. */
export function commitmentsAlpha(
  previous: Uint8Array,
  commitments: readonly Uint8Array[],
): Uint8Array {
  return sha256(SEED2_DOMAIN, previous, ...commitments.map((bytes) => sha256(bytes)))
}

/** What freezes hold. */
type FrozenKind = 'bid' | 'vrfOpen' | 'commitment' | 'reveal' | 'sketchCommitment'

/** The envelopes of a freeze, opened, of one kind, sorted by author without repetition. */
export function openFrozen<K extends FrozenKind>(
  network: string,
  kind: K,
  envelopes: readonly Uint8Array[],
): ReadonlyArray<Opened<K>> {
  const opened = envelopes.map((bytes) => openAs(network, bytes, kind))
  opened.forEach((envelope, i) => {
    const before = opened[i - 1]
    if (before !== undefined && before.author >= envelope.author) {
      throw new CtdError('FREEZE_UNSORTED', `a freeze of ${kind}s is not sorted by author`)
    }
  })
  return opened
}

/** Sorts envelopes the way a freeze lists them. */
export function sortByAuthor<K extends FrozenKind>(
  envelopes: Iterable<Opened<K>>,
): Array<Opened<K>> {
  return [...envelopes].sort((a, b) => (a.author < b.author ? -1 : a.author > b.author ? 1 : 0))
}

function isSame(a: Uint8Array, hex: string): boolean {
  return toHex(a) === hex
}

/**
 * Recomputes the election of a batch.
 *
 * @param proofs - `verify` checks every VRF proof (auditors, stewards); `trust` reads the outputs
 *   without checking, for peers that only need to know when they are called
 * @throws CtdError BALLOT_INVALID, FREEZE_UNSORTED, NO_ELIGIBLE_BIDS and what `open` throws
 */
export function electionOf(
  network: string,
  ballot: Ballot,
  requester: PeerId,
  proofs: 'verify' | 'trust',
): Election {
  const { offer, frozenBids, frozenOpenings } = ballot
  if (
    !isSame(frozenBids.message.offer, offer.id) ||
    !isSame(frozenOpenings.message.frozenBids, frozenBids.id)
  ) {
    throw new CtdError('BALLOT_INVALID', 'the freezes do not belong to the offer')
  }
  assertStewards(offer, frozenBids)
  assertStewards(offer, frozenOpenings)
  const bids = openFrozen(network, 'bid', frozenBids.message.bids)
  const alpha = openingAlpha(offer, frozenBids.id)
  const candidates = new Map<PeerId, Candidate>()
  const vrfKeys = new Map<PeerId, Uint8Array>()
  bids.forEach((bid, i) => {
    const standing = frozenBids.message.standings[i]
    if (standing === undefined || !isSame(bid.message.offer, offer.id)) {
      throw new CtdError('BALLOT_INVALID', 'a frozen bid is for another offer')
    }
    vrfKeys.set(bid.author, bid.message.vrfKey)
    candidates.set(bid.author, {
      peer: bid.author,
      operator: peerIdFromPublicKey(bid.message.operator),
      addressPrefix: standing.addressPrefix,
      vrfKey: bid.message.vrfKey,
      capacity: bid.message.capacity,
      availabilityPpm: BigInt(standing.availabilityPpm),
      reliabilityPpm: BigInt(standing.reliabilityPpm),
      speedPpm: BigInt(standing.speedPpm),
      established: standing.established,
      excluded: standing.excluded,
      meetsRequirement: true,
    })
  })
  const openings = openFrozen(network, 'vrfOpen', frozenOpenings.message.openings).map(
    (opening) => {
      const vrfKey = vrfKeys.get(opening.author)
      if (vrfKey === undefined || !isSame(opening.message.frozenBids, frozenBids.id)) {
        throw new CtdError('BALLOT_INVALID', `${opening.author} opened without a frozen bid`)
      }
      const output =
        proofs === 'verify'
          ? vrfVerify(vrfKey, alpha, opening.message.proof)
          : vrfOutput(opening.message.proof)
      if (output === undefined) {
        throw new CtdError('VRF_INVALID', `the VRF proof of ${opening.author} does not verify`)
      }
      return { peer: opening.author, output }
    },
  )
  return elect({
    offerHash: fromHex(offer.id),
    attempt: offer.message.attempt,
    frozenBidsHash: fromHex(frozenBids.id),
    slots: offer.message.slots,
    replicas: offer.message.replicas,
    requester,
    candidates: [...candidates.values()],
    openings,
    diversity:
      offer.message.diversity === 'operator-and-address' ? 'operator-and-address' : 'operator',
  })
}

/** A steward of an offer, with the key its VRF proofs verify under. */
export interface Steward {
  readonly peer: PeerId
  readonly vrfKey: Uint8Array
}

/** A certificate of any kind, with who signed it and in which view. */
export interface SignedInView {
  readonly authors: readonly PeerId[]
  readonly message: { readonly view: number }
}

/** The stewards of one view, its leader first. */
export function stewardsIn(offer: Opened<'offer'>, view: number): readonly Steward[] {
  const { stewards, stewardVrfKeys } = offer.message
  const ranked = stewards.map((key, i) => ({
    peer: peerIdFromPublicKey(key),
    vrfKey: stewardVrfKeys[i] ?? new Uint8Array(0),
  }))
  return membersAt(ranked, view)
}

/** @throws CtdError NOT_A_STEWARD for whoever is in no view's set */
export function assertCandidate(offer: Opened<'offer'>, peer: PeerId): void {
  if (offer.message.stewards.some((key) => peerIdFromPublicKey(key) === peer)) return
  throw new CtdError('NOT_A_STEWARD', `${peer} is no steward of the offer`)
}

/**
 * @throws CtdError NOT_A_STEWARD unless the stewards of the certificate's view signed it, two
 *   thirds of them at least, and nobody else
 */
export function assertStewards(offer: Opened<'offer'>, certificate: SignedInView): void {
  const members = new Set(stewardsIn(offer, certificate.message.view).map(({ peer }) => peer))
  const isTheirs = certificate.authors.every((author) => members.has(author))
  if (!isTheirs || !isQuorum(certificate.authors.length, members.size)) {
    throw new CtdError('NOT_A_STEWARD', 'a certificate is not signed by the stewards of its offer')
  }
}

/**
 * The second seed of a task, from the VRF outputs of the stewards that opened over its frozen
 * commitments. A lone steward's output is the seed itself; of several, a quorum must have opened.
 *
 * @param proofs - `trust` reads outputs without checking the proofs
 * @returns undefined where proofs are missing, too many, or do not verify
 */
export function seed2Of(
  offer: Opened<'offer'>,
  freeze: Opened<'freezeCommitments'>,
  proofs: 'verify' | 'trust',
): Uint8Array | undefined {
  const { previous, commitments, vrfProofs, view } = freeze.message
  const members = stewardsIn(offer, view)
  if (vrfProofs.length !== members.length) return undefined
  const alpha = commitmentsAlpha(previous, commitments)
  const outputs: Uint8Array[] = []
  for (const [i, proof] of vrfProofs.entries()) {
    if (proof.length === 0) continue
    const key = members[i]?.vrfKey ?? new Uint8Array(0)
    const output = proofs === 'verify' ? vrfVerify(key, alpha, proof) : vrfOutput(proof)
    if (output === undefined) return undefined
    outputs.push(output)
  }
  if (!isQuorum(outputs.length, members.length)) return undefined
  const [only] = outputs
  return members.length === 1 ? only : secondSeed(alpha, outputs)
}

/** The public keys of peers, for lists on the wire. */
export function keysOf(peers: readonly PeerId[]): Uint8Array[] {
  return peers.map((peer) => publicKeyFromPeerId(peer))
}
