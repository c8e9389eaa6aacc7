/**
 * Removes what daemons and tests that were killed left in the container engine: containers and
 * work folders by their owner. Owners that were there before are left alone.
 */
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { LABELS } from '../src/container/host-config.js'

const ANSWER_MS = 10_000

/** Owners of all our containers and work folders on this machine; empty without an engine. */
export async function containerOwners(socketPath: string): Promise<Set<string>> {
  const containers = await listOurs(socketPath).catch(() => [])
  const mounts = await readFile('/proc/mounts', 'utf8').catch(() => '')
  const mounted = [...mounts.matchAll(/^ctd:([^:\s]+):/gm)].flatMap(([, owner]) => owner ?? [])
  return new Set([...containers, ...mounted])
}

/** Removes everything of owners that are not in `known`. @returns how many things went */
export async function sweepOwners(socketPath: string, known: ReadonlySet<string>): Promise<number> {
  const runtime = new DockerRuntime()
  let removed = 0
  for (const owner of await containerOwners(socketPath)) {
    if (!known.has(owner)) removed += await runtime.cleanUp(owner, [])
  }
  return removed
}

async function listOurs(socketPath: string): Promise<string[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [LABELS.owner] }))
  const path = `/containers/json?all=true&filters=${filters}`
  const text = await new Promise<string>((done, fail) => {
    const call = request({ socketPath, path, timeout: ANSWER_MS }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (body += chunk))
      response.once('end', () => done(body))
      response.once('error', fail)
    })
    call.once('timeout', () => call.destroy(new Error('the engine does not answer')))
    call.once('error', fail)
    call.end()
  })
  const containers: ReadonlyArray<{ readonly Labels?: Readonly<Record<string, string>> }> =
    JSON.parse(text)
  return containers.flatMap(({ Labels }) => Labels?.[LABELS.owner] ?? [])
}
