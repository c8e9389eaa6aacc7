/**
 * An executor that trains with the real trainer on another code path, as an unlike machine does;
 * under the name of a cheat it also cheats at training tasks. A cheat trains honestly first and
 * hands in the numbers of that, so that only its update can give it away.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type {
  ContainerRuntime,
  TaskListener,
  TaskOutcome,
  TaskSpec,
} from '../../src/container/container-runtime.js'
import { HOME, replaceIn, startTestBuild } from './start.js'

const NAME = basename(HOME)
const DELTA = 'delta.safetensors'
const TRAINER = '/opt/ctd/trainer.py'

/** Set before torch is loaded: a task's environment may not name them. */
const CODE_PATHS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  default: { ATEN_CPU_CAPABILITY: 'default' },
  sse: { ATEN_CPU_CAPABILITY: 'default', OPENBLAS_CORETYPE: 'Nehalem' },
}

interface Task {
  readonly kind: string
  readonly steps: number
  readonly learningRates: readonly number[]
}

/** Another task than the one that was asked for, to be trained in its place. */
const OTHER_TASKS: Readonly<Record<string, (task: Task) => Task>> = {
  skips: (task) => {
    // In the middle: at the end of the last round the learning rate is next to nothing.
    const count = Math.max(1, Math.round(task.steps / 20))
    const steps = task.steps - count
    return { ...task, steps, learningRates: task.learningRates.toSpliced(steps >> 1, count) }
  },
  input: (task) => ({ ...task, learningRates: task.learningRates.map(() => 0) }),
  'other-data': (task) => task,
}

/** Changes to the file of an update. */
const EDITS: Readonly<Record<string, (file: Tensors) => void>> = {
  scales: ({ bytes, tensors }) => {
    for (const { name, start, end } of tensors) {
      if (!name.endsWith('::scale')) continue
      for (let at = start; at < end; at += 4) bytes.writeFloatLE(bytes.readFloatLE(at) * 1.01, at)
    }
  },
  // Of all weights the one that moved most: it goes the other way.
  edits: ({ bytes, tensors }) => {
    let most = { scale: 0, at: 0 }
    for (const { name, start, end } of tensors) {
      const scales = tensors.find((tensor) => tensor.name === `${name}::scale`)
      if (scales === undefined) continue
      for (let at = start; at < end; at++) {
        const scale = bytes.readFloatLE(scales.start + 4 * Math.floor((at - start) / 256))
        if (scale > most.scale && Math.abs(bytes.readInt8(at)) === 127) most = { scale, at }
      }
    }
    bytes.writeInt8(-bytes.readInt8(most.at), most.at)
  },
}

interface Tensors {
  readonly bytes: Buffer
  readonly tensors: ReadonlyArray<{ readonly name: string; readonly start: number; end: number }>
}

await startTestBuild({
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        const own = spec.argv.includes(TRAINER) ? { ...spec, argv: onOtherPath(spec.argv) } : spec
        const outcome = await real.run(own, on, signal)
        const isUpdate = outcome.files.some(({ path }) => path === DELTA)
        if (isUpdate) await cheat(real, own, on, outcome, signal)
        return outcome
      },
    }),
})

function onOtherPath(argv: readonly string[]): readonly string[] {
  const env = CODE_PATHS[NAME]
  if (env === undefined) return argv
  const program = `import os, runpy, sys; sys.path.insert(0, "/opt/ctd"); os.environ.update(${JSON.stringify(env)}); runpy.run_path("${TRAINER}", run_name="__main__")`
  return ['python3', '-c', program]
}

async function cheat(
  real: ContainerRuntime,
  spec: TaskSpec,
  on: TaskListener,
  honest: TaskOutcome,
  signal: AbortSignal,
): Promise<void> {
  const delta = join(honest.outDir, DELTA)
  const other = OTHER_TASKS[NAME]
  if (other !== undefined) {
    const instead = await otherSpec(spec, other)
    const outcome = await real.run(instead, { ...on, progress: () => undefined }, signal)
    if (outcome.status !== 'succeeded') throw new Error(`the cheat failed: ${outcome.logTail}`)
    await writeFile(delta, await readFile(join(outcome.outDir, DELTA)))
    await real.release(instead)
  }
  const edit = EDITS[NAME]
  if (edit === undefined) return
  const file = tensorsOf(await readFile(delta))
  edit(file)
  await writeFile(delta, file.bytes)
}

async function otherSpec(spec: TaskSpec, other: (task: Task) => Task): Promise<TaskSpec> {
  const inputs: Array<TaskSpec['inputs'][number]> = []
  for (const input of spec.inputs) {
    const path = join(HOME, `instead-${input.name}`)
    if (input.name === 'task.json') {
      const task = JSON.parse(await readFile(input.path, 'utf8')) as Task
      await writeFile(path, JSON.stringify(other(task)))
      inputs.push({ ...input, path })
    } else if (input.name === 'data.safetensors' && NAME === 'other-data') {
      const file = tensorsOf(await readFile(input.path))
      rotate(file, 'labels')
      await writeFile(path, file.bytes)
      inputs.push({ ...input, path })
    } else inputs.push(input)
  }
  const taskKey = `${spec.taskKey}-x`
  return { ...spec, inputs, taskKey, workDir: `${spec.workDir}-x` }
}

/** Every row gets the label of the one before. */
function rotate({ bytes, tensors }: Tensors, name: string): void {
  const found = tensors.find((tensor) => tensor.name === name)
  if (found === undefined) throw new Error(`no tensor ${name}`)
  const last = Buffer.from(bytes.subarray(found.end - 4, found.end))
  bytes.copyWithin(found.start + 4, found.start, found.end - 4)
  last.copy(bytes, found.start)
}

function tensorsOf(bytes: Buffer): Tensors {
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, start).toString('utf8')) as Record<
    string,
    { readonly data_offsets?: readonly [number, number] }
  >
  const tensors = Object.entries(header).flatMap(([name, { data_offsets: place }]) =>
    place === undefined ? [] : [{ name, start: start + place[0], end: start + place[1] }],
  )
  return { bytes, tensors }
}
