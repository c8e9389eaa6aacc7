/**
 * The same job twice: undisturbed, and elastic while a quarter of the executors is killed in every
 * round and one is four times slower than the others. What the model lost, which shards the slow
 * one got, which rounds closed without a shard, and whether every row was trained in the end.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { NodeView } from '../src/api/daemon-port.js'
import { CtdError, errorMessage } from '../src/errors.js'
import { parseTranscript } from '../src/protocol/transcript.js'
import { electionOf } from '../src/protocol/ballot.js'
import type { Ballot } from '../src/protocol/ballot.js'
import { decodeRound } from '../src/training/round-manifest.js'
import { peerIdFromPublicKey, toHex } from '../src/wire/ids.js'
import type { PeerId } from '../src/wire/ids.js'
import type { Promised, Show, ShowOptions } from './faults-show.js'
import { CTD, jobEnded, until, watch } from './local-network.js'
import type { LocalPeer } from './local-network.js'

export type ElasticShowOptions = Omit<ShowOptions, 'mib'>

const exec = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')
const READY_MS = 180_000
const JOB_MS = 30 * 60_000
const EXECUTORS = 8
/** Of the executors, in every round. */
const KILLED_SHARE = 4
const WORSE_MAX = 1.01
const SHARDS = 4
const ROUNDS = 6
const JOB = { kind: 'train', model: 'bert-tiny', epochs: 4, shards: SHARDS, rounds: ROUNDS }

export async function playElastic(options: ElasticShowOptions): Promise<Show> {
  const { network, dir, seed, say } = options
  const dataset = join(dir, 'languages.csv')
  await exec(process.execPath, ['--import', 'tsx', join(ROOT, 'scripts/dataset.ts'), dataset])
  const requester = await network.start({ name: 'r', execute: false })
  const bootstrap = requester.node?.addresses.slice(0, 1) ?? []
  const executors: LocalPeer[] = []
  for (let i = 0; i < EXECUTORS; i++) {
    executors.push(await network.start({ name: `e${i}`, bootstrap }))
  }
  await meet(requester, EXECUTORS)
  const submitted = { ...JOB, dataset, seed, replicas: 2, auditPpm: 0 }

  const calm = await play(requester, submitted, () => undefined)
  say(`  undisturbed:  loss ${calm.loss.toFixed(4)}, accuracy ${calm.accuracy}, ${calm.seconds} s`)

  const build = join(ROOT, 'test/builds/throttled.ts')
  const throttled = await network.start({ name: 'slow', bootstrap, build })
  await meet(requester, EXECUTORS + 1)
  const killer = new Killer(options, executors, bootstrap)
  const elastic = await play(requester, { ...submitted, elastic: true }, (type, fields) => {
    killer.onEvent(type, fields)
  })
  await killer.settled()
  say(
    `  elastic:      loss ${elastic.loss.toFixed(4)}, accuracy ${elastic.accuracy}, ${elastic.seconds} s`,
  )
  const record = await roundsOf(requester, elastic.id)
  for (const { round, steps, missed } of record) {
    say(
      `  round ${round}: ${steps.map((shard) => shard.steps).join(' ')} steps; missed: ${missed.join(' ')}`,
    )
  }

  const promises: Promised[] = []
  const promise = (words: string, isSeen: boolean, detail = ''): void => {
    promises.push({ promise: words, isSeen, detail })
  }
  const ratio = elastic.loss / calm.loss
  promise(
    'the loss is within 1 % of the undisturbed run, or below',
    ratio <= WORSE_MAX,
    ratio.toFixed(4),
  )
  const share = Math.floor(EXECUTORS / KILLED_SHARE)
  promise(
    'a quarter of the executors was killed in every round',
    [...killer.killed.values()].filter((names) => names.length >= share).length === ROUNDS,
    [...killer.killed].map(([name, names]) => `${name}: ${names.join(' ')}`).join(', '),
  )
  const known = record.filter(({ round }) => round < ROUNDS - 1).flatMap(({ steps }) => steps)
  const isSlow = ({ executors: own }: SizedShard): boolean =>
    own.some((peer) => peer === throttled.peerId)
  const measured = firstMeasured(record, throttled.peerId)
  const slow = known.filter((shard) => shard.round > measured && isSlow(shard))
  const others = known.filter((shard) => shard.round > 0 && !isSlow(shard))
  const [slowMean, otherMean] = [meanShare(slow), meanShare(others)]
  promise(
    'once measured, the throttled executor gets smaller shards',
    slow.length > 0 && slowMean < 0.75 * otherMean,
    `${slowMean.toFixed(2)} of its backlog, others ${otherMean.toFixed(2)}`,
  )
  const last = record.at(-1)
  promise(
    'every row was trained in the end',
    last?.steps.length === SHARDS &&
      last.steps.every(({ start, steps, total }) => start + steps === total),
  )
  const problem = await auditProblem(options, requester, elastic.id)
  promise('ctd audit accepts the record', problem === '', problem)
  const figures = {
    calm,
    elastic,
    ratio,
    killed: Object.fromEntries(killer.killed),
    missed: elastic.missed,
    standbys: elastic.slow,
    rounds: record.map(({ round, steps, missed }) => ({
      round,
      missed,
      steps: steps.map((shard) => ({ steps: shard.steps, slow: isSlow(shard) })),
    })),
  }
  return { promises, figures }
}

async function meet(requester: LocalPeer, count: number): Promise<void> {
  await until(`the requester to meet ${count}`, READY_MS, async () => {
    const { connectedPeers } = await requester.client.get<NodeView>('/v1/node')
    return connectedPeers >= count ? true : undefined
  })
}

interface Played {
  readonly id: string
  readonly loss: number
  readonly accuracy: number
  readonly seconds: number
  /** Tasks that their rounds closed without, and those that got a standby beside a slow executor. */
  readonly missed: readonly string[]
  readonly slow: number
}

async function play(
  { client }: LocalPeer,
  request: object,
  onEvent: (type: string, fields: Readonly<Record<string, unknown>>) => void,
): Promise<Played> {
  const startedMs = Date.now()
  const watching = new AbortController()
  const missed: string[] = []
  let slow = 0
  const watched = watch(client, watching.signal, (type, fields) => {
    if (type === 'task:missed') missed.push(String(fields['name']))
    if (type === 'task:slow') slow += 1
    onEvent(type, fields)
  })
  const { id } = await client.post<{ id: string }>('/v1/jobs', request)
  const ended = await jobEnded(client, id, JOB_MS)
  watching.abort()
  await watched
  if (ended.status !== 'succeeded') {
    throw new CtdError(ended.code, `the job ${ended.status}: ${ended.reason}`)
  }
  const seconds = Math.round((Date.now() - startedMs) / 1000)
  const { loss, accuracy } = ended.result ?? {}
  return { id, loss: Number(loss), accuracy: Number(accuracy), seconds, missed, slow }
}

/** Kills executors that train, two in every round, and starts them again when it has closed. */
class Killer {
  /** Names by round. */
  readonly killed = new Map<string, string[]>()
  readonly #options: ElasticShowOptions
  readonly #alive: Map<string, LocalPeer>
  readonly #bootstrap: readonly string[]
  readonly #dead: LocalPeer[] = []
  /** The round that each executor was called for last. */
  readonly #calledIn = new Map<string, string>()
  readonly #work: Promise<unknown>[] = []

  constructor(
    options: ElasticShowOptions,
    executors: readonly LocalPeer[],
    bootstrap: readonly string[],
  ) {
    this.#options = options
    this.#alive = new Map(executors.map((peer) => [peer.peerId, peer]))
    this.#bootstrap = bootstrap
  }

  onEvent(type: string, fields: Readonly<Record<string, unknown>>): void {
    const { batch, slot, peer } = fields
    // Batch 0 splits, the last evaluates; in between the shards come before their aggregation.
    const isRound = typeof batch === 'number' && batch >= 1 && batch <= ROUNDS
    if (type === 'task:called' && isRound && Number(slot) < SHARDS) {
      this.#calledIn.set(String(peer), `r${batch - 1}`)
    }
    if (type === 'task:accepted' && isRound && slot === SHARDS) this.#revive()
    if (type !== 'task:progressed' || fields['phase'] !== 'running') return
    const round = this.#calledIn.get(String(peer))
    if (round !== undefined) this.#kill(round, String(peer))
  }

  #kill(round: string, peerId: string): void {
    const victims = this.killed.get(round) ?? []
    const peer = this.#alive.get(peerId)
    if (peer === undefined || victims.length >= EXECUTORS / KILLED_SHARE) return
    this.killed.set(round, [...victims, peer.name])
    this.#alive.delete(peerId)
    this.#calledIn.delete(peerId)
    this.#dead.push(peer)
    this.#options.say(`  x ${peer.name} is killed while it trains ${round}`)
    this.#work.push(peer.kill())
  }

  #revive(): void {
    for (const { name, peerId } of this.#dead.splice(0)) {
      const { network } = this.#options
      const started = network.start({ name, bootstrap: this.#bootstrap }).then((peer) => {
        this.#alive.set(peerId, peer)
      })
      this.#work.push(started)
    }
  }

  async settled(): Promise<void> {
    await Promise.all(this.#work)
  }
}

interface SizedShard {
  readonly round: number
  readonly start: number
  readonly steps: number
  /** What the plan of equal shares is ahead of it by. */
  readonly backlog: number
  /** Of all rounds. */
  readonly total: number
  readonly executors: readonly PeerId[]
  readonly agreed: readonly PeerId[]
}

interface RoundRecord {
  readonly round: number
  readonly missed: readonly number[]
  readonly steps: readonly SizedShard[]
}

/** The accepted training tasks of every round, from the transcript alone. */
async function roundsOf({ client }: LocalPeer, id: string): Promise<RoundRecord[]> {
  const chunks: Buffer[] = []
  for await (const chunk of await client.download(`/v1/jobs/${id}/transcript`)) {
    chunks.push(Buffer.from(chunk))
  }
  const transcript = parseTranscript(Buffer.concat(chunks))
  const { plan, receipts, network, manifest } = transcript
  const { training } = plan
  if (training === undefined) throw new CtdError('NO_TRAINING', 'the job trains nothing')
  const messages = [...transcript.messages()]
  const ballotOf = (attempt: number, batch: number): Ballot => {
    const offer = messages.find(
      (each) =>
        each.kind === 'offer' && each.message.batch === batch && each.message.attempt === attempt,
    )
    const frozenBids = messages.find(
      (each) => each.kind === 'freezeBids' && toHex(each.message.offer) === offer?.id,
    )
    const frozenOpenings = messages.find(
      (each) => each.kind === 'freezeOpenings' && toHex(each.message.frozenBids) === frozenBids?.id,
    )
    if (
      offer?.kind !== 'offer' ||
      frozenBids?.kind !== 'freezeBids' ||
      frozenOpenings?.kind !== 'freezeOpenings'
    ) {
      throw new CtdError('TRANSCRIPT_INCOMPLETE', `no election of batch ${batch}`)
    }
    return { offer, frozenBids, frozenOpenings }
  }
  return training.rounds.map(({ startStep, learningRates }, round): RoundRecord => {
    const batch = round + 1
    const steps = receipts.flatMap(({ message }): SizedShard[] => {
      if (message.batch !== batch || message.slot >= SHARDS) return []
      const task = messages.find(
        (each) =>
          each.kind === 'task' &&
          each.message.batch === batch &&
          each.message.slot === message.slot,
      )
      if (task?.kind !== 'task') return []
      const manifested = decodeRound(training, round, task.message.round)
      const size = manifested.shards[message.slot]
      if (size === undefined) return []
      const election = electionOf(
        network,
        ballotOf(task.message.attempt, batch),
        manifest.author,
        'trust',
      )
      const backlog = startStep + learningRates.length - size.start
      const agreed = message.executors.flatMap(({ peer, outcome }) =>
        outcome === 'agreed' ? [peerIdFromPublicKey(peer)] : [],
      )
      const { executors = [] } = election.slots[message.slot] ?? {}
      return [{ round, ...size, backlog, total: training.totalSteps, executors, agreed }]
    })
    const slots = new Set(
      receipts.flatMap(({ message }) => (message.batch === batch ? [message.slot] : [])),
    )
    const missed = Array.from({ length: SHARDS }, (_, shard) => shard).filter(
      (shard) => !slots.has(shard),
    )
    return { round, missed, steps }
  })
}

/** The first round in which a peer's result was accepted; beyond all where none was. */
function firstMeasured(rounds: readonly RoundRecord[], peerId: string): number {
  const found = rounds.find(({ steps }) =>
    steps.some(({ agreed }) => agreed.some((peer) => peer === peerId)),
  )
  return found?.round ?? Infinity
}

function meanShare(shards: readonly SizedShard[]): number {
  const shares = shards.map(({ steps, backlog }) => steps / Math.max(1, backlog))
  return shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length)
}

/** Empty where there is none. */
async function auditProblem(
  { dir }: ElasticShowOptions,
  { home }: LocalPeer,
  id: string,
): Promise<string> {
  const out = join(dir, 'results')
  await exec(process.execPath, [CTD, 'results', id, '--out', out, '--home', home])
  const audit = exec(process.execPath, [CTD, 'audit', out, '--home', home])
  return await audit.then(
    () => '',
    (error: unknown) => errorMessage(error),
  )
}
