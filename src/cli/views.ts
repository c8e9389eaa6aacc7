/** Commands that only show: status, ps, logs, peers, and cancel, which shows what it stopped. */
import { setTimeout as sleep } from 'node:timers/promises'
import { fetchingOf } from '../api/answers.js'
import type { JobView, LogLine, NodeView, PeerView } from '../api/daemon-port.js'
import { CtdError } from '../errors.js'
import type { Context } from './context.js'
import { EXIT, exitCodeOfJob } from './exit-codes.js'
import { hasEnded } from './follow.js'
import { fetchText, paintState } from './progress.js'
import { formatPairs, formatTable, harmless } from './terminal.js'
import { formatAge, formatBytes, plainVersion, shortJob, shortPeer } from './units.js'

/** `ctd status`: the node, its jobs, the last problem and what to do about it. */
export async function statusCommand(context: Context): Promise<number> {
  const [node, jobs] = await Promise.all([
    context.client.get<NodeView>('/v1/node'),
    context.client.get<JobView[]>('/v1/jobs'),
  ])
  const problem = lastProblem(node, jobs)
  if (context.json) {
    context.printJson({ ...node, problem: problem ?? null })
    return EXIT.ok
  }
  const counts = Object.entries(node.jobs).filter(([, count]) => count > 0)
  const pairs: Array<readonly [string, string]> = [
    ['peer', node.peer],
    ['role', `${node.role} on ${node.network} (${node.preset}), ctd ${plainVersion(node.version)}`],
    ['up', formatAge(Date.now() - node.startedMs)],
    ['peers', `${node.connectedPeers} connected`],
    ['addresses', node.addresses.join(' ')],
    ['engine', node.engine],
    ['benchmark', node.benchmark],
    ['executing', `${node.executing} now, ${node.executed} in all`],
    ['jobs', counts.map(([state, count]) => `${count} ${state}`).join(', ') || 'none yet'],
    ['storage', storageWords(node)],
    ['socket', node.socket],
  ]
  context.print(formatPairs(pairs.map(([label, value]) => [label, harmless(value)])))
  for (const line of fetchLines(jobs)) context.print(line)
  if (problem === undefined) return EXIT.ok
  context.print(`\n${context.paint('yellow', 'problem')}    ${harmless(problem.text)}`)
  context.print(`next       ${problem.next}`)
  return EXIT.ok
}

/** What the executors of own jobs fetch at the moment, a line each. */
function fetchLines(jobs: readonly JobView[]): readonly string[] {
  return jobs
    .filter((job) => !hasEnded(job))
    .flatMap((job) =>
      fetchingOf(job).map(
        (fetch) =>
          `fetching   ${shortJob(job.id)}  ${harmless(fetch.task)}  ` +
          `${harmless(shortPeer(fetch.peer))}  ${fetchText(fetch)}`,
      ),
    )
    .slice(0, FETCHES_SHOWN)
}

const FETCHES_SHOWN = 16

function storageWords({ storage }: NodeView): string {
  const { usedBytes, quotaBytes, pins } = storage
  return `${formatBytes(usedBytes)} of ${formatBytes(quotaBytes)}, ${pins} pinned`
}

/** What most deserves attention, newest first; undefined when all is well. */
export function lastProblem(
  node: NodeView,
  jobs: readonly JobView[],
): { readonly text: string; readonly next: string } | undefined {
  const newest = jobs.toSorted((a, b) => b.createdMs - a.createdMs)
  const stuck = newest.find((job) => !hasEnded(job) && job.reason !== '')
  if (stuck !== undefined) {
    const text = `job ${shortJob(stuck.id)} is ${stuck.status}: ${stuck.reason}`
    return { text, next: 'ctd peers' }
  }
  if (node.storage.rotten > 0) {
    const count = node.storage.rotten
    const text = `${count === 1 ? 'a blob has' : `${count} blobs have`} rotted on the disk`
    return { text, next: 'ctd scrub' }
  }
  if (node.engine.startsWith('none')) {
    return { text: `this peer cannot execute: engine ${node.engine}`, next: 'ctd doctor' }
  }
  const failed = newest.find((job) => hasEnded(job))
  if (failed?.status === 'failed') {
    const text = `job ${shortJob(failed.id)} failed: ${failed.reason}`
    return { text, next: `ctd logs ${shortJob(failed.id)}` }
  }
  if (node.connectedPeers === 0) {
    return { text: 'no other peer is connected', next: 'ctd start --bootstrap ADDRESS' }
  }
  return undefined
}

/** `ctd ps`. */
export async function psCommand(context: Context): Promise<number> {
  const jobs = await context.client.get<JobView[]>('/v1/jobs')
  if (context.json) context.printJson(jobs)
  else if (jobs.length === 0) context.tell('no jobs yet; try: ctd train --help')
  else context.print(jobTable(jobs, Date.now(), context))
  return EXIT.ok
}

/** The table of `ctd ps`, newest first. */
export function jobTable(
  jobs: readonly JobView[],
  nowMs: number,
  context: Pick<Context, 'columns' | 'paint'>,
): string {
  const rows = jobs
    .toSorted((a, b) => b.createdMs - a.createdMs)
    .map((job) => [
      shortJob(job.id),
      job.name,
      job.status,
      `${Math.floor(job.progress * 100)}%`,
      `${job.tasksAccepted}/${job.tasksTotal}`,
      job.reason,
      formatAge(nowMs - job.createdMs),
    ])
  return formatTable(['ID', 'NAME', 'STATUS', 'PROGRESS', 'TASKS', 'REASON', 'AGE'], rows, {
    columns: context.columns,
    cuts: 'REASON',
    paint: (heading, cell) => (heading === 'STATUS' ? paintState(context.paint, cell) : cell),
  })
}

const LOG_POLL_MS = 1_000

/** `ctd logs ID`; with `follow` new lines are printed until the job ends. */
export async function logsCommand(
  context: Context,
  id: string,
  flags: { readonly follow?: boolean },
): Promise<number> {
  const path = `/v1/jobs/${encodeURIComponent(id)}`
  let shown = 0
  for (;;) {
    // Asked before the lines: what was written until the end is then among them.
    const job = flags.follow === true ? await context.client.get<JobView>(path) : undefined
    const lines = await context.client.get<LogLine[]>(`${path}/logs`)
    if (context.json && flags.follow !== true) context.printJson(lines)
    else {
      for (const line of lines.slice(shown)) {
        context.print(context.json ? JSON.stringify(line) : logText(line))
      }
    }
    shown = lines.length
    if (job === undefined) return EXIT.ok
    if (hasEnded(job)) return exitCodeOfJob(job)
    await sleep(LOG_POLL_MS)
  }
}

function logText(line: LogLine): string {
  const time = new Date(line.atMs).toISOString().slice(11, 19)
  return harmless(`${time}  ${shortPeer(line.peer)}  ${line.task}  ${line.text}`)
}

/** `ctd cancel ID`. */
export async function cancelCommand(context: Context, id: string): Promise<number> {
  const job = await context.client.post<JobView>(`/v1/jobs/${encodeURIComponent(id)}/cancel`)
  if (context.json) context.printJson(job)
  else context.print(`job ${shortJob(job.id)} ${job.status}`)
  return EXIT.ok
}

/** `ctd peers`. */
export async function peersCommand(context: Context): Promise<number> {
  const peers = await context.client.get<PeerView[]>('/v1/peers')
  if (context.json) context.printJson(peers)
  else if (peers.length === 0) {
    context.tell('no peers known yet; join a network: ctd start --bootstrap ADDRESS')
  } else context.print(peerTable(peers, context.columns))
  return EXIT.ok
}

/** The table of `ctd peers`: self first, then the connected ones by reliability. */
export function peerTable(peers: readonly PeerView[], columns: number | undefined): string {
  const rank = (peer: PeerView): number => (peer.self ? 2 : peer.connected ? 1 : 0)
  const rows = peers
    .toSorted((a, b) => rank(b) - rank(a) || b.reliability - a.reliability)
    .map((peer) => [
      shortPeer(peer.peer),
      peer.self ? 'self' : peer.connected ? 'connected' : 'away',
      peer.excluded ? 'excluded' : peer.established ? 'established' : 'new',
      peer.reliability.toFixed(2),
      String(peer.accepted),
      servingWords(peer),
      `${peer.cpuCores}×${Math.round(peer.cpuGflops)}`,
      formatBytes(peer.ramMiB * 1024 * 1024),
      peer.gpus
        .map((gpu) => `${gpu.name.replaceAll(' ', '-')}:${formatBytes(gpu.vramMiB * 1024 ** 2)}`)
        .join(','),
      peer.role,
    ])
  const headings = [
    'PEER',
    'LINK',
    'TRUST',
    'RELIABILITY',
    'ACCEPTED',
    'SERVES',
    'CPU',
    'RAM',
    'GPU',
    'ROLE',
  ]
  return formatTable(headings, rows, { columns, cuts: 'GPU' })
}

/** `0.11 corrupt`; nothing for a peer that never served. */
function servingWords({ serving }: PeerView): string {
  const { standing, servedBytes, faults, lastFault } = serving
  if (servedBytes === 0 && faults === 0) return ''
  return `${standing.toFixed(2)}${standing < 1 ? ` ${lastFault}` : ''}`
}

/** The peer with this id, or whose id begins or ends so. @throws CtdError PEER_NOT_FOUND, ID_AMBIGUOUS */
export function findPeer(peers: readonly PeerView[], name: string): PeerView {
  const [head = '', tail = ''] = name.split('…')
  const found = peers.filter(({ peer }) =>
    name.includes('…')
      ? peer.startsWith(head) && peer.endsWith(tail)
      : peer.startsWith(name) || peer.endsWith(name),
  )
  const [first, second] = found
  if (first === undefined) {
    throw new CtdError('PEER_NOT_FOUND', `no known peer is named ${name.slice(0, 80)}`, {
      hint: 'list them: ctd peers',
    })
  }
  if (second !== undefined) {
    throw new CtdError('ID_AMBIGUOUS', `${found.length} peers are named ${name.slice(0, 80)}`, {
      hint: 'give more of the id; its end tells peers apart',
    })
  }
  return first
}
