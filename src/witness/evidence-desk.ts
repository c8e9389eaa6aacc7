/** Answers what peers ask about the past: which receipts and faults are known here, and why. */
import { CtdError } from '../errors.js'
import { Bundle } from '../wire/generated/control.js'
import {
  BucketQuery,
  EvidenceRoots,
  Faults,
  FaultsQuery,
  ReceiptIds,
} from '../wire/generated/evidence.js'
import { fromHex, peerIdFromPublicKey, toHex } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { FaultBook } from './fault-book.js'
import type { ReceiptArchive } from './receipt-archive.js'

export interface EvidenceParts {
  readonly archive: ReceiptArchive
  readonly faults: FaultBook
}

/** Room for the frame around an answer. */
const ANSWER_BYTES = LIMITS.controlResponseBytes - 4096

/** @returns undefined for methods that are not about evidence */
export async function answerEvidence(
  { archive, faults }: EvidenceParts,
  method: string,
  body: Uint8Array,
): Promise<Uint8Array | undefined> {
  switch (method) {
    case 'evidence-roots':
      return EvidenceRoots.encode({
        buckets: archive.buckets().slice(0, LIMITS.evidenceBuckets),
        faults: faults.size,
        faultRoot: faults.root(),
      })
    case 'evidence-ids': {
      const { startMs } = decoded(() => BucketQuery.decode(body))
      const ids = archive.idsIn(startMs)
      return ReceiptIds.encode({ ids: ids.slice(0, LIMITS.receiptsPerBucket).map(fromHex) })
    }
    case 'evidence-receipts':
      return Bundle.encode({ envelopes: await chainsOf(archive, body) })
    case 'evidence-faults': {
      const { after } = decoded(() => FaultsQuery.decode(body))
      if (after.length !== 0 && after.length !== 32) throw badRequest()
      const peer = after.length === 0 ? undefined : peerIdFromPublicKey(after)
      return Faults.encode(await faults.list(peer, ANSWER_BYTES))
    }
    default:
      return undefined
  }
}

/** The envelopes behind the receipts asked for, each once, as many receipts as fit. */
async function chainsOf(archive: ReceiptArchive, body: Uint8Array): Promise<Uint8Array[]> {
  const limits = { ids: LIMITS.receiptsPerRequest }
  const { ids } = decoded(() => ReceiptIds.decode(body, { limits }))
  if (ids.some((id) => id.length !== 32)) throw badRequest()
  const envelopes = new Map<string, Uint8Array>()
  let sizeBytes = 0
  for (const id of ids) {
    const chain = await archive.chainOf(toHex(id))
    const missing = (chain ?? []).filter(([messageId]) => !envelopes.has(messageId))
    sizeBytes += missing.reduce((sum, [, bytes]) => sum + bytes.length + 8, 0)
    if (sizeBytes > ANSWER_BYTES) break
    for (const [messageId, bytes] of missing) envelopes.set(messageId, bytes)
  }
  return [...envelopes.values()]
}

function decoded<T>(decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    throw badRequest(cause)
  }
}

function badRequest(cause?: unknown): CtdError {
  return new CtdError('BAD_REQUEST', 'not a question about evidence', { cause })
}
