/** Job events as text for the event log: signed messages by their bytes, maps as entries. */
import type { JobEvent } from '../protocol/job.js'
import { open } from '../wire/envelope.js'

/** Keys of wrapped values; no event has a field of these names. */
const BYTES = '$bytes'
const ENVELOPE = '$envelope'
const MAP = '$map'

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object'
}

function isOpened(value: unknown): value is { readonly bytes: Uint8Array } {
  return isRecord(value) && 'authors' in value && value['bytes'] instanceof Uint8Array
}

function toBase64({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64')
}

function pack(value: unknown): unknown {
  if (!isRecord(value)) return value
  if (value instanceof Uint8Array) return { [BYTES]: toBase64(value) }
  if (isOpened(value)) return { [ENVELOPE]: toBase64(value.bytes) }
  if (value instanceof Map) return { [MAP]: [...value].map(([key, item]) => [key, pack(item)]) }
  if (Array.isArray(value)) return value.map(pack)
  const packed: Record<string, unknown> = {}
  for (const key of Object.keys(value)) packed[key] = pack(value[key])
  return packed
}

function unpack(network: string, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => unpack(network, item))
  if (!isRecord(value)) return value
  const bytes = value[BYTES]
  if (typeof bytes === 'string') return new Uint8Array(Buffer.from(bytes, 'base64'))
  const envelope = value[ENVELOPE]
  if (typeof envelope === 'string')
    return open(network, new Uint8Array(Buffer.from(envelope, 'base64')))
  const map = value[MAP]
  if (Array.isArray(map)) {
    return new Map(
      (unpack(network, map) as Array<[unknown, unknown]>).map(([key, item]) => [key, item]),
    )
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, unpack(network, item)]),
  )
}

export function encodeEvent(event: JobEvent): string {
  return JSON.stringify(pack(event))
}

/** @throws what `open` throws: an envelope that was stored verified and no longer does */
export function decodeEvent(network: string, text: string): JobEvent {
  return unpack(network, JSON.parse(text)) as JobEvent
}
