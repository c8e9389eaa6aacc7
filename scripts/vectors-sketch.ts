/**
 * Writes test/vectors/sketch.json and compare-tensors.json: what is said of an update, its sketch
 * under a seed, and the distance of two.
 */
import { writeFile } from 'node:fs/promises'
import { parsePolicy, policyText } from '../src/protocol/compare.js'
import { chunkBytes, encodeBuckets, updateRootOf } from '../src/protocol/sketch.js'
import { sketchCommitmentOf, sketchMessage } from '../src/protocol/sketch-message.js'
import { TENSOR_PROFILES, updateDistance } from '../src/protocol/tensors.js'
import type { UpdateEvidence } from '../src/protocol/tensors.js'
import { createSigner } from '../src/wire/envelope.js'
import { sha256, toHex, utf8 } from '../src/wire/ids.js'
import type { TaskId } from '../src/wire/ids.js'
import { codeOf } from '../test/vectors/chain.js'
import { evidence, noisy, normal, sketched } from '../test/unit/updates.js'
import type { Deviations } from '../test/unit/updates.js'

const DIR = new URL('../test/vectors/', import.meta.url)
const SEED = sha256(utf8('sketch vectors'))
const TASK = '33'.repeat(32) as TaskId
const FROZEN = '44'.repeat(32)
const SALT = sha256(utf8('salt'))
const PEER = createSigner(sha256(utf8('sketch vectors peer'))).peerId

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function sketchVector(name: string, values: Float64Array, deviations: Deviations = {}): object {
  const own = sketched(values, SEED, deviations)
  const message = sketchMessage(own, { taskId: TASK, frozen: FROZEN, salt: SALT })
  const { shift, buckets } = message
  const commitment = { taskId: TASK, frozen: FROZEN, peer: PEER, shift, buckets, salt: SALT }
  return {
    name,
    seed2: toHex(SEED),
    rest: [deviations.rest ?? ''],
    step: deviations.step ?? 0,
    values: [...values],
    claim: {
      rest: toHex(own.claim.rest),
      elements: own.claim.elements,
      exponent: own.claim.exponent,
      step: own.claim.step,
      normSquared: own.claim.normSquared.toString(),
      root: toHex(own.claim.root),
    },
    updateRoot: toHex(updateRootOf(own.claim)),
    shift,
    buckets: base64(buckets),
    openings: message.openings.map((opening) => ({
      values: base64(opening.values),
      path: toHex(opening.path),
    })),
    taskId: TASK,
    frozen: FROZEN,
    peer: PEER,
    salt: toHex(SALT),
    commitment: toHex(sketchCommitmentOf(commitment)),
  }
}

const small = Float64Array.of(0.5, -0.25, 3, 0, -1e-3)
const sketches = {
  valid: [
    sketchVector('nothing', new Float64Array(0)),
    sketchVector('five numbers', small),
    sketchVector('only zeros', new Float64Array(3)),
    sketchVector('a power of two and a step', Float64Array.of(4, -4, 2), { step: 4 / 127 }),
    sketchVector('two chunks and other files', normal('vectors', 70), { rest: 'labels.json' }),
    sketchVector('more chunks than are opened', normal('vectors', 800)),
    sketchVector(
      'very small numbers',
      normal('vectors', 20).map((value) => value * 1e-280),
    ),
  ],
  /** What no update may hold. */
  invalid: [
    ['NaN', [1, 'NaN'], Float64Array.of(1, NaN)],
    ['Infinity', [1, '-Infinity'], Float64Array.of(1, -Infinity)],
  ].map(([name, values, numbers]) => ({
    name,
    values,
    code: codeOf(() => sketched(numbers as Float64Array, SEED)),
  })),
}

function told(one: UpdateEvidence): object {
  return {
    rest: one.rest,
    elements: one.elements,
    exponent: one.exponent,
    step: one.step,
    normSquared: one.normSquared.toString(),
    shift: one.shift,
    buckets: base64(encodeBuckets(one.buckets)),
    opened: one.opened.map((chunk) => base64(chunkBytes(chunk))),
  }
}

const base = normal('pair', 600)
const near = noisy(base, 1e-4, 'near')
const edited = near.map((value, i) => (i === 321 ? value + 0.9 : value))

function pair(
  name: string,
  left: UpdateEvidence,
  right: UpdateEvidence,
  tauPpm: bigint = TENSOR_PROFILES.fp32.tauPpm,
): object {
  const distance = updateDistance(left, right, tauPpm)
  return {
    name,
    tauPpm: tauPpm.toString(),
    left: told(left),
    right: told(right),
    distance: distance === undefined ? null : distance.toString(),
  }
}

const of = (values: Float64Array, deviations: Deviations = {}): UpdateEvidence =>
  evidence(values, SEED, deviations)
const wide = TENSOR_PROFILES.tf32.tauPpm

function policies(): object {
  const valid = [
    'tensors:fp32',
    'tensors:tf32',
    'tensors:bf16',
    'tensors:fp32:1',
    'tensors:tf32:200000',
  ]
  const invalid = [
    'tensors',
    'tensors:',
    'tensors:fp16',
    'tensors:fp32:',
    'tensors:fp32:0',
    'tensors:fp32:01',
    'tensors:fp32:1000',
    'tensors:tf32:200001',
    'Tensors:fp32',
  ]
  return {
    valid: valid.map((text) => {
      const policy = parsePolicy(text)
      const tauPpm = policy.kind === 'tensors' ? policy.tauPpm.toString() : ''
      return { text, tauPpm, again: policyText(policy) }
    }),
    invalid: invalid.map((text) => ({ text, code: codeOf(() => parsePolicy(text)) })),
  }
}

const comparisons = {
  about: 'distance: parts per million of the tolerance, null where nothing can be compared',
  valid: [
    pair('one and the same', of(base), of(base)),
    pair('honest noise', of(base), of(near)),
    pair('the same the other way round', of(near), of(base)),
    pair('scaled by 1.01', of(base), of(near.map((value) => 1.01 * value))),
    pair('a twentieth of the steps left out', of(base), of(near.map((value) => 0.95 * value))),
    pair('other data', of(base), of(normal('other', 600))),
    pair('the input', of(base), of(new Float64Array(600))),
    pair('one weight edited, a wide tolerance', of(base), of(edited), wide),
    pair(
      'the same within a quantisation step',
      of(base, { step: 3 }),
      of(edited, { step: 3 }),
      wide,
    ),
    pair('a step that only one side claims', of(base), of(edited, { step: 3 }), wide),
    pair('twice the exponent', of(base), of(base.map((value) => value * 1024))),
    pair('nothing and nothing', of(new Float64Array(2)), of(new Float64Array(2))),
  ],
  invalid: [
    pair('other files beside it', of(base), of(base, { rest: 'other' })),
    pair('another length', of(base), of(base.subarray(1))),
  ],
  policies: policies(),
}

await writeFile(new URL('sketch.json', DIR), `${JSON.stringify(sketches, null, 1)}\n`)
await writeFile(new URL('compare-tensors.json', DIR), `${JSON.stringify(comparisons, null, 1)}\n`)
