/**
 * `Transport` over libp2p: TCP, Noise (nothing unencrypted is spoken), yamux, gossipsub and our
 * own Kademlia network. The only room that imports libp2p.
 */
import './polyfill.js'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { TopicValidatorResult } from '@libp2p/gossipsub'
import type { Ed25519PrivateKey, PeerId as Libp2pPeerId, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { CtdError, InvariantError, errorMessage } from '../errors.js'
import { parsePeerId, peerIdFromPublicKey } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { ipOf, parseAddress, peerIdInAddress, prefixOfIp, toPeerId } from './address.js'
import { createByteStream } from './byte-stream.js'
import { CONTROL_PROTOCOL, askOver } from './control-protocol.js'
import {
  findBlobProviders,
  getRecord,
  provideBlob,
  putRecord,
  walkPeers,
  withdrawBlob,
} from './dht.js'
import { BLOB_PROTOCOL, InboundStreams } from './inbound-streams.js'
import { DataChannels } from './data-channels.js'
import { createNode } from './libp2p-node.js'
import type { Libp2pTransportOptions, NetworkNode } from './libp2p-node.js'
import { NETWORK_LIMITS } from './limits.js'
import { PeerKeeper } from './peer-keeper.js'
import { PeerPulse } from './peer-pulse.js'
import { NETWORK_PRESETS } from './presets.js'
import type { NetworkPreset } from './presets.js'
import type {
  ByteStream,
  GossipHandler,
  PeerEvent,
  RequestHandler,
  StreamHandler,
  Transport,
} from './transport.js'

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
  readonly #pulse: PeerPulse
  readonly #topics: ReadonlySet<string>
  readonly #gossipHandlers = new Map<string, GossipHandler>()
  readonly #peerHandlers: ((event: PeerEvent) => void)[] = []
  readonly #inbound: InboundStreams
  readonly #channels: DataChannels
  #validationsPending = 0
  #node: NetworkNode | undefined
  #stopping = new AbortController()

  constructor(options: Libp2pTransportOptions, privateKey: Ed25519PrivateKey) {
    this.#options = options
    this.#preset = NETWORK_PRESETS[options.preset]
    this.#privateKey = privateKey
    this.#topics = new Set(options.topics)
    this.self = peerIdFromPublicKey(privateKey.publicKey.raw)
    this.#inbound = new InboundStreams({
      requestsPerSecondPerPeer: this.#preset.requestsPerSecondPerPeer,
      onWarning: (code, error) => this.#warn(code, error),
      onBytes: options.onBytes,
    })
    this.#channels = new DataChannels({
      listen: options.listen,
      onChannel: this.#inbound.serve,
      onWarning: (code, error) => this.#warn(code, error),
    })
    this.#keeper = new PeerKeeper(
      {
        connectedCount: () => this.#node?.getPeers().length ?? 0,
        candidates: () => this.#dialCandidates(),
        dial: (target, signal) => this.dial(target, signal),
      },
      { minConnections: this.#preset.minConnections },
    )
    this.#pulse = new PeerPulse({
      peers: () => this.connectedPeers(),
      ping: (peer, signal) =>
        this.#running().services.ping.ping(peerIdFromString(peer), { signal }),
      hangUp: (peer) =>
        this.#running().hangUp(peerIdFromString(peer), { signal: this.#stopping.signal }),
    })
  }

  async start(): Promise<void> {
    if (this.#node !== undefined) return
    this.#stopping = new AbortController()
    const node = await this.#startNode().catch((error: unknown) => {
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
    this.#pulse.start()
  }

  async stop(): Promise<void> {
    const node = this.#node
    if (node === undefined) return
    this.#stopping.abort()
    await Promise.all([this.#keeper.stop(), this.#pulse.stop()])
    this.#node = undefined
    await this.#channels.stop()
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
    this.#inbound.requestHandler = handler
  }

  async openStream(
    peer: PeerId,
    signal: AbortSignal,
    { isBulk } = { isBulk: false },
  ): Promise<ByteStream> {
    try {
      const limit = this.#limited(signal, NETWORK_LIMITS.dialMs)
      const node = this.#running()
      const channel = isBulk ? await this.#channels.open(node, peer, limit) : undefined
      if (channel !== undefined) return channel
      return createByteStream(
        await this.#openProtocol(peer, BLOB_PROTOCOL, limit),
        this.#options.onBytes,
      )
    } catch (error) {
      throw unreachable(peer, error)
    }
  }

  onStream(handler: StreamHandler): void {
    this.#inbound.streamHandler = handler
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

  async withdraw(digest: Digest): Promise<void> {
    await withdrawBlob(this.#running(), digest)
  }

  provide(digest: Digest, signal: AbortSignal): Promise<number> {
    return provideBlob(this.#running(), digest, this.#limited(signal))
  }

  findProviders(digest: Digest, signal: AbortSignal): Promise<readonly PeerId[]> {
    return findBlobProviders(this.#running(), digest, this.#limited(signal))
  }

  async #startNode(): Promise<NetworkNode> {
    const node = await createNode(this.#options, this.#preset, this.#privateKey)
    try {
      await this.#inbound.register(node, this.#stopping.signal)
      await this.#channels.start(node, this.#stopping.signal)
      await node.start()
    } catch (error) {
      await this.#channels.stop()
      await node.stop()
      throw error
    }
    return node
  }

  #running(): NetworkNode {
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

  /**
   * Bootstrap addresses, remembered peers and those the DHT knows that are not connected, in random
   * order.
   */
  async #dialCandidates(): Promise<readonly string[]> {
    const node = this.#running()
    // The walk leaves the addresses of those it met in the peer store.
    if (node.getPeers().length > 0) await walkPeers(node, this.#stopping.signal)
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

  #join(node: NetworkNode, topic: string): void {
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
