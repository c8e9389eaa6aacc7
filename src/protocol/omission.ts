/**
 * Censorship that proves itself: a steward's word that it holds a message in time, and a
 * certificate with its signature in which that message is missing.
 */
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import { kindOf } from '../wire/messages.js'
import { commitmentsAlpha, openFrozen, stewardsIn } from './ballot.js'

export interface Omission {
  /** Who acknowledged the message and signed without it. */
  readonly accused: PeerId
  /** Id of the message that is missing, its kind and its author. */
  readonly message: string
  readonly kind: StagedKind
  readonly author: PeerId
}

export type StagedKind = 'bid' | 'vrfOpen' | 'commitment' | 'reveal'

interface Stage {
  readonly kind: StagedKind
  readonly envelopes: readonly Uint8Array[]
  /** Whether it is the certificate that an acknowledgement speaks of. */
  isOf(acknowledgement: Opened<'acknowledgement'>): boolean
  /** From so many entries on something may be left out. */
  readonly room: number
}

/**
 * The omission that the two messages prove; undefined where they prove none.
 *
 * It needs no clock: an honest steward acknowledges nothing after its deadline, and signs nothing
 * that lacks what it acknowledged. Three things excuse it: a certificate that is full; one with
 * another message of the same author, whose fault that is; and one that is no certificate of that
 * stage. One signature is enough, the certificate need not have its quorum.
 *
 * @param offer - the offer of both, where it is known. Without it no omission of a commitment is
 *   proven, since it says how many are due, and none of a steward's own opening
 */
export function omissionOf(
  network: string,
  acknowledgement: Opened<'acknowledgement'>,
  certificate: AnyOpened,
  offer?: Opened<'offer'>,
): Omission | undefined {
  const { message } = acknowledgement
  const kind = kindOf(message.kind)
  if (offer !== undefined && toHex(message.offer) !== offer.id) return undefined
  if (kind === 'vrfOpen' && certificate.kind === 'freezeCommitments') {
    return offer && unopenedOf(offer, acknowledgement, certificate)
  }
  const replicas = offer?.message.replicas ?? LIMITS.replicasMin
  const stage = stageOf(network, certificate, replicas)
  if (stage === undefined || stage.kind !== kind) return undefined
  if (!certificate.authors.includes(acknowledgement.author)) return undefined
  if (stage.envelopes.length >= stage.room) return undefined
  try {
    const entries = openFrozen(network, stage.kind, stage.envelopes)
    const author = peerIdFromPublicKey(message.author)
    if (!stage.isOf(acknowledgement) || entries.some((entry) => entry.author === author)) {
      return undefined
    }
    const accused = acknowledgement.author
    return { accused, message: toHex(message.message), kind: stage.kind, author }
  } catch {
    return undefined
  }
}

/** A steward's own opening that is left out of the draw. */
function unopenedOf(
  offer: Opened<'offer'>,
  { author: accused, message }: Opened<'acknowledgement'>,
  certificate: Opened<'freezeCommitments'>,
): Omission | undefined {
  const { previous, commitments, vrfProofs, view } = certificate.message
  const author = peerIdFromPublicKey(message.author)
  const place = stewardsIn(offer, view).findIndex(({ peer }) => peer === author)
  const isOf = Buffer.compare(message.stage, commitmentsAlpha(previous, commitments)) === 0
  // Without any proof it is but the draft over which the stewards are to open.
  const isMissing = vrfProofs.length > 0 && place >= 0 && vrfProofs[place]?.length === 0
  if (!isOf || !isMissing || !certificate.authors.includes(accused)) return undefined
  return { accused, message: toHex(message.message), kind: 'vrfOpen', author }
}

function stageOf(network: string, certificate: AnyOpened, replicas: number): Stage | undefined {
  const names = (id: Uint8Array) => (acknowledgement: Opened<'acknowledgement'>) =>
    Buffer.compare(acknowledgement.message.stage, id) === 0
  switch (certificate.kind) {
    case 'freezeBids': {
      const { bids: envelopes, offer } = certificate.message
      return { kind: 'bid', envelopes, isOf: names(offer), room: LIMITS.bidsPerOffer }
    }
    case 'freezeOpenings': {
      const { openings: envelopes, frozenBids } = certificate.message
      return { kind: 'vrfOpen', envelopes, isOf: names(frozenBids), room: LIMITS.bidsPerOffer }
    }
    case 'freezeCommitments': {
      const { commitments: envelopes } = certificate.message
      const isOf = ({ message }: Opened<'acknowledgement'>): boolean =>
        openFrozen(network, 'commitment', envelopes).some(
          ({ message: { taskId, attempt } }) =>
            Buffer.compare(taskId, message.stage) === 0 && attempt === message.attempt,
        )
      return { kind: 'commitment', envelopes, isOf, room: replicas }
    }
    case 'freezeReveals': {
      const { reveals: envelopes, previous } = certificate.message
      return { kind: 'reveal', envelopes, isOf: names(previous), room: LIMITS.replicasPerTask }
    }
    default:
      return undefined
  }
}
