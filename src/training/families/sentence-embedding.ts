/**
 * Vectors of sentences: BERT's encoder (names and shapes of Hugging Face's `BertModel` without
 * pooler), the mean of its states, learnt from pairs that belong together.
 */
import { TOKEN } from '../bytes.js'
import { CtdError } from '../../errors.js'
import { parseTable } from '../tabular.js'
import {
  bertDescription,
  bertInitial,
  bertParameters,
  transformerFlops,
  type BertShape,
} from './bert.js'
import { FIXED_POINT, retrievalResults } from './counts.js'
import type { Dataset, DatasetOptions, FamilyLaw, Model } from './family.js'
import { byName } from './parameters.js'
import { assertEnoughRows, writeRows } from './rows.js'
import { longestTokens, tableOptions, tokenTensor } from './texts.js'

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
    describe: () => ({
      ...bertDescription(config, TOKEN.padding),
      architectures: ['BertModel'],
      pooling: 'mean',
    }),
  }
}

interface Pair {
  readonly anchor: string
  readonly positive: string
}

/**
 * Pairs from two columns of a table, or from the neighbouring lines of a text.
 *
 * @throws CtdError DATA_*, see `parseTable`; DATA_TOO_FEW_ROWS
 */
function readPairs(bytes: Uint8Array, options: DatasetOptions): Dataset {
  const { textColumn = 'anchor', labelColumn = 'positive' } = options
  if (options.format === 'txt') {
    return pairDataset(linePairs(bytes), { maxLength: options.maxLength, columns: ['', ''] })
  }
  const table = parseTable(bytes, { ...tableOptions(options), textColumn, labelColumn })
  const pairs = table.rows.map(({ text, label }) => ({ anchor: text, positive: label }))
  return pairDataset(pairs, { maxLength: options.maxLength, columns: [textColumn, labelColumn] })
}

/** Line 1 with line 2, 3 with 4 and so on, blank lines left out: no line is in two pairs. */
function linePairs(bytes: Uint8Array): readonly Pair[] {
  const lines = decode(bytes)
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
  return Array.from({ length: Math.floor(lines.length / 2) }, (_, i) => ({
    anchor: lines[2 * i] ?? '',
    positive: lines[2 * i + 1] ?? '',
  }))
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new CtdError('DATA_ENCODING', 'the dataset is not UTF-8', {
      hint: 'save the file as UTF-8',
      cause,
    })
  }
}

/** @throws CtdError DATA_TOO_FEW_ROWS */
export function pairDataset(
  pairs: readonly Pair[],
  { maxLength, columns }: { readonly maxLength: number; readonly columns: readonly string[] },
): Dataset {
  assertEnoughRows(pairs.length, 'pairs')
  const anchors = pairs.map(({ anchor }) => anchor)
  const positives = pairs.map(({ positive }) => positive)
  const tensors = [
    tokenTensor('anchors', anchors, maxLength),
    tokenTensor('positives', positives, maxLength),
  ]
  return {
    rows: pairs.length,
    shape: {},
    longestTokens: Math.max(longestTokens(anchors), longestTokens(positives)),
    textColumn: columns[0] ?? '',
    labelColumn: columns[1] ?? '',
    split: (held) => ({
      labels: [],
      baseline: chance(held.length),
      summary: { maxLength },
      files: {},
      writeShard: (path, chosen) => writeRows(path, chosen, tensors),
    }),
  }
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
  read: readPairs,
  results: retrievalResults,
  files: [],
  baseline: 'guessing',
}
