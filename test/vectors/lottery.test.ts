import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { decayPpm, logitMicro, negLog2Fixed } from '../../src/protocol/integer.js'
import { rank, type LotteryEntry } from '../../src/protocol/lottery.js'
import { fromHex, parsePeerId } from '../../src/wire/ids.js'

interface Draw {
  readonly name: string
  readonly seed: string
  readonly entries: readonly { peer: string; output: string; weightPpm: string }[]
  readonly ranking: readonly string[]
}

interface Vectors {
  readonly valid: readonly Draw[]
  readonly invalid: readonly Omit<Draw, 'ranking'>[]
  readonly negLog2: readonly { u: string; value: string }[]
  readonly logitMicro: readonly { pPpm: number; value: number }[]
  readonly decayPpm: readonly { age: number; halfLife: number; value: number }[]
}

const vectors: Vectors = JSON.parse(readFileSync(new URL('lottery.json', import.meta.url), 'utf8'))

function entriesOf(draw: Pick<Draw, 'entries'>): LotteryEntry[] {
  return draw.entries.map(({ peer, output, weightPpm }) => ({
    peer: parsePeerId(peer),
    output: fromHex(output),
    weightPpm: BigInt(weightPpm),
  }))
}

describe('vectors of the lottery', () => {
  it('ranks as every other machine does', () => {
    assert.equal(vectors.valid.length, 3)
    for (const draw of vectors.valid) {
      assert.deepEqual(rank(fromHex(draw.seed), entriesOf(draw)), draw.ranking)
    }
  })

  for (const draw of vectors.invalid) {
    it(`throws INVARIANT for ${draw.name}`, () => {
      const entries = entriesOf(draw)
      assert.throws(() => rank(fromHex(draw.seed), entries), { name: 'InvariantError' })
    })
  }

  it('computes logarithms, log-odds and decay bit for bit', () => {
    assert.ok(vectors.negLog2.length > 0 && vectors.logitMicro.length > 0)
    for (const { u, value } of vectors.negLog2) {
      assert.equal(negLog2Fixed(BigInt(u)), BigInt(value))
    }
    for (const { pPpm, value } of vectors.logitMicro) assert.equal(logitMicro(pPpm), value)
    assert.ok(vectors.decayPpm.length > 0)
    for (const { age, halfLife, value } of vectors.decayPpm) {
      assert.equal(decayPpm(age, halfLife), value)
    }
  })
})
