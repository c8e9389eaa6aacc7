import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { CtdError } from '../../src/errors.js'
import { claimUpdate, sketchMessage, sketchUpdate } from '../../src/protocol/sketch-message.js'
import { updateRootOf } from '../../src/protocol/sketch.js'
import { OutputUpdates } from '../../src/requester/output-updates.js'
import { quantise } from '../../src/training/quantise.js'
import { SafetensorsWriter } from '../../src/training/safetensors.js'
import type { NumericArray } from '../../src/training/safetensors.js'
import { createSigner, seal } from '../../src/wire/envelope.js'
import type { FolderFile } from '../../src/wire/folder.js'
import { digestOf, fromHex, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { Digest, TaskId } from '../../src/wire/ids.js'
import { normal } from './updates.js'

const SEED = sha256(utf8('output updates'))
const ID = '66'.repeat(32)
const SIGNER = createSigner(SEED)

let dir = ''
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ctd-updates-'))
})
after(() => rm(dir, { recursive: true, force: true }))

const paths = new Map<Digest, string>()
const blobs = {
  has: (digest: Digest) => paths.has(digest),
  path: (digest: Digest) => {
    const path = paths.get(digest)
    if (path === undefined) throw new CtdError('BLOB_UNKNOWN', 'this machine does not hold it')
    return path
  },
}
const fetched: string[] = []
const updates = new OutputUpdates({
  blobs,
  transfer: {
    fetch: (digest: Digest) => {
      fetched.push(digest)
      return Promise.reject(new Error('nobody has it'))
    },
  },
})

let made = 0
async function file(
  path: string,
  tensors: Readonly<Record<string, readonly [NumericArray, 'I8' | 'I32' | 'F32']>> | string,
): Promise<FolderFile> {
  made += 1
  const diskPath = join(dir, `${made}`)
  if (typeof tensors === 'string') await writeFile(diskPath, tensors)
  else {
    const specs = Object.entries(tensors).map(([name, [values, dtype]]) => ({
      name,
      dtype,
      shape: [values.length],
    }))
    const writer = await SafetensorsWriter.create(diskPath, specs)
    for (const [name, [values]] of Object.entries(tensors)) await writer.write(name, 0, values)
    await writer.close()
  }
  const digest = digestOf(utf8(`${made}`))
  paths.set(digest, diskPath)
  return { path, digest, sizeBytes: 100 }
}

function delta(seed: string, factor = 1): Promise<FolderFile> {
  const { values, scales } = quantise(
    Float32Array.from(normal(seed, 1000), (value) => factor * value),
  )
  return file('delta.safetensors', { w: [values, 'I8'], 'w::scale': [scales, 'F32'] })
}

async function rootOf(files: readonly FolderFile[], inputs: readonly FolderFile[] = []) {
  const source = await updates.open(
    files,
    inputs.map(({ path, digest }) => ({
      name: path,
      digest: fromHex(digest),
      sizeBytes: 100,
      folder: false,
    })),
  )
  const claim = await claimUpdate(source)
  return { claim, root: toHex(updateRootOf(claim)) }
}

describe('the update in an output', () => {
  it('is what quantised tensors stand for', async () => {
    const { claim } = await rootOf([await delta('a')])
    assert.equal(claim.elements, 1000)
    assert.ok(claim.step > 0)
    assert.notDeepEqual(claim, (await rootOf([await delta('b')])).claim)
  })

  it('is what weights have changed by, where the input is there', async () => {
    const before = Float32Array.from(normal('weights', 300))
    const change = Float32Array.from(normal('change', 300), (value) => value / 1024)
    const after = before.map((value, i) => value + (change[i] ?? 0))
    const input = await file('weights.safetensors', { w: [before, 'F32'] })
    const output = await file('weights.safetensors', { w: [after, 'F32'] })
    const changed = await rootOf([output], [input])
    const whole = await rootOf([output])
    assert.ok(changed.claim.exponent < whole.claim.exponent - 5)
    assert.equal((await rootOf([input], [input])).claim.normSquared, 0n)
  })

  it('keeps whole numbers, names and other files apart, bit for bit', async () => {
    const counts = (last: number): Promise<FolderFile> =>
      file('delta.safetensors', { n: [Int32Array.of(1, 2, last), 'I32'] })
    const one = await counts(3)
    const [a, b] = [await rootOf([one]), await rootOf([await counts(4)])]
    assert.equal(a.claim.elements, 0)
    assert.notDeepEqual(a.claim.rest, b.claim.rest)
    const text = await file('labels.json', '[]')
    assert.notEqual((await rootOf([one, text])).root, a.root)
    const metrics = await file('metrics.json', '{}')
    assert.equal((await rootOf([one, metrics])).root, a.root)
  })
})

describe('an accepted output', () => {
  async function check(
    told: readonly FolderFile[],
    files: readonly FolderFile[],
    maxBytes = 1000,
  ): Promise<void> {
    const own = await sketchUpdate(await updates.open(told, []), SEED)
    const place = { taskId: ID as TaskId, frozen: ID, salt: SEED }
    const sketch = seal('updates', 'sketch', sketchMessage(own, place), SIGNER)
    const { signal } = new AbortController()
    await updates.check({ sketch, seed2: SEED, inputs: [] }, files, [SIGNER.peerId], {
      signal,
      holder: 'test',
      maxBytes,
    })
  }

  it('is taken when its sketch is its own', async () => {
    const files = [await delta('honest')]
    await check(files, files)
  })

  it('is taken when files that are no tensors are not here', async () => {
    const files = [
      await delta('honest'),
      await file('labels.json', '[]'),
      await file('metrics.json', '{}'),
    ]
    const own = await updates.open(files, [])
    for (const { path, digest } of files) if (path.endsWith('.json')) paths.delete(digest)
    assert.deepEqual((await updates.open(files, [])).rest, own.rest)
    await check(files, files)
  })

  it('SKETCH_FALSE: is refused when its sketch is of another one', async () => {
    const files = [await delta('honest')]
    for (const other of [await delta('other'), await delta('honest', 1.001)]) {
      await assert.rejects(check(files, [other]), { code: 'SKETCH_FALSE' })
    }
    const broken = await file('delta.safetensors', 'no tensors')
    await assert.rejects(check(files, [broken]), { code: 'SKETCH_FALSE' })
  })

  it('OUTPUT_TOO_LARGE: is not fetched when it is larger than asked for', async () => {
    const files = [await delta('honest')]
    await assert.rejects(check(files, files, 99), { code: 'OUTPUT_TOO_LARGE' })
    assert.deepEqual(fetched, [])
  })
})
