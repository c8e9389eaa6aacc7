import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { commitmentsAlpha, openingAlpha, openFrozen } from '../../src/protocol/ballot.js'
import { verifySlot } from '../../src/protocol/slot-chain.js'
import type { VerifiedSlot } from '../../src/protocol/slot-chain.js'
import { vrfProve } from '../../src/protocol/vrf.js'
import { seal } from '../../src/wire/envelope.js'
import type { AnyOpened, Opened, Signer } from '../../src/wire/envelope.js'
import { fromHex, publicKeyFromPeerId } from '../../src/wire/ids.js'
import type { Messages } from '../../src/wire/messages.js'
import { honest, NETWORK, Rig, RUN_SPEC } from './rig.js'
import type { Behaviour, RigOptions } from './rig.js'

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && Reflect.get(error, 'code') === code

function runTask(options: Partial<RigOptions> = {}): Rig {
  const rig = new Rig({ spec: RUN_SPEC, behaviours: honest(5), ...options }).run()
  assert.equal(rig.state.status, 'succeeded')
  return rig
}

type Changes = {
  readonly [K in keyof Messages]?: (message: Messages[K], nth: number) => Messages[K]
}

/** Certificates of a slot, oldest first, for a steward that writes another story. */
class Forger {
  readonly #rig: Rig
  readonly #messages = new Map<string, AnyOpened>()
  /** What each message of the true chain became. */
  readonly #ids = new Map<string, string>()
  readonly #changes: Changes
  readonly #leftOut: ReadonlySet<AnyOpened>
  readonly #signer: Signer

  constructor(
    rig: Rig,
    changes: Changes,
    options: { readonly leaveOut?: readonly AnyOpened[]; readonly signer?: Signer } = {},
  ) {
    this.#rig = rig
    this.#changes = changes
    this.#leftOut = new Set(options.leaveOut)
    this.#signer = options.signer ?? rig.requester
  }

  /** Signs the whole chain again, each message upon what the one before became. */
  verify(): VerifiedSlot {
    const [slot] = this.#rig.verified()
    assert.ok(slot)
    const chain = slot.messages.slice(1).filter((opened) => !this.#leftOut.has(opened))
    const counts = new Map<string, number>()
    let previous: string | undefined
    let last: AnyOpened | undefined
    for (const opened of chain) {
      const nth = counts.get(opened.kind) ?? 0
      counts.set(opened.kind, nth + 1)
      last = this.#resign(opened, previous, nth)
      this.#messages.set(last.id, last)
      this.#ids.set(opened.id, last.id)
      previous = last.id
    }
    assert.ok(last?.kind === 'receipt')
    const { manifest } = this.#rig
    const get = (id: string): AnyOpened | undefined => this.#messages.get(id)
    const source = {
      network: NETWORK,
      manifest,
      get,
      elections: new Map(),
      proofs: 'verify',
    } as const
    return verifySlot(source, last)
  }

  #resign(opened: AnyOpened, previous: string | undefined, nth: number): AnyOpened {
    const link = previous === undefined ? undefined : fromHex(previous)
    switch (opened.kind) {
      case 'offer':
        return this.#seal('offer', opened.message, nth)
      case 'freezeBids':
        return this.#seal('freezeBids', { ...opened.message, offer: link! }, nth)
      case 'freezeOpenings':
        return this.#seal('freezeOpenings', { ...opened.message, frozenBids: link! }, nth)
      case 'task':
        return this.#seal('task', { ...opened.message, previous: link! }, nth)
      case 'freezeCommitments': {
        const change = this.#changes.freezeCommitments ?? ((message) => message)
        const message = change({ ...opened.message, previous: link! }, nth)
        const isProofKept = message.vrfProofs === opened.message.vrfProofs
        const alpha = commitmentsAlpha(message.previous, message.commitments)
        const vrfProofs = isProofKept
          ? [vrfProve(this.#rig.context.vrfSecret, alpha)]
          : message.vrfProofs
        return seal(NETWORK, 'freezeCommitments', { ...message, vrfProofs }, this.#rig.requester)
      }
      case 'freezeReveals':
        return this.#seal('freezeReveals', { ...opened.message, previous: link! }, nth)
      case 'receipt': {
        const change = this.#changes.receipt ?? ((message) => message)
        const message = change({ ...opened.message, previous: link! }, nth)
        return seal(NETWORK, 'receipt', message, this.#signer)
      }
      default:
        throw new Error(`no certificate: ${opened.kind}`)
    }
  }

  #seal<K extends 'offer' | 'freezeBids' | 'freezeOpenings' | 'task' | 'freezeReveals'>(
    kind: K,
    message: Messages[K],
    nth: number,
  ): AnyOpened {
    const change = this.#changes[kind] as
      ((message: Messages[K], nth: number) => Messages[K]) | undefined
    return seal(NETWORK, kind, change?.(message, nth) ?? message, this.#rig.requester) as AnyOpened
  }
}

function ofKind<K extends AnyOpened['kind']>(rig: Rig, kind: K, nth = 0): Opened<K> {
  const found = rig.record.ofKind(kind)[nth]
  assert.ok(found)
  return found
}

/** One task whose first executors are all of them silent and called at once, with a hidden draw. */
function lossyRig(behaviours: Behaviour[], auditPpm = 1_000_000): Rig {
  const silent = behaviours.filter((behaviour) => behaviour === 'silent').length
  for (let i = 0; i < 64; i++) {
    const standing = (index: number) => ({ availabilityPpm: index < silent ? 1_000_000 : 100_000 })
    const rig = runTask({ behaviours, auditPpm, keys: `lossy-${i}`, standing })
    const called = rig.rankingOf(ofKind(rig, 'task')).slice(0, 2)
    if (rig.executors.slice(0, silent).every(({ peerId }) => called.includes(peerId))) return rig
  }
  throw new Error('the lottery never calls the silent ones first')
}

describe('the chain of a slot', () => {
  const rig = runTask()
  const refuses = (
    code: string,
    changes: Changes,
    from = rig,
    leaveOut: readonly AnyOpened[] = [],
  ): void => {
    assert.throws(() => new Forger(from, changes, { leaveOut }).verify(), hasCode(code))
  }

  it('holds when nothing was changed', () => {
    const slot = new Forger(rig, {}).verify()
    assert.equal(slot.accepted, true)
    assert.equal(slot.agreed.length, 2)
    assert.deepEqual(
      slot.files?.map(({ path }) => path),
      ['metrics.json', 'report.txt'],
    )
  })

  it('is refused with NOT_A_STEWARD when another signs a certificate', () => {
    const { signer } = rig.executor(0)
    assert.throws(() => new Forger(rig, {}, { signer }).verify(), hasCode('NOT_A_STEWARD'))
  })

  it('is refused with CHAIN_BROKEN when a message is missing', () => {
    const { manifest } = rig
    const source = {
      network: NETWORK,
      manifest,
      get: () => undefined,
      elections: new Map(),
      proofs: 'trust',
    } as const
    assert.throws(() => verifySlot(source, ofKind(rig, 'receipt')), hasCode('CHAIN_BROKEN'))
  })

  it('is refused with CHAIN_INVALID when the offer has other terms than the manifest', () => {
    refuses('CHAIN_INVALID', { offer: (message) => ({ ...message, replicas: 3 }) })
    refuses('CHAIN_INVALID', { offer: (message) => ({ ...message, auditPpm: 1 }) })
    refuses('CHAIN_INVALID', { offer: (message) => ({ ...message, jobId: new Uint8Array(32) }) })
  })

  it('is refused with BALLOT_INVALID when the bids are for another offer', () => {
    refuses('BALLOT_INVALID', { offer: (message) => ({ ...message, bidWindowMs: 1 }) })
  })

  it('is refused with BALLOT_INVALID when a frozen bid was dropped', () => {
    refuses('BALLOT_INVALID', {
      freezeBids: (message) => ({
        ...message,
        bids: message.bids.slice(1),
        standings: message.standings.slice(1),
      }),
    })
  })

  it('is refused with FREEZE_UNSORTED when a freeze is in another order', () => {
    refuses('FREEZE_UNSORTED', {
      freezeBids: (message) => ({ ...message, bids: message.bids.toReversed() }),
    })
  })

  it('is refused with VRF_INVALID when an opening or a draw was made up', () => {
    const frozenBids = ofKind(rig, 'freezeBids')
    const executor = rig.executor(0)
    const proof = vrfProve(executor.vrfSecret, openingAlpha(ofKind(rig, 'offer'), rig.manifest.id))
    const opening = seal(
      NETWORK,
      'vrfOpen',
      { frozenBids: fromHex(frozenBids.id), proof },
      executor.signer,
    )
    refuses('VRF_INVALID', {
      freezeOpenings: (message) => ({
        ...message,
        openings: openFrozen(NETWORK, 'vrfOpen', message.openings).map((other) =>
          other.author === opening.author ? opening.bytes : other.bytes,
        ),
      }),
    })
    refuses('VRF_INVALID', { freezeCommitments: (message) => ({ ...message, vrfProofs: [proof] }) })
  })

  it('is refused when a bidder is left out of the openings to move the lottery', () => {
    // Another election follows; those who were called are not the first of its ranking.
    const outcomes = rig.record.ofKind('vrfOpen').map(({ author }) => {
      const openings = (message: Messages['freezeOpenings']): Uint8Array[] =>
        openFrozen(NETWORK, 'vrfOpen', message.openings)
          .filter((opening) => opening.author !== author)
          .map(({ bytes }) => bytes)
      try {
        new Forger(rig, {
          freezeOpenings: (message) => ({ ...message, openings: openings(message) }),
        }).verify()
        return 'holds'
      } catch {
        return 'refused'
      }
    })
    assert.ok(outcomes.includes('refused'))
  })

  it('is refused with CHAIN_INVALID when the task has other inputs, slot or seats', () => {
    const input = { name: 'x', digest: new Uint8Array(32), sizeBytes: 1, folder: false }
    refuses('CHAIN_INVALID', { task: (message) => ({ ...message, inputs: [input] }) })
    refuses('CHAIN_INVALID', { task: (message) => ({ ...message, attempt: 2 }) })
    refuses('CHAIN_INVALID', { task: (message) => ({ ...message, seats: 6 }) })
    refuses('CHAIN_INVALID', { task: (message) => ({ ...message, batch: 1 }) })
  })

  it('is refused with VERDICT_MISMATCH when the receipt tells another verdict', () => {
    refuses('VERDICT_MISMATCH', { receipt: (message) => ({ ...message, verdict: 'rejected' }) })
    refuses('VERDICT_MISMATCH', { receipt: (message) => ({ ...message, young: false }) })
    refuses('VERDICT_MISMATCH', {
      receipt: (message) => ({ ...message, outputRoot: new Uint8Array(32) }),
    })
  })

  it('is refused with VERDICT_MISMATCH when the receipt praises or blames whom it likes', () => {
    const change = (
      outcomes: (executors: Messages['receipt']['executors']) => Messages['receipt']['executors'],
    ) =>
      refuses('VERDICT_MISMATCH', {
        receipt: (message) => ({ ...message, executors: outcomes(message.executors) }),
      })
    const standby = rig.rankingOf(ofKind(rig, 'task'))[2]
    assert.ok(standby)
    const key = publicKeyFromPeerId(standby)
    const blamed = {
      peer: key,
      operator: key,
      outcome: 'timed-out',
      durationMs: 0,
      root: new Uint8Array(0),
    }
    change((executors) => [...executors, blamed])
    change((executors) => executors.slice(1))
    change((executors) => executors.toReversed())
    change((executors) => [executors[0]!, ...executors])
    change((executors) => executors.map((executor) => ({ ...executor, durationMs: 1 })))
    change((executors) => executors.map((executor) => ({ ...executor, operator: key })))
    change((executors) => executors.map((executor) => ({ ...executor, outcome: 'dissented' })))
    change((executors) => executors.map((executor) => ({ ...executor, outcome: 'failed' })))
  })

  it('is refused when commitments or reveals were dropped', () => {
    refuses('CHAIN_INVALID', {
      freezeCommitments: (message) => ({ ...message, commitments: message.commitments.slice(1) }),
    })
    refuses('VERDICT_MISMATCH', {
      freezeReveals: (message) => ({ ...message, reveals: message.reveals.slice(1) }),
    })
  })

  it('is refused when a hidden replica is skipped, or added without a draw', () => {
    const audited = runTask({ auditPpm: 1_000_000 })
    const [, second] = audited.record.ofKind('task')
    const [first, again] = audited.record.ofKind('freezeCommitments')
    assert.ok(first && second && again)
    const onlyTwo = new Set(
      openFrozen(NETWORK, 'commitment', first.message.commitments).map(({ author }) => author),
    )
    const reveals = (message: Messages['freezeReveals']): Messages['freezeReveals'] => ({
      ...message,
      reveals: openFrozen(NETWORK, 'reveal', message.reveals)
        .filter(({ author }) => onlyTwo.has(author))
        .map(({ bytes }) => bytes),
    })
    refuses('CHAIN_INVALID', { freezeReveals: reveals }, audited, [second, again])
    // Three called at once: the steward would choose among more than were due.
    refuses('CHAIN_INVALID', {}, audited, [first])
  })

  it('is refused with CHAIN_INVALID when a commitment is exchanged after the first freeze', () => {
    const audited = runTask({ auditPpm: 1_000_000 })
    const task = ofKind(audited, 'task')
    const executor = audited.executors.find(({ peerId }) => peerId === audited.rankingOf(task)[0])
    const taskId = ofKind(audited, 'commitment').message.taskId
    const message = { taskId, attempt: 1, commitment: new Uint8Array(32) }
    const other = seal(NETWORK, 'commitment', message, executor!.signer)
    refuses(
      'CHAIN_INVALID',
      {
        freezeCommitments: (frozen, nth) => ({
          ...frozen,
          commitments: openFrozen(NETWORK, 'commitment', frozen.commitments).map((commitment) =>
            nth === 1 && commitment.author === other.author ? other.bytes : commitment.bytes,
          ),
        }),
      },
      audited,
    )
  })

  it('is refused with CHAIN_INVALID when one that missed a freeze commits after it', () => {
    // The first executor is lost, a hidden replica is drawn; the lost one takes its place.
    const audited = lossyRig(['silent', ...honest(5)])
    const silent = audited.executor(0)
    const taskId = ofKind(audited, 'commitment').message.taskId
    const message = { taskId, attempt: 1, commitment: new Uint8Array(32) }
    const late = seal(NETWORK, 'commitment', message, silent.signer)
    const first = openFrozen(
      NETWORK,
      'commitment',
      ofKind(audited, 'freezeCommitments').message.commitments,
    )
    assert.equal(first.length, 2)
    const commitments = [...first, late]
      .sort((a, b) => (a.author < b.author ? -1 : 1))
      .map(({ bytes }) => bytes)
    const forged = new Forger(audited, {
      freezeCommitments: (frozen, nth) => (nth === 1 ? { ...frozen, commitments } : frozen),
    })
    assert.throws(
      () => forged.verify(),
      (error) =>
        hasCode('CHAIN_INVALID')(error) &&
        error instanceof Error &&
        error.message === `${silent.peerId} committed after the freeze that it was called for`,
    )
  })

  it('is refused with VERDICT_MISMATCH when a receipt calls outrun whom nobody outran', () => {
    const outrun = (message: Messages['receipt']): Messages['receipt'] => ({
      ...message,
      executors: message.executors.map((executor) =>
        executor.durationMs === 0 ? { ...executor, outcome: 'outrun' } : executor,
      ),
    })
    // One standby can outrun one executor, not two.
    const two = lossyRig(['silent', 'silent', ...honest(5)], 0)
    assert.equal(two.verified()[0]?.messages.filter(({ kind }) => kind === 'task').length, 2)
    refuses('VERDICT_MISMATCH', { receipt: outrun }, two)
    // Nobody else was called beside those that failed.
    const failing = new Rig({
      spec: RUN_SPEC,
      behaviours: [{ fails: 'CONTAINER_OOM' }, { fails: 'CONTAINER_OOM' }],
    }).run()
    refuses('VERDICT_MISMATCH', { receipt: outrun }, failing)
  })

  it('is refused with CHAIN_INVALID when replicas were added though two agreed', () => {
    const repeated = ofKind(rig, 'task')
    const { manifest } = rig
    const more = seal(
      NETWORK,
      'task',
      { ...repeated.message, previous: fromHex(ofKind(rig, 'freezeReveals').id), seats: 3 },
      rig.requester,
    )
    const receipt = seal(
      NETWORK,
      'receipt',
      { ...ofKind(rig, 'receipt').message, previous: fromHex(more.id) },
      rig.requester,
    )
    const get = (id: string): AnyOpened | undefined =>
      id === more.id ? (more as AnyOpened) : rig.record.get(id)
    const source = {
      network: NETWORK,
      manifest,
      get,
      elections: new Map(),
      proofs: 'trust',
    } as const
    assert.throws(() => verifySlot(source, receipt), hasCode('CHAIN_INVALID'))
  })
})
