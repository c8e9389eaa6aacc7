/**
 * A peer's database in memory. Like the real one it is a log: a durable write takes everything
 * before it to the disk, and a crash loses some of what came after the last durable write.
 */
import { CtdError } from '../../src/errors.js'
import type { Store } from '../../src/store/store.js'
import type { Random } from './random.js'
import type { Life } from './timeline.js'

type Write = readonly [key: string, value: string | undefined]

const SYNC_MIN_MS = 1
const SYNC_MAX_MS = 8

export class Disk {
  readonly #random: Random
  readonly #synced = new Map<string, string>()
  #view = new Map<string, string>()
  #unsynced: Write[] = []
  /** Set while the disk is full: writes fail. */
  isFull = false
  /** Writes that crashes lost so far. */
  lost = 0

  constructor(random: Random) {
    this.#random = random
  }

  preset(space: string, records: ReadonlyMap<string, string>): void {
    for (const [key, value] of records) {
      this.#synced.set(`${space}!${key}`, value)
      this.#view.set(`${space}!${key}`, value)
    }
  }

  /** The machine dies: of what was not synced only a part, from the front, is found again. */
  crash(losesUnsynced: boolean): void {
    const kept = losesUnsynced
      ? this.#random.between(0, this.#unsynced.length)
      : this.#unsynced.length
    this.lost += this.#unsynced.length - kept
    this.#sync(kept)
    this.#unsynced = []
    this.#view = new Map(this.#synced)
  }

  #sync(count: number): void {
    for (const [key, value] of this.#unsynced.splice(0, count)) apply(this.#synced, key, value)
  }

  /** The database as one process sees it. */
  open(life: Life): Pick<Store, Exclude<keyof Store, 'close'>> {
    const write = (key: string, value: string | undefined, durable: boolean): Promise<void> => {
      if (!life.isAlive) return new Promise(() => undefined)
      if (this.isFull) {
        return Promise.reject(new CtdError('STORE_FULL', 'the database could not be written'))
      }
      apply(this.#view, key, value)
      this.#unsynced.push([key, value])
      const mark = this.#unsynced.at(-1)
      if (!durable) return Promise.resolve()
      return life.wait(this.#random.between(SYNC_MIN_MS, SYNC_MAX_MS), () => {
        const at = this.#unsynced.findIndex((entry) => entry === mark)
        this.#sync(at + 1)
      })
    }
    const list = (prefix: string, limit: number): Array<[string, string]> =>
      [...this.#view]
        .filter(([key]) => key.startsWith(prefix))
        .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
        .slice(0, limit)
        .map(([key, value]) => [key.slice(prefix.length), value])
    const entry = (log: string, sequence: number): string =>
      `log!${log}/${String(sequence).padStart(10, '0')}`
    return {
      put: (space, key, text, durable = false) => write(`${space}!${key}`, text, durable),
      get: (space, key) => Promise.resolve(this.#view.get(`${space}!${key}`)),
      delete: (space, key) => write(`${space}!${key}`, undefined, false),
      list: (space, limit) => Promise.resolve(list(`${space}!`, limit)),
      append: (log, sequence, text, durable) => write(entry(log, sequence), text, durable),
      readLog: async (log, limit) => {
        const entries = list(`log!${log}/`, limit)
        entries.forEach(([key], sequence) => {
          if (entry(log, sequence) !== `log!${log}/${key}`) {
            throw new CtdError('STORE_DAMAGED', `entry ${sequence} of the log ${log} is missing`)
          }
        })
        return entries.map(([, text]) => text)
      },
      deleteLog: async (log) => {
        for (const [key] of list(`log!${log}/`, Infinity)) {
          await write(`log!${log}/${key}`, undefined, false)
        }
      },
    }
  }
}

function apply(map: Map<string, string>, key: string, value: string | undefined): void {
  if (value === undefined) map.delete(key)
  else map.set(key, value)
}
