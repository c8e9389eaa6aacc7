/** Every maximum of the local door, in one place. Sizes in bytes, times in milliseconds. */
export const API_LIMITS = {
  /** A job specification is small; bytes travel through `/v1/blobs`. */
  jsonBodyBytes: 1024 * 1024,
  /** Largest single upload; the blob store's quota may be lower. */
  blobBytes: 256 * 1024 ** 3,
  connections: 64,
  headersPerRequest: 64,
  headersMs: 5_000,
  /** A whole request including an upload; JSON bodies have their own, shorter limit. */
  requestMs: 12 * 3600_000,
  jsonBodyMs: 30_000,
  /** A connection on which nothing moves, in either direction. */
  idleMs: 5 * 60_000,
  /** How long one answer may wait for the network (job state, files, transcript). */
  answerMs: 4 * 60_000,
  eventClients: 16,
  /** Unsent bytes kept for one reader of the event stream; beyond it events are skipped. */
  eventBufferBytes: 256 * 1024,
  eventHeartbeatMs: 15_000,
  folderEntries: 65_536,
  folderBodyBytes: 16 * 1024 * 1024,
  pathChars: 1024,
  /** `sun_path` of Linux holds 108 bytes, the last one a zero (unix(7)). */
  socketPathBytes: 107,
  socketProbeMs: 1_000,
} as const
