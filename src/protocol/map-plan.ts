/**
 * The plan of work over rows: the first batch cuts them into shards, the second holds a task a
 * shard and the one that joins what they made. Its parts are what plan.ts calls slots.
 */
import { CtdError } from '../errors.js'
import { canonicalJson } from '../training/canonical-json.js'
import { VERB_FAMILIES } from '../training/given-model.js'
import { joinedFileName, mapTask, rowsFileName } from '../training/map.js'
import { TOKENIZER_FILES } from '../training/tokenizers/files.js'
import type { MapSpec } from './job-spec.js'

/** Inputs that a map job must have; tokenizer files may stand beside them. */
const INPUTS = ['dataset', 'weights'] as const

/** @throws CtdError SPEC_INVALID, MANIFEST_INVALID */
export function mapPlan(spec: MapSpec, inputs: readonly string[], argv: readonly string[]) {
  assertMap(spec, inputs)
  const tokenizer = inputs
    .filter((name) => isTokenizerFile(name))
    .map((name) => ({ name, source: { kind: 'job', input: name } as const }))
  const shards = Array.from({ length: spec.shards }, (_, shard) => shardSlot(spec, shard, argv))
  const artifact = joinedFileName(spec.verb, spec.output)
  return {
    batches: [[splitSlot(spec, tokenizer)], [...shards, joinSlot(spec, tokenizer)]],
    artifacts: [
      { path: artifact, batch: 1, slot: spec.shards, file: artifact },
      { path: 'split.json', batch: 0, slot: 0, file: 'split.json' },
    ],
  }
}

function isTokenizerFile(name: string): boolean {
  return TOKENIZER_FILES.some((file) => file === name)
}

function assertMap(spec: MapSpec, inputs: readonly string[]): void {
  const { verb, model, rows, shards, output, maxTokens, temperature } = spec
  const isEmbed = verb === 'embed'
  const fits =
    model.family === VERB_FAMILIES[verb] &&
    model.hidden % model.heads === 0 &&
    shards <= rows &&
    (isEmbed ? maxTokens === 0 && temperature === 0 : maxTokens >= 1 && output !== 'npy') &&
    maxTokens < model.maxLength
  if (!fits) throw new CtdError('SPEC_INVALID', 'the parts of the map job do not fit together')
  const isKnown = (name: string): boolean =>
    INPUTS.some((needed) => needed === name) || isTokenizerFile(name)
  if (INPUTS.every((name) => inputs.includes(name)) && inputs.every(isKnown)) return
  const names = 'dataset and weights, and files of a tokenizer'
  throw new CtdError('MANIFEST_INVALID', `a map job has the inputs ${names}`)
}

interface TokenizerInput {
  readonly name: string
  readonly source: { readonly kind: 'job'; readonly input: string }
}

function splitSlot(spec: MapSpec, tokenizer: readonly TokenizerInput[]) {
  const { verb, model, rows, shards, format, textColumn, maxTokens } = spec
  const column = textColumn === '' ? {} : { textColumn }
  const params = { verb, model: { ...model }, rows, shards, format, ...column, maxTokens }
  return {
    name: 'split',
    stage: 'split' as const,
    round: 0,
    index: 0,
    program: { kind: 'builtin', name: 'split-rows@1', params } as const,
    taskJson: () => '',
    inputs: [{ name: 'dataset', source: { kind: 'job', input: 'dataset' } as const }, ...tokenizer],
  }
}

function shardSlot(spec: MapSpec, shard: number, argv: readonly string[]) {
  const rows = { kind: 'slot', batch: 0, slot: 0, path: rowsFileName(shard) } as const
  return {
    name: `${spec.verb} ${shard}`,
    stage: 'map' as const,
    round: 0,
    index: shard,
    program: { kind: 'container', argv, env: {} } as const,
    taskJson: () => canonicalJson(mapTask(spec, shard)),
    inputs: [
      // The same blob for every shard: an executor fetches it once.
      { name: 'weights.safetensors', source: { kind: 'job', input: 'weights' } as const },
      { name: 'rows.safetensors', source: rows },
    ],
  }
}

function joinSlot(spec: MapSpec, tokenizer: readonly TokenizerInput[]) {
  const { verb, output, rows, shards, model } = spec
  const width = model.hidden
  const made = Array.from({ length: shards }, (_, shard) => ({
    name: `out-${String(shard).padStart(3, '0')}.safetensors`,
    source: { kind: 'slot', batch: 1, slot: shard, path: 'out.safetensors' } as const,
  }))
  return {
    name: 'join',
    stage: 'join' as const,
    round: 0,
    index: 0,
    program: {
      kind: 'builtin',
      name: 'join@1',
      params: { verb, output, rows, shards, width },
    } as const,
    taskJson: () => '',
    inputs: [...made, ...tokenizer],
  }
}
