/**
 * Classifiers of texts over bytes. Parameter names and shapes are those of Hugging Face's
 * `BertForSequenceClassification`, so that a trained file loads there.
 */
import { TOKEN } from '../bytes.js'
import type { ExampleSet } from '../data/examples.js'
import {
  bertDescription,
  bertInitial,
  bertParameters,
  transformerActivationBytes,
  transformerFlops,
  type BertShape,
} from './bert.js'
import { classifierResults } from './counts.js'
import type { Dataset, DatasetOptions, FamilyLaw, Model } from './family.js'
import { labelSplit } from './labels.js'
import { labelTensor, writeRows } from './rows.js'
import { coderOf, tokenTensor, vocabularyOf } from './texts.js'
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
    activationBytesPerRow: transformerActivationBytes(config),
    describe: ({ labels }) => ({
      ...bertDescription(config, TOKEN.padding),
      architectures: ['BertForSequenceClassification'],
      id2label: Object.fromEntries(labels.map((label, id) => [String(id), label])),
      label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
      problem_type: 'single_label_classification',
    }),
  }
}

/** Texts with a label each. @throws CtdError TOKENIZER_UNSUITABLE */
function readLabelledText(examples: ExampleSet, options: DatasetOptions): Dataset {
  const { maxLength } = options
  const coder = coderOf(options.tokenizer, true)
  const { labels, labelIds: ids } = examples
  return {
    rows: examples.rows,
    shape: { classes: labels.length, ...vocabularyOf(options) },
    longestTokens: 2 + examples.longestBytes,
    textColumn: examples.textColumn,
    labelColumn: examples.labelColumn,
    split: (held, taught) => {
      const { baseline, summary } = labelSplit({ labels, ids, held, taught })
      return {
        labels,
        baseline,
        summary: { ...summary, maxLength },
        files: { 'labels.json': labels },
        writeShard: (path, chosen) =>
          writeRows(path, chosen, [
            labelTensor(ids),
            tokenTensor('tokens', examples.row, { coder, maxLength }),
          ]),
      }
    },
  }
}

export const TEXT_CLASSIFIER: FamilyLaw = {
  examples: () => 'labelled-text',
  read: readLabelledText,
  results: classifierResults,
  files: ['labels.json'],
  baseline: 'the commonest label',
}
