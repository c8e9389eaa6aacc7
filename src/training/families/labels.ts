/** Labels as numbers, and what always answering the commonest of them would score. */
import { CtdError } from '../../errors.js'

const CLASSES_MAX = 1000

/**
 * The different labels, sorted by code unit, which no locale changes, and each row's number.
 *
 * @throws CtdError DATA_ONE_CLASS, DATA_TOO_MANY_CLASSES
 */
export function readLabels(column: readonly string[]): {
  readonly labels: readonly string[]
  readonly ids: Int32Array
} {
  const labels = [...new Set(column)].sort()
  if (labels.length < 2) {
    throw new CtdError('DATA_ONE_CLASS', `every row has the label "${labels[0] ?? ''}"`, {
      hint: 'a classifier needs at least two labels; is the right column chosen?',
    })
  }
  if (labels.length > CLASSES_MAX) {
    throw new CtdError('DATA_TOO_MANY_CLASSES', `there are ${labels.length} different labels`, {
      hint: `at most ${CLASSES_MAX}; are the text and label columns swapped?`,
    })
  }
  const numbers = new Map(labels.map((label, id) => [label, id]))
  return { labels, ids: Int32Array.from(column, (label) => numbers.get(label) ?? -1) }
}

/** How often each label occurs, for `split.json`. */
export function countLabels(split: {
  readonly labels: readonly string[]
  readonly ids: Int32Array
  readonly held: Uint32Array
  readonly taught: Uint32Array
}) {
  const { labels, ids, held, taught } = split
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
  return {
    classes: labels.length,
    evalCounts,
    // Rows that a model would get right that always answers the commonest training label.
    majorityCorrect: evalCounts[majority] ?? 0,
    majorityLabel: labels[majority] ?? '',
    trainCounts,
  }
}
