/**
 * Classifiers of rows of numbers: dense layers with rectifiers between them. Features are scaled to
 * mean 0 and deviation 1 by the training rows; `config.json` says how. A missing number is the mean.
 */
import type { ExampleSet } from '../data/examples.js'
import type { TensorSpec } from '../safetensors.js'
import { classifierResults } from './counts.js'
import type { Dataset, FamilyLaw, Model } from './family.js'
import { rectifierInitial } from './image-classifier.js'
import { labelSplit } from './labels.js'
import { numbersOf } from './numbers.js'
import { byName, linear } from './parameters.js'
import { labelTensor, writeRows } from './rows.js'

export interface TabularConfig {
  readonly family: 'tabular'
  readonly features: number
  /** Hidden layers. */
  readonly layers: number
  /** Width of each. */
  readonly hidden: number
  readonly classes: number
}

export function tabular(config: TabularConfig): Model {
  const { features, layers, hidden, classes } = config
  const specs: TensorSpec[] = [...linear('classifier', classes, hidden)]
  for (let layer = 0; layer < layers; layer++) {
    specs.push(...linear(`layers.${layer}`, hidden, layer === 0 ? features : hidden))
  }
  return {
    parameters: byName(specs),
    initial: rectifierInitial,
    flopsPerRow: () => 6 * hidden * (features + (layers - 1) * hidden + classes),
    activationBytesPerRow: 4 * (features + 3 * layers * hidden + 3 * classes),
    describe: ({ labels, describes }) => ({
      architectures: ['TabularMlp'],
      hidden_size: hidden,
      id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
      num_hidden_layers: layers,
      ...describes,
    }),
  }
}

function readTable(examples: ExampleSet): Dataset {
  const { labels, labelIds: ids, featureColumns } = examples
  const [features = 0] = examples.shape
  // The columns of an npz file have no names.
  const names = Array.from({ length: features }, (_, i) => featureColumns[i] ?? `x${i}`)
  return {
    rows: examples.rows,
    shape: { classes: labels.length, features },
    textColumn: examples.textColumn,
    labelColumn: examples.labelColumn,
    split: (held, taught) => {
      const moments = momentsOf(examples, taught, features)
      const fill = (rows: Uint32Array): Float32Array => {
        const filled = new Float32Array(rows.length * features)
        for (const [i, row] of rows.entries()) {
          for (const [column, value] of numbersOf(examples.row(row)).entries()) {
            const { mean = 0, deviation = 1 } = moments[column] ?? {}
            filled[i * features + column] = Number.isNaN(value) ? 0 : (value - mean) / deviation
          }
        }
        return filled
      }
      const tensor = { name: 'features', dtype: 'F32', rowShape: [features], fill } as const
      return {
        labels,
        ...labelSplit({ labels, ids, held, taught }),
        describes: { features: names.map((name, i) => ({ name, ...moments[i] })) },
        files: { 'labels.json': labels },
        writeShard: (path, chosen) => writeRows(path, chosen, [tensor, labelTensor(ids)]),
      }
    },
  }
}

interface Moments {
  readonly mean: number
  readonly deviation: number
}

/** Mean and deviation of every column over these rows, those left out that lack the number. */
function momentsOf(examples: ExampleSet, rows: Uint32Array, features: number): readonly Moments[] {
  const counts = new Float64Array(features)
  const add = (sums: Float64Array, valueOf: (value: number, column: number) => number): void => {
    for (const row of rows) {
      for (const [column, value] of numbersOf(examples.row(row)).entries()) {
        if (Number.isNaN(value)) continue
        sums[column] = (sums[column] ?? 0) + valueOf(value, column)
      }
    }
  }
  const means = new Float64Array(features)
  const squares = new Float64Array(features)
  add(counts, () => 1)
  add(means, (value) => value)
  for (const [column, count] of counts.entries()) {
    means[column] = (means[column] ?? 0) / Math.max(1, count)
  }
  add(squares, (value, column) => (value - (means[column] ?? 0)) * (value - (means[column] ?? 0)))
  return Array.from(counts, (count, column) => {
    const variance = (squares[column] ?? 0) / Math.max(1, count)
    return { mean: means[column] ?? 0, deviation: variance > 0 ? Math.sqrt(variance) : 1 }
  })
}

export const TABULAR: FamilyLaw = {
  examples: () => 'features',
  read: readTable,
  results: classifierResults,
  files: ['labels.json'],
  baseline: 'the commonest label',
}
