/**
 * What a family of models is to the rest: its parameters, its data, and what its evaluation counts
 * mean. Its arithmetic stands in the Python module of the same name in `images/cpu/`.
 */
import type { Json } from '../canonical-json.js'
import type { TensorSpec } from '../safetensors.js'
import type { TableOptions } from '../tabular.js'

export type FamilyName = 'text-classifier'

/** What the data fixes of a model's shape; each family asks for its own part. */
export interface DataShape {
  /** Different labels. */
  readonly classes?: number | undefined
  /** Longest row in tokens. */
  readonly maxLength?: number | undefined
}

/** The first values of a parameter: all alike, or normal around 0. */
export type Initial = { readonly constant: number } | { readonly deviation: number }

/** A model of a fixed shape. */
export interface Model {
  /** Every parameter, fp32, sorted by name: the twin of the module's `parameter_shapes`. */
  readonly parameters: readonly TensorSpec[]
  initial(parameter: TensorSpec): Initial
  /**
   * Floating point operations of one row, forward and backward. Forward takes 2 a weight of a
   * matrix and token; backward twice that (Kaplan et al. 2020).
   *
   * @param rowTokens - of the longest row of the data, where rows differ; the model's by default
   */
  flopsPerRow(rowTokens?: number): number
  /** The `config.json` beside the weights; Hugging Face's own where it knows the model. */
  describe(split: Pick<DatasetSplit, 'labels'>): Readonly<Record<string, Json>>
}

export interface DatasetOptions extends TableOptions {
  /** Tokens in a row at most; longer texts are cut. */
  readonly maxLength: number
}

/** A dataset as its family sees it: numbered rows that an order shuffles and shards share out. */
export interface Dataset {
  readonly rows: number
  readonly shape: DataShape
  /** Tokens of the longest row before it is cut; undefined where rows have no tokens. */
  readonly longestTokens?: number | undefined
  readonly textColumn: string
  readonly labelColumn: string
  /** Fixes which rows are held back for evaluation and which are learnt from. */
  split(held: Uint32Array, taught: Uint32Array): DatasetSplit
}

export interface DatasetSplit {
  /** What the outputs of the model stand for, in their order; empty where they need no names. */
  readonly labels: readonly string[]
  /** What the family adds to `split.json`. */
  readonly summary: Readonly<Record<string, Json>>
  /** Further files, by name. */
  readonly files: Readonly<Record<string, Json>>
  /** Writes one shard as the module's `read_data` expects it. */
  writeShard(path: string, rows: Uint32Array): Promise<void>
}
