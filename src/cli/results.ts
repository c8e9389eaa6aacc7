/** `ctd results`: the result of a job, and its artifacts with the proof in a folder. */
import { createWriteStream } from 'node:fs'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { FileView, JobView } from '../api/daemon-port.js'
import { CtdError, errorCode, errorMessage } from '../errors.js'
import type { Context } from './context.js'
import { EXIT, exitCodeOfJob } from './exit-codes.js'
import { followOnScreen } from './follow.js'
import { showEnd } from './submit.js'
import { formatBytes, parseDurationMs } from './units.js'

/** Name of what the bidders were weighed by; `ctd audit` reads it too. */
export const EVIDENCE_FILE = 'evidence.ctd'
/** Name of the signed messages among the artifacts; `ctd audit` reads it. */
export const TRANSCRIPT_FILE = 'transcript.ctd'
const OWN_FILES: ReadonlySet<string> = new Set([TRANSCRIPT_FILE, EVIDENCE_FILE])
const FILES_MAX = 10_000

export interface ResultsFlags {
  readonly out?: string
  readonly force?: boolean
  readonly wait?: boolean
  readonly waitTimeout?: string
}

/** Returns the exit code. @throws CtdError JOB_NOT_FINISHED, JOB_FAILED, FOLDER_NOT_EMPTY, … */
export async function resultsCommand(
  context: Context,
  id: string,
  flags: ResultsFlags,
): Promise<number> {
  const waitMs = flags.waitTimeout === undefined ? undefined : parseDurationMs(flags.waitTimeout)
  if (flags.wait === true || waitMs !== undefined) {
    await context.client.get(`/v1/jobs/${encodeURIComponent(id)}`)
    const ended = await followOnScreen(context, encodeURIComponent(id), waitMs)
    if (ended.status !== 'succeeded') {
      showEnd(context, ended)
      return exitCodeOfJob(ended)
    }
  }
  const result = await context.client.get<Record<string, unknown>>(
    `/results?id=${encodeURIComponent(id)}`,
  )
  if (flags.out === undefined) {
    if (context.json) context.printJson(result)
    else showEnd(context, await context.client.get<JobView>(`/v1/jobs/${encodeURIComponent(id)}`))
    return EXIT.ok
  }
  const folder = resolve(flags.out)
  const files = await writeResults(context, String(result['id']), folder, flags.force === true)
  if (context.json) context.printJson({ ...result, folder, files })
  else {
    for (const file of files)
      context.print(`${formatBytes(file.sizeBytes).padStart(9)}  ${file.path}`)
    context.tell(`next   ctd audit ${flags.out}`)
  }
  return EXIT.ok
}

async function writeResults(
  context: Context,
  id: string,
  folder: string,
  isForced: boolean,
): Promise<FileView[]> {
  await assertWritable(folder, isForced)
  const files = await context.client.get<FileView[]>(`/v1/jobs/${id}/files`)
  if (files.length > FILES_MAX) throw new CtdError('TOO_MANY_FILES', `${files.length} artifacts`)
  // All names are judged before the first byte is written.
  const targets = files.map((file) => ({ file, target: targetPath(folder, file.path) }))
  await mkdir(folder, { recursive: true })
  for (const { file, target } of targets) {
    const query = `/v1/jobs/${id}/file?path=${encodeURIComponent(file.path)}`
    const written = await writeFrom(context, query, target)
    if (written !== file.sizeBytes) {
      throw new CtdError(
        'FILE_INCOMPLETE',
        `${file.path}: ${written} of ${file.sizeBytes} bytes came`,
      )
    }
  }
  const sizeBytes = await writeFrom(
    context,
    `/v1/jobs/${id}/transcript`,
    join(folder, TRANSCRIPT_FILE),
  )
  const written = [...files, { path: TRANSCRIPT_FILE, sizeBytes, digest: '' }]
  try {
    const evidence = `/v1/jobs/${id}/evidence`
    const evidenceBytes = await writeFrom(context, evidence, join(folder, EVIDENCE_FILE))
    return [...written, { path: EVIDENCE_FILE, sizeBytes: evidenceBytes, digest: '' }]
  } catch (error) {
    if (!errorCode(error).startsWith('EVIDENCE_')) throw error
    context.tell(`the bidders' standings cannot be audited: ${errorMessage(error)}`)
    return written
  }
}

async function assertWritable(folder: string, isForced: boolean): Promise<void> {
  const present = await readdir(folder).catch((error: unknown) => {
    if (error instanceof Error && Reflect.get(error, 'code') === 'ENOENT') return []
    throw error
  })
  if (present.length > 0 && !isForced) {
    throw new CtdError('FOLDER_NOT_EMPTY', `${folder} is not empty`, {
      hint: 'choose another folder, or overwrite with --force',
    })
  }
}

/**
 * Where an artifact goes. Names come from strangers: they stay below the folder and never take the
 * place of the transcript or the evidence.
 *
 * @throws CtdError ARTIFACT_BAD_NAME
 */
export function targetPath(folder: string, path: string): string {
  const parts = path.split('/')
  const isPlain = parts.every((part) => part !== '' && part !== '.' && part !== '..')
  const target = resolve(folder, path)
  // eslint-disable-next-line no-control-regex
  const isClean = isPlain && !/[\\\u0000-\u001f\u007f]/.test(path) && !OWN_FILES.has(path)
  if (isClean && target.startsWith(resolve(folder) + sep)) return target
  throw new CtdError(
    'ARTIFACT_BAD_NAME',
    `an artifact has a name that is not safe: ${JSON.stringify(path.slice(0, 200))}`,
    {
      hint: 'nothing was written',
    },
  )
}

/** Writes beside the target and renames, so that a broken transfer leaves no half file. */
async function writeFrom(context: Context, query: string, target: string): Promise<number> {
  await mkdir(dirname(target), { recursive: true })
  const part = `${target}.part-${process.pid}`
  try {
    const bytes = await context.client.download(query)
    const file = createWriteStream(part, { flags: 'wx' })
    await pipeline(bytes, file)
    await rename(part, target)
    return file.bytesWritten
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
}
