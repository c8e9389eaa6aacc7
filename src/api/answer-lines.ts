/** Answers of work that takes its time: lines of JSON, and an end when the client leaves. */
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import { CtdError } from '../errors.js'
import { problemOf } from './problem.js'

export const LINES = 'application/x-ndjson'
const PROGRESS_MS = 500

/** Aborts when the client leaves. */
export function closeSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  reply.raw.once('close', () => {
    controller.abort(new CtdError('ABORTED', 'the client has left'))
  })
  return controller.signal
}

/**
 * Answers with lines of JSON while work goes on: `{"progress": …}` twice a second, and at the end
 * `{"result": …}` or `{"problem": …}`. Work that fails before its first progress is answered like
 * any other request. When the client leaves, the work ends.
 */
export async function sendLines<P extends object, R extends object>(
  reply: FastifyReply,
  work: (onProgress: (progress: P) => void, signal: AbortSignal) => Promise<R>,
): Promise<FastifyReply> {
  let latest: P | undefined
  let onFirst = (): void => undefined
  const first = new Promise<void>((resolve) => {
    onFirst = resolve
  })
  const ended = work((progress) => {
    latest = progress
    onFirst()
  }, closeSignal(reply)).then(
    (result) => ({ result }),
    (error: unknown) => ({ error }),
  )
  const early = await Promise.race([ended, first])
  if (early !== undefined && 'error' in early) throw early.error
  async function* lines(): AsyncGenerator<string> {
    for (;;) {
      const end = await Promise.race([ended, delay(PROGRESS_MS, undefined, { ref: false })])
      if (latest !== undefined) yield `${JSON.stringify({ progress: latest })}\n`
      if (end === undefined) continue
      const last = 'error' in end ? { problem: problemOf(end.error) } : end
      yield `${JSON.stringify(last)}\n`
      return
    }
  }
  return await reply.type(LINES).send(Readable.from(lines()))
}
