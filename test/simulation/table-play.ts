/** One task of the table: who was called, and what each of them did. */
import type { ReceiptExecutor, ReceiptOutcome } from '../../src/protocol/reputation.js'
import type { ExecutorOutcome, Verdict } from '../../src/protocol/verdict.js'
import { digestOf, utf8 } from '../../src/wire/ids.js'
import type { Digest, PeerId } from '../../src/wire/ids.js'
import type { Random } from './random.js'
import type { Bidder, TableRules, TableSetting } from './table-setting.js'

export const RIGHT = digestOf(utf8('the right result'))
const WRONG = digestOf(utf8('the agreed wrong result'))

export class Play {
  readonly #setting: TableSetting
  readonly #rules: TableRules
  readonly #random: Random
  readonly #ranking: readonly Bidder[]
  readonly #isLying: boolean
  readonly #lost = new Map<PeerId, ReceiptOutcome>()
  readonly outcomes: ExecutorOutcome[] = []
  #called = 0
  #silent = 0
  #isFirstRound = true

  constructor(
    setting: TableSetting,
    rules: TableRules,
    random: Random,
    ranking: readonly Bidder[],
    isCaptured: boolean,
  ) {
    this.#setting = setting
    this.#rules = rules
    this.#random = random
    this.#ranking = ranking
    const visible = ranking.slice(0, setting.replicas)
    const owned = visible.filter(({ isAdversary }) => isAdversary).length
    const { strategy } = setting
    if (strategy === 'sleepers' || strategy === 'withholders') {
      this.#isLying = owned === visible.length
    } else if (strategy === 'stewards') this.#isLying = isCaptured
    else this.#isLying = strategy !== 'framers' || 2 * owned > visible.length
  }

  get hasStandby(): boolean {
    return this.#called < this.#ranking.length
  }

  /** Commitments so far, those that were never revealed included. */
  get committed(): number {
    return this.#called - this.#silent
  }

  get executed(): number {
    return this.#called
  }

  /** Calls down the ranking until so many have committed. */
  callUntil(committed: number): void {
    while (this.committed < committed && this.hasStandby) this.#call()
    this.#isFirstRound = false
  }

  #call(): void {
    const bidder = this.#ranking[this.#called++]
    if (bidder === undefined) return
    const { peer, isAdversary, score } = bidder
    const { strategy } = this.#setting
    if (isAdversary && strategy === 'silent') {
      this.#silent++
      this.#lost.set(peer, 'timed-out')
      return
    }
    if (isAdversary && strategy === 'copycats' && !this.#rules.canCopy) {
      this.#lost.set(peer, 'withheld')
      return
    }
    const { established, reliabilityPpm } = score
    // Until the first commitments are frozen the called are those of the election.
    const foreseen = this.#isFirstRound
    this.outcomes.push({
      peer,
      operator: peer,
      established,
      reliabilityPpm,
      root: this.#rootOf(bidder),
      foreseen,
    })
  }

  #rootOf({ peer, isAdversary }: Bidder): Digest {
    if (!isAdversary) {
      const isWrong = this.#random.chance(this.#setting.honestErrors / 100)
      return isWrong ? digestOf(this.#random.bytes(32)) : RIGHT
    }
    if (!this.#isLying) return RIGHT
    if (this.#setting.strategy === 'latecomers' && this.#isFirstRound) return RIGHT
    if (this.#setting.strategy === 'liars') return digestOf(utf8(`${peer}'s own wrong result`))
    // Where results are seen before they are due, a copycat repeats the one it sees.
    if (this.#setting.strategy === 'copycats') {
      const others = this.#ranking.slice(0, Math.max(this.#setting.replicas, this.#called))
      return others.some((other) => !other.isAdversary) ? RIGHT : WRONG
    }
    return WRONG
  }

  receiptOf(verdict: Verdict): ReceiptExecutor[] {
    const isAccepted = verdict.kind === 'accept'
    const agreed = new Set(isAccepted ? verdict.agreed : [])
    const struck = new Set(isAccepted ? verdict.strikes.map(({ peer }) => peer) : [])
    const roots = new Map(this.outcomes.map(({ peer, root }) => [peer, root]))
    return this.#ranking.slice(0, this.#called).map(({ peer }): ReceiptExecutor => {
      const lost = this.#lost.get(peer)
      if (lost !== undefined) return { peer, operator: peer, outcome: lost, durationMs: 0 }
      const root = roots.get(peer)
      const outcome = agreed.has(peer) ? 'agreed' : struck.has(peer) ? 'dissented' : 'spared'
      return {
        peer,
        operator: peer,
        outcome,
        durationMs: 1000,
        ...(outcome === 'dissented' && root !== undefined ? { wrongRoot: root } : {}),
      }
    })
  }
}
