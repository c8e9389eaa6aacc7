/**
 * Measures on this machine whether a profile's tolerance tells honest replicas from cheats: small
 * segments of real training in the task image, on every code path of this CPU, and cheats that are
 * trained as well, all judged by the rule of the network.
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type {
  ContainerRuntime,
  ImageRef,
  Isolation,
  TaskSpec,
} from '../container/container-runtime.js'
import { CtdError } from '../errors.js'
import { separationOf } from '../protocol/calibration.js'
import type { Separation } from '../protocol/calibration.js'
import { evidenceUnder } from '../protocol/sketch-message.js'
import { TENSOR_PROFILES, updateDistances } from '../protocol/tensors.js'
import type { TensorProfileName, UpdateDistances, UpdateEvidence } from '../protocol/tensors.js'
import { editedUpdate, scaledUpdate, updateSize } from '../training/altered-update.js'
import type { BuiltinRequest } from '../training/builtin-worker.js'
import { Course } from '../training/course.js'
import type { DataFormat } from '../training/data/source.js'
import type { trainTask } from '../training/plan.js'
import { presetTraining } from '../training/presets.js'
import { openUpdate } from '../training/update.js'
import type { UpdateSource } from '../training/update.js'

export interface CalibrateComponents {
  readonly runtime: Pick<ContainerRuntime, 'run' | 'release'>
  readonly image: () => Promise<ImageRef>
  readonly builtin: (request: BuiltinRequest, signal: AbortSignal) => Promise<void>
}

export interface CalibrateOptions {
  readonly profile: TensorProfileName
  readonly tauPpm: bigint
  /** This peer. */
  readonly owner: string
  /** Folder for the folders of calibrations. */
  readonly workDir: string
  readonly isolation: Isolation
}

export interface CalibrationProgress {
  readonly done: number
  readonly total: number
}

export interface Calibration extends Separation {
  readonly codePaths: readonly string[]
  readonly models: readonly string[]
  /** Pairs of honest results that are not alike byte for byte. */
  readonly honestPairs: number
}

/** What the trainer's kernels are chosen by, set before torch is loaded; the first is every task's. */
const CODE_PATHS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  avx2: {},
  default: { ATEN_CPU_CAPABILITY: 'default' },
  sse: { ATEN_CPU_CAPABILITY: 'default', OPENBLAS_CORETYPE: 'Nehalem' },
  avx512: { ATEN_CPU_CAPABILITY: 'avx512', OPENBLAS_CORETYPE: 'SkylakeX' },
}
const OWN_PATH = 'avx2'
/** A CPU without AVX-512 takes its own path instead. */
const PROGRAM = `
import json, os, runpy, sys
sys.path.insert(0, "/opt/ctd")
env = json.loads(sys.argv[1])
if "SkylakeX" not in env.values() or " avx512f " in open("/proc/cpuinfo").read():
    os.environ.update(env)
runpy.run_path("/opt/ctd/trainer.py", run_name="__main__")
`
const MODELS = ['bert-tiny', 'gpt-tiny'] as const
const ROWS = 600
const MAX_LENGTH = 24
const ROUNDS = 2
const SHARDS = 2
const SCALED = 1.01
/** Share of the steps that a lazy replica leaves out. */
const LEFT_OUT = 0.05
const RUN_MS = 30 * 60_000
const LOG_SHOWN = 400

/** A run of the trainer. */
interface Run {
  readonly course: Course
  readonly model: string
  readonly path: string
  readonly kind: 'honest' | 'skips' | 'other-data'
}

interface Result extends Omit<Run, 'kind'> {
  readonly kind: string
  readonly digest: string
  readonly update: UpdateEvidence
}

/** @throws CtdError of the container, CANCELLED */
export async function calibrate(
  components: CalibrateComponents,
  options: CalibrateOptions,
  onProgress: (progress: CalibrationProgress) => void,
  signal: AbortSignal,
): Promise<Calibration> {
  const dir = join(options.workDir, `calibrate-${randomBytes(6).toString('hex')}`)
  await mkdir(dir, { recursive: true })
  try {
    const runs = await planRuns(components, options, dir, signal)
    const results: Result[] = []
    const image = await components.image()
    for (const [done, run] of runs.entries()) {
      onProgress({ done, total: runs.length })
      results.push(...(await resultsOf(run, { components, options, image, dir, signal })))
    }
    return judge(results, options.tauPpm)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function planRuns(
  { builtin }: CalibrateComponents,
  { profile }: CalibrateOptions,
  dir: string,
  signal: AbortSignal,
): Promise<readonly Run[]> {
  const runs: Run[] = []
  for (const model of MODELS) {
    const [format, dataset] = lessonOf(model)
    const file = join(dir, `${model}.${format}`)
    await writeFile(file, dataset)
    const rows = ROWS * 0.9
    const { batchSize } = presetTraining(model)
    const { segmentSteps } = TENSOR_PROFILES[profile]
    const perEpoch = rows / (SHARDS * batchSize)
    const epochs = Math.max(1, Math.floor((segmentSteps * ROUNDS) / perEpoch))
    const course = await Course.lay({
      model,
      format,
      dataset: file,
      maxLength: MAX_LENGTH,
      epochs,
      rounds: Math.max(ROUNDS, Math.ceil((epochs * perEpoch) / segmentSteps)),
      seed: 'calibration',
      compression: 'int8',
      dir: join(dir, model),
      builtin: (request) => builtin(request, signal),
    })
    const own = { course, model, path: OWN_PATH }
    for (const path of Object.keys(CODE_PATHS)) runs.push({ ...own, path, kind: 'honest' })
    runs.push({ ...own, kind: 'skips' }, { ...own, kind: 'other-data' })
  }
  return runs
}

/** Sentences of made-up words: the same on every machine. */
function lessonOf(model: string): readonly [DataFormat, string] {
  const words = [
    ['lo', 'mi', 'tara', 'sen', 'ora', 'ula'],
    ['grok', 'vash', 'zu', 'krim', 'dro', 'tesk'],
    ['aeo', 'iou', 'eia', 'oae', 'uie', 'eau'],
  ]
  const lines = Array.from({ length: ROWS }, (_, row) => {
    const own = words[row % 3] ?? []
    const hash = createHash('sha256').update(`calibration/${row}`).digest()
    const text = Array.from({ length: 5 }, (_word, i) => own[(hash[i] ?? 0) % own.length])
    return model === 'bert-tiny' ? `${text.join(' ')},${row % 3}` : text.join(' ')
  })
  return model === 'bert-tiny'
    ? ['csv', `text,label\n${lines.join('\n')}\n`]
    : ['txt', `${lines.join('\n')}\n`]
}

interface Place {
  readonly components: CalibrateComponents
  readonly options: CalibrateOptions
  readonly image: ImageRef
  readonly dir: string
  readonly signal: AbortSignal
}

/** What a run gives; an honest one on the own code path also the cheats that need no training. */
async function resultsOf(run: Run, place: Place): Promise<readonly Result[]> {
  const { runtime } = place.components
  const spec = await specOf(run, place)
  try {
    const listener = { progress: () => undefined, log: () => undefined }
    const outcome = await runtime.run(spec, listener, place.signal)
    if (outcome.status !== 'succeeded') {
      const words = outcome.logTail.trim().slice(-LOG_SHOWN)
      throw new CtdError(outcome.code, `${outcome.reason}: ${words}`)
    }
    const path = join(outcome.outDir, 'delta.safetensors')
    const digest = createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
    const source = await openUpdate(
      [{ path: 'delta.safetensors', digest, diskPath: () => path }],
      new Map(),
    )
    const result = async (kind: string, update: UpdateSource): Promise<Result> => ({
      ...run,
      kind,
      digest: `${kind}${digest}`,
      update: await evidenceUnder(update, seedOf(run.model)),
    })
    const own = await result(run.kind, source)
    if (run.kind !== 'honest' || run.path !== OWN_PATH) return [own]
    const { elements, largest } = await updateSize(source)
    const edit = { element: elements >> 1, by: largest }
    return [
      own,
      await result('scales', scaledUpdate(source, SCALED)),
      await result('input', scaledUpdate(source, 0)),
      await result('edits', editedUpdate(source, edit)),
    ]
  } finally {
    await runtime.release(spec)
  }
}

function seedOf(model: string): Uint8Array {
  return createHash('sha256').update(`calibration/${model}`).digest()
}

async function specOf(run: Run, { options, image, dir }: Place): Promise<TaskSpec> {
  const { course, model, kind, path } = run
  const name = `${model}-${path}-${kind}`
  const taskFile = join(dir, `${name}.json`)
  const task = course.task(0, 0)
  await writeFile(taskFile, JSON.stringify(kind === 'skips' ? shortened(task) : task))
  return {
    taskKey: `calibrate-${options.owner.slice(-6)}-${name}`,
    owner: options.owner,
    image,
    argv: ['python3', '-c', PROGRAM, JSON.stringify(CODE_PATHS[path] ?? {})],
    env: {},
    inputs: [
      { name: 'task.json', path: taskFile },
      { name: 'weights.safetensors', path: course.weights(0) },
      { name: 'data.safetensors', path: course.data(kind === 'other-data' ? 1 : 0) },
    ],
    workDir: join(dir, `work-${name}`),
    memoryMiB: 1024,
    cpus: 1,
    pids: 256,
    outMiB: 64,
    timeoutMs: RUN_MS,
    gpuUuids: [],
    isolation: options.isolation,
  }
}

/** Without the last twentieth of the steps, at least one. */
function shortened(task: ReturnType<typeof trainTask>): unknown {
  const steps = task.steps - Math.max(1, Math.round(task.steps * LEFT_OUT))
  return { ...task, steps, learningRates: task.learningRates.slice(0, steps) }
}

function judge(results: readonly Result[], tauPpm: bigint): Calibration {
  const honest: UpdateDistances[] = []
  const cheats: Record<string, UpdateDistances[]> = {}
  results.forEach((a, index) => {
    for (const b of results.slice(index + 1)) {
      if (a.model !== b.model || a.digest === b.digest) continue
      const kinds = new Set([a.kind, b.kind])
      if (!kinds.has('honest')) continue
      const distance = updateDistances(a.update, b.update, tauPpm)
      if (distance === undefined)
        throw new CtdError('CALIBRATION_FAILED', 'the outputs differ in form')
      const [kind] = [...kinds].filter((one) => one !== 'honest')
      if (kind === undefined) honest.push(distance)
      else (cheats[kind] ??= []).push(distance)
    }
  })
  return {
    ...separationOf({ honest, cheats }, tauPpm),
    codePaths: Object.keys(CODE_PATHS),
    models: MODELS,
    honestPairs: honest.length,
  }
}
