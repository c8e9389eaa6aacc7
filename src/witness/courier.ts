/**
 * Sends signed messages: to everyone by gossip and, where somebody waits for them, straight to
 * those. Direct messages to one peer keep their order and travel together.
 */
import type { Clock } from '../clock.js'
import { CtdError, errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { Transport } from '../network/transport.js'
import type { AnyOpened } from '../wire/envelope.js'
import { Bundle, Request, Response } from '../wire/generated/control.js'
import type { PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'

export interface CourierComponents {
  readonly transport: Pick<Transport, 'publish' | 'request' | 'self'>
  readonly clock: Clock
  readonly log: Log
}

const DEADLINE_MS = 10_000
/** Messages that wait for one peer. */
export const OUTBOX_MAX = 1024
const TRIES = 3
const RETRY_MS = 300

interface Outbox {
  queue: Uint8Array[]
  isSending: boolean
}

export class Courier {
  readonly #components: CourierComponents
  readonly #outboxes = new Map<PeerId, Outbox>()
  #isStopped = false

  constructor(components: CourierComponents) {
    this.#components = components
  }

  /** Messages that wait to be delivered to the peer they are most for. */
  get queuedMax(): number {
    let most = 0
    for (const { queue } of this.#outboxes.values()) most = Math.max(most, queue.length)
    return most
  }

  stop(): void {
    this.#isStopped = true
    this.#outboxes.clear()
  }

  /** Publishes on a topic; a failure is logged, gossip promises nothing. */
  async publish(topic: string, opened: AnyOpened): Promise<void> {
    try {
      await this.#components.transport.publish(topic, opened.bytes)
    } catch (error) {
      const fields = { kind: opened.kind, code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.warn(fields, 'publish failed')
    }
  }

  /** Queues a message for a peer; it is tried three times. */
  deliver(peer: PeerId, opened: AnyOpened): void {
    if (this.#isStopped || peer === this.#components.transport.self) return
    const outbox = this.#outboxes.get(peer) ?? { queue: [], isSending: false }
    this.#outboxes.set(peer, outbox)
    if (outbox.queue.length >= OUTBOX_MAX) {
      this.#components.log.warn({ peer, kind: opened.kind }, 'outbox full, message dropped')
      return
    }
    outbox.queue.push(opened.bytes)
    if (!outbox.isSending) void this.#flush(peer, outbox)
  }

  async #flush(peer: PeerId, outbox: Outbox): Promise<void> {
    outbox.isSending = true
    // What is queued in the same turn goes into the same bundle.
    await Promise.resolve()
    while (outbox.queue.length > 0 && !this.#isStopped) {
      const envelopes = takeBundle(outbox.queue)
      await this.#deliverBundle(peer, envelopes)
    }
    outbox.isSending = false
    if (outbox.queue.length === 0) this.#outboxes.delete(peer)
  }

  async #deliverBundle(peer: PeerId, envelopes: readonly Uint8Array[]): Promise<void> {
    const body = Bundle.encode({ envelopes: [...envelopes] })
    for (let attempt = 1; attempt <= TRIES && !this.#isStopped; attempt++) {
      try {
        await this.ask(peer, 'deliver', body)
        return
      } catch (error) {
        const fields = { peer, attempt, code: errorCode(error), detail: errorMessage(error) }
        this.#components.log.debug(fields, 'delivery failed')
        if (attempt < TRIES) await this.#pause(RETRY_MS * attempt)
      }
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#components.clock.after(ms, resolve)
    })
  }

  /**
   * Asks a peer and waits ten seconds for the answer, or for as long as the given signal lets it.
   *
   * @throws CtdError PEER_UNREACHABLE, or the code that the peer answered with
   */
  async ask(
    peer: PeerId,
    method: string,
    body: Uint8Array,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    const deadline = new AbortController()
    const cancel = this.#components.clock.after(DEADLINE_MS, () => {
      deadline.abort()
    })
    try {
      const request = Request.encode({ method, body })
      const patience = signal ?? deadline.signal
      const answer = await this.#components.transport.request(peer, request, patience)
      const response = decodeResponse(answer)
      if (response.code !== 'OK') {
        throw new CtdError(response.code.slice(0, 64), response.message.slice(0, LIMITS.textBytes))
      }
      return response.body
    } finally {
      cancel()
    }
  }
}

function takeBundle(queue: Uint8Array[]): Uint8Array[] {
  const bundle: Uint8Array[] = []
  let bytes = 256
  for (let next = queue[0]; next !== undefined; next = queue[0]) {
    bytes += next.length + 8
    if (bundle.length > 0 && bytes > LIMITS.controlRequestBytes) break
    bundle.push(next)
    queue.shift()
  }
  return bundle
}

function decodeResponse(bytes: Uint8Array): Response {
  try {
    return Response.decode(bytes)
  } catch (cause) {
    throw new CtdError('ANSWER_MALFORMED', 'the peer answered with something else', { cause })
  }
}
