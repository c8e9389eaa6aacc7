/**
 * One side of a plain copy, for the bench of bytes: over TCP, or over one libp2p stream with the
 * very transport, encryption and muxer of a daemon. The asker names a range in 16 bytes (start and
 * length, uint64 BE) and writes what comes to a file; nothing is hashed.
 *
 *   node bench-bytes-raw.mjs tcp|libp2p      told by messages, see `obey`
 */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { pipeline } from 'node:stream/promises'

const CHUNK_BYTES = 256 * 1024
const QUEUE_HIGH_BYTES = 8 * 1024 * 1024
const QUEUE_LOW_BYTES = 4 * 1024 * 1024
const RANGE_BYTES = 16
const PROTOCOL = '/ctd/bench/raw'

const over = process.argv[2] === 'libp2p' ? await overLibp2p() : overTcp()
/** Fetches a range from one provider each. */
let fetchers = []

process.on('disconnect', () => process.exit())
process.on('message', (message) => {
  obey(message).then(
    (answer) => process.send(answer),
    (error) => process.send({ failed: String(error?.stack ?? error) }),
  )
})
process.send({ ready: true })

async function obey({ serve, meet, tell, fetch }) {
  if (serve !== undefined) return { address: await over.serve(serve.path) }
  if (meet !== undefined) {
    fetchers = await Promise.all(meet.addresses.map((address) => over.connect(address)))
    return {}
  }
  // Plain copies are announced to nobody.
  if (tell !== undefined) return {}
  const { into, sizeBytes } = fetch
  const file = await open(into, 'w')
  const partBytes = Math.ceil(sizeBytes / fetchers.length)
  try {
    await Promise.all(
      fetchers.map((fetchRange, i) => {
        const start = Math.min(i * partBytes, sizeBytes)
        return fetchRange(file, start, Math.min(partBytes, sizeBytes - start))
      }),
    )
  } finally {
    await file.close()
  }
  return {}
}

function encodeRange(start, length) {
  const range = Buffer.alloc(RANGE_BYTES)
  range.writeBigUInt64BE(BigInt(start))
  range.writeBigUInt64BE(BigInt(length), 8)
  return range
}

function readRange(path, range) {
  const start = Number(range.readBigUInt64BE())
  const end = start + Number(range.readBigUInt64BE(8)) - 1
  return createReadStream(path, { start, end, highWaterMark: CHUNK_BYTES })
}

function overTcp() {
  return {
    async serve(path) {
      const server = createServer((socket) => {
        socket.once('data', (range) => {
          // The asker may leave at any time.
          pipeline(readRange(path, range), socket).catch(() => {})
        })
      })
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server.address().port
    },
    async connect(port) {
      const socket = connect(port, '127.0.0.1')
      await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
      return async (file, start, length) => {
        socket.write(encodeRange(start, length))
        let at = start
        for await (const chunk of socket) {
          await file.write(chunk, 0, chunk.length, at)
          at += chunk.length
        }
        assertWhole(at - start, length)
      }
    },
  }
}

async function overLibp2p() {
  // What users run, not the sources: a loader would count among the memory.
  const built = (path) => import(new URL(`../dist/${path}`, import.meta.url).href)
  const { createNode } = await built('network/libp2p-node.js')
  const { NETWORK_PRESETS } = await built('network/presets.js')
  const { parseAddress } = await built('network/address.js')
  const { generateKeyPair } = await import('@libp2p/crypto/keys')
  const options = {
    topics: [],
    records: { validate: () => {}, select: () => 0 },
    listen: ['/ip4/127.0.0.1/tcp/0'],
  }
  const key = await generateKeyPair('Ed25519')
  const node = await createNode(options, NETWORK_PRESETS.local, key)
  await node.start()
  return {
    async serve(path) {
      await node.handle(PROTOCOL, (stream) => {
        stream.addEventListener(
          'message',
          ({ data }) => {
            sendRange(stream, readRange(path, Buffer.from(data.subarray()))).catch((error) =>
              stream.abort(error),
            )
          },
          { once: true },
        )
      })
      return node.getMultiaddrs()[0].toString()
    },
    async connect(address) {
      const connection = await node.dial(parseAddress(address))
      return async (file, start, length) => {
        const stream = await connection.newStream(PROTOCOL)
        const received = receive(stream, file, start)
        stream.send(encodeRange(start, length))
        assertWhole(await received, length)
      }
    },
  }
}

async function sendRange(stream, chunks) {
  for await (const chunk of chunks) {
    if (!stream.send(chunk)) await stream.onDrain()
  }
  await stream.close()
}

/** Writes what comes, pausing the stream while much waits to be written. */
function receive(stream, file, start) {
  return new Promise((resolve, reject) => {
    let at = start
    let queued = 0
    let writing = Promise.resolve()
    const end = () => writing.then(() => resolve(at - start), reject)
    stream.addEventListener('message', ({ data }) => {
      const chunks = data instanceof Uint8Array ? [data] : [...data]
      const position = at
      at += data.byteLength
      queued += data.byteLength
      if (queued > QUEUE_HIGH_BYTES && stream.readStatus === 'readable') stream.pause()
      writing = writing.then(async () => {
        await file.writev(chunks, position)
        queued -= data.byteLength
        if (queued < QUEUE_LOW_BYTES && stream.readStatus === 'paused') stream.resume()
      })
      writing.catch(reject)
    })
    stream.addEventListener('remoteCloseWrite', end)
    stream.addEventListener('close', ({ error }) => (error === undefined ? end() : reject(error)))
  })
}

/** An aborted connection may look like a clean end. */
function assertWhole(received, length) {
  if (received !== length) throw new Error(`${received} of ${length} bytes came`)
}
