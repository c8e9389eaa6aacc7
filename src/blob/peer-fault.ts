/** What peers do wrong while they serve a blob. */
import { errorMessage } from '../errors.js'
import type { Digest, PeerId } from '../wire/ids.js'

/**
 * Why a peer was of no use. `corrupt` bytes are provably its fault, `malformed` frames are its
 * program's; the others may be bad luck. `too-large` peers claimed a manifest longer than the blob
 * may be, `slow` ones gave far less than the others, `idle` ones had nothing that was wanted.
 */
export type PeerFault =
  | 'corrupt'
  | 'malformed'
  | 'stalled'
  | 'slow'
  | 'idle'
  | 'unknown-blob'
  | 'too-large'
  | 'busy'
  | 'unreachable'

/** What shows that bytes were wrong, to who saw them come: the connection is authenticated. */
export interface CorruptProof {
  /** Number of the piece; absent for the manifest. */
  readonly piece?: number
  /** SHA-256 that the bytes should have, hexadecimal: the piece's, or the digest of the blob. */
  readonly expected: string
  /** SHA-256 of what came, hexadecimal; absent where its length alone was wrong. */
  readonly got?: string
  readonly sizeBytes: number
}

/** One failure of a peer, as told to whoever keeps standings and logs. */
export interface BlobFault {
  readonly digest: Digest
  readonly peer: PeerId
  readonly fault: PeerFault
  readonly reason: string
  /** Present where the fault is `corrupt`. */
  readonly proof?: CorruptProof
}

/** A peer's fault as an error; never leaves this room. */
export class PeerFaultError extends Error {
  readonly fault: PeerFault
  readonly proof: CorruptProof | undefined

  constructor(fault: PeerFault, message: string, proof?: CorruptProof) {
    super(message)
    this.fault = fault
    this.proof = proof
  }
}

/** Runs a step whose failure is the peer's. */
export async function peerStep<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    if (error instanceof PeerFaultError) throw error
    throw new PeerFaultError('unreachable', errorMessage(error))
  }
}
