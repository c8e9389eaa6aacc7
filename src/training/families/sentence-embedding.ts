/**
 * Vectors of sentences: BERT's encoder (names and shapes of Hugging Face's `BertModel` without
 * pooler), the mean of its states, learnt from pairs that belong together.
 */
import { TOKEN } from '../bytes.js'
import type { ExampleSet } from '../data/examples.js'
import {
  bertDescription,
  bertInitial,
  bertParameters,
  transformerActivationBytes,
  transformerFlops,
  type BertShape,
} from './bert.js'
import { FIXED_POINT, retrievalResults } from './counts.js'
import type { Dataset, DatasetOptions, FamilyLaw, Model } from './family.js'
import { byName } from './parameters.js'
import { assertEnoughRows, writeRows } from './rows.js'
import { coderOf, tokenTensor, vocabularyOf } from './texts.js'

export interface SentenceEmbeddingConfig extends BertShape {
  readonly family: 'sentence-embedding'
}

/**
 * Pairs among which the right partner is sought: the evaluation goes through its rows in blocks of
 * so many. The same number stands in sentence_embedding.py.
 */
const CANDIDATES = 1000

export function sentenceEmbedding(config: SentenceEmbeddingConfig): Model {
  return {
    parameters: byName(bertParameters(config, '')),
    initial: bertInitial,
    flopsPerRow: (rowTokens) => 2 * transformerFlops(config, rowTokens),
    activationBytesPerRow: 2 * transformerActivationBytes(config),
    describe: () => ({
      ...bertDescription(config, TOKEN.padding),
      architectures: ['BertModel'],
      pooling: 'mean',
    }),
  }
}

/**
 * Pairs from two columns of a table, or from the neighbouring lines of a text: line 1 with line 2,
 * 3 with 4 and so on, blank lines left out, so that no line is in two pairs.
 *
 * @throws CtdError DATA_TOO_FEW_ROWS, TOKENIZER_UNSUITABLE
 */
function readPairs(examples: ExampleSet, options: DatasetOptions): Dataset {
  const { maxLength } = options
  const coder = coderOf(options.tokenizer, true)
  const { rows, first, second } = pairsOf(examples)
  assertEnoughRows(rows, 'pairs')
  const tensors = [
    tokenTensor('anchors', first, { coder, maxLength }),
    tokenTensor('positives', second, { coder, maxLength }),
  ]
  return {
    rows,
    shape: vocabularyOf(options),
    longestTokens: 2 + examples.longestBytes,
    textColumn: examples.textColumn,
    labelColumn: examples.labelColumn,
    split: (held) => ({
      labels: [],
      baseline: chance(held.length),
      summary: { maxLength },
      files: {},
      writeShard: (path, chosen) => writeRows(path, chosen, tensors),
    }),
  }
}

function pairsOf(examples: ExampleSet): {
  readonly rows: number
  readonly first: (row: number) => Uint8Array
  readonly second: (row: number) => Uint8Array
} {
  const { rows, row, second } = examples
  if (examples.kind === 'text-pair') return { rows, first: row, second }
  const filled: number[] = []
  for (let line = 0; line < rows; line++) if (!isBlank(row(line))) filled.push(line)
  const lineAt = (at: number): Uint8Array => withoutBreak(row(filled[at] ?? 0))
  return {
    rows: Math.floor(filled.length / 2),
    first: (pair) => lineAt(2 * pair),
    second: (pair) => lineAt(2 * pair + 1),
  }
}

/** Of ASCII's white space alone. */
function isBlank(line: Uint8Array): boolean {
  return line.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d))
}

function withoutBreak(line: Uint8Array): Uint8Array {
  const end = line.at(-1) === 0x0a ? line.length - 1 : line.length
  return line.subarray(0, line[end - 1] === 0x0d ? end - 1 : end)
}

/** What guessing finds on average: every rank once in every block. */
function chance(rows: number) {
  const counts = { n: rows, recall1: 0, recall5: 0, reciprocalFixed: 0 }
  for (let start = 0; start < rows; start += CANDIDATES) {
    const candidates = Math.min(CANDIDATES, rows - start)
    counts.recall1 += 1
    counts.recall5 += Math.min(5, candidates)
    for (let rank = 1; rank <= candidates; rank++) {
      counts.reciprocalFixed += Math.floor(FIXED_POINT / rank)
    }
  }
  return counts
}

export const SENTENCE_EMBEDDING: FamilyLaw = {
  examples: (format) => (format === 'txt' ? 'text' : 'text-pair'),
  read: readPairs,
  results: retrievalResults,
  files: [],
  baseline: 'guessing',
}
