/**
 * What peers say of their machines: the newest signed record of each, from gossip or the DHT, and
 * the own one, measured and announced.
 */
import { CtdError } from '../errors.js'
import { openAs } from '../wire/envelope.js'
import type { Opened } from '../wire/envelope.js'
import type { PeerId } from '../wire/ids.js'

const PEERS_MAX = 4096
export const CAPABILITY_KEY_PREFIX = '/ctd/capability-'

/** The DHT key of a peer's record. */
export function capabilityKey(peer: PeerId): string {
  return `${CAPABILITY_KEY_PREFIX}${peer}`
}

/** @throws CtdError unless the value is the capability record of the peer the key names */
export function assertCapabilityRecord(network: string, key: string, value: Uint8Array): void {
  const opened = openAs(network, value, 'capability')
  if (key !== capabilityKey(opened.author)) {
    throw new CtdError('RECORD_MISPLACED', 'a capability record under another key than its own')
  }
}

/** The record with the highest sequence number; ones that do not open are skipped. */
export function newestCapability(
  network: string,
  values: readonly Uint8Array[],
): Uint8Array | undefined {
  let newest: Opened<'capability'> | undefined
  for (const value of values) {
    try {
      const opened = openAs(network, value, 'capability')
      if (newest === undefined || opened.message.sequence > newest.message.sequence) newest = opened
    } catch {
      // The DHT holds what strangers put there; what does not verify is not a record.
    }
  }
  return newest?.bytes
}

export class CapabilityBook {
  readonly #records = new Map<PeerId, Opened<'capability'>>()

  /** Takes a record if it is newer than the one known. */
  take(opened: Opened<'capability'>): boolean {
    const known = this.#records.get(opened.author)
    if (known !== undefined && known.message.sequence >= opened.message.sequence) return false
    if (known === undefined && this.#records.size >= PEERS_MAX) {
      // The one that was renewed longest ago goes: keys cost nothing, and must not fill the book.
      for (const [oldest] of this.#records) {
        this.#records.delete(oldest)
        break
      }
    }
    this.#records.delete(opened.author)
    this.#records.set(opened.author, opened)
    return true
  }

  get(peer: PeerId): Opened<'capability'> | undefined {
    return this.#records.get(peer)
  }

  all(): IterableIterator<Opened<'capability'>> {
    return this.#records.values()
  }
}
