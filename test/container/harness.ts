/**
 * What the container tests share: the small image, the real engine, and a task that each test
 * changes in the one point it is about. Without an engine these tests fail, unless
 * CTD_TEST_NO_ENGINE=1 says that there is none on purpose.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type {
  ImageRef,
  ProgressLine,
  TaskOutcome,
  TaskSpec,
} from '../../src/container/container-runtime.js'
import { DockerRuntime } from '../../src/container/docker-runtime.js'

export const ROOT = resolve(import.meta.dirname, '../..')
export const SKIP: false | string =
  process.env['CTD_TEST_NO_ENGINE'] === '1' && 'CTD_TEST_NO_ENGINE=1: no container engine here'
export const NEVER = new AbortController().signal

export interface TestImage {
  readonly image: ImageRef
  readonly archive: string
}

/** Builds the test image if need be and loads it. */
export async function testImage(): Promise<TestImage> {
  const args = ['--import', 'tsx', 'scripts/build-image.ts', '--test-image', '--json']
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT })
  const line = stdout.trim().split('\n').at(-1) ?? ''
  const built: TestImage & { loaded: string } = JSON.parse(line)
  if (built.loaded === 'no engine answers') {
    throw new Error(
      'these tests need a container engine (scripts/engine.sh), or CTD_TEST_NO_ENGINE=1',
    )
  }
  return built
}

export interface RunRecord {
  readonly outcome: TaskOutcome
  readonly progress: readonly ProgressLine[]
  readonly log: string
}

/** A runtime with an owner of its own, and a folder that is gone afterwards. */
export class Bench {
  readonly runtime: DockerRuntime
  readonly owner = `test-${randomBytes(6).toString('hex')}`
  readonly folder: string
  readonly #image: ImageRef
  #count = 0

  private constructor(image: ImageRef, folder: string, runtime: DockerRuntime) {
    this.#image = image
    this.runtime = runtime
    this.folder = folder
  }

  static async open(image: ImageRef, runtime = new DockerRuntime()): Promise<Bench> {
    return new Bench(image, await mkdtemp(join(tmpdir(), 'ctd-container-')), runtime)
  }

  /** A task that runs a shell script; `changes` win. */
  spec(script: string, changes: Partial<TaskSpec> = {}): TaskSpec {
    this.#count += 1
    const taskKey = `${this.owner}-${this.#count}`
    return {
      taskKey,
      owner: this.owner,
      image: this.#image,
      argv: ['/bin/sh', '-c', script],
      env: {},
      inputs: [],
      workDir: join(this.folder, taskKey),
      memoryMiB: 64,
      cpus: 1,
      pids: 64,
      outMiB: 16,
      timeoutMs: 60_000,
      gpuUuids: [],
      isolation: 'runc',
      ...changes,
    }
  }

  async run(spec: TaskSpec, signal: AbortSignal = NEVER, started?: () => void): Promise<RunRecord> {
    const progress: ProgressLine[] = []
    let log = ''
    const outcome = await this.runtime.run(
      spec,
      {
        progress: (line) => void progress.push(line),
        log: (text) => void (log += text),
        ...(started === undefined ? {} : { started }),
      },
      signal,
    )
    return { outcome, progress, log }
  }

  async close(): Promise<void> {
    await this.runtime.cleanUp(this.owner, [])
    await rm(this.folder, { recursive: true, force: true })
  }
}
