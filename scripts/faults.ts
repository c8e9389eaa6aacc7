/**
 * Shows on real daemons that faults of peers and machines do not stop the bytes.
 *
 *   npm run faults -- image [--mib 2048] [--base cpu|test] [--seed S] [--json] [--keep]
 *   npm run faults -- elastic [--seed S] [--json] [--keep]
 *   npm run faults -- providers [--mib 1024] [--mbps 20] [--seed S] [--json] [--keep]
 *
 * - `image`: a task image travels from one peer to four that lack it while a job waits for it with
 *   visible progress; two of the four are killed on the way and resume.
 * - `elastic`: an elastic job while a quarter of the executors is killed in every round and one is
 *   four times slower, beside the same job undisturbed.
 * - `providers`: one of four providers sends corrupted pieces, one stalls; the fetch is timed
 *   against one from the two honest ones alone.
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
import { assertDiskFree } from './faults-show.js'
import type { Show } from './faults-show.js'
import { LocalNetwork } from './local-network.js'
import { setUp } from './setup.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    mib: { type: 'string' },
    mbps: { type: 'string', default: '20' },
    base: { type: 'string', default: 'cpu' },
    seed: { type: 'string', default: 'faults' },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
})
const MIB = 1024 ** 2
const SHOWS = ['image', 'providers', 'elastic']

async function main(): Promise<void> {
  const [name = ''] = positionals
  if (!SHOWS.includes(name)) {
    throw new CtdError('USAGE', `no such show: ${name}`, { hint: `one of ${SHOWS.join(', ')}` })
  }
  const isImage = name === 'image'
  const mib = whole(values.mib ?? (isImage ? '2048' : '1024'), 8, 65_536)
  const isElastic = name === 'elastic'
  const hasEngine = isImage || isElastic
  const setup = await setUp({ image: hasEngine, engine: hasEngine, quiet: false })
  if (hasEngine && setup.engine !== 'ready') {
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
    // The archive, a layer of it, a copy with each of four, and what the engine makes of it.
    await assertDiskFree(dir, (isImage ? 9 : 6) * mib * MIB)
    const say = (text: string): void => console.error(text)
    const common = { network, dir, mib, seed: values.seed, say, signal: setup.signal }
    show = isElastic
      ? await playElastic(common)
      : isImage
        ? await playImage({ ...common, base: values.base === 'test' ? 'test' : 'cpu' })
        : await playProviders({ ...common, mbps: whole(values.mbps, 1, 10_000), isTimed: true })
  } finally {
    await setup.tearDown()
  }
  const seconds = Math.round((Date.now() - startedMs) / 100) / 10
  for (const { promise, isSeen, detail } of show.promises) {
    console.error(
      `${isSeen ? 'seen    ' : 'NOT SEEN'}  ${promise}${detail === '' ? '' : `: ${detail}`}`,
    )
  }
  const isOk = show.promises.every(({ isSeen }) => isSeen)
  if (!isOk) process.exitCode = 1
  if (values.json) {
    console.log(JSON.stringify({ show: name, ok: isOk, seed: values.seed, seconds, ...show }))
  } else console.log(`${isOk ? 'ok' : 'FAILED'} in ${seconds} s`)
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
