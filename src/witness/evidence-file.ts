/** Writes down what the standings of a job's bidders were folded from, for auditors. */
import { CtdError } from '../errors.js'
import { encodeEvidence } from '../protocol/evidence.js'
import { evidenceRoot } from '../protocol/evidence-root.js'
import { fromHex, toHex } from '../wire/ids.js'
import type { FaultBook } from './fault-book.js'
import type { ReceiptArchive } from './receipt-archive.js'
import type { ReputationBook } from './reputation-book.js'

interface Sources {
  readonly network: string
  readonly reputation: ReputationBook
  readonly archive: ReceiptArchive
  readonly faults: FaultBook
}

/**
 * @param roots - as quoted in the frozen bids of a job of this peer
 * @throws CtdError EVIDENCE_MISSING where what was quoted is not kept any more, EVIDENCE_TOO_LARGE
 */
export async function evidenceFile(
  { network, reputation, archive, faults }: Sources,
  roots: readonly Uint8Array[],
): Promise<Uint8Array> {
  const quotes = [...new Set(roots.map(toHex))].flatMap((root) => reputation.quoted(root) ?? [])
  const proofs = await faults.first(Math.max(0, ...quotes.map((quote) => quote.faults)))
  const kept = quotes.filter((quote) => {
    const accused = proofs.slice(0, quote.faults).map(([peer]) => peer)
    return toHex(evidenceRoot(quote.receipts, accused)) === quote.root
  })
  if (kept.length === 0) {
    throw new CtdError('EVIDENCE_MISSING', 'what the standings were folded from is not here', {
      hint: 'only the requester keeps it, for 120 days; the result can be audited without it',
    })
  }
  const ids = kept.reduce<readonly string[]>(
    (longest, { receipts }) => (receipts.length > longest.length ? receipts : longest),
    [],
  )
  const envelopes = new Map<string, Uint8Array>()
  for (const id of ids) {
    const chain = await archive.chainOf(id)
    if (chain === undefined) throw new CtdError('EVIDENCE_MISSING', 'a receipt is not kept whole')
    for (const [messageId, bytes] of chain) envelopes.set(messageId, bytes)
  }
  return encodeEvidence({
    network,
    sets: kept.map(({ root, receipts, faults: count }) => ({
      root: fromHex(root),
      receipts: receipts.length,
      faults: count,
    })),
    receipts: ids.map(fromHex),
    faults: proofs.map(([, fault]) => fault),
    envelopes: [...envelopes.values()],
  })
}
