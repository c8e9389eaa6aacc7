/**
 * Stands in for `node:crypto` beneath the envelope. In fast mode a signature is a hash of public
 * key and message: whoever holds the key's name could forge it, and no simulated adversary does.
 */
import * as real from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { Kept } from './kept.js'
import { mode } from './mode.js'

type KeyInput = Parameters<typeof real.createPublicKey>[0]

const DOMAIN = Buffer.from('ctd-simulated-signature\0')
const RAW_KEY_BYTES = 32
const KEYS_MAX = 4096
/** The raw key of a signer's or verifier's key object. */
const rawKeys = new WeakMap<object, Buffer>()
const verified = new Kept<boolean>({ isAlways: true })
const publicKeys = new Map<string, KeyObject>()

export function createPrivateKey(input: Parameters<typeof real.createPrivateKey>[0]): KeyObject {
  return real.createPrivateKey(input)
}

/** Key objects are kept: making one costs more than a simulated signature. */
export function createPublicKey(input: KeyInput): KeyObject {
  const der = typeof input === 'object' && 'key' in input ? input.key : undefined
  if (!Buffer.isBuffer(der)) return real.createPublicKey(input)
  const name = der.toString('latin1')
  const known = publicKeys.get(name)
  if (known !== undefined) return known
  const key = real.createPublicKey(input)
  if (publicKeys.size >= KEYS_MAX) publicKeys.clear()
  publicKeys.set(name, key)
  rawKeys.set(key, der.subarray(der.length - RAW_KEY_BYTES))
  return key
}

function rawKey(key: KeyObject): Buffer {
  const known = rawKeys.get(key)
  if (known !== undefined) return known
  const der = real.createPublicKey(key).export({ format: 'der', type: 'spki' })
  const raw = der.subarray(der.length - RAW_KEY_BYTES)
  rawKeys.set(key, raw)
  return raw
}

function mark(key: KeyObject, bytes: Uint8Array): Buffer {
  return real.hash('sha512', Buffer.concat([DOMAIN, rawKey(key), bytes]), 'buffer')
}

export function sign(algorithm: null, bytes: Uint8Array, key: KeyObject): Buffer {
  return mode.isReal ? real.sign(algorithm, bytes, key) : mark(key, bytes)
}

export function verify(
  algorithm: null,
  bytes: Uint8Array,
  key: KeyObject,
  signature: Uint8Array,
): boolean {
  if (mode.isReal) {
    const name = real.hash('sha256', Buffer.concat([rawKey(key), signature, bytes]), 'base64')
    return verified.of(name, () => real.verify(algorithm, bytes, key, signature))
  }
  return Buffer.compare(mark(key, bytes), signature) === 0
}
