/**
 * Stands in for `AbortController` and its signal where simulated people give up waiting: what they
 * use of it, without an event target, whose making costs more than a simulated request.
 */
import { CtdError } from '../../../src/errors.js'

type Listener = () => void

class LightSignal implements Pick<AbortSignal, 'aborted' | 'reason' | 'throwIfAborted'> {
  aborted = false
  reason: unknown
  #listeners: Listener[] = []

  throwIfAborted(): void {
    if (this.aborted) throw this.reason
  }

  addEventListener(_type: 'abort', listener: Listener): void {
    this.#listeners.push(listener)
  }

  removeEventListener(_type: 'abort', listener: Listener): void {
    this.#listeners = this.#listeners.filter((other) => other !== listener)
  }

  end(reason: unknown): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason
    const listeners = this.#listeners
    this.#listeners = []
    for (const listener of listeners) listener()
  }
}

class LightController {
  readonly signal = new LightSignal()

  abort(reason: unknown = new CtdError('CANCELLED', 'given up')): void {
    this.signal.end(reason)
  }
}

/** For the rest of this process; nothing but simulated people runs in it. */
export function installAbort(): void {
  Object.assign(globalThis, { AbortController: LightController })
}
