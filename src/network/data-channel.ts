/**
 * Connections for many bytes between two peers that are connected already: TLS 1.3 straight on TCP,
 * with a key that one peer hands the other over their libp2p connection and that opens one
 * connection once. libp2p's Noise and yamux cost several times the CPU for the same bytes.
 * Specified in `proto/README.md`, section 16.7.
 */
import { randomBytes } from 'node:crypto'
import { connect, createServer } from 'node:tls'
import type { Server, TLSSocket } from 'node:tls'
import { CtdError } from '../errors.js'
import type { PeerId } from '../wire/ids.js'
import { NETWORK_LIMITS } from './limits.js'
import { prepareReads } from './socket-stream.js'
import type { ByteStream } from './transport.js'

export const DATA_CHANNEL_PROTOCOL = '/ctd/1/data-channel'

/** AEAD, hashed with SHA-256 as keys given beforehand must be (RFC 8446, 4.2.11), fastest first. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256'
const TLS = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', ciphers: CIPHERS } as const
const NAME_BYTES = 16
const KEY_BYTES = 32
const PORT_BYTES = 2

/** What opens one connection, once. */
export interface Invitation {
  readonly port: number
  /** Hexadecimal, names the key to the server. */
  readonly name: string
  /** 32 bytes. */
  readonly key: Uint8Array
}

/** `u16(port) ‖ name ‖ key`, 50 bytes. */
export function encodeInvitation({ port, name, key }: Invitation): Uint8Array {
  const bytes = Buffer.alloc(PORT_BYTES + NAME_BYTES + KEY_BYTES)
  bytes.writeUInt16BE(port)
  bytes.set(Buffer.from(name, 'hex'), PORT_BYTES)
  bytes.set(key, PORT_BYTES + NAME_BYTES)
  return bytes
}

/** @returns nothing for a peer that takes no connections now, or bytes that are no invitation */
export function decodeInvitation(bytes: Uint8Array): Invitation | undefined {
  if (bytes.length !== PORT_BYTES + NAME_BYTES + KEY_BYTES) return undefined
  const buffer = Buffer.from(bytes)
  const port = buffer.readUInt16BE()
  if (port === 0) return undefined
  return {
    port,
    name: buffer.toString('hex', PORT_BYTES, PORT_BYTES + NAME_BYTES),
    key: buffer.subarray(PORT_BYTES + NAME_BYTES),
  }
}

interface Invited {
  readonly peer: PeerId
  readonly key: Uint8Array
  readonly untilMs: number
}

export type ChannelHandler = (stream: ByteStream, peer: PeerId) => Promise<void>

export class DataChannelServer {
  readonly #server: Server
  readonly #invited = new Map<string, Invited>()
  readonly #peerOf = new WeakMap<TLSSocket, PeerId>()
  /** Those that named a key. */
  readonly #sockets = new Set<TLSSocket>()

  constructor(onChannel: ChannelHandler) {
    this.#server = createServer({
      ...TLS,
      handshakeTimeout: NETWORK_LIMITS.dataOpenMs,
      pskCallback: (socket, name) => this.#accept(socket, name),
    })
    this.#server.maxConnections = NETWORK_LIMITS.dataConnections
    this.#server.on('secureConnection', (socket) => void this.#serve(socket, onChannel))
    // Strangers that knock: node ends their connection, and there is nothing more to do.
    this.#server.on('tlsClientError', () => {})
  }

  /** @param port - 0 for any that is free. @throws what node:net does for a port that is taken */
  async listen(host: string, port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
  }

  get port(): number {
    const address = this.#server.address()
    return address === null || typeof address === 'string' ? 0 : address.port
  }

  /** @returns nothing while too many connections wait or run */
  invite(peer: PeerId): Invitation | undefined {
    const nowMs = performance.now()
    for (const [name, { untilMs }] of this.#invited) {
      if (untilMs <= nowMs) this.#invited.delete(name)
    }
    const ofPeer = [...this.#invited.values()].filter((each) => each.peer === peer).length
    const open = [...this.#sockets].filter((socket) => this.#peerOf.get(socket) === peer).length
    if (ofPeer + open >= NETWORK_LIMITS.dataConnectionsPerPeer) return undefined
    if (this.#invited.size + this.#sockets.size >= NETWORK_LIMITS.dataConnections) return undefined
    const name = randomBytes(NAME_BYTES).toString('hex')
    const key = randomBytes(KEY_BYTES)
    this.#invited.set(name, { peer, key, untilMs: nowMs + NETWORK_LIMITS.dataInviteMs })
    return { port: this.port, name, key }
  }

  async close(): Promise<void> {
    this.#invited.clear()
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #accept(socket: TLSSocket, name: string): Uint8Array | null {
    const invited = this.#invited.get(name)
    if (invited === undefined || !this.#invited.delete(name)) return null
    if (invited.untilMs <= performance.now()) return null
    this.#peerOf.set(socket, invited.peer)
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    return invited.key
  }

  async #serve(socket: TLSSocket, onChannel: ChannelHandler): Promise<void> {
    const peer = this.#peerOf.get(socket)
    socket.on('error', () => {})
    // One that resumed an earlier session showed no key of ours.
    if (peer === undefined) return void socket.destroy()
    await onChannel(prepareReads().attach(socket), peer)
  }
}

/**
 * Opens the connection of an invitation.
 *
 * @throws CtdError PEER_UNREACHABLE for a port that cannot be reached or a peer without the key
 */
export async function openDataChannel(
  host: string,
  { port, name, key }: Invitation,
  signal: AbortSignal,
): Promise<ByteStream> {
  const reads = prepareReads()
  const limit = AbortSignal.any([signal, AbortSignal.timeout(NETWORK_LIMITS.dataOpenMs)])
  const socket = connect({
    ...TLS,
    ...{ host, port, onread: reads.onread },
    pskCallback: () => ({ psk: key, identity: name }),
    // Only the key counts: no certificate is good, whoever signed it.
    ca: [],
    checkServerIdentity: () => new Error('the peer did not use the key'),
  })
  const stream = reads.attach(socket)
  try {
    await new Promise<void>((resolve, reject) => {
      const giveUp = (): void => reject(new Error('it took too long'))
      limit.addEventListener('abort', giveUp, { once: true })
      socket.once('secureConnect', resolve)
      socket.once('error', reject)
      socket.once('close', () => reject(new Error('the connection was closed')))
      if (limit.aborted) giveUp()
    })
    return stream
  } catch (error) {
    socket.destroy()
    throw new CtdError('PEER_UNREACHABLE', `its data port ${port} cannot be reached`, {
      fields: { host, port },
      cause: error,
    })
  }
}
