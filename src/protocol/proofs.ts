/**
 * The VRF proofs behind an election, one check at a time: each takes milliseconds, and a daemon
 * has other work to do in between.
 */
import { CtdError } from '../errors.js'
import { openingAlpha, openFrozen } from './ballot.js'
import type { Ballot } from './ballot.js'
import { vrfVerify } from './vrf.js'

/**
 * Checks one opening for each value that is taken. Whether openings belong to the bids at all is
 * for `electionOf` to say.
 *
 * @throws CtdError VRF_INVALID, FREEZE_UNSORTED and what `open` throws
 */
export function* checkOpenings(network: string, ballot: Ballot): Generator<undefined, void> {
  const { offer, frozenBids, frozenOpenings } = ballot
  const bids = openFrozen(network, 'bid', frozenBids.message.bids)
  const vrfKeys = new Map(bids.map(({ author, message }) => [author, message.vrfKey]))
  const alpha = openingAlpha(offer, frozenBids.id)
  for (const { author, message } of openFrozen(
    network,
    'vrfOpen',
    frozenOpenings.message.openings,
  )) {
    const vrfKey = vrfKeys.get(author)
    if (vrfKey === undefined || vrfVerify(vrfKey, alpha, message.proof) === undefined) {
      throw new CtdError('VRF_INVALID', `the VRF proof of ${author} does not verify`)
    }
    yield
  }
}
