/**
 * Cuts a dataset into the shards of a job: rows go to training shards and to the evaluation set by
 * an order drawn from the seed. What a row is, and how it becomes numbers, its family says.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError } from '../errors.js'
import { canonicalJson } from './canonical-json.js'
import { readExamples, type ExampleOptions } from './data/examples.js'
import { openSource, sourceOf, type DataFile, type DataFormat } from './data/source.js'
import type { Dataset, DataShape } from './families/family.js'
import { FAMILY_LAWS, modelOf } from './model.js'
import { seededOrder, SPLIT_ORDER_DOMAIN } from './order.js'
import { defaultMaxLength, familyOf, modelConfig } from './presets.js'
import type { Tokenizer } from './tokenizers/tokenizer.js'

export interface DatasetParams extends ExampleOptions {
  /** Told from the names of the files when absent. */
  readonly format?: DataFormat | undefined
  /** Tokens in a row at most; by the model when absent. */
  readonly maxLength?: number | undefined
  /** A text classifier when absent. */
  readonly model?: string | undefined
}

export interface SplitParams extends DatasetParams {
  /** Training shards, one file each. */
  readonly shards: number
  /** Evaluation shards; 1 unless the evaluation set is large. */
  readonly evalShards: number
  readonly seed: string
}

/** Where a dataset is, and what it is read with. */
export interface DatasetSource {
  /** A file or a folder of this disk; or named files of it. */
  readonly files: string | readonly DataFile[]
  /** Beginning of the paths of files that may be written meanwhile; they are removed again. */
  readonly spoolPath: string
  readonly tokenizer?: Tokenizer | undefined
}

/** What a submitter knows of a dataset before any task ran; goes into the job's manifest. */
export interface DatasetSummary extends DataShape {
  readonly rows: number
  readonly trainRows: number
  readonly evalRows: number
  /** Tokens of the longest row, start and end included; a model may cut it. */
  readonly longestTokens: number | undefined
  readonly textColumn: string
  readonly labelColumn: string
  readonly format: DataFormat
}

const DEFAULT_MODEL = 'bert-tiny'

/** A tenth of the rows, at least one, is never trained on. */
export function evalRowCount(rows: number): number {
  return Math.max(1, Math.floor(rows / 10))
}

/** Reads and judges a dataset as the split task will. @throws CtdError DATA_*, TOKENIZER_* */
export async function summariseDataset(
  source: DatasetSource,
  params: DatasetParams = {},
): Promise<DatasetSummary> {
  return await withDataset(source, params, 'summary', (dataset, format) => {
    const evalRows = evalRowCount(dataset.rows)
    const { rows, shape, longestTokens, textColumn, labelColumn } = dataset
    const trainRows = rows - evalRows
    return { ...shape, format, rows, trainRows, evalRows, longestTokens, textColumn, labelColumn }
  })
}

/** Rows are there as long as `use` runs. A summary needs the rows of few kinds. */
async function withDataset<T>(
  { files, spoolPath, tokenizer }: DatasetSource,
  params: DatasetParams,
  purpose: 'summary' | 'split',
  use: (dataset: Dataset, format: DataFormat) => T | Promise<T>,
): Promise<T> {
  const { model = DEFAULT_MODEL, maxLength = defaultMaxLength(model) } = params
  const law = FAMILY_LAWS[familyOf(model)]
  const plain = law.examples('txt') === 'text' && law.examples('csv') === 'text' ? 'txt' : 'csv'
  const options = { format: params.format, plain } as const
  const source =
    typeof files === 'string' ? await openSource(files, options) : await sourceOf(files, options)
  const kind = law.examples(source.format)
  const isKept = purpose === 'split' || kind === 'text' || kind === 'features'
  const examples = await readExamples(
    kind,
    source,
    { ...params, textColumn: given(params.textColumn), labelColumn: given(params.labelColumn) },
    isKept ? spoolPath : undefined,
  )
  try {
    return await use(law.read(examples, { maxLength, tokenizer }), source.format)
  } finally {
    examples.close()
  }
}

/** A summary names the columns that were read, and none where there are none. */
function given(column: string | undefined): string | undefined {
  return column === '' ? undefined : column
}

/**
 * Writes `split.json`, `train-NNN.safetensors` and `eval-NNN.safetensors`, the files of the family
 * (`labels.json`), `metrics.json` with the counts of the baseline, and `config.json` where the
 * model is named.
 *
 * The first rows of the seeded order are the evaluation set. Shards are consecutive stretches of
 * the rest, their sizes differ by one at most.
 */
export async function splitDataset(
  source: DatasetSource,
  params: SplitParams,
  outDir: string,
): Promise<void> {
  await withDataset(source, params, 'split', (dataset) => writeSplit(dataset, params, outDir))
}

async function writeSplit(dataset: Dataset, params: SplitParams, outDir: string): Promise<void> {
  const { model = DEFAULT_MODEL, maxLength } = params
  const { rows, shape, split: splitRows } = dataset
  const order = seededOrder(SPLIT_ORDER_DOMAIN, params.seed, rows)
  const evalRows = evalRowCount(rows)
  const trainRows = rows - evalRows
  if (params.shards > trainRows || params.evalShards > evalRows) {
    throw new CtdError('DATA_TOO_FEW_ROWS', `${rows} rows do not fill ${params.shards} shards`, {
      hint: 'use fewer shards or more rows',
    })
  }
  const held = order.subarray(0, evalRows)
  const taught = order.subarray(evalRows)
  const split = splitRows(held, taught)
  for (const [prefix, part, shards] of [
    ['eval', held, params.evalShards],
    ['train', taught, params.shards],
  ] as const) {
    for (let shard = 0; shard < shards; shard++) {
      const from = Math.floor((part.length * shard) / shards)
      const to = Math.floor((part.length * (shard + 1)) / shards)
      await split.writeShard(join(outDir, shardFileName(prefix, shard)), part.subarray(from, to))
    }
  }
  const { evalShards, shards } = params
  const summary = { ...split.summary, evalRows, evalShards, rows, shards, trainRows }
  const files = { ...split.files, 'metrics.json': split.baseline, 'split.json': summary }
  for (const [name, value] of Object.entries(files)) {
    await writeFile(join(outDir, name), canonicalJson(value), { flag: 'wx' })
  }
  if (params.model === undefined) return
  const described = modelOf(modelConfig(model, { ...shape, maxLength })).describe(split)
  await writeFile(join(outDir, 'config.json'), canonicalJson(described), { flag: 'wx' })
}

/** `train-000.safetensors` and so on. */
export function shardFileName(prefix: 'train' | 'eval', shard: number): string {
  return `${prefix}-${String(shard).padStart(3, '0')}.safetensors`
}
