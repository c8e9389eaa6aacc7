/**
 * The data port of a peer: invites connected peers to it, and opens connections to theirs. Peers
 * whose port cannot be reached (a firewall, a router that translates addresses) are served over
 * libp2p as ever.
 */
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { PeerId } from '../wire/ids.js'
import { ipOf, parseAddress, toPeerId } from './address.js'
import { answerOver, askOver } from './control-protocol.js'
import {
  DATA_CHANNEL_PROTOCOL,
  DataChannelServer,
  decodeInvitation,
  encodeInvitation,
  openDataChannel,
} from './data-channel.js'
import type { ChannelHandler } from './data-channel.js'
import { NETWORK_LIMITS } from './limits.js'
import type { ByteStream } from './transport.js'

type Node = Pick<Libp2p, 'handle' | 'dialProtocol' | 'getConnections'>

export interface DataChannelsOptions {
  readonly listen: readonly string[]
  readonly onChannel: ChannelHandler
  readonly onWarning: (code: string, error: unknown) => void
}

const ASK = new Uint8Array([1])

export class DataChannels {
  readonly #options: DataChannelsOptions
  /** Until when the data port of a peer is not tried again, in `performance.now()`. */
  readonly #avoidedUntilMs = new Map<PeerId, number>()
  #server: DataChannelServer | undefined

  constructor(options: DataChannelsOptions) {
    this.#options = options
  }

  /** Opens the data port and answers who asks for it; `stopping` ends what is being answered. */
  async start(node: Node, stopping: AbortSignal): Promise<void> {
    const [first] = this.#options.listen
    if (first === undefined) return
    const server = new DataChannelServer(this.#options.onChannel)
    this.#server = server
    const { host, port } = dataAddressOf(first)
    try {
      await server.listen(host, port)
    } catch (error) {
      this.#options.onWarning('DATA_PORT_TAKEN', error)
      await server.listen(host, 0)
    }
    await node.handle(
      DATA_CHANNEL_PROTOCOL,
      (stream, connection) => this.#invite(stream, connection, stopping),
      { maxInboundStreams: 16, maxOutboundStreams: 16 },
    )
  }

  async stop(): Promise<void> {
    await this.#server?.close()
    this.#server = undefined
  }

  /** @returns nothing where libp2p has to do */
  async open(node: Node, peer: PeerId, signal: AbortSignal): Promise<ByteStream | undefined> {
    if ((this.#avoidedUntilMs.get(peer) ?? 0) > performance.now()) return undefined
    const id = peerIdFromString(peer)
    try {
      const asking = await node.dialProtocol(id, DATA_CHANNEL_PROTOCOL, { signal })
      const invitation = decodeInvitation(await askOver(asking, ASK, signal))
      const host = node.getConnections(id).map(({ remoteAddr }) => ipOf(remoteAddr))[0]
      if (invitation === undefined || host === undefined || host === '') return undefined
      return await openDataChannel(host, invitation, signal)
    } catch {
      // A closed port is no fault, and why this peer cannot be reached at all libp2p will say.
      if (!signal.aborted) this.#avoid(peer)
      return undefined
    }
  }

  async #invite(stream: Stream, connection: Connection, stopping: AbortSignal): Promise<void> {
    const peer = toPeerId(connection.remotePeer)
    const server = this.#server
    if (peer === undefined || server === undefined) return stream.abort(new Error('not serving'))
    const limit = AbortSignal.any([stopping, AbortSignal.timeout(NETWORK_LIMITS.requestMs)])
    try {
      await answerOver(
        stream,
        async () => {
          const invitation = server.invite(peer)
          return invitation === undefined ? new Uint8Array() : encodeInvitation(invitation)
        },
        limit,
      )
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #avoid(peer: PeerId): void {
    this.#avoidedUntilMs.delete(peer)
    this.#avoidedUntilMs.set(peer, performance.now() + NETWORK_LIMITS.dataRetryMs)
    const [oldest] = this.#avoidedUntilMs.keys()
    const isFull = this.#avoidedUntilMs.size > NETWORK_LIMITS.knownPeers
    if (isFull && oldest !== undefined) this.#avoidedUntilMs.delete(oldest)
  }
}

/** Where the data port of a listen address is: the next port on the same address. */
function dataAddressOf(address: string): { host: string; port: number } {
  const multiaddr = parseAddress(address)
  const tcp = multiaddr.getComponents().find(({ name }) => name === 'tcp')?.value
  const port = Number(tcp ?? 0)
  return { host: ipOf(multiaddr), port: port === 0 || port === 65_535 ? 0 : port + 1 }
}
