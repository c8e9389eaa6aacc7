/** How much of the time peers train, and what a large model costs in memory. */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { atLeast, atMost, median } from './bench-training-bounds.js'
import type { TrainingBench } from './bench-training-bounds.js'
import { corpus } from './bench-training-corpus.js'
import { BenchNetwork, overheads } from './bench-training-ours.js'

const MB = 1e6
const BUSY_ROUNDS = 3
const BERT_VOCABULARY = 30_522
const BASE_PARAMETERS = 109e6

/** What is promised. */
const BUSY_MIN = 0.9
const DAEMON_RSS_MAX = 400 * MB

/** As many executors as cores, each training once in a round of about a minute. */
export async function runBusy(bench: TrainingBench) {
  const { options, dir, setup, say, bounds } = bench
  const executors = Math.max(2, cpus().length)
  const shards = Math.floor(executors / 2)
  say(`\nbusy: gpt-tiny, ${executors} executors, ${shards} shards`)
  const network = await BenchNetwork.start({
    dir: join(dir, 'busy'),
    executors,
    onTearDown: (step) => setup.onTearDown(step),
  })
  const job = await network.train({
    model: 'gpt-tiny',
    dataset: await corpus(dir, options.busyTokens * shards),
    epochs: 1,
    seed: 'busy',
    shards,
    rounds: BUSY_ROUNDS,
    auditPpm: 0,
  })
  await network.stop()
  const busyShare = job.trainSeconds / (executors * job.wallSeconds)
  const figures = {
    executors,
    shards,
    wallSeconds: job.wallSeconds,
    trainSeconds: job.trainSeconds,
    roundSeconds: median(job.rounds.map((round) => round.wallSeconds)),
    overheadSecondsPerRound: median(overheads(job)),
    busyShare,
    usefulShare: (busyShare * job.trainTasks) / job.trainReplicas,
    loss: job.loss,
    hash: job.hash,
  }
  bounds.push(atLeast('busy: share of peers x wall in training steps', busyShare, BUSY_MIN))
  return figures
}

/** A model of 110 million parameters: a few steps of a few short rows. */
export async function runBertBase({ dir, setup, say, bounds }: TrainingBench) {
  say('\nbert-base: 2 executors, 2 shards')
  const dataset = join(dir, 'short.csv')
  const rows = Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? `day ${i},a` : `night ${i},b`))
  await writeFile(dataset, ['text,label', ...rows].join('\n'))
  const network = await BenchNetwork.start({
    dir: join(dir, 'base'),
    executors: 2,
    onTearDown: (step) => setup.onTearDown(step),
  })
  const job = await network.train({
    model: 'bert-base',
    dataset,
    tokenizer: await writeTokenizer(join(dir, 'tokenizer')),
    epochs: 1,
    seed: 'base',
    shards: 2,
    batchSize: 2,
    maxLength: 16,
    rounds: 1,
    auditPpm: 0,
  })
  await network.stop()
  const peakRss = job.peakRssBytes / MB
  bounds.push(
    atMost('bert-base: peak resident MB of a daemon', peakRss, DAEMON_RSS_MAX / MB),
    atLeast('bert-base: million parameters', job.weightsBytes / 4 / 1e6, BASE_PARAMETERS / 1e6),
  )
  return job
}

/** As many words as BERT's own vocabulary has, so that the model is as large; most are made up. */
async function writeTokenizer(dir: string): Promise<string> {
  const known = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'day', 'night', ...'0123456789']
  const words = Array.from({ length: BERT_VOCABULARY - known.length }, (_, i) => `word${i}`)
  await mkdir(dir)
  await writeFile(join(dir, 'vocab.txt'), [...known, ...words].join('\n'))
  return dir
}
