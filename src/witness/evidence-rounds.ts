/**
 * Anti-entropy: asks one peer after the other what it knows of the past, and takes over what can
 * be verified. Receipts and faults only ever become more, so the union with anybody is safe; a
 * peer can at worst leave something out, and the next one will not (trust.md 2.7).
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { Election } from '../protocol/election.js'
import { assertManifest } from '../protocol/manifest.js'
import { open } from '../wire/envelope.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { Bundle } from '../wire/generated/control.js'
import {
  BucketQuery,
  EvidenceRoots,
  Faults,
  FaultsQuery,
  ReceiptIds,
} from '../wire/generated/evidence.js'
import { toHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'
import type { Courier } from './courier.js'
import type { FaultBook } from './fault-book.js'
import type { ReceiptArchive } from './receipt-archive.js'
import type { ReputationBook } from './reputation-book.js'

interface Components {
  readonly network: string
  readonly clock: Clock
  readonly log: Log
  readonly courier: Pick<Courier, 'ask'>
  readonly archive: ReceiptArchive
  readonly faults: FaultBook
  readonly reputation: Pick<ReputationBook, 'admit'>
  readonly connectedPeers: () => readonly PeerId[]
}

interface Options {
  /** Between two rounds, each with another peer. */
  readonly roundMs: number
}

/** So many peers are asked as soon as they connect: one alone could leave something out. */
const FIRST_SOURCES = 3
const QUEUE_MAX = 64
/** A round that gets more than this goes on in the next one. */
const RECEIPTS_PER_ROUND = 4096
const FAULT_PAGES = 64
/** A peer that tells of more that does not hold is not worth the work. */
const REFUSED_MAX = 64
const NO_BODY = new Uint8Array(0)

/** What a round brought. */
export interface RoundOutcome {
  readonly receipts: number
  readonly refused: number
  readonly faults: number
}

export class EvidenceRounds {
  readonly #components: Components
  readonly #options: Options
  /** When each peer was asked last; only of those connected. */
  readonly #askedMs = new Map<PeerId, number>()
  readonly #queue = new Set<PeerId>()
  #sources = 0
  #isRunning = false
  #isStopped = false
  #cancel: () => void = () => undefined

  constructor(components: Components, options: Options) {
    this.#components = components
    this.#options = options
  }

  start(): void {
    this.#arm()
  }

  stop(): void {
    this.#isStopped = true
    this.#cancel()
    this.#queue.clear()
  }

  /** The first peers that a daemon meets tell it of the past at once. */
  onConnected(peer: PeerId): void {
    if (this.#sources < FIRST_SOURCES) this.#enqueue(peer)
  }

  /** A peer says that it has learnt of a fault. */
  onHint(peer: PeerId): void {
    this.#enqueue(peer)
  }

  /** Tells everybody near that there is something to ask for. */
  spread(): void {
    for (const peer of this.#components.connectedPeers().slice(0, QUEUE_MAX)) {
      this.#components.courier.ask(peer, 'evidence-changed', NO_BODY).catch(() => undefined) // The next round finds it.
    }
  }

  #arm(): void {
    this.#cancel = this.#components.clock.after(this.#options.roundMs, () => {
      const [next] = this.#components
        .connectedPeers()
        .toSorted((a, b) => (this.#askedMs.get(a) ?? 0) - (this.#askedMs.get(b) ?? 0))
      if (next !== undefined) this.#enqueue(next)
      this.#arm()
    })
  }

  #enqueue(peer: PeerId): void {
    if (this.#isStopped || this.#queue.size >= QUEUE_MAX) return
    this.#queue.add(peer)
    if (!this.#isRunning) void this.#run()
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    for (const peer of this.#queue) {
      this.#queue.delete(peer)
      await this.#ask(peer)
      if (this.#isStopped) break
    }
    this.#isRunning = false
  }

  async #ask(peer: PeerId): Promise<void> {
    const { clock, log, connectedPeers } = this.#components
    this.#askedMs.set(peer, clock.now())
    const connected = new Set(connectedPeers())
    for (const other of this.#askedMs.keys()) if (!connected.has(other)) this.#askedMs.delete(other)
    try {
      const outcome = await this.round(peer)
      this.#sources += 1
      const { receipts, refused, faults } = outcome
      if (refused > 0) log.warn({ peer, refused }, 'a peer told of receipts that do not hold')
      if (receipts + faults > 0) log.info({ peer, receipts, faults }, 'learnt of the past')
    } catch (error) {
      log.debug({ peer, code: errorCode(error), detail: errorMessage(error) }, 'round failed')
    }
  }

  /** One round with one peer. @throws CtdError what `ask` throws, and for malformed answers */
  async round(peer: PeerId): Promise<RoundOutcome> {
    const { courier, archive, faults } = this.#components
    const answer = await courier.ask(peer, 'evidence-roots', NO_BODY)
    const roots = EvidenceRoots.decode(answer, { limits: { buckets: LIMITS.evidenceBuckets } })
    // Faults first: what follows may come from someone who is proven faulty.
    const isSame = Buffer.compare(faults.root(), roots.faultRoot) === 0
    const learnt = isSame ? 0 : await this.#fetchFaults(peer)
    const own = new Map(archive.buckets().map(({ startMs, root }) => [startMs, toHex(root)]))
    let receipts = 0
    let refused = 0
    for (const { startMs, root } of roots.buckets) {
      if (own.get(startMs) === toHex(root)) continue
      const missing = await this.#missingIds(peer, startMs)
      while (missing.length > 0 && receipts < RECEIPTS_PER_ROUND && !this.#isStopped) {
        const got = await this.#fetchReceipts(peer, missing.splice(0, LIMITS.receiptsPerRequest))
        receipts += got.taken
        refused += got.refused
        // Whatever did not fit is asked for again; without progress the peer does not have it.
        if (got.taken > 0) missing.unshift(...got.absent)
      }
      const isEnough = refused > REFUSED_MAX || receipts >= RECEIPTS_PER_ROUND
      if (isEnough || this.#isStopped) break
    }
    return { receipts, refused, faults: learnt }
  }

  async #missingIds(peer: PeerId, startMs: number): Promise<Uint8Array[]> {
    const { courier, archive } = this.#components
    const answer = await courier.ask(peer, 'evidence-ids', BucketQuery.encode({ startMs }))
    const { ids } = ReceiptIds.decode(answer, { limits: { ids: LIMITS.receiptsPerBucket } })
    return ids.filter((id) => id.length === 32 && !archive.has(toHex(id)))
  }

  async #fetchReceipts(
    peer: PeerId,
    ids: Uint8Array[],
  ): Promise<{ taken: number; refused: number; absent: Uint8Array[] }> {
    const { network, courier } = this.#components
    const answer = await courier.ask(peer, 'evidence-receipts', ReceiptIds.encode({ ids }))
    const messages = new Map<string, AnyOpened>()
    for (const bytes of Bundle.decode(answer).envelopes) {
      const opened = open(network, bytes)
      messages.set(opened.id, opened)
    }
    const elections = new Map<Digest, Promise<Election>>()
    let taken = 0
    let refused = 0
    const absent: Uint8Array[] = []
    for (const id of ids) {
      const receipt = messages.get(toHex(id))
      if (receipt === undefined) absent.push(id)
      else if (receipt.kind === 'receipt' && (await this.#admit(messages, receipt, elections))) {
        taken += 1
      } else refused += 1
    }
    return { taken, refused, absent }
  }

  /** Verifies a receipt by the messages that came with it. */
  async #admit(
    messages: ReadonlyMap<string, AnyOpened>,
    receipt: Opened<'receipt'>,
    elections: Map<Digest, Promise<Election>>,
  ): Promise<boolean> {
    const { network, reputation, archive, log } = this.#components
    const manifest = messages.get(toHex(receipt.message.jobId))
    if (manifest?.kind !== 'manifest') return false
    try {
      assertManifest(network, manifest)
    } catch (error) {
      log.debug({ code: errorCode(error) }, 'a receipt of a job that does not hold')
      return false
    }
    const get = (id: string): AnyOpened | undefined => messages.get(id)
    const verified = await reputation.admit({ manifest, get, elections }, receipt)
    if (verified === undefined) return false
    await archive.keep(receipt, verified.messages)
    return true
  }

  async #fetchFaults(peer: PeerId): Promise<number> {
    const { courier, faults } = this.#components
    let after: Uint8Array = NO_BODY
    let learnt = 0
    for (let page = 0; page < FAULT_PAGES; page++) {
      const answer = await courier.ask(peer, 'evidence-faults', FaultsQuery.encode({ after }))
      const told = Faults.decode(answer, { limits: { faults: LIMITS.faultyPeers } })
      for (const fault of told.faults) if (await faults.take(fault)) learnt += 1
      if (told.last.length === 0) break
      after = told.last
    }
    if (learnt > 0) this.spread()
    return learnt
  }
}
