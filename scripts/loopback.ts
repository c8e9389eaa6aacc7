/**
 * A network namespace with nothing in it but a loopback interface of its own: what the kernel
 * counts there are all bytes on all sockets of the processes inside, each once, with the headers of
 * TCP and IP. Unix sockets and files do not count.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { CtdError } from '../src/errors.js'

const START_MS = 10_000

export class Loopback {
  readonly #holder: ChildProcess

  private constructor(holder: ChildProcess) {
    this.#holder = holder
  }

  /** @throws CtdError NO_NETWORK_NAMESPACE */
  static async create(): Promise<Loopback> {
    // Ends with its standard input, that is with this process, however that ends.
    const script = 'ip link set lo up && echo up && exec cat'
    const holder = spawn('unshare', ['--net', 'sh', '-c', script], {
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    const isUp = await new Promise<boolean>((resolve) => {
      const late = setTimeout(resolve, START_MS, false)
      const end = (answer: boolean): void => {
        clearTimeout(late)
        resolve(answer)
      }
      holder.stdout?.once('data', () => end(true))
      holder.once('error', () => end(false))
      holder.once('exit', () => end(false))
    })
    if (isUp) return new Loopback(holder)
    holder.stdin?.end()
    throw new CtdError('NO_NETWORK_NAMESPACE', 'a network namespace could not be made', {
      hint: 'the bytes are counted in one: run as root, with unshare and ip installed',
    })
  }

  /** Put before a command, runs it inside. */
  get prefix(): readonly string[] {
    return ['nsenter', `--net=/proc/${this.#holder.pid ?? 0}/ns/net`, '--']
  }

  /** All bytes so far. */
  async bytes(): Promise<number> {
    const text = await readFile(`/proc/${this.#holder.pid ?? 0}/net/dev`, 'utf8')
    return Number(/^\s*lo:\s*(\d+)/m.exec(text)?.[1] ?? 0)
  }

  stop(): void {
    this.#holder.stdin?.end()
  }
}
