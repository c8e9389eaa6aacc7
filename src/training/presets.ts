/** The models that can be asked for by name. */
import { CtdError } from '../errors.js'
import { TOKEN } from './bytes.js'
import type { DataShape, FamilyName } from './families/family.js'
import type { InnerOptimiser } from './outer.js'
import type { ModelConfig } from './model.js'
import { nearest } from './nearest.js'

export const DEFAULT_MAX_LENGTH = 128

/** How a preset learns best; measured on the demo's data for bert-tiny, else by its width. */
export interface PresetTraining {
  readonly batchSize: number
  readonly learningRate: number
  readonly inner: InnerOptimiser
  /** Of the steps of rounds, where the model begins from nothing. */
  readonly growth: number
}

interface Preset extends Omit<PresetTraining, 'inner' | 'growth'> {
  readonly family: FamilyName
  readonly inner?: InnerOptimiser
  readonly growth?: number
  /** Longest row in tokens, unless the job says otherwise. */
  readonly maxLength?: number
  readonly configOf: (asked: Asked) => ModelConfig
}

/** What a job knows of its data when it asks for a model. */
interface Asked {
  readonly maxLength: number
  readonly vocabulary: number
  /** @throws CtdError BAD_TRAINING_SPEC when the data does not say it */
  given(name: 'classes' | 'vocabulary' | 'features' | 'height' | 'width' | 'channels'): number
}

/** Sizes of a transformer. */
interface Sizes {
  readonly layers: number
  readonly hidden: number
  readonly heads: number
  readonly intermediate: number
}

/** Loshchilov and Hutter 2019; betas as in Devlin et al. 2018. */
const INNER_OPTIMISER: InnerOptimiser = {
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.01,
  clipNorm: 1,
}
/** As language models are trained since GPT-3 (Brown et al. 2020). */
const LANGUAGE_OPTIMISER = { ...INNER_OPTIMISER, beta2: 0.95, weightDecay: 0.1 }

/**
 * Of six rounds of `gpt-tiny`, 655 000 tokens at a rate of 4e-3, one seed: 1.87 nats with rounds
 * that grow by this and 1.96 with equal ones. Momentum of 0.5 over them made it 1.95.
 */
const LANGUAGE_GROWTH = 1.7

const TINY = { layers: 2, hidden: 128, heads: 2, intermediate: 512 }
const MINI = { layers: 4, hidden: 256, heads: 4, intermediate: 1024 }
const SMALL = { layers: 4, hidden: 512, heads: 8, intermediate: 2048 }
const BASE = { layers: 12, hidden: 768, heads: 12, intermediate: 3072 }

function bert(sizes: Sizes, learningRate: number): Preset {
  return {
    family: 'text-classifier',
    batchSize: 16,
    learningRate,
    configOf: ({ maxLength, vocabulary, given }) => ({
      family: 'text-classifier',
      ...sizes,
      vocabulary,
      maxLength,
      classes: given('classes'),
    }),
  }
}

function gpt(
  sizes: Sizes,
  training: Pick<Preset, 'batchSize' | 'learningRate' | 'maxLength'>,
): Preset {
  return {
    family: 'causal-lm',
    inner: LANGUAGE_OPTIMISER,
    growth: LANGUAGE_GROWTH,
    ...training,
    configOf: ({ maxLength, vocabulary }) => ({
      family: 'causal-lm',
      ...sizes,
      vocabulary,
      maxLength,
    }),
  }
}

function embed(sizes: Sizes, training: Pick<Preset, 'batchSize' | 'learningRate'>): Preset {
  return {
    family: 'sentence-embedding',
    ...training,
    configOf: ({ maxLength, vocabulary }) => ({
      family: 'sentence-embedding',
      ...sizes,
      vocabulary,
      maxLength,
    }),
  }
}

function word2vec(hidden: number): Preset {
  return {
    family: 'word-embedding',
    batchSize: 64,
    learningRate: 2e-2,
    maxLength: 16,
    configOf: ({ maxLength, given }) => ({
      family: 'word-embedding',
      hidden,
      vocabulary: given('vocabulary'),
      maxLength,
    }),
  }
}

function image(architecture: 'cnn' | 'mlp', filters: readonly number[]): Preset {
  return {
    family: 'image-classifier',
    batchSize: 32,
    learningRate: 1e-3,
    configOf: ({ given }) => ({
      family: 'image-classifier',
      architecture,
      height: given('height'),
      width: given('width'),
      channels: given('channels'),
      hidden: 128,
      filters,
      classes: given('classes'),
    }),
  }
}

const TABLE: Preset = {
  family: 'tabular',
  batchSize: 8,
  learningRate: 3e-3,
  configOf: ({ given }) => ({
    family: 'tabular',
    features: given('features'),
    layers: 2,
    hidden: 64,
    classes: given('classes'),
  }),
}

const GPT_TINY = { layers: 3, hidden: 96, heads: 6, intermediate: 384 }

const PRESETS: ReadonlyMap<string, Preset> = new Map([
  ['bert-tiny', bert(TINY, 1e-3)],
  ['bert-mini', bert(MINI, 5e-4)],
  ['bert-small', bert(SMALL, 3e-4)],
  ['bert-base', bert(BASE, 1e-4)],
  ['gpt-tiny', gpt(GPT_TINY, { batchSize: 8, learningRate: 2e-3, maxLength: 64 })],
  ['gpt-mini', gpt(MINI, { batchSize: 8, learningRate: 1e-3, maxLength: 128 })],
  ['gpt2', gpt(BASE, { batchSize: 4, learningRate: 3e-4, maxLength: 512 })],
  ['embed-tiny', embed(TINY, { batchSize: 32, learningRate: 1e-3 })],
  ['embed-base', embed(BASE, { batchSize: 16, learningRate: 1e-4 })],
  ['word2vec-small', word2vec(64)],
  ['word2vec-base', word2vec(256)],
  ['cnn-small', image('cnn', [16, 32])],
  ['image-mlp', image('mlp', [])],
  ['mlp', TABLE],
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

/** The shape of a preset for a dataset. @throws CtdError UNKNOWN_MODEL, BAD_TRAINING_SPEC */
export function modelConfig(model: string, shape: DataShape): ModelConfig {
  return presetOf(model).configOf({
    maxLength: shape.maxLength ?? defaultMaxLength(model),
    vocabulary: shape.vocabulary ?? TOKEN.vocabulary,
    given: (name) => {
      const value = shape[name]
      if (value !== undefined) return value
      throw new CtdError('BAD_TRAINING_SPEC', `${model} needs to know ${name} of the data`)
    },
  })
}

/** @throws CtdError UNKNOWN_MODEL */
export function familyOf(model: string): FamilyName {
  return presetOf(model).family
}

/** Longest row in tokens, unless the job says otherwise. @throws CtdError UNKNOWN_MODEL */
export function defaultMaxLength(model: string): number {
  return presetOf(model).maxLength ?? DEFAULT_MAX_LENGTH
}

/** @throws CtdError UNKNOWN_MODEL */
export function presetTraining(model: string): PresetTraining {
  const { batchSize, learningRate, inner = INNER_OPTIMISER, growth = 1 } = presetOf(model)
  return { batchSize, learningRate, inner, growth }
}
