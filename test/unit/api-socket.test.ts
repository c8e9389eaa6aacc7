/** The unix socket: who may reach it, and what is done with what lies in its place. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createApiServer } from '../../src/api/server.js'
import { inspectSocket } from '../../src/api/socket.js'
import { ask, FakeDaemon, startFake } from './api-fake-daemon.js'

let root: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'ctd-socket-'))
})
after(async () => await rm(root, { recursive: true, force: true }))

const start = async (socketPath: string): Promise<void> => {
  const server = createApiServer(new FakeDaemon(), { socketPath })
  try {
    await server.start()
  } finally {
    await server.stop()
  }
}

test('the socket is 0600 in a 0700 folder it makes, and is gone after stop', async () => {
  const folder = join(root, 'fresh', 'home')
  const socketPath = join(folder, 'ctd.sock')
  const server = createApiServer(new FakeDaemon(), { socketPath })
  const maskBefore = process.umask()
  await server.start()
  assert.equal(process.umask(), maskBefore)
  assert.equal((await stat(socketPath)).mode & 0o777, 0o600)
  assert.equal((await stat(folder)).mode & 0o777, 0o700)
  await server.stop()
  await server.stop()
  assert.equal(await inspectSocket(socketPath), 'absent')
})

test('a folder open to others, a linked one and a file are SOCKET_FOLDER_UNSAFE', async () => {
  const open = join(root, 'open')
  await mkdir(open)
  await chmod(open, 0o750)
  await assert.rejects(start(join(open, 's')), { code: 'SOCKET_FOLDER_UNSAFE', hint: /chmod 700/ })
  const real = join(root, 'real')
  await mkdir(real, { mode: 0o700 })
  await symlink(real, join(root, 'link'))
  await assert.rejects(start(join(root, 'link', 's')), { code: 'SOCKET_FOLDER_UNSAFE' })
})

test('a path above 107 bytes is SOCKET_PATH_TOO_LONG and 107 bytes are served', async () => {
  const folder = join(root, 'long')
  const longest = join(folder, 'x'.repeat(107 - folder.length - 1))
  assert.equal(longest.length, 107)
  await start(longest)
  await assert.rejects(start(`${longest}x`), { code: 'SOCKET_PATH_TOO_LONG', hint: /--home/ })
})

test('a second daemon is refused and the first keeps its socket', async () => {
  const first = await startFake()
  await assert.rejects(start(first.socketPath), { code: 'DAEMON_ALREADY_RUNNING' })
  assert.equal((await ask(first.socketPath, '/v1/health')).status, 200)
  await first.stop()
})

test('the socket of a daemon that was killed is replaced', async () => {
  const folder = join(root, 'stale')
  await mkdir(folder, { mode: 0o700 })
  const socketPath = join(folder, 'ctd.sock')
  const script = `require('net').createServer().listen(${JSON.stringify(socketPath)},()=>process.kill(process.pid,'SIGKILL'))`
  await once(spawn(process.execPath, ['-e', script]), 'exit')
  assert.equal(await inspectSocket(socketPath), 'stale')
  await start(socketPath)
})

test('a file in the place of the socket is SOCKET_PATH_TAKEN and is left alone', async () => {
  const folder = join(root, 'taken')
  await mkdir(folder, { mode: 0o700 })
  const socketPath = join(folder, 'ctd.sock')
  await writeFile(socketPath, 'precious')
  await assert.rejects(start(socketPath), { code: 'SOCKET_PATH_TAKEN' })
  assert.equal((await stat(socketPath)).size, 8)
})
