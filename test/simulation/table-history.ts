/** What the peers of the table did before it begins. */
import type { ReputationReceipt } from '../../src/protocol/reputation.js'
import type { PeerId } from '../../src/wire/ids.js'
import type { Player } from './table-setting.js'

/** When the table begins, Unix time in ms. */
export const START_MS = 1_800_000_000_000
/** Enough receipts for the greatest credit, S = 100. */
const HISTORY = 110
const HISTORY_MS = 24 * 3600_000
/** Farmers of one group, and the tasks each of them has a part in. */
const FARMERS = 4
const FARMED = 1000

/** Accepted replicas of the last day, each for another requester and with another partner. */
export function historyOf({ peer }: Player): ReputationReceipt[] {
  return Array.from({ length: HISTORY }, (_, i) => {
    const id = `history ${peer} ${i}`
    const partner = `partner of ${id}` as PeerId
    return {
      receiptId: id,
      taskId: id,
      requester: `requester of ${id}` as PeerId,
      atMs: START_MS - HISTORY_MS + Math.floor(((i + 1) * HISTORY_MS) / (HISTORY + 1)),
      young: false,
      stewards: 1,
      executors: [
        { peer, operator: peer, outcome: 'agreed', durationMs: 1000 },
        { peer: partner, operator: partner, outcome: 'agreed', durationMs: 1000 },
      ],
    }
  })
}

/** A thousand tasks of one requester within a day, each computed by two of a group of four. */
export function farmedBy(owned: readonly Player[]): ReputationReceipt[] {
  return owned.flatMap((first, i) =>
    Array.from({ length: FARMED / 2 }, (_, n): ReputationReceipt => {
      const group = Math.floor(i / FARMERS) * FARMERS
      const others = owned.slice(group, group + FARMERS).filter((each) => each !== first)
      const second = others[n % others.length] ?? first
      const id = `farmed ${i} ${String(n).padStart(4, '0')}`
      return {
        receiptId: id,
        taskId: id,
        requester: `requester of ${group}` as PeerId,
        atMs: START_MS - HISTORY_MS + Math.floor((n * HISTORY_MS) / FARMED),
        young: false,
        stewards: 1,
        executors: [first, second].map(({ peer }) => ({
          peer,
          operator: peer,
          outcome: 'agreed',
          durationMs: 1000,
        })),
      }
    }),
  )
}
