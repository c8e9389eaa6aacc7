/**
 * The port between the people and the network. libp2p implements it for real, the simulator in
 * memory; nothing above this file knows which one it talks to. Types only.
 */
import type { Digest, PeerId } from '../wire/ids.js'

/**
 * What a gossip handler thinks of a message. `accept` forwards it, `ignore` drops it silently,
 * `reject` drops it and counts against the peer that sent it: only for faults that are provably
 * the sender's, whatever the receiver's clock and state.
 */
export type GossipVerdict = 'accept' | 'ignore' | 'reject'

/**
 * Judges and handles one gossip message. `from` is the peer that passed it on, not its author. A
 * handler that throws or is too slow counts as `ignore`.
 */
export type GossipHandler = (bytes: Uint8Array, from: PeerId) => Promise<GossipVerdict>

/** Answers one request; a throw resets the stream, which the asker sees as PEER_UNREACHABLE. */
export type RequestHandler = (bytes: Uint8Array, from: PeerId) => Promise<Uint8Array>

/** Serves one inbound byte stream; the stream is closed when it resolves, reset when it throws. */
export type StreamHandler = (stream: ByteStream, from: PeerId) => Promise<void>

/** The first connection to a peer was made, or the last one to it was lost. */
export interface PeerEvent {
  readonly peer: PeerId
  readonly kind: 'connected' | 'disconnected'
}

/** One daemon's way to all others. Handlers and subscriptions may be set before `start`. */
export interface Transport {
  readonly self: PeerId

  start(): Promise<void>
  stop(): Promise<void>

  /** Own multiaddrs, each ending in `/p2p/<id>`; empty before `start`. */
  addresses(): readonly string[]

  /**
   * Joins a topic of the fixed set given at construction; the handler is its validator.
   * @throws CtdError UNKNOWN_TOPIC
   */
  subscribe(topic: string, onMessage: GossipHandler): void

  /**
   * Publishes to a topic, also when nobody listens yet. The own message never comes back.
   * @throws CtdError MESSAGE_TOO_LARGE above 64 KiB, UNKNOWN_TOPIC, NETWORK_STOPPED
   */
  publish(topic: string, bytes: Uint8Array): Promise<void>

  /**
   * Asks one peer and awaits its one answer: at most 64 KiB out, 1 MiB back, within 15 s or the
   * signal, whichever is first. Dials the peer where needed.
   * @throws CtdError PEER_UNREACHABLE, MESSAGE_TOO_LARGE
   */
  request(peer: PeerId, bytes: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
  /** Sets the one handler of requests. */
  onRequest(handler: RequestHandler): void

  /**
   * Opens a stream for blobs.
   *
   * @param options.isBulk - much will come: where the peer can be reached at its data port too, the
   *   stream is a TLS connection of its own
   * @throws CtdError PEER_UNREACHABLE
   */
  openStream(
    peer: PeerId,
    signal: AbortSignal,
    options?: { readonly isBulk: boolean },
  ): Promise<ByteStream>
  /** Sets the one handler of inbound blob streams. */
  onStream(handler: StreamHandler): void

  connectedPeers(): readonly PeerId[]
  onPeer(handler: (event: PeerEvent) => void): void

  /** Connects to a multiaddr or a peer id. @throws CtdError PEER_UNREACHABLE, BAD_ADDRESS */
  dial(addressOrPeer: string, signal: AbortSignal): Promise<PeerId>

  /** The `/24` (IPv4) or `/48` (IPv6) of a connected peer, such as `203.0.113.0/24`; else `''`. */
  prefixOf(peer: PeerId): string

  /**
   * Stores a record of at most 4 KiB under a key that begins with `/ctd/`; the DHT keeps it 48 h
   * and never republishes it.
   * @returns how many other peers confirmed it
   * @throws CtdError RECORD_INVALID, RECORD_TOO_LARGE
   */
  dhtPut(key: string, value: Uint8Array, signal: AbortSignal): Promise<number>

  /**
   * Collects the valid values that peers hold for a key and lets the caller pick. On an aborted
   * signal it picks among what has been seen.
   */
  dhtGet(
    key: string,
    pick: (values: readonly Uint8Array[]) => Uint8Array | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined>

  /** Peers that answered while walking the DHT, together with the connected ones; not self. */
  dhtPeers(signal: AbortSignal): Promise<readonly PeerId[]>

  /**
   * Announces that this peer serves a blob; renewed daily by the implementation.
   * @returns how many other peers took the record
   */
  provide(digest: Digest, signal: AbortSignal): Promise<number>
  /** Renews an announcement no longer; others forget it within two days. */
  withdraw(digest: Digest): Promise<void>
  /** Peers that announced a blob, at most 20, not self. */
  findProviders(digest: Digest, signal: AbortSignal): Promise<readonly PeerId[]>
}

/** A back-pressured, ordered, encrypted stream of bytes between two peers. */
export interface ByteStream {
  /** Exactly `n` bytes, at most 16 MiB. @throws CtdError STREAM_ENDED, also on a clean end */
  read(n: number): Promise<Uint8Array>
  /** Fills `into` with the next bytes. @throws like `read` */
  readInto(into: Uint8Array): Promise<void>
  /** Resolves when the bytes may be followed by more. @throws CtdError STREAM_ENDED */
  write(bytes: Uint8Array): Promise<void>
  /** Whether written bytes are the caller's again when `write` resolves; else they never are. */
  readonly isCopying: boolean
  /** Ends the own side; what was written still arrives. */
  close(): Promise<void>
  /** Drops the stream at once in both directions; pending reads and writes throw. */
  abort(error: Error): void
}
