/** What happens in a daemon, for those who watch: `subject:past-tense` and its fields. */
import type { Clock } from './clock.js'

export interface DaemonEvent {
  readonly type: string
  readonly atMs: number
  readonly fields: Readonly<Record<string, unknown>>
}

type Listener = (event: DaemonEvent) => void

export class Events {
  readonly #clock: Clock
  readonly #listeners = new Set<Listener>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  emit(type: string, fields: Readonly<Record<string, unknown>>): void {
    const event = { type, atMs: this.#clock.now(), fields }
    for (const listener of this.#listeners) listener(event)
  }

  /** Calls the listener for every event until the returned function is called. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }
}
