/**
 * Stands in for the ballot: the real one, except that an election which one simulated peer has
 * derived is not derived again for the next. It follows from messages that are named by content.
 */
import * as real from '../../../src/protocol/ballot.js'
import type { Ballot } from '../../../src/protocol/ballot.js'
import type { Election } from '../../../src/protocol/election.js'
import type { PeerId } from '../../../src/wire/ids.js'
import { Kept } from './kept.js'

export * from '../../../src/protocol/ballot.js'

const elections = new Kept<Election>()

export function electionOf(
  network: string,
  ballot: Ballot,
  requester: PeerId,
  proofs: 'verify' | 'trust',
): Election {
  const { offer, frozenBids, frozenOpenings } = ballot
  const name = `${offer.id}${frozenBids.id}${frozenOpenings.id}${requester}${proofs}`
  return elections.of(name, () => real.electionOf(network, ballot, requester, proofs))
}
