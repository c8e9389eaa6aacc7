/**
 * Weights that somebody trained elsewhere: a folder with Hugging Face's `config.json` and
 * `model.safetensors`. They are checked against the model, renamed, and written as the first
 * weights of a job; heads are drawn from the seed.
 */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { CtdError } from '../errors.js'
import type { BertShape } from './families/bert.js'
import { drawParameter } from './initialise.js'
import { modelOf, type ModelConfig } from './model.js'
import { elementCount, SafetensorsReader, SafetensorsWriter } from './safetensors.js'
import type { PlacedTensor, TensorSpec } from './safetensors.js'

/** What is taken from a folder of weights. */
export const WEIGHTS_FILES = ['config.json', 'model.safetensors'] as const

/** Paths of files by name. */
export type NamedFiles = ReadonlyMap<string, string>

/** Elements copied at a time. */
const CHUNK = 262_144
const CONFIG_BYTES = 1024 * 1024

/** A parameter and where its values come from; drawn from the seed where nowhere. */
interface Source {
  readonly spec: TensorSpec
  readonly from: PlacedTensor | undefined
}

/** Those files of a folder that have one of the names. */
export async function namedFiles(dir: string, names: readonly string[]): Promise<NamedFiles> {
  const found = new Map<string, string>()
  for (const name of names) {
    const status = await stat(join(dir, name)).catch(() => undefined)
    if (status?.isFile() === true) found.set(name, join(dir, name))
  }
  return found
}

/**
 * Judges weights by their headers alone.
 *
 * @throws CtdError WEIGHTS_MISSING, WEIGHTS_UNFIT, WEIGHTS_UNSUPPORTED, TENSORS_MALFORMED
 */
export async function assertWeightsFit(config: ModelConfig, files: NamedFiles): Promise<void> {
  const reader = await openWeights(config, files)
  try {
    sourcesOf(config, reader)
  } finally {
    await reader.close()
  }
}

/**
 * Writes `weights.safetensors` and an empty `momentum.safetensors`, as `initialise` does.
 *
 * @throws CtdError as `assertWeightsFit`, and WEIGHTS_UNFIT where a number is not finite
 */
export async function importWeights(
  config: ModelConfig,
  files: NamedFiles,
  { seed, outDir }: { readonly seed: string; readonly outDir: string },
): Promise<void> {
  const model = modelOf(config)
  const reader = await openWeights(config, files)
  try {
    const sources = sourcesOf(config, reader)
    const path = join(outDir, 'weights.safetensors')
    const writer = await SafetensorsWriter.create(path, model.parameters, 'model')
    try {
      for (const { spec, from } of sources) {
        let start = 0
        const chunks =
          from === undefined
            ? drawParameter(spec, model.initial(spec), seed)
            : readValues(reader, from, elementCount(spec.shape))
        for await (const chunk of chunks) {
          if (!chunk.every(Number.isFinite)) throw unfit(`${spec.name} holds what is not finite`)
          await writer.write(spec.name, start, chunk)
          start += chunk.length
        }
      }
    } catch (error) {
      await writer.abandon()
      throw error
    }
    await writer.close()
  } finally {
    await reader.close()
  }
  await (await SafetensorsWriter.create(join(outDir, 'momentum.safetensors'), [])).close()
}

function unfit(reason: string): CtdError {
  return new CtdError('WEIGHTS_UNFIT', `the weights do not fit the model: ${reason}`, {
    hint: 'choose the model that they are weights of, and its own tokenizer',
  })
}

async function openWeights(config: ModelConfig, files: NamedFiles): Promise<SafetensorsReader> {
  const [described, weights] = [files.get('config.json'), files.get('model.safetensors')]
  if (described === undefined || weights === undefined) {
    const missing = described === undefined ? 'config.json' : 'model.safetensors'
    throw new CtdError('WEIGHTS_MISSING', `the folder of weights has no ${missing}`, {
      hint: 'give a folder with config.json and model.safetensors, the weights in one file',
    })
  }
  const { size } = await stat(described)
  if (size > CONFIG_BYTES) throw unfit(`config.json has ${size} bytes`)
  assertConfig(config, parseConfig(await readFile(described, 'utf8')))
  return await SafetensorsReader.open(weights)
}

function parseConfig(text: string): Readonly<Record<string, unknown>> {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text))
  } catch (cause) {
    throw new CtdError('WEIGHTS_MISSING', 'config.json is no JSON object', { cause })
  }
}

/** What a `config.json` must say, by its own keys; absent keys mean Hugging Face's defaults. */
function expectedConfig(config: ModelConfig): ReadonlyArray<readonly [string, unknown, unknown]> {
  const bert = (shape: BertShape): ReadonlyArray<readonly [string, unknown, unknown]> => [
    ['model_type', 'bert', 'bert'],
    ['num_hidden_layers', shape.layers, 12],
    ['hidden_size', shape.hidden, 768],
    ['num_attention_heads', shape.heads, 12],
    ['intermediate_size', shape.intermediate, 3072],
    ['hidden_act', 'gelu', 'gelu'],
    ['position_embedding_type', 'absolute', 'absolute'],
    ['type_vocab_size', 2, 2],
    ['layer_norm_eps', 1e-12, 1e-12],
  ]
  switch (config.family) {
    case 'text-classifier':
    case 'sentence-embedding':
      return bert(config)
    case 'causal-lm':
      return [
        ['model_type', 'gpt2', 'gpt2'],
        ['n_layer', config.layers, 12],
        ['n_embd', config.hidden, 768],
        ['n_head', config.heads, 12],
        ['activation_function', 'gelu_new', 'gelu_new'],
        ['layer_norm_epsilon', 1e-5, 1e-5],
        ['scale_attn_by_inverse_layer_idx', false, false],
      ]
    case 'word-embedding':
    case 'image-classifier':
    case 'tabular':
      throw new CtdError('WEIGHTS_UNSUPPORTED', `${config.family} models take no weights`, {
        hint: 'bert, embed and gpt models do',
      })
  }
}

function assertConfig(config: ModelConfig, found: Readonly<Record<string, unknown>>): void {
  for (const [key, expected, usual] of expectedConfig(config)) {
    const value = found[key] ?? usual
    if (value !== expected) {
      throw unfit(`their ${key} is ${JSON.stringify(value)}, the model's ${String(expected)}`)
    }
  }
}

/** Tables of which a model may use the first rows only: words and places. */
const CUT = /(word_embeddings|position_embeddings|\bwte|\bwpe)\.weight$/
const HEAD = /^(classifier|bert\.pooler)\./
const LAYER = /(^|\.)(encoder\.layer|h)\.\d+\./
/** Constants that old files carry along. */
const NO_WEIGHTS = /\.attn\.(bias|masked_bias)$|position_ids$/

function sourcesOf(config: ModelConfig, reader: SafetensorsReader): readonly Source[] {
  const used = new Set<string>()
  const sources = modelOf(config).parameters.map((spec): Source => {
    // A new head for new labels, even where there is one.
    const from = spec.name.startsWith('classifier.') ? undefined : findTensor(spec.name, reader)
    if (from === undefined) {
      if (HEAD.test(spec.name)) return { spec, from }
      throw unfit(`they lack ${spec.name}`)
    }
    used.add(from.name)
    assertShape(config, spec, from)
    return { spec, from }
  })
  const more = [...reader.tensors.keys()].find(
    (name) => LAYER.test(name) && !used.has(name) && !NO_WEIGHTS.test(name),
  )
  if (more !== undefined) throw unfit(`the model has no ${more}`)
  return sources
}

/** Under the names that checkpoints have used over time. */
function findTensor(name: string, reader: SafetensorsReader): PlacedTensor | undefined {
  const bare = name.replace(/^(bert|transformer)\./, '')
  const names = [name, bare, `bert.${bare}`, `transformer.${bare}`]
  for (const candidate of names) {
    const old = candidate
      .replace(/LayerNorm\.weight$/, 'LayerNorm.gamma')
      .replace(/LayerNorm\.bias$/, 'LayerNorm.beta')
    const found = reader.tensors.get(candidate) ?? reader.tensors.get(old)
    if (found !== undefined) return found
  }
  return undefined
}

function assertShape(config: ModelConfig, spec: TensorSpec, from: PlacedTensor): void {
  if (from.dtype !== 'F32' && from.dtype !== 'F16' && from.dtype !== 'BF16') {
    throw unfit(`${from.name} is ${from.dtype}, not F32, F16 or BF16`)
  }
  const [rows = 0, ...rest] = spec.shape
  const [foundRows = 0, ...foundRest] = from.shape
  const isCut = CUT.test(spec.name)
  // Without its tokenizer a word's row would be another word's.
  const isBytes = 'vocabulary' in config && config.vocabulary === 259
  const mayCut = isCut && (!isBytes || /position_embeddings|wpe/.test(spec.name))
  const isFit = mayCut ? foundRows >= rows : foundRows === rows
  if (isFit && rest.join() === foundRest.join()) return
  throw unfit(
    `${from.name} is [${from.shape.join(', ')}], the model's [${spec.shape.join(', ')}]` +
      (isCut && isBytes && !mayCut ? '; a tokenizer is missing' : ''),
  )
}

async function* readValues(
  reader: SafetensorsReader,
  tensor: PlacedTensor,
  elements: number,
): AsyncGenerator<Float32Array, void> {
  for (let start = 0; start < elements; start += CHUNK) {
    const count = Math.min(CHUNK, elements - start)
    if (tensor.dtype === 'F32') yield await reader.readFloat32(tensor, start, count)
    else {
      const bits = await reader.readInt16(tensor, start, count)
      yield Float32Array.from(bits, tensor.dtype === 'F16' ? halfOf : brainOf)
    }
  }
}

/** IEEE 754 binary16, which every float32 holds exactly. */
export function halfOf(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN
  return sign * (1024 + fraction) * 2 ** (exponent - 25)
}

const WORD = new DataView(new ArrayBuffer(4))

/** The upper half of a float32. */
function brainOf(bits: number): number {
  WORD.setInt16(0, bits)
  return WORD.getFloat32(0)
}
