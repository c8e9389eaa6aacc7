/** Our daemons in the bench of bytes, as users run them, asked over their sockets. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { AddedView, BlobView, FetchedView } from '../src/api/blob-port.js'
import type { NodeView } from '../src/api/daemon-port.js'
import { CtdError, errorCode } from '../src/errors.js'
import { assertCopies, measured } from './bench-bytes-sample.js'
import type { ByteSystem, Sample, Task } from './bench-bytes-sample.js'
import { LocalNetwork, until } from './local-network.js'
import type { LocalPeer } from './local-network.js'
import { cpuSecondsOf } from './process-figures.js'

const MEET_MS = 60_000
/** At rest is below this share of a core each, over this time; not waited for longer than. */
const AT_REST = 0.03
const REST_MS = 1000
const SETTLE_MS = 20_000
/** Daemons look for no more peers than these; `minConnections` of the preset. */
const PEERS_SOUGHT = 8

export const OURS: ByteSystem = {
  name: 'ours',
  title: 'ctd daemons',
  prepare: async () => undefined,
  sizeFor: (_, mib) => mib,
  copy,
}

async function copy(task: Task): Promise<Sample> {
  const { pattern, path, dir, signal } = task
  const homes = join(dir, 'd')
  await mkdir(homes)
  const network = new LocalNetwork({ dir: homes, network: 'bench-bytes' })
  try {
    const first = await network.start({ name: 'b', role: 'bootstrap', execute: false })
    const providers = await startSome(network, 'p', pattern.providers, [addressOf(first)])
    const added = await Promise.all(
      providers.map(({ client }) => client.post<AddedView>('/v1/blobs/link', { path }, signal)),
    )
    const digest = added[0]?.digest ?? ''
    if (pattern.byDht) await Promise.all(providers.map((peer) => announce(peer, digest)))
    const known = pattern.byDht ? [first] : providers
    const fetchers = await startSome(network, 'f', pattern.fetchers, known.map(addressOf))
    const others = pattern.byDht ? 1 : network.peers.length - 1
    await Promise.all(fetchers.map((peer) => meet(peer, others)))
    await settled(network.peers)
    const sample = await measured(
      { providers: pidsOf(providers), fetchers: pidsOf(fetchers) },
      async () => {
        const asked = fetchers.map((peer, i) => {
          if (pattern.byDht) return fetchFound(peer, digest, task)
          return fetchFrom(peer, digest, { task, from: providers[i % providers.length] })
        })
        return Math.max(...(await Promise.all(asked)))
      },
    )
    await assertCopies(
      task,
      fetchers.map(({ home }) => join(home, 'blobs', digest.slice(0, 2), digest)),
    )
    return sample
  } finally {
    await network.stop()
  }
}

function startSome(
  network: LocalNetwork,
  prefix: string,
  count: number,
  bootstrap: readonly string[],
): Promise<LocalPeer[]> {
  return Promise.all(
    Array.from({ length: count }, (_, i) =>
      network.start({ name: `${prefix}${i}`, execute: false, bootstrap }),
    ),
  )
}

/** Tells the DHT, and waits until another peer has the record. */
async function announce({ client }: LocalPeer, digest: string): Promise<void> {
  await client.put(`/v1/blobs/${digest}/pin`, {})
  await until('the DHT to know the provider', MEET_MS, async () => {
    const { isProvided } = await client.get<BlobView>(`/v1/blobs/${digest}`)
    return isProvided || undefined
  })
}

async function meet({ client }: LocalPeer, others: number): Promise<void> {
  const wanted = Math.min(PEERS_SOUGHT, others)
  await until('the daemons to meet', MEET_MS, async () => {
    const { connectedPeers } = await client.get<NodeView>('/v1/node')
    return connectedPeers >= wanted || undefined
  })
}

/**
 * Daemons that have just met tell each other what they know, for some seconds. Waits until they
 * are at rest, as daemons are that have run for a while, or until it has waited long enough.
 */
async function settled(peers: readonly LocalPeer[]): Promise<void> {
  const cpuOf = async (): Promise<number> =>
    (await Promise.all(pidsOf(peers).map(cpuSecondsOf))).reduce((sum, each) => sum + each, 0)
  const sinceMs = performance.now()
  for (let before = await cpuOf(); performance.now() - sinceMs < SETTLE_MS;) {
    await new Promise((resolve) => setTimeout(resolve, REST_MS))
    const after = await cpuOf()
    if (after - before < (peers.length * AT_REST * REST_MS) / 1000) return
    before = after
  }
}

/** @returns how long it took, milliseconds */
async function fetchFrom(
  { client }: LocalPeer,
  digest: string,
  { task, from }: { readonly task: Task; readonly from?: LocalPeer | undefined },
): Promise<number> {
  const sinceMs = performance.now()
  const path = `/v1/blobs/${digest}/fetch`
  const body = from === undefined ? {} : { from: from.peerId }
  const ignore = (): void => {}
  const fetched = await client.work<unknown, FetchedView>(path, body, ignore, task.signal)
  if (fetched.fetchedBytes === task.sizeBytes) return performance.now() - sinceMs
  throw new CtdError('WRONG_BYTES', `${fetched.fetchedBytes} bytes were fetched`)
}

/** Asks until the DHT, which the daemon has just joined, knows a provider; the last ask counts. */
function fetchFound(peer: LocalPeer, digest: string, task: Task): Promise<number> {
  return until('the DHT to find the provider', MEET_MS, () =>
    fetchFrom(peer, digest, { task }).catch((error: unknown) => {
      if (errorCode(error) === 'BLOB_UNAVAILABLE') return undefined
      throw error
    }),
  )
}

function addressOf(peer: LocalPeer): string {
  return peer.node?.addresses[0] ?? ''
}

function pidsOf(peers: readonly LocalPeer[]): number[] {
  return peers.map(({ process }) => process.pid ?? 0)
}
