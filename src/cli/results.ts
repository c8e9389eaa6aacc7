/** `ctd results`: the result of a job, and its artifacts with the proof in a folder. */
import { createReadStream, createWriteStream } from 'node:fs'
import { lstat, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { FileView, JobView } from '../api/daemon-port.js'
import { CtdError, errorCode, errorMessage } from '../errors.js'
import { BlobHasher } from './blob-hasher.js'
import type { Context } from './context.js'
import { curveCsv, curveSvg } from './curve.js'
import { EXIT, exitCodeOfJob } from './exit-codes.js'
import { followOnScreen } from './follow.js'
import { interruptible } from './interrupt.js'
import { showEnd } from './submit.js'
import { harmless } from './terminal.js'
import { formatBytes, parseDurationMs, shortJob } from './units.js'

/** Name of what the bidders were weighed by; `ctd audit` reads it too. */
export const EVIDENCE_FILE = 'evidence.ctd'
/** Name of the signed messages among the artifacts; `ctd audit` reads it. */
export const TRANSCRIPT_FILE = 'transcript.ctd'
/** Course of a training, drawn from the job's own numbers; part of no proof. */
const CURVE_CSV = 'curve.csv'
const CURVE_SVG = 'curve.svg'
const OWN_FILES: ReadonlySet<string> = new Set([
  TRANSCRIPT_FILE,
  EVIDENCE_FILE,
  CURVE_CSV,
  CURVE_SVG,
])
const FILES_MAX = 10_000
const PART_SUFFIX = '.ctd-part'
const NAME_CHARS = 255

export interface ResultsFlags {
  readonly out?: string
  readonly force?: boolean
  readonly wait?: boolean
  readonly waitTimeout?: string
  readonly keep?: boolean
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
  if (flags.keep === true)
    await keepArtifacts(context, String(result['id']), String(result['name'] ?? ''))
  if (flags.out === undefined) {
    if (context.json) context.printJson(result)
    else showEnd(context, await context.client.get<JobView>(`/v1/jobs/${encodeURIComponent(id)}`))
    return EXIT.ok
  }
  const folder = resolve(flags.out)
  const advice = `what is there is kept; go on with: ctd results ${id} --out ${flags.out}`
  const files = await interruptible(advice, (signal) =>
    writeResults(context, String(result['id']), { folder, isForced: flags.force === true }, signal),
  )
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
  { folder, isForced }: { readonly folder: string; readonly isForced: boolean },
  signal: AbortSignal,
): Promise<FileView[]> {
  const files = await context.client.get<FileView[]>(`/v1/jobs/${id}/files`)
  if (files.length > FILES_MAX) throw new CtdError('TOO_MANY_FILES', `${files.length} artifacts`)
  // All names are judged before the first byte is written.
  const targets = files.map((file) => ({ file, target: targetPath(folder, file.path) }))
  if (!isForced) await assertWritable(folder, new Set(targets.map(({ target }) => target)))
  await mkdir(folder, { recursive: true })
  for (const { file, target } of targets) {
    // An earlier call may have brought it: what is whole is not fetched again.
    if (await isWhole(target, file)) continue
    await writeArtifact(context, id, file, target, signal)
  }
  const sizeBytes = await writeFrom(
    context,
    `/v1/jobs/${id}/transcript`,
    join(folder, TRANSCRIPT_FILE),
    signal,
  )
  const written = [
    ...files,
    { path: TRANSCRIPT_FILE, sizeBytes, digest: '' },
    ...(await writeCurve(context, id, folder)),
  ]
  try {
    const evidence = `/v1/jobs/${id}/evidence`
    const evidenceBytes = await writeFrom(context, evidence, join(folder, EVIDENCE_FILE), signal)
    return [...written, { path: EVIDENCE_FILE, sizeBytes: evidenceBytes, digest: '' }]
  } catch (error) {
    if (!errorCode(error).startsWith('EVIDENCE_')) throw error
    context.tell(`the bidders' standings cannot be audited: ${errorMessage(error)}`)
    return written
  }
}

/** Writes the course of a training beside its result. */
async function writeCurve(context: Context, id: string, folder: string): Promise<FileView[]> {
  const { curve, name } = await context.client.get<JobView>(`/v1/jobs/${id}`)
  if (curve.length === 0) return []
  const texts = [
    { path: CURVE_CSV, text: curveCsv(curve) },
    { path: CURVE_SVG, text: curveSvg(curve, name) },
  ]
  for (const { path, text } of texts) await writeFile(join(folder, path), text)
  return texts.map(({ path, text }) => ({ path, sizeBytes: Buffer.byteLength(text), digest: '' }))
}

/** Writes one artifact of a job. @throws CtdError FILE_INCOMPLETE */
export async function writeArtifact(
  context: Context,
  id: string,
  file: FileView,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const query = `/v1/jobs/${id}/file?path=${encodeURIComponent(file.path)}`
  const written = await writeFrom(context, query, target, signal)
  if (written === file.sizeBytes) return
  const message = `${file.path}: ${written} of ${file.sizeBytes} bytes came`
  throw new CtdError('FILE_INCOMPLETE', message)
}

/** Pins what a job made, so that it outlives the job's record. */
async function keepArtifacts(context: Context, id: string, name: string): Promise<void> {
  const files = await context.client.get<FileView[]>(`/v1/jobs/${id}/files`)
  for (const { path, digest } of files) {
    const label = `${name === '' ? shortJob(id) : name}/${path}`.slice(0, NAME_CHARS)
    await context.client.put(`/v1/blobs/${digest}/pin`, { name: harmless(label) })
  }
  context.tell(`kept: ${files.length} files are pinned (ctd ls)`)
}

/**
 * A folder is ours to write into when it holds nothing, or only what an earlier call for the same
 * job wrote: whole files, or what it was writing when it was stopped.
 */
async function assertWritable(folder: string, targets: ReadonlySet<string>): Promise<void> {
  const present = await readdir(folder, { recursive: true, withFileTypes: true }).catch(
    (error: unknown) => {
      if (error instanceof Error && Reflect.get(error, 'code') === 'ENOENT') return []
      throw error
    },
  )
  const stranger = present.find((entry) => {
    if (entry.isDirectory()) return false
    const path = join(entry.parentPath, entry.name)
    const whole = path.endsWith(PART_SUFFIX) ? path.slice(0, -PART_SUFFIX.length) : path
    const isProof = OWN_FILES.has(relative(folder, whole))
    return !entry.isFile() || !(targets.has(whole) || isProof)
  })
  if (stranger !== undefined) {
    throw new CtdError('FOLDER_NOT_EMPTY', `${folder} holds other files: ${stranger.name}`, {
      hint: 'choose another folder, or overwrite with --force',
    })
  }
}

/** Whether a file is there with the bytes that its digest names. */
async function isWhole(target: string, file: FileView): Promise<boolean> {
  const found = await lstat(target).catch(() => undefined)
  if (found?.isFile() !== true || found.size !== file.sizeBytes) return false
  const hasher = new BlobHasher()
  for await (const chunk of createReadStream(target, { highWaterMark: 1 << 20 })) {
    hasher.update(chunk as Buffer)
  }
  return hasher.digest() === file.digest
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
async function writeFrom(
  context: Context,
  query: string,
  target: string,
  signal: AbortSignal,
): Promise<number> {
  await mkdir(dirname(target), { recursive: true })
  const part = `${target}${PART_SUFFIX}`
  try {
    const bytes = await context.client.download(query, signal)
    // A call that was killed may have left one.
    await rm(part, { force: true })
    const file = createWriteStream(part, { flags: 'wx' })
    await pipeline(bytes, file, { signal })
    await rename(part, target)
    return file.bytesWritten
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
}
