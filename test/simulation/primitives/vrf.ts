/** Stands in for the VRF: in fast mode the proof is a hash of public key and input. */
import { hash as hashOnce } from 'node:crypto'
import * as real from '../../../src/protocol/vrf.js'
import { Kept } from './kept.js'
import { mode } from './mode.js'

export * from '../../../src/protocol/vrf.js'

const outputs = new Kept<Uint8Array | undefined>({ isAlways: true })
const proofs = new Kept<Uint8Array>({ isAlways: true })

const VERIFIED = Symbol('verified')
/** All simulated peers share the messages, and so the very same proofs. */
interface Noted extends Uint8Array {
  [VERIFIED]?: {
    readonly publicKey: Uint8Array
    readonly alpha: Uint8Array
    readonly output: Uint8Array | undefined
  }
}

function textOf(part: Uint8Array | string): string {
  return typeof part === 'string' ? part : Buffer.from(part).toString('base64')
}

/** Every schedule has the same peers. */
const secrets = new Map<string, Uint8Array>()

export function deriveVrfSecret(seed: Uint8Array): Uint8Array {
  const name = Buffer.from(seed).toString('hex')
  const known = secrets.get(name) ?? real.deriveVrfSecret(seed)
  secrets.set(name, known)
  return known
}

function hash(name: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = Buffer.concat([Buffer.from(`ctd-simulated-vrf/${name}\0`), ...parts])
  return new Uint8Array(hashOnce('sha512', bytes, 'buffer'))
}

const publicKeys = new Map<string, Uint8Array>()

function publicKeyOf(secret: Uint8Array): Uint8Array {
  const known = publicKeys.get(textOf(secret)) ?? real.vrfPublicKey(secret)
  publicKeys.set(textOf(secret), known)
  return known
}

export function vrfPublicKey(secret: Uint8Array): Uint8Array {
  return mode.isReal ? publicKeyOf(secret) : hash('key', secret).subarray(0, 32)
}

function proofOf(publicKey: Uint8Array, alpha: Uint8Array): Uint8Array {
  const proof = new Uint8Array(real.VRF_PROOF_BYTES)
  proof.set(hash('proof', publicKey, alpha))
  return proof
}

export function vrfProve(secret: Uint8Array, alpha: Uint8Array): Uint8Array {
  if (!mode.isReal) return proofOf(vrfPublicKey(secret), alpha)
  const name = ['prove', secret, alpha].map(textOf).join()
  return proofs.of(name, () => real.vrfProve(secret, alpha))
}

export function vrfVerify(
  publicKey: Uint8Array,
  alpha: Uint8Array,
  proof: Uint8Array,
): Uint8Array | undefined {
  if (mode.isReal) {
    const name = ['verify', publicKey, alpha, proof].map(textOf).join()
    return outputs.of(name, () => real.vrfVerify(publicKey, alpha, proof))
  }
  const noted: Noted = proof
  const before = noted[VERIFIED]
  if (before !== undefined && isSame(before.publicKey, publicKey) && isSame(before.alpha, alpha)) {
    return before.output
  }
  if (!isSame(proofOf(publicKey, alpha), proof)) return undefined
  const output = vrfOutput(proof)
  noted[VERIFIED] = { publicKey, alpha, output }
  return output
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

export function vrfOutput(proof: Uint8Array): Uint8Array | undefined {
  if (mode.isReal) return outputs.of(textOf(proof), () => real.vrfOutput(proof))
  return proof.length === real.VRF_PROOF_BYTES ? hash('output', proof) : undefined
}
