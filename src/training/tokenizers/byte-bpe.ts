/**
 * Byte-level byte-pair encoding as GPT-2 has it (Sennrich et al. 2016; Radford et al. 2019): a
 * text is cut into words, the bytes of a word are merged pair by pair, the earliest merge of the
 * list first. Every text can be written, and comes back exactly.
 */
import { CtdError } from '../../errors.js'
import { findSpecial, WordCache, type Tokenizer } from './tokenizer.js'

export interface ByteBpeOptions {
  /** Tokens in the byte alphabet below, and special ones as they are. */
  readonly vocabulary: ReadonlyMap<string, number>
  /** Ids are below it. */
  readonly size: number
  /** The earliest first. */
  readonly merges: ReadonlyArray<readonly [string, string]>
  /** Ids that are no text. */
  readonly specialIds?: ReadonlySet<number> | undefined
  readonly addPrefixSpace?: boolean | undefined
  /** Whole words of the vocabulary need no merges. */
  readonly ignoreMerges?: boolean | undefined
}

/**
 * GPT-2's pattern; white space is named by its Unicode property, since `\s` of JavaScript is
 * another set than that of the program where the pattern comes from.
 */
const WORD =
  /'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

/** Words of a text; together they are the text. */
export function splitByteWords(text: string): readonly string[] {
  return text.match(WORD) ?? []
}

/**
 * The letter that stands for each byte in vocabularies: printable Latin-1 for itself, the others
 * from U+0100 on (GPT-2, encoder.py).
 */
export const BYTE_LETTERS: readonly string[] = byteLetters()

function byteLetters(): readonly string[] {
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    return String.fromCodePoint(isPrintable ? byte : next++)
  })
}

const LETTER_BYTES = new Map(BYTE_LETTERS.map((letter, byte) => [letter, byte]))
const UTF8 = new TextEncoder()

/** @throws CtdError TOKENIZER_MALFORMED when a byte or the result of a merge is no token */
export function createByteBpe(options: ByteBpeOptions): Tokenizer {
  const { vocabulary, size, merges, addPrefixSpace = false, ignoreMerges = false } = options
  const idOf = (token: string): number => {
    const id = vocabulary.get(token)
    if (id !== undefined) return id
    throw new CtdError('TOKENIZER_MALFORMED', `the vocabulary lacks "${token.slice(0, 40)}"`, {
      hint: 'a byte-level vocabulary holds all 256 bytes and the result of every merge',
    })
  }
  const byteIds = BYTE_LETTERS.map(idOf)
  /** By pair of ids: rank of the merge and what comes of it. */
  const ranks = new Map<number, readonly [rank: number, id: number]>()
  for (const [rank, [left, right]] of merges.entries()) {
    const pair = idOf(left) * size + idOf(right)
    if (!ranks.has(pair)) ranks.set(pair, [rank, idOf(left + right)])
  }
  const special = findSpecial(vocabulary)
  const hidden = new Set<number | undefined>([
    ...(options.specialIds ?? []),
    ...Object.values(special),
  ])
  const bytesOfToken = new Map(
    [...vocabulary].map(([token, id]) => [id, Array.from(token, (char) => LETTER_BYTES.get(char))]),
  )
  const cache = new WordCache<readonly number[]>()
  const encodeWord = (word: string): readonly number[] => {
    const bytes = UTF8.encode(word)
    if (ignoreMerges) {
      const whole = vocabulary.get(Array.from(bytes, (byte) => BYTE_LETTERS[byte]).join(''))
      if (whole !== undefined) return [whole]
    }
    return mergePairs(
      Array.from(bytes, (byte) => byteIds[byte] ?? 0),
      (left, right) => ranks.get(left * size + right),
    )
  }
  return {
    kind: 'byte-bpe',
    vocabulary: size,
    special,
    encode: (text) => {
      const isBare = addPrefixSpace && text !== '' && !text.startsWith(' ')
      const words = splitByteWords(isBare ? ` ${text}` : text)
      return words.flatMap((word) => cache.get(word, encodeWord))
    },
    decode: (ids) => {
      const bytes: number[] = []
      for (const id of ids) {
        if (hidden.has(id)) continue
        for (const byte of bytesOfToken.get(id) ?? []) if (byte !== undefined) bytes.push(byte)
      }
      return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes))
    },
  }
}

/** A pair that may be merged: its rank, where it begins, and what stood there. */
interface Candidate {
  readonly rank: number
  readonly at: number
  readonly left: number
  readonly right: number
  readonly id: number
}

/**
 * Merges the pair of the lowest rank, the leftmost first, until none is left. A heap of
 * candidates, so that a word of a million letters takes no million passes.
 */
export function mergePairs(
  symbols: readonly number[],
  rankOf: (left: number, right: number) => readonly [rank: number, id: number] | undefined,
): readonly number[] {
  const ids = Int32Array.from(symbols)
  const next = Int32Array.from(ids, (_, i) => (i + 1 < ids.length ? i + 1 : -1))
  const previous = Int32Array.from(ids, (_, i) => i - 1)
  const heap: Candidate[] = []
  const offer = (at: number): void => {
    const behind = at < 0 ? -1 : (next[at] ?? -1)
    if (behind < 0) return
    const [left, right] = [ids[at] ?? -1, ids[behind] ?? -1]
    const found = rankOf(left, right)
    if (found !== undefined) push(heap, { rank: found[0], at, left, right, id: found[1] })
  }
  for (let at = 0; at < ids.length; at++) offer(at)
  for (let best = pop(heap); best !== undefined; best = pop(heap)) {
    const { at, left, right, id } = best
    const behind = next[at] ?? -1
    // A symbol that was merged into another bears -1; what changed since is offered anew.
    if (ids[at] !== left || behind < 0 || ids[behind] !== right) continue
    ids[at] = id
    ids[behind] = -1
    const after = next[behind] ?? -1
    next[at] = after
    if (after >= 0) previous[after] = at
    offer(previous[at] ?? -1)
    offer(at)
  }
  return [...ids].filter((id) => id >= 0)
}

function isBefore(a: Candidate, b: Candidate): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.at < b.at)
}

function push(heap: Candidate[], added: Candidate): void {
  let at = heap.length
  heap.push(added)
  while (at > 0) {
    const parent = (at - 1) >> 1
    const above = heap[parent]
    if (above === undefined || !isBefore(added, above)) break
    heap[at] = above
    at = parent
  }
  heap[at] = added
}

function pop(heap: Candidate[]): Candidate | undefined {
  const first = heap[0]
  const last = heap.pop()
  if (first === undefined || last === undefined || heap.length === 0) return first
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    let least = heap[child]
    const other = heap[child + 1]
    if (least !== undefined && other !== undefined && isBefore(other, least)) {
      child += 1
      least = other
    }
    if (least === undefined || !isBefore(least, last)) break
    heap[at] = least
    at = child
  }
  heap[at] = last
  return first
}
