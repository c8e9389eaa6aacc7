/**
 * Builds the libp2p node: which transports, limits and services, and who may connect.
 */
import './polyfill.js'
import { createLibp2p } from 'libp2p'
import { bootstrap } from '@libp2p/bootstrap'
import { gossipsub } from '@libp2p/gossipsub'
import type { GossipSub } from '@libp2p/gossipsub'
import { identify, identifyPush } from '@libp2p/identify'
import type { Identify } from '@libp2p/identify'
import { KEEP_ALIVE } from '@libp2p/interface'
import type { ConnectionGater, Ed25519PrivateKey, Libp2p } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import type { Ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { ipOf, isPrivateIp, parseAddress, prefixOfIp } from './address.js'
import { createBoundedDatastore } from './bounded-datastore.js'
import type { NetworkDatastore } from './bounded-datastore.js'
import { dhtService } from './dht.js'
import type { RecordRules } from './dht.js'
import { gossipOptions } from './gossip-options.js'
import { NETWORK_LIMITS } from './limits.js'
import { YAMUX_WINDOW_BYTES } from './presets.js'
import type { NetworkPreset, NetworkPresetName } from './presets.js'

const DAY_MS = 24 * 60 * 60 * 1000

export interface Libp2pTransportOptions {
  /** Seed of the Ed25519 identity, 32 bytes. */
  readonly seed: Uint8Array
  /** All topics that may ever be subscribed or published; others are refused from peers too. */
  readonly topics: readonly string[]
  readonly records: RecordRules
  readonly preset: NetworkPresetName
  /** Multiaddrs to listen on, such as `/ip4/0.0.0.0/tcp/4701`; port 0 picks one. */
  readonly listen: readonly string[]
  /** Multiaddrs to announce instead of those listened on. */
  readonly announce?: readonly string[]
  /** Multiaddrs of well-known peers, each ending in `/p2p/<id>`. */
  readonly bootstrap?: readonly string[]
  /** In memory where absent. */
  readonly datastore?: NetworkDatastore
  /** Told of failures that concern nobody in particular, such as a handler that threw. */
  readonly onWarning?: (code: string, error: unknown) => void
  /** Told how many bytes come or go over streams of blobs, as they do. */
  readonly onBytes?: (count: number) => void
}

interface Services extends Record<string, unknown> {
  identify: Identify
  ping: Ping
  pubsub: GossipSub
  dht: KadDHT
}

export type NetworkNode = Libp2p<Services>

/** A node that has not been started. */
export async function createNode(
  options: Libp2pTransportOptions,
  preset: NetworkPreset,
  privateKey: Ed25519PrivateKey,
): Promise<NetworkNode> {
  const { announce, listen, topics, records } = options
  const datastore = options.datastore && (await createBoundedDatastore(options.datastore))
  const bootstrapList = [...(options.bootstrap ?? [])]
  const gate = createGate(options, preset)
  const node: NetworkNode = await createLibp2p<Services>({
    privateKey,
    ...(datastore === undefined ? {} : { datastore }),
    start: false,
    addresses: { listen: [...listen], ...(announce ? { announce: [...announce] } : {}) },
    transports: [tcp({ maxConnections: preset.maxConnections + 32 })],
    connectionEncrypters: [noise()],
    streamMuxers: [
      yamux({
        maxInboundStreams: 128,
        maxOutboundStreams: 256,
        streamOptions: { maxStreamWindowSize: YAMUX_WINDOW_BYTES },
      }),
    ],
    connectionGater: gate.gater,
    connectionManager: {
      maxConnections: preset.maxConnections,
      maxIncomingPendingConnections: preset.maxIncomingPendingConnections,
      inboundConnectionThreshold: preset.inboundConnectionThreshold,
      maxParallelDials: 16,
      maxDialQueueLength: 256,
      maxPeerAddrsToDial: 8,
      dialTimeout: NETWORK_LIMITS.dialMs,
    },
    // A ping that is late because the peer is busy must not end a transfer; see `PeerPulse`.
    connectionMonitor: { enabled: false, abortConnectionOnPingFailure: false },
    // The defaults forget a peer in an hour, so nobody would be left to dial after a night off.
    peerStore: { maxAddressAge: 30 * DAY_MS, maxPeerAge: 30 * DAY_MS },
    peerDiscovery:
      bootstrapList.length === 0
        ? []
        : [
            bootstrap({
              list: bootstrapList,
              timeout: 0,
              tagName: `${KEEP_ALIVE}-ctd-bootstrap`,
            }),
          ],
    services: {
      identify: identify(),
      identifyPush: identifyPush(),
      ping: ping(),
      pubsub: gossipsub(gossipOptions(topics, preset)),
      dht: dhtService(records, preset),
    },
  })
  gate.node = node
  return node
}

interface Gate {
  readonly gater: ConnectionGater
  /** Known only after the gate was handed to it. */
  node?: NetworkNode
}

/** Quotas per address and prefix, and no dialling of private addresses on the open Internet. */
function createGate(options: Libp2pTransportOptions, preset: NetworkPreset): Gate {
  const trusted = new Set((options.bootstrap ?? []).map((text) => ipOf(parseAddress(text))))
  const gate: Gate = {
    gater: {
      denyDialMultiaddr: (address) => {
        const ip = ipOf(address)
        return !preset.dialPrivateAddresses && isPrivateIp(ip) && !trusted.has(ip)
      },
      denyInboundConnection: ({ remoteAddr }) => {
        const others = gate.node?.getConnections() ?? []
        const inbound = others.filter(({ direction }) => direction === 'inbound')
        if (inbound.length >= preset.maxInboundConnections) return true
        return exceedsQuota(
          ipOf(remoteAddr),
          others.map((other) => ipOf(other.remoteAddr)),
          preset,
        )
      },
    },
  }
  return gate
}

/** Whether one more connection from `ip` is too many beside those from `others`. */
export function exceedsQuota(
  ip: string,
  others: readonly string[],
  quota: Pick<NetworkPreset, 'maxConnectionsPerIp' | 'maxConnectionsPerPrefix'>,
): boolean {
  const prefix = prefixOfIp(ip)
  return (
    others.filter((other) => other === ip).length >= quota.maxConnectionsPerIp ||
    others.filter((other) => prefixOfIp(other) === prefix).length >= quota.maxConnectionsPerPrefix
  )
}
