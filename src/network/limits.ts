/**
 * Every maximum of this room. Sizes in bytes, times in milliseconds. Reasons: gossip and control
 * sizes follow the protocol's limits; the rest bounds what one peer can make us hold.
 */
export const NETWORK_LIMITS = {
  gossipMessageBytes: 64 * 1024,
  /** One RPC may carry several messages (answers to IWANT), so it is larger than one message. */
  gossipRpcBytes: 256 * 1024,
  gossipOutboundBufferBytes: 4 * 1024 * 1024,
  gossipConcurrentMessages: 8,
  gossipValidationMs: 10_000,
  gossipPendingValidations: 256,

  requestBytes: 64 * 1024,
  responseBytes: 1024 * 1024,
  requestMs: 15_000,
  requestsInFlight: 128,

  streamReadBytes: 16 * 1024 * 1024,
  /** A paused stream may still receive one window; see YAMUX_WINDOW_BYTES in `presets.ts`. */
  streamQueueHighBytes: 2 * 1024 * 1024,
  streamQueueLowBytes: 1024 * 1024,
  /** Of a data channel; one read of the system's may come on top. */
  socketQueueBytes: 64 * 1024,
  streamWriteBytes: 256 * 1024,
  streamDrainMs: 60_000,
  streamsInFlight: 64,

  /** Connections at the data port, and invitations to it; of one peer. */
  dataConnections: 64,
  dataConnectionsPerPeer: 16,
  dataInviteMs: 15_000,
  dataOpenMs: 5_000,
  /** For how long a peer whose data port could not be reached is not tried there again. */
  dataRetryMs: 10 * 60_000,

  dialMs: 10_000,
  dialsAtOnce: 4,

  recordBytes: 4096,
  recordKeyBytes: 256,
  recordsPerGet: 32,
  providersPerFind: 20,
  dhtQueryMs: 20_000,
  dhtWalkRounds: 8,
  dhtWalkPeers: 2048,

  /** 64 MiB at most, with records of 4 KiB. */
  dhtStoredRecords: 16_384,
  knownPeers: 4096,

  pulseMs: 60_000,
  pulseAnswerMs: 30_000,
  pulseMisses: 2,
  pulsesAtOnce: 4,
} as const
