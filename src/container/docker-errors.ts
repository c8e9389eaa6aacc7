/** Translates what dockerode throws into errors people can act on. */
import { CtdError, errorMessage } from '../errors.js'

const UNREACHABLE = new Set(['ENOENT', 'ECONNREFUSED', 'EACCES', 'EPERM', 'ENOTSOCK'])

/** NO_CONTAINER_ENGINE when nothing answers, else ENGINE_FAILED with the engine's own words. */
export function engineError(error: unknown): CtdError {
  if (error instanceof CtdError) return error
  const code = property(error, 'code')
  if (typeof code === 'string' && UNREACHABLE.has(code)) {
    const forbidden = code === 'EACCES' || code === 'EPERM'
    return new CtdError(
      'NO_CONTAINER_ENGINE',
      forbidden ? 'this user may not speak to the container engine' : 'no container engine answers',
      {
        hint: forbidden
          ? 'add the user to the group docker and log in again'
          : 'start Docker (systemctl start docker), or run scripts/engine.sh as root',
        cause: error,
      },
    )
  }
  return new CtdError('ENGINE_FAILED', `the container engine refused: ${errorMessage(error)}`, {
    cause: error,
  })
}

/** The engine answered that there is no such thing. */
export function isGone(error: unknown): boolean {
  return property(rootOf(error), 'statusCode') === 404
}

/** The engine is doing just that already for somebody else, or something else needs the thing. */
export function isConflict(error: unknown): boolean {
  return property(rootOf(error), 'statusCode') === 409
}

/** What dockerode threw, also when it has been translated. */
function rootOf(error: unknown): unknown {
  return error instanceof CtdError ? error.cause : error
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

/** Waits for the engine no longer than the signal allows, and speaks of its failures our way. */
export async function answer<T>(
  call: () => Promise<T>,
  signal: AbortSignal = new AbortController().signal,
): Promise<T> {
  signal.throwIfAborted()
  let onAbort = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = (): void =>
      reject(
        signal.reason instanceof Error ? signal.reason : new Error(errorMessage(signal.reason)),
      )
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([call(), aborted])
  } catch (error) {
    if (signal.aborted) throw error
    throw engineError(error)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
