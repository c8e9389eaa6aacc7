/** Who needs which blobs: a blob that somebody holds is never removed for want of room. */
import type { Digest } from '../wire/ids.js'

export class Holdings {
  readonly #digests = new Map<string, Set<Digest>>()
  readonly #counts = new Map<Digest, number>()

  hold(holder: string, digest: Digest): void {
    const held = this.#digests.get(holder) ?? new Set<Digest>()
    this.#digests.set(holder, held)
    if (held.has(digest)) return
    held.add(digest)
    this.#counts.set(digest, (this.#counts.get(digest) ?? 0) + 1)
  }

  /** Lets go of all that a holder holds, or of one blob. */
  release(holder: string, only?: Digest): void {
    const held = this.#digests.get(holder)
    if (held === undefined) return
    for (const digest of only === undefined ? [...held] : [only]) {
      if (!held.delete(digest)) continue
      const count = (this.#counts.get(digest) ?? 1) - 1
      if (count === 0) this.#counts.delete(digest)
      else this.#counts.set(digest, count)
    }
    if (held.size === 0) this.#digests.delete(holder)
  }

  isHeld(digest: Digest): boolean {
    return this.#counts.has(digest)
  }

  holdersOf(digest: Digest): readonly string[] {
    if (!this.isHeld(digest)) return []
    return [...this.#digests].flatMap(([holder, held]) => (held.has(digest) ? [holder] : []))
  }
}
