import assert from 'node:assert/strict'
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { auditCommand, hashFile } from '../../src/cli/audit.js'
import { EXIT, exitCodeOf } from '../../src/cli/exit-codes.js'
import { createManifest } from '../../src/blob/manifest.js'
import { auditTranscript } from '../../src/protocol/audit.js'
import type { AuditReport } from '../../src/protocol/audit.js'
import { encodeResult } from '../../src/protocol/job-result.js'
import { buildTranscript } from '../../src/protocol/transcript.js'
import { open, seal } from '../../src/wire/envelope.js'
import type { AnyOpened } from '../../src/wire/envelope.js'
import { smallBlobDigest } from '../../src/wire/folder.js'
import { Envelope, Transcript } from '../../src/wire/generated/envelope.js'
import { FreezeBids } from '../../src/wire/generated/election.js'
import { fromHex, sha256 } from '../../src/wire/ids.js'
import { JobRecord } from '../../src/witness/job-record.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'
import type { Behaviour, RigOptions } from './rig.js'

const behaviours: Behaviour[] = ['liar', 'honest', 'silent', 'honest', 'honest', 'honest']
const options: RigOptions = { behaviours, auditPpm: 300_000, extraFiles: 60 }
const rig = new Rig(options).run()
const bytes = buildTranscript(NETWORK, rig.record)
const listings = rig.listings()
const liar = rig.executor(0).peerId
const everyone = new Set<string>(rig.executors.map(({ peerId }) => peerId))
const artifacts = new Map(
  [...rig.artifacts()].map(([path, content]) => [
    path,
    { digest: smallBlobDigest(content), sizeBytes: content.length },
  ]),
)

function audit(changed: Uint8Array = bytes, trusted: ReadonlySet<string> = everyone): AuditReport {
  return auditTranscript({ bytes: changed, listings, artifacts, trusted })
}

/** The transcript with other messages in place of some, signed by the requester. */
function resigned(change: (opened: AnyOpened) => AnyOpened): Uint8Array {
  const record = new JobRecord(rig.manifest, rig.plan)
  for (const opened of rig.record.messages()) record.add(change(opened))
  return buildTranscript(NETWORK, record)
}

describe('the audit of a transcript', () => {
  it('accepts what an honest requester wrote, and names the dissenter', () => {
    const report = audit()
    assert.deepEqual(report.problems, [])
    assert.equal(report.code, 'ok')
    assert.equal(report.ok, true)
    assert.equal(report.anchored, true)
    assert.equal(report.tasks, 9)
    assert.equal(report.artifacts, 5)
    assert.ok(report.replicas > 18)
    assert.deepEqual(report.result, rig.state.result)
    assert.deepEqual(report.dissenters, [liar])
    const roles = new Map(report.keys.map(({ peer, roles: held }) => [peer, held]))
    assert.deepEqual(roles.get(liar), ['bidder'])
    assert.ok(roles.get(rig.executor(1).peerId)?.includes('executor'))
    assert.deepEqual(roles.get(rig.requester.peerId), [
      'requester',
      'publisher',
      'operator',
      'steward',
    ])
  })

  it('is anchored only where every task was agreed on by a known key that is not the requester', () => {
    assert.equal(audit(bytes, new Set()).code, 'unanchored')
    assert.equal(audit(bytes, new Set([rig.requester.peerId, liar])).code, 'unanchored')
    const report = audit(bytes, new Set([rig.executor(1).peerId]))
    const agreedAlways = rig
      .verified()
      .every(({ accepted, agreed }) => !accepted || agreed.includes(rig.executor(1).peerId))
    assert.equal(report.anchored, agreedAlways)
    assert.equal(report.keys.filter(({ known }) => known).length, 1)
  })

  it('does not count the key of the requester itself', () => {
    const own = new Rig({ spec: RUN_SPEC, behaviours: honest(2) }).run()
    const transcript = buildTranscript(NETWORK, own.record)
    const trusted = new Set<string>(own.executors.map(({ peerId }) => peerId))
    assert.equal(auditTranscript({ bytes: transcript, trusted }).code, 'ok')
    assert.equal(
      auditTranscript({ bytes: transcript, trusted: new Set([own.requester.peerId]) }).code,
      'unanchored',
    )
  })

  it('refuses a change of any byte', () => {
    const positions = 420
    const refused = Array.from({ length: positions }, (_, i) => {
      const at = Math.floor((i * (bytes.length - 1)) / (positions - 1))
      const changed = Uint8Array.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ (1 << (i % 8))
      return audit(changed)
    })
    assert.equal(refused.length, positions)
    for (const report of refused) {
      assert.equal(report.ok, false)
      assert.match(report.code, /^TRANSCRIPT_/)
    }
  })

  it('refuses every cut of the file', () => {
    for (let i = 0; i < 50; i++) {
      const report = audit(bytes.subarray(0, Math.floor((i * bytes.length) / 50)))
      assert.match(report.code, /^TRANSCRIPT_/)
    }
  })

  it('refuses a freeze with a bid dropped and encoded anew, signed again or not', () => {
    const parts = Transcript.decode(bytes)
    const index = parts.envelopes.findIndex(
      (envelope) => open(NETWORK, envelope).kind === 'freezeBids',
    )
    const envelope = Envelope.decode(parts.envelopes[index]!)
    const frozen = FreezeBids.decode(envelope.payload)
    const bids = frozen.bids.slice(1)
    const standings = frozen.standings.slice(1)
    const payload = FreezeBids.encode({ ...frozen, bids, standings })
    const envelopes = parts.envelopes.with(index, Envelope.encode({ ...envelope, payload }))
    const report = audit(Transcript.encode({ ...parts, envelopes }))
    assert.equal(report.code, 'TRANSCRIPT_MESSAGE_INVALID')
    const again = seal(NETWORK, 'freezeBids', { ...frozen, bids, standings }, rig.requester)
    const signed = parts.envelopes.with(index, again.bytes)
    assert.match(audit(Transcript.encode({ ...parts, envelopes: signed })).code, /^TRANSCRIPT_/)
  })

  it('refuses with RESULT_MISMATCH a result that the outputs do not give', () => {
    const changed = resigned((opened) => {
      if (opened.kind !== 'jobEnd' || rig.state.result === undefined) return opened
      const result = encodeResult({ ...rig.state.result, accuracy: 1 })
      return seal(NETWORK, 'jobEnd', { ...opened.message, result }, rig.requester)
    })
    assert.equal(audit(changed).code, 'RESULT_MISMATCH')
  })

  it('refuses with VERDICT_MISMATCH a receipt that the requester wrote anew', () => {
    const changed = resigned((opened) => {
      if (opened.kind !== 'receipt') return opened
      const message = { ...opened.message, outputRoot: new Uint8Array(32) }
      return seal(NETWORK, 'receipt', message, rig.requester)
    })
    const report = audit(changed)
    assert.equal(report.code, 'VERDICT_MISMATCH')
    assert.equal(report.tasks, 0)
    assert.equal(report.result, undefined)
  })

  it('refuses with INPUT_MISMATCH a task that was given another file than the plan names', () => {
    // A requester that swaps the two data shards of a round before it calls their executors.
    const cheat = new Rig({ behaviours: honest(4), keys: 'cheat' })
    cheat.run(() => cheat.state.batches[0]?.status === 'done')
    const files = cheat.state.batches[0]?.outputs.get(0)?.files
    assert.ok(files)
    const [a, b] = ['train-000.safetensors', 'train-001.safetensors']
    const swapped = new Map(files).set(a!, files.get(b!)!).set(b!, files.get(a!)!)
    cheat.state.batches[0]!.outputs.get(0)!.files = swapped
    cheat.run()
    assert.equal(cheat.state.status, 'succeeded')
    const trusted = new Set<string>(cheat.executors.map(({ peerId }) => peerId))
    const report = auditTranscript({ bytes: buildTranscript(NETWORK, cheat.record), trusted })
    assert.equal(report.code, 'INPUT_MISMATCH')
  })

  it('refuses with INPUT_MISMATCH another dataset than that of the manifest', () => {
    const cheat = new Rig({ behaviours: honest(4), keys: 'cheat' })
    const [dataset] = cheat.manifest.message.inputs
    assert.ok(dataset)
    dataset.digest = sha256(Buffer.from('another dataset'))
    cheat.run()
    const report = auditTranscript({
      bytes: buildTranscript(NETWORK, cheat.record),
      trusted: new Set(),
    })
    assert.equal(report.code, 'INPUT_MISMATCH')
  })

  it('refuses with OFFER_MISMATCH an offer for other resources than the plan names', () => {
    const cheat = new Rig({ spec: RUN_SPEC, behaviours: honest(3), keys: 'cheat' })
    Reflect.set(cheat.context, 'plan', {
      ...cheat.plan,
      resources: { ...cheat.plan.resources, memoryMiB: 1 },
    })
    cheat.run()
    const report = auditTranscript({
      bytes: buildTranscript(NETWORK, cheat.record),
      trusted: new Set(),
    })
    assert.equal(report.code, 'OFFER_MISMATCH')
  })

  it('refuses with LISTING_MISSING or LISTING_MISMATCH what it cannot trace', () => {
    assert.equal(auditTranscript({ bytes, trusted: everyone }).code, 'LISTING_MISSING')
    const wrong = new Map(
      [...listings].map(([root, listing]) => [root, Buffer.concat([listing, listing])]),
    )
    assert.equal(
      auditTranscript({ bytes, trusted: everyone, listings: wrong }).code,
      'LISTING_MISMATCH',
    )
  })

  it('refuses with ARTIFACT_MISMATCH or ARTIFACT_MISSING what is not the accepted output', () => {
    for (const [path, { digest, sizeBytes }] of artifacts) {
      const other = new Map(artifacts).set(path, {
        digest: smallBlobDigest(fromHex(digest)),
        sizeBytes,
      })
      assert.equal(
        auditTranscript({ bytes, listings, artifacts: other, trusted: everyone }).code,
        'ARTIFACT_MISMATCH',
      )
      const fewer = new Map(artifacts)
      fewer.delete(path)
      const input = { bytes, listings, artifacts: fewer, trusted: everyone }
      assert.equal(auditTranscript(input).code, 'ARTIFACT_MISSING')
      assert.equal(auditTranscript({ ...input, isPartial: true }).code, 'ok')
    }
  })

  it('is unanchored, never ok, for a forger that signs the whole story with its own keys', () => {
    const forger = new Rig({ ...options, keys: 'forger' })
    // Its executors agree on whatever it likes: every hash and signature fits.
    forger.run()
    const forged = buildTranscript(NETWORK, forger.record)
    const input = { bytes: forged, listings: forger.listings(), trusted: everyone }
    const report = auditTranscript(input)
    assert.deepEqual(report.problems, [])
    assert.equal(report.ok, false)
    assert.equal(report.code, 'unanchored')
    assert.ok(report.keys.every(({ known }) => !known))
  })

  it('refuses bytes of any kind without throwing', () => {
    for (const other of [new Uint8Array(0), Buffer.from('{}'), sha256(bytes), bytes.subarray(1)]) {
      assert.equal(audit(other).ok, false)
    }
  })
})

describe('ctd audit', () => {
  let folder = ''
  let count = 0
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ctd-audit-'))
  })
  after(async () => {
    await rm(folder, { recursive: true, force: true })
  })

  /** A results folder as `ctd results --out` writes it, with a home beside it. */
  async function results(from: Rig = rig): Promise<{ dir: string; home: string }> {
    count += 1
    const dir = join(folder, `results-${count}`)
    const home = join(folder, `home-${count}`)
    await mkdir(join(dir, 'listings'), { recursive: true })
    await mkdir(home)
    await writeFile(join(dir, 'transcript.ctd'), buildTranscript(NETWORK, from.record))
    for (const [root, listing] of from.listings()) {
      await writeFile(join(dir, 'listings', `${root}.jsonl`), listing)
    }
    for (const [path, content] of from.artifacts()) {
      await mkdir(dirname(join(dir, path)), { recursive: true })
      await writeFile(join(dir, path), content)
    }
    const known = Object.fromEntries([...everyone].map((peer) => [peer, 1_800_000_000_000]))
    await writeFile(join(home, 'known-peers.json'), JSON.stringify(known))
    return { dir, home }
  }

  async function run(
    path: string,
    home: string,
    { trust = [], json = false }: { trust?: readonly string[]; json?: boolean } = {},
  ): Promise<{ exit: number; text: string }> {
    const printed: string[] = []
    const exit = await auditCommand(path, {
      home,
      trust,
      json,
      print: (text) => printed.push(text),
    })
    return { exit, text: printed.join('\n') }
  }

  it('accepts a results folder and says what it checked', async () => {
    const { dir, home } = await results()
    const { exit, text } = await run(dir, home)
    assert.equal(exit, EXIT.ok)
    assert.match(text, /9 tasks, \d+ replicas, 5 artifacts/)
    assert.match(text, /6 of 7 known/)
    assert.match(text, new RegExp(`dissenters +${liar}`))
    assert.match(text, /^audit: ok$/m)
  })

  it('prints one JSON object with --json', async () => {
    const { dir, home } = await results()
    const { exit, text } = await run(join(dir, 'transcript.ctd'), home, { json: true })
    const report = JSON.parse(text) as AuditReport
    assert.equal(exit, EXIT.ok)
    assert.equal(report.ok, true)
    assert.equal(report.jobId, rig.context.jobId)
    assert.equal(report.artifacts, 5)
  })

  it('refuses every artifact that was replaced by one of equal length', async () => {
    for (const path of rig.artifacts().keys()) {
      const { dir, home } = await results()
      const content = await readFile(join(dir, path))
      content[content.length - 1] = (content.at(-1) ?? 0) ^ 1
      await writeFile(join(dir, path), content)
      for (const target of [dir, join(dir, 'transcript.ctd')]) {
        const { exit, text } = await run(target, home)
        assert.equal(exit, EXIT.verificationFailed)
        assert.match(text, /ARTIFACT_MISMATCH/)
      }
    }
  })

  it('refuses a missing artifact in a folder, and a link in its place', async () => {
    const { dir, home } = await results()
    const model = join(dir, 'model.safetensors')
    await copyFile(model, join(dir, 'elsewhere'))
    await rm(model)
    assert.match((await run(dir, home)).text, /ARTIFACT_MISSING/)
    assert.equal((await run(join(dir, 'transcript.ctd'), home)).exit, EXIT.ok)
    await symlink(join(dir, 'elsewhere'), model)
    assert.match((await run(dir, home)).text, /ARTIFACT_MISMATCH/)
    assert.equal((await run(join(dir, 'transcript.ctd'), home)).exit, EXIT.verificationFailed)
  })

  it('ends with another exit code for a forger: unanchored', async () => {
    const forger = new Rig({ ...options, keys: 'forger' }).run()
    const { dir, home } = await results(forger)
    const { exit, text } = await run(dir, home)
    assert.equal(exit, EXIT.unanchored)
    assert.equal(EXIT.unanchored, 12)
    assert.match(text, /^audit: unanchored$/m)
    assert.match(text, new RegExp(forger.executor(1).peerId))
    const trust = forger.executors.map(({ peerId }) => peerId)
    assert.equal((await run(dir, home, { trust })).exit, EXIT.ok)
  })

  it('is unanchored where no daemon ever ran, and survives a damaged list of peers', async () => {
    const { dir, home } = await results()
    assert.equal((await run(dir, join(folder, 'nowhere'))).exit, EXIT.unanchored)
    await writeFile(join(home, 'known-peers.json'), '{"12D3')
    assert.equal((await run(dir, home)).exit, EXIT.unanchored)
  })

  it('refuses a damaged transcript with exit code 11', async () => {
    const { dir, home } = await results()
    await writeFile(join(dir, 'transcript.ctd'), bytes.subarray(0, 1000))
    const { exit, text } = await run(dir, home)
    assert.equal(exit, 11)
    assert.match(text, /^audit: failed \(TRANSCRIPT_/m)
  })

  it('says FILE_NOT_FOUND with exit code 3 where there is nothing to audit', async () => {
    const { dir, home } = await results()
    await rm(join(dir, 'transcript.ctd'))
    for (const path of [join(folder, 'nothing'), dir]) {
      await assert.rejects(run(path, home), (error) => exitCodeOf(error) === EXIT.notFound)
    }
  })

  it('refuses --trust with something that is no peer id as wrong usage', async () => {
    const { dir, home } = await results()
    await assert.rejects(
      run(dir, home, { trust: ['me'] }),
      (error) => exitCodeOf(error) === EXIT.usage,
    )
  })

  it('checks the folders of a run job, files and names', async () => {
    const job = new Rig({
      spec: { ...RUN_SPEC, tasks: 2 },
      behaviours: honest(4),
      extraFiles: 3,
    }).run()
    const good = await results(job)
    const { exit, text } = await run(good.dir, good.home)
    assert.equal(exit, EXIT.ok)
    assert.match(text, /2 artifacts/)
    await writeFile(join(good.dir, 'output-001', 'extra', '3.bin'), '')
    assert.match((await run(good.dir, good.home)).text, /ARTIFACT_MISMATCH: output-001/)
    const linked = await results(job)
    await symlink('report.txt', join(linked.dir, 'output-000', 'link'))
    assert.match(
      (await run(join(linked.dir, 'transcript.ctd'), linked.home)).text,
      /ARTIFACT_MISMATCH: output-000/,
    )
    const changed = await results(job)
    await writeFile(join(changed.dir, 'output-000', 'report.txt'), Buffer.alloc(32))
    assert.equal((await run(changed.dir, changed.home)).exit, EXIT.verificationFailed)
  })

  it('hashes files as blobs are named, also those of several pieces', async () => {
    for (const size of [0, 1, 1024 * 1024, 1024 * 1024 + 1, 3 * 1024 * 1024 + 77]) {
      const content = Buffer.alloc(size, 'ctd')
      const path = join(folder, `file-${size}`)
      await writeFile(path, content)
      const pieces = Array.from({ length: Math.ceil(size / 1024 ** 2) }, (_, i) =>
        sha256(content.subarray(i * 1024 ** 2, (i + 1) * 1024 ** 2)),
      )
      const { digest } = createManifest(size, pieces)
      assert.deepEqual(await hashFile(path), { digest, sizeBytes: size })
      assert.equal(smallBlobDigest(content), digest)
    }
  })
})
