/** Stands in for the VRF: in fast mode the proof is a hash of public key and input. */
import { hash as hashOnce } from 'node:crypto'
import * as real from '../../../src/protocol/vrf.js'
import { mode } from './mode.js'

export const VRF_PROOF_BYTES = real.VRF_PROOF_BYTES
export const VRF_OUTPUT_BYTES = real.VRF_OUTPUT_BYTES
export const VRF_KEY_DOMAIN = real.VRF_KEY_DOMAIN

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

export function vrfPublicKey(secret: Uint8Array): Uint8Array {
  return mode.isReal ? real.vrfPublicKey(secret) : hash('key', secret).subarray(0, 32)
}

function proofOf(publicKey: Uint8Array, alpha: Uint8Array): Uint8Array {
  const proof = new Uint8Array(VRF_PROOF_BYTES)
  proof.set(hash('proof', publicKey, alpha))
  return proof
}

export function vrfProve(secret: Uint8Array, alpha: Uint8Array): Uint8Array {
  return mode.isReal ? real.vrfProve(secret, alpha) : proofOf(vrfPublicKey(secret), alpha)
}

export function vrfVerify(
  publicKey: Uint8Array,
  alpha: Uint8Array,
  proof: Uint8Array,
): Uint8Array | undefined {
  if (mode.isReal) return real.vrfVerify(publicKey, alpha, proof)
  if (Buffer.compare(proofOf(publicKey, alpha), proof) !== 0) return undefined
  return vrfOutput(proof)
}

export function vrfOutput(proof: Uint8Array): Uint8Array | undefined {
  if (mode.isReal) return real.vrfOutput(proof)
  return proof.length === VRF_PROOF_BYTES ? hash('output', proof) : undefined
}
