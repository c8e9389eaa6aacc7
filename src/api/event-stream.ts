/**
 * The event stream (server-sent events, WHATWG HTML 9.2). A slow reader never costs memory: once
 * its buffer is full events are skipped, and it is told how many, so that it reads the state anew.
 */
import type { ServerResponse } from 'node:http'
import { CtdError } from '../errors.js'
import type { DaemonEvent, DaemonPort } from './daemon-port.js'
import { API_LIMITS } from './limits.js'

export interface EventStreamOptions {
  readonly heartbeatMs?: number
  readonly bufferBytes?: number
}

export interface EventStreams {
  /** Serves one reader until it leaves. @throws CtdError TOO_MANY_READERS */
  add(response: ServerResponse): void
  /** Ends every stream. */
  close(): void
}

export function createEventStreams(
  port: Pick<DaemonPort, 'subscribe'>,
  options: EventStreamOptions = {},
): EventStreams {
  const heartbeatMs = options.heartbeatMs ?? API_LIMITS.eventHeartbeatMs
  const bufferBytes = options.bufferBytes ?? API_LIMITS.eventBufferBytes
  const endings = new Set<() => void>()
  return {
    add(response) {
      if (endings.size >= API_LIMITS.eventClients) {
        throw new CtdError('TOO_MANY_READERS', `${endings.size} readers follow events already`, {
          hint: 'end one of them and try again',
        })
      }
      const end = serve(port, response, { heartbeatMs, bufferBytes }, () => endings.delete(end))
      endings.add(end)
    },
    close() {
      for (const end of [...endings]) end()
    },
  }
}

function serve(
  port: Pick<DaemonPort, 'subscribe'>,
  response: ServerResponse,
  options: Required<EventStreamOptions>,
  onEnd: () => void,
): () => void {
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  })
  response.write(': ctd events\n\n')
  let skipped = 0
  const send = (chunk: string): boolean => {
    if (response.writableLength + Buffer.byteLength(chunk) > options.bufferBytes) return false
    response.write(chunk)
    return true
  }
  // Told once the reader has caught up by half, so that a slow one gets few notes, not many.
  const tellSkipped = (): void => {
    if (skipped === 0 || response.writableLength > options.bufferBytes / 2) return
    if (send(frame('events:skipped', { count: skipped }))) skipped = 0
  }
  const onEvent = (event: DaemonEvent): void => {
    tellSkipped()
    if (skipped > 0 || !send(frame(event.type, event))) skipped += 1
  }
  const leave = port.subscribe(onEvent)
  const heartbeat = setInterval(() => {
    tellSkipped()
    send(': heartbeat\n\n')
  }, options.heartbeatMs)
  heartbeat.unref()
  let ended = false
  const end = (): void => {
    if (ended) return
    ended = true
    clearInterval(heartbeat)
    leave()
    onEnd()
    response.end()
  }
  response.once('close', end)
  response.once('error', end)
  return end
}

/** One event; JSON has no raw line breaks, so one `data` line suffices. */
function frame(type: string, data: unknown): string {
  return `event: ${type.replace(/[\r\n]/g, ' ')}\ndata: ${JSON.stringify(data)}\n\n`
}
