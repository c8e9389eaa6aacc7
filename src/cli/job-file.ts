/** `job.yaml`: the keys of a train, run or map request, one job a file; faults are told by line. */
import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { isMap, isSeq, LineCounter, parseDocument } from 'yaml'
import type { Document } from 'yaml'
import type { JobRequest } from '../api/daemon-port.js'
import { jobRequestSchema } from '../api/schemas.js'
import { faultText, validateShape } from '../api/validation.js'
import { CtdError, errorMessage } from '../errors.js'

const JOB_FILE_BYTES_MAX = 1024 * 1024

export interface JobFile {
  readonly request: JobRequest
  /** Folder that relative sources in the file start from. */
  readonly base: string
}

/** Reads and checks a job file. @throws CtdError FILE_NOT_FOUND, SPEC_INVALID */
export async function readJobFile(path: string): Promise<JobFile> {
  const stats = await stat(path).catch(() => undefined)
  if (stats === undefined || !stats.isFile()) {
    throw new CtdError('FILE_NOT_FOUND', `there is no job file ${path}`)
  }
  if (stats.size > JOB_FILE_BYTES_MAX) throw new CtdError('SPEC_INVALID', `${path} is above 1 MiB`)
  return { request: parseJobFile(await readFile(path, 'utf8'), path), base: dirname(resolve(path)) }
}

/**
 * Parses the text of a job file. Relative sources are allowed here: they are uploaded before the
 * job is submitted.
 *
 * @throws CtdError SPEC_INVALID naming file and line
 */
export function parseJobFile(text: string, path: string): JobRequest {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true })
  const syntax = document.errors[0]
  if (syntax !== undefined) {
    const line = lines.linePos(syntax.pos[0]).line
    throw new CtdError('SPEC_INVALID', `${path}:${line}: ${syntax.message.split('\n')[0] ?? ''}`)
  }
  const value = toPlain(document, path)
  const checked = validateShape(jobRequestSchema, absoluteSources(value))
  if (checked.ok) return restoreSources(checked.value, value)
  const { fault } = checked
  const line = lines.linePos(offsetOf(document, fault.path)).line
  throw new CtdError('SPEC_INVALID', `${path}:${line}: ${faultText(fault)}`, {
    ...(fault.suggestion === undefined ? {} : { hint: `did you mean "${fault.suggestion}"?` }),
    fields: { line, path: fault.path },
  })
}

/** The plain value of a document; aliases must not make a small file large. */
function toPlain(document: Document, path: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 16 })
  } catch (error) {
    throw new CtdError('SPEC_INVALID', `${path}: ${errorMessage(error)}`, { cause: error })
  }
}

/** A stand-in for relative paths, which the schema of the API rightly refuses. */
const ANY_DIGEST = '0'.repeat(64)
const TRAIN_SOURCES = ['dataset', 'weights', 'tokenizer']

function absoluteSources(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const copy: Record<string, unknown> = { ...value }
  for (const key of TRAIN_SOURCES) if (isText(copy[key])) copy[key] = ANY_DIGEST
  if (copy['kind'] === 'map' && isText(copy['model'])) copy['model'] = ANY_DIGEST
  if (Array.isArray(copy['inputs'])) {
    copy['inputs'] = copy['inputs'].map((input: unknown): unknown =>
      typeof input === 'object' && input !== null && isText(Reflect.get(input, 'source'))
        ? { ...input, source: ANY_DIGEST }
        : input,
    )
  }
  return copy
}

function restoreSources(request: JobRequest, value: unknown): JobRequest {
  const original = (path: readonly string[]): string => {
    let at: unknown = value
    for (const key of path) at = typeof at === 'object' && at !== null ? Reflect.get(at, key) : at
    return typeof at === 'string' ? at : ''
  }
  if (request.kind === 'train') {
    const { weights, tokenizer } = request
    return {
      ...request,
      dataset: original(['dataset']),
      ...(weights === undefined ? {} : { weights: original(['weights']) }),
      ...(tokenizer === undefined ? {} : { tokenizer: original(['tokenizer']) }),
    }
  }
  if (request.kind === 'map') {
    return { ...request, model: original(['model']), dataset: original(['dataset']) }
  }
  if (request.inputs === undefined) return request
  const inputs = request.inputs.map(({ name }, i) => ({
    name,
    source: original(['inputs', String(i), 'source']),
  }))
  return { ...request, inputs }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

/** Where in the text a path begins: at its key where there is one, else at the nearest parent. */
function offsetOf(document: Document, path: ReadonlyArray<string | number>): number {
  let node: unknown = document.contents
  let offset = startOf(node)
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => String(item.key) === String(part))
      if (pair === undefined) return offset
      offset = startOf(pair.key)
      node = pair.value
    } else if (isSeq(node) && typeof part === 'number') {
      node = node.items[part]
      offset = startOf(node)
    } else return offset
  }
  return offset
}

function startOf(node: unknown): number {
  const range: unknown =
    typeof node === 'object' && node !== null ? Reflect.get(node, 'range') : undefined
  const start: unknown = Array.isArray(range) ? range[0] : undefined
  return typeof start === 'number' ? start : 0
}
