/** Follows a job until it ends: told by the event stream, sure by asking. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { JobView } from '../api/daemon-port.js'
import { CtdError } from '../errors.js'
import type { ApiClient } from './client.js'
import { COLUMNS_DEFAULT, ROWS_DEFAULT } from './context.js'
import type { Context } from './context.js'
import { jobChanges, progressLines } from './progress.js'
import { shortJob } from './units.js'

/** Events only hasten the next question; without them the state is asked for at this distance. */
const POLL_MS = 2_000
const REFRESH_MS = 200
/** Questions that may go unanswered in a row while the daemon restarts. */
const UNANSWERED_MAX = 5
/** Longest delay a Node timer can hold. */
const TIMER_MS_MAX = 2 ** 31 - 1

export interface FollowOptions {
  readonly signal: AbortSignal
  readonly onView: (job: JobView) => void
}

/** Resolves with the ended job. @throws CtdError DAEMON_NOT_RUNNING when it stays away */
export async function followJob(
  client: ApiClient,
  id: string,
  options: FollowOptions,
): Promise<JobView> {
  const { signal } = options
  const stop = new AbortController()
  const until = AbortSignal.any([signal, stop.signal])
  let wake: () => void = () => undefined
  void listen(client, id, until, () => wake())
  let unanswered = 0
  try {
    for (;;) {
      signal.throwIfAborted()
      const news = new Promise<void>((resolve) => (wake = resolve))
      try {
        const job = await client.get<JobView>(`/v1/jobs/${id}`, signal)
        unanswered = 0
        options.onView(job)
        if (job.endedMs !== null || hasEnded(job)) return job
      } catch (error) {
        const isAway = error instanceof CtdError && error.code === 'DAEMON_NOT_RUNNING'
        unanswered += 1
        if (!isAway || unanswered >= UNANSWERED_MAX) throw error
      }
      await Promise.race([news, pause(POLL_MS, until)])
      await pause(REFRESH_MS, until)
    }
  } finally {
    stop.abort()
  }
}

export function hasEnded(job: JobView): boolean {
  return job.status === 'succeeded' || job.status === 'failed' || job.status === 'cancelled'
}

/** Waits, or returns at once when told to stop. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal })
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** Calls `onNews` for events of the job; a lost stream is reopened by and by. */
async function listen(
  client: ApiClient,
  id: string,
  signal: AbortSignal,
  onNews: () => void,
): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const event of client.events(signal)) {
        if (event.type === 'events:skipped' || event.data.includes(id)) onNews()
      }
    } catch {
      // Polling goes on without it, and reports the daemon's absence itself.
    }
    await pause(POLL_MS, signal)
  }
}

export interface Display {
  show(job: JobView): void
  /** Leaves the last picture standing. */
  end(): void
}

/** Draws on stderr: a live picture on a terminal, else one line per change. */
export function createDisplay(context: Context): Display {
  const { stderr } = process
  if (!stderr.isTTY || context.env['CI'] !== undefined || context.env['TERM'] === 'dumb') {
    let before: JobView | undefined
    return {
      show(job) {
        for (const line of jobChanges(before, job)) context.tell(line)
        before = job
      },
      end: () => undefined,
    }
  }
  let height = 0
  return {
    show(job) {
      const size = {
        columns: (stderr.columns || COLUMNS_DEFAULT) - 1,
        rows: stderr.rows || ROWS_DEFAULT,
      }
      const lines = progressLines(job, size, Date.now(), context.paintError)
      const up = height === 0 ? '' : `\u001b[${height}A`
      stderr.write(`${up}\r\u001b[J${lines.join('\n')}\n`)
      height = lines.length
    },
    end() {
      height = 0
    },
  }
}

/** Thrown when Ctrl-C ends the following; the job goes on. */
export class InterruptedError extends CtdError {
  constructor(id: string) {
    super('INTERRUPTED', `job ${shortJob(id)} keeps running`, {
      hint: `follow again: ctd results ${shortJob(id)} --wait    stop it: ctd cancel ${shortJob(id)}`,
    })
  }
}

/**
 * Follows on the screen until the job ends, the wait is over or Ctrl-C.
 *
 * @param waitMs - longest wait, undefined for none
 * @throws InterruptedError, CtdError WAIT_TIMED_OUT
 */
export async function followOnScreen(
  context: Context,
  id: string,
  waitMs: number | undefined,
): Promise<JobView> {
  const controller = new AbortController()
  const interrupted = new InterruptedError(id)
  const late = new CtdError('WAIT_TIMED_OUT', `job ${shortJob(id)} has not ended yet; it goes on`, {
    hint: `wait longer: ctd results ${shortJob(id)} --wait`,
  })
  const onInterrupt = (): void => controller.abort(interrupted)
  process.once('SIGINT', onInterrupt)
  const timer =
    waitMs === undefined
      ? undefined
      : setTimeout(() => controller.abort(late), Math.min(waitMs, TIMER_MS_MAX))
  const display = createDisplay(context)
  try {
    return await followJob(context.client, id, {
      signal: controller.signal,
      onView: (job) => display.show(job),
    })
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error
  } finally {
    display.end()
    clearTimeout(timer)
    process.off('SIGINT', onInterrupt)
  }
}
