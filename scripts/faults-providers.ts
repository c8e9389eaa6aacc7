/**
 * A blob is fetched from four providers with equal lines, of which one sends corrupted pieces and
 * one falls silent: how long that takes beside a fetch from two honest ones, who is named, and what
 * becomes of them.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { FetchedView } from '../src/api/blob-port.js'
import type { NodeView, ReputationView, ServingView } from '../src/api/daemon-port.js'
import { logged, megabytes, peakRssBytes, seededBytes, writeBytes } from './faults-show.js'
import type { Promised, Show, ShowOptions } from './faults-show.js'
import { until } from './local-network.js'
import type { LocalPeer } from './local-network.js'

export interface ProvidersShowOptions extends ShowOptions {
  /** Line of each provider, 10^6 bytes a second; rounded to whole MiB. */
  readonly mbps: number
  /** Whether to measure the fetch from two honest providers as well, to compare. */
  readonly isTimed: boolean
}

const ROOT = join(import.meta.dirname, '..')
const MIB = 1024 ** 2
const READY_MS = 60_000
/** What two bad providers of four may cost. */
const SLOWER_MAX = 1.3
const SMALL_BYTES = 4 * MIB
const REFUSED = 'a peer was of no use for a blob'

interface Providers {
  readonly honest: readonly [LocalPeer, LocalPeer]
  readonly corrupter: LocalPeer
  readonly staller: LocalPeer
  readonly fetcher: LocalPeer
}

export async function playProviders(options: ProvidersShowOptions): Promise<Show> {
  const { mib, mbps, say, isTimed } = options
  const uploadMiBps = Math.max(1, Math.round((mbps * 1e6) / MIB))
  const peers = await startPeers(options, uploadMiBps)
  const { honest, corrupter, staller, fetcher } = peers
  say(`  four providers at ${uploadMiBps} MiB/s each, ${mib} MiB to fetch`)
  const promises: Promised[] = []
  const promise = (words: string, isSeen: boolean, detail = ''): void => {
    promises.push({ promise: words, isSeen, detail })
  }

  const [ann, ben] = honest
  const baselines: Timed[] = []
  const fromHonest = async (name: string): Promise<void> => {
    const baseline = await timed(fetcher, await give(options, name, mib * MIB, [ann, ben]))
    say(`  two honest providers:       ${baseline.seconds} s, ${baseline.mbps} MB/s`)
    baselines.push(baseline)
  }
  if (isTimed) await fromHonest('before')

  const all = [ann, ben, corrupter, staller]
  const given = await give(options, 'mixed', mib * MIB, all)
  const before = await servingOf(fetcher, corrupter)
  const mixed = await timed(fetcher, given)
  say(`  one corrupts, one stalls:   ${mixed.seconds} s, ${mixed.mbps} MB/s`)
  promise('the bytes are right', (await hashAt(fetcher, given.digest)) === given.sha256)
  // Before and after, and the better of the two counts: the machine may do other things as well.
  if (isTimed) await fromHonest('after')
  const ratio = mixed.seconds / Math.min(...baselines.map((baseline) => baseline.seconds))
  if (isTimed) {
    promise(
      `the fetch takes at most ${SLOWER_MAX} times as long as from two honest providers`,
      ratio <= SLOWER_MAX,
      ratio.toFixed(2),
    )
  }

  const lines = (await logged(fetcher, REFUSED)).filter(({ digest }) => digest === given.digest)
  const named = (peer: LocalPeer): readonly Record<string, unknown>[] =>
    lines.filter((line) => line['peer'] === peer.peerId)
  const [lie] = named(corrupter)
  promise(
    'the log names the corrupter and why',
    lie?.['fault'] === 'corrupt',
    String(lie?.['reason'] ?? 'it is not named'),
  )
  const [pause] = named(staller)
  promise(
    'the log names the staller and why',
    pause?.['fault'] === 'slow' || pause?.['fault'] === 'stalled',
    String(pause?.['reason'] ?? 'it is not named'),
  )
  promise(
    'no honest provider is named',
    honest.every((peer) => named(peer).length === 0),
  )

  const serving = {
    corrupter: await servingOf(fetcher, corrupter),
    staller: await servingOf(fetcher, staller),
    honest: await Promise.all(honest.map((peer) => servingOf(fetcher, peer))),
  }
  promise(
    'the corrupter loses standing, the honest ones keep theirs',
    before.standing === 1 &&
      serving.corrupter.standing < 0.2 &&
      serving.honest.every(({ standing }) => standing === 1),
    `${before.standing} → ${serving.corrupter.standing.toFixed(2)}`,
  )
  const small = await give(options, 'small', SMALL_BYTES, [corrupter, ann])
  const after = await timed(fetcher, small)
  const asked = (await logged(fetcher, REFUSED)).filter(({ digest }) => digest === small.digest)
  const shares = after.view.peers.filter(({ bytes }) => bytes > 0).map(({ peer }) => peer)
  promise(
    'the corrupter is asked for nothing more',
    shares.length === 1 &&
      shares[0] === ann.peerId &&
      !asked.some((line) => line['peer'] === corrupter.peerId),
  )

  const figures = {
    bytes: mib * MIB,
    uploadMiBps,
    baselines: baselines.map((baseline) => ({ seconds: baseline.seconds, mbps: baseline.mbps })),
    mixed: { seconds: mixed.seconds, mbps: mixed.mbps },
    ratio: isTimed ? Math.round(ratio * 1000) / 1000 : null,
    shares: mixed.view.peers,
    named: lines,
    serving,
    fetcherPeakRssMb: megabytes(await peakRssBytes(fetcher)),
  }
  return { promises, figures }
}

async function startPeers(
  { network, mib }: ProvidersShowOptions,
  uploadMiBps: number,
): Promise<Providers> {
  const config = { diskMiB: 4 * mib + 1024 }
  const fetcher = await network.start({ name: 'fetcher', execute: false, config })
  const bootstrap = fetcher.node?.addresses.slice(0, 1) ?? []
  const provider = (name: string, build?: string): Promise<LocalPeer> =>
    network.start({
      ...{ name, execute: false, bootstrap, config: { ...config, uploadMiBps } },
      ...(build !== undefined && { build: join(ROOT, 'test/builds', `${build}.ts`) }),
    })
  const [ann, ben, corrupter, staller] = await Promise.all([
    provider('ann'),
    provider('ben'),
    provider('corrupter', 'corrupter'),
    provider('staller', 'staller'),
  ])
  await until('the fetcher to meet all', READY_MS, async () => {
    const { connectedPeers } = await fetcher.client.get<NodeView>('/v1/node')
    return connectedPeers >= 4 ? true : undefined
  })
  return { honest: [ann, ben], corrupter, staller, fetcher }
}

interface Given {
  readonly digest: string
  readonly sha256: string
}

/** Writes a file once and has each of the holders take it in by a link. */
async function give(
  { dir, seed, signal }: ProvidersShowOptions,
  name: string,
  bytes: number,
  holders: readonly LocalPeer[],
): Promise<Given> {
  const path = join(dir, `${name}.bin`)
  const sha256 = await writeBytes(path, seededBytes(`${seed}/${name}`, bytes), signal)
  let digest = ''
  for (const { client } of holders) {
    const added = await client.post<{ digest: string }>('/v1/blobs/link', { path }, signal)
    digest = added.digest
  }
  return { digest, sha256 }
}

interface Timed {
  readonly seconds: number
  readonly mbps: number
  readonly view: FetchedView
}

async function timed({ client }: LocalPeer, { digest }: Given): Promise<Timed> {
  const startedMs = performance.now()
  const never = new AbortController().signal
  const view = await client.work<unknown, FetchedView>(
    `/v1/blobs/${digest}/fetch`,
    {},
    () => undefined,
    never,
  )
  const seconds = (performance.now() - startedMs) / 1000
  const mbps = Math.round(view.fetchedBytes / seconds / 1e5) / 10
  return { seconds: Math.round(seconds * 100) / 100, mbps, view }
}

async function hashAt({ client }: LocalPeer, digest: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of await client.download(`/v1/blobs/${digest}/bytes`)) {
    hash.update(chunk as Buffer)
  }
  return hash.digest('hex')
}

/** What the fetcher thinks of a provider, as its owner reads it. */
async function servingOf({ client }: LocalPeer, { peerId }: LocalPeer): Promise<ServingView> {
  return (await client.get<ReputationView>(`/v1/peers/${peerId}/reputation`)).serving
}
