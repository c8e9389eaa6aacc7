/**
 * A task image travels from one peer to four that lack it, while a job waits for it with visible
 * progress; two of the four are killed on the way, come back and go on where they were.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, open, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import type { FetchingView } from '../src/api/answers.js'
import type { BlobView } from '../src/api/blob-port.js'
import type { JobView, PeerView } from '../src/api/daemon-port.js'
import {
  hashLayer,
  tarHeader,
  tarPadding,
  writeImageArchive,
} from '../src/container/image-archive.js'
import type { LayerFile, WrittenImage } from '../src/container/image-archive.js'
import { CtdError } from '../src/errors.js'
import { logged, megabytes, peakRssBytes, seededBytes } from './faults-show.js'
import type { Promised, Show, ShowOptions } from './faults-show.js'
import { CTD, hasEnded, until, watch } from './local-network.js'
import type { LocalPeer } from './local-network.js'
import { ENGINE_SOCKET } from './setup.js'

export interface ImageShowOptions extends ShowOptions {
  /** What the image is made of beside its padding. */
  readonly base: 'cpu' | 'test'
  /** Of every peer's line, down and up; all of the machine where absent. */
  readonly lineMiBps?: number
}

const ROOT = join(import.meta.dirname, '..')
const BUILD = join(ROOT, 'test/builds/own-images.ts')
const CACHE = process.env['CTD_IMAGE_CACHE'] ?? join(ROOT, '.cache/images')
const LAYERS = {
  cpu: ['rootfs.tar', 'cpu-programs.tar'],
  test: ['test-layer.tar'],
} as const
const MIB = 1024 ** 2
const EXECUTORS = ['ann', 'bob', 'cem', 'dot'] as const
const VICTIMS = 2
/** Where of the fetch a victim is killed. */
const KILL_FROM = 0.2
const KILL_TO = 0.85
const JOB_MS = 20 * 60_000
const READY_MS = 90_000
const LOOK_MS = 200
const HEAD_BYTES = 4096
/** More than any daemon may ever hold in memory here, bytes. */
const RSS_MAX_BYTES = 512 * MIB

export async function playImage(options: ImageShowOptions): Promise<Show> {
  const { network, say, mib } = options
  const startedMs = Date.now()
  say(`\nWriting an image of ${mib} MiB that no peer but one has ...`)
  const image = await writeImage(options)
  try {
    const roomMiB = Math.ceil(2 * mib + 2048)
    const lineMiBps = options.lineMiBps ?? 0
    const config = {
      ...{ diskMiB: roomMiB, imageMiB: roomMiB },
      ...{ uploadMiBps: lineMiBps, downloadMiBps: lineMiBps },
    }
    const requester = await network.start({ name: 'requester', execute: false, config })
    const bootstrap = requester.node?.addresses.slice(0, 1) ?? []
    const start = (name: string): Promise<LocalPeer> =>
      network.start({ name, build: BUILD, bootstrap, config, env: DEBUG })
    const executors = await Promise.all(EXECUTORS.map(start))
    await known(requester, executors)
    say("  one requester has it; four executors lack it. They share this machine's one container")
    say('  engine, so each is a test build that sees in it only what it loaded itself; stores of')
    say("  blobs, fetches, checks and restarts are each daemon's own and the product's.")
    const run = new ImageRun({ ...options, image, requester, executors, start })
    return await run.play(startedMs)
  } finally {
    await removeImage(image.ref)
  }
}

const DEBUG = { CTD_LOG_LEVEL: 'debug' }

interface Shipped {
  readonly ref: WrittenImage
  readonly reference: string
  /** The first bytes of the padding, which the task copies to its output. */
  readonly head: Buffer
}

interface Parts extends ImageShowOptions {
  readonly image: Shipped
  readonly requester: LocalPeer
  readonly executors: readonly LocalPeer[]
  readonly start: (name: string) => Promise<LocalPeer>
}

interface Victim {
  readonly name: string
  readonly peerId: string
  readonly killedMs: number
  /** Pieces that were right on its disk when it was dead. */
  readonly onDisk: ReadonlySet<number>
}

/** Pieces as a daemon's own log tells them. */
interface Counted {
  readonly name: string
  readonly pieces: number
  readonly verified: number
  /** Pieces that were verified more than once, or came again after a restart. */
  readonly twice: number
  /** Came a moment after another peer had brought them: the last pieces are asked of two. */
  readonly overlaps: number
  readonly onDiskAtKill?: number
  readonly afterRestart?: number
}

class ImageRun {
  readonly #parts: Parts
  readonly #peers: Map<string, LocalPeer>
  readonly #promises: Promised[] = []
  readonly #peakRss = new Map<string, number>()
  readonly #started = new Map<string, Set<string>>()
  readonly #watching = new AbortController()
  readonly #jobs: string[] = []
  #samples = 0
  /** The last whole look at every executor. */
  readonly #shown = new Map<string, FetchingView>()

  constructor(parts: Parts) {
    this.#parts = parts
    this.#peers = new Map(parts.executors.map((peer) => [peer.peerId, peer]))
  }

  async play(startedMs: number): Promise<Show> {
    const { say, image } = this.#parts
    const looking = this.#look()
    // Its failure is met where it is waited for.
    looking.catch(() => {})
    try {
      const submittedMs = Date.now()
      const first = await this.#submit('first')
      const victims = await this.#killMidway(first)
      const restartedMs = Date.now()
      const second = await this.#restart(victims)
      const jobs = await this.#finish(first, second)
      this.#watching.abort()
      await looking
      this.#promise(
        'a job waits with visible progress: bytes, rate, time left and sources of each executor',
        this.#shown.size === EXECUTORS.length,
        `of ${this.#shown.size} in ${this.#samples} samples of GET /job-status`,
      )
      const endedMs = Date.now()
      await this.#checkJobs(first, second, jobs)
      const counts = await this.#count(victims)
      await this.#checkStores(counts)
      await this.#sampleMemory()
      const peakRssMb = Object.fromEntries(
        [...this.#peakRss].map(([name, bytes]) => [name, megabytes(bytes)]),
      )
      const worst = Math.max(...this.#peakRss.values())
      this.#promise(
        `no daemon ever holds ${RSS_MAX_BYTES / MIB} MiB of memory`,
        worst < RSS_MAX_BYTES,
        `at most ${megabytes(worst)} MB`,
      )
      say(`  peak memory: ${JSON.stringify(peakRssMb)} MB`)
      const figures = {
        imageBytes: image.ref.sizeBytes,
        pieces: Math.ceil(image.ref.sizeBytes / MIB),
        prepareSeconds: seconds(submittedMs - startedMs),
        untilKillSeconds: seconds(restartedMs - submittedMs),
        restSeconds: seconds(endedMs - restartedMs),
        progressSamples: this.#samples,
        progressSeen: [...this.#shown.values()],
        counts,
        peakRssMb,
      }
      return { promises: this.#promises, figures }
    } finally {
      this.#watching.abort()
      await looking
    }
  }

  #promise(promise: string, isSeen: boolean, detail = ''): void {
    this.#promises.push({ promise, isSeen, detail })
  }

  /** A job of one task that reads the image's last layer; all four have to run it. */
  async #submit(seed: string): Promise<string> {
    const { requester, image } = this.#parts
    const script = `head -c ${HEAD_BYTES} /opt/padding.bin > /out/head.bin; echo ${seed} > /out/seed`
    const { id } = await requester.client.post<{ id: string }>('/v1/jobs', {
      kind: 'run',
      image: image.reference,
      command: ['/bin/sh', '-c', script],
      seed,
      replicas: EXECUTORS.length,
      auditPpm: 0,
      memoryMiB: 64,
      outMiB: 8,
      timeoutMs: 600_000,
    })
    this.#jobs.push(id)
    return id
  }

  /** Resolves when two executors that were on the way are dead. */
  async #killMidway(id: string): Promise<readonly Victim[]> {
    const { requester, say } = this.#parts
    const sizeBytes = this.#parts.image.ref.sizeBytes
    let told = 0
    const due = await until('two executors to be on the way', JOB_MS, async () => {
      const fetching = await this.#progressOf(id)
      if (Date.now() - told > 5000) {
        for (const line of fetching) say(`    ${this.#nameOf(line.peer)}  ${words(line)}`)
        if (fetching.length > 0) told = Date.now()
      }
      const isMidway = (share: number): boolean => share >= KILL_FROM && share <= KILL_TO
      const midway = fetching.filter(({ doneBytes }) => isMidway(doneBytes / sizeBytes))
      return midway.length >= VICTIMS ? midway.slice(0, VICTIMS) : undefined
    })
    const { stdout } = await promisify(execFile)(process.execPath, [
      CTD,
      ...['status', '--home', requester.home],
    ])
    const lines = stdout.split('\n').filter((line) => line.startsWith('fetching'))
    for (const line of lines) say(`    ctd status | ${line}`)
    this.#promise('ctd status shows how the fetches go', lines.length > 0, lines.join('; '))
    await this.#sampleMemory()
    const victims = due.flatMap(({ peer }) => this.#peers.get(peer) ?? [])
    await Promise.all(victims.map((victim) => victim.kill()))
    return Promise.all(
      victims.map(async (victim) => {
        const onDisk = await piecesOnDisk(victim.home, sizeBytes)
        say(
          `  x ${victim.name} was killed (SIGKILL) with ${onDisk.size} verified pieces on its disk`,
        )
        return { name: victim.name, peerId: victim.peerId, killedMs: Date.now(), onDisk }
      }),
    )
  }

  /** Looks at the jobs all the time, also while others are killed and started. */
  async #look(): Promise<void> {
    while (!this.#watching.signal.aborted) {
      for (const id of this.#jobs) await this.#progressOf(id)
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    }
  }

  /** One look at `GET /job-status`. */
  async #progressOf(id: string): Promise<readonly FetchingView[]> {
    const { client } = this.#parts.requester
    const { fetching } = await client.get<{ fetching: readonly FetchingView[] }>(
      `/job-status?id=${id}`,
    )
    this.#samples += 1
    for (const view of fetching) if (this.#isWhole(view)) this.#shown.set(view.peer, view)
    return fetching
  }

  #isWhole(view: FetchingView): boolean {
    const { what, doneBytes, totalBytes, bytesPerSecond, etaMs, sources } = view
    const isImage = what === 'image' && totalBytes === this.#parts.image.ref.sizeBytes
    return isImage && doneBytes > 0 && bytesPerSecond > 0 && etaMs !== null && sources.length > 0
  }

  /** Starts the dead anew and submits a job that needs all four. @returns its id */
  async #restart(victims: readonly Victim[]): Promise<string> {
    const { start, say, requester } = this.#parts
    for (const peer of this.#peers.values()) if (peer.isRunning) this.#watchStarts(peer)
    await Promise.all(
      victims.map(async ({ name, peerId }) => {
        const peer = await start(name)
        if (peer.peerId !== peerId) throw new CtdError('SHOW_FAILED', `${name} is somebody else`)
        this.#peers.set(peerId, peer)
        this.#watchStarts(peer)
      }),
    )
    await known(requester, [...this.#peers.values()])
    say('  + both are back; a second job asks for all four')
    return this.#submit('second')
  }

  /** Which jobs' containers a daemon starts, as it tells itself. */
  #watchStarts(peer: LocalPeer): void {
    watch(peer.client, this.#watching.signal, (type, fields) => {
      if (type !== 'replica:started' || fields['kind'] !== 'container') return
      const id = String(fields['jobId'])
      this.#started.set(id, (this.#started.get(id) ?? new Set()).add(peer.peerId))
    }).catch((error: unknown) => {
      // A daemon that left; what it started before is known.
      this.#parts.say(`    ${peer.name}: ${String(error)}`)
    })
  }

  async #finish(...ids: readonly string[]): Promise<readonly JobView[]> {
    const { client } = this.#parts.requester
    return until('the jobs to end', JOB_MS, async () => {
      const views = await Promise.all(ids.map((id) => client.get<JobView>(`/v1/jobs/${id}`)))
      return views.every(({ status }) => hasEnded(status)) ? views : undefined
    })
  }

  async #checkJobs(first: string, second: string, jobs: readonly JobView[]): Promise<void> {
    const { requester, image } = this.#parts
    for (const job of jobs) {
      const agreed = job.tasks.flatMap(({ replicas }) =>
        replicas.filter(({ phase }) => phase === 'agreed').map(({ peer }) => this.#nameOf(peer)),
      )
      const isFirst = job.id === first
      const wanted = isFirst ? EXECUTORS.length - VICTIMS : EXECUTORS.length
      const chunks: Buffer[] = []
      if (job.status === 'succeeded') {
        const path = `/v1/jobs/${job.id}/file?path=output%2Fhead.bin`
        for await (const chunk of await requester.client.download(path))
          chunks.push(chunk as Buffer)
      }
      const isRight = Buffer.concat(chunks).equals(image.head)
      this.#promise(
        isFirst
          ? 'the waiting job succeeds though two of its executors were killed'
          : 'all four, the killed ones too, run a task in the image that travelled',
        job.status === 'succeeded' && isRight && agreed.length >= wanted,
        `${job.status} ${job.reason}, agreed: ${agreed.join(' ')}`,
      )
    }
    const started = [...(this.#started.get(second) ?? [])]
    this.#promise(
      'each of the four started a container of the second job',
      started.length === EXECUTORS.length,
      `${started.length} by their own events`,
    )
  }

  /** Counts from the logs of the daemons, and from the disks of the killed ones. */
  async #count(victims: readonly Victim[]): Promise<readonly Counted[]> {
    const pieces = Math.ceil(this.#parts.image.ref.sizeBytes / MIB)
    const counts: Counted[] = []
    for (const peer of this.#peers.values()) {
      const lines = await logged(peer, 'a piece was verified')
      const ofImage = lines.filter(({ digest }) => digest === digestOf(lines))
      const seen = new Set<number>()
      let twice = 0
      let overlaps = 0
      const victim = victims.find(({ peerId }) => peerId === peer.peerId)
      let afterRestart = 0
      for (const { piece, isNew, time } of ofImage) {
        const index = Number(piece)
        const isAfter = victim !== undefined && Number(time) > victim.killedMs
        if (isAfter) afterRestart += 1
        if (isNew !== true) overlaps += 1
        else if (seen.has(index) || (isAfter && victim.onDisk.has(index))) twice += 1
        seen.add(index)
      }
      counts.push({
        ...{ name: peer.name, pieces, verified: seen.size, twice, overlaps },
        ...(victim && { onDiskAtKill: victim.onDisk.size, afterRestart }),
      })
    }
    for (const count of counts) this.#parts.say(`    ${JSON.stringify(count)}`)
    const twice = counts.reduce((sum, count) => sum + count.twice, 0)
    const kept = counts.flatMap(({ onDiskAtKill }) => onDiskAtKill ?? [])
    this.#promise(
      'no verified piece is fetched twice, killed or not',
      twice === 0 && kept.length === VICTIMS && kept.every((count) => count > 0 && count < pieces),
      `${twice} fetched twice; ${kept.join(' and ')} of ${pieces} pieces were kept over the kill`,
    )
    return counts
  }

  async #checkStores(counts: readonly Counted[]): Promise<void> {
    const { sizeBytes } = this.#parts.image.ref
    const whole: string[] = []
    for (const peer of this.#peers.values()) {
      const blobs = await peer.client.get<readonly BlobView[]>('/v1/blobs?all=true')
      if (blobs.some((blob) => blob.sizeBytes === sizeBytes)) whole.push(peer.name)
    }
    const isCounted = counts.every(
      ({ verified, pieces, onDiskAtKill }) => verified === pieces || onDiskAtKill !== undefined,
    )
    this.#promise(
      'each of the four has every piece, verified, in a store of its own',
      whole.length === EXECUTORS.length && isCounted,
      whole.join(' '),
    )
  }

  async #sampleMemory(): Promise<void> {
    for (const peer of [this.#parts.requester, ...this.#peers.values()]) {
      const before = this.#peakRss.get(peer.name) ?? 0
      this.#peakRss.set(peer.name, Math.max(before, await peakRssBytes(peer)))
    }
  }

  #nameOf(peerId: string): string {
    return this.#peers.get(peerId)?.name ?? peerId.slice(-6)
  }
}

/** The blob of most pieces: the image, for there is no other of more than one. */
function digestOf(lines: ReadonlyArray<Readonly<Record<string, unknown>>>): unknown {
  const counts = new Map<unknown, number>()
  for (const { digest } of lines) counts.set(digest, (counts.get(digest) ?? 0) + 1)
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0]
}

function words({ doneBytes, totalBytes, bytesPerSecond, etaMs, sources }: FetchingView): string {
  const share = totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes)
  const left = etaMs === null ? '' : `, ${Math.ceil(etaMs / 1000)} s left`
  return `${share} % of ${megabytes(totalBytes)} MB at ${megabytes(bytesPerSecond)} MB/s${left}, ${sources.length} sources`
}

function seconds(ms: number): number {
  return Math.round(ms / 100) / 10
}

async function known(requester: LocalPeer, executors: readonly LocalPeer[]): Promise<void> {
  await Promise.all(executors.map((peer) => peer.benchmarked()))
  await until('the requester to know the executors', READY_MS, async () => {
    const peers = await requester.client.get<readonly PeerView[]>('/v1/peers')
    const isReady = executors.every(({ peerId }) =>
      peers.some(({ peer, connected, cpuGflops }) => peer === peerId && connected && cpuGflops > 0),
    )
    return isReady ? true : undefined
  })
}

/** The task image with a layer of incompressible bytes on top, the same for the same seed. */
async function writeImage({ dir, mib, seed, base, signal }: ImageShowOptions): Promise<Shipped> {
  const folder = join(dir, 'image')
  await mkdir(folder)
  const below: LayerFile[] = []
  for (const name of LAYERS[base]) below.push(await hashLayer(join(CACHE, name), signal))
  const belowBytes = below.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const paddingBytes = mib * MIB - belowBytes
  if (paddingBytes < MIB) {
    throw new CtdError('USAGE', `an image of ${mib} MiB has no room for its base`, {
      hint: 'ask for more with --mib, or take --base test',
    })
  }
  const layerPath = join(folder, 'padding.tar')
  function* layer(): Generator<Uint8Array> {
    const fixed = { mode: 0o755, epochSeconds: 0 } as const
    yield tarHeader({ ...fixed, path: 'opt/', typeFlag: '5', sizeBytes: 0 })
    const file = { ...fixed, mode: 0o644, typeFlag: '0' } as const
    yield tarHeader({ ...file, path: 'opt/padding.bin', sizeBytes: paddingBytes })
    yield* seededBytes(seed, paddingBytes)
    yield tarPadding(paddingBytes)
    yield new Uint8Array(1024)
  }
  await pipeline(Readable.from(layer()), createWriteStream(layerPath), { signal })
  const [head = new Uint8Array()] = seededBytes(seed, HEAD_BYTES)
  const settings = {
    name: `computetorrent/faults-${createHash('sha256').update(`${seed}/${mib}`).digest('hex').slice(0, 12)}:dev`,
    createdEpochSeconds: 0,
    command: ['sh'],
    env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
    labels: { 'io.computetorrent.image': 'faults' },
  }
  const layers = [...below, await hashLayer(layerPath, signal)]
  const ref = await writeImageArchive(settings, layers, join(folder, 'image.tar'), signal)
  await rm(layerPath)
  const reference = join(folder, 'ref.json')
  await writeFile(reference, JSON.stringify(ref))
  return { ref, reference, head: Buffer.from(head) }
}

/** The pieces in a dead daemon's unfinished fetch whose hash is the manifest's; by no code of ours. */
async function piecesOnDisk(home: string, sizeBytes: number): Promise<ReadonlySet<number>> {
  const folder = join(home, 'blobs', 'partial')
  const right = new Set<number>()
  for (const name of await readdir(folder)) {
    if (!/^[0-9a-f]{64}$/.test(name)) continue
    const manifest = await readFile(join(folder, `${name}.manifest`))
    if (manifest.readBigUInt64BE(0) !== BigInt(sizeBytes)) continue
    const file = await open(join(folder, name))
    const { size } = await file.stat()
    const buffer = Buffer.alloc(MIB)
    for (let index = 0; index * MIB < Math.min(size, sizeBytes); index += 1) {
      const length = Math.min(MIB, sizeBytes - index * MIB)
      const { bytesRead } = await file.read(buffer, 0, length, index * MIB)
      const hash = createHash('sha256').update(buffer.subarray(0, bytesRead)).digest()
      if (hash.equals(manifest.subarray(8 + 32 * index, 40 + 32 * index))) right.add(index)
    }
    await file.close()
  }
  return right
}

/** Takes the image of this show out of the engine, where it was loaded. */
async function removeImage({ configDigest }: WrittenImage): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const path = `/images/sha256:${configDigest}?force=1`
    const asked = request({ socketPath: ENGINE_SOCKET, method: 'DELETE', path }, (response) => {
      response.resume()
      response.once('end', resolve)
    })
    asked.once('error', reject)
    asked.end()
  })
}
