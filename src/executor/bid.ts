/** Whether this peer wants to work on an offer, and if not, why, in words people can read. */
import type { Opened } from '../wire/envelope.js'
import type { Requirements } from '../wire/generated/election.js'
import type { PeerId } from '../wire/ids.js'
import { peerIdFromPublicKey } from '../wire/ids.js'

/** What this peer offers, measured and limited by its owner. */
export interface Offering {
  readonly isExecutor: boolean
  /** Why containers cannot run here; undefined when they can. */
  readonly engineProblem: string | undefined
  readonly memoryMiB: number
  readonly diskMiB: number
  readonly gpus: number
  readonly vramMiB: number
  readonly isolation: readonly string[]
  /** Seats it takes in one batch, and replicas it may have waiting over all. */
  readonly seatsPerBatch: number
  readonly backlogMax: number
  /** Publishers whose code runs here; empty for everyone's. */
  readonly publishers: readonly PeerId[]
  readonly blocked: readonly PeerId[]
}

export interface Refusal {
  readonly code: string
  readonly reason: string
}

/** The first reason to decline, or undefined to bid. */
export function refusalOf(
  offering: Offering,
  offer: Opened<'offer'>,
  manifest: Opened<'manifest'>,
  backlog: number,
): Refusal | undefined {
  if (!offering.isExecutor) return { code: 'NOT_AN_EXECUTOR', reason: 'do not execute' }
  if (offering.blocked.includes(manifest.author)) {
    return { code: 'REQUESTER_BLOCKED', reason: 'block this requester' }
  }
  const publisher = peerIdFromPublicKey(manifest.message.publisher)
  if (offering.publishers.length > 0 && !offering.publishers.includes(publisher)) {
    return { code: 'PUBLISHER_NOT_TRUSTED', reason: 'do not trust this publisher' }
  }
  if (offering.engineProblem !== undefined) {
    return { code: 'NO_CONTAINER_ENGINE', reason: 'have no container engine' }
  }
  const neededMiB = inputsMiB(manifest)
  if (neededMiB > offering.diskMiB) {
    return { code: 'TOO_LARGE', reason: `keep less than ${neededMiB} MiB of inputs and image` }
  }
  if (backlog >= offering.backlogMax) return { code: 'BUSY', reason: 'busy' }
  return offer.message.requirements && shortage(offering, offer.message.requirements)
}

/** What the inputs and the image of a job take here, by what its manifest says of them. */
function inputsMiB({ message }: Opened<'manifest'>): number {
  const inputBytes = message.inputs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  return Math.ceil((inputBytes + (message.image?.sizeBytes ?? 0)) / 1024 ** 2)
}

function shortage(offering: Offering, needed: Requirements): Refusal | undefined {
  if (needed.memoryMib > offering.memoryMiB) {
    return { code: 'TOO_LITTLE_MEMORY', reason: `offer less memory than ${needed.memoryMib} MiB` }
  }
  if (needed.diskMib > offering.diskMiB) {
    return { code: 'TOO_LITTLE_DISK', reason: `offer less disk than ${needed.diskMib} MiB` }
  }
  if (needed.gpus > offering.gpus) return { code: 'NO_GPU', reason: 'have too few GPUs' }
  if (needed.vramMib > offering.vramMiB) {
    return { code: 'TOO_LITTLE_VRAM', reason: `offer less VRAM than ${needed.vramMib} MiB` }
  }
  if (!offering.isolation.includes(needed.isolation)) {
    return { code: 'NO_ISOLATION', reason: `do not offer the isolation ${needed.isolation}` }
  }
  return undefined
}
