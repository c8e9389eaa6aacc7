/**
 * What the tests on real daemons share: a network of processes in a folder of its own, jobs, and
 * questions to the engine. Everything that a stage started is gone when it is closed.
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import type { JobView, PeerView, RunRequest } from '../../src/api/daemon-port.js'
import type { ApiClient } from '../../src/cli/client.js'
import { DockerRuntime } from '../../src/container/docker-runtime.js'
import { LocalNetwork, jobEnded, until, watch } from '../../scripts/local-network.js'
import type { LocalPeer, PeerOptions } from '../../scripts/local-network.js'
import { ROOT } from '../container/harness.js'

export { SKIP } from '../container/harness.js'

/** Of every wait here; generous, for machines that do other things as well. */
export const PATIENCE_MS = 90_000
const ENGINE_SOCKET = '/var/run/docker.sock'

export class Stage {
  readonly dir: string
  readonly name: string
  readonly network: LocalNetwork
  readonly #onClosed: Array<() => Promise<unknown>> = []

  private constructor(dir: string) {
    this.dir = dir
    this.name = `test-${dir.slice(-6)}`
    this.network = new LocalNetwork({ dir, network: this.name })
  }

  /**
   * A folder with a short path: the sockets of the daemons lie in it. To be opened outside of any
   * hook; it is closed after the tests. CTD_TEST_KEEP=1 leaves the folder with the logs.
   */
  static async open(): Promise<Stage> {
    const stage = new Stage(await mkdtemp(join(tmpdir(), 'ctd-it-')))
    after(() => stage.close())
    return stage
  }

  start(name: string, options: Omit<PeerOptions, 'name'> = {}): Promise<LocalPeer> {
    return this.network.start({ name, ...options })
  }

  /** Daemons that only take part and those that execute, all started at the same time. */
  async startAll(executors: readonly string[], others: readonly string[]): Promise<LocalPeer[]> {
    return Promise.all([
      ...executors.map((name) => this.start(name)),
      ...others.map((name) => this.start(name, { execute: false })),
    ])
  }

  /** To be done once the daemons have stopped, before the folder goes. */
  onClosed(undo: () => Promise<unknown>): void {
    this.#onClosed.push(undo)
  }

  async close(): Promise<void> {
    await this.network.stop()
    for (const undo of this.#onClosed.toReversed()) await undo()
    const runtime = new DockerRuntime()
    for (const { peerId } of this.network.peers) {
      // What a killed daemon left running; without an engine nothing was.
      if (peerId !== '') await runtime.cleanUp(peerId, []).catch(() => 0)
    }
    if (process.env['CTD_TEST_KEEP'] === '1') console.error(`kept: ${this.dir}`)
    else await rm(this.dir, { recursive: true, force: true })
  }
}

/** The script of a test build. */
export function build(name: string): string {
  return join(ROOT, 'test/builds', `${name}.ts`)
}

/** Resolves when a daemon is connected to all these and knows what they measured. */
export async function knows(peer: LocalPeer, others: readonly LocalPeer[]): Promise<void> {
  await Promise.all(others.map((other) => other.benchmarked()))
  await until(`${peer.name} to know the others`, PATIENCE_MS, async () => {
    const views = await peersOf(peer)
    const isReady = others.every((other) => {
      const view = views.find((candidate) => candidate.peer === other.peerId)
      return view?.connected === true && view.cpuGflops > 0
    })
    return isReady ? true : undefined
  })
}

export async function peersOf(peer: LocalPeer): Promise<readonly PeerView[]> {
  return peer.client.get<readonly PeerView[]>('/v1/peers')
}

/** What one peer thinks of another. */
export async function viewOf(peer: LocalPeer, other: LocalPeer): Promise<PeerView> {
  const view = (await peersOf(peer)).find((candidate) => candidate.peer === other.peerId)
  assert.ok(view, `${peer.name} knows ${other.name}`)
  return view
}

/** A shell script in the small image, unless the changes say otherwise. */
export function shellJob(script: string, changes: Partial<RunRequest> = {}): RunRequest {
  return {
    kind: 'run',
    image: 'test',
    command: ['/bin/sh', '-c', script],
    seed: 'test',
    memoryMiB: 64,
    outMiB: 8,
    timeoutMs: 60_000,
    // The hidden replica is drawn by chance; tests that want one ask for it.
    auditPpm: 0,
    ...changes,
  }
}

export async function submit(client: ApiClient, job: RunRequest): Promise<string> {
  return (await client.post<{ id: string }>('/v1/jobs', job)).id
}

/** Submits and waits for the end, whatever it is. */
export async function run(client: ApiClient, job: RunRequest): Promise<JobView> {
  return finished(client, await submit(client, job))
}

export async function finished(client: ApiClient, id: string): Promise<JobView> {
  await jobEnded(client, id, PATIENCE_MS)
  return client.get<JobView>(`/v1/jobs/${id}`)
}

/** Runs a job that must succeed. */
export async function succeed(client: ApiClient, job: RunRequest): Promise<JobView> {
  const view = await run(client, job)
  assert.equal(view.status, 'succeeded', `${view.code}: ${view.reason}`)
  return view
}

/** What became of each executor of a job's first task, by the names of the peers. */
export function outcomes(view: JobView, peers: readonly LocalPeer[]): Record<string, string> {
  const replicas = view.tasks[0]?.replicas ?? []
  return Object.fromEntries(
    replicas.map(({ peer, phase }) => [
      peers.find((candidate) => candidate.peerId === peer)?.name ?? peer,
      phase,
    ]),
  )
}

/** The bytes of an artifact as text. */
export async function fileText(client: ApiClient, id: string, path: string): Promise<string> {
  return text(client, `/v1/jobs/${id}/file?path=${encodeURIComponent(path)}`)
}

export async function text(client: ApiClient, path: string): Promise<string> {
  return (await bytes(client, path)).toString('utf8')
}

export async function bytes(client: ApiClient, path: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of await client.download(path)) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

export interface Told {
  readonly type: string
  readonly fields: Readonly<Record<string, unknown>>
}

/**
 * Resolves with the first event of a daemon that fits. Subscribe before causing it: the promise
 * inside is the event.
 */
export async function nextEvent(
  peer: LocalPeer,
  fits: (event: Told) => boolean,
): Promise<{ readonly event: Promise<Told> }> {
  const end = new AbortController()
  let found: (event: Told) => void = () => undefined
  const event = new Promise<Told>((resolve) => {
    found = resolve
  })
  const patience = AbortSignal.timeout(PATIENCE_MS)
  const signal = AbortSignal.any([end.signal, patience])
  const watching = watch(peer.client, signal, (type, fields) => {
    if (fits({ type, fields })) found({ type, fields })
  }).then(() => {
    if (end.signal.aborted) return
    throw new Error(`${peer.name} did not tell the event in time`)
  })
  const told = Promise.race([event, watching.then(() => event)]).finally(() => end.abort())
  told.catch(() => undefined) // Whoever awaits the event meets the error.
  // The daemon answers one request after another: this one was sent later than the subscription.
  await peer.client.get('/v1/health')
  return { event: told }
}

/** Ids of the containers that the engine has of a peer, running or not. */
export async function containersOf(peerId: string): Promise<readonly string[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [`ctd.node=${peerId}`] }))
  const found = await engine<ReadonlyArray<{ Id: string }>>(
    'GET',
    `/containers/json?all=1&filters=${filters}`,
  )
  return found.map(({ Id }) => Id)
}

/** One question to the engine, as JSON; undefined where the engine has no such thing. */
export function engine<T>(method: string, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: ENGINE_SOCKET, method, path }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
      })
      response.on('end', () => resolve(JSON.parse(body === '' ? 'null' : body) as T))
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end()
  })
}
