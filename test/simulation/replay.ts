/**
 * Replays what real daemons wrote to their disks: the production requester goes through its event
 * logs again, and must sign byte by byte what the others have received; the receipts that each
 * daemon believed must give each the same scores. `npm run simulate -- --replay HOME…`
 */
import { join } from 'node:path'
import { loadConfig } from '../../src/config.js'
import { loadIdentity } from '../../src/identity.js'
import { silentLog } from '../../src/log.js'
import { deriveVrfSecret } from '../../src/protocol/vrf.js'
import type { EvidenceEffect, Score } from '../../src/protocol/reputation.js'
import { Requester } from '../../src/requester/requester.js'
import { Store } from '../../src/store/store.js'
import { createSigner, open } from '../../src/wire/envelope.js'
import type { AnyOpened } from '../../src/wire/envelope.js'
import { isCertificate } from '../../src/wire/messages.js'
import type { PeerId } from '../../src/wire/ids.js'
import { FaultBook } from '../../src/witness/fault-book.js'
import { ReputationBook } from '../../src/witness/reputation-book.js'

export interface ReplayOutcome {
  readonly jobs: number
  readonly events: number
  /** Signed by a requester, held by another daemon, and compared. */
  readonly messages: number
  readonly scores: number
  readonly differences: readonly string[]
}

interface Replayed {
  readonly self: PeerId
  readonly jobs: ReadonlySet<string>
  readonly events: number
  /** What the requester signed, by id. */
  readonly signed: ReadonlyMap<string, AnyOpened>
  /** What the daemon holds of others: the messages that believed receipts rest on. */
  readonly held: readonly AnyOpened[]
  readonly root: string
  readonly scores: ReadonlyMap<PeerId, { score: Score; evidence: readonly EvidenceEffect[] }>
}

const RECORDS_MAX = 1_000_000
const EVENTS_MAX = 200_000

/** @param atMs - when the scores are folded; no receipt may be later */
export async function replayHomes(
  homes: readonly string[],
  network: string,
  atMs: number,
): Promise<ReplayOutcome> {
  const replayed: Replayed[] = []
  for (const home of homes) replayed.push(await replayHome(home, network, atMs))
  const differences: string[] = []
  let messages = 0
  for (const requester of replayed) {
    for (const witness of replayed) {
      if (witness === requester) continue
      for (const opened of witness.held) {
        if (opened.author !== requester.self || !isOfJob(opened, requester)) continue
        messages += 1
        const again = requester.signed.get(opened.id)
        if (again !== undefined && Buffer.compare(again.bytes, opened.bytes) === 0) continue
        differences.push(`${requester.self} signed another ${opened.kind} than ${opened.id}`)
      }
    }
  }
  const [first, ...rest] = replayed
  for (const other of rest) differences.push(...differencesOf(first, other))
  return {
    jobs: replayed.reduce((sum, { jobs }) => sum + jobs.size, 0),
    events: replayed.reduce((sum, { events }) => sum + events, 0),
    messages,
    scores: replayed.reduce((sum, { scores }) => sum + scores.size, 0),
    differences,
  }
}

/** Only of jobs whose log is still there: ended ones are dropped after a week. */
function isOfJob(opened: AnyOpened, { jobs, signed }: Replayed): boolean {
  if (opened.kind === 'offer') return jobs.has(Buffer.from(opened.message.jobId).toString('hex'))
  if (!isCertificate(opened.kind)) return false
  // A certificate names its job by its predecessors; those lead to an offer of the same requester.
  return signed.has(opened.id) || isTiedTo(opened, jobs)
}

function isTiedTo(opened: AnyOpened, jobs: ReadonlySet<string>): boolean {
  const { message } = opened
  return 'jobId' in message && jobs.has(Buffer.from(message.jobId).toString('hex'))
}

function differencesOf(first: Replayed | undefined, other: Replayed): string[] {
  if (first === undefined) return []
  if (first.root !== other.root) return [`${other.self} knows another past than ${first.self}`]
  return [...first.scores].flatMap(([peer, score]) => {
    const isSame = JSON.stringify(other.scores.get(peer)) === JSON.stringify(score)
    return isSame ? [] : [`${other.self} scores ${peer} otherwise than ${first.self}`]
  })
}

async function replayHome(home: string, network: string, atMs: number): Promise<Replayed> {
  const { times } = loadConfig({ flags: { home, network, preset: 'local' }, env: {} })
  const seed = await loadIdentity(home)
  const signer = createSigner(seed)
  const self = signer.peerId
  const store = await Store.open(join(home, 'db'))
  const signed = new Map<string, AnyOpened>()
  let events = 0
  try {
    const requester = new Requester(
      {
        // At a time when no job is old enough to be dropped.
        clock: { now: () => 0, after: () => () => undefined },
        log: silentLog,
        // The disk is read and left as it is.
        store: {
          list: (space, limit) => store.list(space, limit),
          readLog: async (log, limit) => {
            const entries = await store.readLog(log, Math.min(limit, EVENTS_MAX))
            events += entries.length
            return entries
          },
          append: () => Promise.resolve(),
          put: () => Promise.resolve(),
          delete: () => Promise.resolve(),
          deleteLog: () => Promise.resolve(),
        },
        note: (opened) => {
          if (opened.author === self) signed.set(opened.id, opened)
        },
        send: () => undefined,
        connectedPeers: () => [],
        score: () => {
          throw new Error('standings come from the log')
        },
        prefixOf: () => '',
        receiptRoot: () => new Uint8Array(32),
        readOutput: () => Promise.reject(new Error('nothing is fetched')),
        notify: () => undefined,
        onEnded: () => undefined,
      },
      {
        ...times,
        network,
        signer,
        vrfSecret: deriveVrfSecret(seed),
        operator: self,
      },
    )
    await requester.restore()
    const jobs = new Set<string>(requester.runners().map(({ context }) => context.jobId))
    await requester.stop()
    const held = (await store.list('chain-message', RECORDS_MAX)).map(([, text]) =>
      open(network, new Uint8Array(Buffer.from(text, 'base64'))),
    )
    return { self, jobs, events, signed, held, ...(await scoresOf(store, network, atMs)) }
  } finally {
    await store.close()
  }
}

async function scoresOf(
  store: Store,
  network: string,
  atMs: number,
): Promise<Pick<Replayed, 'root' | 'scores'>> {
  const parts = {
    network,
    store,
    log: silentLog,
    clock: { now: () => atMs, after: () => () => undefined },
  }
  const faults = new FaultBook({ ...parts, isKnown: () => true, onFaulty: () => undefined })
  await faults.load()
  const book = new ReputationBook({ ...parts, faults })
  await book.load()
  const scores = new Map(book.peers().map((peer) => [peer, book.explain(peer, atMs)]))
  return { root: Buffer.from(book.root()).toString('hex'), scores }
}
