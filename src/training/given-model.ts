/** A model's shape from the `config.json` beside its weights, as our results and Hugging Face have it. */
import { z } from 'zod'
import { CtdError } from '../errors.js'

const size = (max: number) => z.int().min(1).max(max)

/** Shapes that tasks over rows take; the same fields as the families' own configurations. */
export const GivenModelSchema = z.strictObject({
  family: z.enum(['causal-lm', 'sentence-embedding']),
  layers: size(256),
  hidden: size(16_384),
  heads: size(256),
  intermediate: size(65_536),
  vocabulary: size(262_144),
  maxLength: z.int().min(8).max(8192),
})
export type GivenModel = z.infer<typeof GivenModelSchema>

const Gpt2Schema = z.looseObject({
  model_type: z.literal('gpt2'),
  n_layer: z.int(),
  n_embd: z.int(),
  n_head: z.int(),
  n_inner: z.int().nullish(),
  n_positions: z.int(),
  vocab_size: z.int(),
  activation_function: z.literal('gelu_new').default('gelu_new'),
  layer_norm_epsilon: z.literal(1e-5).default(1e-5),
})

const BertSchema = z.looseObject({
  model_type: z.literal('bert'),
  architectures: z.array(z.string()).default(['BertModel']),
  num_hidden_layers: z.int(),
  hidden_size: z.int(),
  num_attention_heads: z.int(),
  intermediate_size: z.int(),
  max_position_embeddings: z.int(),
  vocab_size: z.int(),
  hidden_act: z.literal('gelu').default('gelu'),
  layer_norm_eps: z.literal(1e-12).default(1e-12),
  type_vocab_size: z.literal(2).default(2),
})

/** What a task over rows does with them. */
export type MapVerb = 'embed' | 'generate'

export const VERB_FAMILIES = { embed: 'sentence-embedding', generate: 'causal-lm' } as const

/**
 * Reads `config.json`.
 *
 * @throws CtdError MODEL_CONFIG_INVALID, MODEL_WRONG_FAMILY
 */
export function readGivenModel(bytes: Uint8Array, verb: MapVerb): GivenModel {
  const config = parse(z.looseObject({ model_type: z.string().optional() }), parseJson(bytes))
  const { model_type: type = 'none' } = config
  if (verb === 'generate') {
    if (type !== 'gpt2') throw wrongFamily(verb, `a model of type ${type.slice(0, 40)}`)
    const gpt = parse(Gpt2Schema, config)
    return shape({
      family: 'causal-lm',
      layers: gpt.n_layer,
      hidden: gpt.n_embd,
      heads: gpt.n_head,
      intermediate: gpt.n_inner ?? 4 * gpt.n_embd,
      vocabulary: gpt.vocab_size,
      maxLength: gpt.n_positions,
    })
  }
  if (type !== 'bert') throw wrongFamily(verb, `a model of type ${type.slice(0, 40)}`)
  const bert = parse(BertSchema, config)
  const [architecture = ''] = bert.architectures
  if (architecture !== 'BertModel') throw wrongFamily(verb, architecture.slice(0, 60))
  return shape({
    family: 'sentence-embedding',
    layers: bert.num_hidden_layers,
    hidden: bert.hidden_size,
    heads: bert.num_attention_heads,
    intermediate: bert.intermediate_size,
    vocabulary: bert.vocab_size,
    maxLength: bert.max_position_embeddings,
  })
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    return value
  } catch (cause) {
    throw invalid('it is no JSON', cause)
  }
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw invalid(z.prettifyError(result.error).slice(0, 300))
}

function shape(model: GivenModel): GivenModel {
  const checked = parse(GivenModelSchema, model)
  if (checked.hidden % checked.heads === 0) return checked
  throw invalid(`a width of ${checked.hidden} does not divide among ${checked.heads} heads`)
}

function invalid(reason: string, cause?: unknown): CtdError {
  return new CtdError('MODEL_CONFIG_INVALID', `config.json of the model: ${reason}`, {
    hint: 'take the folder as ctd results --out wrote it, or as it came with the model',
    ...(cause === undefined ? {} : { cause }),
  })
}

function wrongFamily(verb: MapVerb, what: string): CtdError {
  const hint =
    verb === 'embed'
      ? 'ctd embed takes BertModel folders, such as the results of embed-tiny and embed-base'
      : 'ctd generate takes GPT-2 folders, such as the results of gpt-tiny, gpt-mini and gpt2'
  return new CtdError('MODEL_WRONG_FAMILY', `ctd ${verb} cannot use ${what}`, { hint })
}
