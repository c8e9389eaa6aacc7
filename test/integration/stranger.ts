/**
 * A peer that is no daemon of ours: it speaks the protocol over the real transport and can say
 * what no daemon would.
 */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createLibp2pTransport } from '../../src/network/libp2p-transport.js'
import type { Transport } from '../../src/network/transport.js'
import { encodeSpec } from '../../src/protocol/job-spec.js'
import { codeBytes } from '../../src/protocol/manifest.js'
import { deriveVrfSecret, vrfPublicKey } from '../../src/protocol/vrf.js'
import { createSigner, open, seal } from '../../src/wire/envelope.js'
import type { Opened, Signer } from '../../src/wire/envelope.js'
import { Bundle, Request, Response } from '../../src/wire/generated/control.js'
import { fromHex, parsePeerId, publicKeyFromPeerId, toHex } from '../../src/wire/ids.js'
import { topicsOf } from '../../src/wire/topics.js'
import { until } from '../../scripts/local-network.js'
import { ROOT } from '../container/harness.js'

const ASK_MS = 10_000
const RESOURCES = {
  memoryMiB: 64,
  cpus: 1,
  pids: 64,
  outMiB: 8,
  gpus: 0,
  vramMiB: 0,
  isolation: 'runc',
  timeoutMs: 60_000,
} as const

export interface StrangeJob {
  readonly manifest: Uint8Array
  readonly offer: Opened<'offer'>
}

export class Stranger {
  readonly #network: string
  readonly #transport: Transport
  readonly #signer: Signer
  readonly #vrfKey: Uint8Array
  /** Bids and declines by the offer they answer. */
  readonly #answers = new Map<string, number>()

  private constructor(network: string, transport: Transport, seed: Uint8Array) {
    this.#network = network
    this.#transport = transport
    this.#signer = createSigner(seed)
    this.#vrfKey = vrfPublicKey(deriveVrfSecret(seed))
    transport.onRequest((bytes) => Promise.resolve(this.#onRequest(bytes)))
  }

  static async join(network: string, bootstrap: readonly string[]): Promise<Stranger> {
    const seed = new Uint8Array(randomBytes(32))
    const transport = await createLibp2pTransport({
      seed,
      topics: topicsOf(network).all,
      preset: 'local',
      listen: ['/ip4/127.0.0.1/tcp/0'],
      bootstrap: [...bootstrap],
      records: { validate: () => undefined, select: () => 0 },
    })
    const stranger = new Stranger(network, transport, seed)
    await transport.start()
    return stranger
  }

  leave(): Promise<void> {
    return this.#transport.stop()
  }

  /** A job of one task and the offer for it, wrong where the fault says so. */
  async job(fault: {
    readonly publisher?: 'another key'
    readonly envelope?: 'a changed byte'
  }): Promise<StrangeJob> {
    const text = await readFile(join(ROOT, '.cache/images/test-image.json'), 'utf8')
    const reference: {
      name: string
      configDigest: string
      manifestDigest: string
      diffIds: string[]
      sizeBytes: number
    } = JSON.parse(text)
    const image = {
      name: reference.name,
      configDigest: fromHex(reference.configDigest),
      manifestDigest: fromHex(reference.manifestDigest),
      diffIds: reference.diffIds.map(fromHex),
      sizeBytes: reference.sizeBytes,
      archive: new Uint8Array(0),
    }
    const seed = randomBytes(4).toString('hex')
    const command = ['true']
    const spec = encodeSpec({ kind: 'run', command, env: {}, seed, tasks: 1, resources: RESOURCES })
    const code = { spec, inputs: [], image }
    const publisher = fault.publisher === undefined ? this.#signer : createSigner(randomBytes(32))
    const key = publicKeyFromPeerId(this.#signer.peerId)
    const manifest = seal(
      this.#network,
      'manifest',
      {
        version: 1,
        jobKind: 'run',
        name: 'from a stranger',
        ...code,
        planSeed: new Uint8Array(32),
        compare: 'exact',
        replicas: 2,
        auditPpm: 0,
        createdMs: 1,
        publisher: key,
        publisherSignature: publisher.sign(codeBytes(this.#network, code)),
        operator: key,
      },
      this.#signer,
    )
    const bytes = Buffer.from(manifest.bytes)
    const last = bytes.length - 1
    // The signature is the last field of an envelope.
    if (fault.envelope !== undefined) bytes[last] = (bytes[last] ?? 0) ^ 1
    const offer = seal(
      this.#network,
      'offer',
      {
        jobId: fromHex(manifest.id),
        batch: 0,
        attempt: 1,
        slots: 1,
        replicas: 2,
        requirements: { memoryMib: 64, diskMib: 8, gpus: 0, vramMib: 0, isolation: 'runc' },
        bidWindowMs: 1000,
        openWindowMs: 1000,
        auditPpm: 0,
        stewards: [key],
        stewardVrfKeys: [this.#vrfKey],
        diversity: 'operator',
        epoch: 0,
        beacon: new Uint8Array(0),
        small: false,
      },
      this.#signer,
    )
    return { manifest: new Uint8Array(bytes), offer }
  }

  /** Delivers a job's manifest and offer to one peer. */
  async hand(peer: string, job: StrangeJob): Promise<void> {
    const body = Bundle.encode({ envelopes: [job.manifest, job.offer.bytes] })
    const request = Request.encode({ method: 'deliver', body })
    await this.#transport.request(parsePeerId(peer), request, AbortSignal.timeout(ASK_MS))
  }

  answers(job: StrangeJob): number {
    return this.#answers.get(job.offer.id) ?? 0
  }

  async answerTo(job: StrangeJob, ms: number): Promise<void> {
    await until('an answer to the offer', ms, () =>
      Promise.resolve(this.answers(job) > 0 ? true : undefined),
    )
  }

  #onRequest(bytes: Uint8Array): Uint8Array {
    const { method, body } = Request.decode(bytes)
    const nothing = new Uint8Array(0)
    if (method !== 'deliver') {
      return Response.encode({ code: 'JOB_UNKNOWN', message: 'no such job', body: nothing })
    }
    for (const envelope of Bundle.decode(body).envelopes) {
      const opened = open(this.#network, envelope)
      if (opened.kind !== 'bid' && opened.kind !== 'decline') continue
      const offer = toHex(opened.message.offer)
      this.#answers.set(offer, (this.#answers.get(offer) ?? 0) + 1)
    }
    return Response.encode({ code: 'OK', message: '', body: nothing })
  }
}
