/**
 * Cuts a dataset into the shards of a job: rows go to training shards and to the evaluation set by
 * an order drawn from the seed. What a row is, and how it becomes numbers, its family says.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError } from '../errors.js'
import { canonicalJson } from './canonical-json.js'
import type { DatasetOptions, DataShape } from './families/family.js'
import { FAMILY_LAWS, modelOf } from './model.js'
import { seededOrder, SPLIT_ORDER_DOMAIN } from './order.js'
import { defaultMaxLength, familyOf, modelConfig } from './presets.js'

export interface SplitParams extends DatasetOptions {
  /** Training shards, one file each. */
  readonly shards: number
  /** Evaluation shards; 1 unless the evaluation set is large. */
  readonly evalShards: number
  readonly seed: string
  /** With it the output holds the `config.json` of the model; a text classifier otherwise. */
  readonly model?: string | undefined
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
}

const DEFAULT_MODEL = 'bert-tiny'

/** A tenth of the rows, at least one, is never trained on. */
export function evalRowCount(rows: number): number {
  return Math.max(1, Math.floor(rows / 10))
}

/** Reads and judges a dataset as the split task will. @throws CtdError DATA_* */
export function summariseDataset(
  bytes: Uint8Array,
  options: Partial<DatasetOptions> & { readonly model?: string } = {},
): DatasetSummary {
  const { model = DEFAULT_MODEL } = options
  const maxLength = options.maxLength ?? defaultMaxLength(model)
  const dataset = FAMILY_LAWS[familyOf(model)].read(bytes, { ...options, maxLength })
  const evalRows = evalRowCount(dataset.rows)
  const { rows, shape, longestTokens, textColumn, labelColumn } = dataset
  const trainRows = rows - evalRows
  return { ...shape, rows, trainRows, evalRows, longestTokens, textColumn, labelColumn }
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
  bytes: Uint8Array,
  params: SplitParams,
  outDir: string,
): Promise<void> {
  const { model = DEFAULT_MODEL, maxLength } = params
  const { rows, shape, split: splitRows } = FAMILY_LAWS[familyOf(model)].read(bytes, params)
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
