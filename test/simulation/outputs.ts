/** What simulated tasks compute, and who holds it: files that follow from the slot and its inputs. */
import { CtdError } from '../../src/errors.js'
import type { ReplicaOutput } from '../../src/executor/replica.js'
import type { OutputFile } from '../../src/protocol/job.js'
import type { Plan, PlannedSlot } from '../../src/protocol/plan.js'
import { taskIdOf } from '../../src/protocol/task.js'
import { encodeFolder, parseFolder, smallBlobDigest } from '../../src/wire/folder.js'
import type { Task } from '../../src/wire/generated/task.js'
import { sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { Digest, PeerId } from '../../src/wire/ids.js'
import type { UpdateSource } from '../../src/training/update.js'
import { noisy, normal } from '../unit/updates.js'

/** Small: a sketch is as long as ever. */
const UPDATE_ELEMENTS = 256
/** Relative distance between two honest machines: a tenth of the tolerance. */
const DRIFT = 7e-5

export class Outputs {
  readonly #listings = new Map<Digest, Uint8Array>()
  readonly #holders = new Map<Digest, Set<PeerId>>()
  readonly #computed = new Map<string, ReplicaOutput>()
  readonly #updates = new Map<Digest, Float64Array>()
  /** What a drifted output would be without its drift. */
  readonly #undrifted = new Map<Digest, Digest>()

  /**
   * The output of a task; another one for every `lie`, the right one for none.
   *
   * @param drift - of a machine whose arithmetic differs in the last digits; none where absent
   */
  compute(plan: Plan, slot: PlannedSlot, task: Task, lie: string, drift = ''): ReplicaOutput {
    const name = `${taskIdOf(task)} ${lie} ${drift}`
    const output = this.#computed.get(name) ?? this.#compute(plan, slot, task, lie, drift)
    this.#computed.set(name, output)
    return output
  }

  #compute(plan: Plan, slot: PlannedSlot, task: Task, lie: string, drift: string): ReplicaOutput {
    const inputs = task.inputs.map(({ digest }) => digest)
    const metrics = utf8(JSON.stringify({ correct: 3, n: 4, nllFixed: 1 << 20, lie }))
    const paths = pathsOf(plan, slot)
    if (drift !== '') paths.push('update')
    const files = paths.map((path) => {
      const seed = utf8(`${slot.batch}/${slot.slot}/${path}/${lie}${drift}`)
      const bytes = path === 'metrics.json' ? metrics : sha256(seed, ...inputs)
      return { path, sizeBytes: bytes.length, digest: smallBlobDigest(bytes) }
    })
    const listing = encodeFolder(files)
    const root = smallBlobDigest(listing)
    this.#listings.set(root, listing)
    if (drift !== '') {
      const base = `${slot.batch}/${slot.slot}/${inputs.map(toHex).join()}/${lie}`
      this.#undrifted.set(root, this.compute(plan, slot, task, lie).root)
      this.#updates.set(root, noisy(normal(base, UPDATE_ELEMENTS), DRIFT, drift))
    }
    return { root, listing, metrics }
  }

  /** What an output would be on a machine that does not drift. */
  undrifted(root: Digest): Digest {
    return this.#undrifted.get(root) ?? root
  }

  /** The update in an output, as its files would tell it. */
  update(root: Digest): UpdateSource {
    const values = this.#updates.get(root)
    if (values === undefined) throw new CtdError('BLOB_UNAVAILABLE', 'no such output')
    return {
      rest: [],
      step: 0,
      async *values() {
        yield await Promise.resolve(values)
      },
    }
  }

  hold(root: Digest, peer: PeerId): void {
    const holders = this.#holders.get(root) ?? new Set()
    this.#holders.set(root, holders.add(peer))
  }

  /** @throws CtdError BLOB_UNAVAILABLE unless one of the peers holds it and is reachable */
  read(
    root: Digest,
    providers: readonly PeerId[],
    isReachable: (peer: PeerId) => boolean,
  ): readonly OutputFile[] {
    const listing = this.#listings.get(root)
    const holder = providers.find((peer) => this.#holders.get(root)?.has(peer) && isReachable(peer))
    if (listing === undefined || holder === undefined) {
      throw new CtdError('BLOB_UNAVAILABLE', 'no provider can be reached')
    }
    return parseFolder(listing)
  }
}

/** Every file of a slot's output that the plan asks for somewhere. */
function pathsOf(plan: Plan, { batch, slot }: PlannedSlot): string[] {
  const sources = plan.batches
    .flat()
    .flatMap(({ inputs }) => inputs.map(({ source }) => source))
    .flatMap((source) =>
      source.kind === 'slot' && source.batch === batch && source.slot === slot ? [source.path] : [],
    )
  const artifacts = plan.artifacts.flatMap((artifact) =>
    artifact.batch === batch && artifact.slot === slot && artifact.file !== undefined
      ? [artifact.file]
      : [],
  )
  return [...new Set(['metrics.json', ...sources, ...artifacts])]
}
