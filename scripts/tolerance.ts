/**
 * How often the tolerance of `tensors:fp32` is wrong on real weights.
 *
 *   npm run tolerance -- [--pairs 600] [--cheats 100] [--seed S] [--json]
 *   npm run tolerance -- --daemons [--json]     each cheat once, by real daemons
 *
 * The task image trains segments (one shard of one round, all families of models) on every code
 * path of this CPU; each pair of honest results and each cheat against the honest ones is judged by
 * the network's own rule at the profile's own τ. The status is 1 if any honest pair is told apart,
 * any cheat passes, or fewer were judged than asked for; with `--daemons`, if any cheat is not
 * struck or its job fails.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { ImageRef } from '../src/container/container-runtime.js'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { CtdError, errorCode, errorMessage } from '../src/errors.js'
import { LocalNetwork } from './local-network.js'
import { setUp } from './setup.js'
import { playDaemons } from './tolerance-daemons.js'
import { reportOf, sayReport } from './tolerance-report.js'
import { CHEATS, Study } from './tolerance-study.js'
import { Trainer } from './tolerance-train.js'

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '600' },
    cheats: { type: 'string', default: '100' },
    seed: { type: 'string', default: 'tolerance' },
    daemons: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const IMAGE = join(import.meta.dirname, '../.cache/images/image.json')

async function main(): Promise<void> {
  await (values.daemons ? show() : study())
}

async function study(): Promise<void> {
  const [pairs, cheats] = [whole(values.pairs), whole(values.cheats)]
  const setup = await setUp({ image: true, engine: true, build: false, quiet: false })
  if (setup.engine !== 'ready') throw new CtdError('NO_CONTAINER_ENGINE', setup.engine.missing)
  const image = JSON.parse(await readFile(process.env['CTD_IMAGE'] ?? IMAGE, 'utf8')) as ImageRef
  const dir = await mkdtemp(join(tmpdir(), 'ctd-tolerance-'))
  const trainer = new Trainer({ image, dir, signal: setup.signal })
  setup.onTearDown(async () => {
    await trainer.close()
    await rm(dir, { recursive: true, force: true })
  })
  const startedMs = Date.now()
  const say = (text: string): void => console.error(text)
  try {
    const study = await Study.prepare({ pairs, cheats, seed: values.seed, dir, trainer, say })
    await study.train()
    const report = reportOf(study, { pairs, cheats })
    sayReport(report)
    if (!report.ok) process.exitCode = 1
    const seconds = Math.round((Date.now() - startedMs) / 1000)
    if (values.json) console.log(JSON.stringify({ ...report, seed: values.seed, seconds }))
    else console.log(`${report.ok ? 'ok' : 'FAILED'} in ${seconds} s`)
  } finally {
    await setup.tearDown()
  }
}

async function show(): Promise<void> {
  const setup = await setUp({ image: true, engine: true, quiet: false })
  if (setup.engine !== 'ready') throw new CtdError('NO_CONTAINER_ENGINE', setup.engine.missing)
  const dir = await mkdtemp(join(tmpdir(), 'ctd-t-'))
  const network = new LocalNetwork({ dir, network: `tolerance-${dir.slice(-6)}` })
  setup.onTearDown(async () => {
    await network.stop()
    const runtime = new DockerRuntime()
    for (const { peerId } of network.peers) await runtime.cleanUp(peerId, []).catch(() => 0)
    await rm(dir, { recursive: true, force: true })
  })
  const startedMs = Date.now()
  try {
    const say = (text: string): void => console.error(text)
    const promises = await playDaemons({ network, dir, cheats: CHEATS, say })
    for (const { promise, isSeen, detail } of promises) {
      console.error(`${isSeen ? 'seen    ' : 'NOT SEEN'}  ${promise}: ${detail}`)
    }
    const ok = promises.every(({ isSeen }) => isSeen)
    if (!ok) process.exitCode = 1
    const seconds = Math.round((Date.now() - startedMs) / 1000)
    if (values.json) console.log(JSON.stringify({ ok, seconds, promises }))
    else console.log(`${ok ? 'ok' : 'FAILED'} in ${seconds} s`)
  } finally {
    await setup.tearDown()
  }
}

/** @throws CtdError USAGE */
function whole(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= 100_000) return value
  throw new CtdError('USAGE', `not a whole number from 1 to 100000: ${text}`)
}

main().catch((error: unknown) => {
  console.error(`error[${errorCode(error)}]: ${errorMessage(error)}`)
  if (error instanceof CtdError && error.hint !== undefined) console.error(`  hint  ${error.hint}`)
  if (values.json) {
    console.log(JSON.stringify({ ok: false, code: errorCode(error), reason: errorMessage(error) }))
  }
  process.exitCode = 1
})
