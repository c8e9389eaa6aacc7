/** A network of daemons for the training benchmark, and what a job on it costs. */
import { execFile } from 'node:child_process'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { PeerView, TrainRequest } from '../src/api/daemon-port.js'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { CtdError } from '../src/errors.js'
import { CTD, LocalNetwork, jobEnded, until, watch } from './local-network.js'
import type { LocalPeer } from './local-network.js'
import { Loopback } from './loopback.js'
import { residentBytesOf } from './process-figures.js'

const exec = promisify(execFile)
const START_MS = 300_000
const JOB_MS = 3 * 3600_000

/** What one job took, from its submission until its result lies in a folder. */
export interface JobFigures {
  /** Of the evaluation set, nats a token. */
  readonly loss: number
  /** Of labels, or of next tokens. */
  readonly accuracy: number
  /** Of what a model would score that knows the shares of tokens or labels alone. */
  readonly baselineLoss: number
  readonly hash: string
  readonly wallSeconds: number
  readonly bytes: number
  /** From one aggregation to the next. */
  readonly rounds: readonly RoundFigures[]
  /** That the accepted training tasks saw, each counted once. */
  readonly tokens: number
  /** In training steps, all replicas. */
  readonly trainSeconds: number
  readonly trainTasks: number
  readonly trainReplicas: number
  /** The trained weights. */
  readonly weightsPath: string
  readonly weightsBytes: number
  /** Of the daemon that ever needed most. */
  readonly peakRssBytes: number
}

export interface RoundFigures {
  readonly wallSeconds: number
  readonly bytes: number
  /** Of the peer that trained longest in this round. */
  readonly trainSeconds: number
}

/** Training of one replica, as its own trainer tells it. */
interface Trained {
  readonly peer: string
  readonly name: string
  readonly seconds: number
}

export class BenchNetwork {
  readonly #network: LocalNetwork
  readonly #loopback: Loopback
  readonly #dir: string
  #requester: LocalPeer | undefined
  readonly #executors: LocalPeer[] = []

  private constructor(network: LocalNetwork, loopback: Loopback, dir: string) {
    this.#network = network
    this.#loopback = loopback
    this.#dir = dir
  }

  /** Starts a requester and executors of one seat each, all in one network namespace. */
  static async start(options: {
    readonly dir: string
    readonly executors: number
    readonly onTearDown: (step: () => Promise<void>) => void
  }): Promise<BenchNetwork> {
    const { dir } = options
    await mkdir(dir, { recursive: true })
    const loopback = await Loopback.create()
    const { prefix } = loopback
    const network = new LocalNetwork({ dir, network: `training-${process.pid}`, prefix })
    const bench = new BenchNetwork(network, loopback, dir)
    options.onTearDown(() => bench.stop())
    const requester = await network.start({ name: 'r', execute: false })
    bench.#requester = requester
    const bootstrap = requester.node?.addresses.slice(0, 1) ?? []
    for (let i = 0; i < options.executors; i++) {
      bench.#executors.push(await network.start({ name: `e${i}`, bootstrap }))
    }
    await until('the requester to know every benchmark', START_MS, async () => {
      const peers = await requester.client.get<readonly PeerView[]>('/v1/peers')
      const measured = peers.filter((peer) => peer.cpuGflops > 0 && peer.connected)
      return measured.length >= options.executors ? true : undefined
    })
    return bench
  }

  /** Runs a job to its end and writes its result. @throws CtdError of the job's failure */
  async train(request: Omit<TrainRequest, 'kind'>): Promise<JobFigures> {
    const requester = this.#requester as LocalPeer
    const watching = new AbortController()
    const trained: Trained[] = []
    const closed: { atMs: number; bytes: Promise<number> }[] = []
    let [tokens, trainTasks] = [0, 0]
    const watched = [
      ...this.#executors.map((peer) =>
        watch(peer.client, watching.signal, (type, fields) => {
          const seconds = type === 'replica:moved' ? secondsOf(fields) : undefined
          if (seconds !== undefined) {
            trained.push({ peer: peer.name, name: String(fields['name']), seconds })
          }
        }),
      ),
      watch(requester.client, watching.signal, (type, fields) => {
        if (type !== 'task:accepted') return
        const name = String(fields['name'])
        const metrics = fields['metrics'] as Readonly<Record<string, number>> | undefined
        if (name.startsWith('train')) {
          tokens += metrics?.['tokens'] ?? 0
          trainTasks += 1
        }
        if (/^(split|init|continue|aggregate)\b/.test(name)) {
          closed.push({ atMs: Date.now(), bytes: this.#loopback.bytes() })
        }
      }),
    ]
    const [sinceMs, bytesBefore] = [Date.now(), await this.#loopback.bytes()]
    const { id } = await requester.client.post<{ id: string }>('/v1/jobs', {
      kind: 'train',
      ...request,
    })
    const ended = await jobEnded(requester.client, id, JOB_MS)
    if (ended.status !== 'succeeded') {
      watching.abort()
      await Promise.all(watched)
      throw new CtdError(ended.code, `the job ${ended.status}: ${ended.reason}`)
    }
    const out = join(this.#dir, `results-${id.slice(0, 12)}`)
    await exec(process.execPath, [CTD, 'results', id, '--out', out, '--home', requester.home])
    const wallSeconds = (Date.now() - sinceMs) / 1000
    const bytes = (await this.#loopback.bytes()) - bytesBefore
    watching.abort()
    await Promise.all(watched)
    const weightsPath = join(out, 'model.safetensors')
    const result = ended.result as Readonly<Record<string, unknown>>
    const baseline = result['baseline'] as Readonly<Record<string, number>> | undefined
    return {
      loss: Number(result['loss']),
      accuracy: accuracyOf(result),
      baselineLoss: baseline?.['loss'] ?? Number.NaN,
      hash: String(result['hash']),
      wallSeconds,
      bytes,
      rounds: await roundsOf(closed, trained),
      tokens,
      trainSeconds: trained.reduce((sum, { seconds }) => sum + seconds, 0),
      trainTasks,
      trainReplicas: trained.length,
      weightsPath,
      weightsBytes: (await stat(weightsPath)).size,
      peakRssBytes: await this.#peakRssBytes(),
    }
  }

  async #peakRssBytes(): Promise<number> {
    const peaks = this.#network.peers.map(({ process }) =>
      residentBytesOf(process.pid ?? 0, 'VmHWM'),
    )
    return Math.max(...(await Promise.all(peaks)))
  }

  async stop(): Promise<void> {
    await this.#network.stop()
    this.#loopback.stop()
    const runtime = new DockerRuntime()
    for (const peer of this.#network.peers) await runtime.cleanUp(peer.peerId, [])
  }
}

/** @throws CtdError NO_ACCURACY */
function accuracyOf(result: Readonly<Record<string, unknown>>): number {
  const accuracy = result['accuracy'] ?? result['nextTokenAccuracy']
  if (typeof accuracy === 'number') return accuracy
  throw new CtdError('NO_ACCURACY', 'the result does not say how many were right')
}

/** What the trainer's last line says, which the replica still carries when it commits. */
function secondsOf(fields: Readonly<Record<string, unknown>>): number | undefined {
  if (fields['phase'] !== 'committed' || !String(fields['name']).startsWith('train')) {
    return undefined
  }
  const note = JSON.parse(String(fields['note'] ?? '{}')) as Readonly<Record<string, unknown>>
  const seconds = note['seconds']
  if (typeof seconds === 'number') return seconds
  throw new CtdError('NO_SECONDS', 'a trainer did not tell how long it trained')
}

/** @param closed - the split, the first weights and every aggregation, in the order of their ends */
async function roundsOf(
  closed: readonly { readonly atMs: number; readonly bytes: Promise<number> }[],
  trained: readonly Trained[],
): Promise<readonly RoundFigures[]> {
  const rounds: RoundFigures[] = []
  for (const [round, end] of closed.slice(2).entries()) {
    const start = closed[round + 1] ?? end
    const byPeer = new Map<string, number>()
    for (const { peer, name, seconds } of trained) {
      if (!name.startsWith(`train r${round} `)) continue
      byPeer.set(peer, (byPeer.get(peer) ?? 0) + seconds)
    }
    rounds.push({
      wallSeconds: (end.atMs - start.atMs) / 1000,
      bytes: (await end.bytes) - (await start.bytes),
      trainSeconds: Math.max(0, ...byPeer.values()),
    })
  }
  return rounds
}

/** Seconds of each round in which the peer that trains longest does not train. */
export function overheads({ rounds }: JobFigures): readonly number[] {
  return rounds.map(({ wallSeconds, trainSeconds }) => wallSeconds - trainSeconds)
}
