/** Merkle trees over chunks of an update: the tree and the inclusion proofs of RFC 9162 (2.1). */
import { sha256 } from '../wire/ids.js'

const HASH_BYTES = 32
const LEAF = Uint8Array.of(0)
const NODE = Uint8Array.of(1)

export function leafHash(bytes: Uint8Array): Uint8Array {
  return sha256(LEAF, bytes)
}

/** The tree of some leaves, from their hashes on; a node without a sibling moves up unchanged. */
export class MerkleTree {
  /** Hashes of each level, the leaves first, the root alone in the last. */
  readonly #levels: Uint8Array[]

  /** @param leaves - leaf hashes, 32 bytes each, one after the other; at least one */
  constructor(leaves: Uint8Array) {
    this.#levels = [leaves]
    let below = leaves
    while (below.length > HASH_BYTES) {
      const count = below.length / HASH_BYTES
      const level = new Uint8Array(Math.ceil(count / 2) * HASH_BYTES)
      for (let i = 0; i < count; i += 2) {
        const [left, right] = [hashAt(below, i), hashAt(below, i + 1)]
        level.set(right.length === 0 ? left : sha256(NODE, left, right), (i / 2) * HASH_BYTES)
      }
      this.#levels.push(level)
      below = level
    }
  }

  get root(): Uint8Array {
    return hashAt(this.#levels.at(-1) ?? new Uint8Array(0), 0)
  }

  /** The inclusion proof of a leaf: its siblings from below, one after the other. */
  path(index: number): Uint8Array {
    const siblings: Uint8Array[] = []
    let at = index
    for (const level of this.#levels.slice(0, -1)) {
      siblings.push(hashAt(level, at ^ 1))
      at >>>= 1
    }
    return new Uint8Array(Buffer.concat(siblings))
  }
}

function hashAt(level: Uint8Array, index: number): Uint8Array {
  return level.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES)
}

/**
 * Whether a leaf stands at a place of a tree (RFC 9162, 2.1.3.2).
 *
 * @param place - index of the leaf and number of leaves, below 2^31
 * @param path - as `MerkleTree.path` gives it
 */
export function isIncluded(
  leaf: Uint8Array,
  place: { readonly index: number; readonly count: number },
  path: Uint8Array,
  root: Uint8Array,
): boolean {
  if (place.index >= place.count || path.length % HASH_BYTES !== 0) return false
  let [at, last, hash] = [place.index, place.count - 1, leaf]
  for (let i = 0; i * HASH_BYTES < path.length; i++) {
    const sibling = hashAt(path, i)
    if (last === 0) return false
    const isRight = (at & 1) === 1 || at === last
    hash = isRight ? sha256(NODE, sibling, hash) : sha256(NODE, hash, sibling)
    if (isRight) while ((at & 1) === 0 && at !== 0) [at, last] = [at >>> 1, last >>> 1]
    ;[at, last] = [at >>> 1, last >>> 1]
  }
  return last === 0 && Buffer.compare(hash, root) === 0
}
