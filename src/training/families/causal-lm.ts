/**
 * Language models that predict the next token: GPT-2 (Radford et al. 2019), parameter names and
 * shapes those of Hugging Face's `GPT2LMHeadModel`; the head is the word embedding itself.
 *
 * A row is a window of the text, `maxLength` tokens to predict and one before them; windows share
 * one token with their neighbours, so that every token but the first is predicted once.
 */
import { TOKEN } from '../bytes.js'
import { CtdError } from '../../errors.js'
import type { ExampleSet } from '../data/examples.js'
import { naturalLog } from '../portable-math.js'
import type { TensorSpec } from '../safetensors.js'
import { transformerActivationBytes, transformerFlops } from './bert.js'
import { FIXED_POINT, languageResults } from './counts.js'
import type { Dataset, DatasetOptions, FamilyLaw, Initial, Model } from './family.js'
import { byName, layerNorm, parameter } from './parameters.js'
import { assertEnoughRows, writeRows } from './rows.js'
import { coderOf, idType } from './texts.js'

export interface CausalLmConfig {
  readonly family: 'causal-lm'
  readonly layers: number
  readonly hidden: number
  readonly heads: number
  readonly intermediate: number
  readonly vocabulary: number
  /** Tokens that the model looks back on at most. */
  readonly maxLength: number
}

/** Tokens that are held in memory: a gibibyte of text over bytes needs four times as many. */
const STREAM_MAX = 2 ** 28
/** GPT-2's `initializer_range`. */
const NARROW = 0.02

export function causalLm(config: CausalLmConfig): Model {
  const { layers, hidden, intermediate, vocabulary, maxLength } = config
  const specs: TensorSpec[] = [
    parameter('transformer.wte.weight', vocabulary, hidden),
    parameter('transformer.wpe.weight', maxLength, hidden),
    ...layerNorm('transformer.ln_f', hidden),
  ]
  for (let layer = 0; layer < layers; layer++) {
    const at = `transformer.h.${layer}`
    specs.push(
      ...layerNorm(`${at}.ln_1`, hidden),
      ...transposedLinear(`${at}.attn.c_attn`, hidden, 3 * hidden),
      ...transposedLinear(`${at}.attn.c_proj`, hidden, hidden),
      ...layerNorm(`${at}.ln_2`, hidden),
      ...transposedLinear(`${at}.mlp.c_fc`, hidden, intermediate),
      ...transposedLinear(`${at}.mlp.c_proj`, intermediate, hidden),
    )
  }
  return {
    parameters: byName(specs),
    initial: (spec) => initial(spec, layers),
    flopsPerRow: () => transformerFlops(config) + 6 * maxLength * hidden * vocabulary,
    // Three times the logits: themselves, their softmax and its gradient.
    activationBytesPerRow: transformerActivationBytes(config) + 12 * maxLength * vocabulary,
    describe: () => ({
      activation_function: 'gelu_new',
      architectures: ['GPT2LMHeadModel'],
      attn_pdrop: 0,
      bos_token_id: TOKEN.start,
      embd_pdrop: 0,
      eos_token_id: TOKEN.end,
      initializer_range: NARROW,
      layer_norm_epsilon: 1e-5,
      model_type: 'gpt2',
      n_embd: hidden,
      n_head: config.heads,
      n_inner: intermediate,
      n_layer: layers,
      n_positions: maxLength,
      resid_pdrop: 0,
      tie_word_embeddings: true,
      vocab_size: vocabulary,
    }),
  }
}

/** GPT-2 keeps its matrices the other way round: inputs, then outputs. */
function transposedLinear(prefix: string, inputs: number, outputs: number): readonly TensorSpec[] {
  return [parameter(`${prefix}.weight`, inputs, outputs), parameter(`${prefix}.bias`, outputs)]
}

/**
 * As GPT-2, what a layer adds to the stream of states is smaller the more layers there are; but
 * matrices have 1 / sqrt(inputs) instead of 0.02, which suits a width of 2500 and no narrow one.
 */
function initial({ name, shape }: TensorSpec, layers: number): Initial {
  if (name.endsWith('.bias')) return { constant: 0 }
  if (/\.ln_\w+\.weight$/.test(name)) return { constant: 1 }
  if (/\.w[tp]e\.weight$/.test(name)) return { deviation: NARROW }
  const wide = 1 / Math.sqrt(shape[0] ?? 1)
  return { deviation: name.endsWith('c_proj.weight') ? wide / Math.sqrt(2 * layers) : wide }
}

/**
 * All texts one behind the other: the lines of a text file as they are, the texts of a table with
 * the token for the end behind each.
 *
 * @throws CtdError DATA_TOO_FEW_ROWS, DATA_TOO_LARGE, TOKENIZER_UNSUITABLE
 */
function readStream(examples: ExampleSet, { maxLength, tokenizer }: DatasetOptions): Dataset {
  const coder = coderOf(tokenizer, false)
  const isTable = examples.textColumn !== ''
  let tokens = makeIds(coder.vocabulary, 64 * 1024)
  let used = 0
  for (let row = 0; row < examples.rows; row++) {
    const ids = coder.encode(examples.row(row))
    const needed = used + ids.length + 1
    if (needed > tokens.length) {
      if (needed > STREAM_MAX) {
        throw new CtdError('DATA_TOO_LARGE', `the dataset has more than ${STREAM_MAX} tokens`, {
          hint: 'train on a part of it',
        })
      }
      const longer = makeIds(coder.vocabulary, Math.min(STREAM_MAX, Math.max(needed, 2 * used)))
      longer.set(tokens.subarray(0, used))
      tokens = longer
    }
    for (let k = 0; k < ids.length; k++) tokens[used + k] = ids[k] ?? 0
    used += ids.length
    if (isTable) tokens[used++] = coder.end
  }
  const { vocabulary } = coder
  const { textColumn } = examples
  return { ...windowsOf(tokens.subarray(0, used), { maxLength, vocabulary }), textColumn }
}

function makeIds(vocabulary: number, length: number): Int16Array | Int32Array {
  return idType(vocabulary) === 'I16' ? new Int16Array(length) : new Int32Array(length)
}

/**
 * Windows of a stream of tokens.
 *
 * @param tokens - ids below `vocabulary`
 * @throws CtdError DATA_TOO_FEW_ROWS
 */
export function windowsOf(
  tokens: Int16Array | Int32Array,
  { maxLength, vocabulary }: { readonly maxLength: number; readonly vocabulary: number },
): Dataset {
  const rows = Math.floor((tokens.length - 1) / maxLength)
  assertEnoughRows(rows, `windows of ${maxLength} tokens`)
  const dtype = tokens instanceof Int16Array ? 'I16' : 'I32'
  const fill = (chosen: Uint32Array): Int16Array | Int32Array => {
    const size = chosen.length * (maxLength + 1)
    const filled = dtype === 'I16' ? new Int16Array(size) : new Int32Array(size)
    for (const [i, row] of chosen.entries()) {
      const window = tokens.subarray(row * maxLength, (row + 1) * maxLength + 1)
      filled.set(window, i * (maxLength + 1))
    }
    return filled
  }
  const tensor = { name: 'tokens', dtype, rowShape: [maxLength + 1], fill } as const
  return {
    rows,
    shape: { vocabulary },
    longestTokens: maxLength,
    textColumn: '',
    labelColumn: '',
    split: (held, taught) => ({
      labels: [],
      baseline: unigram({ tokens, vocabulary, maxLength, held, taught }),
      summary: { maxLength, vocabulary },
      files: {},
      writeShard: (path, chosen) => writeRows(path, chosen, [tensor]),
    }),
  }
}

/**
 * What a model scores that gives every token its share among the training tokens, one added to
 * each: the entropy of the text's letters.
 */
function unigram(part: {
  readonly tokens: Int16Array | Int32Array
  readonly vocabulary: number
  readonly maxLength: number
  readonly held: Uint32Array
  readonly taught: Uint32Array
}) {
  const { tokens, vocabulary, maxLength, held, taught } = part
  const count = (rows: Uint32Array): Float64Array => {
    const counts = new Float64Array(vocabulary)
    for (const row of rows) {
      const end = (row + 1) * maxLength + 1
      for (let i = row * maxLength + 1; i < end; i++) {
        const token = tokens[i] ?? 0
        counts[token] = (counts[token] ?? 0) + 1
      }
    }
    return counts
  }
  const learnt = count(taught)
  const total = taught.length * maxLength + vocabulary
  const most = learnt.reduce(
    (best, times, token) => (times > (learnt[best] ?? 0) ? token : best),
    0,
  )
  const asked = count(held)
  const nllFixed = asked.reduce((sum, times, token) => {
    if (times === 0) return sum
    return sum + times * Math.round(-naturalLog(((learnt[token] ?? 0) + 1) / total) * FIXED_POINT)
  }, 0)
  return { correct: asked[most] ?? 0, n: held.length * maxLength, nllFixed }
}

export const CAUSAL_LM: FamilyLaw = {
  examples: () => 'text',
  read: readStream,
  results: languageResults,
  files: [],
  baseline: 'how often each token occurs',
}
