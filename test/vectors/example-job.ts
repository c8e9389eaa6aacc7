/** The job of the worked example in `proto/README.md`: one task, five bidders, two executors. */
import { codeBytes } from '../../src/protocol/manifest.js'
import {
  commitmentsAlpha,
  electionOf,
  openFrozen,
  openingAlpha,
  seed2Of,
} from '../../src/protocol/ballot.js'
import {
  bytesToInteger,
  logitMicro,
  negLog2Fixed,
  uint32Bytes,
} from '../../src/protocol/integer.js'
import { foldReputation } from '../../src/protocol/reputation-fold.js'
import { NEWCOMER } from '../../src/protocol/reputation.js'
import type { Score } from '../../src/protocol/reputation.js'
import { reputationReceipt } from '../../src/protocol/reputation-receipt.js'
import { outcomeOf } from '../../src/protocol/task.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { VERDICT_RULES } from '../../src/protocol/verdict.js'
import { deriveVrfSecret, vrfOutput, vrfPublicKey } from '../../src/protocol/vrf.js'
import type { AnyOpened, Opened } from '../../src/wire/envelope.js'
import { digestOf, publicKeyFromPeerId, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'
import type { MessageKind } from '../../src/wire/messages.js'
import { honest, NETWORK, Rig, RUN_SPEC } from '../unit/rig.js'

const KEYS = 'example'
const AUDIT_PPM = 100_000

/** Runs the job; everything about it follows from these options. */
export function runExample(): Rig {
  return new Rig({
    spec: { ...RUN_SPEC, seed: KEYS },
    behaviours: honest(5),
    keys: KEYS,
    auditPpm: AUDIT_PPM,
    standing: (index) => ({
      established: true,
      reliabilityPpm: 920_000 + 10_000 * index,
      availabilityPpm: 990_000 - 20_000 * index,
      speedPpm: 800_000 + 100_000 * index,
    }),
  }).run()
}

/** All that the example shows, as JSON: complete where the text shortens. */
export function tellExample(rig: Rig): object {
  const offer = one(rig, 'offer')
  const frozenBids = one(rig, 'freezeBids')
  const frozenOpenings = one(rig, 'freezeOpenings')
  const receipt = one(rig, 'receipt')
  return {
    about: 'the worked example of proto/README.md; seeds are those of the Ed25519 identities',
    network: NETWORK,
    requester: partyOf(`${KEYS}/requester`, rig.requester.peerId),
    bidders: biddersOf(rig).map(({ index, peer }) => partyOf(`${KEYS}/executor/${index}`, peer)),
    job: {
      id: rig.manifest.id,
      spec: new TextDecoder().decode(rig.manifest.message.spec),
      code: toHex(codeBytes(NETWORK, rig.manifest.message)),
    },
    opening: {
      offer: offer.id,
      frozenBids: frozenBids.id,
      alpha: toHex(openingAlpha(offer, frozenBids.id)),
      outputs: outputsOf(frozenOpenings).map(({ output }) => toHex(output)),
    },
    election: tellElection(rig, { offer, frozenBids, frozenOpenings }),
    task: tellTask(one(rig, 'task'), receipt),
    commitments: one(rig, 'freezeCommitments').message.commitments.map((bytes, i) =>
      tellCommitment(rig, bytes, i),
    ),
    draw: tellDraw(offer, one(rig, 'freezeCommitments')),
    verdict: tellVerdict(rig, receipt),
    receipt: {
      id: receipt.id,
      verdict: receipt.message.verdict,
      outputRoot: toHex(receipt.message.outputRoot),
      executors: receipt.message.executors.map(({ outcome, durationMs, root }) => ({
        outcome,
        durationMs,
        root: toHex(root),
      })),
    },
    reputation: tellReputation(rig, receipt),
    transcript: tellTranscript(buildTranscript(NETWORK, rig.record)),
    messages: tellMessages(rig),
  }
}

function one<K extends MessageKind>(rig: Rig, kind: K): Opened<K> {
  const [found, another] = rig.record.ofKind(kind)
  if (found === undefined || another !== undefined) throw new Error(`not exactly one ${kind}`)
  return found
}

function partyOf(name: string, peer: PeerId): object {
  const seed = sha256(utf8(name))
  const key = toHex(publicKeyFromPeerId(peer))
  const vrfSecret = deriveVrfSecret(seed)
  const vrfKey = toHex(vrfPublicKey(vrfSecret))
  return { seed: toHex(seed), peer, key, vrfSecret: toHex(vrfSecret), vrfKey }
}

/** In the order of the frozen bids. */
function biddersOf(rig: Rig): Array<{ readonly index: number; readonly peer: PeerId }> {
  return rig.executors
    .map(({ peerId }, index) => ({ index, peer: peerId }))
    .sort((a, b) => (a.peer < b.peer ? -1 : 1))
}

function outputsOf(
  frozen: Opened<'freezeOpenings'>,
): Array<{ readonly peer: PeerId; readonly output: Uint8Array }> {
  return openFrozen(NETWORK, 'vrfOpen', frozen.message.openings).map(({ author, message }) => ({
    peer: author,
    output: vrfOutput(message.proof) ?? new Uint8Array(0),
  }))
}

function tellElection(
  rig: Rig,
  ballot: {
    readonly offer: Opened<'offer'>
    readonly frozenBids: Opened<'freezeBids'>
    readonly frozenOpenings: Opened<'freezeOpenings'>
  },
): object {
  const election = electionOf(NETWORK, ballot, rig.requester.peerId, 'verify')
  const slotSeed = sha256(utf8('ctd/election-slot/v1'), election.seed, uint32Bytes(0))
  const [slot] = election.slots
  return {
    young: election.young,
    seed: toHex(election.seed),
    slotSeed: toHex(slotSeed),
    entries: outputsOf(ballot.frozenOpenings).map(({ peer, output }, i) => {
      const standing = ballot.frozenBids.message.standings[i]
      const u = sha256(utf8('ctd/lottery/v1'), slotSeed, output, utf8(peer))
      const weight = election.weights.get(peer) ?? 0n
      const negLog2 = negLog2Fixed(bytesToInteger(u))
      return {
        peer,
        reliabilityPpm: standing?.reliabilityPpm,
        availabilityPpm: standing?.availabilityPpm,
        speedPpm: standing?.speedPpm,
        weight: String(weight),
        u: toHex(u),
        negLog2: String(negLog2),
        key: String((negLog2 << 32n) / weight),
      }
    }),
    ranking: slot?.ranking ?? [],
    executors: slot?.executors ?? [],
  }
}

function tellTask({ id, message }: Opened<'task'>, receipt: Opened<'receipt'>): object {
  const { jobId, batch, slot, inputs, seats } = message
  if (inputs.length > 0) throw new Error('the example has a task without inputs')
  const preimage = Buffer.concat([
    utf8('ctd-task-v1\0'),
    jobId,
    uint32Bytes(batch),
    uint32Bytes(slot),
  ])
  const taskId = digestOf(preimage)
  if (taskId !== toHex(receipt.message.taskId)) throw new Error('another task')
  return { message: id, preimage: toHex(preimage), id: taskId, seats }
}

function tellCommitment(rig: Rig, bytes: Uint8Array, place: number): object {
  const commitment = rig.record
    .ofKind('commitment')
    .find((opened) => Buffer.compare(opened.bytes, bytes) === 0)
  const reveal = rig.record.ofKind('reveal').find(({ author }) => author === commitment?.author)
  if (commitment === undefined || reveal === undefined) throw new Error(`no commitment ${place}`)
  const { taskId, attempt, outputRoot, metrics, salt } = reveal.message
  const preimage = Buffer.concat([
    utf8('ctd-commitment-v1\0'),
    taskId,
    uint32Bytes(attempt),
    publicKeyFromPeerId(reveal.author),
    outputRoot,
    sha256(metrics),
    salt,
  ])
  return {
    peer: reveal.author,
    outputRoot: toHex(outputRoot),
    metrics: new TextDecoder().decode(metrics),
    metricsHash: digestOf(metrics),
    salt: toHex(salt),
    preimage: toHex(preimage),
    commitment: digestOf(preimage),
    outcome: outcomeOf(reveal.message),
  }
}

function tellDraw(offer: Opened<'offer'>, freeze: Opened<'freezeCommitments'>): object {
  const seed2 = seed2Of(offer, freeze, 'verify')
  if (seed2 === undefined) throw new Error('no second seed')
  const { previous, commitments } = freeze.message
  const hash = sha256(utf8('ctd/hidden-replica/v1'), seed2, uint32Bytes(0))
  const drawnPpm = Number((bytesToInteger(hash.subarray(0, 8)) * 1_000_000n) >> 64n)
  return {
    alpha: toHex(commitmentsAlpha(previous, commitments)),
    seed2: toHex(seed2),
    hash: toHex(hash),
    drawnPpm,
    auditPpm: offer.message.auditPpm,
    hidden: drawnPpm < offer.message.auditPpm,
  }
}

function tellVerdict(rig: Rig, receipt: Opened<'receipt'>): object {
  const { oddsMinMicro, oddsMaxMicro, quorumMicro } = VERDICT_RULES
  const [slot] = rig.verified('verify')
  const reliability = new Map(
    rig.executors.map(({ peerId }) => [peerId, rig.standingOf(peerId).reliabilityPpm]),
  )
  const odds = (slot?.agreed ?? []).map((peer) => {
    const reliabilityPpm = reliability.get(peer) ?? 0
    const logit = logitMicro(reliabilityPpm)
    const oddsMicro = Math.min(Math.max(logit, oddsMinMicro), oddsMaxMicro)
    return { peer, reliabilityPpm, logitMicro: logit, oddsMicro }
  })
  return {
    odds,
    sumMicro: odds.reduce((sum, { oddsMicro }) => sum + oddsMicro, 0),
    quorumMicro,
    kind: receipt.message.verdict,
  }
}

/** What this receipt makes of its executors where nothing else is known of them. */
function tellReputation(rig: Rig, receipt: Opened<'receipt'>): object {
  const nowMs = receipt.message.closedMs
  const scores = foldReputation([reputationReceipt(rig.manifest.author, receipt)], nowMs)
  const tell = (score: Score): object => {
    const { reliabilityPpm, availabilityPpm, speedPpm, creditMicro, failureMicro } = score
    return { creditMicro, failureMicro, reliabilityPpm, availabilityPpm, speedPpm }
  }
  const after = [...scores].map(([peer, score]) => ({ peer, ...tell(score) }))
  return { closedMs: nowMs, before: tell(NEWCOMER), after }
}

function tellTranscript(bytes: Uint8Array): object {
  return { sizeBytes: bytes.length, sha256: digestOf(bytes) }
}

function tellMessages(rig: Rig): object {
  const tell = (opened: AnyOpened): object => ({ id: opened.id, envelope: toHex(opened.bytes) })
  const byKind: Record<string, object[]> = {}
  for (const opened of rig.record.messages()) {
    const list = (byKind[opened.kind] ??= [])
    list.push(tell(opened))
  }
  return byKind
}

/** The value that a path such as `bidders.0.peer` names. */
export function valueAt(content: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, name) => Reflect.get(Object(value), name), content)
}
