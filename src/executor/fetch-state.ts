/** How far an executor is with what its task needs: told to its steward with every heartbeat. */
import type { FetchProgress } from '../blob/blob-transfer.js'
import type { FetchState } from '../wire/generated/task.js'
import { peerIdFromPublicKey, publicKeyFromPeerId } from '../wire/ids.js'
import type { PeerId } from '../wire/ids.js'
import { LIMITS } from '../wire/limits.js'

export interface ReplicaFetch {
  /** Name of the input, `image`, or what is waited for. */
  readonly what: string
  /** Verified bytes, those of earlier runs included. */
  readonly doneBytes: number
  /** 0 until it is known. */
  readonly totalBytes: number
  readonly bytesPerSecond: number
  /** Null where it cannot be told. */
  readonly etaMs: number | null
  /** Those that gave most first. */
  readonly sources: ReadonlyArray<{
    readonly peer: PeerId
    readonly bytes: number
    /** What it does now, or why it was left. */
    readonly state: string
  }>
}

export function replicaFetch(
  what: string,
  { doneBytes, totalBytes, ratePerSecond, etaMs, sources }: FetchProgress,
): ReplicaFetch {
  // What never gave a byte and does not now is no source, but for those that did wrong.
  const told = sources.filter(({ bytes, state }) => bytes > 0 || !QUIET.has(state))
  return {
    what,
    doneBytes,
    totalBytes,
    bytesPerSecond: Math.round(ratePerSecond),
    etaMs: etaMs ?? null,
    sources: told.toSorted((a, b) => b.bytes - a.bytes).slice(0, LIMITS.fetchSources),
  }
}

const QUIET: ReadonlySet<string> = new Set(['unknown-blob', 'idle', 'connecting'])

/** As it travels. */
export function encodeFetch({ sources, etaMs, ...rest }: ReplicaFetch): FetchState {
  return {
    ...rest,
    etaMs: etaMs ?? 0,
    sources: sources.map((source) => ({ ...source, peer: publicKeyFromPeerId(source.peer) })),
  }
}

export function decodeFetch({ sources, etaMs, ...rest }: FetchState): ReplicaFetch {
  return {
    ...rest,
    etaMs: etaMs === 0 ? null : etaMs,
    sources: sources.map((source) => ({ ...source, peer: peerIdFromPublicKey(source.peer) })),
  }
}
