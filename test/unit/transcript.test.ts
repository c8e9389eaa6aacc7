import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { buildTranscript, parseTranscript } from '../../src/protocol/transcript.js'
import { Transcript } from '../../src/wire/generated/envelope.js'
import { open, seal } from '../../src/wire/envelope.js'
import { JobRecord } from '../../src/witness/job-record.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'
import type { Behaviour } from './rig.js'

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && Reflect.get(error, 'code') === code

const behaviours: Behaviour[] = ['liar', 'honest', 'silent', 'honest', 'honest', 'honest']
const rig = new Rig({ behaviours, auditPpm: 300_000 }).run()
const bytes = buildTranscript(NETWORK, rig.record)
const parts = Transcript.decode(bytes)

/** The transcript with other envelopes. */
function withEnvelopes(envelopes: readonly Uint8Array[]): Uint8Array {
  return Transcript.encode({ ...parts, envelopes: [...envelopes] })
}

describe('the transcript of a job', () => {
  it('holds the messages its result rests on, in one order', () => {
    const kinds = parts.envelopes.map((envelope) => open(NETWORK, envelope).kind)
    assert.equal(kinds[0], 'manifest')
    assert.equal(kinds.at(-1), 'jobEnd')
    assert.deepEqual(kinds.slice(1, 5), ['offer', 'freezeBids', 'freezeOpenings', 'task'])
    assert.equal(kinds.filter((kind) => kind === 'receipt').length, 9)
    assert.equal(kinds.filter((kind) => kind === 'offer').length, 4)
    const parsed = parseTranscript(bytes)
    assert.deepEqual(
      parsed.receipts.map(({ message }) => [message.batch, message.slot]),
      [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
        [1, 2],
        [2, 0],
        [2, 1],
        [2, 2],
        [3, 0],
      ],
    )
    assert.equal(parsed.jobId, rig.context.jobId)
  })

  it('is built byte for byte by a witness who saw the gossip alone, in any order', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray([...rig.published], { minLength: rig.published.length }),
        (gossip) => {
          const seen = gossip.map((opened) => open(NETWORK, opened.bytes))
          const byId = new Map(seen.map((opened) => [opened.id as string, opened]))
          const end = seen.find((opened) => opened.kind === 'jobEnd')
          const { manifest, plan } = rig
          const source = {
            manifest,
            plan,
            end,
            get: (id: string) => byId.get(id),
            messages: () => seen,
          }
          assert.deepEqual(buildTranscript(NETWORK, source), bytes)
        },
      ),
      { numRuns: 5, verbose: true },
    )
  })

  it('leaves out what was rejected, and of two attempts takes the higher', () => {
    const retried = new Rig({
      spec: { ...RUN_SPEC, tasks: 2 },
      behaviours: ['silent', 'silent', 'silent', 'honest'],
      deviates: ({ slot }) => slot === 1,
    })
    retried.run(() => retried.told('task:rejected').length === 1)
    const fresh = new Rig({ spec: { ...RUN_SPEC, tasks: 2 }, behaviours: honest(4) })
    assert.equal(fresh.manifest.id, retried.manifest.id)
    // The three recover before the second attempt.
    retried.executors.forEach((executor) => Reflect.set(executor, 'behaviour', 'honest'))
    retried.run()
    assert.equal(retried.state.status, 'succeeded')
    const { receipts, messages } = parseTranscript(buildTranscript(NETWORK, retried.record))
    assert.equal(receipts.length, 2)
    assert.ok(receipts.every(({ message }) => message.verdict === 'accepted'))
    assert.ok(retried.record.ofKind('receipt').length > 2)
    const attempts = [...messages()].flatMap((opened) =>
      opened.kind === 'offer' ? [opened.message.attempt] : [],
    )
    assert.deepEqual(attempts, [1, 2])
  })

  it('is refused with TRANSCRIPT_INCOMPLETE while the job has no result', () => {
    const waiting = new JobRecord(rig.manifest, rig.plan)
    assert.throws(() => buildTranscript(NETWORK, waiting), hasCode('TRANSCRIPT_INCOMPLETE'))
    const end = {
      jobId: Buffer.from(rig.manifest.id, 'hex'),
      status: 'failed',
      code: 'X',
      reason: '',
      result: new Uint8Array(0),
    }
    waiting.add(seal(NETWORK, 'jobEnd', end, rig.requester))
    assert.throws(() => buildTranscript(NETWORK, waiting), hasCode('TRANSCRIPT_INCOMPLETE'))
  })
})

describe('a transcript', () => {
  it('is refused after any single message was dropped', () => {
    for (const index of parts.envelopes.keys()) {
      const rest = parts.envelopes.toSpliced(index, 1)
      assert.throws(
        () => parseTranscript(withEnvelopes(rest)),
        (error) => /^TRANSCRIPT_/.test(String(Reflect.get(Object(error), 'code'))),
      )
    }
  })

  it('is refused with TRANSCRIPT_NOT_CANONICAL when a message is repeated, moved or added', () => {
    const { envelopes } = parts
    const last = envelopes.length - 1
    const stray = rig.record.ofKind('bid')[0]
    assert.ok(stray)
    const swapped = envelopes.with(5, envelopes[6]!).with(6, envelopes[5]!)
    const cases = [
      envelopes.toSpliced(last, 0, envelopes[4]!),
      envelopes.toSpliced(last, 0, stray.bytes),
      envelopes.toSpliced(1, 0, envelopes[0]!),
      swapped,
    ]
    for (const changed of cases) {
      assert.throws(
        () => parseTranscript(withEnvelopes(changed)),
        hasCode('TRANSCRIPT_NOT_CANONICAL'),
      )
    }
  })

  it('is refused whichever two messages were swapped', () => {
    const { envelopes } = parts
    const place = fc.nat(envelopes.length - 1)
    fc.assert(
      fc.property(place, place, (a, b) => {
        fc.pre(a !== b)
        const swapped = envelopes.with(a, envelopes[b]!).with(b, envelopes[a]!)
        assert.throws(() => parseTranscript(withEnvelopes(swapped)), /./)
      }),
      { numRuns: 30, verbose: true },
    )
  })

  it('is refused with TRANSCRIPT_MALFORMED when bytes are missing or follow', () => {
    assert.throws(() => parseTranscript(new Uint8Array(0)), hasCode('TRANSCRIPT_VERSION'))
    assert.throws(() => parseTranscript(Buffer.from('not a transcript at all')), /./)
    assert.throws(
      () => parseTranscript(bytes.subarray(0, bytes.length - 7)),
      hasCode('TRANSCRIPT_MALFORMED'),
    )
    const unknownField = Buffer.concat([bytes, Uint8Array.of(0x48, 1)])
    assert.throws(() => parseTranscript(unknownField), hasCode('TRANSCRIPT_MALFORMED'))
    assert.throws(() => parseTranscript(withEnvelopes([])), hasCode('TRANSCRIPT_MALFORMED'))
  })

  it('is refused with TRANSCRIPT_VERSION when it is of another version', () => {
    const other = Transcript.encode({ ...parts, version: 2 })
    assert.throws(() => parseTranscript(other), hasCode('TRANSCRIPT_VERSION'))
  })

  it('is refused with TRANSCRIPT_MESSAGE_INVALID when it claims another network', () => {
    const other = Transcript.encode({ ...parts, network: 'elsewhere' })
    assert.throws(() => parseTranscript(other), hasCode('TRANSCRIPT_MESSAGE_INVALID'))
  })

  it('is refused with TRANSCRIPT_MALFORMED when it names another job', () => {
    const other = Transcript.encode({ ...parts, jobId: new Uint8Array(32) })
    assert.throws(() => parseTranscript(other), hasCode('TRANSCRIPT_MALFORMED'))
  })
})
