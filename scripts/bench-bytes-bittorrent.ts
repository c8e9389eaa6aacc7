/** BitTorrent in the bench of bytes: aria2 of Debian, and the few lines that are a tracker. */
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, open, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { CtdError, errorMessage } from '../src/errors.js'
import { assertCopies, measured } from './bench-bytes-sample.js'
import type { ByteSystem, Sample, Task } from './bench-bytes-sample.js'
import { until } from './local-network.js'

const PIECE_BYTES = 1024 * 1024
const START_MS = 30_000
const STOP_MS = 5000
const INSTALL_MS = 180_000
const exec = promisify(execFile)

export const BITTORRENT: ByteSystem = {
  name: 'bittorrent',
  title: 'BitTorrent: aria2, own tracker, plain text',
  prepare,
  sizeFor: ({ byDht }, mib) => (byDht ? 'it has another DHT' : mib),
  copy,
}

async function prepare(): Promise<string | undefined> {
  const isThere = async (): Promise<boolean> =>
    exec('aria2c', ['--version']).then(
      () => true,
      () => false,
    )
  if (await isThere()) return undefined
  if (process.getuid?.() !== 0) return 'aria2 is not installed, and only root may install it'
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const options = { env, timeout: INSTALL_MS }
  try {
    const install = ['install', '-y', '-qq', '--no-install-recommends', 'aria2']
    await exec('apt-get', install, options).catch(async () => {
      await exec('apt-get', ['update', '-qq'], options)
      await exec('apt-get', install, options)
    })
  } catch (error) {
    return `apt-get could not install aria2: ${errorMessage(error).split('\n')[0] ?? ''}`
  }
  return (await isThere()) ? undefined : 'aria2 does not run'
}

async function copy(task: Task): Promise<Sample> {
  const { pattern, path, dir, signal } = task
  const tracker = await Tracker.start()
  const clients: Aria[] = []
  const start = async (name: string, isSeed: boolean): Promise<Aria> => {
    const client = new Aria(join(dir, name), isSeed)
    clients.push(client)
    await client.start(signal)
    return client
  }
  try {
    const torrent = await createTorrent(path, tracker.url)
    const seeds = await Promise.all(
      Array.from({ length: pattern.providers }, (_, i) => start(`seed-${i}`, true)),
    )
    for (const seed of seeds) {
      await symlink(path, join(seed.dir, basename(path)))
      await seed.add(torrent)
    }
    await until('the seeds to be announced', START_MS, async () =>
      tracker.peers === seeds.length ? true : undefined,
    )
    const fetchers = await Promise.all(
      Array.from({ length: pattern.fetchers }, (_, i) => start(`fetch-${i}`, false)),
    )
    const pids = {
      providers: seeds.map(({ pid }) => pid),
      fetchers: fetchers.map(({ pid }) => pid),
    }
    const sample = await measured(pids, async () => {
      const sinceMs = Date.now()
      await Promise.all(fetchers.map((client) => client.add(torrent)))
      const ends = await Promise.all(fetchers.map((client) => client.completed(signal)))
      return Math.max(...ends) - sinceMs
    })
    await assertCopies(
      task,
      fetchers.map((client) => join(client.dir, basename(path))),
    )
    return sample
  } finally {
    await Promise.all(clients.map((client) => client.stop()))
    await tracker.stop()
  }
}

/** One aria2 that waits for torrents, all limits off. */
class Aria {
  readonly dir: string
  readonly #isSeed: boolean
  #child: ChildProcess | undefined
  #port = 0

  constructor(dir: string, isSeed: boolean) {
    this.dir = dir
    this.#isSeed = isSeed
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  async start(signal: AbortSignal): Promise<void> {
    await mkdir(this.dir)
    const hook = join(this.dir, 'on-complete')
    await writeFile(hook, `#!/bin/sh\n: > '${this.#donePath}'\n`, { mode: 0o755 })
    const [rpcPort, listenPort] = [await freePort(), await freePort()]
    this.#port = rpcPort
    const options = {
      dir: this.dir,
      'enable-rpc': 'true',
      'rpc-listen-port': rpcPort,
      'listen-port': listenPort,
      'stop-with-process': process.pid,
      'on-bt-download-complete': hook,
      'file-allocation': 'none',
      'disk-cache': '64M',
      'enable-dht': 'false',
      'enable-dht6': 'false',
      'bt-enable-lpd': 'false',
      'bt-max-peers': 0,
      'bt-request-peer-speed-limit': '1000M',
      'bt-tracker-interval': 1,
      'seed-ratio': '0.0',
      ...(this.#isSeed && { 'bt-seed-unverified': 'true', 'check-integrity': 'false' }),
    }
    const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
    this.#child = spawn('aria2c', ['--no-conf', '--quiet', ...args], { stdio: 'ignore' })
    await until('aria2 to answer', START_MS, async () => {
      signal.throwIfAborted()
      if (!this.#isRunning) throw new CtdError('ARIA_FAILED', 'aria2 ended at once')
      return this.#call('aria2.getVersion', []).catch(() => undefined)
    })
  }

  async add(torrent: Buffer): Promise<void> {
    await this.#call('aria2.addTorrent', [torrent.toString('base64')])
  }

  /** When the file was whole, milliseconds since 1970. */
  async completed(signal: AbortSignal): Promise<number> {
    for (;;) {
      signal.throwIfAborted()
      const done = await stat(this.#donePath).catch(() => undefined)
      if (done !== undefined) return done.mtimeMs
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  async stop(): Promise<void> {
    const child = this.#child
    if (child === undefined || !this.#isRunning) return
    const exited = new Promise((resolve) => child.once('exit', resolve))
    // It would say farewell to the tracker and wait for the answer.
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    child.kill('SIGTERM')
    await exited
    clearTimeout(timer)
  }

  get #isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null
  }

  get #donePath(): string {
    return join(this.dir, 'done')
  }

  async #call(method: string, params: readonly unknown[]): Promise<unknown> {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 'bench', method, params })
    const text = await new Promise<string>((resolve, reject) => {
      const target = { host: '127.0.0.1', port: this.#port, path: '/jsonrpc', method: 'POST' }
      const asking = request(target, (response) => {
        let answer = ''
        response.on('data', (chunk: Buffer) => (answer += chunk.toString()))
        response.once('end', () => resolve(answer))
      })
      asking.once('error', reject)
      asking.end(body)
    })
    const answer: unknown = JSON.parse(text)
    if (typeof answer === 'object' && answer !== null && 'result' in answer) return answer.result
    throw new CtdError('ARIA_FAILED', `aria2 refused ${method}: ${text.slice(0, 200)}`)
  }
}

/** Tells every peer of all others, as BEP 3 and BEP 23 say. */
class Tracker {
  readonly #server = createServer((asked, response) => {
    const query = new URL(asked.url ?? '/', 'http://localhost').searchParams
    const port = Number(query.get('port'))
    const others = [...this.#ports].filter((each) => each !== port)
    if (query.get('event') === 'stopped') this.#ports.delete(port)
    else this.#ports.add(port)
    const peers = Buffer.concat(others.map((each) => Buffer.from([127, 0, 0, 1, each >> 8, each])))
    response.end(
      Buffer.concat([
        Buffer.from(`d8:intervali1e12:min intervali1e5:peers${peers.length}:`),
        peers,
        Buffer.from('e'),
      ]),
    )
  })
  readonly #ports = new Set<number>()

  static async start(): Promise<Tracker> {
    const tracker = new Tracker()
    await new Promise<void>((resolve) => tracker.#server.listen(0, '127.0.0.1', resolve))
    return tracker
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo
    return `http://127.0.0.1:${port}/announce`
  }

  get peers(): number {
    return this.#ports.size
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

async function createTorrent(path: string, announce: string): Promise<Buffer> {
  const file = await open(path)
  const hashes: Buffer[] = []
  const piece = Buffer.alloc(PIECE_BYTES)
  const { size } = await file.stat()
  try {
    for (let at = 0; at < size; at += PIECE_BYTES) {
      const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, at)
      hashes.push(createHash('sha1').update(piece.subarray(0, bytesRead)).digest())
    }
  } finally {
    await file.close()
  }
  const name = basename(path)
  return Buffer.concat([
    Buffer.from(`d8:announce${announce.length}:${announce}4:infod6:lengthi${size}e`),
    Buffer.from(`4:name${name.length}:${name}12:piece lengthi${PIECE_BYTES}e`),
    Buffer.from(`6:pieces${20 * hashes.length}:`),
    ...hashes,
    Buffer.from('ee'),
  ])
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
