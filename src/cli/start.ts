/** `ctd start`: the daemon in the foreground, until a signal ends it. */
import { cpus, totalmem } from 'node:os'
import type { NodeView, PeerView } from '../api/daemon-port.js'
import type { Config } from '../config.js'
import type { Daemon } from '../daemon.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import { formatPairs, harmless } from './terminal.js'
import { formatBytes, plainVersion } from './units.js'

export interface StartFlags {
  readonly role?: string
  readonly listen?: string[]
  readonly announce?: string[]
  readonly bootstrap?: string[]
  readonly network?: string
  readonly preset?: string
  readonly config?: string
  readonly logLevel?: string
  /** False after `--no-execute`. */
  readonly execute?: boolean
}

/** For stopping after a mistake of ours; what then still runs is cleaned up by the next start. */
const LAST_STOP_MS = 10_000

/** Starts, waits for SIGINT or SIGTERM, stops. A second signal ends the program at once. */
export async function startCommand(context: Context, flags: StartFlags): Promise<number> {
  // Before anything that loads libp2p.
  await import('../network/polyfill.js')
  const { loadConfig } = await import('../config.js')
  const config: Config = loadConfig({ flags: configFlags(context, flags), env: context.env })
  const { startDaemon } = await import('../daemon.js')
  context.tell('starting …')
  const stopped = nextSignal()
  const running: { daemon?: Daemon } = {}
  endOnMistakes(context, async () => running.daemon?.stop())
  const daemon = await startDaemon(config)
  running.daemon = daemon
  const [node, peers] = await Promise.all([daemon.port.node(), daemon.port.peers()])
  const self = peers.find((peer) => peer.self)
  if (context.json) context.printJson(node)
  else context.print(startScreen(node, self))
  const signal = await stopped
  context.tell(`${signal}: stopping; again to stop at once`)
  await daemon.stop()
  context.tell('stopped')
  return EXIT.ok
}

function configFlags(
  context: Context,
  flags: StartFlags,
): Readonly<Record<string, string | boolean | string[] | undefined>> {
  return {
    home: context.home,
    role: flags.role,
    listen: flags.listen,
    announce: flags.announce,
    bootstrap: flags.bootstrap,
    network: flags.network,
    preset: flags.preset,
    config: flags.config,
    logLevel: flags.logLevel,
    // Left to the file and the environment unless forbidden here.
    execute: flags.execute === false ? false : undefined,
  }
}

/** Resolves with the first signal; the second one ends the program. */
function nextSignal(): Promise<string> {
  return new Promise((resolve) => {
    let signals = 0
    const onSignal = (signal: NodeJS.Signals): void => {
      signals += 1
      if (signals === 1) resolve(signal)
      else process.exit(EXIT.interrupted)
    }
    process.on('SIGINT', onSignal)
    process.on('SIGTERM', onSignal)
  })
}

/**
 * Ends the program when an error reached nobody: what state it left is not known, and going on
 * could sign something wrong. The containers are stopped first.
 */
function endOnMistakes(context: Context, stop: () => Promise<void>): void {
  let isEnding = false
  const onMistake = (error: unknown): void => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    context.tell(`error[INTERNAL]: ${harmless(text)}\n  hint  start the daemon again; jobs go on`)
    if (isEnding) process.exit(EXIT.failure)
    isEnding = true
    setTimeout(() => process.exit(EXIT.failure), LAST_STOP_MS)
    stop()
      .catch((failure: unknown) => {
        context.tell(`error[INTERNAL]: while stopping: ${String(failure)}`)
      })
      .finally(() => process.exit(EXIT.failure))
  }
  process.on('uncaughtException', onMistake)
  process.on('unhandledRejection', onMistake)
}

/** What a person needs to know once the daemon is up. */
export function startScreen(node: NodeView, self: PeerView | undefined): string {
  const pairs: Array<readonly [string, string]> = [
    ['peer', node.peer],
    ...node.addresses.map((address, i) => [i === 0 ? 'addresses' : '', address] as const),
    ['socket', node.socket],
    ['hardware', hardwareText(self)],
    ['benchmark', node.benchmark],
    ['engine', node.engine],
    ['network', `${node.network} (${node.preset}), ${node.connectedPeers} peers connected`],
    ['role', node.role],
  ]
  const address = node.addresses.find((one) => !one.includes('/127.')) ?? node.addresses[0]
  const join = address === undefined ? '' : joinCommand(node, address)
  return [
    `ComputeTorrent ${plainVersion(node.version)}`,
    formatPairs(pairs.map(([label, value]) => [`  ${label}`, harmless(value)])),
    '',
    '  next       ctd status',
    '             ctd train --model bert-tiny --dataset custom.csv --epochs 5',
    ...(join === '' ? [] : [`  to join    ${join}`]),
  ].join('\n')
}

/** What this machine has; what is known without the benchmark while that still runs. */
function hardwareText(self: PeerView | undefined): string {
  if (self === undefined || self.cpuModel === '') {
    const model = cpus()[0]?.model ?? 'CPU'
    return `${cpus().length} × ${model} · ${formatBytes(totalmem())} · being measured`
  }
  const gpus = self.gpus.map((gpu) => `${gpu.name} ${formatBytes(gpu.vramMiB * 1024 ** 2)}`)
  return [
    `${self.cpuCores} × ${self.cpuModel}`,
    formatBytes(self.ramMiB * 1024 ** 2),
    gpus.length === 0 ? 'no GPU' : gpus.join(', '),
  ].join(' · ')
}

function joinCommand(node: NodeView, address: string): string {
  const full = address.includes('/p2p/') ? address : `${address}/p2p/${node.peer}`
  return harmless(`ctd start --network ${node.network} --bootstrap ${full}`)
}
