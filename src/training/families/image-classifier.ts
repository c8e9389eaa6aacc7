/**
 * Classifiers of images of one size: a small convolutional network, or a network of dense layers
 * over all pixels. Names are those of a `torch.nn.Module` with these members.
 */
import { CtdError } from '../../errors.js'
import type { ExampleSet } from '../data/examples.js'
import { isTableFormat } from '../data/table.js'
import type { TensorSpec } from '../safetensors.js'
import { classifierResults } from './counts.js'
import type { Dataset, FamilyLaw, Initial, Model } from './family.js'
import { labelSplit } from './labels.js'
import { numbersOf } from './numbers.js'
import { byName, linear, parameter } from './parameters.js'
import { labelTensor, writeRows } from './rows.js'

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
  let [multiplications, states] = [0, height * width * channels]
  for (const [i, filter] of filters.entries()) {
    const name = `conv${i + 1}`
    specs.push(parameter(`${name}.weight`, filter, depth, KERNEL, KERNEL))
    specs.push(parameter(`${name}.bias`, filter))
    multiplications += rows * columns * filter * depth * KERNEL * KERNEL
    // The pixels under each filter laid side by side, and what three functions make of them.
    states += rows * columns * (depth * KERNEL * KERNEL + 3 * filter)
    ;[rows, columns, depth] = [Math.floor(rows / POOL), Math.floor(columns / POOL), filter]
  }
  const inputs = rows * columns * depth
  specs.push(...linear('dense', hidden, inputs), ...linear('classifier', classes, hidden))
  multiplications += inputs * hidden + hidden * classes
  return {
    parameters: byName(specs),
    initial: rectifierInitial,
    flopsPerRow: () => 6 * multiplications,
    activationBytesPerRow: 4 * (states + 3 * hidden + 3 * classes),
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
 * Images with a label each; also square grey ones in a table: one column of labels, all others
 * pixels from 0 to 255, row by row.
 *
 * @throws CtdError DATA_SHAPE, DATA_NUMBER
 */
function readImages(examples: ExampleSet): Dataset {
  const { labels, labelIds: ids } = examples
  const { height, width, channels, pixelsOf } =
    examples.kind === 'images' ? imagesOf(examples) : squaresOf(examples)
  const size = channels * height * width
  const fill = (rows: Uint32Array): Uint8Array => {
    const filled = new Uint8Array(rows.length * size)
    for (const [i, row] of rows.entries()) filled.set(pixelsOf(row), i * size)
    return filled
  }
  const tensor = { name: 'pixels', dtype: 'U8', rowShape: [channels, height, width], fill } as const
  return {
    rows: examples.rows,
    shape: { classes: labels.length, height, width, channels },
    textColumn: examples.textColumn,
    labelColumn: examples.labelColumn,
    split: (held, taught) => ({
      labels,
      ...labelSplit({ labels, ids, held, taught }),
      files: { 'labels.json': labels },
      writeShard: (path, chosen) => writeRows(path, chosen, [labelTensor(ids), tensor]),
    }),
  }
}

interface Pixels {
  readonly height: number
  readonly width: number
  readonly channels: number
  /** Channel after channel, each row by row from the top. */
  readonly pixelsOf: (row: number) => Uint8Array
}

function imagesOf({ shape, row }: ExampleSet): Pixels {
  const [height = 1, width = 1, channels = 1] = shape
  if (channels === 1) return { height, width, channels, pixelsOf: row }
  const area = height * width
  const pixelsOf = (at: number): Uint8Array => {
    const mixed = row(at)
    const planes = new Uint8Array(mixed.length)
    for (const [i, value] of mixed.entries()) {
      planes[(i % channels) * area + Math.floor(i / channels)] = value
    }
    return planes
  }
  return { height, width, channels, pixelsOf }
}

function squaresOf(examples: ExampleSet): Pixels {
  const count = examples.featureColumns.length
  const edge = Math.sqrt(count)
  if (!Number.isInteger(edge)) {
    throw new CtdError('DATA_SHAPE', `${count} pixels a row are no square image`, {
      hint: 'one column of labels, and as many pixels as a square has',
    })
  }
  const pixelsOf = (row: number): Uint8Array => {
    const pixels = new Uint8Array(count)
    for (const [i, value] of numbersOf(examples.row(row)).entries()) {
      if (!Number.isInteger(value) || value < 0 || value > 255) {
        throw new CtdError(
          'DATA_NUMBER',
          `row ${row + 1} holds a pixel that is not from 0 to 255`,
          {
            hint: 'pixels are whole numbers from 0 to 255',
            fields: { row: row + 1 },
          },
        )
      }
      pixels[i] = value
    }
    return pixels
  }
  for (let row = 0; row < examples.rows; row++) pixelsOf(row)
  return { height: edge, width: edge, channels: 1, pixelsOf }
}

export const IMAGE_CLASSIFIER: FamilyLaw = {
  examples: (format) => (isTableFormat(format) ? 'features' : 'images'),
  read: readImages,
  results: classifierResults,
  files: ['labels.json'],
  baseline: 'the commonest label',
}
