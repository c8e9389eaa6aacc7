/**
 * Runs one job: event in, step, effects out, in order. Every event is on disk before its effects
 * happen, so that a restarted daemon finds the job where it was.
 */
import type { Clock } from '../clock.js'
import { errorCode, errorMessage } from '../errors.js'
import type { Log } from '../log.js'
import type { AssignmentEvent, Collected } from '../protocol/assignment.js'
import { parseTimer, isEnded, stepJob } from '../protocol/job-step.js'
import { createJob } from '../protocol/job.js'
import type { JobContext, JobEffect, JobEvent, JobRunState, OutputFile } from '../protocol/job.js'
import { standingsOf } from '../steward/standings.js'
import { Leases } from '../steward/leases.js'
import type { Lease } from '../steward/leases.js'
import type { Store } from '../store/store.js'
import type { AnyOpened, Opened } from '../wire/envelope.js'
import { toHex } from '../wire/ids.js'
import type { Digest, JobId, PeerId } from '../wire/ids.js'
import type { Score } from '../protocol/reputation.js'
import { decodeEvent, encodeEvent } from './event-codec.js'

/** What a job needs of the daemon around it. */
export interface JobRunnerComponents {
  readonly clock: Clock
  readonly log: Log
  readonly store: Pick<Store, 'append' | 'readLog'>
  /** Publishes on the job's topic (offers on theirs) and hands over to the named peers. */
  readonly send: (opened: AnyOpened, to: readonly PeerId[]) => void
  readonly connectedPeers: () => readonly PeerId[]
  readonly score: (peer: PeerId) => Score
  readonly prefixOf: (peer: PeerId) => string
  readonly receiptRoot: () => Uint8Array
  /** Fetches an output's listing and, for artifacts, its files. @throws CtdError BLOB_* */
  readonly readOutput: (
    output: { readonly batch: number; readonly slot: number; readonly root: Digest },
    providers: readonly PeerId[],
    signal: AbortSignal,
  ) => Promise<readonly OutputFile[]>
  readonly notify: (event: string, fields: Readonly<Record<string, unknown>>) => void
  readonly onEnded: (jobId: JobId) => void
}

export interface JobRunnerOptions {
  readonly leaseMs: number
  readonly graceMs: number
}

const LOG_EVENTS_MAX = 100_000

export class JobRunner {
  readonly context: JobContext
  readonly state: JobRunState
  readonly #components: JobRunnerComponents
  readonly #leases: Leases
  readonly #timers = new Map<string, () => void>()
  readonly #abort = new AbortController()
  #sequence = 0
  #queue: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(context: JobContext, components: JobRunnerComponents, options: JobRunnerOptions) {
    this.context = context
    this.#components = components
    this.state = createJob(context.plan)
    this.#leases = new Leases({
      ...options,
      clock: components.clock,
      onExpired: (lease) => {
        this.#onLeaseExpired(lease)
      },
    })
  }

  get #logName(): string {
    return `job/${this.context.jobId}`
  }

  /**
   * Replays the events of earlier processes; own messages come back by `onMessage`.
   *
   * @throws CtdError STORE_DAMAGED
   */
  async replay(onMessage: (opened: AnyOpened) => void): Promise<void> {
    for (const text of await this.#components.store.readLog(this.#logName, LOG_EVENTS_MAX)) {
      const event = decodeEvent(this.context.network, text)
      this.#sequence += 1
      if (event.type === 'assignment' && event.event.type === 'message') {
        onMessage(event.event.opened)
      }
      for (const effect of stepJob(this.context, this.state, event)) {
        if (effect.type === 'publish') onMessage(effect.opened)
      }
    }
  }

  /** Queues an event; resolves when its effects have been started. */
  dispatch(event: JobEvent): Promise<void> {
    this.#queue = this.#queue.then(() => this.#handle(event)).catch((error: unknown) => {
      const fields = { jobId: this.context.jobId, code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.error(fields, 'a job event could not be handled')
    })
    return this.#queue
  }

  /** A bid, opening, commitment, … for one of the job's batches. */
  onMessage(opened: Collected): void {
    const batch = this.#batchOf(opened)
    if (batch === undefined) return
    if (opened.kind === 'commitment' || opened.kind === 'failure') this.#endLeaseOf(opened)
    const nowMs = this.#components.clock.now()
    void this.#assign(batch, { type: 'message', opened, nowMs })
  }

  /** False when the executor holds no lease: nobody waits for its work any more. */
  onHeartbeat(taskId: string, peer: PeerId): boolean {
    const place = this.#placeOf(taskId)
    return place !== undefined && this.#leases.renew({ ...place, peer })
  }

  onDisconnected(peer: PeerId): void {
    this.#leases.onDisconnected(peer)
  }

  /** A new peer may be the one a waiting job lacks. */
  onConnected(): void {
    for (const batch of this.state.batches) {
      if (batch.status !== 'retrying') continue
      this.#clear(`retry:${batch.index}`)
      const nowMs = this.#components.clock.now()
      void this.dispatch({ type: 'retryDue', batch: batch.index, nowMs })
    }
  }

  /** The last certificate of a slot, for an executor that may have missed it. */
  tailOf(taskId: string): Opened<'freezeCommitments'> | undefined {
    const place = this.#placeOf(taskId)
    if (place === undefined) return undefined
    const slot = this.state.batches[place.batch]?.assignment?.slots[place.slot]
    return slot?.frozenCommitments
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#abort.abort()
    this.#leases.stop()
    for (const cancel of this.#timers.values()) cancel()
    this.#timers.clear()
    await this.#queue
  }

  #batchOf(opened: Collected): number | undefined {
    const { message } = opened
    const fits = (offerId: string, frozenId: string | undefined): boolean => {
      if ('offer' in message) return toHex(message.offer) === offerId
      return 'frozenBids' in message && toHex(message.frozenBids) === frozenId
    }
    if ('taskId' in message) return this.#placeOf(toHex(message.taskId))?.batch
    return this.state.batches.find(
      ({ assignment }) =>
        assignment !== undefined && fits(assignment.offer.id, assignment.frozenBids?.id),
    )?.index
  }

  #placeOf(taskId: string): { batch: number; slot: number } | undefined {
    for (const { index, assignment } of this.state.batches) {
      const slot = assignment?.slots.find((candidate) => candidate.taskId === taskId)
      if (slot !== undefined) return { batch: index, slot: slot.index }
    }
    return undefined
  }

  #endLeaseOf(opened: Opened<'commitment'> | Opened<'failure'>): void {
    const place = this.#placeOf(toHex(opened.message.taskId))
    if (place !== undefined) this.#leases.end({ ...place, peer: opened.author })
  }

  #onLeaseExpired({ batch, slot, peer }: Lease): void {
    const nowMs = this.#components.clock.now()
    const reason = 'gave no sign of life within its lease'
    this.#components.notify('executor:lost', { batch, slot, peer, reason })
    const event = { type: 'executorLost', slot, peer, code: 'LEASE_EXPIRED', reason, nowMs } as const
    void this.#assign(batch, event)
  }

  #assign(batch: number, event: AssignmentEvent): Promise<void> {
    return this.dispatch({ type: 'assignment', batch, event, nowMs: event.nowMs })
  }

  async #handle(event: JobEvent): Promise<void> {
    if (this.#isStopped || isEnded(this.state)) return
    await this.#components.store.append(this.#logName, this.#sequence, encodeEvent(event), true)
    this.#sequence += 1
    for (const effect of stepJob(this.context, this.state, event)) this.#execute(effect)
  }

  #execute(effect: JobEffect): void {
    const { clock, notify } = this.#components
    switch (effect.type) {
      case 'publish':
        this.#components.send(effect.opened, effect.to)
        return
      case 'timer':
        this.#clear(effect.name)
        this.#timers.set(
          effect.name,
          clock.after(effect.ms, () => {
            this.#onTimer(effect.name)
          }),
        )
        return
      case 'clearTimer':
        this.#clear(effect.name)
        return
      case 'askPeers': {
        const peers = this.#components.connectedPeers()
        void this.dispatch({ type: 'peersAsked', batch: effect.batch, peers, nowMs: clock.now() })
        return
      }
      case 'weigh': {
        const { score, prefixOf } = this.#components
        const standings = standingsOf(effect.bids, { score, prefixOf })
        const receiptRoot = this.#components.receiptRoot()
        const nowMs = clock.now()
        void this.#assign(effect.batch, { type: 'standings', standings, receiptRoot, nowMs })
        return
      }
      case 'readOutput':
        void this.#readOutput(effect)
        return
      case 'notify':
        this.#grantLeases(effect)
        notify(effect.event, effect.fields)
        return
      case 'ended':
        this.#leases.stop()
        for (const cancel of this.#timers.values()) cancel()
        this.#timers.clear()
        this.#components.onEnded(this.context.jobId)
    }
  }

  /** A call starts a lease; a closed slot ends those that are left. */
  #grantLeases(effect: Extract<JobEffect, { type: 'notify' }>): void {
    const { batch, slot, peer } = effect.fields
    if (typeof batch !== 'number' || typeof slot !== 'number') return
    if (effect.event === 'task:called' && typeof peer === 'string') {
      const isConnected = this.#components.connectedPeers().some((other) => other === peer)
      this.#leases.grant({ batch, slot, peer: peer as PeerId }, isConnected)
    }
    if (effect.event === 'task:accepted' || effect.event === 'task:rejected') {
      this.#leases.endSlot(batch, slot)
    }
  }

  #clear(name: string): void {
    this.#timers.get(name)?.()
    this.#timers.delete(name)
  }

  #onTimer(name: string): void {
    this.#timers.delete(name)
    const nowMs = this.#components.clock.now()
    const retry = /^retry:(\d+)$/.exec(name)
    if (retry !== null) {
      void this.dispatch({ type: 'retryDue', batch: Number(retry[1]), nowMs })
      return
    }
    const timer = parseTimer(name)
    const batch = timer === undefined ? undefined : this.state.batches[timer.batch]
    if (timer === undefined || batch?.attempt !== timer.attempt) return
    void this.#assign(timer.batch, { type: 'deadline', name: timer.name, nowMs })
  }

  async #readOutput(effect: Extract<JobEffect, { type: 'readOutput' }>): Promise<void> {
    const { batch, slot, providers } = effect
    const { clock, log } = this.#components
    try {
      const files = await this.#components.readOutput(effect, providers, this.#abort.signal)
      await this.dispatch({ type: 'outputRead', batch, slot, files, nowMs: clock.now() })
    } catch (error) {
      if (this.#abort.signal.aborted) return
      log.warn({ batch, slot, code: errorCode(error), detail: errorMessage(error) }, 'output lost')
      await this.dispatch({ type: 'outputLost', batch, slot, nowMs: clock.now() })
    }
  }
}
