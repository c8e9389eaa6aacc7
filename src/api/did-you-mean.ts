/**
 * Finds the known word a person most likely meant. Imports nothing, so that the CLI may use it
 * without paying for the server.
 */

/**
 * Optimal string alignment distance: insertions, deletions, substitutions and swaps of two
 * neighbouring characters cost 1 each (Damerau 1964; restricted form, no substring edited twice).
 */
export function editDistance(left: string, right: string): number {
  let beforePrevious: number[] = []
  let previous = Array.from({ length: right.length + 1 }, (_, i) => i)
  for (let i = 1; i <= left.length; i++) {
    const row = [i]
    for (let j = 1; j <= right.length; j++) {
      const same = left[i - 1] === right[j - 1]
      let cost = Math.min(
        (previous[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (previous[j - 1] ?? 0) + (same ? 0 : 1),
      )
      const swapped = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]
      if (swapped) cost = Math.min(cost, (beforePrevious[j - 2] ?? 0) + 1)
      row.push(cost)
    }
    beforePrevious = previous
    previous = row
  }
  return previous[right.length] ?? 0
}

/** Words longer than this are never compared; keeps hostile keys cheap. */
const WORD_MAX = 64

/**
 * The known word closest to `word`, case and `-`/`_` ignored, if it is close enough to be meant:
 * at most a third of the word's length away, and at least one edit is always allowed. A known word
 * that begins with the given one counts as one edit.
 */
export function didYouMean(word: string, known: readonly string[]): string | undefined {
  if (word.length === 0 || word.length > WORD_MAX) return undefined
  const plain = (text: string): string => text.toLowerCase().replace(/[-_]/g, '')
  const given = plain(word)
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(given.length / 3)) + 1
  for (const candidate of known) {
    const target = plain(candidate)
    const begins = given.length >= 3 && target.startsWith(given)
    const distance = begins && target !== given ? 1 : editDistance(given, target)
    if (distance < bestDistance) {
      bestDistance = distance
      best = candidate
    }
  }
  return best
}
