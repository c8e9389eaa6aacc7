/**
 * Measures what a network of five daemons on loopback costs. Figures, not tests: nothing here
 * passes or fails.
 *
 *   npm run bench [-- --jobs N] [-- --idle-seconds N] [-- --json]
 *
 * - Protocol overhead of a verified task: from submit to result, less the engine's own
 *   start-to-finish time of the slower of the two containers, as the engine tells it.
 * - An idle daemon: resident memory and share of a core, from /proc.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CtdError, errorCode, errorMessage } from '../src/errors.js'
import { watchContainers } from './container-count.js'
import { LocalNetwork, jobEnded, until } from './local-network.js'
import type { LocalPeer } from './local-network.js'
import { setUp } from './setup.js'

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '15' },
    'idle-seconds': { type: 'string', default: '30' },
    json: { type: 'boolean', default: false },
  },
})
const DAEMONS = 5
const JOB_MS = 120_000
const MB = 1e6

interface Figures {
  readonly p50: number
  readonly min: number
  readonly max: number
}

async function main(): Promise<void> {
  const setup = await setUp({ image: true, engine: true, quiet: values.json })
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
    const overhead = await measureOverhead(started[0] as LocalPeer)
    const idle = await measureIdle(started)
    await setup.tearDown()
    report({ overhead, idle })
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

async function measureOverhead(peer: LocalPeer): Promise<Overhead> {
  const engine = await watchContainers()
  const rows: Array<{ wall: number; engine: number }> = []
  // The first job hashes the image archive and fills caches: it is not counted.
  for (let i = 0; i <= Number(values.jobs); i++) {
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
    wallMs: figures(rows.map(({ wall }) => wall)),
    engineMs: figures(rows.map((row) => row.engine)),
    overheadMs: figures(rows.map((row) => row.wall - row.engine)),
  }
}

interface Idle {
  readonly seconds: number
  readonly rssMb: Figures
  readonly corePercent: Figures
}

async function measureIdle(peers: readonly LocalPeer[]): Promise<Idle> {
  const seconds = Number(values['idle-seconds'])
  const before = await Promise.all(peers.map(cpuSeconds))
  const sinceMs = Date.now()
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const elapsed = (Date.now() - sinceMs) / 1000
  const after = await Promise.all(peers.map(cpuSeconds))
  return {
    seconds,
    rssMb: figures(await Promise.all(peers.map(rssBytes)), MB),
    corePercent: figures(after.map((value, i) => (100 * (value - (before[i] ?? 0))) / elapsed)),
  }
}

/** User and system time of a process; the kernel counts hundredths of a second. */
async function cpuSeconds({ process }: LocalPeer): Promise<number> {
  const stat = await readFile(`/proc/${process.pid ?? 0}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

async function rssBytes({ process }: LocalPeer): Promise<number> {
  const status = await readFile(`/proc/${process.pid ?? 0}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024
}

function figures(samples: readonly number[], unit = 1): Figures {
  const sorted = samples.map((sample) => sample / unit).sort((a, b) => a - b)
  const at = (share: number): number =>
    Math.round(100 * (sorted[Math.floor(share * (sorted.length - 1))] ?? 0)) / 100
  return { p50: at(0.5), min: at(0), max: at(1) }
}

function report({ overhead, idle }: { overhead: Overhead; idle: Idle }): void {
  const machine = { cores: cpus().length, model: cpus()[0]?.model ?? '', load: loadavg()[0] }
  if (values.json) {
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

main().catch((error: unknown) => {
  console.error(`error[${errorCode(error)}]: ${errorMessage(error)}`)
  process.exitCode = 1
})
