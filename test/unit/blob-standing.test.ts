/** Standings of providers: what they fall by, how they fade, and that they outlive a process. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { askHolding } from '../../src/blob/ask-holding.js'
import { BlobServer } from '../../src/blob/blob-server.js'
import { BlobStore } from '../../src/blob/blob-store.js'
import { BlobTransfer } from '../../src/blob/blob-transfer.js'
import { BLOB_LIMITS } from '../../src/blob/limits.js'
import { ProviderStandings } from '../../src/blob/provider-standing.js'
import { MemoryNetwork, peerOf } from './stream-pair.js'

const MIB = 1024 * 1024
const HOUR = 3600_000
const root = await mkdtemp(join(tmpdir(), 'ctd-standing-'))
after(() => rm(root, { recursive: true, force: true }))
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

interface Seen {
  readonly standings: ProviderStandings
  pass(ms: number): void
  /** The same disk in a new process. */
  again(): Promise<Seen>
}

async function seen(records = new Map<string, string>(), startMs = 0): Promise<Seen> {
  let nowMs = startMs
  const standings = new ProviderStandings({
    clock: { now: () => nowMs },
    ledger: {
      put: async (peer, text) => void records.set(peer, text),
      delete: async (peer) => void records.delete(peer),
      list: async () => [...records],
    },
  })
  await standings.load()
  const pass = (ms: number): void => {
    nowMs += ms
  }
  const again = async (): Promise<Seen> => {
    await standings.stop()
    return seen(records, nowMs)
  }
  return { standings, pass, again }
}

describe('the standing of a provider', () => {
  const [liar, lame, honest] = [peerOf('liar'), peerOf('lame'), peerOf('honest')]

  it('is whole for who served and for who is new, and falls with faults by what they prove', async () => {
    const { standings } = await seen()
    standings.onPiece(honest, 10 * MIB)
    standings.onFault(liar, 'corrupt')
    standings.onFault(lame, 'stalled')
    for (const fault of ['busy', 'unknown-blob', 'unreachable', 'idle'] as const) {
      standings.onFault(honest, fault)
    }
    const of = (name: string): number => standings.get(peerOf(name)).standing
    assert.deepEqual([of('honest'), of('nobody'), of('lame'), of('liar')], [1, 1, 1 / 2, 1 / 9])
    assert.equal(standings.get(honest).servedBytes, 10 * MIB)
  })

  it('keeps who sent wrong bytes out for an hour, and for twice as long the next time', async () => {
    const { standings, pass } = await seen()
    standings.onFault(liar, 'corrupt')
    standings.onFault(lame, 'stalled')
    assert.deepEqual([standings.isAvoided(liar), standings.isAvoided(lame)], [true, false])
    pass(HOUR)
    assert.equal(standings.isAvoided(liar), false)
    standings.onFault(liar, 'corrupt')
    pass(HOUR)
    assert.equal(standings.isAvoided(liar), true)
    pass(HOUR)
    assert.equal(standings.isAvoided(liar), false)
  })

  it('fades by half in a day, and served bytes make up for bad luck but not for wrong bytes', async () => {
    const { standings, pass } = await seen()
    standings.onFault(liar, 'corrupt')
    standings.onFault(lame, 'stalled')
    for (const peer of [liar, lame]) standings.onPiece(peer, 64 * MIB)
    assert.deepEqual([standings.burdenOf(liar), standings.burdenOf(lame)], [8, 0])
    pass(BLOB_LIMITS.standingHalfMs)
    assert.equal(standings.burdenOf(liar), 4)
    pass(20 * BLOB_LIMITS.standingHalfMs)
    assert.equal(standings.burdenOf(liar), 0)
  })

  it('outlives the process', async () => {
    const before = await seen()
    before.standings.onFault(liar, 'corrupt')
    const { standings } = await before.again()
    assert.deepEqual(standings.get(liar), before.standings.get(liar))
    assert.equal(standings.get(liar).lastFault, 'corrupt')
    assert.equal(standings.isAvoided(liar), true)
  })

  it('is remembered of so many peers and no more', async () => {
    const { standings } = await seen()
    standings.onFault(liar, 'corrupt')
    for (let i = 0; i < BLOB_LIMITS.faultyPeers; i += 1) {
      standings.onFault(peerOf(`peer ${i}`), 'stalled')
    }
    assert.equal(standings.get(liar).faults, 0)
    assert.equal(standings.get(peerOf('peer 0')).faults, 1)
  })
})

async function newStore(): Promise<BlobStore> {
  return BlobStore.open(await mkdtemp(join(root, 'store-')), { quotaBytes: 256 * MIB })
}

describe('a fetch', () => {
  it('asks those of good standing first, and tells of every piece once', async () => {
    const network = new MemoryNetwork()
    const stores = await Promise.all([newStore(), newStore()])
    const bytes = randomBytes(3 * MIB)
    const [{ digest }] = await Promise.all([stores[0].addBytes(bytes), stores[1].addBytes(bytes)])
    const order: string[] = []
    const [lame, good] = stores.map((store, i) => {
      const name = i === 0 ? 'lame' : 'good'
      const { serve } = new BlobServer({ store })
      return network.serve(name, (stream, from) => {
        order.push(name)
        return serve(stream, from)
      })
    })
    assert.ok(lame !== undefined && good !== undefined)
    const { standings } = await seen()
    standings.onFault(lame, 'stalled')
    const pieces: number[] = []
    const transfer = new BlobTransfer(
      { store: await newStore(), transport: network.transportOf('asker'), standings },
      { onPiece: ({ index, isNew }) => isNew && pieces.push(index) },
    )
    await transfer.fetch(digest, [lame, good], { signal: soon() })
    assert.equal(order[0], 'good')
    assert.deepEqual(pieces.toSorted(), [0, 1, 2])
    const served = [lame, good].map((peer) => standings.get(peer).servedBytes)
    assert.equal(
      served.reduce((sum, each) => sum + each, 0),
      3 * MIB,
    )
  })
})

describe('the question how much of a blob a peer has', () => {
  it('is answered whole, perhaps or none, without fetching any of it', async () => {
    const network = new MemoryNetwork()
    const store = await newStore()
    const { digest } = await store.addBytes(randomBytes(2 * MIB))
    const server = new BlobServer({ store })
    const [holder, busy, empty] = [
      network.serve('holder', server.serve),
      network.serve('busy', (stream) => stream.write(Uint8Array.of(3, 0, 0, 0, 0))),
      network.serve('empty', new BlobServer({ store: await newStore() }).serve),
    ]
    const transport = network.transportOf('asker')
    const answers = await Promise.all(
      [holder, busy, empty].map((peer) => askHolding(transport, { peer, digest }, soon())),
    )
    assert.deepEqual(answers, ['whole', 'perhaps', 'none'])
    assert.equal(server.servedBytes, 0)
  })
})
