import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import fc from 'fast-check'
import { layOut, SafetensorsReader, SafetensorsWriter } from '../../src/training/safetensors.js'

const folder = mkdtempSync(join(tmpdir(), 'ctd-safetensors-'))
after(() => rmSync(folder, { recursive: true }))

function fileOf(header: string, dataBytes: number, claimed = BigInt(header.length)): string {
  const bytes = Buffer.alloc(8 + header.length + dataBytes)
  bytes.writeBigUInt64LE(claimed)
  bytes.write(header, 8)
  const path = join(folder, 'malformed.safetensors')
  writeFileSync(path, bytes)
  return path
}

const entry = (begin: number, end: number, shape: number[], dtype = 'F32') =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] })

describe('safetensors', () => {
  it('writes wide elements first, then by name, padded to eight bytes', () => {
    const { header, tensors } = layOut([
      { name: 'b', dtype: 'I8', shape: [3] },
      { name: 'z', dtype: 'F32', shape: [1] },
      { name: 'a', dtype: 'I8', shape: [2, 2] },
    ])
    assert.deepEqual(
      tensors.map(({ name, offset }) => [name, offset - header.length]),
      [
        ['z', 0],
        ['a', 4],
        ['b', 8],
      ],
    )
    assert.equal(header.length % 8, 0)
    assert.match(Buffer.from(header).toString('latin1', 8), /^\{"z":\{"dtype":"F32","shape":\[1\]/)
  })

  it('gives the same bytes whatever the order of tensors and of writes', async () => {
    const specs = [
      { name: 'x', dtype: 'F32', shape: [2] },
      { name: 'y', dtype: 'I16', shape: [3] },
    ] as const
    const write = async (name: string, isReversed: boolean) => {
      const path = join(folder, name)
      const writer = await SafetensorsWriter.create(path, isReversed ? [...specs].reverse() : specs)
      const writes = [
        () => writer.write('x', 0, Float32Array.of(1.5, -2)),
        () => writer.write('y', 0, Int16Array.of(7, 8, 9)),
      ]
      for (const step of isReversed ? writes.reverse() : writes) await step()
      await writer.close()
      return readFileSync(path)
    }
    assert.deepEqual(await write('forward', false), await write('backward', true))
  })

  it('reads back what it wrote', async () => {
    let files = 0
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(
          fc.tuple(
            fc.stringMatching(/^[a-z.]{1,12}$/),
            fc.array(fc.integer({ min: -128, max: 127 })),
          ),
          {
            selector: ([name]) => name,
            maxLength: 8,
          },
        ),
        async (contents) => {
          const path = join(folder, `round-trip-${files++}`)
          const specs = contents.map(([name, values]) => ({
            name,
            dtype: 'I8' as const,
            shape: [values.length],
          }))
          const writer = await SafetensorsWriter.create(path, specs)
          for (const [name, values] of contents) await writer.write(name, 0, Int8Array.from(values))
          await writer.close()
          const reader = await SafetensorsReader.open(path)
          for (const [name, values] of contents) {
            const tensor = reader.tensor(name, 'I8', values.length)
            assert.deepEqual([...(await reader.readInt8(tensor, 0, values.length))], values)
          }
          await reader.close()
        },
      ),
      { numRuns: 50 },
    )
  })

  const malformed: readonly (readonly [string, () => string])[] = [
    ['a header longer than the file', () => fileOf('{}', 0, 2n ** 63n)],
    ['a header that is no JSON', () => fileOf('{oops}', 0)],
    ['a header that is a list', () => fileOf('[]', 0)],
    ['an unknown dtype', () => fileOf(`{"a":${entry(0, 4, [1], 'F31')}}`, 4)],
    ['a negative extent', () => fileOf(`{"a":${entry(0, 4, [-1])}}`, 4)],
    ['an extent that overflows', () => fileOf(`{"a":${entry(0, 4, [2 ** 52, 2 ** 52])}}`, 4)],
    ['offsets that disagree with the shape', () => fileOf(`{"a":${entry(0, 8, [1])}}`, 8)],
    ['a gap', () => fileOf(`{"a":${entry(0, 4, [1])},"b":${entry(8, 12, [1])}}`, 12)],
    ['an overlap', () => fileOf(`{"a":${entry(0, 8, [2])},"b":${entry(4, 8, [1])}}`, 8)],
    ['bytes that belong to no tensor', () => fileOf(`{"a":${entry(0, 4, [1])}}`, 5)],
    ['missing bytes', () => fileOf(`{"a":${entry(0, 4, [1])}}`, 3)],
    ['a name with a control character', () => fileOf(`{"a\\n":${entry(0, 4, [1])}}`, 4)],
  ]
  for (const [what, path] of malformed) {
    it(`refuses ${what}: TENSORS_MALFORMED`, async () => {
      await assert.rejects(SafetensorsReader.open(path()), { code: 'TENSORS_MALFORMED' })
    })
  }

  it('refuses an empty file: TENSORS_MALFORMED', async () => {
    const path = join(folder, 'empty')
    writeFileSync(path, '')
    await assert.rejects(SafetensorsReader.open(path), { code: 'TENSORS_MALFORMED' })
  })

  it('names a tensor that is missing: TENSOR_MISSING', async () => {
    const reader = await SafetensorsReader.open(fileOf(`{"a":${entry(0, 4, [1])}}`, 4))
    assert.throws(() => reader.tensor('b', 'F32', 1), { code: 'TENSOR_MISSING' })
    assert.throws(() => reader.tensor('a', 'F32', 2), { code: 'TENSOR_UNEXPECTED' })
    await reader.close()
  })
})
