/**
 * The first step of every command: plain Node, no dependency. Installs the packages where they are
 * missing or differ from the lock, then hands over to a script in TypeScript.
 *
 *   node scripts/bootstrap.mjs NAME [arguments]     runs scripts/NAME.ts
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')
const NODE_MIN = [20, 19]
const SIGNALS = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])

const [name, ...args] = process.argv.slice(2)
if (name === undefined || !/^[a-z-]+$/.test(name)) fail('usage: bootstrap.mjs NAME [arguments]')
const script = join('scripts', `${name}.ts`)
if (!existsSync(join(ROOT, script))) fail(`there is no ${script}`)
assertNode()
if (!isInstalled()) {
  console.error('installing packages (npm ci)')
  const status = await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  if (status !== 0)
    fail(
      'npm ci failed: see above. It needs the npm registry, or a mirror that `npm config get registry` names',
      status,
    )
}
process.exitCode = await run(process.execPath, ['--import', 'tsx', script, ...args])

function assertNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const [needMajor = 0, needMinor = 0] = NODE_MIN
  if (major > needMajor || (major === needMajor && minor >= needMinor)) return
  fail(
    `Node ${NODE_MIN.join('.')} or later is needed, this is ${process.versions.node}: see nodejs.org/en/download`,
    3,
  )
}

/**
 * Whether node_modules holds what the lock names. npm writes its own lock there last, so an
 * interrupted installation does not pass; packages of other systems are optional and absent.
 */
function isInstalled() {
  const wanted = packagesOf('package-lock.json')
  const present = packagesOf('node_modules/.package-lock.json')
  if (wanted === undefined || present === undefined) return false
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    const found = present[path]
    if (path === '' || (found === undefined && optional)) return true
    return found?.version === version && found?.integrity === integrity
  })
}

/** @returns {Record<string, { version?: string, integrity?: string, optional?: boolean }> | undefined} */
function packagesOf(lock) {
  try {
    return JSON.parse(readFileSync(join(ROOT, lock), 'utf8')).packages
  } catch {
    return undefined // Absent or cut short: as good as not installed.
  }
}

/** Runs a command to its end, passing signals on; it decides itself how to stop. */
function run(command, parameters) {
  const child = spawn(command, parameters, { cwd: ROOT, stdio: 'inherit' })
  const pass = (signal) => child.kill(signal)
  for (const signal of SIGNALS) process.on(signal, pass)
  return new Promise((done) => {
    const end = (status) => {
      for (const signal of SIGNALS) process.off(signal, pass)
      done(status)
    }
    child.once('error', (error) => {
      console.error(`${command} could not be started: ${error.message}`)
      end(127)
    })
    child.once('exit', (status, signal) => {
      end(status ?? 128 + (constants.signals[signal ?? 'SIGTERM'] ?? 15))
    })
  })
}

function fail(message, status = 2) {
  console.error(message)
  process.exit(status)
}
