/**
 * The owner's bandwidth quota, shared fairly: a bucket of bytes that refills steadily, and a queue
 * for each flow (a job, an asking peer). Of the flows that wait, the one that has been given the
 * fewest bytes is next, so two flows get half each however many streams they have (start-time fair
 * queueing, Goyal, Vin and Cheng 1997).
 */
interface Waiter {
  readonly bytes: number
  readonly pass: () => void
}

interface Flow {
  /** Bytes given, on the common scale of all flows. */
  given: number
  readonly waiting: Waiter[]
}

export class BandwidthLimiter {
  readonly #bytesPerSecond: number
  /** Flows with somebody waiting, and those that have been given more than their share so far. */
  readonly #flows = new Map<string, Flow>()
  /** What the flow served last had been given: where a flow that comes anew begins. */
  #served = 0
  /** When all that was passed so far will have been paid for. */
  #paidUntilMs = 0
  #waitingBytes = 0
  #isServing = false

  /** @param bytesPerSecond - `Infinity` for no limit */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond
  }

  /** How long it will take to pay for all that was asked for, milliseconds. */
  get backlogMs(): number {
    const waitingMs = (this.#waitingBytes / this.#bytesPerSecond) * 1000
    return Math.max(0, this.#paidUntilMs - performance.now()) + waitingMs
  }

  /**
   * Resolves when `bytes` may pass; rejects when the signal aborts first.
   *
   * @param flow - whose bytes they are; flows share the rate equally
   */
  async take(bytes: number, flow: string, signal: AbortSignal): Promise<void> {
    if (this.#bytesPerSecond === Infinity) return
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const giveUp = (): void => {
        this.#remove(flow, waiter)
        reject(signal.reason)
      }
      const waiter: Waiter = {
        bytes,
        pass: () => {
          signal.removeEventListener('abort', giveUp)
          resolve()
        },
      }
      signal.addEventListener('abort', giveUp, { once: true })
      this.#add(flow, waiter)
      this.#serve()
    })
  }

  #add(name: string, waiter: Waiter): void {
    this.#forgetIdle()
    const flow = this.#flows.get(name) ?? { given: this.#served, waiting: [] }
    this.#flows.set(name, flow)
    flow.waiting.push(waiter)
    this.#waitingBytes += waiter.bytes
  }

  #remove(name: string, waiter: Waiter): void {
    const flow = this.#flows.get(name)
    const at = flow?.waiting.indexOf(waiter) ?? -1
    if (flow === undefined || at < 0) return
    flow.waiting.splice(at, 1)
    this.#waitingBytes -= waiter.bytes
  }

  /** Forgets flows that want nothing and are owed nothing: a new one would begin where they are. */
  #forgetIdle(): void {
    const isIdle = this.#waitingBytes === 0 && this.#paidUntilMs <= performance.now()
    for (const [name, { given, waiting }] of this.#flows) {
      if (waiting.length === 0 && (isIdle || given <= this.#served)) this.#flows.delete(name)
    }
  }

  /**
   * Lets one pass when all before it is paid for. The next is chosen a turn of the event loop
   * later: only then does a flow with a single taker wait again.
   */
  #serve(): void {
    if (this.#isServing) return
    const nowMs = performance.now()
    let waitMs = this.#paidUntilMs - nowMs
    if (waitMs <= 0) {
      const [name, flow] = this.#next() ?? []
      const waiter = flow?.waiting[0]
      if (name === undefined || flow === undefined || waiter === undefined) return
      this.#served = Math.max(this.#served, flow.given)
      flow.given += waiter.bytes
      this.#remove(name, waiter)
      const costMs = (waiter.bytes / this.#bytesPerSecond) * 1000
      this.#paidUntilMs = Math.max(nowMs - SLACK_MS, this.#paidUntilMs) + costMs
      waitMs = this.#paidUntilMs - nowMs
      waiter.pass()
    }
    const again = (): void => {
      this.#isServing = false
      this.#serve()
    }
    this.#isServing = true
    if (waitMs > 0) setTimeout(again, waitMs)
    else setImmediate(again)
  }

  #next(): [string, Flow] | undefined {
    let best: [string, Flow] | undefined
    for (const entry of this.#flows) {
      if (entry[1].waiting.length === 0) continue
      if (best === undefined || entry[1].given < best[1].given) best = entry
    }
    return best
  }
}

/** Timers come late; what they cost is made up for within this time. */
const SLACK_MS = 20
