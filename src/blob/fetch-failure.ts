/** The errors with which a fetch ends. */
import { CtdError } from '../errors.js'
import type { Digest } from '../wire/ids.js'
import type { PeerShare } from './fetch-sources.js'

/** The error of a fetch that no peer could complete. */
export function unavailable(
  digest: Digest,
  peers: readonly PeerShare[],
  failedSearch: string | undefined,
): CtdError {
  const fields = { digest, peers }
  const names = peers.map(({ peer, reason }) => `${peer}: ${reason ?? 'gave up'}`).join('; ')
  if (peers.length > 0 && peers.every(({ fault }) => fault === 'too-large')) {
    return tooLarge(digest, peers)
  }
  if (peers.some(({ fault }) => fault === 'corrupt')) {
    return new CtdError('BLOB_CORRUPT', `no peer served the right bytes (${names})`, {
      hint: 'find other peers that have it; the named ones serve wrong bytes',
      fields,
    })
  }
  const search = failedSearch === undefined ? '' : `; the search: ${failedSearch}`
  return new CtdError(
    'BLOB_UNAVAILABLE',
    names === ''
      ? `no peer is known to have the blob${search}`
      : `no peer could serve the blob (${names}${search})`,
    { hint: 'try again when a peer that has it is online; verified pieces are kept', fields },
  )
}

export function tooLarge(digest: Digest, peers: readonly PeerShare[]): CtdError {
  return new CtdError('BLOB_TOO_LARGE', 'the blob is larger than allowed here', {
    hint: 'raise the size limit if the blob is wanted',
    fields: { digest, peers },
  })
}

export function assertNotAborted(signal: AbortSignal): void {
  if (!signal.aborted) return
  throw new CtdError('ABORTED', 'the fetch was stopped', { cause: signal.reason })
}
