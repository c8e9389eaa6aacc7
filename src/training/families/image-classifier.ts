/**
 * Classifiers of images of one size: a small convolutional network, or a network of dense layers
 * over all pixels. Names are those of a `torch.nn.Module` with these members.
 */
import type { TensorSpec } from '../safetensors.js'
import { classifierResults } from './counts.js'
import type { Dataset, DatasetOptions, FamilyLaw, Initial, Model } from './family.js'
import { labelSplit, readLabels } from './labels.js'
import { readNumbers } from './numbers.js'
import { byName, linear, parameter } from './parameters.js'
import { assertEnoughRows, labelTensor, writeRows } from './rows.js'
import { CtdError } from '../../errors.js'

export interface ImageClassifierConfig {
  readonly family: 'image-classifier'
  readonly architecture: 'cnn' | 'mlp'
  readonly height: number
  readonly width: number
  readonly channels: number
  /** Width of the dense layer before the classes. */
  readonly hidden: number
  /** Filters of the two convolutions; empty for dense layers alone. */
  readonly filters: readonly number[]
  readonly classes: number
}

/** Edge of a filter, and by how much each pooling shrinks an edge. */
const KERNEL = 3
const POOL = 2

export function imageClassifier(config: ImageClassifierConfig): Model {
  const { height, width, channels, hidden, filters, classes } = config
  const specs: TensorSpec[] = []
  let [rows, columns, depth] = [height, width, channels]
  let multiplications = 0
  for (const [i, filter] of filters.entries()) {
    const name = `conv${i + 1}`
    specs.push(parameter(`${name}.weight`, filter, depth, KERNEL, KERNEL))
    specs.push(parameter(`${name}.bias`, filter))
    multiplications += rows * columns * filter * depth * KERNEL * KERNEL
    ;[rows, columns, depth] = [Math.floor(rows / POOL), Math.floor(columns / POOL), filter]
  }
  const inputs = rows * columns * depth
  specs.push(...linear('dense', hidden, inputs), ...linear('classifier', classes, hidden))
  multiplications += inputs * hidden + hidden * classes
  return {
    parameters: byName(specs),
    initial: rectifierInitial,
    flopsPerRow: () => 6 * multiplications,
    describe: ({ labels }) => ({
      architectures: [config.architecture === 'cnn' ? 'SmallCnn' : 'ImageMlp'],
      channels,
      filters,
      height,
      hidden_size: hidden,
      id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
      // What the program does to a pixel before the first layer.
      pixel_mean: 127.5,
      pixel_scale: 127.5,
      width,
    }),
  }
}

/** Before a rectifier sqrt(2 / inputs) keeps the variance (He et al. 2015). */
export function rectifierInitial({ name, shape }: TensorSpec): Initial {
  if (name.endsWith('.bias')) return { constant: 0 }
  const inputs = shape.slice(1).reduce((product, extent) => product * extent, 1)
  return { deviation: Math.sqrt((name.startsWith('classifier') ? 1 : 2) / inputs) }
}

/**
 * Square grey images in a table: one column of labels, all others pixels from 0 to 255, row by row.
 *
 * @throws CtdError DATA_*
 */
function readPixelTable(bytes: Uint8Array, options: DatasetOptions): Dataset {
  const { values, names, labels, labelColumn } = readNumbers(bytes, options)
  const edge = Math.sqrt(names.length)
  if (!Number.isInteger(edge)) {
    throw new CtdError('DATA_SHAPE', `${names.length} pixels a row are no square image`, {
      hint: 'one column of labels, and as many pixels as a square has',
    })
  }
  const wrong = values.findIndex((value) => !Number.isInteger(value) || value < 0 || value > 255)
  if (wrong !== -1) {
    const row = Math.floor(wrong / names.length)
    throw new CtdError('DATA_NUMBER', `row ${row + 1} holds a pixel that is not from 0 to 255`, {
      fields: { row: row + 1 },
    })
  }
  const pixels = Uint8Array.from(values)
  return imageDataset({ pixels, labels, labelColumn, height: edge, width: edge, channels: 1 })
}

/**
 * Images with a label each.
 *
 * @param images.pixels - row after row of the dataset, channel after channel, then from the top
 * @throws CtdError DATA_TOO_FEW_ROWS, DATA_ONE_CLASS, DATA_TOO_MANY_CLASSES
 */
export function imageDataset(images: {
  readonly pixels: Uint8Array
  readonly labels: readonly string[]
  readonly labelColumn: string
  readonly height: number
  readonly width: number
  readonly channels: number
}): Dataset {
  const { pixels, height, width, channels, labelColumn } = images
  assertEnoughRows(images.labels.length)
  const { labels, ids } = readLabels(images.labels)
  const size = channels * height * width
  const fill = (rows: Uint32Array): Uint8Array => {
    const filled = new Uint8Array(rows.length * size)
    for (const [i, row] of rows.entries()) {
      filled.set(pixels.subarray(row * size, (row + 1) * size), i * size)
    }
    return filled
  }
  const tensor = { name: 'pixels', dtype: 'U8', rowShape: [channels, height, width], fill } as const
  return {
    rows: images.labels.length,
    shape: { classes: labels.length, height, width, channels },
    textColumn: '',
    labelColumn,
    split: (held, taught) => ({
      labels,
      ...labelSplit({ labels, ids, held, taught }),
      files: { 'labels.json': labels },
      writeShard: (path, chosen) => writeRows(path, chosen, [labelTensor(ids), tensor]),
    }),
  }
}

export const IMAGE_CLASSIFIER: FamilyLaw = {
  read: readPixelTable,
  results: classifierResults,
  files: ['labels.json'],
  baseline: 'the commonest label',
}
