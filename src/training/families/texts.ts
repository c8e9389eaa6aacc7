/** Texts as rows of token ids. */
import { encodeText } from '../bytes.js'
import { CtdError } from '../../errors.js'
import type { TableOptions } from '../tabular.js'
import type { DatasetOptions } from './family.js'
import type { RowTensor } from './rows.js'

/** Token ids of the texts, padded to `maxLength`. */
export function tokenTensor(name: string, texts: readonly string[], maxLength: number): RowTensor {
  return {
    name,
    dtype: 'I16',
    rowShape: [maxLength],
    fill: (rows) => {
      const tokens = new Int16Array(rows.length * maxLength)
      for (const [i, row] of rows.entries()) {
        tokens.set(encodeText(texts[row] ?? '', maxLength), i * maxLength)
      }
      return tokens
    },
  }
}

/** Tokens of the longest text, start and end included. */
export function longestTokens(texts: readonly string[]): number {
  return 2 + texts.reduce((most, text) => Math.max(most, Buffer.byteLength(text)), 0)
}

/** @throws CtdError DATA_FORMAT when the file is plain text */
export function tableOptions({ format, textColumn, labelColumn }: DatasetOptions): TableOptions {
  if (format !== 'txt') return { format, textColumn, labelColumn }
  throw new CtdError('DATA_FORMAT', 'the dataset is plain text, but this model needs a table', {
    hint: 'give a csv, tsv or jsonl file; plain text is for gpt, embed and word2vec models',
  })
}
