/** Ctrl-C as a signal, so that a command can put away what it has half written. */
import { CtdError } from '../errors.js'

/** Runs work that ends with INTERRUPTED on Ctrl-C; a second Ctrl-C ends the program at once. */
export async function interruptible<T>(
  advice: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const onInterrupt = (): void => {
    controller.abort(new CtdError('INTERRUPTED', 'interrupted', { hint: advice }))
    process.off('SIGINT', onInterrupt)
  }
  process.once('SIGINT', onInterrupt)
  process.once('SIGTERM', onInterrupt)
  try {
    return await work(controller.signal)
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error
  } finally {
    process.off('SIGINT', onInterrupt)
    process.off('SIGTERM', onInterrupt)
  }
}
