/**
 * Stands in for the chain of a receipt: the real one, verified once for all simulated peers that
 * hold every message of it. A peer that misses one goes its own way.
 */
import * as real from '../../../src/protocol/slot-chain.js'
import type { ChainSource, VerifiedSlot } from '../../../src/protocol/slot-chain.js'
import type { Opened } from '../../../src/wire/envelope.js'
import { Kept } from './kept.js'

export * from '../../../src/protocol/slot-chain.js'

const slots = new Kept<VerifiedSlot>()

export function verifySlot(source: ChainSource, receipt: Opened<'receipt'>): VerifiedSlot {
  const verify = (): VerifiedSlot => real.verifySlot(source, receipt)
  const name = `${source.manifest.id}${receipt.id}${source.proofs}`
  const found = slots.of(name, verify)
  const last = found.messages.length - 1
  const isWhole = found.messages.every((message, i) => {
    return i === 0 || i === last || source.get(message.id) !== undefined
  })
  return isWhole ? found : verify()
}
