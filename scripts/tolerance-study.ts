/**
 * How often the comparison of updates is wrong: honest results of unlike code paths against each
 * other, and cheats against honest results, judged by the rule of the network.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { resultDistance } from '../src/protocol/compare.js'
import type { ComparePolicy, ReplicaResult } from '../src/protocol/compare.js'
import { metricsMicro } from '../src/protocol/metrics.js'
import { evidenceUnder } from '../src/protocol/sketch-message.js'
import { TENSOR_PROFILES } from '../src/protocol/tensors.js'
import { editedUpdate, scaledUpdate, updateSize } from '../src/training/altered-update.js'
import { openUpdate } from '../src/training/update.js'
import type { UpdateSource } from '../src/training/update.js'
import type { Digest, PeerId } from '../src/wire/ids.js'
import { layCourses, ROUNDS } from './tolerance-courses.js'
import type { Segment } from './tolerance-courses.js'
import { codePaths } from './tolerance-paths.js'
import type { CodePath } from './tolerance-paths.js'
import type { Run, Trainer } from './tolerance-train.js'

export const CHEATS = ['skips', 'scales', 'other-data', 'input', 'edits'] as const
export type Cheat = (typeof CHEATS)[number]

/** Share of the steps that a lazy executor leaves out. */
const SKIPPED = 0.05
const SCALED = 1.01
/** By how much one weight is edited, in units of the largest move of any weight in the segment. */
const EDITED = 1
const EDIT_CURVE = [1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2]
const SCALE_CURVE = [0.0001, 0.0003, 0.0005, 0.0009, 0.0012, 0.002, 0.005, 0.01]
/** Honest pairs of unlike bytes, of all pairs of code paths: some kernels are the same. */
const UNLIKE_SHARE = 0.75
/** Sketches of each result, every one under another seed: training costs far more than a sketch. */
const SEEDS = 3

/** One result with what each seed shows of it. */
interface Held {
  readonly segment: Segment
  readonly path: string
  readonly result: Omit<ReplicaResult, 'update'>
  /** By seed; of altered ones the first seed's alone. */
  readonly updates: ReadonlyArray<ReplicaResult['update']>
}

interface Altered extends Held {
  readonly kind: string
}

export interface StudyOptions {
  readonly pairs: number
  readonly cheats: number
  /** How many of this CPU's code paths; all where absent. */
  readonly codePaths?: number
  readonly seed: string
  readonly dir: string
  readonly trainer: Trainer
  readonly say: (text: string) => void
}

export class Study {
  readonly policy: ComparePolicy = {
    kind: 'tensors',
    profile: 'fp32',
    tauPpm: TENSOR_PROFILES.fp32.tauPpm,
  }
  readonly honest: Held[] = []
  readonly cheats: Altered[] = []
  readonly curves: Altered[] = []
  readonly #options: StudyOptions
  readonly #paths: readonly CodePath[]
  readonly segments: readonly Segment[]
  readonly seeds = SEEDS

  private constructor(
    options: StudyOptions,
    paths: readonly CodePath[],
    segments: readonly Segment[],
  ) {
    this.#options = options
    this.#paths = paths
    this.segments = segments
  }

  /** Lays out the courses and trains the earlier rounds that later segments begin from. */
  static async prepare(options: StudyOptions): Promise<Study> {
    const paths = (await codePaths()).slice(0, options.codePaths)
    const wanted = Math.max(
      Math.ceil(options.pairs / (SEEDS * pairsOf(paths.length) * UNLIKE_SHARE)),
      Math.ceil(options.cheats / paths.length),
      2,
    )
    const courses = await layCourses(Math.max(2, Math.ceil(wanted / ROUNDS)), options)
    const segments = Array.from({ length: ROUNDS }, (_, round) =>
      courses.map(({ name, model, course }) => {
        const { compression } = course.plan
        return { name: `${name}-${round}`, model, compression, course, round }
      }),
    )
      .flat()
      .slice(0, wanted)
    const study = new Study(options, paths, segments)
    for (let round = 0; round + 1 < ROUNDS; round++) await study.#closeRound(round)
    return study
  }

  get paths(): readonly CodePath[] {
    return this.#paths
  }

  /** The courses of which a later round is a segment go on by one. */
  async #closeRound(round: number): Promise<void> {
    const courses = new Set(
      this.segments.filter((one) => one.round > round).map(({ course }) => course),
    )
    const [own] = this.#paths
    if (courses.size === 0 || own === undefined) return
    this.#options.say(`round ${round} of ${courses.size} courses, for the segments after it`)
    const runs = [...courses].map((course, number) => ({
      course,
      run: {
        name: String(number),
        weights: course.weights(round),
        data: course.data(0),
        task: course.task(round, 0),
        skip: [],
      },
    }))
    const tasks = runs.map(({ run }) => run)
    await this.#options.trainer.train(own, tasks, async (run, folder) => {
      await runs.find((one) => one.run === run)?.course.close(round, [folder])
    })
  }

  async train(): Promise<void> {
    for (const path of this.#paths) {
      const startedMs = Date.now()
      const runs = this.segments.flatMap((segment, index) => this.#runsOf(segment, index))
      const tasks = runs.map(({ run }) => run)
      await this.#options.trainer.train(path, tasks, async (run, folder) => {
        const found = runs.find((one) => one.run === run)
        if (found !== undefined) await this.#take(path, found, folder)
      })
      const seconds = Math.round((Date.now() - startedMs) / 1000)
      this.#options.say(`${path.name}: ${runs.length} runs in ${seconds} s (${path.about})`)
    }
  }

  #runsOf(segment: Segment, index: number): ReadonlyArray<Planned> {
    const { course, round, name } = segment
    const task = course.task(round, 0)
    const honest = { weights: course.weights(round), data: course.data(0), task, skip: [] }
    const skip = skippedSteps(task.steps, index)
    return [
      { segment, kind: 'honest', run: { ...honest, name: `${name}-honest` } },
      { segment, kind: 'skips', run: { ...honest, skip, name: `${name}-skips` } },
      {
        segment,
        kind: 'other-data',
        run: { ...honest, data: course.data(1), name: `${name}-other` },
      },
    ]
  }

  async #take(path: CodePath, { segment, kind }: Planned, folder: string): Promise<void> {
    const file = join(folder, 'delta.safetensors')
    const digest = createHash('sha256')
      .update(await readFile(file))
      .digest('hex')
    const files = [{ path: 'delta.safetensors', digest, diskPath: () => file }]
    const source = await openUpdate(files, new Map())
    const metrics = JSON.parse(await readFile(join(folder, 'metrics.json'), 'utf8')) as Record<
      string,
      number
    >
    const result = {
      peer: path.name as PeerId,
      root: digest as Digest,
      metricsMicro: metricsMicro(metrics),
    }
    if (kind === 'honest') {
      const updates = await this.#sketch(segment, source, this.seeds)
      const held = { segment, path: path.name, result, updates }
      this.honest.push(held)
      await this.#alter(held, source, path)
      return
    }
    // A clever cheat tells the numbers of an honest run: only its update can give it away.
    const own = this.honest.find((one) => one.segment === segment && one.path === path.name)
    const told = { ...result, metricsMicro: own?.result.metricsMicro ?? {} }
    const updates = await this.#sketch(segment, source)
    this.cheats.push({ segment, path: path.name, result: told, updates, kind })
  }

  /** The cheats that only change a result, and on the own code path the curves. */
  async #alter(honest: Held, source: UpdateSource, path: CodePath): Promise<void> {
    const { segment } = honest
    const { elements, largest } = await updateSize(source)
    const element = drawn(`${this.#options.seed}/${segment.name}/${path.name}`, elements)
    const edited = (by: number): UpdateSource => editedUpdate(source, { element, by: by * largest })
    const add = async (list: Altered[], kind: string, altered: UpdateSource): Promise<void> => {
      const root = `${kind}${honest.result.root}` as Digest
      const updates = await this.#sketch(segment, altered)
      list.push({ ...honest, result: { ...honest.result, root }, updates, kind })
    }
    await add(this.cheats, 'scales', scaledUpdate(source, SCALED))
    await add(this.cheats, 'input', scaledUpdate(source, 0))
    await add(this.cheats, 'edits', edited(EDITED))
    if (path !== this.#paths[0] || segment.round > 0) return
    for (const by of EDIT_CURVE) await add(this.curves, `edit ${by}`, edited(by))
    for (const by of SCALE_CURVE) {
      await add(this.curves, `scale ${by}`, scaledUpdate(source, 1 + by))
    }
  }

  async #sketch(segment: Segment, source: UpdateSource, seeds = 1): Promise<Held['updates']> {
    const updates: Array<ReplicaResult['update']> = []
    for (let seed = 0; seed < seeds; seed++) {
      const text = `${this.#options.seed}/${segment.name}/${seed}`
      updates.push(await evidenceUnder(source, createHash('sha256').update(text).digest()))
    }
    return updates
  }

  /** In millionths of the tolerance, by seed. */
  distances(a: Held, b: Held): readonly bigint[] {
    return a.updates.map((update, seed) => {
      const [left, right] = [update, b.updates[seed]]
      if (left === undefined || right === undefined) throw new Error('every seed has a sketch')
      return resultDistance(
        { ...a.result, update: left },
        { ...b.result, update: right },
        this.policy,
      )
    })
  }
}

interface Planned {
  readonly segment: Segment
  readonly kind: 'honest' | 'skips' | 'other-data'
  readonly run: Run
}

export function pairsOf(count: number): number {
  return (count * (count - 1)) / 2
}

/** A twentieth of the steps, at least one: at the end, at the beginning, or spread. */
function skippedSteps(steps: number, turn: number): readonly number[] {
  const count = Math.max(1, Math.round(steps * SKIPPED))
  return Array.from({ length: count }, (_, i) => {
    if (turn % 3 === 0) return steps - 1 - i
    return turn % 3 === 1 ? i : Math.floor(((i + 0.5) * steps) / count)
  })
}

function drawn(text: string, below: number): number {
  const bytes = createHash('sha256').update(text).digest()
  return Number(bytes.readBigUInt64BE(0) % BigInt(below))
}
