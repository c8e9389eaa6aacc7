/**
 * Vectors of words: skip-gram with negative sampling (Mikolov et al. 2013). Two tables, one for a
 * word and one for a word as context of others, as two `torch.nn.Embedding`s.
 *
 * A row is a stretch of words of the text. Negative samples are the words at the same places of
 * other rows of the batch: rows stand in an order drawn from the seed, so these are draws from the
 * text by the seed, and need no table. The evaluation ranks the true context among as many words,
 * drawn in the same way.
 */
import type { ExampleSet } from '../data/examples.js'
import { addRank, retrievalResults } from './counts.js'
import type { Dataset, DatasetOptions, FamilyLaw, Model } from './family.js'
import { byName, parameter } from './parameters.js'
import { assertEnoughRows, writeRows } from './rows.js'

export interface WordEmbeddingConfig {
  readonly family: 'word-embedding'
  readonly hidden: number
  /** Words, the unknown included, which is 0. */
  readonly vocabulary: number
  /** Words of a row. */
  readonly maxLength: number
}

/** Distance at which a word is still a context. The same number stands in word_embedding.py. */
const WINDOW = 4
/** Words among which the true one is sought, itself not counted; as in word_embedding.py. */
const RIVALS = 15
/** Negative samples of every pair; as in word_embedding.py. */
const NEGATIVES = 5
/** Rarer words are unknown: nothing could be learnt of them. */
const OCCURRENCES_MIN = 5
const VOCABULARY_MAX = 16_384
const WORD_BYTES_MAX = 64

export function wordEmbedding(config: WordEmbeddingConfig): Model {
  const { hidden, vocabulary, maxLength } = config
  return {
    parameters: byName([
      parameter('contexts.weight', vocabulary, hidden),
      parameter('embeddings.weight', vocabulary, hidden),
    ]),
    // As word2vec: the product of a word and a context begins at 0.
    initial: ({ name }) =>
      name === 'contexts.weight' ? { constant: 0 } : { deviation: 1 / Math.sqrt(hidden) },
    flopsPerRow: () => 6 * (1 + NEGATIVES) * maxLength * maxLength * hidden,
    activationBytesPerRow: 4 * maxLength * (1 + NEGATIVES) * (2 * hidden + 4 * maxLength),
    describe: () => ({
      architectures: ['SkipGram'],
      hidden_size: hidden,
      model_type: 'skip-gram',
      vocab_size: vocabulary,
      window: WINDOW,
    }),
  }
}

/**
 * Words of a text: runs of ASCII letters, lowered, and of bytes of any other script. No table of
 * letters is asked, which engines may change.
 */
function readWords(examples: ExampleSet, { maxLength }: DatasetOptions): Dataset {
  const { words, stream } = numberWords(examples)
  const rows = Math.floor(stream.length / maxLength)
  assertEnoughRows(rows, `stretches of ${maxLength} words`)
  const fill = (chosen: Uint32Array): Int16Array => {
    const filled = new Int16Array(chosen.length * maxLength)
    for (const [i, row] of chosen.entries()) {
      filled.set(stream.subarray(row * maxLength, (row + 1) * maxLength), i * maxLength)
    }
    return filled
  }
  const tensor = { name: 'words', dtype: 'I16', rowShape: [maxLength], fill } as const
  return {
    rows,
    shape: { vocabulary: words.length },
    textColumn: examples.textColumn,
    labelColumn: '',
    split: (held, taught) => ({
      labels: [],
      baseline: frequencyRanks(fill(held), fill(taught), maxLength),
      summary: { maxLength, vocabulary: words.length },
      // Entry i is the word of row i of both tables.
      files: { 'vocabulary.json': words },
      writeShard: (path, chosen) => writeRows(path, chosen, [tensor]),
    }),
  }
}

/** The text as numbers of words: 0 unknown, then by falling frequency. */
function numberWords(examples: ExampleSet): {
  readonly words: readonly string[]
  readonly stream: Int16Array
} {
  const firstIds = new Map<string, number>()
  const counts: number[] = []
  const found: number[] = []
  for (let row = 0; row < examples.rows; row++) {
    for (const word of scanWords(examples.row(row))) {
      const id = firstIds.get(word) ?? firstIds.size
      if (id === firstIds.size) firstIds.set(word, id)
      counts[id] = (counts[id] ?? 0) + 1
      found.push(id)
    }
  }
  const kept = [...firstIds]
    .filter(([, id]) => (counts[id] ?? 0) >= OCCURRENCES_MIN)
    .sort(([a, i], [b, j]) => (counts[j] ?? 0) - (counts[i] ?? 0) || (a < b ? -1 : 1))
    .slice(0, VOCABULARY_MAX - 1)
  const numbers = new Int16Array(firstIds.size)
  for (const [rank, [, id]] of kept.entries()) numbers[id] = rank + 1
  return {
    words: ['', ...kept.map(([word]) => Buffer.from(word, 'latin1').toString('utf8'))],
    stream: Int16Array.from(found, (id) => numbers[id] ?? 0),
  }
}

/** One char a byte. */
function* scanWords(bytes: Uint8Array): Generator<string, void> {
  let start = -1
  for (let at = 0; at <= bytes.length; at++) {
    const byte = bytes[at] ?? 0
    const isLetter =
      byte >= 0x80 || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a)
    if (isLetter && start === -1) start = at
    if (isLetter || start === -1) continue
    const end = Math.min(at, start + WORD_BYTES_MAX)
    const word = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
    yield word.toString('latin1').replace(/[A-Z]/g, (letter) => letter.toLowerCase())
    start = -1
  }
}

/**
 * What a model scores that knows only how often a word occurs. Ties count against it, and a rival
 * that is the true word is none; as the evaluation in word_embedding.py.
 */
function frequencyRanks(held: Int16Array, taught: Int16Array, maxLength: number) {
  const frequency = new Float64Array(VOCABULARY_MAX)
  for (const word of taught) frequency[word] = (frequency[word] ?? 0) + 1
  const counts = { n: 0, recall1: 0, recall5: 0, reciprocalFixed: 0 }
  const rows = held.length / maxLength
  const wordAt = (row: number, place: number): number => held[(row % rows) * maxLength + place] ?? 0
  for (let row = 0; row < rows; row++) {
    for (let place = 0; place < maxLength; place++) {
      const word = wordAt(row, place)
      if (word === 0) continue
      let rank = 1
      for (let k = 1; k <= Math.min(RIVALS, rows - 1); k++) {
        const rival = wordAt(row + k, place)
        if (rival === 0 || rival === word) continue
        if ((frequency[rival] ?? 0) >= (frequency[word] ?? 0)) rank += 1
      }
      for (let d = -WINDOW; d <= WINDOW; d++) {
        const centre = place + d
        if (d === 0 || centre < 0 || centre >= maxLength || wordAt(row, centre) === 0) continue
        addRank(counts, rank)
      }
    }
  }
  return counts
}

export const WORD_EMBEDDING: FamilyLaw = {
  examples: () => 'text',
  read: readWords,
  results: retrievalResults,
  files: ['vocabulary.json'],
  baseline: 'how often each word occurs',
}
