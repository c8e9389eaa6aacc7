/**
 * A peer's database in memory. Like the real one it is a log of atomic batches: a durable write
 * takes everything before it to the disk, and a crash loses some of what came after the last
 * durable write. The batch that the crash tore in two is lost as a whole, as level loses it.
 */
import { CtdError } from '../../src/errors.js'
import type { Store } from '../../src/store/store.js'
import type { Random } from './random.js'
import type { Life } from './timeline.js'

interface Write {
  readonly space: string
  readonly key: string
  /** Undefined for a deletion. */
  readonly value: string | undefined
}
type Batch = readonly Write[]
type Spaces = Map<string, Map<string, string>>

const SYNC_MIN_MS = 1
const SYNC_MAX_MS = 8
/** While the disk is slow. */
const SLOW_SYNC_MIN_MS = 100
const SLOW_SYNC_MAX_MS = 3000
/** Share of the writes that a failing disk refuses. */
const REFUSED = 0.3
/** What a record takes beside its key and its value. */
const RECORD_BYTES = 16

interface DiskOptions {
  /** Told of every fault that was felt. */
  readonly count: (what: string) => void
  /** A defect: no write waits for the disk. */
  readonly neverSyncs: boolean
}

export class Disk {
  readonly #random: Random
  readonly #options: DiskOptions
  #synced: Spaces = new Map()
  #view: Spaces = new Map()
  #unsynced: Batch[] = []
  /** Set while the disk is full: every write fails. */
  isFull = false
  /** Set while some writes fail and others do not. */
  isFailing = false
  /** Set while a sync takes seconds. */
  isSlow = false

  constructor(random: Random, options: DiskOptions) {
    this.#random = random
    this.#options = options
  }

  #count(what: string): void {
    this.#options.count(what)
  }

  preset(space: string, records: ReadonlyMap<string, string>): void {
    this.#synced.set(space, new Map(records))
    this.#view.set(space, new Map(records))
  }

  /** The machine dies; what was not synced is found again up to some byte, as whole batches. */
  crash(losesUnsynced: boolean): void {
    let kept = this.#unsynced.length
    if (losesUnsynced && kept > 0) {
      const sizes = this.#unsynced.map(sizeOf)
      let bytes = this.#random.between(
        0,
        sizes.reduce((sum, size) => sum + size, 0),
      )
      kept = 0
      for (const size of sizes) {
        if (size > bytes) break
        bytes -= size
        kept += 1
      }
      if (kept < sizes.length) this.#count('fault:write-lost')
      if (bytes > 0) this.#count('fault:write-torn')
    }
    this.#sync(kept)
    this.#unsynced = []
    this.#view = new Map([...this.#synced].map(([space, records]) => [space, new Map(records)]))
  }

  #sync(count: number): void {
    for (const batch of this.#unsynced.splice(0, count)) apply(this.#synced, batch)
  }

  #write(life: Life, batch: Batch, durable: boolean): Promise<void> {
    if (!life.isAlive) return new Promise(() => undefined)
    if (this.isFull || (this.isFailing && this.#random.chance(REFUSED))) {
      this.#count(this.isFull ? 'fault:disk-was-full' : 'fault:write-refused')
      return Promise.reject(new CtdError('STORE_FULL', 'the database could not be written'))
    }
    apply(this.#view, batch)
    this.#unsynced.push(batch)
    if (!durable || this.#options.neverSyncs) return Promise.resolve()
    if (this.isSlow) this.#count('fault:sync-slow')
    const ms = this.isSlow
      ? this.#random.between(SLOW_SYNC_MIN_MS, SLOW_SYNC_MAX_MS)
      : this.#random.between(SYNC_MIN_MS, SYNC_MAX_MS)
    return life.wait(ms, () => {
      this.#sync(this.#unsynced.indexOf(batch) + 1)
    })
  }

  #list(space: string, limit: number): Array<[string, string]> {
    const records = [...(this.#view.get(space) ?? [])]
    return records.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).slice(0, limit)
  }

  /** The database as one process sees it. */
  open(life: Life): Pick<Store, Exclude<keyof Store, 'close'>> {
    const clear = async (space: string, prefix: string): Promise<void> => {
      const keys = [...(this.#view.get(space)?.keys() ?? [])].filter((key) =>
        key.startsWith(prefix),
      )
      if (keys.length === 0) return
      const batch = keys.map((key) => ({ space, key, value: undefined }))
      await this.#write(life, batch, false)
    }
    return {
      put: (space, key, text, durable = false) =>
        this.#write(life, [{ space, key, value: text }], durable),
      putAll: (records, durable = false) => {
        const batch = records.map(({ space, key, text }) => ({ space, key, value: text }))
        return this.#write(life, batch, durable)
      },
      get: (space, key) => Promise.resolve(this.#view.get(space)?.get(key)),
      getAll: (space, keys) => Promise.resolve(keys.map((key) => this.#view.get(space)?.get(key))),
      delete: (space, key) => this.#write(life, [{ space, key, value: undefined }], false),
      deleteAll: clear,
      list: (space, limit) => Promise.resolve(this.#list(space, limit)),
      append: (log, sequence, text, durable) =>
        this.#write(
          life,
          [{ space: logSpace(log), key: entryKey(sequence), value: text }],
          durable,
        ),
      readLog: async (log, limit) =>
        this.#list(logSpace(log), limit).map(([key, text], sequence) => {
          if (key !== entryKey(sequence)) {
            throw new CtdError('STORE_DAMAGED', `entry ${sequence} of the log ${log} is missing`)
          }
          return text
        }),
      deleteLog: (log) => clear(logSpace(log), ''),
    }
  }
}

function logSpace(log: string): string {
  return `log/${log}`
}

function entryKey(sequence: number): string {
  return String(sequence).padStart(10, '0')
}

function sizeOf(batch: Batch): number {
  return batch.reduce(
    (sum, { key, value }) => sum + RECORD_BYTES + key.length + (value?.length ?? 0),
    0,
  )
}

function apply(spaces: Spaces, batch: Batch): void {
  for (const { space, key, value } of batch) {
    const records = spaces.get(space) ?? new Map<string, string>()
    spaces.set(space, records)
    if (value === undefined) records.delete(key)
    else records.set(key, value)
  }
}
