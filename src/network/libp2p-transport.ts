/**
 * `Transport` over libp2p: TCP, Noise (nothing unencrypted is spoken), yamux, gossipsub and our
 * own Kademlia network. The only room that imports libp2p.
 */
import './polyfill.js'
import { createLibp2p } from 'libp2p'
import { bootstrap } from '@libp2p/bootstrap'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { gossipsub, TopicValidatorResult } from '@libp2p/gossipsub'
import type { GossipSub } from '@libp2p/gossipsub'
import { identify, identifyPush } from '@libp2p/identify'
import type { Identify } from '@libp2p/identify'
import { KEEP_ALIVE } from '@libp2p/interface'
import type {
  Connection,
  ConnectionGater,
  Ed25519PrivateKey,
  Libp2p,
  PeerId as Libp2pPeerId,
  Stream,
} from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import type { Ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { CtdError, InvariantError, errorMessage } from '../errors.js'
import { parsePeerId, peerIdFromPublicKey } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { ipOf, isPrivateIp, prefixOfIp } from './address.js'
import { createByteStream } from './byte-stream.js'
import { CONTROL_PROTOCOL, answerOver, askOver } from './control-protocol.js'
import {
  dhtService,
  findBlobProviders,
  getRecord,
  provideBlob,
  putRecord,
  walkPeers,
} from './dht.js'
import type { RecordRules } from './dht.js'
import { gossipOptions } from './gossip-options.js'
import { NETWORK_LIMITS } from './limits.js'
import { PeerKeeper } from './peer-keeper.js'
import { NETWORK_PRESETS, YAMUX_WINDOW_BYTES } from './presets.js'
import type { NetworkPreset, NetworkPresetName } from './presets.js'
import { TokenBuckets } from './token-buckets.js'
import type {
  ByteStream,
  GossipHandler,
  PeerEvent,
  RequestHandler,
  StreamHandler,
  Transport,
} from './transport.js'

export const BLOB_PROTOCOL = '/ctd/1/blob'
const DAY_MS = 24 * 60 * 60 * 1000

/** Where libp2p keeps peers and DHT records: any `interface-datastore`, opened by the caller. */
export type NetworkDatastore = NonNullable<
  NonNullable<Parameters<typeof createLibp2p>[0]>['datastore']
>

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
}

interface Services extends Record<string, unknown> {
  identify: Identify
  ping: Ping
  pubsub: GossipSub
  dht: KadDHT
}
type Node = Libp2p<Services>

/** Builds a stopped transport. @throws CtdError BAD_KEY, BAD_ADDRESS */
export async function createLibp2pTransport(options: Libp2pTransportOptions): Promise<Transport> {
  if (options.seed.length !== 32) throw new CtdError('BAD_KEY', 'a key seed has 32 bytes')
  for (const address of options.bootstrap ?? []) peerIdInAddress(address)
  const key = await generateKeyPairFromSeed('Ed25519', options.seed)
  return new Libp2pTransport(options, key)
}

class Libp2pTransport implements Transport {
  readonly self: PeerId
  readonly #options: Libp2pTransportOptions
  readonly #preset: NetworkPreset
  readonly #privateKey: Ed25519PrivateKey
  readonly #keeper: PeerKeeper
  readonly #topics: ReadonlySet<string>
  readonly #gossipHandlers = new Map<string, GossipHandler>()
  readonly #peerHandlers: ((event: PeerEvent) => void)[] = []
  readonly #requestBuckets: TokenBuckets
  #requestHandler: RequestHandler | undefined
  #streamHandler: StreamHandler | undefined
  #requestsInFlight = 0
  #streamsInFlight = 0
  #validationsPending = 0
  #node: Node | undefined
  #stopping = new AbortController()

  constructor(options: Libp2pTransportOptions, privateKey: Ed25519PrivateKey) {
    this.#options = options
    this.#preset = NETWORK_PRESETS[options.preset]
    this.#privateKey = privateKey
    this.#topics = new Set(options.topics)
    this.self = peerIdFromPublicKey(privateKey.publicKey.raw)
    const perSecond = this.#preset.requestsPerSecondPerPeer
    this.#requestBuckets = new TokenBuckets({ perSecond, burst: 4 * perSecond })
    this.#keeper = new PeerKeeper(
      {
        connectedCount: () => this.#node?.getPeers().length ?? 0,
        candidates: () => this.#dialCandidates(),
        dial: (target, signal) => this.dial(target, signal),
      },
      { minConnections: this.#preset.minConnections },
    )
  }

  async start(): Promise<void> {
    if (this.#node !== undefined) return
    this.#stopping = new AbortController()
    const node = await this.#createNode().catch((error: unknown) => {
      throw new CtdError('LISTEN_FAILED', `cannot start the network: ${errorMessage(error)}`, {
        hint: 'check that the listen addresses are valid and their ports are free',
        cause: error,
      })
    })
    this.#node = node
    node.addEventListener('peer:connect', ({ detail }) => this.#onPeerChange(detail, 'connected'))
    node.addEventListener('peer:disconnect', ({ detail }) =>
      this.#onPeerChange(detail, 'disconnected'),
    )
    for (const topic of this.#gossipHandlers.keys()) this.#join(node, topic)
    this.#keeper.start()
  }

  async stop(): Promise<void> {
    const node = this.#node
    if (node === undefined) return
    this.#stopping.abort()
    await this.#keeper.stop()
    this.#node = undefined
    await node.stop()
  }

  addresses(): readonly string[] {
    return (this.#node?.getMultiaddrs() ?? []).map((address) => address.toString())
  }

  subscribe(topic: string, onMessage: GossipHandler): void {
    this.#assertTopic(topic)
    if (this.#gossipHandlers.has(topic)) throw new InvariantError(`subscribed twice: ${topic}`)
    this.#gossipHandlers.set(topic, onMessage)
    if (this.#node !== undefined) this.#join(this.#node, topic)
  }

  async publish(topic: string, bytes: Uint8Array): Promise<void> {
    this.#assertTopic(topic)
    assertSize('a gossip message', bytes, NETWORK_LIMITS.gossipMessageBytes)
    await this.#running().services.pubsub.publish(topic, bytes)
  }

  async request(peer: PeerId, bytes: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    assertSize('a request', bytes, NETWORK_LIMITS.requestBytes)
    const limit = this.#limited(signal, NETWORK_LIMITS.requestMs)
    try {
      const stream = await this.#openProtocol(peer, CONTROL_PROTOCOL, limit)
      return await askOver(stream, bytes, limit)
    } catch (error) {
      throw unreachable(peer, error)
    }
  }

  onRequest(handler: RequestHandler): void {
    this.#requestHandler = handler
  }

  async openStream(peer: PeerId, signal: AbortSignal): Promise<ByteStream> {
    try {
      const limit = this.#limited(signal, NETWORK_LIMITS.dialMs)
      return createByteStream(await this.#openProtocol(peer, BLOB_PROTOCOL, limit))
    } catch (error) {
      throw unreachable(peer, error)
    }
  }

  onStream(handler: StreamHandler): void {
    this.#streamHandler = handler
  }

  connectedPeers(): readonly PeerId[] {
    const peers = this.#node?.getPeers() ?? []
    return peers.flatMap((peer) => toPeerId(peer) ?? [])
  }

  onPeer(handler: (event: PeerEvent) => void): void {
    this.#peerHandlers.push(handler)
  }

  async dial(addressOrPeer: string, signal: AbortSignal): Promise<PeerId> {
    const target = addressOrPeer.startsWith('/')
      ? parseAddress(addressOrPeer)
      : peerIdFromString(parsePeerId(addressOrPeer))
    try {
      const connection = await this.#running().dial(target, {
        signal: this.#limited(signal, NETWORK_LIMITS.dialMs),
      })
      return parsePeerId(connection.remotePeer.toString())
    } catch (error) {
      throw unreachable(addressOrPeer, error)
    }
  }

  prefixOf(peer: PeerId): string {
    const [connection] = this.#node?.getConnections(peerIdFromString(peer)) ?? []
    return connection === undefined ? '' : prefixOfIp(ipOf(connection.remoteAddr))
  }

  dhtPut(key: string, value: Uint8Array, signal: AbortSignal): Promise<number> {
    const limit = this.#limited(signal)
    return putRecord(this.#running(), { key, value }, this.#options.records, limit)
  }

  dhtGet(
    key: string,
    pick: (values: readonly Uint8Array[]) => Uint8Array | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    return getRecord(this.#running(), key, pick, this.#limited(signal))
  }

  async dhtPeers(signal: AbortSignal): Promise<readonly PeerId[]> {
    const walked = await walkPeers(this.#running(), this.#limited(signal))
    return [...new Set([...this.connectedPeers(), ...walked])]
  }

  provide(digest: Digest, signal: AbortSignal): Promise<void> {
    return provideBlob(this.#running(), digest, this.#limited(signal))
  }

  findProviders(digest: Digest, signal: AbortSignal): Promise<readonly PeerId[]> {
    return findBlobProviders(this.#running(), digest, this.#limited(signal))
  }

  #running(): Node {
    if (this.#node !== undefined) return this.#node
    throw new CtdError('NETWORK_STOPPED', 'the network is not running')
  }

  /** The caller's signal, the stop of the transport and, if given, a deadline in one. */
  #limited(signal: AbortSignal, ms?: number): AbortSignal {
    const signals = [signal, this.#stopping.signal]
    if (ms !== undefined) signals.push(AbortSignal.timeout(ms))
    return AbortSignal.any(signals)
  }

  #assertTopic(topic: string): void {
    if (this.#topics.has(topic)) return
    throw new CtdError('UNKNOWN_TOPIC', `not a topic of this network: ${topic.slice(0, 80)}`)
  }

  #warn(code: string, error: unknown): void {
    this.#options.onWarning?.(code, error)
  }

  #openProtocol(peer: PeerId, protocol: string, signal: AbortSignal): Promise<Stream> {
    return this.#running().dialProtocol(peerIdFromString(peer), protocol, { signal })
  }

  #onPeerChange(id: Libp2pPeerId, kind: PeerEvent['kind']): void {
    const peer = toPeerId(id)
    if (peer !== undefined) {
      for (const handler of this.#peerHandlers) {
        try {
          handler({ peer, kind })
        } catch (error) {
          this.#warn('PEER_HANDLER_FAILED', error)
        }
      }
    }
    if (kind === 'disconnected') this.#keeper.onDisconnected()
  }

  /** Bootstrap addresses and remembered peers that are not connected, in random order. */
  async #dialCandidates(): Promise<readonly string[]> {
    const node = this.#running()
    const connected = new Set(node.getPeers().map(String))
    const wanted = new Map<string, string>()
    for (const address of this.#options.bootstrap ?? []) {
      wanted.set(peerIdInAddress(address), address)
    }
    for (const peer of await node.peerStore.all({ limit: NETWORK_LIMITS.knownPeers })) {
      const id = peer.id.toString()
      if (peer.addresses.length > 0 && !wanted.has(id)) wanted.set(id, id)
    }
    wanted.delete(this.self)
    for (const id of connected) wanted.delete(id)
    return shuffled([...wanted.values()])
  }

  #join(node: Node, topic: string): void {
    node.services.pubsub.topicValidators.set(topic, (from, message) =>
      this.#judge(topic, message.data, from),
    )
    node.services.pubsub.subscribe(topic)
  }

  async #judge(
    topic: string,
    bytes: Uint8Array,
    from: Libp2pPeerId,
  ): Promise<TopicValidatorResult> {
    const handler = this.#gossipHandlers.get(topic)
    const peer = toPeerId(from)
    if (handler === undefined || peer === undefined) return TopicValidatorResult.Ignore
    if (bytes.length > NETWORK_LIMITS.gossipMessageBytes) return TopicValidatorResult.Reject
    if (this.#validationsPending >= NETWORK_LIMITS.gossipPendingValidations) {
      return TopicValidatorResult.Ignore
    }
    this.#validationsPending += 1
    try {
      const verdict = await within(handler(bytes, peer), NETWORK_LIMITS.gossipValidationMs)
      if (verdict === 'accept') return TopicValidatorResult.Accept
      return verdict === 'reject' ? TopicValidatorResult.Reject : TopicValidatorResult.Ignore
    } catch (error) {
      this.#warn('GOSSIP_HANDLER_FAILED', error)
      return TopicValidatorResult.Ignore
    } finally {
      this.#validationsPending -= 1
    }
  }

  async #onControlStream(stream: Stream, connection: Connection): Promise<void> {
    const handler = this.#requestHandler
    const peer = toPeerId(connection.remotePeer)
    const busy = this.#requestsInFlight >= NETWORK_LIMITS.requestsInFlight
    if (handler === undefined || peer === undefined || busy || !this.#requestBuckets.take(peer)) {
      return stream.abort(new Error('not serving this request'))
    }
    this.#requestsInFlight += 1
    try {
      const limit = AbortSignal.any([
        this.#stopping.signal,
        AbortSignal.timeout(NETWORK_LIMITS.requestMs),
      ])
      await answerOver(stream, (bytes) => handler(bytes, peer), limit)
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
      this.#warn('REQUEST_FAILED', error)
    } finally {
      this.#requestsInFlight -= 1
    }
  }

  async #onBlobStream(stream: Stream, connection: Connection): Promise<void> {
    const handler = this.#streamHandler
    const peer = toPeerId(connection.remotePeer)
    const busy = this.#streamsInFlight >= NETWORK_LIMITS.streamsInFlight
    if (handler === undefined || peer === undefined || busy) {
      return stream.abort(new Error('not serving this stream'))
    }
    this.#streamsInFlight += 1
    const bytes = createByteStream(stream)
    try {
      await handler(bytes, peer)
      await bytes.close()
    } catch (error) {
      bytes.abort(error instanceof Error ? error : new Error(String(error)))
    } finally {
      this.#streamsInFlight -= 1
    }
  }

  async #createNode(): Promise<Node> {
    const { datastore, announce, listen, topics, records } = this.#options
    const preset = this.#preset
    const bootstrapList = [...(this.#options.bootstrap ?? [])]
    const node: Node = await createLibp2p<Services>({
      privateKey: this.#privateKey,
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
      connectionGater: this.#gater(),
      connectionManager: {
        maxConnections: preset.maxConnections,
        maxIncomingPendingConnections: preset.maxIncomingPendingConnections,
        inboundConnectionThreshold: preset.inboundConnectionThreshold,
        maxParallelDials: 16,
        maxDialQueueLength: 256,
        maxPeerAddrsToDial: 8,
        dialTimeout: NETWORK_LIMITS.dialMs,
      },
      // A ping that is late because the peer is busy must not end a transfer.
      connectionMonitor: { abortConnectionOnPingFailure: false, pingInterval: 60_000 },
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
    await node.handle(
      CONTROL_PROTOCOL,
      (stream, connection) => this.#onControlStream(stream, connection),
      { maxInboundStreams: 16, maxOutboundStreams: 32 },
    )
    await node.handle(
      BLOB_PROTOCOL,
      (stream, connection) => this.#onBlobStream(stream, connection),
      { maxInboundStreams: 8, maxOutboundStreams: 16 },
    )
    await node.start()
    return node
  }

  /** Quotas per address and prefix, and no dialling of private addresses on the open Internet. */
  #gater(): ConnectionGater {
    const preset = this.#preset
    const trusted = new Set((this.#options.bootstrap ?? []).map((text) => ipOf(multiaddr(text))))
    return {
      denyDialMultiaddr: (address) => {
        const ip = ipOf(address)
        return !preset.dialPrivateAddresses && isPrivateIp(ip) && !trusted.has(ip)
      },
      denyInboundConnection: ({ remoteAddr }) => {
        const ip = ipOf(remoteAddr)
        const prefix = prefixOfIp(ip)
        const others = this.#node?.getConnections() ?? []
        const ips = others.map((other) => ipOf(other.remoteAddr))
        return (
          others.filter((other) => other.direction === 'inbound').length >=
            preset.maxInboundConnections ||
          ips.filter((other) => other === ip).length >= preset.maxConnectionsPerIp ||
          ips.filter((other) => prefixOfIp(other) === prefix).length >=
            preset.maxConnectionsPerPrefix
        )
      },
    }
  }
}

function toPeerId(peer: Libp2pPeerId): PeerId | undefined {
  try {
    return parsePeerId(peer.toString())
  } catch {
    // Only Ed25519 identities take part.
    return undefined
  }
}

function parseAddress(text: string): ReturnType<typeof multiaddr> {
  try {
    return multiaddr(text)
  } catch (error) {
    throw new CtdError('BAD_ADDRESS', `not a multiaddr: ${text.slice(0, 120)}`, {
      hint: 'write it as /ip4/203.0.113.5/tcp/4701/p2p/12D3Koo…',
      cause: error,
    })
  }
}

function peerIdInAddress(text: string): PeerId {
  const id = parseAddress(text)
    .getComponents()
    .findLast(({ name }) => name === 'p2p')?.value
  if (id !== undefined) return parsePeerId(id)
  throw new CtdError('BAD_ADDRESS', `a bootstrap address ends in /p2p/<peer id>: ${text}`)
}

function assertSize(what: string, bytes: Uint8Array, maxBytes: number): void {
  if (bytes.length <= maxBytes) return
  throw new CtdError('MESSAGE_TOO_LARGE', `${what} has at most ${maxBytes} bytes`, {
    fields: { sizeBytes: bytes.length, maxBytes },
  })
}

function unreachable(peer: string, cause: unknown): CtdError {
  if (cause instanceof CtdError && cause.code === 'NETWORK_STOPPED') return cause
  return new CtdError('PEER_UNREACHABLE', `cannot reach ${peer}: ${errorMessage(cause)}`, {
    hint: 'the peer may be offline, behind a firewall, or too busy to answer',
    fields: { peer },
    cause,
  })
}

/** The promise, or an error once `ms` have passed. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new CtdError('TIMED_OUT', 'the handler was too slow')), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item)
}
