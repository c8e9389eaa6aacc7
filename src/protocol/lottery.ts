/**
 * The lottery: a full ranking of weighted entries that anyone can recompute. Integers only.
 */
import { InvariantError } from '../errors.js'
import { sha256, utf8, type PeerId } from '../wire/ids.js'
import { bytesToInteger, compareBytes, compareText, negLog2Fixed } from './integer.js'
import { VRF_OUTPUT_BYTES } from './vrf.js'

/** Domain of the numbers that the lottery draws. */
export const LOTTERY_DOMAIN = 'ctd/lottery/v1'

export interface LotteryEntry {
  readonly peer: PeerId
  /** The verified VRF output of the peer, 64 bytes. */
  readonly output: Uint8Array
  /** Lottery weight, parts per million; 0 or less excludes. */
  readonly weightPpm: bigint
}

/**
 * Ranks entries by weighted sampling without replacement.
 *
 * An exponential race (Efraimidis and Spirakis 2006): u = H(domain ‖ seed ‖ output ‖ peer) as a
 * 256-bit fraction, key = −log2(u) · 2^32 / weight in 32.32 fixed point, smallest key first, ties
 * by output and then by peer. The probability of coming first is the share of the weight. The peer
 * is part of u so that two peers that share one VRF key still get independent places; with equal
 * numbers they would stand side by side and take both seats of a task together.
 *
 * @param seed - from the frozen bids and every opened output; no bidder chooses it alone
 * @param entries - at most one per peer, in any order
 * @returns the peers with a positive weight, first place first
 */
export function rank(seed: Uint8Array, entries: readonly LotteryEntry[]): PeerId[] {
  const domain = utf8(LOTTERY_DOMAIN)
  const peers = new Set<PeerId>()
  const runners = entries
    .filter(({ weightPpm }) => weightPpm > 0n)
    .map(({ peer, output, weightPpm }) => {
      if (output.length !== VRF_OUTPUT_BYTES) throw new InvariantError('a VRF output has 64 bytes')
      if (peers.has(peer)) throw new InvariantError(`${peer} stands twice in the lottery`)
      peers.add(peer)
      const u = bytesToInteger(sha256(domain, seed, output, utf8(peer)))
      return { peer, output, key: (negLog2Fixed(u) << 32n) / weightPpm }
    })
  runners.sort(
    (a, b) =>
      (a.key < b.key ? -1 : a.key > b.key ? 1 : 0) ||
      compareBytes(a.output, b.output) ||
      compareText(a.peer, b.peer),
  )
  return runners.map(({ peer }) => peer)
}
