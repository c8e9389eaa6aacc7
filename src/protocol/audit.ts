/**
 * The audit of a finished job, from its transcript alone: every signature, election, commitment,
 * verdict and receipt again, and the chain of hashes from the job's inputs to its result.
 */
import { CtdError, errorCode, errorMessage } from '../errors.js'
import { encodeRound } from '../training/round-manifest.js'
import type { Opened } from '../wire/envelope.js'
import { parseFolder, smallBlobDigest } from '../wire/folder.js'
import type { FolderFile } from '../wire/folder.js'
import type { TaskInput } from '../wire/generated/task.js'
import { fromHex, peerIdFromPublicKey, toHex } from '../wire/ids.js'
import type { Digest, JobId, PeerId } from '../wire/ids.js'
import { isCertificate } from '../wire/messages.js'
import { openFrozen } from './ballot.js'
import type { Election } from './election.js'
import {
  closedShard,
  isSized,
  missableShards,
  missedSlots,
  roundManifest,
  trainSlotAt,
} from './elastic.js'
import type { ClosedShard, ClosedShardOf } from './elastic.js'
import { openEvidence } from './evidence.js'
import type { VerifiedEvidence } from './evidence.js'
import { encodeResult, resultOf } from './job-result.js'
import type { ResultOutputs } from './job-result.js'
import type { JobSpec } from './job-spec.js'
import type { JobResult } from './job.js'
import type { PlannedInput, PlannedSlot } from './plan.js'
import { artifactsOf, runningSlots } from './selection.js'
import type { MetricsOf } from './selection.js'
import { verifySlot } from './slot-chain.js'
import type { VerifiedSlot } from './slot-chain.js'
import { workOn } from './standings.js'
import { parseTranscript } from './transcript.js'
import type { ParsedTranscript } from './transcript.js'

/** A file beside the transcript as the caller measured it; for a whole folder its root alone. */
export interface ArtifactFile {
  /** Blob digest of the file or of the folder's listing; undefined for links and the like. */
  readonly digest: Digest | undefined
  readonly sizeBytes: number | undefined
}

export interface AuditInput {
  /** The transcript. */
  readonly bytes: Uint8Array
  /** Listings of output folders by their root, for those that the reveals do not carry. */
  readonly listings?: ReadonlyMap<string, Uint8Array>
  /** The artifacts by their path in the plan; absent: not checked. */
  readonly artifacts?: ReadonlyMap<string, ArtifactFile>
  /** Whether artifacts may be missing; those that are there are checked. */
  readonly isPartial?: boolean
  /** The evidence file beside the transcript: what the bidders were weighed by. */
  readonly evidence?: Uint8Array
  /** Keys the auditor has evidence about: peers it has met, or was told to trust. */
  readonly trusted: ReadonlySet<string>
}

export interface AuditProblem {
  readonly code: string
  readonly message: string
}

export type AuditRole = 'requester' | 'publisher' | 'operator' | 'steward' | 'bidder' | 'executor'

export interface AuditKey {
  readonly peer: PeerId
  /** `executor`: its result is part of an accepted task. */
  readonly roles: readonly AuditRole[]
  readonly known: boolean
}

export interface AuditReport {
  readonly ok: boolean
  /** `ok`, `unanchored`, or the code of the first problem. */
  readonly code: string
  /** At most 32; the first is the one to look at. */
  readonly problems: readonly AuditProblem[]
  readonly network: string
  readonly jobId: JobId | undefined
  readonly kind: JobSpec['kind'] | undefined
  /** As recomputed from the accepted outputs; undefined when that failed. */
  readonly result: JobResult | undefined
  /** Accepted tasks, results revealed for them, messages in the transcript, artifacts checked. */
  readonly tasks: number
  readonly replicas: number
  readonly messages: number
  readonly artifacts: number
  /** Tasks that were accepted under the rules of young networks. */
  readonly young: number
  /** Stewards that signed the least signed certificate; with one, sets rest on its word alone. */
  readonly stewards: number
  /**
   * Elections, those among them whose weights were computed again, and from how many receipts;
   * undefined where no evidence was given.
   */
  readonly standings: {
    readonly elections: number
    readonly checked: number
    readonly receipts: number | undefined
  }
  /** Whoever revealed another result than the accepted one, sorted. */
  readonly dissenters: readonly PeerId[]
  /** Every key the transcript rests on, sorted by peer id. */
  readonly keys: readonly AuditKey[]
  /** Whether in every task a known key, not the requester's, got the accepted result. */
  readonly anchored: boolean
}

const PROBLEMS_MAX = 32

/** Audits a transcript; never throws because of its bytes. */
export function auditTranscript(input: AuditInput): AuditReport {
  let transcript: ParsedTranscript
  try {
    transcript = parseTranscript(input.bytes)
  } catch (error) {
    return refused(problemOf(error))
  }
  return new Audit(input, transcript).report()
}

/** Whatever stops the audit of some bytes speaks against them. */
function problemOf(error: unknown): AuditProblem {
  return { code: errorCode(error), message: errorMessage(error) }
}

function refused(problem: AuditProblem): AuditReport {
  return {
    ok: false,
    code: problem.code,
    problems: [problem],
    network: '',
    jobId: undefined,
    kind: undefined,
    result: undefined,
    tasks: 0,
    replicas: 0,
    messages: 0,
    artifacts: 0,
    young: 0,
    stewards: 0,
    standings: { elections: 0, checked: 0, receipts: undefined },
    dissenters: [],
    keys: [],
    anchored: false,
  }
}

class Audit {
  readonly #input: AuditInput
  readonly #transcript: ParsedTranscript
  readonly #problems: AuditProblem[] = []
  readonly #slots = new Map<string, VerifiedSlot>()
  readonly #files = new Map<Digest, readonly FolderFile[]>()
  /** Round manifests by the election they follow from, and what is told of shards. */
  readonly #sizes = new Map<Election, Uint8Array>()
  readonly #closed = new Map<VerifiedSlot, ClosedShard>()
  #artifacts = 0

  constructor(input: AuditInput, transcript: ParsedTranscript) {
    this.#input = input
    this.#transcript = transcript
  }

  report(): AuditReport {
    const { network, jobId, plan } = this.#transcript
    for (const offer of this.#offers()) this.#checkOffer(offer)
    this.#verifySlots()
    for (const slot of plan.batches.flat()) this.#checkInputs(slot)
    for (const slot of plan.batches.flat()) this.#checkSizes(slot)
    const result = this.#recomputeResult()
    this.#checkArtifacts()
    const standings = this.#checkStandings()
    const slots = [...this.#slots.values()]
    const [first] = this.#problems
    const anchored = first === undefined && slots.every((slot) => this.#isAnchored(slot))
    const ok = first === undefined && anchored
    return {
      ok,
      code: first?.code ?? (ok ? 'ok' : 'unanchored'),
      problems: this.#problems,
      network,
      jobId,
      kind: plan.spec.kind,
      result,
      tasks: slots.length,
      replicas: slots.reduce(
        (sum, { agreed, dissented }) => sum + agreed.length + dissented.length,
        0,
      ),
      messages: [...this.#transcript.messages()].length,
      artifacts: this.#artifacts,
      young: slots.filter(({ young }) => young).length,
      stewards: this.#stewards(),
      standings,
      dissenters: [...new Set(slots.flatMap(({ dissented }) => dissented))].sort(),
      keys: this.#keys(),
      anchored,
    }
  }

  #fail(code: string, message: string): void {
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push({ code, message })
  }

  #offers(): Array<Opened<'offer'>> {
    return [...this.#transcript.messages()].filter((opened) => opened.kind === 'offer')
  }

  /** An offer must ask for what the plan needs. Replicas and audits are `verifySlot`'s. */
  #checkOffer({ message }: Opened<'offer'>): void {
    const { plan } = this.#transcript
    const { resources } = plan
    const asked = message.requirements
    const isPlanned =
      message.slots === plan.batches[message.batch]?.length &&
      asked?.memoryMib === resources.memoryMiB &&
      asked.diskMib === resources.outMiB &&
      asked.gpus === resources.gpus &&
      asked.vramMib === resources.vramMiB &&
      asked.isolation === resources.isolation
    if (!isPlanned)
      this.#fail('OFFER_MISMATCH', `the offer of batch ${message.batch} is not the plan's`)
  }

  #verifySlots(): void {
    const { network, manifest, receipts, plan } = this.#transcript
    const get = this.#transcript.get.bind(this.#transcript)
    const elections = new Map<Digest, Election>()
    for (const receipt of receipts) {
      const { batch, slot } = receipt.message
      try {
        const source = { network, manifest, plan, get, elections, proofs: 'verify' } as const
        this.#slots.set(`${batch}/${slot}`, verifySlot(source, receipt))
      } catch (error) {
        const { code, message } = problemOf(error)
        this.#fail(code, `${plan.batches[batch]?.[slot]?.name ?? 'a task'}: ${message}`)
      }
    }
  }

  /** The weights of the lottery must follow from the receipts that the stewards quote. */
  #checkStandings(): AuditReport['standings'] {
    const frozen = [...this.#transcript.messages()].filter(({ kind }) => kind === 'freezeBids')
    const elections = frozen.length
    if (this.#input.evidence === undefined) return { elections, checked: 0, receipts: undefined }
    let evidence: VerifiedEvidence
    try {
      evidence = openEvidence(this.#input.evidence)
      if (evidence.network !== this.#transcript.network) {
        throw new CtdError('EVIDENCE_INVALID', 'the evidence is of another network')
      }
    } catch (error) {
      const { code, message } = problemOf(error)
      this.#fail(code, `the evidence does not hold: ${message}`)
      return { elections, checked: 0, receipts: 0 }
    }
    let checked = 0
    for (const freeze of frozen) {
      if (freeze.kind !== 'freezeBids') continue
      try {
        const found = evidence.check(freeze, workOn(this.#transcript.plan.resources.gpus))
        if (found === 'unknown') continue
        checked += 1
        if (found !== 'ok') {
          this.#fail('STANDING_MISMATCH', `the standing of ${found.peer} is not what receipts give`)
        }
      } catch (error) {
        const { code, message } = problemOf(error)
        this.#fail(code, message)
      }
    }
    return { elections, checked, receipts: evidence.receipts }
  }

  readonly #metricsOf: MetricsOf = (batch, slot) => this.#slot(batch, slot)?.metrics

  #slot(batch: number, slot: number): VerifiedSlot | undefined {
    return this.#slots.get(`${batch}/${slot}`)
  }

  /** The files of an accepted output, from a reveal or from the listing the caller has. */
  #filesOf({ outputRoot, files }: VerifiedSlot): readonly FolderFile[] | undefined {
    const known = files ?? this.#files.get(outputRoot)
    if (known !== undefined) return known
    const listing = this.#input.listings?.get(outputRoot)
    if (listing === undefined) return undefined
    if (smallBlobDigest(listing) !== outputRoot) {
      this.#fail(
        'LISTING_MISMATCH',
        `the listing ${outputRoot.slice(0, 16)} is not that of its root`,
      )
      return undefined
    }
    try {
      const parsed = parseFolder(listing)
      this.#files.set(outputRoot, parsed)
      return parsed
    } catch (error) {
      const { code, message } = problemOf(error)
      this.#fail(code, message)
      return undefined
    }
  }

  /** The inputs a task was given must be those that the plan names. */
  #checkInputs(planned: PlannedSlot): void {
    const slot = this.#slot(planned.batch, planned.slot)
    if (slot === undefined) return
    const missed = planned.stage === 'aggregate' ? this.#missedBy(planned, slot) : []
    const named = planned.inputs.filter(
      ({ source }) =>
        source.kind === 'job' ||
        !missed.some(({ batch, slot: index }) => source.batch === batch && source.slot === index),
    )
    const expected = named.map((input) => this.#expectedInput(planned, input))
    if (expected.includes(undefined)) return
    const isSame =
      expected.length === slot.inputs.length &&
      slot.inputs.every((input, i) => isSameInput(input, expected[i]))
    if (!isSame) this.#fail('INPUT_MISMATCH', `${planned.name} was given other inputs than planned`)
  }

  /** The shards that an elastic round closed without, no more than it may. */
  #missedBy(planned: PlannedSlot, { inputs }: VerifiedSlot): readonly PlannedSlot[] {
    const { plan } = this.#transcript
    const missed = missedSlots(plan, planned.batch, inputs)
    const most = plan.training === undefined ? 0 : missableShards(plan.training, planned.round)
    if (missed.length > most) {
      this.#fail('ROUND_MISMATCH', `${planned.name} closed without ${missed.length} shards`)
    }
    return missed
  }

  /** The sizes that a call carries must follow from the rounds before and the election. */
  #checkSizes(planned: PlannedSlot): void {
    const slot = this.#slot(planned.batch, planned.slot)
    const { plan } = this.#transcript
    if (slot === undefined) return
    let expected: Uint8Array = new Uint8Array(0)
    try {
      if (isSized(plan, planned)) expected = this.#sizesOf(planned, slot)
    } catch (error) {
      const { code, message } = problemOf(error)
      this.#fail(code, `${planned.name}: ${message}`)
      return
    }
    if (Buffer.compare(slot.round, expected) === 0) return
    this.#fail('ROUND_MISMATCH', `${planned.name} has another size than the rounds before give`)
  }

  /** The same for all that one election seated. */
  #sizesOf({ round }: PlannedSlot, { election }: VerifiedSlot): Uint8Array {
    const { training } = this.#transcript.plan
    const known = this.#sizes.get(election)
    if (known !== undefined || training === undefined) return known ?? new Uint8Array(0)
    const executorsOf = (shard: number): readonly PeerId[] => election.slots[shard]?.executors ?? []
    const closed: ClosedShardOf = (earlier, shard) => this.#closedShard(earlier, shard)
    const sizes = encodeRound(roundManifest(training, round, executorsOf, closed))
    this.#sizes.set(election, sizes)
    return sizes
  }

  #closedShard(round: number, shard: number): ClosedShard | undefined {
    const { plan } = this.#transcript
    const planned = trainSlotAt(plan, round, shard)
    const slot = planned && this.#slot(planned.batch, planned.slot)
    if (planned === undefined || slot === undefined || plan.training === undefined) return undefined
    const known = this.#closed.get(slot)
    if (known !== undefined) return known
    const agreed = slot.agreed.map((peer, i) => ({ peer, durationMs: slot.durationsMs[i] ?? 0 }))
    const closed = closedShard(plan.training, planned, slot.round, agreed)
    this.#closed.set(slot, closed)
    return closed
  }

  #expectedInput(planned: PlannedSlot, { name, source }: PlannedInput): TaskInput | undefined {
    if (source.kind === 'job') {
      const { inputs } = this.#transcript.manifest.message
      const found = inputs.find((input) => input.name === source.input)
      if (found === undefined)
        this.#fail('INPUT_MISSING', `the manifest has no input ${source.input}`)
      return found && { ...found, name }
    }
    const producer = this.#slot(source.batch, source.slot)
    if (producer === undefined) return undefined // Told already: it did not verify.
    const files = this.#filesOf(producer)
    if (files === undefined) {
      this.#failListing(`the inputs of ${planned.name}`, producer)
      return undefined
    }
    const file = files.find(({ path }) => path === source.path)
    if (file === undefined) {
      this.#fail('INPUT_MISSING', `the input ${name} of ${planned.name} is in no accepted output`)
      return undefined
    }
    return { name, digest: fromHex(file.digest), sizeBytes: file.sizeBytes, folder: false }
  }

  #failListing(what: string, { outputRoot }: VerifiedSlot): void {
    this.#fail('LISTING_MISSING', `${what} cannot be traced: no listing of ${outputRoot} is here`)
  }

  #recomputeResult(): JobResult | undefined {
    const { plan, end } = this.#transcript
    const metricsOf = this.#metricsOf
    const running = runningSlots(plan, metricsOf)
    const isWhole = running.every(
      (planned) => this.#slot(planned.batch, planned.slot) ?? this.#isMissed(planned),
    )
    if (!isWhole) return undefined
    // The result of a train or map job names a file of its first artifact.
    const [model] = artifactsOf(plan, metricsOf)
    const producer = model?.file === undefined ? undefined : this.#slot(model.batch, model.slot)
    const files = producer && this.#filesOf(producer)
    if (producer !== undefined && files === undefined) {
      this.#failListing('the result', producer)
      return undefined
    }
    if (files?.some(({ path }) => path === model?.file) === false) {
      this.#fail('RESULT_MISMATCH', 'the accepted output holds no such file')
      return undefined
    }
    const result = resultOf(plan, (batch, slot) => this.#outputOf(batch, slot))
    if (Buffer.compare(encodeResult(result), end.message.result) !== 0) {
      this.#fail('RESULT_MISMATCH', 'the result is another than the accepted outputs give')
    }
    return result
  }

  #isMissed(planned: PlannedSlot): boolean {
    const { batch } = planned
    const aggregate = this.#transcript.plan.batches[batch]?.find(
      ({ stage }) => stage === 'aggregate',
    )
    const closing = aggregate && this.#slot(batch, aggregate.slot)
    return (
      closing !== undefined &&
      missedSlots(this.#transcript.plan, batch, closing.inputs).includes(planned)
    )
  }

  #outputOf(batch: number, index: number): ResultOutputs | undefined {
    const slot = this.#slot(batch, index)
    if (slot === undefined) return undefined
    const files = this.#filesOf(slot)?.map((file) => [file.path, file] as const)
    return { root: slot.outputRoot, metrics: slot.metrics, files: files && new Map(files) }
  }

  #checkArtifacts(): void {
    const given = this.#input.artifacts
    if (given === undefined) return
    for (const { path, batch, slot: index, file } of artifactsOf(
      this.#transcript.plan,
      this.#metricsOf,
    )) {
      const slot = this.#slot(batch, index)
      const found = given.get(path)
      if (slot === undefined) continue
      if (found === undefined) {
        if (this.#input.isPartial !== true) this.#fail('ARTIFACT_MISSING', `${path} is missing`)
        continue
      }
      const expected = this.#expectedArtifact(slot, path, file)
      if (expected === undefined) continue
      this.#artifacts += 1
      const isSize = found.sizeBytes === expected.sizeBytes || expected.sizeBytes === undefined
      if (found.digest !== expected.digest || !isSize) {
        this.#fail('ARTIFACT_MISMATCH', `${path} is not the accepted output`)
      }
    }
  }

  #expectedArtifact(
    slot: VerifiedSlot,
    path: string,
    file: string | undefined,
  ): ArtifactFile | undefined {
    if (file === undefined) return { digest: slot.outputRoot, sizeBytes: undefined }
    const files = this.#filesOf(slot)
    if (files === undefined) {
      this.#failListing(path, slot)
      return undefined
    }
    const found = files.find((candidate) => candidate.path === file)
    if (found === undefined) this.#fail('ARTIFACT_MISMATCH', `no accepted output holds ${path}`)
    return found
  }

  #isAnchored(slot: VerifiedSlot): boolean {
    const { manifest, receipts } = this.#transcript
    const own = new Set([manifest.author, peerIdFromPublicKey(manifest.message.operator)])
    const receipt = receipts.find(
      ({ message }) => message.batch === slot.batch && message.slot === slot.slot,
    )
    const operators = new Map(
      receipt?.message.executors.map(({ peer, operator }) => [
        peerIdFromPublicKey(peer),
        peerIdFromPublicKey(operator),
      ]),
    )
    return slot.agreed.some((peer) => {
      const operator = operators.get(peer)
      const isOwn = own.has(peer) || operator === undefined || own.has(operator)
      return !isOwn && this.#input.trusted.has(peer)
    })
  }

  #stewards(): number {
    const certificates = [...this.#transcript.messages()].filter(({ kind }) => isCertificate(kind))
    const signed = certificates.map(({ authors }) => authors.length)
    return signed.length === 0 ? 0 : Math.min(...signed)
  }

  #keys(): AuditKey[] {
    const roles = new Map<PeerId, Set<AuditRole>>()
    const add = (peer: PeerId, role: AuditRole): void => {
      roles.set(peer, (roles.get(peer) ?? new Set<AuditRole>()).add(role))
    }
    const { network, manifest } = this.#transcript
    add(manifest.author, 'requester')
    add(peerIdFromPublicKey(manifest.message.publisher), 'publisher')
    add(peerIdFromPublicKey(manifest.message.operator), 'operator')
    for (const opened of this.#transcript.messages()) {
      if (isCertificate(opened.kind)) for (const peer of opened.authors) add(peer, 'steward')
      if (opened.kind !== 'freezeBids' || this.#problems.length > 0) continue
      for (const bid of openFrozen(network, 'bid', opened.message.bids)) add(bid.author, 'bidder')
    }
    for (const { agreed } of this.#slots.values()) for (const peer of agreed) add(peer, 'executor')
    return [...roles]
      .map(([peer, held]) => ({ peer, roles: [...held], known: this.#input.trusted.has(peer) }))
      .sort((a, b) => (a.peer < b.peer ? -1 : 1))
  }
}

function isSameInput(a: TaskInput, b: TaskInput | undefined): boolean {
  return (
    b !== undefined &&
    a.name === b.name &&
    a.sizeBytes === b.sizeBytes &&
    a.folder === b.folder &&
    toHex(a.digest) === toHex(b.digest)
  )
}
