/** Every maximum that a peer's bytes are held to, in one place. Sizes in bytes, times in ms. */
export const LIMITS = {
  /** Replicas of one task, the last escalation included (trust.md 2.4). */
  replicasPerTask: 7,
  replicasMin: 2,
  bidsPerOffer: 64,
  slotsPerBatch: 256,
  batchesPerJob: 512,
  /** Tasks of one plan; a plan takes about a kilobyte of memory for each. */
  tasksPerJob: 16_384,
  inputsPerTask: 300,
  providersPerTask: 8,
  /** Peers that an executor names as sources of what it fetches, and what it says of each. */
  fetchSources: 8,
  fetchStateChars: 16,
  /** Stewards of one view (trust.md 2.3), and so signatures of one certificate. */
  stewardsPerOffer: 7,
  /** Peers an offer ranks as stewards: those of view 0 and those who follow them. */
  stewardCandidates: 14,
  /** Views of one certificate; whoever needs more offers anew. */
  stewardViews: 64,
  inputsPerJob: 64,
  diffIdsPerImage: 64,
  gpusPerPeer: 16,
  envelopeBytes: 64 * 1024,
  specBytes: 24 * 1024,
  metricsBytes: 2 * 1024,
  /** Listings of output folders up to this size travel inside reveals. */
  listingBytes: 4 * 1024,
  textBytes: 512,
  /** Sizes of the shards of an elastic round, in each of its calls. */
  roundBytes: 12 * 1024,
  controlRequestBytes: 64 * 1024,
  controlResponseBytes: 1024 * 1024,
  transcriptBytes: 64 * 1024 * 1024,
  transcriptEnvelopes: 100_000,
  /** Envelopes whose predecessor has not arrived yet, and how long they are kept. */
  pendingEnvelopes: 1024,
  pendingPerPeer: 512,
  pendingMs: 60_000,
  /** Jobs a witness keeps the messages of. */
  witnessedJobs: 256,
  /** What a witness remembers of one job, and of all, in encoded bytes. */
  witnessedJobBytes: 64 * 1024 * 1024,
  witnessedBytes: 192 * 1024 * 1024,
  /** Answers to one offer that a witness remembers. */
  answersPerOffer: 1024,
  /** Acknowledgements of one steward and offer that a witness remembers. */
  acknowledgementsPerSteward: 8192,
  /** Failures that one author may tell of one task. */
  failuresPerAuthor: 8,
  seenEnvelopes: 16_384,
  /** What a peer remembers to have signed. */
  signedSlots: 100_000,
  /** Peers that are remembered as proven faulty, those that nobody knows among them. */
  faultyPeers: 4096,
  /** Hours whose receipts a peer tells of: more than the horizon of reputation. */
  evidenceBuckets: 3000,
  /** Receipts of one hour, and of one request for their chains. */
  receiptsPerBucket: 20_000,
  receiptsPerRequest: 64,
  /** A sketch: its buckets, what is opened of the update, and the sizes of its powers of two. */
  sketchBytes: 8192,
  sketchOpenings: 8,
  sketchChunkBytes: 256,
  sketchPathHashes: 30,
  sketchShift: 63,
  sketchExponents: 1984,
  /** Longest that a task may be asked to run. */
  taskTimeoutMs: 24 * 3600 * 1000,
} as const
