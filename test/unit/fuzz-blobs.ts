/**
 * Damaged bytes for everything of blobs that comes from strangers: manifests, listings of folders,
 * frames from servers and requests from askers. What is thrown must be a refusal (`CtdError`); a
 * folder that is accepted must stay inside its target.
 */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, normalize } from 'node:path'
import {
  FRAME,
  decodeFrameHeader,
  decodeHave,
  decodeRequest,
  encodeFrame,
  encodeHave,
  encodeRequest,
  isHaveSize,
} from '../../src/blob/blob-protocol.js'
import { BlobServer } from '../../src/blob/blob-server.js'
import { BlobStore } from '../../src/blob/blob-store.js'
import { BlobTransfer } from '../../src/blob/blob-transfer.js'
import { writeFolder } from '../../src/blob/folder.js'
import { parseManifest } from '../../src/blob/manifest.js'
import { PieceSet } from '../../src/blob/piece-set.js'
import { CtdError } from '../../src/errors.js'
import { encodeFolder, parseFolder } from '../../src/wire/folder.js'
import { digestOf, fromHex, utf8 } from '../../src/wire/ids.js'
import { MemoryNetwork, createStreamPair, peerOf } from './stream-pair.js'

export interface FuzzReport {
  readonly seed: number
  readonly inputs: number
  /** Inputs by kind. */
  readonly kinds: Readonly<Record<string, number>>
  readonly accepted: number
  readonly refused: number
  /** Whatever was thrown that is no refusal; the first few, with what brings them back. */
  readonly crashes: readonly string[]
  readonly bytesOutside: number
}

/** A seeded source of numbers (mulberry32): equal seeds give equal inputs. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

type Random = (below: number) => number

/** Flips, cuts, repeats and inserts, a few times. */
function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let out: Uint8Array = bytes.slice()
  for (let left = 1 + random(4); left > 0; left -= 1) {
    const at = random(out.length + 1)
    const kind = random(5)
    if (kind === 0 && at < out.length) out[at] = random(256)
    if (kind === 1 && at < out.length) out[at] = (out[at] ?? 0) ^ (1 << random(8))
    if (kind === 2) out = out.subarray(0, at)
    if (kind === 3) out = new Uint8Array(Buffer.concat([out.subarray(0, at), out.subarray(at / 2)]))
    if (kind === 4) {
      const middle = Uint8Array.from({ length: 1 + random(8) }, () => random(256))
      out = new Uint8Array(Buffer.concat([out.subarray(0, at), middle, out.subarray(at)]))
    }
  }
  return out.subarray(0, 8192)
}

const EVIL = [
  '..',
  '/',
  '.',
  '',
  '../../x',
  '/etc/x',
  'a/../../b',
  'a\\b',
  'a',
  'b/c',
  'a/b',
  '\u2028',
  '\u0000',
  'ü',
  'C:',
]

/** A listing of paths that want out, in any form and order. */
function evilListing(random: Random): Uint8Array {
  const line = (): string => {
    const path = Array.from({ length: 1 + random(3) }, () => EVIL[random(EVIL.length)]).join('/')
    return `${JSON.stringify({ path, sizeBytes: random(3), digest: digestOf(utf8('x')) })}\n`
  }
  return utf8(
    Array.from({ length: 1 + random(4) }, line)
      .sort()
      .join(''),
  )
}

/** Runs so many inputs of that seed. */
export async function fuzzBlobs(inputs: number, seed: number): Promise<FuzzReport> {
  const random = randomOf(seed)
  const root = await mkdtemp(join(tmpdir(), 'ctd-fuzz-'))
  const inside = join(root, 'inside')
  await mkdir(inside)
  const store = await BlobStore.open(join(inside, 'store'), { quotaBytes: 1024 ** 3 })
  const blob = await store.addBytes(utf8('a blob of a few bytes'))
  const manifest = (await store.readManifest(blob.digest)).bytes
  const listing = encodeFolder([
    { path: 'a/b.txt', ...pick(blob) },
    { path: 'c.txt', ...pick(blob) },
  ])
  const server = new BlobServer({ store })
  const kinds = { manifest: 0, listing: 0, frame: 0, server: 0, client: 0, folder: 0 }
  const crashes: string[] = []
  let accepted = 0
  let refused = 0
  const network = new MemoryNetwork()
  const asker = await BlobStore.open(join(inside, 'asker'), { quotaBytes: 1024 ** 3 })
  const judge = async (kind: keyof typeof kinds, i: number, run: () => unknown): Promise<void> => {
    kinds[kind] += 1
    try {
      await run()
      accepted += 1
    } catch (error) {
      refused += 1
      if (error instanceof CtdError) return
      if (crashes.length < 10) crashes.push(`${kind}, input ${i} of seed ${seed}: ${String(error)}`)
    }
  }
  try {
    for (let i = 0; i < inputs; i += 1) {
      const choice = random(1000)
      if (choice < 300) await judge('manifest', i, () => parseManifest(mutate(manifest, random)))
      else if (choice < 600) {
        const bytes = random(2) === 0 ? mutate(listing, random) : evilListing(random)
        await judge('listing', i, () => assertInside(parseFolder(bytes).map(({ path }) => path)))
      } else if (choice < 970) {
        await judge('frame', i, () => readFrame(mutate(encodeHave([random(9), random(9)]), random)))
      } else if (choice < 985) {
        const asked = Buffer.concat([
          fromHex(blob.digest),
          encodeRequest(0),
          encodeRequest(0xffff_ffff),
        ])
        const bytes = mutate(new Uint8Array(asked), random)
        await judge('server', i, async () => {
          const [near, far] = createStreamPair()
          await near.write(bytes)
          await near.close()
          await server.serve(far, peerOf('fuzz'))
        })
      } else if (choice < 998) {
        const right = [encodeFrame(FRAME.ALL), encodeFrame(FRAME.ANSWER, manifest)]
        const piece = encodeFrame(FRAME.ANSWER, utf8('a blob of a few bytes'))
        const bytes = mutate(new Uint8Array(Buffer.concat([...right, piece])), random)
        const name = `server ${i}`
        const peer = network.serve(name, async (stream) => stream.write(bytes))
        await judge('client', i, async () => {
          const transfer = new BlobTransfer(
            { store: asker, transport: network.transportOf('asker') },
            { stallMs: 1000, retryMs: 1 },
          )
          const signal = AbortSignal.timeout(5000)
          await transfer.fetch(blob.digest, [peer], { signal, maxBytes: 1024 })
        })
        network.forget(name)
        await asker.remove(blob.digest)
        await asker.dropPartial(blob.digest)
      } else {
        const bytes = random(2) === 0 ? mutate(listing, random) : evilListing(random)
        await judge('folder', i, async () => {
          const target = join(inside, 'target')
          const { digest } = await store.addBytes(bytes)
          try {
            await writeFolder(store, digest, target)
          } finally {
            await rm(target, { recursive: true, force: true })
            await store.remove(digest)
          }
        })
      }
    }
    const outside = (await readdir(root)).filter((name) => name !== 'inside')
    const strange = (await readdir(inside)).filter((name) => name !== 'store' && name !== 'asker')
    return {
      seed,
      inputs,
      kinds,
      accepted,
      refused,
      crashes,
      bytesOutside: outside.length + strange.length,
    }
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

function pick({ digest, sizeBytes }: { digest: ReturnType<typeof digestOf>; sizeBytes: number }) {
  return { digest, sizeBytes }
}

/** An accepted path that would leave its folder is a crash. */
function assertInside(paths: readonly string[]): void {
  for (const path of paths) {
    const there = normalize(join('/target', path))
    if (there !== `/target/${path}`) throw new Error(`${JSON.stringify(path)} leaves its folder`)
  }
}

function readFrame(bytes: Uint8Array): void {
  if (bytes.length < 5) return
  const { kind, sizeBytes } = decodeFrameHeader(bytes)
  const body = bytes.subarray(5)
  if (kind === FRAME.HAVE && sizeBytes === body.length && isHaveSize(sizeBytes)) decodeHave(body)
  decodeRequest(bytes)
  const set = PieceSet.fromBitmap(body, 8 * body.length - (kind & 7))
  if (set !== undefined && Buffer.compare(set.toBitmap(), body) !== 0) {
    throw new Error('a bitmap is not what it was read as')
  }
}
