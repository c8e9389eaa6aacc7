/** What one system is to the bench of bytes, and how one copy by it is measured. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { CtdError } from '../src/errors.js'
import { cpuSecondsOf, residentBytesOf } from './process-figures.js'

/** Who copies from whom; every process is alone on its side. */
export interface Pattern {
  readonly name: string
  readonly providers: number
  readonly fetchers: number
  /** The fetchers know one bootstrap node and the name of the content, nothing else. */
  readonly byDht: boolean
}

export interface Task {
  readonly pattern: Pattern
  /** The file to copy, and the SHA-256 of its bytes, hexadecimal. */
  readonly path: string
  readonly sha256: string
  readonly sizeBytes: number
  /** An empty folder for this copy alone, on the same file system. */
  readonly dir: string
  readonly signal: AbortSignal
}

export interface Sample {
  readonly wallMs: number
  /** Of all processes of this copy together. */
  readonly cpuSeconds: number
  /** The most that one process of each side had since its start. */
  readonly providerPeakBytes: number
  readonly fetcherPeakBytes: number
}

export interface ByteSystem {
  readonly name: string
  /** What is compared, in words for the table. */
  readonly title: string
  /** Installs what is needed. @returns why it cannot run here */
  readonly prepare: (dir: string) => Promise<string | undefined>
  /** A smaller size where `mib` would take too long, or why the pattern is left out. */
  readonly sizeFor: (pattern: Pattern, mib: number) => number | string
  /** Copies once, checks every byte that arrived, and stops all it started. */
  readonly copy: (task: Task) => Promise<Sample>
}

/** Runs `work`, and tells what it and the processes of both sides took meanwhile. */
export async function measured(
  pids: { readonly providers: readonly number[]; readonly fetchers: readonly number[] },
  work: () => Promise<number | void>,
): Promise<Sample> {
  const all = [...pids.providers, ...pids.fetchers]
  const cpu = async (): Promise<number> =>
    (await Promise.all(all.map(cpuSecondsOf))).reduce((sum, seconds) => sum + seconds, 0)
  const peak = async (side: readonly number[]): Promise<number> =>
    Math.max(...(await Promise.all(side.map((pid) => residentBytesOf(pid, 'VmHWM')))))
  const cpuBefore = await cpu()
  const sinceMs = performance.now()
  const wallMs = (await work()) ?? performance.now() - sinceMs
  return {
    wallMs,
    cpuSeconds: (await cpu()) - cpuBefore,
    providerPeakBytes: await peak(pids.providers),
    fetcherPeakBytes: await peak(pids.fetchers),
  }
}

/** @throws CtdError WRONG_BYTES where a copy is not the original, byte for byte */
export async function assertCopies(task: Task, copies: readonly string[]): Promise<void> {
  for (const path of copies) {
    const hash = createHash('sha256')
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
      hash.update(chunk as Uint8Array)
    }
    if (hash.digest('hex') === task.sha256) continue
    throw new CtdError('WRONG_BYTES', `${path} is not what was copied`)
  }
}
