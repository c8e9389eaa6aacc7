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
import { CtdError } from '../../src/errors.js'
import { createExecute } from '../../src/executor/execute.js'
import type { ExecuteComponents } from '../../src/executor/execute.js'
import { JobBlobs } from '../../src/executor/job-blobs.js'
import type { Replica, ReplicaProgress } from '../../src/executor/replica.js'
import { silentLog } from '../../src/log.js'
import { SafetensorsWriter } from '../../src/training/safetensors.js'
import type { NumericArray } from '../../src/training/safetensors.js'
import type { Opened } from '../../src/wire/envelope.js'
import { fromHex, parseDigest, peerIdFromPublicKey } from '../../src/wire/ids.js'
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

/** A replica of a job with these inputs, the first `given` of them the submitter's own. */
function replicaOf(inputs: readonly object[], given = inputs.length): Replica {
  const manifest = { author: REQUESTER, message: { inputs: inputs.slice(0, given) } }
  const slot = { inputs: [], program: { kind: 'builtin', name: 'nothing', params: {} } }
  return partial<Replica>({
    key: 'task/1',
    options: { jobId: 'job', manifest, slot, task: { message: { inputs, providers: [] } } },
  })
}

interface Asked {
  readonly peer: PeerId
  readonly digest: string
}

/** Everything that a task needs, each part as an honest machine would have it. */
function newWork(changes: Partial<ExecuteComponents>): ReturnType<typeof createExecute> {
  return createExecute(
    {
      blobs: partial<BlobStore>({ path: (digest: Digest) => `/blobs/${digest}` }),
      transfer: partial<BlobTransfer>({ fetch: () => Promise.resolve({}) }),
      runtime: partial<ContainerRuntime>({}),
      addFolder: () => Promise.reject(new Error('not reached')),
      writeFolder: () => Promise.reject(new Error('not reached')),
      holderOf: () => 'holder',
      findProviders: () => Promise.resolve([]),
      findHolders: () => Promise.resolve([FELLOW]),
      askHolding: () => Promise.resolve('whole'),
      pause: () => Promise.resolve(),
      filesOf: () => Promise.resolve([]),
      onFetched: () => undefined,
      onOutput: () => Promise.resolve(),
      onLog: () => undefined,
      onProgram: () => undefined,
      ...changes,
    },
    {
      self: peerIdFromPublicKey(new Uint8Array(32)),
      workDir: root,
      inputBytesMax: () => 10 * MIB,
      gpuUuids: () => [],
      builtinWorker: new URL('file:///nowhere'),
    },
  )
}

const REQUESTER = peerIdFromPublicKey(new Uint8Array(32).fill(1))
const FELLOW = peerIdFromPublicKey(new Uint8Array(32).fill(2))
const NEVER = new AbortController().signal

describe('a task', () => {
  const input = (name: string, sizeBytes: number, fill = 0) => {
    return { name, digest: new Uint8Array(32).fill(fill), sizeBytes, folder: false }
  }

  it('is refused as TOO_LARGE before anything of it is fetched', async () => {
    let fetched = 0
    const transfer = partial<BlobTransfer>({
      fetch: () => {
        fetched += 1
        return Promise.resolve()
      },
    })
    const replica = replicaOf([input('a', 10 * MIB), input('b', 1)])
    const on = { phase: () => undefined, progress: () => undefined }
    await assert.rejects(newWork({ transfer })(replica, on, NEVER), { code: 'TOO_LARGE' })
    assert.equal(fetched, 0)
  })

  it('starts once another peer holds each input of the job, and says what it waits for', async () => {
    const asked: Asked[] = []
    const waitedFor: string[] = []
    const phases: string[] = []
    // The requester has gone; a fellow executor is fetching and has it all at the third look.
    let looks = 0
    const work = newWork({
      askHolding: (peer, digest) => {
        asked.push({ peer, digest })
        if (peer === REQUESTER) return Promise.reject(new Error('it is gone'))
        looks += 1
        return Promise.resolve(looks < 3 ? 'perhaps' : 'whole')
      },
      onProgram: () => {
        throw new CtdError('STARTED', 'the task starts')
      },
    })
    const on = {
      phase: (phase: string) => phases.push(phase),
      progress: ({ fetch }: ReplicaProgress) => waitedFor.push(fetch?.what ?? ''),
    }
    // What another task made, the second input, has its two holders by the verdict.
    const replica = replicaOf([input('data', 1, 7), input('made', 1, 8)], 1)
    await assert.rejects(work(replica, on, NEVER), { code: 'STARTED' })
    assert.equal(looks, 3)
    assert.deepEqual(new Set(asked.map(({ digest }) => digest)), new Set(['07'.repeat(32)]))
    assert.deepEqual(new Set(waitedFor), new Set(['a second holder of data']))
    assert.deepEqual(phases, ['fetching', 'running'])
  })

  it('fails as INPUT_AT_RISK where no other peer has any of an input', async () => {
    let started = 0
    const work = newWork({
      askHolding: () => Promise.resolve('none'),
      onProgram: () => {
        started += 1
      },
    })
    const on = { phase: () => undefined, progress: () => undefined }
    await assert.rejects(work(replicaOf([input('data', 1)]), on, NEVER), { code: 'INPUT_AT_RISK' })
    assert.equal(started, 0)
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
        findHolders: () => Promise.resolve([]),
        askHolding: () => Promise.resolve('whole'),
        filesOf: () => Promise.resolve([]),
        onFetched: () => undefined,
        onOutput: () => Promise.resolve(),
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
        manifest: { author: REQUESTER, message: { image, inputs: [] } },
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

interface Kept {
  readonly blobs: JobBlobs
  readonly released: string[]
  readonly held: Map<string, Set<Digest>>
  readonly provided: Set<Digest>
  pass(ms: number): void
  /** The same disk after a crash. */
  again(): Promise<Kept>
}

/** Outputs are folders of one file; every blob has a mebibyte. */
async function keptBlobs(
  quotaBytes = 1024 * MIB,
  records = new Map<string, string>(),
): Promise<Kept> {
  const released: string[] = []
  const held = new Map<string, Set<Digest>>()
  const provided = new Set<Digest>()
  let nowMs = records.size
  const blobs = new JobBlobs({
    clock: { now: () => nowMs, after: () => () => undefined },
    log: silentLog,
    blobs: {
      hold: (holder, digest) => {
        held.set(holder, (held.get(holder) ?? new Set()).add(digest))
      },
      release: (holder) => void held.delete(holder),
      has: () => true,
      size: () => MIB,
      quotaBytes,
    },
    filesOf: (digest) => Promise.resolve([fileOf(digest)]),
    ledger: {
      put: async (key, text) => void records.set(key, text),
      delete: async (key) => void records.delete(key),
      list: async () => [...records],
    },
    provide: (digest) => void provided.add(digest),
    withdraw: (digest) => void provided.delete(digest),
    onReleased: (jobId) => released.push(jobId),
  })
  await blobs.load()
  const pass = (ms: number): void => {
    nowMs += ms
  }
  return { blobs, released, held, provided, pass, again: () => keptBlobs(quotaBytes, records) }
}

function fileOf(digest: Digest): Digest {
  return parseDigest(`f${digest.slice(1)}`)
}

/** Whether anybody holds the output, with its file. */
function isKept({ held }: Kept, digest: Digest): boolean {
  const sets = [...held.values()]
  return [digest, fileOf(digest)].every((part) => sets.some((set) => set.has(part)))
}

/** What was written down without being awaited. */
async function settled(): Promise<void> {
  for (let i = 0; i < 50; i += 1) await new Promise((resolve) => setImmediate(resolve))
}

describe('the blobs of a job', () => {
  const [one, two] = ['1', '2'].map((digit) => digit.repeat(64) as JobId) as [JobId, JobId]
  const [made, passing] = ['a', 'b'].map((digit) => parseDigest(digit.repeat(64))) as [
    Digest,
    Digest,
  ]

  it('are let go at its end, once', async () => {
    const { blobs, released } = await keptBlobs()
    assert.notEqual(blobs.holderOf(one), blobs.holderOf(two))
    blobs.onEnded(one)
    blobs.onEnded(one)
    blobs.onEnded('never worked for' as JobId)
    assert.deepEqual(released, [one])
  })

  it('are let go when its requester has not been heard of for two days', async () => {
    const { blobs, released, pass } = await keptBlobs()
    blobs.holderOf(one)
    pass(30 * HOUR)
    blobs.holderOf(two)
    pass(19 * HOUR)
    blobs.holderOf(two)
    assert.deepEqual(released, [one])
  })

  it('are kept beyond its end where they are its artifacts, for seven days, over a crash', async () => {
    const kept = await keptBlobs()
    kept.blobs.holderOf(one)
    await kept.blobs.keep(one, made, true)
    await kept.blobs.keep(one, passing, false)
    const crashed = await kept.again()
    assert.ok(isKept(crashed, made) && isKept(crashed, passing), 'until the job has ended')

    crashed.blobs.onEnded(one)
    await settled()
    assert.deepEqual([isKept(crashed, made), isKept(crashed, passing)], [true, false])
    assert.ok(isKept(await crashed.again(), made), 'a restart changes nothing')
    crashed.pass(8 * 24 * HOUR)
    crashed.blobs.onEnded(two)
    await settled()
    assert.equal(isKept(crashed, made), false)
  })

  it('of jobs that have ended take a quarter of the quota at most, the oldest go first', async () => {
    const kept = await keptBlobs(16 * MIB)
    const roots = ['a', 'b', 'c'].map((digit) => parseDigest(digit.repeat(64)))
    for (const [i, root] of roots.entries()) {
      const jobId = String(i).repeat(64) as JobId
      await kept.blobs.keep(jobId, root, true)
      kept.pass(HOUR)
      kept.blobs.onEnded(jobId)
      await settled()
    }
    assert.deepEqual(
      roots.map((root) => isKept(kept, root)),
      [false, true, true],
    )
  })

  it('that were fetched are offered to others until no job needs them', async () => {
    const { blobs, provided } = await keptBlobs()
    blobs.onFetched(one, [made, passing])
    blobs.onFetched(two, [made])
    blobs.onEnded(one)
    assert.deepEqual(provided, new Set([made]))
    blobs.onEnded(two)
    assert.equal(provided.size, 0)
  })
})
