/**
 * Tokenizers from the files that come with a model: `tokenizer.json` (Hugging Face tokenizers),
 * `vocab.json` with `merges.txt` (GPT-2), or `vocab.txt` (BERT) with `tokenizer_config.json`.
 * What is not understood is refused, for a guess would train a model on other numbers.
 */
import { readFile, stat } from 'node:fs/promises'
import { z } from 'zod'
import { CtdError } from '../../errors.js'
import { createByteBpe } from './byte-bpe.js'
import { TOKENIZER_LIMITS, type Tokenizer } from './tokenizer.js'
import { createWordPiece } from './wordpiece.js'

/** Files that a tokenizer may be made of; they go into the result beside the weights. */
export const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'vocab.txt',
  'special_tokens_map.json',
] as const

/**
 * @param paths - of the files, by their names
 * @throws CtdError TOKENIZER_MISSING, TOKENIZER_MALFORMED, TOKENIZER_UNSUPPORTED
 */
export async function readTokenizer(paths: ReadonlyMap<string, string>): Promise<Tokenizer> {
  const files = new Map<string, Uint8Array>()
  for (const [name, path] of paths) {
    const { size } = await stat(path)
    if (size > TOKENIZER_LIMITS.fileBytes) {
      throw malformed(`${name} has more than ${TOKENIZER_LIMITS.fileBytes} bytes`)
    }
    files.set(name, await readFile(path))
  }
  return parseTokenizer(files)
}

/** As `readTokenizer`, of the contents of the files by name. */
export function parseTokenizer(files: ReadonlyMap<string, Uint8Array>): Tokenizer {
  const whole = files.get('tokenizer.json')
  if (whole !== undefined) return fromTokenizerJson(parseJson('tokenizer.json', whole))
  const [vocabulary, merges] = [files.get('vocab.json'), files.get('merges.txt')]
  if (vocabulary !== undefined && merges !== undefined) {
    const ids = idsOf(parse('vocab.json', IdsSchema, parseJson('vocab.json', vocabulary)), [])
    return createByteBpe({ ...ids, merges: parseMerges(decode('merges.txt', merges)) })
  }
  const words = files.get('vocab.txt')
  if (words !== undefined) return fromVocabText(words, files.get('tokenizer_config.json'))
  throw new CtdError('TOKENIZER_MISSING', 'the folder holds no tokenizer', {
    hint: 'tokenizer.json, or vocab.json with merges.txt, or vocab.txt',
  })
}

function malformed(reason: string, cause?: unknown): CtdError {
  return new CtdError('TOKENIZER_MALFORMED', reason, {
    hint: 'take the files as they came with the model',
    ...(cause === undefined ? {} : { cause }),
  })
}

function unsupported(what: string): CtdError {
  return new CtdError('TOKENIZER_UNSUPPORTED', `${what} is not supported`, {
    hint: "WordPiece as BERT's and byte-level BPE as GPT-2's are; or train without --tokenizer, over bytes",
  })
}

function decode(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw malformed(`${name} is not UTF-8`, cause)
  }
}

function parseJson(name: string, bytes: Uint8Array): unknown {
  try {
    const value: unknown = JSON.parse(decode(name, bytes))
    return value
  } catch (cause) {
    if (cause instanceof CtdError) throw cause
    throw malformed(`${name} is no JSON`, cause)
  }
}

function parse<T>(name: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw malformed(`${name}: ${z.prettifyError(result.error).slice(0, 300)}`)
}

const IdsSchema = z.record(
  z.string().max(TOKENIZER_LIMITS.tokenChars),
  z
    .int()
    .min(0)
    .max(TOKENIZER_LIMITS.vocabulary - 1),
)
const AddedSchema = z.array(z.object({ id: z.int().min(0), content: z.string() })).max(10_000)
const MergesSchema = z.array(z.union([z.string(), z.tuple([z.string(), z.string()])]))

interface Ids {
  readonly vocabulary: ReadonlyMap<string, number>
  readonly size: number
  readonly specialIds: ReadonlySet<number>
}

/** One id a token, one token an id. @throws CtdError TOKENIZER_MALFORMED */
function idsOf(tokens: Readonly<Record<string, number>>, added: z.infer<typeof AddedSchema>): Ids {
  const vocabulary = new Map(Object.entries(tokens))
  for (const { content, id } of added) vocabulary.set(content, id)
  const ids = new Set(vocabulary.values())
  if (ids.size !== vocabulary.size) throw malformed('two tokens bear one id')
  const size = [...ids].reduce((most, id) => Math.max(most, id), -1) + 1
  if (size === 0 || size > TOKENIZER_LIMITS.vocabulary) {
    throw malformed(`the vocabulary has ${size} ids`)
  }
  return { vocabulary, size, specialIds: new Set(added.map(({ id }) => id)) }
}

/** `merges.txt`: a line with the version, then a merge a line. */
function parseMerges(text: string): ReadonlyArray<readonly [string, string]> {
  const lines = text.split('\n').map((line) => line.replace(/\r$/, ''))
  return lines
    .filter((line, i) => line !== '' && !(i === 0 && line.startsWith('#version')))
    .map(pairOf)
}

function pairOf(merge: string | readonly [string, string]): readonly [string, string] {
  if (typeof merge !== 'string') return merge
  const [left, right, more] = merge.split(' ')
  if (
    left === undefined ||
    right === undefined ||
    more !== undefined ||
    left === '' ||
    right === ''
  ) {
    throw malformed(`"${merge.slice(0, 40)}" is no merge of two tokens`)
  }
  return [left, right]
}

function fromVocabText(bytes: Uint8Array, config: Uint8Array | undefined): Tokenizer {
  const lines = decode('vocab.txt', bytes)
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
  if (lines.at(-1) === '') lines.pop()
  const vocabulary = new Map(lines.map((token, id) => [token, id]))
  if (vocabulary.size !== lines.length) throw malformed('vocab.txt holds a token twice')
  const settings = config === undefined ? {} : parseJson('tokenizer_config.json', config)
  const {
    do_lower_case: lowercase,
    strip_accents: accents,
    tokenize_chinese_chars: chinese,
  } = parse('tokenizer_config.json', BertConfigSchema, settings)
  return createWordPiece({
    vocabulary,
    size: lines.length,
    lowercase: lowercase ?? true,
    stripAccents: accents ?? undefined,
    splitChinese: chinese ?? true,
  })
}

const BertConfigSchema = z.object({
  do_lower_case: z.boolean().optional(),
  strip_accents: z.boolean().nullish(),
  tokenize_chinese_chars: z.boolean().optional(),
})

const TypedSchema = z.looseObject({ type: z.string() })
const TokenizerJsonSchema = z.looseObject({
  added_tokens: AddedSchema.default([]),
  normalizer: TypedSchema.nullish(),
  pre_tokenizer: TypedSchema.nullish(),
  model: z.looseObject({ type: z.string().optional(), vocab: z.unknown() }),
})

function fromTokenizerJson(json: unknown): Tokenizer {
  const {
    added_tokens: added,
    normalizer,
    pre_tokenizer: words,
    model,
  } = parse('tokenizer.json', TokenizerJsonSchema, json)
  const type = model.type ?? ('merges' in model ? 'BPE' : 'WordPiece')
  if (type !== 'BPE' && type !== 'WordPiece') throw unsupported(`a tokenizer of type ${type}`)
  const ids = idsOf(parse('tokenizer.json: model.vocab', IdsSchema, model.vocab), added)
  return type === 'BPE'
    ? fromBpe(ids, model, normalizer ?? undefined, words ?? undefined)
    : fromWordPiece(ids, model, normalizer ?? undefined, words ?? undefined)
}

type Typed = z.infer<typeof TypedSchema>

const BpeSchema = z.looseObject({
  merges: MergesSchema,
  dropout: z.number().nullish(),
  continuing_subword_prefix: z.string().nullish(),
  end_of_word_suffix: z.string().nullish(),
  byte_fallback: z.boolean().nullish(),
  ignore_merges: z.boolean().nullish(),
})
const ByteLevelSchema = z.looseObject({
  type: z.literal('ByteLevel'),
  add_prefix_space: z.boolean().optional(),
  use_regex: z.boolean().optional(),
})

function fromBpe(
  ids: Ids,
  model: unknown,
  normalizer: Typed | undefined,
  words: Typed | undefined,
): Tokenizer {
  const bpe = parse('tokenizer.json: model', BpeSchema, model)
  if (normalizer !== undefined) throw unsupported(`BPE with the normalizer ${normalizer.type}`)
  const pre = ByteLevelSchema.safeParse(words)
  if (!pre.success) throw unsupported(`BPE with the pre-tokenizer ${words?.type ?? 'none'}`)
  if (pre.data.use_regex === false) throw unsupported('BPE without words')
  if ((bpe.dropout ?? 0) !== 0) throw unsupported('BPE with dropout')
  const affixes = [bpe.continuing_subword_prefix, bpe.end_of_word_suffix]
  if (affixes.some((affix) => (affix ?? '') !== '') || bpe.byte_fallback === true) {
    throw unsupported('BPE that is not byte-level')
  }
  return createByteBpe({
    ...ids,
    merges: bpe.merges.map(pairOf),
    addPrefixSpace: pre.data.add_prefix_space ?? true,
    ignoreMerges: bpe.ignore_merges === true,
  })
}

const WordPieceSchema = z.looseObject({
  unk_token: z.string().default('[UNK]'),
  continuing_subword_prefix: z.string().default('##'),
  max_input_chars_per_word: z.int().min(1).max(10_000).default(100),
})
const BertNormalizerSchema = z.looseObject({
  type: z.literal('BertNormalizer'),
  clean_text: z.boolean().default(true),
  handle_chinese_chars: z.boolean().default(true),
  strip_accents: z.boolean().nullish(),
  lowercase: z.boolean().default(true),
})

function fromWordPiece(
  ids: Ids,
  model: unknown,
  normalizer: Typed | undefined,
  words: Typed | undefined,
): Tokenizer {
  const settings = parse('tokenizer.json: model', WordPieceSchema, model)
  const bert = BertNormalizerSchema.safeParse(normalizer)
  if (!bert.success) {
    throw unsupported(`WordPiece with the normalizer ${normalizer?.type ?? 'none'}`)
  }
  if (words?.type !== 'BertPreTokenizer') {
    throw unsupported(`WordPiece with the pre-tokenizer ${words?.type ?? 'none'}`)
  }
  return createWordPiece({
    ...ids,
    lowercase: bert.data.lowercase,
    stripAccents: bert.data.strip_accents ?? undefined,
    splitChinese: bert.data.handle_chinese_chars,
    cleanText: bert.data.clean_text,
    unknownToken: settings.unk_token,
    prefix: settings.continuing_subword_prefix,
    wordCharsMax: settings.max_input_chars_per_word,
  })
}
