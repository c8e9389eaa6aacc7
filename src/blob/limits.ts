/** Every maximum of this room. Sizes in bytes, times in milliseconds. */
export const BLOB_LIMITS = {
  pieceBytes: 1024 * 1024,
  /** 256 GiB; its manifest has 8 MiB. */
  blobBytes: 256 * 1024 ** 3,

  peersAtOnce: 8,
  attemptsPerPeer: 2,
  providersPerFetch: 64,
  requestsInFlightPerPeer: 4,
  requestersPerPiece: 2,
  openMs: 10_000,
  /** A peer that completes no answer in this time has stalled. */
  stallMs: 30_000,
  filesAtOnce: 4,
  fetchesAtOnce: 8,

  serveStreams: 48,
  serveIdleMs: 60_000,
  /** Longer waits for upload bandwidth are refused, so that the asker tries another peer. */
  serveBacklogMs: 10_000,
  /** How often one stream may ask for each piece, on average, before it is dropped. */
  serveRequestsPerPiece: 4,
} as const
