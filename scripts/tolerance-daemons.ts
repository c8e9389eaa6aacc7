/**
 * Training with a tolerance on real daemons and the real trainer: executors on unlike code paths
 * agree, and each cheat among them is struck while its job succeeds.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { JobView, PeerView, TaskView, TrainRequest } from '../src/api/daemon-port.js'
import type { Promised } from './faults-show.js'
import { jobEnded, until } from './local-network.js'
import type { LocalNetwork, LocalPeer } from './local-network.js'

const BUILD = join(import.meta.dirname, '../test/builds/unlike.ts')
const READY_MS = 240_000
const JOB_MS = 1200_000
/** Code paths of the honest executors, by which they are called. */
const HONEST = ['avx2', 'default', 'sse'] as const

export interface DaemonsOptions {
  readonly network: LocalNetwork
  readonly dir: string
  readonly cheats: readonly string[]
  readonly say: (text: string) => void
}

export async function playDaemons(options: DaemonsOptions): Promise<readonly Promised[]> {
  const { network, dir, cheats, say } = options
  const dataset = join(dir, 'rows.csv')
  await writeFile(dataset, rows())
  await network.start({ name: 'boot', role: 'bootstrap' })
  const [requester, ...honest] = await Promise.all([
    network.start({ name: 'requester', execute: false }),
    ...HONEST.map((name) => network.start({ name, build: BUILD })),
  ])
  await knows(requester, honest)
  const promises: Promised[] = []
  const promise = (words: string, isSeen: boolean, detail = ''): void => {
    promises.push({ promise: words, isSeen, detail })
  }

  const alike = await train(requester, dataset, 3)
  say(`  unlike machines: ${alike.status}`)
  const fates = fatesOf(alike, honest)
  promise(
    'executors on unlike code paths agree on every round',
    alike.status === 'succeeded' && fates.length > 0 && fates.every(isAllAgreed),
    JSON.stringify(fates),
  )
  for (const name of cheats) {
    const cheat = await network.start({ name, build: BUILD })
    try {
      await knows(requester, [cheat])
      const view = await train(requester, dataset, 4)
      const found = fatesOf(view, [...honest, cheat])
      say(`  ${name}: ${view.status}, ${JSON.stringify(found)}`)
      promise(
        `a cheat that is called ${name} is struck, and its job succeeds`,
        view.status === 'succeeded' &&
          found.some((fate) => fate[name] === 'dissented') &&
          found.every(({ [name]: own, ...others }) => own !== 'agreed' && isAllAgreed(others)),
        `${view.status}: ${JSON.stringify(found)}`,
      )
    } finally {
      await cheat.stop()
    }
  }
  return promises
}

type Fates = Readonly<Record<string, string>>

function isAllAgreed(fates: Fates): boolean {
  return Object.values(fates).every((fate) => fate === 'agreed')
}

/** Of every training task, what became of its executors. */
function fatesOf({ tasks }: JobView, peers: readonly LocalPeer[]): readonly Fates[] {
  const nameOf = (id: string): string => peers.find(({ peerId }) => peerId === id)?.name ?? id
  const trained = tasks.filter(({ name }: TaskView) => name.startsWith('train'))
  return trained.map(({ replicas }) =>
    Object.fromEntries(replicas.map(({ peer, phase }) => [nameOf(peer), phase])),
  )
}

async function train(requester: LocalPeer, dataset: string, replicas: number): Promise<JobView> {
  const request: TrainRequest = {
    kind: 'train',
    model: 'bert-tiny',
    dataset,
    epochs: 4,
    shards: 1,
    rounds: 1,
    maxLength: 24,
    seed: 'tolerance',
    replicas,
    auditPpm: 0,
    compare: { tensors: 'fp32' },
  }
  const { id } = await requester.client.post<{ id: string }>('/v1/jobs', request)
  await jobEnded(requester.client, id, JOB_MS)
  return requester.client.get<JobView>(`/v1/jobs/${id}`)
}

/** Resolves when a daemon is connected to all these and knows what they measured. */
async function knows(peer: LocalPeer, others: readonly LocalPeer[]): Promise<void> {
  await Promise.all(others.map((other) => other.benchmarked()))
  await until(`${peer.name} to know the others`, READY_MS, async () => {
    const views = await peer.client.get<readonly PeerView[]>('/v1/peers')
    const isReady = others.every((other) => {
      const view = views.find((candidate) => candidate.peer === other.peerId)
      return view?.connected === true && view.cpuGflops > 0
    })
    return isReady ? true : undefined
  })
}

/** Three made-up languages of four words each. */
function rows(): string {
  const words = [
    ['lo', 'mi', 'tara', 'sen'],
    ['grok', 'vash', 'zu', 'krim'],
    ['aeo', 'iou', 'eia', 'oae'],
  ]
  const lines = Array.from({ length: 240 }, (_, i) => {
    const own = words[i % 3] ?? []
    const text = [i, i * 7 + 1, i * 3 + 2].map((n) => own[Math.floor(n / 3) % 4])
    return `${text.join(' ')} ${i},${'abc'[i % 3] ?? ''}`
  })
  return `text,label\n${lines.join('\n')}\n`
}
