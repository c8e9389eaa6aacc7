/**
 * The unix socket and the folder it lies in. Whoever may connect may run containers, so access is
 * held by file permissions alone: the folder is 0700 and ours, the socket 0600 from its birth.
 */
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { CtdError } from '../errors.js'
import { API_LIMITS } from './limits.js'

/** @throws CtdError SOCKET_PATH_TOO_LONG */
export function assertSocketPathLength(socketPath: string): void {
  const length = Buffer.byteLength(socketPath)
  if (length <= API_LIMITS.socketPathBytes) return
  throw new CtdError(
    'SOCKET_PATH_TOO_LONG',
    `the socket path has ${length} bytes, the system allows ${API_LIMITS.socketPathBytes}: ${socketPath}`,
    { hint: 'choose a shorter home folder, for example: ctd --home ~/.ctd start' },
  )
}

/**
 * Makes the folder of the socket (0700) or checks that an existing one is a real folder, ours and
 * closed to others.
 *
 * @throws CtdError SOCKET_FOLDER_UNSAFE
 */
export async function prepareSocketFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const stats = await lstat(folder)
  const refuse = (fault: string, hint: string): never => {
    throw new CtdError('SOCKET_FOLDER_UNSAFE', `${folder} ${fault}`, { hint })
  }
  if (stats.isSymbolicLink()) refuse('is a symbolic link', 'use the real path as home folder')
  if (!stats.isDirectory()) refuse('is not a folder', 'choose another home folder')
  if (stats.uid !== process.getuid?.()) {
    refuse('belongs to another user', `run: sudo chown -R "$USER" ${folder}`)
  }
  if ((stats.mode & 0o077) !== 0) refuse('is open to other users', `run: chmod 700 ${folder}`)
}

export type SocketState = 'absent' | 'alive' | 'stale'

/**
 * What lies at the socket path, found out by connecting. A socket that does not refuse at once
 * counts as alive: a busy daemon must not lose its door.
 *
 * @throws CtdError SOCKET_PATH_TAKEN when something other than a socket lies there
 */
export async function inspectSocket(socketPath: string): Promise<SocketState> {
  const stats = await lstat(socketPath).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return undefined
    throw error
  })
  if (stats === undefined) return 'absent'
  if (!stats.isSocket()) {
    throw new CtdError('SOCKET_PATH_TAKEN', `${socketPath} exists and is not a socket`, {
      hint: `move it away: mv ${socketPath} ${socketPath}.old`,
    })
  }
  return await new Promise<SocketState>((resolve) => {
    const probe = connect({ path: socketPath })
    const settle = (state: SocketState): void => {
      probe.destroy()
      resolve(state)
    }
    probe.setTimeout(API_LIMITS.socketProbeMs, () => settle('alive'))
    probe.once('connect', () => settle('alive'))
    probe.once('error', (error) => settle(hasCode(error, 'ECONNREFUSED') ? 'stale' : 'alive'))
  })
}

/**
 * Binds the server to the path. The mask is narrow while the socket is born, so that it is never
 * open to others even for a moment; binding is synchronous, so no other file is made meanwhile.
 *
 * @throws CtdError DAEMON_ALREADY_RUNNING, SOCKET_FOLDER_UNSAFE, SOCKET_PATH_TAKEN,
 *   SOCKET_PATH_TOO_LONG
 */
export async function listenOnSocket(server: Server, socketPath: string): Promise<void> {
  assertSocketPathLength(socketPath)
  await prepareSocketFolder(dirname(socketPath))
  const state = await inspectSocket(socketPath)
  if (state === 'alive') {
    throw new CtdError('DAEMON_ALREADY_RUNNING', `a daemon already listens on ${socketPath}`, {
      hint: 'see it with: ctd status',
    })
  }
  if (state === 'stale') await unlink(socketPath)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    const before = process.umask(0o177)
    try {
      server.listen({ path: socketPath }, () => {
        server.off('error', reject)
        resolve()
      })
    } finally {
      process.umask(before)
    }
  })
  await chmod(socketPath, 0o600)
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && Reflect.get(error, 'code') === code
}
