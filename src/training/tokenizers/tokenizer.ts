/** What turns a text into the numbers that a model reads, and back. */

/** A tokenizer; the same text gives the same ids on every machine. */
export interface Tokenizer {
  readonly kind: 'wordpiece' | 'byte-bpe'
  /** Ids are below this. */
  readonly vocabulary: number
  /** Ids with a meaning of their own; undefined where the vocabulary has none. */
  readonly special: SpecialIds
  /** Ids of a text, without special ones. */
  encode(text: string): readonly number[]
  /** A text of these ids; special ones are left out. Exact for byte-level BPE alone. */
  decode(ids: Iterable<number>): string
}

export interface SpecialIds {
  readonly padding: number | undefined
  readonly start: number | undefined
  readonly end: number | undefined
}

/** Every maximum of a tokenizer's files. */
export const TOKENIZER_LIMITS = {
  fileBytes: 32 * 1024 * 1024,
  vocabulary: 262_144,
  tokenChars: 1024,
  /** Words whose ids are remembered. */
  cachedWords: 65_536,
  /** Longer words are not remembered. */
  cachedWordChars: 64,
} as const

const PADDING = ['[PAD]', '<pad>', '<|pad|>']
const START = ['[CLS]', '<s>', '<|start|>', '<|endoftext|>']
const END = ['[SEP]', '</s>', '<|end|>', '<|endoftext|>']

/** Finds the special ids by the names that they bear in known vocabularies. */
export function findSpecial(ids: ReadonlyMap<string, number>): SpecialIds {
  const find = (names: readonly string[]): number | undefined => {
    for (const name of names) if (ids.has(name)) return ids.get(name)
    return undefined
  }
  return { padding: find(PADDING), start: find(START), end: find(END) }
}

/** Remembers results by word, at most so many; all are forgotten when it is full. */
export class WordCache<T> {
  private readonly known = new Map<string, T>()

  get(word: string, make: (word: string) => T): T {
    const found = this.known.get(word)
    if (found !== undefined) return found
    const made = make(word)
    if (word.length > TOKENIZER_LIMITS.cachedWordChars) return made
    if (this.known.size >= TOKENIZER_LIMITS.cachedWords) this.known.clear()
    this.known.set(word, made)
    return made
  }
}
