/** The families by name: the one place that knows them all. */
import type { Dataset, DatasetOptions, FamilyName, Model } from './families/family.js'
import {
  readLabelledText,
  textClassifier,
  type TextClassifierConfig,
} from './families/text-classifier.js'
import type { TensorSpec } from './safetensors.js'

/** Numbers that fix a model's shape; goes into `task.json` as `model`. */
export type ModelConfig = TextClassifierConfig

export function modelOf(config: ModelConfig): Model {
  return textClassifier(config)
}

/** Every parameter of a model, fp32, sorted by name. */
export function parameterSpecs(config: ModelConfig): readonly TensorSpec[] {
  return modelOf(config).parameters
}

const READERS: Readonly<
  Record<FamilyName, (bytes: Uint8Array, options: DatasetOptions) => Dataset>
> = {
  'text-classifier': readLabelledText,
}

/** Reads and judges a dataset. @throws CtdError DATA_* */
export function readDataset(
  family: FamilyName,
  bytes: Uint8Array,
  options: DatasetOptions,
): Dataset {
  return READERS[family](bytes, options)
}
