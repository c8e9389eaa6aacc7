/** What reputation reads from a receipt. */
import type { Opened } from '../wire/envelope.js'
import { peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import type { ReceiptOutcome, ReputationReceipt, Unopened, WorkKind } from './reputation.js'

/**
 * @param requester - the author of the job's manifest
 * @param chain - of the receipt's verified chain
 */
export function reputationReceipt(
  requester: PeerId,
  receipt: Opened<'receipt'>,
  chain?: { readonly unopened: Unopened; readonly work: WorkKind },
): ReputationReceipt {
  const { message } = receipt
  return {
    receiptId: receipt.id,
    taskId: toHex(message.taskId),
    requester,
    atMs: message.closedMs,
    young: message.young,
    stewards: receipt.authors.length,
    executors: message.executors.map(({ peer, operator, outcome, durationMs, root }) => ({
      peer: peerIdFromPublicKey(peer),
      operator: peerIdFromPublicKey(operator),
      outcome: outcome as ReceiptOutcome,
      durationMs,
      ...(outcome === 'dissented' ? { wrongRoot: toHex(root) } : {}),
    })),
    ...(chain === undefined || chain.unopened.peers.length === 0
      ? {}
      : { unopened: chain.unopened }),
    ...(chain?.work === 'gpu' ? { work: chain.work } : {}),
  }
}
