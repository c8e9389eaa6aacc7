/** What the engine itself tells of the task containers it runs: how many, and for how long. */
import { request } from 'node:http'

const SOCKET = process.env['CTD_DOCKER_SOCK'] ?? '/var/run/docker.sock'
/** Label by which a daemon marks its containers with its peer id. */
const OWNER_LABEL = 'ctd.node'
const NS_PER_MS = 1e6

export interface ContainerCount {
  addOwner(peerId: string): void
  /** Ends the counting and gives the number of started containers. */
  stop(): number
}

export interface ContainerSpans {
  /** Start to finish, milliseconds, of every container that started since. */
  spansSince(sinceMs: number): readonly number[]
  stop(): void
}

interface EngineEvent {
  readonly id?: string
  readonly Action?: string
  readonly timeNano?: number
  readonly Actor?: { readonly Attributes?: Readonly<Record<string, string>> }
}

/** Counts the containers that the engine starts for these peers from now on. */
export async function countContainers(owners: readonly string[]): Promise<ContainerCount> {
  const counted = new Set(owners)
  const started = new Map<string, string>()
  const stop = await listen((event) => {
    if (event.Action !== 'start') return
    started.set(event.id ?? '', event.Actor?.Attributes?.[OWNER_LABEL] ?? '')
  })
  return {
    addOwner: (peerId) => {
      counted.add(peerId)
    },
    stop: () => {
      stop()
      return [...started.values()].filter((owner) => counted.has(owner)).length
    },
  }
}

/** Notes when each task container starts and dies from now on. */
export async function watchContainers(): Promise<ContainerSpans> {
  const times = new Map<string, { startMs: number; endMs: number }>()
  const stop = await listen(({ id = '', Action, timeNano = 0 }) => {
    const atMs = timeNano / NS_PER_MS
    if (Action === 'start') times.set(id, { startMs: atMs, endMs: atMs })
    const span = times.get(id)
    if (Action === 'die' && span !== undefined) span.endMs = atMs
  })
  return {
    spansSince: (sinceMs) =>
      [...times.values()]
        .filter(({ startMs }) => startMs >= sinceMs)
        .map(({ startMs, endMs }) => endMs - startMs),
    stop,
  }
}

/** Calls back for every start and end of a task container; the returned function ends it. */
function listen(onEvent: (event: EngineEvent) => void): Promise<() => void> {
  const filters = encodeURIComponent(
    JSON.stringify({ type: ['container'], event: ['start', 'die'], label: [OWNER_LABEL] }),
  )
  return new Promise((resolve, reject) => {
    const stream = request(
      { socketPath: SOCKET, path: `/events?filters=${filters}` },
      (response) => {
        let rest = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          rest += chunk
          const lines = rest.split('\n')
          rest = lines.pop() ?? ''
          for (const line of lines) if (line.trim() !== '') onEvent(JSON.parse(line) as EngineEvent)
        })
        response.on('error', () => undefined) // Ends with the returned function.
        resolve(() => {
          stream.destroy()
        })
      },
    )
    stream.once('error', reject)
    stream.end()
  })
}
