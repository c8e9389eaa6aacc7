/**
 * One side of a copy by Helia, for the bench of bytes; it runs in a folder of its own, where its
 * packages are. Told by messages, see `obey`.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

// Node 20 lacks what libp2p calls while it is loaded.
Promise.withResolvers ??= function withResolvers() {
  const resolvers = {}
  resolvers.promise = new this((resolve, reject) => Object.assign(resolvers, { resolve, reject }))
  return resolvers
}
/** Not known to this package: installed when the bench runs. */
const load = (name) => import(name)

let helia
let reader

process.on('disconnect', () => process.exit())
process.on('message', (message) => {
  obey(message).then(
    (answer) => process.send(answer),
    (error) => process.send({ failed: String(error?.stack ?? error) }),
  )
})
process.send({ ready: true })

async function obey({ serve, meet, tell, fetch }) {
  const { CID } = await load('multiformats/cid')
  const { unixfs } = await load('@helia/unixfs')
  if (serve !== undefined) {
    helia = await start(serve.dir)
    const content = await unixfs(helia).addByteStream(createReadStream(serve.path))
    return { address: helia.libp2p.getMultiaddrs()[0].toString(), content: content.toString() }
  }
  if (meet !== undefined) {
    const { multiaddr } = await load('@multiformats/multiaddr')
    helia = await start(meet.dir)
    await Promise.all(meet.addresses.map((address) => helia.libp2p.dial(multiaddr(address))))
    reader = meet.addresses.length
    return {}
  }
  if (tell !== undefined) {
    await helia.routing.provide(CID.parse(tell.content))
    return {}
  }
  const content = CID.parse(fetch.content)
  // With several providers a session asks those that have the content; else everybody is asked for
  // every block. With one it only costs.
  const blockstore = reader > 1 ? helia.blockstore.createSession(content) : helia.blockstore
  const bytes = unixfs({ blockstore }).cat(content)
  await pipeline(Readable.from(bytes, { objectMode: false }), createWriteStream(fetch.into))
  return {}
}

async function start(dir) {
  const { createHeliaLight } = await load('helia')
  const { withLibp2pLight } = await load('@helia/libp2p')
  const { withBitswap } = await load('@helia/bitswap')
  const { FsBlockstore } = await load('blockstore-fs')
  const { MemoryDatastore } = await load('datastore-core')
  const { tcp } = await load('@libp2p/tcp')
  const { noise } = await load('@libp2p/noise')
  const { yamux } = await load('@libp2p/yamux')
  const { identify } = await load('@libp2p/identify')
  const { ping } = await load('@libp2p/ping')
  const { kadDHT, passthroughMapper } = await load('@libp2p/kad-dht')
  const dht = kadDHT({
    protocol: '/bench/kad/1.0.0',
    peerInfoMapper: passthroughMapper,
    clientMode: false,
    allowQueryWithZeroPeers: true,
  })
  const light = createHeliaLight({
    blockstore: new FsBlockstore(dir),
    datastore: new MemoryDatastore(),
  })
  const libp2p = withLibp2pLight(light, {
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: 1e9 },
    connectionMonitor: { abortConnectionOnPingFailure: false },
    services: { identify: identify(), ping: ping(), dht },
  })
  return withBitswap(libp2p).start()
}
