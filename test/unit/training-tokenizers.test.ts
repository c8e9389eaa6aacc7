import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import fc from 'fast-check'
import { CtdError } from '../../src/errors.js'
import {
  BYTE_LETTERS,
  createByteBpe,
  mergePairs,
  splitByteWords,
} from '../../src/training/tokenizers/byte-bpe.js'
import { namedFiles } from '../../src/training/import.js'
import {
  parseTokenizer,
  readTokenizer,
  TOKENIZER_FILES,
} from '../../src/training/tokenizers/files.js'
import { createWordPiece, splitWords } from '../../src/training/tokenizers/wordpiece.js'

const folder = mkdtempSync(join(tmpdir(), 'ctd-tokenizers-'))
after(() => rmSync(folder, { recursive: true }))

const text = (value: unknown): Uint8Array =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
const files = (given: Readonly<Record<string, unknown>>): Map<string, Uint8Array> =>
  new Map(Object.entries(given).map(([name, value]) => [name, text(value)]))
const numbered = (tokens: readonly string[]): Map<string, number> =>
  new Map(tokens.map((token, id) => [token, id]))

function refusal(run: () => unknown): CtdError {
  try {
    run()
  } catch (error) {
    if (error instanceof CtdError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

describe("BERT's words (tokenization_test.py of google-research/bert)", () => {
  const cases: readonly (readonly [string, readonly string[], boolean?])[] = [
    [' \tHeLLo!how  \n Are yoU?  ', ['hello', '!', 'how', 'are', 'you', '?']],
    ['H\u00e9llo', ['hello']],
    [' \tHeLLo!how  \n Are yoU?  ', ['HeLLo', '!', 'how', 'Are', 'yoU', '?'], false],
    ['ah\u535a\u63a8zz', ['ah', '\u535a', '\u63a8', 'zz']],
    ['a$b^c`d~e', ['a', '$', 'b', '^', 'c', '`', 'd', '~', 'e']],
    ['\u00bfque?\u2026', ['\u00bf', 'que', '?', '\u2026']],
    ['zero\0 \ufffdwidth\u200bjoined\u00ad', ['zero', 'widthjoined']],
    ['a\u00a0b\u3000c\u2028d', ['a', 'b', 'c', 'd']],
    // Syllables fall apart into letters when accents are stripped, as they do in BERT.
    ['\ud55c', ['\u1112\u1161\u11ab']],
    ['\u039f\u0394\u039f\u03a3', ['\u03bf\u03b4\u03bf\u03c3']],
    ['\u0130', ['i']],
  ]
  for (const [given, words, lowercase = true] of cases) {
    it(`are those of ${JSON.stringify(given)}${lowercase ? '' : ', case kept'}`, () => {
      assert.deepEqual(splitWords(given, { lowercase }), words)
    })
  }

  it('keep accents where the case is kept, and where they are asked for', () => {
    assert.deepEqual(splitWords('H\u00e9LLo', { lowercase: false }), ['H\u00e9LLo'])
    assert.deepEqual(splitWords('H\u00e9LLo', { stripAccents: false }), ['h\u00e9llo'])
  })

  it('leave Chinese characters together where that is asked for', () => {
    assert.deepEqual(splitWords('a\u535a\u63a8', { splitChinese: false }), ['a\u535a\u63a8'])
  })
})

describe('WordPiece', () => {
  const tokens = [
    '[UNK]',
    '[CLS]',
    '[SEP]',
    'want',
    '##want',
    '##ed',
    'wa',
    'un',
    'runn',
    '##ing',
    ',',
  ]
  const wordPiece = createWordPiece({ vocabulary: numbered(tokens), size: tokens.length })

  it('takes the longest pieces first', () => {
    assert.deepEqual(wordPiece.encode('UNwant\u00e9d,running'), [7, 4, 5, 10, 8, 9])
    assert.equal(wordPiece.decode([1, 7, 4, 5, 10, 8, 9, 2]), 'unwanted , running')
  })

  it('knows no part of a word of which a part is unknown', () => {
    assert.deepEqual(wordPiece.encode('unwantedX running'), [0, 8, 9])
    assert.deepEqual(wordPiece.encode('want'.repeat(26)), [0])
    assert.deepEqual(wordPiece.encode(''), [])
  })

  it('gives the same ids for a text and for its words', () => {
    const word = fc.constantFrom('un', 'wanted', 'running', ',', 'wa', 'xyz', '\u535a')
    fc.assert(
      fc.property(fc.array(word, { maxLength: 20 }), (words) => {
        assert.deepEqual(
          wordPiece.encode(words.join(' ')),
          words.flatMap((one) => wordPiece.encode(one)),
        )
      }),
      { verbose: true },
    )
  })

  it('is read from vocab.txt, its case from tokenizer_config.json', async () => {
    const dir = mkdtempSync(join(folder, 'wordpiece-'))
    writeFileSync(join(dir, 'vocab.txt'), `[PAD]\n${tokens.join('\r\n')}\n`)
    const paths = await namedFiles(dir, TOKENIZER_FILES)
    const read = await readTokenizer(paths)
    assert.deepEqual(read.encode('UNwanted'), [8, 5, 6])
    assert.deepEqual(read.special, { padding: 0, start: 2, end: 3 })
    writeFileSync(join(dir, 'tokenizer_config.json'), '{"do_lower_case":false}')
    const kept = await readTokenizer(await namedFiles(dir, TOKENIZER_FILES))
    assert.deepEqual(kept.encode('UNwanted'), [1])
  })

  const json = {
    added_tokens: [{ id: 0, content: '[UNK]', special: true }],
    normalizer: { type: 'BertNormalizer', clean_text: true, lowercase: true, strip_accents: null },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    model: { type: 'WordPiece', vocab: Object.fromEntries(numbered(tokens)), unk_token: '[UNK]' },
  }

  it('is read from tokenizer.json', () => {
    const read = parseTokenizer(files({ 'tokenizer.json': json }))
    assert.deepEqual(read.encode('UNwant\u00e9d,running'), [7, 4, 5, 10, 8, 9])
    const plain = { ...json, normalizer: { type: 'BertNormalizer', lowercase: false } }
    assert.deepEqual(parseTokenizer(files({ 'tokenizer.json': plain })).encode('UN want'), [0, 3])
  })

  const refused: readonly (readonly [string, string, Readonly<Record<string, unknown>>])[] = [
    ['a folder without any', 'TOKENIZER_MISSING', { 'vocab.json': {} }],
    ['a list without an unknown token', 'TOKENIZER_MALFORMED', { 'vocab.txt': 'a\nb\n' }],
    ['a list with a token twice', 'TOKENIZER_MALFORMED', { 'vocab.txt': '[UNK]\na\na\n' }],
    ['what is no JSON', 'TOKENIZER_MALFORMED', { 'tokenizer.json': '{' }],
    [
      'another kind of model',
      'TOKENIZER_UNSUPPORTED',
      { 'tokenizer.json': { model: { type: 'Unigram', vocab: [] } } },
    ],
    [
      'another normalizer',
      'TOKENIZER_UNSUPPORTED',
      { 'tokenizer.json': { ...json, normalizer: { type: 'NFKC' } } },
    ],
    [
      'other words',
      'TOKENIZER_UNSUPPORTED',
      { 'tokenizer.json': { ...json, pre_tokenizer: { type: 'Whitespace' } } },
    ],
    [
      'an id that two tokens bear',
      'TOKENIZER_MALFORMED',
      { 'tokenizer.json': { ...json, model: { type: 'WordPiece', vocab: { '[UNK]': 0, a: 0 } } } },
    ],
    [
      'an id out of range',
      'TOKENIZER_MALFORMED',
      { 'tokenizer.json': { ...json, model: { type: 'WordPiece', vocab: { '[UNK]': 1e9 } } } },
    ],
  ]
  for (const [what, code, given] of refused) {
    it(`is refused for ${what}: ${code}`, () => {
      assert.equal(refusal(() => parseTokenizer(files(given))).code, code)
    })
  }
})

describe('byte-level BPE', () => {
  // The vocabulary and the result of Hugging Face's test of GPT-2's tokenizer; all bytes are added.
  const known = [
    'l',
    'o',
    'w',
    'e',
    'r',
    's',
    't',
    'i',
    'd',
    'n',
    '\u0120',
    '\u0120l',
    '\u0120n',
    '\u0120lo',
    '\u0120low',
    'er',
  ]
  const tokens = [
    ...known,
    ...BYTE_LETTERS.filter((letter) => !known.includes(letter)),
    '<|endoftext|>',
  ]
  const merges = [
    ['\u0120', 'l'],
    ['\u0120l', 'o'],
    ['\u0120lo', 'w'],
    ['e', 'r'],
  ] as const
  const vocabulary = numbered(tokens)
  const bpe = createByteBpe({ vocabulary, size: tokens.length, merges })

  it('writes bytes as the letters that GPT-2 writes', () => {
    assert.equal(BYTE_LETTERS[0x20], '\u0120')
    assert.equal(BYTE_LETTERS[0x0a], '\u010a')
    assert.equal(BYTE_LETTERS[0x41], 'A')
    assert.equal(BYTE_LETTERS[0xad], '\u0143')
    assert.equal(new Set(BYTE_LETTERS).size, 256)
  })

  it('gives the tokens of the known example', () => {
    const ids = bpe.encode(' lower newer')
    const expected = ['\u0120low', 'er', '\u0120', 'n', 'e', 'w', 'er']
    assert.deepEqual(
      ids.map((id) => tokens[id]),
      expected,
    )
    const prefixed = createByteBpe({
      vocabulary,
      size: tokens.length,
      merges,
      addPrefixSpace: true,
    })
    assert.deepEqual(prefixed.encode('lower newer'), ids)
  })

  const words: readonly (readonly [string, readonly string[]])[] = [
    ["I'm  here, isn't\tit?", ['I', "'m", ' ', ' here', ',', ' isn', "'t", '\t', 'it', '?']],
    ['a1 22 b', ['a', '1', ' 22', ' b']],
    ['x   ', ['x', '   ']],
    ['\n\n x', ['\n\n', ' x']],
    ['\u00e9t\u00e9\u3000!!', ['\u00e9t\u00e9', '\u3000', '!!']],
    ['\u{1f600}\ufe0f ok', ['\u{1f600}\ufe0f', ' ok']],
    // Neither is white space to JavaScript's `\s` and to Unicode alike.
    ['a\u0085b\ufeffc', ['a', '\u0085', 'b', '\ufeff', 'c']],
  ]
  for (const [given, parts] of words) {
    it(`cuts ${JSON.stringify(given)} as GPT-2 does`, () => {
      assert.deepEqual(splitByteWords(given), parts)
    })
  }

  it('gives back every text', () => {
    const anyText = fc.string({ unit: 'binary', maxLength: 60 })
    const merging = fc.string({
      unit: fc.constantFrom(' ', 'l', 'o', 'w', 'e', 'r', '\n'),
      maxLength: 40,
    })
    fc.assert(
      fc.property(fc.oneof(anyText, merging), (given) => {
        assert.equal(bpe.decode(bpe.encode(given)), given)
      }),
      { verbose: true, numRuns: 500 },
    )
  })

  it('merges as one who looks for the best pair again and again', () => {
    const ranks = new Map<string, readonly [number, number]>()
    for (const [rank, [left, right]] of [
      [0, 1],
      [1, 1],
      [3, 3],
      [0, 3],
      [4, 0],
      [2, 2],
    ].entries()) {
      ranks.set(`${left},${right}`, [rank, 3 + rank])
    }
    const rankOf = (left: number, right: number) => ranks.get(`${left},${right}`)
    const plainly = (symbols: readonly number[]): readonly number[] => {
      const ids = [...symbols]
      for (;;) {
        let best: { at: number; rank: number; id: number } | undefined
        for (let at = 0; at + 1 < ids.length; at++) {
          const found = rankOf(ids[at] ?? -1, ids[at + 1] ?? -1)
          if (found !== undefined && (best === undefined || found[0] < best.rank)) {
            best = { at, rank: found[0], id: found[1] }
          }
        }
        if (best === undefined) return ids
        ids.splice(best.at, 2, best.id)
      }
    }
    fc.assert(
      fc.property(fc.array(fc.nat(2), { maxLength: 40 }), (symbols) => {
        assert.deepEqual(mergePairs(symbols, rankOf), plainly(symbols))
      }),
      { verbose: true, numRuns: 1000 },
    )
  })

  it('merges a word of a million letters', () => {
    assert.equal(bpe.encode('er'.repeat(500_000)).length, 500_000)
  })

  const model = {
    type: 'BPE',
    vocab: Object.fromEntries(vocabulary),
    merges: merges.map((pair) => pair.join(' ')),
  }
  const json = {
    added_tokens: [{ id: 257, content: '<|endoftext|>', special: true }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true },
    model: { ...model, vocab: Object.fromEntries(vocabulary) },
  }
  json.added_tokens[0] = { id: tokens.length - 1, content: '<|endoftext|>', special: true }

  it('is read from tokenizer.json, merges in either form, and from vocab.json with merges.txt', () => {
    const ids = bpe.encode(' lower newer')
    const pairs = { ...json, model: { ...model, merges } }
    const lines = `#version: 0.2\n${model.merges.join('\n')}\n`
    const both = { 'vocab.json': model.vocab, 'merges.txt': lines }
    for (const given of [{ 'tokenizer.json': json }, { 'tokenizer.json': pairs }, both]) {
      const read = parseTokenizer(files(given))
      assert.deepEqual(read.encode(' lower newer'), ids)
      assert.equal(read.vocabulary, tokens.length)
      assert.equal(read.special.end, tokens.length - 1)
      assert.equal(read.decode([...ids, tokens.length - 1]), ' lower newer')
    }
  })

  it('takes whole words where merges are to be ignored', () => {
    const vocab = { ...model.vocab, '\u0120newer': tokens.length }
    const whole = { ...json, model: { ...model, vocab, ignore_merges: true } }
    assert.deepEqual(parseTokenizer(files({ 'tokenizer.json': whole })).encode(' newer'), [
      tokens.length,
    ])
  })

  const broken = (part: object): Readonly<Record<string, unknown>> => ({
    'tokenizer.json': { ...json, ...part },
  })
  const { l: _, ...lacking } = model.vocab
  const refused: readonly (readonly [string, string, Readonly<Record<string, unknown>>])[] = [
    [
      'a byte that is missing',
      'TOKENIZER_MALFORMED',
      broken({ model: { ...model, vocab: lacking } }),
    ],
    [
      'a merge into no token',
      'TOKENIZER_MALFORMED',
      broken({ model: { ...model, merges: ['l o'] } }),
    ],
    ['a merge of three', 'TOKENIZER_MALFORMED', broken({ model: { ...model, merges: ['e r r'] } })],
    ['dropout', 'TOKENIZER_UNSUPPORTED', broken({ model: { ...model, dropout: 0.1 } })],
    [
      'byte fallback',
      'TOKENIZER_UNSUPPORTED',
      broken({ model: { ...model, byte_fallback: true } }),
    ],
    [
      'a suffix of words',
      'TOKENIZER_UNSUPPORTED',
      broken({ model: { ...model, end_of_word_suffix: '</w>' } }),
    ],
    [
      'another cut into words',
      'TOKENIZER_UNSUPPORTED',
      broken({ pre_tokenizer: { type: 'Sequence', pretokenizers: [] } }),
    ],
    ['a normalizer', 'TOKENIZER_UNSUPPORTED', broken({ normalizer: { type: 'NFC' } })],
  ]
  for (const [what, code, given] of refused) {
    it(`is refused for ${what}: ${code}`, () => {
      assert.equal(refusal(() => parseTokenizer(files(given))).code, code)
    })
  }
})
