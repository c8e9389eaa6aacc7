/**
 * Which called executors are alive: each must be heard of within its lease. A lost connection
 * shortens the lease, so that the task of a killed peer goes to a standby at once.
 */
import type { Clock } from '../clock.js'
import type { PeerId } from '../wire/ids.js'

export interface Lease {
  readonly batch: number
  readonly slot: number
  readonly peer: PeerId
}

export interface LeaseOptions {
  readonly clock: Clock
  readonly leaseMs: number
  /** After a lost connection. */
  readonly graceMs: number
  readonly onExpired: (lease: Lease) => void
}

export class Leases {
  readonly #options: LeaseOptions
  readonly #running = new Map<string, { readonly lease: Lease; cancel: () => void }>()

  constructor(options: LeaseOptions) {
    this.#options = options
  }

  /** Those that have not ended, each (slot, executor) once. */
  get live(): readonly Lease[] {
    return [...this.#running.values()].map(({ lease }) => lease)
  }

  /** An executor that is not connected when it is called gets the short lease at once. */
  grant(lease: Lease, isConnected: boolean): void {
    this.#arm(lease, isConnected ? this.#options.leaseMs : this.#options.graceMs)
  }

  /** A heartbeat. False where there is no such lease: it expired, or was never granted. */
  renew(lease: Lease): boolean {
    if (!this.#running.has(keyOf(lease))) return false
    this.#arm(lease, this.#options.leaseMs)
    return true
  }

  onDisconnected(peer: PeerId): void {
    for (const { lease } of [...this.#running.values()]) {
      if (lease.peer === peer) this.#arm(lease, this.#options.graceMs)
    }
  }

  /** @returns whether there was such a lease */
  end(lease: Lease): boolean {
    const key = keyOf(lease)
    this.#running.get(key)?.cancel()
    return this.#running.delete(key)
  }

  endSlot(batch: number, slot: number): void {
    for (const lease of this.live) {
      if (lease.batch === batch && lease.slot === slot) this.end(lease)
    }
  }

  /** A new attempt begins: nobody who was called before is waited for. */
  endBatch(batch: number): void {
    for (const lease of this.live) if (lease.batch === batch) this.end(lease)
  }

  stop(): void {
    for (const { cancel } of this.#running.values()) cancel()
    this.#running.clear()
  }

  #arm(lease: Lease, ms: number): void {
    const key = keyOf(lease)
    this.#running.get(key)?.cancel()
    const cancel = this.#options.clock.after(ms, () => {
      this.#running.delete(key)
      this.#options.onExpired(lease)
    })
    this.#running.set(key, { lease, cancel })
  }
}

function keyOf({ batch, slot, peer }: Lease): string {
  return `${batch}/${slot}/${peer}`
}
