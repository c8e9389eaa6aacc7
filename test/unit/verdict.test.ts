import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { judge, type ExecutorOutcome, type VerdictInput } from '../../src/protocol/verdict.js'
import { digestOf, peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'

function peer(name: string): PeerId {
  return peerIdFromPublicKey(sha256(utf8(name)))
}

/** An established executor of R = 0.93 (log-odds 2.59) under its own name. */
function outcome(
  name: string,
  root: string | undefined,
  changes: Partial<ExecutorOutcome> = {},
): ExecutorOutcome {
  return {
    peer: peer(name),
    operator: name,
    established: true,
    reliabilityPpm: 930_000,
    root: root === undefined ? undefined : digestOf(utf8(root)),
    ...changes,
  }
}

function newcomer(name: string, root: string | undefined): ExecutorOutcome {
  return outcome(name, root, { established: false, reliabilityPpm: 100_000 })
}

function mature(outcomes: ExecutorOutcome[], changes: Partial<VerdictInput> = {}) {
  const executed = outcomes.length
  return judge({ outcomes, policy: { kind: 'exact' }, young: false, executed, ...changes })
}

function young(outcomes: ExecutorOutcome[], changes: Partial<VerdictInput> = {}) {
  return mature(outcomes, { young: true, ...changes })
}

/** Executors for a pattern like `aab-`: one per letter, equal letters agree, `-` is silent. */
function pattern(letters: string, make = newcomer): ExecutorOutcome[] {
  return [...letters].map((letter, i) => make(`${letter}${i}`, letter === '-' ? undefined : letter))
}

function strikesOf(verdict: ReturnType<typeof judge>): number {
  assert.equal(verdict.kind, 'accept')
  return verdict.strikes.length
}

function reasonOf(verdict: ReturnType<typeof judge>): string {
  assert.notEqual(verdict.kind, 'accept')
  return verdict.kind === 'accept' ? '' : `${verdict.kind} ${verdict.reason.code}`
}

describe('the verdict of a mature network', () => {
  it('accepts two mature peers that agree', () => {
    const verdict = mature(pattern('aa', outcome))
    assert.deepEqual(verdict, {
      kind: 'accept',
      root: digestOf(utf8('a')),
      agreed: [peer('a0'), peer('a1')].sort(),
      dissented: [],
      strikes: [],
    })
  })

  it('asks for a third when a newcomer is one of two', () => {
    const pair = [outcome('old', 'a'), newcomer('new', 'a')]
    assert.equal(reasonOf(mature(pair)), 'escalate MARGIN')
    assert.equal(mature([...pair, outcome('third', 'a')]).kind, 'accept')
  })

  it('never lets a probationer decide, however reliable it looks', () => {
    const shiny = outcome('shiny', 'a', { established: false, reliabilityPpm: 950_000 })
    assert.equal(reasonOf(mature([outcome('old', 'a'), shiny])), 'escalate MARGIN')
  })

  it('escalates when two colluders outnumber one honest peer, and strikes nobody', () => {
    assert.equal(reasonOf(mature(pattern('bba', outcome))), 'escalate MARGIN')
    assert.equal(reasonOf(mature(pattern('ab', outcome))), 'escalate ONE_OPERATOR')
  })

  it('accepts and strikes at the full margin', () => {
    const verdict = mature(pattern('aaab', outcome))
    assert.equal(verdict.kind, 'accept')
    assert.deepEqual(verdict.strikes, [{ peer: peer('b3'), root: digestOf(utf8('b')) }])
    assert.deepEqual(verdict.dissented, [peer('b3')])
  })

  it('spares a crowd that outnumbers the winners', () => {
    const crowd = ['n1', 'n2', 'n3'].map((name) => newcomer(name, 'b'))
    const verdict = mature([...pattern('aa', outcome), ...crowd])
    assert.equal(verdict.kind, 'accept')
    assert.equal(verdict.dissented.length, 3)
    assert.equal(verdict.strikes.length, 0)
  })

  it('counts an operator once', () => {
    const house = ['h1', 'h2', 'h3'].map((name) => outcome(name, 'a', { operator: 'house' }))
    assert.equal(reasonOf(mature(house)), 'escalate ONE_OPERATOR')
    assert.equal(reasonOf(mature([...house, newcomer('guest', 'a')])), 'escalate MARGIN')
  })

  it('spares an operator whose other peer is needed among the winners', () => {
    const sure = { reliabilityPpm: 990_000 }
    const winners = [outcome('one', 'a', sure), outcome('two', 'a', sure)]
    const doubtful = { reliabilityPpm: 400_000 }
    const second = outcome('second', 'b', { ...doubtful, operator: 'two' })
    assert.equal(strikesOf(mature([...winners, second])), 0)
    const stranger = outcome('stranger', 'b', doubtful)
    assert.equal(strikesOf(mature([...winners, stranger])), 1)
  })

  it('counts those whose seats were foreseen as one where somebody else contradicts them', () => {
    const foreseen = (letters: string, count: number) =>
      mature(pattern(letters, outcome).map((each, i) => ({ ...each, foreseen: i < count })))
    // Three that held every seat they knew of lose against three that nobody could foresee.
    assert.equal(reasonOf(foreseen('bbba', 3)), 'escalate MARGIN')
    const verdict = foreseen('bbbaaa', 3)
    assert.equal(verdict.kind === 'accept' && verdict.root, digestOf(utf8('a')))
    assert.equal(strikesOf(verdict), 3)
    assert.equal(reasonOf(foreseen('aaba', 3)), 'escalate MARGIN')
    assert.equal(strikesOf(foreseen('aabaa', 3)), 1)
    assert.equal(foreseen('aaa', 3).kind, 'accept')
    assert.equal(foreseen('aaaab', 5).kind, 'accept')
  })

  it('does not accept newcomers among themselves', () => {
    assert.equal(reasonOf(mature(pattern('aaaaaa'))), 'escalate NO_ESTABLISHED')
    assert.equal(reasonOf(mature(pattern('aaaaaaa'))), 'reject UNDECIDED')
  })

  it('asks for more when fewer than two reveal', () => {
    assert.equal(reasonOf(mature([])), 'escalate TOO_FEW_REVEALS')
    assert.equal(reasonOf(mature(pattern('a-', outcome))), 'escalate TOO_FEW_REVEALS')
    assert.equal(mature(pattern('aa-', outcome)).kind, 'accept')
  })

  it('rejects with NONDETERMINISTIC when all results differ and no replica is left', () => {
    assert.equal(reasonOf(mature(pattern('abcdef', outcome))), 'escalate ONE_OPERATOR')
    assert.equal(reasonOf(mature(pattern('abcdefg', outcome))), 'reject NONDETERMINISTIC')
    const three = mature(pattern('abc', outcome), { maxReplicas: 3 })
    assert.equal(reasonOf(three), 'reject NONDETERMINISTIC')
  })

  it('rejects with UNDECIDED when some agree but not enough', () => {
    assert.equal(reasonOf(mature(pattern('aaabbcc', outcome))), 'reject UNDECIDED')
    assert.equal(reasonOf(mature(pattern('-------'))), 'reject UNDECIDED')
    assert.equal(reasonOf(mature(pattern('ab', outcome), { executed: 7 })), 'reject UNDECIDED')
  })

  it('spares a near miss under tolerances', () => {
    const withLoss = (name: string, loss: bigint) => outcome(name, name, { metricsMicro: { loss } })
    const policy = { kind: 'metrics', atolMicro: 10n, rtolPpm: 0n } as const
    const agreeing = [withLoss('a', 0n), withLoss('b', 5n), withLoss('c', 10n)]
    assert.equal(strikesOf(mature([...agreeing, withLoss('d', 25n)], { policy })), 0)
    assert.equal(strikesOf(mature([...agreeing, withLoss('d', 500n)], { policy })), 1)
  })

  it('throws BAD_VERDICT for an executor that stands there twice', () => {
    assert.throws(() => mature([outcome('a', 'a'), outcome('a', 'b')]), { code: 'BAD_VERDICT' })
  })
})

describe('the verdict of a young network', () => {
  it('accepts at a lead of two over all others together', () => {
    for (const letters of ['aa', 'aaab', 'aaaabc', 'aa-', 'aaaabb']) {
      assert.equal(young(pattern(letters)).kind, 'accept', letters)
    }
    for (const letters of ['ab', 'aab', 'aabb', 'aaabb', 'aaabc']) {
      assert.equal(young(pattern(letters)).kind, 'escalate', letters)
    }
  })

  it('strikes only at three to one', () => {
    assert.equal(strikesOf(young(pattern('aaab'))), 1)
    assert.equal(strikesOf(young(pattern('aaaabc'))), 2)
    assert.equal(strikesOf(young(pattern('aaaabb'))), 0)
  })

  it('gives the same weight to everybody', () => {
    const verdict = young([outcome('old', 'a'), newcomer('n1', 'b')])
    assert.equal(reasonOf(verdict), 'escalate ONE_OPERATOR')
    assert.equal(young(pattern('aaab', newcomer)).kind, 'accept')
  })

  it('rejects when seven replicas leave no lead', () => {
    assert.equal(reasonOf(young(pattern('aaaabbb'))), 'reject UNDECIDED')
    assert.equal(reasonOf(young(pattern('abcdefg'))), 'reject NONDETERMINISTIC')
  })
})
