/**
 * Tells the network what this machine measured of itself, and finds out what others did: by
 * gossip, straight to new connections, and by records on the DHT.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { Transport } from '../network/transport.js'
import { vrfPublicKey } from '../protocol/vrf.js'
import type { Store } from '../store/store.js'
import { openAs, seal } from '../wire/envelope.js'
import type { Opened, Signer } from '../wire/envelope.js'
import type { Capability } from '../wire/generated/capability.js'
import { publicKeyFromPeerId } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import { capabilityKey, newestCapability } from './capabilities.js'
import type { CapabilityBook } from './capabilities.js'
import type { Courier } from './courier.js'

export interface AnnouncerComponents {
  readonly clock: Clock
  readonly log: Log
  readonly transport: Pick<Transport, 'dhtPut' | 'dhtGet' | 'dhtPeers' | 'connectedPeers' | 'self'>
  readonly courier: Courier
  readonly capabilities: CapabilityBook
  readonly store: Pick<Store, 'get' | 'put'>
}

export interface AnnouncerOptions {
  readonly network: string
  readonly signer: Signer
  readonly topic: string
  /** Without it the DHT is the only way. */
  readonly gossip: boolean
  readonly describe: () => Omit<Capability, 'sequence' | 'issuedMs' | 'vrfKey' | 'operator'> & {
    readonly operator: PeerId
    readonly vrfSecret: Uint8Array
  }
}

const SPACE = 'capability'
const SEQUENCE = 'sequence'
/** The DHT forgets values after 48 h. */
const REPEAT_MS = 12 * 3600 * 1000
/** New connections arrive in bursts; one put serves them all. */
const SETTLE_MS = 1500
const PUT_MS = 20_000
const COPIES_ENOUGH = 20
const LOOKUPS_AT_ONCE = 8

export class Announcer {
  readonly #parts: AnnouncerComponents
  readonly #options: AnnouncerOptions
  #record: Opened<'capability'> | undefined
  #copies = 0
  #cancelPut: (() => void) | undefined
  #cancelRepeat: (() => void) | undefined
  #isStopped = false

  constructor(parts: AnnouncerComponents, options: AnnouncerOptions) {
    this.#parts = parts
    this.#options = options
  }

  /** Signs a new record, gossips it and puts it on the DHT. */
  async announce(): Promise<void> {
    const { clock, store, capabilities, courier } = this.#parts
    const { network, signer, topic, gossip } = this.#options
    const sequence = Number((await store.get(SPACE, SEQUENCE)) ?? 0) + 1
    // Kept before it is sent: a sequence number is never used twice.
    await store.put(SPACE, SEQUENCE, String(sequence), true)
    if (this.#isStopped) return
    const { operator, vrfSecret, ...measured } = this.#options.describe()
    const message: Capability = {
      ...measured,
      sequence,
      issuedMs: clock.now(),
      vrfKey: vrfPublicKey(vrfSecret),
      operator: publicKeyFromPeerId(operator),
    }
    this.#record = seal(network, 'capability', message, signer)
    capabilities.take(this.#record)
    if (gossip) await courier.publish(topic, this.#record)
    this.#copies = 0
    this.#putSoon()
    this.#cancelRepeat?.()
    this.#cancelRepeat = clock.after(REPEAT_MS, () => {
      this.announce().catch((error: unknown) => {
        const fields = { code: errorCode(error), detail: errorMessage(error) }
        this.#parts.log.warn(fields, 'record not renewed')
      })
    })
  }

  onConnected(peer: PeerId): void {
    if (this.#record === undefined) return
    if (this.#options.gossip) this.#parts.courier.deliver(peer, this.#record)
    if (this.#copies < COPIES_ENOUGH) this.#putSoon()
  }

  #putSoon(): void {
    this.#cancelPut ??= this.#parts.clock.after(SETTLE_MS, () => {
      this.#cancelPut = undefined
      void this.#put()
    })
  }

  async #put(): Promise<void> {
    const { transport, log } = this.#parts
    if (this.#record === undefined || this.#isStopped) return
    try {
      const key = capabilityKey(transport.self)
      this.#copies = await transport.dhtPut(key, this.#record.bytes, AbortSignal.timeout(PUT_MS))
    } catch (error) {
      log.debug({ code: errorCode(error), detail: errorMessage(error) }, 'record not stored')
    }
  }

  /** Looks up the records of peers that are known by name only. */
  async refresh(signal: AbortSignal): Promise<void> {
    const { transport, capabilities, log } = this.#parts
    try {
      const found = await transport.dhtPeers(signal)
      const unknown = found.filter((peer) => capabilities.get(peer) === undefined)
      const worker = async (): Promise<void> => {
        for (let peer = unknown.shift(); peer !== undefined; peer = unknown.shift()) {
          await this.#lookUp(peer, signal)
        }
      }
      await Promise.all(Array.from({ length: LOOKUPS_AT_ONCE }, worker))
    } catch (error) {
      log.debug({ code: errorCode(error), detail: errorMessage(error) }, 'lookup ended early')
    }
  }

  async #lookUp(peer: PeerId, signal: AbortSignal): Promise<void> {
    const { transport, capabilities } = this.#parts
    const { network } = this.#options
    const value = await transport.dhtGet(
      capabilityKey(peer),
      (values) => newestCapability(network, values),
      signal,
    )
    if (value !== undefined) capabilities.take(openAs(network, value, 'capability'))
  }

  stop(): void {
    this.#isStopped = true
    this.#cancelPut?.()
    this.#cancelRepeat?.()
  }
}
