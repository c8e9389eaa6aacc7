import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import fc from 'fast-check'
import {
  deltaBytes,
  deltaTensors,
  keepLargest,
  quantiseInt4,
  readDelta,
  unpackInt4,
} from '../../src/training/codec.js'
import type { Compression } from '../../src/training/codec.js'
import { quantise } from '../../src/training/quantise.js'
import {
  SafetensorsReader,
  SafetensorsWriter,
  tensorBytes,
} from '../../src/training/safetensors.js'
import type { NumericArray } from '../../src/training/safetensors.js'

interface Vectors {
  readonly int4: readonly { about: string; float32: string; int4: string; scales: string }[]
  readonly topk: readonly {
    about: string
    float32: string
    feedback: string
    values: string
    places: string
    scales: string
    leftInt8: string
    leftScales: string
  }[]
}

const vectors: Vectors = JSON.parse(
  readFileSync(new URL('../vectors/training.json', import.meta.url), 'utf8'),
)
const folder = mkdtempSync(join(tmpdir(), 'ctd-codec-'))
after(() => rmSync(folder, { recursive: true }))

const floats = (hex: string) => new Float32Array(new Uint8Array(Buffer.from(hex, 'hex')).buffer)
const hexOf = (array: NumericArray) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('hex')
const numbers = (seed: number, count: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin((i + 1) * (seed + 1)) * (1 + (i % 7)))

let files = 0
/** The update as a file of the given compression. */
async function fileOf(update: Float32Array, compression: Compression): Promise<SafetensorsReader> {
  const path = join(folder, String(files++))
  const specs = deltaTensors({ name: 'x', shape: [update.length] }, compression)
  const writer = await SafetensorsWriter.create(path, specs)
  const { sparse } = keepLargest(update, new Float32Array(update.length))
  const { packed, scales } = quantiseInt4(update)
  const int8 = quantise(update)
  const data: Record<Compression, readonly NumericArray[]> = {
    none: [update],
    int8: [int8.values, int8.scales],
    int4: [packed, scales],
    topk: [sparse.values, sparse.places, sparse.scales],
  }
  for (const [i, spec] of specs.entries()) {
    const values = data[compression][i]
    assert.ok(values !== undefined)
    await writer.write(spec.name, 0, values)
  }
  await writer.close()
  return SafetensorsReader.open(path)
}

describe('codecs of updates', () => {
  for (const vector of vectors.int4) {
    it(`packs int4 as the vector says: ${vector.about}`, () => {
      const source = floats(vector.float32)
      const { packed, scales } = quantiseInt4(source)
      assert.equal(hexOf(packed), vector.int4)
      assert.equal(hexOf(scales), vector.scales)
      assert.deepEqual(unpackInt4(packed, source.length), quantise(source, 7).values)
    })
  }

  for (const vector of vectors.topk) {
    it(`keeps the largest as the vector says: ${vector.about}`, () => {
      const { sparse, feedback } = keepLargest(floats(vector.float32), floats(vector.feedback))
      assert.equal(hexOf(sparse.values), vector.values)
      assert.equal(hexOf(sparse.places), vector.places)
      assert.equal(hexOf(sparse.scales), vector.scales)
      const left = quantise(feedback)
      assert.equal(hexOf(left.values), vector.leftInt8)
      assert.equal(hexOf(left.scales), vector.leftScales)
    })
  }

  it('reads part after part what it reads at once, whatever the compression', async () => {
    const update = numbers(3, 3 * 4096 + 77)
    for (const compression of ['none', 'int8', 'int4', 'topk'] as const) {
      const file = await fileOf(update, compression)
      const all = { name: 'x', elements: update.length }
      const whole = await readDelta(file, { ...all, start: 0, count: update.length }, compression)
      const parts: number[] = []
      for (let start = 0; start < update.length; start += 4096) {
        const count = Math.min(4096, update.length - start)
        parts.push(...(await readDelta(file, { ...all, start, count }, compression)))
      }
      await file.close()
      assert.deepEqual(parts, [...whole], compression)
    }
  })

  it('is off by at most half a scale with int4, and by nothing with none', async () => {
    const update = numbers(5, 1000)
    const all = { name: 'x', elements: 1000, start: 0, count: 1000 }
    const read = async (compression: Compression) => {
      const file = await fileOf(update, compression)
      const values = await readDelta(file, all, compression)
      await file.close()
      return values
    }
    assert.deepEqual([...(await read('none'))], [...update])
    const coarse = await read('int4')
    for (const [i, value] of coarse.entries()) {
      assert.ok(Math.abs(value - (update[i] ?? 0)) <= 0.5001)
    }
  })

  it('sends or keeps every part of the update and of the feedback before', () => {
    const [update, before] = [numbers(11, 4200), numbers(12, 4200)]
    const { sparse, feedback } = keepLargest(update, before)
    const sent = new Float64Array(4200)
    for (const [i, place] of sparse.places.entries()) {
      const chunk = i < 64 ? 0 : 1
      sent[chunk * 4096 + place] = (sparse.values[i] ?? 0) * (sparse.scales[chunk] ?? 0)
    }
    for (const [i, value] of sent.entries()) {
      const whole = (update[i] ?? 0) + 0.95 * (before[i] ?? 0)
      assert.ok(Math.abs(value + (feedback[i] ?? 0) - whole) < 1e-5)
    }
  })

  it('takes the bytes that it is said to take', () => {
    const parameters = 4096 * 256
    for (const compression of ['none', 'int8', 'int4', 'topk'] as const) {
      const specs = deltaTensors({ name: 'x', shape: [4096, 256] }, compression)
      const bytes = specs.reduce((sum, spec) => sum + tensorBytes(spec), 0)
      assert.equal(bytes, deltaBytes(parameters, compression))
    }
  })

  it('refuses places that repeat or lie outside: UPDATE_MALFORMED', async () => {
    const count = 128
    for (const places of [Int16Array.of(5, 5), Int16Array.of(5, 128), Int16Array.of(-1, 5)]) {
      const path = join(folder, String(files++))
      const writer = await SafetensorsWriter.create(
        path,
        deltaTensors({ name: 'x', shape: [count] }, 'topk'),
      )
      await writer.write('x::topk', 0, Int8Array.of(1, 2))
      await writer.write('x::index', 0, places)
      await writer.write('x::scale', 0, Float32Array.of(1))
      await writer.close()
      const file = await SafetensorsReader.open(path)
      const chunk = { name: 'x', elements: count, start: 0, count }
      await assert.rejects(readDelta(file, chunk, 'topk'), { code: 'UPDATE_MALFORMED' })
      await file.close()
    }
  })

  it('refuses fp32 that is no number: UPDATE_NOT_FINITE', async () => {
    const file = await fileOf(Float32Array.of(1, Number.NaN), 'none')
    const chunk = { name: 'x', elements: 2, start: 0, count: 2 }
    await assert.rejects(readDelta(file, chunk, 'none'), { code: 'UPDATE_NOT_FINITE' })
    await file.close()
  })

  it('keeps one of 64, however long the tensor', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9000 }), (count) => {
        const { sparse } = keepLargest(numbers(count, count), new Float32Array(count))
        assert.equal(sparse.values.length, Math.ceil(count / 64))
      }),
      { numRuns: 20 },
    )
  })
})
