/**
 * The trunk that the text families share: BERT's encoder (Devlin et al. 2018; the small sizes are
 * those of Turc et al. 2019), with Hugging Face's names and shapes.
 */
import type { TensorSpec } from '../safetensors.js'
import type { Initial } from './family.js'
import { layerNorm, linear, parameter } from './parameters.js'

export interface BertShape {
  readonly layers: number
  readonly hidden: number
  readonly heads: number
  readonly intermediate: number
  /** Token ids: 0 padding, 1 start, 2 end, 3 + byte. */
  readonly vocabulary: number
  /** Longest row in tokens, start and end included. */
  readonly maxLength: number
}

/** BERT's `initializer_range` (Devlin et al. 2018). */
const NARROW = 0.02

/** The encoder's parameters without pooler. @param prefix - `bert.` or empty */
export function bertParameters(shape: BertShape, prefix: string): readonly TensorSpec[] {
  const { layers, hidden, intermediate, vocabulary, maxLength } = shape
  const embeddings = `${prefix}embeddings`
  const specs = [
    parameter(`${embeddings}.word_embeddings.weight`, vocabulary, hidden),
    parameter(`${embeddings}.position_embeddings.weight`, maxLength, hidden),
    parameter(`${embeddings}.token_type_embeddings.weight`, 2, hidden),
    ...layerNorm(`${embeddings}.LayerNorm`, hidden),
  ]
  for (let layer = 0; layer < layers; layer++) {
    const at = `${prefix}encoder.layer.${layer}`
    specs.push(
      ...linear(`${at}.attention.self.query`, hidden, hidden),
      ...linear(`${at}.attention.self.key`, hidden, hidden),
      ...linear(`${at}.attention.self.value`, hidden, hidden),
      ...linear(`${at}.attention.output.dense`, hidden, hidden),
      ...layerNorm(`${at}.attention.output.LayerNorm`, hidden),
      ...linear(`${at}.intermediate.dense`, intermediate, hidden),
      ...linear(`${at}.output.dense`, hidden, intermediate),
      ...layerNorm(`${at}.output.LayerNorm`, hidden),
    )
  }
  return specs
}

/**
 * Biases are 0, layer norms 1, matrices normal. Embeddings, queries and keys have the deviation
 * 0.02 of BERT's `initializer_range`, so that attention starts nearly uniform; all other matrices
 * have 1 / sqrt(inputs) (LeCun et al. 1998). With 0.02 everywhere a narrow model hardly hears its
 * own layers: after five epochs of the demo bert-tiny stood at 0.79 instead of 0.93.
 */
export function bertInitial({ name, shape }: TensorSpec): Initial {
  if (name.endsWith('.bias')) return { constant: 0 }
  if (name.endsWith('LayerNorm.weight')) return { constant: 1 }
  const isNarrow = /embeddings|query|key/.test(name)
  return { deviation: isNarrow ? NARROW : 1 / Math.sqrt(shape[1] ?? 1) }
}

/** Operations of one row: matrices, and 4 per layer, width and pair of positions for attention. */
export function transformerFlops(
  { layers, hidden, intermediate, maxLength }: Omit<BertShape, 'heads' | 'vocabulary'>,
  rowTokens = maxLength,
): number {
  const length = Math.min(rowTokens, maxLength)
  const matrixWeights = layers * (4 * hidden * hidden + 2 * hidden * intermediate)
  return 3 * length * (2 * matrixWeights + 4 * layers * hidden * length)
}

/** fp32 states that a row's backward pass needs (Korthikanti et al. 2022, section 4). */
export function transformerActivationBytes({
  layers,
  hidden,
  heads,
  maxLength,
}: Omit<BertShape, 'intermediate' | 'vocabulary'>): number {
  return 2 * maxLength * layers * (34 * hidden + 5 * heads * maxLength)
}

/** The part of Hugging Face's `config.json` that describes the trunk. */
export function bertDescription(shape: BertShape, padTokenId: number) {
  return {
    attention_probs_dropout_prob: 0,
    hidden_act: 'gelu',
    hidden_dropout_prob: 0,
    hidden_size: shape.hidden,
    initializer_range: NARROW,
    intermediate_size: shape.intermediate,
    layer_norm_eps: 1e-12,
    max_position_embeddings: shape.maxLength,
    model_type: 'bert',
    num_attention_heads: shape.heads,
    num_hidden_layers: shape.layers,
    pad_token_id: padTokenId,
    type_vocab_size: 2,
    vocab_size: shape.vocabulary,
  } as const
}
