/**
 * The models we train: text classifiers of the BERT family (Devlin et al. 2018; the small sizes
 * are those of Turc et al. 2019) over bytes. Parameter names and shapes are those of Hugging
 * Face's `BertForSequenceClassification`, so that a trained file loads there.
 */
import { CtdError } from '../errors.js'
import type { Json } from './canonical-json.js'
import type { TensorSpec } from './safetensors.js'

/** Numbers that fix a classifier's shape; goes into `task.json` as `model`. */
export interface ModelConfig {
  readonly layers: number
  readonly hidden: number
  readonly heads: number
  readonly intermediate: number
  /** Token ids: 0 padding, 1 start, 2 end, 3 + byte. */
  readonly vocabulary: number
  /** Longest row in tokens, start and end included. */
  readonly maxLength: number
  readonly classes: number
}

/** Ids of the byte-level tokenizer; a byte b is `BYTE_OFFSET + b`. */
export const TOKEN = { padding: 0, start: 1, end: 2, byteOffset: 3, vocabulary: 259 } as const

export const DEFAULT_MAX_LENGTH = 128

/** How a preset learns best; measured on the demo's data for bert-tiny, else by its width. */
export interface PresetTraining {
  readonly batchSize: number
  readonly learningRate: number
}

interface Preset extends PresetTraining {
  readonly layers: number
  readonly hidden: number
  readonly heads: number
  readonly intermediate: number
}

const PRESETS: ReadonlyMap<string, Preset> = new Map([
  [
    'bert-tiny',
    { layers: 2, hidden: 128, heads: 2, intermediate: 512, batchSize: 16, learningRate: 1e-3 },
  ],
  [
    'bert-mini',
    { layers: 4, hidden: 256, heads: 4, intermediate: 1024, batchSize: 16, learningRate: 5e-4 },
  ],
  [
    'bert-small',
    { layers: 4, hidden: 512, heads: 8, intermediate: 2048, batchSize: 16, learningRate: 3e-4 },
  ],
  [
    'bert-base',
    { layers: 12, hidden: 768, heads: 12, intermediate: 3072, batchSize: 16, learningRate: 1e-4 },
  ],
])

export const MODEL_NAMES: readonly string[] = [...PRESETS.keys()]

function presetOf(model: string): Preset {
  const preset = PRESETS.get(model)
  if (preset !== undefined) return preset
  const near = nearest(model, MODEL_NAMES)
  throw new CtdError('UNKNOWN_MODEL', `there is no model "${model.slice(0, 60)}"`, {
    hint: `${near === undefined ? '' : `did you mean ${near}? `}models: ${MODEL_NAMES.join(', ')}`,
    fields: { model: model.slice(0, 60) },
  })
}

/** The shape of a preset for a number of classes. @throws CtdError UNKNOWN_MODEL */
export function modelConfig(
  model: string,
  { classes, maxLength = DEFAULT_MAX_LENGTH }: { classes: number; maxLength?: number },
): ModelConfig {
  const { layers, hidden, heads, intermediate } = presetOf(model)
  return { layers, hidden, heads, intermediate, vocabulary: TOKEN.vocabulary, maxLength, classes }
}

/** @throws CtdError UNKNOWN_MODEL */
export function presetTraining(model: string): PresetTraining {
  const { batchSize, learningRate } = presetOf(model)
  return { batchSize, learningRate }
}

/** Every parameter of a model, fp32, sorted by name. */
export function parameterSpecs(config: ModelConfig): readonly TensorSpec[] {
  const { hidden, intermediate } = config
  const embeddings = 'bert.embeddings'
  const specs = [
    tensor(`${embeddings}.word_embeddings.weight`, config.vocabulary, hidden),
    tensor(`${embeddings}.position_embeddings.weight`, config.maxLength, hidden),
    tensor(`${embeddings}.token_type_embeddings.weight`, 2, hidden),
    ...layerNorm(`${embeddings}.LayerNorm`, hidden),
    ...linear('bert.pooler.dense', hidden, hidden),
    ...linear('classifier', config.classes, hidden),
  ]
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `bert.encoder.layer.${layer}`
    specs.push(
      ...linear(`${prefix}.attention.self.query`, hidden, hidden),
      ...linear(`${prefix}.attention.self.key`, hidden, hidden),
      ...linear(`${prefix}.attention.self.value`, hidden, hidden),
      ...linear(`${prefix}.attention.output.dense`, hidden, hidden),
      ...layerNorm(`${prefix}.attention.output.LayerNorm`, hidden),
      ...linear(`${prefix}.intermediate.dense`, intermediate, hidden),
      ...linear(`${prefix}.output.dense`, hidden, intermediate),
      ...layerNorm(`${prefix}.output.LayerNorm`, hidden),
    )
  }
  return specs.sort((a, b) => (a.name < b.name ? -1 : 1))
}

function tensor(name: string, ...shape: number[]): TensorSpec {
  return { name, dtype: 'F32', shape }
}

function linear(prefix: string, outputs: number, inputs: number): readonly TensorSpec[] {
  return [tensor(`${prefix}.weight`, outputs, inputs), tensor(`${prefix}.bias`, outputs)]
}

function layerNorm(prefix: string, width: number): readonly TensorSpec[] {
  return [tensor(`${prefix}.weight`, width), tensor(`${prefix}.bias`, width)]
}

/** The `config.json` that lets Hugging Face's transformers load the trained file. */
export function huggingFaceConfig(
  config: ModelConfig,
  labels: readonly string[],
): Readonly<Record<string, Json>> {
  return {
    architectures: ['BertForSequenceClassification'],
    attention_probs_dropout_prob: 0,
    hidden_act: 'gelu',
    hidden_dropout_prob: 0,
    hidden_size: config.hidden,
    id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
    initializer_range: 0.02,
    intermediate_size: config.intermediate,
    label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
    layer_norm_eps: 1e-12,
    max_position_embeddings: config.maxLength,
    model_type: 'bert',
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    pad_token_id: TOKEN.padding,
    problem_type: 'single_label_classification',
    type_vocab_size: 2,
    vocab_size: config.vocabulary,
  }
}

/** The candidate nearest to a mistyped word, if any is near (Levenshtein, at most a third off). */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const typed = word.slice(0, 60).toLowerCase()
  let best: string | undefined
  let bestDistance = Math.max(2, Math.ceil(typed.length / 3)) + 1
  for (const candidate of candidates.slice(0, 1000)) {
    const distance = editDistance(typed, candidate.slice(0, 60).toLowerCase())
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
