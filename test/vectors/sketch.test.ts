import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { parsePolicy, policyText } from '../../src/protocol/compare.js'
import {
  chunkBytes,
  decodeBuckets,
  decodeChunk,
  encodeBuckets,
  restDigest,
  updateRootOf,
} from '../../src/protocol/sketch.js'
import { sketchCommitmentOf, sketchUpdate } from '../../src/protocol/sketch-message.js'
import type { SketchedUpdate } from '../../src/protocol/sketch-message.js'
import { updateDistance } from '../../src/protocol/tensors.js'
import type { UpdateEvidence } from '../../src/protocol/tensors.js'
import { fromHex, parseDigest, parsePeerId, toHex, utf8 } from '../../src/wire/ids.js'
import type { TaskId } from '../../src/wire/ids.js'

interface SketchVector {
  readonly name: string
  readonly seed2: string
  readonly rest: readonly string[]
  readonly step: number
  readonly values: readonly number[]
  readonly claim: Readonly<Record<string, string | number>>
  readonly updateRoot: string
  readonly shift: number
  readonly buckets: string
  readonly openings: ReadonlyArray<{ readonly values: string; readonly path: string }>
  readonly taskId: string
  readonly frozen: string
  readonly peer: string
  readonly salt: string
  readonly commitment: string
}

interface Told {
  readonly rest: string
  readonly elements: number
  readonly exponent: number
  readonly step: number
  readonly normSquared: string
  readonly shift: number
  readonly buckets: string
  readonly opened: readonly string[]
}

interface Pair {
  readonly name: string
  readonly tauPpm: string
  readonly left: Told
  readonly right: Told
  readonly distance: string | null
}

function read<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8')) as T
}

const sketches = read<{
  valid: SketchVector[]
  invalid: Array<{ name: string; values: Array<number | string>; code: string }>
}>('sketch.json')
const pairs = read<{
  valid: Pair[]
  invalid: Pair[]
  policies: {
    valid: Array<{ text: string; tauPpm: string; again: string }>
    invalid: Array<{ text: string; code: string }>
  }
}>('compare-tensors.json')

/** Stands here so that no rewrite of the file passes. */
const FIRST_ROOT = '101b32b8988a15b5e2982a66e615134984fc37aa3e54024c0d6bb2a40428ad81'

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))

function sketchOf(
  values: readonly number[],
  vector: Pick<SketchVector, 'rest' | 'step' | 'seed2'>,
): Promise<SketchedUpdate> {
  const source = {
    rest: vector.rest.map((text) => utf8(text)),
    step: vector.step,
    // In pieces: the cuts must not matter.
    async *values() {
      for (let i = 0; i < values.length; i += 33) {
        yield await Promise.resolve(Float64Array.from(values.slice(i, i + 33)))
      }
    },
  }
  return sketchUpdate(source, fromHex(vector.seed2))
}

describe('vectors of the sketch', () => {
  it('are those of ever', () => {
    assert.equal(sketches.valid[1]?.updateRoot, FIRST_ROOT)
  })

  for (const each of sketches.valid) {
    it(`tell of ${each.name}`, async () => {
      const { claim, sketch, openings } = await sketchOf(each.values, each)
      assert.deepEqual(
        {
          ...claim,
          rest: toHex(claim.rest),
          root: toHex(claim.root),
          normSquared: claim.normSquared.toString(),
        },
        each.claim,
      )
      assert.equal(restDigest(each.rest.map((text) => utf8(text))), each.claim['rest'])
      assert.equal(toHex(updateRootOf(claim)), each.updateRoot)
      const buckets = encodeBuckets(sketch.buckets)
      assert.equal(sketch.shift, each.shift)
      assert.equal(base64(buckets), each.buckets)
      assert.deepEqual(
        openings.map(({ values, path }) => ({
          values: base64(chunkBytes(values)),
          path: toHex(path),
        })),
        each.openings,
      )
      const commitment = sketchCommitmentOf({
        taskId: each.taskId as TaskId,
        frozen: each.frozen,
        peer: parsePeerId(each.peer),
        shift: sketch.shift,
        buckets,
        salt: fromHex(each.salt),
      })
      assert.equal(toHex(commitment), each.commitment)
    })
  }

  for (const { name, values, code } of sketches.invalid) {
    it(`refuse ${name} with ${code}`, async () => {
      const vector = { rest: [''], step: 0, seed2: '00'.repeat(32) }
      await assert.rejects(sketchOf(values.map(Number), vector), { code })
    })
  }
})

function evidenceIn(told: Told): UpdateEvidence {
  return {
    ...told,
    rest: parseDigest(told.rest),
    normSquared: BigInt(told.normSquared),
    buckets: decodeBuckets(bytesOf(told.buckets)),
    opened: told.opened.map((chunk) => decodeChunk(bytesOf(chunk))),
  }
}

describe('vectors of the comparison of tensors', () => {
  for (const { name, left, right, tauPpm, distance } of [...pairs.valid, ...pairs.invalid]) {
    it(`measure ${name}`, () => {
      const found = updateDistance(evidenceIn(left), evidenceIn(right), BigInt(tauPpm))
      assert.equal(found === undefined ? null : found.toString(), distance)
    })
  }

  it('compare nothing that must be equal and is not', () => {
    assert.ok(pairs.invalid.every(({ distance }) => distance === null))
    assert.ok(pairs.valid.every(({ distance }) => distance !== null))
  })

  for (const { text, tauPpm, again } of pairs.policies.valid) {
    it(`read the policy ${text}`, () => {
      const policy = parsePolicy(text)
      assert.ok(policy.kind === 'tensors')
      assert.equal(policy.tauPpm.toString(), tauPpm)
      assert.equal(policyText(policy), again)
      assert.equal(again, text)
    })
  }

  for (const { text, code } of pairs.policies.invalid) {
    it(`refuse the policy ${JSON.stringify(text)} with ${code}`, () => {
      assert.throws(() => parsePolicy(text), { code })
    })
  }
})
