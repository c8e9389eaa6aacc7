/**
 * The beacon of an epoch: a number nobody can foresee, drawn from what stewards opened in the
 * epoch before. It moves every job to other stewards each time.
 */
import type { Opened } from '../wire/envelope.js'
import { sha256, utf8 } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import { commitmentsAlpha, stewardsIn } from './ballot.js'
import { compareBytes } from './integer.js'
import { isFull, STEWARD_RULES } from './stewards.js'
import { vrfVerify } from './vrf.js'

/** Length of an epoch (trust.md 2.3). */
export const EPOCH_MS = 600_000
/** A beacon younger than this should not be quoted yet: others may lack what it rests on. */
const BEACON_SETTLE_MS = 60_000

/**
 * The epoch whose beacon an offer made now should quote: the current one, and in its first minute
 * still the one before.
 */
export function epochToQuote(nowMs: number): number {
  return epochOf(nowMs - BEACON_SETTLE_MS)
}

/** What one steward opened in one certificate. */
export interface StewardOutput {
  /** That of the offer. */
  readonly epoch: number
  readonly steward: PeerId
  /** What it proved its output over: the frozen commitments. */
  readonly alpha: Uint8Array
  readonly output: Uint8Array
}

const BEACON_DOMAIN = utf8('ctd/beacon/v1')

/** The epoch of a time in Unix milliseconds. */
export function epochOf(ms: number): number {
  return Math.floor(ms / EPOCH_MS)
}

/**
 * What a full certificate adds to the next beacon. Offers with fewer than five stewards or without
 * a beacon add nothing: anybody could make as many as it likes.
 *
 * @returns nothing also where a proof does not verify
 */
export function stewardOutputs(
  offer: Opened<'offer'>,
  freeze: Opened<'freezeCommitments'>,
): readonly StewardOutput[] {
  const { previous, commitments, vrfProofs, view } = freeze.message
  const members = stewardsIn(offer, view)
  const isDrawn = members.length >= STEWARD_RULES.fitOperators && offer.message.beacon.length > 0
  if (!isDrawn || !isFull(offer, freeze) || vrfProofs.length !== members.length) return []
  const alpha = commitmentsAlpha(previous, commitments)
  const outputs: StewardOutput[] = []
  for (const [i, { peer, vrfKey }] of members.entries()) {
    const proof = vrfProofs[i]
    if (proof === undefined || proof.length === 0) continue
    const output = vrfVerify(vrfKey, alpha, proof)
    if (output === undefined) return []
    outputs.push({ epoch: offer.message.epoch, steward: peer, alpha, output })
  }
  return outputs
}

/**
 * The beacon of an epoch: H over the outputs of the epoch before, one of each steward.
 *
 * Of a steward that opened several times the output over the lowest alpha counts. So whoever
 * withholds chooses among as many values as it had certificates, plus one for saying nothing, and
 * not among all subsets of them.
 *
 * @param outputs - in any order, with repetitions; those of other epochs are left out
 */
export function beaconOf(epoch: number, outputs: Iterable<StewardOutput>): Uint8Array {
  const counted = new Map<PeerId, StewardOutput>()
  for (const each of outputs) {
    if (each.epoch !== epoch - 1) continue
    const known = counted.get(each.steward)
    if (known === undefined || compareBytes(each.alpha, known.alpha) < 0) {
      counted.set(each.steward, each)
    }
  }
  const number = Buffer.alloc(8)
  number.writeBigUInt64BE(BigInt(epoch))
  const sorted = [...counted.values()].map(({ output }) => output).sort(compareBytes)
  return sha256(BEACON_DOMAIN, number, ...sorted)
}

/**
 * Why a steward declines to serve an offer; undefined where the beacon is in order. An offer quotes
 * the current epoch or the one before. A requester with another beacon should compare certificates
 * with its peers and offer anew.
 *
 * @param beaconAt - the beacon of an epoch as this peer computes it
 */
export function beaconRefusal(
  quoted: { readonly epoch: number; readonly beacon: Uint8Array },
  nowMs: number,
  beaconAt: (epoch: number) => Uint8Array,
): 'EPOCH_STALE' | 'BEACON_UNKNOWN' | undefined {
  const now = epochOf(nowMs)
  if (quoted.epoch !== now && quoted.epoch !== now - 1) return 'EPOCH_STALE'
  return compareBytes(quoted.beacon, beaconAt(quoted.epoch)) === 0 ? undefined : 'BEACON_UNKNOWN'
}

/**
 * Whether an offer's stewards were drawn by a beacon that was not known when its job was made
 * public. Otherwise the requester could try one manifest after the other until the set pleases it.
 *
 * @param manifestMs - when this peer first saw the manifest, by its own clock
 */
export function isDrawnAfter(manifestMs: number, quotedEpoch: number): boolean {
  return epochOf(manifestMs) < quotedEpoch
}
