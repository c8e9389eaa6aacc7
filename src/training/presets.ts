/** The models that can be asked for by name. */
import { CtdError } from '../errors.js'
import { TOKEN } from './bytes.js'
import type { DataShape, FamilyName } from './families/family.js'
import type { ModelConfig } from './model.js'
import { nearest } from './nearest.js'

export const DEFAULT_MAX_LENGTH = 128

/** How a preset learns best; measured on the demo's data for bert-tiny, else by its width. */
export interface PresetTraining {
  readonly batchSize: number
  readonly learningRate: number
}

interface Preset extends PresetTraining {
  readonly family: FamilyName
  readonly configOf: (shape: DataShape, model: string) => ModelConfig
}

/** Sizes of a transformer. */
interface Sizes {
  readonly layers: number
  readonly hidden: number
  readonly heads: number
  readonly intermediate: number
}

function textClassifier(sizes: Sizes, learningRate: number): Preset {
  return {
    family: 'text-classifier',
    batchSize: 16,
    learningRate,
    configOf: (shape, model) => ({
      family: 'text-classifier',
      ...sizes,
      vocabulary: TOKEN.vocabulary,
      maxLength: shape.maxLength ?? DEFAULT_MAX_LENGTH,
      classes: given(shape.classes, 'classes', model),
    }),
  }
}

const PRESETS: ReadonlyMap<string, Preset> = new Map([
  ['bert-tiny', textClassifier({ layers: 2, hidden: 128, heads: 2, intermediate: 512 }, 1e-3)],
  ['bert-mini', textClassifier({ layers: 4, hidden: 256, heads: 4, intermediate: 1024 }, 5e-4)],
  ['bert-small', textClassifier({ layers: 4, hidden: 512, heads: 8, intermediate: 2048 }, 3e-4)],
  ['bert-base', textClassifier({ layers: 12, hidden: 768, heads: 12, intermediate: 3072 }, 1e-4)],
])

function given(value: number | undefined, name: string, model: string): number {
  if (value !== undefined) return value
  throw new CtdError('BAD_TRAINING_SPEC', `${model} needs to know ${name}`)
}

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
  return presetOf(model).configOf(shape, model)
}

/** @throws CtdError UNKNOWN_MODEL */
export function familyOf(model: string): FamilyName {
  return presetOf(model).family
}

/** @throws CtdError UNKNOWN_MODEL */
export function presetTraining(model: string): PresetTraining {
  const { batchSize, learningRate } = presetOf(model)
  return { batchSize, learningRate }
}
