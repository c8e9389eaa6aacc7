/** Updates out of nothing, and what is said of them, without files. */
import {
  RangeScan,
  restDigest,
  Sketcher,
  sketchSeedOf,
  UpdateDigester,
} from '../../src/protocol/sketch.js'
import type { UpdateClaim } from '../../src/protocol/sketch.js'
import type { MerkleTree } from '../../src/protocol/merkle.js'
import { evidenceOf, sketchMessage } from '../../src/protocol/sketch-message.js'
import type { SketchedUpdate } from '../../src/protocol/sketch-message.js'
import { updateRootOf } from '../../src/protocol/sketch.js'
import type { UpdateEvidence } from '../../src/protocol/tensors.js'
import { createSigner, seal } from '../../src/wire/envelope.js'
import { fromHex, sha256, utf8 } from '../../src/wire/ids.js'
import type { TaskId } from '../../src/wire/ids.js'

export const ELEMENTS = 5000

export interface Deviations {
  /** Largest quantisation step. */
  readonly step?: number
  readonly rest?: string
}

/** Numbers from a seeded generator, about normal, of variance one. */
export function normal(seed: string, elements = ELEMENTS): Float64Array {
  let state = Buffer.from(sha256(utf8(seed))).readUInt32BE(0)
  const uniform = (): number => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) | 0
    let hash = Math.imul(state ^ (state >>> 12), 0x297a2d39)
    hash ^= hash >>> 15
    return (hash >>> 0) / 2 ** 32
  }
  // The sum of three uniform numbers is near enough, and has the variance of a quarter.
  return Float64Array.from(
    { length: elements },
    () => 2 * (uniform() + uniform() + uniform() - 1.5),
  )
}

/** The same numbers with noise of this relative size. */
export function noisy(values: Float64Array, size: number, seed: string): Float64Array {
  const noise = normal(seed, values.length)
  return values.map((value, i) => value + size * (noise[i] ?? 0))
}

function digest(
  values: Float64Array,
  { step = 0, rest = '' }: Deviations,
): { claim: UpdateClaim; tree: MerkleTree | undefined } {
  const range = new RangeScan()
  range.add(values)
  const digester = new UpdateDigester(range.exponent)
  digester.add(values)
  return digester.finish(step, fromHex(restDigest([utf8(rest)])))
}

export function claimed(values: Float64Array, deviations: Deviations = {}): UpdateClaim {
  return digest(values, deviations).claim
}

export function sketched(
  values: Float64Array,
  seed2: Uint8Array,
  deviations: Deviations = {},
): SketchedUpdate {
  const { claim, tree } = digest(values, deviations)
  const sketcher = new Sketcher(sketchSeedOf(seed2), claim)
  sketcher.add(values)
  return { claim, sketch: sketcher.finish(), openings: sketcher.openings(tree) }
}

const SIGNER = createSigner(sha256(utf8('updates')))
const ID = '11'.repeat(32)

/** What a verdict knows of an update, by way of the message that tells it. */
export function evidence(
  values: Float64Array,
  seed2: Uint8Array,
  deviations: Deviations = {},
): UpdateEvidence {
  const own = sketched(values, seed2, deviations)
  const told = { taskId: ID as TaskId, frozen: ID, salt: new Uint8Array(32) }
  const opened = seal('updates', 'sketch', sketchMessage(own, told), SIGNER)
  return evidenceOf(opened, updateRootOf(own.claim), seed2)
}
