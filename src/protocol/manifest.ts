/** What makes a job manifest acceptable, and the code signature inside it. */
import { CtdError } from '../errors.js'
import { verifySignature } from '../wire/envelope.js'
import type { Opened } from '../wire/envelope.js'
import type { JobManifest } from '../wire/generated/job.js'
import { sha256, utf8 } from '../wire/ids.js'
import { parsePolicy } from './compare.js'
import type { ComparePolicy } from './compare.js'
import { planJob, trainInputs } from './plan.js'
import type { Plan } from './plan.js'

/** Names of inputs are file names in `/in`, beside `task.json`. */
const INPUT_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/

const CODE_DOMAIN = utf8('ctd-code-v1\0')

/**
 * The bytes a publisher signs: the image, the command and every input of a job, so that nobody
 * can run other code under the publisher's name.
 */
export function codeBytes(
  network: string,
  manifest: Pick<JobManifest, 'image' | 'spec' | 'inputs'>,
): Uint8Array {
  const inputs = manifest.inputs.map(({ name, digest }) => sha256(utf8(`${name}\0`), digest))
  return Buffer.concat([
    CODE_DOMAIN,
    sha256(utf8(network)),
    manifest.image?.configDigest ?? new Uint8Array(32),
    sha256(manifest.spec),
    sha256(...inputs),
  ])
}

function policyOf({ compare }: JobManifest): ComparePolicy {
  try {
    return parsePolicy(compare)
  } catch (cause) {
    const message = `the compare policy ${compare.slice(0, 60)} is not known`
    throw new CtdError('MANIFEST_INVALID', message, { cause })
  }
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i])
}

/**
 * Judges a manifest on its own and gives its plan.
 *
 * @throws CtdError CODE_SIGNATURE_INVALID, MANIFEST_INVALID, and what `planJob` throws
 */
export function assertManifest(network: string, opened: Opened<'manifest'>): Plan {
  const { message } = opened
  if (
    !verifySignature(message.publisher, codeBytes(network, message), message.publisherSignature)
  ) {
    throw new CtdError('CODE_SIGNATURE_INVALID', "the publisher's signature does not verify", {
      hint: 'image, command or inputs were changed after they were signed',
    })
  }
  const policy = policyOf(message)
  if (message.jobKind === 'train' && policy.kind === 'metrics') {
    throw new CtdError('MANIFEST_INVALID', 'numbers alone say too little of a train job')
  }
  if (message.jobKind === 'map' && policy.kind !== 'exact') {
    throw new CtdError('MANIFEST_INVALID', 'the tasks of a map job are compared bit for bit')
  }
  if (new Set(message.inputs.map(({ name }) => name)).size !== message.inputs.length) {
    throw new CtdError('MANIFEST_INVALID', 'two inputs have one name')
  }
  const bad = message.inputs.find(({ name }) => !INPUT_NAME.test(name) || name === 'task.json')
  if (bad !== undefined) {
    throw new CtdError('MANIFEST_INVALID', `not a name for an input: ${bad.name.slice(0, 60)}`)
  }
  const plan = planJob(message)
  if (plan.spec.kind !== message.jobKind) {
    throw new CtdError('MANIFEST_INVALID', 'the job kind is not that of its description')
  }
  const names = message.inputs.map(({ name }) => name)
  const isFit = plan.spec.kind !== 'train' || isSameList(names, trainInputs(plan.spec))
  if (!isFit) {
    throw new CtdError(
      'MANIFEST_INVALID',
      'a train job has the inputs that its description asks for',
    )
  }
  const needsImage = plan.batches.some((slots) =>
    slots.some(({ program }) => program.kind === 'container'),
  )
  if (needsImage && message.image?.configDigest.length !== 32) {
    throw new CtdError('MANIFEST_INVALID', 'the job runs containers and names no image')
  }
  return plan
}
