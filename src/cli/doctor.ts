/** `ctd doctor`: what could keep a daemon from working, each with its cure. Never writes. */
import { execFile } from 'node:child_process'
import { lstat, stat, statfs } from 'node:fs/promises'
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { API_LIMITS } from '../api/limits.js'
import { inspectSocket } from '../api/socket.js'
import { errorMessage } from '../errors.js'
import type { Context } from './context.js'
import { EXIT } from './exit-codes.js'
import type { Colour } from './terminal.js'
import { harmless } from './terminal.js'
import { formatBytes } from './units.js'

export interface Check {
  readonly name: string
  readonly status: 'ok' | 'warn' | 'fail' | 'skip'
  readonly detail: string
  /** What to do; empty when there is nothing to do. */
  readonly fix: string
}

const PROBE_MS = 5_000
const DISK_MIN_BYTES = 5 * 1024 ** 3
const DEFAULT_ENGINE_SOCKET = '/var/run/docker.sock'

/** Exit 0 when no check fails. */
export async function doctorCommand(context: Context): Promise<number> {
  const engineSocket = context.env['CTD_ENGINE_SOCKET'] ?? DEFAULT_ENGINE_SOCKET
  const checks = await Promise.all([
    checkNode(process.versions.node),
    guarded('home', checkHome(context.home)),
    guarded('socket', checkSocket(context.socketPath)),
    guarded('daemon', checkDaemon(context)),
    guarded('engine', checkEngine(engineSocket)),
    guarded('gpu', checkGpu()),
    guarded('disk', checkDisk(context.home)),
  ])
  if (context.json) context.printJson(checks)
  else for (const check of checks) context.print(checkText(check, context))
  return checks.some((check) => check.status === 'fail') ? EXIT.failure : EXIT.ok
}

function checkText(check: Check, context: Context): string {
  const colours: Record<Check['status'], Colour> = {
    ok: 'green',
    warn: 'yellow',
    fail: 'red',
    skip: 'dim',
  }
  const word = context.paint(colours[check.status], check.status.toUpperCase().padEnd(4))
  const fix = check.fix === '' ? '' : `\n              fix  ${check.fix}`
  return `${word}  ${check.name.padEnd(7)} ${harmless(check.detail)}${fix}`
}

/** A probe that breaks is itself a finding. */
async function guarded(name: string, check: Promise<Check>): Promise<Check> {
  try {
    return await check
  } catch (error) {
    return { name, status: 'fail', detail: errorMessage(error), fix: '' }
  }
}

/** libp2p 3 wants Node 22; 20.19 and later run by a shim. */
export function checkNode(version: string): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const check = (status: Check['status'], detail: string, fix: string): Check => ({
    name: 'node',
    status,
    detail: `Node ${version}${detail}`,
    fix,
  })
  if (major < 20 || (major === 20 && minor < 19)) {
    return check('fail', ' is too old', 'install Node 22.12 or later')
  }
  if (major < 22) return check('warn', ' works, 22.12 and later is recommended', 'install Node 22')
  return check('ok', '', '')
}

async function checkHome(home: string): Promise<Check> {
  const stats = await stat(home).catch(() => undefined)
  if (stats === undefined) {
    return { name: 'home', status: 'ok', detail: `${home} will be made by ctd start`, fix: '' }
  }
  const fail = (detail: string, fix: string): Check => ({
    name: 'home',
    status: 'fail',
    detail,
    fix,
  })
  if (!stats.isDirectory()) return fail(`${home} is not a folder`, 'choose another with --home')
  if (stats.uid !== process.getuid?.()) {
    return fail(`${home} belongs to another user`, `sudo chown -R "$USER" ${home}`)
  }
  if ((stats.mode & 0o022) !== 0) {
    return fail(`${home} may be written by other users`, `chmod 700 ${home}`)
  }
  const run = join(home, 'run')
  const runStats = await lstat(run).catch(() => undefined)
  if (runStats !== undefined && (runStats.mode & 0o077) !== 0) {
    return fail(`${run} is open to other users`, `chmod 700 ${run}`)
  }
  return { name: 'home', status: 'ok', detail: home, fix: '' }
}

async function checkSocket(socketPath: string): Promise<Check> {
  const length = Buffer.byteLength(socketPath)
  if (length > API_LIMITS.socketPathBytes) {
    return {
      name: 'socket',
      status: 'fail',
      detail: `the path has ${length} bytes, at most ${API_LIMITS.socketPathBytes} are possible: ${socketPath}`,
      fix: 'choose a shorter home: ctd --home ~/.ctd start',
    }
  }
  const state = await inspectSocket(socketPath)
  if (state === 'stale') {
    const detail = `${socketPath} is left over from a daemon that was killed`
    return { name: 'socket', status: 'warn', detail, fix: 'ctd start replaces it' }
  }
  return { name: 'socket', status: 'ok', detail: `${socketPath} (${state})`, fix: '' }
}

async function checkDaemon(context: Context): Promise<Check> {
  try {
    await context.client.get('/v1/health', AbortSignal.timeout(PROBE_MS))
    return { name: 'daemon', status: 'ok', detail: 'running', fix: '' }
  } catch (error) {
    return { name: 'daemon', status: 'warn', detail: errorMessage(error), fix: 'ctd start' }
  }
}

async function checkEngine(socketPath: string): Promise<Check> {
  try {
    const version = await engineVersion(socketPath)
    return { name: 'engine', status: 'ok', detail: `Docker ${version} at ${socketPath}`, fix: '' }
  } catch (error) {
    const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
    const isForbidden = code === 'EACCES' || code === 'EPERM'
    return {
      name: 'engine',
      status: 'fail',
      detail: isForbidden
        ? `you may not use ${socketPath}`
        : `no engine answers at ${socketPath}: ${errorMessage(error)}`,
      fix: isForbidden
        ? 'sudo usermod -aG docker "$USER", then log in again'
        : 'install and start Docker: sudo systemctl start docker',
    }
  }
}

async function engineVersion(socketPath: string): Promise<string> {
  return await new Promise<string>((resolve, reject) => {
    const signal = AbortSignal.timeout(PROBE_MS)
    const asked = request({ socketPath, path: '/version', signal, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('error', reject)
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > 65_536) response.destroy(new Error('the answer is too long'))
      })
      response.on('end', () => {
        try {
          const answer: unknown = JSON.parse(text)
          const version: unknown =
            typeof answer === 'object' && answer !== null ? Reflect.get(answer, 'Version') : null
          if (typeof version === 'string') resolve(version)
          else reject(new Error('the answer names no version'))
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)))
        }
      })
    })
    asked.on('error', reject)
    asked.end()
  })
}

async function checkGpu(): Promise<Check> {
  try {
    const { stdout } = await promisify(execFile)(
      'nvidia-smi',
      ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader'],
      { timeout: PROBE_MS, maxBuffer: 65_536 },
    )
    const gpus = stdout
      .trim()
      .split('\n')
      .filter((line) => line !== '')
    if (gpus.length > 0) return { name: 'gpu', status: 'ok', detail: gpus.join('; '), fix: '' }
    return { name: 'gpu', status: 'skip', detail: 'nvidia-smi lists no GPU', fix: '' }
  } catch (error) {
    const isAbsent = error instanceof Error && Reflect.get(error, 'code') === 'ENOENT'
    return isAbsent
      ? { name: 'gpu', status: 'skip', detail: 'no nvidia-smi; CPU only', fix: '' }
      : {
          name: 'gpu',
          status: 'warn',
          detail: `nvidia-smi fails: ${errorMessage(error).split('\n')[0] ?? ''}`,
          fix: 'check the NVIDIA driver',
        }
  }
}

async function checkDisk(home: string): Promise<Check> {
  let folder = home
  while ((await stat(folder).catch(() => undefined)) === undefined && dirname(folder) !== folder) {
    folder = dirname(folder)
  }
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  const detail = `${formatBytes(free)} free at ${folder}`
  return free >= DISK_MIN_BYTES
    ? { name: 'disk', status: 'ok', detail, fix: '' }
    : { name: 'disk', status: 'warn', detail, fix: `free at least ${formatBytes(DISK_MIN_BYTES)}` }
}
