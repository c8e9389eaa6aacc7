/** Names of sets of evidence: what a steward quotes beside the standings it freezes. */
import { sha256, utf8 } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'

const RECEIPTS = utf8('ctd-receipts-v1\0')
const FAULTS = utf8('ctd-faults-v1\0')

/** SHA-256 over the sorted receipt ids. */
export function receiptRoot(ids: Iterable<string>): Uint8Array {
  return sha256(RECEIPTS, ...[...ids].sort().map(utf8))
}

/** SHA-256 over the sorted ids of peers that are proven faulty. */
export function faultRoot(accused: readonly PeerId[]): Uint8Array {
  return sha256(FAULTS, ...[...accused].sort().map(utf8))
}

/** All that scores are folded from: the receipts, and the faults where there are any. */
export function evidenceRoot(ids: Iterable<string>, accused: readonly PeerId[]): Uint8Array {
  const receipts = receiptRoot(ids)
  return accused.length === 0 ? receipts : sha256(receipts, faultRoot(accused))
}
