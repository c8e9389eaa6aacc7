import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { runBuiltin } from '../../src/training/builtin.js'
import { deltaTensors, readDelta } from '../../src/training/codec.js'
import { leftOut } from '../../src/training/guards.js'
import { quantise } from '../../src/training/quantise.js'
import { SafetensorsReader, SafetensorsWriter } from '../../src/training/safetensors.js'

const COUNT = 600
const root = mkdtempSync(join(tmpdir(), 'ctd-rounds-'))
after(() => rmSync(root, { recursive: true }))

const wave = (seed: number, size = 1) =>
  Float32Array.from({ length: COUNT }, (_, i) => size * Math.sin((i + 1) * (seed + 1.5)))

let folders = 0
function folder(): string {
  const path = join(root, String(folders++))
  mkdirSync(path)
  return path
}

async function write(path: string, tensors: Readonly<Record<string, Float32Array>>) {
  const specs = Object.entries(tensors).map(([name, { length }]) => ({
    name,
    dtype: 'F32' as const,
    shape: name === 'x' ? [2, length / 2] : [length],
  }))
  const writer = await SafetensorsWriter.create(path, specs)
  for (const [name, values] of Object.entries(tensors)) await writer.write(name, 0, values)
  await writer.close()
  return path
}

async function read(path: string, name = 'x'): Promise<Float32Array> {
  const reader = await SafetensorsReader.open(path)
  const values = await reader.readFloat32(reader.tensor(name, 'F32', COUNT), 0, COUNT)
  await reader.close()
  return values
}

interface Shard {
  readonly update: Float32Array
  readonly tokens?: number
  readonly losses?: readonly [number, number]
  readonly steps?: number
  /** An elastic round closed without it. */
  readonly isMissed?: true
}

interface State {
  readonly weights: string
  readonly momentum: string
  readonly residual?: string
}

async function firstState(weights: Float32Array): Promise<State> {
  const dir = folder()
  return {
    weights: await write(join(dir, 'w'), { x: weights }),
    momentum: await write(join(dir, 'm'), {}),
  }
}

/** One aggregation of fp32 updates; returns the folder it wrote. */
async function round(
  state: State,
  shards: readonly Shard[],
  more: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const dir = folder()
  const inputs = [
    { name: 'weights.safetensors', path: state.weights },
    { name: 'momentum.safetensors', path: state.momentum },
  ]
  if (state.residual !== undefined) {
    inputs.push({ name: 'residual.safetensors', path: state.residual })
  }
  for (const [s, shard] of shards.entries()) {
    const { update, tokens = 10, losses = [2, 1], steps = 1 } = shard
    if (shard.isMissed === true) continue
    const path = await write(join(dir, `delta${s}`), { x: update })
    inputs.push({ name: `delta-00${s}.safetensors`, path })
    const [lossStart, lossEnd] = losses
    const metrics = join(dir, `metrics${s}`)
    writeFileSync(metrics, JSON.stringify({ tokens, lossStart, lossEnd, steps }))
    inputs.push({ name: `metrics-00${s}.json`, path: metrics })
  }
  const params = { shards: shards.length, learningRate: 1, momentum: 0, compression: 'none' }
  await runBuiltin('aggregate@2', { ...params, ...more }, inputs, join(dir, 'out'))
  return join(dir, 'out')
}

const describedIn = (dir: string) => JSON.parse(readFileSync(join(dir, 'round.json'), 'utf8'))
const far = (a: Float32Array, b: Float32Array) =>
  Math.sqrt(a.reduce((sum, value, i) => sum + (value - (b[i] ?? 0)) ** 2, 0))

describe('an elastic round', () => {
  const weights = wave(0)
  const a = { update: wave(1), tokens: 30, steps: 30 }
  const b = { update: wave(2), tokens: 10, steps: 10 }
  const c = { update: wave(3), tokens: 20, steps: 20 }

  it('averages the shards that it has by their tokens, and names those it closed without', async () => {
    const missed = { ...b, isMissed: true as const }
    const out = await round(await firstState(weights), [a, missed, c], { elastic: true })
    const same = await round(await firstState(weights), [a, c])
    assert.deepEqual(
      await read(join(out, 'weights.safetensors')),
      await read(join(same, 'weights.safetensors')),
    )
    assert.deepEqual(describedIn(out), { ...describedIn(same), missed: [1] })
  })

  it('is refused with INPUT_MISSING where the plan fixes its shards', async () => {
    const missed = { ...b, isMissed: true as const }
    const state = await firstState(weights)
    await assert.rejects(round(state, [a, missed, c]), { code: 'INPUT_MISSING' })
  })

  it('takes no shard for broken because it had more steps, and names the broken by their number', async () => {
    const long = { update: wave(4, 6), tokens: 90, steps: 90 }
    const broken = { update: wave(5, 60), tokens: 10, steps: 10 }
    const missed = { ...b, isMissed: true as const }
    const shards = [missed, a, c, long, broken]
    const out = await round(await firstState(weights), shards, { elastic: true })
    assert.deepEqual(describedIn(out).leftOut, [{ shard: 4, why: 'norm' }])
    const plain = await round(await firstState(weights), [a, c, c, long])
    assert.deepEqual(describedIn(plain).leftOut, [{ shard: 3, why: 'norm' }])
  })
})

describe('guards of a round', () => {
  const fine = { lossStart: 2, lossEnd: 1 }

  it('leave out an update more than four times as long as the median', () => {
    const norms = (...all: number[]) => leftOut(all.map((norm) => ({ ...fine, norm })))
    assert.deepEqual(norms(1, 1.1, 4.5, 0.9), [{ shard: 2, why: 'norm' }])
    assert.deepEqual(norms(1, 1.1, 4.1, 0.9), [])
  })

  it('take neither of two for the wrong one, however unlike they are', () => {
    const reports = [1, 1e9].map((norm) => ({ ...fine, norm }))
    assert.deepEqual(leftOut(reports), [])
  })

  it('leave out a shard whose loss more than doubled, but not one that is near zero', () => {
    const report = (lossStart: number, lossEnd: number) => ({ lossStart, lossEnd, norm: 1 })
    const reports = [report(1, 2.1), report(1, 1.9), report(0.001, 0.15)]
    assert.deepEqual(leftOut(reports), [{ shard: 0, why: 'loss' }])
  })

  it('leave out what is no number', () => {
    const reports = [
      { ...fine, norm: undefined },
      { lossStart: 1, lossEnd: Number.NaN, norm: 1 },
      { ...fine, norm: 1 },
    ]
    assert.deepEqual(leftOut(reports), [
      { shard: 0, why: 'not-finite' },
      { shard: 1, why: 'not-finite' },
    ])
  })

  it('are applied before anything is averaged, and the round says whom they left out', async () => {
    const state = await firstState(wave(0))
    const good = [wave(1, 0.1), wave(2, 0.1), wave(3, 0.1)].map((update) => ({ update }))
    const poisoned = { update: wave(4, 50) }
    const broken = { update: wave(5, 0.1).fill(Number.NaN, 7, 8) }
    const clean = await round(state, good)
    const [a, b, c] = good
    assert.ok(a !== undefined && b !== undefined && c !== undefined)
    const guarded = await round(state, [a, poisoned, b, c, broken])
    assert.deepEqual(
      readFileSync(join(guarded, 'weights.safetensors')),
      readFileSync(join(clean, 'weights.safetensors')),
    )
    assert.deepEqual(describedIn(guarded), {
      ...describedIn(clean),
      leftOut: [
        { shard: 1, why: 'norm' },
        { shard: 4, why: 'not-finite' },
      ],
    })
  })

  it('end a job that has nothing left: TRAINING_DIVERGED', async () => {
    const state = await firstState(wave(0))
    const shards = [{ update: wave(1), losses: [1, 5] as const }]
    await assert.rejects(round(state, shards), {
      code: 'TRAINING_DIVERGED',
      message: /shard 0 \(loss\)/,
    })
  })
})

describe('broadcast of updates', () => {
  const stateIn = (dir: string): State => ({
    weights: join(dir, 'weights.safetensors'),
    momentum: join(dir, 'momentum.safetensors'),
    residual: join(dir, 'residual.safetensors'),
  })

  it('leads from the weights of one round to those of the next, byte for byte', async () => {
    let state = await firstState(wave(0))
    for (let r = 0; r < 3; r++) {
      const out = await round(state, [{ update: wave(r + 1, 0.1) }], { broadcast: 'update' })
      const rebuilt = folder()
      const inputs = [
        { name: 'base.safetensors', path: state.weights },
        { name: 'update.safetensors', path: join(out, 'update.safetensors') },
      ]
      await runBuiltin('apply-update@1', {}, inputs, rebuilt)
      assert.deepEqual(
        readFileSync(join(rebuilt, 'weights.safetensors')),
        readFileSync(join(out, 'weights.safetensors')),
      )
      state = stateIn(out)
    }
  })

  it('forgets nothing: what rounding lost in one round comes in the next', async () => {
    const updates = Array.from({ length: 30 }, (_, r) => wave(r + 1, 0.1))
    let [exact, told] = [await firstState(wave(0)), await firstState(wave(0))]
    let worst = 0
    for (const update of updates) {
      exact = stateIn(await round(exact, [{ update }]))
      exact = { weights: exact.weights, momentum: exact.momentum }
      told = stateIn(await round(told, [{ update }], { broadcast: 'update' }))
      worst = Math.max(worst, far(await read(exact.weights), await read(told.weights)))
    }
    // One rounding of int8 with block-wise scales, not the sum of thirty.
    const one = quantise(wave(31, 0.1))
    const bound = Math.sqrt(COUNT) * (one.scales[0] ?? 0)
    assert.ok(worst < bound, `${worst} is not below ${bound}`)
    assert.ok(worst > 0)
  })

  it('keeps what the update left as the residual', async () => {
    const state = await firstState(wave(0))
    const out = await round(state, [{ update: wave(1, 0.1) }], { broadcast: 'update' })
    const exact = await round(state, [{ update: wave(1, 0.1) }])
    const file = await SafetensorsReader.open(join(out, 'residual.safetensors'))
    const all = { name: 'x', elements: COUNT, start: 0, count: COUNT }
    const residual = await readDelta(file, all, 'int8')
    await file.close()
    const [sum, master] = [
      await read(join(out, 'weights.safetensors')),
      await read(join(exact, 'weights.safetensors')),
    ]
    const whole = sum.map((weight, i) => weight + (residual[i] ?? 0))
    assert.ok(far(whole, master) < far(sum, master) / 50)
  })

  it('refuses an update of another model: TENSOR_UNEXPECTED', async () => {
    const state = await firstState(wave(0))
    const dir = folder()
    const specs = deltaTensors({ name: 'y', shape: [3] }, 'none')
    const writer = await SafetensorsWriter.create(join(dir, 'u'), specs)
    await writer.write('y', 0, new Float32Array(3))
    await writer.close()
    const inputs = [
      { name: 'base.safetensors', path: state.weights },
      { name: 'update.safetensors', path: join(dir, 'u') },
    ]
    await assert.rejects(runBuiltin('apply-update@1', {}, inputs, join(dir, 'out')), {
      code: 'TENSOR_UNEXPECTED',
    })
  })
})

describe('synchronous training', () => {
  const adam = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 }

  it('takes the steps of AdamW on the mean gradient', async () => {
    let state = await firstState(wave(0))
    const weights = Float64Array.from(wave(0))
    const [first, second] = [new Float64Array(COUNT), new Float64Array(COUNT)]
    for (let step = 1; step <= 4; step++) {
      const shards = [
        { update: wave(step, 2), tokens: 30 },
        { update: wave(-step, 2), tokens: 10 },
      ]
      const learningRate = 0.01 / step
      const out = await round(state, shards, { adam: { ...adam, step, learningRate } })
      state = {
        weights: join(out, 'weights.safetensors'),
        momentum: join(out, 'momentum.safetensors'),
      }
      const [a, b] = shards.map(({ update }) => update)
      const mean = weights.map((_, i) => 0.75 * (a?.[i] ?? 0) + 0.25 * (b?.[i] ?? 0))
      const norm = Math.sqrt(mean.reduce((sum, value) => sum + value * value, 0))
      for (const [i, value] of mean.entries()) {
        const g = value / Math.max(1, norm)
        first[i] = 0.9 * (first[i] ?? 0) + 0.1 * g
        second[i] = 0.99 * (second[i] ?? 0) + 0.01 * g * g
        const m = (first[i] ?? 0) / (1 - 0.9 ** step)
        const v = (second[i] ?? 0) / (1 - 0.99 ** step)
        const decayed = (1 - learningRate * 0.1) * (weights[i] ?? 0)
        weights[i] = decayed - (learningRate * m) / (Math.sqrt(v) + 1e-8)
      }
    }
    assert.ok(far(await read(state.weights), Float32Array.from(weights)) < 1e-5)
    const moments = await read(state.momentum, 'x::second')
    assert.ok(far(moments, Float32Array.from(second)) < 1e-6)
  })
})
