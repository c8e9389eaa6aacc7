/** Every maximum of this room. Sizes in bytes, times in milliseconds. */
export const BLOB_LIMITS = {
  pieceBytes: 1024 * 1024,
  /** 256 GiB; its manifest has 8 MiB. */
  blobBytes: 256 * 1024 ** 3,

  peersAtOnce: 8,
  /** Before another peer is asked beside those that are. */
  nextPeerMs: 300,
  /** What comes faster needs no more peers: a gigabit a second. */
  fastBytesPerSecond: 125_000_000,
  /** Of a peer that has given nothing since; where more peers can be found there is no end. */
  attemptsPerPeer: 2,
  /** Sources known to one fetch at a time. */
  providersPerFetch: 256,
  /** Between these a peer is asked for half a second of its measured rate ahead. */
  requestsAheadMin: 2,
  requestsAheadFirst: 2,
  requestsAheadMax: 16,
  requestersPerPiece: 2,
  /** How long a piece is owed, at the end, before a second peer is asked for it. */
  secondAskMs: 1000,
  /** How many pieces are looked at to find the rarest. */
  piecesCompared: 4096,
  /** Read at a time, so that a peer that trickles can be told from one that is slow. */
  readBytes: 128 * 1024,
  /** What is fetched is brought to the disk behind the fetch, so much at a time. */
  syncBytes: 32 * 1024 * 1024,
  openMs: 10_000,
  /** From this size on a blob comes over connections of its own. */
  bulkBytes: 8 * 1024 * 1024,
  /** A peer that owes bytes and sends less than `readBytes` in this time has stalled. */
  stallMs: 30_000,
  /** A peer far below the others over this time is slow. */
  slowMs: 5000,
  /** The part of the others' median rate below which a peer is slow. */
  slowPart: 1 / 8,
  /** How long a peer may have nothing that is wanted before its stream is closed. */
  idleMs: 15_000,
  retryMs: 500,
  retryMaxMs: 60_000,
  slowRetryMs: 30_000,
  /** Between searches for more providers while some are there. */
  findMoreMs: 30_000,
  tickMs: 1000,
  progressMs: 250,
  /** For how long a peer that sent wrong bytes is asked for nothing. */
  corruptMs: 3600 * 1000,
  /** In which what speaks against a peer weighs half as much. */
  standingHalfMs: 24 * 3600 * 1000,
  /** Peers whose standing as providers is remembered. */
  faultyPeers: 4096,

  filesAtOnce: 4,
  /** Each has two files open; those that wait for providers count too. */
  fetchesAtOnce: 128,
  /** Streams of all fetches to one peer; it would refuse more than 16. */
  streamsPerPeer: 8,
  streamsAtOnce: 32,

  serveStreams: 48,
  serveIdleMs: 60_000,
  /** With longer waits for upload bandwidth a new stream is refused, so that another peer is asked. */
  serveBacklogMs: 10_000,
  /** How often one stream may ask for each piece, on average, before it is dropped. */
  serveRequestsPerPiece: 4,
  /** For how long a piece that was compared with its hash is served again without. */
  serveVerifiedMs: 10 * 60_000,
  /** Blobs of which such pieces are remembered. */
  serveVerifiedBlobs: 64,
  /** Between two tellings of new pieces on one stream. */
  haveMs: 250,
  piecesPerHave: 1024,
} as const
