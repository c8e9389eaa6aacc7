/** A process of a bench that is told by messages what to do and answers each with one message. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { CtdError } from '../src/errors.js'

const STOP_MS = 5000
const STDERR_KEPT = 2000

/** What a worker answers; `failed` is why it could not. */
export interface Answer {
  readonly failed?: string
  readonly [name: string]: unknown
}

export class BenchWorker {
  readonly #child: ChildProcess
  #stderr = ''
  #onAnswer: (answer: Answer) => void = () => {}

  /** @param args - Node's flags, the script and its arguments */
  constructor(args: readonly string[], cwd: string) {
    const stdio = ['ignore', 'ignore', 'pipe', 'ipc'] as const
    this.#child = spawn(process.execPath, [...args], { cwd, stdio: [...stdio] })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-STDERR_KEPT)
    })
    this.#child.on('message', (message) => this.#onAnswer(message as Answer))
    this.#child.once('error', (error) => this.#onAnswer({ failed: error.message }))
    this.#child.once('exit', () => this.#onAnswer({ failed: `it ended: ${this.#stderr}` }))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Waits for its first message. @throws CtdError WORKER_FAILED, the signal's reason */
  ready(signal: AbortSignal): Promise<Answer> {
    return this.#answer(() => {}, signal)
  }

  /** Sends a message and waits for the answer; one at a time. @throws as `ready` */
  ask(message: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Answer> {
    return this.#answer((fail) => {
      this.#child.send(message, (error) => error && fail({ failed: error.message }))
    }, signal)
  }

  async #answer(
    begin: (fail: (answer: Answer) => void) => void,
    signal: AbortSignal,
  ): Promise<Answer> {
    signal.throwIfAborted()
    const answer = await new Promise<Answer>((resolve, reject) => {
      const giveUp = (): void => reject(signal.reason)
      signal.addEventListener('abort', giveUp, { once: true })
      this.#onAnswer = (given) => {
        signal.removeEventListener('abort', giveUp)
        resolve(given)
      }
      begin(resolve)
    })
    if (answer.failed === undefined) return answer
    throw new CtdError('WORKER_FAILED', answer.failed)
  }

  /** Ends the process, with force where it does not go. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = new Promise((resolve) => this.#child.once('exit', resolve))
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS)
    this.#child.kill('SIGTERM')
    await exited
    clearTimeout(timer)
  }
}
