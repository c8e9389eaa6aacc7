/**
 * The main job on this machine: strangers' daemons train a real model together, a liar is caught,
 * a killed peer's work is taken over, the result comes with a proof.
 *
 *   npm run demo [-- --json] [-- --seed S] [-- --dataset FILE.csv] [-- --epochs N] [-- --keep]
 *
 * A bootstrap node, a requester and six executors, each a process with a home and an identity of
 * its own. One executor is a test build that flips one bit of its results, one joins late, one is
 * killed with SIGKILL while its container runs.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import type { JobView, PeerView } from '../src/api/daemon-port.js'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { CtdError, errorCode, errorMessage } from '../src/errors.js'
import { countContainers } from './container-count.js'
import { CTD, LocalNetwork, jobEnded, until, watch } from './local-network.js'
import type { LocalPeer } from './local-network.js'
import { trainAlone } from './reference.js'
import { setUp } from './setup.js'
import { DemoStory } from './demo-story.js'

const exec = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')
const JOB_MS = 15 * 60_000
const PEERS = 8

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seed: { type: 'string', default: 'demo' },
    dataset: { type: 'string' },
    model: { type: 'string', default: 'bert-tiny' },
    epochs: { type: 'string', default: '5' },
    keep: { type: 'boolean', default: false },
  },
})

async function main(): Promise<void> {
  const startedMs = Date.now()
  const setup = await setUp({ image: true, engine: true, quiet: false })
  if (setup.engine !== 'ready') throw new CtdError('NO_CONTAINER_ENGINE', setup.engine.missing)
  const dir = await mkdtemp(join(tmpdir(), 'ctd-demo-'))
  const network = new LocalNetwork({ dir, network: `demo-${dir.slice(-6)}` })
  setup.onTearDown(async () => {
    await network.stop()
    // What a killed peer left running is nobody's after the demo.
    const runtime = new DockerRuntime()
    for (const peer of network.peers) await runtime.cleanUp(peer.peerId, [])
    if (!values.keep) await rm(dir, { recursive: true, force: true })
  })
  try {
    const outcome = await play(network, dir, setup.signal)
    const seconds = Math.round((Date.now() - startedMs) / 100) / 10
    await setup.tearDown()
    console.log(values.json ? JSON.stringify({ ...outcome, seconds }) : `\ndone in ${seconds} s`)
    if (outcome.status !== 'succeeded' || outcome.audit !== 'ok') process.exitCode = 1
  } catch (error) {
    if (values.keep) console.error(`homes and logs are kept in ${dir}`)
    throw error
  } finally {
    await setup.tearDown()
  }
}

interface Outcome {
  readonly status: string
  readonly accuracy: number | null
  readonly baselineAccuracy: number
  readonly referenceAccuracy: number
  readonly hash: string
  readonly peers: number
  readonly tasks: number
  readonly replicas: number
  readonly containersStarted: number
  readonly dissenters: readonly string[]
  readonly liar: string
  readonly late: string
  readonly lateAccepted: number
  readonly killed: number
  readonly reassigned: number
  readonly audit: string
  readonly seed: string
}

async function play(network: LocalNetwork, dir: string, signal: AbortSignal): Promise<Outcome> {
  const say = (text: string): void => {
    console.error(text)
  }
  say('\nStarting a bootstrap node, a requester and five executors; a sixth joins later.')
  await network.start({ name: 'boot', role: 'bootstrap' })
  const requester = await network.start({ name: 'requester', execute: false })
  const started = await Promise.all([
    ...['ann', 'bob', 'cem', 'dot'].map((name) => network.start({ name })),
    network.start({ name: 'liar', build: join(ROOT, 'test/builds/liar.ts') }),
  ])
  const liar = started.find(({ name }) => name === 'liar') as LocalPeer
  await Promise.all(started.map((peer) => peer.benchmarked()))
  const names = new Map(network.peers.map((peer) => [peer.peerId, peer.name]))
  const known = await until('the requester to know every benchmark', 60_000, async () => {
    const peers = await requester.client.get<readonly PeerView[]>('/v1/peers')
    const measured = peers.filter((peer) => peer.cpuGflops > 0)
    return measured.length >= started.length ? peers : undefined
  })
  const story = new DemoStory(say, names)
  story.peers(known)

  const dataset = await datasetPath(dir)
  const owners = network.peers.map(({ peerId }) => peerId)
  const counter = await countContainers(owners)
  const { id } = await requester.client.post<{ id: string }>('/submit-job', {
    model: values.model,
    dataset,
    epochs: Number(values.epochs),
    seed: values.seed,
  })
  const job = await requester.client.get<JobView>(`/v1/jobs/${id}`)
  say(
    `\nJob ${id.slice(0, 12)}: ${values.model} on ${dataset.slice(dir.length + 1)}, ${values.epochs} epochs`,
  )
  say(`Cost told before it starts: ${job.estimate}\n`)

  const watching = new AbortController()
  const all = AbortSignal.any([signal, watching.signal])
  let killed: LocalPeer | undefined
  let late: Promise<LocalPeer> | undefined
  const stage = {
    async joinLate(): Promise<void> {
      late ??= network.start({ name: 'late' })
      const peer = await late
      names.set(peer.peerId, 'late')
      counter.addOwner(peer.peerId)
      say('  + late joins the network, knowing only the bootstrap node')
    },
    async killOne(peerId: string): Promise<void> {
      const victim = network.peers.find((peer) => peer.peerId === peerId)
      if (killed !== undefined || victim === undefined || victim === liar) return
      killed = victim
      await victim.kill()
      say(`  x ${victim.name} was killed (SIGKILL) while its container runs`)
    },
  }
  const watched = watch(requester.client, all, (type, fields) => {
    if (fields['jobId'] !== undefined && fields['jobId'] !== id) return
    story.onEvent(type, fields)
    if (type === 'task:accepted' && fields['name'] === 'init') void stage.joinLate()
    const isTraining = type === 'task:progressed' && fields['phase'] === 'running'
    if (isTraining && Number(fields['step'] ?? 0) > 0) void stage.killOne(String(fields['peer']))
  })
  const ended = await jobEnded(requester.client, id, JOB_MS)
  watching.abort()
  await watched
  if (ended.status !== 'succeeded') {
    throw new CtdError(ended.code, `the job ${ended.status}: ${ended.reason}`)
  }
  story.curve(await requester.client.get<JobView>(`/v1/jobs/${id}`))

  const out = join(dir, 'results')
  await exec(process.execPath, [CTD, 'results', id, '--out', out, '--home', requester.home])
  const audit = await runAudit(out, requester.home)
  const split = JSON.parse(await readFile(join(out, 'split.json'), 'utf8')) as Split
  const baselineAccuracy = split.majorityCorrect / split.evalRows
  const containersStarted = counter.stop()
  say('\nTraining the same rows in one plain PyTorch loop, to compare ...')
  const manifest = await requester.client.get<JobView>(`/v1/jobs/${id}`)
  const reference = await trainAlone({
    dataset,
    dir: join(dir, 'reference'),
    model: values.model,
    epochs: Number(values.epochs),
    seed: values.seed,
    signal,
  })
  const receipts = story.summary()
  const outcome: Outcome = {
    status: ended.status,
    accuracy: Number(ended.result?.['accuracy']),
    baselineAccuracy,
    referenceAccuracy: reference.correct / reference.n,
    hash: String(ended.result?.['hash']),
    peers: PEERS,
    tasks: manifest.tasksTotal,
    replicas: receipts.replicas,
    containersStarted,
    dissenters: receipts.dissenters,
    liar: liar.peerId,
    late: (await late)?.peerId ?? '',
    lateAccepted: receipts.accepted.get((await late)?.peerId ?? '') ?? 0,
    killed: killed === undefined ? 0 : 1,
    reassigned: receipts.reassigned,
    audit,
    seed: values.seed,
  }
  assertStory(outcome, receipts, killed)
  story.end(outcome)
  return outcome
}

interface Split {
  readonly majorityCorrect: number
  readonly evalRows: number
}

/** The story is only told when it happened. @throws CtdError DEMO_FAILED */
function assertStory(
  outcome: Outcome,
  receipts: ReturnType<DemoStory['summary']>,
  killed: LocalPeer | undefined,
): void {
  const problems = [
    !outcome.dissenters.includes(outcome.liar) && 'the liar was not caught',
    (receipts.accepted.get(outcome.liar) ?? 0) > receipts.builtinAccepted(outcome.liar) &&
      "the liar's result was accepted",
    outcome.dissenters.some((peer) => peer !== outcome.liar) && 'an honest peer dissented',
    outcome.lateAccepted === 0 && 'the late joiner got no work',
    killed === undefined && 'nobody was killed',
    outcome.reassigned === 0 && "the killed peer's task was not reassigned",
    outcome.containersStarted < receipts.containerReplicas &&
      'the engine started fewer containers than replicas were told',
  ].filter((problem) => problem !== false)
  if (problems.length > 0) throw new CtdError('DEMO_FAILED', problems.join('; '))
}

async function runAudit(out: string, home: string): Promise<string> {
  try {
    const { stdout } = await exec(process.execPath, [CTD, 'audit', out, '--home', home])
    console.error(`\n${stdout.trim()}`)
    return 'ok'
  } catch (error) {
    const { code, stdout } = error as { code?: number; stdout?: string }
    console.error(stdout ?? errorMessage(error))
    return code === 12 ? 'unanchored' : 'failed'
  }
}

/** The given file, or the text of a declaration in twenty languages. */
async function datasetPath(dir: string): Promise<string> {
  const path = join(dir, 'languages.csv')
  if (values.dataset !== undefined) {
    await writeFile(path, await readFile(values.dataset))
    return path
  }
  await exec(process.execPath, ['--import', 'tsx', join(ROOT, 'scripts/dataset.ts'), path], {
    cwd: ROOT,
  })
  return path
}

main().catch((error: unknown) => {
  console.error(`error[${errorCode(error)}]: ${errorMessage(error)}`)
  if (error instanceof CtdError && error.hint !== undefined) console.error(`  hint  ${error.hint}`)
  if (values.json) {
    console.log(
      JSON.stringify({ status: 'failed', code: errorCode(error), reason: errorMessage(error) }),
    )
  }
  process.exitCode = 1
})
