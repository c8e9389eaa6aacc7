/**
 * The peers this machine has met, in a file beside the database, so that an audit can tell keys it
 * has evidence about from keys anybody could have made.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../clock.js'
import type { PeerId } from '../wire/ids.js'

const FILE = 'known-peers.json'
const PEERS_MAX = 4096
const WRITE_DELAY_MS = 500

export class KnownPeers {
  readonly #path: string
  readonly #clock: Clock
  readonly #firstSeen = new Map<string, number>()
  #cancelWrite: (() => void) | undefined
  #writing: Promise<void> = Promise.resolve()

  constructor(home: string, clock: Clock) {
    this.#path = join(home, FILE)
    this.#clock = clock
  }

  async load(): Promise<void> {
    try {
      const parsed: unknown = JSON.parse(await readFile(this.#path, 'utf8'))
      if (parsed === null || typeof parsed !== 'object') return
      for (const [peer, atMs] of Object.entries(parsed).slice(0, PEERS_MAX)) {
        if (typeof atMs === 'number') this.#firstSeen.set(peer, atMs)
      }
    } catch {
      // No file yet, or one that was damaged: the peers will be met again.
    }
  }

  /** A peer proved its key to this machine: by a connection or a signed record. */
  meet(peer: PeerId): void {
    if (this.#firstSeen.has(peer) || this.#firstSeen.size >= PEERS_MAX) return
    this.#firstSeen.set(peer, this.#clock.now())
    this.#cancelWrite ??= this.#clock.after(WRITE_DELAY_MS, () => {
      this.#cancelWrite = undefined
      void this.#write()
    })
  }

  has(peer: PeerId): boolean {
    return this.#firstSeen.has(peer)
  }

  async stop(): Promise<void> {
    if (this.#cancelWrite === undefined) return this.#writing
    this.#cancelWrite()
    this.#cancelWrite = undefined
    return this.#write()
  }

  #write(): Promise<void> {
    const text = JSON.stringify(Object.fromEntries(this.#firstSeen))
    this.#writing = this.#writing
      .then(() => writeFile(`${this.#path}.new`, text, { mode: 0o600 }))
      .then(() => rename(`${this.#path}.new`, this.#path))
      .catch(() => undefined) // A full disk: the list is rebuilt as peers are met.
    return this.#writing
  }
}
