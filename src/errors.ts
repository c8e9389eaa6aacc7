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

/** The stable code of any thrown value: that of a `CtdError`, else `INTERNAL`. */
export function errorCode(error: unknown): string {
  return error instanceof CtdError ? error.code : 'INTERNAL'
}

/** The message of any thrown value. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
