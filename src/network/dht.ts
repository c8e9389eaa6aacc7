/**
 * The Kademlia DHT: records under `/ctd/…`, provider records of blobs, and the walk that finds
 * peers. What kad-dht leaves to its user is done here: records are checked on arrival, only the
 * namespace `ctd` exists, values are collected from all holders instead of trusting its `get`
 * (one stale holder makes that lose the value), and every query has a deadline.
 */
import { randomBytes } from 'node:crypto'
import { kadDHT } from '@libp2p/kad-dht'
import type { KadDHT, QueryEvent } from '@libp2p/kad-dht'
import type { Libp2p } from '@libp2p/interface'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { equals } from 'uint8arrays/equals'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { CtdError, errorMessage } from '../errors.js'
import { fromHex, parsePeerId } from '../wire/ids.js'
import type { Digest, PeerId } from '../wire/ids.js'
import { NETWORK_LIMITS } from './limits.js'
import type { NetworkPreset } from './presets.js'

export const KAD_PROTOCOL = '/ctd/kad/1.0.0'
const RECORD_PREFIX = '/ctd/'
/** Multicodec codes of raw bytes and of SHA-256. */
const RAW_CODE = 0x55
const SHA256_CODE = 0x12

/** The application's word on records; `validate` throws, `select` returns the index of the best. */
export interface RecordRules {
  /** Must check size, signature and that the key belongs to the author. Throws to refuse. */
  validate(key: string, value: Uint8Array): void | Promise<void>
  select(key: string, values: readonly Uint8Array[]): number
}

/** The service for `createLibp2p`. */
export function dhtService(rules: RecordRules, preset: NetworkPreset): ReturnType<typeof kadDHT> {
  return kadDHT({
    protocol: KAD_PROTOCOL,
    ...(preset.dhtClientMode === undefined ? {} : { clientMode: preset.dhtClientMode }),
    peerInfoMapper: preset.peerInfoMapper,
    allowQueryWithZeroPeers: true,
    maxInboundStreams: 16,
    maxOutboundStreams: 16,
    validators: {
      ctd: async (key, value) => {
        assertRecordSize(key, value)
        await rules.validate(toString(key), value)
      },
      pk: () => {
        throw new CtdError('RECORD_INVALID', 'only records under /ctd/ are stored')
      },
    },
    selectors: { ctd: (key, records) => rules.select(toString(key), records) },
  })
}

/** The part of a node that these operations need. */
export interface DhtNode {
  readonly peerId: Libp2p['peerId']
  readonly services: { readonly dht: KadDHT }
}

/** Stores a record. @returns how many other peers confirmed the exact value */
export async function putRecord(
  node: DhtNode,
  record: { readonly key: string; readonly value: Uint8Array },
  rules: RecordRules,
  signal: AbortSignal,
): Promise<number> {
  const key = recordKey(record.key)
  assertRecordSize(key, record.value)
  try {
    await rules.validate(record.key, record.value)
  } catch (error) {
    throw new CtdError('RECORD_INVALID', `the record is not valid: ${errorMessage(error)}`, {
      cause: error,
    })
  }
  const holders = new Set<string>()
  await drain(node.services.dht.put(key, record.value, { signal: deadline(signal) }), (event) => {
    if (event.name !== 'PEER_RESPONSE' || event.record === undefined) return
    if (event.messageName === 'PUT_VALUE' && equals(event.record.value, record.value)) {
      holders.add(event.from.toString())
    }
  })
  return holders.size
}

/** Collects what the holders of a key have, then lets `pick` choose. */
export async function getRecord(
  node: DhtNode,
  key: string,
  pick: (values: readonly Uint8Array[]) => Uint8Array | undefined,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const seen: Uint8Array[] = []
  const enough = new AbortController()
  const take = (value: Uint8Array): void => {
    if (seen.length >= NETWORK_LIMITS.recordsPerGet) enough.abort()
    else if (!seen.some((other) => equals(other, value))) seen.push(value)
  }
  const options = {
    signal: AbortSignal.any([deadline(signal), enough.signal]),
    onProgress: (event: { type: string; detail?: unknown }) => {
      if (event.type === 'kad-dht:query:value') take(valueOf(event.detail))
    },
  }
  await drain(node.services.dht.get(recordKey(key), options), (event) => {
    if (event.name === 'VALUE') take(event.value)
  })
  return seen.length === 0 ? undefined : pick(seen)
}

/** Walks towards random keys until a walk finds nobody new. */
export async function walkPeers(node: DhtNode, signal: AbortSignal): Promise<readonly PeerId[]> {
  const found = new Map<string, PeerId>()
  const self = node.peerId.toString()
  for (let round = 0; round < NETWORK_LIMITS.dhtWalkRounds && !signal.aborted; round += 1) {
    const before = found.size
    const target = round === 0 ? node.peerId.toMultihash().bytes : randomBytes(32)
    const query = node.services.dht.getClosestPeers(target, { signal: deadline(signal) })
    await drain(query, (event) => {
      if (event.name !== 'PEER_RESPONSE' && event.name !== 'FINAL_PEER') return
      const name = event.from.toString()
      if (name !== self && found.size < NETWORK_LIMITS.dhtWalkPeers) keepPeer(found, name)
    })
    if (round > 0 && found.size === before) break
  }
  return [...found.values()]
}

/**
 * Announces to the DHT that this peer serves a blob. kad-dht renews it while the node runs.
 *
 * @returns to how many other peers the record was handed; they do not answer
 */
export async function provideBlob(
  node: DhtNode,
  digest: Digest,
  signal: AbortSignal,
): Promise<number> {
  const holders = new Set<string>()
  const query = node.services.dht.provide(cidOf(digest), { signal: deadline(signal) })
  await drain(query, (event) => {
    if (event.name !== 'PEER_RESPONSE' || event.messageName !== 'ADD_PROVIDER') return
    holders.add(event.from.toString())
  })
  return holders.size
}

/** Ends the renewal of an announcement. */
export async function withdrawBlob(node: DhtNode, digest: Digest): Promise<void> {
  await node.services.dht.cancelReprovide(cidOf(digest))
}

/** Peers that announced a blob, in the order found. */
export async function findBlobProviders(
  node: DhtNode,
  digest: Digest,
  signal: AbortSignal,
): Promise<readonly PeerId[]> {
  const found = new Map<string, PeerId>()
  const self = node.peerId.toString()
  const enough = new AbortController()
  const options = { signal: AbortSignal.any([deadline(signal), enough.signal]) }
  await drain(node.services.dht.findProviders(cidOf(digest), options), (event) => {
    if (event.name !== 'PROVIDER') return
    for (const { id } of event.providers) {
      if (id.toString() !== self) keepPeer(found, id.toString())
      if (found.size >= NETWORK_LIMITS.providersPerFind) return enough.abort()
    }
  })
  return [...found.values()]
}

/**
 * Runs a query to its end. Peers that fail, and the deadline, only make the answer smaller: a DHT
 * promises no more than what was found.
 */
async function drain(
  query: AsyncIterable<QueryEvent>,
  onEvent: (event: QueryEvent) => void,
): Promise<void> {
  try {
    for await (const event of query) onEvent(event)
  } catch (error) {
    if (error instanceof CtdError) throw error
  }
}

function deadline(signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(NETWORK_LIMITS.dhtQueryMs)])
}

function keepPeer(found: Map<string, PeerId>, name: string): void {
  try {
    found.set(name, parsePeerId(name))
  } catch {
    // A peer whose key is not Ed25519 cannot take part, so it is not found.
  }
}

function valueOf(detail: unknown): Uint8Array {
  if (typeof detail === 'object' && detail !== null && 'value' in detail) {
    if (detail.value instanceof Uint8Array) return detail.value
  }
  return new Uint8Array()
}

function recordKey(key: string): Uint8Array {
  if (!key.startsWith(RECORD_PREFIX) || key.length === RECORD_PREFIX.length) {
    throw new CtdError('RECORD_INVALID', 'the key of a record begins with /ctd/')
  }
  return fromString(key)
}

function assertRecordSize(key: Uint8Array, value: Uint8Array): void {
  const { recordBytes, recordKeyBytes } = NETWORK_LIMITS
  if (value.length > recordBytes || key.length > recordKeyBytes) {
    throw new CtdError('RECORD_TOO_LARGE', `a record has at most ${recordBytes} bytes`)
  }
}

function cidOf(digest: Digest): CID {
  return CID.createV1(RAW_CODE, createMultihash(SHA256_CODE, fromHex(digest)))
}
