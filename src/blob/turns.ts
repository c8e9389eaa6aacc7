/**
 * Lets a bounded number run at once; the others wait in order. The queue holds callers of this
 * process only, each with its own signal, so it is as long as the work that was accepted.
 */
export class Turns {
  readonly #waiting: (() => void)[] = []
  #free: number

  readonly #atOnce: number

  constructor(atOnce: number) {
    this.#atOnce = atOnce
    this.#free = atOnce
  }

  /** True where nobody runs or waits. */
  get isIdle(): boolean {
    return this.#free === this.#atOnce
  }

  /** Runs `work` when it is its turn. @throws the signal's reason when that comes first */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free -= 1
    else await this.#wait(signal)
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free += 1
      else next()
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        signal.removeEventListener('abort', giveUp)
        resolve()
      }
      const giveUp = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1)
        reject(signal.reason)
      }
      this.#waiting.push(turn)
      signal.addEventListener('abort', giveUp, { once: true })
    })
  }
}
