/**
 * Cuts a dataset into the shards of a job: labels become numbers, texts become token ids, rows go
 * to training shards and to the evaluation set by an order drawn from the seed.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CtdError } from '../errors.js'
import { canonicalJson } from './canonical-json.js'
import { seededOrder, SPLIT_ORDER_DOMAIN } from './order.js'
import { TOKEN } from './presets.js'
import { SafetensorsWriter } from './safetensors.js'
import { parseTable, type LabelledRow, type TableOptions } from './tabular.js'

export interface SplitParams extends TableOptions {
  /** Training shards, one file each. */
  readonly shards: number
  /** Evaluation shards; 1 unless the evaluation set is large. */
  readonly evalShards: number
  /** Tokens in a row, start and end included; longer texts are cut. */
  readonly maxLength: number
  readonly seed: string
}

/** What a submitter knows of a dataset before any task ran; goes into the job's manifest. */
export interface DatasetSummary {
  readonly rows: number
  readonly trainRows: number
  readonly evalRows: number
  readonly classes: number
  /** Tokens of the longest row, start and end included; a model may cut it. */
  readonly longestTokens: number
  readonly textColumn: string
  readonly labelColumn: string
}

export const SPLIT_LIMITS = { classes: 1000, minimumRows: 10, shards: 256 } as const

/** Rows written at a time. */
const CHUNK_ROWS = 4096

/** A tenth of the rows, at least one, is never trained on. */
export function evalRowCount(rows: number): number {
  return Math.max(1, Math.floor(rows / 10))
}

/**
 * Reads and judges a dataset as the split task will.
 *
 * @throws CtdError DATA_*, see `parseTable`; DATA_TOO_FEW_ROWS, DATA_ONE_CLASS, DATA_TOO_MANY_CLASSES
 */
export function summariseDataset(bytes: Uint8Array, options: TableOptions = {}): DatasetSummary {
  const { rows, labels, textColumn, labelColumn } = readDataset(bytes, options)
  const evalRows = evalRowCount(rows.length)
  return {
    rows: rows.length,
    trainRows: rows.length - evalRows,
    evalRows,
    classes: labels.length,
    longestTokens: 2 + rows.reduce((most, row) => Math.max(most, Buffer.byteLength(row.text)), 0),
    textColumn,
    labelColumn,
  }
}

/**
 * Writes `labels.json`, `split.json`, `train-NNN.safetensors` and `eval-NNN.safetensors`.
 *
 * The first rows of the seeded order are the evaluation set. Shards are consecutive stretches of
 * the rest, their sizes differ by one at most.
 */
export async function splitDataset(
  bytes: Uint8Array,
  params: SplitParams,
  outDir: string,
): Promise<void> {
  const { rows, labels } = readDataset(bytes, params)
  const order = seededOrder(SPLIT_ORDER_DOMAIN, params.seed, rows.length)
  const evalRows = evalRowCount(rows.length)
  const trainRows = rows.length - evalRows
  if (params.shards > trainRows || params.evalShards > evalRows) {
    throw new CtdError(
      'DATA_TOO_FEW_ROWS',
      `${rows.length} rows do not fill ${params.shards} shards`,
      {
        hint: 'use fewer shards or more rows',
      },
    )
  }
  const ids = new Map(labels.map((label, id) => [label, id]))
  const held = order.subarray(0, evalRows)
  const taught = order.subarray(evalRows)
  for (const [prefix, part, shards] of [
    ['eval', held, params.evalShards],
    ['train', taught, params.shards],
  ] as const) {
    for (let shard = 0; shard < shards; shard++) {
      const from = Math.floor((part.length * shard) / shards)
      const to = Math.floor((part.length * (shard + 1)) / shards)
      const chosen = [...part.subarray(from, to)].flatMap((row) => rows[row] ?? [])
      await writeShard(join(outDir, shardFileName(prefix, shard)), chosen, ids, params.maxLength)
    }
  }
  const evalCounts = countLabels(held, rows, ids)
  const trainCounts = countLabels(taught, rows, ids)
  const majority = trainCounts.indexOf(Math.max(...trainCounts))
  const summary = {
    classes: labels.length,
    evalCounts,
    evalRows,
    evalShards: params.evalShards,
    // Rows that a model would get right that always answers the commonest training label.
    majorityCorrect: evalCounts[majority] ?? 0,
    majorityLabel: labels[majority] ?? '',
    maxLength: params.maxLength,
    rows: rows.length,
    shards: params.shards,
    trainCounts,
    trainRows,
  }
  await writeFile(join(outDir, 'labels.json'), canonicalJson(labels), { flag: 'wx' })
  await writeFile(join(outDir, 'split.json'), canonicalJson(summary), { flag: 'wx' })
}

/** `train-000.safetensors` and so on. */
export function shardFileName(prefix: 'train' | 'eval', shard: number): string {
  return `${prefix}-${String(shard).padStart(3, '0')}.safetensors`
}

/** Token ids of a text: start, its UTF-8 bytes cut to fit, end, padding. */
export function encodeText(text: string, maxLength: number): Int16Array {
  const bytes = new TextEncoder().encode(text).subarray(0, maxLength - 2)
  const ids = new Int16Array(maxLength).fill(TOKEN.padding)
  ids[0] = TOKEN.start
  for (const [i, byte] of bytes.entries()) ids[i + 1] = TOKEN.byteOffset + byte
  ids[bytes.length + 1] = TOKEN.end
  return ids
}

function readDataset(bytes: Uint8Array, options: TableOptions) {
  const table = parseTable(bytes, options)
  if (table.rows.length < SPLIT_LIMITS.minimumRows) {
    throw new CtdError('DATA_TOO_FEW_ROWS', `the dataset has only ${table.rows.length} rows`, {
      hint: `at least ${SPLIT_LIMITS.minimumRows} are needed to train and to evaluate`,
    })
  }
  // Sorted by code unit, which no locale changes.
  const labels = [...new Set(table.rows.map((row) => row.label))].sort()
  if (labels.length < 2) {
    throw new CtdError('DATA_ONE_CLASS', `every row has the label "${labels[0] ?? ''}"`, {
      hint: 'a classifier needs at least two labels; is the right column chosen?',
    })
  }
  if (labels.length > SPLIT_LIMITS.classes) {
    throw new CtdError('DATA_TOO_MANY_CLASSES', `there are ${labels.length} different labels`, {
      hint: `at most ${SPLIT_LIMITS.classes}; are the text and label columns swapped?`,
    })
  }
  return { ...table, labels }
}

async function writeShard(
  path: string,
  rows: readonly LabelledRow[],
  ids: ReadonlyMap<string, number>,
  maxLength: number,
): Promise<void> {
  const writer = await SafetensorsWriter.create(path, [
    { name: 'labels', dtype: 'I32', shape: [rows.length] },
    { name: 'tokens', dtype: 'I16', shape: [rows.length, maxLength] },
  ])
  for (let start = 0; start < rows.length; start += CHUNK_ROWS) {
    const chunk = rows.slice(start, start + CHUNK_ROWS)
    const tokens = new Int16Array(chunk.length * maxLength)
    for (const [i, row] of chunk.entries())
      tokens.set(encodeText(row.text, maxLength), i * maxLength)
    await writer.write(
      'labels',
      start,
      Int32Array.from(chunk, (row) => ids.get(row.label) ?? -1),
    )
    await writer.write('tokens', start * maxLength, tokens)
  }
  await writer.close()
}

function countLabels(
  order: Uint32Array,
  rows: readonly LabelledRow[],
  ids: ReadonlyMap<string, number>,
): readonly number[] {
  const counts = Array.from(ids, () => 0)
  for (const row of order) {
    const id = ids.get(rows[row]?.label ?? '')
    if (id !== undefined) counts[id] = (counts[id] ?? 0) + 1
  }
  return counts
}
