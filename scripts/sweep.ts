/**
 * Removes what daemons and tests that were killed left behind: containers, processes, mounts and
 * files that belong to one folder. Everything else on the machine is left alone.
 */
import { execFile } from 'node:child_process'
import { readFile, readdir, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { sep } from 'node:path'
import { promisify } from 'node:util'
import { DockerRuntime } from '../src/container/docker-runtime.js'
import { LABELS } from '../src/container/host-config.js'

const ANSWER_MS = 10_000

/** Removes a folder and whatever runs, or is mounted, in it. Its name must be nobody else's. */
export async function sweepFolder(socketPath: string, folder: string): Promise<void> {
  const inside = folder + sep
  await removeContainers(socketPath, inside)
  await killProcesses(inside)
  for (const path of (await mountsInside(inside)).reverse()) {
    // Lazily: a process that is dying may still hold it.
    await promisify(execFile)('umount', ['-l', path])
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 3 })
}

/** By their owners: also the work folders of containers that are gone. */
async function removeContainers(socketPath: string, inside: string): Promise<void> {
  const containers = await listOurs(socketPath).catch(() => []) // No engine: no containers.
  const mounts = await readFile('/proc/mounts', 'utf8').catch(() => '')
  const owners = new Set([
    ...containers.flatMap(({ owner, workDir }) => (workDir.startsWith(inside) ? owner : [])),
    ...[...mounts.matchAll(/^ctd:([^:\s]+):\S+ (\S+)/gm)].flatMap(([, owner = '', path = '']) =>
      path.startsWith(inside) ? owner : [],
    ),
  ])
  const runtime = new DockerRuntime({ socketPath })
  for (const owner of owners) await runtime.cleanUp(owner, [])
}

/** Those whose command line names a file in the folder: engines and daemons of tests. */
async function killProcesses(inside: string): Promise<void> {
  const names = await readdir('/proc').catch(() => [])
  for (const name of names.filter((each) => /^\d+$/.test(each))) {
    const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    if (!line.includes(inside) || Number(name) === process.pid) continue
    try {
      process.kill(Number(name), 'SIGKILL')
    } catch {
      // It has ended by itself meanwhile.
    }
  }
}

async function mountsInside(inside: string): Promise<string[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '')
  return text.split('\n').flatMap((line) => {
    const path = line.split(' ')[4] ?? ''
    return path.startsWith(inside) ? path : []
  })
}

interface OurContainer {
  readonly owner: string
  readonly workDir: string
}

async function listOurs(socketPath: string): Promise<OurContainer[]> {
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
  return containers.map(({ Labels = {} }) => ({
    owner: Labels[LABELS.owner] ?? '',
    workDir: Labels[LABELS.workDir] ?? '',
  }))
}
