/**
 * One training job, many times: undisturbed, by other peers in another order, with executors and
 * the submitter killed on the way, with a quarter of the executors killed in every round, and among
 * poisoners. The weights must come out the same to the last bit each time.
 */
import { execFile } from 'node:child_process'
import { rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { JobView, ReputationView } from '../src/api/daemon-port.js'
import { CtdError, errorMessage } from '../src/errors.js'
import { Cast, MODEL } from './faults-training-cast.js'
import type { Kill, Run } from './faults-training-cast.js'
import { containersOf, writeCorpus } from './faults-training-look.js'
import { known } from './faults-show.js'
import type { Promised, Show, ShowOptions } from './faults-show.js'
import { CTD, until } from './local-network.js'
import type { LocalPeer } from './local-network.js'

/** What is played behind the undisturbed run, in this order. */
export const TRAINING_PARTS = [
  'others',
  'killed',
  'restarted',
  'resumed',
  'quarter',
  'poisoned',
] as const
export type TrainingPart = (typeof TRAINING_PARTS)[number]

const POISONERS = ['scales', 'flips', 'repeats'] as const
type Poisoner = (typeof POISONERS)[number]

export interface TrainingShowOptions extends Omit<ShowOptions, 'mib'> {
  readonly parts: readonly TrainingPart[]
  readonly rounds: number
  /** Of text to learn from; what a round takes grows with them. */
  readonly lines: number
}

const exec = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')
const build = (name: string): string => join(ROOT, 'test/builds', `${name}.ts`)
const FIRST = ['ann', 'bob', 'cem', 'dot'] as const
const OTHERS = ['eve', 'fay', 'gus', 'hal'] as const
/** Each joins in the place of one that was killed. */
const NEWCOMERS = ['ida', 'jan', 'kim', 'lea', 'max', 'nia', 'ole', 'pia'] as const
const SHARDS = 2
const VICTIMS = 2
/** Beside poisoners, of whom one lies at a time. */
const HONEST = 3
const GONE_MS = 90_000
/** A wrong result costs more of a reputation than that; what fades with time is far less. */
const FALL = 0.95
const NOT_COVERED =
  'Each of the poisoners lies for itself. Where all replicas of a task lie alike they win in a ' +
  'network this young: then only the guards of the aggregation are left (not finite, four times ' +
  'the median, a loss that doubled), and an update within them goes in.'

export async function playTraining(options: TrainingShowOptions): Promise<Show> {
  const { network, dir, parts, say, lines, seed, rounds } = options
  const dataset = join(dir, 'corpus.txt')
  await writeCorpus(dataset, lines, seed)
  await network.start({ name: 'boot', role: 'bootstrap' })
  const [requester] = await Promise.all([
    network.start({ name: 'requester', execute: false }),
    ...(parts.includes('resumed') ? [network.start({ name: 'heir', execute: false })] : []),
  ])
  const cast = new Cast({ network, dataset, rounds, shards: SHARDS, seed, say }, requester)
  await cast.join(FIRST)
  say(`\n${MODEL} in ${rounds} rounds of ${SHARDS} shards, seed ${seed}; every task runs twice`)
  const show = new TrainingShow(options, cast, await cast.play('undisturbed'))
  for (const part of TRAINING_PARTS) if (parts.includes(part)) await show[part]()
  return show.result
}

interface Poisoned {
  readonly peer: string
  readonly lies: readonly string[]
  readonly standingBefore: number
  readonly standingAfter: number
}

class TrainingShow {
  readonly #options: TrainingShowOptions
  readonly #cast: Cast
  readonly #undisturbed: Run
  readonly #promises: Promised[] = []
  readonly #runs: Run[] = []
  readonly #kills: Kill[] = []
  readonly #poisoned: Poisoned[] = []

  constructor(options: TrainingShowOptions, cast: Cast, undisturbed: Run) {
    this.#options = options
    this.#cast = cast
    this.#undisturbed = undisturbed
    this.#runs.push(undisturbed)
    const { status, hash, view } = undisturbed
    options.say(`  hash ${hash}`)
    const [loss, baseline] = [lossOf(view.result), lossOf(view.result?.['baseline'])]
    this.#promise(
      'the undisturbed job succeeds, and its loss is below that of how often each token occurs',
      status === 'succeeded' && loss < baseline,
      `${status}, ${loss.toFixed(2)} beside ${baseline.toFixed(2)}`,
    )
  }

  get result(): Show {
    const runs = this.#runs.map(({ view, ...run }) => ({ ...run, jobId: view.id }))
    const figures = {
      model: MODEL,
      shards: SHARDS,
      rounds: this.#options.rounds,
      hash: this.#undisturbed.hash,
      runs,
      kills: this.#kills,
      poisoned: this.#poisoned,
      ...(this.#poisoned.length === 0 ? {} : { notCovered: NOT_COVERED }),
    }
    return { promises: this.#promises, figures }
  }

  #promise(promise: string, isSeen: boolean, detail = ''): void {
    this.#promises.push({ promise, isSeen, detail })
  }

  #sameHash(run: Run, what: string): void {
    this.#runs.push(run)
    const { hash, view, seconds } = run
    this.#promise(
      `${what}: the same final hash`,
      hash !== '' && hash === this.#undisturbed.hash,
      hash === '' ? `${view.status}, ${view.code} ${view.reason}` : `${hash}, ${seconds} s`,
    )
  }

  #killed(kills: readonly Kill[], promise: string, isSeen: boolean): void {
    this.#kills.push(...kills)
    const isTrue = kills.every(({ ranOn, step, total }) => ranOn && step > 0 && step < total)
    const told = kills.map(
      ({ peer, task, step, total }) => `${peer} at ${step}/${total} of ${task}`,
    )
    this.#promise(promise, isSeen && isTrue, told.join(', '))
  }

  /** Nobody of those who trained before is there, and the shard that came first comes last. */
  async others(): Promise<void> {
    const cast = this.#cast
    const before = this.#undisturbed
    await cast.leave(cast.executors)
    const first = before.order[0] ?? ''
    const shard = Number(first.split(' s')[1])
    const path = join(dirname(cast.submitter.home), 'order.json')
    let rounds = 0
    await replaceJson(path, { shard, rounds })
    await cast.join(OTHERS, { build: build('held') })
    const run = await cast.play('others', {
      onAccepted: async (name) => {
        if (name.endsWith(` s${shard}`)) return
        rounds += 1
        await replaceJson(path, { shard, rounds })
      },
    })
    this.#sameHash(run, 'other peers do the same job in another order')
    const both = run.executors.filter((name) => before.executors.includes(name))
    const isOther =
      run.order.length === before.order.length && run.order.join() !== before.order.join()
    this.#promise(
      'no peer trained in both, and the tasks were accepted in another order',
      both.length === 0 && run.executors.length > 0 && isOther,
      `${before.executors.join(' ')}, then ${run.executors.join(' ')}; ` +
        `${before.order.join(', ')}, then ${run.order.join(', ')}`,
    )
    // From here on everybody is the product.
    await cast.leave(cast.executors)
    await cast.join([...FIRST, ...OTHERS])
  }

  /** Two executors die while their trainers are at work; they come back when the job is done. */
  async killed(): Promise<void> {
    const cast = this.#cast
    let kills: readonly Kill[] = []
    const run = await cast.play('killed', {
      act: async (jobId) => {
        const due = await cast.training(VICTIMS, jobId, ({ step }) => step > 0)
        kills = await cast.killExecutors('killed', due.slice(0, VICTIMS))
      },
    })
    this.#sameHash(run, 'two executors are killed (SIGKILL)')
    this.#killed(
      kills,
      'both were in the middle of a round, in containers that outlived their daemons',
      kills.length === VICTIMS,
    )
    const taken = kills.filter(({ task, peerId }) => !hasAgreed(run.view, task, peerId))
    this.#promise(
      'what they were at was accepted from others',
      taken.length === VICTIMS,
      taken.map(({ task, peerId }) => this.#agreed(run.view, task, peerId)).join(', '),
    )
    await cast.join(kills.map(({ peer }) => peer))
    const left = await until('what the dead left to go', GONE_MS, async () => {
      const all = await Promise.all(kills.map(({ peerId }) => containersOf(peerId)))
      const still = kills.filter(({ container }) => all.flat().includes(container))
      return still.length === 0 ? still : undefined
    })
    this.#promise('nothing that they left is there once they are back', left.length === 0)
  }

  #agreed({ tasks }: JobView, name: string, without: string): string {
    const replicas = tasks.find((task) => task.name === name)?.replicas ?? []
    const agreed = replicas.filter(({ phase }) => phase === 'agreed').map(({ peer }) => peer)
    const by = agreed.filter((peer) => peer !== without).map((peer) => this.#cast.nameOf(peer))
    return `${name} by ${by.join(' and ')}`
  }

  /** The submitter's daemon dies between two rounds and is started again on its home. */
  async restarted(): Promise<void> {
    const cast = this.#cast
    const { peerId, name } = cast.submitter
    let accepted = 0
    const run = await cast.play('restarted', {
      act: async (jobId) => {
        accepted = await cast.killSubmitter(jobId)
        cast.submitter = await this.#options.network.start({ name, execute: false })
      },
    })
    this.#sameHash(run, 'the submitter is killed (SIGKILL) and started again')
    this.#promise(
      'it died in the middle of its job, and is itself again',
      accepted > 0 && accepted < run.view.tasksTotal && cast.submitter.peerId === peerId,
      `after ${accepted} of ${run.view.tasksTotal} tasks`,
    )
  }

  /** The submitter never comes back; another peer, which only heard of the job, goes on with it. */
  async resumed(): Promise<void> {
    const { network, say, rounds } = this.#options
    const cast = this.#cast
    const heir = network.peers.find(({ name }) => name === 'heir')
    if (heir === undefined) throw new CtdError('SHOW_FAILED', 'there is no heir')
    let round = 0
    const run = await cast.play('resumed', {
      act: async (jobId) => {
        await cast.killSubmitter(jobId)
        cast.submitter = heir
        await known(heir, cast.executors)
        const args = ['--home', heir.home, '--json', 'resume', jobId, '--detach']
        const { stdout } = await exec(process.execPath, [CTD, ...args])
        const resumed = JSON.parse(stdout) as { readonly id: string; readonly round: number }
        round = resumed.round
        say(`  + ctd resume on another peer, from round ${round} on`)
        return resumed.id
      },
    })
    this.#sameHash(run, 'the submitter is killed for good, and another peer resumes the job')
    const names = run.view.tasks.map((task) => task.name)
    this.#promise(
      'ctd resume goes on from a round that was closed',
      round > 0 && names.includes(`train r${round} s0`) && !names.includes('train r0 s0'),
      `from round ${round} of ${rounds} on`,
    )
  }

  /** In every round one executor of four dies; one of them comes back, others take their places. */
  async quarter(): Promise<void> {
    const { rounds, say } = this.#options
    const cast = this.#cast
    const all = cast.executors.length
    const size = Math.max(1, Math.floor(all / 4))
    const newcomers: string[] = [...NEWCOMERS]
    const kills: Kill[] = []
    const joining: Array<Promise<void>> = []
    const run = await cast.play('quarter', {
      act: async (jobId) => {
        for (let round = 0; round < rounds; round += 1) {
          const due = await cast.training(size, jobId, (at) => at.round === round && at.step > 0)
          const dead = await cast.killExecutors('quarter', due.slice(0, size))
          kills.push(...dead)
          const names = dead.map(({ peer }, i) => (i === 0 ? peer : (newcomers.shift() ?? peer)))
          say(`  + in their place: ${names.join(' and ')}`)
          joining.push(cast.join(names))
        }
      },
    })
    await Promise.all(joining)
    this.#sameHash(run, `a quarter of the executors, ${size} of ${all}, is killed in every round`)
    const perRound = Array.from(
      { length: rounds },
      (_, round) => kills.filter((kill) => kill.round === round).length,
    )
    this.#killed(
      kills,
      'in every round they were at work when they died',
      perRound.every((count) => count === size),
    )
  }

  /** Poisoners are called for every task beside honest ones, and each lies in one round. */
  async poisoned(): Promise<void> {
    const { rounds, say } = this.#options
    const cast = this.#cast
    await cast.leave(cast.executors.slice(HONEST))
    const [witness] = cast.executors
    if (witness === undefined) throw new CtdError('SHOW_FAILED', 'there is no witness')
    const lieRound = { scales: 0, flips: 1, repeats: rounds - 1 }
    const join = (name: Poisoner): Promise<void> =>
      cast.join([name], {
        build: build('poisoner'),
        env: { CTD_TEST_LIES_IN: String(lieRound[name]) },
      })
    await Promise.all(POISONERS.map(join))
    const run = await cast.play('poisoned', { replicas: HONEST + POISONERS.length })
    this.#sameHash(run, 'three poisoners are called for every task')
    const dissents = dissentsOf(run.view).map(({ task, peer }) => ({
      task,
      peer: cast.nameOf(peer),
    }))
    for (const peer of POISONERS) {
      const liar = cast.executors.find(({ name }) => name === peer)
      if (liar === undefined) throw new CtdError('SHOW_FAILED', `${peer} is gone`)
      const lies = dissents.filter((dissent) => dissent.peer === peer).map(({ task }) => task)
      const wanted = Array.from(
        { length: SHARDS },
        (_, shard) => `train r${lieRound[peer]} s${shard}`,
      )
      const { before, after } = await standingOf(liar, witness, wanted.length)
      this.#poisoned.push({ peer, lies, standingBefore: before, standingAfter: after })
      const told = `${before.toFixed(3)} → ${after.toFixed(3)}`
      say(`  - ${peer} dissents in ${lies.join(', ')}; standing ${told}`)
      this.#promise(
        `a peer that ${LIES[peer]} is found out each time, and loses standing with others`,
        lies.join() === wanted.join() && after < FALL * before,
        `${lies.join(', ')}; standing at ${witness.name} ${told}`,
      )
    }
    const blamed = dissents.filter(({ peer }) => !POISONERS.some((name) => name === peer))
    this.#promise('no honest peer is blamed', blamed.length === 0)
    const audit = await this.#audit(run.view.id)
    this.#promise('an audit of the result holds', audit === 'ok', audit)
    say(`  ${NOT_COVERED}`)
  }

  /** `ok`, or the words of `ctd audit`. */
  async #audit(jobId: string): Promise<string> {
    const out = join(this.#options.dir, 'result')
    const home = ['--home', this.#cast.submitter.home]
    try {
      await exec(process.execPath, [CTD, ...home, 'results', jobId, '--out', out])
      await exec(process.execPath, [CTD, ...home, 'audit', out])
      return 'ok'
    } catch (error) {
      return errorMessage(error)
    }
  }
}

const LIES: Readonly<Record<Poisoner, string>> = {
  scales: 'makes its updates eight times as long',
  flips: 'turns its updates round',
  repeats: 'hands in the updates of the round before',
}

function lossOf(figures: unknown): number {
  const loss = (figures as { readonly loss?: unknown } | null | undefined)?.loss
  return typeof loss === 'number' ? loss : Number.NaN
}

function hasAgreed({ tasks }: JobView, name: string, peerId: string): boolean {
  const replicas = tasks.find((task) => task.name === name)?.replicas ?? []
  return replicas.some(({ peer, phase }) => peer === peerId && phase === 'agreed')
}

function dissentsOf({ tasks }: JobView): ReadonlyArray<{ task: string; peer: string }> {
  return tasks.flatMap(({ name, replicas }) =>
    replicas.filter(({ phase }) => phase === 'dissented').map(({ peer }) => ({ task: name, peer })),
  )
}

/** What a peer that is not the job's submitter thinks of a liar before and after so many wrongs. */
async function standingOf(
  liar: LocalPeer,
  { client }: LocalPeer,
  wrongs: number,
): Promise<{ readonly before: number; readonly after: number }> {
  const path = `/v1/peers/${liar.peerId}/reputation`
  const heardMs = await until(`others to hear of ${liar.name}`, GONE_MS, async () => {
    const { evidence } = await client.get<ReputationView>(path)
    const wrong = evidence.filter(({ kind }) => kind.startsWith('wrong'))
    return wrong.length < wrongs ? undefined : wrong.map(({ closedMs }) => closedMs)
  }).catch((): number[] => [])
  if (heardMs.length === 0) return { before: 0, after: 0 }
  const at = async (ms: number): Promise<number> =>
    (await client.get<ReputationView>(`${path}?at=${ms}`)).reliability
  return { before: await at(Math.min(...heardMs) - 1), after: await at(Math.max(...heardMs) + 1) }
}

/** Whole at any moment: others read it all the time. */
async function replaceJson(path: string, value: unknown): Promise<void> {
  await writeFile(`${path}.new`, JSON.stringify(value))
  await rename(`${path}.new`, path)
}
