/**
 * Measures how fast a file gets from some processes of this machine to others, over loopback: by
 * our daemons, and by other means that many know. Every process is alone on its side of a copy, all
 * systems take turns in one run, the content is random, and every copy is compared with the
 * original. What a system lacks, or a pattern it would need minutes for, is told in its row.
 *
 *   npm run bench -- bytes [--mib 256] [--runs 5] [--json]
 *     [--systems ours,tcp,libp2p,helia,bittorrent]
 *     [--patterns 1x1,4x1,1x8,4x8,dht]   providers x fetchers; `dht` is 1x1 by the DHT alone
 *     [--seed N]                         of the content
 *     [--minutes 40]                     no copy begins later
 */
import { createCipheriv, createHash } from 'node:crypto'
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CtdError, errorMessage } from '../src/errors.js'
import { BITTORRENT } from './bench-bytes-bittorrent.js'
import { HELIA } from './bench-bytes-helia.js'
import { OURS } from './bench-bytes-ours.js'
import { LIBP2P, TCP } from './bench-bytes-raw.js'
import type { ByteSystem, Pattern, Sample } from './bench-bytes-sample.js'
import { figuresOf } from './process-figures.js'
import type { Figures } from './process-figures.js'
import { setUp } from './setup.js'

const MIB = 1024 * 1024
const MB = 1e6
/** A copy that takes longer has failed. */
const COPY_MS = 180_000
/** A pattern whose first copy takes longer is not run again. */
const SLOW_MS = 60_000
const SYSTEMS: readonly ByteSystem[] = [OURS, TCP, LIBP2P, HELIA, BITTORRENT]

interface Row {
  readonly system: ByteSystem
  readonly pattern: Pattern
  readonly mib: number
  readonly samples: Sample[]
  /** Why there are no samples, or no more. */
  skipped?: string
}

interface Original {
  readonly path: string
  readonly sha256: string
}

/** @throws CtdError OPTION_INVALID, WRONG_BYTES */
export async function main(args: string[]): Promise<void> {
  const options = parseOptions(args)
  const setup = await setUp({ image: false, engine: false, quiet: options.json })
  const dir = await mkdtemp(join(tmpdir(), 'ctd-bytes-'))
  setup.onTearDown(() => rm(dir, { recursive: true, force: true }))
  const say = (text: string): void => {
    if (!options.json) console.error(text)
  }
  try {
    const rows: Row[] = []
    for (const system of options.systems) {
      say(`preparing ${system.name}`)
      const missing = await system.prepare(dir)
      for (const pattern of options.patterns) {
        const size = missing ?? system.sizeFor(pattern, options.mib)
        const row = { system, pattern, mib: typeof size === 'number' ? size : 0, samples: [] }
        rows.push(typeof size === 'number' ? row : { ...row, skipped: size })
      }
    }
    await measure(rows, { ...options, dir, signal: setup.signal, say })
    await setup.tearDown()
    report(rows, options)
  } finally {
    await setup.tearDown()
  }
}

interface Options {
  readonly systems: readonly ByteSystem[]
  readonly patterns: readonly Pattern[]
  readonly mib: number
  readonly runs: number
  readonly seed: number
  readonly minutes: number
  readonly json: boolean
}

function parseOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      mib: { type: 'string', default: '256' },
      runs: { type: 'string', default: '5' },
      seed: { type: 'string', default: '1' },
      minutes: { type: 'string', default: '40' },
      systems: { type: 'string', default: SYSTEMS.map(({ name }) => name).join(',') },
      patterns: { type: 'string', default: '1x1,4x1,1x8,4x8,dht' },
      json: { type: 'boolean', default: false },
    },
  })
  const count = (name: 'mib' | 'runs' | 'seed' | 'minutes'): number => {
    const value = Number(values[name])
    if (Number.isSafeInteger(value) && value >= 1 && value < 2 ** 31) return value
    throw new CtdError('OPTION_INVALID', `--${name} is a whole number from 1`)
  }
  return {
    mib: count('mib'),
    runs: count('runs'),
    seed: count('seed'),
    minutes: count('minutes'),
    json: values.json,
    patterns: values.patterns.split(',').map(parsePattern),
    systems: values.systems.split(',').map((wanted) => {
      const system = SYSTEMS.find(({ name }) => name === wanted)
      if (system !== undefined) return system
      throw new CtdError('OPTION_INVALID', `there is no system "${wanted}"`)
    }),
  }
}

function parsePattern(name: string): Pattern {
  if (name === 'dht') return { name, providers: 1, fetchers: 1, byDht: true }
  const [, providers, fetchers] = /^([1-9])x([1-9])$/.exec(name) ?? []
  if (providers === undefined) throw new CtdError('OPTION_INVALID', `"${name}" is no pattern`)
  return { name, providers: Number(providers), fetchers: Number(fetchers), byDht: false }
}

interface Run extends Options {
  readonly dir: string
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

/** Every system and pattern once, then again; the systems change places from round to round. */
async function measure(rows: readonly Row[], run: Run): Promise<void> {
  const untilMs = performance.now() + run.minutes * 60_000
  const originals = new Map<number, Original>()
  for (let round = 0; round < run.runs; round += 1) {
    for (const pattern of run.patterns) {
      const these = rows.filter((row) => row.pattern === pattern && row.skipped === undefined)
      const turn = round % Math.max(1, these.length)
      for (const row of [...these.slice(turn), ...these.slice(0, turn)]) {
        if (performance.now() > untilMs) {
          row.skipped = `the ${run.minutes} minutes were over`
          continue
        }
        const original = originals.get(row.mib) ?? (await writeOriginal(row.mib, run))
        originals.set(row.mib, original)
        await copyOnce(row, original, run)
      }
    }
  }
}

async function copyOnce(row: Row, original: Original, run: Run): Promise<void> {
  const { system, pattern, mib, samples } = row
  const dir = join(run.dir, 'copy')
  await mkdir(dir)
  const limit = AbortSignal.timeout(COPY_MS)
  try {
    const sample = await system.copy({
      pattern,
      ...original,
      sizeBytes: mib * MIB,
      dir,
      signal: AbortSignal.any([run.signal, limit]),
    })
    samples.push(sample)
    const { seconds, mbPerSecond } = speedOf(row, sample)
    run.say(
      `${system.name} ${pattern.name}: ${seconds.toFixed(2)} s, ${mbPerSecond.toFixed(0)} MB/s`,
    )
    if (sample.wallMs > SLOW_MS) row.skipped = `a copy takes more than ${SLOW_MS / 1000} s`
  } catch (error) {
    if (run.signal.aborted) throw error
    // Others are measured all the same; wrong bytes are told like any failure.
    row.skipped = limit.aborted ? `a copy takes more than ${COPY_MS / 1000} s` : errorMessage(error)
    run.say(`${system.name} ${pattern.name}: ${row.skipped}`)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** AES-256-CTR over zeros: random to whoever would compress it, and the same for one seed. */
async function writeOriginal(mib: number, { dir, seed }: Run): Promise<Original> {
  const path = join(dir, `original-${mib}`)
  const key = createHash('sha256').update(`ctd bench bytes ${seed}`).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  const hash = createHash('sha256')
  const zeros = Buffer.alloc(MIB)
  const file = await open(path, 'wx')
  try {
    for (let i = 0; i < mib; i += 1) {
      const bytes = cipher.update(zeros)
      hash.update(bytes)
      await file.write(bytes)
    }
    // What is still on its way to the disk would slow down the first copy.
    await file.sync()
  } finally {
    await file.close()
  }
  return { path, sha256: hash.digest('hex') }
}

/** Until the last fetcher has all; megabytes of all fetchers together. */
function speedOf(row: Row, sample: Sample): { seconds: number; mbPerSecond: number; gb: number } {
  const seconds = sample.wallMs / 1000
  const megabytes = (row.mib * MIB * row.pattern.fetchers) / MB
  return { seconds, mbPerSecond: megabytes / seconds, gb: megabytes / 1000 }
}

interface RowView {
  readonly system: string
  readonly pattern: string
  readonly mib: number
  readonly runs: number
  readonly skipped?: string
  readonly seconds?: Figures
  readonly mbPerSecond?: Figures
  readonly cpuSecondsPerGb?: Figures
  readonly providerPeakMb?: Figures
  readonly fetcherPeakMb?: Figures
}

function viewOf(row: Row): RowView {
  const { system, pattern, mib, samples, skipped } = row
  const base = {
    system: system.name,
    pattern: pattern.name,
    mib,
    runs: samples.length,
    ...(skipped !== undefined && { skipped }),
  }
  if (samples.length === 0) return base
  const speeds = samples.map((sample) => speedOf(row, sample))
  return {
    ...base,
    seconds: figuresOf(speeds.map(({ seconds }) => seconds)),
    mbPerSecond: figuresOf(speeds.map(({ mbPerSecond }) => mbPerSecond)),
    cpuSecondsPerGb: figuresOf(samples.map((each, i) => each.cpuSeconds / (speeds[i]?.gb ?? 1))),
    providerPeakMb: figuresOf(
      samples.map(({ providerPeakBytes }) => providerPeakBytes),
      MB,
    ),
    fetcherPeakMb: figuresOf(
      samples.map(({ fetcherPeakBytes }) => fetcherPeakBytes),
      MB,
    ),
  }
}

/** What we want to reach, and what we did, where the rows for it are there. */
function targetsOf(views: readonly RowView[]): ReadonlyArray<Readonly<Record<string, unknown>>> {
  const find = (system: string, pattern: string): RowView | undefined =>
    views.find((view) => view.system === system && view.pattern === pattern)
  const speed = (system: string, pattern: string): number =>
    find(system, pattern)?.mbPerSecond?.p50 ?? NaN
  const seconds = (system: string, pattern: string): number =>
    find(system, pattern)?.seconds?.p50 ?? NaN
  const peaks = views
    .filter(({ system }) => system === 'ours')
    .flatMap((view) => [view.providerPeakMb?.max ?? [], view.fetcherPeakMb?.max ?? []].flat())
  const targets = [
    {
      target: 'one provider, of the speed of one raw libp2p stream',
      atLeast: 0.8,
      value: speed('ours', '1x1') / speed('libp2p', '1x1'),
    },
    {
      target: 'four providers, of the speed of one',
      atLeast: 1,
      value: speed('ours', '4x1') / speed('ours', '1x1'),
    },
    {
      target: 'eight fetchers of one seed, of the time of BitTorrent',
      atMost: 1.2,
      value: seconds('ours', '1x8') / seconds('bittorrent', '1x8'),
    },
    {
      target: 'peak RSS of a daemon, MB',
      atMost: 200,
      value: peaks.length === 0 ? NaN : Math.max(...peaks),
    },
  ]
  return targets
    .map((each) => ({ ...each, value: Math.round(100 * each.value) / 100 }))
    .filter(({ value }) => Number.isFinite(value))
    .map(({ target, atLeast, atMost, value }) => {
      const isReached = value >= (atLeast ?? -Infinity) && value <= (atMost ?? Infinity)
      return { target, ...(atLeast ? { atLeast } : { atMost }), value, isReached }
    })
}

function report(rows: readonly Row[], { seed, runs, json }: Options): void {
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? '', load: loadavg()[0] }
  const views = rows.map(viewOf)
  const targets = targetsOf(views)
  if (json) {
    console.log(JSON.stringify({ bench: 'bytes', seed, runs, machine, rows: views, targets }))
    return
  }
  console.log(`loopback, ${machine.cores} cores, load ${machine.load}, seed ${seed}; medians`)
  for (const { name, title } of new Set(rows.map(({ system }) => system))) {
    console.log(`  ${name}: ${title}`)
  }
  const heads = ['MiB', 'runs', 's', 'MB/s', 'min', 'max', 'CPU s/GB', 'RSS from', 'RSS to']
  console.log('\n' + ''.padEnd(18) + heads.map((head) => head.padStart(9)).join(''))
  for (const view of views.toSorted((a, b) => order(a, views) - order(b, views))) {
    const name = `${view.pattern} ${view.system}`.padEnd(18)
    const { mbPerSecond, providerPeakMb, fetcherPeakMb } = view
    const cells =
      mbPerSecond === undefined
        ? []
        : [
            view.mib,
            view.runs,
            view.seconds?.p50,
            ...[mbPerSecond.p50, mbPerSecond.min, mbPerSecond.max].map(Math.round),
            view.cpuSecondsPerGb?.p50,
            ...[providerPeakMb?.p50, fetcherPeakMb?.p50].map((mb) => Math.round(mb ?? 0)),
          ]
    const note = view.skipped === undefined ? '' : `  (${view.skipped})`
    console.log(name + cells.map((cell) => String(cell).padStart(9)).join('') + note)
  }
  console.log('\nMB/s of all fetchers together; RSS in MB, the most of one process of that side\n')
  for (const target of targets) {
    const { atLeast, atMost, value, isReached } = target
    const bound = atLeast === undefined ? `<= ${String(atMost)}` : `>= ${String(atLeast)}`
    console.log(
      `${String(target['target']).padEnd(60)}${String(value).padStart(8)}  ${bound}  ${isReached ? 'reached' : 'NOT reached'}`,
    )
  }
}

/** Pattern by pattern, as they first came. */
function order(view: RowView, views: readonly RowView[]): number {
  return views.findIndex(({ pattern }) => pattern === view.pattern)
}
