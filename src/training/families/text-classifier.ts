/**
 * Classifiers of texts over bytes. Parameter names and shapes are those of Hugging Face's
 * `BertForSequenceClassification`, so that a trained file loads there.
 */
import { CtdError } from '../../errors.js'
import { TOKEN, encodeText } from '../bytes.js'
import { SafetensorsWriter } from '../safetensors.js'
import { parseTable, type LabelledRow } from '../tabular.js'
import {
  bertDescription,
  bertInitial,
  bertParameters,
  transformerFlops,
  type BertShape,
} from './bert.js'
import type { Dataset, DatasetOptions, Model } from './family.js'
import { countLabels, readLabels } from './labels.js'
import { byName, linear } from './parameters.js'

/** Numbers that fix a classifier's shape; goes into `task.json` as `model`. */
export interface TextClassifierConfig extends BertShape {
  readonly family: 'text-classifier'
  readonly classes: number
}

/** Rows written at a time. */
const CHUNK_ROWS = 4096
const MINIMUM_ROWS = 10

export function textClassifier(config: TextClassifierConfig): Model {
  const { hidden, classes } = config
  return {
    parameters: byName([
      ...bertParameters(config, 'bert.'),
      ...linear('bert.pooler.dense', hidden, hidden),
      ...linear('classifier', classes, hidden),
    ]),
    initial: bertInitial,
    flopsPerRow: (rowTokens) => transformerFlops(config, rowTokens),
    describe: ({ labels }) => ({
      ...bertDescription(config, TOKEN.padding),
      architectures: ['BertForSequenceClassification'],
      id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
      label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
      problem_type: 'single_label_classification',
    }),
  }
}

/**
 * Texts with a label each.
 *
 * @throws CtdError DATA_*, see `parseTable`; DATA_TOO_FEW_ROWS, DATA_ONE_CLASS, DATA_TOO_MANY_CLASSES
 */
export function readLabelledText(bytes: Uint8Array, options: DatasetOptions): Dataset {
  const { rows, textColumn, labelColumn } = parseTable(bytes, options)
  if (rows.length < MINIMUM_ROWS) {
    throw new CtdError('DATA_TOO_FEW_ROWS', `the dataset has only ${rows.length} rows`, {
      hint: `at least ${MINIMUM_ROWS} are needed to train and to evaluate`,
    })
  }
  const { labels, ids } = readLabels(rows.map((row) => row.label))
  return {
    rows: rows.length,
    shape: { classes: labels.length },
    longestTokens: 2 + rows.reduce((most, row) => Math.max(most, Buffer.byteLength(row.text)), 0),
    textColumn,
    labelColumn,
    split: (held, taught) => ({
      labels,
      summary: { ...countLabels({ labels, ids, held, taught }), maxLength: options.maxLength },
      files: { 'labels.json': labels },
      writeShard: (path, chosen) => writeShard(path, { rows, ids, chosen }, options.maxLength),
    }),
  }
}

async function writeShard(
  path: string,
  shard: {
    readonly rows: readonly LabelledRow[]
    readonly ids: Int32Array
    readonly chosen: Uint32Array
  },
  maxLength: number,
): Promise<void> {
  const { rows, ids, chosen } = shard
  const writer = await SafetensorsWriter.create(path, [
    { name: 'labels', dtype: 'I32', shape: [chosen.length] },
    { name: 'tokens', dtype: 'I16', shape: [chosen.length, maxLength] },
  ])
  for (let start = 0; start < chosen.length; start += CHUNK_ROWS) {
    const chunk = chosen.subarray(start, start + CHUNK_ROWS)
    const tokens = new Int16Array(chunk.length * maxLength)
    for (const [i, row] of chunk.entries())
      tokens.set(encodeText(rows[row]?.text ?? '', maxLength), i * maxLength)
    await writer.write(
      'labels',
      start,
      Int32Array.from(chunk, (row) => ids[row] ?? -1),
    )
    await writer.write('tokens', start * maxLength, tokens)
  }
  await writer.close()
}
