/**
 * The daemon's database: records by space and key, and append-only logs. level lives only here.
 * One process per folder; a second one is refused by level's own lock.
 */
import { createHash } from 'node:crypto'
import { Level } from 'level'
import { CtdError } from '../errors.js'

const SEQUENCE_DIGITS = 10

/** A log entry as stored: the checksum covers name, sequence and text. */
interface Entry {
  readonly text: string
  readonly sum: string
}

export class Store {
  readonly #db: Level<string, string>

  private constructor(db: Level<string, string>) {
    this.#db = db
  }

  /** @throws CtdError STORE_LOCKED when another daemon has the folder open, STORE_UNREADABLE */
  static async open(path: string): Promise<Store> {
    const db = new Level<string, string>(path)
    try {
      await db.open()
    } catch (cause) {
      if (causeCode(cause) === 'LEVEL_LOCKED') {
        throw new CtdError('STORE_LOCKED', `another daemon uses ${path}`, {
          cause,
          hint: 'stop it, or give this one a home of its own: ctd start --home DIR',
        })
      }
      throw new CtdError('STORE_UNREADABLE', `the database in ${path} cannot be opened`, {
        cause,
        hint: 'move the folder away; the identity is kept outside it',
      })
    }
    return new Store(db)
  }

  async close(): Promise<void> {
    await this.#db.close()
  }

  /** @param durable - wait until the disk has it, not only the kernel */
  async put(space: string, key: string, text: string, durable = false): Promise<void> {
    await this.#write([{ key: recordKey(space, key), value: text }], durable)
  }

  /** All or nothing. */
  async putAll(
    records: ReadonlyArray<{
      readonly space: string
      readonly key: string
      readonly text: string
    }>,
    durable = false,
  ): Promise<void> {
    const puts = records.map(({ space, key, text }) => ({
      key: recordKey(space, key),
      value: text,
    }))
    await this.#write(puts, durable)
  }

  /** The texts of several keys of one space, undefined where there is none. */
  async getAll(space: string, keys: readonly string[]): Promise<ReadonlyArray<string | undefined>> {
    return this.#db.getMany(keys.map((key) => recordKey(space, key)))
  }

  async get(space: string, key: string): Promise<string | undefined> {
    return (await this.#db.get(recordKey(space, key))) ?? undefined
  }

  async delete(space: string, key: string): Promise<void> {
    await this.#db.del(recordKey(space, key))
  }

  /** Deletes every record of a space whose key begins so. */
  async deleteAll(space: string, prefix: string): Promise<void> {
    const start = recordKey(space, prefix)
    await this.#db.clear({ gte: start, lt: `${start}\uffff` })
  }

  /** All records of a space in key order, at most `limit`. */
  async list(space: string, limit: number): Promise<ReadonlyArray<readonly [string, string]>> {
    const prefix = recordKey(space, '')
    const entries = await this.#db.iterator({ gte: prefix, lt: `${prefix}\uffff`, limit }).all()
    return entries.map(([key, value]) => [key.slice(prefix.length), value])
  }

  /** Appends to a log. `sequence` counts from 0; the caller keeps the count. */
  async append(log: string, sequence: number, text: string, durable: boolean): Promise<void> {
    const entry: Entry = { text, sum: checksum(log, sequence, text) }
    await this.#write([{ key: logKey(log, sequence), value: JSON.stringify(entry) }], durable)
  }

  /**
   * Reads a log from its beginning.
   *
   * @throws CtdError STORE_DAMAGED where an entry is missing or altered: level drops damaged
   *   records without a word
   */
  async readLog(log: string, limit: number): Promise<readonly string[]> {
    const prefix = recordKey('log', `${log}/`)
    const entries = await this.#db.iterator({ gte: prefix, lt: `${prefix}\uffff`, limit }).all()
    return entries.map(([key, value], sequence) => {
      const entry = parseEntry(value)
      const isSound =
        key === logKey(log, sequence) && entry?.sum === checksum(log, sequence, entry?.text ?? '')
      if (entry === undefined || !isSound) {
        throw new CtdError(
          'STORE_DAMAGED',
          `entry ${sequence} of the log ${log} is missing or damaged`,
        )
      }
      return entry.text
    })
  }

  async deleteLog(log: string): Promise<void> {
    const prefix = recordKey('log', `${log}/`)
    await this.#db.clear({ gte: prefix, lt: `${prefix}\uffff` })
  }

  async #write(
    puts: ReadonlyArray<{ key: string; value: string }>,
    durable: boolean,
  ): Promise<void> {
    const operations = puts.map((put) => ({ type: 'put' as const, ...put }))
    try {
      await this.#db.batch(operations, { sync: durable })
    } catch (cause) {
      throw new CtdError('STORE_FULL', 'the database could not be written', {
        cause,
        hint: 'is the disk full? free space and start the daemon again',
      })
    }
  }
}

function recordKey(space: string, key: string): string {
  return `${space}!${key}`
}

function logKey(log: string, sequence: number): string {
  return recordKey('log', `${log}/${String(sequence).padStart(SEQUENCE_DIGITS, '0')}`)
}

function checksum(log: string, sequence: number, text: string): string {
  return createHash('sha256').update(`${log}\0${sequence}\0${text}`).digest('base64')
}

function parseEntry(value: string): Entry | undefined {
  try {
    const parsed: unknown = JSON.parse(value)
    if (parsed === null || typeof parsed !== 'object') return undefined
    const { text, sum } = parsed as Partial<Entry>
    return typeof text === 'string' && typeof sum === 'string' ? { text, sum } : undefined
  } catch {
    return undefined // Damaged: the caller says so.
  }
}

function causeCode(error: unknown): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined
  return cause instanceof Error && 'code' in cause ? String(cause.code) : undefined
}
