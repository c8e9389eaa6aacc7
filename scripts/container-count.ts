/** Counts the task containers that the engine starts for given peers, as the engine tells it. */
import { request } from 'node:http'

const SOCKET = process.env['CTD_DOCKER_SOCK'] ?? '/var/run/docker.sock'
/** Label by which a daemon marks its containers with its peer id. */
const OWNER_LABEL = 'ctd.node'

export interface ContainerCount {
  addOwner(peerId: string): void
  /** Ends the counting and gives the number of started containers. */
  stop(): number
}

interface EngineEvent {
  readonly id?: string
  readonly Actor?: { readonly Attributes?: Readonly<Record<string, string>> }
}

/** Listens to the engine's own event stream from now on. */
export function countContainers(owners: readonly string[]): Promise<ContainerCount> {
  const counted = new Set(owners)
  const started: Array<{ readonly id: string; readonly owner: string }> = []
  const filters = encodeURIComponent(
    JSON.stringify({ type: ['container'], event: ['start'], label: [OWNER_LABEL] }),
  )
  return new Promise((resolve, reject) => {
    const stream = request({ socketPath: SOCKET, path: `/events?filters=${filters}` }, (response) => {
      let rest = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        rest += chunk
        const lines = rest.split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          if (line.trim() === '') continue
          const event = JSON.parse(line) as EngineEvent
          const owner = event.Actor?.Attributes?.[OWNER_LABEL] ?? ''
          started.push({ id: event.id ?? '', owner })
        }
      })
      response.on('error', () => undefined) // Ends with `stop`.
      resolve({
        addOwner: (peerId) => {
          counted.add(peerId)
        },
        stop: () => {
          stream.destroy()
          return new Set(started.filter(({ owner }) => counted.has(owner)).map(({ id }) => id)).size
        },
      })
    })
    stream.once('error', reject)
    stream.end()
  })
}
