/** Names what replicas differ in, so that a submitter sees where a program is not deterministic. */
import type { Opened } from '../wire/envelope.js'
import { listedFiles } from './slot-verdict.js'

/** Names told in one sentence; further ones are only counted. */
const NAMES_TOLD = 3
const NAME_CHARS = 80

/**
 * The files that are not the same in all reveals, as words: `samples.bin and seed.txt`. Undefined
 * where the listings do not tell: they are left out when they are long.
 */
export function differenceOf(reveals: ReadonlyArray<Opened<'reveal'>>): string | undefined {
  const listings = reveals.flatMap((reveal) => {
    const files = listedFiles(reveal)
    return files === undefined ? [] : [new Map(files.map(({ path, digest }) => [path, digest]))]
  })
  const [first] = listings
  if (first === undefined || listings.length < 2) return undefined
  const paths = new Set(listings.flatMap((listing) => [...listing.keys()]))
  const differing = [...paths]
    .filter((path) => listings.some((listing) => listing.get(path) !== first.get(path)))
    .sort()
  return differing.length === 0 ? undefined : namesOf(differing)
}

function namesOf(paths: readonly string[]): string {
  const names = paths.slice(0, NAMES_TOLD).map((path) => path.slice(0, NAME_CHARS))
  const more = paths.length - names.length
  if (more > 0) return `${names.join(', ')} and ${more} more files`
  const last = names.pop() ?? ''
  return names.length === 0 ? last : `${names.join(', ')} and ${last}`
}
