/**
 * The signed envelope around every message. Signatures and ids are taken over the received
 * payload bytes, never over a re-encoding.
 */
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { CtdError } from '../errors.js'
import { Envelope } from './generated/envelope.js'
import { digestOf, peerIdFromPublicKey, publicKeyFromPeerId, toHex, utf8 } from './ids.js'
import type { Digest, PeerId } from './ids.js'
import { LIMITS } from './limits.js'
import { decodeMessage, encodeMessage, isCertificate, kindId, kindOf } from './messages.js'
import type { MessageKind, Messages } from './messages.js'

/** A decoded envelope whose signatures were verified. */
export interface Opened<K extends MessageKind = MessageKind> {
  readonly kind: K
  /** Names the message: domain, network, kind, author (not for certificates) and payload. */
  readonly id: Digest
  /** The encoded envelope as received. */
  readonly bytes: Uint8Array
  /** The first signer. */
  readonly author: PeerId
  readonly authors: readonly PeerId[]
  readonly message: Messages[K]
}
export type AnyOpened = { [K in MessageKind]: Opened<K> }[MessageKind]

/** Signs for one identity. */
export interface Signer {
  readonly peerId: PeerId
  sign(bytes: Uint8Array): Uint8Array
}

const DOMAIN = utf8('ctd-envelope-v1\0')
const DOMAIN_ID = utf8('ctd-message-id-v1\0')
/** DER prefixes of a PKCS #8 and an SPKI Ed25519 key (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')

/**
 * Encodings of the points of small order, sign bit cleared, the last two not reduced (as listed by
 * libsodium's `ge25519_has_small_order`). Under such a key one signature fits every message.
 */
const SMALL_ORDER: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])

/** A signer from a 32-byte Ed25519 seed. */
export function createSigner(seed: Uint8Array): Signer {
  if (seed.length !== 32) throw new CtdError('BAD_KEY', 'an Ed25519 seed has 32 bytes')
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' })
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' })
  return {
    peerId: peerIdFromPublicKey(new Uint8Array(spki.subarray(SPKI.length))),
    sign: (bytes) => new Uint8Array(sign(null, bytes, key)),
  }
}

/**
 * Verifies an Ed25519 signature (RFC 8032) by a raw public key; false for a key that is none, or
 * is of small order.
 */
export function verifySignature(
  publicKey: Uint8Array,
  bytes: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (isSmallOrder(publicKey)) return false
  const key = publicKeyObject(publicKey)
  return key !== undefined && signature.length === 64 && verify(null, bytes, key, signature)
}

function isSmallOrder(publicKey: Uint8Array): boolean {
  const bytes = new Uint8Array(publicKey)
  bytes[31] = (bytes[31] ?? 0) & 0x7f
  return SMALL_ORDER.has(toHex(bytes))
}

function publicKeyObject(raw: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.concat([SPKI, raw]), format: 'der', type: 'spki' })
  } catch {
    return undefined // Not a point of the curve: no signature can be valid.
  }
}

/** The bytes an author signs: domain, network (length first), kind, payload. */
export function signedBytes(network: string, kind: number, payload: Uint8Array): Uint8Array {
  return Buffer.concat([DOMAIN, prefix(network, kind), payload])
}

function prefix(network: string, kind: number): Uint8Array {
  const name = utf8(network)
  const bytes = Buffer.alloc(8 + name.length)
  bytes.writeUInt32BE(name.length)
  bytes.set(name, 4)
  bytes.writeUInt32BE(kind, 4 + name.length)
  return bytes
}

/** Names a message before it is signed. For certificates the author does not matter. */
export function messageId(
  network: string,
  kind: MessageKind,
  author: PeerId,
  payload: Uint8Array,
): Digest {
  const who = isCertificate(kind) ? new Uint8Array(32) : publicKeyFromPeerId(author)
  return digestOf(DOMAIN_ID, prefix(network, kindId(kind)), who, payload)
}

/** Encodes, names and signs a message. @throws CtdError MESSAGE_TOO_LARGE */
export function seal<K extends MessageKind>(
  network: string,
  kind: K,
  message: Messages[K],
  signer: Signer,
): Opened<K> {
  const payload = encodeMessage(kind, message)
  const signature = signer.sign(signedBytes(network, kindId(kind), payload))
  const bytes = Envelope.encode({
    kind: kindId(kind),
    payload,
    signatures: [{ author: publicKeyFromPeerId(signer.peerId), signature }],
  })
  return {
    kind,
    id: messageId(network, kind, signer.peerId, payload),
    bytes,
    author: signer.peerId,
    authors: [signer.peerId],
    message,
  }
}

/**
 * Adds an own signature to a certificate.
 *
 * @throws CtdError ENVELOPE_MALFORMED for a kind that one author signs, or beyond all stewards
 */
export function cosign<K extends MessageKind>(
  network: string,
  opened: Opened<K>,
  signer: Signer,
): Opened<K> {
  const { kind, payload } = Envelope.decode(opened.bytes)
  const author = publicKeyFromPeerId(signer.peerId)
  const signature = signer.sign(signedBytes(network, kind, payload))
  const signatures = [{ author, signature }]
  const bytes = Envelope.encode({ kind, payload, signatures })
  return joinSignatures([
    opened,
    { ...opened, bytes, author: signer.peerId, authors: [signer.peerId] },
  ])
}

/**
 * Joins the signatures under one payload, sorted by author.
 *
 * @param copies - the same certificate with different signatures, all verified
 * @throws CtdError ENVELOPE_MALFORMED when they differ, or have more authors than stewards can be
 */
export function joinSignatures<K extends MessageKind>(copies: ReadonlyArray<Opened<K>>): Opened<K> {
  const [first] = copies
  if (first === undefined || !copies.every(({ id }) => id === first.id)) {
    throw new CtdError('ENVELOPE_MALFORMED', 'signatures of different messages cannot be joined')
  }
  const { kind, payload } = Envelope.decode(first.bytes)
  const byAuthor = new Map(
    copies.flatMap(({ bytes }) =>
      Envelope.decode(bytes).signatures.map((each) => [peerIdFromPublicKey(each.author), each]),
    ),
  )
  const authors = [...byAuthor.keys()].sort()
  const most = isCertificate(first.kind) ? LIMITS.stewardsPerOffer : 1
  const [author] = authors
  if (author === undefined || authors.length > most) {
    throw new CtdError('ENVELOPE_MALFORMED', `${first.kind} with ${authors.length} signatures`)
  }
  const signatures = authors.flatMap((peer) => byAuthor.get(peer) ?? [])
  return { ...first, bytes: Envelope.encode({ kind, payload, signatures }), author, authors }
}

/**
 * Decodes an envelope and verifies every signature.
 *
 * @throws CtdError ENVELOPE_MALFORMED, ENVELOPE_TOO_LARGE, KIND_UNKNOWN, SIGNATURE_INVALID, and
 *   what `decodeMessage` throws
 */
export function open(network: string, bytes: Uint8Array): AnyOpened {
  if (bytes.length > LIMITS.envelopeBytes) {
    throw new CtdError('ENVELOPE_TOO_LARGE', `an envelope of ${bytes.length} bytes`)
  }
  const envelope = decodeEnvelope(bytes)
  const kind = kindOf(envelope.kind)
  if (kind === undefined) {
    throw new CtdError('KIND_UNKNOWN', `message kind ${envelope.kind} is not known here`)
  }
  const signers = envelope.signatures
  const most = isCertificate(kind) ? LIMITS.stewardsPerOffer : 1
  if (signers.length < 1 || signers.length > most) {
    throw new CtdError('ENVELOPE_MALFORMED', `${kind} with ${signers.length} signatures`)
  }
  const signed = signedBytes(network, envelope.kind, envelope.payload)
  for (const { author, signature } of signers) {
    if (author.length !== 32 || !verifySignature(author, signed, signature)) {
      throw new CtdError('SIGNATURE_INVALID', `${kind} carries a signature that does not verify`)
    }
  }
  const authors = signers.map(({ author }) => peerIdFromPublicKey(author))
  if (new Set(authors).size !== authors.length) {
    throw new CtdError('ENVELOPE_MALFORMED', `${kind} is signed twice by one author`)
  }
  const author = authors[0] as PeerId
  const message = decodeMessage(kind, envelope.payload)
  const id = messageId(network, kind, author, envelope.payload)
  return { kind, id, bytes, author, authors, message } as AnyOpened
}

function decodeEnvelope(bytes: Uint8Array): Envelope {
  let envelope: Envelope
  let canonical: Uint8Array
  try {
    envelope = Envelope.decode(bytes, { limits: { signatures: LIMITS.stewardsPerOffer } })
    canonical = Envelope.encode(envelope)
  } catch (cause) {
    throw new CtdError('ENVELOPE_MALFORMED', 'not an envelope', { cause })
  }
  if (Buffer.compare(canonical, bytes) !== 0) {
    throw new CtdError('ENVELOPE_MALFORMED', 'an envelope in another than the one encoding')
  }
  return envelope
}

/** Opens an envelope of one expected kind. @throws CtdError KIND_UNEXPECTED and what `open` throws */
export function openAs<K extends MessageKind>(
  network: string,
  bytes: Uint8Array,
  kind: K,
): Opened<K> {
  const opened = open(network, bytes)
  if (opened.kind !== kind) {
    throw new CtdError('KIND_UNEXPECTED', `expected ${kind}, got ${opened.kind}`)
  }
  return opened as Opened<K>
}
