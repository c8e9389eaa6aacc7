import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Clock } from '../../src/clock.js'
import { silentLog } from '../../src/log.js'
import { commitmentsAlpha, keysOf, openFrozen, seed2Of } from '../../src/protocol/ballot.js'
import { sortByAuthor } from '../../src/protocol/ballot.js'
import {
  beaconOf,
  beaconRefusal,
  EPOCH_MS,
  epochOf,
  epochToQuote,
  isDrawnAfter,
  stewardOutputs,
} from '../../src/protocol/beacon.js'
import type { StewardOutput } from '../../src/protocol/beacon.js'
import { openFault, sealFault } from '../../src/protocol/fault.js'
import { omissionOf } from '../../src/protocol/omission.js'
import { verifySlot } from '../../src/protocol/slot-chain.js'
import type { VerifiedSlot } from '../../src/protocol/slot-chain.js'
import {
  canonicalOf,
  isFull,
  isLikeOwn,
  isTimeoutEvidence,
  rankStewards,
} from '../../src/protocol/stewards.js'
import type { StewardCandidate } from '../../src/protocol/stewards.js'
import { taskIdOf } from '../../src/protocol/task.js'
import { deriveVrfSecret, vrfProve, vrfPublicKey } from '../../src/protocol/vrf.js'
import { cosign, createSigner, joinSignatures, open, seal } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../../src/wire/envelope.js'
import { fromHex, publicKeyFromPeerId, sha256, utf8 } from '../../src/wire/ids.js'
import type { JobId, PeerId } from '../../src/wire/ids.js'
import { kindId } from '../../src/wire/messages.js'
import type { MessageKind, Messages } from '../../src/wire/messages.js'
import { Inbox } from '../../src/witness/inbox.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && Reflect.get(error, 'code') === code

const BEACON = sha256(utf8('beacon'))
const EPOCH = 3_000_000
const STANDING = {
  reliabilityPpm: 100_000,
  availabilityPpm: 500_000,
  speedPpm: 1_000_000,
  established: false,
  excluded: false,
  addressPrefix: '',
}

interface TestSteward {
  readonly signer: Signer
  readonly secret: Uint8Array
}

/** One task under several stewards, each certificate signed by as many of them as one likes. */
class Panel {
  readonly rig = new Rig({ spec: RUN_SPEC, behaviours: honest(3), auditPpm: 0 })
  readonly stewards: readonly TestSteward[]
  readonly offer: Opened<'offer'>
  /** How many sign, and in which view. */
  readonly #signers: number
  readonly #view: number
  readonly #opened: number
  #commitments: Uint8Array[] | undefined
  readonly #messages = new Map<string, AnyOpened>()

  constructor(options: { stewards: number; signers: number; view?: number; opened?: number }) {
    this.stewards = Array.from({ length: options.stewards }, (_, i) => {
      const seed = sha256(utf8(`steward ${i}`))
      return { signer: createSigner(seed), secret: deriveVrfSecret(seed) }
    })
    this.#signers = options.signers
    this.#view = options.view ?? 0
    this.#opened = options.opened ?? options.signers
    this.offer = this.note(
      seal(
        NETWORK,
        'offer',
        {
          jobId: fromHex(this.rig.manifest.id),
          batch: 0,
          attempt: 1,
          slots: 1,
          replicas: this.rig.manifest.message.replicas,
          requirements: { memoryMib: 64, diskMib: 16, gpus: 0, vramMib: 0, isolation: 'runc' },
          bidWindowMs: 1000,
          openWindowMs: 1000,
          auditPpm: 0,
          stewards: keysOf(this.stewards.map(({ signer }) => signer.peerId)),
          stewardVrfKeys: this.stewards.map(({ secret }) => vrfPublicKey(secret)),
          diversity: 'operator',
          epoch: EPOCH,
          beacon: BEACON,
          small: false,
        },
        this.rig.requester,
      ),
    )
  }

  note<K extends MessageKind>(opened: Opened<K>): Opened<K> {
    this.#messages.set(opened.id, opened as AnyOpened)
    this.rig.record.add(opened as AnyOpened)
    return opened
  }

  /** The members of the view, its leader first. */
  members(view = this.#view): TestSteward[] {
    const { length } = this.stewards
    return Array.from(
      { length: Math.min(7, length) },
      (_, i) => this.stewards[(view + i) % length]!,
    )
  }

  certify<K extends MessageKind>(kind: K, message: Messages[K], count = this.#signers): Opened<K> {
    const [leader, ...others] = this.members().slice(0, count)
    const first = seal(NETWORK, kind, message, leader!.signer)
    return others.reduce((opened, { signer }) => cosign(NETWORK, opened, signer), first)
  }

  /** What executors answer; all of one kind. */
  #answers<K extends 'bid' | 'vrfOpen' | 'commitment' | 'reveal'>(
    kind: K,
    opened: AnyOpened,
  ): Uint8Array[] {
    const answers = this.rig.executors
      .flatMap((executor) => executor.onMessage(opened))
      .filter((answer): answer is Opened<K> & AnyOpened => answer.kind === kind)
    for (const answer of answers) this.rig.record.add(answer)
    return sortByAuthor(answers as Array<Opened<K>>).map(({ bytes }) => bytes)
  }

  freezeBids(signers?: number): Opened<'freezeBids'> {
    const bids = this.#answers('bid', this.offer)
    const message = {
      offer: fromHex(this.offer.id),
      bids,
      standings: bids.map(() => STANDING),
      receiptRoot: new Uint8Array(0),
      frozenMs: 1,
      view: this.#view,
    }
    return this.certify('freezeBids', message, signers)
  }

  freezeCommitments(previous: Opened<'task'>, count: number): Opened<'freezeCommitments'> {
    this.#commitments ??= this.#answers('commitment', previous)
    const commitments = this.#commitments
    const id = fromHex(previous.id)
    const alpha = commitmentsAlpha(id, commitments)
    const vrfProofs = this.members().map(({ secret }, i) =>
      i < count ? vrfProve(secret, alpha) : new Uint8Array(0),
    )
    const message = { previous: id, commitments, vrfProofs, view: this.#view }
    return this.certify('freezeCommitments', message)
  }

  /** Everything up to the receipt, and its verification. */
  play(): { slot: VerifiedSlot; frozen: Opened<'freezeCommitments'> } {
    const view = this.#view
    const frozenBids = this.note(this.freezeBids())
    const frozenOpenings = this.note(
      this.certify('freezeOpenings', {
        frozenBids: fromHex(frozenBids.id),
        openings: this.#answers('vrfOpen', frozenBids as AnyOpened),
        view,
      }),
    )
    const task = this.note(
      this.certify('task', {
        previous: fromHex(frozenOpenings.id),
        jobId: fromHex(this.rig.manifest.id),
        batch: 0,
        slot: 0,
        attempt: 1,
        seats: 2,
        inputs: [],
        providers: [],
        calledMs: 2,
        view,
        round: new Uint8Array(0),
      }),
    )
    const frozen = this.note(this.freezeCommitments(task, this.#opened))
    // Nobody reveals upon a freeze that draws nothing.
    const whole = this.freezeCommitments(task, this.stewards.length)
    this.rig.record.add(whole)
    const frozenReveals = this.note(
      this.certify('freezeReveals', {
        previous: fromHex(frozen.id),
        reveals: this.#answers('reveal', whole as AnyOpened),
        sketches: [],
        view,
      }),
    )
    const reveals = openFrozen(NETWORK, 'reveal', frozenReveals.message.reveals)
    const ranking = this.rig.rankingOf(task)
    const outcome = {
      outputRoot: reveals[0]!.message.outputRoot,
      metrics: reveals[0]!.message.metrics,
    }
    const root = sha256(utf8('ctd-outcome-v1\0'), outcome.outputRoot, sha256(outcome.metrics))
    const receipt = this.certify('receipt', {
      previous: fromHex(frozenReveals.id),
      jobId: fromHex(this.rig.manifest.id),
      batch: 0,
      slot: 0,
      taskId: fromHex(taskIdOf(task.message)),
      verdict: 'accepted',
      outputRoot: outcome.outputRoot,
      executors: ranking.slice(0, 2).map((peer) => ({
        peer: publicKeyFromPeerId(peer),
        operator: publicKeyFromPeerId(peer),
        outcome: 'agreed',
        durationMs: reveals.find(({ author }) => author === peer)!.message.durationMs,
        root,
      })),
      young: true,
      closedMs: 3,
      reason: '',
      view,
    })
    const slot = verifySlot(
      {
        network: NETWORK,
        manifest: this.rig.manifest,
        get: (id) => this.#messages.get(id),
        elections: new Map(),
        proofs: 'verify',
      },
      receipt,
    )
    return { slot, frozen }
  }
}

describe('a task under several stewards', () => {
  it('holds when a quorum signs every certificate, of the first or of a later view', () => {
    for (const view of [0, 1, 5]) {
      const { slot } = new Panel({ stewards: 4, signers: 3, view }).play()
      assert.equal(slot.accepted, true)
      assert.equal(slot.agreed.length, 2)
    }
    assert.equal(new Panel({ stewards: 9, signers: 5, view: 4 }).play().slot.accepted, true)
  })

  it('is refused with NOT_A_STEWARD when fewer than two thirds sign', () => {
    const panel = new Panel({ stewards: 4, signers: 2 })
    assert.throws(() => panel.play(), hasCode('NOT_A_STEWARD'))
  })

  it('is refused with NOT_A_STEWARD when a steward of another view signs', () => {
    const panel = new Panel({ stewards: 9, signers: 5 })
    const frozen = panel.freezeBids()
    assert.equal(isFull(panel.offer, frozen), true)
    const eighth = cosign(NETWORK, frozen, panel.stewards[7]!.signer)
    assert.equal(isFull(panel.offer, eighth), false)
  })

  it('is refused with VRF_INVALID when fewer than a quorum opened', () => {
    const panel = new Panel({ stewards: 4, signers: 3, opened: 2 })
    assert.throws(() => panel.play(), hasCode('VRF_INVALID'))
  })

  it('draws with the outputs of all that opened, and of a lone steward as ever', () => {
    const several = new Panel({ stewards: 4, signers: 3 })
    const { frozen } = several.play()
    assert.equal(seed2Of(several.offer, frozen, 'verify')?.length, 32)
    assert.deepEqual(
      seed2Of(several.offer, frozen, 'trust'),
      seed2Of(several.offer, frozen, 'verify'),
    )
    const [first, second, ...rest] = frozen.message.vrfProofs
    const swapped = { ...frozen.message, vrfProofs: [second!, first!, ...rest] }
    assert.equal(seed2Of(several.offer, { ...frozen, message: swapped }, 'verify'), undefined)
    const lone = new Panel({ stewards: 1, signers: 1 })
    assert.equal(seed2Of(lone.offer, lone.play().frozen, 'verify')?.length, 64)
  })
})

describe('a certificate', () => {
  const panel = new Panel({ stewards: 4, signers: 4 })
  const message = { frozenBids: sha256(), openings: [], view: 0 }
  const signers = panel.stewards.map(({ signer }) => signer)
  const by = (who: readonly number[], view = 0, bids = 'x'): Opened<'freezeOpenings'> =>
    joinSignatures(
      who.map((i) =>
        seal(
          NETWORK,
          'freezeOpenings',
          { ...message, view, frozenBids: sha256(utf8(bids)) },
          signers[i]!,
        ),
      ),
    )

  it('joins signatures in any order to the same bytes, which verify', () => {
    assert.deepEqual(by([0, 1, 2]).bytes, by([2, 0, 1]).bytes)
    const opened = open(NETWORK, by([0, 2]).bytes)
    assert.equal(opened.id, by([1]).id)
    assert.deepEqual(opened.authors, [signers[0]!.peerId, signers[2]!.peerId].sort())
    assert.deepEqual(joinSignatures([by([0, 1]), by([1, 2])]).bytes, by([0, 1, 2]).bytes)
  })

  it('joins no signatures of different payloads: ENVELOPE_MALFORMED', () => {
    assert.throws(() => joinSignatures([by([0]), by([1], 1)]), hasCode('ENVELOPE_MALFORMED'))
    assert.throws(() => joinSignatures([]), hasCode('ENVELOPE_MALFORMED'))
  })

  it('counts by lower view, then more signatures, then lower id; copies count together', () => {
    const { offer } = panel
    const pick = (...all: Array<Opened<'freezeOpenings'>>): Opened<'freezeOpenings'> | undefined =>
      canonicalOf(offer, all)
    assert.equal(pick(by([0, 1, 2, 3], 1), by([0, 1, 2], 0))?.message.view, 0)
    assert.equal(pick(by([0, 1], 0), by([0, 1, 2], 1))?.message.view, 1)
    assert.equal(pick(by([0, 1], 0)), undefined)
    assert.equal(pick(by([0, 1]), by([2]))?.authors.length, 3)
    assert.equal(pick(by([0, 1, 2], 0, 'a'), by([0, 1, 2, 3], 0, 'b'))?.authors.length, 4)
    const [a, b] = [by([0, 1, 2], 0, 'a'), by([0, 1, 2], 0, 'b')]
    const lower = a.id < b.id ? a.id : b.id
    assert.equal(pick(a, b)?.id, lower)
    assert.equal(pick(b, a)?.id, lower)
  })

  it('accuses whoever signs two in one view, and nobody who signs in two views', () => {
    const same = sha256()
    const of = (view: number, opening: string): Opened<'freezeOpenings'> => {
      const openings = [utf8(opening)]
      return seal(NETWORK, 'freezeOpenings', { frozenBids: same, openings, view }, signers[0]!)
    }
    const proven = openFault(NETWORK, sealFault(of(0, 'a') as AnyOpened, of(0, 'b') as AnyOpened))
    assert.deepEqual(proven.accused, [signers[0]!.peerId])
    const views = sealFault(of(0, 'a') as AnyOpened, of(1, 'b') as AnyOpened)
    assert.throws(() => openFault(NETWORK, views), hasCode('FAULT_UNPROVEN'))
  })
})

describe('an omission', () => {
  const panel = new Panel({ stewards: 4, signers: 3 })
  const frozen = panel.freezeBids()
  const late = createSigner(sha256(utf8('left out')))
  const steward = panel.members()[0]!.signer
  const acknowledgement = (
    changes: Partial<Messages['acknowledgement']> = {},
    signer = steward,
  ): Opened<'acknowledgement'> =>
    seal(
      NETWORK,
      'acknowledgement',
      {
        offer: fromHex(panel.offer.id),
        message: sha256(utf8('bid')),
        receivedMs: 5,
        kind: kindId('bid'),
        author: publicKeyFromPeerId(late.peerId),
        stage: fromHex(panel.offer.id),
        attempt: 0,
        view: 0,
        ...changes,
      },
      signer,
    )

  it('is proven by an acknowledgement and a signature over a set without the message', () => {
    const proven = omissionOf(NETWORK, acknowledgement(), frozen as AnyOpened)
    assert.equal(proven?.accused, steward.peerId)
    assert.equal(proven.author, late.peerId)
    assert.equal(proven.kind, 'bid')
    const partial = panel.freezeBids(1)
    assert.equal(omissionOf(NETWORK, acknowledgement(), partial as AnyOpened)?.kind, 'bid')
  })

  it('is not proven against who did not sign, for another stage, or while the author is there', () => {
    const absent = panel.members()[3]!.signer
    const cases: Array<Opened<'acknowledgement'>> = [
      acknowledgement({}, absent),
      acknowledgement({ stage: sha256(utf8('another offer')) }),
      acknowledgement({ kind: kindId('reveal') }),
      acknowledgement({ author: publicKeyFromPeerId(panel.rig.executor(0).peerId) }),
    ]
    for (const each of cases) {
      assert.equal(omissionOf(NETWORK, each, frozen as AnyOpened), undefined)
    }
    const other = new Panel({ stewards: 3, signers: 3 }).offer
    assert.equal(omissionOf(NETWORK, acknowledgement(), frozen as AnyOpened, other), undefined)
  })

  it('of a commitment is proven only while fewer are frozen than the offer has replicas', () => {
    const played = new Panel({ stewards: 4, signers: 3 })
    const { frozen: set } = played.play()
    const [commitment] = openFrozen(NETWORK, 'commitment', set.message.commitments)
    const word = acknowledgement({
      offer: fromHex(played.offer.id),
      kind: kindId('commitment'),
      stage: commitment!.message.taskId,
      attempt: 1,
    })
    assert.equal(omissionOf(NETWORK, word, set as AnyOpened, played.offer), undefined)
    const fewer = { ...set.message, commitments: set.message.commitments.slice(0, 1) }
    const forged = seal(NETWORK, 'freezeCommitments', fewer, steward)
    assert.equal(omissionOf(NETWORK, word, forged as AnyOpened, played.offer)?.kind, 'commitment')
  })

  it("of a steward's own opening is proven by the empty place of its proof", () => {
    const played = new Panel({ stewards: 4, signers: 3 })
    const { frozen: set } = played.play()
    const silenced = played.members()[3]!.signer
    const word = (author: PeerId): Opened<'acknowledgement'> =>
      acknowledgement({
        offer: fromHex(played.offer.id),
        kind: kindId('vrfOpen'),
        author: publicKeyFromPeerId(author),
        stage: commitmentsAlpha(set.message.previous, set.message.commitments),
      })
    const proven = omissionOf(NETWORK, word(silenced.peerId), set as AnyOpened, played.offer)
    assert.equal(proven?.author, silenced.peerId)
    const opened = word(played.members()[1]!.signer.peerId)
    assert.equal(omissionOf(NETWORK, opened, set as AnyOpened, played.offer), undefined)
  })
})

describe('the stewards of a job', () => {
  const peers = (count: number, changes: Partial<StewardCandidate> = {}): StewardCandidate[] =>
    Array.from({ length: count }, (_, i) => {
      const { peerId } = createSigner(sha256(utf8(`peer ${i}`)))
      const known = { reliabilityPpm: 900_000, established: true, excluded: false }
      return { peer: peerId, operator: peerId, ...known, ...changes }
    })
  const requester = createSigner(sha256(utf8('requester'))).peerId
  const jobId = 'ab'.repeat(32) as JobId
  const input = { jobId, beacon: BEACON, requester, requesterOperator: requester }

  it('are the same in whatever order the peers are known, and others with another beacon', () => {
    const all = peers(40)
    const one = rankStewards({ ...input, peers: all })
    assert.equal(one.network, 'mature')
    assert.equal(one.ranking.length, 14)
    assert.deepEqual(rankStewards({ ...input, peers: all.toReversed() }), one)
    const next = rankStewards({ ...input, peers: all, beacon: sha256(utf8('next')) })
    assert.notDeepEqual(next.ranking.slice(0, 7).sort(), one.ranking.slice(0, 7).sort())
  })

  it('are one of each operator, never the requester, never the excluded or unproven', () => {
    const [owner] = peers(1)
    const shared = peers(40, { operator: owner!.peer })
    const mixed = [...shared.slice(0, 20), ...peers(40).slice(20)]
    const { ranking } = rankStewards({ ...input, peers: mixed })
    const ofOwner = ranking.filter((peer) => shared.slice(0, 20).some((each) => each.peer === peer))
    assert.ok(ofOwner.length <= 1)
    for (const unfit of [
      { established: false },
      { reliabilityPpm: 599_999 },
      { excluded: true },
      { operator: requester },
    ]) {
      const lone = rankStewards({ ...input, peers: [...peers(30, unfit), ...peers(4)] })
      assert.deepEqual(lone, { network: 'young', ranking: [requester] })
    }
  })

  it('do not bid in a mature network, and may in a small one', () => {
    const all = peers(12)
    const bidders = all.slice(0, 3).map(({ peer }) => peer)
    const mature = rankStewards({ ...input, peers: all, bidders })
    assert.equal(mature.network, 'mature')
    assert.ok(mature.ranking.every((peer) => !bidders.includes(peer)))
    const small = rankStewards({ ...input, peers: peers(7), bidders })
    assert.equal(small.network, 'small')
    assert.equal(small.ranking.length, 7)
    const busy = rankStewards({ ...input, peers: all, bidders: all.slice(0, 8).map((p) => p.peer) })
    assert.equal(busy.network, 'small')
  })

  it('pass with another who knows the network a little otherwise, and not when they are chosen', () => {
    const own = rankStewards({ ...input, peers: peers(40) }).ranking
    assert.equal(isLikeOwn(own, own), true)
    assert.equal(isLikeOwn([...own.slice(2, 9), ...own.slice(9)], own), true)
    const friends = peers(60)
      .slice(53)
      .map(({ peer }) => peer)
    assert.equal(isLikeOwn(friends, own), false)
    assert.equal(isLikeOwn([...friends.slice(0, 3), ...own], own), false)
    assert.equal(isLikeOwn(own.slice(0, 1), own), false)
  })
})

describe('a beacon', () => {
  const output = (steward: string, alpha: string, epoch = EPOCH): StewardOutput => ({
    epoch,
    steward: steward as PeerId,
    alpha: sha256(utf8(alpha)),
    output: new Uint8Array([...sha256(utf8(`${steward}${alpha}`)), ...new Uint8Array(32)]),
  })

  it('follows from the epoch before in any order, with any repetition', () => {
    const outputs = ['a', 'b', 'c'].map((steward) => output(steward, 'x'))
    const beacon = beaconOf(EPOCH + 1, outputs)
    assert.deepEqual(beaconOf(EPOCH + 1, [...outputs, ...outputs].reverse()), beacon)
    assert.deepEqual(beaconOf(EPOCH + 1, [...outputs, output('d', 'x', EPOCH - 1)]), beacon)
    assert.notDeepEqual(beaconOf(EPOCH + 1, [...outputs, output('d', 'x')]), beacon)
    assert.notDeepEqual(beaconOf(EPOCH + 2, outputs), beacon)
  })

  it('lets one that withholds choose among as many values as it has certificates, and one', () => {
    const others = ['a', 'b'].map((steward) => output(steward, 'x'))
    const own = Array.from({ length: 10 }, (_, i) => output('w', `alpha ${i}`))
    const values = new Set<string>()
    for (let kept = 0; kept < 2 ** own.length; kept++) {
      const told = own.filter((_, i) => (kept >> i) & 1)
      values.add(Buffer.from(beaconOf(EPOCH + 1, [...others, ...told])).toString('hex'))
    }
    assert.equal(values.size, own.length + 1)
  })

  it('counts what the stewards of a drawn set opened, and nothing of a lone one', () => {
    const panel = new Panel({ stewards: 7, signers: 5 })
    const outputs = stewardOutputs(panel.offer, panel.play().frozen)
    assert.equal(outputs.length, 5)
    assert.ok(outputs.every(({ epoch }) => epoch === EPOCH))
    const lone = new Panel({ stewards: 1, signers: 1 })
    assert.deepEqual(stewardOutputs(lone.offer, lone.play().frozen), [])
  })

  it('may be that of the current epoch or the one before: EPOCH_STALE, BEACON_UNKNOWN', () => {
    const beaconAt = (epoch: number): Uint8Array => sha256(utf8(`${epoch}`))
    const nowMs = EPOCH * EPOCH_MS + 1
    const refusal = (epoch: number, beacon = beaconAt(epoch)): string | undefined =>
      beaconRefusal({ epoch, beacon }, nowMs, beaconAt)
    assert.equal(epochOf(nowMs), EPOCH)
    assert.equal(refusal(EPOCH), undefined)
    assert.equal(refusal(EPOCH - 1), undefined)
    assert.equal(refusal(EPOCH - 2), 'EPOCH_STALE')
    assert.equal(refusal(EPOCH + 1), 'EPOCH_STALE')
    assert.equal(refusal(EPOCH, beaconAt(EPOCH - 1)), 'BEACON_UNKNOWN')
    assert.equal(epochToQuote(nowMs), EPOCH - 1)
    assert.equal(epochToQuote(nowMs + 60_000), EPOCH)
    assert.equal(isDrawnAfter(nowMs, EPOCH), false)
    assert.equal(isDrawnAfter(nowMs, EPOCH + 1), true)
  })
})

describe('waiting in vain', () => {
  const reach = [
    { atMs: 0, peers: 10, silent: 1 },
    { atMs: 100, peers: 10, silent: 6 },
    { atMs: 200, peers: 10, silent: 5 },
  ]

  it('says nothing while more than half of the own peers were silent, or nobody looked', () => {
    assert.equal(isTimeoutEvidence({ fromMs: 10, toMs: 90 }, reach), true)
    assert.equal(isTimeoutEvidence({ fromMs: 10, toMs: 100 }, reach), false)
    assert.equal(isTimeoutEvidence({ fromMs: 150, toMs: 300 }, reach), false)
    assert.equal(isTimeoutEvidence({ fromMs: 200, toMs: 300 }, reach), true)
    assert.equal(isTimeoutEvidence({ fromMs: 10, toMs: 90 }, []), false)
  })
})

describe('a witness', () => {
  const clock: Clock = { now: () => 0, after: () => () => undefined }
  const panel = new Panel({ stewards: 4, signers: 3 })
  const word = (signer: Signer): Opened<'acknowledgement'> =>
    seal(
      NETWORK,
      'acknowledgement',
      {
        offer: fromHex(panel.offer.id),
        message: sha256(),
        receivedMs: 1,
        kind: kindId('bid'),
        author: publicKeyFromPeerId(signer.peerId),
        stage: fromHex(panel.offer.id),
        attempt: 0,
        view: 0,
      },
      signer,
    )
  const inbox = async (): Promise<Inbox> => {
    const created = new Inbox({
      network: NETWORK,
      clock,
      log: silentLog,
      onUnknownJob: () => undefined,
      onEquivocation: () => undefined,
    })
    for (const opened of [panel.rig.manifest, panel.offer]) {
      assert.equal((await created.receive(opened.bytes, opened.author)).verdict, 'accept')
    }
    return created
  }

  it('takes acknowledgements of the stewards, and rejects those of others: NOT_A_STEWARD', async () => {
    const own = await inbox()
    const { signer } = panel.stewards[2]!
    const { code } = await own.receive(word(signer).bytes, signer.peerId)
    assert.equal(code, 'ACCEPTED')
    const stranger = createSigner(sha256(utf8('stranger')))
    assert.deepEqual(await own.receive(word(stranger).bytes, stranger.peerId), {
      verdict: 'reject',
      code: 'NOT_A_STEWARD',
    })
  })

  it('ignores as DRAFT commitments over which nobody opened, and holds it against nobody', async () => {
    const played = new Panel({ stewards: 4, signers: 3 })
    const { frozen } = played.play()
    const draft = played.certify('freezeCommitments', { ...frozen.message, vrfProofs: [] })
    const own = await inbox()
    for (const opened of played.rig.record.messages()) {
      if (opened.kind === 'freezeCommitments') break
      await own.receive(opened.bytes, opened.author)
    }
    const receipt = await own.receive(draft.bytes, draft.author)
    assert.deepEqual(receipt, { verdict: 'ignore', code: 'DRAFT' })
    assert.equal((await own.receive(frozen.bytes, frozen.author)).verdict, 'accept')
    const fault = sealFault(draft as AnyOpened, frozen as AnyOpened)
    assert.throws(() => openFault(NETWORK, fault), hasCode('FAULT_UNPROVEN'))
  })

  it('takes a certificate of a quorum, and rejects one of fewer: NOT_A_STEWARD', async () => {
    const own = await inbox()
    const from = panel.stewards[0]!.signer.peerId
    const fewer = await own.receive(panel.freezeBids(2).bytes, from)
    assert.deepEqual(fewer, { verdict: 'reject', code: 'NOT_A_STEWARD' })
    assert.equal((await own.receive(panel.freezeBids(3).bytes, from)).verdict, 'accept')
  })
})
