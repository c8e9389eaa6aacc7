/**
 * Looks through what a task left in `/out`. The folder was written by a stranger: only plain files
 * in plain folders count, and anything that could lead elsewhere or block a reader is an error that
 * names it (`security.md` 3.2).
 */
import { lstat, opendir } from 'node:fs/promises'
import { join } from 'node:path'
import { CONTAINER_LIMITS as LIMITS, type OutputFile } from './container-runtime.js'

export type OutputVerdict =
  | { readonly ok: true; readonly files: readonly OutputFile[] }
  | { readonly ok: false; readonly code: string; readonly reason: string }

/** Ends the walk; never leaves this file. */
class OutputFault extends Error {
  readonly code: string

  constructor(code: string, reason: string) {
    super(reason)
    this.code = code
  }
}

/**
 * Lists the output, sorted by path in UTF-16 code unit order. Call it when the container has ended,
 * so that nothing changes any more.
 */
export async function collectOutput(
  outDir: string,
  options: { readonly totalBytesMax: number },
  signal: AbortSignal,
): Promise<OutputVerdict> {
  const walk: Walk = { files: [], totalBytes: 0, entries: 0, totalBytesMax: options.totalBytesMax }
  try {
    await visit(outDir, '', 1, walk, signal)
  } catch (error) {
    if (error instanceof OutputFault) return { ok: false, code: error.code, reason: error.message }
    throw error
  }
  walk.files.sort((a, b) => (a.path < b.path ? -1 : 1))
  return { ok: true, files: walk.files }
}

interface Walk {
  readonly files: OutputFile[]
  readonly totalBytesMax: number
  totalBytes: number
  entries: number
}

async function visit(
  folder: string,
  prefix: string,
  depth: number,
  walk: Walk,
  signal: AbortSignal,
): Promise<void> {
  if (depth > LIMITS.outputDepth) {
    throw new OutputFault(
      'OUTPUT_TOO_DEEP',
      `folders in /out are nested deeper than ${LIMITS.outputDepth}`,
    )
  }
  for await (const entry of await opendir(folder)) {
    signal.throwIfAborted()
    walk.entries += 1
    if (walk.entries > LIMITS.outputFiles) {
      throw new OutputFault(
        'OUTPUT_TOO_MANY_FILES',
        `more than ${LIMITS.outputFiles} files in /out`,
      )
    }
    assertName(entry.name, prefix)
    const path = prefix + entry.name
    const found = await lstat(join(folder, entry.name))
    if (found.isDirectory()) {
      await visit(join(folder, entry.name), `${path}/`, depth + 1, walk, signal)
      continue
    }
    if (found.isSymbolicLink()) throw new OutputFault('OUTPUT_LINK', `/out/${path} is a link`)
    if (!found.isFile()) {
      throw new OutputFault('OUTPUT_LINK', `/out/${path} is a pipe, socket or device, not a file`)
    }
    if (found.nlink !== 1) throw new OutputFault('OUTPUT_LINK', `/out/${path} is a hard link`)
    walk.totalBytes += found.size
    if (walk.totalBytes > walk.totalBytesMax) {
      throw new OutputFault(
        'OUTPUT_TOO_LARGE',
        `the files in /out exceed ${walk.totalBytesMax} bytes`,
      )
    }
    walk.files.push({ path, sizeBytes: found.size })
  }
}

/** Names must read the same everywhere: valid UTF-8, no control characters, bounded. */
function assertName(name: string, prefix: string): void {
  const shown = JSON.stringify(prefix + name).slice(0, 120)
  if (Buffer.byteLength(name) > LIMITS.outputNameBytes) {
    throw new OutputFault('OUTPUT_BAD_NAME', `a file name in /out is too long: ${shown}`)
  }
  if (/[\p{Cc}\ufffd\\]/u.test(name) || name !== name.normalize('NFC')) {
    throw new OutputFault('OUTPUT_BAD_NAME', `a file name in /out is not plain text: ${shown}`)
  }
}
