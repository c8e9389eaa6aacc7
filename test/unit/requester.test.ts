import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Clock } from '../../src/clock.js'
import { silentLog } from '../../src/log.js'
import { NEWCOMER } from '../../src/protocol/reputation.js'
import { deriveVrfSecret } from '../../src/protocol/vrf.js'
import { OwnBlobs } from '../../src/requester/own-blobs.js'
import { Requester } from '../../src/requester/requester.js'
import type { NewJob } from '../../src/requester/requester.js'
import type { Store } from '../../src/store/store.js'
import { createSigner } from '../../src/wire/envelope.js'
import type { AnyOpened } from '../../src/wire/envelope.js'
import { parseDigest, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import { NETWORK, RUN_SPEC } from './rig.js'

const DAY_MS = 24 * 3600_000
const seed = sha256(utf8('requester'))
const signer = createSigner(seed)
const folder = sha256(utf8('folder'))
const archive = sha256(utf8('archive'))

const JOB: NewJob = {
  name: 'a job',
  spec: RUN_SPEC,
  image: {
    name: 'ctd/cpu',
    configDigest: sha256(utf8('config')),
    manifestDigest: sha256(utf8('manifest')),
    diffIds: [],
    sizeBytes: 1,
    archive,
  },
  inputs: [{ name: 'data', digest: folder, sizeBytes: 10, folder: true }],
  replicas: 2,
  auditPpm: 0,
}

type RequesterStore = Pick<Store, 'append' | 'readLog' | 'put' | 'list' | 'delete' | 'deleteLog'>

/** A database in memory, by space and key. */
function createStore(): { readonly store: RequesterStore; readonly kept: Map<string, string> } {
  const kept = new Map<string, string>()
  const list = (prefix: string): Array<[string, string]> =>
    [...kept].flatMap(([key, text]): Array<[string, string]> =>
      key.startsWith(prefix) ? [[key.slice(prefix.length), text]] : [],
    )
  const remove = (prefix: string): Promise<void> => {
    for (const [key] of list(prefix)) kept.delete(prefix + key)
    return Promise.resolve()
  }
  const put = (key: string, text: string): Promise<void> => {
    kept.set(key, text)
    return Promise.resolve()
  }
  const store: RequesterStore = {
    append: (log, sequence, text) => put(`log!${log}/${String(sequence).padStart(10, '0')}`, text),
    readLog: (log) => Promise.resolve(list(`log!${log}/`).map(([, text]) => text)),
    put: (space, key, text) => put(`${space}!${key}`, text),
    list: (space) => Promise.resolve(list(`${space}!`)),
    delete: (space, key) => remove(`${space}!${key}`),
    deleteLog: (log) => remove(`log!${log}/`),
  }
  return { store, kept }
}

/** A clock that is set by hand. */
class Hand implements Clock {
  nowMs = 1_700_000_000_000
  readonly #calls = new Map<object, { readonly atMs: number; readonly call: () => void }>()

  now(): number {
    return this.nowMs
  }

  after(ms: number, call: () => void): () => void {
    const key = {}
    this.#calls.set(key, { atMs: this.nowMs + ms, call })
    return () => this.#calls.delete(key)
  }

  pass(ms: number): void {
    this.nowMs += ms
    for (const [key, { atMs, call }] of this.#calls) {
      if (atMs > this.nowMs) continue
      this.#calls.delete(key)
      call()
    }
  }
}

function createRequester(store: RequesterStore, clock: Clock, sent: AnyOpened[] = []): Requester {
  return new Requester(
    {
      clock,
      log: silentLog,
      store,
      note: () => undefined,
      send: (opened) => sent.push(opened),
      connectedPeers: () => [],
      score: () => NEWCOMER,
      prefixOf: () => '',
      receiptRoot: () => new Uint8Array(32),
      readOutput: () => Promise.reject(new Error('not asked for')),
      notify: () => undefined,
      onEnded: () => undefined,
    },
    {
      network: NETWORK,
      signer,
      vrfSecret: deriveVrfSecret(seed),
      operator: signer.peerId,
      bidWindowMs: 100,
      openWindowMs: 100,
      revealWindowMs: 100,
      slowFloorMs: 100,
      queueTimeoutMs: DAY_MS,
      diversity: 'operator',
      leaseMs: 1000,
      graceMs: 100,
    },
  )
}

/** Lets everything that was dispatched happen. */
async function settle(requester: Requester): Promise<void> {
  const nowMs = 0
  for (let i = 0; i < 5; i++) {
    // An event for a batch that does not exist changes nothing, and comes after those before it.
    const event = { type: 'outputLost', batch: 99, slot: 0, nowMs } as const
    await Promise.all(requester.runners().map((runner) => runner.dispatch(event)))
  }
}

describe('a requester', () => {
  it('keeps of a job that ended a week ago its name and end, also after a restart', async () => {
    const { store, kept } = createStore()
    const clock = new Hand()
    const requester = createRequester(store, clock)
    const old = await requester.submit(JOB)
    await requester.cancel(old, 'no longer wanted')
    clock.pass(6 * DAY_MS)
    const young = await requester.submit({ ...JOB, name: 'another' })
    await requester.cancel(young, 'neither')
    assert.notEqual(requester.runner(old), undefined)
    clock.pass(2 * DAY_MS)
    await requester.submit(JOB)
    assert.equal(requester.runner(old), undefined)
    assert.notEqual(requester.runner(young), undefined)
    assert.deepEqual(
      [...kept.keys()].filter((key) => key.includes(old)),
      [`job-dropped!${old}`],
    )
    const again = createRequester(store, clock)
    await again.restore()
    assert.equal(again.runner(old), undefined)
    const dropped = again.dropped(old.slice(0, 8))
    assert.equal(dropped?.name, 'a job')
    assert.equal(dropped.status, 'cancelled')
    await Promise.all([requester.stop(), again.stop()])
  })

  it('offers a waiting job once a second at most, however many peers arrive', async () => {
    const { store } = createStore()
    const clock = new Hand()
    const sent: AnyOpened[] = []
    const requester = createRequester(store, clock, sent)
    await requester.submit(JOB)
    await settle(requester)
    clock.pass(100)
    await settle(requester)
    const [runner] = requester.runners()
    assert.equal(runner?.state.code, 'NO_ELIGIBLE_BIDS')
    const offers = (): number => sent.filter(({ kind }) => kind === 'offer').length
    const before = offers()
    const arrive = async (): Promise<void> => {
      for (let i = 0; i < 50; i++) requester.onPeer(signer.peerId, 'connected')
      await settle(requester)
      clock.pass(100)
      await settle(requester)
    }
    for (let tenths = 0; tenths < 30; tenths++) await arrive()
    assert.ok(offers() - before >= 2, `${offers() - before} offers`)
    assert.ok(offers() - before <= 8, `${offers() - before} offers`)
    await requester.stop()
  })
})

describe('the blobs of an own job', () => {
  it('are held while it runs, and its inputs no longer', async () => {
    const { store } = createStore()
    const requester = createRequester(store, new Hand())
    const held = new Map<string, Set<string>>()
    const inside = parseDigest(toHex(sha256(utf8('file'))))
    const blobs = new OwnBlobs({
      blobs: {
        hold: (holder, digest) => {
          held.set(holder, (held.get(holder) ?? new Set()).add(digest))
        },
        release: (holder) => void held.delete(holder),
      },
      log: silentLog,
      readFolder: () => Promise.resolve([{ digest: inside }]),
    })
    const id = await requester.submit(JOB)
    const runner = requester.runner(id)
    assert.ok(runner !== undefined)
    await blobs.hold(runner)
    assert.deepEqual(held.get(blobs.holderOf(id)), new Set([toHex(archive), toHex(folder), inside]))
    await requester.cancel(id, 'enough')
    blobs.onEnded(runner)
    assert.equal(held.get(blobs.holderOf(id)), undefined)
    await requester.stop()
  })
})
