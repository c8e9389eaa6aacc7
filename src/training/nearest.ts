/** What a mistyped name was meant to be. */

/** The candidate nearest to a mistyped word, if any is near (Levenshtein, at most a third off). */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const typed = word.slice(0, 60).toLowerCase()
  let best: string | undefined
  let bestDistance = Math.max(2, Math.ceil(typed.length / 3)) + 1
  for (const candidate of candidates.slice(0, 1000)) {
    const distance = editDistance(typed, candidate.slice(0, 60).toLowerCase())
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
