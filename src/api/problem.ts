/** Errors as RFC 9457 problem details. */
import { CtdError } from '../errors.js'

export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly hint?: string
  readonly [field: string]: unknown
}

const STATUS_BY_CODE: Readonly<Record<string, number>> = {
  REQUEST_INVALID: 400,
  ID_AMBIGUOUS: 409,
  JOB_NOT_FINISHED: 409,
  JOB_NOT_ENDED: 409,
  FILE_UNKNOWN: 404,
  TOO_MANY_JOBS: 503,
  JOB_CANCELLED: 410,
  JOB_FAILED: 424,
  BODY_TOO_LARGE: 413,
  BLOB_TOO_LARGE: 413,
  MEDIA_TYPE_UNSUPPORTED: 415,
  REQUEST_TIMEOUT: 408,
  TOO_MANY_READERS: 503,
  ANSWER_TIMEOUT: 504,
  DISK_FULL: 507,
  QUOTA_EXCEEDED: 507,
  DISK_QUOTA: 507,
  BLOB_UNKNOWN: 404,
  BLOB_HELD: 409,
  NOT_PINNED: 409,
  IMAGE_LEASED: 409,
  IMAGE_NAME_TAKEN: 409,
}

/** Families of codes, for those that have no row of their own; the first match wins. */
const STATUS_BY_FAMILY: ReadonlyArray<readonly [RegExp, number]> = [
  [/(^UNKNOWN_JOB|^JOB_UNKNOWN|_NOT_FOUND|_GONE)$/, 404],
  [/AMBIGUOUS/, 409],
  [/_TOO_LARGE$/, 413],
  [/^(NO_|ENGINE_)|_UNAVAILABLE$|_STOPPED$|_BUSY$|_FULL$/, 503],
  [/TIMEOUT|TIMED_OUT/, 504],
  [/^(BAD_|UNKNOWN_|DATA_|SPEC_)|_INVALID$|_UNKNOWN$/, 400],
]

const TITLES: Readonly<Record<number, string>> = {
  400: 'Request not valid',
  404: 'Not found',
  405: 'Method not allowed',
  408: 'Request too slow',
  409: 'Not possible now',
  410: 'Cancelled',
  413: 'Too large',
  415: 'Media type not supported',
  422: 'Refused',
  424: 'Job failed',
  500: 'Internal error',
  503: 'Not available',
  504: 'No answer in time',
  507: 'No space',
}

/** The HTTP status of an error code; 422 for an expected failure without a row. */
export function statusOfCode(code: string): number {
  const exact = STATUS_BY_CODE[code]
  if (exact !== undefined) return exact
  return STATUS_BY_FAMILY.find(([family]) => family.test(code))?.[1] ?? 422
}

/**
 * The problem document of a thrown value. What is no `CtdError` and carries no client error status
 * is reported as INTERNAL without its message, which belongs in the log.
 */
export function problemOf(error: unknown): Problem {
  if (error instanceof CtdError) {
    const status = statusOfCode(error.code)
    const reserved = new Set(['type', 'title', 'status', 'code', 'detail', 'hint'])
    const fields = Object.entries(error.fields).filter(([key]) => !reserved.has(key))
    return {
      ...problem(status, error.code, error.message, error.hint),
      ...Object.fromEntries(fields),
    }
  }
  const status = frameworkStatus(error)
  if (status === undefined) {
    return problem(500, 'INTERNAL', 'the daemon met an unexpected error', 'see the daemon log')
  }
  const known = FRAMEWORK_CODES[status]
  const detail = error instanceof Error ? error.message : 'request refused'
  return problem(status, known ?? 'REQUEST_INVALID', detail, undefined)
}

const FRAMEWORK_CODES: Readonly<Record<number, string>> = {
  404: 'ROUTE_NOT_FOUND',
  408: 'REQUEST_TIMEOUT',
  413: 'BODY_TOO_LARGE',
  415: 'MEDIA_TYPE_UNSUPPORTED',
}

/** The 4xx status that fastify itself put on an error (bad JSON, body too large). */
function frameworkStatus(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  const status: unknown = Reflect.get(error, 'statusCode')
  return typeof status === 'number' && status >= 400 && status < 500 ? status : undefined
}

function problem(status: number, code: string, detail: string, hint: string | undefined): Problem {
  return {
    type: `urn:ctd:error:${code}`,
    title: TITLES[status] ?? 'Refused',
    status,
    code,
    detail,
    ...(hint === undefined ? {} : { hint }),
  }
}
