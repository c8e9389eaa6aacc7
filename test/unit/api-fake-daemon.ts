/** A daemon that is not one: fixed answers behind the real HTTP server, for the tests of the doors. */
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import type {
  CalibrationPort,
  CalibrationRequest,
  CalibrationView,
} from '../../src/api/calibration-desk.js'
import type { CalibrationProgress } from '../../src/executor/calibrate.js'
import type { IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type {
  AddedFolderView,
  AddedView,
  BlobDetailView,
  BlobPort,
  BlobView,
  FetchedView,
  FetchProgressView,
  StorageView,
} from '../../src/api/blob-port.js'
import type {
  DaemonEvent,
  DaemonPort,
  JobRequest,
  JobView,
  NodeView,
  PeerView,
  ReputationView,
  ServingView,
} from '../../src/api/daemon-port.js'
import type { ImagePort, ImageProgressView, ImageView } from '../../src/api/image-desk.js'
import { createApiServer } from '../../src/api/server.js'
import type { ApiServerOptions } from '../../src/api/server.js'
import type { ScrubReport } from '../../src/blob/scrubber.js'
import { CtdError } from '../../src/errors.js'
import { cidOf, parseBlobName } from '../../src/wire/cid.js'
import { smallBlobDigest } from '../../src/wire/folder.js'
import { parseDigest } from '../../src/wire/ids.js'
import type { Digest } from '../../src/wire/ids.js'

export const JOB_ID = 'ab12'.repeat(16)
export const PEER_A = '12D3KooWAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAaaaa'
export const PEER_B = '12D3KooWBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBbbbb'

export function makeJob(change: Partial<JobView> = {}): JobView {
  return {
    id: JOB_ID,
    name: 'bert-tiny',
    kind: 'train',
    requester: PEER_A,
    status: 'running',
    code: '',
    reason: '',
    progress: 0.5,
    createdMs: Date.now() - 60_000,
    endedMs: null,
    tasksTotal: 4,
    tasksAccepted: 2,
    tasks: [
      {
        batch: 1,
        slot: 0,
        name: 'train r1 s0',
        state: 'executing',
        replicas: [
          { peer: PEER_A, phase: 'running', step: 12, total: 40 },
          { peer: PEER_B, phase: 'committed' },
        ],
      },
    ],
    estimate: 'about 3 minutes on 2 peers',
    result: null,
    curve: [
      { round: 1, lossStart: 0.9, lossEnd: 0.6 },
      { round: 2, lossStart: 0.6, lossEnd: 0.3 },
    ],
    ...change,
  }
}

/** Of a peer that served, and then sent wrong bytes. */
export const SERVING: ServingView = {
  standing: 1 / 9,
  servedBytes: 3 * 1024 ** 2,
  faults: 1,
  lastFault: 'corrupt',
  lastFaultMs: 1_799_999_999_000,
  avoidedUntilMs: 1_800_003_599_000,
}

export const REPUTATION: ReputationView = {
  peer: PEER_A,
  atMs: 1_800_000_000_000,
  standing: 'probationer',
  reliability: 0.25,
  availability: 0.6,
  speed: 1,
  credit: 1.5,
  failure: 2,
  accepted: 2,
  coOperators: 1,
  wrongs: 0,
  exclusions: 0,
  excludedUntilMs: null,
  work: [{ kind: 'cpu', accepted: 2, wrongs: 1, speed: 0.8 }],
  fault: null,
  serving: SERVING,
  receipts: 3,
  root: 'a'.repeat(64),
  evidence: [
    {
      receiptId: 'b'.repeat(64),
      taskId: 'c'.repeat(64),
      closedMs: 1_799_999_940_000,
      young: true,
      kind: 'wrong',
      credit: 0,
      failure: 2,
      words: 'gave a wrong result in a young network',
    },
  ],
}

export const NODE: NodeView = {
  peer: PEER_A,
  role: 'peer',
  network: 'test',
  preset: 'local',
  version: '0.1.0',
  addresses: ['/ip4/127.0.0.1/tcp/4001'],
  socket: '/somewhere/ctd.sock',
  home: '/somewhere',
  startedMs: Date.now() - 3_600_000,
  connectedPeers: 1,
  engine: 'docker 20.10.24',
  executing: 1,
  executed: 7,
  jobs: { pending: 0, running: 1, succeeded: 2, failed: 0, cancelled: 0 },
  benchmark: '21 GFLOPS',
  storage: { usedBytes: 3 * 1024 ** 3, quotaBytes: 20 * 1024 ** 3, pins: 2, rotten: 0 },
}

export function makePeer(change: Partial<PeerView> = {}): PeerView {
  return {
    peer: PEER_B,
    connected: true,
    self: false,
    role: 'peer',
    agent: 'ctd/0.1.0',
    hardwareClass: 'cpu',
    cpuModel: 'Test CPU',
    cpuCores: 8,
    cpuGflops: 120,
    ramMiB: 16_384,
    gpus: [],
    benchmarkedMs: 1_700_000_000_000,
    reliability: 0.93,
    availability: 0.88,
    speed: 1.2,
    accepted: 41,
    dissents: 1,
    established: true,
    excluded: false,
    serving: SERVING,
    ...change,
  }
}

/** A blob store in memory, whose folders are lists of paths. */
export class FakeBlobs implements BlobPort {
  readonly bytes = new Map<string, Buffer>()
  readonly folders: Array<ReadonlyArray<{ path: string; digest: string }>> = []
  readonly pins = new Map<string, string>()
  /** Digests that only other peers have. */
  readonly remote = new Map<string, Buffer>()
  readonly removed: string[] = []
  heldBy: readonly string[] = []
  scrubReport: ScrubReport = { blobs: 2, bytes: 300, rotten: [], endedMs: 0 }
  fetchFrom: string | undefined

  async add(bytes: Readable): Promise<AddedView> {
    const chunks: Buffer[] = []
    for await (const chunk of bytes) chunks.push(Buffer.from(chunk))
    const all = Buffer.concat(chunks)
    const digest = smallBlobDigest(all)
    const isNew = !this.bytes.has(digest)
    this.bytes.set(digest, all)
    return { digest, cid: cidOf(digest), sizeBytes: all.length, pieces: 1, isNew }
  }
  async addFolder(entries: ReadonlyArray<{ path: string; digest: string }>) {
    this.folders.push(entries)
    const digest = parseDigest('f'.repeat(64))
    this.bytes.set(digest, Buffer.from(JSON.stringify(entries)))
    return { digest, cid: cidOf(digest) }
  }
  async link(path: string): Promise<AddedFolderView> {
    const added = await this.add(Readable.from([Buffer.from(path)]))
    return { ...added, files: 1, totalBytes: added.sizeBytes, totalPieces: 1, knownPieces: 0 }
  }
  async list(): Promise<readonly BlobView[]> {
    return [...this.bytes.keys()].map((digest) => this.#view(digest))
  }
  async view(name: string): Promise<BlobDetailView> {
    return { ...this.#view(this.#find(name)), entries: [] }
  }
  async fetch(
    name: string,
    from: string | undefined,
    onProgress: (progress: FetchProgressView) => void,
    _signal: AbortSignal,
  ): Promise<FetchedView> {
    const digest = parseBlobName(name)
    this.fetchFrom = from
    const bytes = this.remote.get(digest) ?? this.bytes.get(digest)
    if (bytes === undefined) {
      throw new CtdError('BLOB_UNAVAILABLE', 'no peer gave it', { hint: 'ask again later' })
    }
    const totalBytes = bytes.length
    onProgress({ doneBytes: 0, totalBytes, sources: 1 })
    this.bytes.set(digest, bytes)
    const peers = [{ peer: PEER_B, bytes: totalBytes }]
    return { digest, kind: 'file', totalBytes, fetchedBytes: totalBytes, peers }
  }
  async read(name: string): Promise<Readable> {
    return Readable.from([this.bytes.get(this.#find(name)) ?? Buffer.alloc(0)])
  }
  async pin(name: string, label: string): Promise<BlobView> {
    const digest = this.#find(name)
    this.pins.set(digest, label)
    return this.#view(digest)
  }
  async unpin(name: string): Promise<BlobView> {
    const digest = this.#find(name)
    if (!this.pins.delete(digest)) throw new CtdError('NOT_PINNED', 'it is not pinned')
    return this.#view(digest)
  }
  async remove(name: string) {
    const digest = this.#find(name)
    if (this.heldBy.length > 0) {
      throw new CtdError('BLOB_HELD', `it is held by ${this.heldBy.join(', ')}`, { hint: 'ctd ps' })
    }
    const freedBytes = this.bytes.get(digest)?.length ?? 0
    this.bytes.delete(digest)
    this.removed.push(digest)
    return { digest, freedBytes }
  }
  async storage(): Promise<StorageView> {
    return STORAGE
  }
  async scrub(onProgress: (progress: { doneBytes: number; totalBytes: number }) => void) {
    onProgress({ doneBytes: 1, totalBytes: 2 })
    return this.scrubReport
  }
  #find(name: string): Digest {
    const found = [...this.bytes.keys()].find((digest) => digest.startsWith(name))
    if (found === undefined) throw new CtdError('BLOB_UNKNOWN', 'not here', { hint: 'ctd ls' })
    return parseDigest(found)
  }
  #view(digest: string): BlobView {
    const sizeBytes = this.bytes.get(digest)?.length ?? 0
    return {
      digest,
      cid: cidOf(parseDigest(digest)),
      kind: 'file',
      sizeBytes,
      totalBytes: sizeBytes,
      files: 1,
      name: this.pins.get(digest) ?? '',
      isPinned: this.pins.has(digest),
      addedMs: null,
      isProvided: false,
      heldBy: this.heldBy,
    }
  }
}

export const IMAGE: ImageView = {
  name: 'tool',
  tag: 'computetorrent/tool:1',
  configDigest: '1'.repeat(64),
  manifestDigest: '2'.repeat(64),
  sizeBytes: 3_000_000,
  inEngine: true,
  inStore: true,
  archiveBytes: 1_000_000,
  isLoaded: false,
  usedMs: null,
  isLeased: false,
}

export class FakeImages implements ImagePort {
  readonly added: Array<{ readonly archive: string; readonly name: string | undefined }> = []
  readonly removed: string[] = []
  failWith: Error | undefined

  async list(): Promise<readonly ImageView[]> {
    return [IMAGE]
  }
  async add(
    archive: string,
    name: string | undefined,
    onProgress: (progress: ImageProgressView) => void,
  ): Promise<ImageView> {
    onProgress({ step: 'verify', doneBytes: 0, totalBytes: 1 })
    if (this.failWith !== undefined) throw this.failWith
    this.added.push({ archive, name })
    return { ...IMAGE, name: name ?? IMAGE.name }
  }
  async remove(name: string) {
    if (this.failWith !== undefined) throw this.failWith
    this.removed.push(name)
    return { freedBytes: 4_000_000 }
  }
}

export const STORAGE: StorageView = {
  quotaBytes: 1024 ** 3,
  usedBytes: 256 * 1024 ** 2,
  blobs: 2,
  pins: 1,
  pinnedBytes: 128 * 1024 ** 2,
  heldBytes: 0,
  cacheBytes: 128 * 1024 ** 2,
  partials: 0,
  partialBytes: 0,
  rotten: 0,
  rottenBytes: 0,
  freeDiskBytes: 10 * 1024 ** 3,
  scrubbed: null,
}

class FakeCalibration implements CalibrationPort {
  view: CalibrationView = {
    profile: 'fp32',
    tau: 0.001,
    ok: true,
    hardwareClass: 'cpu-x86-avx2/test/t1',
    codePaths: ['avx2', 'default'],
    models: ['bert-tiny'],
    honestPairs: 1,
    honest: 0.05,
    cheats: { skips: 40, edits: 3 },
    tauLeast: 0.0005,
    tauMost: 0.003,
  }

  async calibrate(
    _request: CalibrationRequest,
    onProgress: (progress: CalibrationProgress) => void,
  ): Promise<CalibrationView> {
    onProgress({ done: 0, total: 1 })
    return this.view
  }
}

export class FakeDaemon implements DaemonPort {
  evidenceBytes: Uint8Array | undefined = Uint8Array.of(4, 5)
  readonly submitted: JobRequest[] = []
  readonly blobs = new FakeBlobs()
  readonly images = new FakeImages()
  readonly calibration = new FakeCalibration()
  readonly artifacts = new Map<string, string>([
    ['model.safetensors', 'weights'],
    ['logs/eval.json', '{"accuracy":0.9}'],
  ])
  readonly listeners = new Set<(event: DaemonEvent) => void>()
  /** Artifacts that were asked for. */
  readonly read: string[] = []
  peerList: readonly PeerView[] = [makePeer()]
  current: JobView | undefined = makeJob()
  failWith: Error | undefined
  /** Called each time somebody starts to listen; lets a test act at the right moment. */
  onSubscribe: () => void = () => undefined

  async submit(request: JobRequest): Promise<{ id: string }> {
    this.#mayFail()
    this.submitted.push(request)
    return { id: JOB_ID }
  }
  async job(id: string, _signal?: AbortSignal): Promise<JobView> {
    this.#mayFail()
    if (this.current?.id.startsWith(id) !== true) {
      throw new CtdError('JOB_NOT_FOUND', `no job ${id}`, { hint: 'list yours: ctd ps' })
    }
    return this.current
  }
  async jobs(): Promise<readonly JobView[]> {
    return this.current === undefined ? [] : [this.current]
  }
  async cancel(id: string): Promise<JobView> {
    this.current = { ...(await this.job(id)), status: 'cancelled', endedMs: Date.now() }
    return this.current
  }
  async resume(id: string) {
    await this.job(id)
    return { id: JOB_ID, round: 2 }
  }
  async logs(id: string) {
    await this.job(id)
    return [{ atMs: 1_700_000_000_000, peer: PEER_B, task: 'train r1 s0', text: 'step 1' }]
  }
  async files(id: string) {
    await this.job(id)
    return [...this.artifacts].map(([path, text]) => ({
      path,
      sizeBytes: Buffer.byteLength(text),
      digest: smallBlobDigest(Buffer.from(text)),
    }))
  }
  async readFile(id: string, path: string): Promise<Readable> {
    await this.job(id)
    this.read.push(path)
    const text = this.artifacts.get(path)
    if (text === undefined) throw new CtdError('FILE_NOT_FOUND', `no file ${path}`)
    return Readable.from([Buffer.from(text)])
  }
  async transcript(id: string): Promise<Uint8Array> {
    await this.job(id)
    return Uint8Array.of(1, 2, 3)
  }
  async peers(): Promise<readonly PeerView[]> {
    return this.peerList
  }
  async evidence(): Promise<Uint8Array> {
    if (this.evidenceBytes !== undefined) return this.evidenceBytes
    throw new CtdError('EVIDENCE_MISSING', 'not kept')
  }
  async reputation(peer: string, atMs: number | undefined): Promise<ReputationView> {
    return { ...REPUTATION, peer, atMs: atMs ?? REPUTATION.atMs }
  }
  async node(): Promise<NodeView> {
    return NODE
  }
  subscribe(listener: (event: DaemonEvent) => void): () => void {
    this.listeners.add(listener)
    this.onSubscribe()
    return () => this.listeners.delete(listener)
  }
  emit(type: string, fields: Record<string, unknown> = {}): void {
    for (const listener of [...this.listeners]) listener({ type, atMs: Date.now(), fields })
  }
  #mayFail(): void {
    if (this.failWith !== undefined) throw this.failWith
  }
}

export interface Running {
  readonly daemon: FakeDaemon
  readonly home: string
  readonly socketPath: string
  stop(): Promise<void>
}

/** The real server over a fake daemon, in a folder of its own. */
export async function startFake(options: Partial<ApiServerOptions> = {}): Promise<Running> {
  const home = await mkdtemp(join(tmpdir(), 'ctd-api-'))
  const socketPath = join(home, 'run', 'ctd.sock')
  const daemon = new FakeDaemon()
  const server = createApiServer(daemon, { socketPath, ...options })
  await server.start()
  return {
    daemon,
    home,
    socketPath,
    async stop() {
      await server.stop()
      await rm(home, { recursive: true, force: true })
    },
  }
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  // Tests read what they expect; a wrong shape fails the assertion.
  readonly json: any
}

export interface AskOptions {
  readonly method?: string
  readonly json?: unknown
  readonly bytes?: Buffer | Readable
  readonly headers?: Record<string, string>
}

export async function ask(
  socketPath: string,
  path: string,
  options: AskOptions = {},
): Promise<Answer> {
  const body =
    options.json === undefined ? options.bytes : Buffer.from(JSON.stringify(options.json))
  const type = options.json === undefined ? 'application/octet-stream' : 'application/json'
  return await new Promise<Answer>((resolve, reject) => {
    const request = httpRequest(
      {
        socketPath,
        path,
        method: options.method ?? (body === undefined ? 'GET' : 'POST'),
        headers: { ...(body === undefined ? {} : { 'content-type': type }), ...options.headers },
        agent: false,
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          const isJson = /[/+]json/.test(response.headers['content-type'] ?? '')
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            json: isJson ? JSON.parse(text) : undefined,
          })
        })
      },
    )
    request.on('error', reject)
    if (body instanceof Readable) body.pipe(request)
    else request.end(body)
  })
}
