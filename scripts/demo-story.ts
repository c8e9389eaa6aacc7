/** Tells the demo while it happens, and adds up what the receipts say. */
import type { JobView, PeerView } from '../src/api/daemon-port.js'

type Fields = Readonly<Record<string, unknown>>

interface ToldExecutor {
  readonly peer: string
  readonly outcome: string
}

export interface Summary {
  /** Replicas of all tasks that ended, and of container tasks alone. */
  readonly replicas: number
  readonly containerReplicas: number
  readonly dissenters: readonly string[]
  /** Accepted replicas by peer. */
  readonly accepted: ReadonlyMap<string, number>
  readonly reassigned: number
  builtinAccepted(peer: string): number
}

const BUILTIN = /^(split|init|aggregate)/

export class DemoStory {
  readonly #say: (text: string) => void
  readonly #names: ReadonlyMap<string, string>
  readonly #reputation = new Map<string, number>()
  readonly #receipts: Array<{
    readonly name: string
    readonly executors: readonly ToldExecutor[]
  }> = []
  #lost = 0

  constructor(say: (text: string) => void, names: ReadonlyMap<string, string>) {
    this.#say = say
    this.#names = names
  }

  #name(peer: unknown): string {
    return this.#names.get(String(peer)) ?? String(peer).slice(-6)
  }

  peers(peers: readonly PeerView[]): void {
    this.#say(
      `\n${'PEER'.padEnd(11)}${'ID'.padEnd(9)}${'ROLE'.padEnd(11)}${'GFLOP/S A CORE'.padEnd(16)}${'RAM'.padEnd(10)}CLASS`,
    )
    for (const peer of peers) {
      const gflops = peer.cpuGflops > 0 ? peer.cpuGflops.toFixed(1) : '-'
      this.#say(
        this.#name(peer.peer).padEnd(11) +
          `…${peer.peer.slice(-6)}`.padEnd(9) +
          (peer.role || '?').padEnd(11) +
          gflops.padEnd(16) +
          `${peer.ramMiB} MiB`.padEnd(10) +
          peer.hardwareClass,
      )
    }
  }

  onEvent(type: string, fields: Fields): void {
    switch (type) {
      case 'task:elected':
        this.#onElected(fields)
        return
      case 'task:accepted':
      case 'task:rejected':
        this.#onClosed(type, fields)
        return
      case 'executor:lost':
        this.#lost += 1
        this.#say(
          `  ! ${this.#name(fields['peer'])} is gone; its task goes to the next in the ranking`,
        )
        return
      case 'reputation:changed':
        this.#onReputation(fields)
        return
      case 'job:waiting':
        this.#say(`  . waiting: ${String(fields['reason'])}`)
        return
      default:
        return
    }
  }

  #onElected(fields: Fields): void {
    const weights = fields['weights'] as ReadonlyArray<{ peer: string; ppm: number }>
    const rankings = fields['rankings'] as ReadonlyArray<readonly string[]>
    const total = weights.reduce((sum, { ppm }) => sum + ppm, 0)
    const chances = weights
      .toSorted((a, b) => b.ppm - a.ppm)
      .map(({ peer, ppm }) => `${this.#name(peer)} ${Math.round((100 * ppm) / total)}%`)
    const seats = rankings.map((ranking) =>
      ranking
        .slice(0, 2)
        .map((peer) => this.#name(peer))
        .join('+'),
    )
    this.#say(
      `  election of batch ${String(fields['batch'])}: weights ${chances.join(', ')} -> ${seats.join('  ')}`,
    )
  }

  #onClosed(type: string, fields: Fields): void {
    const executors = fields['executors'] as readonly ToldExecutor[]
    const name = String(fields['name'])
    this.#receipts.push({ name, executors })
    const told = executors.map(({ peer, outcome }) => `${this.#name(peer)} ${outcome}`).join(', ')
    const metrics = fields['metrics'] as Readonly<Record<string, number>> | undefined
    const loss = metrics?.['lossEnd'] === undefined ? '' : `  loss ${metrics['lossEnd'].toFixed(3)}`
    this.#say(`  ${type === 'task:accepted' ? 'ok ' : 'REJ'} ${name.padEnd(13)} ${told}${loss}`)
  }

  #onReputation(fields: Fields): void {
    const peer = String(fields['peer'])
    const now = Number(fields['reliabilityPpm']) / 1e6
    const before = this.#reputation.get(peer) ?? 0.1
    this.#reputation.set(peer, now)
    if (now < before - 0.001) {
      this.#say(
        `  - reputation of ${this.#name(peer)} falls from ${before.toFixed(3)} to ${now.toFixed(3)}`,
      )
    }
  }

  curve(job: JobView): void {
    const points = job.curve.map((point) => `${(point['lossEnd'] ?? 0).toFixed(3)}`)
    this.#say(`\nLoss at the end of each round: ${points.join('  ')}`)
  }

  summary(): Summary {
    const accepted = new Map<string, number>()
    const builtin = new Map<string, number>()
    const dissenters = new Set<string>()
    let replicas = 0
    let containerReplicas = 0
    for (const { name, executors } of this.#receipts) {
      for (const { peer, outcome } of executors) {
        const isDone = outcome === 'agreed' || outcome === 'dissented' || outcome === 'spared'
        if (!isDone) continue
        replicas += 1
        if (!BUILTIN.test(name)) containerReplicas += 1
        if (outcome !== 'agreed') dissenters.add(peer)
        else {
          accepted.set(peer, (accepted.get(peer) ?? 0) + 1)
          if (BUILTIN.test(name)) builtin.set(peer, (builtin.get(peer) ?? 0) + 1)
        }
      }
    }
    return {
      replicas,
      containerReplicas,
      dissenters: [...dissenters],
      accepted,
      reassigned: this.#lost,
      builtinAccepted: (peer) => builtin.get(peer) ?? 0,
    }
  }

  end(outcome: {
    readonly accuracy: number | null
    readonly baselineAccuracy: number
    readonly referenceAccuracy: number
    readonly hash: string
    readonly dissenters: readonly string[]
    readonly audit: string
  }): void {
    const percent = (value: number | null): string => `${((value ?? 0) * 100).toFixed(1)} %`
    this.#say(
      `\naccuracy   ${percent(outcome.accuracy)}   (always the commonest label: ${percent(outcome.baselineAccuracy)}; one plain loop: ${percent(outcome.referenceAccuracy)})`,
    )
    this.#say(`hash       ${outcome.hash}`)
    this.#say(`caught     ${outcome.dissenters.map((peer) => this.#name(peer)).join(', ')}`)
    this.#say(`audit: ${outcome.audit}`)
  }
}
