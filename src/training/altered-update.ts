/** Updates that somebody altered: what a comparison of updates must tell from honest ones. */
import type { UpdateSource } from './update.js'

/** Every number times a factor. */
export function scaledUpdate(source: UpdateSource, factor: number): UpdateSource {
  return {
    ...source,
    step: source.step * Math.abs(factor),
    async *values() {
      for await (const values of source.values()) yield values.map((value) => value * factor)
    },
  }
}

/** One number moved. */
export function editedUpdate(
  source: UpdateSource,
  { element, by }: { readonly element: number; readonly by: number },
): UpdateSource {
  return {
    ...source,
    async *values() {
      let start = 0
      for await (const values of source.values()) {
        const at = element - start
        start += values.length
        yield at < 0 || at >= values.length ? values : values.with(at, (values[at] ?? 0) + by)
      }
    },
  }
}

/** How many numbers there are, and the largest magnitude. */
export async function updateSize(
  source: UpdateSource,
): Promise<{ readonly elements: number; readonly largest: number }> {
  let [elements, largest] = [0, 0]
  for await (const values of source.values()) {
    elements += values.length
    for (const value of values) largest = Math.max(largest, Math.abs(value))
  }
  return { elements, largest }
}
