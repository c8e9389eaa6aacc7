/** What the integers of an evaluation mean. */
import { exponential } from '../portable-math.js'
import type { Counts, ResultFields } from './family.js'

/** Losses and shares are counted in multiples of 2^-20. */
export const FIXED_POINT = 2 ** 20

/** `f1` is the mean over classes; of several shards, their mean by rows. */
export function classifierResults(count: Counts): ResultFields {
  const n = count('n')
  return {
    accuracy: share(count('correct'), n),
    correct: count('correct'),
    f1: share(count('f1Fixed') / FIXED_POINT, n),
    loss: share(count('nllFixed') / FIXED_POINT, n),
    n,
  }
}

/** Per token; `nextTokenAccuracy` is how often the likeliest token comes next. */
export function languageResults(count: Counts): ResultFields {
  const n = count('n')
  const loss = share(count('nllFixed') / FIXED_POINT, n)
  const perplexity = loss === null || loss > 700 ? null : roundTo12(exponential(loss))
  return { loss, n, nextTokenAccuracy: share(count('correct'), n), perplexity }
}

/** How often the right one of the candidates ranks first, among five, and its mean 1 / rank. */
export function retrievalResults(count: Counts): ResultFields {
  const n = count('n')
  const nll = count('nllFixed')
  return {
    // A baseline that only ranks has none.
    loss: nll === 0 ? null : share(nll / FIXED_POINT, n),
    mrr: share(count('reciprocalFixed') / FIXED_POINT, n),
    n,
    recallAt1: share(count('recall1'), n),
    recallAt5: share(count('recall5'), n),
  }
}

function share(part: number, n: number): number | null {
  return n === 0 ? null : part / n
}

function roundTo12(x: number): number {
  return Number(x.toPrecision(12))
}

/** Adds a rank, from 1, to the counts of a retrieval. */
export function addRank(counts: RetrievalCounts, rank: number): void {
  counts.n += 1
  if (rank === 1) counts.recall1 += 1
  if (rank <= 5) counts.recall5 += 1
  counts.reciprocalFixed += Math.floor(FIXED_POINT / rank)
}

export interface RetrievalCounts {
  n: number
  recall1: number
  recall5: number
  reciprocalFixed: number
}
