/**
 * A network of daemons on this machine: every one a process of its own with its own home and
 * identity, on loopback. The demo, the devnet and the integration tests stand on it.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { NodeView, PeerView } from '../src/api/daemon-port.js'
import { ApiClient } from '../src/cli/client.js'
import { socketPathOf } from '../src/cli/home.js'
import { CtdError, errorMessage } from '../src/errors.js'

const ROOT = join(import.meta.dirname, '..')
/** The compiled program, as users run it. */
export const CTD = join(ROOT, 'dist/cli/ctd.js')
/** As in the first line of the program: with V8's own 16 MiB an idle daemon holds 30 MB more. */
export const NODE_FLAGS = ['--max-semi-space-size=4']
/** A busy machine takes its time to load a program. */
const START_MS = 180_000
const STOP_MS = 30_000
/** Between two questions: at first, and at most. Dozens of waits at once must not load a machine. */
const POLL_MS = 50
const POLL_MAX_MS = 400

export interface PeerOptions {
  readonly name: string
  readonly role?: 'peer' | 'bootstrap'
  /** False for a peer that only submits. */
  readonly execute?: boolean
  /** A test build to run instead of the product: a script that takes the same flags. */
  readonly build?: string
  /** Written into the home's `config.yaml` as JSON, which is YAML. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly bootstrap?: readonly string[]
  /** Where it listens instead of any free port of loopback. */
  readonly listen?: string
  readonly env?: Readonly<Record<string, string>>
}

/** One daemon's process and the client of its socket. */
export class LocalPeer {
  readonly name: string
  readonly home: string
  readonly client: ApiClient
  readonly process: ChildProcess
  node: NodeView | undefined
  #exited: Promise<void>

  constructor(name: string, home: string, process: ChildProcess) {
    this.name = name
    this.home = home
    this.process = process
    this.client = new ApiClient({ socketPath: socketPathOf(home) })
    this.#exited = new Promise((resolve) => {
      process.once('exit', () => {
        resolve()
      })
    })
  }

  get peerId(): string {
    return this.node?.peer ?? ''
  }

  get socket(): string {
    return socketPathOf(this.home)
  }

  get isRunning(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  /** Resolves when the socket answers. @throws CtdError PEER_START_FAILED */
  async answering(): Promise<NodeView> {
    this.node = await until(`${this.name} to answer`, START_MS, async () => {
      if (!this.isRunning) {
        const log = `${this.home}.log`
        throw new CtdError('PEER_START_FAILED', `${this.name} ended at once; see ${log}`)
      }
      return this.client.get<NodeView>('/v1/node').catch(() => undefined)
    })
    return this.node
  }

  /** Resolves when the machine was measured and the record announced. */
  async benchmarked(): Promise<PeerView> {
    return until(`the benchmark of ${this.name}`, START_MS, async () => {
      const peers = await this.client.get<readonly PeerView[]>('/v1/peers')
      return peers.find((peer) => peer.self && peer.benchmarkedMs > 0)
    })
  }

  /** As if the power had failed. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.#exited
  }

  /** SIGTERM, and SIGKILL after a deadline. */
  async stop(): Promise<void> {
    if (!this.isRunning) return
    this.process.kill('SIGTERM')
    const timer = setTimeout(() => this.process.kill('SIGKILL'), STOP_MS)
    await this.#exited
    clearTimeout(timer)
  }
}

export interface NetworkOptions {
  /** Folder for the homes and logs; short, for unix sockets have at most 107 bytes of path. */
  readonly dir: string
  readonly network: string
  readonly image?: string
  /** Command that starts the daemons' programs, such as one that changes the network namespace. */
  readonly prefix?: readonly string[]
}

export class LocalNetwork {
  readonly peers: LocalPeer[] = []
  readonly #options: NetworkOptions
  readonly #bootstrap: string[] = []

  constructor(options: NetworkOptions) {
    this.#options = options
  }

  get bootstrap(): readonly string[] {
    return this.#bootstrap
  }

  /** Starts a daemon and waits until its socket answers; bootstrap nodes are known to later ones. */
  async start(options: PeerOptions): Promise<LocalPeer> {
    const home = join(this.#options.dir, options.name)
    await mkdir(home, { recursive: true, mode: 0o700 })
    if (options.config !== undefined) {
      await writeFile(join(home, 'config.yaml'), JSON.stringify(options.config), { mode: 0o600 })
    }
    const peer = new LocalPeer(options.name, home, this.#spawn(home, options))
    this.peers.push(peer)
    const node = await peer.answering()
    if (options.role === 'bootstrap') this.#bootstrap.push(...node.addresses.slice(0, 1))
    return peer
  }

  #spawn(home: string, options: PeerOptions): ChildProcess {
    const bootstrap = options.bootstrap ?? this.#bootstrap
    const program =
      options.build === undefined ? [...NODE_FLAGS, CTD] : ['--import', 'tsx', options.build]
    const args = [
      ...program,
      'start',
      ...['--home', home],
      ...['--network', this.#options.network],
      ...['--preset', 'local'],
      ...['--listen', options.listen ?? '/ip4/127.0.0.1/tcp/0'],
      ...(bootstrap.length === 0 ? [] : ['--bootstrap', ...bootstrap]),
      ...(options.role === undefined ? [] : ['--role', options.role]),
      ...(options.execute === false ? ['--no-execute'] : []),
    ]
    const log = createWriteStream(`${home}.log`, { flags: 'a' })
    const command = [...(this.#options.prefix ?? []), process.execPath, ...args]
    const child = spawn(command[0] as string, command.slice(1), {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        CTD_LOG_LEVEL: 'info',
        ...(this.#options.image === undefined ? {} : { CTD_IMAGE: this.#options.image }),
        ...options.env,
      },
    })
    child.stdout?.pipe(log, { end: false })
    child.stderr?.pipe(log, { end: false })
    return child
  }

  /** Stops every daemon that still runs, the last started first. */
  async stop(): Promise<void> {
    await Promise.all(this.peers.toReversed().map((peer) => peer.stop()))
  }
}

/**
 * Asks again until there is an answer.
 *
 * @throws CtdError WAIT_TIMED_OUT; what `ask` throws
 */
export async function until<T>(
  what: string,
  ms: number,
  ask: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + ms
  for (let pauseMs = POLL_MS; ; pauseMs = Math.min(1.2 * pauseMs, POLL_MAX_MS)) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (Date.now() > deadline) {
      throw new CtdError('WAIT_TIMED_OUT', `waited ${ms / 1000} s for ${what}`)
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}

/** The end of a job that is being followed. */
export interface Ended {
  readonly status: string
  readonly code: string
  readonly reason: string
  readonly result: Readonly<Record<string, unknown>> | null
}

const ENDED = new Set(['succeeded', 'failed', 'cancelled'])

export function hasEnded(status: string): boolean {
  return ENDED.has(status)
}

/** Resolves when a job has ended. @throws CtdError WAIT_TIMED_OUT */
export async function jobEnded(client: ApiClient, id: string, ms: number): Promise<Ended> {
  return until(`job ${id.slice(0, 8)} to end`, ms, async () => {
    const view = await client.get<Ended>(`/v1/jobs/${id}`)
    return hasEnded(view.status) ? view : undefined
  })
}

/** Calls back for every event of a daemon until the signal; a daemon that ends ends it too. */
export function watch(
  client: ApiClient,
  signal: AbortSignal,
  onEvent: (type: string, fields: Readonly<Record<string, unknown>>) => void,
): Promise<void> {
  return (async () => {
    try {
      for await (const { data } of client.events(signal)) {
        const event = JSON.parse(data) as { type: string; fields: Record<string, unknown> }
        onEvent(event.type, event.fields)
      }
    } catch (error) {
      if (!signal.aborted) throw new CtdError('EVENTS_LOST', errorMessage(error), { cause: error })
    }
  })()
}
