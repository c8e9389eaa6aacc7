/** Adapters: their names, their plan, their first values, and the weights with them worked in. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { decodeSpec, encodeSpec } from '../../src/protocol/job-spec.js'
import type { TrainSpec } from '../../src/protocol/job-spec.js'
import { planJob } from '../../src/protocol/plan.js'
import { algorithmRequest } from '../../src/cli/algorithm-flags.js'
import { runBuiltin } from '../../src/training/builtin.js'
import { adapterConfig, adapterParameters, loraOf } from '../../src/training/lora.js'
import { parameterSpecs } from '../../src/training/model.js'
import { estimateCost, evalTask, planTraining, trainTask } from '../../src/training/plan.js'
import { modelConfig } from '../../src/training/presets.js'
import {
  elementCount,
  SafetensorsReader,
  SafetensorsWriter,
} from '../../src/training/safetensors.js'
import type { TensorSpec } from '../../src/training/safetensors.js'

const SPEC: TrainSpec = {
  kind: 'train',
  model: 'gpt-tiny',
  epochs: 1,
  seed: 's',
  rows: 400,
  vocabulary: 259,
  shards: 2,
  maxLength: 64,
  format: 'txt',
  textColumn: '',
  labelColumn: '',
  resources: {
    ...{ memoryMiB: 1024, cpus: 1, pids: 64, outMiB: 64, gpus: 0, vramMiB: 0 },
    isolation: 'runc',
    timeoutMs: 60_000,
  },
}

function planOf(spec: TrainSpec) {
  return planJob({ spec: encodeSpec(spec), inputs: [] })
}

function countOf(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, { shape }) => sum + elementCount(shape), 0)
}

describe('adapters', () => {
  it('bear the names and shapes that PEFT gives them', () => {
    const gpt = modelConfig('gpt-tiny', { maxLength: 64 })
    const named = new Map(
      adapterParameters(gpt, loraOf({ rank: 8 }, gpt)).map(({ name, shape }) => [name, shape]),
    )
    const attention = 'base_model.model.transformer.h.0.attn.c_attn'
    assert.deepEqual(named.get(`${attention}.lora_A.weight`), [8, 96])
    assert.deepEqual(named.get(`${attention}.lora_B.weight`), [288, 8])
    assert.equal(named.size, 3 * 2 * 2)
    const all = adapterParameters(gpt, loraOf({ rank: 8, targets: 'all' }, gpt))
    assert.equal(all.length, 3 * 4 * 2)
    assert.deepEqual(adapterConfig(gpt, loraOf({ rank: 8 }, gpt))['target_modules'], [
      'attn.c_attn',
      'attn.c_proj',
    ])
    assert.equal(adapterConfig(gpt, loraOf({ rank: 8 }, gpt))['fan_in_fan_out'], true)
  })

  it('stand beside the whole head of a classifier, which no given model brings', () => {
    const bert = modelConfig('bert-tiny', { classes: 3 })
    const lora = loraOf({ rank: 2 }, bert)
    const names = adapterParameters(bert, lora).map(({ name }) => name)
    assert.ok(names.includes('base_model.model.classifier.weight'))
    assert.deepEqual(adapterConfig(bert, lora)['modules_to_save'], ['classifier'])
    const whole = new Set(parameterSpecs(bert).map(({ name }) => name))
    for (const name of names) {
      const given = name.replace('base_model.model.', '').replace(/\.lora_[AB]\./, '.')
      assert.ok(whole.has(given), name)
    }
  })

  it('are refused where they save nothing or the family has none: BAD_TRAINING_SPEC', () => {
    const bert = modelConfig('bert-tiny', { classes: 3 })
    assert.throws(() => loraOf({ rank: 64 }, bert), { code: 'BAD_TRAINING_SPEC' })
    const table = modelConfig('mlp', { classes: 3, features: 4 })
    assert.throws(() => adapterParameters(table, loraOf({ rank: 1 }, table)), {
      code: 'BAD_TRAINING_SPEC',
    })
  })

  it('are all that a round sends: the bytes of an update follow from the rank', () => {
    const plan = planTraining({ ...SPEC, lora: { rank: 8 } })
    const whole = planTraining(SPEC)
    const price = { gflops: 20, replicas: 2 }
    const [adapters, all] = [estimateCost(plan, price), estimateCost(whole, price)]
    // 3 layers, each A and B of two matrices: 8 * (96 + 288) + 8 * (96 + 96).
    assert.equal(adapters.trained, 3 * (8 * (96 + 288) + 8 * (96 + 96)))
    assert.equal(adapters.parameters, all.parameters)
    assert.equal(all.trained, all.parameters)
    assert.ok(adapters.updateBytes * 20 < all.updateBytes)
  })

  it('leave a job without them as it was', () => {
    const plan = planTraining(SPEC)
    assert.ok(!('lora' in trainTask(plan, { round: 0, shard: 0 })))
    assert.ok(!('lora' in evalTask(plan)))
    assert.equal(Buffer.from(encodeSpec(SPEC)).includes('lora'), false)
    const [first] = planOf(SPEC).batches
    assert.deepEqual(
      first?.map(({ name }) => name),
      ['split', 'init'],
    )
  })

  it('take the given weights from one output in every round and every evaluation', () => {
    const plan = planOf({ ...SPEC, lora: { rank: 8, merge: true } })
    const slots = plan.batches.flat()
    const frozen = slots.flatMap(({ stage, inputs }) =>
      stage === 'train' || stage === 'eval'
        ? inputs.filter(({ name }) => name === 'frozen.safetensors')
        : [],
    )
    const tasks = slots.filter(({ stage }) => stage === 'train' || stage === 'eval')
    assert.equal(frozen.length, tasks.length)
    assert.deepEqual(new Set(frozen.map(({ source }) => JSON.stringify(source))).size, 1)
    const [first] = plan.batches[1] ?? []
    assert.deepEqual(first?.inputs.find(({ name }) => name === 'weights.safetensors')?.source, {
      kind: 'slot',
      batch: 0,
      slot: 2,
      path: 'weights.safetensors',
    })
    assert.deepEqual(
      plan.artifacts.map(({ path }) => path),
      [
        'adapter_model.safetensors',
        'adapter_config.json',
        'model.safetensors',
        'config.json',
        'split.json',
        'evaluation-000.json',
      ],
    )
    const names = plan.batches.at(-1)?.map(({ name }) => name)
    assert.deepEqual(names, ['eval 0', 'merge'])
  })

  it('go with weights that are given, and with the choice of the best round', () => {
    const lora = { rank: 8, merge: true } as const
    const given = planOf({ ...SPEC, pretrained: true, lora })
    assert.deepEqual(
      given.batches[0]?.map(({ name }) => name),
      ['split', 'import', 'adapters'],
    )
    const best = planOf({ ...SPEC, rounds: 2, keep: 'best', lora })
    for (const { path, batch, slot, isChosen } of best.artifacts) {
      if (path !== 'model.safetensors') continue
      assert.equal(best.batches[batch]?.[slot]?.name, 'merge')
      assert.equal(isChosen, true)
    }
    const merges = best.batches.flat().filter(({ stage }) => stage === 'merge')
    assert.equal(merges.length, 2)
  })

  it('are asked for by flags, and not by half of them: USAGE', () => {
    assert.deepEqual(algorithmRequest({ loraRank: '8', loraAlpha: '4.5', loraMerge: true }), {
      lora: { rank: 8, alpha: 4.5, merge: true },
    })
    for (const wrong of [
      { loraAlpha: '4' },
      { loraMerge: true },
      { loraRank: '0' },
      { loraRank: '8', loraAlpha: '0' },
      { loraRank: '8', loraTargets: 'head' },
    ]) {
      assert.throws(() => algorithmRequest(wrong), { code: 'USAGE' })
    }
    const spec = { ...SPEC, lora: { rank: 8 } }
    assert.deepEqual(decodeSpec(encodeSpec(spec)), spec)
    assert.throws(() => decodeSpec(encodeSpec({ ...SPEC, lora: { rank: 0 } })))
  })

  describe('in files', () => {
    let dir: string
    before(async () => {
      dir = await mkdtemp(join(tmpdir(), 'ctd-lora-'))
    })
    after(async () => rm(dir, { recursive: true, force: true }))

    async function readAll(path: string): Promise<ReadonlyMap<string, Float32Array>> {
      const reader = await SafetensorsReader.open(path)
      const values = new Map<string, Float32Array>()
      for (const tensor of reader.tensors.values()) {
        values.set(tensor.name, await reader.readFloat32(tensor, 0, elementCount(tensor.shape)))
      }
      await reader.close()
      return values
    }

    for (const [model, shape] of [
      ['gpt-tiny', { maxLength: 16 }],
      ['bert-tiny', { maxLength: 16, classes: 3 }],
    ] as const) {
      it(`begin as ${model} is, and are worked into it by the formula`, async () => {
        const lora = { rank: 2, alpha: 3, targets: 'all' } as const
        const params = { model, ...shape, seed: 's' }
        const at = (name: string): string => join(dir, `${model}-${name}`)
        await runBuiltin('init@1', params, [], at('base'))
        const frozen = { name: 'frozen.safetensors', path: join(at('base'), 'weights.safetensors') }
        await runBuiltin('adapters@1', { ...params, lora }, [frozen], at('first'))
        const first = join(at('first'), 'weights.safetensors')
        const merge = async (path: string, out: string) =>
          runBuiltin(
            'merge@1',
            { ...params, lora },
            [frozen, { name: 'adapters.safetensors', path }],
            at(out),
          )
        // B is 0, so nothing changes, to the byte.
        await merge(first, 'unmoved')
        assert.deepEqual(
          await readFile(join(at('unmoved'), 'weights.safetensors')),
          await readFile(frozen.path),
        )
        const config = modelConfig(model, shape)
        const specs = adapterParameters(config, loraOf(lora, config))
        const begun = await readAll(first)
        const moved = new Map(
          specs.map(({ name, shape: extents }) => {
            const values = new Float32Array(elementCount(extents))
            for (let i = 0; i < values.length; i++) {
              values[i] = (begun.get(name)?.[i] ?? 0) + ((i * 7) % 13) / 64
            }
            return [name, values]
          }),
        )
        const path = at('moved.safetensors')
        const writer = await SafetensorsWriter.create(path, specs, 'model')
        for (const [name, values] of moved) await writer.write(name, 0, values)
        await writer.close()
        await merge(path, 'merged')
        const [before, merged] = [
          await readAll(frozen.path),
          await readAll(join(at('merged'), 'weights.safetensors')),
        ]
        let changed = 0
        for (const { name, shape: extents } of parameterSpecs(config)) {
          const module = `base_model.model.${name.replace(/\.weight$/, '')}`
          const [down, up] = ['A', 'B'].map((one) => moved.get(`${module}.lora_${one}.weight`))
          const whole = moved.get(`base_model.model.${name}`)
          const [rows = 1, columns = 1] = extents
          for (let place = 0; place < rows * columns; place += 97) {
            const [row, column] = [Math.floor(place / columns), place % columns]
            const [output, input] = model === 'gpt-tiny' ? [column, row] : [row, column]
            const inputs = model === 'gpt-tiny' ? rows : columns
            const product = [0, 1].reduce(
              (sum, k) => sum + (up?.[output * 2 + k] ?? 0) * (down?.[k * inputs + input] ?? 0),
              0,
            )
            const old = before.get(name)?.[place] ?? Number.NaN
            const expected = whole?.[place] ?? Math.fround(old + 1.5 * product)
            assert.equal(merged.get(name)?.[place], expected, `${name} ${place}`)
            if (expected !== old) changed += 1
          }
        }
        assert.ok(changed > countOf(specs) / 1000, `${changed}`)
        const described: unknown = JSON.parse(
          await readFile(join(at('first'), 'adapter_config.json'), 'utf8'),
        )
        assert.deepEqual(described, adapterConfig(config, loraOf(lora, config)))
      })
    }

    it('are refused for weights of another model: TENSOR_MISSING', async () => {
      const other = join(dir, 'other')
      await runBuiltin('init@1', { model: 'embed-tiny', maxLength: 16, seed: 's' }, [], other)
      const frozen = { name: 'frozen.safetensors', path: join(other, 'weights.safetensors') }
      const params = { model: 'bert-tiny', classes: 2, maxLength: 16, seed: 's', lora: { rank: 2 } }
      await assert.rejects(runBuiltin('adapters@1', params, [frozen], join(dir, 'none')), {
        code: 'TENSOR_MISSING',
      })
      const adapters = { name: 'adapters.safetensors', path: frozen.path }
      await assert.rejects(runBuiltin('merge@1', params, [frozen, adapters], join(dir, 'nor')), {
        code: 'TENSOR_MISSING',
      })
    })
  })
})
