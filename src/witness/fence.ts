/**
 * Keeps an honest peer honest across a crash: what was signed for a slot key is on disk before
 * anybody hears of it, and nothing else is ever sent for that key.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { slotKeyOf } from '../protocol/slot-key.js'
import type { Store } from '../store/store.js'
import type { AnyOpened } from '../wire/envelope.js'
import { digestOf, utf8 } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'

const SPACE = 'signed'
/** Jobs do not live longer; after that nobody can be fooled by a second message. */
const KEPT_MS = 30 * 24 * 3600_000

interface Components {
  readonly store: Pick<Store, 'putAll' | 'list' | 'delete'>
  readonly clock: Clock
  readonly log: Log
}

interface Waiting {
  /** Empty for kinds that may be repeated. */
  readonly key: string
  readonly name: string
  readonly send: () => void
}

export class Fence {
  readonly #components: Components
  /** Message id by slot key, both as names of 32 characters. */
  readonly #signed = new Map<string, string>()
  #waiting: Waiting[] = []
  #isWriting = false

  constructor(components: Components) {
    this.#components = components
  }

  async load(): Promise<void> {
    const { store, clock } = this.#components
    const entries = await store.list(SPACE, 2 * LIMITS.signedSlots)
    const sinceMs = clock.now() - KEPT_MS
    for (const [key, text] of entries) {
      const [id = '', atMs = ''] = text.split(' ')
      if (Number(atMs) >= sinceMs) this.#signed.set(key, id)
      else await store.delete(SPACE, key)
    }
  }

  /**
   * Lets a message out once it is on disk that it was signed. Messages leave in the order they
   * came. One that would contradict an earlier one never leaves.
   *
   * @returns whether it may leave at all
   */
  pass(opened: AnyOpened, send: () => void): boolean {
    const slotKey = slotKeyOf(opened)
    const key = slotKey === undefined ? '' : nameOf(slotKey)
    const name = key === '' ? '' : nameOf(opened.id)
    const before = this.#signed.get(key)
    if (before !== undefined && before !== name) {
      const { kind, id } = opened
      this.#components.log.error({ code: 'FENCED', kind, id }, 'another message was signed before')
      return false
    }
    if ((key === '' || before !== undefined) && !this.#isWriting) {
      send()
      return true
    }
    if (key !== '') this.#remember(key, name)
    this.#waiting.push({ key, name, send })
    if (!this.#isWriting) void this.#write()
    return true
  }

  #remember(key: string, id: string): void {
    this.#signed.set(key, id)
    if (this.#signed.size <= LIMITS.signedSlots) return
    const [oldest] = this.#signed.keys()
    if (oldest === undefined) return
    this.#signed.delete(oldest)
    this.#components.store.delete(SPACE, oldest).catch(() => undefined) // The next start drops it.
  }

  /** What was signed while the last write was under way goes to the disk in one. */
  async #write(): Promise<void> {
    this.#isWriting = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      const atMs = this.#components.clock.now()
      const records = batch
        .filter(({ key }) => key !== '')
        .map(({ key, name }) => ({ space: SPACE, key, text: `${name} ${atMs}` }))
      try {
        if (records.length > 0) await this.#components.store.putAll(records, true)
        for (const { send } of batch) send()
      } catch (error) {
        // Silence is honest; a promise that may be forgotten is not.
        const held = batch.filter(({ key }) => key !== '')
        for (const { key } of held) this.#signed.delete(key)
        const fields = { code: errorCode(error), detail: errorMessage(error), held: held.length }
        this.#components.log.error(fields, 'messages were not sent: the disk did not take them')
        for (const { key, send } of batch) if (key === '') send()
      }
    }
    this.#isWriting = false
  }
}

function nameOf(text: string): string {
  return digestOf(utf8(text)).slice(0, 32)
}
