import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { decayPpm, log2Fixed, logitMicro, negLog2Fixed } from '../../src/protocol/integer.js'
import { rank } from '../../src/protocol/lottery.js'
import { peerIdFromPublicKey, sha256, utf8, type PeerId } from '../../src/wire/ids.js'

function peer(name: string): PeerId {
  return peerIdFromPublicKey(sha256(utf8(name)))
}

function output(name: string): Uint8Array {
  return Uint8Array.of(...sha256(utf8(`${name} 1`)), ...sha256(utf8(`${name} 2`)))
}

function entry(name: string, weightPpm: bigint) {
  return { peer: peer(name), output: output(name), weightPpm }
}

describe('fixed-point arithmetic', () => {
  it('takes logarithms within its bound', () => {
    for (let i = 0; i < 2000; i++) {
      const x = BigInt(i * i * 7919 + 1)
      const error = Math.log2(Number(x)) - Number(log2Fixed(x)) / 2 ** 32
      assert.ok(error > -1e-12 && error < 2.4e-10, `log2 of ${x}: ${error}`)
    }
    assert.equal(log2Fixed(1n << 200n), 200n << 32n)
  })

  it('takes negative logarithms of 256-bit fractions', () => {
    assert.equal(negLog2Fixed(0n), 256n << 32n)
    assert.equal(negLog2Fixed(1n << 255n), 1n << 32n)
    assert.equal(negLog2Fixed((1n << 256n) - 1n), 1n)
    assert.throws(() => negLog2Fixed(1n << 256n), { name: 'InvariantError' })
    assert.throws(() => negLog2Fixed(-1n), { name: 'InvariantError' })
  })

  it('takes log-odds within one millionth and oddly', () => {
    for (let p = 1; p < 1_000_000; p += 997) {
      const truth = Math.log(p / (1_000_000 - p)) * 1e6
      assert.ok(Math.abs(logitMicro(p) - truth) <= 1, `logit of ${p}`)
      assert.equal(logitMicro(p) + logitMicro(1_000_000 - p), 0)
    }
    assert.equal(logitMicro(0), logitMicro(1))
    assert.equal(logitMicro(1_000_000), logitMicro(999_999))
  })

  it('decays by halves and never rises', () => {
    assert.equal(decayPpm(0, 1000), 1_000_000)
    assert.equal(decayPpm(1000, 1000), 500_000)
    assert.equal(decayPpm(3000, 1000), 125_000)
    assert.equal(decayPpm(Number.MAX_SAFE_INTEGER, 1), 0)
    let before = 1_000_000
    for (let age = 0; age < 5000; age += 3) {
      const now = decayPpm(age, 1000)
      assert.ok(Math.abs(now - 1e6 * 2 ** (-age / 1000)) <= 1, `age ${age}`)
      assert.ok(now <= before)
      before = now
    }
  })
})

describe('the lottery', () => {
  const seed = sha256(utf8('seed'))
  const entries = ['a', 'b', 'c', 'd', 'e'].map((name) => entry(name, 1_000_000n))

  it('ranks everybody once, whatever the order of entries', () => {
    const ranking = rank(seed, entries)
    assert.deepEqual(ranking.toSorted(), entries.map((each) => each.peer).sort())
    assert.deepEqual(rank(seed, entries.toReversed()), ranking)
  })

  it('breaks ties by output', () => {
    // So heavy that every key is zero.
    const heavy = entries.map((each) => ({ ...each, weightPpm: 1n << 200n }))
    const sorted = heavy.toSorted((a, b) => Buffer.compare(a.output, b.output))
    assert.deepEqual(
      rank(seed, heavy),
      sorted.map((each) => each.peer),
    )
  })

  it('leaves out who has no weight', () => {
    assert.deepEqual(rank(seed, [entry('a', 0n), entry('b', 1n)]), [peer('b')])
    assert.deepEqual(rank(seed, [entry('a', -1n)]), [])
  })

  it('gives two peers that share one output independent places', () => {
    const shared = output('shared')
    const twins = [peer('t1'), peer('t2')]
    const field = [
      ...twins.map((each) => ({ peer: each, output: shared, weightPpm: 1_000_000n })),
      ...entries.slice(0, 8),
    ]
    let together = 0
    for (let i = 0; i < 1000; i++) {
      const top = rank(sha256(seed, utf8(String(i))), field).slice(0, 2)
      if (twins.every((twin) => top.includes(twin))) together++
    }
    // 2/7 · 1/6 = 4.8 % if independent; 28.6 % if they stood side by side.
    assert.ok(together > 20 && together < 85, `${together} of 1000`)
  })

  it('throws INVARIANT for a peer that stands twice or an output of the wrong length', () => {
    assert.throws(() => rank(seed, [...entries, entry('a', 1n)]), { name: 'InvariantError' })
    const short = { ...entry('x', 1n), output: new Uint8Array(63) }
    assert.throws(() => rank(seed, [short]), { name: 'InvariantError' })
  })
})
