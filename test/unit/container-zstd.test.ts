/** Compressed archives: what a zstd frame may be, and what is refused however it is written. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decompressZstd, isZstd } from '../../src/container/zstd.js'

/** 400 lines of text, written by zstd 1.5.4 at level 3 with a checksum, from a pipe. */
const TEXT_FRAME = Buffer.from(
  'KLUv/QRYRQUAUgURFrClOeBIi61GZhkvQydNRISkZHl24EAEOqaQ+///27Zt223btiXQMYXcpRlqDcWy4xSPSzYwAi8FjlewY2IhIIBmqBUvIIAzSh4DBPQuHiYvySYleZEsKZEXkBxF0hLwhM95mI94jod5hOc8zCM+52E84jkf5hGe88P88Qg/n9O3h+HjEXs9R8+Hyfsj8HjOXU+081ySRUryIllSIi/JMlIsImMZeKlyJg==',
  'base64',
)
const TEXT = Array.from(
  { length: 400 },
  (_, i) => `line ${i % 37} of a text that repeats itself\n`,
).join('')
const MAGIC = [0x28, 0xb5, 0x2f, 0xfd]
const WINDOW_1_MIB = 10 << 3

async function unpack(chunks: readonly Uint8Array[], maxBytes = 1 << 24): Promise<Buffer> {
  const parts: Uint8Array[] = []
  async function* source(): AsyncGenerator<Uint8Array> {
    yield* chunks
  }
  for await (const part of decompressZstd(source(), maxBytes)) parts.push(part)
  return Buffer.concat(parts)
}

/** A frame without stated size, of blocks of raw bytes or of one byte many times. */
function frame(
  blocks: ReadonlyArray<{ readonly kind: 0 | 1; readonly size: number; readonly bytes: number[] }>,
  window = WINDOW_1_MIB,
): Buffer {
  const parts = blocks.flatMap(({ kind, size, bytes }, i) => {
    const bits = (size << 3) | (kind << 1) | (i === blocks.length - 1 ? 1 : 0)
    return [bits & 255, (bits >> 8) & 255, (bits >> 16) & 255, ...bytes]
  })
  return Buffer.from([...MAGIC, 0, window, ...parts])
}

const REFUSED = { code: 'IMAGE_ARCHIVE_REFUSED' }

test('a frame of the zstd program is read, whatever the chunks it comes in', async () => {
  assert.ok(isZstd(TEXT_FRAME))
  assert.equal((await unpack([TEXT_FRAME])).toString(), TEXT)
  const single = [...TEXT_FRAME].map((byte) => Uint8Array.of(byte))
  assert.equal((await unpack(single)).toString(), TEXT)
})

test('raw blocks and repeated bytes are read', async () => {
  const bytes = await unpack([
    frame([
      { kind: 0, size: 3, bytes: [1, 2, 3] },
      { kind: 1, size: 5, bytes: [7] },
    ]),
  ])
  assert.deepEqual([...bytes], [1, 2, 3, 7, 7, 7, 7, 7])
})

test('IMAGE_ARCHIVE_REFUSED: a bomb ends at the bound, not after it', async () => {
  const bomb = frame(
    Array.from({ length: 4096 }, () => ({ kind: 1 as const, size: 128 * 1024, bytes: [0] })),
  )
  let unpackedBytes = 0
  await assert.rejects(async () => {
    async function* source(): AsyncGenerator<Uint8Array> {
      yield bomb
    }
    for await (const part of decompressZstd(source(), 1 << 20)) unpackedBytes += part.length
  }, REFUSED)
  assert.ok(unpackedBytes <= 1 << 20, `${unpackedBytes} bytes came out`)
})

test('IMAGE_ARCHIVE_REFUSED: a window that would take gigabytes is refused unread', async () => {
  await assert.rejects(unpack([frame([{ kind: 0, size: 1, bytes: [1] }], 20 << 3)]), REFUSED)
})

test('IMAGE_ARCHIVE_REFUSED: nothing may follow the frame', async () => {
  const one = frame([{ kind: 0, size: 1, bytes: [1] }])
  await assert.rejects(unpack([one, one]), REFUSED)
})

test('IMAGE_ARCHIVE_REFUSED: every cut of a frame is refused', async () => {
  const cuts = Array.from({ length: 40 }, (_, i) => Math.floor((i * TEXT_FRAME.length) / 40))
  for (const end of cuts) await assert.rejects(unpack([TEXT_FRAME.subarray(0, end)]), REFUSED)
})

test('a changed byte is refused or gives other bytes, and nothing else happens', async () => {
  for (let at = 0; at < TEXT_FRAME.length; at += 1) {
    const changed = Buffer.from(TEXT_FRAME)
    changed[at] = (changed[at] ?? 0) ^ 0x41
    const outcome = await unpack([changed], TEXT.length).then(
      (bytes) => bytes.length <= TEXT.length,
      (error: unknown) => error instanceof Error && Reflect.get(error, 'code') === REFUSED.code,
    )
    assert.ok(outcome, `byte ${at}`)
  }
})
