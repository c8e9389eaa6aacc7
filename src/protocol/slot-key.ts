/**
 * What an author may sign only once. Two payloads for one slot key are equivocation: a permanent
 * fault that anybody can check (DESIGN.md 4).
 */
import type { AnyOpened } from '../wire/envelope.js'
import { toHex } from '../wire/ids.js'

/**
 * The slot key of a message. Of a certificate it does not name the authors: its stewards speak as
 * one, and whoever signs two of them in one view is at fault.
 *
 * @returns undefined for kinds that may be repeated
 */
export function slotKeyOf(opened: AnyOpened): string | undefined {
  const { author, kind } = opened
  switch (opened.kind) {
    case 'offer': {
      const { jobId, batch, attempt } = opened.message
      return `${author}/${kind}/${toHex(jobId)}/${batch}/${attempt}`
    }
    case 'bid':
    case 'decline':
      return `${author}/answer/${toHex(opened.message.offer)}`
    case 'freezeBids':
      return `${kind}/${toHex(opened.message.offer)}/${opened.message.view}`
    case 'vrfOpen':
      return `${author}/${kind}/${toHex(opened.message.frozenBids)}`
    case 'freezeOpenings':
      return `${kind}/${toHex(opened.message.frozenBids)}/${opened.message.view}`
    case 'sketchCommitment':
    case 'sketch':
      return `${author}/${kind}/${toHex(opened.message.taskId)}/${toHex(opened.message.frozen)}`
    case 'commitment':
    case 'reveal':
      return `${author}/${kind}/${toHex(opened.message.taskId)}/${opened.message.attempt}`
    case 'task':
      // One chain for each slot of the batch begins at the frozen openings.
      return `${kind}/${toHex(opened.message.previous)}/${opened.message.slot}/${opened.message.view}`
    case 'freezeCommitments': {
      // A draft, over which the stewards open, comes before the certificate with their proofs.
      const { previous, view, vrfProofs } = opened.message
      return `${vrfProofs.length === 0 ? 'draft' : kind}/${toHex(previous)}/${view}`
    }
    case 'freezeSketches':
    case 'freezeReveals':
      return `${kind}/${toHex(opened.message.previous)}/${opened.message.view}`
    case 'receipt':
      return `${kind}/${toHex(opened.message.previous)}/${opened.message.slot}/${opened.message.view}`
    case 'jobEnd':
      return `${author}/${kind}/${toHex(opened.message.jobId)}`
    default:
      return undefined
  }
}
