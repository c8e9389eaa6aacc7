/**
 * Writes the JSON vectors of what travels to test/vectors, by which another language can check its
 * own envelopes, task ids and commitments: `node --import tsx scripts/vectors-wire.ts`. Bytes are
 * hexadecimal. Invalid vectors name the code they are refused with, or do not match.
 */
import { writeFile } from 'node:fs/promises'
import { CtdError } from '../src/errors.js'
import { commitmentOf, outcomeOf, taskIdOf } from '../src/protocol/task.js'
import { createSigner, open, seal, signedBytes } from '../src/wire/envelope.js'
import type { Opened, Signer } from '../src/wire/envelope.js'
import { Envelope } from '../src/wire/generated/envelope.js'
import { fromHex, publicKeyFromPeerId, sha256, toHex, utf8 } from '../src/wire/ids.js'
import { LIMITS } from '../src/wire/limits.js'
import { kindId } from '../src/wire/messages.js'
import type { MessageKind, Messages } from '../src/wire/messages.js'

const FOLDER = new URL('../test/vectors/', import.meta.url)
const NETWORK = 'vectors'
const hash = (name: string): Uint8Array => sha256(utf8(name))
const REQUESTER = hash('requester')
const EXECUTOR_SEED = hash('executor')
const STEWARD_SEED = hash('steward')
const EXECUTOR = createSigner(EXECUTOR_SEED)
const STEWARD = createSigner(STEWARD_SEED)
const OFFER = {
  jobId: hash('job'),
  batch: 1,
  attempt: 2,
  slots: 3,
  replicas: 2,
  requirements: { memoryMib: 1024, diskMib: 64, gpus: 0, vramMib: 0, isolation: 'runc' },
  bidWindowMs: 2000,
  openWindowMs: 2000,
  auditPpm: 100_000,
  stewards: [publicKeyFromPeerId(STEWARD.peerId)],
  diversity: 'operator',
  stewardVrfKeys: [hash('vrf key')],
  epoch: 0,
  beacon: new Uint8Array(0),
  small: false,
}
const COMMITMENT = { taskId: hash('task'), attempt: 2, commitment: hash('commitment') }
const RECEIPT = {
  previous: hash('previous'),
  jobId: hash('job'),
  batch: 1,
  slot: 0,
  taskId: hash('task'),
  verdict: 'accepted',
  outputRoot: hash('root'),
  executors: [
    {
      peer: publicKeyFromPeerId(EXECUTOR.peerId),
      operator: publicKeyFromPeerId(EXECUTOR.peerId),
      outcome: 'agreed',
      durationMs: 1234,
      root: hash('outcome'),
    },
  ],
  young: true,
  closedMs: 1_800_000_000_000,
  reason: '',
  view: 0,
}
const DECLINE = { offer: hash('offer'), code: 'BUSY', reason: 'beschäftigt ✓' }

function validEnvelopes(): object[] {
  const of = <K extends MessageKind>(
    seed: Uint8Array,
    kind: K,
    message: Messages[K],
    network = NETWORK,
  ): object => {
    const opened = seal(network, kind, message, createSigner(seed))
    return {
      name: network === NETWORK ? kind : `${kind} in another network`,
      network,
      kind,
      kindId: kindId(kind),
      seed: toHex(seed),
      author: opened.author,
      payload: toHex(Envelope.decode(opened.bytes).payload),
      envelope: toHex(opened.bytes),
      id: opened.id,
    }
  }
  return [
    of(REQUESTER, 'offer', OFFER),
    of(EXECUTOR_SEED, 'decline', DECLINE),
    of(EXECUTOR_SEED, 'commitment', COMMITMENT),
    of(EXECUTOR_SEED, 'commitment', COMMITMENT, 'elsewhere'),
    of(STEWARD_SEED, 'receipt', RECEIPT),
  ]
}

/** An envelope from its parts, signed by whom it says unless told otherwise. */
function envelopeOf(parts: {
  readonly kind: number
  readonly payload: Uint8Array
  readonly signers?: readonly Signer[]
  readonly network?: string
}): Uint8Array {
  const { kind, payload, signers = [EXECUTOR], network = NETWORK } = parts
  const signatures = signers.map((signer) => ({
    author: publicKeyFromPeerId(signer.peerId),
    signature: signer.sign(signedBytes(network, kind, payload)),
  }))
  return Envelope.encode({ kind, payload, signatures })
}

function invalidEnvelopes(): object[] {
  const commitment = seal(NETWORK, 'commitment', COMMITMENT, EXECUTOR)
  const { payload } = Envelope.decode(commitment.bytes)
  const kind = kindId('commitment')
  const flipped = (opened: Opened, at: number): Uint8Array => {
    const bytes = Uint8Array.from(opened.bytes)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    return bytes
  }
  const short = { ...COMMITMENT, commitment: new Uint8Array(31) }
  const shortPayload = Envelope.decode(seal(NETWORK, 'commitment', short, EXECUTOR).bytes).payload
  const cases: Array<readonly [string, Uint8Array]> = [
    ['no bytes', new Uint8Array(0)],
    ['no protobuf', utf8('hello')],
    ['a changed payload', flipped(commitment, 12)],
    ['a changed signature', flipped(commitment, commitment.bytes.length - 1)],
    ['a signature for another network', envelopeOf({ kind, payload, network: 'elsewhere' })],
    [
      'a signature for another kind',
      Envelope.encode({ ...Envelope.decode(commitment.bytes), kind: 6 }),
    ],
    ['no signature', envelopeOf({ kind, payload, signers: [] })],
    [
      'two signatures where one belongs',
      envelopeOf({ kind, payload, signers: [EXECUTOR, STEWARD] }),
    ],
    [
      'a certificate signed twice by one',
      envelopeOf({ kind: 17, payload: new Uint8Array(0), signers: [STEWARD, STEWARD] }),
    ],
    ['an unknown kind', envelopeOf({ kind: 999, payload })],
    ['an unknown field of the envelope', Buffer.concat([commitment.bytes, Uint8Array.of(0x48, 1)])],
    [
      'an unknown field of the message',
      envelopeOf({ kind, payload: Buffer.concat([payload, Uint8Array.of(0x48, 1)]) }),
    ],
    [
      'a default value that is written out',
      envelopeOf({ kind: 6, payload: Uint8Array.of(0x12, 0) }),
    ],
    ['a commitment of 31 bytes', envelopeOf({ kind, payload: shortPayload })],
    ['a message beyond the limit of its kind', envelopeOf({ kind, payload: new Uint8Array(513) })],
    ['an envelope beyond the limit', new Uint8Array(LIMITS.envelopeBytes + 1)],
  ]
  return cases.map(([name, bytes]) => {
    const code = codeOf(() => open(NETWORK, bytes))
    // The longest vector is all zeros; its length says enough.
    const envelope = bytes.length > 4096 ? { zeros: bytes.length } : { envelope: toHex(bytes) }
    return { name, network: NETWORK, ...envelope, code }
  })
}

function codeOf(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    if (error instanceof CtdError) return error.code
    throw error
  }
  throw new Error('an invalid vector is valid')
}

interface TaskVector {
  readonly jobId: string
  readonly batch: number
  readonly slot: number
  readonly inputs: ReadonlyArray<{ readonly name: string; readonly digest: string }>
  /** The round manifest, as text. */
  readonly round?: string
}

const ROUND = '{"missed":[],"round":0,"shards":[{"start":0,"steps":5}],"version":1}\n'

function taskVectors(): object {
  const input = (name: string): TaskVector['inputs'][number] => ({
    name,
    digest: toHex(hash(name)),
  })
  const jobId = toHex(hash('job'))
  const of = (task: TaskVector): string =>
    taskIdOf({
      batch: task.batch,
      slot: task.slot,
      jobId: fromHex(task.jobId),
      round: utf8(task.round ?? ''),
      inputs: task.inputs.map(({ name, digest }) => ({ name, digest: fromHex(digest) })),
    })
  const two = {
    jobId,
    batch: 2,
    slot: 1,
    inputs: [input('weights.safetensors'), input('data.safetensors')],
  }
  const valid: Array<TaskVector & { readonly name: string }> = [
    { name: 'no inputs', jobId, batch: 0, slot: 1, inputs: [] },
    { name: 'two inputs', ...two },
    { name: 'a name that is not ASCII', jobId, batch: 0, slot: 0, inputs: [input('größe.csv')] },
    { name: 'a round manifest', ...two, round: ROUND },
  ]
  const taskId = of(two)
  const invalid: Array<TaskVector & { readonly name: string }> = [
    { name: 'inputs in another order', ...two, inputs: two.inputs.toReversed() },
    { name: 'another slot', ...two, slot: 2 },
    { name: 'a round manifest that it has not', ...two, round: ROUND },
    { name: 'another batch', ...two, batch: 1 },
    { name: 'an input left out', ...two, inputs: two.inputs.slice(1) },
    {
      name: 'an input of another name',
      ...two,
      inputs: [{ ...input('weights.safetensors'), name: 'weights' }, input('data.safetensors')],
    },
  ]
  return {
    valid: valid.map((task) => ({ ...task, taskId: of(task) })),
    invalid: invalid.map((task) => ({ ...task, taskId })),
  }
}

function commitmentVectors(executor: string, other: string): object {
  const base = {
    taskId: toHex(hash('task')),
    attempt: 2,
    peer: executor,
    outputRoot: toHex(hash('root')),
    metrics: toHex(utf8('{"accuracy":0.5}\n')),
    salt: toHex(hash('salt')),
  }
  const of = (vector: typeof base): string =>
    toHex(
      commitmentOf({
        taskId: vector.taskId as Parameters<typeof commitmentOf>[0]['taskId'],
        attempt: vector.attempt,
        peer: vector.peer as Parameters<typeof commitmentOf>[0]['peer'],
        outputRoot: fromHex(vector.outputRoot),
        metrics: fromHex(vector.metrics),
        salt: fromHex(vector.salt),
      }),
    )
  const outcome = ({ outputRoot, metrics }: typeof base): string =>
    outcomeOf({ outputRoot: fromHex(outputRoot), metrics: fromHex(metrics) })
  const valid = [
    { name: 'with metrics', ...base },
    { name: 'without metrics', ...base, metrics: '' },
    { name: 'in the first attempt', ...base, attempt: 1 },
  ]
  const invalid = [
    { name: 'copied by another peer', ...base, peer: other },
    { name: 'of another attempt', ...base, attempt: 3 },
    { name: 'of another task', ...base, taskId: toHex(hash('another task')) },
    { name: 'with another root', ...base, outputRoot: toHex(hash('another root')) },
    { name: 'with other metrics', ...base, metrics: toHex(utf8('{"accuracy":0.6}\n')) },
    { name: 'with another salt', ...base, salt: toHex(hash('another salt')) },
  ]
  return {
    valid: valid.map((vector) => ({ ...vector, commitment: of(vector), outcome: outcome(vector) })),
    invalid: invalid.map((vector) => ({ ...vector, commitment: of(base) })),
  }
}

async function write(name: string, vectors: object): Promise<void> {
  await writeFile(new URL(name, FOLDER), `${JSON.stringify(vectors, null, 2)}\n`)
}

await write('envelope.json', { valid: validEnvelopes(), invalid: invalidEnvelopes() })
await write('task.json', taskVectors())
await write('commitment.json', commitmentVectors(EXECUTOR.peerId, STEWARD.peerId))
