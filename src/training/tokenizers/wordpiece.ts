/**
 * WordPiece as BERT has it (Devlin et al. 2018; google-research/bert, tokenization.py): words by
 * white space and punctuation, then the longest pieces of the vocabulary, from left to right.
 *
 * Characters that Unicode has not assigned are kept, unlike elsewhere: which these are depends on
 * the version of Unicode, and so on the machine. Letters are lowered one by one, for no letter
 * then depends on its neighbours.
 */
import { CtdError } from '../../errors.js'
import { findSpecial, WordCache, type Tokenizer } from './tokenizer.js'

export interface WordPieceOptions {
  readonly vocabulary: ReadonlyMap<string, number>
  /** Ids are below it. */
  readonly size: number
  readonly lowercase?: boolean | undefined
  /** As `lowercase` when absent. */
  readonly stripAccents?: boolean | undefined
  /** Makes a word of every Chinese character. */
  readonly splitChinese?: boolean | undefined
  readonly cleanText?: boolean | undefined
  readonly unknownToken?: string | undefined
  /** Marks pieces inside a word. */
  readonly prefix?: string | undefined
  /** Longer words are unknown. */
  readonly wordCharsMax?: number | undefined
}

const REMOVED = /[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu
const SPACE = /\p{White_Space}+/u
const MARK = /\p{Mn}/gu
/** All of ASCII that is neither letter, digit nor space counts, as `$` and `^` do. */
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}]/u
/** Blocks of Chinese characters, those of Japanese and Korean syllables not among them. */
const CHINESE =
  /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b820}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu

/** @throws CtdError TOKENIZER_MALFORMED when the vocabulary has no unknown token */
export function createWordPiece(options: WordPieceOptions): Tokenizer {
  const { vocabulary, size, prefix = '##', wordCharsMax = 100, unknownToken = '[UNK]' } = options
  const unknown = vocabulary.get(unknownToken)
  if (unknown === undefined) {
    throw new CtdError('TOKENIZER_MALFORMED', `the vocabulary lacks ${unknownToken}`, {
      hint: 'WordPiece needs a token for what is unknown',
    })
  }
  const special = findSpecial(vocabulary)
  const tokens = new Map([...vocabulary].map(([token, id]) => [id, token]))
  const specialIds = new Set(Object.values(special))
  const cache = new WordCache<readonly number[]>()
  const pieces = (word: string): readonly number[] => {
    const chars = [...word]
    if (chars.length > wordCharsMax) return [unknown]
    const ids: number[] = []
    for (let start = 0; start < chars.length;) {
      let end = chars.length
      let id: number | undefined
      for (; end > start; end--) {
        const piece = chars.slice(start, end).join('')
        id = vocabulary.get(start === 0 ? piece : prefix + piece)
        if (id !== undefined) break
      }
      if (id === undefined) return [unknown]
      ids.push(id)
      start = end
    }
    return ids
  }
  return {
    kind: 'wordpiece',
    vocabulary: size,
    special,
    encode: (text) => splitWords(text, options).flatMap((word) => cache.get(word, pieces)),
    decode: (ids) =>
      [...ids]
        .filter((id) => !specialIds.has(id))
        .map((id) => tokens.get(id) ?? unknownToken)
        .map((token) => (token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`))
        .join('')
        .trimStart(),
  }
}

/** The words of a text: BERT's basic tokenizer. */
export function splitWords(
  text: string,
  options: Pick<WordPieceOptions, 'lowercase' | 'stripAccents' | 'splitChinese' | 'cleanText'> = {},
): readonly string[] {
  const { lowercase = true, stripAccents = lowercase, splitChinese = true } = options
  let content = options.cleanText === false ? text : text.replace(REMOVED, '')
  if (splitChinese) content = content.replace(CHINESE, ' $& ')
  if (stripAccents) content = content.normalize('NFD').replace(MARK, '')
  if (lowercase) content = lower(content)
  const words: string[] = []
  for (const part of content.split(SPACE)) {
    let word = ''
    for (const char of part) {
      if (PUNCTUATION.test(char)) {
        if (word !== '') words.push(word)
        words.push(char)
        word = ''
      } else word += char
    }
    if (word !== '') words.push(word)
  }
  return words
}

function lower(text: string): string {
  // The final sigma is the one letter whose small form depends on its neighbours.
  if (!text.includes('\u03a3')) return text.toLowerCase()
  return Array.from(text, (char) => char.toLowerCase()).join('')
}
