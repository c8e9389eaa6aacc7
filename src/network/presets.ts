/**
 * Three surroundings of a daemon: many on one machine (`local`), one site (`lan`), the open
 * Internet (`public`). They differ in how many strangers may come from one address, and in
 * whether private addresses are worth passing on.
 */
import { passthroughMapper, removePrivateAddressesMapper } from '@libp2p/kad-dht'
import type { PeerInfo } from '@libp2p/interface'

export type NetworkPresetName = 'local' | 'lan' | 'public'

export interface NetworkPreset {
  readonly maxConnections: number
  readonly maxInboundConnections: number
  /** Connections that one IP address, and one `/24` or `/48`, may hold with us. */
  readonly maxConnectionsPerIp: number
  readonly maxConnectionsPerPrefix: number
  readonly maxIncomingPendingConnections: number
  /** Inbound connections accepted per second and address. */
  readonly inboundConnectionThreshold: number
  /** Below this many connected peers we dial known peers. */
  readonly minConnections: number
  readonly requestsPerSecondPerPeer: number
  readonly ipColocationWeight: number
  readonly ipColocationThreshold: number
  readonly dialPrivateAddresses: boolean
  /** `undefined` lets kad-dht serve as soon as it sees a public address of its own. */
  readonly dhtClientMode: boolean | undefined
  readonly peerInfoMapper: (peer: PeerInfo) => PeerInfo
}

const LOCAL: NetworkPreset = {
  maxConnections: 512,
  maxInboundConnections: 512,
  maxConnectionsPerIp: 512,
  maxConnectionsPerPrefix: 512,
  maxIncomingPendingConnections: 1000,
  inboundConnectionThreshold: 1e9,
  minConnections: 8,
  requestsPerSecondPerPeer: 1000,
  ipColocationWeight: 0,
  ipColocationThreshold: 1000,
  dialPrivateAddresses: true,
  dhtClientMode: false,
  peerInfoMapper: passthroughMapper,
}

const LAN: NetworkPreset = {
  ...LOCAL,
  maxConnections: 128,
  maxInboundConnections: 100,
  maxConnectionsPerIp: 32,
  maxConnectionsPerPrefix: 128,
  maxIncomingPendingConnections: 64,
  inboundConnectionThreshold: 50,
  requestsPerSecondPerPeer: 100,
}

const PUBLIC: NetworkPreset = {
  maxConnections: 128,
  maxInboundConnections: 80,
  maxConnectionsPerIp: 4,
  maxConnectionsPerPrefix: 8,
  maxIncomingPendingConnections: 10,
  inboundConnectionThreshold: 5,
  minConnections: 8,
  requestsPerSecondPerPeer: 20,
  ipColocationWeight: -5,
  ipColocationThreshold: 4,
  dialPrivateAddresses: false,
  dhtClientMode: undefined,
  peerInfoMapper: removePrivateAddressesMapper,
}

export const NETWORK_PRESETS: Readonly<Record<NetworkPresetName, NetworkPreset>> = {
  local: LOCAL,
  lan: LAN,
  public: PUBLIC,
}

/**
 * The most a peer may send on one stream before we read. The default of 16 MiB would let one
 * connection make us hold 16 MiB times its streams, and would overrun the 4 MiB that a paused
 * stream may keep.
 */
export const YAMUX_WINDOW_BYTES = 2 * 1024 * 1024
