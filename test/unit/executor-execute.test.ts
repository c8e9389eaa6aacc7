import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { BlobStore } from '../../src/blob/blob-store.js'
import type { BlobTransfer } from '../../src/blob/blob-transfer.js'
import { addFolder } from '../../src/blob/folder.js'
import type { ContainerRuntime, TaskSpec } from '../../src/container/container-runtime.js'
import { refusalOf } from '../../src/executor/bid.js'
import type { Offering } from '../../src/executor/bid.js'
import { createExecute } from '../../src/executor/execute.js'
import { JobBlobs } from '../../src/executor/job-blobs.js'
import type { Replica } from '../../src/executor/replica.js'
import { SafetensorsWriter } from '../../src/training/safetensors.js'
import type { NumericArray } from '../../src/training/safetensors.js'
import type { Opened } from '../../src/wire/envelope.js'
import { fromHex, peerIdFromPublicKey } from '../../src/wire/ids.js'
import type { Digest, JobId, PeerId } from '../../src/wire/ids.js'

const HOUR = 3600_000
const MIB = 1024 ** 2
const root = await mkdtemp(join(tmpdir(), 'ctd-execute-'))
after(() => rm(root, { recursive: true, force: true }))

/** What a test of one part does not need of the others. */
function partial<T extends object>(fields: object): T {
  return fields as T
}

const OFFERING: Offering = {
  isExecutor: true,
  engineProblem: undefined,
  memoryMiB: 4096,
  diskMiB: 1000,
  gpus: 0,
  vramMiB: 0,
  isolation: ['runc'],
  seatsPerBatch: 1,
  backlogMax: 8,
  publishers: [],
  blocked: [],
}

function manifestOf(sizes: readonly number[], imageBytes: number): Opened<'manifest'> {
  return partial({
    author: 'author' as PeerId,
    message: {
      publisher: new Uint8Array(32),
      inputs: sizes.map((sizeBytes) => ({ sizeBytes })),
      image: { sizeBytes: imageBytes },
    },
  })
}

describe('the answer to an offer', () => {
  const offer = partial<Opened<'offer'>>({ message: { requirements: undefined } })

  it('is TOO_LARGE when inputs and image together exceed the disk that the owner lends', () => {
    const sizes = [400 * MIB, 400 * MIB]
    const fits = refusalOf(OFFERING, offer, manifestOf(sizes, 200 * MIB), 0)
    const exceeds = refusalOf(OFFERING, offer, manifestOf(sizes, 200 * MIB + 1), 0)
    assert.equal(fits, undefined)
    assert.equal(exceeds?.code, 'TOO_LARGE')
    assert.match(exceeds.reason, /1001 MiB/)
  })
})

describe('a task', () => {
  it('is refused as TOO_LARGE before anything of it is fetched', async () => {
    let fetched = 0
    const work = createExecute(
      {
        blobs: partial<BlobStore>({}),
        transfer: partial<BlobTransfer>({
          fetch: () => {
            fetched += 1
            return Promise.resolve()
          },
        }),
        runtime: partial<ContainerRuntime>({}),
        addFolder: () => Promise.reject(new Error('not reached')),
        writeFolder: () => Promise.reject(new Error('not reached')),
        holderOf: () => 'holder',
        findProviders: () => Promise.resolve([]),
        onLog: () => undefined,
        onProgram: () => undefined,
      },
      {
        self: peerIdFromPublicKey(new Uint8Array(32)),
        workDir: root,
        inputBytesMax: () => 10 * MIB,
        gpuUuids: () => [],
        builtinWorker: new URL('file:///nowhere'),
      },
    )
    const digest = new Uint8Array(32)
    const inputs = [
      { name: 'a', digest, sizeBytes: 10 * MIB, folder: false },
      { name: 'b', digest, sizeBytes: 1, folder: false },
    ]
    const replica = partial<Replica>({
      key: 'task/1',
      options: { jobId: 'job', slot: { inputs: [] }, task: { message: { inputs, providers: [] } } },
    })
    const on = { phase: () => undefined, progress: () => undefined }
    await assert.rejects(work(replica, on, new AbortController().signal), { code: 'TOO_LARGE' })
    assert.equal(fetched, 0)
  })
})

describe('an input that can be rebuilt', () => {
  // Node does not hand tsx on to workers, so the entry registers it before the real one.
  const worker = join(root, 'worker.mjs')
  const real = new URL('../../src/training/builtin-worker.ts', import.meta.url).href
  const tsx = import.meta.resolve('tsx/esm/api')
  const text = `import { register } from '${tsx}'\nregister()\nawait import('${real}')\n`

  async function tensors(path: string, values: Readonly<Record<string, NumericArray>>) {
    const specs = Object.entries(values).map(([name, { length }]) => ({
      name,
      dtype: name === 'x' && values[name] instanceof Int8Array ? ('I8' as const) : ('F32' as const),
      shape: [length],
    }))
    const kind = 'x::scale' in values ? 'tensors' : 'model'
    const writer = await SafetensorsWriter.create(path, specs, kind)
    for (const [name, array] of Object.entries(values)) await writer.write(name, 0, array)
    await writer.close()
    return path
  }

  /** What a task fetched that knows base, update and weights, of which it holds some. */
  async function fetched(holds: readonly ('base' | 'weights')[], update = Int8Array.of(1, -2)) {
    const dir = await mkdtemp(join(root, 'rebuild-'))
    await writeFile(worker, text)
    const files = {
      base: await tensors(join(dir, 'b'), { x: Float32Array.of(1, 2) }),
      update: await tensors(join(dir, 'u'), { x: update, 'x::scale': Float32Array.of(0.5) }),
      weights: await tensors(join(dir, 'w'), { x: Float32Array.of(1.5, 1) }),
    }
    const far = await BlobStore.open(join(dir, 'far'), { quotaBytes: 10 * MIB })
    const near = await BlobStore.open(join(dir, 'near'), { quotaBytes: 10 * MIB })
    const digests = new Map<string, Digest>()
    for (const [name, path] of Object.entries(files)) {
      digests.set(name, (await far.addFile(path)).digest)
    }
    const nameOf = (digest: Digest) => [...digests].find(([, own]) => own === digest)?.[0] ?? ''
    for (const name of holds) await near.addFile(files[name], { holder: 'holder' })
    const asked: string[] = []
    let seen: readonly { readonly name: string; readonly path: string }[] = []
    const work = createExecute(
      {
        blobs: near,
        transfer: partial<BlobTransfer>({
          fetch: async (digest: Digest) => {
            if (near.has(digest)) return
            asked.push(nameOf(digest))
            await near.addFile(far.path(digest), { holder: 'holder' })
          },
        }),
        runtime: partial<ContainerRuntime>({
          hasImage: () => Promise.resolve(true),
          run: (spec: TaskSpec) => {
            seen = spec.inputs
            return Promise.reject(new Error('far enough'))
          },
          release: () => Promise.resolve(),
        }),
        addFolder: (folder, signal, holder) => addFolder(near, folder, { signal, holder }),
        writeFolder: () => Promise.reject(new Error('not reached')),
        holderOf: () => 'holder',
        findProviders: () => Promise.resolve([]),
        onLog: () => undefined,
        onProgram: () => undefined,
      },
      {
        self: peerIdFromPublicKey(new Uint8Array(32)),
        workDir: dir,
        inputBytesMax: () => 10 * MIB,
        gpuUuids: () => [],
        builtinWorker: pathToFileURL(worker),
      },
    )
    const names = ['weights', 'base', 'update'] as const
    const inputs = names.map((name) => ({
      name: `${name}.safetensors`,
      digest: fromHex(digests.get(name) ?? ''),
      sizeBytes: MIB,
      folder: false,
    }))
    const source = { kind: 'job', input: '' } as const
    const [base, rise] = ['base.safetensors', 'update.safetensors'] as const
    const planned = [
      { name: 'weights.safetensors', source, rebuild: { base, update: rise } },
      { name: base, source, isAid: true },
      { name: rise, source, isAid: true },
    ]
    const image = {
      name: '',
      configDigest: new Uint8Array(32),
      manifestDigest: new Uint8Array(32),
      diffIds: [],
      sizeBytes: 1,
    }
    const replica = partial<Replica>({
      key: 'task/1',
      options: {
        jobId: 'job',
        slot: {
          inputs: planned,
          program: { kind: 'container', argv: [], env: {} },
          taskJson: () => '',
        },
        task: { message: { inputs, providers: [] } },
        manifest: { message: { image } },
        offer: { message: { attempt: 1 } },
        resources: { gpus: 0 },
      },
    })
    const on = { phase: () => undefined, progress: () => undefined }
    await assert.rejects(work(replica, on, new AbortController().signal), /far enough/)
    return { asked, seen: seen.map(({ name }) => name) }
  }

  it('costs a peer that holds the weights of the round before the update alone', async () => {
    const { asked, seen } = await fetched(['base'])
    assert.deepEqual(asked, ['update'])
    assert.deepEqual(seen, ['weights.safetensors'])
  })

  it('is fetched whole by a peer that holds nothing of it', async () => {
    assert.deepEqual((await fetched([])).asked, ['weights'])
  })

  it('costs nothing where it is held', async () => {
    assert.deepEqual((await fetched(['base', 'weights'])).asked, [])
  })

  it('is fetched whole when the update leads to something else', async () => {
    assert.deepEqual((await fetched(['base'], Int8Array.of(7, 7))).asked, ['update', 'weights'])
  })
})

describe('the blobs of a job', () => {
  it('are let go at its end, once', () => {
    const released: string[] = []
    const blobs = new JobBlobs({
      clock: { now: () => 0, after: () => () => undefined },
      release: (jobId) => released.push(jobId),
    })
    assert.notEqual(blobs.holderOf('one' as JobId), blobs.holderOf('two' as JobId))
    blobs.onEnded('one' as JobId)
    blobs.onEnded('one' as JobId)
    blobs.onEnded('never worked for' as JobId)
    assert.deepEqual(released, ['one'])
  })

  it('are let go when its requester has not been heard of for two days', () => {
    const released: string[] = []
    let nowMs = 0
    const blobs = new JobBlobs({
      clock: { now: () => nowMs, after: () => () => undefined },
      release: (jobId) => released.push(jobId),
    })
    blobs.holderOf('silent' as JobId)
    nowMs = 30 * HOUR
    blobs.holderOf('busy' as JobId)
    nowMs = 49 * HOUR
    blobs.holderOf('busy' as JobId)
    assert.deepEqual(released, ['silent'])
  })
})
