/**
 * The chains of believed receipts, on disk: what a joiner needs to believe them as well. Messages
 * that several receipts of a job rest on are kept once.
 */
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import { receiptRoot } from '../protocol/evidence-root.js'
import type { Store } from '../store/store.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import type { Bucket } from '../wire/generated/evidence.js'
import { toHex } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'

export const BUCKET_MS = 3600_000
const CHAINS = 'chain'
const MESSAGES = 'chain-message'
const CHAINS_MAX = 20_000

interface Entry {
  readonly jobId: string
  readonly atMs: number
}

/** As stored: the messages a receipt rests on, oldest first, itself last. */
interface StoredChain extends Entry {
  readonly ids: readonly string[]
}

interface Components {
  readonly store: Pick<Store, 'putAll' | 'get' | 'getAll' | 'list' | 'delete' | 'deleteAll'>
  readonly log: Log
}

export class ReceiptArchive {
  readonly #components: Components
  readonly #entries = new Map<string, Entry>()
  readonly #buckets = new Map<number, Set<string>>()
  /** Receipts by job: when the last is forgotten, the job's messages go. */
  readonly #ofJob = new Map<string, number>()
  /** Roots of buckets that have not changed. */
  readonly #roots = new Map<number, Uint8Array>()

  constructor(components: Components) {
    this.#components = components
  }

  async load(): Promise<void> {
    for (const [id, text] of await this.#components.store.list(CHAINS, CHAINS_MAX)) {
      const chain = parseChain(text)
      if (chain !== undefined) this.#remember(id, chain)
      else this.#components.log.warn({ id }, 'the chain of a receipt is damaged')
    }
  }

  has(receiptId: string): boolean {
    return this.#entries.has(receiptId)
  }

  get size(): number {
    return this.#entries.size
  }

  /** Keeps a verified receipt with what it rests on. A full disk is logged: others hold it too. */
  async keep(receipt: Opened<'receipt'>, messages: readonly AnyOpened[]): Promise<void> {
    if (this.#entries.has(receipt.id) || this.#entries.size >= CHAINS_MAX) return
    const jobId = toHex(receipt.message.jobId)
    const entry: Entry = { jobId, atMs: receipt.message.closedMs }
    const stored: StoredChain = { ...entry, ids: messages.map(({ id }) => id) }
    this.#remember(receipt.id, entry)
    try {
      await this.#components.store.putAll([
        ...messages.map(({ id, bytes }) => ({
          space: MESSAGES,
          key: `${jobId}/${id}`,
          text: Buffer.from(bytes).toString('base64'),
        })),
        { space: CHAINS, key: receipt.id, text: JSON.stringify(stored) },
      ])
    } catch (error) {
      this.#drop(receipt.id)
      const fields = { code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'the chain of a receipt could not be stored')
    }
  }

  async forget(receiptId: string): Promise<void> {
    const jobId = this.#entries.get(receiptId)?.jobId
    if (jobId === undefined) return
    this.#drop(receiptId)
    await this.#components.store.delete(CHAINS, receiptId)
    if (!this.#ofJob.has(jobId)) await this.#components.store.deleteAll(MESSAGES, `${jobId}/`)
  }

  /** Every hour that has receipts, newest first. */
  buckets(): Bucket[] {
    return [...this.#buckets]
      .sort(([a], [b]) => b - a)
      .map(([startMs, ids]) => ({ startMs, count: ids.size, root: this.#rootOf(startMs, ids) }))
  }

  /** The receipts that closed within the hour. */
  idsIn(startMs: number): string[] {
    return [...(this.#buckets.get(startMs) ?? [])].sort()
  }

  /** The envelopes a receipt rests on, itself last; undefined where one of them is not here. */
  async chainOf(
    receiptId: string,
  ): Promise<ReadonlyArray<readonly [Digest, Uint8Array]> | undefined> {
    const text = await this.#components.store.get(CHAINS, receiptId)
    const chain = text === undefined ? undefined : parseChain(text)
    if (chain === undefined) return undefined
    const keys = chain.ids.map((id) => `${chain.jobId}/${id}`)
    const texts = await this.#components.store.getAll(MESSAGES, keys)
    const found = texts.flatMap((encoded, i) => {
      const id = chain.ids[i]
      if (encoded === undefined || id === undefined) return []
      return [[id as Digest, new Uint8Array(Buffer.from(encoded, 'base64'))] as const]
    })
    return found.length === chain.ids.length ? found : undefined
  }

  #remember(id: string, { jobId, atMs }: Entry): void {
    this.#entries.set(id, { jobId, atMs })
    this.#ofJob.set(jobId, (this.#ofJob.get(jobId) ?? 0) + 1)
    const startMs = bucketOf(atMs)
    const bucket = this.#buckets.get(startMs) ?? new Set()
    bucket.add(id)
    this.#buckets.set(startMs, bucket)
    this.#roots.delete(startMs)
  }

  #drop(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#entries.delete(id)
    const left = (this.#ofJob.get(entry.jobId) ?? 1) - 1
    if (left > 0) this.#ofJob.set(entry.jobId, left)
    else this.#ofJob.delete(entry.jobId)
    const startMs = bucketOf(entry.atMs)
    const bucket = this.#buckets.get(startMs)
    bucket?.delete(id)
    if (bucket?.size === 0) this.#buckets.delete(startMs)
    this.#roots.delete(startMs)
  }

  #rootOf(startMs: number, ids: ReadonlySet<string>): Uint8Array {
    const known = this.#roots.get(startMs)
    const root = known ?? receiptRoot(ids)
    this.#roots.set(startMs, root)
    return root
  }
}

function bucketOf(atMs: number): number {
  return Math.floor(atMs / BUCKET_MS) * BUCKET_MS
}

function parseChain(text: string): StoredChain | undefined {
  try {
    const { jobId, atMs, ids } = JSON.parse(text) as Partial<StoredChain>
    const isChain = typeof jobId === 'string' && typeof atMs === 'number' && Array.isArray(ids)
    return isChain ? { jobId, atMs, ids } : undefined
  } catch {
    return undefined // Damaged: the caller says so.
  }
}
