/** One model on one dataset, trained alone, synchronously and by the network: loss and bytes. */
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { TrainRequest } from '../src/api/daemon-port.js'
import { estimateCost, planTraining } from '../src/training/plan.js'
import { defaultMaxLength } from '../src/training/presets.js'
import { summariseDataset } from '../src/training/split.js'
import { atLeast, atMost, median } from './bench-training-bounds.js'
import type { TrainingBench } from './bench-training-bounds.js'
import { corpus } from './bench-training-corpus.js'
import { BenchNetwork, overheads } from './bench-training-ours.js'
import type { JobFigures } from './bench-training-ours.js'
import { trainAlone } from './reference.js'

const exec = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')
const MB = 1e6
const SHARDS = 2

/** What is promised. */
const LOSS_RATIO_MAX = 1.02
const UNIGRAM_RATIO_MAX = 0.75
const BYTES_RATIO_MIN = 100

type Chosen = Partial<Omit<TrainRequest, 'kind' | 'dataset' | 'model' | 'epochs' | 'seed'>>

/** One model on one dataset, with what was found to suit each way of training it. */
export interface Subject {
  readonly name: 'lm' | 'classifier'
  readonly model: string
  readonly dataset: string
  readonly epochs: number
  /** Short plain training by the network on other rows, whose weights every way begins with. */
  readonly begun?: { readonly dataset: string; readonly chosen: Chosen }
  readonly ours: Chosen
  readonly synchronous: { readonly learningRate: number }
  readonly alone: { readonly batchSize: number; readonly learningRate: number }
}

/** Tokens of the text that can be trained on, but for the last few. */
const LM_EPOCH_TOKENS = 3_600_000
/** Share of all tokens that the plain training sees; of the steps of DiLoCo it was 27 %. */
const LM_BEGUN = 0.25
const LM_BATCH = 8
const LM_TOKENS_PER_STEP = 64 * LM_BATCH * SHARDS
/**
 * So that the bytes of a round, the messages about its tasks among them, and those of the beginning
 * and the end of a job are below a hundredth of those of its synchronous steps.
 */
const LM_STEPS_PER_ROUND = 150

export async function languageModel({ dir, options }: TrainingBench): Promise<Subject> {
  const epochs = Math.ceil(options.tokens / LM_EPOCH_TOKENS)
  const begun = Math.floor((options.tokens / epochs) * LM_BEGUN)
  const taught = Math.floor(options.tokens / epochs) - begun
  const rounds = Math.max(
    1,
    Math.floor((taught * epochs) / LM_TOKENS_PER_STEP / LM_STEPS_PER_ROUND),
  )
  return {
    name: 'lm',
    model: 'gpt-tiny',
    dataset: await corpus(dir, taught, begun),
    epochs,
    begun: {
      dataset: await corpus(dir, begun),
      chosen: {
        ...{ shards: 1, batchSize: LM_BATCH * SHARDS, learningRate: 4e-3 },
        ...{ rounds: 2, compression: 'int4', broadcast: 'update' },
      },
    },
    ours: { learningRate: 4e-3, rounds, compression: 'int4', broadcast: 'update' },
    synchronous: { learningRate: 4e-3 },
    alone: { batchSize: LM_BATCH, learningRate: 2e-3 },
  }
}

export async function classifier({ dir, options }: TrainingBench): Promise<Subject> {
  const path = join(dir, 'languages.csv')
  await exec(process.execPath, ['--import', 'tsx', join(ROOT, 'scripts/dataset.ts'), path], {
    cwd: ROOT,
  })
  return {
    name: 'classifier',
    model: 'bert-tiny',
    dataset: path,
    epochs: options.epochs,
    ours: { learningRate: 1e-3, rounds: 4, broadcast: 'update' },
    synchronous: { learningRate: 1e-3 },
    alone: { batchSize: 16, learningRate: 1e-3 },
  }
}

interface SeedFigures {
  readonly seed: string
  readonly begun?: JobFigures
  readonly alone: { readonly loss: number; readonly accuracy: number; readonly tokens: number }
  readonly synchronous: SeedFigures['alone']
  readonly ours: JobFigures
}

/** Quality and bytes of one model, seed by seed. */
export async function compareWays(bench: TrainingBench, subject: Subject) {
  const { options, say, bounds, dir } = bench
  const plan = await planOf(subject)
  const { parameters } = estimateCost(plan, { gflops: 1, replicas: 1 })
  const rounds = plan.rounds.length
  say(
    `\n${subject.name}: ${subject.model}, ${parameters} parameters, ${plan.totalSteps} steps of ` +
      `${SHARDS} shards x ${plan.batchSize} rows, ${rounds} rounds, ${options.executors} executors`,
  )
  const network = await BenchNetwork.start({
    dir: join(dir, subject.name),
    executors: options.executors,
    onTearDown: (step) => bench.setup.onTearDown(step),
  })
  const seeds: SeedFigures[] = []
  for (const seed of options.seeds) seeds.push(await runSeed(bench, subject, { network, seed }))
  const gradientBytes = await measureSynchronousRound(bench, subject, network)
  await network.stop()
  const stepBytes = 4 * parameters * SHARDS
  const mean = (of: (figures: SeedFigures) => number): number =>
    seeds.reduce((sum, figures) => sum + of(figures), 0) / seeds.length
  const tokens = mean(({ begun, ours }) => (begun?.tokens ?? 0) + ours.tokens)
  const summary = {
    model: subject.model,
    parameters,
    steps: plan.totalSteps,
    rounds,
    executors: options.executors,
    tokens,
    loss: {
      unigram: mean(({ ours }) => ours.baselineLoss),
      alone: mean(({ alone }) => alone.loss),
      synchronous: mean(({ synchronous }) => synchronous.loss),
      ours: mean(({ ours }) => ours.loss),
    },
    accuracy: {
      alone: mean(({ alone }) => alone.accuracy),
      synchronous: mean(({ synchronous }) => synchronous.accuracy),
      ours: mean(({ ours }) => ours.accuracy),
    },
    bytesPerToken: {
      synchronous: (stepBytes * plan.totalSteps) / tokens,
      ours: mean(({ begun, ours }) => (begun?.bytes ?? 0) + ours.bytes) / tokens,
    },
    bytesPerRound: median(seeds.flatMap(({ ours }) => ours.rounds.map(({ bytes }) => bytes))),
    overheadSecondsPerRound: median(seeds.flatMap(({ ours }) => overheads(ours))),
    synchronousRound: { formulaBytes: stepBytes, measuredBytes: gradientBytes },
    seeds,
  }
  const { loss, bytesPerToken } = summary
  bounds.push(
    atMost(`${subject.name}: loss by synchronous`, loss.ours / loss.synchronous, LOSS_RATIO_MAX),
    atMost(`${subject.name}: loss by unigram`, loss.ours / loss.unigram, UNIGRAM_RATIO_MAX),
    atLeast(
      `${subject.name}: fewer bytes a token than synchronous`,
      bytesPerToken.synchronous / bytesPerToken.ours,
      BYTES_RATIO_MIN,
    ),
    // Else the formula would flatter us: our own rounds of one step move at least that much.
    atLeast(`${subject.name}: measured round of H = 1 by formula`, gradientBytes / stepBytes, 1),
  )
  return summary
}

async function planOf(subject: Subject) {
  const { model, epochs, ours } = subject
  const maxLength = defaultMaxLength(model)
  const source = { files: subject.dataset, spoolPath: `${subject.dataset}.spool` }
  const summary = await summariseDataset(source, { model, maxLength })
  return planTraining({ ...summary, model, epochs, seed: '', maxLength, shards: SHARDS, ...ours })
}

async function runSeed(
  { dir, setup, say }: TrainingBench,
  subject: Subject,
  { network, seed }: { readonly network: BenchNetwork; readonly seed: string },
): Promise<SeedFigures> {
  const { model, epochs } = subject
  const begun =
    subject.begun === undefined
      ? undefined
      : await network.train({
          ...{ model, epochs, seed, dataset: subject.begun.dataset },
          ...subject.begun.chosen,
        })
  const given = { dataset: subject.dataset, model, epochs, seed, weights: begun?.weightsPath }
  const alone = async (loop: 'plain' | 'synchronous', chosen: object) => {
    const counts = await trainAlone({
      ...given,
      dir: join(dir, `${subject.name}-${loop}`),
      loop,
      ...chosen,
      signal: setup.signal,
    })
    const { n, correct, nllFixed, tokens } = counts
    return { loss: nllFixed / 2 ** 20 / n, accuracy: correct / n, tokens }
  }
  const ours = await network.train({
    model,
    epochs,
    seed,
    dataset: subject.dataset,
    shards: SHARDS,
    ...subject.ours,
    ...(begun === undefined ? {} : { from: begun.hash }),
  })
  const [synchronous, plain] = await Promise.all([
    alone('synchronous', { shards: SHARDS, ...subject.synchronous }),
    alone('plain', { shards: 1, ...subject.alone }),
  ])
  const shown = [plain.loss, synchronous.loss, ours.loss].map((loss) => loss.toFixed(4))
  const from =
    begun === undefined ? '' : `from ${begun.loss.toFixed(4)} (${roundMb(begun)} MB a round), `
  say(
    `  ${seed}: ${from}loss alone ${shown[0]}, synchronous ${shown[1]}, ours ${shown[2]}; ` +
      `${(ours.bytes / MB).toFixed(2)} MB, ${roundMb(ours)} a round, ${ours.wallSeconds.toFixed(0)} s, ` +
      `${ours.trainReplicas} replicas of ${ours.trainTasks} training tasks`,
  )
  return { seed, ...(begun === undefined ? {} : { begun }), alone: plain, synchronous, ours }
}

function roundMb({ rounds }: JobFigures): string {
  return (median(rounds.map(({ bytes }) => bytes)) / MB).toFixed(2)
}

/** Bytes of one round of one step of ours: fp32 gradients, AdamW at the aggregator. */
async function measureSynchronousRound(
  { dir, say }: TrainingBench,
  subject: Subject,
  network: BenchNetwork,
): Promise<number> {
  const isTable = subject.dataset.endsWith('.csv')
  const path = join(dir, `short-${subject.name}.${isTable ? 'csv' : 'txt'}`)
  const text = await readFile(subject.dataset, 'utf8')
  const short = isTable ? everyLine(text, 80) : text.slice(0, 80 * 64 + 1)
  await writeFile(path, short)
  const { rounds } = await network.train({
    model: subject.model,
    dataset: path,
    epochs: 1,
    seed: 'synchronous',
    shards: SHARDS,
    sync: true,
  })
  const bytes = median(rounds.map((round) => round.bytes))
  say(`  a round of one step with fp32 gradients: ${(bytes / MB).toFixed(2)} MB`)
  return bytes
}

/** So many lines of a table, evenly spread, after its header. */
function everyLine(text: string, wanted: number): string {
  const [header = '', ...lines] = text.trim().split('\r\n')
  const step = Math.floor(lines.length / wanted)
  return [header, ...lines.filter((_, i) => i % step === 0)].join('\r\n')
}
