/** Real training on chosen code paths: many segments in one container of the task image. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageRef, TaskInput, TaskSpec } from '../src/container/container-runtime.js'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { CtdError } from '../src/errors.js'
import type { trainTask } from '../src/training/plan.js'
import type { CodePath } from './tolerance-paths.js'

/** One run of a segment. */
export interface Run {
  readonly name: string
  /** Files of this host. */
  readonly weights: string
  readonly data: string
  readonly task: ReturnType<typeof trainTask>
  /** Steps left out. */
  readonly skip: readonly number[]
}

const PROGRAM = join(import.meta.dirname, 'tolerance.py')
const OWNER = `tolerance-${process.pid}`
const TIMEOUT_MS = 3600_000
/** Of one container, so that its output stays small. */
const RUNS_AT_ONCE = 64

export class Trainer {
  readonly #runtime = new DockerRuntime()
  readonly #image: ImageRef
  readonly #dir: string
  readonly #signal: AbortSignal
  #containers = 0

  constructor(options: { image: ImageRef; dir: string; signal: AbortSignal }) {
    this.#image = options.image
    this.#dir = options.dir
    this.#signal = options.signal
  }

  /**
   * Trains, and hands out each folder of outputs before it goes.
   *
   * @throws CtdError of the container
   */
  async train(
    path: CodePath,
    runs: readonly Run[],
    use: (run: Run, folder: string) => Promise<void>,
  ): Promise<void> {
    for (let start = 0; start < runs.length; start += RUNS_AT_ONCE) {
      await this.#trainSome(path, runs.slice(start, start + RUNS_AT_ONCE), use)
    }
  }

  async #trainSome(
    path: CodePath,
    runs: readonly Run[],
    use: (run: Run, folder: string) => Promise<void>,
  ): Promise<void> {
    const spec = await this.#spec(path, runs)
    try {
      const listener = { progress: () => undefined, log: () => undefined }
      const outcome = await this.#runtime.run(spec, listener, this.#signal)
      if (outcome.status !== 'succeeded') {
        const words = `${outcome.reason}: ${outcome.logTail.slice(-600)}`
        throw new CtdError(outcome.code, `training on the code path ${path.name}: ${words}`)
      }
      for (const run of runs) await use(run, join(outcome.outDir, run.name))
    } finally {
      await this.#runtime.release(spec)
    }
  }

  async #spec(path: CodePath, runs: readonly Run[]): Promise<TaskSpec> {
    this.#containers += 1
    const taskKey = `${OWNER}-${this.#containers}`
    const files = new Map<string, string>()
    const nameOf = (file: string): string => {
      const name = files.get(file) ?? `${files.size}.safetensors`
      files.set(file, name)
      return name
    }
    const told = runs.map((run) => {
      return { ...run, weights: nameOf(run.weights), data: nameOf(run.data) }
    })
    const { env, threads, onednn } = path
    const asked = { env, threads, onednn, runs: told }
    const runsFile = join(this.#dir, `${taskKey}.json`)
    await writeFile(runsFile, JSON.stringify(asked))
    const inputs: TaskInput[] = [
      { name: 'runs.json', path: runsFile },
      { name: 'tolerance.py', path: PROGRAM },
      ...[...files].map(([file, name]) => ({ name, path: file })),
    ]
    return {
      taskKey,
      owner: OWNER,
      image: this.#image,
      argv: ['python3', '/in/tolerance.py'],
      env: {},
      inputs,
      workDir: join(this.#dir, taskKey),
      memoryMiB: 2048,
      cpus: threads,
      pids: 256,
      outMiB: 256,
      timeoutMs: TIMEOUT_MS,
      gpuUuids: [],
      isolation: 'runc',
    }
  }

  /** Removes what an interrupted run left. */
  async close(): Promise<void> {
    await this.#runtime.cleanUp(OWNER, [])
  }
}
