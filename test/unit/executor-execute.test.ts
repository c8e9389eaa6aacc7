import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import type { BlobStore } from '../../src/blob/blob-store.js'
import type { BlobTransfer } from '../../src/blob/blob-transfer.js'
import type { ContainerRuntime } from '../../src/container/container-runtime.js'
import { refusalOf } from '../../src/executor/bid.js'
import type { Offering } from '../../src/executor/bid.js'
import { createExecute } from '../../src/executor/execute.js'
import { JobBlobs } from '../../src/executor/job-blobs.js'
import type { Replica } from '../../src/executor/replica.js'
import type { Opened } from '../../src/wire/envelope.js'
import { peerIdFromPublicKey } from '../../src/wire/ids.js'
import type { JobId, PeerId } from '../../src/wire/ids.js'

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
