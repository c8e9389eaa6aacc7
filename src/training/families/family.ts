/**
 * What a family of models is to the rest: its parameters, its data, and what its evaluation counts
 * mean. Its arithmetic stands in the Python module of the same name in `images/cpu/`.
 */
import type { Json } from '../canonical-json.js'
import type { TensorSpec } from '../safetensors.js'
import type { ExampleKind, ExampleSet } from '../data/examples.js'
import type { DataFormat } from '../data/source.js'
import type { Tokenizer } from '../tokenizers/tokenizer.js'

export type FamilyName =
  | 'text-classifier'
  | 'causal-lm'
  | 'sentence-embedding'
  | 'word-embedding'
  | 'image-classifier'
  | 'tabular'

/** What the data fixes of a model's shape; each family asks for its own part. */
export interface DataShape {
  /** Different labels. */
  readonly classes?: number | undefined
  /** Longest row in tokens. */
  readonly maxLength?: number | undefined
  /** Different tokens or words. */
  readonly vocabulary?: number | undefined
  /** Numbers in a row of a table. */
  readonly features?: number | undefined
  /** Of every image. */
  readonly height?: number | undefined
  readonly width?: number | undefined
  readonly channels?: number | undefined
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
  /** Bytes that a row takes while it is learnt from, beside the weights; an estimate from above. */
  readonly activationBytesPerRow: number
  /** The `config.json` beside the weights; Hugging Face's own where it knows the model. */
  describe(split: Pick<DatasetSplit, 'labels' | 'describes'>): Readonly<Record<string, Json>>
}

export interface DatasetOptions {
  /** Tokens in a row at most; longer texts are cut. */
  readonly maxLength: number
  /** Bytes are the tokens where it is absent. */
  readonly tokenizer?: Tokenizer | undefined
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
  /** What the use of the model must know of the data, for `config.json`. */
  readonly describes?: Readonly<Record<string, Json>>
  /** Counts that the family's baseline reaches on the rows held back, named as the evaluation's. */
  readonly baseline: Readonly<Record<string, number>>
  /** What the family adds to `split.json`. */
  readonly summary: Readonly<Record<string, Json>>
  /** Further files, by name. */
  readonly files: Readonly<Record<string, Json>>
  /** Writes one shard as the module's `read_data` expects it. */
  writeShard(path: string, rows: Uint32Array): Promise<void>
}

/** Sums of the evaluation's integers over all its shards, by name; 0 where there are none. */
export type Counts = (name: string) => number

/** What people call the numbers of an evaluation; null where it counted nothing. */
export type ResultFields = Readonly<Record<string, number | null>>

export interface FamilyLaw {
  /** What the family learns from, by the format of the files. */
  readonly examples: (format: DataFormat) => ExampleKind
  /** Judges a dataset that was read. @throws CtdError DATA_* */
  readonly read: (examples: ExampleSet, options: DatasetOptions) => Dataset
  readonly results: (counts: Counts) => ResultFields
  /** Files of the split that the use of a model needs, beside `config.json`. */
  readonly files: readonly string[]
  /** What the result is compared with, for people. */
  readonly baseline: string
}
