/**
 * Writes the JSON vectors of evidence to test/vectors/evidence.json: roots, an evidence file, and
 * frozen bids that quote it: `node --import tsx scripts/vectors-evidence.ts`.
 */
import { writeFile } from 'node:fs/promises'
import { encodeEvidence, openEvidence } from '../src/protocol/evidence.js'
import { evidenceRoot, faultRoot, receiptRoot } from '../src/protocol/evidence-root.js'
import { sealFault } from '../src/protocol/fault.js'
import { reputationReceipt } from '../src/protocol/reputation-receipt.js'
import { scoreFrom } from '../src/protocol/reputation-fold.js'
import { excludedForEver } from '../src/protocol/reputation.js'
import { verifySlot } from '../src/protocol/slot-chain.js'
import { standingsOf } from '../src/protocol/standings.js'
import { createSigner, seal } from '../src/wire/envelope.js'
import type { AnyOpened, Opened } from '../src/wire/envelope.js'
import type { Standing } from '../src/wire/generated/election.js'
import { Evidence } from '../src/wire/generated/evidence.js'
import type { Fault } from '../src/wire/generated/evidence.js'
import { fromHex, sha256, toHex, utf8 } from '../src/wire/ids.js'
import type { PeerId } from '../src/wire/ids.js'
import { codeOf } from '../test/vectors/chain.js'
import { honest, NETWORK as RIG, Rig, RUN_SPEC } from '../test/unit/rig.js'

const hash = (name: string): Uint8Array => sha256(utf8(name))
const NOBODY = new Uint8Array(0)

/** A job of one task by three peers, and its only receipt. */
interface Job {
  readonly rig: Rig
  readonly receipt: Opened<'receipt'>
}
function jobOf(seed: string): Job {
  const rig = new Rig({ spec: { ...RUN_SPEC, seed }, behaviours: honest(3), keys: 'evidence' })
  const [receipt] = rig.run().record.ofKind('receipt')
  if (receipt === undefined) throw new Error('a job without a receipt')
  return { rig, receipt }
}

function chainOf({ rig, receipt }: Job): readonly AnyOpened[] {
  const { manifest, record } = rig
  const get = (id: string): AnyOpened | undefined => record.get(id)
  const source = { network: RIG, manifest, get, elections: new Map(), proofs: 'trust' as const }
  return verifySlot(source, receipt).messages
}

function evidenceVectors(): object {
  const jobs = [jobOf('first'), jobOf('second')]
  const ids = jobs.map(({ receipt }) => receipt.id)
  const [first = ''] = ids
  const twoFaced = (jobs[0]?.rig.executors ?? [])[0]
  if (twoFaced === undefined) throw new Error('nobody to accuse')
  const { peerId } = twoFaced
  const fault = sealFault(
    ...(['this', 'that'].map((result) =>
      seal(
        RIG,
        'commitment',
        { taskId: hash('task'), attempt: 1, commitment: hash(result) },
        twoFaced.signer,
      ),
    ) as [AnyOpened, AnyOpened]),
  )
  const whole: Omit<Evidence, 'version'> = {
    network: RIG,
    sets: [
      { root: evidenceRoot([first], []), receipts: 1, faults: 0 },
      { root: evidenceRoot(ids, [peerId]), receipts: 2, faults: 1 },
    ],
    receipts: ids.map(fromHex),
    faults: [fault],
    envelopes: jobs.flatMap((job) => chainOf(job).map(({ bytes }) => bytes)),
  }
  return {
    about:
      'roots of sets of evidence; an evidence file, the frozen bids of a job that quote it, and ' +
      'whose standing is not what follows from it',
    network: RIG,
    roots: rootVectors(ids, peerId),
    receipts: ids,
    accused: [peerId],
    file: toHex(encodeEvidence(whole)),
    quotes: quoteVectors(jobs, whole, peerId),
    invalid: invalidEvidence(jobs, fault),
  }
}

function rootVectors(ids: readonly string[], peer: PeerId): object[] {
  const other = createSigner(hash('other')).peerId
  const sets: ReadonlyArray<{ receipts: readonly string[]; accused: readonly PeerId[] }> = [
    { receipts: [], accused: [] },
    { receipts: ids.slice(0, 1), accused: [] },
    { receipts: ids, accused: [] },
    { receipts: ids.toReversed(), accused: [] },
    { receipts: ids, accused: [peer] },
    { receipts: [], accused: [peer, other] },
  ]
  return sets.map(({ receipts, accused }) => ({
    receipts,
    accused,
    receiptRoot: toHex(receiptRoot(receipts)),
    faultRoot: toHex(faultRoot(accused)),
    evidenceRoot: toHex(evidenceRoot(receipts, accused)),
  }))
}

/** Frozen bids that quote the file's second set, truly, falsely and not at all. */
function quoteVectors(
  jobs: readonly Job[],
  whole: Omit<Evidence, 'version'>,
  accused: PeerId,
): object[] {
  const receipts = jobs.map(({ rig, receipt }) => reputationReceipt(rig.manifest.author, receipt))
  const root = whole.sets[1]?.root ?? NOBODY
  const quoting = (receiptRootTold: Uint8Array, lie: (standing: Standing, i: number) => Standing) =>
    new Rig({
      spec: { ...RUN_SPEC, seed: 'third' },
      behaviours: honest(3),
      keys: 'evidence',
      weigh: (bids, nowMs) => {
        const standings = standingsOf(bids, {
          score: (peer) => {
            const score = scoreFrom(receipts, peer, nowMs)
            return peer === accused ? excludedForEver(score) : score
          },
          prefixOf: () => '192.0.2.0/24',
          work: 'cpu',
        })
        const told = [...standings].map(([peer, each], i) => [peer, lie(each, i)] as const)
        return { standings: new Map(told), receiptRoot: receiptRootTold }
      },
    })
      .run(() => false)
      .record.ofKind('freezeBids')[0]
  const cases = [
    { name: 'as they follow', frozen: quoting(root, (standing) => standing) },
    {
      name: 'one reliability raised',
      frozen: quoting(root, (each, i) =>
        i === 1 ? { ...each, reliabilityPpm: each.reliabilityPpm + 1 } : each,
      ),
    },
    {
      name: 'the accused forgiven',
      frozen: quoting(root, (each) => ({ ...each, excluded: false })),
    },
    { name: 'another root', frozen: quoting(hash('unknown'), (standing) => standing) },
  ]
  const evidence = openEvidence(encodeEvidence(whole))
  return cases.map(({ name, frozen }) => {
    if (frozen === undefined) throw new Error('no bids were frozen')
    return { name, freezeBids: toHex(frozen.bytes), result: evidence.check(frozen, 'cpu') }
  })
}

function invalidEvidence(jobs: readonly Job[], fault: Fault): object[] {
  const [job] = jobs
  if (job === undefined) throw new Error('no job')
  const { receipt, rig } = job
  const chain = chainOf(job)
  const file: Evidence = {
    version: 1,
    network: RIG,
    sets: [{ root: evidenceRoot([receipt.id], []), receipts: 1, faults: 0 }],
    receipts: [fromHex(receipt.id)],
    faults: [],
    envelopes: chain.map(({ bytes }) => bytes),
  }
  const without = (kind: string): Evidence => ({
    ...file,
    envelopes: chain.filter((opened) => opened.kind !== kind).map(({ bytes }) => bytes),
  })
  const lie = { ...receipt.message, verdict: 'rejected', outputRoot: NOBODY }
  const lied = seal(RIG, 'receipt', lie, rig.requester)
  const cases: Array<{ name: string; bytes: Uint8Array }> = [
    { name: 'another version', bytes: Evidence.encode({ ...file, version: 2 }) },
    {
      name: 'a byte too many',
      bytes: Uint8Array.of(...Evidence.encode(file), 0),
    },
    { name: 'no receipt of it', bytes: Evidence.encode({ ...file, receipts: [] }) },
    {
      name: 'a set of another root',
      bytes: Evidence.encode({
        ...file,
        sets: [{ root: hash('another'), receipts: 1, faults: 0 }],
      }),
    },
    {
      name: 'a fault that its set does not have',
      bytes: Evidence.encode({
        ...file,
        sets: file.sets.map((set) => ({ ...set, faults: 1 })),
        faults: [fault],
      }),
    },
    {
      name: 'a fault that proves nothing',
      bytes: Evidence.encode({ ...file, faults: [{ first: fault.second, second: fault.first }] }),
    },
    { name: 'no manifest', bytes: Evidence.encode(without('manifest')) },
    { name: 'no receipt among the messages', bytes: Evidence.encode(without('receipt')) },
    { name: 'no frozen bids', bytes: Evidence.encode(without('freezeBids')) },
    { name: 'another network', bytes: Evidence.encode({ ...file, network: 'another' }) },
    {
      name: 'a receipt that does not follow from its chain',
      bytes: Evidence.encode({
        ...file,
        sets: [{ root: evidenceRoot([lied.id], []), receipts: 1, faults: 0 }],
        receipts: [fromHex(lied.id)],
        envelopes: [...file.envelopes.slice(0, -1), lied.bytes],
      }),
    },
  ]
  return cases.map(({ name, bytes }) => ({
    name,
    file: toHex(bytes),
    code: codeOf(() => openEvidence(bytes)),
  }))
}

await writeFile(
  new URL('../test/vectors/evidence.json', import.meta.url),
  `${JSON.stringify(evidenceVectors(), null, 1)}\n`,
)
