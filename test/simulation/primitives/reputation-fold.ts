/** Stands in for the reputation: the real one, with one peer's score of one time kept. */
import * as real from '../../../src/protocol/reputation-fold.js'
import type { ReputationReceipt, Score } from '../../../src/protocol/reputation.js'
import type { PeerId } from '../../../src/wire/ids.js'
import { Kept } from './kept.js'

export * from '../../../src/protocol/reputation-fold.js'

const scores = new Kept<Score>()

export function scoreFrom(
  receipts: readonly ReputationReceipt[],
  peer: PeerId,
  nowMs: number,
): Score {
  const score = (): Score => real.scoreFrom(receipts, peer, nowMs)
  if (receipts.length === 0) return score()
  const ids = receipts.map(({ receiptId }) => receiptId)
  return scores.of(`${peer}${nowMs}${ids.join('')}`, score)
}
