/**
 * Stands in for the ballot: the real one, except that an election which one simulated peer has
 * derived is not derived again for the next. It follows from messages that are named by content.
 */
import * as real from '../../../src/protocol/ballot.js'
import type { Ballot } from '../../../src/protocol/ballot.js'
import type { Election } from '../../../src/protocol/election.js'
import type { PeerId } from '../../../src/wire/ids.js'

export {
  assertStewards,
  commitmentsAlpha,
  keysOf,
  openFrozen,
  openingAlpha,
  sortByAuthor,
} from '../../../src/protocol/ballot.js'

const KEPT_MAX = 512
const elections = new Map<string, Election>()

export function electionOf(
  network: string,
  ballot: Ballot,
  requester: PeerId,
  proofs: 'verify' | 'trust',
): Election {
  const { offer, frozenBids, frozenOpenings } = ballot
  const name = [network, offer.id, frozenBids.id, frozenOpenings.id, requester, proofs].join()
  const known = elections.get(name) ?? real.electionOf(network, ballot, requester, proofs)
  if (elections.size >= KEPT_MAX) elections.clear()
  elections.set(name, known)
  return known
}
