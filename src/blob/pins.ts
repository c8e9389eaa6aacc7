/**
 * What the owner wants to keep: blobs and folders with a name, held until they are let go. Pins
 * survive a restart; what is pinned is never removed to make room.
 */
import type { Clock } from '../clock.js'
import { CtdError } from '../errors.js'
import type { FolderFile } from '../wire/folder.js'
import { parseDigest } from '../wire/ids.js'
import type { Digest } from '../wire/ids.js'
import type { BlobStore } from './blob-store.js'

export interface Pin {
  readonly digest: Digest
  /** What the owner calls it, such as the name of the file it was; may be empty. */
  readonly name: string
  readonly addedMs: number
}

/** Where pins are written; a space of the daemon's database. */
export interface PinLedger {
  put(digest: Digest, text: string): Promise<void>
  delete(digest: Digest): Promise<void>
  list(limit: number): Promise<ReadonlyArray<readonly [string, string]>>
}

export interface PinsComponents {
  readonly store: BlobStore
  readonly ledger: PinLedger
  readonly clock: Clock
  /** The files of a folder, undefined where the blob is none. */
  readonly folderFiles: (digest: Digest) => Promise<readonly FolderFile[] | undefined>
}

const PINS_MAX = 65_536
const NAME_CHARS_MAX = 255

export class Pins {
  readonly #components: PinsComponents
  readonly #pins = new Map<Digest, Pin>()

  constructor(components: PinsComponents) {
    this.#components = components
  }

  /** Holds what earlier processes pinned. A pinned blob that is gone stays pinned: it may return. */
  async load(): Promise<void> {
    for (const [key, text] of await this.#components.ledger.list(PINS_MAX)) {
      const pin = parsePin(key, text)
      if (pin === undefined) continue
      this.#pins.set(pin.digest, pin)
      await this.#hold(pin.digest)
    }
  }

  /** In order of addition. */
  list(): readonly Pin[] {
    return [...this.#pins.values()].sort((a, b) => a.addedMs - b.addedMs)
  }

  get(digest: Digest): Pin | undefined {
    return this.#pins.get(digest)
  }

  /**
   * Keeps a blob, with all its files where it is a folder. Pinning again renames it.
   *
   * @throws CtdError BLOB_UNKNOWN, also for a folder of which a file is missing; TOO_MANY_PINS
   */
  async add(digest: Digest, name: string): Promise<Pin> {
    const { store, ledger, clock } = this.#components
    const known = this.#pins.get(digest)
    if (known === undefined && this.#pins.size >= PINS_MAX) {
      throw new CtdError('TOO_MANY_PINS', `${PINS_MAX} blobs are pinned already`, {
        hint: 'let go of some: ctd unpin DIGEST',
      })
    }
    store.size(digest)
    for (const file of (await this.#components.folderFiles(digest)) ?? []) store.size(file.digest)
    const pin: Pin = {
      digest,
      name: (name === '' ? (known?.name ?? '') : name).slice(0, NAME_CHARS_MAX),
      addedMs: known?.addedMs ?? clock.now(),
    }
    await ledger.put(digest, JSON.stringify({ name: pin.name, addedMs: pin.addedMs }))
    this.#pins.set(digest, pin)
    await this.#hold(digest)
    return pin
  }

  /** Lets go; the blob stays until its room is needed. @returns whether it was pinned */
  async remove(digest: Digest): Promise<boolean> {
    if (!this.#pins.delete(digest)) return false
    await this.#components.ledger.delete(digest)
    this.#components.store.release(pinHolder(digest))
    return true
  }

  async #hold(digest: Digest): Promise<void> {
    const { store, folderFiles } = this.#components
    store.hold(pinHolder(digest), digest)
    if (!store.has(digest)) return
    for (const file of (await folderFiles(digest)) ?? []) {
      store.hold(pinHolder(digest), file.digest)
    }
  }
}

/** The name under which a pin holds its blobs. */
export function pinHolder(digest: Digest): string {
  return `pin/${digest}`
}

/** Our own record; one that is damaged is no pin. */
function parsePin(key: string, text: string): Pin | undefined {
  try {
    const { name, addedMs } = Object(JSON.parse(text)) as Partial<Pin>
    if (typeof name !== 'string' || typeof addedMs !== 'number') return undefined
    return { digest: parseDigest(key), name, addedMs }
  } catch {
    return undefined
  }
}
