/** What the vectors of certificates and chains say, checked with the production code. */
import { CtdError } from '../../src/errors.js'
import { assertStewards, electionOf, openFrozen, seed2Of } from '../../src/protocol/ballot.js'
import type { Ballot } from '../../src/protocol/ballot.js'
import type { Election } from '../../src/protocol/election.js'
import { assertManifest } from '../../src/protocol/manifest.js'
import { verifySlot } from '../../src/protocol/slot-chain.js'
import type { VerifiedSlot } from '../../src/protocol/slot-chain.js'
import { open, openAs } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened } from '../../src/wire/envelope.js'
import { fromHex, peerIdFromPublicKey, toHex } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'

/** The code that an action is refused with. */
export function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof CtdError) return error.code
    throw error
  }
  return 'OK'
}

/** The ids of the messages inside a freeze, opened and checked for their order. */
export function entriesOf(network: string, opened: AnyOpened): string[] {
  const ids = (all: ReadonlyArray<{ readonly id: string }>): string[] => all.map(({ id }) => id)
  switch (opened.kind) {
    case 'freezeBids':
      return ids(openFrozen(network, 'bid', opened.message.bids))
    case 'freezeOpenings':
      return ids(openFrozen(network, 'vrfOpen', opened.message.openings))
    case 'freezeCommitments':
      return ids(openFrozen(network, 'commitment', opened.message.commitments))
    case 'freezeReveals':
      return ids(openFrozen(network, 'reveal', opened.message.reveals))
    default:
      throw new Error(`no freeze: ${opened.kind}`)
  }
}

/** A freeze on its own and beside its offer: sound, in order, signed by enough stewards. */
export function checkFreeze(network: string, offer: string, envelope: string): string[] {
  const opened = open(network, fromHex(envelope))
  const entries = entriesOf(network, opened)
  const { authors, message } = opened
  if ('view' in message) {
    assertStewards(openAs(network, fromHex(offer), 'offer'), { authors, message })
  }
  if (opened.kind !== 'freezeCommitments') return entries
  if (opened.message.vrfProofs.length === 0) {
    throw new CtdError('DRAFT', 'no steward has opened over the commitments yet')
  }
  const seed2 = seed2Of(openAs(network, fromHex(offer), 'offer'), opened, 'verify')
  if (seed2 === undefined) throw new CtdError('VRF_INVALID', 'the proofs draw no seed')
  return entries
}

export interface BallotVector {
  readonly offer: string
  readonly freezeBids: string
  readonly freezeOpenings: string
}

export function ballotFrom(network: string, vector: BallotVector): Ballot {
  return {
    offer: openAs(network, fromHex(vector.offer), 'offer'),
    frozenBids: openAs(network, fromHex(vector.freezeBids), 'freezeBids'),
    frozenOpenings: openAs(network, fromHex(vector.freezeOpenings), 'freezeOpenings'),
  }
}

/** The election of a ballot, all proofs verified, as JSON. */
export function electionFrom(network: string, requester: PeerId, vector: BallotVector): object {
  return tellElection(electionOf(network, ballotFrom(network, vector), requester, 'verify'))
}

export function tellElection({ seed, young, weights, slots }: Election): object {
  return {
    seed: toHex(seed),
    young,
    weights: Object.fromEntries([...weights].map(([peer, weight]) => [peer, Number(weight)])),
    slots: slots.map(({ ranking, executors }) => ({ ranking, executors: executors.length })),
  }
}

/** Opens the messages of a slot, the manifest first and the receipt last, and verifies them. */
export function verifyMessages(network: string, envelopes: readonly string[]): VerifiedSlot {
  const all = envelopes.map((hex) => open(network, fromHex(hex)))
  const byId = new Map<string, AnyOpened>(all.map((opened) => [opened.id, opened]))
  const [manifest] = all
  const receipt = all.at(-1)
  if (manifest?.kind !== 'manifest' || receipt?.kind !== 'receipt') throw new Error('no chain')
  assertManifest(network, manifest)
  const source = { network, manifest, get: (id: string) => byId.get(id), elections: new Map() }
  return verifySlot({ ...source, proofs: 'verify' }, receipt)
}

/** What a verified slot is known by, as JSON. */
export function tellSlot(slot: VerifiedSlot): object {
  const receipt = slot.messages.at(-1) as Opened<'receipt'>
  const { batch, attempt, taskId, accepted, outputRoot, metrics, agreed, dissented, young } = slot
  return {
    batch,
    slot: slot.slot,
    attempt,
    taskId,
    accepted,
    outputRoot,
    metrics,
    files: slot.files?.map(({ path }) => path) ?? null,
    agreed,
    dissented,
    unopened: slot.unopened.peers,
    young,
    outcomes: receipt.message.executors.map(({ peer, outcome }) => [
      peerIdFromPublicKey(peer),
      outcome,
    ]),
    links: slot.messages.map(({ kind }) => kind),
  }
}
