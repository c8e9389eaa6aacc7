/**
 * A task image travels from one peer to four that lack it, while a job waits for it with visible
 * progress; two of the four are killed on the way, come back and go on where they were.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { FetchingView } from '../src/api/answers.js'
import type { BlobView } from '../src/api/blob-port.js'
import type { JobView } from '../src/api/daemon-port.js'
import { CtdError } from '../src/errors.js'
import { HEAD_BYTES, piecesOnDisk, removeImage, writeImage } from './faults-image-file.js'
import type { Shipped } from './faults-image-file.js'
import { known, logged, megabytes, peakRssBytes } from './faults-show.js'
import type { Promised, Show, ShowOptions } from './faults-show.js'
import { CTD, hasEnded, until, watch } from './local-network.js'
import type { LocalPeer } from './local-network.js'

export interface ImageShowOptions extends ShowOptions {
  /** What the image is made of beside its padding. */
  readonly base: 'cpu' | 'test'
  /** Of every peer's line, down and up; all of the machine where absent. */
  readonly lineMiBps?: number
}

const BUILD = join(import.meta.dirname, '..', 'test/builds/own-images.ts')
const MIB = 1024 ** 2
const EXECUTORS = ['ann', 'bob', 'cem', 'dot'] as const
const VICTIMS = 2
/** Where of the fetch a victim is killed. */
const KILL_FROM = 0.2
const KILL_TO = 0.85
const JOB_MS = 20 * 60_000
const LOOK_MS = 200
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
