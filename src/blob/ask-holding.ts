/** Asks a peer how much of a blob it has, without fetching any of it. */
import { errorMessage } from '../errors.js'
import type { Transport } from '../network/transport.js'
import { fromHex } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { FRAME, FRAME_HEADER_BYTES, decodeFrameHeader } from './blob-protocol.js'

/** That it has all of it; that it has some, or is too busy to say; or neither. */
export type Holding = 'whole' | 'perhaps' | 'none'

const ANSWER_MS = 5000

/** @throws CtdError PEER_UNREACHABLE, and what the stream throws */
export async function askHolding(
  transport: Pick<Transport, 'openStream'>,
  { peer, digest }: { readonly peer: PeerId; readonly digest: Digest },
  signal: AbortSignal,
): Promise<Holding> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)])
  const stream = await transport.openStream(peer, patience)
  const onAbort = (): void => stream.abort(new Error(errorMessage(patience.reason)))
  patience.addEventListener('abort', onAbort, { once: true })
  try {
    await stream.write(fromHex(digest))
    const { kind } = decodeFrameHeader(await stream.read(FRAME_HEADER_BYTES))
    if (kind === FRAME.ALL) return 'whole'
    return kind === FRAME.SOME || kind === FRAME.BUSY ? 'perhaps' : 'none'
  } finally {
    patience.removeEventListener('abort', onAbort)
    stream.abort(new Error('nothing more is asked'))
  }
}
