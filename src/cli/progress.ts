/** A job's progress as lines of text: the live picture, and the list of what has changed. */
import type { FetchView, JobView, ReplicaView, TaskView } from '../api/daemon-port.js'
import type { Colour, Paint } from './terminal.js'
import { cut, harmless } from './terminal.js'
import { formatAge, formatBytes, shortJob, shortPeer } from './units.js'

const STATE_COLOURS: Readonly<Record<string, Colour>> = {
  pending: 'yellow',
  waiting: 'yellow',
  running: 'cyan',
  executing: 'cyan',
  accepted: 'green',
  agreed: 'green',
  succeeded: 'green',
  rejected: 'red',
  failed: 'red',
  dissented: 'red',
  withheld: 'red',
  'timed-out': 'red',
  outrun: 'yellow',
  missed: 'yellow',
  cancelled: 'yellow',
}

/** Colours a state by its word; the word stays, so nothing is lost without colour. */
export function paintState(paint: Paint, state: string, text = state): string {
  const colour = STATE_COLOURS[state]
  return colour === undefined ? text : paint(colour, text)
}

/** `████░░░░ 50%`. */
export function progressBar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width)
  return `${'█'.repeat(filled)}${'░'.repeat(width - filled)} ${Math.floor(share * 100)}%`
}

/**
 * The picture that is redrawn: a head line, then every open task with its replicas, as many as
 * fit.
 *
 * @param size - of the terminal; every line fits `columns`, and there are at most `rows - 1`
 */
export function progressLines(
  job: JobView,
  size: { readonly columns: number; readonly rows: number },
  nowMs: number,
  paint: Paint,
): string[] {
  const age = formatAge((job.endedMs ?? nowMs) - job.createdMs)
  const head = `${shortJob(job.id)}  ${job.status}  ${progressBar(job.progress, 20)}  ${job.tasksAccepted}/${job.tasksTotal} tasks  ${age}`
  const lines = [paintState(paint, job.status, cut(head, size.columns))]
  if (job.reason !== '') lines.push(cut(`  ${harmless(job.reason)}`, size.columns))
  const closed = new Set(['accepted', 'waiting', 'skipped'])
  const open = job.tasks.filter((task) => !closed.has(task.state))
  const room = Math.max(1, size.rows - 2)
  for (const [i, task] of open.entries()) {
    const wanted = 1 + task.replicas.length
    if (lines.length + wanted > room) {
      lines.push(cut(`  … ${open.length - i} more tasks`, size.columns))
      break
    }
    lines.push(
      paintState(paint, task.state, cut(`  ${harmless(task.name)}  ${task.state}`, size.columns)),
    )
    for (const replica of task.replicas) {
      lines.push(paintState(paint, replica.phase, cut(`    ${replicaText(replica)}`, size.columns)))
    }
  }
  return lines
}

/** `image 512MiB of 2.0GiB, 43MiB/s, 38s left, from 3 peers`. */
export function fetchText(fetch: FetchView): string {
  const { what, doneBytes, totalBytes, bytesPerSecond, etaMs, sources } = fetch
  const giving = sources.filter(({ state }) => state === 'fetching' || state === 'waiting').length
  const size = totalBytes === 0 ? '' : ` ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`
  const left = etaMs === null ? '' : `, ${formatAge(etaMs)} left`
  const from = `, from ${giving} ${giving === 1 ? 'peer' : 'peers'}`
  return harmless(`${what}${size}, ${formatBytes(bytesPerSecond)}/s${left}${from}`)
}

function replicaText(replica: ReplicaView): string {
  if (replica.fetch !== undefined) {
    const words = fetchText(replica.fetch)
    return `${harmless(shortPeer(replica.peer))}  ${harmless(replica.phase)}  ${words}`
  }
  const steps =
    replica.step === undefined
      ? ''
      : `  ${replica.step}${replica.total === undefined ? '' : `/${replica.total}`}`
  const note = replica.note === undefined || replica.note === '' ? '' : `  ${replica.note}`
  return harmless(`${shortPeer(replica.peer)}  ${replica.phase}${steps}${note}`)
}

/** One line for every state that differs; steps within a phase are no change. */
export function jobChanges(before: JobView | undefined, after: JobView): string[] {
  const lines: string[] = []
  const key = (task: TaskView): string => `${task.batch}/${task.slot}`
  const known = new Map(before?.tasks.map((task) => [key(task), task]))
  for (const task of after.tasks) {
    const earlier = known.get(key(task))
    const phases = new Map(earlier?.replicas.map((replica) => [replica.peer, replica.phase]))
    for (const replica of task.replicas) {
      if (phases.get(replica.peer) !== replica.phase) {
        const note = replica.note === undefined || replica.note === '' ? '' : `  ${replica.note}`
        lines.push(harmless(`${task.name}  ${shortPeer(replica.peer)}  ${replica.phase}${note}`))
      }
    }
    if (earlier?.state !== task.state && task.state !== 'waiting') {
      lines.push(harmless(`${task.name}  ${task.state}`))
    }
  }
  if (before?.status !== after.status || before.reason !== after.reason) {
    const reason = after.reason === '' ? '' : `: ${after.reason}`
    lines.push(
      harmless(
        `job ${shortJob(after.id)}  ${after.status}${reason}  ${after.tasksAccepted}/${after.tasksTotal} tasks`,
      ),
    )
  }
  return lines
}
