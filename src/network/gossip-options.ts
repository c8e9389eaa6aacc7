/**
 * How gossipsub is set up. Messages carry no gossipsub signature (StrictNoSign): the envelope
 * inside is signed by its author, so one message costs one verification and stays evidence.
 *
 * `asyncValidation` stays off: gossipsub awaits the topic validator before it forwards, which is
 * the asynchronous validation wanted here; the option would only add a second report to send.
 */
import type { GossipsubOpts } from '@libp2p/gossipsub'
import { StrictNoSign } from '@libp2p/gossipsub'
import { sha256, utf8 } from '../wire/ids.js'
import { NETWORK_LIMITS } from './limits.js'
import type { NetworkPreset } from './presets.js'

const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
/** What gossipsub counts for each topic entry of a peer besides its name. */
const TOPIC_ENTRY_BYTES = 1024

/** The decay per tick after which a counter is down to one half after `halfLifeMs`. */
export function decayOf(halfLifeMs: number, tickMs: number = SECOND_MS): number {
  return 0.5 ** (tickMs / halfLifeMs)
}

/** First 20 bytes of SHA-256(topic ‖ data): equal bytes on equal topics are one message. */
export function gossipMessageId(topic: string, bytes: Uint8Array): Uint8Array {
  return sha256(utf8(topic), bytes).subarray(0, 20)
}

export function gossipOptions(
  topics: readonly string[],
  preset: NetworkPreset,
): Partial<GossipsubOpts> {
  return {
    globalSignaturePolicy: StrictNoSign,
    msgIdFn: (message) => gossipMessageId(message.topic, message.data),
    allowedTopics: [...topics],
    emitSelf: false,
    asyncValidation: false,
    fallbackToFloodsub: false,
    allowPublishToZeroTopicPeers: true,
    ignoreDuplicatePublishError: true,
    floodPublish: true,
    doPX: false,
    awaitRpcHandler: true,
    messageProcessingConcurrency: NETWORK_LIMITS.gossipConcurrentMessages,
    maxInboundStreams: 1,
    maxOutboundStreams: 1,
    maxInboundDataLength: NETWORK_LIMITS.gossipRpcBytes,
    maxOutboundBufferSize: NETWORK_LIMITS.gossipOutboundBufferBytes,
    maxTopicBytesPerPeer: Math.max(64 * 1024, 4 * topics.length * TOPIC_ENTRY_BYTES),
    decodeRpcLimits: {
      maxSubscriptions: Math.max(64, 2 * topics.length),
      maxMessages: 256,
      maxIhaveMessageIDs: 2000,
      maxIwantMessageIDs: 2000,
      maxIdontwantMessageIDs: 512,
      maxControlMessages: 128,
      maxPeerInfos: 16,
    },
    scoreParams: scoreParams(topics, preset),
  }
}

/**
 * Peer scores: good history is worth little (caps), invalid messages are remembered (half-life of
 * ten minutes), low traffic is no fault (P3 off). One rejected message costs 10, two 40, three 90,
 * which is past gossipsub's graylist of −80.
 */
function scoreParams(
  topics: readonly string[],
  preset: NetworkPreset,
): NonNullable<GossipsubOpts['scoreParams']> {
  const topic = {
    topicWeight: 1,
    timeInMeshWeight: 0.01,
    timeInMeshQuantum: SECOND_MS,
    timeInMeshCap: 300,
    firstMessageDeliveriesWeight: 0.5,
    firstMessageDeliveriesDecay: decayOf(5 * MINUTE_MS),
    firstMessageDeliveriesCap: 20,
    meshMessageDeliveriesWeight: 0,
    meshMessageDeliveriesDecay: 0.5,
    meshMessageDeliveriesCap: 1,
    meshMessageDeliveriesThreshold: 1,
    meshMessageDeliveriesWindow: 10,
    meshMessageDeliveriesActivation: SECOND_MS,
    meshFailurePenaltyWeight: 0,
    meshFailurePenaltyDecay: 0.5,
    invalidMessageDeliveriesWeight: -10,
    invalidMessageDeliveriesDecay: decayOf(10 * MINUTE_MS),
  }
  return {
    topics: Object.fromEntries(topics.map((name) => [name, topic])),
    topicScoreCap: 20,
    IPColocationFactorWeight: preset.ipColocationWeight,
    IPColocationFactorThreshold: preset.ipColocationThreshold,
    behaviourPenaltyWeight: -10,
    behaviourPenaltyThreshold: 6,
    behaviourPenaltyDecay: decayOf(2 * MINUTE_MS),
    decayInterval: SECOND_MS,
    decayToZero: 0.01,
    retainScore: 6 * HOUR_MS,
  }
}
