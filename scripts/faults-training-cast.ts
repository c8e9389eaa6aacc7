/** The peers of the show of training, what it does to them, and one run of its job among them. */
import type { JobView } from '../src/api/daemon-port.js'
import { CtdError } from '../src/errors.js'
import { isRunning, trainingNow } from './faults-training-look.js'
import type { Training } from './faults-training-look.js'
import { hasEnded, until, watch } from './local-network.js'
import type { LocalNetwork, LocalPeer, PeerOptions } from './local-network.js'
import { known } from './faults-show.js'

export const MODEL = 'gpt-tiny'
const MAX_LENGTH = 32
const RUN_MS = 10 * 60_000

export interface CastOptions {
  readonly network: LocalNetwork
  readonly dataset: string
  readonly rounds: number
  readonly shards: number
  readonly seed: string
  readonly say: (text: string) => void
}

/** One run of the job. */
export interface Run {
  readonly part: string
  readonly status: string
  readonly hash: string
  readonly seconds: number
  /** Names of those whose results of training tasks were accepted, sorted. */
  readonly executors: readonly string[]
  /** Training tasks as they were accepted; what a dead submitter would have told is missing. */
  readonly order: readonly string[]
  readonly view: JobView
}

/** An executor that was killed while its trainer was at work. */
export interface Kill {
  readonly part: string
  readonly peer: string
  readonly peerId: string
  readonly task: string
  readonly round: number
  readonly step: number
  readonly total: number
  readonly container: string
  /** Whether its container ran on when the daemon was dead. */
  readonly ranOn: boolean
}

export interface PlayOptions {
  readonly replicas?: number
  /** Done while the job runs; a job that goes on under another id is named by what it returns. */
  readonly act?: (jobId: string) => Promise<string | void>
  readonly onAccepted?: (name: string) => Promise<void>
}

export class Cast {
  /** Those that execute and are alive. */
  readonly executors: LocalPeer[] = []
  submitter: LocalPeer
  readonly #options: CastOptions
  readonly #killed = new Set<LocalPeer>()

  constructor(options: CastOptions, submitter: LocalPeer) {
    this.#options = options
    this.submitter = submitter
  }

  nameOf(peerId: string): string {
    const peer = this.#options.network.peers.find((candidate) => candidate.peerId === peerId)
    return peer?.name ?? peerId.slice(-6)
  }

  /** Starts executors and waits until the submitter knows what they measured. */
  async join(names: readonly string[], options: Omit<PeerOptions, 'name'> = {}): Promise<void> {
    const start = (name: string): Promise<LocalPeer> =>
      this.#options.network.start({ name, ...options })
    const started = await Promise.all(names.map(start))
    this.executors.push(...started)
    await known(this.submitter, started)
  }

  async leave(peers: readonly LocalPeer[]): Promise<void> {
    const leaving = [...peers]
    this.#forget(leaving)
    await Promise.all(leaving.map((peer) => peer.stop()))
  }

  #forget(gone: readonly LocalPeer[]): void {
    const left = this.executors.filter((peer) => !gone.includes(peer))
    this.executors.splice(0, this.executors.length, ...left)
  }

  /** Runs the job from submission to its end. */
  async play(part: string, options: PlayOptions = {}): Promise<Run> {
    const startedMs = Date.now()
    const order: string[] = []
    const watching = new AbortController()
    const told: Array<Promise<void>> = []
    let failed: unknown
    const listen = (peer: LocalPeer): Promise<void> =>
      watch(peer.client, watching.signal, (type, fields) => {
        const name = String(fields['name'])
        if (type !== 'task:accepted' || !name.startsWith('train')) return
        order.push(name)
        if (options.onAccepted !== undefined) told.push(options.onAccepted(name))
      }).catch((error: unknown) => {
        // A submitter that is killed tells nothing more; another one may not fall silent.
        if (!this.#killed.has(peer)) failed ??= error
      })
    const first = this.submitter
    const listening = [listen(first)]
    try {
      let jobId = await this.#submit(options.replicas ?? 2)
      jobId = (await options.act?.(jobId)) ?? jobId
      if (this.submitter !== first) listening.push(listen(this.submitter))
      const view = await this.#ended(jobId)
      await Promise.all(told)
      if (failed !== undefined) throw failed
      const seconds = Math.round((Date.now() - startedMs) / 100) / 10
      const run = {
        part,
        status: view.status,
        hash: String(view.result?.['hash'] ?? ''),
        seconds,
        executors: this.#executorsOf(view),
        order,
        view,
      }
      this.#options.say(`  = ${part}: ${view.status} ${view.reason} in ${seconds} s`)
      return run
    } finally {
      watching.abort()
      await Promise.all(listening)
    }
  }

  async #submit(replicas: number): Promise<string> {
    const { dataset, rounds, shards, seed } = this.#options
    const { id } = await this.submitter.client.post<{ id: string }>('/v1/jobs', {
      kind: 'train',
      model: MODEL,
      dataset,
      epochs: 1,
      rounds,
      // Equally many steps in each: by these a round is told from outside.
      growth: 1,
      shards,
      maxLength: MAX_LENGTH,
      seed,
      replicas,
      // No hidden replica: who is called for what is then for the show to say.
      auditPpm: 0,
    })
    return id
  }

  async #ended(jobId: string): Promise<JobView> {
    return until('the job to end', RUN_MS, async () => {
      const view = await this.submitter.client.get<JobView>(`/v1/jobs/${jobId}`)
      return hasEnded(view.status) ? view : undefined
    })
  }

  #executorsOf({ tasks }: JobView): readonly string[] {
    const trained = tasks.filter(({ name }) => name.startsWith('train'))
    const agreed = trained.flatMap(({ replicas }) =>
      replicas.filter(({ phase }) => phase === 'agreed').map(({ peer }) => this.nameOf(peer)),
    )
    return [...new Set(agreed)].sort()
  }

  /** Resolves when so many executors are in the middle of a fitting task. */
  async training(
    count: number,
    jobId: string,
    fits: (training: Training) => boolean,
  ): Promise<readonly Training[]> {
    return until(`${count} executors to train`, RUN_MS, async () => {
      const owners = this.executors.map(({ peerId }) => peerId)
      const fitting = (await trainingNow(owners)).filter(fits)
      const distinct = new Map(fitting.map((training) => [training.owner, training]))
      if (distinct.size >= count) return [...distinct.values()]
      const { status, reason } = await this.submitter.client.get<JobView>(`/v1/jobs/${jobId}`)
      if (hasEnded(status)) {
        throw new CtdError('SHOW_FAILED', `the job ${status} before anybody was killed: ${reason}`)
      }
      return undefined
    })
  }

  async killExecutors(part: string, due: readonly Training[]): Promise<readonly Kill[]> {
    return Promise.all(
      due.map(async ({ owner, container, round, shard, step, total }) => {
        const victim = this.executors.find(({ peerId }) => peerId === owner)
        if (victim === undefined) throw new CtdError('SHOW_FAILED', `${owner} is gone already`)
        this.#forget([victim])
        await victim.kill()
        const ranOn = await isRunning(container)
        const { name: peer, peerId } = victim
        const task = `train r${round} s${shard}`
        this.#options.say(`  x ${peer} was killed (SIGKILL) at step ${step}/${total} of ${task}`)
        return { part, peer, peerId, task, round, step, total, container, ranOn }
      }),
    )
  }

  /** Kills the submitter while a round behind the first trains. @returns how many tasks it had */
  async killSubmitter(jobId: string): Promise<number> {
    await this.training(1, jobId, ({ round }) => round > 0)
    const view = await this.submitter.client.get<JobView>(`/v1/jobs/${jobId}`)
    this.#killed.add(this.submitter)
    await this.submitter.kill()
    this.#options.say(
      `  x the submitter was killed (SIGKILL) after ${view.tasksAccepted} of ${view.tasksTotal} tasks`,
    )
    return view.tasksAccepted
  }
}
