/**
 * Measures what a network of five daemons on loopback costs. Figures, not tests: nothing here
 * passes or fails.
 *
 *   npm run bench -- protocol [--jobs N] [--idle-seconds N] [--json]
 *
 * - Protocol overhead of a verified task: from submit to result, less the engine's own
 *   start-to-finish time of the slower of the two containers, as the engine tells it.
 * - An idle daemon: resident memory and share of a core, from /proc.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CtdError } from '../src/errors.js'
import { watchContainers } from './container-count.js'
import { LocalNetwork, jobEnded, until } from './local-network.js'
import type { LocalPeer } from './local-network.js'
import { cpuSecondsOf, figuresOf, residentBytesOf } from './process-figures.js'
import type { Figures } from './process-figures.js'
import { setUp } from './setup.js'

const DAEMONS = 5
const JOB_MS = 120_000
const MB = 1e6

interface Options {
  readonly jobs: number
  readonly idleSeconds: number
  readonly json: boolean
}

/** @throws CtdError NO_CONTAINER_ENGINE, and what the daemons throw */
export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      jobs: { type: 'string', default: '15' },
      'idle-seconds': { type: 'string', default: '30' },
      json: { type: 'boolean', default: false },
    },
  })
  const { json } = values
  const options = { jobs: Number(values.jobs), idleSeconds: Number(values['idle-seconds']), json }
  const setup = await setUp({ image: true, engine: true, quiet: json })
  if (setup.engine !== 'ready') throw new CtdError('NO_CONTAINER_ENGINE', setup.engine.missing)
  const dir = await mkdtemp(join(tmpdir(), 'ctd-bench-'))
  const network = new LocalNetwork({ dir, network: `bench-${dir.slice(-6)}` })
  setup.onTearDown(async () => {
    await network.stop()
    await rm(dir, { recursive: true, force: true })
  })
  try {
    const started = await Promise.all(
      Array.from({ length: DAEMONS }, async (_, i) => {
        if (i === 0) return network.start({ name: 'p0' })
        const first = await until('the first peer', JOB_MS, async () => network.peers[0]?.node)
        return network.start({ name: `p${i}`, bootstrap: first.addresses.slice(0, 1) })
      }),
    )
    await Promise.all(started.map((peer) => peer.benchmarked()))
    await until('all to be connected', JOB_MS, async () => {
      const nodes = await Promise.all(
        started.map((peer) => peer.client.get<{ connectedPeers: number }>('/v1/node')),
      )
      return nodes.every((node) => node.connectedPeers >= DAEMONS - 1) ? true : undefined
    })
    const overhead = await measureOverhead(started[0] as LocalPeer, options)
    const idle = await measureIdle(started, options)
    await setup.tearDown()
    report({ overhead, idle }, options)
  } finally {
    await setup.tearDown()
  }
}

interface Overhead {
  readonly jobs: number
  readonly wallMs: Figures
  readonly engineMs: Figures
  readonly overheadMs: Figures
}

async function measureOverhead(peer: LocalPeer, { jobs }: Options): Promise<Overhead> {
  const engine = await watchContainers()
  const rows: Array<{ wall: number; engine: number }> = []
  // The first job hashes the image archive and fills caches: it is not counted.
  for (let i = 0; i <= jobs; i++) {
    const sinceMs = Date.now()
    const { id } = await peer.client.post<{ id: string }>('/v1/jobs', {
      kind: 'run',
      image: 'cpu',
      command: ['python3', '-c', `open("/out/n","w").write("${i}")`],
      auditPpm: 0,
    })
    const ended = await jobEnded(peer.client, id, JOB_MS)
    const wall = Date.now() - sinceMs
    if (ended.status !== 'succeeded') throw new CtdError(ended.code, ended.reason)
    const spans = engine.spansSince(sinceMs)
    if (i > 0) rows.push({ wall, engine: Math.max(...spans) })
  }
  engine.stop()
  return {
    jobs: rows.length,
    wallMs: figuresOf(rows.map(({ wall }) => wall)),
    engineMs: figuresOf(rows.map((row) => row.engine)),
    overheadMs: figuresOf(rows.map((row) => row.wall - row.engine)),
  }
}

interface Idle {
  readonly seconds: number
  readonly rssMb: Figures
  readonly corePercent: Figures
}

async function measureIdle(
  peers: readonly LocalPeer[],
  { idleSeconds: seconds }: Options,
): Promise<Idle> {
  const pids = peers.map(({ process }) => process.pid ?? 0)
  const before = await Promise.all(pids.map(cpuSecondsOf))
  const sinceMs = Date.now()
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const elapsed = (Date.now() - sinceMs) / 1000
  const after = await Promise.all(pids.map(cpuSecondsOf))
  return {
    seconds,
    rssMb: figuresOf(await Promise.all(pids.map((pid) => residentBytesOf(pid, 'VmRSS'))), MB),
    corePercent: figuresOf(after.map((value, i) => (100 * (value - (before[i] ?? 0))) / elapsed)),
  }
}

function report({ overhead, idle }: { overhead: Overhead; idle: Idle }, { json }: Options): void {
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? '', load: loadavg()[0] }
  if (json) {
    console.log(JSON.stringify({ daemons: DAEMONS, machine, overhead, idle }))
    return
  }
  const row = (name: string, { p50, min, max }: Figures): void => {
    console.log(
      name.padEnd(44) + [p50, min, max].map((value) => String(value).padStart(10)).join(''),
    )
  }
  console.log(`${DAEMONS} daemons on loopback, ${machine.cores} cores, load ${machine.load}`)
  console.log(''.padEnd(44) + ['p50', 'min', 'max'].map((name) => name.padStart(10)).join(''))
  row(`verified task, submit to result, ms (${overhead.jobs})`, overhead.wallMs)
  row('  the engine, slower container, ms', overhead.engineMs)
  row('  protocol overhead, ms', overhead.overheadMs)
  row(`idle daemon, RSS, MB (${idle.seconds} s)`, idle.rssMb)
  row('idle daemon, % of a core', idle.corePercent)
}
