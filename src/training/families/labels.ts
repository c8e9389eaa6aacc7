/** Labels as numbers, and what always answering the commonest of them would score. */
import { naturalLog } from '../portable-math.js'
import { FIXED_POINT } from './counts.js'

/**
 * How often each label occurs, for `split.json`; and what a model scores that gives every row the
 * share of each label among the training rows (one added to each), so the commonest comes first.
 */
export function labelSplit(part: {
  readonly labels: readonly string[]
  readonly ids: Int32Array
  readonly held: Uint32Array
  readonly taught: Uint32Array
}) {
  const { labels, ids, held, taught } = part
  const count = (rows: Uint32Array): readonly number[] => {
    const counts = labels.map(() => 0)
    for (const row of rows) {
      const id = ids[row] ?? 0
      counts[id] = (counts[id] ?? 0) + 1
    }
    return counts
  }
  const evalCounts = count(held)
  const trainCounts = count(taught)
  const majority = trainCounts.indexOf(Math.max(...trainCounts))
  const correct = evalCounts[majority] ?? 0
  const total = taught.length + labels.length
  const nllFixed = evalCounts.reduce((sum, rows, id) => {
    const nll = -naturalLog(((trainCounts[id] ?? 0) + 1) / total)
    return sum + rows * Math.round(nll * FIXED_POINT)
  }, 0)
  // Of the majority's class alone: 2 true positives over all named and all meant; others have 0.
  const f1 = Math.floor((2 * correct * FIXED_POINT) / (correct + held.length))
  return {
    baseline: {
      correct,
      f1Fixed: held.length * Math.floor(f1 / labels.length),
      n: held.length,
      nllFixed,
    },
    summary: {
      classes: labels.length,
      evalCounts,
      // Rows that a model would get right that always answers the commonest training label.
      majorityCorrect: correct,
      majorityLabel: labels[majority] ?? '',
      trainCounts,
    },
  }
}
