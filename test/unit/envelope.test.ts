import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ed25519 } from '@noble/curves/ed25519.js'
import fc from 'fast-check'
import {
  createSigner,
  messageId,
  open,
  openAs,
  seal,
  verifySignature,
} from '../../src/wire/envelope.js'
import { Envelope } from '../../src/wire/generated/envelope.js'
import { fromHex, publicKeyFromPeerId, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import {
  decodeMessage,
  encodeMessage,
  isCertificate,
  kindId,
  kindOf,
} from '../../src/wire/messages.js'
import { sealManifest } from './rig.js'

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && Reflect.get(error, 'code') === code

const signer = createSigner(sha256(utf8('author')))
const other = createSigner(sha256(utf8('other')))
const NETWORK = 'test'
const COMMITMENT = { taskId: sha256(), attempt: 1, commitment: sha256(utf8('result')) }

describe('an envelope', () => {
  const sealed = seal(NETWORK, 'commitment', COMMITMENT, signer)

  it('opens to what was sealed, and is named by payload and author', () => {
    const opened = openAs(NETWORK, sealed.bytes, 'commitment')
    assert.deepEqual(opened, sealed)
    assert.equal(opened.author, signer.peerId)
    const { payload } = Envelope.decode(sealed.bytes)
    assert.equal(opened.id, messageId(NETWORK, 'commitment', signer.peerId, payload))
    assert.notEqual(opened.id, seal(NETWORK, 'commitment', COMMITMENT, other).id)
    assert.notEqual(opened.id, seal('elsewhere', 'commitment', COMMITMENT, signer).id)
  })

  it('is the same bytes each time it is sealed', () => {
    assert.deepEqual(seal(NETWORK, 'commitment', COMMITMENT, signer).bytes, sealed.bytes)
  })

  it('is refused after a change of any bit', () => {
    for (const at of sealed.bytes.keys()) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = Uint8Array.from(sealed.bytes)
        changed[at] = (changed[at] ?? 0) ^ (1 << bit)
        assert.throws(() => open(NETWORK, changed), /./)
      }
    }
  })

  it('never throws anything but a refusal with a code, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        assert.throws(
          () => open(NETWORK, bytes),
          (error) => /^[A-Z_]+$/.test(String(Reflect.get(Object(error), 'code'))),
        )
      }),
      { numRuns: 500, verbose: true },
    )
  })

  it('is refused with SIGNATURE_INVALID on another network', () => {
    assert.throws(() => open('elsewhere', sealed.bytes), hasCode('SIGNATURE_INVALID'))
  })

  it('is refused with SIGNATURE_INVALID when its key is no point or of small order', () => {
    const envelope = Envelope.decode(sealed.bytes)
    const keys = [
      new Uint8Array(32).fill(0xff),
      new Uint8Array(32),
      Uint8Array.of(1, ...new Uint8Array(31)),
    ]
    for (const author of keys) {
      for (const signature of [new Uint8Array(64), envelope.signatures[0]!.signature]) {
        const bytes = Envelope.encode({ ...envelope, signatures: [{ author, signature }] })
        assert.throws(() => open(NETWORK, bytes), hasCode('SIGNATURE_INVALID'))
      }
    }
  })

  it('is refused for every key of small order, under which one signature fits all messages', () => {
    const torsion = ed25519.Point.fromHex(
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
    )
    const points = Array.from({ length: 7 }, (_, i) => torsion.multiplyUnsafe(BigInt(i + 1)))
    const keys = [...points, ed25519.Point.ZERO].map((point) => point.toBytes())
    assert.equal(new Set(keys.map(toHex)).size, 8)
    const unreduced = ['ed', 'ee'].flatMap((low) =>
      ['7f', 'ff'].map((top) => fromHex(`${low}${'ff'.repeat(30)}${top}`)),
    )
    // R the neutral point and S zero verify under the neutral key for any message.
    const signature = Uint8Array.from({ length: 64 }, (_, i) => (i === 0 ? 1 : 0))
    for (const key of [...keys, ...unreduced]) {
      for (let nonce = 0; nonce < 16; nonce++) {
        assert.equal(verifySignature(key, utf8(`message ${nonce}`), signature), false)
      }
    }
  })

  it('is refused with KIND_UNEXPECTED where another kind belongs', () => {
    assert.throws(() => openAs(NETWORK, sealed.bytes, 'reveal'), hasCode('KIND_UNEXPECTED'))
  })

  it('names a certificate alike whichever steward signed first', () => {
    const message = { frozenBids: sha256(), openings: [], view: 0 }
    const one = seal(NETWORK, 'freezeOpenings', message, signer)
    const two = seal(NETWORK, 'freezeOpenings', message, other)
    assert.equal(one.id, two.id)
    const signatures = [one, two].flatMap(({ bytes }) => Envelope.decode(bytes).signatures)
    const both = Envelope.encode({ ...Envelope.decode(one.bytes), signatures })
    const opened = open(NETWORK, both)
    assert.equal(opened.id, one.id)
    assert.deepEqual(opened.authors, [signer.peerId, other.peerId])
  })

  it('is refused with ENVELOPE_MALFORMED when a certificate has more signatures than stewards can be', () => {
    const message = { frozenBids: sha256(), openings: [], view: 0 }
    const signatures = Array.from({ length: LIMITS.stewardsPerOffer + 1 }, (_, i) => {
      const { bytes } = seal(NETWORK, 'freezeOpenings', message, createSigner(sha256(utf8(`${i}`))))
      return Envelope.decode(bytes).signatures[0]!
    })
    const payload = encodeMessage('freezeOpenings', message)
    const bytes = Envelope.encode({ kind: kindId('freezeOpenings'), payload, signatures })
    assert.throws(() => open(NETWORK, bytes), hasCode('ENVELOPE_MALFORMED'))
  })

  it('is not made with a key of another length', () => {
    assert.throws(() => createSigner(new Uint8Array(31)), hasCode('BAD_KEY'))
  })
})

describe('a message', () => {
  it('of every kind has its number, and numbers do not repeat', () => {
    const kinds = Array.from({ length: 21 }, (_, i) => kindOf(i + 1))
    assert.ok(kinds.every((kind) => kind !== undefined))
    assert.equal(new Set(kinds).size, 21)
    assert.equal(kindOf(0), undefined)
    assert.equal(kindOf(22), undefined)
    assert.equal(isCertificate('receipt'), true)
    assert.equal(isCertificate('reveal'), false)
  })

  it('is refused with MESSAGE_TOO_LARGE beyond the limit of its kind, when sent and when read', () => {
    const reveal = {
      taskId: sha256(),
      attempt: 1,
      outputRoot: sha256(),
      metrics: new Uint8Array(0),
      salt: sha256(),
      durationMs: 0,
      listing: new Uint8Array(9000),
      updateRoot: new Uint8Array(0),
    }
    assert.throws(() => encodeMessage('reveal', reveal), hasCode('MESSAGE_TOO_LARGE'))
    assert.throws(() => decodeMessage('reveal', new Uint8Array(9000)), hasCode('MESSAGE_TOO_LARGE'))
  })

  it('is refused with MESSAGE_MALFORMED when a bid names its hardware in more than 512 bytes', () => {
    const key = publicKeyFromPeerId(signer.peerId)
    const bid = {
      offer: fromHex('00'.repeat(32)),
      capacity: 1,
      vrfKey: key,
      operator: key,
      hardwareClass: '€'.repeat(200),
      flopsMega: 1,
    }
    assert.ok(bid.hardwareClass.length < LIMITS.textBytes)
    const bytes = encodeMessage('bid', bid)
    assert.throws(() => decodeMessage('bid', bytes), hasCode('MESSAGE_MALFORMED'))
    const fits = encodeMessage('bid', { ...bid, hardwareClass: '€'.repeat(170) })
    assert.equal(decodeMessage('bid', fits).hardwareClass.length, 170)
  })

  it('is refused with MESSAGE_MALFORMED when an image has more than 64 layers', () => {
    const { message } = sealManifest(signer, { behaviours: [] })
    const { image } = message
    assert.ok(image !== undefined)
    const layers = (count: number): Uint8Array =>
      encodeMessage('manifest', {
        ...message,
        image: { ...image, diffIds: Array.from({ length: count }, () => sha256()) },
      })
    const { diffIdsPerImage } = LIMITS
    const most = decodeMessage('manifest', layers(diffIdsPerImage))
    assert.equal(most.image?.diffIds.length, diffIdsPerImage)
    const more = layers(diffIdsPerImage + 1)
    assert.throws(() => decodeMessage('manifest', more), hasCode('MESSAGE_MALFORMED'))
  })
})
