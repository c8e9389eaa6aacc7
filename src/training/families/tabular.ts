/**
 * Classifiers of rows of numbers: dense layers with rectifiers between them. Features are scaled to
 * mean 0 and deviation 1 by the training rows; `config.json` says how. A missing number is the mean.
 */
import type { TensorSpec } from '../safetensors.js'
import { classifierResults } from './counts.js'
import type { Dataset, DatasetOptions, FamilyLaw, Model } from './family.js'
import { rectifierInitial } from './image-classifier.js'
import { labelSplit, readLabels } from './labels.js'
import { readNumbers, type NumericTable } from './numbers.js'
import { byName, linear } from './parameters.js'
import { assertEnoughRows, labelTensor, writeRows } from './rows.js'

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
    describe: ({ labels, describes }) => ({
      architectures: ['TabularMlp'],
      hidden_size: hidden,
      id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
      num_hidden_layers: layers,
      ...describes,
    }),
  }
}

function readTable(bytes: Uint8Array, options: DatasetOptions): Dataset {
  return tableDataset(readNumbers(bytes, options))
}

/** @throws CtdError DATA_TOO_FEW_ROWS, DATA_ONE_CLASS, DATA_TOO_MANY_CLASSES */
export function tableDataset(table: NumericTable): Dataset {
  const { values, names, labelColumn } = table
  const features = names.length
  assertEnoughRows(table.labels.length)
  const { labels, ids } = readLabels(table.labels)
  return {
    rows: table.labels.length,
    shape: { classes: labels.length, features },
    textColumn: '',
    labelColumn,
    split: (held, taught) => {
      const scaling = names.map((name, column) => ({
        name,
        ...momentsOf(values, { column, features, rows: taught }),
      }))
      const fill = (rows: Uint32Array): Float32Array => {
        const filled = new Float32Array(rows.length * features)
        for (const [i, row] of rows.entries()) {
          for (const [column, { mean, deviation }] of scaling.entries()) {
            const value = values[row * features + column] ?? Number.NaN
            filled[i * features + column] = Number.isNaN(value) ? 0 : (value - mean) / deviation
          }
        }
        return filled
      }
      const tensor = { name: 'features', dtype: 'F32', rowShape: [features], fill } as const
      return {
        labels,
        ...labelSplit({ labels, ids, held, taught }),
        describes: { features: scaling },
        files: { 'labels.json': labels },
        writeShard: (path, chosen) => writeRows(path, chosen, [tensor, labelTensor(ids)]),
      }
    },
  }
}

/** Mean and deviation of a column over these rows, those left out that lack the number. */
function momentsOf(
  values: Float64Array,
  part: { readonly column: number; readonly features: number; readonly rows: Uint32Array },
): { readonly mean: number; readonly deviation: number } {
  const known: number[] = []
  for (const row of part.rows) {
    const value = values[row * part.features + part.column] ?? Number.NaN
    if (!Number.isNaN(value)) known.push(value)
  }
  const n = Math.max(1, known.length)
  const mean = known.reduce((sum, value) => sum + value, 0) / n
  const variance = known.reduce((sum, value) => sum + (value - mean) * (value - mean), 0) / n
  return { mean, deviation: variance > 0 ? Math.sqrt(variance) : 1 }
}

export const TABULAR: FamilyLaw = {
  read: readTable,
  results: classifierResults,
  files: ['labels.json'],
  baseline: 'the commonest label',
}
