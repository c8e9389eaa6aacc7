/**
 * The errors people meet. An expected failure is a `CtdError` with a stable code, a message in
 * plain words and, where there is one, a hint that names the next thing to do. A programmer's
 * mistake is an `InvariantError`.
 */

export interface CtdErrorOptions {
  readonly hint?: string
  readonly fields?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** An expected failure. `code` is stable (`REVEAL_MISMATCH`); nothing may match on `message`. */
export class CtdError extends Error {
  readonly code: string
  readonly hint: string | undefined
  readonly fields: Readonly<Record<string, unknown>>

  constructor(code: string, message: string, options: CtdErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.hint = options.hint
    this.fields = options.fields ?? {}
  }
}

/** Thrown where the program contradicts itself; never because of input. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

const FULL = /\bENOSPC\b|\bEDQUOT\b|No space left on device|Disk quota exceeded/

/** DISK_FULL where a disk without room is behind an error of the system or the database. */
export function diskError(error: unknown): unknown {
  if (error instanceof CtdError || !(error instanceof Error)) return error
  if (!isDiskFull(error)) return error
  return new CtdError('DISK_FULL', 'the disk is full', {
    hint: 'free some space on the disk of the home; what was running goes on afterwards',
    cause: error,
  })
}

/** The database wraps the system's words, which carry no code of their own. */
function isDiskFull(error: Error): boolean {
  if (FULL.test(`${String(Reflect.get(error, 'code'))} ${error.message}`)) return true
  return error.cause instanceof Error && isDiskFull(error.cause)
}

/** The stable code of any thrown value: that of a `CtdError`, else `INTERNAL`. */
export function errorCode(error: unknown): string {
  return error instanceof CtdError ? error.code : 'INTERNAL'
}

/** The message of any thrown value. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
