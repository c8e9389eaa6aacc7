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
import type {
  JobContext,
  JobEffect,
  JobEvent,
  JobRunState,
  OutputFile,
  ToldUpdate,
} from '../protocol/job.js'
import { standingsOf, workOn } from '../protocol/standings.js'
import { Leases } from '../steward/leases.js'
import type { Lease } from '../steward/leases.js'
import type { Store } from '../store/store.js'
import type { AnyOpened } from '../wire/envelope.js'
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
  /** As of a time, Unix time in ms. */
  readonly score: (peer: PeerId, atMs: number) => Score
  readonly prefixOf: (peer: PeerId) => string
  readonly receiptRoot: () => Uint8Array
  /** Fetches an output's listing and, for artifacts, its files. @throws CtdError BLOB_* */
  readonly readOutput: (
    output: {
      readonly batch: number
      readonly slot: number
      readonly root: Digest
      readonly told?: ToldUpdate
    },
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

interface Place {
  readonly batch: number
  readonly slot: number
}

/** More than the largest plan takes when all goes well. */
const LOG_EVENTS_MAX = 500_000
/** How soon after one another new peers may hurry a waiting job. */
const HURRY_MS = 1000
const HURRY = 'hurry'
/** How long an executor may take: in limits of the program, or in times that others took. */
const LIMIT_SPANS = 3
const STRAGGLER_SPANS = 4
/** And in leases beside that, for a seat to become free and inputs to arrive. */
const SLACK_LEASES = 4
/** While the disk is full. */
const PERSIST_AGAIN_MS = 1000

/** The log of a job's events. */
export function logNameOf(jobId: JobId): string {
  return `job/${jobId}`
}

export class JobRunner {
  readonly context: JobContext
  readonly state: JobRunState
  readonly #components: JobRunnerComponents
  readonly #leases: Leases
  readonly #leaseMs: number
  /** Longest that a committed executor of a slot took since its call. */
  readonly #tookMs = new Map<string, number>()
  readonly #timers = new Map<string, () => void>()
  readonly #abort = new AbortController()
  #sequence = 0
  #hurriedMs = -Infinity
  #queue: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(context: JobContext, components: JobRunnerComponents, options: JobRunnerOptions) {
    this.context = context
    this.#components = components
    this.state = createJob(context.plan)
    this.#leaseMs = options.leaseMs
    this.#leases = new Leases({
      ...options,
      clock: components.clock,
      onExpired: (lease) => {
        this.#onLeaseExpired(lease)
      },
    })
  }

  /** Whom this job waits for: called, alive as far as is known, and without a result so far. */
  get leases(): readonly Lease[] {
    return this.#leases.live
  }

  get #logName(): string {
    return logNameOf(this.context.jobId)
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

  /** Queues an event; resolves when its effects have been started, or the runner has stopped. */
  dispatch(event: JobEvent): Promise<void> {
    this.#queue = this.#queue
      .then(() => this.#handle(event))
      .catch((error: unknown) => {
        const fields = {
          jobId: this.context.jobId,
          code: errorCode(error),
          detail: errorMessage(error),
        }
        this.#components.log.error(fields, 'a job event could not be handled')
      })
    return this.#queue
  }

  /** A bid, opening, commitment, … for one of the job's batches. */
  onMessage(opened: Collected): void {
    const batch = this.#batchOf(opened)
    if (batch === undefined) return
    const nowMs = this.#components.clock.now()
    void this.#assign(batch, { type: 'message', opened, nowMs })
  }

  /**
   * False when the executor holds no lease, or has been at it for too long: nobody waits for its
   * work any more.
   */
  onHeartbeat(taskId: string, peer: PeerId, phase: string): boolean {
    const place = this.#placeOf(taskId)
    const nowMs = this.#components.clock.now()
    if (place === undefined || nowMs > this.#patienceEndsMs(place)) return false
    const isAwaited = this.#leases.renew({ ...place, peer })
    const { batch, slot } = place
    const state = this.state.batches[batch]?.assignment?.slots[slot]
    const isNew = state?.phase === 'executing' && !state.startedMs.has(peer)
    // Whoever waits for a seat is not slow.
    if (isAwaited && isNew && (phase === 'fetching' || phase === 'running')) {
      void this.#assign(batch, { type: 'executorStarted', slot, peer, nowMs })
    }
    return isAwaited
  }

  /**
   * Until when signs of life renew the leases of a slot. Without an end, an executor that beats
   * and never commits would hold up the job for ever. Where others have committed, their time is
   * the measure; else the program's own limit, with room to wait for a seat and to fetch.
   */
  #patienceEndsMs(place: Place): number {
    const tookMs = this.#tookMs.get(`${place.batch}/${place.slot}`)
    const workMs =
      tookMs === undefined
        ? LIMIT_SPANS * this.context.plan.resources.timeoutMs
        : STRAGGLER_SPANS * tookMs
    return this.#calledMsOf(place) + workMs + SLACK_LEASES * this.#leaseMs
  }

  #calledMsOf({ batch, slot }: Place): number {
    return this.state.batches[batch]?.assignment?.slots[slot]?.calledMs ?? 0
  }

  onDisconnected(peer: PeerId): void {
    this.#leases.onDisconnected(peer)
  }

  /** A new peer may be the one a waiting job lacks; each costs an offer, so not all at once. */
  onConnected(): void {
    const { clock } = this.#components
    const waiting = this.state.batches.filter(({ status }) => status === 'retrying')
    if (waiting.length === 0 || this.#isStopped || isEnded(this.state)) return
    const nowMs = clock.now()
    const waitMs = this.#hurriedMs + HURRY_MS - nowMs
    if (waitMs > 0) {
      if (this.#timers.has(HURRY)) return
      const again = (): void => {
        this.#timers.delete(HURRY)
        this.onConnected()
      }
      this.#timers.set(HURRY, clock.after(waitMs, again))
      return
    }
    this.#hurriedMs = nowMs
    for (const batch of waiting) {
      this.#clear(`retry:${batch.index}`)
      void this.dispatch({ type: 'retryDue', batch: batch.index, nowMs })
    }
  }

  /** The last certificates of a slot, for an executor that may have missed them. */
  tailOf(taskId: string): readonly AnyOpened[] {
    const place = this.#placeOf(taskId)
    if (place === undefined) return []
    const slot = this.state.batches[place.batch]?.assignment?.slots[place.slot]
    return [slot?.frozenCommitments ?? [], slot?.frozenSketches ?? []].flat()
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

  #placeOf(taskId: string): Place | undefined {
    for (const { index, assignment } of this.state.batches) {
      const slot = assignment?.slots.find((candidate) => candidate.taskId === taskId)
      if (slot !== undefined) return { batch: index, slot: slot.index }
    }
    return undefined
  }

  /**
   * Ends the lease of an executor that has committed or failed, as the state has it: the message
   * may be one of an earlier attempt, which changes nothing.
   *
   * @param calledMs - when the slot's executors were called, before the message was handled
   */
  #endLeaseOf({ author }: Collected, { batch, slot }: Place, calledMs: number): void {
    const state = this.state.batches[batch]?.assignment?.slots[slot]
    const committedMs = state?.committedMs.get(author)
    if (committedMs === undefined && state?.lost.has(author) !== true) return
    const isFresh = this.#leases.end({ batch, slot, peer: author })
    if (!isFresh || committedMs === undefined) return
    const key = `${batch}/${slot}`
    this.#tookMs.set(key, Math.max(this.#tookMs.get(key) ?? 0, committedMs - calledMs))
  }

  #onLeaseExpired({ batch, slot, peer }: Lease): void {
    const nowMs = this.#components.clock.now()
    const reason = 'gave no sign of life within its lease'
    this.#components.notify('executor:lost', { batch, slot, peer, reason })
    const event = {
      type: 'executorLost',
      slot,
      peer,
      code: 'LEASE_EXPIRED',
      reason,
      nowMs,
    } as const
    void this.#assign(batch, event)
  }

  #assign(batch: number, event: AssignmentEvent): Promise<void> {
    return this.dispatch({ type: 'assignment', batch, event, nowMs: event.nowMs })
  }

  async #handle(given: JobEvent): Promise<void> {
    if (this.#isStopped || isEnded(this.state)) return
    const event = this.#sequence < LOG_EVENTS_MAX - 1 ? given : tooLong(given.nowMs)
    if (!(await this.#persist(encodeEvent(event)))) return
    this.#sequence += 1
    const opened = messageOf(event)
    const place =
      opened !== undefined && 'taskId' in opened.message
        ? this.#placeOf(toHex(opened.message.taskId))
        : undefined
    const calledMs = place === undefined ? 0 : this.#calledMsOf(place)
    const effects = stepJob(this.context, this.state, event)
    if (opened !== undefined && place !== undefined) this.#endLeaseOf(opened, place, calledMs)
    for (const effect of effects) this.#executeAlone(effect)
  }

  /** An effect that fails must not take those after it along: the state says they happened. */
  #executeAlone(effect: JobEffect): void {
    try {
      this.#execute(effect)
    } catch (error) {
      const fields = { effect: effect.type, code: errorCode(error), detail: errorMessage(error) }
      this.#components.log.error(fields, 'an effect failed')
    }
  }

  /**
   * Writes an event, however long the disk refuses: an event that went missing, such as a
   * deadline, would leave the job hanging for ever. False when stopped before.
   */
  async #persist(text: string): Promise<boolean> {
    const { store, log, clock } = this.#components
    for (;;) {
      try {
        await store.append(this.#logName, this.#sequence, text, true)
        return true
      } catch (error) {
        if (this.#isStopped) return false
        const code = errorCode(error)
        log.error(
          { jobId: this.context.jobId, code, detail: errorMessage(error) },
          'job log refused',
        )
        await new Promise<void>((resolve) => {
          const cancel = clock.after(PERSIST_AGAIN_MS, resolve)
          this.#abort.signal.addEventListener(
            'abort',
            () => {
              cancel()
              resolve()
            },
            { once: true },
          )
        })
        if (this.#isStopped) return false
      }
    }
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
        const nowMs = clock.now()
        const standings = standingsOf(effect.bids, {
          score: (peer) => score(peer, nowMs),
          prefixOf,
          work: workOn(this.context.plan.resources.gpus),
        })
        const receiptRoot = this.#components.receiptRoot()
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

  /** A call starts a lease; a closed slot, or a new attempt, ends those that are left. */
  #grantLeases(effect: Extract<JobEffect, { type: 'notify' }>): void {
    const { batch, slot, peer } = effect.fields
    if (effect.event === 'task:offered' && typeof batch === 'number') {
      this.#leases.endBatch(batch)
    }
    if (typeof batch !== 'number' || typeof slot !== 'number') return
    if (effect.event === 'task:called' && typeof peer === 'string') {
      const isConnected = this.#components.connectedPeers().some((other) => other === peer)
      this.#leases.grant({ batch, slot, peer: peer as PeerId }, isConnected)
    }
    if (effect.event === 'executor:outrun' && typeof peer === 'string') {
      this.#leases.end({ batch, slot, peer: peer as PeerId })
    }
    if (['task:accepted', 'task:rejected', 'task:missed'].includes(effect.event)) {
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
      const isFalse = errorCode(error) === 'SKETCH_FALSE'
      const lost = { type: 'outputLost', batch, slot, nowMs: clock.now() } as const
      await this.dispatch(isFalse ? { ...lost, code: 'SKETCH_FALSE' } : lost)
    }
  }
}

function tooLong(nowMs: number): JobEvent {
  const reason = `the job took more than ${LOG_EVENTS_MAX} events and did not end`
  return { type: 'failed', code: 'JOB_TOO_LONG', reason, nowMs }
}

function messageOf(event: JobEvent): Collected | undefined {
  return event.type === 'assignment' && event.event.type === 'message'
    ? event.event.opened
    : undefined
}
