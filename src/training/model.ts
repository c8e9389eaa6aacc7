/** The families by name: the one place that knows them all. */
import { CAUSAL_LM, causalLm, type CausalLmConfig } from './families/causal-lm.js'
import type { FamilyLaw, FamilyName, Model } from './families/family.js'
import {
  IMAGE_CLASSIFIER,
  imageClassifier,
  type ImageClassifierConfig,
} from './families/image-classifier.js'
import {
  SENTENCE_EMBEDDING,
  sentenceEmbedding,
  type SentenceEmbeddingConfig,
} from './families/sentence-embedding.js'
import { TABULAR, tabular, type TabularConfig } from './families/tabular.js'
import {
  TEXT_CLASSIFIER,
  textClassifier,
  type TextClassifierConfig,
} from './families/text-classifier.js'
import {
  WORD_EMBEDDING,
  wordEmbedding,
  type WordEmbeddingConfig,
} from './families/word-embedding.js'
import type { TensorSpec } from './safetensors.js'

/** Numbers that fix a model's shape; goes into `task.json` as `model`. */
export type ModelConfig =
  | TextClassifierConfig
  | CausalLmConfig
  | SentenceEmbeddingConfig
  | WordEmbeddingConfig
  | ImageClassifierConfig
  | TabularConfig

export function modelOf(config: ModelConfig): Model {
  switch (config.family) {
    case 'text-classifier':
      return textClassifier(config)
    case 'causal-lm':
      return causalLm(config)
    case 'sentence-embedding':
      return sentenceEmbedding(config)
    case 'word-embedding':
      return wordEmbedding(config)
    case 'image-classifier':
      return imageClassifier(config)
    case 'tabular':
      return tabular(config)
  }
}

/** Every parameter of a model, fp32, sorted by name. */
export function parameterSpecs(config: ModelConfig): readonly TensorSpec[] {
  return modelOf(config).parameters
}

/** What holds for a family whatever the size of its models. */
export const FAMILY_LAWS: Readonly<Record<FamilyName, FamilyLaw>> = {
  'text-classifier': TEXT_CLASSIFIER,
  'causal-lm': CAUSAL_LM,
  'sentence-embedding': SENTENCE_EMBEDDING,
  'word-embedding': WORD_EMBEDDING,
  'image-classifier': IMAGE_CLASSIFIER,
  tabular: TABULAR,
}
