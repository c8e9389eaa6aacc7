/** Whole train jobs without peers: the plan, the real built-in tasks, and a trainer of a few lines. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { startFrom, unfinishedIn, unfinishedOf } from '../../src/api/resume.js'
import { BlobStore } from '../../src/blob/blob-store.js'
import { addFolder, folderFiles } from '../../src/blob/folder.js'
import { latestClosedRound } from '../../src/protocol/closed-round.js'
import type { ClosedOutputOf } from '../../src/protocol/closed-round.js'
import { encodeSpec } from '../../src/protocol/job-spec.js'
import type { TrainSpec } from '../../src/protocol/job-spec.js'
import { planJob } from '../../src/protocol/plan.js'
import type { Plan, PlannedSlot } from '../../src/protocol/plan.js'
import { runBuiltin } from '../../src/training/builtin.js'
import { deltaTensors, keepLargest, readDelta } from '../../src/training/codec.js'
import { quantise } from '../../src/training/quantise.js'
import {
  elementCount,
  SafetensorsReader,
  SafetensorsWriter,
} from '../../src/training/safetensors.js'
import type { NumericArray, TensorSpec } from '../../src/training/safetensors.js'
import type { Digest } from '../../src/wire/ids.js'
import { honest, NETWORK, Rig, TRAIN_SPEC } from './rig.js'

const root = mkdtempSync(join(tmpdir(), 'ctd-resume-'))
after(() => rmSync(root, { recursive: true }))

const CSV = join(root, 'data.csv')
writeFileSync(
  CSV,
  `text,label\n${Array.from({ length: 40 }, (_, i) => `text ${i},${'abc'[i % 3] ?? ''}`).join('\n')}\n`,
)
/** Eight steps in four rounds. */
const SPEC: TrainSpec = { ...TRAIN_SPEC, epochs: 8, rounds: 4 }

let folders = 0
function folder(): string {
  const path = join(root, String(folders++))
  mkdirSync(path)
  return path
}

const sha256Of = (path: string) =>
  createHash('sha256').update(readFileSync(path)).digest('hex') as Digest

/** A job in this process. Outputs stand in a folder a slot, inputs are found by their digest. */
class LocalJob {
  readonly plan: Plan
  readonly spec: TrainSpec
  readonly #dir = folder()
  readonly #inputs: ReadonlyMap<string, string>

  constructor(spec: TrainSpec, inputs: ReadonlyMap<string, string> = new Map()) {
    this.spec = spec
    this.#inputs = new Map([['dataset', CSV], ...inputs])
    this.plan = planJob({ spec: encodeSpec(spec), inputs: [] })
  }

  async run(batches: number): Promise<this> {
    for (const slot of this.plan.batches.slice(0, batches).flat()) {
      if (slot.stage !== 'eval') await this.#runSlot(slot)
    }
    return this
  }

  outDir({ batch, slot }: Pick<PlannedSlot, 'batch' | 'slot'>): string {
    return join(this.#dir, `${batch}-${slot}`)
  }

  readonly outputOf: ClosedOutputOf = (batch, slot) => {
    const dir = this.outDir({ batch, slot })
    if (!existsSync(dir)) return undefined
    const files = readdirSync(dir).map((path) => {
      const bytes = readFileSync(join(dir, path))
      return [path, { digest: sha256Of(join(dir, path)), sizeBytes: bytes.length }] as const
    })
    return { root: 'b'.repeat(64) as Digest, files: new Map(files), providers: [] }
  }

  /** The files that a resumed job's inputs are. */
  resumed(): LocalJob {
    const closed = latestClosedRound(this.plan, this.spec, this.outputOf)
    assert.ok(closed !== undefined)
    const paths = new Map(
      this.plan.batches
        .flat()
        .filter((slot) => existsSync(this.outDir(slot)))
        .flatMap((slot) =>
          readdirSync(this.outDir(slot)).map((name) => {
            const path = join(this.outDir(slot), name)
            return [sha256Of(path), path] as const
          }),
        ),
    )
    const inputs = closed.files.map(({ name, digest }) => [name, paths.get(digest) ?? ''] as const)
    return new LocalJob({ ...this.spec, start: closed.start }, new Map(inputs))
  }

  get weights(): string {
    const model = this.plan.artifacts[0]
    assert.ok(model !== undefined)
    return sha256Of(join(this.outDir(model), 'weights.safetensors'))
  }

  async #runSlot(slot: PlannedSlot): Promise<void> {
    const inputs = slot.inputs.map(({ name, source }) => ({
      name,
      path:
        source.kind === 'job'
          ? (this.#inputs.get(source.input) ?? '')
          : join(this.outDir(source), source.path),
    }))
    const out = this.outDir(slot)
    const { program } = slot
    if (program.kind === 'builtin') await runBuiltin(program.name, program.params, inputs, out)
    else await train(slot.taskJson(), new Map(inputs.map(({ name, path }) => [name, path])), out)
  }
}

/** Moves every weight a little, as the task's rates, seed and place in the stream say. */
async function train(taskJson: string, inputs: ReadonlyMap<string, string>, out: string) {
  const task = JSON.parse(taskJson)
  const shift = createHash('sha256').update(`${task.seed}/${task.startStep}`).digest()
  const rate = task.learningRates.reduce((sum: number, value: number) => sum + value, 0)
  const weights = await SafetensorsReader.open(inputs.get('weights.safetensors') ?? '')
  const feedbackPath = inputs.get('feedback.safetensors')
  const feedback =
    feedbackPath === undefined ? undefined : await SafetensorsReader.open(feedbackPath)
  const specs = [...weights.tensors.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
  }))
  mkdirSync(out)
  const isTopk = task.compression === 'topk'
  const delta: Array<readonly [TensorSpec, NumericArray]> = []
  const left: Array<readonly [TensorSpec, NumericArray]> = []
  const put = (
    to: Array<readonly [TensorSpec, NumericArray]>,
    tensors: readonly TensorSpec[],
    values: readonly NumericArray[],
  ) => {
    for (const [i, spec] of tensors.entries()) to.push([spec, values[i] ?? new Int8Array()])
  }
  for (const spec of specs) {
    const count = elementCount(spec.shape)
    const old = await weights.readFloat32(weights.tensor(spec.name, 'F32', count), 0, count)
    const update = old.map((value, i) => rate * (value + (shift[i % 32] ?? 0) / 1000))
    const all = { name: spec.name, elements: count, start: 0, count }
    const before =
      feedback === undefined
        ? new Float32Array(count)
        : Float32Array.from(await readDelta(feedback, all, 'int8'))
    if (isTopk) {
      const kept = keepLargest(update, before)
      const { values, places, scales } = kept.sparse
      put(delta, deltaTensors(spec, 'topk'), [values, places, scales])
      const rest = quantise(kept.feedback)
      put(left, deltaTensors(spec, 'int8'), [rest.values, rest.scales])
    } else {
      const { values, scales } = quantise(update)
      put(delta, deltaTensors(spec, 'int8'), [values, scales])
    }
  }
  await weights.close()
  await feedback?.close()
  await writeTensors(join(out, 'delta.safetensors'), delta)
  if (isTopk) await writeTensors(join(out, 'feedback.safetensors'), left)
  const metrics = { tokens: 10 + task.startStep, lossStart: 2, lossEnd: 1, steps: 2 }
  writeFileSync(join(out, 'metrics.json'), JSON.stringify(metrics))
}

async function writeTensors(
  path: string,
  tensors: ReadonlyArray<readonly [TensorSpec, NumericArray]>,
): Promise<void> {
  const writer = await SafetensorsWriter.create(
    path,
    tensors.map(([spec]) => spec),
  )
  for (const [{ name }, values] of tensors) await writer.write(name, 0, values)
  await writer.close()
}

describe('a resumed job', () => {
  const variants: ReadonlyArray<readonly [string, Partial<TrainSpec>]> = [
    ['a plain one', {}],
    ['one that broadcasts updates', { broadcast: 'update' }],
    ['one with feedback in its slots', { compression: 'topk' }],
    ['one with momentum', { rounds: 20, epochs: 24 }],
  ]
  for (const [about, more] of variants) {
    it(`ends with the same hash as the undisturbed: ${about}`, async () => {
      const spec = { ...SPEC, ...more }
      const whole = await new LocalJob(spec).run(Infinity)
      for (const batches of [2, 4]) {
        const stopped = await new LocalJob(spec).run(batches)
        const resumed = await stopped.resumed().run(Infinity)
        assert.equal(resumed.spec.start?.round, batches - 1)
        assert.equal(resumed.weights, whole.weights)
      }
    })
  }

  it('can be resumed again', async () => {
    const whole = await new LocalJob(SPEC).run(Infinity)
    const first = await (await new LocalJob(SPEC).run(2)).resumed().run(2)
    const second = await first.resumed().run(Infinity)
    assert.equal(second.spec.start?.round, 2)
    assert.equal(second.weights, whole.weights)
  })

  it('runs its last round again when only the evaluation is missing', async () => {
    const whole = await new LocalJob(SPEC).run(Infinity)
    const closed = latestClosedRound(whole.plan, SPEC, whole.outputOf)
    assert.equal(closed?.start.round, 3)
  })

  it('has nothing to begin with before a round is closed', async () => {
    const begun = await new LocalJob(SPEC).run(1)
    assert.equal(latestClosedRound(begun.plan, SPEC, begun.outputOf), undefined)
  })

  it('refuses a state of another model: STATE_UNFIT', async () => {
    const begun = await new LocalJob(SPEC).run(1)
    const weights = join(begun.outDir({ batch: 0, slot: 1 }), 'weights.safetensors')
    const inputs = [{ name: 'weights.safetensors', path: weights }]
    const params = { model: 'bert-tiny', classes: 4, maxLength: 16, seed: 's' }
    await assert.rejects(runBuiltin('continue@1', params, inputs, folder()), {
      code: 'STATE_UNFIT',
    })
  })
})

describe('where a job can be resumed', () => {
  it('is told alike by its requester and by those who saw its messages', () => {
    const rig = new Rig({ behaviours: honest(4), spec: { ...SPEC, rounds: 4 } })
    rig.run(() => rig.state.batches[3]?.outputs.size === 1)
    const own = unfinishedOf(rig)
    const seen = unfinishedIn(NETWORK, rig.record)
    const rounds = [own, seen].map(({ plan, outputOf }) => latestClosedRound(plan, SPEC, outputOf))
    assert.equal(rounds[0]?.start.round, 2)
    assert.deepEqual(
      rounds.map((round) => round?.files.map(({ name, digest }) => [name, digest])),
      [
        rounds[0].files.map(({ name, digest }) => [name, digest]),
        rounds[0].files.map(({ name, digest }) => [name, digest]),
      ],
    )
    assert.equal(rounds[1]?.start.of, rounds[0].start.of)
  })
})

describe('weights to begin with', () => {
  const components = async () => {
    const blobs = await BlobStore.open(folder(), { quotaBytes: 1 << 24 })
    const asked: Digest[] = []
    return {
      blobs,
      asked,
      bring: async (digest: Digest) => {
        asked.push(digest)
      },
      folderFiles: async (digest: Digest) => folderFiles(blobs, digest),
    }
  }

  it('are a file, or a folder with their momentum', async () => {
    const parts = await components()
    const dir = folder()
    writeFileSync(join(dir, 'weights.safetensors'), 'w')
    writeFileSync(join(dir, 'momentum.safetensors'), 'm')
    const { digest, files } = await addFolder(parts.blobs, dir)
    const whole = await startFrom(parts, digest)
    assert.deepEqual(
      whole.inputs.map(({ name }) => name),
      ['start-weights', 'start-momentum'],
    )
    assert.deepEqual(whole.start, {
      of: digest,
      round: 0,
      momentum: true,
      residual: false,
      feedback: 0,
    })
    const file = files.find(({ path }) => path === 'weights.safetensors')
    const alone = await startFrom(parts, file?.digest ?? '')
    assert.deepEqual(
      alone.inputs.map(({ name, sizeBytes }) => [name, sizeBytes]),
      [['start-weights', 1]],
    )
    assert.deepEqual(parts.asked.slice(0, 1), [digest])
  })

  it('are not in a folder without weights: STATE_UNUSABLE', async () => {
    const parts = await components()
    const dir = folder()
    writeFileSync(join(dir, 'readme.txt'), 'w')
    const { digest } = await addFolder(parts.blobs, dir)
    await assert.rejects(startFrom(parts, digest), { code: 'STATE_UNUSABLE' })
  })
})
