import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import type { Clock } from '../../src/clock.js'
import { silentLog } from '../../src/log.js'
import { auditTranscript } from '../../src/protocol/audit.js'
import { bytesToInteger, logitMicro, negLog2Fixed } from '../../src/protocol/integer.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { deriveVrfSecret, vrfProve, vrfPublicKey, vrfVerify } from '../../src/protocol/vrf.js'
import { createSigner, open, signedBytes } from '../../src/wire/envelope.js'
import { Envelope } from '../../src/wire/generated/envelope.js'
import { digestOf, fromHex, publicKeyFromPeerId, toHex, utf8 } from '../../src/wire/ids.js'
import type { PeerId } from '../../src/wire/ids.js'
import { Inbox } from '../../src/witness/inbox.js'
import { runExample, tellExample, valueAt } from './example-job.js'

interface Party {
  readonly seed: string
  readonly peer: PeerId
  readonly key: string
  readonly vrfSecret: string
  readonly vrfKey: string
}
interface Message {
  readonly id: string
  readonly envelope: string
}
interface Example {
  readonly network: string
  readonly requester: Party
  readonly bidders: readonly Party[]
  readonly job: { readonly id: string }
  readonly opening: {
    readonly offer: string
    readonly frozenBids: string
    readonly alpha: string
    readonly outputs: readonly string[]
  }
  readonly election: {
    readonly seed: string
    readonly slotSeed: string
    readonly entries: ReadonlyArray<{
      readonly peer: string
      readonly reliabilityPpm: number
      readonly availabilityPpm: number
      readonly speedPpm: number
      readonly weight: string
      readonly u: string
      readonly negLog2: string
      readonly key: string
    }>
    readonly ranking: readonly string[]
  }
  readonly task: { readonly id: string; readonly preimage: string }
  readonly commitments: ReadonlyArray<{
    readonly outputRoot: string
    readonly metrics: string
    readonly metricsHash: string
    readonly preimage: string
    readonly commitment: string
    readonly outcome: string
  }>
  readonly draw: {
    readonly alpha: string
    readonly seed2: string
    readonly hash: string
    readonly drawnPpm: number
    readonly auditPpm: number
    readonly hidden: boolean
  }
  readonly verdict: {
    readonly odds: ReadonlyArray<{ reliabilityPpm: number; oddsMicro: number }>
    readonly sumMicro: number
    readonly quorumMicro: number
  }
  readonly receipt: { readonly executors: ReadonlyArray<{ readonly root: string }> }
  readonly reputation: {
    readonly after: ReadonlyArray<{ creditMicro: number; reliabilityPpm: number }>
  }
  readonly messages: Readonly<Record<string, readonly Message[]>>
}

const example: Example = JSON.parse(readFileSync(new URL('example.json', import.meta.url), 'utf8'))
const { network, messages } = example
const zero32 = '00000000'

/** Of the life of a batch, in the order of section 6. */
const LIFE = [
  'manifest',
  'offer',
  'bid',
  'freezeBids',
  'vrfOpen',
  'freezeOpenings',
  'task',
  'commitment',
  'freezeCommitments',
  'reveal',
  'freezeReveals',
  'receipt',
  'jobEnd',
]

function all(kind: string): readonly Message[] {
  const found = messages[kind]
  assert.ok(found, `no ${kind}`)
  return found
}

function one(kind: string): Message {
  const [found, ...others] = all(kind)
  assert.ok(found !== undefined && others.length === 0, `not one ${kind}`)
  return found
}

describe('the worked example', () => {
  it('is what the production code plays again, byte for byte', () => {
    assert.deepEqual(JSON.parse(JSON.stringify(tellExample(runExample()))), example)
  })

  it('has keys that follow from the seeds', () => {
    for (const { seed, peer, key, vrfSecret, vrfKey } of [example.requester, ...example.bidders]) {
      assert.equal(createSigner(fromHex(seed)).peerId, peer)
      assert.equal(toHex(publicKeyFromPeerId(peer)), key)
      assert.equal(toHex(deriveVrfSecret(fromHex(seed))), vrfSecret)
      assert.equal(toHex(vrfPublicKey(fromHex(vrfSecret))), vrfKey)
    }
  })

  it('has messages that their authors sign so again', () => {
    const signers = new Map(
      [example.requester, ...example.bidders].map(({ seed, peer }) => [
        peer,
        createSigner(fromHex(seed)),
      ]),
    )
    assert.deepEqual(Object.keys(messages).sort(), [...LIFE].sort())
    for (const { id, envelope } of LIFE.flatMap(all)) {
      const opened = open(network, fromHex(envelope))
      assert.equal(opened.id, id)
      const { kind, payload } = Envelope.decode(fromHex(envelope))
      const signer = signers.get(opened.author)
      assert.ok(signer)
      const author = publicKeyFromPeerId(opened.author)
      const signature = signer.sign(signedBytes(network, kind, payload))
      const again = Envelope.encode({ kind, payload, signatures: [{ author, signature }] })
      assert.equal(toHex(again), envelope)
    }
  })

  it('has messages that a witness accepts in their order', async () => {
    const clock: Clock = { now: () => 0, after: () => () => undefined }
    const inbox = new Inbox({
      network,
      clock,
      log: silentLog,
      onUnknownJob: () => assert.fail('the job is known'),
      onEquivocation: () => assert.fail('nobody is two-faced'),
    })
    const from = example.requester.peer
    for (const { envelope } of LIFE.flatMap(all)) {
      const { verdict } = await inbox.receive(fromHex(envelope), from)
      assert.equal(verdict, 'accept')
    }
    const record = inbox.record(example.job.id)
    assert.ok(record)
    const bytes = buildTranscript(network, record)
    assert.equal(bytes.length, valueAt(example, 'transcript.sizeBytes'))
    assert.equal(digestOf(bytes), valueAt(example, 'transcript.sha256'))
    const trusted = new Set(example.bidders.map(({ peer }) => peer))
    assert.deepEqual(auditTranscript({ bytes, trusted }).problems, [])
  })

  it('opens and ranks by the formulas of section 8', () => {
    const { opening, election } = example
    assert.equal(opening.offer, one('offer').id)
    assert.equal(opening.frozenBids, one('freezeBids').id)
    const attempt = fromHex('00000001')
    const [offer, frozen] = [fromHex(opening.offer), fromHex(opening.frozenBids)]
    assert.equal(digestOf(utf8('ctd-vrf-open-v1\0'), offer, attempt, frozen), opening.alpha)
    const outputs = example.bidders.map(({ vrfSecret, vrfKey }) => {
      const proof = vrfProve(fromHex(vrfSecret), fromHex(opening.alpha))
      return vrfVerify(fromHex(vrfKey), fromHex(opening.alpha), proof) ?? new Uint8Array(0)
    })
    assert.deepEqual(outputs.map(toHex), opening.outputs)
    const sorted = outputs.toSorted((a, b) => Buffer.compare(a, b))
    const seed = digestOf(utf8('ctd/election/v1'), offer, attempt, frozen, ...sorted)
    assert.equal(seed, election.seed)
    const slotSeed = digestOf(utf8('ctd/election-slot/v1'), fromHex(seed), fromHex(zero32))
    assert.equal(slotSeed, election.slotSeed)
    const ranked = election.entries.map((entry, i) => {
      const [output] = outputs.slice(i)
      assert.ok(output)
      const { availabilityPpm, reliabilityPpm, speedPpm, peer } = entry
      const product = BigInt(availabilityPpm) * BigInt(reliabilityPpm) * BigInt(speedPpm)
      assert.equal(String(product / 1_000_000_000_000n), entry.weight)
      const u = digestOf(utf8('ctd/lottery/v1'), fromHex(slotSeed), output, utf8(peer))
      assert.equal(u, entry.u)
      const negLog2 = negLog2Fixed(bytesToInteger(fromHex(u)))
      assert.equal(String(negLog2), entry.negLog2)
      assert.ok(Math.abs(Number(negLog2) / 2 ** 32 + Math.log2(Number(`0x${u}`)) - 256) < 1e-6)
      const key = (negLog2 << 32n) / BigInt(entry.weight)
      assert.equal(String(key), entry.key)
      return { peer, key }
    })
    ranked.sort((a, b) => (a.key < b.key ? -1 : 1))
    assert.deepEqual(
      ranked.map(({ peer }) => peer),
      election.ranking,
    )
  })

  it('names the task, commits and draws by the formulas of section 9', () => {
    const { task, commitments, draw } = example
    assert.equal(task.preimage, toHex(utf8('ctd-task-v1\0')) + example.job.id + zero32 + zero32)
    assert.equal(digestOf(fromHex(task.preimage)), task.id)
    for (const each of commitments) {
      assert.equal(digestOf(utf8(each.metrics)), each.metricsHash)
      assert.equal(digestOf(fromHex(each.preimage)), each.commitment)
      const parts = [fromHex(each.outputRoot), fromHex(each.metricsHash)]
      assert.equal(digestOf(utf8('ctd-outcome-v1\0'), ...parts), each.outcome)
    }
    const opened = open(network, fromHex(one('freezeCommitments').envelope))
    assert.ok(opened.kind === 'freezeCommitments')
    const frozen = opened.message.commitments.map((bytes) => {
      const commitment = open(network, bytes)
      assert.ok(commitment.kind === 'commitment')
      return toHex(commitment.message.commitment)
    })
    assert.deepEqual(
      frozen,
      commitments.map(({ commitment }) => commitment),
    )
    const hashes = opened.message.commitments.map((bytes) => fromHex(digestOf(bytes)))
    const previous = fromHex(one('task').id)
    assert.equal(digestOf(utf8('ctd-seed2-v1\0'), previous, ...hashes), draw.alpha)
    const [proof] = opened.message.vrfProofs
    const output = vrfVerify(fromHex(example.requester.vrfKey), fromHex(draw.alpha), proof!)
    assert.equal(output && toHex(output), draw.seed2)
    const hash = digestOf(utf8('ctd/hidden-replica/v1'), fromHex(draw.seed2), fromHex(zero32))
    assert.equal(hash, draw.hash)
    const drawnPpm = (BigInt(`0x${hash.slice(0, 16)}`) * 1_000_000n) >> 64n
    assert.equal(Number(drawnPpm), draw.drawnPpm)
    assert.equal(draw.drawnPpm < draw.auditPpm, draw.hidden)
  })

  it('weighs and credits by the formulas of sections 11 and 12', () => {
    const { verdict, receipt, reputation, commitments } = example
    for (const { reliabilityPpm, oddsMicro } of verdict.odds) {
      assert.equal(Math.min(Math.max(logitMicro(reliabilityPpm), 100_000), 3_000_000), oddsMicro)
      const p = reliabilityPpm / 1e6
      assert.ok(Math.abs(Math.log(p / (1 - p)) * 1e6 - oddsMicro) <= 1)
    }
    assert.equal(
      verdict.odds.reduce((sum, { oddsMicro }) => sum + oddsMicro, 0),
      verdict.sumMicro,
    )
    assert.ok(verdict.sumMicro >= verdict.quorumMicro)
    for (const { root } of receipt.executors) assert.equal(root, commitments[0]?.outcome)
    for (const { creditMicro, reliabilityPpm } of reputation.after) {
      assert.equal(creditMicro, Math.floor((25 * 1e6) / (5 * 5)))
      assert.equal(
        reliabilityPpm,
        Math.floor(((creditMicro + 400_000) * 1e6) / (creditMicro + 4e6)),
      )
    }
  })
})

describe('the example in proto/README.md', () => {
  const text = readFileSync(new URL('../../proto/README.md', import.meta.url), 'utf8')
  const blocks = [...text.matchAll(/^```example\n([\s\S]*?)^```$/gm)].map(([, block]) => block)
  const lines = blocks.flatMap((block) => (block ?? '').trimEnd().split('\n'))

  it('shows enough of every step', () => {
    const steps = new Set(lines.map((line) => line.split('.')[0]))
    for (const step of Object.keys(example)) {
      if (step !== 'about') assert.ok(steps.has(step) || step === 'network', step)
    }
    assert.ok(lines.length >= 40)
  })

  for (const line of lines) {
    it(`quotes ${line.split(/\s/)[0]} as it is`, () => {
      const [, path = '', quoted = ''] = /^(\S+)\s+(\S.*)$/.exec(line) ?? []
      const value = valueAt(example, path)
      assert.ok(typeof value !== 'object' && value !== undefined, `nothing at ${path}`)
      const whole = String(value)
      if (!quoted.endsWith('…')) return assert.equal(quoted, whole)
      const beginning = quoted.slice(0, -1)
      assert.ok(beginning.length >= 8, 'too short to tell')
      assert.ok(whole.startsWith(beginning), `${path} is ${whole}`)
    })
  }

  it('has no long number beside the blocks that the file does not have', () => {
    const [section = ''] = /## 22\. Worked example[\s\S]*/.exec(text) ?? []
    assert.notEqual(section, '')
    const known = JSON.stringify(example)
    for (const [quoted] of section.matchAll(/\b(?:[0-9a-f]{8,}|\d{5,})\b/g)) {
      assert.ok(known.includes(quoted), quoted)
    }
  })
})
