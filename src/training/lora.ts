/**
 * Fine-tuning by low-rank adapters (LoRA, Hu et al. 2021): the weights of a given model stay as
 * they are, and of chosen matrices W learn only the factors of W + alpha / rank * B A. What rounds
 * send is these factors alone. Names are those of Hugging Face's PEFT, so that the trained file is
 * an `adapter_model.safetensors`; the arithmetic stands in `images/cpu/lora.py`.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { CtdError } from '../errors.js'
import { canonicalJson, type Json } from './canonical-json.js'
import type { Initial } from './families/family.js'
import { byName, parameter } from './families/parameters.js'
import { drawParameter } from './initialise.js'
import type { ModelConfig } from './model.js'
import {
  elementCount,
  SafetensorsReader,
  SafetensorsWriter,
  type TensorSpec,
} from './safetensors.js'

/** What a submitter may choose; absent fields mean the defaults of `loraOf`. */
export const LoraSchema = z.strictObject({
  /** Columns of B, rows of A. */
  rank: z.int().min(1).max(256),
  /** The product B A counts alpha / rank times; twice the rank by default. */
  alpha: z.number().positive().max(4096).exactOptional(),
  /** Matrices of the attention, or of all of a layer; of the attention by default. */
  targets: z.enum(['attention', 'all']).exactOptional(),
  /** The result also holds the weights with the adapters worked in. */
  merge: z.literal(true).exactOptional(),
})
export type LoraSpec = z.infer<typeof LoraSchema>

/** Goes into `task.json` as `lora`. */
export interface Lora {
  readonly rank: number
  readonly alpha: number
  readonly targets: 'attention' | 'all'
  /** The model keeps its matrices inputs by outputs, as GPT-2 does: B A is turned round. */
  readonly transposed: boolean
}

/** A matrix that gets an adapter. */
interface Target {
  /** The module that holds it as `weight`. */
  readonly module: string
  readonly inputs: number
  readonly outputs: number
}

/** What PEFT puts before the name of a parameter. */
const PREFIX = 'base_model.model.'

/**
 * The choices with their defaults, for a model.
 *
 * @throws CtdError BAD_TRAINING_SPEC where the family has no adapters, or the rank is no saving
 */
export function loraOf(spec: LoraSpec, config: ModelConfig): Lora {
  const { rank, alpha = 2 * rank, targets = 'attention' } = spec
  const lora = { rank, alpha, targets, transposed: config.family === 'causal-lm' }
  for (const { module, inputs, outputs } of targetsOf(config, lora)) {
    if (rank * (inputs + outputs) < inputs * outputs) continue
    throw new CtdError('BAD_TRAINING_SPEC', `adapters of rank ${rank} are as large as ${module}`, {
      hint: `it is ${outputs} x ${inputs}; use a lower rank, or train all weights without --lora-rank`,
    })
  }
  return lora
}

/** @throws CtdError BAD_TRAINING_SPEC */
function targetsOf(config: ModelConfig, { targets }: Pick<Lora, 'targets'>): readonly Target[] {
  const isAll = targets === 'all'
  const layers = (of: (at: number) => readonly Target[], count: number): readonly Target[] =>
    Array.from({ length: count }, (_, layer) => of(layer)).flat()
  switch (config.family) {
    case 'causal-lm':
      return layers((layer) => gptTargets(`transformer.h.${layer}`, config, isAll), config.layers)
    case 'text-classifier':
      return layers(
        (layer) => bertTargets(`bert.encoder.layer.${layer}`, config, isAll),
        config.layers,
      )
    case 'sentence-embedding':
      return layers((layer) => bertTargets(`encoder.layer.${layer}`, config, isAll), config.layers)
    case 'word-embedding':
    case 'image-classifier':
    case 'tabular':
      throw new CtdError('BAD_TRAINING_SPEC', `a ${config.family} model takes no adapters`, {
        hint: 'adapters are for gpt, bert and embed models; train this one without --lora-rank',
      })
  }
}

interface Widths {
  readonly hidden: number
  readonly intermediate: number
}

function gptTargets(at: string, { hidden, intermediate }: Widths, isAll: boolean): Target[] {
  const attention = [
    { module: `${at}.attn.c_attn`, inputs: hidden, outputs: 3 * hidden },
    { module: `${at}.attn.c_proj`, inputs: hidden, outputs: hidden },
  ]
  if (!isAll) return attention
  return [
    ...attention,
    { module: `${at}.mlp.c_fc`, inputs: hidden, outputs: intermediate },
    { module: `${at}.mlp.c_proj`, inputs: intermediate, outputs: hidden },
  ]
}

function bertTargets(at: string, { hidden, intermediate }: Widths, isAll: boolean): Target[] {
  const attention = ['self.query', 'self.key', 'self.value', 'output.dense'].map((part) => ({
    module: `${at}.attention.${part}`,
    inputs: hidden,
    outputs: hidden,
  }))
  if (!isAll) return attention
  return [
    ...attention,
    { module: `${at}.intermediate.dense`, inputs: hidden, outputs: intermediate },
    { module: `${at}.output.dense`, inputs: intermediate, outputs: hidden },
  ]
}

/**
 * Parameters that are trained whole beside the adapters: the head of a classifier, which no given
 * model brings for these labels (PEFT does the same for sequence classification).
 */
function trainedWhole(config: ModelConfig): readonly TensorSpec[] {
  if (config.family !== 'text-classifier') return []
  return [
    parameter('classifier.weight', config.classes, config.hidden),
    parameter('classifier.bias', config.classes),
  ]
}

/** Everything that is trained, under PEFT's names, sorted by name. */
export function adapterParameters(config: ModelConfig, lora: Lora): readonly TensorSpec[] {
  return byName([
    ...trainedWhole(config).map((spec) => ({ ...spec, name: PREFIX + spec.name })),
    ...targetsOf(config, lora).flatMap(({ module, inputs, outputs }) => [
      parameter(`${PREFIX}${module}.lora_A.weight`, lora.rank, inputs),
      parameter(`${PREFIX}${module}.lora_B.weight`, outputs, lora.rank),
    ]),
  ])
}

/** PEFT's `adapter_config.json`. */
export function adapterConfig(config: ModelConfig, lora: Lora): Readonly<Record<string, Json>> {
  const isAll = lora.targets === 'all'
  const isGpt = config.family === 'causal-lm'
  const attention = isGpt
    ? ['attn.c_attn', 'attn.c_proj']
    : ['query', 'key', 'value', 'attention.output.dense']
  const others = isGpt ? ['mlp.c_fc', 'mlp.c_proj'] : ['intermediate.dense', 'output.dense']
  const whole = trainedWhole(config).length > 0
  return {
    base_model_name_or_path: null,
    bias: 'none',
    fan_in_fan_out: lora.transposed,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: lora.alpha,
    lora_dropout: 0,
    modules_to_save: whole ? ['classifier'] : null,
    peft_type: 'LORA',
    r: lora.rank,
    target_modules: isAll ? [...attention, ...others] : attention,
    task_type: isGpt ? 'CAUSAL_LM' : whole ? 'SEQ_CLS' : 'FEATURE_EXTRACTION',
    use_rslora: false,
  }
}

/** A is normal with 1 / sqrt(inputs), B is 0: at the start the model is the given one. */
function initialOf({ name, shape }: TensorSpec): Initial {
  return name.endsWith('.lora_A.weight')
    ? { deviation: 1 / Math.sqrt(shape[1] ?? 1) }
    : { constant: 0 }
}

/**
 * Writes the first `weights.safetensors` and `momentum.safetensors` of the adapters, and
 * `adapter_config.json`. What is trained whole begins as the given model has it.
 *
 * @param frozenPath - all weights of the given model
 * @throws CtdError TENSOR_MISSING, TENSOR_UNEXPECTED, TENSORS_MALFORMED
 */
export async function initialiseAdapters(
  { config, lora, seed }: { config: ModelConfig; lora: Lora; seed: string },
  frozenPath: string,
  outDir: string,
): Promise<void> {
  const specs = adapterParameters(config, lora)
  const frozen = await SafetensorsReader.open(frozenPath)
  try {
    await writeModel(join(outDir, 'weights.safetensors'), specs, async (writer) => {
      for (const spec of specs) {
        const { name } = spec
        if (isFactor(name)) {
          let start = 0
          for (const chunk of drawParameter(spec, initialOf(spec), seed)) {
            await writer.write(name, start, chunk)
            start += chunk.length
          }
        } else await writer.write(name, 0, await readWhole(frozen, spec, name.slice(PREFIX.length)))
      }
    })
  } finally {
    await frozen.close()
  }
  const momentum = await SafetensorsWriter.create(join(outDir, 'momentum.safetensors'), [])
  await momentum.close()
  const described = canonicalJson(adapterConfig(config, lora))
  await writeFile(join(outDir, 'adapter_config.json'), described, { flag: 'wx' })
}

function isFactor(name: string): boolean {
  return /\.lora_[AB]\.weight$/.test(name)
}

async function readWhole(
  reader: SafetensorsReader,
  { shape }: TensorSpec,
  name: string,
): Promise<Float32Array> {
  const elements = elementCount(shape)
  return await reader.readFloat32(reader.tensor(name, 'F32', elements), 0, elements)
}

async function writeModel(
  path: string,
  specs: readonly TensorSpec[],
  fill: (writer: SafetensorsWriter) => Promise<void>,
): Promise<void> {
  const writer = await SafetensorsWriter.create(path, specs, 'model')
  try {
    await fill(writer)
  } catch (error) {
    await writer.abandon()
    throw error
  }
  await writer.close()
}

/** Elements of what is copied as it is, at a time. */
const CHUNK = 262_144

/**
 * Writes `weights.safetensors`: the given model with the adapters worked in,
 * `fround(W + alpha / rank * sum over k of B[o][k] A[k][i])`, k ascending, in double precision: the
 * same bits on every machine. Memory holds one matrix at a time.
 *
 * @throws CtdError TENSOR_MISSING, TENSOR_UNEXPECTED, TENSORS_MALFORMED
 */
export async function mergeAdapters(
  { config, lora }: { config: ModelConfig; lora: Lora },
  paths: { readonly frozen: string; readonly adapters: string },
  outDir: string,
): Promise<void> {
  const targets = new Map(targetsOf(config, lora).map((one) => [`${one.module}.weight`, one]))
  const whole = new Set(trainedWhole(config).map(({ name }) => name))
  const frozen = await SafetensorsReader.open(paths.frozen)
  const adapters = await SafetensorsReader.open(paths.adapters).catch(async (error: unknown) => {
    await frozen.close()
    throw error
  })
  try {
    const specs = [...frozen.tensors.values()].map(({ name, dtype, shape }) => ({
      name,
      dtype,
      shape,
    }))
    for (const name of [...targets.keys(), ...whole]) {
      if (!frozen.tensors.has(name)) frozen.tensor(name, 'F32', 0)
    }
    await writeModel(join(outDir, 'weights.safetensors'), specs, async (writer) => {
      for (const spec of specs) {
        const target = targets.get(spec.name)
        if (target !== undefined) {
          const merged = await mergeMatrix(frozen, adapters, target, lora)
          await writer.write(spec.name, 0, merged)
        } else if (whole.has(spec.name)) {
          await writer.write(spec.name, 0, await readWhole(adapters, spec, PREFIX + spec.name))
        } else await copyTensor(frozen, spec, writer)
      }
    })
  } finally {
    await adapters.close()
    await frozen.close()
  }
}

async function copyTensor(
  reader: SafetensorsReader,
  { name, shape }: TensorSpec,
  writer: SafetensorsWriter,
): Promise<void> {
  const elements = elementCount(shape)
  const tensor = reader.tensor(name, 'F32', elements)
  for (let start = 0; start < elements; start += CHUNK) {
    const count = Math.min(CHUNK, elements - start)
    await writer.write(name, start, await reader.readFloat32(tensor, start, count))
  }
}

async function mergeMatrix(
  frozen: SafetensorsReader,
  adapters: SafetensorsReader,
  { module, inputs, outputs }: Target,
  { rank, alpha, transposed }: Lora,
): Promise<Float32Array> {
  const read = (reader: SafetensorsReader, name: string, elements: number) =>
    reader.readFloat32(reader.tensor(name, 'F32', elements), 0, elements)
  const weight = await read(frozen, `${module}.weight`, inputs * outputs)
  const down = await read(adapters, `${PREFIX}${module}.lora_A.weight`, rank * inputs)
  const up = await read(adapters, `${PREFIX}${module}.lora_B.weight`, outputs * rank)
  const scale = alpha / rank
  const row = new Float64Array(inputs)
  for (let output = 0; output < outputs; output++) {
    row.fill(0)
    for (let k = 0; k < rank; k++) {
      const factor = up[output * rank + k] ?? 0
      for (let input = 0; input < inputs; input++) {
        row[input] = (row[input] ?? 0) + factor * (down[k * inputs + input] ?? 0)
      }
    }
    for (let input = 0; input < inputs; input++) {
      const at = transposed ? input * outputs + output : output * inputs + input
      weight[at] = (weight[at] ?? 0) + scale * (row[input] ?? 0)
    }
  }
  return weight
}
