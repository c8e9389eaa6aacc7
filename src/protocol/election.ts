/**
 * The election of a batch: frozen bids and opened VRF outputs in, a full ranking per slot out.
 * Nobody sends an election; everybody derives it.
 */
import { CtdError, InvariantError } from '../errors.js'
import { LIMITS } from '../wire/limits.js'
import { sha256, utf8, type PeerId } from '../wire/ids.js'
import { bytesToInteger, compareBytes, compareText, PPM, uint32Bytes } from './integer.js'
import { rank, type LotteryEntry } from './lottery.js'

/** What the stewards froze about one bidder. */
export interface Candidate {
  readonly peer: PeerId
  /** The key that owns the peer, as text; the peer id where nobody else does. */
  readonly operator: string
  /** /24 of IPv4 or /48 of IPv6 as text; empty where unknown. */
  readonly addressPrefix: string
  /** 32-byte VRF key, bound by the identity record. */
  readonly vrfKey: Uint8Array
  /** Seats the peer offers to take in this batch. */
  readonly capacity: number
  /** Parts per million, as `Score` has them; speed relative to the bidders, 0.5 to 2. */
  readonly availabilityPpm: bigint
  readonly reliabilityPpm: bigint
  readonly speedPpm: bigint
  readonly established: boolean
  readonly excluded: boolean
  /** Whether the bid's hardware meets the offer. */
  readonly meetsRequirement: boolean
}

/** A verified VRF opening. */
export interface Opening {
  readonly peer: PeerId
  readonly output: Uint8Array
}

/** `operator`: one peer per operator in a slot. `operator-and-address`: also one per prefix. */
export type Diversity = 'operator' | 'operator-and-address'

export interface ElectionInput {
  readonly offerHash: Uint8Array
  readonly attempt: number
  readonly frozenBidsHash: Uint8Array
  /** Slots in the batch, 1 to `LIMITS.slotsPerBatch`. */
  readonly slots: number
  /** Replicas of each slot, `LIMITS.replicasMin` to `LIMITS.replicasPerTask`. */
  readonly replicas: number
  readonly requester: PeerId
  readonly candidates: readonly Candidate[]
  readonly openings: readonly Opening[]
  readonly diversity: Diversity
  /** Forces the young rules; absent, the bids decide. */
  readonly young?: boolean
}

export interface ElectedSlot {
  readonly index: number
  /** Everybody who may serve the slot, first the executors, then the standbys in order. */
  readonly ranking: readonly PeerId[]
  /** The first `replicas` of the ranking, or empty where too few peers had a free seat. */
  readonly executors: readonly PeerId[]
}

export interface Election {
  /** H(offer, attempt, frozen bids, all opened outputs), 32 bytes. */
  readonly seed: Uint8Array
  /** Lottery weight of every usable bidder, after the cap, parts per million. */
  readonly weights: ReadonlyMap<PeerId, bigint>
  readonly slots: readonly ElectedSlot[]
  /** Indices of the slots without executors; they wait for the next attempt. */
  readonly unseated: readonly number[]
  readonly young: boolean
  /** Bidders that could have been drawn and did not open, sorted. */
  readonly unopened: readonly PeerId[]
}

/** Constants of the election; sources in `trust.md` 2.3 and 2.6 and `DESIGN.md` 4. */
export const ELECTION_RULES = {
  /** Highest weight as a multiple of the median bidder's. */
  weightCap: 4n,
  /** Fewer credible bidders than this make a young network. */
  credibleBidders: 5,
  /**
   * Reliability from which an established bidder counts as credible: at 0.83 three that agree
   * reach the quorum (3 · ln(0.83 / 0.17) = 4.76 ≥ 4.6).
   */
  credibleReliabilityPpm: 830_000n,
  /** Places among the frozen bids that newcomers get where more bid than fit. */
  newcomerPlaces: 16,
} as const

const PLACE_DOMAIN = utf8('ctd/place/v1')
const SEED_DOMAIN = utf8('ctd/election/v1')
const SLOT_DOMAIN = utf8('ctd/election-slot/v1')
const HIDDEN_DOMAIN = utf8('ctd/hidden-replica/v1')
const SECOND_SEED_DOMAIN = utf8('ctd/second-seed/v1')

type RejectionReason = 'requester' | 'excluded' | 'requirement' | 'weightless' | 'unopened'

/**
 * Elects the executors of every slot of a batch.
 *
 * Deterministic and independent of the order of bids and openings. Weights come from the frozen
 * bids alone, so that withholding an opening moves nobody's weight. Slot i is raced with
 * H(seed, i); seats fill in index order; a peer without a free seat stands behind those that have
 * one; of the peers of one operator only the first stays. In a mature network at most one
 * probationer sits among the executors of a slot, the others stand behind.
 *
 * A network is young while fewer than five *credible* peers bid: established, and reliable enough
 * that three of them reach the quorum of the mature rules. Ten accepted replicas alone do not make
 * a peer that: credit from one requester diminishes so fast that with the bare count five honest
 * peers would turn mature at a reliability of about 0.6, where not even seven agreeing replicas
 * reach the quorum and every task would be refused.
 *
 * @throws CtdError NO_ELIGIBLE_BIDS when no slot can be given `replicas` different operators
 * @throws CtdError BAD_ELECTION for counts out of range or a peer that bids twice
 */
export function elect(input: ElectionInput): Election {
  assertInput(input)
  const rejected = new Map<RejectionReason, number>()
  const bidders = input.candidates.filter((candidate) => {
    const reason = rejectionOf(candidate, input.requester)
    if (reason !== undefined) rejected.set(reason, (rejected.get(reason) ?? 0) + 1)
    return reason === undefined
  })
  const weights = weightsOf(bidders)
  const young = input.young === true || isYoung(bidders)
  const outputs = outputsOf(input)
  const seed = seedOf(input, outputs)
  const usable = new Map<PeerId, Candidate>()
  const entries: LotteryEntry[] = []
  const unopened: PeerId[] = []
  for (const candidate of bidders) {
    const output = outputs.get(candidate.peer)
    if (output === undefined) {
      unopened.push(candidate.peer)
      continue
    }
    usable.set(candidate.peer, candidate)
    entries.push({ peer: candidate.peer, output, weightPpm: weights.get(candidate.peer) ?? 0n })
  }
  rejected.set('unopened', unopened.length)
  const slots = seatSlots(input, { seed, entries, usable, young })
  const unseated = slots.filter((slot) => slot.executors.length === 0).map((slot) => slot.index)
  if (unseated.length === slots.length) throw noEligibleBids(input, [...usable.values()], rejected)
  return { seed, weights, slots, unseated, young, unopened: unopened.sort() }
}

/**
 * The second seed of a task: H(frozen commitments ‖ sorted outputs of the stewards). It does not
 * exist before all commitments are closed, and no executor can grind it.
 */
export function secondSeed(
  frozenCommitmentsHash: Uint8Array,
  stewardOutputs: readonly Uint8Array[],
): Uint8Array {
  return sha256(SECOND_SEED_DOMAIN, frozenCommitmentsHash, ...stewardOutputs.toSorted(compareBytes))
}

/**
 * Whether a slot gets its hidden extra replica (trust.md 2.2, step 8b): the first 64 bits of
 * H(second seed, slot) as a fraction, below the audit probability of the offer.
 *
 * @param probabilityPpm - 0 never, 1 000 000 always
 */
export function hiddenReplicaDrawn(
  seed2: Uint8Array,
  slotIndex: number,
  probabilityPpm: number,
): boolean {
  const hash = sha256(HIDDEN_DOMAIN, seed2, uint32Bytes(slotIndex))
  return (bytesToInteger(hash.subarray(0, 8)) * BigInt(PPM)) >> 64n < BigInt(probabilityPpm)
}

/** What the choice of places needs to know of a bidder. */
export type Applicant = Pick<Candidate, 'peer' | 'established' | 'excluded'>

/**
 * Which bids are frozen where more arrive than fit: everybody may bid, but newcomers, who cost
 * nothing, must not crowd out those with a history, or a flood of them would make any network look
 * young and win by its rules. Established peers come first, for all but sixteen places, then
 * newcomers for those, then whoever is left, and the excluded last; within each by
 * H(offer, peer), which no peer can choose after the offer.
 *
 * @returns at most `LIMITS.bidsPerOffer` peers, sorted
 */
export function choosePlaces(applicants: readonly Applicant[], offerHash: Uint8Array): PeerId[] {
  const places = LIMITS.bidsPerOffer
  if (applicants.length <= places) return applicants.map(({ peer }) => peer).sort(compareText)
  const drawn = applicants
    .map((applicant) => ({
      ...applicant,
      draw: sha256(PLACE_DOMAIN, offerHash, utf8(applicant.peer)),
    }))
    .sort((a, b) => compareBytes(a.draw, b.draw) || compareText(a.peer, b.peer))
  const established = drawn.filter((each) => each.established && !each.excluded)
  const newcomers = drawn.filter((each) => !each.established && !each.excluded)
  const { newcomerPlaces } = ELECTION_RULES
  const reserved = places - Math.min(newcomerPlaces, newcomers.length)
  const inOrder = [
    ...established.slice(0, reserved),
    ...newcomers.slice(0, newcomerPlaces),
    ...established.slice(reserved),
    ...newcomers.slice(newcomerPlaces),
    ...drawn.filter(({ excluded }) => excluded),
  ]
  return inOrder
    .slice(0, places)
    .map(({ peer }) => peer)
    .sort(compareText)
}

function assertInput(input: ElectionInput): void {
  const { slots, replicas, candidates } = input
  const fields = { slots, replicas, bids: candidates.length }
  if (!Number.isInteger(slots) || slots < 1 || slots > LIMITS.slotsPerBatch) {
    throw new CtdError('BAD_ELECTION', `a batch has 1 to ${LIMITS.slotsPerBatch} slots`, { fields })
  }
  const { replicasMin, replicasPerTask } = LIMITS
  if (!Number.isInteger(replicas) || replicas < replicasMin || replicas > replicasPerTask) {
    const message = `a task has ${replicasMin} to ${replicasPerTask} replicas`
    throw new CtdError('BAD_ELECTION', message, { fields })
  }
  if (candidates.length > LIMITS.bidsPerOffer) {
    const message = `more than ${LIMITS.bidsPerOffer} frozen bids`
    throw new CtdError('BAD_ELECTION', message, { fields })
  }
  if (new Set(candidates.map(({ peer }) => peer)).size !== candidates.length) {
    throw new CtdError('BAD_ELECTION', 'a peer bids twice for one offer', { fields })
  }
}

function rejectionOf(candidate: Candidate, requester: PeerId): RejectionReason | undefined {
  if (candidate.peer === requester || candidate.operator === requester) return 'requester'
  if (candidate.excluded) return 'excluded'
  if (!candidate.meetsRequirement) return 'requirement'
  return rawWeight(candidate) <= 0n ? 'weightless' : undefined
}

/** floor(availability · reliability · speed), all in parts per million. */
function rawWeight({ availabilityPpm, reliabilityPpm, speedPpm }: Candidate): bigint {
  if (availabilityPpm <= 0n || reliabilityPpm <= 0n || speedPpm <= 0n) return 0n
  return (availabilityPpm * reliabilityPpm * speedPpm) / 1_000_000_000_000n
}

/** Weights capped at a multiple of the median; of an even number the lower middle counts. */
function weightsOf(bidders: readonly Candidate[]): Map<PeerId, bigint> {
  const raw = bidders.map(rawWeight).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  const cap = ELECTION_RULES.weightCap * (raw[(raw.length - 1) >> 1] ?? 0n)
  return new Map(
    bidders.map((candidate) => {
      const weight = rawWeight(candidate)
      return [candidate.peer, weight < cap ? weight : cap]
    }),
  )
}

function isYoung(bidders: readonly Candidate[]): boolean {
  const credible = bidders.filter(
    ({ established, reliabilityPpm }) =>
      established && reliabilityPpm >= ELECTION_RULES.credibleReliabilityPpm,
  )
  const operators = new Set(credible.map(({ operator }) => operator))
  return operators.size < ELECTION_RULES.credibleBidders
}

/** The opened outputs of frozen bidders, the unusable ones included: each one turns the seed. */
function outputsOf(input: ElectionInput): Map<PeerId, Uint8Array> {
  const bidding = new Set(input.candidates.map(({ peer }) => peer))
  const outputs = new Map<PeerId, Uint8Array>()
  for (const { peer, output } of input.openings) {
    if (!bidding.has(peer)) continue
    const known = outputs.get(peer)
    if (known !== undefined && compareBytes(known, output) !== 0) {
      throw new InvariantError(`two VRF outputs of ${peer} cannot both verify`)
    }
    outputs.set(peer, output)
  }
  return outputs
}

function seedOf(input: ElectionInput, outputs: ReadonlyMap<PeerId, Uint8Array>): Uint8Array {
  const sorted = [...outputs.values()].sort(compareBytes)
  const { offerHash, attempt, frozenBidsHash } = input
  return sha256(SEED_DOMAIN, offerHash, uint32Bytes(attempt), frozenBidsHash, ...sorted)
}

interface Race {
  readonly seed: Uint8Array
  readonly entries: readonly LotteryEntry[]
  readonly usable: ReadonlyMap<PeerId, Candidate>
  readonly young: boolean
}

function seatSlots(input: ElectionInput, race: Race): ElectedSlot[] {
  const taken = new Map<PeerId, number>()
  return Array.from({ length: input.slots }, (_, index) => {
    const order = rank(sha256(SLOT_DOMAIN, race.seed, uint32Bytes(index)), race.entries)
    const standing = order.flatMap((peer) => race.usable.get(peer) ?? [])
    const free = standing.filter(({ peer, capacity }) => (taken.get(peer) ?? 0) < capacity)
    const full = standing.filter(({ peer, capacity }) => (taken.get(peer) ?? 0) >= capacity)
    const { ranking, seatable } = arrange(free, full, input.diversity, race.young)
    const executors = seatable >= input.replicas ? ranking.slice(0, input.replicas) : []
    for (const peer of executors) taken.set(peer, (taken.get(peer) ?? 0) + 1)
    return { index, ranking, executors }
  })
}

/**
 * Puts the peers of one slot in their final order: with a free seat first, the probationers after
 * the first one behind them, peers without a free seat last; whoever shares an operator (or an
 * address prefix) with somebody further up drops out.
 *
 * @returns the ranking and how many at its front may be seated
 */
function arrange(
  free: readonly Candidate[],
  full: readonly Candidate[],
  diversity: Diversity,
  young: boolean,
): { ranking: PeerId[]; seatable: number } {
  const ranking: PeerId[] = []
  const operators = new Set<string>()
  const prefixes = new Set<string>()
  const keep = ({ peer, operator, addressPrefix }: Candidate): boolean => {
    const prefix = diversity === 'operator-and-address' ? addressPrefix : ''
    if (operators.has(operator) || (prefix !== '' && prefixes.has(prefix))) return false
    operators.add(operator)
    if (prefix !== '') prefixes.add(prefix)
    ranking.push(peer)
    return true
  }
  const deferred: Candidate[] = []
  let probationerSeated = false
  for (const candidate of free) {
    const onProbation = !young && !candidate.established
    if (onProbation && probationerSeated) deferred.push(candidate)
    else if (keep(candidate) && onProbation) probationerSeated = true
  }
  const seatable = ranking.length
  for (const candidate of [...deferred, ...full]) keep(candidate)
  return { ranking, seatable }
}

function noEligibleBids(
  input: ElectionInput,
  usable: readonly Candidate[],
  rejected: ReadonlyMap<RejectionReason, number>,
): CtdError {
  const operators = new Set(usable.map(({ operator }) => operator)).size
  const withSeats = usable.filter(({ capacity }) => capacity > 0).length
  const reasons = Object.fromEntries(
    [...rejected].filter(([, count]) => count > 0).sort(([a], [b]) => compareText(a, b)),
  )
  const message =
    `${input.replicas} different operators are needed for a task, and among ` +
    `${input.candidates.length} bids ${usable.length} usable peers of ${operators} operators were found`
  return new CtdError('NO_ELIGIBLE_BIDS', message, {
    hint: 'the job waits for more peers; `ctd why` names the reasons of those that declined',
    fields: {
      replicas: input.replicas,
      bids: input.candidates.length,
      usable: usable.length,
      withSeats,
      operators,
      reasons,
    },
  })
}
