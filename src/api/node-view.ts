/** What people see of this daemon and of the peers it knows. */
import type { BlobStore } from '../blob/blob-store.js'
import type { Pins } from '../blob/pins.js'
import type { ProviderStandings } from '../blob/provider-standing.js'
import type { Config } from '../config.js'
import type { Executor } from '../executor/executor.js'
import type { Hardware } from '../executor/offering.js'
import type { Transport } from '../network/transport.js'
import type { Requester } from '../requester/requester.js'
import type { PeerId } from '../wire/ids.js'
import type { CapabilityBook } from '../witness/capabilities.js'
import type { ReputationBook } from '../witness/reputation-book.js'
import type { JobState, NodeView, PeerView } from './daemon-port.js'

const PPM = 1e6

export interface PeerSources {
  readonly self: PeerId
  readonly capabilities: CapabilityBook
  readonly reputation: ReputationBook
  readonly standings: ProviderStandings
  readonly connected: readonly PeerId[]
}

export function peerViews(sources: PeerSources): PeerView[] {
  const { self, capabilities, reputation, standings, connected } = sources
  const known = [...capabilities.all()].map((record) => record.author)
  return [...new Set([self, ...known, ...connected])].map((peer) => {
    const record = capabilities.get(peer)?.message
    const score = reputation.score(peer)
    return {
      peer,
      self: peer === self,
      connected: connected.includes(peer),
      role: record?.role ?? '',
      agent: record?.agent ?? '',
      hardwareClass: record?.hardwareClass ?? '',
      cpuModel: record?.cpuModel ?? '',
      cpuCores: record?.cpuCores ?? 0,
      cpuGflops: (record?.cpuFlopsMega ?? 0) / 1000,
      ramMiB: record?.ramMib ?? 0,
      gpus: (record?.gpus ?? []).map((gpu) => ({
        name: gpu.name,
        vramMiB: gpu.vramMib,
        gflops: gpu.flopsMega / 1000,
        temperatureC: gpu.temperatureC,
      })),
      benchmarkedMs: record?.issuedMs ?? 0,
      reliability: score.reliabilityPpm / PPM,
      availability: score.availabilityPpm / PPM,
      speed: score.speedPpm / PPM,
      accepted: score.accepted,
      dissents: reputation.explain(peer).evidence.filter(({ kind }) => kind.startsWith('wrong'))
        .length,
      established: score.established,
      excluded: score.excluded,
      serving: standings.get(peer),
    }
  })
}

export interface NodeSources {
  readonly config: Config
  readonly self: PeerId
  readonly startedMs: number
  readonly agent: string
  readonly transport: Pick<Transport, 'addresses' | 'connectedPeers'>
  readonly hardware: Hardware
  readonly executor: Executor
  readonly requester: Requester
  readonly blobs: BlobStore
  readonly pins: Pins
}

export function nodeView(sources: NodeSources): NodeView {
  const { config, transport, hardware, executor, requester } = sources
  const jobs: Record<JobState, number> = {
    pending: 0,
    running: 0,
    succeeded: 0,
    failed: 0,
    cancelled: 0,
  }
  for (const { state } of requester.runners()) jobs[state.status] += 1
  return {
    peer: sources.self,
    role: config.role,
    network: config.network,
    preset: config.preset,
    version: sources.agent,
    addresses: transport.addresses(),
    socket: config.socket,
    home: config.home,
    startedMs: sources.startedMs,
    connectedPeers: transport.connectedPeers().length,
    engine: hardware.engineText,
    executing: executor.executing,
    executed: executor.finished,
    jobs,
    benchmark: hardware.benchmarkText,
    storage: {
      usedBytes: sources.blobs.usedBytes,
      quotaBytes: sources.blobs.quotaBytes,
      pins: sources.pins.list().length,
      rotten: sources.blobs.rotten().length,
    },
  }
}
