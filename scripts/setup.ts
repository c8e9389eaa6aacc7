/**
 * Prepares a machine for the demo, the tests and the devnet: compiles the sources, makes sure that
 * a container engine answers and that the task image is in it. Idempotent, and quick when all is
 * there. What it starts it stops again, also on Ctrl-C; an engine it found it leaves alone.
 *
 * Packages are installed before this can run: `scripts/bootstrap.mjs`.
 */
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { constants } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { CtdError, errorMessage } from '../src/errors.js'

export interface SetUpOptions {
  /** Whether to build the CPU task image and load it into the engine. */
  readonly image: boolean
  /** Whether a container engine is needed. */
  readonly engine: boolean
  /** Whether to compile `src` to `dist`; true where absent. */
  readonly build?: boolean
  /** Says nothing of steps that go well. */
  readonly quiet: boolean
}

export type EngineState = 'ready' | { readonly missing: string }

export interface SetUp {
  /** Whether the engine is ours to stop. */
  readonly engineStarted: boolean
  /** `ready` where the engine answers and, if asked for, holds the image. */
  readonly engine: EngineState
  /** Aborted by the first Ctrl-C, SIGTERM or SIGHUP. */
  readonly signal: AbortSignal
  /** Adds a step to the tearing down; the last added runs first. Each has 90 seconds. */
  onTearDown(step: () => Promise<void> | void): void
  /** Stops what was started. Runs once, however often it is called. */
  tearDown(): Promise<void>
}

const ROOT = join(import.meta.dirname, '..')
const ENGINE_SCRIPT = join(ROOT, 'scripts/engine.sh')
/** Where the Docker API is looked for. */
export const ENGINE_SOCKET = process.env['CTD_DOCKER_SOCK'] ?? '/var/run/docker.sock'
const PING_MS = 3000
/** Long enough for an engine that is still being installed when the user gives up. */
const STEP_MS = 90_000
/** Exit status by which our scripts say that the machine lacks something, on standard error. */
const STATUS_LACKING = 3
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const APT_LISTS = '/var/lib/apt/lists'

const exec = promisify(execFile)

/**
 * Sets up what is asked for. A missing engine is no error: the caller decides.
 *
 * @throws CtdError BUILD_FAILED, IMAGE_BUILD_FAILED, INTERRUPTED
 */
export async function setUp(options: SetUpOptions): Promise<SetUp> {
  const house = new House()
  const say = (text: string): void => {
    if (!options.quiet) console.error(text)
  }
  try {
    if (options.build !== false) await compile(say)
    const engine = options.engine ? await startEngine(house, say) : { missing: 'not asked for' }
    const prepared =
      engine === 'ready' && options.image ? await provideImage(house.signal, say) : engine
    house.signal.throwIfAborted()
    return house.asSetUp(prepared)
  } catch (error) {
    await house.tearDown()
    if (!house.signal.aborted) throw error
    throw new CtdError('INTERRUPTED', 'the set-up was interrupted', { cause: error })
  }
}

/** Remembers what to stop, and stops it once: at the end, or at the first signal. */
class House {
  readonly #interrupt = new AbortController()
  readonly #steps: Array<() => Promise<void> | void> = []
  #ending: Promise<void> | undefined
  #engineStarted = false

  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.#onSignal)
  }

  get signal(): AbortSignal {
    return this.#interrupt.signal
  }

  readonly #onSignal = (signal: (typeof SIGNALS)[number]): void => {
    // A terminal, npm and the bootstrap may all pass the same Ctrl-C on.
    if (this.#interrupt.signal.aborted) return
    this.#interrupt.abort(new Error(signal))
    void this.tearDown().then(() => process.exit(128 + constants.signals[signal]))
  }

  onTearDown(step: () => Promise<void> | void): void {
    this.#steps.push(step)
  }

  /** Takes care of an engine whose start is under way; the promise says whether it is ours. */
  noteEngine(starting: Promise<boolean>): void {
    this.onTearDown(async () => {
      if (await starting) await exec('sh', [ENGINE_SCRIPT, 'stop'])
    })
    void starting.then((isOurs) => {
      this.#engineStarted = isOurs
    })
  }

  tearDown(): Promise<void> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  async #end(): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await withinMs(STEP_MS, Promise.resolve(step()))
      } catch (error) {
        console.error(`while stopping: ${errorMessage(error)}`)
      }
    }
    // Only now: a second Ctrl-C while things stop must not leave them running.
    if (!this.#interrupt.signal.aborted) {
      for (const signal of SIGNALS) process.off(signal, this.#onSignal)
    }
  }

  asSetUp(engine: EngineState): SetUp {
    return {
      engineStarted: this.#engineStarted,
      engine,
      signal: this.signal,
      onTearDown: (step) => this.onTearDown(step),
      tearDown: () => this.tearDown(),
    }
  }
}

async function withinMs(ms: number, step: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`a step took more than ${ms / 1000} s`)), ms)
  })
  try {
    await Promise.race([step, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Compiles `src` to `dist` unless it was compiled from the very same bytes. */
async function compile(say: (text: string) => void): Promise<void> {
  const digest = await sourceDigest()
  const note = join(ROOT, 'dist/.source-digest')
  const known = await readFile(note, 'utf8').catch(() => '')
  if (known === digest) return
  say('compiling')
  try {
    await exec(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', ROOT])
  } catch (error) {
    throw new CtdError('BUILD_FAILED', `tsc found errors:\n${outputOf(error)}`, { cause: error })
  }
  await mkdir(join(ROOT, 'dist'), { recursive: true })
  await writeFile(note, digest)
}

async function sourceDigest(): Promise<string> {
  const folder = join(ROOT, 'src')
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.ts'))
  const hash = createHash('sha256')
  for (const path of [
    join(ROOT, 'tsconfig.json'),
    join(ROOT, 'package-lock.json'),
    ...names.sort().map((name) => join(folder, name)),
  ]) {
    hash.update(`${path}\0`).update(
      createHash('sha256')
        .update(await readFile(path))
        .digest(),
    )
  }
  return hash.digest('hex')
}

/** Whether a Docker API answers on the socket. */
function engineAnswers(): Promise<boolean> {
  return new Promise((done) => {
    const ping = request(
      { socketPath: ENGINE_SOCKET, path: '/_ping', timeout: PING_MS },
      (response) => {
        response.resume()
        done(response.statusCode === 200)
      },
    )
    ping.once('timeout', () => ping.destroy())
    ping.once('error', () => done(false))
    ping.end()
  })
}

async function startEngine(house: House, say: (text: string) => void): Promise<EngineState> {
  if (await engineAnswers()) return 'ready'
  say('no container engine answers: starting one (this may install docker.io)')
  // Its own process group: Ctrl-C must not cut it off between the start and the note of it.
  const starting = runToEnd('sh', [ENGINE_SCRIPT, 'start'])
  house.noteEngine(starting.then(hasStarted))
  const { status, stderr } = await starting
  return status === 0 ? 'ready' : { missing: whyNot('the container engine did not start', stderr) }
}

/** Whether the script's one JSON line says that it started the engine. */
function hasStarted({ status, stdout }: Ended): boolean {
  if (status !== 0) return false
  const report: unknown = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
  return isRecord(report) && report['started'] === true
}

/** Builds and loads the CPU task image. */
async function provideImage(
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<EngineState> {
  say('providing the CPU task image (the first build takes some minutes)')
  await updateAptLists(say)
  const args = ['--import', 'tsx', join(ROOT, 'scripts/build-image.ts'), '--json']
  const { status, stderr } = await runToEnd(process.execPath, args, signal)
  signal.throwIfAborted()
  if (status === 0) return 'ready'
  if (status === STATUS_LACKING)
    return { missing: whyNot('the task image cannot be built', stderr) }
  throw new CtdError(
    'IMAGE_BUILD_FAILED',
    `building the task image ended with ${status}:\n${stderr}`,
  )
}

/** A bare Debian has no package lists, and without them apt finds nothing. */
async function updateAptLists(say: (text: string) => void): Promise<void> {
  const lists = await readdir(APT_LISTS).catch(() => undefined)
  const hasLists = lists?.some((name) => /_Packages(\.lz4)?$/.test(name)) ?? true
  if (hasLists || process.getuid?.() !== 0) return
  say('fetching the lists of Debian packages')
  await runToEnd('apt-get', ['update', '-qq'])
}

interface Ended {
  readonly status: number
  readonly stdout: string
  /** The last 8 KiB. */
  readonly stderr: string
}

const STDERR_KEPT = 8192

async function runToEnd(
  command: string,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<Ended> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    cwd: ROOT,
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on(
    'data',
    (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-STDERR_KEPT)),
  )
  const stop = (): void => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGTERM')
  }
  signal?.addEventListener('abort', stop, { once: true })
  try {
    const status = await new Promise<number>((done) => {
      child.once('error', (error) => {
        stderr += error.message
        done(127)
      })
      child.once('close', (code) => done(code ?? 1))
    })
    return { status, stdout, stderr }
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}

/** The reason a script gave, its last lines, or `fallback`. */
function whyNot(fallback: string, stderr: string): string {
  const lines = stderr
    .trim()
    .split('\n')
    .filter((line) => line !== '')
  return lines.slice(-2).join(': ') || fallback
}

function outputOf(error: unknown): string {
  if (isRecord(error) && typeof error['stdout'] === 'string' && error['stdout'] !== '') {
    return error['stdout'].slice(0, STDERR_KEPT)
  }
  return errorMessage(error)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
