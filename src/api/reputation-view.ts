/** What people see of a peer's reputation: the score, its parts, and the evidence behind them. */
import type { ProviderStandings } from '../blob/provider-standing.js'
import type { PeerId } from '../wire/ids.js'
import { toHex } from '../wire/ids.js'
import type { FaultBook } from '../witness/fault-book.js'
import type { ReputationBook } from '../witness/reputation-book.js'
import type { ReputationView } from './daemon-port.js'

const PPM = 1e6
const WORK_KINDS = ['cpu', 'gpu'] as const
const MICRO = 1e6
/** Newest evidence that is shown. */
const EVIDENCE_MAX = 500

interface Sources {
  readonly reputation: ReputationBook
  readonly faults: FaultBook
  readonly standings: ProviderStandings
}

export function reputationView(
  { reputation, faults, standings }: Sources,
  peer: PeerId,
  atMs: number,
): ReputationView {
  const { score, evidence } = reputation.explain(peer, atMs)
  return {
    peer,
    atMs,
    standing: score.excluded ? 'excluded' : score.established ? 'established' : 'probationer',
    reliability: score.reliabilityPpm / PPM,
    availability: score.availabilityPpm / PPM,
    speed: score.speedPpm / PPM,
    credit: score.creditMicro / MICRO,
    failure: score.failureMicro / MICRO,
    accepted: score.accepted,
    coOperators: score.coOperators,
    wrongs: score.wrongs,
    exclusions: score.exclusions,
    excludedUntilMs: score.excludedUntilMs ?? null,
    work: WORK_KINDS.flatMap((kind) => {
      const seen = score.work[kind]
      if (seen === undefined) return []
      const { accepted, wrongs, speedPpm } = seen
      return [{ kind, accepted, wrongs, speed: speedPpm / PPM }]
    }),
    fault: faults.get(peer) ?? null,
    serving: standings.get(peer),
    receipts: reputation.size,
    root: toHex(reputation.root()),
    evidence: evidence
      .slice(-EVIDENCE_MAX)
      .reverse()
      .map(
        ({ receiptId, taskId, atMs: closedMs, young, kind, creditMicro, failureMicro, words }) => ({
          receiptId,
          taskId,
          closedMs,
          young,
          kind,
          credit: creditMicro / MICRO,
          failure: failureMicro / MICRO,
          words,
        }),
      ),
  }
}
