/** Texts as rows of token ids. */
import { TOKEN } from '../bytes.js'
import { CtdError } from '../../errors.js'
import type { Tokenizer } from '../tokenizers/tokenizer.js'
import type { DatasetOptions } from './family.js'
import type { RowTensor } from './rows.js'

/** A tokenizer as rows need it: special ids known, texts given as UTF-8. */
export interface TextCoder {
  /** Ids are below it. */
  readonly vocabulary: number
  readonly start: number
  readonly end: number
  encode(bytes: Uint8Array): ArrayLike<number>
}

const BYTES: TextCoder = {
  vocabulary: TOKEN.vocabulary,
  start: TOKEN.start,
  end: TOKEN.end,
  encode: (bytes) => Int16Array.from(bytes, (byte) => TOKEN.byteOffset + byte),
}

/**
 * Bytes where no tokenizer is given.
 *
 * @param isPadded - whether rows are filled up with 0, which then must be the tokenizer's padding
 * @throws CtdError TOKENIZER_UNSUITABLE
 */
export function coderOf(tokenizer: Tokenizer | undefined, isPadded: boolean): TextCoder {
  if (tokenizer === undefined) return BYTES
  const { padding, start, end } = tokenizer.special
  const lacks = start === undefined ? 'start' : end === undefined ? 'end' : undefined
  if (lacks !== undefined || start === undefined || end === undefined) {
    throw unsuitable(`the tokenizer has no token for the ${lacks ?? 'end'} of a text`)
  }
  if (isPadded && padding !== 0) {
    throw unsuitable(`the tokenizer pads with ${padding ?? 'nothing'}, this model with 0`)
  }
  const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  const encode = (bytes: Uint8Array): ArrayLike<number> => tokenizer.encode(utf8.decode(bytes))
  return { vocabulary: tokenizer.vocabulary, start, end, encode }
}

function unsuitable(message: string): CtdError {
  return new CtdError('TOKENIZER_UNSUITABLE', message, {
    hint: 'take the tokenizer that belongs to the model',
  })
}

/** What a tokenizer says of a model's shape; without one the model's own default holds. */
export function vocabularyOf({ tokenizer }: DatasetOptions): { readonly vocabulary?: number } {
  return tokenizer === undefined ? {} : { vocabulary: tokenizer.vocabulary }
}

/** Integers of 16 bits where ids fit. */
export function idType(vocabulary: number): 'I16' | 'I32' {
  return vocabulary <= 2 ** 15 ? 'I16' : 'I32'
}

/** Token ids of texts, each from start to end, padded with 0 to `maxLength`. */
export function tokenTensor(
  name: string,
  textOf: (row: number) => Uint8Array,
  { coder, maxLength }: { readonly coder: TextCoder; readonly maxLength: number },
): RowTensor {
  const dtype = idType(coder.vocabulary)
  return {
    name,
    dtype,
    rowShape: [maxLength],
    fill: (rows) => {
      const size = rows.length * maxLength
      const tokens = dtype === 'I16' ? new Int16Array(size) : new Int32Array(size)
      for (const [i, row] of rows.entries()) {
        const ids = coder.encode(textOf(row))
        const count = Math.min(ids.length, maxLength - 2)
        const from = i * maxLength
        tokens[from] = coder.start
        for (let k = 0; k < count; k++) tokens[from + 1 + k] = ids[k] ?? 0
        tokens[from + 1 + count] = coder.end
      }
      return tokens
    },
  }
}
