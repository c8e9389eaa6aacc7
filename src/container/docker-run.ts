/**
 * One container from start to end: its log, its progress, its limits in time, and how it ended.
 * What the end means for the task is judged by `docker-runtime.ts`.
 */
import { existsSync } from 'node:fs'
import { PassThrough, type Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type Docker from 'dockerode'
import { CtdError } from '../errors.js'
import { CONTAINER_LIMITS as LIMITS, type TaskListener } from './container-runtime.js'
import { answer, isGone } from './docker-errors.js'
import type { ProgressTail } from './progress-tail.js'

/** Why we killed a container, if we did. */
export type StopReason = 'cancelled' | 'timed-out' | 'log-flood' | 'output-full'

export interface EndedContainer {
  readonly exitCode: number
  readonly oomKilled: boolean
  readonly stopReason: StopReason | undefined
  readonly startedMs: number
  readonly finishedMs: number
  readonly logTail: string
}

export interface RunOptions {
  readonly timeoutMs: number
  readonly tail: ProgressTail
  /** Asked once per poll; true kills the container as `output-full`. */
  readonly outputTooLarge: () => Promise<boolean>
}

const POLL_MS = 1000
/** The log may trail the exit by a moment; more than this is not waited for. */
const LOG_END_MS = 2000
/** Without an engine, or with an engine that claims a dead process runs. */
const ENGINE_BACK_MS = 30_000
const ENGINE_RETRY_MS = 500
const KILL_MS = 30_000

/**
 * Starts a created container and follows it to its end.
 *
 * @throws CtdError ENGINE_FAILED when the engine cannot start or stop it
 * @throws CtdError ENGINE_RESTARTED when the engine lost it
 */
export async function runContainer(
  docker: Docker,
  container: Docker.Container,
  options: RunOptions,
  on: TaskListener,
  signal: AbortSignal,
): Promise<EndedContainer> {
  const stop = new Stopper(container)
  const log = new LogCapture(
    (text) => on.log(text),
    () => stop.now('log-flood'),
  )
  const ended = new AbortController()
  const streams: NodeJS.ReadableStream[] = []
  const cancel = (): void => stop.now('cancelled')
  const timer = { handle: undefined as NodeJS.Timeout | undefined }
  try {
    const attached = await answer(() =>
      container.attach({ stream: true, stdout: true, stderr: true }),
    )
    streams.push(attached)
    const logEnd = followLog(docker, attached, log.sink)
    const events = await followEvents(docker, container.id, streams)
    await answer(() => container.start())
    const startedMs = Date.now()
    on.started?.(container.id)
    signal.addEventListener('abort', cancel, { once: true })
    if (signal.aborted) cancel()
    timer.handle = setTimeout(() => stop.now('timed-out'), options.timeoutMs)
    const watching = watch(options, stop, ended.signal)
    const exitCode = await Promise.race([waitForExit(container, stop, events.lost), stop.failed])
    const finishedMs = Date.now()
    ended.abort()
    await watching
    await Promise.race([logEnd, delay(LOG_END_MS, undefined, { ref: false })])
    await options.tail.poll()
    const { State } = await answer(() => container.inspect()).catch((error: unknown) => {
      throw isGone(error) ? lost(error) : error
    })
    if (State.Dead || State.Status === 'removing') throw lost()
    const oomKilled = State.OOMKilled || events.oomSeen
    return {
      exitCode,
      oomKilled,
      stopReason: stop.reason,
      startedMs,
      finishedMs,
      logTail: log.tail(),
    }
  } finally {
    ended.abort()
    clearTimeout(timer.handle)
    stop.done()
    signal.removeEventListener('abort', cancel)
    for (const stream of streams)
      if ('destroy' in stream && typeof stream.destroy === 'function') stream.destroy()
  }
}

/** Kills once, for the first reason given, and complains when the engine does not obey. */
class Stopper {
  reason: StopReason | undefined
  readonly failed: Promise<never>
  readonly #container: Docker.Container
  #deadline: NodeJS.Timeout | undefined
  #fail: (error: Error) => void = () => undefined

  constructor(container: Docker.Container) {
    this.#container = container
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => undefined) // Raced only once the container has started.
  }

  now(reason: StopReason): void {
    if (this.reason !== undefined) return
    this.reason = reason
    this.#deadline = setTimeout(() => {
      this.#fail(
        new CtdError('ENGINE_FAILED', `the engine did not stop a container within ${KILL_MS} ms`),
      )
    }, KILL_MS)
    this.kill()
  }

  /** Also called when the engine is back after a restart. */
  kill(): void {
    // A container that has just ended cannot be killed: that is the wanted end. Any other failure
    // ends at the deadline.
    this.#container.kill({ signal: 'SIGKILL' }).catch(() => undefined)
  }

  done(): void {
    clearTimeout(this.#deadline)
  }
}

/** Keeps the end of the log, passes on the beginning, and calls out when there is too much. */
class LogCapture {
  readonly sink: Writable
  readonly #kept: Buffer[] = []
  #keptBytes = 0
  #totalBytes = 0

  constructor(forward: (text: string) => void, flooded: () => void) {
    const sink = new PassThrough()
    sink.on('data', (chunk: Buffer) => {
      const before = this.#totalBytes
      this.#totalBytes += chunk.length
      if (before < LIMITS.logForwardBytes) forward(chunk.toString('utf8'))
      this.#keep(chunk)
      if (this.#totalBytes > LIMITS.logTotalBytes) flooded()
    })
    this.sink = sink
  }

  tail(): string {
    const kept = Buffer.concat(this.#kept)
    return kept.subarray(Math.max(0, kept.length - LIMITS.logTailBytes)).toString('utf8')
  }

  #keep(chunk: Buffer): void {
    this.#kept.push(
      chunk.length > LIMITS.logTailBytes
        ? Buffer.from(chunk.subarray(-LIMITS.logTailBytes))
        : chunk,
    )
    this.#keptBytes += Math.min(chunk.length, LIMITS.logTailBytes)
    for (let first = this.#kept[0]; first !== undefined; first = this.#kept[0]) {
      if (this.#keptBytes - first.length < LIMITS.logTailBytes) break
      this.#kept.shift()
      this.#keptBytes -= first.length
    }
  }
}

/** Standard output and standard error in one; resolves when the engine has sent all of it. */
async function followLog(
  docker: Docker,
  attached: NodeJS.ReadableStream,
  sink: Writable,
): Promise<void> {
  docker.modem.demuxStream(attached, sink, sink)
  await new Promise<void>((done) => {
    for (const event of ['end', 'close', 'error']) attached.once(event, () => done())
  })
  await new Promise<void>((done) => sink.end(done))
}

interface EventWatch {
  readonly oomSeen: boolean
  /** Resolves when the engine goes away: dockerode never ends a wait that is cut off. */
  readonly lost: Promise<void>
}

/**
 * A killed child in a pipe leaves exit code 0, and engines do not all record it in the container's
 * state: the event is the second witness.
 */
async function followEvents(
  docker: Docker,
  containerId: string,
  streams: NodeJS.ReadableStream[],
): Promise<EventWatch> {
  const events = await answer(() =>
    docker.getEvents({
      filters: { type: ['container'], container: [containerId], event: ['oom'] },
    }),
  )
  streams.push(events)
  const found = { oomSeen: false }
  events.on('data', () => {
    found.oomSeen = true
  })
  const lost = new Promise<void>((done) => {
    for (const event of ['end', 'close', 'error']) events.once(event, () => done())
  })
  return Object.assign(found, { lost })
}

/** Once per second while the container runs: its progress, and the size of its output. */
async function watch(options: RunOptions, stop: Stopper, ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    await delay(POLL_MS, undefined, { signal: ended }).catch(() => undefined)
    if (ended.aborted) return
    await options.tail.poll()
    if (await options.outputTooLarge()) stop.now('output-full')
  }
}

/** Survives a restart of the engine that keeps containers alive. */
async function waitForExit(
  container: Docker.Container,
  stop: Stopper,
  engineLost: Promise<void>,
): Promise<number> {
  const pid = await visiblePid(container)
  try {
    const result: unknown = await Promise.race([container.wait(), engineLost])
    const code =
      typeof result === 'object' && result !== null && 'StatusCode' in result && result.StatusCode
    if (typeof code === 'number') return code
  } catch (error) {
    if (isGone(error)) throw lost(error)
  }
  return pollForExit(container, stop, pid)
}

/**
 * After a restart the engine is asked again and again: one that comes back while a container ends
 * can miss the end, and would let us wait for ever.
 */
async function pollForExit(
  container: Docker.Container,
  stop: Stopper,
  pid: number | undefined,
): Promise<number> {
  let lastGoodMs = Date.now()
  let killed = false
  while (Date.now() - lastGoodMs < ENGINE_BACK_MS) {
    await delay(ENGINE_RETRY_MS)
    let state: Docker.ContainerInspectInfo['State']
    try {
      state = (await container.inspect()).State
    } catch (error) {
      if (isGone(error)) throw lost(error)
      continue
    }
    if (!state.Running) {
      // The engine ended the container with itself: not the task's doing.
      if (stop.reason === undefined && state.ExitCode >= 137) throw lost()
      return state.ExitCode
    }
    if (pid === undefined || existsSync(`/proc/${pid}`)) lastGoodMs = Date.now()
    if (stop.reason !== undefined && !killed) {
      stop.kill()
      killed = true
    }
  }
  throw lost()
}

/** The container's first process, where the engine runs on this very machine. */
async function visiblePid(container: Docker.Container): Promise<number | undefined> {
  const pid = await container.inspect().then(
    (found) => found.State.Pid,
    () => 0,
  )
  return pid > 0 && existsSync(`/proc/${pid}`) ? pid : undefined
}

function lost(cause?: unknown): CtdError {
  return new CtdError('ENGINE_RESTARTED', 'the container engine lost a running container', {
    hint: 'the task is tried again; set "live-restore": true in Docker to keep tasks over restarts',
    cause,
  })
}
