/** `ctd rep PEER`: what a peer's reputation is made of, and the evidence behind each change. */
import type { PeerView, ReputationView } from '../api/daemon-port.js'
import { CtdError } from '../errors.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import { formatPairs, formatTable, harmless } from './terminal.js'
import { formatAge, formatBytes } from './units.js'
import { findPeer } from './views.js'

const EVIDENCE_SHOWN = 20

export interface RepFlags {
  /** Time of the score, as a date; now where absent. */
  readonly at?: string
  readonly all?: boolean
}

export async function repCommand(context: Context, name: string, flags: RepFlags): Promise<number> {
  const peers = await context.client.get<PeerView[]>('/v1/peers')
  const peer = isWholeId(name) ? name : findPeer(peers, name).peer
  const query = flags.at === undefined ? '' : `?at=${parseTime(flags.at)}`
  const path = `/v1/peers/${encodeURIComponent(peer)}/reputation${query}`
  const view = await context.client.get<ReputationView>(path)
  if (context.json) context.printJson(view)
  else {
    const hardware = peers.find((one) => one.peer === peer)?.hardwareClass ?? ''
    context.print(repText(view, hardware, flags.all === true ? Infinity : EVIDENCE_SHOWN))
  }
  return EXIT.ok
}

/** The screen of `ctd rep`. */
export function repText(view: ReputationView, hardware: string, shown: number): string {
  const number = (value: number): string => value.toFixed(3)
  const pairs: Array<readonly [string, string]> = [
    ['peer', view.peer],
    ['standing', standingText(view)],
    [
      'reliability',
      `${number(view.reliability)}  = (S + 0.4) / (S + F + 4), S ${number(view.credit)} earned, ` +
        `F ${number(view.failure)} failed, both fading`,
    ],
    ['availability', `${number(view.availability)}  (finished against begun)`],
    ['speed', `${number(view.speed)}  (against others at the same tasks)`],
    ['accepted', `${view.accepted} replicas beside ${view.coOperators} other operators`],
    ['wrong', `${view.wrongs} confirmed, ${view.exclusions} exclusions`],
    ...view.work.map(
      ({ kind, accepted, wrongs, speed }) =>
        [`at ${kind}`, `${accepted} accepted, ${wrongs} wrong, speed ${number(speed)}`] as const,
    ),
    ['serves', servingText(view)],
    ['hardware', harmless(hardware)],
    ['evidence', `${view.receipts} receipts known here, root ${view.root.slice(0, 16)}`],
  ]
  const text = formatPairs(pairs)
  if (view.evidence.length === 0) return `${text}\n\nno receipt names this peer yet`
  const rows = view.evidence
    .slice(0, shown)
    .map((item) => [
      formatAge(Math.max(0, view.atMs - item.closedMs)),
      `+${number(item.credit)}`,
      `-${number(item.failure)}`,
      item.receiptId.slice(0, 12),
      item.words,
    ])
  const table = formatTable(['AGE', 'S', 'F', 'RECEIPT', 'WHAT HAPPENED'], rows, {
    columns: undefined,
    cuts: 'WHAT HAPPENED',
  })
  const left = view.evidence.length - rows.length
  return `${text}\n\n${table}${left > 0 ? `\n${left} more: ctd rep --all` : ''}`
}

/** What this peer saw of it as a provider of blobs; told apart from the evidence of receipts. */
function servingText({ serving, atMs }: ReputationView): string {
  const { standing, servedBytes, faults, lastFault, avoidedUntilMs } = serving
  if (servedBytes === 0 && faults === 0) return 'nothing to this peer so far'
  const words = `${standing.toFixed(3)}  (${formatBytes(servedBytes)} to this peer, seen by it alone`
  const fault = faults === 0 ? '' : `; ${faults} faults, the last: ${harmless(lastFault)}`
  const avoided =
    avoidedUntilMs === null || avoidedUntilMs <= atMs
      ? ''
      : `; not asked for another ${formatAge(avoidedUntilMs - atMs)}`
  return `${words}${fault}${avoided})`
}

function standingText({ standing, fault, excludedUntilMs, atMs }: ReputationView): string {
  if (fault !== null) {
    const proof = `messages ${fault.first.slice(0, 12)} and ${fault.second.slice(0, 12)}`
    return `excluded for ever: ${fault.words} (${proof})`
  }
  if (excludedUntilMs === null) return standing
  return `excluded for another ${formatAge(Math.max(0, excludedUntilMs - atMs))}`
}

function isWholeId(name: string): boolean {
  return /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/.test(name)
}

/** @throws CtdError BAD_TIME */
function parseTime(text: string): number {
  const atMs = Date.parse(text)
  if (Number.isFinite(atMs) && atMs >= 0) return atMs
  throw new CtdError('BAD_TIME', `not a time: ${harmless(text.slice(0, 40))}`, {
    hint: 'write it like 2026-11-22T10:00:00Z',
  })
}
