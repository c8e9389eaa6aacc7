/**
 * Classifiers of texts over bytes. Parameter names and shapes are those of Hugging Face's
 * `BertForSequenceClassification`, so that a trained file loads there.
 */
import { TOKEN } from '../bytes.js'
import { parseTable } from '../tabular.js'
import {
  bertDescription,
  bertInitial,
  bertParameters,
  transformerFlops,
  type BertShape,
} from './bert.js'
import { classifierResults } from './counts.js'
import type { Dataset, DatasetOptions, FamilyLaw, Model } from './family.js'
import { labelSplit, readLabels } from './labels.js'
import { assertEnoughRows, labelTensor, writeRows } from './rows.js'
import { longestTokens, tableOptions, tokenTensor } from './texts.js'
import { byName, linear } from './parameters.js'

/** Numbers that fix a classifier's shape; goes into `task.json` as `model`. */
export interface TextClassifierConfig extends BertShape {
  readonly family: 'text-classifier'
  readonly classes: number
}

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
function readLabelledText(bytes: Uint8Array, options: DatasetOptions): Dataset {
  const { maxLength } = options
  const { rows, textColumn, labelColumn } = parseTable(bytes, tableOptions(options))
  assertEnoughRows(rows.length)
  const { labels, ids } = readLabels(rows.map((row) => row.label))
  const texts = rows.map((row) => row.text)
  return {
    rows: rows.length,
    shape: { classes: labels.length },
    longestTokens: longestTokens(texts),
    textColumn,
    labelColumn,
    split: (held, taught) => {
      const { baseline, summary } = labelSplit({ labels, ids, held, taught })
      return {
        labels,
        baseline,
        summary: { ...summary, maxLength },
        files: { 'labels.json': labels },
        writeShard: (path, chosen) =>
          writeRows(path, chosen, [labelTensor(ids), tokenTensor('tokens', texts, maxLength)]),
      }
    },
  }
}

export const TEXT_CLASSIFIER: FamilyLaw = {
  read: readLabelledText,
  results: classifierResults,
  files: ['labels.json'],
  baseline: 'the commonest label',
}
