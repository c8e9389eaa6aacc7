/** What the shows of `npm run faults` share: promises, figures, deterministic bytes, logs. */
import { createCipheriv, createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { readFile, statfs } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { PeerView } from '../src/api/daemon-port.js'
import { CtdError } from '../src/errors.js'
import { until } from './local-network.js'
import type { LocalNetwork, LocalPeer } from './local-network.js'

export interface ShowOptions {
  readonly network: LocalNetwork
  /** Folder of this show alone. */
  readonly dir: string
  /** Size of what travels. */
  readonly mib: number
  /** Of its bytes. */
  readonly seed: string
  readonly say: (text: string) => void
  readonly signal: AbortSignal
}

/** Something that is promised, and whether it happened. */
export interface Promised {
  readonly promise: string
  readonly isSeen: boolean
  readonly detail: string
}

export interface Show {
  readonly promises: readonly Promised[]
  readonly figures: Readonly<Record<string, unknown>>
}

/** A busy machine takes its time to measure itself. */
const READY_MS = 180_000
const CHUNK_BYTES = 1024 ** 2
const SPARE_BYTES = 3 * 1024 ** 3

/** @throws CtdError DISK_TOO_FULL where the disk would be left with less than 3 GiB */
export async function assertDiskFree(dir: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir)
  if (bavail * bsize >= bytes + SPARE_BYTES) return
  const gib = (value: number): string => `${(value / 1024 ** 3).toFixed(1)} GiB`
  throw new CtdError('DISK_TOO_FULL', `${gib(bavail * bsize)} are free, ${gib(bytes)} are needed`, {
    hint: 'ask for less with --mib, or set TMPDIR to another disk',
  })
}

/** Bytes that cannot be compressed, the same for the same seed: the keystream of AES-256-CTR. */
export function* seededBytes(seed: string, bytes: number): Generator<Uint8Array> {
  const key = createHash('sha256').update(seed).digest()
  const cipher = createCipheriv('aes-256-ctr', key, new Uint8Array(16))
  const zeros = new Uint8Array(CHUNK_BYTES)
  for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
    yield cipher.update(zeros.subarray(0, Math.min(left, CHUNK_BYTES)))
  }
}

/** Writes without holding it. @returns SHA-256 of the whole, hexadecimal */
export async function writeBytes(
  path: string,
  chunks: Iterable<Uint8Array>,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256')
  function* hashed(): Generator<Uint8Array> {
    for (const chunk of chunks) {
      hash.update(chunk)
      yield chunk
    }
  }
  await pipeline(Readable.from(hashed()), createWriteStream(path), { signal })
  return hash.digest('hex')
}

/** Most memory that a running process ever held, bytes; 0 for one that is gone. */
export async function peakRssBytes({ process }: LocalPeer): Promise<number> {
  const status = await readFile(`/proc/${process.pid ?? 0}/status`, 'utf8').catch(() => '')
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024
}

export type LogLine = Readonly<Record<string, unknown>>

/** The lines of a daemon's log with this message, those of earlier processes included. */
export async function logged(peer: LocalPeer, message: string): Promise<readonly LogLine[]> {
  const found: LogLine[] = []
  const lines = createInterface({ input: createReadStream(`${peer.home}.log`) })
  for await (const line of lines) {
    if (!line.includes(`"msg":${JSON.stringify(message)}`)) continue
    found.push(JSON.parse(line) as LogLine)
  }
  return found
}

export function megabytes(bytes: number): number {
  return Math.round(bytes / 1e5) / 10
}

/** Resolves when a requester is connected to these executors and knows what they measured. */
export async function known(requester: LocalPeer, executors: readonly LocalPeer[]): Promise<void> {
  await Promise.all(executors.map((peer) => peer.benchmarked()))
  await until('the requester to know the executors', READY_MS, async () => {
    const peers = await requester.client.get<readonly PeerView[]>('/v1/peers')
    const isReady = executors.every(({ peerId }) =>
      peers.some(({ peer, connected, cpuGflops }) => peer === peerId && connected && cpuGflops > 0),
    )
    return isReady ? true : undefined
  })
}

/** Prints what was seen of all that was promised; the exit status is 1 where something was not. */
export function conclude(
  name: string,
  show: Show,
  options: { readonly seed: string; readonly isJson: boolean; readonly startedMs: number },
): void {
  const seconds = Math.round((Date.now() - options.startedMs) / 100) / 10
  for (const { promise, isSeen, detail } of show.promises) {
    console.error(
      `${isSeen ? 'seen    ' : 'NOT SEEN'}  ${promise}${detail === '' ? '' : `: ${detail}`}`,
    )
  }
  const isOk = show.promises.every(({ isSeen }) => isSeen)
  if (!isOk) process.exitCode = 1
  if (options.isJson) {
    console.log(JSON.stringify({ show: name, ok: isOk, seed: options.seed, seconds, ...show }))
  } else console.log(`${isOk ? 'ok' : 'FAILED'} in ${seconds} s`)
}
