/**
 * Shows on real daemons that faults of peers and machines stop neither bytes nor training.
 *
 *   npm run faults -- image [--mib 2048] [--base cpu|test] [--seed S] [--json] [--keep]
 *   npm run faults -- elastic [--seed S] [--json] [--keep]
 *   npm run faults -- providers [--mib 1024] [--mbps 20] [--seed S] [--json] [--keep]
 *   npm run faults -- training [--rounds 3] [--lines 1200] [--parts a,b] [--seed S] [--json] [--keep]
 *
 * - `image`: a task image travels from one peer to four that lack it while a job waits for it with
 *   visible progress; two of the four are killed on the way and resume.
 * - `elastic`: an elastic job while a quarter of the executors is killed in every round and one is
 *   four times slower, beside the same job undisturbed.
 * - `providers`: one of four providers sends corrupted pieces, one stalls; the fetch is timed
 *   against one from the two honest ones alone.
 * - `training`: one job gives the same weights undisturbed, by other peers in another order, with
 *   executors and the submitter killed, with a quarter of the executors killed in every round, and
 *   among poisoners. `--parts` names some of what comes after the undisturbed run.
 *
 * Every daemon is a process with a home of its own. The status is 1 unless everything that is
 * promised was seen; with `--json` the last line is one JSON object with all figures.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { CtdError, errorCode, errorMessage } from '../src/errors.js'
import { playElastic } from './faults-elastic.js'
import { playImage } from './faults-image.js'
import { playProviders } from './faults-providers.js'
import { playTraining, TRAINING_PARTS } from './faults-training.js'
import { assertDiskFree, conclude } from './faults-show.js'
import type { Show, ShowOptions } from './faults-show.js'
import { LocalNetwork } from './local-network.js'
import { setUp } from './setup.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    mib: { type: 'string' },
    mbps: { type: 'string', default: '20' },
    base: { type: 'string', default: 'cpu' },
    rounds: { type: 'string', default: '3' },
    lines: { type: 'string', default: '1200' },
    parts: { type: 'string', default: TRAINING_PARTS.join() },
    seed: { type: 'string', default: 'faults' },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
})
const MIB = 1024 ** 2

interface Playable {
  /** Whether it runs containers. */
  readonly needsEngine: boolean
  /** Of what travels; 0 where little does. */
  readonly mib: () => number
  /** How many times as much it takes on the disk. */
  readonly copies: number
  readonly play: (common: ShowOptions) => Promise<Show>
}

const SHOWS: Readonly<Record<string, Playable>> = {
  image: {
    needsEngine: true,
    mib: () => whole(values.mib ?? '2048', 8, 65_536),
    // The archive, a layer of it, a copy with each of four, and what the engine makes of it.
    copies: 9,
    play: (common) => playImage({ ...common, base: values.base === 'test' ? 'test' : 'cpu' }),
  },
  providers: {
    needsEngine: false,
    mib: () => whole(values.mib ?? '1024', 8, 65_536),
    copies: 6,
    play: (common) =>
      playProviders({ ...common, mbps: whole(values.mbps, 1, 10_000), isTimed: true }),
  },
  elastic: {
    needsEngine: true,
    mib: () => whole(values.mib ?? '1024', 8, 65_536),
    copies: 6,
    play: (common) => playElastic(common),
  },
  training: {
    needsEngine: true,
    mib: () => 0,
    copies: 0,
    play: (common) =>
      playTraining({
        ...common,
        parts: partsOf(values.parts),
        rounds: whole(values.rounds, 3, 20),
        lines: whole(values.lines, 100, 100_000),
      }),
  },
}

async function main(): Promise<void> {
  const [name = ''] = positionals
  const chosen = SHOWS[name]
  if (chosen === undefined) {
    const hint = `one of ${Object.keys(SHOWS).join(', ')}`
    throw new CtdError('USAGE', `no such show: ${name}`, { hint })
  }
  const { needsEngine, copies } = chosen
  const mib = chosen.mib()
  const setup = await setUp({ image: needsEngine, engine: needsEngine, quiet: false })
  if (needsEngine && setup.engine !== 'ready') {
    throw new CtdError('NO_CONTAINER_ENGINE', setup.engine.missing)
  }
  const dir = await mkdtemp(join(tmpdir(), 'ctd-f-'))
  const network = new LocalNetwork({ dir, network: `faults-${dir.slice(-6)}` })
  setup.onTearDown(async () => {
    await network.stop()
    const runtime = new DockerRuntime()
    for (const { peerId } of network.peers) await runtime.cleanUp(peerId, []).catch(() => 0)
    if (values.keep) console.error(`homes and logs are kept in ${dir}`)
    else await rm(dir, { recursive: true, force: true })
  })
  const startedMs = Date.now()
  let show: Show
  try {
    await assertDiskFree(dir, copies * mib * MIB)
    const say = (text: string): void => console.error(text)
    show = await chosen.play({ network, dir, mib, seed: values.seed, say, signal: setup.signal })
  } finally {
    await setup.tearDown()
  }
  conclude(name, show, { seed: values.seed, isJson: values.json, startedMs })
}

/** @throws CtdError USAGE */
function partsOf(text: string): (typeof TRAINING_PARTS)[number][] {
  const names = text.split(',')
  const unknown = names.filter((name) => !TRAINING_PARTS.some((part) => part === name))
  if (unknown.length === 0) return TRAINING_PARTS.filter((part) => names.includes(part))
  throw new CtdError('USAGE', `no such part: ${unknown.join(', ')}`, {
    hint: `some of ${TRAINING_PARTS.join(',')}`,
  })
}

/** @throws CtdError USAGE */
function whole(text: string, min: number, max: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new CtdError('USAGE', `not a whole number from ${min} to ${max}: ${text}`)
}

main().catch((error: unknown) => {
  console.error(`error[${errorCode(error)}]: ${errorMessage(error)}`)
  if (error instanceof CtdError && error.hint !== undefined) console.error(`  hint  ${error.hint}`)
  if (values.json) {
    const reason = errorMessage(error)
    console.log(JSON.stringify({ show: positionals[0], ok: false, code: errorCode(error), reason }))
  }
  process.exitCode = 1
})
