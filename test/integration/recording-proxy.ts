/** A TCP proxy on loopback that keeps every byte passing in either direction. */
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'

const BYTES_MAX = 256 * 1024 ** 2

export class RecordingProxy {
  readonly port: number
  /** Where the proxied peer has to listen. */
  readonly targetPort: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** One list of chunks for each direction of each connection. */
  readonly #streams: Buffer[][] = []
  #totalBytes = 0

  private constructor(server: Server, targetPort: number) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    this.targetPort = targetPort
    server.on('connection', (inbound) => {
      const outbound = connect(targetPort, '127.0.0.1')
      this.#record(inbound, outbound)
      this.#record(outbound, inbound)
    })
  }

  static async open(): Promise<RecordingProxy> {
    const target = await listening()
    const server = await listening()
    const { port } = target.address() as AddressInfo
    await new Promise((resolve) => target.close(resolve))
    return new RecordingProxy(server, port)
  }

  /** Everything seen so far, one buffer for each direction of each connection. */
  streams(): readonly Buffer[] {
    return this.#streams.map((chunks) => Buffer.concat(chunks))
  }

  get totalBytes(): number {
    return this.#totalBytes
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #record(from: Socket, to: Socket): void {
    const chunks: Buffer[] = []
    this.#streams.push(chunks)
    this.#sockets.add(from)
    from.on('data', (chunk: Buffer) => {
      this.#totalBytes += chunk.length
      if (this.#totalBytes > BYTES_MAX) throw new Error('more traffic than a test should make')
      chunks.push(chunk)
      if (!to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    from.on('end', () => to.end())
    from.on('error', () => to.destroy())
    from.on('close', () => {
      this.#sockets.delete(from)
      to.end()
    })
  }
}

function listening(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => resolve(server))
  })
}
